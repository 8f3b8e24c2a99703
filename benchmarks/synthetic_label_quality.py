"""How good propagated labels are on synthetic street video, whose generator writes the truth of every frame.

    python -m benchmarks.synthetic_label_quality --root DATA --labels STORE [--source flow] [--split train]

By distance from the annotated frame: mIoU with pixels without a label counted as wrong, mIoU of the pixels that carry a
label, the share of pixels without a label, and the share of right ones among those with a label.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from thriftseg.datasets.images import read_label_png
from thriftseg.taxonomies import CITYSCAPES

CLASSES = CITYSCAPES.num_classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--source", default="flow")
    parser.add_argument("--split", default="train")
    args = parser.parse_args()
    print("| distance | mIoU, ignored = wrong | mIoU of kept | ignored % | right of kept % |\n|---|---|---|---|---|")
    for distance, counts in sorted(confusion(args.root, args.labels / args.source, args.split).items()):
        labelled, kept = counts[:CLASSES], counts[:CLASSES, :CLASSES]
        ignored, right = 100 * labelled[:, CLASSES].sum() / labelled.sum(), 100 * np.trace(kept) / kept.sum()
        print(f"| {distance} | {miou(labelled):.3f} | {miou(kept):.3f} | {ignored:.1f} | {right:.1f} |")


def confusion(root: Path, labels: Path, split: str) -> dict[int, np.ndarray]:
    """Counts of (true, propagated) train ids by distance, the last row and column for no label."""
    counts: dict[int, np.ndarray] = defaultdict(lambda: np.zeros((CLASSES + 1, CLASSES + 1), np.int64))
    for path in labels.glob("*/*.png"):
        city, sequence, annotated = path.parent.name.split("_")
        name = f"{city}_{sequence}_{path.stem}_gtFine_labelIds.png"
        truth = CITYSCAPES.to_train_ids(read_label_png(root / "gtFine_sequence" / split / city / name))
        pair = [np.minimum(ids, CLASSES).astype(np.int64) for ids in (truth, read_label_png(path))]
        index = pair[0] * (CLASSES + 1) + pair[1]
        counts[abs(int(path.stem) - int(annotated))] += np.bincount(
            index.ravel(), minlength=(CLASSES + 1) ** 2
        ).reshape(CLASSES + 1, CLASSES + 1)
    return counts


def miou(counts: np.ndarray) -> float:
    """Mean IoU of (true, propagated) counts; pixels in a last column without a class are missed ones."""
    hits = np.diag(counts[:, :CLASSES])
    return float((hits / np.maximum(1, counts.sum(axis=1) + counts[:, :CLASSES].sum(axis=0) - hits)).mean())


if __name__ == "__main__":
    main()
