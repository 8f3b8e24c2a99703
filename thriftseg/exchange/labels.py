"""Labels on the way to annotation tools and back: exported to be corrected, imported with what the work cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import VideoDataset, encode_label_png
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError
from thriftseg.exchange import AnnotatedImage, ExportedFrame, ExportedObject, FrameNames, image_name, train_ids_of
from thriftseg.exchange.formats import FORMATS, Format
from thriftseg.progress import progress_bar
from thriftseg.stores import POINTS, ActionRow, LabelStore, ObjectUnit, action_id, objects_of, store_root
from thriftseg.types import Clip, LabelKind

MANUAL = "manual"
"""The source that stands for the data set's own labels."""

_LEAST_CONFIDENT = re.compile(r"least-confident:(\d+)")

_FrameKey = tuple[Clip, int]


@dataclass(frozen=True)
class ExportSummary:
    """What `export_labels` did.

    Attributes:
        folder: The folder written to.
        frames: Labelled frames written.
        clips: Clips they belong to.
        files: Annotation files, and what belongs to them.
        images: Images copied.
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


@dataclass(frozen=True)
class ImportSummary:
    """What `import_labels` did.

    Attributes:
        folder: Folder of the source.
        written: Labels that are new or have changed.
        kept: Labels that were there already, with the same pixels and cost.
        empty: Images of the file without any shape, which give no label.
        ignored_share: Mean share of pixels without a label.
        cost: What the labels of the file cost.
    """

    folder: Path
    written: int
    kept: int
    empty: int
    ignored_share: float
    cost: AnnotationCost

    def __str__(self) -> str:
        empty = f"; {self.empty} images have no shapes and were left out" if self.empty else ""
        return (
            f"{self.written} labels written to {self.folder} ({self.cost.hours:.2f} h), {self.kept} were there "
            f"already; {100 * self.ignored_share:.1f} % of their pixels carry no label{empty}"
        )


def export_labels(
    dataset: VideoDataset,
    split: str,
    folder: str | Path,
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
        folder: Target folder; files of an earlier export there are replaced.
        format: A key of `thriftseg.exchange.FORMATS`.
        source: Name of the labels in the store, or "manual" for those of the data set.
        store: Folder of the label store; `labels/<dataset>` when absent.
        frames: "all", or `least-confident:N` for the N labels of lowest confidence.
        objects: What becomes one object of the tool: a class, an instance where instances are known (else a class), or
            a connected component.
        copy_images: Whether to copy the images to `<folder>/images` too; all frames of a clip for formats that count
            frames.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: There is no such format, or `frames` is none of the above.
        LabelStoreError: The source has no label maps for the split, or no confidences.
        DatasetError: A label map cannot be read.
    """
    chosen = _format_of(format)
    folder = Path(folder)
    target = None if source == MANUAL else LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    keys = _chosen_frames(dataset, split, target, frames)
    with progress_bar(progress) as bar:
        read = (_exported(dataset, target, clip, number, objects) for clip, number in keys)
        tracked = bar.track(read, total=len(keys), description=f"export ({format})")
        files = chosen.write(folder, tracked, dataset.taxonomy)
    images = _copy_images(folder / "images", keys, chosen) if copy_images else 0
    return ExportSummary(folder, len(keys), len({clip.video for clip, _ in keys}), tuple(files), images)


def import_labels(
    dataset: VideoDataset,
    split: str,
    path: str | Path,
    format: str,
    *,
    source: str,
    store: str | Path | None = None,
    cost_model: str | CostModel = "polygon",
    seconds_per_frame: float | None = None,
    based_on: str | None = None,
    class_names: Mapping[str, str] | None = None,
    progress: bool = True,
) -> ImportSummary:
    """Take labels that people made in an annotation tool into the label store, as manual labels.

    Names of images and classes and all sizes are checked before anything is written. Every label descends from one
    human action, whose cost is that of drawing the whole label map by the cost model, or the time given. A frame whose
    label has changed since an earlier import is replaced; a killed run goes on when it is started again.

    Args:
        dataset: The data set.
        split: Its split.
        path: The file or folder that the tool wrote.
        format: A key of `thriftseg.exchange.FORMATS`.
        source: Name of the labels in the store.
        store: Folder of the label store; `labels/<dataset>` when absent.
        cost_model: Prices a label map drawn from nothing.
        seconds_per_frame: Working time per frame, where it was measured; wins over the cost model.
        based_on: Source of the labels that were corrected, "manual" for those of the data set; the new labels then
            descend from its human actions as well.
        class_names: Class name in the file to class name of the data set, for those that differ.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: There is no such format, or a setting is out of range.
        DatasetError: The file is malformed, or does not fit the frames or classes of the data set.
        LabelStoreError: The source holds labels that were made in another way.
    """
    path = Path(path)
    images = _read(path, format)
    shown = [image for image in images if image.shapes]
    keys = FrameNames(dataset.clips(split), dataset.root).match(shown)
    names = {shape.label for image in shown for shape in image.shapes}
    train_ids = train_ids_of(names, dataset.taxonomy, path, class_names)
    _check_sizes(dataset, shown, keys)
    writer = _ImportWriter(
        dataset,
        LabelStore(store_root(store, dataset.name), source, dataset.taxonomy),
        format=format,
        pricing=_Pricing(dataset.name, cost_model, seconds_per_frame),
        base=_Lineage(dataset, store, based_on),
    )
    with progress_bar(progress) as bar:
        pairs = zip(shown, keys, strict=True)
        for image, (clip, number) in bar.track(pairs, total=len(shown), description=f"import ({format})"):
            writer.add(clip, number, image.paint(dataset.clip_size(clip), train_ids))
    return writer.finish(len(images) - len(shown))


