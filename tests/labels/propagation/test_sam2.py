"""SAM 2 is the true predictor, with random weights; logits are compared, bit for bit."""

from __future__ import annotations

import inspect
import logging
import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.labels.propagation.known_motion import merge_logits
from tests.labels.small_sam2 import hand_built, street, write_checkpoint
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.labels import Prompt
from thriftseg.labels.propagation.propagators.protocol import Propagated
from thriftseg.labels.propagation.propagators.registry import create_propagator
from thriftseg.labels.propagation.propagators.sam2 import SAM2Propagator, SAM2Tracker, _new_state, _normalise, _resize
from thriftseg.stores.object_map import ObjectMap, TrackedObject
from thriftseg.zoo.weights.files import weights_digest

pytest.importorskip("sam2")


@pytest.fixture(scope="module")
def propagator(sam2_checkpoint: Path) -> SAM2Propagator:
    return SAM2Propagator(sam2_checkpoint, image_size=128, device="cpu")


@pytest.fixture(scope="module")
def smaller(sam2_checkpoint: Path) -> SAM2Propagator:
    propagator = create_propagator("sam2", weights=str(sam2_checkpoint), image_size=32, device="cpu", max_objects=32)
    assert isinstance(propagator, SAM2Propagator)
    return propagator


@pytest.fixture(scope="module")
def by_hand(sam2_checkpoint: Path):
    return hand_built(image_size=128, checkpoint=sam2_checkpoint)


def write_frames(frames: list[np.ndarray], folder: Path) -> Path:
    """Files as the predictor wants them; it does not look at the content, so they can be without loss."""
    folder.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{number}.jpg", format="PNG")
    return folder


def logits_by_hand(predictor, folder: Path, objects: ObjectMap, start: int = 0, reverse: bool = False):
    """(T, K, H, W) of every frame but the annotated one, by public methods of the predictor."""
    state = predictor.init_state(str(folder))
    for item in objects.objects:
        predictor.add_new_mask(state, start, item.id, objects.ids == item.id)
    steps = predictor.propagate_in_video(state, start_frame_idx=start, reverse=reverse)
    return torch.stack([logits[:, 0] for index, _, logits in steps if index != start])


def our_logits(propagator: SAM2Propagator, frames, objects: ObjectMap) -> torch.Tensor:
    return torch.stack([tracker.logits() for tracker in propagator.probabilities(objects, iter(frames))])


def decided(propagator: SAM2Propagator, objects: ObjectMap, frames) -> Iterator[Propagated]:
    return (step.decide() for step in propagator.probabilities(objects, frames))


