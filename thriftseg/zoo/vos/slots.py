"""A stream over a fixed number of objects and remembered frames, whose state is tensors alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.vos.aggregation import aggregate, probabilities
from thriftseg.zoo.vos.memory import Memory, MemoryFrame
from thriftseg.zoo.vos.network import MemoryNetwork, with_given_masks
from thriftseg.zoo.vos.objects import ObjectRows

_LATE = 2**40
"""More than any number of a frame."""


@dataclass(frozen=True, eq=False, kw_only=True)
class _PresentRows(ObjectRows):
    """A row for every object there could be; those that are absent take no part.

    Attributes:
        present: (N,) bool.
    """

    present: Tensor

    def scatter(self, rows: Tensor, batch_size: int) -> Tensor:
        """See `ObjectRows.scatter`; absent objects are zero."""
        present = self.present.view(-1, *[1] * (rows.ndim - 1))
        return super().scatter(rows.where(present, 0.0), batch_size)


@dataclass(frozen=True, eq=False, kw_only=True)
class _SlotMemory(Memory):
    """Slots as remembered frames, in whatever order.

    Attributes:
        readable: (N, slots) bool, what an object may read.
    """

    readable: Tensor

    def unknown(self, device: torch.device) -> Tensor:
        """See `Memory.unknown`."""
        return ~self.readable


@dataclass(frozen=True)
class SlotState(StreamState):
    """Memory of a `SlotStream`. Before the first frame, all is zero and there are no features.

    Attributes:
        numbers: (slots,) int64, number in the video of the frame in a slot, from 1; 0 in an empty slot.
        annotated: (slots,) bool, whether masks were given on that frame.
        known: (N, slots) bool, whether the object had appeared on that frame.
        present: (N,) bool, whether the object has appeared.
        index: () int64, frames so far.
        features: What the network memorised, (slots, N, ...) each.
    """

    numbers: Tensor
    annotated: Tensor
    known: Tensor
    present: Tensor
    index: Tensor
    features: tuple[Tensor, ...] = ()


class SlotStream(nn.Module):
    """The stream of one video by a network, with room for a fixed number of objects and remembered frames.

    A step gives the logits of `VOSNetwork.step`, and remembers and forgets by the same rule. All that the rule looks at
    is in tensors, so that one graph does every step of a video, and masks may be given on any frame. Rooms for objects
    that have not appeared are computed, too.

    Args:
        network: The network; its `memory_policy` tells which frames are remembered.
        objects: Largest number of objects.
        slots: Largest number of remembered frames; that of the policy by default.

    Raises:
        ConfigError: There is no room for an object or for two frames.
    """

    def __init__(self, network: MemoryNetwork, objects: int, slots: int | None = None) -> None:
        super().__init__()
        if objects < 1:
            raise ConfigError("room for objects", expected="1 or more", found=objects)
        self.network, self.objects = network, objects
        policy = network.memory_policy
        self.policy = replace(policy, max_frames=policy.max_frames if slots is None else slots)

    def start(self) -> SlotState:
        """The state before the first frame."""
        slots, flags = self.policy.max_frames, torch.zeros(self.objects, self.policy.max_frames, dtype=torch.bool)
        numbers = torch.zeros(slots, dtype=torch.int64)
        return SlotState(numbers, flags[0], flags, flags[:, 0], torch.zeros((), dtype=torch.int64))

    def needs(self, state: SlotState, given: Tensor) -> Tensor:
        """Whether the next frame has to be memorised, () bool; see `step`."""
        due = self.policy.previous | given.any() | (state.index % self.policy.every == 0)
        return due & (state.present | given[0]).any()

    def step(
        self, frame: Tensor, state: SlotState, masks: Tensor, given: Tensor, memorise: bool | None = None
    ) -> tuple[Tensor, SlotState]:
        """Segment the next frame.

        Args:
            frame: (1, 3, H, W) normalised.
            state: From `start` or from the previous step.
            masks: (1, N, H, W) in [0, 1], as for `VOSNetwork.step`; not looked at where they are not given.
            given: (1, N) bool, which masks are given on this frame; none on most.
            memorise: What `needs` says, which is asked by default; a first frame is encoded in any case.

        Returns:
            Logits (1, 1 + N, H, W), background first, and the new state.
        """
        if state.features:
            logits = self.network.segment(frame, self._memory(state))
        else:
            logits = aggregate(torch.zeros_like(masks))
        annotated, needed = given.any(), self.needs(state, given)
        merged, objects = with_given_masks(logits[:, 1:].sigmoid(), masks, given)
        objects = torch.where(annotated, objects, probabilities(logits))
        logits = torch.where(annotated, merged, logits)
        state = replace(state, present=state.present | given[0], index=state.index + 1)
        if state.features and not (bool(needed) if memorise is None else memorise):
            return logits, state
        features = self.network.memorise(frame, objects, self._rows(state.present))
        return logits, self._stored(state, features, annotated, needed)

    def _rows(self, present: Tensor) -> _PresentRows:
        return _PresentRows(tuple((0, channel) for channel in range(self.objects)), self.objects, present=present)

    def _memory(self, state: SlotState) -> _SlotMemory:
        frames = tuple(
            MemoryFrame(features, slot, False, ())
            for slot, features in enumerate(zip(*(each.unbind() for each in state.features), strict=True))
        )
        readable = state.known | ~state.present[:, None]  # a softmax over nothing would be no number
        return _SlotMemory(self.policy, self._rows(state.present), frames, readable=readable)

    def _stored(self, state: SlotState, features: tuple[Tensor, ...], annotated: Tensor, needed: Tensor) -> SlotState:
        """The state with a frame in the slot that `Memory.added` would free for it, if it is needed."""
        occupied = state.numbers > 0
        first = state.numbers == torch.where(occupied, state.numbers, state.index).min()
        kept = state.annotated | ((state.numbers - 1) % self.policy.every == 0)
        turn = state.numbers + state.annotated * _LATE  # the oldest goes first, those with given masks after all others
        turn = torch.where(first, 2 * _LATE, torch.where(kept, turn, -2))
        slot = torch.where(occupied, turn, -1).argmin()
        here = (torch.arange(len(occupied), device=slot.device) == slot) & needed
        old = state.features or tuple(each.new_zeros(len(here), *each.shape) for each in features)
        return SlotState(
            torch.where(here, state.index, state.numbers),
            here & annotated | ~here & state.annotated,  # onnxruntime chooses among numbers alone
            here & state.present[:, None] | ~here & state.known,
            state.present,
            state.index,
            tuple(
                torch.where(here.view(-1, *[1] * new.ndim), new, slots)
                for new, slots in zip(features, old, strict=True)
            ),
        )
