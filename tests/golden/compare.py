"""Deviation of results from recorded statistics, in units of what is allowed."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

RELATIVE, OF_STD = 1e-4, 5e-4
"""A value may differ by 1e-4 of itself plus 5e-4 of the standard deviation of its output."""

PROBE_TOLERANCE = 1e-5
"""Allowed relative difference of generated weights and inputs, which are recorded with nine digits."""

FEW_PIXELS, PIXEL_SHARE = 4, 0.002
"""Pixels whose class may differ."""

SAMPLES, PROJECTIONS = 64, 4
KEPT = 2**20
"""Numbers of a direction that are kept for the next output."""


@dataclass(frozen=True)
class Deviation:
    """How far one recorded quantity is missed.

    Attributes:
        where: The quantity.
        ratio: Largest difference over what is allowed; above 1 is a mismatch, infinite where nothing compares.
    """

    where: str
    ratio: float

    @property
    def accepted(self) -> bool:
        return self.ratio <= 1


def describe(values: Tensor) -> dict[str, Any]:
    """The statistics of an output that a golden records."""
    flat = values.detach().cpu().double().numpy().ravel()
    row: dict[str, Any] = {
        "shape": list(values.shape),
        "mean": float(flat.mean()),
        "std": float(flat.std()),
        "absmax": float(np.abs(flat).max()),
        "sample": flat[_sample_positions(flat.size)].tolist(),
        "proj": _projections(flat),
    }
    if values.ndim >= 2:
        row["argmax_hist"] = np.bincount(values.argmax(1).cpu().flatten(), minlength=values.shape[1]).tolist()
    return row


def compare_output(row: Mapping[str, Any], values: Tensor) -> Iterator[Deviation]:
    """Compare an output with its recorded statistics."""
    name = row["name"]
    if list(values.shape) != list(row["shape"]):
        yield Deviation(f"{name}: shape {list(values.shape)}, expected {list(row['shape'])}", math.inf)
        return
    got = describe(values)
    for statistic in ("mean", "std", "absmax", "sample", "proj"):
        yield Deviation(f"{name} {statistic}", _ratio(got[statistic], row[statistic], row["std"]))
    if "argmax_hist" in row and values.ndim >= 4:
        yield Deviation(f"{name} argmax", _pixels(got["argmax_hist"], row["argmax_hist"]))


def compare_exactly(where: str, got: object, expected: object) -> Deviation:
    """Compare what must be equal."""
    if got == expected:
        return Deviation(where, 0.0)
    return Deviation(f"{where} {got}, expected {expected}", math.inf)


def compare_within(where: str, got: ArrayLike, expected: ArrayLike, allowed: float) -> Deviation:
    """Compare numbers of any shape with an absolute tolerance; NaN, or `None`, equals itself."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.shape != expected.shape:
        return Deviation(f"{where}: shape {got.shape}, expected {expected.shape}", math.inf)
    both_undefined = np.isnan(got) & np.isnan(expected)
    return Deviation(where, _largest(np.where(both_undefined, 0.0, np.abs(got - expected)), np.asarray(allowed)))


def compare_digests(where: str, arrays: Mapping[str, np.ndarray], expected: Mapping[str, str]) -> Iterator[Deviation]:
    """Compare generated arrays with the recorded SHA-256 of their bytes in C order."""
    for name, digest in expected.items():
        if name not in arrays:
            yield Deviation(f"{where} {name}: not made", math.inf)
            continue
        array = np.ascontiguousarray(arrays[name])
        yield compare_exactly(f"{where} {name}", hashlib.sha256(array.tobytes()).hexdigest(), digest)


def compare_probe(where: str, got: object, expected: object) -> Deviation:
    """Compare generated numbers with their recorded digits."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.shape != expected.shape:
        return Deviation(f"{where}: {got.size} values, expected {expected.size}", math.inf)
    return Deviation(where, _largest(np.abs(got - expected), PROBE_TOLERANCE * np.maximum(np.abs(expected), 1e-3)))


def _ratio(got: object, expected: object, std: float) -> float:
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if got.shape != expected.shape:
        return math.inf
    return _largest(np.abs(got - expected), OF_STD * std + RELATIVE * np.abs(expected))


def _pixels(got: list[int], expected: list[int]) -> float:
    if len(got) != len(expected):
        return math.inf
    moved = np.abs(np.subtract(got, expected)).sum()
    return float(moved / max(FEW_PIXELS, PIXEL_SHARE * sum(expected)))


def _largest(difference: np.ndarray, allowed: np.ndarray) -> float:
    """Largest quotient; what is not finite, or differs where nothing may, is infinitely far away."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(difference == 0, 0.0, difference / allowed)
    return float(np.nan_to_num(ratio, nan=math.inf, posinf=math.inf).max(initial=0.0))


def _sample_positions(size: int) -> np.ndarray:
    positions = np.arange(SAMPLES, dtype=np.int64) * 1000003 + 17
    return np.arange(size) if size <= SAMPLES else positions % size


def _projections(flat: np.ndarray) -> list[float]:
    return [float(flat @ _direction(k, flat.size) / math.sqrt(flat.size)) for k in range(PROJECTIONS)]


def _direction(k: int, size: int) -> np.ndarray:
    """The first numbers do not depend on how many are drawn."""
    return _drawn(k)[:size] if size <= KEPT else _draw(k, size)


def _draw(k: int, size: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(9000 + k)).standard_normal(size)


@functools.cache
def _drawn(k: int) -> np.ndarray:
    return _draw(k, KEPT)
