"""Objects carried by SAM 2, each from its mask in the annotated frame.

[0] Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025, https://arxiv.org/abs/2408.00714.
[1] https://github.com/facebookresearch/sam2
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.inference import choose_device
from thriftseg.labels.propagation.merging import RunningMerge
from thriftseg.labels.propagation.propagators.protocol import Propagated
from thriftseg.labels.sam2_models import build_sam2, precision_context
from thriftseg.stores import ObjectMap

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PROMPTED = 0  # index of the annotated frame


class SAM2Propagator:
    """Propagation by the video predictor of SAM 2, prompted with the mask of every object in the first frame.

    The score of an object is the probability, as SAM 2 sees it, that it is visible. The confidence of a frame is the
    expected share of its claimed pixels that belong to their object: the mean over these pixels of the probability of
    the mask there times the score of the object; 0 where nothing is claimed.

    Logits are those of the predictor on the whole clip, bit for bit on a CPU. Memory does not grow with the clip: one
    frame and the memory window of the model are kept. SAM 2 sees the length of clips of up to 16 frames, so that many
    are read ahead.

    One object may be sent to worker processes, which read the weights again.

    Args:
        weights: Checkpoint file, or an id of the Hugging Face hub such as "facebook/sam2.1-hiera-tiny".
        model: Name of the model; see `build_sam2`.
        image_size: Side of the square that frames are resized to; see `build_sam2`.
        max_objects: Objects whose logits are held at the size of the frame at once; labels do not depend on it.
        device: "auto" (CUDA where there is one), or as torch names it.
        mixed_precision: Compute in bfloat16 on CUDA. The CPU takes single precision in any case.
        offload_to_cpu: Keep the memory of past frames on the CPU, which spares the GPU with many objects.

    Raises:
        ConfigError: The extra `sam` is not installed, or a setting is out of range.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another model.
    """

    name: ClassVar[str] = "sam2"
    hard: ClassVar[bool] = False

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        model: str | None = None,
        image_size: int | None = None,
        max_objects: int = 32,
        device: str = "auto",
        mixed_precision: bool = True,
        offload_to_cpu: bool = False,
    ) -> None:
        if max_objects < 1:
            raise ConfigError("max_objects of SAM 2", expected="at least 1", found=max_objects)
        self._settings: dict[str, Any] = {
            "weights": weights,
            "model": model,
            "image_size": image_size,
            "max_objects": max_objects,
            "device": device,
            "mixed_precision": mixed_precision,
            "offload_to_cpu": offload_to_cpu,
        }
        self._max_objects, self._mixed, self._offload = max_objects, mixed_precision, offload_to_cpu
        self._device = choose_device(device)
        self._model = build_sam2(weights, model, image_size)

    def __reduce__(self) -> tuple[object, ...]:
        return partial(type(self), **self._settings), ()

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the labels depend on."""
        return {**self._model.identity, "mixed_precision": self._mixed}

    def to(self, device: str) -> None:
        """Compute on a device from now on; see `MovesToDevice.to`."""
        self._device = choose_device(device)
        self._settings["device"] = device

    def probabilities(self, objects: ObjectMap, frames: Iterable[UInt8Array]) -> Iterator[SAM2Tracker | Propagated]:
        """Yield where the objects are in every frame but the first; see `Propagator.probabilities`.

        It is the same tracker each time, which goes on when the next frame is asked for.
        """
        if not objects.objects:
            yield from (Propagated(np.zeros_like(objects.ids), 0.0) for _ in islice(frames, 1, None))
            return
        predictor = self._model.predictor.to(self._device)
        reading = (_resize(frame, predictor.image_size) for frame in frames)
        count, resized = _count_ahead(reading, predictor.max_obj_ptrs_in_encoder)
        with precision_context(self._device, self._mixed):
            tracker = SAM2Tracker(predictor, next(resized), objects, count, self._offload, self._max_objects)
        for frame in resized:
            with precision_context(self._device, self._mixed):
                tracker.step(frame)
            yield tracker


