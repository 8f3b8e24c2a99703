"""Goldens of Boundary IoU: counts of the authors' `mask_to_boundary`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.golden.compare import Deviation, compare_exactly, compare_within
from tests.golden.label_maps import prediction, read_ids
from tests.golden.stated import numbers
from thriftseg.metrics import BoundaryIoU, class_iou
from thriftseg.metrics.boundary_iou import boundary_counts, boundary_map, boundary_width

TOLERANCE = 1e-9


def serves(golden: Any) -> bool:
    return isinstance(golden, dict) and str(golden.get("what")).startswith("Boundary IoU")


def check(golden: dict[str, Any], path: Path) -> Iterator[Deviation]:
    camvid, objects = golden.get("camvid", {}), golden.get("davis_objects", {})
    maps = path.parent / camvid.get("inputs", {}).get("gt", "camvid_labels/gt/<file>").split("/gt/")[0]
    for case in camvid.get("cases", ()):
        for dtype in (torch.uint8, torch.int64):  # two ways through the code
            yield from check_camvid(case, camvid["inputs"], maps, dtype)
    for case in objects.get("cases", ()):
        yield from check_object(case, path.parent / objects["inputs"].split("/<sequence>")[0] / case["sequence"])
    for case in golden.get("rounding", ()):
        yield from check_rounding(case, maps / "gt")
    for case in golden.get("small_masks", ()):
        yield from check_small_mask(case)


def check_camvid(case: dict[str, Any], rules: dict[str, str], folder: Path, dtype: torch.dtype) -> Iterator[Deviation]:
    name = f"{case['pred']} {case['width']} {case['variant']} {dtype}"
    plain, ratio = case["variant"] == "plain", case["width"].startswith("ratio_")
    (void,) = numbers(r"(\d+) = void", rules["gt"])
    metric = BoundaryIoU(
        len(case["accumulated_class_iou"]),
        width=None if ratio else case["d_pixels"],
        ratio=float(case["width"].removeprefix("ratio_")) if ratio else None,
        void="none" if plain else case["variant"],
        ignore_index=255 if plain else int(void),
    )
    per_image = []
    for file, expected in case["counts_per_image"].items():
        target = read_ids(folder / "gt" / file)
        pred = prediction(case["pred"], target, rules[f"pred {case['pred']}"], folder / "pred_noise" / file)
        before = metric.counts.clone()
        metric.update(_tensor(pred, dtype), _tensor(target, dtype))
        counts = metric.counts - before
        yield compare_exactly(f"{name} {file}", counts.T.tolist(), expected)
        per_image.append(class_iou(counts).nanmean().item())
    result = metric.compute()
    yield compare_within(f"{name} classes", result["per_class"], _floats(case["accumulated_class_iou"]), TOLERANCE)
    yield compare_within(f"{name} mean", result["boundary_iou"], case["accumulated_mean"], TOLERANCE)
    yield compare_within(f"{name} per image", per_image, _floats(case["per_image_mean"]), TOLERANCE)


def check_object(case: dict[str, Any], folder: Path) -> Iterator[Deviation]:
    name = f"{case['sequence']} {case['object']} {case['width']}"
    per_frame = []
    for index, expected in enumerate(case["counts_per_frame"]):
        masks = [read_ids(folder / part / f"{index:05d}.png") == case["object"] for part in ("pred", "gt")]
        counts = boundary_counts(*(_tensor(mask) for mask in masks), 2, case["d_pixels"], void="none")
        yield compare_exactly(f"{name} frame {index}", counts[:, 1].tolist(), expected)
        per_frame.append(class_iou(counts)[1].item())
    yield compare_within(name, per_frame, _floats(case["iou_per_frame"]), TOLERANCE)
    yield compare_within(f"{name} mean", np.nanmean(per_frame), case["mean_over_frames_with_union"], TOLERANCE)


def check_rounding(case: dict[str, Any], folder: Path) -> Iterator[Deviation]:
    found = re.fullmatch(r"(\S+) rows (\d+)\.\.(\d+), columns (\d+)\.\.(\d+)", case["input"])
    if found is None:
        raise ValueError(f"unknown input {case['input']!r}")
    top, bottom, left, right = map(int, found.groups()[1:])
    part = _tensor(read_ids(folder / found[1])[top : bottom + 1, left : right + 1])
    d = boundary_width(case["ratio"], *part.shape[-2:])
    yield compare_exactly(f"{case['input']} {case['ratio']}", d, case["d_pixels"])
    counts = boundary_counts(part, part, len(case["boundary_pixels_per_class"]), d, void="none")
    yield compare_exactly(f"{case['input']} {d}", counts[1].tolist(), case["boundary_pixels_per_class"])


def check_small_mask(case: dict[str, Any]) -> Iterator[Deviation]:
    mask = _tensor(np.array(case["mask"]))
    boundary = boundary_map(mask, case["d"]) & (mask == 1)
    yield compare_exactly(f"{case['name']} {case['d']}", boundary[0].int().tolist(), case["boundary"])
    counted = boundary_counts(mask, mask, 2, case["d"], void="none")[1, 1].item()
    yield compare_exactly(f"{case['name']} {case['d']} count", counted, int(np.sum(case["boundary"])))


def _tensor(ids: np.ndarray, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(ids)).to(dtype)[None]


def _floats(values: list[float | None]) -> np.ndarray:
    return np.array(values, np.float64)