def assert_same_and_telling(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal bit for bit, and not because nothing depends on anything."""
    assert torch.equal(ours, theirs)
    assert ours.std(dim=(-2, -1)).min() > 0.01
    for axis in range(2):
        if ours.shape[axis] > 1:
            assert ours.diff(dim=axis).abs().amax(dim=(-2, -1)).min() > 0


@pytest.mark.parametrize(("most_objects", "seed"), [(1, 0), (1, 1), (5, 0)])
def test_logits_are_those_of_the_predictor(propagator, by_hand, tmp_path, most_objects, seed):
    frames, objects = street(3, seed, most_objects=most_objects)
    folder = write_frames(frames, tmp_path / "frames")
    assert_same_and_telling(our_logits(propagator, frames, objects), logits_by_hand(by_hand, folder, objects))


@pytest.mark.parametrize("most_objects", [1, 5])
def test_backward_is_the_reverse_option_of_the_predictor(propagator, by_hand, tmp_path, most_objects):
    frames, objects = street(3, seed=2, most_objects=most_objects)
    ours = our_logits(propagator, frames, objects)
    folder = write_frames(frames[::-1], tmp_path / "reversed")
    assert_same_and_telling(ours, logits_by_hand(by_hand, folder, objects, start=2, reverse=True))


@pytest.mark.slow
def test_another_model_at_another_size(tmp_path):
    path = write_checkpoint(tmp_path, "sam2_hiera_tiny", seed=3)
    frames, objects = street(2, seed=3, most_objects=2)
    folder = write_frames(frames, tmp_path / "frames")
    theirs = logits_by_hand(hand_built("sam2_hiera_tiny", 256, path), folder, objects)
    ours = our_logits(SAM2Propagator(path, image_size=256, device="cpu"), frames, objects)
    assert_same_and_telling(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 3])
def test_what_is_forgotten_changes_nothing(sam2_checkpoint, tmp_path, stride):
    """22 frames are more than the 6 masks and 15 object pointers that the model looks back on."""
    frames, objects = street(22, seed=4, most_objects=2)
    folder = write_frames(frames, tmp_path / "frames")
    propagator, by_hand = (
        SAM2Propagator(sam2_checkpoint, image_size=128, device="cpu"),
        hand_built("sam2.1_hiera_tiny", 128),
    )
    by_hand.load_state_dict(torch.load(sam2_checkpoint)["model"])
    propagator._model.predictor.memory_temporal_stride_for_eval = by_hand.memory_temporal_stride_for_eval = stride
    theirs = logits_by_hand(by_hand, folder, objects)
    assert_same_and_telling(our_logits(propagator, frames, objects), theirs)
    by_hand.max_obj_ptrs_in_encoder = 12  # a window that is too short must show
    assert not torch.equal(logits_by_hand(by_hand, folder, objects)[12:], theirs[12:])


class TestPrompts:
    def test_late_objects_corrections_and_points(self, propagator, by_hand, tmp_path):
        """By hand, a frame is prompted before it is followed into, or after that to correct it."""
        frames, objects = street(6, seed=0, most_objects=2)
        late, better = np.zeros((2, 96, 160), bool)
        late[20:50, 30:90] = better[10:60, 30:60] = True
        points, flags, box = (
            np.array([[50, 60], [90, 40]], np.float32),
            np.array([True, False]),
            (20.0, 30.0, 90.0, 70.0),
        )
        state = by_hand.init_state(str(write_frames(frames + frames * 2, tmp_path / "frames")))
        tracker, theirs = propagator.track(frames[0]), {}

        def both(index: int) -> None:
            for number, _, logits in by_hand.propagate_in_video(state, start_frame_idx=index, max_frame_num_to_track=0):
                theirs[number] = logits[:, 0]

        for index, frame in enumerate(frames):
            if index:
                tracker.step(frame)
            if index == 0:
                for item in objects.objects:
                    tracker.prompt(item.id, objects.ids == item.id)
                    by_hand.add_new_mask(state, 0, item.id, objects.ids == item.id)
            if index == 2:
                tracker.prompt(3, late)
                by_hand.add_new_mask(state, 2, 3, late)
                tracker.prompt(4, Prompt(points, flags, box))
                by_hand.add_new_points_or_box(state, 2, 4, points, flags.astype(int), box=box)
            if index == 3:
                tracker.logits()
                tracker.prompt(1, better)
                by_hand.add_new_mask(state, 3, 1, better)
            both(index)
            assert torch.equal(tracker.logits(), theirs[index])
            if index == 4:
                tracker.prompt(2, Prompt(points, flags))
                *_, logits = by_hand.add_new_points_or_box(state, 4, 2, points, flags.astype(int))
                assert torch.equal(tracker.logits()[1], logits[1, 0])
                assert not torch.equal(logits[1, 0], theirs[4][1])
        assert tracker.ids == [1, 2, 3, 4]
        assert theirs[5].std(dim=(-2, -1)).min() > 0.01

    def test_points_in_place_of_a_mask(self, smaller):
        """They correct what was followed, as if the mask had not been given."""
        frames, objects = street(2, seed=0, most_objects=1)
        click, found = Prompt(np.array([[50.0, 60.0]], np.float32), np.array([False])), []
        for prompts in ([click], [objects.ids == 3, click]):
            tracker = smaller.track(frames[0])
            tracker.prompt(1, objects.ids == 1)
            tracker.step(frames[1])
            for prompt in prompts:
                tracker.prompt(1, prompt)
            found.append(tracker.logits())
        assert torch.equal(*found)


def test_merges_in_chunks(smaller, monkeypatch):
    frames, objects = street(2, seed=1, most_objects=5)
    (logits,) = our_logits(smaller, frames, objects)
    for max_objects in (1, 2, 100):
        monkeypatch.setattr(smaller, "_max_objects", max_objects)
        (step,) = decided(smaller, objects, frames)
        np.testing.assert_array_equal(step.ids, merge_logits(logits, range(1, 6)))
        assert len(np.unique(step.ids)) > 2


def test_scores_and_confidence(smaller):
    frames, objects = street(2, seed=1, most_objects=3)
    (tracker,), (step,) = smaller.probabilities(objects, frames), decided(smaller, objects, frames)
    presence = torch.cat([output["object_score_logits"] for output in tracker._outputs]).flatten()
    assert step.scores == pytest.approx({i: 1 / (1 + np.exp(-presence[i - 1].item())) for i in (1, 2, 3)})
    logits = tracker.logits().numpy()
    chances = [
        step.scores[owner] / (1 + np.exp(-logits[owner - 1, row, column]))
        for (row, column), owner in np.ndenumerate(step.ids)
        if owner
    ]
    assert step.confidence == pytest.approx(np.mean(chances), abs=1e-6)


def test_frames_are_read_lazily_and_encoded_once(smaller, monkeypatch):
    frames, objects = street(2, seed=1, most_objects=1)
    read, encoded = [], []
    predictor = smaller._model.predictor
    encode = predictor.forward_image
    monkeypatch.setattr(predictor, "forward_image", lambda image: encoded.append(1) or encode(image))

    def endless():
        for number in count():
            read.append(number)
            yield frames[number % 2]

    trackers = smaller.probabilities(objects, endless())
    counts = [(len(read), len(encoded)) for _ in islice(trackers, 17)]
    assert [frames_read for frames_read, _ in counts] == [16] * 15 + [17, 18]  # 16 frames ahead, then one by one
    assert [frames_encoded for _, frames_encoded in counts] == list(range(2, 19))


def test_memory_holds_the_window_alone(smaller):
    frames, objects = street(2, seed=1, most_objects=1)
    for tracker in smaller.probabilities(objects, [frames[number % 2] for number in range(20)]):
        memory = tracker._state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
    assert len(memory) == 16
    assert sum(output["maskmem_features"] is not None for output in memory.values()) == 6
    assert len(tracker._state["images"]) == 1


MEMORY = """
import resource, sys
from tests.labels.propagation.known_motion import merge_logits
from tests.labels.small_sam2 import street
from thriftseg.labels.propagation.propagators.sam2 import SAM2Propagator
frames, objects = street(4, height=512, width=1024, most_objects=2)
clip = (frames[number % 4].copy() for number in range(int(sys.argv[2])))
for step in SAM2Propagator(sys.argv[1], image_size=256, device="cpu").probabilities(objects, clip):
    step.decide()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_clip(sam2_checkpoint):
    peaks = [
        float(
            subprocess.run(
                [sys.executable, "-c", MEMORY, sam2_checkpoint, str(n)], capture_output=True, check=True
            ).stdout
        )
        for n in (30, 120)
    ]
    assert peaks[1] <= peaks[0] + 50


def test_a_broken_frame_costs_only_what_follows(smaller):
    frames, objects = street(4, seed=1, most_objects=1)

    def broken():
        yield from frames[:3]
        raise OSError("bad frame")

    steps = decided(smaller, objects, broken())
    assert [next(steps).ids.shape for _ in range(2)] == [(96, 160)] * 2
    with pytest.raises(OSError, match="bad frame"):
        next(steps)


def test_no_objects(smaller):
    frames, _ = street(3)
    empty = ObjectMap(np.zeros((96, 160), np.uint16), ())
    assert [(step.ids.any(), step.confidence) for step in decided(smaller, empty, frames)] == [(False, 0.0)] * 2


def test_an_object_of_one_pixel_and_one_of_none(smaller):
    frames, _ = street(2)
    ids = np.zeros((96, 160), np.uint16)
    ids[40, 50], ids[60:80, 20:60] = 1, 2
    objects = ObjectMap(ids, tuple(TrackedObject(number, number) for number in (1, 2, 3)))
    (step,) = decided(smaller, objects, frames)
    assert set(step.scores) == {1, 2, 3}
    assert np.isfinite(list(step.scores.values())).all()


def test_forty_objects(smaller):
    frames, _ = street(2)
    ids = np.arange(96 * 160, dtype=np.uint16).reshape(96, 160) // 384 + 1
    objects = ObjectMap(ids, tuple(TrackedObject(number, 0) for number in range(1, 41)))
    (step,) = decided(smaller, objects, frames)  # 32 at a time
    assert list(step.scores) == list(range(1, 41))
    assert step.ids.max() > 32  # some of the last chunk, too


def test_pickled_it_gives_the_same(smaller):
    frames, objects = street(2, most_objects=2)
    twin = pickle.loads(pickle.dumps(smaller))  # noqa: S301 - our own
    assert twin.arguments == smaller.arguments
    assert torch.equal(our_logits(twin, frames, objects), our_logits(smaller, frames, objects))


def test_arguments_name_the_weights(propagator, by_hand):
    assert propagator.arguments == {
        "model": "sam2.1_hiera_tiny",
        "weights": weights_digest(by_hand),
        "image_size": 128,
        "mixed_precision": True,
    }


def test_leaves_the_user_and_the_random_numbers_alone(sam2_checkpoint, capfd, caplog):
    """No bars, no log lines, no warnings, even for those who listen to everything."""
    frames, objects = street(2, most_objects=1)
    handlers, state = list(logging.getLogger().handlers), torch.get_rng_state()
    with caplog.at_level(logging.INFO), warnings.catch_warnings():
        warnings.simplefilter("error")
        propagator = SAM2Propagator(sam2_checkpoint, image_size=32, device="cpu")
        assert len(list(decided(propagator, objects, frames))) == 1
    assert (*capfd.readouterr(), caplog.text) == ("", "", "")
    assert [handler for handler in logging.getLogger().handlers if handler not in handlers] == []
    assert torch.equal(torch.get_rng_state(), state)


class TestRefusals:
    def test_no_weights(self):
        with pytest.raises(ConfigError, match=r"SAM 2 has no weights.*facebook/sam2.1-hiera-tiny"):
            SAM2Propagator()

    def test_missing_weights(self, tmp_path):
        with pytest.raises(CheckpointError, match=r"sam2.1_hiera_tiny.pt: no such checkpoint"):
            SAM2Propagator(tmp_path / "sam2.1_hiera_tiny.pt")

    def test_damaged_weights(self, sam2_checkpoint, tmp_path):
        path = tmp_path / sam2_checkpoint.name
        path.write_bytes(sam2_checkpoint.read_bytes()[:100_000])
        with pytest.raises(CheckpointError, match="not a checkpoint, or cut short; found 100000 bytes") as caught:
            SAM2Propagator(path)
        assert str(path) in caught.value.headline
        assert caught.value.detail is None

    def test_weights_of_something_else(self, tmp_path):
        path = tmp_path / "sam2.1_hiera_tiny.pt"
        torch.save({"model": {"weight": torch.zeros(1)}}, path)
        with pytest.raises(CheckpointError, match=r"no weights of sam2.1_hiera_tiny; found \d+ entries"):
            SAM2Propagator(path)
        torch.save([1], path)
        with pytest.raises(CheckpointError, match="holds no weights of SAM 2"):
            SAM2Propagator(path)

    def test_weights_of_another_model(self, sam2_checkpoint):
        with pytest.raises(CheckpointError, match=r"no weights of sam2_hiera_tiny.*name the model"):
            SAM2Propagator(sam2_checkpoint, model="sam2_hiera_tiny")

    def test_unknown_model(self, sam2_checkpoint, tmp_path):
        with pytest.raises(ConfigError, match=r"no such model of SAM 2; expected sam2_hiera_tiny, .*found 'huge'"):
            SAM2Propagator(sam2_checkpoint, model="huge")
        renamed = tmp_path / "mine.pt"
        renamed.symlink_to(sam2_checkpoint)
        with pytest.raises(ConfigError, match="found 'mine'; fix: name the model that the checkpoint belongs to"):
            SAM2Propagator(renamed)

    def test_hub_that_cannot_be_reached(self, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(CheckpointError, match="facebook/sam2-hiera-tiny: the weights could not be fetched"):
            SAM2Propagator("facebook/sam2-hiera-tiny")

    def test_missing_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sam2.build_sam", None)
        with pytest.raises(ConfigError, match=r"SAM 2 is not installed.*fix: pip install thriftseg\[sam\]"):
            SAM2Propagator("facebook/sam2-hiera-tiny")

    @pytest.mark.parametrize(
        ("setting", "message"),
        [({"image_size": 250}, "multiple of 32"), ({"max_objects": 0}, "at least 1"), ({"device": "abacus"}, "device")],
    )
    def test_settings_out_of_range(self, sam2_checkpoint, setting, message):
        with pytest.raises(ConfigError, match=message):
            SAM2Propagator(sam2_checkpoint, **setting)


class TestPrivateInterface:
    """What is relied on beside public methods; a new version of `sam2` that changes it fails here."""

    def test_state(self, by_hand, tmp_path):
        frames, _ = street(2)
        theirs = by_hand.init_state(str(write_frames(frames, tmp_path / "frames")))
        ours = _new_state(by_hand, (96, 160), 2, offload_to_cpu=False)
        assert ours.keys() == theirs.keys()
        filled = {"images", "cached_features"}
        assert {k: v for k, v in ours.items() if k not in filled} == {
            k: v for k, v in theirs.items() if k not in filled
        }

    def test_images(self, by_hand, tmp_path):
        frames, _ = street(2)
        theirs = by_hand.init_state(str(write_frames(frames, tmp_path / "frames")))["images"]
        assert torch.equal(torch.stack([_normalise(_resize(frame, 128)) for frame in frames]), theirs)

    def test_step(self, by_hand):
        source = inspect.getsource(SAM2Tracker._follow)
        parameters = inspect.signature(by_hand._run_single_frame_inference).parameters
        required = [name for name, value in parameters.items() if value.default is inspect.Parameter.empty]
        assert all(f"{name}=" in source for name in required)
        assert list(inspect.signature(by_hand._get_orig_video_res_output).parameters) == [
            "inference_state",
            "any_res_masks",
        ]
