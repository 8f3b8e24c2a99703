"""`thriftseg annotate hvsa | find-budget`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftseg.cli.annotate.asking import Asking
from thriftseg.cli.command import say
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import (
        HVSAResult,
        HVSARounds,
        HVSASettings,
        PageAddress,
        PageOptions,
        PersonChoice,
        SimulatedPerson,
        StartNetwork,
        TuningSettings,
        VideoChoice,
        VideoLoop,
    )
    from thriftseg.datasets import VideoDataset


def run(
    video: VideoChoice,
    network: StartNetwork,
    settings: HVSASettings,
    tuning: TuningSettings,
    person: PersonChoice,
    simulated: SimulatedPerson,
    address: PageAddress,
    options: PageOptions,
    all_videos: bool = False,
    out: str | None = None,
    config_name: str = "hvsa",
) -> int:
    """Label all frames of a video, or of all videos of a split, with a small budget.

    Args:
        video: The video.
        network: The network to start from.
        settings: How the labels are bought.
        tuning: How the network is tuned.
        person: Who labels.
        simulated: How a simulated person labels.
        address: Where the page of a person is served.
        options: How the page counts and greets.
        all_videos: Label every video of the split with this budget, and score them together.
        out: Folder to write; runs/<config>/<video>, or runs/<config> for all videos, if unset.
        config_name: Name of the config.
    """
    from thriftseg.annotation import parse_amount

    if parse_amount(settings.budget, full=1) == 0:
        raise ConfigError("--budget", expected="more than 0", found=settings.budget)
    ask = Asking(person.annotator, address, options)
    if all_videos:
        return _label_all(video.loops(network, tuning, say), settings, person, simulated, ask, out, config_name)
    loop = video.loop(network, tuning, say)
    folder = _folder(out, config_name, loop)
    annotator = person.find(loop, folder, simulated)
    _show(ask.run(lambda wait: loop.run(settings, annotator, folder), person.folder(folder)), loop.dataset)
    return 0


def _label_all(
    loops: Sequence[VideoLoop],
    settings: HVSASettings,
    person: PersonChoice,
    simulated: SimulatedPerson,
    ask: Asking,
    out: str | None,
    config_name: str,
) -> int:
    from thriftseg.annotation import AllVideosResult, annotate_videos
    from thriftseg.folders import RUNS

    root = Path(out) if out is not None else Path(RUNS) / config_name

    def label(wait: object) -> AllVideosResult:
        return annotate_videos(loops, settings, lambda loop, folder: person.find(loop, folder, simulated), root)

    found = ask.run(label, root if person.work is None else Path(person.work), None if person.work else "*/work")
    for result in found.runs.values():
        _show(result, loops[0].dataset)
    scores = ", ".join(f"{name} {100 * value:.2f}" for name, value in found.scores.items())
    print(f"{len(found.runs)} videos together: {scores}, {found.cost.hours:.2f} h, {found.cost.clicks} clicks")
    print(f"labels {found.masks}")
    return 0


def _show(result: HVSAResult, dataset: VideoDataset) -> None:
    """Write the report of a run, and tell what came of it."""
    from thriftseg.reports import annotation_table, print_table, read_annotation_run, write_annotation_report

    report = write_annotation_report(result.folder, dataset)
    print_table(annotation_table(read_annotation_run(result.folder)))
    print(f"labels {result.store}\nreport {report.page}\nvideo  {report.video}")


def _find_budget(
    video: VideoChoice,
    network: StartNetwork,
    rounds: HVSARounds,
    tuning: TuningSettings,
    simulated: SimulatedPerson,
    out: str | None = None,
    config_name: str = "hvsa",
    **options: Any,
) -> int:
    """Find the least budget that reaches a mIoU.

    Args:
        video: The video.
        network: The network to start from.
        rounds: How the labels are bought.
        tuning: How the network is tuned.
        simulated: How a simulated person labels.
        out: Folder to write; runs/<config>/<video> if unset.
        config_name: Name of the config.
        options: Those of `thriftseg.annotation.find_budget`.
    """
    from thriftseg.annotation import find_budget

    loop = video.loop(network, tuning, say)
    print(find_budget(loop, rounds, simulated, _folder(out, config_name, loop), **options))
    return 0


def _folder(out: str | None, config_name: str, loop: VideoLoop) -> Path:
    from thriftseg.folders import RUNS

    return Path(out) if out is not None else Path(RUNS) / config_name / loop.clip.video
