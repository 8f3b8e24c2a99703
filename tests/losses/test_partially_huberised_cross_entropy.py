"""Reference values of `tests/golden/huberised_ce.json`, which names their source."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.losses import (
    CrossEntropy,
    PartialCrossEntropy,
    PartiallyHuberisedCrossEntropy,
    partially_huberised_cross_entropy,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "huberised_ce.json").read_text())


def case_inputs(case: dict) -> tuple[torch.Tensor, torch.Tensor]:
    n, c, h, w = case["shape"]
    generator = np.random.Generator(np.random.PCG64(case["seed"]))
    logits = (2.5 * generator.standard_normal((n, c, h, w))).astype(np.float32)
    target = generator.integers(0, c, (n, h, w))
    target[generator.random((n, h, w)) < case["ignored_share"]] = 255
    assert hashlib.sha256(logits.tobytes()).hexdigest() == case["sha256"]["logits"]
    assert hashlib.sha256(target.astype(np.int64).tobytes()).hexdigest() == case["sha256"]["target_int64"]
    return torch.from_numpy(logits).double().requires_grad_(), torch.from_numpy(target)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"seed{case['seed']}")
def test_golden_values_and_gradients(case):
    logits, target = case_inputs(case)
    loss = PartiallyHuberisedCrossEntropy(tau=case["tau"])
    pixels = loss.pixel_losses(logits, target).flatten()
    assert pixels[case["phuber_value_flat_index"]].tolist() == pytest.approx(case["phuber_values"], abs=1e-10)
    terms = loss.terms(logits, target)
    assert terms.sum.item() == pytest.approx(case["phuber_sum"], rel=1e-10)
    assert terms.count.item() == case["valid_pixels"]
    loss(logits, target).backward()
    assert logits.grad.flatten()[case["grad_flat_index"]].tolist() == pytest.approx(case["phuber_grad"], abs=1e-12)
    assert logits.grad.norm().item() == pytest.approx(case["phuber_grad_l2"], rel=1e-10)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"seed{case['seed']}")
@pytest.mark.parametrize("loss_class", [PartialCrossEntropy, CrossEntropy])
def test_golden_partial_cross_entropy(case, loss_class):
    logits, target = case_inputs(case)
    value = loss_class()(logits, target)
    value.backward()
    assert value.item() == pytest.approx(case["partial_ce_mean"], rel=1e-10)
    assert logits.grad.flatten()[case["grad_flat_index"]].tolist() == pytest.approx(case["partial_ce_grad"], abs=1e-12)
    assert logits.grad.norm().item() == pytest.approx(case["partial_ce_grad_l2"], rel=1e-10)


@pytest.mark.parametrize("row", GOLDEN["scalar_table"], ids=lambda row: f"tau{row['tau']}-p{row['p']:.6g}")
def test_golden_scalars(row):
    p = row["p"]
    logits = torch.tensor([math.log(p), math.log1p(-p) if p < 1 else -math.inf], dtype=torch.float64).view(1, 2, 1, 1)
    value = partially_huberised_cross_entropy(logits, torch.zeros(1, 1, 1, dtype=torch.long), tau=row["tau"])
    assert value.item() == pytest.approx(row["loss"], rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("row", GOLDEN["extreme_logits"], ids=lambda row: str(row["logits"]))
def test_golden_extreme_logits(row, dtype):
    logits = torch.tensor(row["logits"], dtype=dtype).view(1, -1, 1, 1).requires_grad_()
    value = PartiallyHuberisedCrossEntropy(row["tau"])(logits, torch.full((1, 1, 1), row["target"]))
    value.backward()
    assert value.item() == pytest.approx(row["loss"], rel=1e-6, abs=1e-10)
    assert logits.grad.flatten().tolist() == pytest.approx(row["grad"], rel=1e-5, abs=1e-10)


def test_infinite_logit_keeps_the_gradient_finite():
    logits = torch.tensor([-3e38, 3e38]).view(1, 2, 1, 1).requires_grad_()
    PartiallyHuberisedCrossEntropy()(logits, torch.zeros(1, 1, 1, dtype=torch.long)).backward()
    assert torch.isfinite(logits.grad).all()


def test_branches_meet_with_equal_slope():
    def loss_and_slope(p: float) -> tuple[float, float]:
        z = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64, requires_grad=True)
        value = PartiallyHuberisedCrossEntropy(tau=3.0)(
            torch.stack([z, torch.zeros_like(z)]).view(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)
        )
        value.backward()
        return value.item(), z.grad.item()

    below, above = loss_and_slope(1 / 3 - 1e-9), loss_and_slope(1 / 3 + 1e-9)
    assert below == pytest.approx(above, abs=1e-7)


@pytest.mark.parametrize("tau", [1.0, 0.5, float("nan")])
def test_tau_must_exceed_one(tau):
    with pytest.raises(ConfigError, match="expected tau > 1"):
        PartiallyHuberisedCrossEntropy(tau=tau)
