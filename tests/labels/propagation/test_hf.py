"""Video networks are the true ones of `transformers`, small, with random weights; logits are compared bit for bit."""

from __future__ import annotations

import copy
import pickle
import socket
import warnings
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.labels.propagation.known_motion import merge_logits
from tests.labels.propagation.peak_memory import peak_memory
from tests.labels.small_sam2 import street
from tests.labels.small_video_networks import (
    MODEL_TYPES,
    SIDES,
    WINDOW,
    logits_by_hand,
    network_and_processor,
    write_video_network,
)
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.labels import HFPropagator, Prompt, create_propagator, follow
from thriftseg.labels.propagation.propagators import hf
from thriftseg.stores import ObjectMap, TrackedObject
from thriftseg.zoo import weights_digest

pytest.importorskip("transformers", minversion="5")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("networks")
    return {name: write_video_network(root / name, name) for name in MODEL_TYPES}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name != "sam2_video" else ()) for name in MODEL_TYPES],
)
def propagator(request: pytest.FixtureRequest, folders: dict[str, Path]) -> HFPropagator:
    return HFPropagator(folders[request.param], device="cpu")


@pytest.fixture(scope="module")
def sam2(folders: dict[str, Path]) -> HFPropagator:
    made = create_propagator("hf", weights=str(folders["sam2_video"]), device="cpu")
    assert isinstance(made, HFPropagator)
    return made


def by_hand(propagator: HFPropagator, frames, objects: ObjectMap, prompts=None) -> list[torch.Tensor]:
    """The same tensors, since other copies may lie at other addresses, which changes the order of sums."""
    network = propagator._network
    mended = None if prompts else vars(network).pop("_use_mask_as_output", None)
    found = logits_by_hand(network, propagator._processor, frames, objects, prompts)
    if mended is not None:
        network._use_mask_as_output = mended
    return found


def our_logits(propagator: HFPropagator, frames, objects: ObjectMap, corrections=None) -> list[torch.Tensor]:
    return [tracker.logits() for tracker in follow(propagator, objects, iter(frames), corrections)]


