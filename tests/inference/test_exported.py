from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.fixtures.turns import Turns
from thriftseg.cli.main import main
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference import FrameSegmenter, LoadedNetwork, load_as, load_weights, predict
from thriftseg.reports.run_scores import read_profile
from thriftseg.taxonomies import CAMVID
from thriftseg.zoo import STM, OnnxNetwork, SlidingWindow, TMANet, WholeImage, export_onnx, weights_digest

pytest.importorskip("onnxruntime")

SIZE, WINDOW = (45, 61), (20, 28)
NAMES, PALETTE = ("road", "sky", "car", "tree", "sign"), tuple((9 * i, 5, 200 - i) for i in range(5))


def loaded(**options) -> LoadedNetwork:
    labels = {"dataset": "camvid", "table": [], "cost": {"seconds": 7200.0, "clicks": 3}, "licences": ["SAM License"]}
    return LoadedNetwork(Turns().eval(), NAMES, "mine", PALETTE, metadata={"labels": labels}, **options)


def written(folder: Path, original: LoadedNetwork, size: tuple[int, int], **options) -> Path:
    path = folder / "x.onnx"
    export_onnx(original.network, path, size, class_names=original.class_names, notes=original.notes, **options)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For frames of (20 to 48) x (28 to 64), one or two at once."""
    folder = tmp_path_factory.mktemp("exported")
    return written(folder, loaded(), WINDOW, max_size=(48, 64), max_batch=2)


def video(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), SIZE[::-1]) for _ in range(count)])


def test_the_file_tells_what_the_weights_tell(exported: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = load_weights(str(exported))
    assert (found.class_names, found.taxonomy, found.palette) == (NAMES, "mine", PALETTE)
    assert (found.eval_size, found.inference) == (None, WholeImage())
    assert found.labels["cost"] == {"seconds": 7200.0, "clicks": 3}
    assert "labels made with weights under SAM License" in caplog.text
    assert (found.network.num_classes, found.network.past_frames, found.network.num_phases) == (5, 2, 2)


@pytest.mark.parametrize("inference", [WholeImage(), SlidingWindow(WINDOW, (12, 20))])
def test_a_stream_gives_the_labels_of_torch(exported: Path, inference: WholeImage | SlidingWindow) -> None:
    ours, theirs = (FrameSegmenter(each, inference, device="cpu") for each in (load_weights(exported), Turns()))
    pairs = list(zip(ours(video(8)), theirs(video(8)), strict=True))
    assert len(pairs) == 8
    assert all((label == other).mean() > 0.999 for label, other in pairs)
    assert len(np.unique(pairs[0][0])) > 2


def test_clips_give_the_logits_of_torch(exported: Path) -> None:
    torch.manual_seed(0)
    ours, theirs = (FrameSegmenter(each, device="cpu") for each in (load_weights(exported), Turns()))
    clips, positions = torch.rand(4, 3, 3, *SIZE), [2, 5, 7, 8]
    clips[0, :2] = clips[0, :1]
    torch.testing.assert_close(
        ours.batch(clips, positions).logits, theirs.batch(clips, positions).logits, atol=1e-5, rtol=1e-5
    )
    first = clips[:1, -1:].expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(ours.batch(first, [0]).logits, theirs.batch(first, [0]).logits, atol=1e-5, rtol=1e-5)


def test_a_file_of_one_size_resizes_the_frames(tmp_path: Path) -> None:
    found = load_weights(written(tmp_path, loaded(inference=SlidingWindow((99, 99))), (24, 32)))
    assert (found.eval_size, found.inference) == ((24, 32), WholeImage())
    ours, theirs = FrameSegmenter(found, device="cpu"), FrameSegmenter(Turns(), resize=(24, 32), device="cpu")
    for label, other in zip(ours(video(4)), theirs(video(4)), strict=True):
        assert label.shape == SIZE
        assert (label == other).mean() > 0.999
    with pytest.raises(ConfigError, match=r"exported for other frames; expected .* of 1 x 24 x 32; found 1 x 16 x 16"):
        next(FrameSegmenter(found, resize=(16, 16), device="cpu")(video(1)))


def test_windows_of_the_evaluation_fit_a_file_of_their_size(tmp_path: Path) -> None:
    window = SlidingWindow(WINDOW, (10, 14))
    found = load_weights(written(tmp_path, loaded(inference=window, eval_size=(40, 56)), WINDOW))
    assert (found.eval_size, found.inference) == ((40, 56), window)


def test_the_file_is_known_by_its_graph(exported: Path, tmp_path: Path) -> None:
    digest = FrameSegmenter(load_weights(exported), device="cpu").record["weights"]
    assert digest == weights_digest(OnnxNetwork(str(exported)))
    assert digest != weights_digest(load_weights(written(tmp_path, loaded(), WINDOW)).network)


def test_predict_takes_the_file(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(video(5)):
        cv2.imwrite(str(folder / f"{number}.png"), frame[..., ::-1])
    summary = predict(exported, folder, tmp_path / "out", accelerator="cpu", progress=False)
    assert (summary.frames, summary.class_names) == (5, list(NAMES))
    expected = list(FrameSegmenter(Turns(), device="cpu")(video(5)))
    for number, label in enumerate(expected):
        written = cv2.imread(str(tmp_path / f"out/labels/{number}.png"))[..., ::-1]
        assert (written == np.array(PALETTE, np.uint8)[label]).all(axis=2).mean() > 0.999


def test_another_kind_of_network_is_named(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not hold a TMANet network; found OnnxNetwork"):
        load_as(exported, TMANet)
    with pytest.raises(CheckpointError, match="no such file"):
        load_weights(tmp_path / "nothing.onnx")
    (tmp_path / "text.onnx").write_text("nothing of this kind")
    with pytest.raises(CheckpointError, match="not an ONNX file, or damaged"):
        load_weights(tmp_path / "text.onnx")


def test_classes_have_to_agree(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    export_onnx(Turns(), path, (16, 16), class_names=CAMVID.class_names)
    with pytest.raises(CheckpointError, match="does not describe the classes of its network; expected 5 classes"):
        load_weights(path)


@pytest.mark.slow
def test_networks_that_follow_objects_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    export_onnx(STM("resnet18", key_channels=8, value_channels=8, decoder_channels=8), path, (32, 32))
    with pytest.raises(CheckpointError, match="does not hold a semantic network; found STM"):
        load_weights(path)


def test_the_speed_of_a_file_is_measured_at_its_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, loaded(), WINDOW)
    assert main(["zoo", "profile", str(path), "--frames", "1", f"--out={tmp_path / 'turns' / 'profile.json'}"]) == 0
    told = capsys.readouterr().out
    assert f" at {WINDOW[0]}x{WINDOW[1]} on " in told
    assert "parameters" not in told  # nor operations: torch does not run it
    assert read_profile(tmp_path / "turns").measures.keys() == {"fps"}
