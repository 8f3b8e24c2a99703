"""Cutie is the true network, with random weights; probabilities are compared bit for bit."""

from __future__ import annotations

import pickle
import socket
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.labels.propagation.peak_memory import peak_memory
from tests.labels.small_cutie import core_of, probabilities_by_hand, write_cutie
from tests.labels.small_sam2 import street
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.labels import CutiePropagator, Prompt, create_propagator, follow
from thriftseg.stores import ObjectMap, TrackedObject
from thriftseg.zoo import weights_digest

pytest.importorskip("cutie")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.cuda.amp.autocast:FutureWarning")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cutie(tmp_path_factory.mktemp("cutie") / "cutie-small.pth")


@pytest.fixture(scope="module")
def propagator(weights: Path) -> CutiePropagator:
    made = create_propagator("cutie", weights=weights, device="cpu")
    assert isinstance(made, CutiePropagator)
    return made


def scene(frames: int, seed: int = 0, most_objects: int = 3, width: int = 96) -> tuple[list[np.ndarray], ObjectMap]:
    clip, objects = street(frames, seed, most_objects=most_objects, height=80, width=width)
    return clip, ObjectMap(np.where(objects.ids <= most_objects, objects.ids, 0).astype(np.uint16), objects.objects)


def square(number: int, rows: slice, columns: slice) -> ObjectMap:
    ids = np.zeros((80, 96), np.uint16)
    ids[rows, columns] = number
    return ObjectMap(ids, (TrackedObject(number, number),))


def ours(propagator: CutiePropagator, frames, objects: ObjectMap, corrections=None) -> list[torch.Tensor]:
    return [step._found()._probabilities for step in follow(propagator, objects, iter(frames), corrections)]


def assert_same_and_telling(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs)
    for ours_now, theirs_now in zip(ours, theirs, strict=True):
        assert torch.equal(ours_now, theirs_now)
        assert ours_now[1:].std(dim=(-2, -1)).min() > 0.002
        assert ours_now.diff(dim=0).abs().amax(dim=(-2, -1)).min() > 0.01


class TestProbabilities:
    @pytest.mark.parametrize(
        ("most_objects", "seed", "backward"),
        [
            (1, 0, False),
            (5, 1, True),
            pytest.param(1, 0, True, marks=pytest.mark.slow),
            pytest.param(5, 1, False, marks=pytest.mark.slow),
        ],
    )
    def test_are_those_of_the_authors(self, propagator, most_objects, seed, backward):
        frames, objects = scene(8, seed, most_objects)  # more than the five that make a frame a remembered one
        frames = frames[::-1] if backward else frames
        theirs = probabilities_by_hand(core_of(propagator), frames, objects)
        assert_same_and_telling(ours(propagator, frames, objects), theirs)

    @pytest.mark.slow
    def test_other_weights_and_settings(self, tmp_path):
        path = write_cutie(tmp_path / "other.pth", "base", seed=1)
        propagator = CutiePropagator(path, memory_every=1, long_term=True, image_size=64, device="cpu")
        frames, objects = scene(12, 2, width=160)  # more than the ten that are remembered as they are
        theirs = probabilities_by_hand(core_of(propagator), frames, objects)
        assert_same_and_telling(ours(propagator, frames, objects), theirs)
        assert [found.shape for found in theirs] == [(4, 80, 160)] * 11

    def test_an_object_that_appears_late(self, propagator):
        frames, objects = scene(8, 0, 2)
        late = {3: square(3, slice(4, 20), slice(10, 40))}
        theirs = probabilities_by_hand(core_of(propagator), frames, objects, late)
        assert_same_and_telling(ours(propagator, frames, objects, late), theirs)
        assert [len(found) for found in theirs] == [3, 3, 4, 4, 4, 4, 4]

    def test_a_correction_of_one_of_two(self, propagator):
        """`InferenceCore` wants the masks of both; it gets what it sees of the other."""
        frames, objects = scene(5, 0, 2)
        correction = square(2, slice(10, 40), slice(30, 60))
        found = ours(propagator, frames, objects, {2: correction})
        untold = probabilities_by_hand(core_of(propagator), frames[:3], objects)
        whole = np.where(correction.ids, 2, np.where(untold[-1].argmax(dim=0) == 1, 1, 0)).astype(np.uint16)
        both = {2: ObjectMap(whole, objects.objects)}
        assert_same_and_telling(found, probabilities_by_hand(core_of(propagator), frames, objects, both))
        assert (found[1].argmax(dim=0).numpy() == 2)[correction.ids == 2].all()

    def test_looking_changes_nothing(self, propagator):
        frames, objects = scene(8, 0, 2)
        plain, curious = (propagator.track(frames[0]) for _ in range(2))
        for number, frame in enumerate(frames):
            for tracker in (plain, curious):
                if number:
                    tracker.step(frame)
                if number == 0:
                    for item in objects.objects:
                        tracker.prompt(item.id, objects.ids == item.id)
                        tracker is curious and tracker.decide()
                if number == 3:
                    tracker is curious and tracker.decide()
                    tracker.prompt(2, square(2, slice(10, 40), slice(30, 60)).ids == 2)
                    tracker is curious and tracker.decide()
                    tracker.prompt(3, square(3, slice(4, 20), slice(10, 40)).ids == 3)
            curious.probability_of(1)
            assert torch.equal(curious._found()._probabilities, plain._found()._probabilities)
        assert plain.ids == [1, 2, 3]


