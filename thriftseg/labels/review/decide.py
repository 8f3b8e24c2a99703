"""The labels that a person should look at first, and what that person decides about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thriftseg.arrays import BoolArray
from thriftseg.datasets import VideoDataset, read_label_png
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.folders import sole_writer
from thriftseg.labels.review.inspect import InspectedLabel, inspect_each
from thriftseg.labels.review.table import DecisionLine, line_error, read_decisions
from thriftseg.regions import MaskRegion, decode_counts, encode_counts, run_lengths
from thriftseg.stores import (
    POINTS,
    Decision,
    LabelSource,
    LabelStore,
    LoggedObject,
    ReviewedObject,
    SourceLabel,
    Verdict,
    store_root,
)
from thriftseg.types import IGNORE_INDEX

_Key = tuple[str, int, int | None]

_PAST: Mapping[Verdict, str] = {"accept": "accepted", "reject": "rejected", "lock": "locked"}


@dataclass(frozen=True)
class DoubtfulLabel:
    """A label to look at.

    Attributes:
        inspected: What it holds, and how it agrees with a manual label of the same frame.
        objects: Its objects as the object log has them; empty where there is none.

    Example:
        >>> from thriftseg.types import Clip, LabelKind
        >>> label = SourceLabel(Clip("drive", {}), 8, "flow", LabelKind.PROPAGATED, (), Path("8.png"), confidence=0.4)
        >>> objects = (LoggedObject(1, 13, None, pixels=40), LoggedObject(2, 5, None, pixels=0))
        >>> doubtful = DoubtfulLabel(InspectedLabel(label, np.array([90, 10])), objects)
        >>> doubtful.inspected.ignored_share, [item.train_id for item in doubtful.lost]
        (0.1, [5])
    """

    inspected: InspectedLabel
    objects: tuple[LoggedObject, ...] = ()

    @property
    def lost(self) -> tuple[LoggedObject, ...]:
        """Objects of which nothing is left."""
        return tuple(item for item in self.objects if item.lost)


@dataclass(frozen=True)
class ReviewList:
    """The least confident labels of a source that nobody has decided about.

    Attributes:
        labels: The labels, least confident first.
        undecided: Labels without a decision, these included.
        decided: Labels that are accepted or locked; rejected ones are no longer counted at all.
        class_names: Names in train id order.

    Example:
        >>> from thriftseg.types import Clip, LabelKind
        >>> label = SourceLabel(Clip("drive", {}), 8, "flow", LabelKind.PROPAGATED, (), Path("8.png"), confidence=0.4)
        >>> lost = LoggedObject(1, 1, None, pixels=0)
        >>> doubtful = DoubtfulLabel(InspectedLabel(label, np.array([90, 0, 10])), (lost,))
        >>> list(ReviewList((doubtful,), undecided=3, decided=0, class_names=("road", "car")).rows())
        [{'video': 'drive', 'frame': '000008', 'confidence': '0.400', 'ignored': '0.100', 'right': '', 'lost': 'car'}]
    """

    labels: tuple[DoubtfulLabel, ...]
    undecided: int
    decided: int
    class_names: tuple[str, ...]

    def rows(self, objects: bool = False) -> Iterator[dict[str, str]]:
        """Rows of a file of decisions, still without decisions.

        Args:
            objects: Whether every object that is not lost gets a row of its own too.
        """
        for entry in self.labels:
            label = entry.inspected.label
            frame = {"video": label.clip.video, "frame": f"{label.number:06d}"}
            yield frame | self.figures(entry)
            for item in entry.objects if objects else ():
                if not item.lost:
                    score = "" if item.score is None else f"{item.score:.3f}"
                    yield frame | {
                        "object": str(item.id),
                        "class": self.class_names[item.train_id],
                        "confidence": score,
                    }

    def figures(self, entry: DoubtfulLabel) -> dict[str, str]:
        """What is known about a label, as text; empty where it is not known."""
        confidence, compared = entry.inspected.label.confidence, entry.inspected.agreement is not None
        return {
            "confidence": "" if confidence is None else f"{confidence:.3f}",
            "ignored": f"{entry.inspected.ignored_share:.3f}",
            "right": f"{entry.inspected.accuracy:.3f}" if compared else "",
            "lost": " ".join(self.class_names[item.train_id] for item in entry.lost),
        }


@dataclass(frozen=True)
class DecisionSummary:
    """What `apply_decisions` did.

    Attributes:
        frames: New decisions about frames, by verdict.
        objects: New decisions about objects, by verdict.
        known: Decisions of the file that held already.
        repainted: Labels in which pixels of objects were taken out or put back.

    Example:
        >>> print(DecisionSummary({"reject": 2, "lock": 1}, {"reject": 1}, known=4, repainted=1))
        2 frames rejected, 1 frames locked, 1 objects rejected; 1 labels repainted; 4 decisions held already
    """

    frames: Mapping[str, int]
    objects: Mapping[str, int]
    known: int
    repainted: int

    def __str__(self) -> str:
        parts = [
            f"{count} {what} {_PAST[verdict]}"
            for what, counts in (("frames", self.frames), ("objects", self.objects))
            for verdict in _PAST
            if (count := counts.get(verdict, 0))
        ]
        repainted = [f"{self.repainted} labels repainted"] if self.repainted else []
        return "; ".join([", ".join(parts) or "no new decision", *repainted, f"{self.known} decisions held already"])


def least_confident(
    dataset: VideoDataset,
    split: str,
    source: str,
    *,
    store: str | Path | None = None,
    worst: int = 20,
    devices: int = 1,
    progress: bool = True,
) -> ReviewList:
    """Find the labels to look at first; only these are opened.

    Labels without a confidence count as confident as the share of their pixels that carry a label.

    Args:
        dataset: The data set.
        split: Its split.
        source: Source of the label store.
        store: Folder of the label store; `labels/<dataset>` when absent.
        worst: Number of labels.
        devices: Number of processes.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: `worst` is below 1.
        LabelStoreError: The source has no labels, or some cannot be read.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> from thriftseg.types import LabelKind
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size, made = Path(root, "classes.yaml").write_text("classes: [{name: road}]"), LabelKind.PROPAGATED
        ...     store = LabelStore(Path(root, "labels"), "flow", Folder(root).taxonomy)
        ...     for number, confidence in ((7, 0.9), (8, 0.4), (9, 0.6)):
        ...         write_label_png(Path(root, f"train/drive/frames/{number}.png"), np.zeros((4, 6), np.uint8))
        ...         row = store.write(
        ...             "drive", number, np.zeros((4, 6), np.uint8), kind=made, generator="demo", confidence=confidence
        ...         )
        ...     listed = least_confident(Folder(root), "train", "flow", store=store.root, worst=2, progress=False)
        >>> [entry.inspected.label.number for entry in listed.labels], listed.undecided
        ([8, 9], 3)
    """
    if worst < 1:
        raise ConfigError("worst", expected="at least 1 label", found=worst)
    found = LabelSource(dataset, store_root(store, dataset.name), source)
    labels = found.labels(split)
    undecided = [label for label in labels if found.verdict(label.clip, label.number) is None]
    chosen = sorted(undecided, key=_confidence)[:worst]
    log = found.store.objects
    inspected = inspect_each(found, chosen, devices=devices, progress=progress)
    return ReviewList(
        tuple(DoubtfulLabel(item, log.get((item.label.clip.video, item.label.number), ())) for item in inspected),
        len(undecided),
        len(labels) - len(undecided),
        tuple(dataset.taxonomy.class_names),
    )


def apply_decisions(
    dataset: VideoDataset, source: str, path: str | Path, *, store: str | Path | None = None
) -> DecisionSummary:
    """Store the decisions of a file beside the labels they are about.

    - Rejected frames are not used any more: mixtures, exports and generators that build on this source pass them over.
      Their files stay, so a later decision brings them back, and generating again does not make them again.
    - Pixels of rejected objects become 255, until the object is accepted or locked.
    - Locked frames are never written again, locked objects keep their pixels when a label is made again.
    - Accepting takes back what was decided before.

    The last decision on a frame or object holds. The whole file is checked before anything is stored; a killed run goes
    on when it is started again.

    Args:
        dataset: The data set.
        source: Source of the label store.
        path: File of decisions, see `thriftseg.labels.review.table`.
        store: Folder of the label store; `labels/<dataset>` when absent.

    Raises:
        ConfigError: The file cannot be read, or a line names an unknown frame or object, or one of a locked frame.
        LabelStoreError: The source has no labels.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import CamVid
        >>> from thriftseg.labels import write_decisions
        >>> from thriftseg.types import LabelKind
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store, label = LabelStore(Path(root), "flow", CamVid.taxonomy), np.zeros((4, 6), np.uint8)
        ...     for number in (7, 8):
        ...         row = store.write("drive", number, label, kind=LabelKind.PROPAGATED, generator="demo")
        ...     rejected = {"decision": "reject", "video": "drive", "frame": "8"}
        ...     path = write_decisions(Path(root, "decisions.csv"), [rejected])
        ...     print(apply_decisions(CamVid(root), "flow", path, store=root))
        ...     list(LabelStore(Path(root), "flow", CamVid.taxonomy).usable)
        1 frames rejected; 0 decisions held already
        [('drive', 7)]
    """
    path = Path(path)
    target = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
    if not target.labels:
        raise LabelStoreError(f"no labels of source {source!r}", path=target.folder)
    with sole_writer(target.folder):
        target.consolidate()
        summary = record_decisions(target, read_decisions(path), path)
        target.consolidate()
    return summary


def record_decisions(store: LabelStore, lines: Iterable[DecisionLine], path: Path | None = None) -> DecisionSummary:
    """Store decisions beside the labels they are about; see `apply_decisions`.

    All of them are checked before anything is stored. The caller is the `sole_writer` of the source.

    Args:
        store: The labels.
        lines: The decisions, of which the last on a frame or object holds.
        path: The file that they come from, for messages.

    Raises:
        ConfigError: One names an unknown frame or object, or one of a locked frame.

    Example:
        >>> import tempfile
        >>> from thriftseg.taxonomies import CAMVID
        >>> from thriftseg.types import LabelKind
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store = LabelStore(root, "flow", CAMVID)
        ...     row = store.write("drive", 7, np.zeros((4, 6), np.uint8), kind=LabelKind.PROPAGATED, generator="demo")
        ...     lines = [DecisionLine(None, verdict, "drive", 7) for verdict in ("reject", "lock")]
        ...     print(record_decisions(store, lines))
        ...     store.reviews.locked
        1 frames locked; 0 decisions held already
        frozenset({('drive', 7)})
    """
    wanted = _Reader(store, lines, path).read()
    changed = [item for item in wanted.values() if store.reviews.decisions.get(item.key) != item]
    frame_locks = [item for item in changed if item.object is None and item.verdict == "lock"]
    # A locked frame cannot be repainted, so that locks come last.
    store.record_reviews(item for item in changed if item not in frame_locks)
    frames = dict.fromkeys(key[:2] for key in wanted if key[2] is not None)
    repainted = sum(_repaint(store, *frame) for frame in frames)
    store.record_reviews(frame_locks)
    return DecisionSummary(
        Counter(item.verdict for item in changed if item.object is None),
        Counter(item.verdict for item in changed if item.object is not None),
        len(wanted) - len(changed),
        repainted,
    )


def mask_of(item: ReviewedObject) -> BoolArray:
    """Pixels of a reviewed object, (H, W)."""
    return MaskRegion(decode_counts(item.counts), item.width, item.height, column_major=True).mask


class _Reader:
    """Checks decisions against the labels."""

    def __init__(self, store: LabelStore, lines: Iterable[DecisionLine], path: Path | None) -> None:
        self._store, self._lines, self._path = store, lines, path

    def read(self) -> dict[_Key, Decision]:
        lines = {(line.video, line.frame, line.object): line for line in self._lines}
        wanted = {key: self._decision(line) for key, line in lines.items()}
        for key, line in lines.items():
            self._check_lock(line, wanted[key], wanted.get((line.video, line.frame, None)))
        return wanted

    def _decision(self, line: DecisionLine) -> Decision:
        row = self._store.labels.get((line.video, line.frame))
        if row is None:
            expected = f"a label of source {self._store.source!r}"
            raise self._error(line, f"no label of frame {line.frame} of {line.video!r}", expected=expected)
        item = None
        if line.object is not None:
            if row.kind == POINTS or row.space != "train_id":
                raise self._error(line, "only label maps of classes have objects to decide about")
            item = self._object(line, line.object)
        remade = self._store.reviews.times_remade(line.video, line.frame)
        return Decision(line.video, line.frame, line.verdict, remade, item)

    def _object(self, line: DecisionLine, number: int) -> ReviewedObject:
        known = self._store.reviews.decisions.get((line.video, line.frame, number))
        if known is not None and known.object is not None:
            return known.object
        logged = {item.id: item for item in self._store.objects.get((line.video, line.frame), ())}
        if number not in logged:
            expected = "one of " + ", ".join(map(str, logged)) if logged else "none, as no object log was written"
            raise self._error(line, "no such object in this frame", expected=expected, found=str(number))
        mask = self._mask(line, logged[number], logged)
        if not mask.any():
            raise self._error(line, f"nothing is left of object {number} in this frame")
        counts = encode_counts(run_lengths(mask.ravel(order="F")).tolist())
        height, width = mask.shape
        return ReviewedObject(number, logged[number].train_id, height, width, counts)

    def _mask(self, line: DecisionLine, item: LoggedObject, logged: Mapping[int, LoggedObject]) -> BoolArray:
        mask: BoolArray = self._store.read(line.video, line.frame, verify=True) == item.train_id
        if not any(other.train_id == item.train_id and other.id != item.id for other in logged.values()):
            return mask
        ids = self._store.object_log.path_of_ids(line.video, line.frame)
        if not ids.is_file():
            raise self._error(
                line,
                "the frame has several objects of this class, and nothing tells their pixels apart",
                expected=f"{ids}, which label propagate writes with --save_objects true",
            )
        own: BoolArray = read_label_png(ids) == item.id
        return mask & own

    def _check_lock(self, line: DecisionLine, wanted: Decision, of_frame: Decision | None) -> None:
        unlocked = of_frame is not None and of_frame.verdict != "lock"
        known = self._store.reviews.decisions.get(wanted.key)
        if line.object is None or unlocked or known == wanted:
            return
        if (line.video, line.frame) in self._store.reviews.locked:
            raise self._error(line, f"frame {line.frame} of {line.video!r} is locked", expected="to accept it first")

    def _error(self, line: DecisionLine, problem: str, *, expected: object = None, found: object = None) -> ConfigError:
        return line_error(problem, line.line, self._path, expected=expected, found=found)


def _repaint(store: LabelStore, video: str, number: int) -> bool:
    """Take pixels of rejected objects out of a label and put those of others back; whether that changed anything."""
    label = store.read(video, number, verify=True)
    painted = label.copy()
    for decision in store.reviews.of_objects(video, number):
        if decision.object is not None:
            before, after = decision.object.train_id, IGNORE_INDEX
            if decision.verdict != "reject":
                before, after = after, before
            painted[mask_of(decision.object) & (painted == before)] = after
    if np.array_equal(label, painted):
        return False
    row = store.labels[video, number]
    store.write(
        video,
        number,
        painted,
        kind=row.label_kind,
        generator=row.generator,
        arguments=row.arguments,
        parents=row.parents,
        confidence=row.confidence,
        licences=row.licences,
        needs_review=row.needs_review,
    )
    return True


def _confidence(label: SourceLabel) -> tuple[float, float, str]:
    ignored = label.ignored_share or 0.0
    return 1 - ignored if label.confidence is None else label.confidence, -ignored, label.id
