"""What networks remember between two frames of a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class StreamState:
    """Memory of a network between two frames of a video; opaque to the caller, and never changed in place.

    A subclass adds fields: tensors, numbers, and tuples, lists or dicts of them.

    Example:
        >>> state = FrameWindow((torch.zeros(1, 3, 2, 2),))
        >>> state.to("meta").frames[0].device.type, list(state.tensors)
        ('meta', ['frames_0'])
    """

    def mapped(self, function: Callable[[str, Tensor], Any]) -> Self:
        """The same memory with every tensor replaced.

        Args:
            function: Gets the name of a tensor, made of the field and the places in it such as `memory_0_2`, and the
                tensor.
        """
        return replace(self, **{field.name: _mapped(field.name, getattr(self, field.name), function)
                                for field in fields(self)})  # fmt: skip

    def to(self, device: torch.device | str) -> Self:
        """The same memory on another device."""
        return self.mapped(lambda _, tensor: tensor.to(device))

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, in a fixed order; what is no tensor says how they are used."""
        found: dict[str, Tensor] = {}
        self.mapped(found.setdefault)
        return found


def _mapped(name: str, value: Any, function: Callable[[str, Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return function(name, value)
    if isinstance(value, StreamState):
        return value.mapped(lambda inner, tensor: function(f"{name}_{inner}", tensor))
    if isinstance(value, dict):
        return {key: _mapped(f"{name}_{key}", item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_mapped(f"{name}_{place}", item, function) for place, item in enumerate(value))
    return value


@dataclass(frozen=True)
class FrameWindow(StreamState):
    """The past frames of a network that keeps nothing else.

    Attributes:
        frames: At most `past_frames` normalised frames (B, 3, H, W), oldest first.
        index: Place of the next frame in its video, modulo the phases of the network.

    Example:
        >>> from thriftseg.zoo import SemanticNetwork
        >>> class Mean(SemanticNetwork):
        ...     past_frames = 2
        ...     def compute_logits(self, frames):
        ...         return frames.mean(dim=1)
        >>> network = Mean(num_classes=3)
        >>> _, state = network.step(torch.zeros(1, 3, 2, 2), network.start())
        >>> logits, state = network.step(torch.full((1, 3, 2, 2), 3.0), state)  # the first frame counts twice
        >>> logits[0, 0, 0, 0].item(), len(state.frames)
        (1.0, 2)
    """

    frames: tuple[Tensor, ...] = ()
    index: int = 0
