"""Which annotated frame labels which of its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thriftseg.datasets import describe_reach, parse_offsets, target_number
from thriftseg.errors import ConfigError
from thriftseg.labels.jobs.job import LabelTask
from thriftseg.types import Clip


@dataclass(frozen=True)
class PropagationTask(LabelTask):
    """The frames one annotated frame is propagated to.

    Attributes:
        annotated: Native number of the annotated frame.
    """

    annotated: int

    def name(self, number: int) -> str:
        """How a message names one of the labels."""
        return f"{super().name(number)} (from frame {self.annotated})"


@dataclass(frozen=True)
class PropagationPlan:
    """Which annotated frame labels which frames.

    Attributes:
        tasks: One task per annotated frame that has targets.
        superseded: Pairs of annotated frame and target that lost to a nearer annotated frame.
        absent: Pairs of annotated frame and offset for which the clip has no frame.

    Example:
        >>> clip = Clip("drive", dict.fromkeys(range(4)), labels=dict.fromkeys([1]))
        >>> plan = plan_propagation([clip], "-2..2", on_missing="skip")
        >>> plan.tasks[0].name(3), plan.absent
        ('drive/000003 (from frame 1)', 1)
    """

    tasks: tuple[PropagationTask, ...]
    superseded: int
    absent: int


def plan_propagation(
    clips: Sequence[Clip],
    offsets: str | int | Iterable[int],
    *,
    annotated: Mapping[str, Sequence[int]] | None = None,
    include_annotated: bool = False,
    on_missing: Literal["error", "skip"] = "error",
    annotated_every: int = 1,
) -> PropagationPlan:
    """Decide which annotated frame labels which frames.

    Where several annotated frames reach one target, the nearest wins, of two equally near ones the earlier.

    Args:
        clips: The clips.
        offsets: Offsets from the annotated frames.
        annotated: Native numbers of the annotated frames by video, increasing; those of the data set if unset.
        include_annotated: Whether offset 0 is a target too; its label is a copy of the manual one.
        on_missing: What to do where a clip has no frame at an offset.
        annotated_every: Start from every such annotated frame of a clip only, so that the others can tell how good
            the labels are.

    Raises:
        ConfigError: A clip has no frame at an offset, no offset is left, or a setting is out of range.

    Example:
        >>> clip = Clip("drive", dict.fromkeys(range(10)), labels=dict.fromkeys([2, 6]))
        >>> plan = plan_propagation([clip], "-2..2")
        >>> [(task.annotated, task.targets) for task in plan.tasks], plan.superseded
        ([(2, (0, 1, 3, 4)), (6, (5, 7, 8))], 1)
    """
    if on_missing not in {"error", "skip"}:
        raise ConfigError("on_missing", expected="error or skip", found=repr(on_missing))
    if annotated_every < 1:
        raise ConfigError("annotated_every", expected="at least 1", found=annotated_every)
    wanted = [offset for offset in parse_offsets(offsets) if offset != 0 or include_annotated]
    if not wanted:
        raise ConfigError("no offset to propagate to", found=offsets, fix="give offsets other than 0")
    tasks: list[PropagationTask] = []
    superseded = absent = 0
    for clip in clips:
        starts = (clip.annotated if annotated is None else annotated.get(clip.video, ()))[::annotated_every]
        reached = [(start, offset) for start in starts for offset in wanted]
        existing = [pair for pair in reached if target_number(clip, *pair) is not None]
        if len(existing) < len(reached) and on_missing == "error":
            raise _no_frame(clip, next(pair for pair in reached if pair not in existing))
        winners = _nearest(clip, existing)
        absent += len(reached) - len(existing)
        superseded += len(existing) - len(winners)
        for start in starts:
            targets = tuple(sorted(target for target, winner in winners.items() if winner == start))
            tasks += [PropagationTask(clip, targets, start)] if targets else []
    return PropagationPlan(tuple(tasks), superseded, absent)


def _nearest(clip: Clip, reached: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Target to annotated frame."""
    best: dict[int, tuple[int, int]] = {}
    for annotated, offset in reached:
        target = clip.number_at(annotated, offset)
        candidate = (abs(offset), annotated)
        best[target] = min(best.get(target, candidate), candidate)
    return {target: annotated for target, (_, annotated) in best.items()}


def _no_frame(clip: Clip, pair: tuple[int, int]) -> ConfigError:
    annotated, offset = pair
    return ConfigError(
        f"clip {clip.video!r} has no frame at offset {offset} of annotated frame {annotated}",
        expected=f"offsets within {describe_reach(clip, annotated)}",
        fix="give shorter offsets, or on_missing=skip to leave such frames out",
    )
