"""`thriftseg annotate hvsa | find-budget`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from thriftseg.cli.command import say

if TYPE_CHECKING:
    from thriftseg.annotation import (
        HVSARounds,
        HVSASettings,
        PersonChoice,
        SimulatedPerson,
        StartNetwork,
        TuningSettings,
        VideoChoice,
        VideoLoop,
    )


def run(
    video: VideoChoice,
    network: StartNetwork,
    settings: HVSASettings,
    tuning: TuningSettings,
    person: PersonChoice,
    simulated: SimulatedPerson,
    out: str | None = None,
    config_name: str = "hvsa",
) -> int:
    """Label all frames of a video with a small budget.

    Args:
        video: The video.
        network: The network to start from.
        settings: How the labels are bought.
        tuning: How the network is tuned.
        person: Who labels.
        simulated: How a simulated person labels.
        out: Folder to write; runs/<config>/<video> if unset.
        config_name: Name of the config.
    """
    from thriftseg.reports import annotation_table, print_table, read_annotation_run, write_annotation_report

    loop = video.loop(network, tuning, say)
    folder = _folder(out, config_name, loop)
    result = loop.run(settings, person.find(loop, folder, simulated), folder)
    report = write_annotation_report(result.folder, loop.dataset)
    print_table(annotation_table(read_annotation_run(result.folder)))
    print(f"labels {result.store}\nreport {report.page}\nvideo  {report.video}")
    return 0


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
