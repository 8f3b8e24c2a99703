"""One segmenter: what validation, `predict`, `label fill`, `annotate next` and quickstart say about the same frames."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from PIL import Image

from tests.fixtures.two_layers import TwoLayers
from thriftseg.annotation import NetworkView, SampleSelection, create_granularity, rank_samples
from thriftseg.arrays import UInt8Array
from thriftseg.datamodules import SemanticDataModule
from thriftseg.datasets import Folder, write_label_png
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.inference import FrameSegmenter, Segmentation, choose_device, load_weights, predict
from thriftseg.labels import label_fill
from thriftseg.lightning_modules import SemanticEvaluation, SemanticSegmentation
from thriftseg.quickstart import segmented_clip
from thriftseg.stores import LabelStore
from thriftseg.synthetic import SceneConfig, render_clip
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import LabelKind
from thriftseg.zoo import SemanticNetwork, SlidingWindow, WholeImage, create_model, save_weights

SCENE = SceneConfig(height=32, width=46, num_frames=5, seed=3)
PROTOCOLS = {"whole": WholeImage(), "sliding": SlidingWindow((32, 32), (32, 20))}
NETWORKS: dict[str, dict[str, Any]] = {
    "image": {"name": "deeplabv3plus_mobilenetv2", "decoder_channels": 8},
    "tmanet": {"name": "tmanet_r18", "key_channels": 8, "value_channels": 16, "head_channels": 16},
    "td2": {"name": "td2_fanet18"},
    "td4": {"name": "td4_psp18"},
    "td2_no_attention": {"name": "td2_fanet18", "warm_up": "no_attention"},
}
FAST = {("image", "whole"), ("tmanet", "sliding"), ("td2", "whole")}
KEYS = [pytest.param(key, marks=pytest.mark.slow if key == "td4" else ()) for key in NETWORKS]
PHASES = {"image": 1, "tmanet": 1, "td2": 2, "td4": 4, "td2_no_attention": 2}


@pytest.fixture(scope="module")
def frames() -> list[UInt8Array]:
    return [frame.image for frame in render_clip(SCENE)]


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The frames as a clip of a data set, the third of them labelled."""
    root = tmp_path_factory.mktemp("street")
    rows = [{"name": row.name, "color": list(row.color)} for row in CITYSCAPES.classes if row.train_id != 255]
    (root / "classes.yaml").write_text(yaml.safe_dump({"classes": rows}))
    for number, frame in enumerate(render_clip(SCENE)):
        path = root / "val/street/frames" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), frame.image[..., ::-1])
        if number == 2:
            write_label_png(root / "val/street/labels" / path.name, frame.label)
    return Folder(root)


@pytest.fixture(scope="module")
def network_of(frames: list[UInt8Array]) -> Callable[[str], SemanticNetwork]:
    """A function that gives a random network, once per module."""
    return functools.cache(lambda key: balanced(NETWORKS[key], frames))


@torch.no_grad()
def balanced(options: dict[str, Any], frames: list[UInt8Array]) -> SemanticNetwork:
    """A network whose running statistics fit its weights, and whose classes all have a mean logit of 0."""
    torch.manual_seed(0)
    network = create_model(num_classes=CITYSCAPES.num_classes, **options)
    clip = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)[None, : network.past_frames + 1] / 255
    clip = network.preprocessing(clip.expand(2, -1, -1, -1, -1))
    phases = [{"first_index": phase} if network.num_phases > 1 else {} for phase in range(network.num_phases)]
    for phase in phases:
        network.train()(clip, **phase)

    def centre(classifier: Any, inputs: Any, logits: torch.Tensor) -> None:
        if classifier.bias is not None:
            classifier.bias -= logits.mean((0, 2, 3))

    classifiers = [layer for layer in network.modules() if getattr(layer, "out_channels", None) == network.num_classes]
    hooks = [classifier.register_forward_hook(centre) for classifier in classifiers]
    for phase in phases:
        network.eval()(clip, **phase)
    for hook in hooks:
        hook.remove()
    return network


def stream(network: SemanticNetwork, frames: list[UInt8Array], **settings: Any) -> list[Segmentation]:
    segment = FrameSegmenter(network, device="cpu", **settings)
    state, found = segment.start(), []
    for frame in frames:
        seen, state = segment.step(frame, state)
        found.append(seen)
    return found


def validated(network: SemanticNetwork, inference: Any, street: Folder, folder: Path) -> dict[int, UInt8Array]:
    class Keep(Callback):
        def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, *rest: Any) -> None:
            found.update(zip(batch["number"].tolist(), outputs["prediction"].numpy(), strict=True))

    found: dict[int, UInt8Array] = {}
    data = SemanticDataModule(street, crop=(32, 32), tc="all", num_workers=0)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(
        accelerator="cpu", callbacks=[Keep()], default_root_dir=folder, enable_checkpointing=False, **quiet
    )
    trainer.validate(
        SemanticSegmentation(network, evaluation=SemanticEvaluation(inference=inference)), data, verbose=False
    )
    return found


