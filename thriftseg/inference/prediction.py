"""Segment new video: palette PNGs, an overlay video and a summary."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from thriftseg.atomic import write_bytes
from thriftseg.datasets import write_label_png
from thriftseg.drawing import VideoWriter, blend
from thriftseg.errors import ConfigError
from thriftseg.folders import writes_alone
from thriftseg.inference.checkpoints import LoadedNetwork, load_weights
from thriftseg.inference.devices import choose_device
from thriftseg.inference.frame_source import FrameSource
from thriftseg.inference.segmenter import FrameSegmenter
from thriftseg.progress import progress_bar
from thriftseg.taxonomies import TAXONOMIES, Taxonomy
from thriftseg.zoo import SlidingWindow, WholeImage

DEFAULT_FPS = 15.0


@dataclass(frozen=True)
class PredictionSummary:
    """What `predict` did; also written as `summary.json`.

    Attributes:
        weights: Weights in use.
        input: Folder or video that was segmented.
        labels: Folder of the palette PNGs.
        video: Overlay video.
        device: Device the network ran on.
        frames: Number of frames.
        height: Height of the frames in pixels.
        width: Width of the frames in pixels.
        resized: Height and width that the network worked at, if not those of the frames.
        seconds_per_frame: Mean time of resizing, network and argmax; the first frame is left out where there are more.
        class_names: Names in train id order.
        share: Share of all pixels per class.

    Example:
        >>> paths = {"weights": "a.ckpt", "input": "street.mp4", "labels": "out/labels", "video": "out/overlay.mp4"}
        >>> made = {"device": "cpu", "frames": 90, "height": 360, "width": 480, "resized": (128, 256)}
        >>> print(PredictionSummary(**paths, **made, seconds_per_frame=0.0415, class_names=["road"], share={"road": 1}))
        90 frames at 128x256, 42 ms each on cpu
        labels out/labels
        video  out/overlay.mp4
    """

    weights: str
    input: str
    labels: str
    video: str
    device: str
    frames: int
    height: int
    width: int
    resized: tuple[int, int] | None
    seconds_per_frame: float
    class_names: list[str]
    share: dict[str, float]

    def __str__(self) -> str:
        size = f" at {self.resized[0]}x{self.resized[1]}" if self.resized else ""
        speed = f"{1000 * self.seconds_per_frame:.0f} ms each on {self.device}"
        return f"{self.frames} frames{size}, {speed}\nlabels {self.labels}\nvideo  {self.video}"


@writes_alone("out")
def predict(
    weights: str | Path,
    input: str | Path,
    out: str | Path = "predictions",
    *,
    inference: WholeImage | SlidingWindow | None = None,
    resize: tuple[int, int] | None = None,
    accelerator: str = "auto",
    fps: float | None = None,
    alpha: float = 0.5,
    classes: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> PredictionSummary:
    """Segment a video file or a folder of frames.

    Frames are streamed, so memory does not grow with the length of the video. Writes into `out`:

        labels/<frame>.png   palette PNG of train ids, at the size of the frame
        overlay.mp4          classes over the frames
        summary.json         the returned summary; written last

    Args:
        weights: Name, path or `hf:<organisation>/<name>` of published weights, see `zoo.load`, a checkpoint of
            `SemanticSegmentation`, or an ONNX file of `zoo.export_onnx`.
        input: Video file, folder of PNG or JPEG frames of any name, or one picture.
        out: Folder for the results.
        inference: Whole image or sliding window; by default as in the evaluation of the training run.
        resize: Height and width the network works at; by default as in that evaluation.
        accelerator: Where the network runs: auto, cpu, gpu, or one GPU of several such as cuda:1.
        fps: Frames per second of the overlay; by default that of the video, and 15 for pictures.
        alpha: Weight of the colours in the overlay, 0 to 1.
        classes: YAML class table with names and colours, for networks of a user's own classes.
        overwrite: Replace the results of an earlier run in `out`.
        progress: Show a progress bar.

    Returns:
        The summary.

    Raises:
        CheckpointError: The weights are missing, damaged or belong to another network.
        DatasetError: The input is missing, unreadable, empty, or its frames differ in size.
        ConfigError: The device is absent, `out` holds results already, or the class table has another length.

    Example:
        >>> import tempfile
        >>> weights, options = "deeplabv3plus_mobilenetv2.synthetic_manual", {"accelerator": "cpu", "progress": False}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_label_png(Path(folder, "frame.png"), np.zeros((48, 96), np.uint8))
        ...     summary = predict(weights, f"{folder}/frame.png", f"{folder}/out", resize=(32, 64), **options)
        ...     [path.name for path in Path(folder, "out", "labels").iterdir()]
        ['frame.png']
        >>> summary.height, summary.resized, round(sum(summary.share.values()), 6)
        (48, (32, 64), 1.0)
    """
    source = FrameSource(input)
    rate = source.fps or DEFAULT_FPS if fps is None else fps
    if rate <= 0:
        raise ConfigError("frames per second must be positive", found=rate)
    target = choose_device(accelerator)
    loaded = load_weights(weights, target)
    segment = FrameSegmenter(loaded, inference, resize, target)
    taxonomy = _class_table(loaded, classes)
    out = Path(out)
    _clear(out, overwrite)
    with _taken_back(out / "labels"):
        pixels = np.zeros(taxonomy.num_classes, dtype=np.int64)
        seconds: list[float] = []
        state = segment.start()
        with progress_bar(progress) as bar, VideoWriter(out / "overlay.mp4", rate) as video:
            task = bar.add_task("segmenting", total=source.count)
            for name, frame in source:
                start = time.perf_counter()
                found, state = segment.step(frame, state)
                label = found.label_map()
                seconds.append(time.perf_counter() - start)
                write_label_png(out / "labels" / f"{name}.png", label, taxonomy.flat_palette())
                video.write(blend(frame, label, taxonomy.palette, alpha))
                pixels += np.bincount(label.ravel(), minlength=taxonomy.num_classes)
                bar.advance(task)
        height, width = state.size or (0, 0)
        summary = PredictionSummary(
            weights=str(weights),
            input=str(input),
            labels=str(out / "labels"),
            video=str(out / "overlay.mp4"),
            device=str(target),
            frames=len(seconds),
            height=height,
            width=width,
            resized=segment.resize if segment.resize != (height, width) else None,
            seconds_per_frame=float(np.mean(seconds[1:] or seconds)),
            class_names=taxonomy.class_names,
            share={name: float(share) for name, share in zip(taxonomy.class_names, pixels / pixels.sum(), strict=True)},
        )
        write_bytes(out / "summary.json", (json.dumps(asdict(summary), indent=2) + "\n").encode())
    return summary


@contextmanager
def _taken_back(folder: Path) -> Iterator[None]:
    """Delete labels, of which there were none before, unless all are made: the same call then starts again."""
    try:
        yield
    except BaseException:
        for path in folder.glob("*.png"):
            path.unlink()
        raise


def _clear(out: Path, overwrite: bool) -> None:
    """Make sure that no result of an earlier run can be taken for one of this run."""
    summary, labels = out / "summary.json", sorted((out / "labels").glob("*.png"))
    if not summary.exists() and not labels:
        return
    if not overwrite:
        raise ConfigError("holds predictions already", path=out, fix="pass --overwrite or another --out")
    summary.unlink(missing_ok=True)
    for path in labels:
        path.unlink()


def _class_table(loaded: LoadedNetwork, classes: str | Path | None) -> Taxonomy:
    """Names and colours: from the user's table, else those the network was trained on, else made up."""
    num_classes = loaded.network.num_classes
    if classes is None:
        known = TAXONOMIES.get(loaded.taxonomy or "")
        return known if known is not None and known.num_classes == num_classes else loaded.class_table
    taxonomy = Taxonomy.from_yaml(classes)
    if taxonomy.num_classes != num_classes:
        raise ConfigError(
            "class table and network differ",
            path=classes,
            expected=f"{num_classes} classes",
            found=taxonomy.num_classes,
        )
    return taxonomy
