"""Writes synthetic street video as a data set in a customary folder layout."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from thriftseg.arrays import Int64Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.flow import DIS, warp_labels
from thriftseg.synthetic.layouts.classes import LAYOUTS, ImageFormat, annotated_position
from thriftseg.synthetic.motion import Drawing
from thriftseg.synthetic.production import PlannedClip, Progress, Record, produce, write_record
from thriftseg.synthetic.street.video import StreetVideo
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import IGNORE_INDEX, SPLITS

_VIDEO_INTERVAL = 0.2  # seconds; frames further apart are single images, for which flow means nothing


@dataclass(frozen=True)
class ClipRecord:
    """One written clip.

    Attributes:
        split: Split of the clip.
        video: Name of the clip.
        files: Paths below the root.
        pixels: Number of pixels per Cityscapes train id over all frames.
        end_point_errors: Sum over pixels of the error of DIS flow, in pixels.
        measured_pixels: Number of pixels in that sum (those visible in both frames).
        intersections: Per train id, pixels that a label warped by DIS flow over one frame gets right.
        unions: Per train id, pixels that have the class in the warped or in the true label.
    """

    split: str
    video: str
    files: list[str]
    pixels: list[int]
    end_point_errors: float
    measured_pixels: int
    intersections: list[int]
    unions: list[int]


@dataclass(frozen=True)
class SynthesisSummary:
    """Result of `synthesize`: what was written and how hard it is for classical optical flow.

    Attributes:
        out: Root of the data set.
        layout: Its folder layout.
        clips: Number of clips by split.
        frames: Number of frames altogether.
        dis_end_point_error: Mean error of DIS flow (t to t-1) in pixels, over pixels visible in both frames; NaN
            without video.
        warped_label_iou: Mean over the classes of the IoU of labels warped by DIS flow over one frame, pooled over the
            set; pixels warped from outside count as wrong; NaN without video.
        class_share: Share of the labelled pixels by class name and split.

    Example:
        >>> clips = {"train": 8, "val": 4, "test": 0}
        >>> print(SynthesisSummary(Path("street"), "cityscapes", clips, 360, 0.41, 0.93, class_share={}))
        cityscapes: 8 train + 4 val clips, 360 frames in street; DIS end-point error 0.41 px, label warped ...0.930 IoU
    """

    out: Path
    layout: str
    clips: dict[str, int]
    frames: int
    dis_end_point_error: float
    warped_label_iou: float
    class_share: dict[str, dict[str, float]]

    def __str__(self) -> str:
        clips = " + ".join(f"{count} {split}" for split, count in self.clips.items() if count)
        return (
            f"{self.layout}: {clips} clips, {self.frames} frames in {self.out}; DIS end-point error "
            f"{self.dis_end_point_error:.2f} px, label warped over one frame {self.warped_label_iou:.3f} IoU"
        )


def synthesize(
    out: str | Path,
    layout: str = "cityscapes",
    train_clips: int = 8,
    val_clips: int = 4,
    test_clips: int | None = None,
    frames: int = 30,
    height: int = 256,
    width: int = 512,
    seed: int = 0,
    devices: int | None = None,
    image_format: ImageFormat = "png",
    progress: Progress | None = None,
) -> SynthesisSummary:
    """Write a synthetic data set that the reader of the layout can read.

    A clip is rendered into a temporary folder and then moved into place, so a run that was interrupted goes on where
    it stopped. The files depend on the arguments only, not on `devices`. No two clips show the same street.
    `synthesis.json` in the root records the arguments and the figures of the summary.

    Called with many frames from a script, it starts worker processes, which import that script: guard the call with
    `if __name__ == "__main__":`, or pass `devices=1`.

    Args:
        out: Root of the data set; absent, empty or written by the same call before.
        layout: `cityscapes`, `camvid`, `idd`, `veis` or `scenenet`.
        train_clips: Clips in `train`.
        val_clips: Clips in `val`.
        test_clips: Clips in `test`; by default 2 for CamVid and none for the others.
        frames: Frames per clip.
        height: Rows of a frame.
        width: Columns of a frame.
        seed: Everything random follows from it.
        devices: Worker processes; by default as many as there are cores, or none for small sets.
        image_format: `png` or `jpg` frames (video neighbours of IDD are always JPEG).
        progress: Called with the number of finished clips and of all clips.

    Raises:
        ConfigError: The layout is unknown, a number is out of range, or `out` holds something else.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Cityscapes
        >>> root = Path(tempfile.mkdtemp()) / "street"
        >>> _ = synthesize(root, train_clips=1, val_clips=1, frames=2, height=32, width=64, devices=1)
        >>> [len(clip.frames) for clip in Cityscapes(root).clips("train")]
        [2]
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"no layout {layout!r} to synthesize", expected=", ".join(LAYOUTS))
    counts = dict(zip(SPLITS, (train_clips, val_clips, test_clips), strict=True))
    if counts["test"] is None:
        counts["test"] = LAYOUTS[layout].test_clips
    arguments = {
        "layout": layout,
        **{f"{split}_clips": count for split, count in counts.items()},
        "frames": frames,
        "height": height,
        "width": width,
        "seed": seed,
        "image_format": image_format,
    }
    out = Path(out)
    made = produce(out, arguments, LAYOUTS[layout](image_format), _film, devices, progress)
    summary = _summarize(out, layout, [ClipRecord(**record) for record in made], frames)
    figures = {key: value for key, value in asdict(summary).items() if key not in ("out", "layout")}
    write_record(out, arguments, figures)
    return summary


