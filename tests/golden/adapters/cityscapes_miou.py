"""Goldens of the Cityscapes scores: values of the official script on relabelled maps."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden.compare import Deviation, compare_exactly, compare_within
from tests.golden.label_maps import prediction, read_ids
from thriftseg.metrics import ConfusionScores
from thriftseg.reports.scoring.classes import category_iou
from thriftseg.taxonomies import TAXONOMIES

TOLERANCE = 1e-9
SHIFT_RULES = {"shift": "clip(y-(2) clip(x-(3)", "minfilter": "(dy,dx) = (-1,2)"}
"""The rules of the Boundary IoU golden, which these cases refer to."""

_RECTANGLE = re.compile(r"rows (\d+)\.\.(\d+)(, columns \d+\.\.\d+)? = (\d+)")


def serves(golden: Any) -> bool:
    return isinstance(golden, dict) and str(golden.get("what")).startswith("Cityscapes pixel-level IoU")


def check(golden: dict[str, Any], path: Path) -> Iterator[Deviation]:
    folder, lists = path.parent / "camvid_labels", {}
    for case in golden["cases"]:
        lists[case["id"]] = _id_lists(case["inputs"], lists)
        for dtype in (torch.uint8, torch.int64):  # two ways through the code
            yield from check_case(case, golden["files"], lists[case["id"]], folder, dtype)


def check_case(
    case: dict[str, Any], files: list[str], lists: tuple[list[int], list[int]], folder: Path, dtype: torch.dtype
) -> Iterator[Deviation]:
    name, taxonomy = f"{case['id']} {dtype}", TAXONOMIES["cityscapes"]
    metric = ConfusionScores(taxonomy.num_classes)
    for index, file in enumerate(files):
        target = read_ids(folder / "gt" / file)
        pred = prediction(_kind(case), target, SHIFT_RULES.get(_kind(case), ""), folder / "pred_noise" / file)
        maps = [np.array(ids, np.uint8)[part] for ids, part in zip(lists, (target, pred), strict=True)]
        _edit(maps[1], case["inputs"]["pred"])
        for role, raw in zip(("gt", "pred"), maps, strict=True):
            digest = hashlib.sha256(np.ascontiguousarray(raw).tobytes()).hexdigest()
            yield compare_exactly(f"{name} {role} {file}", digest, case[f"sha256_{role}_ids"][index])
        truth, guess = (torch.from_numpy(taxonomy.to_train_ids(raw))[None].to(dtype) for raw in maps)
        metric.update(guess, truth)
    result = metric.compute()
    per_class = {"class_iou": result["iou"], "class_accuracy": result["accuracy"]}
    derived = case["derived_from_official_matrix"]
    expected = {"class_iou": case["class_iou"], "class_accuracy": derived["class_accuracy"]}
    for score, values in per_class.items():
        known = [expected[score].get(class_name, np.nan) for class_name in taxonomy.class_names]
        yield compare_within(f"{name} {score}", values, known, TOLERANCE)
    for score, value in (("miou", case["mIoU"]), ("macc", derived["mAcc"])):
        yield compare_within(f"{name} {score}", result[score], value, TOLERANCE)
    categories = category_iou(result["confusion"].numpy(), taxonomy)
    yield compare_within(
        f"{name} categories", list(categories.values()), [case["category_iou"][c] for c in categories], TOLERANCE
    )
    yield compare_within(
        f"{name} category mean", np.nanmean(list(categories.values())), case["category_mIoU"], TOLERANCE
    )
    yield compare_within(f"{name} pixel accuracy", result["pixel_accuracy"], derived["pixel_accuracy"], TOLERANCE)


def _kind(case: dict[str, Any]) -> str:
    """Which rule made the prediction: it is named in the text, or the case."""
    text = f"{case['inputs']['pred']} {case['id']}"
    return next(kind for kind in ("minfilter", "noise", "shift") if kind in text)


def _id_lists(inputs: dict[str, str], earlier: dict[str, tuple[list[int], list[int]]]) -> tuple[list[int], list[int]]:
    """The lists that turn the ids of the maps into those of Cityscapes, of truth and prediction."""
    lists: list[list[int]] = []
    for position, role in enumerate(("gt", "pred")):
        found, reference = re.search(r"\[([\d, ]+)\]", inputs[role]), re.search(r"as case (\w+)", inputs[role])
        if found:
            lists.append([int(entry) for entry in found[1].split(",")])
        elif reference:
            lists.append(earlier[reference[1]][position])
        else:
            lists.append(lists[0])  # "same list"
    return lists[0], lists[1]


def _edit(ids: np.ndarray, rule: str) -> None:
    """Paint the rectangles that the rule of a prediction names."""
    for top, bottom, columns, raw in _RECTANGLE.findall(rule):
        left, right = map(int, re.findall(r"\d+", columns)) if columns else (0, ids.shape[1])
        ids[int(top) : int(bottom) + 1, left : right + 1] = int(raw)
