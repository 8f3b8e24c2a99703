from __future__ import annotations

import numpy as np
import pytest
import torch

from thriftseg.errors import ConfigError
from thriftseg.losses import CrossEntropy


def numpy_cross_entropy(logits: np.ndarray, target: np.ndarray, class_weights: np.ndarray) -> np.ndarray:
    """Cross entropy of every labelled pixel, in a list, by the formula."""
    values = []
    for b, y, x in zip(*np.nonzero(target != 255), strict=True):
        z = logits[b, :, y, x]
        label = target[b, y, x]
        values.append(-class_weights[label] * (z[label] - np.log(np.exp(z).sum())))
    return np.array(values)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    target = torch.randint(0, 4, (2, 5, 7), generator=generator)
    target[:, 2] = 255
    return torch.randn(2, 4, 5, 7, generator=generator, dtype=torch.float64), target


@pytest.mark.parametrize("class_weights", [None, [1.0, 0.5, 0.0, 3.0]])
def test_matches_the_formula(batch, class_weights):
    logits, target = batch
    values = numpy_cross_entropy(logits.numpy(), target.numpy(), np.array(class_weights or [1.0] * 4))
    assert CrossEntropy(class_weights)(logits, target).item() == pytest.approx(values.mean(), rel=1e-10)


def test_matches_torch_without_class_weights(batch):
    logits, target = batch
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=255)
    assert CrossEntropy()(logits, target).item() == pytest.approx(expected.item(), rel=1e-12)


def test_an_empty_list_weights_nothing(batch):
    assert CrossEntropy([])(*batch) == CrossEntropy()(*batch)


def test_wrong_number_of_class_weights(batch):
    with pytest.raises(ConfigError, match="class_weights do not fit the classes; expected 4 factors; found 3"):
        CrossEntropy([1.0, 1.0, 1.0])(*batch)


def test_class_weights_follow_the_module_but_are_not_stored():
    loss = CrossEntropy(class_weights=[1.0, 2.0])
    assert loss.state_dict() == {}
    assert loss.to("meta").class_weights.device.type == "meta"
