"""Masks by SAM 2.

[0] Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025, https://arxiv.org/abs/2408.00714.
[1] https://github.com/facebookresearch/sam2
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.inference import choose_device
from thriftseg.labels.refining.prompters.batches import (
    answer_in_batches,
    stacked_boxes,
    stacked_flags,
    stacked_masks,
    stacked_points,
)
from thriftseg.labels.refining.prompters.protocol import Candidates, NumCandidates, Prompt
from thriftseg.labels.sam2_models import build_sam2, precision_context, without_chatter

_FEATURE_STRIDES = (4, 8, 16)


class SAM2Prompter:
    """The image predictor of SAM 2; the score of a mask is its quality (IoU) as SAM 2 predicts it.

    One object may be sent to worker processes, which read the weights again.

    Args:
        weights: Checkpoint file, or an id of the Hugging Face hub such as "facebook/sam2.1-hiera-tiny".
        model: Name of the model; see `build_sam2`.
        image_size: Side of the square that frames are resized to; see `build_sam2`.
        device: "auto" (CUDA where there is one), or as torch names it.
        mixed_precision: Compute in bfloat16 on CUDA. The CPU takes single precision in any case.
        points_per_side: `automatic_masks` prompts with a grid of so many points a side,
        min_quality: keeps masks of at least this predicted quality,
        min_stability: that keep this IoU when the threshold of their logits is moved by 1 in both directions,
        max_overlap: and drops the worse of two whose boxes have a larger IoU than this.

    Raises:
        ConfigError: The extra `sam` is not installed, or a setting is out of range.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another model.
    """

    name: ClassVar[str] = "sam2"

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        model: str | None = None,
        image_size: int | None = None,
        device: str = "auto",
        mixed_precision: bool = True,
        points_per_side: int = 32,
        min_quality: float = 0.8,
        min_stability: float = 0.95,
        max_overlap: float = 0.7,
    ) -> None:
        if points_per_side < 1:
            raise ConfigError("points_per_side of SAM 2", expected="at least 1", found=points_per_side)
        self._automatic = {
            "points_per_side": points_per_side,
            "min_quality": min_quality,
            "min_stability": min_stability,
            "max_overlap": max_overlap,
        }
        self._settings: dict[str, Any] = {
            "weights": weights,
            "model": model,
            "image_size": image_size,
            "device": device,
            "mixed_precision": mixed_precision,
            **self._automatic,
        }
        self._mixed, self._device = mixed_precision, choose_device(device)
        self._model = build_sam2(weights, model, image_size)
        self._predictor = self._build_predictor()

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), **self._settings), ()

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the masks depend on."""
        return {**self._model.identity, "mixed_precision": self._mixed, **self._automatic}

    def to(self, device: str) -> None:
        """Compute on a device from now on; see `MovesToDevice.to`."""
        self._device = choose_device(device)
        self._settings["device"] = device

    def embed(self, frame: UInt8Array) -> SAM2Embedded:
        """Run the image encoder; see `Prompter.embed`."""
        self._model.predictor.to(self._device)
        predictor = copy(self._predictor)  # it keeps what it encoded; the model is shared
        with without_chatter(), self._precision():
            predictor.set_image(frame)
        return SAM2Embedded(predictor, self._precision)

    def automatic_masks(self, frame: UInt8Array) -> list[BoolArray]:
        """Masks of a grid of points; see `MaskGenerator.automatic_masks`."""
        generator = self._build(
            "sam2.automatic_mask_generator",
            "SAM2AutomaticMaskGenerator",
            points_per_side=self._automatic["points_per_side"],
            pred_iou_thresh=self._automatic["min_quality"],
            stability_score_thresh=self._automatic["min_stability"],
            box_nms_thresh=self._automatic["max_overlap"],
        )
        generator.predictor = copy(self._predictor)
        self._model.predictor.to(self._device)
        with without_chatter(), self._precision():
            return [record["segmentation"] for record in generator.generate(frame)]

    def _build(self, module: str, cls: str, **settings: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it scripts its transforms, which torch has deprecated
            return getattr(import_module(module), cls)(self._model.predictor, **settings)

    def _build_predictor(self) -> Any:
        """The image predictor, which is written for inputs of 1024 pixels and told of others here."""
        predictor = self._build("sam2.sam2_image_predictor", "SAM2ImagePredictor")
        side = self._model.predictor.image_size
        predictor._bb_feat_sizes = [(side // stride, side // stride) for stride in _FEATURE_STRIDES]
        return predictor

    def _precision(self) -> AbstractContextManager[Any]:
        return precision_context(self._device, self._mixed)


class SAM2Embedded:
    """A frame that SAM 2 has encoded; see `Embedded`."""

    def __init__(self, predictor: Any, precision: Callable[[], AbstractContextManager[Any]]) -> None:
        self._predictor, self._precision = predictor, precision

    @property
    def embedding(self) -> Float32Array:
        """What the image encoder says about the frame, which it sees as a square: (256, h, w)."""
        embedding: Float32Array = self._predictor.get_image_embedding()[0].float().cpu().numpy()
        return embedding

    def predict(self, prompts: Sequence[Prompt], candidates: NumCandidates) -> list[Candidates]:
        """Answer prompts; see `Embedded.predict`."""
        mask_size = self._predictor.model.sam_prompt_encoder.mask_input_size
        # Without points or boxes the predictor takes a batch for a single prompt.
        return answer_in_batches(prompts, partial(self._answer, candidates), mask_size, mask_alone_at_once=1)

    def _answer(self, candidates: NumCandidates, batch: Sequence[Prompt]) -> list[Candidates]:
        with self._precision():
            masks, scores, logits = self._predictor.predict(
                point_coords=stacked_points(batch),
                point_labels=stacked_flags(batch),
                box=stacked_boxes(batch),
                mask_input=stacked_masks(batch),
                multimask_output=candidates > 1,
            )
        return [
            Candidates(mask.astype(np.bool_), score, low_res)
            for mask, score, low_res in zip(
                masks.reshape(-1, candidates, *masks.shape[-2:]),
                scores.reshape(-1, candidates),
                logits.reshape(-1, candidates, *logits.shape[-2:]),
                strict=True,
            )
        ]
