"""
Temporal consistency, and what it hides
=======================================

TC asks whether the label map of a frame is that of the frame before, moved along the optical flow. It finds flicker
which mIoU does not see. It also gives its best score to a map that is wrong and never moves: TC counts beside mIoU,
never alone.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from thriftseg.drawing import colorize
from thriftseg.metrics import TemporalConsistency, class_iou, class_totals, confusion_matrix
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.taxonomies import CITYSCAPES

CLASSES = CITYSCAPES.num_classes
clip = list(render_clip(SceneConfig(height=96, width=192, num_frames=12, seed=6)))
truth = np.stack([frame.label for frame in clip])

# %%
# Four "students" whose faults we choose: the truth; one that errs in blocks of a frame, anew in each; one that calls
# everything road; and one that gives every frame the label of the first.

generator = np.random.default_rng(0)
flicker = truth.copy()
for label in flicker:
    for _ in range(12):
        row, column = generator.integers(0, 84), generator.integers(0, 172)
        label[row : row + 12, column : column + 20] = generator.integers(0, CLASSES)
students = {
    "truth": truth,
    "flickers": flicker,
    "all road": np.zeros_like(truth),
    "first label kept": np.repeat(truth[:1], len(truth), axis=0),
}

# %%
# mIoU is pooled over the clip, and so is TC. The flow is the exact one of the generator; in an evaluation it is
# estimated, and the report says by what.

scores = {}
for name, labels in students.items():
    counts = confusion_matrix(torch.from_numpy(labels), torch.from_numpy(truth), CLASSES)
    consistency = TemporalConsistency(CLASSES)
    for before, now, frame in zip(labels, labels[1:], clip[1:], strict=False):
        backward, forward = (torch.from_numpy(flow)[None] for flow in (frame.flow_backward, frame.flow_forward))
        consistency.update(torch.from_numpy(now)[None], torch.from_numpy(before)[None], backward, forward)
    scores[name] = float(np.nanmean(class_iou(class_totals(counts)))), float(consistency.compute()["tc"])
    print(f"{name:17} mIoU {scores[name][0]:.3f}  TC {scores[name][1]:.3f}")

# %%
# Top left is where nobody wants to be: steady and wrong. A gain in TC counts where mIoU has not paid for it.

figure, axes = plt.subplots(1, 3, figsize=(12, 3), layout="constrained", width_ratios=(1, 1, 1.2))
for axis, at in zip(axes, (5, 6), strict=False):
    axis.imshow(colorize(flicker[at], CITYSCAPES.palette))
    axis.set_title(f"flickers, frame {at}")
    axis.axis("off")
for name, (miou, consistency) in scores.items():
    axes[2].scatter(miou, consistency, s=60)
    axes[2].annotate(name, (miou, consistency), xytext=(6, -12), textcoords="offset points")
axes[2].set(xlabel="mIoU", ylabel="TC", xlim=(0, 1.25), ylim=(0, 1.1))
plt.show()