class _Pricing:
    """Cost of one imported label map."""

    def __init__(self, dataset: str, model: str | CostModel, seconds: float | None) -> None:
        if seconds is not None and not seconds >= 0:
            raise ConfigError("seconds_per_frame", expected="0 or more", found=seconds)
        self._dataset, self._seconds = dataset, seconds
        self._model = CostModel.named(model) if isinstance(model, str) else model
        if seconds is None and not self._model.needs_label:
            self._model.manual_frame(dataset)  # refuses data sets without published times before any work

    @property
    def cost_model(self) -> str:
        """Name of the model that the cost depends on, empty for measured time."""
        return self._model.name if self._seconds is None else ""

    @property
    def arguments(self) -> dict[str, Any]:
        return {"cost_model": self.cost_model} if self._seconds is None else {"seconds_per_frame": self._seconds}

    def __call__(self, label: UInt8Array) -> AnnotationCost:
        if self._seconds is not None:
            return AnnotationCost(seconds=self._seconds, masks=1)
        return self._model.manual_frame(self._dataset, label)


class _Lineage:
    """Human actions behind the labels that were corrected."""

    def __init__(self, dataset: VideoDataset, store: str | Path | None, source: str | None) -> None:
        self.source, self._dataset = source, dataset
        self._store = None
        if source is not None and source != MANUAL:
            self._store = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
        if self._store is not None and not self._store.labels:
            raise LabelStoreError(
                f"no labels of source {source!r}, which the import is based on", path=self._store.folder
            )

    def __call__(self, clip: Clip, number: int) -> tuple[str, ...]:
        if self._store is not None:
            row = self._store.labels.get((clip.video, number))
            return row.parents if row is not None else ()
        given = self.source == MANUAL and number in clip.labels
        return (action_id(MANUAL, self._dataset.name, clip.video, number),) if given else ()


class _ImportWriter:
    """Writes label maps and the human actions behind them, where they differ from what the store has."""

    def __init__(
        self, dataset: VideoDataset, store: LabelStore, *, format: str, pricing: _Pricing, base: _Lineage
    ) -> None:
        self._dataset, self._store, self._pricing, self._base = dataset, store, pricing, base
        self._generator = f"import/{format}"
        self._arguments = {**pricing.arguments, **({"based_on": base.source} if base.source else {})}
        self._written = self._kept = 0
        self._ignored, self._cost = 0.0, AnnotationCost()
        store.consolidate()
        store.require_recipe(self._generator, self._arguments)

    def add(self, clip: Clip, number: int, label: UInt8Array) -> None:
        cost = self._pricing(label)
        action = ActionRow(
            action_id(self._store.source, self._dataset.name, clip.video, number),
            self._store.source,
            clip.video,
            number,
            cost,
            self._pricing.cost_model,
        )
        self._cost += cost
        if self._is_stored(label, action):
            self._kept += 1
        else:
            self._write(clip, number, label, action)
            self._written += 1
        self._ignored += self._store.labels[clip.video, number].ignored_share

    def finish(self, empty: int) -> ImportSummary:
        self._store.consolidate()
        share = self._ignored / max(1, self._written + self._kept)
        return ImportSummary(self._store.folder, self._written, self._kept, empty, share, self._cost)

    def _is_stored(self, label: UInt8Array, action: ActionRow) -> bool:
        frame = action.video, action.frame
        if not self._store.has(*frame) or self._store.actions.get(action.id) != action:
            return False
        content = encode_label_png(label, self._dataset.taxonomy.flat_palette())
        return self._store.labels[frame].sha256 == sha256(content).hexdigest()

    def _write(self, clip: Clip, number: int, label: UInt8Array, action: ActionRow) -> None:
        self._store.record_action(action)
        self._store.write(
            clip.video,
            number,
            label,
            kind=LabelKind.MANUAL,
            generator=self._generator,
            arguments=self._arguments,
            parents=list(dict.fromkeys([*self._base(clip, number), action.id])),
        )


