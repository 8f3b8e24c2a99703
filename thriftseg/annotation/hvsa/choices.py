"""What names the video and the person of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from thriftseg.annotation.hvsa.video import SimulatedPerson, StartNetwork, TuningSettings, VideoLoop
from thriftseg.annotation.people.label_files import FilesAnnotator
from thriftseg.annotation.people.requests import Annotator
from thriftseg.datasets import FrameFolder, create
from thriftseg.errors import ConfigError
from thriftseg.taxonomies import TAXONOMIES


@dataclass(frozen=True)
class VideoChoice:
    """The video.

    Attributes:
        dataset: Data set that holds it: cityscapes, camvid, idd, veis, scenenet or folder.
        root: Folder of the data; that of the environment if unset.
        reader: Further settings of the reader, such as '{"view": "cityscapes"}' for idd.
        split: Split of the data set that holds the video.
        video: Video of the data set; without one, a folder of frames.
        taxonomy: Class table that a folder of frames is labelled with: a name, or a YAML file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in (3, 4): Path(folder, f"{number}.png").touch()
        ...     loop = VideoChoice(video=folder, taxonomy="camvid").loop(StartNetwork(), TuningSettings())
        ...     list(loop.clip.frames), loop.dataset.taxonomy.num_classes
        ([3, 4], 11)
    """

    dataset: str | None = None
    root: str | None = None
    reader: dict[str, Any] = field(default_factory=dict)
    split: str = "val"
    video: str | None = None
    taxonomy: str | None = None

    def loop(
        self, network: StartNetwork, tuning: TuningSettings, say: Callable[[str], None] = lambda text: None
    ) -> VideoLoop:
        """The loop on this video.

        Args:
            network: The network to start from.
            tuning: How it is tuned.
            say: Called with a line after each step.

        Raises:
            ConfigError: The options contradict each other, or name nothing.
        """
        if self.dataset is None and (self.video is None or self.taxonomy is None):
            raise ConfigError(
                "no video was named",
                expected="--dataset NAME, or --video DIR with --taxonomy",
                fix="add --taxonomy NAME or classes.yaml" if self.video is not None else None,
            )
        if self.dataset is not None and self.taxonomy is not None:
            raise ConfigError("a data set has its own classes", fix="drop --taxonomy, or --dataset")
        if self.dataset is not None:
            dataset = create(self.dataset, self.root, **self.reader)
            say(dataset.describe_root())
            return VideoLoop(dataset, self.split, self.video, network, tuning, say)
        frames = FrameFolder(str(self.video), TAXONOMIES.get(str(self.taxonomy), str(self.taxonomy)))
        return VideoLoop(frames, "all", None, network, tuning, say)

    def loops(
        self, network: StartNetwork, tuning: TuningSettings, say: Callable[[str], None] = lambda text: None
    ) -> list[VideoLoop]:
        """The loop on each video of the split; see `loop`.

        Args:
            network: The network to start from.
            tuning: How it is tuned.
            say: Called with a line after each step.

        Raises:
            ConfigError: A video is named, or nothing is.
        """
        if self.video is not None:
            raise ConfigError("all videos, or one of them?", found=f"video {self.video!r}", fix="drop one of the two")
        dataset = self.loop(network, tuning, say).dataset
        clips = dataset.clips(self.split)
        return [VideoLoop(dataset, self.split, clip.video, network, tuning, say) for clip in clips]


@dataclass(frozen=True)
class PersonChoice:
    """Who labels.

    Attributes:
        annotator: The truth, a person with files, or a person on a page in the browser.
        exchange: Files of the person.
        work: Folder of the person; <out>/work if unset.
        seconds_per_sample: Working time of the person per sample, where it is known.

    Example:
        >>> PersonChoice("files").folder("run").as_posix(), PersonChoice("files", work="desk").folder("run").as_posix()
        ('run/work', 'desk')
    """

    annotator: Literal["simulated", "files", "page"] = "simulated"
    exchange: Literal["png", "coco", "cvat"] = "png"
    work: str | None = None
    seconds_per_sample: float | None = None

    def folder(self, out: str | Path) -> Path:
        """Folder of the person.

        Args:
            out: Folder of the run.
        """
        return Path(self.work or Path(out) / "work")

    def find(self, loop: VideoLoop, out: str | Path, simulated: SimulatedPerson) -> Annotator:
        """The person.

        Args:
            loop: The loop on the video.
            out: Folder of the run.
            simulated: How a simulated person labels.

        Raises:
            ConfigError: Options of a person were given for a simulated one.
        """
        if self.annotator == "page" and self.exchange != "png":
            raise ConfigError("the page leaves PNG files", found=f"--exchange {self.exchange}", fix="leave it out")
        if self.annotator != "simulated":
            return FilesAnnotator(
                self.folder(out),
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
