"""The loop on all videos of a split, and scores over all of them together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from thriftseg.annotation.hvsa.folder import RESULT
from thriftseg.annotation.hvsa.loop import HVSAResult
from thriftseg.annotation.hvsa.settings import HVSASettings
from thriftseg.annotation.hvsa.survey import scored_frames
from thriftseg.annotation.hvsa.video import VideoLoop
from thriftseg.annotation.people.requests import Annotator
from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.errors import ConfigError, WaitingForLabels
from thriftseg.folders import writes_alone
from thriftseg.metrics import VideoScores
from thriftseg.stores import LabelStore

MASKS = "masks"
"""Folder of the label maps of all videos, `<video>/<frame>.png`, as `thriftseg evaluate` reads them."""


@dataclass(frozen=True)
class AllVideosResult:
    """What runs on several videos led to.

    Attributes:
        runs: Result by video.
        masks: Folder of all label maps.
        scores: `miou`, `pixel_accuracy`, `boundary_iou` and `tc` of these, pooled over all videos.
        cost: What was bought in all.

    Example:
        >>> result = AllVideosResult({}, Path("out/masks"), {"miou": 0.81, "tc": 0.9}, AnnotationCost(5400, clicks=900))
        >>> f"{100 * result.scores['miou']:.1f} % for {result.cost.hours:.1f} h"
        '81.0 % for 1.5 h'
    """

    runs: Mapping[str, HVSAResult]
    masks: Path
    scores: Mapping[str, float]
    cost: AnnotationCost


@writes_alone("out")
def annotate_videos(
    loops: Iterable[VideoLoop],
    settings: HVSASettings,
    person: Callable[[VideoLoop, Path], Annotator],
    out: str | Path,
) -> AllVideosResult:
    """Label all frames of several videos of a data set, each with the budget of the settings.

    The run of a video goes to a folder of its name. Runs that were stopped go on, and finished ones are read. A real
    person is asked about all videos before the call waits.

    Args:
        loops: The videos.
        settings: How the labels are bought.
        person: Who labels, by the video and the folder of its run.
        out: Folder to write.

    Raises:
        ConfigError: There is no video, or a setting is out of range.
        WaitingForLabels: A real person has to label something first; call again after that.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from thriftseg.annotation import FilesAnnotator, StartNetwork
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> start = StartNetwork(None, "deeplabv3plus", {"backbone": "tu-test_resnet", "decoder_channels": 8})
        >>> person = lambda loop, out: FilesAnnotator(out / "work", loop.dataset.taxonomy, loop.read_frame)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     for number in range(2):
        ...         write_label_png(f"{root}/val/drive/frames/{number}.png", np.zeros((32, 48), np.uint8))
        ...     loops, settings = [VideoLoop(Folder(root), "val", network=start)], HVSASettings(rounds=1, budget="50%")
        ...     annotate_videos(loops, settings, person, f"{root}/run")
        Traceback (most recent call last):
        thriftseg.errors.WaitingForLabels: 1 videos wait for labels; fix: label them as instructions.md there says, ...
    """
    root, runs = Path(out), dict[str, HVSAResult]()
    scores: VideoScores | None = None
    waiting: list[WaitingForLabels] = []
    for loop in loops:
        video = loop.clip.video
        try:
            runs[video] = result = loop.run(settings, person(loop, root / video), root / video)
        except WaitingForLabels as error:
            waiting.append(error)
            loop.data = None
            continue
        if loop.data is None:
            raise RuntimeError(f"{video} was not labelled")
        store = LabelStore(result.store, RESULT, loop.dataset.taxonomy)
        for number in loop.data.numbers:
            content = store.path_of(video, number).read_bytes()
            write_bytes(root / MASKS / video / f"{loop.clip.frames[number].stem}.png", content)
        scores = scores or VideoScores(loop.dataset.taxonomy.num_classes)
        scores.add(scored_frames(loop.data, ((number, store.read(video, number)) for number in loop.data.numbers)))
        loop.data = None  # its frames and flow are in memory
    if waiting:
        places = "\n".join(f"  {error.path}" for error in waiting)
        raise WaitingForLabels(f"{len(waiting)} videos wait for labels", fix=waiting[0].fix, detail=places)
    if scores is None:
        raise ConfigError("no video to label", expected="one or more", found="none")
    cost = sum((result.cost for result in runs.values()), AnnotationCost())
    return AllVideosResult(runs, root / MASKS, scores.compute(), cost)
