"""Where masks of objects are wrong, by the distance from the true boundary of the object.

    python -m benchmarks.mask_noise --dataset davis --root DAVIS --split train --source grabcut [--store labels/davis]
        [--weights runs/NAME/checkpoints/last.ckpt ...]

Of each band of distances: the share of its pixels that are wrong, the share that carries no label, its part of all
wrong pixels, and how many of these stand in the mask though they are background. Distances are in pixels, to the
nearest pixel of the other side; objects count one by one.

Of each network: what it thinks of wrong and of right labels of the frames after the first of training clips. A label of
probability p pulls with min(1, tau p) of the gradient of cross entropy where the loss is Huberised.
"""

from __future__ import annotations

import argparse
from itertools import islice, pairwise

import cv2
import numpy as np
import torch

from thriftseg.datamodules import VOSDataModule
from thriftseg.datasets import VOSDataset
from thriftseg.datasets.images import read_label_png
from thriftseg.datasets.registry import create_vos
from thriftseg.lightning_modules import VideoObjectSegmentation
from thriftseg.lightning_modules.video_objects import first_masks
from thriftseg.stores import LabelStore, store_root
from thriftseg.types import IGNORE_INDEX

BANDS = (1, 2, 3, 5, 9, 17, 33, 10_000)
TAU = 3.0
CLIPS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--dataset", "--root", "--source"):
        parser.add_argument(name, required=True)
    parser.add_argument("--split", default="train")
    parser.add_argument("--store")
    parser.add_argument("--weights", nargs="*", default=[])
    args = parser.parse_args()
    dataset = create_vos(args.dataset, args.root)
    store = LabelStore(store_root(args.store, dataset.name), args.source, dataset.taxonomy)
    counts = np.zeros((len(BANDS) - 1, 4), np.int64)  # pixels, without a label, wrong, of these background
    for clip in dataset.clips(args.split):
        for row in store.usable_of([clip.video])[clip.video]:
            counts += by_distance(dataset.read_label(clip, row.frame), read_label_png(store.file_of(row)))
    print("| distance | wrong % | no label % | part of all wrong % | of these background % |\n|---|---|---|---|---|")
    for (low, high), (pixels, without, wrong, outside) in zip(pairwise(BANDS), counts, strict=True):
        shares = wrong / pixels, without / pixels, wrong / counts[:, 2].sum(), outside / max(wrong, 1)
        name = f"{low}" if high == low + 1 else f"{low} to {high - 1}" if high < BANDS[-1] else f"from {low}"
        print(f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")
    pixels, without, wrong, outside = counts.sum(axis=0) / counts[:, 0].sum() * 100
    print(f"| all | {wrong:.2f} | {without:.2f} | 100 | {100 * outside / wrong:.1f} |")
    if args.weights:
        print(f"\n| network | labels | p below 1/{TAU:g} % | mean pull % |\n|---|---|---|---|")
    for path in args.weights:
        network = VideoObjectSegmentation.load_from_checkpoint(path, map_location="cpu").eval()
        found = probabilities(network, dataset, args.source, args.store, args.split)
        for name, p in zip(("wrong", "right"), found, strict=True):
            below, pull = (p < 1 / TAU).double().mean(), (TAU * p).clamp(max=1).double().mean()
            print(f"| {path} | {name} | {100 * below:.1f} | {100 * pull:.1f} |")


@torch.inference_mode()
def probabilities(
    network: VideoObjectSegmentation, dataset: VOSDataset, source: str, store: str | None, split: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network gives the wrong and the right labels, pixel by pixel."""
    loaders = []
    for labels in (source, "manual"):  # the same clips and crops, since these come from the seed alone
        clips = VOSDataModule(
            dataset, crop=(96, 160), labels=labels, store=store, resize=96, clips_per_video=CLIPS,
            photometric=False, batch_size=1, num_workers=0, seed=0, train_split=split,
        )  # fmt: skip
        clips.setup("fit")
        loaders.append((clips, clips.train_dataloader()))
    wrong, right = [], []
    for given, true in islice(zip(*(loader for _, loader in loaders), strict=True), CLIPS):
        if given["object_ids"] != true["object_ids"]:
            continue
        batch = loaders[0][0].on_after_batch_transfer(given)
        masks, count = batch["masks"], int(batch["num_objects"].max())
        logits = network(batch["frames"], first_masks(masks[:, 0], count), batch["num_objects"])
        chances = logits.softmax(dim=2)[:, 1:]
        known = (masks[:, 1:] != IGNORE_INDEX) & (true["masks"][:, 1:] != IGNORE_INDEX)
        of_label = chances.gather(2, masks[:, 1:].long().clamp(max=count).unsqueeze(2)).squeeze(2)
        is_right = masks[:, 1:] == true["masks"][:, 1:]
        wrong.append(of_label[known & ~is_right])
        right.append(of_label[known & is_right])
    return torch.cat(wrong), torch.cat(right)


def by_distance(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Counts by band, over the objects of a frame."""
    counts = []
    for value in set(np.unique(truth).tolist()) - {0, IGNORE_INDEX}:
        inside = (truth == value).astype(np.uint8)
        distance = np.maximum(*(cv2.distanceTransform(side, cv2.DIST_L2, 5) for side in (inside, 1 - inside)))
        band = (np.digitize(distance, BANDS) - 1).clip(0, len(BANDS) - 2)  # an object may fill the frame
        known = truth != IGNORE_INDEX
        kept = known & (mask != IGNORE_INDEX)
        wrong = kept & ((mask == value) != (inside == 1))
        parts = (known, known & ~kept, wrong, wrong & (inside == 0))
        counts.append(np.stack([np.bincount(band[part], minlength=len(BANDS) - 1) for part in parts], axis=1))
    return np.sum(counts, axis=0) if counts else np.zeros((len(BANDS) - 1, 4), np.int64)


if __name__ == "__main__":
    main()
