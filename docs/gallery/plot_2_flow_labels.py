"""
Flow labels, and where they fail
================================

Optical flow carries a drawn label to the frames around it at no cost. Where something appears, or where the flow is not
to be trusted, there is nothing to carry: such pixels become 255, which no loss looks at. How many these are, and how
many of the others are wrong, grows with the distance.
"""

import matplotlib.pyplot as plt
import numpy as np

from thriftseg.drawing import blend, error_map
from thriftseg.labels import FlowPropagator
from thriftseg.stores import objects_of
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.taxonomies import CITYSCAPES

# %%
# A drive of twenty frames. A person draws the first one; the truth of the others is used to score alone.

clip = list(render_clip(SceneConfig(height=192, width=384, num_frames=20, seed=11)))
images = [frame.image for frame in clip]
drawn = clip[0].label

# %%
# Every class is an object that the propagator follows. ``decide`` gives the id of the object of each pixel, 255 where
# the forward-backward check does not trust the flow.

objects = objects_of(drawn)
carried = [drawn]
carried += [objects.to_label(step.decide().ids) for step in FlowPropagator().probabilities(objects, images)]

# %%
# The share of pixels that stay without a label, and the share of wrong ones among the others.

open_share, wrong = [], []
for label, frame in zip(carried[1:], clip[1:], strict=True):
    known = frame.label != 255
    open_share.append(float((label[known] == 255).mean()))
    wrong.append(float((label != frame.label)[known & (label != 255)].mean()))
for at in (1, 5, 10, 19):
    print(f"{at:2} frames on: {open_share[at - 1]:.1%} without a label, {wrong[at - 1]:.1%} of the others wrong")

# %%
# Errors (red) sit on the borders of what moves; what has come into view has no label (dark). That is why a mixture
# takes labels near the drawn frame, and why ``thriftseg label fill`` has a trained network fill the gaps.

figure, axes = plt.subplots(2, 2, figsize=(10, 5), layout="constrained")
for row, at in zip(axes, (5, 19), strict=True):
    row[0].imshow(blend(images[at], carried[at], CITYSCAPES.palette, alpha=0.6))
    row[0].set_title(f"carried over {at} frames")
    row[1].imshow(error_map(clip[at].label, np.where(clip[at].label == 255, 255, carried[at])))
    row[1].set_title("right, wrong, without a label")
for axis in axes.flat:
    axis.axis("off")
plt.figure(figsize=(10, 2.5), layout="constrained")
plt.plot(range(1, len(carried)), open_share, label="without a label")
plt.plot(range(1, len(carried)), wrong, label="wrong, of those with one")
plt.xlabel("frames from the drawn one")
plt.legend()
plt.show()
