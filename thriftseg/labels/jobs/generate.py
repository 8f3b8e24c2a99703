"""Running a label generator: what is left to do, who does it, what failed, what it cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TypeVar, overload

from thriftseg.costs import AnnotationCost
from thriftseg.errors import LabelStoreError
from thriftseg.folders import sole_writer
from thriftseg.labels.jobs.job import LabelJob, OutcomeT, TaskT
from thriftseg.labels.jobs.summary import Summary, UnfinishedError
from thriftseg.stores import LabelRow, LabelStore, price_actions
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.workers import WorkerDied, Workers, run_tasks

SummaryT = TypeVar("SummaryT", bound=Summary)


@overload
def generate(job: LabelJob[TaskT, OutcomeT], tasks: Sequence[TaskT], workers: Workers) -> Summary: ...


@overload
def generate(
    job: LabelJob[TaskT, OutcomeT],
    tasks: Sequence[TaskT],
    workers: Workers,
    summarise: Callable[[Summary, list[OutcomeT]], SummaryT],
) -> SummaryT: ...


def generate(
    job: LabelJob[TaskT, OutcomeT],
    tasks: Sequence[TaskT],
    workers: Workers,
    summarise: Callable[[Summary, list[OutcomeT]], Summary] = lambda summary, outcomes: summary,
) -> Summary:
    """Make the labels that are not there yet.

    A run that was killed goes on where it stopped when it is started again, and ends in the same files, whoever does
    the work. The processes of a cluster share it; what was started apart from them is refused meanwhile, unless the job
    is `shared`.

    Args:
        job: The generator.
        tasks: All labels that shall be there, equal in all processes of a cluster.
        workers: Who does the work.
        summarise: Adds to the summary what the generator has to say, from the outcomes of the tasks that were done now.

    Raises:
        ConfigError: The cost model of the job knows no price for this data set, or others are writing this source.
        LabelStoreError: The source holds labels that were made in another way, or a process died.
        UnfinishedError: Some labels could not be made (the others are stored).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from thriftseg.datasets import CamVid
        >>> from thriftseg.labels import FrameJob, LabelTask
        >>> from thriftseg.types import Clip, LabelKind
        >>> class AllRoad(FrameJob[LabelTask]):
        ...     def make(self, task, number):
        ...         self.write(task, number, np.full((4, 6), 3, np.uint8), LabelKind.FILLED, parents=())
        >>> with tempfile.TemporaryDirectory() as root:
        ...     dataset = CamVid(root)
        ...     tasks = [LabelTask(Clip("drive", {}), (7, 8, 9))]
        ...     for _ in range(2):
        ...         job = AllRoad(dataset, LabelStore(Path(root, "labels"), "road", dataset.taxonomy), "all road", {})
        ...         summary = generate(job, tasks, Workers(progress=False))
        ...         summary.written, summary.kept
        (3, 0)
        (0, 3)
    """
    of_classes = job.dataset.taxonomy is not OBJECT_IDS
    if job.cost_model is not None and not job.cost_model.needs_label and tasks and of_classes:
        job.cost_model.manual_frame(job.dataset.name)  # knows a price, or says so before any work is done
    with nullcontext() if job.shared else sole_writers(job.store, workers):
        summary = summarise(*_make(job, tasks, workers))
    if summary.failures:
        raise UnfinishedError.of(summary)
    return summary


@contextmanager
def sole_writers(store: LabelStore, workers: Workers) -> Iterator[None]:
    """Keep others than these workers from writing to a source until the block ends; see `sole_writer`.

    Raises:
        ConfigError: Others are at work there.
    """
    workers.member.wait()  # a first member that is refused ends the others only once they have met
    with sole_writer(store.folder) if workers.member.is_first else nullcontext():
        yield


def _make(job: LabelJob[TaskT, OutcomeT], tasks: Sequence[TaskT], workers: Workers) -> tuple[Summary, list[OutcomeT]]:
    if workers.member.is_first:
        job.finish()
    workers.member.wait()
    job.open()
    job.store.require_recipe(job.generator, job.arguments)
    todo = [
        replace(task, targets=targets)
        for task in tasks
        if (targets := tuple(number for number in task.targets if not job.is_done(task.clip, number)))
    ]
    job.open()  # what was read is not sent to other processes
    try:
        outcomes = run_tasks(job, todo, workers, description=job.description, on_result=job.receive)
    except WorkerDied as error:
        raise LabelStoreError(
            "a label process died",
            found=error.found,
            fix="run the command again, it goes on where it stopped; use fewer processes if memory was short",
        ) from error
    job.open()
    frames = [(task.clip.video, number) for task in tasks for number in task.targets]
    labels = job.store.labels
    rows = [row for frame in frames if (row := labels.get(frame)) is not None]
    written = sum(outcome.written for outcome in outcomes)
    kept = len(frames) - sum(len(task.targets) for task in todo)
    if len(rows) < written + kept:
        raise LabelStoreError(
            "labels that other machines wrote are not here",
            path=job.store.folder,
            expected=f"{written + kept} labels",
            found=len(rows),
            fix="put the store on a disk that they share",
        )
    made = Summary(
        job.store.folder,
        written=written,
        kept=kept,
        ignored_share=sum(row.ignored_share for row in rows) / max(1, len(rows)),
        failures=tuple(sorted(failure for outcome in outcomes for failure in outcome.failures)),
        cost=_price(rows, job, tasks),
    )
    return made, outcomes


def _price(rows: Sequence[LabelRow], job: LabelJob[TaskT, OutcomeT], tasks: Sequence[TaskT]) -> AnnotationCost | None:
    """What the distinct human actions cost that labels descend from; `None` where no model prices some of them."""
    recorded = job.store.actions
    actions = list(dict.fromkeys(action for row in rows for action in row.parents))
    if all(action in recorded for action in actions):
        return sum((recorded[action].cost for action in actions), AnnotationCost())
    if job.cost_model is None:
        return None
    clips = {task.clip.video: task.clip for task in tasks}.values()
    prices = price_actions(job.dataset, clips, actions, job.cost_model, stores=[job.store], cache_folder=job.store.root)
    return sum(prices.values(), AnnotationCost())
