from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.flow import DIS
from thriftseg.labels import (
    FlowPropagator,
    NearestPropagator,
    ObjectMap,
    Propagated,
    Propagator,
    create_propagator,
    objects_of,
)
from thriftseg.labels.propagation.propagators.protocol import MovesToDevice
from thriftseg.zoo import STM, ObjectTracker, create_model, save_weights


def moving_texture(frames: int, step: int, height: int = 64, width: int = 96) -> list[np.ndarray]:
    """A texture that moves `step` pixels to the right per frame."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (height // 4, (width + frames * abs(step)) // 4 + 1, 3))
    wide = np.kron(coarse, np.ones((4, 4, 1))).astype(np.uint8)
    start = frames * step
    return [wide[:, start - i * step : start - i * step + width].copy() for i in range(frames)]


class TestFlowPropagator:
    def test_follows_the_motion(self):
        frames = moving_texture(4, 3)
        label = np.zeros((64, 96), np.uint8)
        label[20:40, 30:50] = 5
        objects = objects_of(label)
        for step, result in enumerate(FlowPropagator().probabilities(objects, frames), start=1):
            moved = np.zeros_like(label)
            moved[20:40, 30 + 3 * step : 50 + 3 * step] = 5
            found = objects.to_label(result.ids)
            kept = found != 255
            assert (found == moved)[kept].mean() > 0.99
            assert kept[10:54, 20:80].mean() > 0.9

    def test_what_enters_the_image_is_ignored(self):
        results = FlowPropagator().probabilities(objects_of(np.zeros((64, 96), np.uint8)), moving_texture(4, 6))
        last = list(results)[-1]
        assert (last.ids[:, :12] == 0).mean() > 0.95
        assert last.confidence == pytest.approx((last.ids != 0).mean())

    def test_scores_are_the_reliable_shares(self):
        label = np.full((64, 96), 255, np.uint8)
        label[:, :8], label[20:40, 30:50] = 1, 4
        frames = moving_texture(4, 6)
        frames.reverse()  # everything moves to the left, so object 1 leaves
        *_, last = FlowPropagator().probabilities(objects_of(label), frames)
        assert last.scores.keys() <= {1, 2}
        assert last.scores[2] > 0.95
        assert not (last.ids == 1).any()

    def test_void_stays_void(self):
        frames = moving_texture(1, 1) * 2
        label = np.full((64, 96), 255, np.uint8)
        label[0, 0] = 3
        (result,) = FlowPropagator().probabilities(objects_of(label), frames)
        assert (result.ids.ravel()[1:] == 0).all()
        assert result.confidence == 1.0

    def test_frames_are_read_one_by_one(self):
        read = []

        def frames():
            for number, frame in enumerate(moving_texture(5, 1)):
                read.append(number)
                yield frame

        steps = FlowPropagator().probabilities(objects_of(np.zeros((64, 96), np.uint8)), frames())
        next(steps)
        assert read == [0, 1]

    def test_beats_direct_flow_on_long_ways(self):
        frames = moving_texture(9, 4)
        label = (np.arange(96) // 8 % 2).astype(np.uint8)[None].repeat(64, axis=0)
        truth = np.roll(label, 32, axis=1)
        objects = objects_of(label)
        *_, chained = FlowPropagator().probabilities(objects, frames)
        (direct,) = FlowPropagator().probabilities(objects, [frames[0], frames[-1]])
        right = [(objects.to_label(result.ids) == truth)[:, 40:].mean() for result in (chained, direct)]
        assert right[0] > right[1] + 0.2

    def test_more_than_255_objects(self):
        frames = moving_texture(3, 2)
        label = np.full((64, 96), 255, np.uint8)
        label[::3, ::3] = 7
        objects = objects_of(label, unit="component", min_area=1)
        assert len(objects.objects) == 22 * 32
        *_, last = FlowPropagator().probabilities(objects, frames)
        assert last.ids.dtype == np.uint16
        np.testing.assert_array_equal(last.ids[30, 34:64:3], objects.ids[30, 30:60:3])

    def test_estimator_learns_the_device(self):
        class Estimator(DIS):
            device = None

            def to(self, device: str) -> None:
                self.device = device

        for estimator, device in ((Estimator(), "cpu"), (DIS(), None)):
            FlowPropagator(estimator).to("cpu")
            assert getattr(estimator, "device", None) == device


class Vague:
    """Flow of nothing, except that the way back never fits where the frames are asked the other way round."""

    def __init__(self, where: np.ndarray) -> None:
        self.vague = where

    def estimate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        flow = np.zeros((2, *a.shape[:2]), np.float32)
        flow[0][self.vague] = np.sign(float(b.mean()) - float(a.mean())) == 1
        return flow


class TestFlood:
    @pytest.mark.parametrize("height", [40, 1100])  # large frames are flooded at every second pixel
    def test_a_rejected_pixel_keeps_its_object_where_the_flood_arrives_with_the_same(self, height):
        frames = [np.full((height, 1000, 3), level, np.uint8) for level in (10, 20)]
        label = np.ones((height, 1000), np.uint8)
        label[:, 600:] = 2
        for frame in frames:
            frame[:, 600:] += 100
        vague = np.zeros(label.shape, bool)
        vague[10:30, 100:140] = True  # in the midst of object 1
        vague[10:30, 700:] = True  # in object 2, at the border of the frame
        objects = objects_of(label)
        (flooded,) = FlowPropagator(Vague(vague)).probabilities(objects, frames)
        (checked,) = FlowPropagator(Vague(vague), flood=False).probabilities(objects, frames)
        found, found_by_check = objects.to_label(flooded.ids), objects.to_label(checked.ids)
        assert (found_by_check[12:28, 102:138] == 255).all()
        assert (found_by_check[12:28, 702:-2] == 255).all()
        assert (found[12:28, 102:138] == 1).all()
        assert (found[12:28, 702:-2] == 2).all()
        assert checked.confidence < flooded.confidence

    def test_no_pixel_keeps_an_object_that_colour_contradicts(self):
        frames = [np.full((40, 60, 3), level, np.uint8) for level in (10, 20)]
        label = np.ones((40, 60), np.uint8)
        label[10:30, 20:40] = 2  # stays behind: the second frame shows object 1 there
        vague = label == 2
        vague[19:21, 29:31] = False  # four pixels of it pass by chance
        frames[1][15:25, 25:35] = 250
        (step,) = FlowPropagator(Vague(vague)).probabilities(objects_of(label), frames)
        assert (step.ids[11:14, 21:39] == 0).all()
        assert (step.ids[26:29, 21:39] == 0).all()
        assert (step.ids[19:21, 29:31] > 0).all()


class TestNearest:
    def test_copies(self):
        label = np.zeros((64, 96), np.uint8)
        label[:, 50:] = 255
        objects = objects_of(label)
        results = list(NearestPropagator().probabilities(objects, moving_texture(3, 2)))
        assert [(objects.to_label(result.ids) == label).all() for result in results] == [True, True]


def decided(propagator: Propagator, objects: ObjectMap, frames: list[np.ndarray]) -> list[Propagated]:
    return [step.decide() for step in propagator.probabilities(objects, frames)]


def small_stm() -> STM:
    torch.manual_seed(0)
    return STM("resnet18", decoder_channels=8).eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stm") / "small.safetensors"
    save_weights(small_stm(), path)
    return path


def three_objects() -> np.ndarray:
    label = np.full((64, 96), 255, np.uint8)
    label[10:30, 10:40], label[30:50, 30:60], label[5:20, 60:90] = 2, 5, 9
    return label


class TestSTM:
    def test_equals_the_tracker(self, weights):
        frames = moving_texture(5, 2)
        objects = objects_of(three_objects())
        tracker = ObjectTracker(small_stm())
        tensors = [torch.from_numpy(frame).permute(2, 0, 1).float() / 255 for frame in frames]
        tracker.step(tensors[0], torch.from_numpy(objects.ids.astype(np.int64)))
        expected = [tracker.step(tensor).numpy() for tensor in tensors[1:]]
        found = decided(create_propagator("stm", weights=weights), objects, frames)
        assert len(found) == 4
        for step, ids in zip(found, expected, strict=True):
            np.testing.assert_array_equal(step.ids, ids)
            assert step.scores.keys() == set(np.unique(ids)) - {0}
            assert all(0.25 < score <= 1 for score in [step.confidence, *step.scores.values()])
        assert any((step.ids > 0).any() for step in found)

    def test_every_call_starts_afresh(self):
        frames, objects = moving_texture(4, 2), objects_of(three_objects())
        propagator = create_propagator("stm", weights=small_stm())
        first = decided(propagator, objects, frames)
        decided(propagator, objects, frames[::-1])
        for one, other in zip(first, decided(propagator, objects, frames), strict=True):
            np.testing.assert_array_equal(one.ids, other.ids)
            assert one.scores == other.scores

    def test_arguments_tell_weights_and_memory_apart(self, weights):
        made = [
            create_propagator("stm", weights=source, **settings).arguments
            for source, settings in [
                (weights, {}),
                (small_stm(), {}),
                (STM("resnet18", decoder_channels=8), {}),
                (weights, {"memory_every": 2, "max_memory_frames": 4}),
                (STM("resnet18", decoder_channels=8, remember_previous=False), {"memory_every": 2}),
            ]
        ]
        assert made[0] == made[1]
        assert made[0] != made[2]
        assert {**made[0], "memory_every": 2, "max_memory_frames": 4} == made[3]
        assert (made[4]["memory_every"], made[4]["remember_previous"], made[0]["remember_previous"]) == (2, False, True)

    def test_travels_without_the_network_that_its_file_holds(self, weights):
        propagator = create_propagator("stm", weights=weights)
        assert isinstance(propagator, MovesToDevice)
        propagator.to("cpu")
        message = pickle.dumps(propagator)
        assert len(message) < 1000
        assert pickle.loads(message).arguments == propagator.arguments  # noqa: S301

    def test_an_object_of_one_pixel_and_id_255(self):
        label = np.full((32, 48), 255, np.uint8)
        label[0:32:2, 0:32:2] = 4
        objects = objects_of(label, unit="component", min_area=1)
        assert len(objects.objects) == 256
        (result,) = decided(create_propagator("stm", weights=small_stm()), objects, moving_texture(2, 1, 32, 48))
        assert result.ids.max() <= 256

    def test_the_checkpoint_of_a_training_run(self, tmp_path):
        network = small_stm()
        state = {f"network.{name}": value for name, value in network.state_dict().items()}
        torch.save({"hyper_parameters": {"network": network.record}, "state_dict": state}, tmp_path / "last.ckpt")
        read = create_propagator("stm", weights=tmp_path / "last.ckpt")
        assert read.arguments == create_propagator("stm", weights=network).arguments

    def test_faults(self, tmp_path):
        with pytest.raises(ConfigError, match="stm needs weights"):
            create_propagator("stm")
        with pytest.raises(ConfigError, match=r"wrong settings of the propagation method 'stm'.*'depth'"):
            create_propagator("stm", weights=small_stm(), depth=3)
        with pytest.raises(ConfigError, match="too few memory frames"):
            _ = create_propagator("stm", weights=small_stm(), max_memory_frames=1).arguments
        path = tmp_path / "other.safetensors"
        save_weights(create_model("deeplabv3plus_mobilenetv2", 3, decoder_channels=8), path)
        with pytest.raises(CheckpointError, match=r"does not hold a .*found DeepLabV3Plus"):
            _ = create_propagator("stm", weights=path).arguments
        path.write_bytes(b"cut")
        with pytest.raises(CheckpointError, match=r"other\.safetensors"):
            _ = create_propagator("stm", weights=path).arguments
