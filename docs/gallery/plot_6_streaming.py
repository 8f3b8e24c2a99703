"""
A student, streaming
====================

A trained student takes frames as they come, from a file, a folder or a camera, and gives a label map for each. Every
frame is encoded once, memory does not grow, and the maps are those of the evaluation.
"""

import matplotlib.pyplot as plt
import numpy as np

from thriftseg.drawing import blend, compare
from thriftseg.inference import FrameSegmenter, load_weights
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.taxonomies import CITYSCAPES

# %%
# The weights come with the package; the path of a checkpoint of yours, or ``hf:<organisation>/<name>``, serves as well.
# The card says what they learned from and what that cost.

loaded = load_weights("deeplabv3plus_mobilenetv2.synthetic_manual")
segment = FrameSegmenter(loaded, device="cpu")

# %%
# A "camera": any iterable of (H, W, 3) uint8 RGB frames. Nothing is read ahead.

street = SceneConfig(height=128, width=256, num_frames=17, seed=1234)


def camera():
    """Frames as they come."""
    for frame in render_clip(street):
        yield frame.image


labels = []
for label in segment(camera()):  # (H, W) uint8 train ids
    labels.append(label)
print(f"{len(labels)} label maps of {labels[0].shape}, {len(np.unique(labels))} classes")

# %%
# A street that it has not seen, every eighth frame; then the last one beside its truth.

frames = list(render_clip(street))
figure, axes = plt.subplots(1, 3, figsize=(12, 2.3), layout="constrained")
for axis, at in zip(axes, (0, 8, 16), strict=True):
    axis.imshow(blend(frames[at].image, labels[at], CITYSCAPES.palette, alpha=0.6))
    axis.set_title(f"frame {at}")
    axis.axis("off")
plt.figure(figsize=(12, 6.5), layout="constrained")
last = frames[-1]
plt.imshow(compare(last.image, last.label, labels[-1], CITYSCAPES.class_names, CITYSCAPES.palette))
plt.axis("off")
plt.show()