class SAM2Tracker:
    """One pass of SAM 2 over a clip, one frame at a time.

    It drives `SAM2VideoPredictor` by `add_new_mask`, `propagate_in_video_preflight` and, for each object and frame, by
    the step inside `propagate_in_video` (which wants all frames beforehand and prints a progress bar). The predictor
    keeps its state in a dictionary, made here as its `init_state` makes it from a folder of files. So besides public
    methods this relies on the entries of that dictionary, on `_run_single_frame_inference`, on
    `_get_orig_video_res_output` and on what an output is read for later, of `sam2` 1.1.

    Args:
        predictor: `SAM2VideoPredictor` on the device to compute on.
        frame: First frame, (S, S, 3) uint8 RGB of the input size of the model.
        objects: Objects of the first frame, at the size of the true frames.
        num_frames: Frames of the clip, as far as the model can tell: larger numbers than its number of object pointers
            (16) do not change anything.
        offload_to_cpu: Whether to keep memory on the CPU.
        max_objects: Objects whose logits are held at the size of the frame at once.
    """

    @torch.inference_mode()
    def __init__(
        self,
        predictor: Any,
        frame: UInt8Array,
        objects: ObjectMap,
        num_frames: int,
        offload_to_cpu: bool,
        max_objects: int,
    ) -> None:
        self._predictor, self._max_objects = predictor, max_objects
        self._index, self._num_frames = _PROMPTED, num_frames
        self._ids, self._size = [item.id for item in objects.objects], objects.ids.shape
        # While it is prompted, the predictor returns the masks of all objects so far, each time. At the size of its own
        # output this costs next to nothing.
        self._state = _new_state(predictor, (predictor.image_size // 4,) * 2, num_frames, offload_to_cpu)
        self._show(frame)
        for object_id in self._ids:
            predictor.add_new_mask(self._state, _PROMPTED, object_id, objects.ids == object_id)
        predictor.propagate_in_video_preflight(self._state)
        self._state["mask_inputs_per_obj"].clear()
        self._state["video_height"], self._state["video_width"] = self._size
        self._outputs: list[Mapping[str, Any]] = []

    @torch.inference_mode()
    def step(self, frame: UInt8Array) -> None:
        """Follow all objects into the next frame.

        Args:
            frame: Next frame, (S, S, 3) uint8 RGB.
        """
        self._index += 1
        self._state["num_frames"] = max(self._num_frames, self._index + 1)
        self._show(frame)
        self._outputs = [self._follow(outputs) for outputs in self._state["output_dict_per_obj"].values()]

    @torch.inference_mode()
    def logits(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Logits of objects in the current frame.

        Args:
            start: First of the objects.
            stop: Behind the last of them.

        Returns:
            (K, H, W) float32 on the device of the model.
        """
        masks = torch.cat([output["pred_masks"] for output in self._outputs[start:stop]])
        _, full = self._predictor._get_orig_video_res_output(self._state, masks)
        at_frame_size: Tensor = full[:, 0]
        return at_frame_size

    @torch.inference_mode()
    def scores(self) -> Tensor:
        """Probability that each object is visible in the current frame, (K,) float32 on the device of the model."""
        return torch.cat([output["object_score_logits"][:, 0] for output in self._outputs]).float().sigmoid()

    def probability_of(self, object_id: int) -> Float32Array:
        """Probability that a pixel shows an object, (H, W); see `ObjectProbabilities.probability_of`."""
        place = self._ids.index(object_id)
        return np.asarray(self.logits(place, place + 1)[0].sigmoid().float().cpu().numpy(), np.float32)

    def decide(self) -> Propagated:
        """The object with the largest logit above 0 in every pixel; see `RunningMerge`."""
        merge = RunningMerge(self._size, self._state["device"])
        for start in range(0, len(self._ids), self._max_objects):
            stop = start + self._max_objects
            merge.update(self.logits(start, stop), self._ids[start:stop])
        scores = self.scores()
        confidence = merge.expected_precision(scores, self._ids)
        return Propagated(merge.ids(), confidence, dict(zip(self._ids, scores.tolist(), strict=True)))

    def _show(self, frame: UInt8Array) -> None:
        """Let the predictor see this frame, and this frame only."""
        self._state["images"] = {self._index: _normalise(frame).to(self._state["device"])}
        self._state["cached_features"] = {}

    def _follow(self, outputs: dict[str, dict[int, dict[str, Any]]]) -> Mapping[str, Any]:
        """Find one object in the current frame, and forget what no later frame needs."""
        output, masks = self._predictor._run_single_frame_inference(
            inference_state=self._state,
            output_dict=outputs,
            frame_idx=self._index,
            batch_size=1,
            is_init_cond_frame=False,
            point_inputs=None,
            mask_inputs=None,
            reverse=False,
            run_mem_encoder=True,
        )
        memory = outputs["non_cond_frame_outputs"]
        memory[self._index] = {**output, "pred_masks": None}  # no later frame reads the masks
        # How far back the predictor looks for the masks of past frames, and for pointers to objects.
        stride = int(self._predictor.memory_temporal_stride_for_eval)
        features_from = self._index - 1 - (int(self._predictor.num_maskmem) - 2) * stride
        pointers_from = self._index - self._predictor.max_obj_ptrs_in_encoder
        if features_from in memory:
            memory[features_from] = {**memory[features_from], "maskmem_features": None}
        memory.pop(min(features_from, pointers_from), None)
        return {"pred_masks": masks, "object_score_logits": output["object_score_logits"]}


def _new_state(predictor: Any, size: tuple[int, int], num_frames: int, offload_to_cpu: bool) -> dict[str, Any]:
    device = predictor.device
    per_object = ("point_inputs", "mask_inputs", "output_dict", "temp_output_dict", "frames_tracked")
    return {
        "images": {},
        "num_frames": num_frames,
        "offload_video_to_cpu": False,
        "offload_state_to_cpu": offload_to_cpu,
        "video_height": size[0],
        "video_width": size[1],
        "device": device,
        "storage_device": torch.device("cpu") if offload_to_cpu else device,
        "cached_features": {},
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        **{f"{name}_per_obj": {} for name in per_object},
    }


def _resize(frame: UInt8Array, side: int) -> UInt8Array:
    """Resize as the predictor does with the files it reads."""
    return np.asarray(Image.fromarray(frame).resize((side, side)))


def _normalise(frame: UInt8Array) -> Tensor:
    """The image that the model takes, (3, S, S) float32, with the roundings of the predictor's own reader."""
    image = torch.from_numpy(frame / 255.0).permute(2, 0, 1).float()
    mean, std = (torch.tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return image.sub_(mean).div_(std)


def _count_ahead(frames: Iterator[UInt8Array], most: int) -> tuple[int, Iterator[UInt8Array]]:
    """Count frames up to a number, and return them all; an error among them is raised when its turn comes."""
    ahead: deque[UInt8Array] = deque()
    failure: Exception | None = None
    try:
        ahead.extend(islice(frames, most))
    except Exception as error:
        failure = error

    def again() -> Iterator[UInt8Array]:
        while ahead:
            yield ahead.popleft()
        if failure is not None:
            raise failure
        yield from frames

    return len(ahead), again()
