"""Box2Seg [0, 1] as a maker of labels, and its fine-tuning on one drawn mask per object.

[0] Voigtlaender et al., Reducing the Annotation Effort for Video Object Segmentation Datasets, WACV 2021.
[1] https://github.com/JonathonLuiten/PReMVOS
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.datasets import CROP, MARGIN, BoxAugmentation, BoxWindow, PixelBox
from thriftseg.errors import ConfigError
from thriftseg.labels.boxes.masks import ObjectMask, levels_of, mean_probability
from thriftseg.labels.boxes.settings import FineTuning
from thriftseg.losses import BootstrappedCrossEntropy
from thriftseg.types import Size
from thriftseg.zoo import Box2Seg, freeze_batch_norm, weights_digest


class Box2SegSegmenter:
    """The object of each box by Box2Seg.

    The surroundings of a box are resized to the crop, the logits back to the surroundings. The score of a mask is the
    mean foreground probability of its pixels.

    Args:
        network: A trained network.
        crop: Height and width that the network sees.
        margin: Pixels shown on each side of a box.
        clip_to_box: Cut masks off at their box.
        tuning: How `fine_tuned` learns; the crop and margin of its augmentation are replaced by those of here.
        batch_size: Boxes of a frame that are segmented at once.
        device: Where the network computes, see `to`.

    Raises:
        ConfigError: A setting is out of range.
    """

    name: ClassVar[str] = "box2seg"

    def __init__(
        self,
        network: Box2Seg,
        *,
        crop: Size = CROP,
        margin: int = MARGIN,
        clip_to_box: bool = False,
        tuning: FineTuning | None = None,
        batch_size: int = 8,
        device: str = "cpu",
    ) -> None:
        if batch_size < 1:
            raise ConfigError("batch_size of Box2Seg", expected="at least 1", found=batch_size)
        own = tuning or FineTuning()
        varied = own.augmentation
        self._augmentation = BoxAugmentation(crop, margin, varied.jitter, varied.flip, varied.gamma)
        self._network = network.eval().requires_grad_(False).to(device)
        self._crop, self._margin, self._clip_to_box = crop, margin, clip_to_box
        self._tuning, self._batch_size, self._device = own, batch_size, device
        self._source = self.name

    @cached_property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the masks depend on, the weights as a digest."""
        return {
            "weights": weights_digest(self._network),
            "crop": list(self._crop),
            "margin": self._margin,
            "clip_to_box": self._clip_to_box,
        }

    @property
    def tuning_arguments(self) -> Mapping[str, Any]:
        """Settings of fine-tuning."""
        varied = self._augmentation
        return {
            "steps": self._tuning.steps,
            "lr": self._tuning.lr,
            "share": self._tuning.share,
            "jitter": varied.jitter,
            "flip": varied.flip,
            "gamma": varied.gamma,
        }

    def to(self, device: str) -> None:
        """Compute on a device from now on; see `MovesToDevice.to`."""
        self._device = device
        self._network.to(device)

    def segment(self, frame: UInt8Array, boxes: Mapping[int, PixelBox]) -> list[ObjectMask]:
        """Segment the boxes of a frame; see `BoxSegmenter.segment`."""
        size = (frame.shape[0], frame.shape[1])
        windows = {key: BoxWindow.around(box, size, self._margin) for key, box in boxes.items()}
        logits = self._logits([window.show(frame, self._crop) for window in windows.values()])
        return [self._mask(key, window, crop) for (key, window), crop in zip(windows.items(), logits, strict=True)]

    def fine_tuned(self, frame: UInt8Array, mask: UInt8Array, seed: Sequence[int]) -> Box2SegSegmenter:
        """A copy that was trained on one example; see `LearnsOneMask.fine_tuned`."""
        rng = np.random.default_rng(list(seed))
        cuda = [torch.device(self._device)] if self._device.startswith("cuda") else []
        # The trainer that runs jobs switches gradients off, and dropout draws from the common generator.
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(cuda):
            torch.manual_seed(int(rng.integers(2**62)))
            return self._with(self._train_copy(frame, mask, rng))

    def _train_copy(self, frame: UInt8Array, mask: UInt8Array, rng: np.random.Generator) -> Box2Seg:
        network = deepcopy(self._network).requires_grad_(True).train()
        freeze_batch_norm(network)
        loss = BootstrappedCrossEntropy(self._tuning.share)
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=self._tuning.lr)
        for _ in range(self._tuning.steps):
            sample = self._augmentation.draw(frame, mask, rng)
            frames, box = self._tensors([(sample.frame, sample.box)])
            target = torch.from_numpy(sample.target).to(self._device).long()[None]
            optimizer.zero_grad()
            loss(network.two_class_logits(frames, box), target).backward()
            optimizer.step()
        return network

    def _with(self, network: Box2Seg) -> Box2SegSegmenter:
        tuned = Box2SegSegmenter(
            network,
            crop=self._crop,
            margin=self._margin,
            clip_to_box=self._clip_to_box,
            tuning=self._tuning,
            batch_size=self._batch_size,
            device=self._device,
        )
        tuned._source = f"{self.name}_ft"
        return tuned

    def _mask(self, object_id: int, window: BoxWindow, logits: Float32Array) -> ObjectMask:
        levels = levels_of(np.asarray(1 / (1 + np.exp(-window.restore(logits).astype(np.float64))), np.float32))
        if self._clip_to_box:
            inside = np.zeros_like(levels)
            inside[window.inside] = levels[window.inside]
            levels = inside
        score = mean_probability(levels)
        return ObjectMask(object_id, self._source, levels, window.top, window.left, score)

    @torch.no_grad()
    def _logits(self, inputs: Sequence[tuple[UInt8Array, UInt8Array]]) -> list[Float32Array]:
        found: list[Float32Array] = []
        for start in range(0, len(inputs), self._batch_size):
            frames, boxes = self._tensors(inputs[start : start + self._batch_size])
            found.extend(self._network(frames, boxes)[:, 0].float().cpu().numpy())
        return found

    def _tensors(self, inputs: Sequence[tuple[UInt8Array, UInt8Array]]) -> tuple[Tensor, Tensor]:
        """Normalised frames (B, 3, h, w) and boxes (B, h, w)."""
        frames, boxes = (torch.from_numpy(np.stack(arrays)).to(self._device) for arrays in zip(*inputs, strict=True))
        return self._network.preprocessing(frames.permute(0, 3, 1, 2).float().div(255)), boxes
