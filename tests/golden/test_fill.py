"""The generator of weights and inputs against the check vector and recorded probes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden.fill import RULE, fill, make_inputs, seed_of

MODELS = Path(__file__).parent / "models"
PLAIN = {"rule": RULE, "salt": "", "gains": []}


def test_check_vector():
    assert seed_of("example.weight") == 18286040273768915630
    filled = fill([("example.weight", (2, 3, 1, 1))], ["w"], PLAIN)["example.weight"]
    expected = [0.291147, -0.78668565, -0.8553158, -0.79739606, -0.07307024, 0.5818173]
    np.testing.assert_allclose(filled.flatten(), expected, rtol=1e-6)


def test_weights_match_the_probes():
    golden = json.loads((MODELS / "qnet_resnet18.json").read_text())
    filled = fill(golden["keys"], golden["kinds"], golden["fill"])
    for name, first in golden["fill_probes"]["first4"].items():
        np.testing.assert_allclose(filled[name].flatten()[:4], first, rtol=1e-6, err_msg=name)
    total = sum(float(value.double().abs().sum()) for value in filled.values())
    assert total == pytest.approx(golden["fill_probes"]["abs_sum_all"], rel=1e-6)


@pytest.mark.parametrize("name", ["qnet_resnet18", "stm_padded", "tmanet_r50"])
def test_inputs_match_the_probes(name: str):
    rows = json.loads((MODELS / f"{name}.json").read_text())["inputs"]
    for row, value in zip(rows, make_inputs(rows).values(), strict=True):
        assert value.shape == tuple(row["shape"])
        assert str(value.dtype) == f"torch.{row['dtype']}"
        if "probe_hist" in row:
            assert np.bincount(value.flatten()).tolist() == row["probe_hist"]
        else:
            np.testing.assert_allclose(value.flatten()[:4], row["probe_first4"], rtol=1e-6)
            assert float(value.double().mean()) == pytest.approx(row["probe_mean"], rel=1e-6)


def test_salt_changes_every_random_entry():
    keys = [("conv.weight", (4, 3, 3, 3)), ("bn.running_var", (4,))]
    plain, salted = (fill(keys, ["w", "bn_var"], {**PLAIN, "salt": salt}) for salt in ("", "other/"))
    assert all((plain[name] != salted[name]).any() for name, _ in keys)


def test_gains_need_the_whole_name():
    rule = {**PLAIN, "gains": [["conv", 0.5], [r"conv\.w.*", 0.5], [r".*weight", 0.5]]}
    keys = [("conv.weight", (2, 2))]
    np.testing.assert_allclose(fill(keys, ["w"], rule)["conv.weight"], 0.25 * fill(keys, ["w"], PLAIN)["conv.weight"])


def test_unknown_rule_kind_and_input_are_refused():
    with pytest.raises(ValueError, match="unknown fill rule 'v2'"):
        fill([], [], {**PLAIN, "rule": "v2"})
    with pytest.raises(ValueError, match="a: unknown kind of entry 'embedding'"):
        fill([("a", (2,))], ["embedding"], PLAIN)
    with pytest.raises(ValueError, match="x: unknown kind of input 'noise'"):
        make_inputs([{"name": "x", "seed": 1, "shape": [1], "kind": "noise"}])
