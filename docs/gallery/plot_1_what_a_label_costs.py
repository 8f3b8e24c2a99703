"""
What a label costs
==================

A label is worth what it teaches, and costs what a person does for it. Here is one street, labelled in three ways, each
with its price: the outlines that a person would draw, coarse polygons inside the objects, and one click per object.
"""

import cv2
import matplotlib.pyplot as plt
import numpy as np

from thriftseg.costs import CostModel
from thriftseg.drawing import blend
from thriftseg.labels import generate_clicks, generate_coarse
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.taxonomies import CITYSCAPES

# %%
# A frame of synthetic street with its exact label map.

frame = next(render_clip(SceneConfig(height=256, width=512, num_frames=1, seed=4)))
drawn = frame.label

# %%
# Coarse polygons stay away from borders and leave the rest open; clicks label a pixel each.

coarse = np.full_like(drawn, 255)
for polygon in generate_coarse(drawn, frame.instances, CITYSCAPES.thing_ids):
    cv2.fillPoly(coarse, [polygon.points], polygon.train_id)
clicks = generate_clicks(drawn, frame.instances, CITYSCAPES.thing_ids, min_component=30)

# %%
# The model ``polygon`` prices any label map: 1.5 s for each corner that a person would click, 1 s for each polygon, and
# 1.5 s + 1 s for a click on an object. Simulated coarse polygons take 7/90 of the drawn label, as in Cityscapes. On a
# street full of small things, as here, a click for each of them is no cheaper than coarse polygons of the large ones.

model = CostModel.named("polygon")
prices = {
    "drawn": model.manual_frame("cityscapes", drawn),
    "coarse": model.coarse_frame("cityscapes", drawn, simulated=True),
    "clicks": model.clicks(len(clicks)),
}
labelled = {"drawn": (drawn != 255).mean(), "coarse": (coarse != 255).mean(), "clicks": len(clicks) / drawn.size}
for name, price in prices.items():
    print(f"{name:7} {price.seconds:6.0f} s  {price.clicks:4} clicks  {labelled[name]:8.2%} of the pixels")

# %%
# The same street three times. A student needs far fewer labelled pixels than a person is paid to draw; the
# :doc:`results <../results>` say how many.

figure, axes = plt.subplots(1, 3, figsize=(12, 2.6), layout="constrained")
for axis, (name, label) in zip(axes, {"drawn": drawn, "coarse": coarse, "clicks": None}.items(), strict=True):
    shown = frame.image if label is None else blend(frame.image, label, CITYSCAPES.palette, alpha=0.6)
    axis.imshow(shown)
    axis.set_title(f"{name}: {prices[name].seconds:.0f} s")
    axis.axis("off")
columns, rows, ids = np.array(clicks).T
axes[2].scatter(columns, rows, s=30, c=np.array(CITYSCAPES.palette)[ids] / 255, edgecolors="white", linewidths=0.8)
plt.show()
