"""Writes synthetic video as a data set of video object segmentation in a customary folder layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.synthetic.layouts.classes import ImageFormat
from thriftseg.synthetic.layouts.vos import VOS_LAYOUTS, VOSLayout
from thriftseg.synthetic.objects.baselines import BASELINES, measure
from thriftseg.synthetic.objects.shapes import CATEGORIES, UNSEEN
from thriftseg.synthetic.objects.video import ObjectDrawing, SyntheticObjectVideo
from thriftseg.synthetic.production import PlannedClip, Progress, Record, produce, write_record
from thriftseg.synthetic.scene import SceneConfig
from thriftseg.types import SPLITS

_LEAST_SHARE = 0.003  # of the image: what an object shows when it is introduced
_HIDDEN_SHARE = 0.3  # of an object, from which on it counts as occluded
_ATTEMPTS = 100  # at a clip whose first frame shows an object; the first one nearly always does
_GAPS = 0.5  # share of clips whose ids have gaps, where the layout allows


@dataclass(frozen=True)
class ObjectSynthesisSummary:
    """Result of `synthesize_objects`: what was written and how hard it is.

    The baselines start from the true mask that introduces an object and never see another one; J is their mean over
    objects and the frames after that.

    Attributes:
        out: Root of the data set.
        layout: Its folder layout.
        clips: Number of clips by split.
        frames: Number of frames altogether.
        objects: Number of objects.
        late: Objects that are introduced after the first frame.
        occluded: Objects that lose a third of themselves to something in front of them at some time.
        gone: Objects that are not visible in the last frame.
        clips_with_gaps: Clips whose object ids are not 1, 2, 3, ...
        copy_j: J of that mask, left where it is.
        flow_j: J of that mask, carried from frame to frame by DIS flow.
        color_j: J of the object that had each colour most often in that frame.

    Example:
        >>> clips = {"train": 2, "val": 1, "test": 0}
        >>> print(ObjectSynthesisSummary(Path("objects"), "davis", clips, 90, 7, 0, 5, 1, 0, 0.41, 0.7, 0.3))
        davis: 2 train + 1 val clips, 90 frames in objects; 7 objects, of which 0 enter late, 5 are occluded, ...
    """

    out: Path
    layout: str
    clips: dict[str, int]
    frames: int
    objects: int
    late: int
    occluded: int
    gone: int
    clips_with_gaps: int
    copy_j: float
    flow_j: float
    color_j: float

    def __str__(self) -> str:
        clips = " + ".join(f"{number} {split}" for split, number in self.clips.items() if number)
        return (
            f"{self.layout}: {clips} clips, {self.frames} frames in {self.out}; {self.objects} objects, of which "
            f"{self.late} enter late, {self.occluded} are occluded, {self.gone} gone at the end; J of the first mask "
            f"copied {self.copy_j:.3f}, warped by DIS {self.flow_j:.3f}, of its colours {self.color_j:.3f}"
        )


def synthesize_objects(
    out: str | Path,
    layout: str = "davis",
    train_clips: int = 8,
    val_clips: int = 4,
    test_clips: int | None = None,
    frames: int = 30,
    height: int = 240,
    width: int = 432,
    seed: int = 0,
    devices: int | None = None,
    image_format: ImageFormat = "jpg",
    own_colors: bool = False,
    progress: Progress | None = None,
) -> ObjectSynthesisSummary:
    """Write a synthetic data set of video object segmentation that the reader of the layout can read.

    Two to four objects per clip move over a moving background that by default has their colours, among things that look
    like objects and are none; they hide each other, and some enter late or leave. An object is introduced when it shows
    0.3 % of the image and is background before; in `davis` only those of the first frame are objects.

    Resuming, `devices` and `synthesis.json` are as for `synthesize`.

    Args:
        out: Root of the data set; absent, empty or written by the same call before.
        layout: `davis`, `youtube_vos`, `mose` or `tao_vos`.
        train_clips: Clips in `train`.
        val_clips: Clips in `val`; `valid` for YouTube-VOS and TAO-VOS, `held_out` for MOSE.
        test_clips: Clips in `test`; `test-dev` for DAVIS, `valid` for MOSE. By default 2 for MOSE, else none.
        frames: Frames per clip.
        height: Rows of a frame.
        width: Columns of a frame.
        seed: Everything random follows from it.
        devices: Worker processes; by default as many as there are cores, or none for small sets.
        image_format: `png` or `jpg` frames.
        own_colors: Give every object colours of its own, so that it can be recognised by them.
        progress: Called with the number of finished clips and of all clips.

    Raises:
        ConfigError: The layout is unknown, a number is out of range, or `out` holds something else.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import DAVIS
        >>> with tempfile.TemporaryDirectory() as root:
        ...     made = synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48, devices=1)
        ...     [clip] = DAVIS(root).clips("train")
        >>> made.frames, len(clip.labels)
        (2, 2)
    """
    if layout not in VOS_LAYOUTS:
        raise ConfigError(f"no layout {layout!r} to synthesize", expected=", ".join(VOS_LAYOUTS))
    kind = VOS_LAYOUTS[layout]
    clips = (train_clips, val_clips, kind.test_clips if test_clips is None else test_clips)
    counts = dict(zip(SPLITS, clips, strict=True))
    for split, number in counts.items():
        if number and split not in kind.folders:
            raise ConfigError(f"{layout} has no split {split!r}", expected=f"{split}_clips 0", found=number)
    arguments = {
        "layout": layout,
        **{f"{split}_clips": number for split, number in counts.items()},
        "frames": frames,
        "height": height,
        "width": width,
        "seed": seed,
        "image_format": image_format,
        **({"own_colors": True} if own_colors else {}),  # absent by default: older folders go on
    }
    out = Path(out)
    records = produce(out, arguments, kind(image_format), _film, devices, progress)
    objects: dict[str, dict[str, Any]] = {}
    for record in records:
        objects.setdefault(record["split"], {})[record["video"]] = {"objects": record["objects"]}
    kind(image_format).write_objects(out, objects)
    summary = _summarize(out, layout, records, frames)
    write_record(out, arguments, {key: value for key, value in asdict(summary).items() if key not in ("out", "layout")})
    return summary


@dataclass(frozen=True)
class _Annotation:
    """The objects of a clip as the layout publishes them.

    Attributes:
        ids: (T, H, W) uint8.
        first: Position of the frame that introduces each object, by id.
        numbers: Number in the video, by id.
    """

    ids: UInt8Array
    first: dict[int, int]
    numbers: dict[int, int]


def _film(job: PlannedClip, staging: Path) -> Record:
    """Render a clip, annotate and measure it."""
    layout = VOS_LAYOUTS[job.layout](job.image_format)
    video, drawings, annotation = _annotated_clip(job, layout)
    for position, drawing in enumerate(drawings):
        layout.write_frame(staging, job.clip, position, drawing)
        layout.write_mask(staging, job.clip, position, annotation.ids[position], position in annotation.first.values())
    images = [drawing.image for drawing in drawings]
    return {
        "objects": _meta(job, layout, video, annotation),
        "late": sum(position > 0 for position in annotation.first.values()),
        "occluded": sum(_is_occluded(drawings, number) for number in annotation.numbers.values()),
        "gone": sum(not (annotation.ids[-1] == object_id).any() for object_id in annotation.first),
        "gaps": sorted(annotation.first) != list(range(1, len(annotation.first) + 1)),
        "scores": measure(images, annotation.ids, annotation.first),
    }


def _annotated_clip(
    job: PlannedClip, layout: VOSLayout
) -> tuple[SyntheticObjectVideo, list[ObjectDrawing], _Annotation]:
    """The first clip of this seed with an object in its first frame."""
    names = tuple(name for name in CATEGORIES if job.clip.split != "train" or name not in UNSEEN)
    for attempt in range(_ATTEMPTS):
        config = SceneConfig(**{**vars(job.config), "seed": job.config.seed + attempt * 10**9})
        video = SyntheticObjectVideo(config, names)
        drawings = [video.draw(position) for position in range(config.num_frames)]
        annotation = _annotate(drawings, layout, np.random.default_rng([config.seed, 0x1D5]))
        if 0 in annotation.first.values():
            return video, drawings, annotation
    raise ConfigError("no clip has an object in its first frame", found=f"seed {job.config.seed}", fix="change --seed")


def _annotate(drawings: Sequence[ObjectDrawing], layout: VOSLayout, rng: np.random.Generator) -> _Annotation:
    """Number the objects that show enough of themselves, with gaps between their ids in some clips."""
    numbers = range(1, len(drawings[0].silhouettes) + 1)
    least = _LEAST_SHARE * drawings[0].label.size
    areas = np.array([[np.count_nonzero(drawing.label == number) for number in numbers] for drawing in drawings])
    large = areas >= least
    found = [(int(np.argmax(large[:, index])), number) for index, number in enumerate(numbers) if large[:, index].any()]
    shown = sorted((first, number) for first, number in found if layout.late_objects or first == 0)
    ids = np.arange(1, len(shown) + 1)
    if layout.late_objects and rng.random() < _GAPS:
        ids = np.sort(rng.choice(np.arange(1, 2 * len(shown) + 3), len(shown), replace=False))
    masks: UInt8Array = np.zeros((len(drawings), *drawings[0].label.shape), np.uint8)
    for (first, number), object_id in zip(shown, ids, strict=True):
        for position in range(first, len(drawings)):
            masks[position][drawings[position].label == number] = object_id
    pairs = list(zip(ids.tolist(), shown, strict=True))
    return _Annotation(masks, {i: first for i, (first, _) in pairs}, {i: number for i, (_, number) in pairs})


def _is_occluded(drawings: Sequence[ObjectDrawing], number: int) -> bool:
    """Whether something hides a large part of an object that is well inside the image."""
    for drawing in drawings:
        whole, visible = drawing.silhouettes[number - 1].sum(), np.count_nonzero(drawing.label == number)
        if whole >= _LEAST_SHARE * drawing.label.size and whole - visible > _HIDDEN_SHARE * whole:
            return True
    return False


def _meta(job: PlannedClip, layout: VOSLayout, video: SyntheticObjectVideo, annotation: _Annotation) -> dict[str, Any]:
    """Entries of `meta.json`: all frames that show an object, or from its first one on where the others are scored."""
    entries = {}
    for object_id, first in annotation.first.items():
        positions = list(range(first, len(annotation.ids)))
        if layout.masks_of(job.clip.split) == "all":
            positions = [position for position in positions if (annotation.ids[position] == object_id).any()]
        names = [layout.frame_name(job.clip, position) for position in positions]
        entries[str(object_id)] = {"category": video.categories[annotation.numbers[object_id] - 1], "frames": names}
    return entries


def _summarize(out: Path, layout: str, records: Sequence[Record], frames: int) -> ObjectSynthesisSummary:
    means = {
        name: float(np.mean([value for record in records for value in record["scores"][name]] or [np.nan]))
        for name in BASELINES
    }
    return ObjectSynthesisSummary(
        out=out,
        layout=layout,
        clips={split: sum(record["split"] == split for record in records) for split in SPLITS},
        frames=frames * len(records),
        objects=sum(len(record["objects"]) for record in records),
        late=sum(record["late"] for record in records),
        occluded=sum(record["occluded"] for record in records),
        gone=sum(record["gone"] for record in records),
        clips_with_gaps=sum(record["gaps"] for record in records),
        copy_j=means["copy"],
        flow_j=means["flow"],
        color_j=means["color"],
    )
