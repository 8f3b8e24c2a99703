"""How good propagated labels are, by distance from the annotated frame, on a video whose frames are all labelled.

Every tenth labelled frame counts as annotated and is propagated in both directions of time; the labels of the frames
in between are compared with the manual ones. Pixels without a label count as wrong in mIoU and Boundary-IoU, whose
band is 2 px wide; `kept` is the mIoU of the pixels that carry a label.

    python -m benchmarks.propagation_quality --root DIR [--methods flow,nearest] [--offsets 1,5,10] [--json FILE]

With `--dataset davis`, DIR is a folder in the layout of DAVIS, and the figure is J, the mean IoU over the frames of an
object and then over the objects.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from thriftseg.datasets import VideoDataset
from thriftseg.datasets.images import read_frame, read_label_png
from thriftseg.datasets.registry import create
from thriftseg.labels import Agreement, ObjectMap, TrackedObject, create_propagator, label_propagate
from thriftseg.metrics import boundary_counts, class_iou, mean_of_known, object_scores
from thriftseg.stores.label_store import LabelStore

BAND = 2
DIRECTIONS = {"forward": 1, "backward": -1}


def measure(dataset: VideoDataset, split: str, method: str, offsets: Sequence[int], every: int) -> dict[str, dict]:
    """Scores by direction and offset; "both" pools the two directions."""
    agreement: dict[tuple[str, int], Agreement] = {}
    boundary: dict[tuple[str, int], np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        for direction, sign in DIRECTIONS.items():
            summary = label_propagate(
                dataset,
                split,
                [sign * offset for offset in offsets],
                method=method,
                store=folder,
                source=direction,
                on_missing="skip",
                annotated_every=every,
            )
            store = LabelStore(folder, direction, dataset.taxonomy)
            for offset in offsets:
                agreement[direction, offset] = summary.agreement[sign * offset]
                boundary[direction, offset] = count_boundaries(dataset, split, store, sign * offset, every)
    for offset in offsets:
        agreement["both", offset] = Agreement.sum(agreement[direction, offset] for direction in DIRECTIONS)
        boundary["both", offset] = sum(boundary[direction, offset] for direction in DIRECTIONS)
    return {
        direction: {offset: scores(agreement[direction, offset], boundary[direction, offset]) for offset in offsets}
        for direction in (*DIRECTIONS, "both")
    }


def count_boundaries(dataset: VideoDataset, split: str, store: LabelStore, offset: int, every: int) -> np.ndarray:
    """Intersection, true and generated boundary pixels by class, (3, C)."""
    num_classes = dataset.taxonomy.num_classes
    total = np.zeros((3, num_classes), np.int64)
    for clip in dataset.clips(split):
        for annotated in clip.annotated[::every]:
            target = clip.number_at(annotated, offset)
            if store.has(clip.video, target) and target in clip.labels:
                pair = (store.read(clip.video, target), dataset.read_label(clip, target))
                label, truth = (torch.from_numpy(each)[None] for each in pair)
                total += boundary_counts(label, truth, num_classes, BAND).numpy()
    return total


def scores(agreement: Agreement, boundary: np.ndarray) -> dict[str, float]:
    """The figures of one line."""
    return {
        "miou": agreement.miou,
        "kept": agreement.kept_miou,
        "ignored": agreement.ignored_share,
        "boundary_iou": mean_of_known(class_iou(torch.from_numpy(boundary))).item(),
    }


def measure_objects(root: Path, method: str, offsets: Sequence[int], every: int) -> dict[str, dict[int, float]]:
    """J by direction and offset, for sequences of objects."""
    found: dict[tuple[str, int], dict[tuple[str, int], list[float]]] = {}
    for folder in sorted((root / "Annotations" / "480p").iterdir()):
        labels = [np.asarray(read_label_png(path)) for path in sorted(folder.glob("*.png"))]
        frames = sorted((root / "JPEGImages" / "480p" / folder.name).glob("*.jpg"))
        for start in range(0, len(labels), every):
            ids = [int(value) for value in np.unique(labels[start]) if value not in (0, 255)]
            given = np.where(labels[start] == 255, 0, labels[start]).astype(np.uint16)
            objects = ObjectMap(given, tuple(TrackedObject(value, value, value) for value in ids))
            for direction, sign in DIRECTIONS.items():
                way = [i for o in range(max(offsets) + 1) if 0 <= (i := start + sign * o) < len(labels)]
                steps = create_propagator(method).probabilities(objects, (read_frame(frames[i]) for i in way))
                for offset, (place, step) in enumerate(zip(way[1:], steps, strict=True), start=1):
                    if offset in offsets:
                        j, _ = object_scores(step.decide().ids.astype(np.uint8), labels[place].astype(np.uint8), ids)
                        for value, score in zip(ids, j.tolist(), strict=True):
                            for name in (direction, "both"):
                                rows = found.setdefault((name, offset), {})
                                rows.setdefault((folder.name, value), []).append(score)
    means = {key: float(np.mean([np.mean(scores) for scores in rows.values()])) for key, rows in found.items()}
    return {name: {offset: means[name, offset] for offset in offsets} for name in (*DIRECTIONS, "both")}


def main() -> None:
    """Measure, print and optionally write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="camvid")
    parser.add_argument("--root", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--methods", default="flow,nearest")
    parser.add_argument("--offsets", default="1,5,10")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    offsets, methods = [int(offset) for offset in args.offsets.split(",")], args.methods.split(",")
    if args.dataset == "davis":
        for method in methods:
            for direction, row in measure_objects(Path(args.root), method, offsets, args.every).items():
                print(f"{method:8} {direction:9}", " ".join(f"J at {offset}: {j:.3f}" for offset, j in row.items()))
        return
    dataset = create(args.dataset, args.root)
    found = {name: measure(dataset, args.split, name, offsets, args.every) for name in methods}
    print(f"{'method':8} {'direction':9} {'offset':>6}  miou   kept   ignored  boundary-iou")
    for method, directions in found.items():
        for direction, rows in directions.items():
            for offset, row in rows.items():
                figures = f"{row['miou']:.3f}  {row['kept']:.3f}  {row['ignored']:7.3f}  {row['boundary_iou']:.3f}"
                print(f"{method:8} {direction:9} {offset:6}  {figures}")
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
