"""Goldens of the Cityscapes scores: values of the official script on relabelled maps."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden.compare import Deviation, compare_exactly, compare_within
from tests.golden.label_maps import prediction, read_ids, states_shift
from thriftseg.metrics import ConfusionScores
from thriftseg.reports.scoring.classes import category_iou
from thriftseg.taxonomies import TAXONOMIES

TOLERANCE = 1e-9
PUBLIC_RULES = {"pred minfilter": "(dy,dx) = (-1,2)"}
"""Rules of the Boundary IoU golden that these cases refer to, for a golden that does not lie beside that one; digests
tell whether they hold."""

_RECTANGLE = re.compile(r"rows (\d+)\.\.(\d+)(, columns \d+\.\.\d+)? = (\d+)")


def serves(golden: Any) -> bool:
    return isinstance(golden, dict) and str(golden.get("what")).startswith("Cityscapes pixel-level IoU")


def check(golden: dict[str, Any], path: Path) -> Iterator[Deviation]:
    words: dict[str, dict[str, str]] = {}
    for case in golden["cases"]:
        words[case["id"]] = {role: _resolved(case["inputs"][role], role, words) for role in ("gt", "pred")}
        for dtype in (torch.uint8, torch.int64):  # two ways through the code
            yield from check_case(case, golden["files"], words[case["id"]], path.parent, dtype)


def check_case(
    case: dict[str, Any], files: list[str], words: dict[str, str], folder: Path, dtype: torch.dtype
) -> Iterator[Deviation]:
    name, taxonomy = f"{case['id']} {dtype}", TAXONOMIES["cityscapes"]
    metric, lists, true_maps = ConfusionScores(taxonomy.num_classes), _id_lists(words), _folder_of(words["gt"], folder)
    kind, rule = _kind_and_rule(words["pred"], folder)
    for index, file in enumerate(files):
        target = read_ids(true_maps / file)
        pred = prediction(kind, target, rule, true_maps.parent / "pred_noise" / file)
        maps = [np.array(ids, np.uint8)[part] for ids, part in zip(lists, (target, pred), strict=True)]
        _edit(maps[1], words["pred"])
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


def _resolved(words: str, role: str, earlier: dict[str, dict[str, str]]) -> str:
    """Words of an input, after those of the case they refer to."""
    reference = re.search(r"as case (\w+)", words)
    return f"{earlier[reference[1]][role]}; {words}" if reference else words


def _folder_of(words: str, folder: Path) -> Path:
    """Folder of the true maps, which lie beside the golden: `<folder>/gt`."""
    found = re.search(r"[\w/]+/gt\b", words)
    if found is None:
        raise ValueError(f"no folder of true maps in {words!r}")
    return folder / found[0]


def _kind_and_rule(words: str, folder: Path) -> tuple[str, str]:
    """Which rule made a prediction, and its wording: here, or in the golden beside this one that is named."""
    kind = next((kind for kind in ("minfilter", "noise", "shift") if kind in words), None)
    if kind is None:
        raise ValueError(f"unknown prediction {words!r}")
    named = re.search(r"rule of (\S+\.json)", words)
    if kind == "noise" or named is None or states_shift(words):
        return kind, words
    beside = folder / named[1]
    rules = json.loads(beside.read_bytes())["camvid"]["inputs"] if beside.is_file() else PUBLIC_RULES
    return kind, rules[f"pred {kind}"]


def _id_lists(words: dict[str, str]) -> list[list[int]]:
    """The lists that turn the ids of the maps into those of Cityscapes, of truth and prediction."""
    lists: list[list[int]] = []
    for role in ("gt", "pred"):
        found = re.findall(r"\[([\d, ]+)\]", words[role])
        lists.append([int(entry) for entry in found[-1].split(",")] if found else lists[0])  # else "same list"
    return lists


def _edit(ids: np.ndarray, rule: str) -> None:
    """Paint the rectangles that the rule of a prediction names."""
    for top, bottom, columns, raw in _RECTANGLE.findall(rule):
        left, right = map(int, re.findall(r"\d+", columns)) if columns else (0, ids.shape[1])
        ids[int(top) : int(bottom) + 1, left : right + 1] = int(raw)
