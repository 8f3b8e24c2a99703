"""Labels that people made in an annotation tool, taken into the label store with what the work cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from thriftseg.arrays import UInt8Array
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import VideoDataset, encode_label_png
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError
from thriftseg.exchange.class_names import train_ids_of
from thriftseg.exchange.formats import format_named
from thriftseg.exchange.frame_names import FrameNames
from thriftseg.exchange.records import AnnotatedImage
from thriftseg.folders import sole_writer
from thriftseg.progress import progress_bar
from thriftseg.stores import ActionRow, LabelSource, LabelStore, action_id, check_free, store_root
from thriftseg.types import Clip, ClipFrame, LabelKind


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

    Example:
        >>> print(ImportSummary(Path("drawn"), 7, kept=2, empty=1, ignored_share=0.125, cost=AnnotationCost(5400)))
        7 labels written to drawn (1.50 h), 2 were there already; 12.5 % of their pixels carry no label; 1 images ...
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
    drawn_only: bool = False,
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
        format: A key of `thriftseg.exchange.FORMATS`: coco, cvat, cvat-video, label-studio, cityscapes or davis.
        source: Name of the labels in the store.
        store: Folder of the label store; `labels/<dataset>` when absent.
        cost_model: Prices a label map drawn from nothing.
        seconds_per_frame: Working time per frame, where it was measured; wins over the cost model.
        based_on: Source of the labels that were corrected, "manual" or "coarse" for those of the data set; the new
            labels then descend from their human actions as well.
        class_names: Class name in the file to class name of the data set, for those that differ.
        drawn_only: Leave out what the file says that a machine made and no person has changed.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: There is no such format, a setting is out of range, or the data set has labels called `source`.
        DatasetError: The file is malformed, or does not fit the frames or classes of the data set.
        LabelStoreError: The source holds labels that were made in another way, or there are none to be `based_on`.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> from thriftseg.exchange import export_labels
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size, video = Path(root, "classes.yaml").write_text("classes: [road, car]"), Path(root, "train/drive")
        ...     write_label_png(video / "frames/7.png", np.zeros((4, 6), np.uint8))
        ...     write_label_png(video / "labels/7.png", np.ones((4, 6), np.uint8))
        ...     [file] = export_labels(Folder(root), "train", root, "coco", progress=False).files
        ...     where = {"source": "drawn", "store": Path(root, "store"), "progress": False}
        ...     summary = import_labels(Folder(root), "train", file, "coco", **where)
        >>> summary.written, summary.ignored_share, summary.cost.clicks
        (1, 0.0, 4)
    """
    path, root = Path(path), store_root(store, dataset.name)
    images = _read(path, format, drawn_only)
    shown = [image for image in images if image.shapes]
    frames = FrameNames(dataset.clips(split), dataset.root).match(shown)
    names = {shape.label for image in shown for shape in image.shapes}
    train_ids = train_ids_of(names, dataset.taxonomy, path, class_names)
    _check_sizes(dataset, shown, frames)
    check_free(source, dataset, split)
    target = LabelStore(root, source, dataset.taxonomy)
    base = None if based_on is None else LabelSource(dataset, root, based_on)
    model = CostModel.named(cost_model) if isinstance(cost_model, str) else cost_model
    writer = _ImportWriter(dataset, target, format, base, model, seconds_per_frame)
    with sole_writer(target.folder), progress_bar(progress) as bar:
        writer.check(frames)
        pairs = zip(shown, frames, strict=True)
        for image, (clip, number) in bar.track(pairs, total=len(shown), description=f"import ({format})"):
            writer.add(clip, number, image.paint(dataset.clip_size(clip), train_ids))
        target.consolidate()
    ignored = [target.labels[clip.video, number].ignored_share for clip, number in frames]
    return ImportSummary(
        target.folder,
        writer.written,
        kept=len(frames) - writer.written,
        empty=len(images) - len(shown),
        ignored_share=sum(ignored) / len(ignored),
        cost=writer.cost,
    )


