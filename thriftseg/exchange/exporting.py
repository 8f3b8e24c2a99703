"""Labels on the way to annotation tools: in the format of a tool, to be corrected there, and in folders of DAVIS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.atomic import sweep_partial, write_bytes
from thriftseg.datasets import PALETTE, ClipReader, VOSDataset, encode_label_png, frame_bytes
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.exchange.formats import Format, format_named
from thriftseg.exchange.records import ExportedFrame, ExportedObject, image_name
from thriftseg.folders import writes_alone
from thriftseg.progress import progress_bar
from thriftseg.stores import MANUAL, LabelSource, MaskSource, ObjectUnit, SourceLabel, objects_of, store_root
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import LabelKind

RESOLUTION = "480p"

_LEAST_CONFIDENT = re.compile(r"least-confident:(\d+)")


@dataclass(frozen=True)
class ExportSummary:
    """What `export_labels` did.

    Attributes:
        folder: The folder written to.
        frames: Labelled frames written.
        clips: Clips they belong to.
        files: Annotation files, and what belongs to them.
        images: Images copied.

    Example:
        >>> files = tuple(Path("out", name) for name in ("a.json", "b.json", "c.json"))
        >>> print(ExportSummary(Path("out"), 30, 3, files, images=30))
        30 frames of 3 clips written to out: a.json, b.json and 1 more files; 30 images copied
    """

    folder: Path
    frames: int
    clips: int
    files: tuple[Path, ...]
    images: int = 0

    def __str__(self) -> str:
        named = ", ".join(path.relative_to(self.folder).as_posix() for path in self.files[:2])
        more = f" and {len(self.files) - 2} more files" if len(self.files) > 2 else ""
        copied = f"; {self.images} images copied" if self.images else ""
        return f"{self.frames} frames of {self.clips} clips written to {self.folder}: {named}{more}{copied}"


@writes_alone("out")
def export_labels(
    dataset: ClipReader[Any],
    split: str,
    out: str | Path,
    format: str,
    *,
    source: str = MANUAL,
    store: str | Path | None = None,
    frames: str = "all",
    objects: ObjectUnit = "instance",
    copy_images: bool = False,
    progress: bool = True,
) -> ExportSummary:
    """Write labels in the format of an annotation tool, so that a person can correct them there.

    Images are called `<video>/<file name>`, unique in the data set, and `import_labels` finds them again by that name.

    Args:
        dataset: The data set.
        split: Its split.
        out: Folder to write to; files of an earlier export there are replaced.
        format: A key of `thriftseg.exchange.FORMATS`: coco, cvat, cvat-video, label-studio, cityscapes or davis.
        source: "manual" or "coarse" (of the data set), or a source of label maps of the label store.
        store: Folder of the label store; `labels/<dataset>` when absent.
        frames: "all", or `least-confident:N` for the N labels of lowest confidence.
        objects: What becomes one object of the tool: a class, an instance where instances are known (else a class), or
            a connected component.
        copy_images: Whether to copy the images to `<out>/images` too; all frames of a clip for formats that count
            frames.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: There is no such format, `frames` is none of the above, or the labels have no confidences.
        LabelStoreError: The source has no label maps for the split, or a stored one is damaged.
        DatasetError: A label map cannot be read.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size, video = Path(root, "classes.yaml").write_text("classes: [road, car]"), Path(root, "train/drive")
        ...     write_label_png(video / "frames/7.png", np.zeros((4, 6), np.uint8))
        ...     write_label_png(video / "labels/7.png", np.ones((4, 6), np.uint8))
        ...     print(str(export_labels(Folder(root), "train", root, "coco", progress=False)).replace(root, "folder"))
        1 frames of 1 clips written to folder: annotations.json
    """
    chosen = format_named(format)
    folder = Path(out)
    found = LabelSource(dataset, store_root(store, dataset.name), source)
    labels = _chosen_labels(found, split, frames)
    with progress_bar(progress) as bar:
        read = (exported_frame(found, label, objects) for label in labels)
        tracked = bar.track(read, total=len(labels), description=f"export ({format})")
        files = chosen.write(folder, tracked, dataset.taxonomy)
    sweep_partial(folder / "images")
    images = _copy_images(folder / "images", labels, chosen) if copy_images else 0
    return ExportSummary(folder, len(labels), len({label.clip.video for label in labels}), tuple(files), images)


@writes_alone("out")
def export_objects(
    dataset: VOSDataset, split: str, out: str | Path, *, source: str, store: str | Path | None = None
) -> int:
    """Write the labels of a source in the folders of DAVIS; links or copies of the frames complete them.

        out/Annotations/480p/{video}/{frame name}.png      object ids, 255 = ignore, with colours if in 8 bits
        out/ImageSets/2017/{split}.txt                     the videos

    Args:
        dataset: The data set, which gives the names of the frames.
        split: Its split.
        out: Folder to write to.
        source: "manual" (of the data set), or a source of object ids of the label store.
        store: Folder of the label store; `labels/<dataset>` when absent.

    Returns:
        Number of labels.

    Raises:
        LabelStoreError: There are no labels of this split, or one is damaged or of another size than its frame.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     export_objects(datasets.DAVIS(root), "train", f"{root}/out", source="manual")
        ...     Path(root, "out/ImageSets/2017/train.txt").read_text().split()
        2
        ['scene-train-000']
    """
    masks = MaskSource(dataset, store_root(store, dataset.name), source)
    labels = masks.labels(split)
    clips = {clip.video: clip for clip in dataset.clips(split)}
    for folder in ("Annotations", "ImageSets"):
        sweep_partial(Path(out) / folder)
    for label in labels:
        clip = clips[label.clip.video]
        target = Path(out) / "Annotations" / RESOLUTION / clip.video / f"{clip.frame_name(label.number)}.png"
        ids = masks.read(clip, label.number)
        in_colour = encode_label_png(ids.astype(np.uint8), PALETTE)
        write_bytes(target, in_colour if ids.dtype == np.uint8 else encode_label_png(ids.astype(np.uint16)))
    videos = sorted({label.clip.video for label in labels})
    write_bytes(Path(out) / "ImageSets" / "2017" / f"{split}.txt", "".join(f"{video}\n" for video in videos).encode())
    return len(labels)


def _chosen_labels(found: LabelSource, split: str, frames: str) -> list[SourceLabel]:
    """The label maps to export, those of a clip after each other."""
    least = _LEAST_CONFIDENT.fullmatch(frames)
    if frames != "all" and (least is None or int(least[1]) < 1):
        raise ConfigError("frames to export", expected="all or least-confident:N", found=repr(frames))
    labels = found.labels(split)
    clicks = next((label for label in labels if label.kind == LabelKind.CLICKS), None)
    if clicks is not None:
        raise LabelStoreError(
            f"source {found.source!r} has no label maps for split {split!r}",
            path=clicks.path,
            found="clicks",
            fix="choose a source of label maps",
        )
    if least is None:
        return labels
    if any(label.confidence is None for label in labels):
        raise ConfigError(
            f"{found.source} labels have no confidence",
            path=found.folder,
            found=f"frames={frames}",
            fix="pass --frames all, or choose another source",
        )
    ranked = sorted(labels, key=lambda label: (label.confidence, label.clip.video, label.number))
    return sorted(ranked[: int(least[1])], key=lambda label: (label.clip.video, label.number))


def exported_frame(found: LabelSource, label: SourceLabel, unit: ObjectUnit) -> ExportedFrame:
    """A label map on the way to an annotation tool; see `export_labels`.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size, video = Path(root, "classes.yaml").write_text("classes: [road, car]"), Path(root, "train/drive")
        ...     write_label_png(video / "frames/7.png", np.zeros((1, 4), np.uint8))
        ...     write_label_png(video / "labels/7.png", np.array([[1, 0, 1, 1]], np.uint8))
        ...     found = LabelSource(Folder(root), Path(root, "store"), MANUAL)
        ...     [label] = found.labels("train")
        ...     frames = [exported_frame(found, label, unit) for unit in ("class", "component")]
        >>> [(len(frame.objects), frame.ids.tolist()) for frame in frames]
        [(2, [[2, 1, 2, 2]]), (3, [[2, 1, 3, 3]])]
    """
    things = found.dataset.taxonomy.thing_ids
    objects = objects_of(found.read(label), found.read_instances(label), unit, things, min_area=1)
    if found.dataset.taxonomy is OBJECT_IDS:
        objects = objects.without_background()
    items = tuple(ExportedObject(item.train_id, item.instance) for item in objects.objects)
    return ExportedFrame(label.clip, label.number, objects.ids, items)


def _copy_images(folder: Path, labels: Sequence[SourceLabel], chosen: Format) -> int:
    """Copy the images that the tool shows, but for those that are there already."""
    clips = {label.clip.video: label.clip for label in labels}
    shown = [(label.clip, label.number) for label in labels]
    if chosen.whole_clips:
        shown = [(clip, number) for clip in clips.values() for number in clip.frames]
    copied = 0
    for clip, number in shown:
        content, target = frame_bytes(clip.frames[number]), folder / image_name(clip, number)
        if not target.is_file() or target.stat().st_size != len(content):
            write_bytes(target, content)
            copied += 1
    return copied
