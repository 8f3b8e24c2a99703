"""What terms look at: a network's predictions for the frames of a batch, each computed once."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.flow import RAFT
from thriftseg.types import SemanticBatch
from thriftseg.zoo import SemanticNetwork, StridedLogits


@dataclass(eq=False)
class View:
    """Predictions for one frame of every sample.

    Attributes:
        logits: Of the B frames, before they are resized.
        others: Logits of auxiliary heads and further outputs, by name.
    """

    logits: StridedLogits
    others: dict[str, StridedLogits]
    _resized: dict[int, Tensor] = field(default_factory=dict, init=False)

    def at(self, stride: int) -> Tensor:
        """Logits of each cell of `stride` x `stride` pixels, resized once for all terms; see `StridedLogits.at`."""
        if stride not in self._resized:
            self._resized[stride] = self.logits.at(stride)
        return self._resized[stride]


@dataclass(eq=False)
class Views:
    """Predictions for the target frames of a batch and, where a term wants them, for their neighbours.

    An image network segments all frames in one pass. A network with past frames sees those before each neighbour
    (`neighbour_past` of the batch, the neighbour itself where that is not there). One whose parts take turns segments
    neighbours at fixed distances (`neighbour_offset`) in the turns that these frames have in the video, and those at
    drawn distances in the turn of the target; it makes one pass per turn, as many in all processes.

    Attributes:
        network: The network that learns.
        batch: The batch, on the device of the network.
        wants: What the terms of this step need; see `Term.needs`.
        teacher: The network that teaches.
        first_index: Turn of the target's window, for networks with several phases.

    Example:
        >>> class Colours(SemanticNetwork):
        ...     def compute_logits(self, frames):
        ...         return frames[:, -1]
        >>> frames = torch.arange(12.0).view(1, 1, 3, 1, 4)
        >>> views = Views(Colours(3), {"frames": frames, "valid": torch.tensor([[[True, True, True, False]]])})
        >>> views.target.at(1)[0, :, 0, 0].tolist(), views.cells(2).tolist()
        ([0.0, 4.0, 8.0], [[[True, False]]])
    """

    network: SemanticNetwork
    batch: SemanticBatch
    wants: Collection[str] = ()
    teacher: Any = None
    first_index: int = 0
    _cells: dict[int, Tensor] = field(default_factory=dict, init=False)
    _flows: dict[RAFT | None, Tensor] = field(default_factory=dict, init=False)

    @property
    def neighbours(self) -> int:
        """Number N of neighbours of each target in these views; 0 where no term wants them."""
        wanted = {"neighbours", "taught neighbours"} & set(self.wants)
        return self.batch["neighbours"].shape[1] if wanted and "neighbours" in self.batch else 0

    @functools.cached_property
    def student(self) -> list[View]:
        """Of the network that learns: the target, then its neighbours."""
        windows = self._windows()
        turns = [self.first_index, *(self.first_index + offset for offset in self._offsets())]
        turns = [turn % self.network.num_phases for turn in turns]
        found: dict[int, View] = {}
        for turn in dict.fromkeys(turns):
            places = [place for place, other in enumerate(turns) if other == turn]
            frames = torch.cat([windows[place] for place in places], dim=1)  # (B, n T, 3, H, W)
            found |= zip(places, self._segment(frames, len(places), turn), strict=True)
        return [found[place] for place in range(len(windows))]

    @functools.cached_property
    def taught(self) -> list[StridedLogits]:
        """Of the teacher: the target, and its neighbours where a term wants them."""
        frames = self._frames(self.neighbours if "taught neighbours" in self.wants else 0)
        answer = self.teacher.answer(frames.flatten(0, 1))
        return [_rows(answer, place, frames.shape[1]) for place in range(frames.shape[1])]

    @property
    def target(self) -> View:
        """Of the network that learns, for the target frames."""
        return self.student[0]

    def cells(self, stride: int) -> Tensor:
        """Cells (B, h, w) of `stride` x `stride` pixels, those beyond the border left out, that are real throughout."""
        if stride not in self._cells:
            self._cells[stride] = all_valid(self.batch["valid"], stride)
        return self._cells[stride]

    def raw_target(self) -> Tensor:
        """Target frames before changes of colour, (B, 3, H, W)."""
        return self.batch.get("frames_raw", self.batch["frames"])[:, -1]

    def flows(self, estimator: RAFT | None, stride: int) -> list[Tensor]:
        """Flow from the target to each neighbour, (B, 2, h, w) in cells, NaN where that of any pixel is not known.

        Args:
            estimator: Estimates the flow where the batch has none.
            stride: Pixels per cell.

        Raises:
            ConfigError: The batch has no flow, and there is no estimator.
        """
        estimator = None if "neighbour_flow" in self.batch else estimator
        if estimator not in self._flows:
            self._flows[estimator] = self._flow(estimator)
        flows = self._flows[estimator].unbind(dim=1)
        return [flow if stride == 1 else F.avg_pool2d(flow, stride, ceil_mode=True) / stride for flow in flows]

    def agreements(self, stride: int) -> list[Tensor | None]:
        """Where the flow to each neighbour passes a check, as (B, h, w); `None` where it was not checked."""
        if "neighbour_agrees" not in self.batch:
            return [None] * self.neighbours
        return [all_valid(agrees, stride) for agrees in self.batch["neighbour_agrees"].unbind(dim=1)]

    def _flow(self, estimator: RAFT | None) -> Tensor:
        batch = self.batch
        if "neighbour_flow" in batch:
            return batch["neighbour_flow"].masked_fill(~batch["neighbour_valid"][:, :, None], math.nan)
        if estimator is None:
            raise ConfigError(
                "terms along the flow have no flow",
                fix="set neighbour_flow of the data, or flow of the term, or its weight to 0",
            )
        neighbours = batch.get("neighbours_raw", batch["neighbours"])
        target = self.raw_target()[:, None].expand_as(neighbours)
        flow: Tensor = estimator.forward(target.flatten(0, 1), neighbours.flatten(0, 1))
        return flow.unflatten(0, neighbours.shape[:2])  # type: ignore[no-any-return]

    def _frames(self, neighbours: int) -> Tensor:
        """Target and neighbours, (B, 1 + N, 3, H, W)."""
        target = self.batch["frames"][:, -1:]
        return torch.cat([target, self.batch["neighbours"][:, :neighbours]], dim=1) if neighbours else target

    def _windows(self) -> list[Tensor]:
        """Frames (B, T, 3, H, W) that end at the target, and at each neighbour."""
        length = self.network.past_frames + 1
        found = [self.batch["frames"][:, -length:]]
        for place in range(self.neighbours):
            neighbour = self.batch["neighbours"][:, place : place + 1]
            past = self.batch["neighbour_past"][:, place] if "neighbour_past" in self.batch else None
            past = neighbour.expand(-1, length - 1, -1, -1, -1) if past is None else past
            found.append(torch.cat([past, neighbour], dim=1) if length > 1 else neighbour)
        return found

    def _offsets(self) -> list[int]:
        """Steps from the target to each neighbour, the same in the whole batch, or 0 where they are drawn."""
        if not self.neighbours or self.network.num_phases == 1 or "neighbour_offset" not in self.batch:
            return [0] * self.neighbours
        offsets: list[int] = self.batch["neighbour_offset"][0].tolist()
        return offsets

    def _segment(self, frames: Tensor, count: int, turn: int) -> list[View]:
        """Views of `count` windows of every sample, in one pass."""
        length = frames.shape[1] // count
        clips = self.network.preprocessing(frames.unflatten(1, (count, length)).flatten(0, 1))
        if "auxiliary" in self.wants:
            logits, others = self.network.strided_outputs(clips, turn)
        else:
            logits, others = self.network.strided_logits(clips, turn), {}
        return [
            View(_rows(logits, place, count), {name: _rows(output, place, count) for name, output in others.items()})
            for place in range(count)
        ]


def _rows(logits: StridedLogits, place: int, count: int) -> StridedLogits:
    """Those of one of the `count` frames of every sample."""
    return logits if count == 1 else logits._replace(values=logits.values[place::count])


def all_valid(valid: Tensor, stride: int) -> Tensor:
    """Cells (B, h, w) whose pixels, those beyond the border left out, are all true in (B, H, W)."""
    if stride == 1:
        return valid
    padded = F.max_pool2d((~valid).float()[:, None], stride, ceil_mode=True)
    return padded[:, 0] == 0
