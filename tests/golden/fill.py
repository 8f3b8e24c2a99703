"""Weights and inputs that anyone can make again from a few numbers: rule `sha256-pcg64-normal-v1`."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

RULE = "sha256-pcg64-normal-v1"

_VALUES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "w": lambda n: n * math.sqrt(2 / math.prod(n.shape[1:])),
    "b": lambda n: 0.01 * n,
    "norm_w": lambda n: 1 + 0.1 * n,
    "norm_b": lambda n: 0.1 * n,
    "bn_mean": lambda n: 0.1 * n,
    "bn_var": lambda n: 1 + 0.1 * np.abs(n),
}
_CONSTANTS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_BLOCK, _LABEL_BLOCK = 16, 8


def fill(keys: Sequence[tuple[str, Sequence[int]]], kinds: Sequence[str], rule: Mapping[str, Any]) -> dict[str, Tensor]:
    """State dict of the authors' network, filled from its names.

    Args:
        keys: Name and shape of every entry.
        kinds: What each entry is; decides its distribution.
        rule: `fill` section of a golden: rule, salt, gains.

    Raises:
        ValueError: Another rule, or a kind of entry that it does not know.
    """
    if rule["rule"] != RULE:
        raise ValueError(f"unknown fill rule {rule['rule']!r}, expected {RULE!r}")
    gains = [(re.compile(pattern), float(factor)) for pattern, factor in rule["gains"]]
    return {
        name: _entry(name, tuple(shape), kind, rule["salt"], gains)
        for (name, shape), kind in zip(keys, kinds, strict=True)
    }


def seed_of(name: str, salt: str = "") -> int:
    """Seed of an entry: the first 8 bytes, little-endian, of SHA-256 of salt + name."""
    return int.from_bytes(hashlib.sha256((salt + name).encode()).digest()[:8], "little")


def make_inputs(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """Inputs by name, from the rows that a golden lists.

    Raises:
        ValueError: A kind of input that is not known.
    """
    return {row["name"]: torch.from_numpy(_input(row)) for row in rows}


def _entry(
    name: str, shape: tuple[int, ...], kind: str, salt: str, gains: Sequence[tuple[re.Pattern[str], float]]
) -> Tensor:
    if kind == "bn_nbt":
        return torch.zeros(shape, dtype=torch.int64)
    factor = math.prod(gain for pattern, gain in gains if pattern.fullmatch(name))
    return torch.from_numpy(np.asarray(_values(name, shape, kind, salt) * factor, dtype=np.float32))


def _values(name: str, shape: tuple[int, ...], kind: str, salt: str) -> np.ndarray:
    if kind == "const":
        return np.array(_CONSTANTS[name.rpartition(".")[2]]).reshape(shape)
    if kind not in _VALUES:
        raise ValueError(f"{name}: unknown kind of entry {kind!r}")
    return _VALUES[kind](np.random.Generator(np.random.PCG64(seed_of(name, salt))).standard_normal(shape))


def _input(row: Mapping[str, Any]) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(row["seed"]))
    shape, kind = tuple(row["shape"]), row["kind"]
    if kind == "labels":
        return _labels(generator, shape, row["n"])
    if kind == "normal":
        return generator.standard_normal(shape).astype(np.float32)
    if kind == "blocks":
        return _blocks(generator, shape).astype(np.float32)
    if kind == "unit":
        return np.clip(0.5 + 0.2 * _blocks(generator, shape), 0, 1).astype(np.float32)
    raise ValueError(f"{row['name']}: unknown kind of input {kind!r}")


def _blocks(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    coarse = generator.standard_normal((*shape[:-2], *(-(-side // _BLOCK) for side in shape[-2:])))
    fine = generator.standard_normal(shape)
    return _repeat(coarse, _BLOCK, shape) + 0.5 * fine


def _labels(generator: np.random.Generator, shape: tuple[int, ...], largest: int) -> np.ndarray:
    coarse = (*shape[:-2], *(-(-side // _LABEL_BLOCK) for side in shape[-2:]))
    return np.ascontiguousarray(_repeat(generator.integers(0, largest + 1, size=coarse), _LABEL_BLOCK, shape))


def _repeat(coarse: np.ndarray, times: int, shape: tuple[int, ...]) -> np.ndarray:
    return coarse.repeat(times, axis=-2).repeat(times, axis=-1)[..., : shape[-2], : shape[-1]]
