from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from tests.distributed import GlooPool
from tests.metrics import reference
from thriftseg.errors import ConfigError
from thriftseg.metrics import TemporalConsistency
from thriftseg.metrics.temporal_consistency import warp_previous


def batch(scene: reference.Scene) -> tuple[torch.Tensor, ...]:
    arrays = scene.pred, scene.previous, scene.backward, scene.forward
    return tuple(torch.from_numpy(array)[None] for array in arrays)


def moving_square(step: int) -> tuple[torch.Tensor, ...]:
    """A square that moved 3 px to the right; the predicted one moved by `step`. Prediction, previous, flows."""
    previous, current = torch.zeros(2, 1, 20, 32, dtype=torch.int64)
    previous[:, 6:12, 8:14], current[:, 6:12, 8 + step : 14 + step] = 1, 1
    backward, forward = torch.zeros(2, 1, 2, 20, 32)
    backward[:, 0, 6:12, 11:17], forward[:, 0, 6:12, 8:14] = -3, 3
    return current, previous, backward, forward


class TestByHand:
    def test_predictions_that_move_with_the_flow_score_one(self) -> None:
        metric = TemporalConsistency(2)
        metric.update(*moving_square(3))
        assert metric.compute()["tc"] == 1
        # Only the uncovered strip is left out: what lies there was hidden or belongs to the square.
        assert metric.confusion.sum() == 20 * 32 - 6 * 3

    @pytest.mark.parametrize("step", [0, 1, -3])
    def test_predictions_that_do_not_move_along_score_less(self, step: int) -> None:
        metric = TemporalConsistency(2)
        metric.update(*moving_square(step))
        assert metric.compute()["tc"] < 0.9

    def test_a_constant_prediction_scores_one(self) -> None:
        metric = TemporalConsistency(3)
        scene = reference.scene(0)
        flows = batch(scene)[2:]
        metric.update(torch.ones(1, 37, 50).long(), torch.ones(1, 37, 50).long(), *flows)
        np.testing.assert_array_equal(metric.compute()["per_class"], [np.nan, 1, np.nan])
        assert metric.compute()["tc"] == 1

    def test_an_ignored_previous_pixel_is_left_out_and_an_ignored_current_one_is_a_miss(self) -> None:
        still = torch.zeros(1, 2, 1, 4)
        metric = TemporalConsistency(2)
        metric.update(torch.tensor([[[0, 0, 255, 1]]]), torch.tensor([[[255, 0, 0, 1]]]), still, still)
        assert metric.confusion.tolist() == [[1, 0, 1], [0, 1, 0]]

    @pytest.mark.filterwarnings("ignore:The ``compute`` method")
    def test_no_pair(self) -> None:
        assert TemporalConsistency(2).compute()["tc"].isnan()


class TestAgainstPlainLoops:
    @pytest.mark.parametrize("seed", [21, 22])
    def test_both_ways(self, seed: int) -> None:
        scene = reference.scene(seed)
        expected = reference.consistency_target(scene)
        assert 0.2 < (expected == 255).mean() < 0.8
        _, previous, backward, forward = batch(scene)
        np.testing.assert_array_equal(warp_previous(previous, backward, forward, 6)[0], expected)
        np.testing.assert_array_equal(warp_previous(previous.long(), backward, forward, 6)[0], expected)
        general = previous.long().masked_fill(previous == 255, -1)  # no eight-bit id: the way a GPU takes
        np.testing.assert_array_equal(warp_previous(general, backward, forward, 6)[0], expected)


class TestState:
    def test_batches_pool(self) -> None:
        batches = [batch(reference.scene(seed)) for seed in range(3)]
        once, stepwise = TemporalConsistency(6), TemporalConsistency(6)
        once.update(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
        for one in batches:
            stepwise.update(*one)
        assert torch.equal(once.confusion, stepwise.confusion)

    def test_clone_and_pickle(self) -> None:
        metric = TemporalConsistency(6)
        metric.update(*batch(reference.scene(0)))
        for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):  # noqa: S301
            assert copy.compute()["tc"] == metric.compute()["tc"]

    def test_the_callers_maps_stay_as_they_are(self) -> None:
        scene = reference.scene(0)
        inputs = batch(scene)
        TemporalConsistency(3).update(*inputs)
        for array, fresh in zip(inputs, batch(reference.scene(0)), strict=True):
            assert torch.equal(array, fresh)

    def test_two_processes(self, gloo_pool: GlooPool) -> None:
        together = TemporalConsistency(6)
        for seed in range(3):
            together.update(*batch(reference.scene(seed)))
        for result in gloo_pool.run(share_of_scenes):
            np.testing.assert_allclose(result["tc"], together.compute()["tc"], atol=1e-6)
            np.testing.assert_allclose(result["per_class"], together.compute()["per_class"], atol=1e-6)


def share_of_scenes(rank: int, world: int) -> dict[str, torch.Tensor]:
    metric = TemporalConsistency(6)
    for seed in range(rank, 3, world):
        metric.update(*batch(reference.scene(seed)))
    return metric.compute()


class TestFaults:
    def test_shapes(self) -> None:
        pred, previous, backward, forward = moving_square(3)
        metric = TemporalConsistency(2)
        with pytest.raises(ValueError, match="same shape"):
            metric.update(pred, previous[:, 1:], backward, forward)
        with pytest.raises(ValueError, match=r"flow_forward \(N, 2, H, W\), found \(1, 20, 32\) and \(1, 2, 20, 31\)"):
            metric.update(pred, previous, backward, forward[..., 1:])

    def test_class_count(self) -> None:
        with pytest.raises(ConfigError, match="num_classes is out of range"):
            TemporalConsistency(0)