def predicted(weights: Path, street: Folder, folder: Path) -> dict[int, UInt8Array]:
    predict(weights, street.root / "val/street/frames", folder, accelerator="cpu", progress=False)
    return {int(path.stem): np.array(Image.open(path)) for path in (folder / "labels").iterdir()}


def filled(network: SemanticNetwork, inference: Any, street: Folder, folder: Path) -> dict[int, UInt8Array]:
    """Labels without any labelled pixel, filled."""
    gaps = LabelStore(folder, "gaps", street.taxonomy)
    (clip,) = street.clips("val")
    for number in clip.frames:
        nothing = np.full((SCENE.height, SCENE.width), 255, np.uint8)
        gaps.write(clip.video, number, nothing, kind=LabelKind.PROPAGATED, generator="test")
    options = {"source": "gaps", "out_source": "filled", "store": folder, "accelerator": "cpu", "progress": False}
    label_fill(street, "val", network, inference=inference, **options)
    store = LabelStore(folder, "filled", street.taxonomy)
    return {number: store.read(clip.video, number) for number in clip.frames}


def unsure(network: SemanticNetwork, inference: Any, street: Folder) -> dict[int, np.ndarray]:
    """How unsure `annotate next` is of every pixel: 1 minus the probability of its label."""
    ranking = rank_samples(
        street,
        "val",
        SCENE.num_frames * SCENE.height * SCENE.width,
        view=NetworkView(network, "least_conf", inference=inference),
        granularity=create_granularity("rec1"),
        selection=SampleSelection("uncertainty"),
        progress=False,
    )
    found = {number: np.full(SCENE.height * SCENE.width, np.nan) for number in range(SCENE.num_frames)}
    for row in ranking:
        found[row.sample.number][row.sample.region] = row.score
    return {number: values.reshape(SCENE.height, SCENE.width) for number, values in found.items()}