class TestMemory:
    @pytest.mark.parametrize("long_term", [True, pytest.param(False, marks=pytest.mark.slow)])
    def test_is_bounded(self, weights, long_term):
        frames, objects = scene(2, 0, 2)
        propagator = CutiePropagator(weights, memory_every=1, long_term=long_term, device="cpu")
        remembered = []
        for step in propagator.probabilities(objects, [frames[number % 2] for number in range(13)]):
            step.decide()
            remembered.append(step._core.memory.work_mem.k[0].shape[-1] // 30)  # of 5 x 6 positions a frame
        assert max(remembered) == (9 if long_term else 5)
        assert remembered[-1] >= 4

    @pytest.mark.slow
    def test_peak_does_not_grow_with_the_clip(self, weights):
        """400 frames of 10 objects at 256 pixels take at most 60 MB more than 60 frames."""
        assert peak_memory("cutie", weights, 400) <= peak_memory("cutie", weights, 60) + 60


class TestResults:
    def test_pickled_it_gives_the_same(self, propagator):
        twin = pickle.loads(pickle.dumps(propagator))  # noqa: S301 - our own
        assert twin.arguments == propagator.arguments
        frames, objects = scene(2)
        (one,), (other,) = ours(twin, frames, objects), ours(propagator, frames, objects)
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)

    def test_arguments_name_the_weights_and_the_memory(self, weights, propagator):
        assert propagator.arguments == {
            "weights": weights_digest(propagator._network),
            "memory_every": 5,
            "max_memory_frames": 5,
            "long_term": False,
            "image_size": None,
            "mixed_precision": True,
        }
        assert {
            name for name in torch.load(weights) if not name.startswith("aux_")
        } <= propagator._network.state_dict().keys()

    def test_leaves_the_network_and_the_random_numbers_alone(self, weights, monkeypatch, capfd):
        monkeypatch.setattr(socket.socket, "connect", lambda *arguments: pytest.fail("somebody is called"))
        frames, objects = scene(2)
        state = torch.get_rng_state()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (step,) = CutiePropagator(weights, device="cpu").probabilities(objects, frames)
            assert step.decide().ids.shape == (80, 96)
        assert (*capfd.readouterr(),) == ("", "")
        assert torch.equal(torch.get_rng_state(), state)


class TestRefusals:
    def test_no_weights(self):
        with pytest.raises(ConfigError, match=r"Cutie has no weights.*cutie-base-mega.pth"):
            CutiePropagator()

    def test_weights_of_something_else(self, tmp_path, weights):
        path = tmp_path / "other.pth"
        torch.save({"weight": torch.zeros(2)}, path)
        with pytest.raises(CheckpointError, match="no weights of Cutie; expected those of its base or small network"):
            CutiePropagator(path)
        state = torch.load(weights)
        del state["key_proj.key_proj.weight"]
        torch.save(state, path)
        with pytest.raises(
            CheckpointError, match=r"no weights of Cutie; found 1 entries .* as key_proj.key_proj.weight"
        ):
            CutiePropagator(path)
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            CutiePropagator(tmp_path / "none.pth")

    def test_missing_extra(self, monkeypatch, weights):
        monkeypatch.setitem(sys.modules, "cutie.model.cutie", None)
        with pytest.raises(ConfigError, match=r"Cutie is not installed.*fix: pip install thriftseg\[cutie\]"):
            CutiePropagator(weights)

    def test_frames_that_are_too_small(self, propagator):
        with pytest.raises(ConfigError, match="at least 30 squares of 16 pixels; found 20 of 80x64"):
            propagator.track(np.zeros((64, 80, 3), np.uint8))

    def test_points(self, propagator):
        with pytest.raises(ConfigError, match="takes masks; expected a mask; found points or a box"):
            propagator.track(np.zeros((80, 96, 3), np.uint8)).prompt(1, Prompt(box=(0, 0, 9, 9)))

    @pytest.mark.parametrize("setting", ["memory_every", "max_memory_frames", "image_size"])
    def test_settings_out_of_range(self, weights, setting):
        with pytest.raises(ConfigError, match=rf"{setting} of Cutie; expected at least \d+; found -1"):
            CutiePropagator(weights, **{setting: -1})