@dataclass
class _ImportWriter:
    """Writes label maps and the human actions behind them, where they differ from what the store has.

    Attributes:
        dataset: The data set.
        store: Where to write.
        format: Format of the annotation tool.
        base: The labels that were corrected.
        model: Prices a label map drawn from nothing.
        seconds: Measured time per label map, which wins over the model.
        written: Label maps written.
        cost: Cost of all label maps, those that were stored before included.
    """

    dataset: VideoDataset
    store: LabelStore
    format: str
    base: LabelSource | None
    model: CostModel
    seconds: float | None
    written: int = 0
    cost: AnnotationCost = field(default_factory=AnnotationCost)

    @property
    def _arguments(self) -> dict[str, Any]:
        priced = {"cost_model": self.model.name} if self.seconds is None else {"seconds_per_frame": self.seconds}
        return priced if self.base is None else {**priced, "based_on": self.base.source}

    def check(self, frames: Sequence[ClipFrame]) -> None:
        """Refuse settings that cannot work, before anything is written."""
        if self.seconds is not None and not self.seconds >= 0:
            raise ConfigError("seconds_per_frame", expected="0 or more", found=self.seconds)
        if self.seconds is None and not self.model.needs_label:
            self.model.manual_frame(self.dataset.name)  # refuses data sets without published times
        if self.base is not None and not any(self.base.find(clip, number) for clip, number in frames):
            raise LabelStoreError(
                f"no labels of source {self.base.source!r}, which the import is based on", path=self.base.folder
            )
        self.store.consolidate()
        self.store.require_recipe(f"import/{self.format}", self._arguments)

    def add(self, clip: Clip, number: int, label: UInt8Array) -> None:
        name, priced_by = action_id(self.store.source, self.dataset.name, clip.video, number), ""
        if self.seconds is not None:
            cost = AnnotationCost(seconds=self.seconds, masks=1)
        else:
            cost, priced_by = self.model.manual_frame(self.dataset.name, label), self.model.name
        action = ActionRow(name, self.store.source, clip.video, number, cost, priced_by)
        self.cost += cost
        if self._is_stored(label, action):
            return
        parents, licences = [name], list[str]()
        if self.base is not None and (corrected := self.base.find(clip, number)):
            parents = list(dict.fromkeys([*corrected.actions, name]))
            licences += corrected.licences
            for row in self.base.recorded_actions(corrected):
                self.store.record_action(row)
        self.store.record_action(action)
        self.store.write(
            clip.video,
            number,
            label,
            kind=LabelKind.MANUAL,
            generator=f"import/{self.format}",
            arguments=self._arguments,
            parents=parents,
            licences=licences,
        )
        self.written += 1

    def _is_stored(self, label: UInt8Array, action: ActionRow) -> bool:
        frame = action.video, action.frame
        if not self.store.has(*frame) or self.store.actions.get(action.id) != action:
            return False
        content = encode_label_png(label, self.store.taxonomy.flat_palette())
        return self.store.labels[frame].sha256 == sha256(content).hexdigest()


def _read(path: Path, format: str, drawn_only: bool) -> list[AnnotatedImage]:
    chosen = format_named(format)
    if not path.exists():
        raise DatasetError("no such file or folder", path=path)
    if path.suffix.lower() == ".zip":
        raise DatasetError("a packed file", path=path, fix="unpack it and pass the folder")
    images = chosen.read(path)
    if drawn_only:
        images = [replace(image, shapes=tuple(s for s in image.shapes if not s.by_machine)) for image in images]
    if not any(image.shapes for image in images):
        raise DatasetError("no image has any shape", path=path, found=f"{len(images)} images")
    return images


def _check_sizes(dataset: VideoDataset, images: Sequence[AnnotatedImage], keys: Sequence[ClipFrame]) -> None:
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