@pytest.mark.parametrize(
    ("key", "protocol"),
    [
        pytest.param(key, protocol, marks=() if (key, protocol) in FAST else pytest.mark.slow)
        for key in NETWORKS
        for protocol in PROTOCOLS
    ],
)
def test_all_callers_say_the_same(
    key: str, protocol: str, network_of: Any, street: Folder, frames: list[UInt8Array], tmp_path: Path
) -> None:
    network, inference = network_of(key), PROTOCOLS[protocol]
    seen = stream(network, frames, inference=inference)
    expected = {number: found.label_map() for number, found in enumerate(seen)}
    weights = tmp_path / "student.safetensors"
    save_weights(network, weights, taxonomy=CITYSCAPES, inference=inference)
    callers = {
        "validation": validated(network, inference, street, tmp_path),
        "predict": predicted(weights, street, tmp_path / "predictions"),
        "label fill": filled(network, inference, street, tmp_path / "labels"),
        "quickstart": dict(enumerate(label for _, label in segmented_clip(SCENE, weights))),
    }
    for caller, labels in callers.items():
        assert labels.keys() == expected.keys(), caller
        for number, label in labels.items():
            np.testing.assert_array_equal(label, expected[number], err_msg=f"{caller}, frame {number}")
    for number, values in unsure(network, inference, street).items():
        confidence = seen[number].confidence[0].numpy()
        np.testing.assert_array_equal(values.astype(np.float32), 1 - confidence, err_msg=f"frame {number}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("key", KEYS)
def test_the_maps_tell_phases_and_protocols_apart(
    key: str, protocol: str, network_of: Any, frames: list[UInt8Array]
) -> None:
    """The test above would see a caller that takes the wrong part of the network, or forgets the past frames."""
    network, inference = network_of(key), PROTOCOLS[protocol]
    assert network.num_phases == PHASES[key] < len(frames)
    segment = FrameSegmenter(network, inference, device="cpu")
    clip = torch.from_numpy(np.stack(frames[: network.past_frames + 1])).permute(0, 3, 1, 2)[None] / 255
    with torch.inference_mode():
        places = range(network.past_frames, network.past_frames + network.num_phases)
        phases = [segment.batch(clip, [place]).label_map() for place in places]
        still = segment.batch(clip[:, -1:].expand_as(clip), [network.past_frames]).label_map()
    assert len(np.unique(phases[0])) > 3
    for one, other in itertools.combinations(phases, 2):
        assert (one != other).mean() > 0.05
    assert (still != phases[0]).any() == (network.past_frames > 0)
    other = PROTOCOLS["whole" if protocol == "sliding" else "sliding"]
    assert (stream(network, frames[:1], inference=other)[0].label_map() != segment_one(segment, frames[0])).any()


def segment_one(segment: FrameSegmenter, frame: UInt8Array) -> UInt8Array:
    (label,) = segment(frame)
    return label


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("key", KEYS)
def test_a_single_frame_is_that_of_the_stream_bit_for_bit(
    key: str, protocol: str, network_of: Any, street: Folder, frames: list[UInt8Array]
) -> None:
    settings = {"inference": PROTOCOLS[protocol], "resize": (24, 40)}
    (clip,) = street.clips("val")
    single = FrameSegmenter(network_of(key), device="cpu", **settings)
    for number, found in enumerate(stream(network_of(key), frames, **settings)):
        alone = single.frame(street, clip, number, features=number % 2 == 0)
        assert (alone.features is None) == (number % 2 == 1)
        assert torch.equal(alone.logits, found.logits)
        assert alone.size == (SCENE.height, SCENE.width)
        assert alone.labels.shape == alone.confidence.shape == (1, SCENE.height, SCENE.width)
        assert found.logits.shape[-2:] == (24, 40)


@pytest.mark.parametrize("key", KEYS)
def test_a_batch_of_mixed_places_is_put_back_in_order(key: str, network_of: Any, frames: list[UInt8Array]) -> None:
    network = network_of(key)
    segment = FrameSegmenter(network, device="cpu")
    places = [4, 0, 3, 1, 4]
    windows = [[max(place - back, 0) for back in range(network.past_frames, -1, -1)] for place in places]
    clips = torch.from_numpy(np.stack([[frames[n] for n in window] for window in windows])).permute(0, 1, 4, 2, 3) / 255
    with torch.inference_mode():
        found = segment.batch(clips, places, features=True)
        assert found.features is not None
        for row, place in enumerate(places):
            alone = segment.batch(clips[row : row + 1], [place], features=True)
            torch.testing.assert_close(found.logits[row], alone.logits[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found.features[row], alone.features[0], atol=1e-4, rtol=1e-4)
    expected = stream(network, frames)
    for row, place in enumerate(places):
        torch.testing.assert_close(found.logits[row], expected[place].logits[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("key", KEYS[1:])
def test_a_clip_is_followed_bit_for_bit(
    key: str, protocol: str, place: int, network_of: Any, frames: list[UInt8Array]
) -> None:
    network, state = network_of(key), None
    segment, length = FrameSegmenter(network, PROTOCOLS[protocol], device="cpu"), network.past_frames + 1
    video = torch.from_numpy(np.stack([*frames[:1] * network.past_frames, *frames])).permute(0, 3, 1, 2)[None] / 255
    with torch.inference_mode():
        for position in range(place, len(frames)):
            clip = video[:, position : position + length]
            found, state = segment.follow(clip, position, state)
            assert torch.equal(found.logits, segment.batch(clip, [position]).logits)


def test_an_image_network_has_nothing_to_follow() -> None:
    with pytest.raises(ConfigError, match="TwoLayers does not resume a stream"):
        FrameSegmenter(TwoLayers(4), device="cpu").follow(torch.zeros(1, 1, 3, 8, 8), 0)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_encodes_every_frame_once(protocol: str, network_of: Any, frames: list[UInt8Array]) -> None:
    network, seen = network_of("tmanet"), []
    windows = len(PROTOCOLS[protocol].windows(SCENE.height, SCENE.width))
    handle = network.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    try:
        assert len(list(FrameSegmenter(network, PROTOCOLS[protocol], device="cpu")(frames))) == len(frames)
    finally:
        handle.remove()
    assert windows == {"whole": 1, "sliding": 2}[protocol]
    assert sum(seen) == windows * len(frames)


def test_labels_come_back_to_the_size_of_the_frame(frames: list[UInt8Array]) -> None:
    network = TwoLayers(4).eval()
    (found,) = stream(network, frames[:1], resize=(20, 24))
    small = torch.from_numpy(cv2.resize(frames[0], (24, 20), interpolation=cv2.INTER_LINEAR)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = network(network.preprocessing(small / 255))
        enlarged = torch.nn.functional.interpolate(logits, frames[0].shape[:2], mode="bilinear")
    assert torch.equal(found.labels.long(), enlarged.argmax(1))
    assert torch.equal(found.confidence, enlarged.softmax(1).amax(1))
    assert torch.equal(found.probabilities, logits.softmax(1))
    assert found.labels.dtype == torch.uint8
    assert found.label_map().dtype == np.uint8


class TestWhatItTakes:
    def test_folder_file_array_list_and_iterator(self, street: Folder, frames: list[UInt8Array]) -> None:
        segment = FrameSegmenter(TwoLayers(4), device="cpu")
        expected = np.stack([found.label_map() for found in stream(TwoLayers(4), frames)])
        folder = street.root / "val/street/frames"
        for given in (folder, str(folder), frames, np.stack(frames), iter(frames)):
            np.testing.assert_array_equal(np.stack(list(segment(given))), expected)
        for given in (folder / "000003.png", frames[3]):
            np.testing.assert_array_equal(segment_one(segment, given), expected[3])

    def test_a_camera_is_read_frame_by_frame(self, frames: list[UInt8Array]) -> None:
        read = itertools.count()

        def camera() -> Iterator[UInt8Array]:
            while True:
                yield frames[next(read) % len(frames)]

        segment = FrameSegmenter(TwoLayers(4), device="cpu")
        labels = list(itertools.islice(segment(camera()), 3))
        assert [label.shape for label in labels] == [frames[0].shape[:2]] * 3
        assert next(read) == 3

    def test_the_loop_of_the_readme(self, frames: list[UInt8Array]) -> None:
        text = Path(__file__).parents[2].joinpath("README.md").read_text()
        (loop,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FrameSegmenter" in block)
        shown: list[UInt8Array] = []
        exec(loop, {"frames": frames, "show": shown.append})  # noqa: S102
        expected = FrameSegmenter(load_weights("deeplabv3plus_mobilenetv2.synthetic_manual"))(frames)
        np.testing.assert_array_equal(np.stack(shown), np.stack(list(expected)))
        assert len(np.unique(shown)) > 2

    @pytest.mark.parametrize(
        ("frame", "found"),
        [
            (np.zeros((8, 8, 3), np.float32), r"\(8, 8, 3\) float32"),
            (np.zeros((8, 8), np.uint8), r"\(8, 8\) uint8"),
            (np.zeros((3, 8, 8), np.uint8), r"\(3, 8, 8\) uint8"),
            (torch.zeros(8, 8, 3), "Tensor"),
        ],
    )
    def test_what_is_no_frame(self, frame: Any, found: str) -> None:
        with pytest.raises(
            DatasetError, match=rf"not a frame; expected an array \(H, W, 3\) of uint8, RGB; found {found}"
        ):
            list(FrameSegmenter(TwoLayers(4), device="cpu")([frame]))

    def test_frames_of_another_size(self, frames: list[UInt8Array]) -> None:
        labels = FrameSegmenter(TwoLayers(4), device="cpu")([frames[0], frames[1][:30]])
        assert next(labels).shape == (32, 46)
        with pytest.raises(DatasetError, match="differs in size from those before it; expected 46x32; found 46x30"):
            next(labels)


class TestSettings:
    def test_weights_know_how_they_were_evaluated(self, tmp_path: Path) -> None:
        path, window = tmp_path / "weights.safetensors", SlidingWindow((16, 16), (8, 8))
        save_weights(create_model("pspnet_resnet18", 3), path, inference=window, eval_size=(32, 48))
        loaded = load_weights(path)
        own, told = FrameSegmenter(loaded), FrameSegmenter(loaded, WholeImage(), (16, 24))
        assert (own.inference, own.resize) == (window, (32, 48))
        assert (told.inference, told.resize) == (WholeImage(), (16, 24))

    def test_the_record_names_all_that_matters(self) -> None:
        plain, other = TwoLayers(4), TwoLayers(4)
        with torch.no_grad():
            other.classifier.bias += 1
        settings = [{}, {"inference": SlidingWindow((16, 16))}, {"resize": (16, 24)}]
        records = [FrameSegmenter(plain, **each).record for each in settings] + [FrameSegmenter(other).record]
        assert all(one != two for one, two in itertools.combinations(records, 2))
        assert FrameSegmenter(TwoLayers(4)).record == records[0]
        assert records[0] | {"weights": None} == {
            "network": "TwoLayers",
            "weights": None,
            "inference": {"class_path": "thriftseg.zoo.WholeImage", "init_args": {}},
            "resize": None,
        }

    def test_a_network_in_other_hands_stays_as_it_is(self) -> None:
        network = TwoLayers(4, noisy=True).train()
        assert FrameSegmenter(network, device=None).network.training
        assert not FrameSegmenter(network, device="cpu").network.training

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("tpux", "unknown device; expected auto, cpu, gpu or cuda:N; found tpux"),
            ("cuda:99", r"this CUDA device is not there; found \d+ CUDA devices; fix: --accelerator cpu"),
            ("xpu:7", "no such device here; expected auto, cpu, gpu or cuda:N; found xpu:7"),
        ],
    )
    def test_absent_devices(self, name: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            choose_device(name)

    def test_devices_by_name(self) -> None:
        assert choose_device("cpu") == choose_device(torch.device("cpu")) == torch.device("cpu")
        assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
