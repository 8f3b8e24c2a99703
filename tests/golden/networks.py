"""Goldens of networks: the authors' keys, filled by rule, give the recorded outputs for inputs made by rule."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tests.golden.compare import Deviation, compare_exactly, compare_output, compare_probe
from tests.golden.fill import fill, make_inputs
from thriftseg.zoo import Network
from thriftseg.zoo.undrawn import Undrawn
from thriftseg.zoo.weights.official import load_official

Golden = dict[str, Any]

REQUIRED = {"model", "config", "fill", "keys", "kinds", "inputs", "outputs"}
"""Sections that every golden of a network has."""

SECTIONS = REQUIRED | {"source", "checkpoint", "call", "attention", "fill_probes", "sensitivity", "predicted_bin"}
FILL = {"rule", "salt", "gains", "n_gained"}
FILL_PROBES = {"first4", "abs_sum_all"}
INPUT = {"name", "seed", "shape", "kind", "n", "dtype", "probe_first4", "probe_mean", "probe_hist"}
OUTPUT = {"name", "shape", "mean", "std", "absmax", "sample", "proj", "argmax_hist"} | {
    "role",
    "f64_maxdiff",
    "argmax_ties_1e-4",
}


class Adapter(Protocol):
    """A module of `tests/golden/adapters` that serves networks."""

    MODELS: Sequence[str]

    def build(self, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Network:
        """Network in evaluation mode for the authors' entries."""

    def run(self, network: Any, inputs: dict[str, Tensor], golden: Golden) -> dict[str, Tensor]:
        """Outputs by name."""


def check_network(golden: Golden, adapter: Adapter) -> Iterator[Deviation]:
    """Compare a network of this package with a golden of its authors' network.

    Raises:
        ValueError: The golden has a section, or a field in one, that is not known, or lacks one.
    """
    _check_fields(golden)
    weights = fill(golden["keys"], golden["kinds"], golden["fill"])
    yield from _check_weights(golden, weights)
    inputs = make_inputs(golden["inputs"])
    yield from _check_inputs(golden["inputs"], inputs)
    with Undrawn():
        network = adapter.build(golden["config"], {name: tuple(value.shape) for name, value in weights.items()}).eval()
    load_official(network, weights)
    with torch.inference_mode(), _full_precision():
        outputs = adapter.run(network, inputs, golden)
    yield from _check_outputs(golden, outputs)


def _check_fields(golden: Golden) -> None:
    if missing := REQUIRED - golden.keys():
        raise ValueError(f"golden lacks {', '.join(sorted(missing))}")
    _refuse_unknown("golden", golden, SECTIONS)
    _refuse_unknown("fill", golden["fill"], FILL)
    _refuse_unknown("fill_probes", golden.get("fill_probes", {}), FILL_PROBES)
    for row in golden["inputs"]:
        _refuse_unknown(f"input {row['name']}", row, INPUT)
    for row in golden["outputs"]:
        _refuse_unknown(f"output {row['name']}", row, OUTPUT)
        if row["role"] not in ("final", "tap"):
            raise ValueError(f"output {row['name']}: unknown role {row['role']!r}")
    if not any(row["role"] == "final" for row in golden["outputs"]):
        raise ValueError("golden has no final output")


def _refuse_unknown(where: str, found: Mapping[str, Any], known: set[str]) -> None:
    if unknown := found.keys() - known:
        raise ValueError(f"{where} has unknown key {', '.join(sorted(unknown))}")


def _check_weights(golden: Golden, weights: dict[str, Tensor]) -> Iterator[Deviation]:
    probes, rule = golden.get("fill_probes", {}), golden["fill"]
    for name, expected in probes.get("first4", {}).items():
        yield compare_probe(f"weights of {name}", weights[name].flatten()[:4], expected)
    if "abs_sum_all" in probes:
        total = sum(float(value.double().abs().sum()) for value in weights.values())
        yield compare_probe("sum of all weights", total, probes["abs_sum_all"])
    if "n_gained" in rule:
        gained = sum(any(re.fullmatch(pattern, name) for pattern, _ in rule["gains"]) for name in weights)
        yield compare_exactly("entries with a gain", gained, rule["n_gained"])


def _check_inputs(rows: Sequence[Mapping[str, Any]], inputs: dict[str, Tensor]) -> Iterator[Deviation]:
    for row in rows:
        value = inputs[row["name"]]
        where = f"input {row['name']}"
        if "dtype" in row:
            yield compare_exactly(f"{where} type", str(value.dtype).removeprefix("torch."), row["dtype"])
        if "probe_first4" in row:
            yield compare_probe(where, value.flatten()[:4], row["probe_first4"])
        if "probe_mean" in row:
            yield compare_probe(f"{where} mean", value.double().mean(), row["probe_mean"])
        if "probe_hist" in row:
            yield compare_exactly(f"{where} histogram", np.bincount(value.flatten()).tolist(), row["probe_hist"])


def _check_outputs(golden: Golden, outputs: dict[str, Tensor]) -> Iterator[Deviation]:
    for row in golden["outputs"]:
        if row["name"] in outputs:
            yield from compare_output(row, outputs[row["name"]])
        elif row["role"] == "final":
            yield Deviation(f"{row['name']}: not returned", math.inf)
    if "predicted_bin" in golden:
        yield compare_exactly("predicted bin", outputs["logits"].argmax(1).tolist(), golden["predicted_bin"])


class _full_precision:
    """Switch the reduced-precision arithmetic of some accelerators off for a while."""

    def __enter__(self) -> None:
        self._before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before