def assert_same_and_telling(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    """Equal bit for bit, and not because nothing depends on anything."""
    assert len(ours) == len(theirs)
    for ours_now, theirs_now in zip(ours, theirs, strict=True):
        assert torch.equal(ours_now, theirs_now)
        assert ours_now.std(dim=(-2, -1)).min() > 0.01
        assert len(ours_now) == 1 or ours_now.diff(dim=0).abs().amax(dim=(-2, -1)).min() > 0.01
    for before, after in pairwise(ours):
        known = min(len(before), len(after))
        assert (after[:known] - before[:known]).abs().amax(dim=(-2, -1)).min() > 0.01


def only(frame: np.ndarray, number: int, rows: slice, columns: slice) -> ObjectMap:
    ids = np.zeros(frame.shape[:2], np.uint16)
    ids[rows, columns] = number
    return ObjectMap(ids, (TrackedObject(number, number),))


class TestLogits:
    @pytest.mark.parametrize(("most_objects", "seed"), [(1, 0), (5, 1)])
    def test_are_those_of_the_session(self, propagator, most_objects, seed):
        """In more frames than the network looks back on."""
        frames, objects = street(WINDOW + 3, seed, most_objects=most_objects)
        assert_same_and_telling(our_logits(propagator, frames, objects), by_hand(propagator, frames, objects))

    @pytest.mark.parametrize("most_objects", [1, 5])
    def test_backward_is_the_reverse_option_of_the_library(self, propagator, most_objects):
        frames, objects = street(WINDOW + 2, seed=2, most_objects=most_objects)
        network, processor = propagator._network, propagator._processor
        session = processor.init_video_session()
        session.video_height, session.video_width = frames[0].shape[:2]
        for frame in frames[::-1]:  # all frames at once, from the first one of the clip on
            session.add_new_frame(processor(images=frame, return_tensors="pt").pixel_values[0])
        numbers, last = [item.id for item in objects.objects], len(frames) - 1
        masks = [objects.ids == number for number in numbers]
        processor.add_inputs_to_inference_session(session, last, numbers, input_masks=masks)
        network(session, frame_idx=last)
        steps = network.propagate_in_video_iterator(session, start_frame_idx=last, reverse=True)
        sizes = [[session.video_height, session.video_width]]
        theirs = [
            processor.post_process_masks([s.pred_masks], sizes, binarize=False)[0][:, 0] for s in islice(steps, 1, None)
        ]
        assert_same_and_telling(our_logits(propagator, frames, objects), theirs)

    @pytest.mark.parametrize("seed", [3, 4])
    def test_other_weights(self, tmp_path, seed):
        folder = write_video_network(tmp_path, MODEL_TYPES[seed % 3], seed=seed)
        propagator = HFPropagator(folder, device="cpu")
        frames, objects = street(4, seed, most_objects=2)
        assert_same_and_telling(our_logits(propagator, frames, objects), by_hand(propagator, frames, objects))

    def test_a_window_that_is_too_short_shows(self, sam2, monkeypatch):
        frames, objects = street(WINDOW + 2, seed=0, most_objects=1)
        right, forget = our_logits(sam2, frames, objects), hf.forget_past

        def with_window(setting, value):
            def early(session, config, index):
                changed = copy.deepcopy(config)
                setattr(changed, setting, value)
                forget(session, changed, index)

            monkeypatch.setattr(hf, "forget_past", early)
            return our_logits(sam2, frames, objects)

        wrong = with_window("max_object_pointers_in_encoder", WINDOW - 1)
        assert [torch.equal(*pair) for pair in zip(right, wrong, strict=True)] == [True] * (WINDOW - 1) + [False] * 2
        with pytest.raises(KeyError, match="maskmem_features"):
            with_window("num_maskmem", 6)


class TestPrompts:
    def test_the_library_cannot_show_edgetam_a_mask_beside_what_it_follows(self):
        """Where it can, `HFPropagator` need not mend it."""
        frames, objects = street(2, seed=0, most_objects=1)
        late = {1: {"obj_ids": [2], "input_masks": [objects.ids == 2]}}
        with pytest.raises(RuntimeError, match="same number of dimensions"):
            logits_by_hand(*network_and_processor("edgetam_video"), frames, objects, late)

    def test_an_object_that_appears_late(self, propagator):
        frames, objects = street(8, seed=0, most_objects=2)
        late = only(frames[0], 3, slice(20, 50), slice(30, 90))
        ours = our_logits(propagator, frames, objects, {3: late})
        prompts = {3: {"obj_ids": [3], "input_masks": [late.ids == 3]}}
        assert_same_and_telling(ours, by_hand(propagator, frames, objects, prompts))
        assert [len(logits) for logits in ours] == [2, 2, 3, 3, 3, 3, 3]

    def test_a_correction_on_the_way(self, propagator):
        frames, objects = street(WINDOW + 6, seed=0, most_objects=2)
        correction = only(frames[0], 2, slice(10, 60), slice(30, 60))
        ours = our_logits(propagator, frames, objects, {4: correction})
        prompts = {4: {"obj_ids": [2], "input_masks": [correction.ids == 2]}}
        assert_same_and_telling(ours, by_hand(propagator, frames, objects, prompts))
        untold = our_logits(propagator, frames, objects)
        assert [torch.equal(*pair) for pair in zip(ours, untold, strict=True)] == [True] * 3 + [False] * (WINDOW + 2)
        assert not torch.equal(ours[-1][1], untold[-1][1])  # it is remembered longer than the window

    def test_several_points_and_a_box(self, propagator):
        frames, _ = street(3, seed=0)
        points = np.array([[[30, 40], [70, 50], [100, 20]], [[100, 60], [120, 50], [10, 10]]], np.float32)
        flags, boxes = np.array([[True, True, False]] * 2), [[20.0, 30.0, 90.0, 70.0], [90.0, 40.0, 130.0, 90.0]]
        tracker = propagator.track(frames[0])
        for place, number in enumerate((4, 9)):
            tracker.prompt(number, Prompt(points[place], flags[place], tuple(boxes[place])))
        tracker.step(frames[1])
        tracker.step(frames[2])
        session = {"input_points": [points.tolist()], "input_labels": [flags.astype(int).tolist()]}
        theirs = logits_with_first(propagator, frames, session | {"obj_ids": [4, 9], "input_boxes": [boxes]})
        assert torch.equal(tracker.logits(), theirs)
        assert tracker.ids == [4, 9]
        fewer = propagator.track(frames[0])
        fewer.prompt(4, Prompt(points[0], flags[0], tuple(boxes[0])))
        fewer.prompt(4, Prompt(points[0], flags[0]))  # takes the place of the one before
        session = {
            "obj_ids": [4],
            "input_points": [points[:1].tolist()],
            "input_labels": [flags[:1].astype(int).tolist()],
        }
        assert torch.equal(fewer.logits(), logits_with_first(propagator, frames[:1], session))

    def test_points_correct_what_is_remembered(self, propagator):
        """As the library does where a frame is prompted after it was followed into."""
        frames, objects = street(6, seed=0, most_objects=2)
        network, processor = propagator._network, propagator._processor
        click = Prompt(np.array([[50.0, 60.0]], np.float32), np.array([False]))
        session, tracker = processor.init_video_session(), propagator.track(frames[0])
        for number, frame in enumerate(frames):
            pixels = processor(images=frame, return_tensors="pt").pixel_values[0]
            if number == 0:
                masks = [objects.ids == 1, objects.ids == 2]
                processor.add_inputs_to_inference_session(
                    session, 0, [1, 2], input_masks=masks, original_size=(96, 160)
                )
                for item in objects.objects:
                    tracker.prompt(item.id, objects.ids == item.id)
            else:
                tracker.step(frame)
            output = network(session, frame=pixels, frame_idx=number)
            if number == 3:
                followed = tracker.logits()
                tracker.prompt(2, click)
                given = {"input_points": [[[[50.0, 60.0]]]], "input_labels": [[[0]]]}
                processor.add_inputs_to_inference_session(session, 3, [2], **given, original_size=(96, 160))
                output = network(session, frame=pixels, frame_idx=3)
                assert torch.equal(tracker.logits()[0], followed[0])
                assert not torch.equal(tracker.logits()[1], followed[1])
            theirs = processor.post_process_masks([output.pred_masks], [[96, 160]], binarize=False)[0][:, 0]
            assert torch.equal(tracker.logits(), theirs)

    def test_prompts_of_one_frame_do_not_undo_each_other(self, sam2):
        """The session of the library forgets the correction of one object when the next one is prompted."""
        frames, objects = street(4, seed=0, most_objects=2)
        clicks = [Prompt(np.array([[x, 60.0]], np.float32), np.array([False])) for x in (50.0, 100.0)]
        trackers = [sam2.track(frames[0]) for _ in range(3)]
        for tracker in trackers:
            for item in objects.objects:
                tracker.prompt(item.id, objects.ids == item.id)
            tracker.step(frames[1])
        alone, other, both = trackers
        alone.prompt(1, clicks[0])
        other.prompt(2, clicks[1])
        both.prompt(1, clicks[0])
        both.logits()
        both.prompt(2, clicks[1])
        assert torch.equal(both.logits()[0], alone.logits()[0])
        assert torch.equal(both.logits()[1], other.logits()[1])


def logits_with_first(propagator: HFPropagator, frames, inputs: dict) -> torch.Tensor:
    """Logits of the last of some frames, the first of which is prompted."""
    network, processor = propagator._network, propagator._processor
    session = processor.init_video_session()
    processor.add_inputs_to_inference_session(session, 0, **inputs, original_size=(96, 160))
    for frame in frames:
        output = network(session, frame=processor(images=frame, return_tensors="pt").pixel_values[0])
    return processor.post_process_masks([output.pred_masks], [[96, 160]], binarize=False)[0][:, 0]


class TestMemory:
    def test_holds_the_window_alone(self, propagator):
        frames, objects = street(2, seed=1, most_objects=2)
        clip = (frames[number % 2] for number in range(2 * WINDOW))
        held = []
        for tracker in follow(
            propagator, objects, clip, {2 * WINDOW - 4: only(frames[0], 3, slice(20, 50), slice(30, 90))}
        ):
            tracker.decide()
            held.append(sum(tensor.untyped_storage().nbytes() for tensor in tensors_in(vars(tracker._session))))
        assert len(set(held[WINDOW : WINDOW + 3])) == 1  # full, and no prompt in between
        session = tracker._session
        assert list(session.processed_frames) == list(session.cache._vision_features) == [2 * WINDOW - 1]
        for place, outputs in session.output_dict_per_obj.items():
            followed = outputs["non_cond_frame_outputs"]
            oldest = 2 * WINDOW - 3 if place == 2 else WINDOW  # it appeared one frame before
            assert list(followed) == list(range(oldest, 2 * WINDOW))
            assert sum("maskmem_features" in output for output in followed.values()) == min(7, len(followed))
            assert len(session.frames_tracked_per_obj[place]) <= 1
            assert not session.mask_inputs_per_obj[place]

    def test_frames_are_read_one_by_one_and_encoded_once(self, sam2, monkeypatch):
        frames, objects = street(2, seed=1, most_objects=3)
        read, encoded = [], []
        encode = sam2._network.get_image_features
        monkeypatch.setattr(
            sam2._network, "get_image_features", lambda *given, **named: encoded.append(1) or encode(*given, **named)
        )

        def endless():
            while True:
                read.append(1)
                yield frames[len(read) % 2]

        counts = []
        for step in islice(sam2.probabilities(objects, endless()), 4):
            step.decide()
            counts.append((len(read), len(encoded)))
        assert counts == [(number, number) for number in (2, 3, 4, 5)]

    @pytest.mark.slow
    @pytest.mark.parametrize("model_type", MODEL_TYPES)
    def test_peak_does_not_grow_with_the_clip(self, model_type, tmp_path):
        """400 frames of 10 objects at 256 pixels take at most 60 MB more than 60 frames."""
        folder = write_video_network(tmp_path, model_type, side=252 if model_type.startswith("sam3") else 256)
        assert peak_memory("hf", folder, 400) <= peak_memory("hf", folder, 60) + 60


def tensors_in(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for part in value.values() for tensor in tensors_in(part)]
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in tensors_in(part)]
    return tensors_in(vars(value)) if hasattr(value, "_vision_features") else []


