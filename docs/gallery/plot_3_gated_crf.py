"""
Gated CRF on clicks
===================

A click says what one pixel is. Gated CRF says that neighbours which look alike are alike: it has no label to learn from,
but it carries the clicks to the borders that the image shows. The loss of the clicks alone leaves everything else to
chance.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F

from thriftseg.drawing import colorize
from thriftseg.labels import generate_clicks
from thriftseg.losses import GatedCRF, GaussianKernel, PartialCrossEntropy
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.taxonomies import CITYSCAPES

torch.manual_seed(0)

# %%
# A frame, and a click in every object: all other pixels are 255.

scene = next(render_clip(SceneConfig(height=96, width=192, num_frames=1, seed=8)))
target = torch.full((1, 96, 192), 255)
for column, row, train_id in generate_clicks(scene.label, scene.instances, CITYSCAPES.thing_ids, min_component=20):
    target[0, row, column] = train_id
image = torch.from_numpy(scene.image).permute(2, 0, 1)[None] / 255
print(f"{int((target != 255).sum())} clicks on {target.numel()} pixels")

# %%
# A network of three layers learns this one frame, from the clicks alone and from both losses. It sees colours and where
# it is; what it makes of the pixels between the clicks is up to the losses.

clicks = PartialCrossEntropy()
crf = GatedCRF([GaussianKernel(weight=1.0, xy=6.0, rgb=0.1)], radius=5)
rows, columns = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 192), indexing="ij")
seen = torch.cat([image, torch.stack([rows, columns])[None]], dim=1)


def learned(weight: float, steps: int = 150) -> np.ndarray:
    """Label map of a network that has learned from the clicks, and from Gated CRF times a weight."""
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(5, 32, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(32, 32, 5, padding=2)]
    network = torch.nn.Sequential(*layers, torch.nn.ReLU(), torch.nn.Conv2d(32, CITYSCAPES.num_classes, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(steps):
        logits = network(seen)
        loss = clicks(logits, target)
        if weight:
            small = F.interpolate(logits, scale_factor=0.5, mode="bilinear")
            loss = loss + weight * crf(small, image)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network(seen)[0].argmax(0).numpy().astype(np.uint8)


maps = {"clicks alone": learned(0.0), "clicks and Gated CRF": learned(0.3)}
known = scene.label != 255
for name, label in maps.items():
    print(f"{name:21} {(label == scene.label)[known].mean():.1%} of the pixels right")

# %%
# The second map is the calmer one, and its borders lie where the colours change. On a whole data set the loss is a term
# of the objective, ``GatedCRFTerm``, one of four of ``WeClick``: :doc:`labels from clicks <../guides/clicks>`.

figure, axes = plt.subplots(2, 2, figsize=(10, 5.4), layout="constrained")
ys, xs = np.nonzero(target[0].numpy() != 255)
panels = {"frame and clicks": scene.image, "truth": colorize(scene.label, CITYSCAPES.palette)}
panels |= {name: colorize(label, CITYSCAPES.palette) for name, label in maps.items()}
for axis, (name, picture) in zip(axes.flat, panels.items(), strict=True):
    axis.imshow(picture)
    axis.set_title(name)
    axis.axis("off")
axes[0, 0].scatter(xs, ys, s=22, c="white", edgecolors="black")
plt.show()
