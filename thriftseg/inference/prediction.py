"""Segment new video: palette PNGs, an overlay video and a summary."""

from __future__ import annotations

import json
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets import resize_frame, write_label_png
from thriftseg.drawing import VideoWriter, blend
from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.inference.checkpoints import LoadedNetwork, load_network
from thriftseg.inference.frame_source import FrameSource
from thriftseg.progress import progress_bar
from thriftseg.taxonomies import TAXONOMIES, LabelClass, Taxonomy, distinct_color
from thriftseg.zoo import CARD_SUFFIX, WEIGHTS_SUFFIX, SemanticNetwork, SlidingWindow, WholeImage, load, names_a_path

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


def predict(
    weights: str | Path,
    input: str | Path,
    out: str | Path = "predictions",
    *,
    inference: WholeImage | SlidingWindow | None = None,
    resize: tuple[int, int] | None = None,
    device: str = "auto",
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
        weights: Name, path or `hf:<organisation>/<name>` of published weights, see `zoo.load`, or a checkpoint of
            `SemanticSegmentation`.
        input: Video file, folder of PNG or JPEG frames of any name, or one picture.
        out: Folder for the results.
        inference: Whole image or sliding window; by default as in the evaluation of the training run.
        resize: Height and width the network works at; by default as in that evaluation.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, ...
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
    """
    source = FrameSource(input)
    target = choose_device(device)
    loaded = load_weights(weights, target)
    taxonomy = _taxonomy(loaded, classes)
    out = Path(out)
    _clear(out, overwrite)
    resize = resize or loaded.eval_size
    segment = _Segmenter(loaded.network, inference or loaded.inference, target, resize)
    counts, shape = _run(source, segment, taxonomy, out, fps or source.fps or DEFAULT_FPS, alpha, progress)
    summary = PredictionSummary(
        weights=str(weights),
        input=str(input),
        labels=str(out / "labels"),
        video=str(out / "overlay.mp4"),
        device=str(target),
        frames=segment.count,
        height=shape[0],
        width=shape[1],
        resized=resize if resize != shape else None,
        seconds_per_frame=segment.seconds_per_frame,
        class_names=taxonomy.class_names,
        share={name: float(share) for name, share in zip(taxonomy.class_names, counts / counts.sum(), strict=True)},
    )
    write_bytes(out / "summary.json", (json.dumps(asdict(summary), indent=2) + "\n").encode())
    return summary


def load_weights(weights: str | Path, device: str | torch.device = "cpu") -> LoadedNetwork:
    """Load a network for inference, from published weights or from a training checkpoint.

    Args:
        weights: Name, path or `hf:<organisation>/<name>` of published weights, or a `.ckpt` file.
        device: Device of the network.

    Raises:
        CheckpointError: There is no such file or name, it is damaged, or it holds no semantic network.
    """
    path = Path(weights)
    published_form = path.suffix in (WEIGHTS_SUFFIX, CARD_SUFFIX) or path.is_dir()
    if names_a_path(weights) and not published_form:
        return load_network(weights, map_location=device)
    published = load(weights, device)
    if not isinstance(published.network, SemanticNetwork):
        raise CheckpointError(
            "does not hold a semantic network", path=published.path, found=type(published.network).__name__
        )
    taxonomy = published.taxonomy
    return LoadedNetwork(
        network=published.network,
        class_names=tuple(taxonomy.class_names) if taxonomy else (),
        taxonomy=taxonomy.name if taxonomy else None,
        palette=tuple(taxonomy.palette) if taxonomy else (),
        eval_size=published.eval_size,
        inference=published.inference,
        metadata=published.card,
    )


class _Segmenter:
    """Segments the frames of one video in order."""

    def __init__(
        self,
        network: SemanticNetwork,
        inference: WholeImage | SlidingWindow,
        device: torch.device,
        resize: tuple[int, int] | None,
    ) -> None:
        self.network, self.inference, self.device, self.resize = network, inference, device, resize
        self.count, self._seconds, self._first_seconds = 0, 0.0, 0.0
        self._state = network.start()
        self._window: deque[torch.Tensor] = deque(maxlen=network.past_frames + 1)

    @property
    def seconds_per_frame(self) -> float:
        if self.count > 1:
            return (self._seconds - self._first_seconds) / (self.count - 1)
        return self._seconds

    @torch.inference_mode()
    def __call__(self, frame: UInt8Array) -> UInt8Array:
        """(H, W, 3) RGB to (H, W) train ids."""
        start = time.perf_counter()
        size = (frame.shape[0], frame.shape[1])
        pixels = np.ascontiguousarray(resize_frame(frame, self.resize or size))
        batch = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None].float() / 255
        logits = self._logits(self.network.preprocessing(batch))
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        label: UInt8Array = logits.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
        self._seconds += time.perf_counter() - start
        self._first_seconds = self._first_seconds or self._seconds
        self.count += 1
        return label

    def _logits(self, frame: torch.Tensor) -> torch.Tensor:
        if isinstance(self.inference, WholeImage):  # each frame is encoded once
            logits, self._state = self.network.step(frame, self._state)
            return logits
        while len(self._window) < self.network.past_frames:
            self._window.append(frame)
        self._window.append(frame)
        return self.inference(self.network, torch.stack(list(self._window), dim=1))


def _run(
    source: FrameSource, segment: _Segmenter, taxonomy: Taxonomy, out: Path, fps: float, alpha: float, progress: bool
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], tuple[int, int]]:
    """Segment and write every frame; returns pixels per class and the size of the frames."""
    counts = np.zeros(taxonomy.num_classes, dtype=np.int64)
    shape = (0, 0)
    palette = taxonomy.flat_palette()
    with progress_bar(progress) as bar, VideoWriter(out / "overlay.mp4", fps) as video:
        task = bar.add_task("segmenting", total=source.count)
        for name, frame in source:
            label = segment(frame)
            write_label_png(out / "labels" / f"{name}.png", label, palette)
            video.write(blend(frame, label, taxonomy.palette, alpha))
            counts += np.bincount(label.ravel(), minlength=taxonomy.num_classes)
            shape = (label.shape[0], label.shape[1])
            bar.advance(task)
    return counts, shape


def choose_device(name: str) -> torch.device:
    """A device by name.

    Args:
        name: `cpu`, `cuda`, `cuda:1`, ..., or `auto` for CUDA where there is one.

    Raises:
        ConfigError: There is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError("unknown device", expected="auto, cpu, cuda or cuda:N", found=name) from None
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(
            "this CUDA device is not there", found=f"{torch.cuda.device_count()} CUDA devices", fix="--device cpu"
        )
    return device


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


def _taxonomy(loaded: LoadedNetwork, classes: str | Path | None) -> Taxonomy:
    """Names and colours: from the user's table, else those the network was trained on, else made up."""
    num_classes = loaded.network.num_classes
    if classes is not None:
        taxonomy = Taxonomy.from_yaml(classes)
        if taxonomy.num_classes != num_classes:
            raise ConfigError(
                "class table and network differ",
                path=classes,
                expected=f"{num_classes} classes",
                found=taxonomy.num_classes,
            )
        return taxonomy
    known = TAXONOMIES.get(loaded.taxonomy or "")
    if known is not None and known.num_classes == num_classes:
        return known
    names = loaded.class_names or [f"class {index}" for index in range(num_classes)]
    colors = loaded.palette or tuple(distinct_color(index) for index in range(num_classes))
    rows = (LabelClass(index, name, index, colors[index]) for index, name in enumerate(names))
    return Taxonomy(loaded.taxonomy or "unknown", 1, tuple(rows))