class TestResults:
    def test_merges_in_chunks(self, sam2, monkeypatch):
        frames, objects = street(2, seed=1, most_objects=5)
        (logits,) = our_logits(sam2, frames, objects)
        for max_objects in (1, 2, 100):
            monkeypatch.setattr(sam2, "_max_objects", max_objects)
            (step,) = (step.decide() for step in sam2.probabilities(objects, frames))
            np.testing.assert_array_equal(step.ids, merge_logits(logits, range(1, 6)))
            assert len(np.unique(step.ids)) > 2

    def test_scores_are_those_of_the_network(self, sam2):
        frames, objects = street(2, seed=1, most_objects=3)
        (tracker,) = sam2.probabilities(objects, frames)
        found = tracker.decide()
        presence = tracker._output.object_score_logits.flatten()
        assert found.scores == pytest.approx({i: 1 / (1 + np.exp(-presence[i - 1].item())) for i in (1, 2, 3)})
        sure = [
            found.scores[owner] / (1 + np.exp(-tracker.logits()[owner - 1, row, column].item()))
            for (row, column), owner in np.ndenumerate(found.ids)
            if owner
        ]
        assert found.confidence == pytest.approx(np.mean(sure), abs=1e-6)

    def test_memory_on_the_cpu_changes_nothing(self, folders, sam2):
        frames, objects = street(4, most_objects=2)
        other = HFPropagator(folders["sam2_video"], device="cpu", offload_to_cpu=True)
        for ours, theirs in zip(our_logits(other, frames, objects), our_logits(sam2, frames, objects), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)

    def test_pickled_it_gives_the_same(self, propagator):
        twin = pickle.loads(pickle.dumps(propagator))  # noqa: S301 - our own
        assert twin.arguments == propagator.arguments
        frames, objects = street(2, most_objects=2)
        (ours,), (theirs,) = our_logits(twin, frames, objects), our_logits(propagator, frames, objects)
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize("model_type", MODEL_TYPES)
    def test_arguments_name_the_weights(self, folders, model_type):
        assert HFPropagator(folders[model_type], device="cpu").arguments == {
            "model": model_type,
            "weights": weights_digest(network_and_processor(model_type)[0]),
            "image_size": SIDES[model_type],
            "mixed_precision": True,
        }

    def test_labels_note_the_licence_of_the_weights(self, folders, tmp_path):
        assert HFPropagator(folders["sam3_tracker_video"], device="cpu").licence == "SAM License"
        for path in folders["edgetam_video"].iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
        assert HFPropagator(tmp_path, device="cpu").licence == "apache-2.0"

    @pytest.mark.parametrize(
        ("model_type", "side", "wrong"),
        [("sam2_video", 96, 80), ("edgetam_video", 128, 48), ("sam3_tracker_video", 84, 80)],
    )
    def test_another_size(self, folders, model_type, side, wrong):
        propagator = HFPropagator(folders[model_type], image_size=side, device="cpu")
        assert propagator.arguments["image_size"] == side
        frames, objects = street(3, most_objects=2)
        ours = our_logits(propagator, frames, objects)
        assert_same_and_telling(ours, by_hand(propagator, frames, objects))
        assert [logits.shape for logits in ours] == [(2, 96, 160)] * 2
        step = {"sam2_video": 32, "edgetam_video": 32, "sam3_tracker_video": 14}[model_type]
        with pytest.raises(
            ConfigError, match=f"image_size of {model_type}; expected a multiple of {step}; found {wrong}"
        ):
            HFPropagator(folders[model_type], image_size=wrong, device="cpu")

    def test_leaves_the_network_and_the_random_numbers_alone(self, folders, monkeypatch, capfd):
        def refused(*arguments):
            raise AssertionError("somebody is called")

        monkeypatch.setattr(socket.socket, "connect", refused)
        frames, objects = street(2, most_objects=1)
        state = torch.get_rng_state()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for folder in folders.values():
                (step,) = HFPropagator(folder, device="cpu").probabilities(objects, frames)
                step.decide()
        assert (*capfd.readouterr(),) == ("", "")
        assert torch.equal(torch.get_rng_state(), state)


