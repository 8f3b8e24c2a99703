"""Follows objects through one video, from label maps to label maps."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from thriftseg.errors import ConfigError
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.vos.network import VOSNetwork
from thriftseg.zoo.vos.objects import ObjectIds


class ObjectTracker:
    """Streams one video through a network and speaks in object ids.

    The network should be in evaluation mode, on the device of the frames.

    Args:
        network: Any network for video object segmentation.

    Attributes:
        objects: The objects so far.
        state: What the network remembers; of a `MemoryNetwork`, `tracker.state.memory.nbytes` tells its size.

    Example:
        >>> from thriftseg.zoo import STM
        >>> tracker = ObjectTracker(STM("resnet18", decoder_channels=8).eval())
        >>> labels = torch.zeros(32, 48, dtype=torch.int64)
        >>> labels[8:16, 8:16] = 7
        >>> first = tracker.step(torch.rand(3, 32, 48), labels)
        >>> torch.equal(first, labels), tracker.step(torch.rand(3, 32, 48)).shape
        (True, torch.Size([32, 48]))
    """

    def __init__(self, network: VOSNetwork) -> None:
        self.network = network
        self.reset()

    def reset(self) -> None:
        """Forget everything before the first frame of another video."""
        self.objects = ObjectIds()
        self.state: StreamState = self.network.start()

    @torch.inference_mode()
    def step(self, frame: Tensor, labels: Tensor | None = None, ids: Iterable[int] | None = None) -> Tensor:
        """Segment the next frame.

        Args:
            frame: (3, H, W) RGB float in [0, 1].
            labels: (H, W) ids of the objects that appear or are corrected on this frame; 255 is ignored.
            ids: The objects that `labels` speaks about, those that occur in it by default. Name an object without
                pixels to state that it is not visible.

        Returns:
            (H, W) int64, an id or 0 per pixel.

        Raises:
            ConfigError: The shapes do not agree, or an id is 0 or 255.
        """
        masks, given = None, None
        if labels is not None:
            if labels.shape != frame.shape[-2:]:
                raise ConfigError(
                    "the label map does not fit the frame", expected=tuple(frame.shape[-2:]), found=tuple(labels.shape)
                )
            named = ObjectIds.present_in(labels).ids if ids is None else tuple(ids)
            self.objects = self.objects.extended(named)
            masks = self.objects.masks(labels).to(frame.device).unsqueeze(0)
            given = self.objects.flags(named).unsqueeze(0)
        normalised = self.network.preprocessing(frame).unsqueeze(0)
        logits, self.state = self.network.step(normalised, self.state, masks, given)
        return self.objects.labels(logits[0])
