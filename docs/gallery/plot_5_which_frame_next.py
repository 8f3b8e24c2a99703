"""
Which frame next
================

There is time for three more frames. The next ones should be those that the network is unsure of, and they should not
all show the same: ten frames in a row are one frame, labelled ten times.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from thriftseg.annotation import NetworkView, SampleSelection, rank_samples
from thriftseg.datasets import Cityscapes, read_frame
from thriftseg.inference import load_weights
from thriftseg.synthetic import synthesize

# %%
# Three clips of streets that the shipped network has never seen.

root = Path(tempfile.mkdtemp())
synthesize(root, train_clips=3, val_clips=1, frames=8, height=64, width=128, seed=21, devices=1)
dataset = Cityscapes(root)
student = load_weights("deeplabv3plus_mobilenetv2.synthetic_manual").network

# %%
# Three ways to choose, each in one call; ``thriftseg annotate next`` is the same from the command line, and leaves the
# images with a task file for CVAT or a COCO tool. Without a network, frames that move and look different come first.

view = NetworkView(student, uncertainty="entropy")
chosen = {
    "no network yet": rank_samples(dataset, "train", 3, progress=False),
    "unsure": rank_samples(dataset, "train", 3, view=view, selection=SampleSelection("uncertainty"), progress=False),
    "unsure and different": rank_samples(dataset, "train", 3, view=view, progress=False),
}
for name, samples in chosen.items():
    print(f"{name:21}", ", ".join(f"{each.clip.video} {each.sample.number}" for each in samples))

# %%
# What is bought. By uncertainty alone, frames of one street may crowd in; diversity spreads the budget.

figure, axes = plt.subplots(3, 3, figsize=(11, 6), layout="constrained")
for row, (name, samples) in zip(axes, chosen.items(), strict=True):
    for axis, sample in zip(row, samples, strict=True):
        axis.imshow(read_frame(sample.clip.frames[sample.sample.number]))
        axis.set_title(f"{name}: {sample.clip.video} {sample.sample.number}", fontsize=8)
        axis.axis("off")
plt.show()