class TestSAM3AsPublished:
    def test_its_tracker_is_read(self, folders, tmp_path):
        """The repository holds a detector, too, and its processor is that of both."""
        import json

        from safetensors.torch import load_file, save_file

        folder = folders["sam3_tracker_video"]
        names = {
            "vision_encoder.backbone.": "detector_model.vision_encoder.backbone.",
            "vision_encoder.neck.": "tracker_neck.",
        }
        state = {}
        for name, value in load_file(folder / "model.safetensors").items():
            place = next((new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)), None)
            state[place or f"tracker_model.{name}"] = value
        state["detector_model.dot_product_scoring.text_proj.bias"] = torch.zeros(4)
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        whole = {"model_type": "sam3_video", "tracker_config": config, "detector_config": {"model_type": "sam3"}}
        (tmp_path / "config.json").write_text(json.dumps(whole))
        (tmp_path / "processor_config.json").write_text((folder / "processor_config.json").read_text())
        alone, inside = (HFPropagator(path, device="cpu") for path in (folder, tmp_path))
        assert inside.arguments == alone.arguments


class TestRefusals:
    def test_no_weights(self):
        with pytest.raises(ConfigError, match=r"a video network of transformers has no weights.*facebook/sam3"):
            HFPropagator()

    @pytest.mark.parametrize("name", ["runs/old/best", "./tiny", "~/none", "sam2.safetensors", Path("facebook/sam3")])
    def test_a_path_that_is_not_there_is_no_name(self, name, monkeypatch):
        monkeypatch.setattr(socket.socket, "connect", lambda *arguments: pytest.fail("the hub is asked"))
        with pytest.raises(CheckpointError, match="no such folder; expected a folder or an id of the Hugging Face hub"):
            HFPropagator(name)

    def test_a_name_that_cannot_be_fetched(self, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(CheckpointError, match=r"facebook/sam2\.1-hiera-tiny: the weights of a video network"):
            HFPropagator("facebook/sam2.1-hiera-tiny")

    def test_weights_of_something_else(self, tmp_path):
        from transformers import ViTConfig

        ViTConfig(num_hidden_layers=1).save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="no weights of a video network of transformers; found those of vit"):
            HFPropagator(tmp_path)

    def test_without_a_processor(self, folders, tmp_path):
        for name in ("config.json", "model.safetensors"):
            (tmp_path / name).write_bytes((folders["sam2_video"] / name).read_bytes())
        with pytest.raises(CheckpointError, match="cannot be read"):
            HFPropagator(tmp_path)

    def test_prompts_that_do_not_fit(self, sam2):
        tracker = sam2.track(np.zeros((96, 160, 3), np.uint8))
        with pytest.raises(ConfigError, match=r"size of a mask; expected \(96, 160\); found \(4, 4\)"):
            tracker.prompt(1, np.ones((4, 4), bool))
        with pytest.raises(ConfigError, match=r"a prompt for a video.*found mask_logits"):
            tracker.prompt(1, Prompt(mask_logits=np.zeros((4, 4), np.float32)))

    @pytest.mark.parametrize(
        ("setting", "message"), [({"max_objects": 0}, "at least 1"), ({"device": "abacus"}, "device")]
    )
    def test_settings_out_of_range(self, folders, setting, message):
        with pytest.raises(ConfigError, match=message):
            HFPropagator(folders["sam2_video"], **setting)
