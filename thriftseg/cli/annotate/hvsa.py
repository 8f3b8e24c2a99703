"""`thriftseg annotate hvsa | find-budget`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thriftseg.cli.command import say
from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.annotation import (
        Annotator,
        HVSARounds,
        HVSASettings,
        SimulatedPerson,
        StartNetwork,
        TuningSettings,
        VideoLoop,
    )


@dataclass(frozen=True)
class VideoOptions:
    """The video.

    Attributes:
        dataset: Data set that holds it: cityscapes, camvid, idd, veis, scenenet or folder.
        root: Folder of the data; that of the environment if unset.
        reader: Further settings of the reader, such as '{"view": "cityscapes"}' for idd.
        split: Split of the data set that holds the video.
        video: Video of the data set; without one, a folder of frames.
        taxonomy: Class table that a folder of frames is labelled with: a name, or a YAML file.
    """

    dataset: str | None = None
    root: str | None = None
    reader: dict[str, Any] = field(default_factory=dict)
    split: str = "val"
    video: str | None = None
    taxonomy: str | None = None

    def loop(self, network: StartNetwork, tuning: TuningSettings) -> VideoLoop:
        """The loop on this video.

        Raises:
            ConfigError: The options contradict each other, or name nothing.
        """
        from thriftseg.annotation import VideoLoop
        from thriftseg.cli.options.reader import ClassData

        if self.dataset is None and (self.video is None or self.taxonomy is None):
            raise ConfigError(
                "no video was named",
                expected="--dataset NAME, or --video DIR with --taxonomy",
                fix="add --taxonomy NAME or classes.yaml" if self.video is not None else None,
            )
        if self.dataset is not None and self.taxonomy is not None:
            raise ConfigError("a data set has its own classes", fix="drop --taxonomy, or --dataset")
        if self.dataset is not None:
            dataset = ClassData(self.dataset, self.root, self.reader).open()
            return VideoLoop(dataset, self.split, self.video, network, tuning, say=say)
        from thriftseg.datasets import FrameFolder
        from thriftseg.taxonomies import TAXONOMIES

        frames = FrameFolder(str(self.video), TAXONOMIES.get(str(self.taxonomy), str(self.taxonomy)))
        return VideoLoop(frames, "all", None, network, tuning, say=say)


@dataclass(frozen=True)
class PersonOptions:
    """Who labels.

    Attributes:
        annotator: The truth, or a person with files.
        exchange: Files of the person.
        work: Folder of the person; <out>/work if unset.
        seconds_per_sample: Working time of the person per sample, where it is known.
    """

    annotator: Literal["simulated", "files"] = "simulated"
    exchange: Literal["png", "coco", "cvat"] = "png"
    work: str | None = None
    seconds_per_sample: float | None = None

    def find(self, loop: VideoLoop, out: Path, simulated: SimulatedPerson) -> Annotator:
        """The person.

        Raises:
            ConfigError: Options of a person were given for a simulated one.
        """
        from thriftseg.annotation import FilesAnnotator

        if self.annotator == "files":
            return FilesAnnotator(
                self.work or out / "work",
                loop.dataset.taxonomy,
                loop.read_frame,
                exchange=self.exchange,
                seconds_per_sample=self.seconds_per_sample,
            )
        for name in ("work", "seconds_per_sample"):
            if getattr(self, name) is not None:
                fix = "add --annotator files"
                raise ConfigError(f"--{name} is about a person", found="--annotator simulated", fix=fix)
        return loop.simulated(simulated)


def run(
    video: VideoOptions,
    network: StartNetwork,
    settings: HVSASettings,
    tuning: TuningSettings,
    person: PersonOptions,
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

    loop = video.loop(network, tuning)
    folder = _folder(out, config_name, loop)
    result = loop.run(settings, person.find(loop, folder, simulated), folder)
    report = write_annotation_report(result.folder, loop.dataset)
    print_table(annotation_table(read_annotation_run(result.folder)))
    print(f"labels {result.store}\nreport {report.page}\nvideo  {report.video}")
    return 0


def _find_budget(
    video: VideoOptions,
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

    loop = video.loop(network, tuning)
    print(find_budget(loop, rounds, simulated, _folder(out, config_name, loop), **options))
    return 0


def _folder(out: str | None, config_name: str, loop: VideoLoop) -> Path:
    from thriftseg.folders import RUNS

    return Path(out) if out is not None else Path(RUNS) / config_name / loop.clip.video
