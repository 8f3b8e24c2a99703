"""A real person who annotates objects of videos in a folder: draws masks as PNG, or writes clicks into JSON.

    <folder>/instructions.md
    <folder>/<video>/<object:03d>/<round:02d>_<frame:06d>/
        frame.png      the frame
        current.png    the frame with the mask so far in colour
        mask.png       where a mask is asked for: the mask so far, 1 on the object, to be painted over
        task.json      what is asked for; place for `clicks`, `absent`, `seconds` and `done`

The folder is all there is: nothing that exists is written again, and answers are read whenever the same is asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
from msgspec import structs

from thriftseg.annotation.eva_vos.objects import ObjectVideo
from thriftseg.annotation.people.mask_clicker import by_score, limits_of, price_of, rebuild_mask
from thriftseg.annotation.people.masks import AnnotationKind, MaskAnnotation, MaskClick
from thriftseg.annotation.people.task_file import INSTRUCTIONS, TASK_FILE, other_run
from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import PALETTE, encode_frame, read_label_png, write_label_png
from thriftseg.drawing import blend
from thriftseg.errors import ConfigError, DatasetError, WaitingForLabels
from thriftseg.labels import NumCandidates, Prompter
from thriftseg.parsing import Amount, Finite, read_json

_SCHEMA = 1
_OBJECT_COLOR = (0, 220, 60)
_TEXT = """# Objects to annotate

Every folder here shows one object in one frame: `frame.png`, and `current.png` with the mask so far in green. What to
do is the `type` in `task.json`:

- `mask`: paint `mask.png` (one channel: 1 on the object, 0 elsewhere) and save it as it is.
- `clicks`: write {clicks} clicks, or another number of them, into `clicks` of `task.json`: `[column, row, 1]` where the
  object is missing from the mask, `[column, row, 0]` where the mask is wrong. Pixels count from 0 at the top left.