def _film(job: PlannedClip, staging: Path) -> Record:
    """Render a clip and measure it."""
    layout = LAYOUTS[job.layout](job.image_format)
    video, tally = StreetVideo(job.config), _Tally()
    measured: set[int] = set()
    if job.config.frame_interval <= _VIDEO_INTERVAL:
        frames = job.config.num_frames
        measured = {max(1, frames // 4), annotated_position(frames), frames - 1}
    previous: Drawing | None = None
    for position in range(job.config.num_frames):
        drawing = video.draw(position)
        layout.write_frame(staging, job.clip, position, drawing)
        tally.count(drawing.label)
        if previous is not None and position in measured:
            tally.measure(video, drawing, previous, position)
        previous = drawing
    return tally.figures()


class _Tally:
    """Counts pixels per class and measures DIS flow against the exact one."""

    def __init__(self) -> None:
        self.classes = CITYSCAPES.num_classes
        self.pixels: Int64Array = np.zeros(256, dtype=np.int64)
        self.confusion: Int64Array = np.zeros((256, 256), dtype=np.int64)
        self.errors, self.measured = 0.0, 0
        self.estimator = DIS()

    def count(self, label: UInt8Array) -> None:
        """Count the pixels of a frame."""
        self.pixels += np.bincount(label.ravel(), minlength=256)

    def measure(self, video: StreetVideo, drawing: Drawing, previous: Drawing, position: int) -> None:
        """Compare DIS flow with the exact one, and labels that it warps with the true ones."""
        exact, occluded = video.flow(drawing, previous, position, position - 1)
        estimate = self.estimator.estimate(drawing.image, previous.image)
        errors = np.hypot(*(estimate - exact))[~occluded]
        self.errors += float(errors.sum(dtype=np.float64))
        self.measured += errors.size
        warped = warp_labels(previous.label, estimate)
        labelled = drawing.label != IGNORE_INDEX
        pairs = drawing.label[labelled].astype(np.int64) * 256 + warped[labelled]
        self.confusion += np.bincount(pairs, minlength=256 * 256).reshape(256, 256)

    def figures(self) -> Record:
        """Fields of `ClipRecord` beside the files."""
        hits = np.diag(self.confusion)[: self.classes]
        unions = self.confusion.sum(axis=1)[: self.classes] + self.confusion.sum(axis=0)[: self.classes] - hits
        return {
            "pixels": self.pixels[: self.classes].tolist(),
            "end_point_errors": self.errors,
            "measured_pixels": self.measured,
            "intersections": hits.tolist(),
            "unions": unions.tolist(),
        }


def _summarize(out: Path, layout: str, records: list[ClipRecord], frames: int) -> SynthesisSummary:
    measured = sum(record.measured_pixels for record in records)
    errors = sum(record.end_point_errors for record in records)
    hits, unions = (
        np.sum([getattr(record, name) for record in records], axis=0) for name in ("intersections", "unions")
    )
    seen = unions > 0
    shares: dict[str, dict[str, float]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        of_split = [record.pixels for record in records if record.split == split]
        if of_split:
            pixels = np.sum(of_split, axis=0)
            named = zip(CITYSCAPES.class_names, pixels, strict=True)
            shares[split] = {name: float(count / pixels.sum()) for name, count in named if count}
    return SynthesisSummary(
        out=out,
        layout=layout,
        clips={split: sum(record.split == split for record in records) for split in SPLITS},
        frames=frames * len(records),
        dis_end_point_error=errors / measured if measured else float("nan"),
        warped_label_iou=float((hits[seen] / unions[seen]).mean()) if seen.any() else float("nan"),
        class_share=shares,
    )
