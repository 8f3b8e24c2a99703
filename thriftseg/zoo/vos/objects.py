"""Places of objects: ids in label maps, channels of logits, rows of a flat batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.types import BACKGROUND, IGNORE_INDEX


@dataclass(frozen=True)
class ObjectIds:
    """The ids of the objects of one video, in the order of their channels.

    Channel 0 is the background and channel k + 1 belongs to `ids[k]`. Ids need not be contiguous, and an object that
    appears later takes the next channel, so that channels never change their meaning.

    Args:
        ids: Distinct positive numbers; 255 is the ignored label.

    Raises:
        ConfigError: An id is 0, 255 or negative, or occurs twice.

    Example:
        >>> objects = ObjectIds((3, 12)).extended([7, 3])
        >>> objects.ids
        (3, 12, 7)
        >>> masks = objects.masks(torch.tensor([[0, 7], [12, 255]]))
        >>> masks[2].tolist()  # object 7
        [[0.0, 1.0], [0.0, 0.0]]
    """

    ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        bad = [number for number in self.ids if number <= BACKGROUND or number == IGNORE_INDEX]
        if bad or len(set(self.ids)) < len(self.ids):
            raise ConfigError(
                "wrong object ids", expected="distinct positive numbers other than 255", found=list(self.ids)
            )

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def present_in(cls, labels: Tensor) -> ObjectIds:
        """The ids that occur in a label map, sorted."""
        return cls(tuple(number for number in labels.unique().tolist() if number not in (BACKGROUND, IGNORE_INDEX)))

    def extended(self, ids: Iterable[int]) -> ObjectIds:
        """The same objects and, after them, those of `ids` that are new."""
        return ObjectIds(self.ids + tuple(number for number in ids if number not in self.ids))

    def flags(self, ids: Iterable[int]) -> Tensor:
        """Mark some of the objects: (N,) bool."""
        wanted = set(ids)
        return torch.tensor([number in wanted for number in self.ids], dtype=torch.bool)

    def masks(self, labels: Tensor) -> Tensor:
        """One mask per object; ignored pixels and unknown ids are in none.

        Args:
            labels: (..., H, W) of ids.

        Returns:
            (..., N, H, W) float, 0 or 1.
        """
        ids = torch.tensor(self.ids, dtype=labels.dtype, device=labels.device)
        return (labels.unsqueeze(-3) == ids.view(-1, 1, 1)).float()

    def labels(self, scores: Tensor) -> Tensor:
        """Label map of the best channel.

        Args:
            scores: (..., 1 + N, H, W) logits or probabilities, background first.

        Returns:
            (..., H, W) int64 of ids, 0 where the background is best.

        Raises:
            ConfigError: The number of channels is another one.
        """
        if scores.shape[-3] != len(self) + 1:
            raise ConfigError("wrong number of channels", expected=len(self) + 1, found=scores.shape[-3])
        ids = torch.tensor((BACKGROUND, *self.ids), device=scores.device)
        return ids[scores.argmax(dim=-3)]


@dataclass(frozen=True)
class ObjectRows:
    """The objects of a batch of videos as the rows of one flat batch.

    Networks process rows, so a video with one object costs nothing for the five objects of its neighbour.

    Args:
        places: (video, channel) of each row, sorted; channels count objects from 0, without the background.
        channels: Number of object channels of every video.

    Example:
        >>> rows = ObjectRows.given(torch.tensor([[True, False], [True, True]]))
        >>> rows.places
        ((0, 0), (1, 0), (1, 1))
        >>> rows.gather(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([1., 3., 4.])
    """

    places: tuple[tuple[int, int], ...] = ()
    channels: int = 0

    @classmethod
    def given(cls, flags: Tensor | Sequence[Sequence[bool]]) -> ObjectRows:
        """The rows marked in a (B, N) table."""
        table = flags.tolist() if isinstance(flags, Tensor) else flags
        places = tuple((video, channel) for video, row in enumerate(table) for channel, flag in enumerate(row) if flag)
        return cls(places, max((len(row) for row in table), default=0))

    def __len__(self) -> int:
        return len(self.places)

    def union(self, other: ObjectRows) -> ObjectRows:
        """All rows of both."""
        return ObjectRows(tuple(sorted({*self.places, *other.places})), max(self.channels, other.channels))

    def positions_in(self, other: ObjectRows) -> list[int]:
        """Row of `other` for each of these rows."""
        order = {place: row for row, place in enumerate(other.places)}
        return [order[place] for place in self.places]

    def gather(self, table: Tensor) -> Tensor:
        """Take the rows out of a table: (B, N, ...) -> (M, ...)."""
        flat = table.flatten(0, 1)
        if len(self) == len(flat):
            return flat
        return flat.index_select(0, self._numbers(table.shape[1], table.device))

    def scatter(self, rows: Tensor, batch_size: int) -> Tensor:
        """Put the rows back, zero for absent objects: (M, ...) -> (B, N, ...)."""
        cells = batch_size * self.channels
        if len(self) < cells:
            numbers = self._numbers(self.channels, rows.device)
            rows = rows.new_zeros(cells, *rows.shape[1:]).index_copy(0, numbers, rows)
        return rows.reshape(batch_size, self.channels, *rows.shape[1:])

    def spread(self, videos: Tensor) -> Tensor:
        """Repeat what belongs to a video once per object: (B, ...) -> (M, ...), or (1, ...) to broadcast if B is 1."""
        if len(videos) == 1:
            return videos
        return videos.index_select(0, torch.tensor([video for video, _ in self.places], device=videos.device))

    def _numbers(self, channels: int, device: torch.device) -> Tensor:
        """Place of each row in a flattened table."""
        numbers = [video * channels + channel for video, channel in self.places]
        return torch.tensor(numbers, dtype=torch.int64, device=device)
