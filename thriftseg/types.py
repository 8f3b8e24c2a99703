"""Types that cross room borders: clips, samples, label kinds and batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, Protocol, TypedDict

from thriftseg.errors import DatasetError

if TYPE_CHECKING:
    from torch import Tensor

IGNORE_INDEX = 255
"""Train id of pixels without a label: no loss, not scored."""

BACKGROUND = 0
"""Id of pixels without an object."""

INSTANCES_PER_CLASS = 1000
"""Instance maps hold `train_id * INSTANCES_PER_CLASS + k` with k from 1; 0 = no object."""

EMBEDDING_CHANNELS = 256
"""Channels of image embeddings, as SAM and SAM 2 give them."""

SPLITS = ("train", "val", "test")
"""Splits of a data set that names no others."""

Size = tuple[int, int]
"""Height and width in pixels."""


class LabelKind(IntEnum):
    """Where a label came from; travels through batches as an integer.

    Example:
        >>> LabelKind.PROPAGATED.label, LabelKind["CLICKS"].label
        ('propagated', 'clicks')
    """

    MANUAL = 0
    PROPAGATED = 1
    COARSE = 2
    REFINED = 3
    CLICKS = 4
    BOXES = 5
    FILLED = 6
    TEXT = 7

    @property
    def label(self) -> str:
        """Lower-case name, as written in manifests and tables."""
        return self.name.lower()


_LARGEST = 2**62
"""Number of a frame, so that sums of two fit into 64 bits."""


@dataclass(frozen=True)
class Clip:
    """A stretch of video and the label files that came with it.

    Frames are addressed by their native number (the number in the file name), never by list position; gaps
    between numbers are normal. `frame_step` is the distance of adjacent frames in native numbers, so the frame at
    offset `o` from the annotated frame `n` has the number `n + o * frame_step`.

    Attributes:
        video: Identifier, unique within the data set over all splits, usable as a relative folder name.
        frames: Native number to frame file, in increasing order of number.
        labels: Native number to manual label file.
        coarse: Native number to coarse label file (a PNG, or polygons JSON).
        instances: Native number to instance id file.
        frame_step: Native numbers between adjacent frames.
        drive: The recording this clip was cut from; splits that share a drive may leak.

    Raises:
        DatasetError: A number does not fit into 64 bits.

    Example:
        >>> clip = Clip("drive", {n: Path(f"{n}.png") for n in (10, 13, 16)}, {16: Path("16_label.png")}, frame_step=3)
        >>> clip.annotated, clip.number_at(16, offset=-2), clip.offset_of(16, 13), clip.past(16, count=3)
        ((16,), 10, -1.0, [10, 10, 13])
    """

    video: str
    frames: Mapping[int, Path]
    labels: Mapping[int, Path] = field(default_factory=dict)
    coarse: Mapping[int, Path] = field(default_factory=dict)
    instances: Mapping[int, Path] = field(default_factory=dict)
    frame_step: int = 1
    drive: str = ""

    def __post_init__(self) -> None:
        last = max(self.frames, default=0)
        if last > _LARGEST:
            raise DatasetError("number of a frame", path=self.frames[last], expected=f"at most {_LARGEST}", found=last)

    @property
    def annotated(self) -> tuple[int, ...]:
        """Native numbers of the manually labelled frames, increasing."""
        return tuple(sorted(self.labels))

    def number_at(self, annotated: int, offset: int) -> int:
        """Native number of the frame `offset` steps away from the annotated one."""
        return annotated + offset * self.frame_step

    def offset_of(self, annotated: int, number: int) -> float:
        """Signed distance of `number` from the annotated frame, in steps."""
        return (number - annotated) / self.frame_step

    def past(self, number: int, count: int) -> list[int]:
        """The `count` frames before `number`, oldest first; a missing one repeats the next newer frame."""
        numbers: list[int] = []
        newest = number
        for back in range(1, count + 1):
            candidate = number - back * self.frame_step
            newest = candidate if candidate in self.frames else newest
            numbers.append(newest)
        return numbers[::-1]


Frame = tuple[str, int]
"""Video and native frame number, which name a frame of a data set."""

ClipFrame = tuple[Clip, int]
"""A clip and a native frame number."""


@dataclass(frozen=True)
class TrainingSample:
    """One training item: a frame, where its label comes from, and the human actions that label descends from.

    Attributes:
        clip: The clip the frame belongs to.
        number: Native number of the frame to segment.
        annotated: Native number of the manually annotated frame this sample was drawn from.
        source: Source of the label, see `thriftseg.stores.LabelSource`.
        kind: Kind of the label.
        label: Label file, or `None` for labels kept as points.
        points: Clicks as (column, row, train id), for labels kept as points.
        actions: Identifiers of the human actions this label descends from.
        weight: Factor on this sample's loss.
        licences: Licences of the weights that had a part in the label.
        needs_review: Whether nobody has looked at the label yet who should.

    Example:
        >>> clip = Clip("drive", {20: Path("20.png"), 30: Path("30.png")}, frame_step=5)
        >>> sample = TrainingSample(clip, number=20, annotated=30, source="flow", kind=LabelKind.PROPAGATED)
        >>> sample.id, sample.offset
        ('drive/000020', -2)
    """

    clip: Clip
    number: int
    annotated: int
    source: str
    kind: LabelKind
    label: Path | None = None
    points: tuple[tuple[int, int, int], ...] | None = None
    actions: tuple[str, ...] = ()
    weight: float = 1.0
    licences: tuple[str, ...] = ()
    needs_review: bool = False

    @property
    def offset(self) -> int:
        """Signed distance from the annotated frame in steps."""
        return round(self.clip.offset_of(self.annotated, self.number))

    @property
    def id(self) -> str:
        """`video/number`, as used in logs and batches."""
        return f"{self.clip.video}/{self.number:06d}"


class SemanticBatch(TypedDict):
    """A batch for training a semantic network. Shapes: B samples, T frames (the last is the one to segment).

    `frames` is uint8 RGB when it leaves the workers and float in [0, 1] after the transfer to the device.

    Example:
        >>> import torch
        >>> batch = SemanticBatch(
        ...     frames=torch.zeros(1, 3, 3, 4, 6), label=torch.full((1, 4, 6), 255), weight=torch.ones(1),
        ...     kind=torch.tensor([LabelKind.CLICKS]), valid=torch.ones(1, 4, 6, dtype=torch.bool), id=["drive/000030"],
        ... )
        >>> batch["label"][0, 2, 3:5] = 13
        >>> LabelKind(batch["kind"].item()).label, int((batch["label"] != 255).sum()), batch["frames"][:, -1].shape
        ('clicks', 2, torch.Size([1, 3, 4, 6]))
    """

    frames: Tensor  # (B, T, 3, H, W)
    label: Tensor  # (B, H, W) int64 train ids, 255 = ignore
    kind: Tensor  # (B,) LabelKind
    weight: Tensor  # (B,) float
    source: NotRequired[list[str]]  # where the label comes from, see `thriftseg.stores.LabelSource`
    valid: Tensor  # (B, H, W) bool, False on geometric padding
    id: list[str]
    frames_raw: NotRequired[Tensor]  # (B, T, 3, H, W) float in [0, 1], before photometric augmentation
    neighbours: NotRequired[Tensor]  # (B, N, 3, H, W), colours changed like those of `frames`
    neighbours_raw: NotRequired[Tensor]  # (B, N, 3, H, W), before photometric augmentation
    neighbour_past: NotRequired[Tensor]  # (B, N, T - 1, 3, H, W), the frames before each neighbour
    neighbour_offset: NotRequired[Tensor]  # (B, N) int64, steps from the target; absent where these are drawn
    neighbour_flow: NotRequired[Tensor]  # (B, N, 2, H, W) flow target -> neighbour in pixels
    neighbour_valid: NotRequired[Tensor]  # (B, N, H, W) bool, where that is known and stays in the shown part
    neighbour_agrees: NotRequired[Tensor]  # (B, N, H, W) bool, where it passes the forward-backward check
    neighbour_label: NotRequired[Tensor]  # (B, N, H, W) int64
    neighbour_paired: NotRequired[Tensor]  # (B, N) bool, False where the neighbour is only a filler


class StreamBatch(TypedDict):
    """Consecutive frames of videos for evaluation, in playing order.

    A frame that is not `scored` is only predicted, so that the pair ending at the next frame can be scored.

    Example:
        >>> import torch
        >>> truth, flow = torch.tensor([False, True]), torch.zeros(2, 2, 4, 6)
        >>> batch = StreamBatch(
        ...     frames=torch.zeros(2, 1, 3, 4, 6), label=torch.full((2, 4, 6), 255), video=["drive", "drive"],
        ...     scored=truth, labelled=truth, paired=truth, flow_backward=flow, flow_forward=flow,
        ...     number=torch.tensor([29, 30]), position=torch.tensor([0, 1]), id=["drive/000029", "drive/000030"],
        ... )
        >>> [name for name, scored in zip(batch["id"], batch["scored"], strict=True) if scored]
        ['drive/000030']
    """

    frames: Tensor  # (B, T, 3, H, W)
    label: Tensor  # (B, H, W) int64 train ids, 255 everywhere where there is no label
    scored: Tensor  # (B,) bool: count this frame's label
    labelled: Tensor  # (B,) bool: the frame has a label file
    paired: Tensor  # (B,) bool: the previous item is the previous frame of the same video and the pair is scored
    flow_backward: Tensor  # (B, 2, H, W) flow t -> t-1; zeros where not paired
    flow_forward: Tensor  # (B, 2, H, W) flow t-1 -> t; zeros where not paired
    video: list[str]
    number: Tensor  # (B,) native frame numbers
    position: Tensor  # (B,) place of the frame among those of its clip, from 0
    id: list[str]


class VideoFrameBatch(TypedDict):
    """Consecutive frames of one video, to be predicted.

    Example:
        >>> import torch
        >>> frames, number = torch.stack([torch.zeros(1, 3, 4, 6), torch.ones(1, 3, 4, 6)]), torch.tensor([60, 63])
        >>> batch = VideoFrameBatch(frames=frames, number=number, position=torch.arange(2), id=["drive/60", "drive/63"])
        >>> brightness = batch["frames"][:, -1].mean((1, 2, 3))
        >>> dict(zip(batch["number"].tolist(), brightness.tolist(), strict=True))
        {60: 0.0, 63: 1.0}
    """

    frames: Tensor  # (B, T, 3, H, W)
    number: Tensor  # (B,) native frame numbers
    position: Tensor  # (B,) place of the frame in the video, from 0
    id: list[str]


class VOSBatch(TypedDict):
    """A batch of short clips for training a network that follows objects. Shapes: B clips, T frames.

    Every clip numbers its own objects from 1; clips of a batch may have different counts. `frames` is uint8 RGB when it
    leaves the workers and float in [0, 1] after the transfer to the device.

    Example:
        >>> import torch
        >>> masks = torch.zeros(1, 2, 4, 6, dtype=torch.long)
        >>> masks[0, :, 1:3, 1:3], masks[0, 1, 3] = 2, 1
        >>> batch = VOSBatch(
        ...     frames=torch.zeros(1, 2, 3, 4, 6), masks=masks, num_objects=torch.tensor([2]), object_ids=[[5, 9]],
        ...     valid=torch.ones(1, 4, 6, dtype=torch.bool), weight=torch.ones(1), id=["bear/000000"],
        ... )
        >>> {name: int((batch["masks"][0, 1] == k).sum()) for k, name in enumerate(batch["object_ids"][0], start=1)}
        {5: 6, 9: 4}
    """

    frames: Tensor  # (B, T, 3, H, W)
    masks: Tensor  # (B, T, H, W) int64 object numbers, 0 = background, 255 = ignore
    num_objects: Tensor  # (B,) int64, on the CPU; at least 1
    object_ids: list[list[int]]  # ids in the files of the objects 1, 2, ... of each clip
    valid: Tensor  # (B, H, W) bool, False on geometric padding, where the masks are 255
    weight: Tensor  # (B,) float
    id: list[str]


class VOSFrame(NamedTuple):
    """A frame of a video in which objects are followed.

    Attributes:
        name: Name of its files, without ending.
        image: (3, H, W) uint8 RGB.
        given: (H, W) int64 ids of the objects that appear on this frame, 255 = ignore; `None` where none appears.
        ids: The objects that appear.
        scored: A prediction is asked for.
        truth: (h, w) ids at the size of the files, where the frame is scored and its mask is known.

    Example:
        >>> import torch
        >>> given = torch.zeros(4, 6, dtype=torch.long)
        >>> given[1:3, 1:4] = 7
        >>> frame = VOSFrame("00000", torch.zeros(3, 4, 6, dtype=torch.uint8), given, ids=(7,))
        >>> [int((frame.given == object_id).sum()) for object_id in frame.ids], frame.scored
        ([6], False)
    """

    name: str
    image: Tensor
    given: Tensor | None = None
    ids: tuple[int, ...] = ()
    scored: bool = False
    truth: Tensor | None = None


class VOSVideo(Protocol):
    """A whole video whose frames are read when they are asked for; the item of evaluation.

    Attributes:
        video: Its name; empty for a stand-in without frames, which keeps processes in step.
        size: Height and width of its files.
        seen: Whether the category of an object occurs in training, where that is known.

    Example:
        >>> import torch
        >>> class Grey:
        ...     video, size, seen = "grey", (4, 6), {}
        ...     def __iter__(self):
        ...         image = torch.zeros(3, 4, 6, dtype=torch.uint8)
        ...         yield from (VOSFrame(f"{number:05d}", image, scored=number > 0) for number in range(3))
        >>> video: VOSVideo = Grey()
        >>> [frame.name for frame in video if frame.scored]
        ['00001', '00002']
    """

    video: str
    size: tuple[int, int]
    seen: Mapping[int, bool]

    def __iter__(self) -> Iterator[VOSFrame]:
        """The frames in playing order."""


class BoxBatch(TypedDict):
    """A batch for training a network that turns boxes into masks: the surroundings of one object each.

    `frames` is uint8 RGB when it leaves the workers and float in [0, 1] after the transfer to the device.

    Example:
        >>> import torch
        >>> boxes = torch.zeros(1, 4, 6, dtype=torch.uint8)
        >>> boxes[0, 1:3, 1:5] = 1
        >>> target = boxes.long()
        >>> target[0, 1, 1] = 0
        >>> batch = BoxBatch(
        ...     frames=torch.zeros(1, 3, 4, 6), boxes=boxes, target=target, weight=torch.ones(1), id=["bear/000000/1"]
        ... )
        >>> int((batch["target"] == 1).sum()) / int(batch["boxes"].sum())
        0.875
    """

    frames: Tensor  # (B, 3, H, W)
    boxes: Tensor  # (B, H, W) uint8, 1 in the box
    target: Tensor  # (B, H, W) int64, 1 on the object, 0 beside it, 255 = ignore
    weight: Tensor  # (B,) float
    id: list[str]


class QualityBatch(TypedDict):
    """A batch for training a network that judges masks: a frame and the mask of one object in it.

    `frames` is uint8 RGB when it leaves the workers and float in [0, 1] after the transfer to the device.

    Example:
        >>> import torch
        >>> frames, masks = torch.zeros(2, 3, 4, 6), torch.zeros(2, 4, 6, dtype=torch.uint8)
        >>> quality, names = torch.tensor([0.75, torch.nan]), ["bear/001/00/000000", ""]
        >>> batch = QualityBatch(frames=frames, masks=masks, quality=quality, id=names)
        >>> [name for name, blank in zip(batch["id"], batch["quality"].isnan(), strict=True) if not blank]
        ['bear/001/00/000000']
    """

    frames: Tensor  # (B, 3, H, W)
    masks: Tensor  # (B, H, W) uint8, 1 on the object
    quality: Tensor  # (B,) float in [0, 1]; NaN on blank items, which keep processes in step
    id: list[str]


class AnnotationState(NamedTuple):
    """What somebody who chooses how to annotate an object in a frame looks at.

    Attributes:
        id: Name of the image; equal ids have equal images, so that each is embedded once.
        image: (3, H, W) uint8 RGB, or its embedding (256, h, w) float.
        mask: Mask of the object so far, (h, w) uint8, 1 on the object, at the size that networks read.
        seconds: Time spent on it so far.

    Example:
        >>> import torch
        >>> mask = torch.zeros(224, 224, dtype=torch.uint8)
        >>> state = AnnotationState("bear/000015", torch.zeros(3, 48, 80, dtype=torch.uint8), mask, seconds=0.0)
        >>> clicked = state._replace(mask=mask + 1, seconds=state.seconds + 2.5)
        >>> clicked.id == state.id, int(clicked.mask.sum()), clicked.seconds
        (True, 50176, 2.5)
    """

    id: str
    image: Tensor
    mask: Tensor
    seconds: float


class AnnotationEnvironment(Protocol):
    """The annotation of one object in one frame, action by action; shaped like an environment of Gymnasium [0].

    `reset` and `step` return a dict with `quality`, that of the mask in [0, 1].

    [0] https://gymnasium.farama.org

    Attributes:
        num_actions: Number of ways to annotate.

    Example:
        >>> import torch
        >>> state = AnnotationState("bear/000015", torch.zeros(3, 48, 80), torch.zeros(224, 224), 0.0)
        >>> class TwoClicks:
        ...     num_actions = 1
        ...     def reset(self, seed=None):
        ...         self.clicks = 0
        ...         return state, {"quality": 0.0}
        ...     def step(self, action):
        ...         self.clicks += 1
        ...         return state, 0.5, self.clicks == 2, False, {"quality": self.clicks / 2}
        >>> environment: AnnotationEnvironment = TwoClicks()
        >>> environment.reset()[1], environment.step(0)[4], environment.step(0)[2:]
        ({'quality': 0.0}, {'quality': 0.5}, (True, False, {'quality': 1.0}))
    """

    num_actions: int

    def reset(self, seed: int | None = None) -> tuple[AnnotationState, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: Of whatever is random in it.

        Returns:
            First state, and the dict.
        """

    def step(self, action: int) -> tuple[AnnotationState, float, bool, bool, dict[str, Any]]:
        """Annotate.

        Args:
            action: Way to annotate, from 0.

        Returns:
            Next state, reward, whether the annotation is finished, whether it was cut off, and the dict.
        """


class EpisodeBatch(TypedDict):
    """Environments for training or scoring somebody who chooses how to annotate.

    Example:
        >>> import random
        >>> class OneGuess:
        ...     num_actions = 2
        ...     def reset(self, seed=None):
        ...         self.right = random.Random(seed).randrange(2)
        ...         return None, {"quality": 0.0}
        ...     def step(self, action):
        ...         return None, float(action == self.right), True, False, {"quality": 1.0}
        >>> batch = EpisodeBatch(environments=[OneGuess(), OneGuess()], seeds=[3, 5])
        >>> for environment, seed in zip(batch["environments"], batch["seeds"], strict=True):
        ...     _ = environment.reset(seed)
        ...     environment.step(1)[1]
        0.0
        1.0
    """

    environments: list[AnnotationEnvironment]
    seeds: list[int]  # of everything random in the episode of each
