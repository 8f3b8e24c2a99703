"""Goldens of the Gated CRF loss: values and gradients of the authors' module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from tests.golden.compare import Deviation, compare_digests, compare_within
from tests.golden.stated import beside, numbers, stored_arrays
from thriftseg.losses.gated_crf import GaussianKernel, gated_crf_loss

DOUBLE, SINGLE = 1e-6, 1e-5
"""Relative tolerances; the authors' positions are single precision in either case."""

_LOGITS = re.compile(
    r"logits = (?P<factor>[\d.]+)\*onehot\((?P<labels>\S+), \d+\) \+ Generator\(PCG64\((?P<seed>\d+)\)\)"
)
_VOID = re.compile(r"labels != (\d+)")
_CHANGE = re.compile(r"\[([\d:,]+)\] (\*?)= (NaN|[\d.]*\d)")


def serves(golden: Any) -> bool:
    return isinstance(golden, dict) and "Gated CRF" in str(golden.get("what"))


def check(golden: dict[str, Any], path: Path) -> Iterator[Deviation]:
    for case in golden["cases"]:
        yield from check_case(case, path.parent)


def check_case(case: dict[str, Any], folder: Path) -> Iterator[Deviation]:
    name, inputs = case["id"], make_inputs(case, folder)
    yield from compare_digests(name, inputs, case["inputs"]["sha256"])
    for precision, tolerance in ((torch.float64, DOUBLE), (torch.float32, SINGLE)):
        expected = case[f"loss_float{precision.itemsize * 8}"]
        loss, gradient = evaluate(case, inputs, precision)
        yield compare_within(f"{name} loss {precision}", loss, expected, tolerance * abs(expected))
        largest = case["grad_max_abs"]
        entries = gradient.flatten()[case["grad_flat_index"]]
        yield compare_within(f"{name} gradient {precision}", entries, case["grad_float64"], 1e-5 * largest)
        for statistic, value in (("l2", gradient.norm()), ("sum", gradient.sum()), ("abs_sum", gradient.abs().sum())):
            expected = case[f"grad_{statistic}_float64"]
            yield compare_within(f"{name} gradient {statistic} {precision}", value, expected, 1e-5 * abs(expected))
        if "npz" in case:
            (stored,) = stored_arrays(folder / case["npz"], "grad_float64")
            yield compare_within(f"{name} whole gradient {precision}", gradient, stored, 1e-5 * largest)
    if "kernel_sum_over_denominator" in case:
        expected = case["kernel_sum_over_denominator"]
        flat = {**inputs, "y": np.zeros_like(inputs["y"])}  # without any class only the affinities remain
        value, _ = evaluate(case, flat, torch.float64)
        yield compare_within(f"{name} affinities", value, expected, DOUBLE * expected)


def evaluate(case: dict[str, Any], inputs: dict[str, np.ndarray], precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Loss of a case and its gradient with respect to the probabilities."""
    tensors = {name: torch.from_numpy(array).to(precision) for name, array in inputs.items()}
    probabilities = tensors["y"].requires_grad_()
    kernels = [GaussianKernel(row["weight"], row.get("xy"), row.get("rgb")) for row in case["kernels"]]
    masks = {"source": tensors.get("mask_src"), "destination": tensors.get("mask_dst")}
    loss = gated_crf_loss(probabilities, tensors["rgb"], kernels, case["radius"], **masks, outside="zero_padded")
    loss.backward()
    return loss.detach(), probabilities.grad


def make_inputs(case: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """The arrays y, rgb and, where the case has them, mask_src and mask_dst, float32."""
    inputs = _seeded(case) if "seed" in case["inputs"] else _from_pictures(case, folder)
    return {name: array for name, array in inputs.items() if case.get(name, True)}


def _seeded(case: dict[str, Any]) -> dict[str, np.ndarray]:
    batch, _, height, width = case["shape_rgb"]
    rule = case["inputs"]["rule"]
    (factor,) = numbers(r"logits = ([\d.]+)\*g\.standard_normal", rule)
    least = numbers(r"mask_src = \(s > ([\d.]+)\), mask_dst = \(d > ([\d.]+)\)", rule)
    generator = np.random.Generator(np.random.PCG64(case["inputs"]["seed"]))
    logits = factor * generator.standard_normal(case["shape_y"])
    rgb = generator.random((batch, 3, height, width))
    source, destination = (generator.random((batch, 1, height, width)) for _ in range(2))
    for _ in range(2):
        rgb = (rgb + np.roll(rgb, 1, axis=2) + np.roll(rgb, 1, axis=3) + np.roll(rgb, (1, 1), axis=(2, 3))) / 4
    source, destination = (
        (mask > bound).astype(np.float32) for mask, bound in zip((source, destination), least, strict=True)
    )
    for where, times, value in _CHANGE.findall(case["inputs"].get("extra", "")):
        place = tuple(_index(axis) for axis in where.split(","))
        source[place] = np.float32(value) * (source[place] if times else 1)
    return {
        "y": _softmax(logits),
        "rgb": rgb.astype(np.float32),
        "mask_src": source,
        "mask_dst": destination,
    }


def _index(axis: str) -> int | slice:
    """`0`, `:` or `1::5` as an index."""
    if ":" not in axis:
        return int(axis)
    return slice(*(int(bound) if bound else None for bound in axis.split(":")))


def _from_pictures(case: dict[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """Inputs made from a picture and its labels by the rules in words."""
    rules, shape = case["inputs"], case["shape_y"]
    rule, void = _LOGITS.search(rules["y"]), _VOID.search(rules["mask_src"])
    if rule is None or void is None:
        raise ValueError(f"unknown inputs {rules}")
    path = beside(folder / rules["rgb"].split()[0])
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    labels = cv2.imread(str(beside(path.parent / rule["labels"])), cv2.IMREAD_UNCHANGED)
    noise = np.random.Generator(np.random.PCG64(int(rule["seed"]))).standard_normal(shape)
    one_hot = np.eye(shape[1])[labels].transpose(2, 0, 1)
    return {
        "y": _softmax(float(rule["factor"]) * one_hot + noise),
        "rgb": (picture.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32),
        "mask_src": (labels != int(void[1])).astype(np.float32)[None, None],
    }


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (exponents / exponents.sum(axis=1, keepdims=True)).astype(np.float32)
