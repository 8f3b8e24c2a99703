"""Memory of a video: a bounded number of frames, chosen by a plain rule."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.vos.objects import ObjectRows


@dataclass(frozen=True)
class MemoryPolicy:
    """Rule that chooses the frames to remember.

    Args:
        every: Keep every such frame, counted from the first one of the video.
        max_frames: Largest number of frames, the previous one included.
        previous: Whether the frame before the present one is remembered, whatever its number. Without it errors grow
            more slowly, and frames that nobody remembers need not be encoded.

    Raises:
        ConfigError: `every` is not positive, or there is no room for the first and the previous frame.

    Example:
        >>> policy = MemoryPolicy(every=5, previous=False)
        >>> [index for index in range(12) if policy.needs(index, annotated=index == 3)]
        [0, 3, 5, 10]
    """

    every: int = 5
    max_frames: int = 32
    previous: bool = True

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ConfigError("wrong memory step", expected="every of 1 or more", found=self.every)
        if self.max_frames < 2:
            raise ConfigError(
                "too few memory frames", expected="max_frames of 2 or more: first and previous", found=self.max_frames
            )

    def needs(self, index: int, annotated: bool) -> bool:
        """Whether a frame has to be remembered, if only until the next one.

        Args:
            index: Number of the frame in its video.
            annotated: Whether masks were given on it.
        """
        return self.previous or self.keeps(index, annotated)

    def keeps(self, index: int, annotated: bool) -> bool:
        """Whether a frame is remembered beyond the next one, as long as there is room."""
        return annotated or index % self.every == 0


@dataclass(frozen=True)
class MemoryFrame(StreamState):
    """One remembered frame.

    Attributes:
        features: Tensors (M, ...), one row per object.
        index: Number of the frame in its video.
        annotated: Whether masks were given on this frame.
        known: Per row, whether the object had appeared; rows of later objects hold zeros.

    Example:
        >>> frame = MemoryFrame((torch.zeros(2, 4), torch.zeros(2, 8)), index=5, annotated=False, known=(True, False))
        >>> frame.nbytes  # 24 numbers of four bytes
        96
    """

    features: tuple[Tensor, ...]
    index: int
    annotated: bool
    known: tuple[bool, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.features)


@dataclass(frozen=True)
class Memory(StreamState):
    """The remembered frames, oldest first; never changed in place.

    Every `policy.every`-th frame, frames with given masks and the one that was added last are kept. When there are too
    many, the oldest frame without given masks goes first. Only when all others carry given masks does the oldest of
    those go, and the first remembered frame never.

    Attributes:
        policy: The rule.
        rows: The objects, one per row of the remembered tensors.
        frames: What is remembered.

    Example:
        >>> memory = Memory(MemoryPolicy(every=2, max_frames=3), ObjectRows(((0, 0),), 1))
        >>> for index in range(7):
        ...     memory = memory.added((torch.zeros(1, 4),), index)
        >>> [frame.index for frame in memory.frames]
        [0, 4, 6]
        >>> memory.nbytes
        48
    """

    policy: MemoryPolicy
    rows: ObjectRows = field(default_factory=ObjectRows)
    frames: tuple[MemoryFrame, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def nbytes(self) -> int:
        """Bytes of all remembered tensors."""
        return sum(frame.nbytes for frame in self.frames)

    def features(self) -> list[tuple[Tensor, ...]]:
        """Per kind of tensor, its values in all frames, oldest first."""
        return list(zip(*(frame.features for frame in self.frames), strict=True))

    def added(self, features: tuple[Tensor, ...], index: int, annotated: bool = False) -> Memory:
        """Remember the newest frame, and forget what the policy does not keep.

        Whether the newest frame is needed at all is for the caller to ask: `policy.needs`.

        Args:
            features: Tensors (M, ...), one row per object.
            index: Number of the frame in its video, larger than those before.
            annotated: Whether masks were given on the frame.
        """
        newest = MemoryFrame(features, index, annotated, (True,) * len(self.rows))
        keeps = self.policy.keeps
        kept = [frame for place, frame in enumerate(self.frames) if place == 0 or keeps(frame.index, frame.annotated)]
        while len(kept) >= self.policy.max_frames:
            del kept[min(range(1, len(kept)), key=lambda place: (kept[place].annotated, kept[place].index))]
        return replace(self, frames=(*kept, newest))

    def with_rows(self, rows: ObjectRows) -> Memory:
        """The same memory with room for further objects, which no remembered frame knows.

        Args:
            rows: The present rows and new ones.
        """
        if rows.places == self.rows.places:
            return replace(self, rows=rows)
        positions = self.rows.positions_in(rows)
        frames = []
        for frame in self.frames:
            known = [False] * len(rows)
            for old, new in enumerate(positions):
                known[new] = frame.known[old]
            features = []
            for tensor in frame.features:
                index = torch.tensor(positions, device=tensor.device)
                features.append(tensor.new_zeros(len(rows), *tensor.shape[1:]).index_copy(0, index, tensor))
            frames.append(replace(frame, features=tuple(features), known=tuple(known)))
        return replace(self, rows=rows, frames=tuple(frames))

    def unknown(self, device: torch.device) -> Tensor | None:
        """Where an object had not appeared yet: (M, frames) bool, or `None` if it had everywhere."""
        if all(all(frame.known) for frame in self.frames):
            return None
        return ~torch.tensor([frame.known for frame in self.frames], device=device).transpose(0, 1)