If the object is not in the frame, set `absent` to true instead. If you stop the time, write it into `seconds`. Then set
`done` to true, and run the same command again.
"""


_Click = tuple[Finite, Finite, bool]


class AskedAnnotation(msgspec.Struct):
    """A task file: what is asked for, and what the person says.

    Attributes:
        schema: Version of the file.
        video: Name of the video.
        object: Id of the object.
        frame: Native frame number.
        type: "mask" or "clicks".
        clicks: Column, row, and whether the object is there.
        absent: Whether the object is not in the frame.
        seconds: Working time, where it was measured.
        done: Whether the answer is finished.
    """

    schema: int
    video: str
    object: int
    frame: int
    type: str
    clicks: list[_Click]
    absent: bool
    seconds: Amount | None
    done: bool


class MaskFilesPerson:
    """A real person; clicks become masks by a prompter, whose score chooses between its candidates.

    The first mask of an object is that of the data set: it says which object is meant, and costs as much as a drawn
    one. An annotation costs the seconds that the person has noted, else those of the cost model.

    Args:
        folder: Where the tasks lie.
        prompter: Makes masks of clicks.
        cost_model: Prices the work; see `ClickPerson`.
        clicks: Clicks that are asked for.
        candidates: Masks that the prompter offers each time; see `limits_of` for the default.
        rebuild_clicks: Most clicks that describe the mask so far to the prompter; see `limits_of` for the default.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> from thriftseg.annotation import list_objects
        >>> from thriftseg.labels import GrabCutPrompter
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=1, val_clips=0, frames=2, height=32, width=48)
        ...     person = MaskFilesPerson(f"{root}/work", GrabCutPrompter())
        ...     for video in list_objects(datasets.DAVIS(root), "train").videos:
        ...         person.annotate(video, 1, "mask", video.truth(0), round=1)
        Traceback (most recent call last):
        thriftseg.errors.WaitingForLabels: ...: object 1 of scene-train-000 is not annotated yet in frame 1; ...
    """

    needs_truth: ClassVar[bool] = False

    def __init__(
        self,
        folder: str | Path,
        prompter: Prompter,
        cost_model: CostModel | None = None,
        *,
        clicks: int = 3,
        candidates: NumCandidates | None = None,
        rebuild_clicks: int | None = None,
    ) -> None:
        if clicks < 1:
            raise ConfigError("clicks of an annotation", expected="1 or more", found=clicks)
        self._folder, self._prompter, self._clicks = Path(folder), prompter, clicks
        self._costs = cost_model or CostModel.named("polygon")  # both models have the same times for objects
        self._limits = limits_of(prompter, candidates, rebuild_clicks)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that annotations depend on."""
        prompter = {"name": self._prompter.name, **self._prompter.arguments}
        return {"annotator": "files", "prompter": prompter, "clicks": self._clicks, **self._limits._asdict()}

    def price(self, kind: AnnotationKind) -> AnnotationCost:
        """What an annotation is expected to cost."""
        return price_of(self._costs, kind, self._clicks)

    def annotate(
        self, video: ObjectVideo, place: int, kind: AnnotationKind, current: BoolArray, round: int
    ) -> MaskAnnotation:
        """Read an annotation from its folder, which is made at the first time; see `MaskAnnotator.annotate`.

        Raises:
            WaitingForLabels: It is not done yet.
            DatasetError: A file is malformed or does not fit the frame, or the folder asks for something else.
            ConfigError: Something else than a mask or clicks is asked for.
        """
        if kind not in ("mask", "clicks"):
            raise ConfigError("a person with files draws masks or clicks", found=kind)
        if not round:
            return MaskAnnotation("mask", video.truth(place), self.price("mask"))
        number = video.numbers[place]
        folder = self.prepare(video, place, kind, current, round)
        path, asked = folder / TASK_FILE, _asked(video, number, kind)
        task = read_json(path, AskedAnnotation, lax=True)
        found = {key: getattr(task, key) for key in asked}
        if found != asked:
            raise other_run(path, "another annotation", asked, found)
        if not task.done:
            raise WaitingForLabels(
                f"object {video.object_id} of {video.video} is not annotated yet in frame {number}",
                path=folder,
                fix=f"annotate it as {self._folder / INSTRUCTIONS} says, then run the same command again",
            )
        if task.absent:
            answer = MaskAnnotation("absent", np.zeros(video.size, np.bool_), self.price("absent"))
        elif kind == "mask":
            answer = MaskAnnotation("mask", _read_mask(folder / "mask.png", video.size), self.price("mask"))
        else:
            answer = self._clicked(_clicks_of(path, task.clicks, video.size), video.frame(place), current)
        if task.seconds is None:
            return answer
        return replace(answer, cost=structs.replace(answer.cost, seconds=task.seconds))

    def prepare(self, video: ObjectVideo, place: int, kind: AnnotationKind, current: BoolArray, round: int) -> Path:
        """Ask for an annotation, unless it has been asked for; arguments as for `annotate`. Returns its folder."""
        number = video.numbers[place]
        folder = self._folder / video.video / f"{video.object_id:03d}" / f"{round:02d}_{number:06d}"
        if not (folder / TASK_FILE).exists():  # written last
            frame = video.frame(place)
            instructions = self._folder / INSTRUCTIONS
            if not instructions.exists():
                write_bytes(instructions, _TEXT.format(clicks=self._clicks).encode())
            overlay = blend(frame, np.where(current, np.uint8(0), np.uint8(255)), [_OBJECT_COLOR])
            write_bytes(folder / "frame.png", encode_frame(frame, ".png"))
            write_bytes(folder / "current.png", encode_frame(overlay, ".png"))
            if kind == "mask":
                write_label_png(folder / "mask.png", current.view(np.uint8), PALETTE)
            task = {**_asked(video, number, kind), "clicks": [], "absent": False, "seconds": None, "done": False}
            write_bytes(folder / TASK_FILE, (json.dumps(task, indent=1) + "\n").encode())
        return folder

    def _clicked(self, clicks: tuple[MaskClick, ...], frame: UInt8Array, current: BoolArray) -> MaskAnnotation:
        prompted = rebuild_mask(self._prompter.embed(frame), current, *self._limits)
        free, mask = len(prompted.clicks), current
        for click in clicks:
            mask = prompted.add(click, by_score)
        return MaskAnnotation("clicks", mask, price_of(self._costs, "clicks", len(clicks)), clicks, free)


def _asked(video: ObjectVideo, number: int, kind: AnnotationKind) -> dict[str, Any]:
    """What a task says about itself."""
    return {"schema": _SCHEMA, "video": video.video, "object": video.object_id, "frame": number, "type": kind}


def _read_mask(path: Path, size: tuple[int, int]) -> BoolArray:
    ids = read_label_png(path)
    if ids.shape != size or not np.isin(ids, (0, 1)).all():
        raise DatasetError(
            "not the mask of an object",
            path=path,
            expected=f"{size[1]}x{size[0]} pixels of 0 and 1",
            found=f"{ids.shape[1]}x{ids.shape[0]} pixels of {np.unique(ids)[:10].tolist()}",
            fix="paint with 1 and save one channel, or delete the folder to start anew",
        )
    if not ids.any():
        raise DatasetError("the mask is empty", path=path, fix=f"paint it, or set absent to true in {TASK_FILE}")
    return np.equal(ids, 1)


def _clicks_of(path: Path, rows: Sequence[_Click], size: tuple[int, int]) -> tuple[MaskClick, ...]:
    clicks = tuple(MaskClick(int(x), int(y), positive) for x, y, positive in rows)
    outside = [click for click in clicks if not (0 <= click.x < size[1] and 0 <= click.y < size[0])]
    if outside or not clicks:
        expected = f"clicks inside of {size[1]}x{size[0]} pixels"
        raise DatasetError("wrong clicks", path=path, expected=expected, found=outside or "none")
    return clicks