def _format_of(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError("no such annotation format", expected=", ".join(FORMATS), found=repr(name))
    return FORMATS[name]


def _read(path: Path, format: str) -> list[AnnotatedImage]:
    chosen = _format_of(format)
    if not path.exists():
        raise DatasetError("no such file or folder", path=path)
    if path.suffix.lower() == ".zip":
        raise DatasetError("a packed file", path=path, fix="unpack it and pass the folder")
    images = chosen.read(path)
    if not any(image.shapes for image in images):
        raise DatasetError("no image has any shape", path=path, found=f"{len(images)} images")
    return images


def _check_sizes(dataset: VideoDataset, images: Sequence[AnnotatedImage], keys: Sequence[_FrameKey]) -> None:
    wrong = [
        (image, clip)
        for image, (clip, _) in zip(images, keys, strict=True)
        if image.size is not None and image.size != dataset.clip_size(clip)
    ]
    if wrong:
        image, clip = wrong[0]
        height, width = dataset.clip_size(clip)
        found = image.size or (0, 0)
        raise DatasetError(
            f"{len(wrong)} of {len(images)} images differ in size from their frames",
            path=image.path,
            expected=f"{width}x{height} as the frames of {clip.video}",
            found=f"{found[1]}x{found[0]} for {image.title}",
            fix="annotate the frames as they are, without scaling them",
        )


def _chosen_frames(dataset: VideoDataset, split: str, store: LabelStore | None, frames: str) -> list[_FrameKey]:
    """The frames to export, those of a clip after each other."""
    clips = dataset.clips(split)
    least = _LEAST_CONFIDENT.fullmatch(frames)
    if frames != "all" and (least is None or int(least[1]) < 1):
        raise ConfigError("frames to export", expected="all or least-confident:N", found=repr(frames))
    if store is None:
        if least is not None:
            raise ConfigError("manual labels have no confidence", found=f"frames={frames}", fix="choose another source")
        keys = [(clip, number) for clip in clips for number in clip.annotated]
        place: Path = dataset.root
    else:
        rows = [row for row in store.usable.values() if row.kind != POINTS and row.space == "train_id"]
        wanted = {(row.video, row.frame): row for row in rows}
        keys = [(c, n) for c in clips for n in c.frames if (c.video, n) in wanted]
        place = store.folder
        if least is not None:
            keys = _least_confident(
                keys, {frame: row.confidence for frame, row in wanted.items()}, int(least[1]), place
            )
    if not keys:
        source = MANUAL if store is None else store.source
        raise LabelStoreError(f"source {source!r} has no label maps for split {split!r}", path=place)
    return sorted(keys, key=lambda key: (key[0].video, key[1]))


def _least_confident(
    keys: Iterable[_FrameKey], confidences: Mapping[tuple[str, int], float | None], count: int, place: Path
) -> list[_FrameKey]:
    ranked: list[tuple[float, str, int, Clip]] = []
    for clip, number in keys:
        confidence = confidences[clip.video, number]
        if confidence is None:
            raise LabelStoreError(
                f"frame {number} of {clip.video!r} has no confidence", path=place, fix="pass --frames all"
            )
        ranked.append((confidence, clip.video, number, clip))
    return [(clip, number) for _, _, number, clip in sorted(ranked, key=lambda entry: entry[:3])[:count]]


def _exported(
    dataset: VideoDataset, store: LabelStore | None, clip: Clip, number: int, unit: ObjectUnit
) -> ExportedFrame:
    if store is None:
        label, instances = dataset.read_label(clip, number), dataset.read_instances(clip, number)
    else:
        label, instances = store.read(clip.video, number), None
    things = dataset.taxonomy.thing_ids
    found = objects_of(label, instances, unit, things, min_area=1)
    return ExportedFrame(
        clip, number, found.ids, tuple(ExportedObject(item.train_id, item.instance) for item in found.objects)
    )


def _copy_images(folder: Path, keys: Sequence[_FrameKey], chosen: Format) -> int:
    """Copy the images that the tool shows, but for those that are there already."""
    copied = 0
    for clip, number in _shown_frames(keys) if chosen.whole_clips else keys:
        image, target = clip.frames[number], folder / image_name(clip, number)
        if not target.is_file() or target.stat().st_size != image.stat().st_size:
            write_bytes(target, image.read_bytes())
            copied += 1
    return copied


def _shown_frames(keys: Sequence[_FrameKey]) -> Iterator[_FrameKey]:
    """All frames of the clips."""
    for clip in {clip.video: clip for clip, _ in keys}.values():
        yield from ((clip, number) for number in clip.frames)
