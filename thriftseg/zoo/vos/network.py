"""The contract of networks for video object segmentation, and streaming made of memorising and segmenting."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.zoo.network import Network
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.vos.aggregation import aggregate, probabilities
from thriftseg.zoo.vos.memory import Memory, MemoryPolicy
from thriftseg.zoo.vos.objects import ObjectRows


@dataclass(frozen=True)
class VOSState(StreamState):
    """Memory of a `MemoryNetwork` between two frames of a batch of videos.

    Attributes:
        memory: Remembered frames and the objects in them.
        index: Number of the next frame.

    Example:
        >>> state = VOSState(Memory(MemoryPolicy(every=2)), index=3)
        >>> len(state.memory), state.memory.policy.keeps(state.index, annotated=False)
        (0, False)
    """

    memory: Memory = field(default_factory=lambda: Memory(MemoryPolicy()))
    index: int = 0


class VOSNetwork(Network, ABC):
    """Follows given objects through a video.

    Objects live in channels: channel k of the masks is channel k + 1 of the logits, whose channel 0 is the background.
    `ObjectIds` translates channels from and to the ids of label maps, `ObjectTracker` does so for a whole video.
    `MemoryNetwork` makes all of this out of two methods; a network with a memory of its own implements it as it is.

    Example:
        >>> from thriftseg.zoo import STM
        >>> network, frame = STM("resnet18", decoder_channels=8).eval(), torch.zeros(1, 3, 32, 48)
        >>> logits, state = network.step(frame, network.start(), torch.zeros(1, 2, 32, 48))  # two objects are given
        >>> network.step(frame, state)[0].shape
        torch.Size([1, 3, 32, 48])
    """

    kind = "vos"

    @abstractmethod
    def forward(
        self,
        frames: Tensor,
        masks: Tensor,
        num_objects: Tensor | None = None,
        detach_feedback: bool = False,
        remember_all: bool = False,
    ) -> Tensor:
        """Stream clips whose first frame is annotated; differentiable, for training and for testing.

        Args:
            frames: (B, T, 3, H, W) normalised, of any height and width.
            masks: (B, N, H, W) of the first frame, in [0, 1]; zero where the label is ignored.
            num_objects: (B,) number of objects of each clip, in its first channels; N everywhere by default. A tensor
                on the CPU spares a GPU the wait.
            detach_feedback: Memorise predictions as if they were given, so that no gradient flows through them.
            remember_all: Remember every frame of the clip instead of those that would be remembered in a video: the few
                frames of a clip for training stand for frames far apart.

        Returns:
            Logits (B, T, 1 + N, H, W), background first. Those of the first frame state the given masks; channels
            without an object have the constant logit -16.118.

        Raises:
            ConfigError: The shapes do not agree, or a clip has more objects than channels.
        """

    @abstractmethod
    def start(self) -> StreamState:
        """The state before the first frame of a batch of videos."""

    @abstractmethod
    def step(
        self, frame: Tensor, state: StreamState, masks: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, StreamState]:
        """Segment the next frame of a batch of videos.

        Masks may be given on any frame: for objects that appear, in channels not used so far, or to correct objects
        that are followed already. They take their pixels from all other objects and are memorised as they are. Until
        the first object appears, everything is background. The result equals `forward` on the frames so far.

        Args:
            frame: (B, 3, H, W) normalised.
            state: From `start` or from the previous step; it is not changed.
            masks: (B, N, H, W) in [0, 1], given on this frame.
            given: (B, N) bool, the channels of `masks` that are meant, all by default. A given mask may be empty: the
                object is not visible here.

        Returns:
            Logits (B, 1 + N, H, W), background first, with as many channels as there were masks so far, and the new
            state.

        Raises:
            ConfigError: The shapes do not agree.
        """


class MemoryNetwork(VOSNetwork):
    """Follows objects by a memory of frames.

    A subclass implements `memorise` and `segment`; this class makes streaming and training on clips out of them.

    Args:
        memory_every: Remember every such frame.
        max_memory_frames: Largest number of remembered frames; see `Memory` for what is forgotten first.
        remember_previous: Remember the previous frame as well.

    Attributes:
        memory_policy: The rule for the memory; may be set to another one, the next `start` takes it.

    Raises:
        ConfigError: The memory has no room for two frames, or the step is not positive.

    Example:
        >>> class Still(MemoryNetwork):
        ...     def memorise(self, frame, masks, rows):
        ...         return (rows.gather(masks),)
        ...     def segment(self, frame, memory):
        ...         return aggregate(memory.rows.scatter(memory.frames[-1].features[0], len(frame)))
        >>> network, frame = Still(), torch.zeros(1, 3, 1, 4)
        >>> logits, state = network.step(frame, network.start(), torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]]))
        >>> network.step(frame, state)[0].argmax(dim=1).tolist(), len(state.memory)
        ([[[1, 1, 0, 0]]], 1)
    """

    def __init__(self, memory_every: int = 5, max_memory_frames: int = 32, remember_previous: bool = True) -> None:
        super().__init__()
        self.memory_policy = MemoryPolicy(memory_every, max_memory_frames, remember_previous)

    @abstractmethod
    def memorise(self, frame: Tensor, masks: Tensor, rows: ObjectRows) -> tuple[Tensor, ...]:
        """Encode a frame with the masks of its objects.

        Args:
            frame: (B, 3, H, W) normalised.
            masks: (B, N, H, W) in [0, 1], soft or hard; channels without a row are not read.
            rows: The M objects there are.

        Returns:
            Tensors (M, ...) for `Memory.added`, one row per object.
        """

    @abstractmethod
    def segment(self, frame: Tensor, memory: Memory) -> Tensor:
        """Find the remembered objects in a frame.

        Args:
            frame: (B, 3, H, W) normalised.
            memory: At least one frame with at least one object.

        Returns:
            Logits (B, 1 + N, H, W) with N = `memory.rows.channels`, as `aggregate` makes them: -16.118 where a video
            does not have an object.
        """

    def forward(
        self,
        frames: Tensor,
        masks: Tensor,
        num_objects: Tensor | None = None,
        detach_feedback: bool = False,
        remember_all: bool = False,
    ) -> Tensor:
        """See `VOSNetwork.forward`; the probabilities that are predicted are memorised, not their argmax."""
        if frames.ndim != 5:
            raise ConfigError("wrong shape of a clip", expected="(B, T, 3, H, W)", found=tuple(frames.shape))
        policy = MemoryPolicy(every=1, max_frames=max(2, frames.shape[1])) if remember_all else self.memory_policy
        state = VOSState(Memory(policy))
        given = None
        if num_objects is not None:
            channels = masks.shape[1]
            if num_objects.shape != masks.shape[:1] or bool((num_objects > channels).any()):
                raise ConfigError(
                    "wrong numbers of objects",
                    expected=f"{masks.shape[0]} numbers up to {channels}",
                    found=num_objects.tolist(),
                )
            given = torch.arange(channels, device=num_objects.device) < num_objects.unsqueeze(1)
        clip = []
        for index, frame in enumerate(frames.unbind(dim=1)):
            first = index == 0
            logits, objects, memory = self._decide(frame, state.memory, masks if first else None, given)
            clip.append(logits)
            if index + 1 < frames.shape[1]:
                feedback = objects.detach() if detach_feedback else objects
                state = self._remember(frame, feedback, memory, index, annotated=first)
        return torch.stack(clip, dim=1)

    def start(self) -> VOSState:
        """The state before the first frame of a batch of videos."""
        return VOSState(Memory(self.memory_policy))

    def step(
        self, frame: Tensor, state: StreamState, masks: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, VOSState]:
        """See `VOSNetwork.step`."""
        if not isinstance(state, VOSState):
            raise ConfigError("the state of another network", found=type(state).__name__, fix="call start() first")
        logits, objects, memory = self._decide(frame, state.memory, masks, given)
        return logits, self._remember(frame, objects, memory, state.index, annotated=masks is not None)

    def _decide(
        self, frame: Tensor, memory: Memory, masks: Tensor | None, given: Tensor | None
    ) -> tuple[Tensor, Tensor, Memory]:
        """Logits, probabilities of the objects, and the memory with room for the objects of this frame."""
        _check_frame(frame, memory)
        if memory.frames:
            logits = self.segment(frame, memory)
        else:
            logits = aggregate(frame.new_zeros(frame.shape[0], memory.rows.channels, *frame.shape[-2:]))
        if masks is None:
            return logits, probabilities(logits), memory
        given = torch.ones(masks.shape[:2], dtype=torch.bool) if given is None else given
        _check_masks(frame, masks, given)
        memory = memory.with_rows(memory.rows.union(ObjectRows.given(given)))
        missing = memory.rows.channels - masks.shape[1]
        objects = F.pad(logits[:, 1:].sigmoid(), (0, 0, 0, 0, 0, memory.rows.channels - logits.shape[1] + 1))
        masks = F.pad(masks.to(logits), (0, 0, 0, 0, 0, missing))
        return *with_given_masks(objects, masks, F.pad(given.to(logits.device), (0, missing))), memory

    def _remember(self, frame: Tensor, objects: Tensor, memory: Memory, index: int, annotated: bool) -> VOSState:
        if len(memory.rows) and memory.policy.needs(index, annotated):
            memory = memory.added(self.memorise(frame, objects, memory.rows), index, annotated)
        return VOSState(memory, index + 1)


def with_given_masks(objects: Tensor, masks: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Objects of a frame where masks are given on it, which take their pixels from all other objects.

    Args:
        objects: (B, N, H, W), probabilities.
        masks: (B, N, H, W) in [0, 1].
        given: (B, N) bool, the channels of `masks` that are meant.

    Returns:
        Logits (B, 1 + N, H, W), and what is to be memorised, (B, N, H, W).
    """
    given = given[..., None, None]
    masks = masks.masked_fill(~given, 0.0)
    free = 1 - masks.sum(dim=1, keepdim=True).clamp(max=1)  # what given masks leave to the other objects
    logits = aggregate(torch.where(given, masks, objects * free))
    return logits, torch.where(given, masks, probabilities(logits))


def _check_frame(frame: Tensor, memory: Memory) -> None:
    if frame.ndim != 4 or frame.shape[1] != 3:
        raise ConfigError("wrong shape of a frame", expected="(B, 3, H, W)", found=tuple(frame.shape))
    if memory.rows.places and memory.rows.places[-1][0] >= frame.shape[0]:
        raise ConfigError(
            "the state belongs to another batch of videos",
            expected=f"{memory.rows.places[-1][0] + 1} or more frames",
            found=frame.shape[0],
            fix="call start() before the first frame of each batch",
        )


def _check_masks(frame: Tensor, masks: Tensor, given: Tensor) -> None:
    batch, _, height, width = frame.shape
    if masks.ndim != 4 or (masks.shape[0], *masks.shape[2:]) != (batch, height, width):
        raise ConfigError(
            "masks do not fit the frame", expected=f"({batch}, N, {height}, {width})", found=tuple(masks.shape)
        )
    if given.shape != masks.shape[:2] or given.dtype != torch.bool:
        raise ConfigError(
            "wrong table of given masks",
            expected=f"{tuple(masks.shape[:2])} bool",
            found=f"{tuple(given.shape)} {given.dtype}",
        )
