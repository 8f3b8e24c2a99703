"""
Gated CRF on clicks
===================

A click says what one pixel is. Gated CRF says that neighbours which look alike are alike: it has no label to learn
from, but carries the clicks to the borders that the image shows. Without it, everything between the clicks is left to
chance.
"""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch

from thriftseg.drawing import colorize
from thriftseg.labels import generate_clicks
from thriftseg.losses import GatedCRF, GaussianKernel, PartialCrossEntropy
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.taxonomies import CITYSCAPES

# %%
# A street with a click in every object: all other pixels of the target are 255, which no loss of labels looks at.

scene = next(render_clip(SceneConfig(height=96, width=192, num_frames=1, seed=5)))
image = torch.from_numpy(scene.image).permute(2, 0, 1)[None] / 255
clicks = generate_clicks(scene.label, scene.instances, CITYSCAPES.thing_ids, min_component=20)
target = torch.full((1, 96, 192), 255)
for column, row, train_id in clicks:
    target[0, row, column] = train_id
print(f"{len(clicks)} clicks on {target.numel()} pixels")

# %%
# In place of a network, the logits themselves are what is learned. They start from the little that clicks say by
# themselves: the nearer the click of a class, the likelier the class.

distance = np.full((CITYSCAPES.num_classes, 96, 192), 400, np.float32)
for train_id in {train_id for _, _, train_id in clicks}:
    distance[train_id] = cv2.distanceTransform((target[0].numpy() != train_id).astype(np.uint8), cv2.DIST_L2, 5)
start = torch.from_numpy(-distance / 8)[None]

# %%
# Both losses together, for forty steps. The kernel weighs two pixels by how near they are (6 pixels) and how much their
# colours are alike (0.1 of the range); the window reaches 5 pixels.

label_loss = PartialCrossEntropy()
crf = GatedCRF([GaussianKernel(weight=1.0, xy=6.0, rgb=0.1)], radius=5)
logits = start.clone().requires_grad_()
optimizer = torch.optim.Adam([logits], lr=0.2)
for _ in range(40):
    loss = label_loss(logits, target) + crf(logits, image)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

maps = {
    name: found.detach()[0].argmax(0).numpy().astype(np.uint8)
    for name, found in (("clicks", start), ("and CRF", logits))
}
known = scene.label != 255
for name, label in maps.items():
    energy = crf(10 * torch.eye(CITYSCAPES.num_classes)[label.astype(int)].permute(2, 0, 1)[None], image)
    print(f"{name:8} {(label == scene.label)[known].mean():.1%} of the pixels right, energy {energy.item():.2f}")

# %%
# The borders move to where the colours change, and no further: the loss knows nothing about classes. What is wrong far
# from any click stays wrong, for which the objective ``WeClick`` has a teacher and the neighbouring frames:
# :doc:`labels from clicks <../guides/clicks>`.

figure, axes = plt.subplots(2, 2, figsize=(10, 5.4), layout="constrained")
panels = {"frame and clicks": scene.image, "truth": colorize(scene.label, CITYSCAPES.palette)}
panels |= {name: colorize(label, CITYSCAPES.palette) for name, label in maps.items()}
for axis, (name, picture) in zip(axes.flat, panels.items(), strict=True):
    axis.imshow(picture)
    axis.set_title(name)
    axis.axis("off")
columns, rows, _ = np.array(clicks).T
axes[0, 0].scatter(columns, rows, s=22, c="white", edgecolors="black")
plt.show()
