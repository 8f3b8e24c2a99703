"""Goldens of partially Huberised and partial cross entropy: the closed forms in double precision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.golden.compare import Deviation, compare_digests, compare_exactly, compare_within
from tests.golden.stated import numbers
from thriftseg.losses import CrossEntropy, PartialCrossEntropy, PartiallyHuberisedCrossEntropy

DOUBLE, SINGLE = 1e-10, 1e-5
"""Relative tolerances of double and single precision."""


def serves(golden: Any) -> bool:
    return isinstance(golden, dict) and str(golden.get("what")).startswith("partially Huberised cross entropy")


def check(golden: dict[str, Any], path: Path) -> Iterator[Deviation]:
    for case in golden["cases"]:
        yield from check_case(case, golden["rule"])
    for row in golden["scalar_table"]:
        yield from check_scalar(row)
    for row in golden["extreme_logits"]:
        yield from check_extreme(row)


def check_case(case: dict[str, Any], rule: dict[str, str]) -> Iterator[Deviation]:
    name, arrays = f"seed {case['seed']}", make_inputs(case, rule["inputs"])
    yield from compare_digests(name, arrays, case["sha256"])
    target = torch.from_numpy(arrays["target_int64"])
    huberised = PartiallyHuberisedCrossEntropy(case["tau"])
    for dtype, relative in ((torch.float64, DOUBLE), (torch.float32, SINGLE)):
        logits = torch.from_numpy(arrays["logits"]).to(dtype).requires_grad_()
        where = f"{name} {dtype}"
        pixels = huberised.pixel_losses(logits, target).flatten()[case["phuber_value_flat_index"]]
        yield compare_within(f"{where} values", pixels.detach(), case["phuber_values"], 4 * relative)
        terms = huberised.terms(logits, target)
        yield compare_within(f"{where} sum", terms.sum.detach(), case["phuber_sum"], relative * case["phuber_sum"])
        yield compare_exactly(f"{where} pixels", int(terms.count), case["valid_pixels"])
        rows = [("phuber", huberised), ("partial_ce", PartialCrossEntropy()), ("partial_ce", CrossEntropy())]
        for kind, loss in rows:
            value, gradient = _evaluate(loss, logits, target)
            expected, norm = case[f"{kind}_mean"], case[f"{kind}_grad_l2"]
            yield compare_within(f"{where} {kind}", value, expected, relative * expected)
            entries = gradient.flatten()[case["grad_flat_index"]]
            yield compare_within(f"{where} {kind} gradient", entries, case[f"{kind}_grad"], relative * norm)
            yield compare_within(f"{where} {kind} gradient norm", gradient.norm(), norm, relative * norm)


def check_scalar(row: dict[str, float]) -> Iterator[Deviation]:
    """Loss and slope of a probability; the slope in p follows from that in the logit, dp/dz = p (1 - p)."""
    p = row["p"]
    logits = torch.tensor([math.log(p), math.log1p(-p) if p < 1 else -math.inf], dtype=torch.float64)
    logits = logits.view(1, 2, 1, 1).requires_grad_()
    where, target = f"tau {row['tau']} p {p:.6g}", torch.zeros(1, 1, 1, dtype=torch.long)
    value, gradient = _evaluate(PartiallyHuberisedCrossEntropy(row["tau"]), logits, target)
    yield compare_within(where, value, row["loss"], DOUBLE * max(1, abs(row["loss"])))
    if p < 1:
        expected = row["dloss_dp"] * p * (1 - p)
        yield compare_within(f"{where} slope", gradient.flatten()[0], expected, 1e-9 * abs(expected))


def check_extreme(row: dict[str, Any]) -> Iterator[Deviation]:
    for dtype, relative in ((torch.float64, DOUBLE), (torch.float32, SINGLE)):
        logits = torch.tensor(row["logits"], dtype=dtype).view(1, -1, 1, 1).requires_grad_()
        target = torch.full((1, 1, 1), row["target"])
        value, gradient = _evaluate(PartiallyHuberisedCrossEntropy(row["tau"]), logits, target)
        where = f"logits {row['logits']} {dtype}"
        yield compare_within(where, value, row["loss"], relative * max(1, abs(row["loss"])))
        yield compare_within(f"{where} gradient", gradient.flatten(), row["grad"], relative)


def make_inputs(case: dict[str, Any], rule: str) -> dict[str, np.ndarray]:
    batch, classes, height, width = case["shape"]
    (factor,) = numbers(r"logits = \(([\d.]+)\*g\.standard_normal", rule)
    generator = np.random.Generator(np.random.PCG64(case["seed"]))
    logits = (factor * generator.standard_normal((batch, classes, height, width))).astype(np.float32)
    target = generator.integers(0, classes, (batch, height, width))
    target[generator.random((batch, height, width)) < case["ignored_share"]] = 255
    return {"logits": logits, "target_int64": target.astype(np.int64)}


def _evaluate(loss: torch.nn.Module, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return value.detach(), gradient
