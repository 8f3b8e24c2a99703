"""Which labels a corrected frame can reach."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from thriftseg.labels.propagation.plan import PropagationTask
from thriftseg.stores import LabelRow, LabelStore, SourceLabel, annotated_frame
from thriftseg.types import Clip


@dataclass(frozen=True)
class Correction:
    """A frame whose label a person has made.

    Attributes:
        label: The label.
        source: Its source.
        sha256: Digest of the label.

    Example:
        >>> from pathlib import Path
        >>> from thriftseg.types import LabelKind
        >>> clip = Clip("drive", {9: Path("9.png")}, labels={9: Path("9_label.png")})
        >>> label = SourceLabel(clip, 9, "manual", LabelKind.MANUAL, ("manual:camvid/drive/000009",), clip.labels[9])
        >>> first, second = Correction(label, "manual", sha256="ab"), Correction(label, "manual", sha256="cd")
        >>> first.label.id, first == second  # drawn anew
        ('drive/000009', False)
    """

    label: SourceLabel
    source: str
    sha256: str


@dataclass(frozen=True)
class RepropagationPlan:
    """Which labels are made again, and from which correction.

    Attributes:
        tasks: One task per corrected frame that has something to do; its targets hold the corrected frame itself where
            the source has a label of it.
        done: Labels that were made again from these very corrections before.
        locked: Locked labels of the clips with corrections, which stay.

    Example:
        >>> task = PropagationTask(Clip("drive", {}), targets=(8, 9), annotated=9)
        >>> plan = RepropagationPlan((task,), done=1, locked=0)
        >>> plan.targets, str(plan).splitlines()[0]
        (2, 'drive: the correction of frame 9 reaches 8, 9')
    """

    tasks: tuple[PropagationTask, ...]
    done: int
    locked: int

    @property
    def targets(self) -> int:
        """Number of labels to make again."""
        return sum(len(task.targets) for task in self.tasks)

    def __str__(self) -> str:
        reached = [
            f"{task.clip.video}: the correction of frame {task.annotated} reaches {', '.join(map(str, task.targets))}"
            for task in self.tasks
        ]
        total = (
            f"{self.targets} labels to make again (--repropagate true), {self.done} made again before, "
            f"{self.locked} locked ones in these clips"
        )
        return "\n".join([*reached, total])


def plan_repropagation(
    store: LabelStore, corrections: Sequence[Correction], frames: Mapping[str, Collection[int]] | None = None
) -> RepropagationPlan:
    """Decide which labels are made again, and which frames get their first.

    A correction reaches to both sides up to the next frame that a label was propagated from, that was corrected too, or
    that is locked. Of the labels within, those are made again to which it is nearer than the frame they were made from;
    of two equally near frames the earlier wins, as in `plan_propagation`. Frames without a label get none, unless they
    are asked for, and are not corrected themselves.

    Args:
        store: The propagated labels.
        corrections: Corrected frames.
        frames: The only frames that are made, with a label already or without, as native numbers by video; all that
            have one if unset.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from thriftseg.taxonomies import CAMVID
        >>> from thriftseg.types import LabelKind
        >>> clip = Clip("drive", {number: Path(f"{number}.png") for number in range(10)})
        >>> label = SourceLabel(clip, 9, "person", LabelKind.MANUAL, ("person:camvid/drive/000009",), Path("9.png"))
        >>> made = {"kind": LabelKind.PROPAGATED, "generator": "propagate/flow"}
        >>> with tempfile.TemporaryDirectory() as root:
        ...     store, start = LabelStore(root, "flow", CAMVID), "manual:camvid/drive/000000"
        ...     for number in range(1, 10):
        ...         row = store.write("drive", number, np.zeros((4, 6), np.uint8), parents=[start], **made)
        ...     plan = plan_repropagation(store, [Correction(label, "person", "ab")])
        >>> [task.targets for task in plan.tasks]
        [(5, 6, 7, 8, 9)]
    """
    rows: dict[str, dict[int, LabelRow]] = defaultdict(dict)
    for (video, number), row in store.labels.items():
        rows[video][number] = row
    by_clip: dict[str, list[Correction]] = defaultdict(list)
    for correction in corrections:
        if frames is None or correction.label.clip.video in frames:
            by_clip[correction.label.clip.video].append(correction)
    tasks: list[PropagationTask] = []
    done = locked = 0
    for video, own in by_clip.items():
        plan = _ClipPlan(store, own, rows[video], None if frames is None else frames[video])
        winners = plan.winners()
        fresh = {target for target, winner in winners.items() if plan.is_done(target, winner)}
        done, locked = done + len(fresh), locked + len(plan.locked)
        for correction in own:
            number = correction.label.number
            targets = tuple(t for t, winner in sorted(winners.items()) if winner is correction and t not in fresh)
            tasks += [PropagationTask(correction.label.clip, targets, number)] if targets else []
    return RepropagationPlan(tuple(tasks), done, locked)


class _ClipPlan:
    """Which corrections of one clip reach which of its labels."""

    def __init__(
        self,
        store: LabelStore,
        corrections: Sequence[Correction],
        rows: Mapping[int, LabelRow],
        frames: Collection[int] | None,
    ) -> None:
        self._clip: Clip = corrections[0].label.clip
        self._rows, self._reviews = rows, store.reviews
        self._corrections = {item.label.number: item for item in corrections}
        self.locked = {number for video, number in store.reviews.locked if video == self._clip.video}
        self._starts = {number: self._starts_of(row) for number, row in rows.items()}
        self._anchors = sorted({*self._corrections, *self.locked}.union(*self._starts.values()))
        unlabelled = self._clip.frames.keys() - self._corrections.keys()
        self._targets = rows.keys() if frames is None else sorted((rows.keys() | unlabelled).intersection(frames))

    def winners(self) -> dict[int, Correction]:
        """The correction of every frame that one of them reaches and is nearest to."""
        found: dict[int, Correction] = {}
        for target in self._targets:
            best = _nearest(target, self._reaching(target))
            before = _nearest(target, self._starts.get(target, ()))
            if best is not None and (before is None or best <= before):
                found[target] = self._corrections[best[1]]
        return found

    def is_done(self, target: int, correction: Correction) -> bool:
        """Whether a label was made from this very label before."""
        if target not in self._rows:
            return False
        note = self._reviews.remade.get((self._clip.video, target))
        if note is not None:
            made_from = (note.source, note.corrected, note.sha256)
            return made_from == (correction.source, correction.label.number, correction.sha256)
        # The first propagation leaves no note, and no other human work in the row than that of the annotated frame.
        return self._rows[target].parents == correction.label.actions

    def _reaching(self, target: int) -> list[int]:
        """Corrected frames, at most one per side, with nothing between them and a label."""
        if target in self.locked:
            return []
        place = bisect_left(self._anchors, target)
        near = self._anchors[max(0, place - 1) : place + 1]
        return [number for number in ([target] if target in near else near) if number in self._corrections]

    def _starts_of(self, row: LabelRow) -> set[int]:
        """Frames of the clip that a label descends from."""
        frames = (annotated_frame(action) for action in row.parents)
        return {frame[1] for frame in frames if frame is not None and frame[0] == self._clip.video}


def _nearest(target: int, starts: Iterable[int]) -> tuple[int, int] | None:
    """Distance and number of the nearest frame, the earlier of two equally near ones."""
    return min(((abs(start - target), start) for start in starts), default=None)
