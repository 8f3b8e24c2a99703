"""Objects followed by a network for video object segmentation, such as STM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.inference import load_as
from thriftseg.labels.propagation.propagators.following import tracked
from thriftseg.labels.propagation.propagators.protocol import ObjectProbabilities
from thriftseg.labels.propagation.propagators.tracking import MaskTracker
from thriftseg.stores import ObjectMap
from thriftseg.zoo import MemoryNetwork, VOSNetwork


class STMPropagator:
    """Propagation by space-time memory: the annotated frame is memorised, every frame reads the memory [0].

    Confidence and scores are those of `ChannelProbabilities`.

    [0] Oh, Lee, Xu, Kim, Video Object Segmentation using Space-Time Memory Networks, ICCV 2019,
    https://arxiv.org/abs/1904.00607. [1] https://github.com/seoungwugoh/STM

    Args:
        weights: A network for video object segmentation: published, by name, path or `hf:` repository as
            `thriftseg.zoo.load` takes it; the checkpoint of a training run (`.ckpt`); or the network itself.
        memory_every: Remember every such frame; the network's own setting when absent.
        max_memory_frames: Largest number of remembered frames, which bounds memory however long the clip is; the
            network's own setting when absent.
        device: Where the network computes, see `to`.

    Raises:
        ConfigError: No weights are given, or the memory has no room for two frames.

    Example:
        >>> from thriftseg.zoo import STM
        >>> propagator = STMPropagator(STM("resnet18", decoder_channels=8), memory_every=3)
        >>> propagator.arguments["memory_every"], propagator.arguments["max_memory_frames"]  # the latter of the network
        (3, 32)
    """

    name: ClassVar[str] = "stm"
    hard: ClassVar[bool] = False

    def __init__(
        self,
        weights: str | Path | VOSNetwork | None = None,
        memory_every: int | None = None,
        max_memory_frames: int | None = None,
        device: str = "cpu",
    ) -> None:
        if weights is None:
            raise ConfigError("stm needs weights", fix="give the name or path of a published network")
        self._weights, self._device = weights, device
        self._memory = {"memory_every": memory_every, "max_memory_frames": max_memory_frames}

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the labels depend on."""
        policy = self._network.memory_policy
        return {
            "weights": self._digest,
            "memory_every": policy.every,
            "max_memory_frames": policy.max_frames,
            "remember_previous": policy.previous,
        }

    def to(self, device: str) -> None:
        """Compute on a device from now on, named as torch does."""
        self._device = device
        self._network.to(device)

    def __getstate__(self) -> dict[str, Any]:
        """Without a network that the other process can read from its file."""
        cached = () if isinstance(self._weights, VOSNetwork) else ("_network",)
        return {name: value for name, value in self.__dict__.items() if name not in cached}

    def track(self, first: UInt8Array) -> STMTracker:
        """Start at a frame, without any object; see `TracksObjects.track`."""
        return STMTracker(self._network, first, self._device)

    def probabilities(self, objects: ObjectMap, frames: Iterable[UInt8Array]) -> Iterator[ObjectProbabilities]:
        """Yield where the objects are in every frame but the first; see `Propagator.probabilities`."""
        return tracked(self.track, objects, frames)

    @cached_property
    def _network(self) -> MemoryNetwork:
        given = self._weights
        network = given if isinstance(given, VOSNetwork) else load_as(given, VOSNetwork)  # type: ignore[type-abstract]
        if not isinstance(network, MemoryNetwork):
            problem = "stm follows objects by networks with a memory of frames"
            raise ConfigError(problem, found=type(network).__name__, fix="take --method hf")
        own = network.memory_policy
        network.memory_policy = replace(
            own,
            every=self._memory["memory_every"] or own.every,
            max_frames=self._memory["max_memory_frames"] or own.max_frames,
        )
        return network.eval().requires_grad_(False).to(self._device)

    @cached_property
    def _digest(self) -> str:
        """Hash of the architecture's name and all numbers of the network."""
        digest = hashlib.sha256(type(self._network).__name__.encode())
        for name, tensor in self._network.state_dict().items():
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


class STMTracker(MaskTracker):
    """One pass of a network over a clip; see `Tracker`.

    Args:
        network: A network for video object segmentation, in evaluation mode.
        first: First frame, (H, W, 3) uint8 RGB.
        device: Where the network lies.
    """

    def __init__(self, network: VOSNetwork, first: UInt8Array, device: str) -> None:
        super().__init__(first, device)
        self._network = network
        self._before = self._after = network.start()

    def run(self, frame: Tensor, given: Mapping[int, BoolArray]) -> Tensor:
        """Segment the current frame; see `MaskTracker.run`."""
        masks = flags = None
        if given:
            nothing = np.zeros(frame.shape[1:], np.bool_)
            stacked = np.stack([given.get(number, nothing) for number in self.ids])
            masks = torch.from_numpy(stacked).to(frame.device).float().unsqueeze(0)
            flags = torch.tensor([[number in given for number in self.ids]])
        image = self._network.preprocessing(frame.unsqueeze(0))
        logits, self._after = self._network.step(image, self._before, masks, flags)
        return logits[0].softmax(dim=0)

    def keep(self) -> None:
        """Go on; see `MaskTracker.keep`."""
        self._before = self._after
