from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from thriftseg.drawing import VideoWriter
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference.checkpoints import load_network
from thriftseg.inference.prediction import predict
from thriftseg.taxonomies import CAMVID
from thriftseg.zoo import SlidingWindow

SIZE = (45, 61)


@pytest.fixture(scope="module")
def frames_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    for name in ("2", "10", "1"):
        noise = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), cv2.resize(noise, SIZE[::-1]))
    return folder


def expected_label(weights, path, size=None):
    network = load_network(weights).network
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    if size is not None:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
    frames = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        logits = network(network.preprocessing(frames))
        logits = torch.nn.functional.interpolate(logits, SIZE, mode="bilinear", align_corners=False)
    return logits.argmax(1)[0].numpy()


@pytest.mark.parametrize("resize", [None, (24, 32)])
def test_labels_are_those_of_the_network(tmp_path, tiny_weights, frames_dir, resize):
    summary = predict(tiny_weights, frames_dir, tmp_path, resize=resize, accelerator="cpu", progress=False)
    written = sorted(path.name for path in (tmp_path / "labels").iterdir())
    assert written == ["1.png", "10.png", "2.png"]
    counts = np.zeros(CAMVID.num_classes)
    for path in (tmp_path / "labels").iterdir():
        image = Image.open(path)
        label = np.array(image)
        assert image.mode == "P"
        assert image.getpalette()[:3] == list(CAMVID.palette[0])
        assert (label == expected_label(tiny_weights, frames_dir / path.name, resize)).mean() > 0.999
        counts += np.bincount(label.ravel(), minlength=CAMVID.num_classes)
    assert list(summary.share) == CAMVID.class_names
    assert list(summary.share.values()) == pytest.approx((counts / counts.sum()).tolist())
    assert (summary.frames, summary.height, summary.width) == (3, *SIZE)


def test_summary_is_written_and_the_overlay_has_every_frame(tmp_path, tiny_weights, frames_dir):
    summary = predict(tiny_weights, frames_dir, tmp_path / "out", fps=5, accelerator="cpu", progress=False)
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored["share"] == summary.share
    assert stored["class_names"] == CAMVID.class_names
    assert stored["seconds_per_frame"] > 0
    capture = cv2.VideoCapture(summary.video)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == 5


def test_video_file_in(tmp_path, tiny_weights):
    with VideoWriter(tmp_path / "in.mp4", fps=8) as video:
        for index in range(4):
            video.write(np.full((32, 48, 3), 60 * index, dtype=np.uint8))
    summary = predict(tiny_weights, video.path, tmp_path / "out", accelerator="cpu", progress=False)
    assert sorted(path.name for path in (tmp_path / "out/labels").iterdir()) == [f"{i:06d}.png" for i in range(4)]
    assert cv2.VideoCapture(summary.video).get(cv2.CAP_PROP_FPS) == 8


def test_a_window_that_covers_the_frame_equals_the_whole_frame(tmp_path, tiny_weights, frames_dir):
    whole = predict(tiny_weights, frames_dir, tmp_path / "a", accelerator="cpu", progress=False)
    window = SlidingWindow(crop=(64, 64))
    slid = predict(tiny_weights, frames_dir, tmp_path / "b", inference=window, accelerator="cpu", progress=False)
    assert slid.share == whole.share
    small = SlidingWindow(crop=(32, 32))
    other = predict(tiny_weights, frames_dir, tmp_path / "c", inference=small, accelerator="cpu", progress=False)
    assert other.share != whole.share


def test_earlier_results_are_kept_unless_told_otherwise(tmp_path, tiny_weights, frames_dir):
    predict(tiny_weights, frames_dir, tmp_path, accelerator="cpu", progress=False)
    with pytest.raises(ConfigError, match="holds predictions already; fix: pass --overwrite or another --out"):
        predict(tiny_weights, frames_dir, tmp_path, accelerator="cpu", progress=False)
    predict(tiny_weights, frames_dir / "10.png", tmp_path, accelerator="cpu", overwrite=True, progress=False)
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["10.png"]


def test_working_size_window_and_colours_are_those_of_the_training_run(tmp_path, tiny_weights, frames_dir):
    checkpoint = torch.load(tiny_weights, weights_only=True)
    window = {"class_path": "thriftseg.zoo.windows.SlidingWindow", "init_args": {"crop": [16, 24], "stride": None}}
    palette = [[index, 7, 9] for index in range(CAMVID.num_classes)]
    checkpoint["thriftseg"] |= {"eval_size": [24, 32], "taxonomy": "mine", "palette": palette, "inference": window}
    torch.save(checkpoint, tmp_path / "run.ckpt")
    frame = frames_dir / "1.png"
    own = predict(tmp_path / "run.ckpt", frame, tmp_path / "own", accelerator="cpu", progress=False)
    settings = {"resize": (24, 32), "inference": SlidingWindow((16, 24))}
    told = predict(tiny_weights, frame, tmp_path / "told", accelerator="cpu", progress=False, **settings)
    untold = predict(tiny_weights, frame, tmp_path / "untold", accelerator="cpu", progress=False)
    assert own.share == told.share != untold.share
    assert (own.resized, told.resized, untold.resized) == ((24, 32), (24, 32), None)
    assert Image.open(tmp_path / "own/labels/1.png").getpalette()[3:6] == [1, 7, 9]


def test_own_classes_give_names_and_colours(tmp_path, tiny_weights, frames_dir):
    table = tmp_path / "classes.yaml"
    lines = [f"  - {{name: thing {i}, color: [{i}, 2, 3]}}" for i in range(CAMVID.num_classes)]
    table.write_text("\n".join(["name: mine", "classes:", *lines]))
    summary = predict(
        tiny_weights, frames_dir / "1.png", tmp_path / "out", classes=table, accelerator="cpu", progress=False
    )
    assert summary.class_names[1] == "thing 1"
    assert Image.open(tmp_path / "out/labels/1.png").getpalette()[3:6] == [1, 2, 3]


def test_a_class_table_of_another_length_is_refused(tmp_path, tiny_weights, frames_dir):
    table = tmp_path / "classes.yaml"
    table.write_text("classes: [road, car]")
    with pytest.raises(ConfigError, match="class table and network differ; expected 11 classes; found 2"):
        predict(tiny_weights, frames_dir, tmp_path / "out", classes=table, accelerator="cpu", progress=False)


def test_missing_weights_and_devices(tmp_path, tiny_weights, frames_dir):
    with pytest.raises(CheckpointError, match=re.escape("none.ckpt: no such checkpoint")):
        predict(tmp_path / "none.ckpt", frames_dir, tmp_path / "out", progress=False)
    with pytest.raises(ConfigError, match="unknown device; expected auto, cpu, gpu or cuda:N; found tpux"):
        predict(tiny_weights, frames_dir, tmp_path / "out", accelerator="tpux", progress=False)
    with pytest.raises(ConfigError, match=r"this CUDA device is not there; .* fix: --accelerator cpu"):
        predict(tiny_weights, frames_dir, tmp_path / "out", accelerator="cuda:99", progress=False)
    assert not (tmp_path / "out").exists()
