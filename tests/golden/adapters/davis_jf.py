"""Goldens of J and F: values of the official package of DAVIS 2017 on masks, and its statistics of given lists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.golden.compare import Deviation, compare_exactly, compare_within
from tests.golden.label_maps import read_ids
from tests.golden.stated import stored_arrays
from thriftseg.metrics import JAndF, ObjectScores, VOSProtocol, frame_statistics, object_scores, score_sequence

TOLERANCE = 1e-9
PROTOCOLS: dict[str, VOSProtocol] = {"semi-supervised": "davis", "unsupervised": "davis_unsupervised"}
GLOBAL = {"J&F_mean": "jf_mean"} | {f"{m}_{s}": f"{m.lower()}_{s}" for m in "JF" for s in ("mean", "recall", "decay")}

_LAG = re.compile(
    r"gt\[max\(t-(\d+),0\)\], dy, dx\), dy = (-?\d+) if t is odd else (-?\d+), "
    r"dx = (-?\d+) if t is not a multiple of (\d+) else (-?\d+);"
)
_BOUND = re.compile(r"F_bound_th_([\d.]+)(px)?")


def serves(golden: Any) -> bool:
    return isinstance(golden, dict) and str(golden.get("what")).startswith("DAVIS 2017 J and F")


def check(golden: dict[str, Any], path: Path) -> Iterator[Deviation]:
    for case in golden.get("cases", ()):
        yield from check_case(case, path.parent)
    if "edge_cases" in golden:
        yield from check_frames(golden["edge_cases"], path.parent)
    for case in golden.get("statistics_only", {}).get("cases", ()):
        yield from check_statistics(case)


def check_case(case: dict[str, Any], folder: Path) -> Iterator[Deviation]:
    name, protocol = case["id"], PROTOCOLS[case["task"]]
    metric, expected = JAndF(protocol), case["per_object"]
    assignment = []
    for sequence in dict.fromkeys(key.rpartition("_")[0] for key in expected):
        pred, target = read_sequence(case["inputs"], sequence, folder)
        metric.update(torch.from_numpy(pred), torch.from_numpy(target), sequence)
        scores = score_sequence(pred, target, protocol=protocol, sequence=sequence)
        scores.sort(key=lambda entry: entry.proposal)  # the order in which results are numbered
        assignment += [[entry.proposal, entry.object] for entry in scores]
        numbered = {f"{sequence}_{number}": entry for number, entry in enumerate(scores, 1)}
        known = sorted(key for key in expected if key.rpartition("_")[0] == sequence)
        yield compare_exactly(f"{name} objects of {sequence}", sorted(numbered), known)
        for key, entry in numbered.items():
            yield from check_object(f"{name} {key}", entry, expected.get(key, {}), case.get("per_frame", {}).get(key))
    if "assignment_proposal_to_object" in case:
        yield compare_exactly(f"{name} assignment", assignment, case["assignment_proposal_to_object"])
    scores = metric.compute()
    for score, value in case["global"].items():
        yield compare_within(f"{name} {score}", scores[GLOBAL[score]], value, TOLERANCE)


def check_object(
    name: str, scores: ObjectScores, expected: dict[str, float], per_frame: dict[str, list[float]] | None
) -> Iterator[Deviation]:
    values = {"J": scores.j, "F": scores.f}
    for key, value in expected.items():
        measure, statistic = key.split("_")
        yield compare_within(f"{name} {key}", getattr(frame_statistics(values[measure]), statistic), value, TOLERANCE)
    for measure, recorded in (per_frame or {}).items():
        yield compare_within(f"{name} {measure} per frame", values[measure], recorded, TOLERANCE)


def read_sequence(inputs: dict[str, Any], sequence: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth, (T, H, W)."""
    lag = _LAG.search(inputs["pred"])
    if not lag and not inputs["pred"].startswith(inputs["gt"].split("/")[0]):
        raise ValueError(f"unknown prediction {inputs['pred']!r}")
    names = [str(folder / inputs[role].split(" ")[0].replace("<sequence>", sequence)) for role in ("gt", "pred")]
    if lag:
        target = read_frames(names[0], names[:1])
        return lagged(target, *map(int, lag.groups())), target
    target, pred = (read_frames(name, names) for name in names)
    return pred, target


def read_frames(name: str, counted: list[str]) -> np.ndarray:
    """The frames of a name such as `masks/judo/gt/%05d.png`, counted from 0: as many as the fullest folder has."""
    paths = [Path(each) for each in counted]
    count = max(len(list(path.parent.glob(f"*{path.suffix}"))) for path in paths)
    return np.stack([read_ids(Path(name % number)) for number in range(max(count, 1))])


def lagged(target: np.ndarray, lag: int, *rule: int) -> np.ndarray:
    """Earlier truth, moved by a rule that depends on the frame."""
    dy_odd, dy_even, dx, period, dx_at_period = rule
    frames = []
    for t in range(len(target)):
        move = dy_odd if t % 2 else dy_even, dx if t % period else dx_at_period
        frames.append(moved(target[max(t - lag, 0)], *move))
    return np.stack(frames)


def moved(ids: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Put what is at (y, x) at (y + dy, x + dx); background enters."""
    height, width = ids.shape
    padded = np.pad(ids, ((abs(dy), abs(dy)), (abs(dx), abs(dx))))
    top, left = abs(dy) - dy, abs(dx) - dx
    return padded[top : top + height, left : left + width]


def check_frames(section: dict[str, Any], folder: Path) -> Iterator[Deviation]:
    """Single masks, with and without void pixels, and at other tolerances."""
    masks = stored_arrays(folder / section["inputs"].split(":")[0], "pred", "gt", "void")
    for key, expected in section.items():
        if key in ("inputs", "frames"):
            continue
        bound, void = _BOUND.fullmatch(key), key.endswith("_with_void")
        if not bound and key.removesuffix("_with_void") not in ("J", "F"):
            raise ValueError(f"unknown key {key} of edge_cases")
        settings = {"bound_th": float(bound[1])} if bound else {}
        scores = [
            object_scores(pred, target, [1], void=unscored.astype(bool) if void else None, **settings)
            for pred, target, unscored in zip(*masks, strict=True)
        ]
        values = [float((f if key.startswith("F") else j)[0]) for j, f in scores]
        yield compare_within(f"edge cases {key}", values, expected, TOLERANCE)


def check_statistics(case: dict[str, Any]) -> Iterator[Deviation]:
    statistics = frame_statistics(np.array(case["values"], np.float64))
    for name in ("mean", "recall", "decay"):
        yield compare_within(f"statistics of {case['n']} {name}", getattr(statistics, name), case[name], TOLERANCE)
