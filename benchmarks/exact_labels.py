"""Propagated labels of synthetic street video, put right from the truth that its generator wrote of every frame.

    python -m benchmarks.exact_labels --root DATA [--source flow] [--mend 1.0] [--out_source exact]

Every connected region of a label that is wrong, or has no label, is put right with probability `--mend`: 1 gives exact
labels, 0 those of the source, anything between a better propagator than theirs. They keep frames, origins and cost.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

import cv2
import numpy as np

from thriftseg.datasets import Cityscapes
from thriftseg.datasets.images import read_label_png
from thriftseg.labels import FrameJob, RelabelTask, generate
from thriftseg.stores import LabelSource, LabelStore, store_root
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.workers import Workers


class MendJob(FrameJob[RelabelTask]):
    """Puts a share of the wrong regions of a label right."""

    def __init__(self, given: LabelSource, store: LabelStore, mend: float) -> None:
        super().__init__(given.dataset, store, "benchmarks.exact_labels", {"source": given.source, "mend": mend})
        self.given, self.mend = given, mend

    def make(self, task: RelabelTask, number: int) -> None:
        """Make and store the label of a frame."""
        truth = read_truth(self.dataset.root, task.clip.frames[number])
        seed = zlib.crc32(task.name(number).encode())
        label = mended(self.given.read(task.label), truth, self.mend, np.random.default_rng(seed))
        self.write(task, number, label, task.label.kind, task.label.actions)


def read_truth(root: Path, frame: Path) -> np.ndarray:
    """Train ids of a frame in `leftImg8bit_sequence`."""
    relative = frame.relative_to(root / "leftImg8bit_sequence")
    name = relative.name.replace("leftImg8bit", "gtFine_labelIds")
    return CITYSCAPES.to_train_ids(read_label_png(root / "gtFine_sequence" / relative.parent / name))


def mended(label: np.ndarray, truth: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The label with some of its wrong regions replaced by the truth."""
    count, regions = cv2.connectedComponents((label != truth).astype(np.uint8), connectivity=4)
    right = np.append(False, random.random(count - 1) < share)
    return np.where(right[regions], truth, label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--source", default="flow")
    parser.add_argument("--out_source", default="exact")
    parser.add_argument("--mend", type=float, default=1.0)
    args = parser.parse_args()
    dataset = Cityscapes(args.root)
    given = LabelSource(dataset, store_root(args.store, dataset.name), args.source)
    job = MendJob(given, LabelStore(given.root, args.out_source, CITYSCAPES), args.mend)
    print(generate(job, [RelabelTask.of(label) for label in given.labels("train")], Workers(accelerator="cpu")))


if __name__ == "__main__":
    main()
