"""Video networks of `transformers` small enough for tests: the true classes with random weights, saved to a folder.

And the loop that a user of the library writes, which keeps everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from thriftseg.stores.object_map import ObjectMap

MODEL_TYPES = ("sam2_video", "edgetam_video", "sam3_tracker_video")
SIDES = {"sam2_video": 64, "edgetam_video": 64, "sam3_tracker_video": 112}

WINDOW = 8
"""Frames that hold a pointer which the newest can read, half as many as published; the masks of six are read."""

_WIDTH = 128
_DECODER = {"hidden_size": _WIDTH, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
_MEMORY = {
    "memory_attention_hidden_size": _WIDTH,
    "memory_attention_num_layers": 2,
    "memory_encoder_hidden_size": _WIDTH,
    "mask_downsampler_embed_dim": _WIDTH,
    "memory_fuser_embed_dim": _WIDTH,
    "memory_fuser_intermediate_dim": 64,
    "max_object_pointers_in_encoder": WINDOW,
}


def _common(side: int, patch: int) -> dict:
    prompts = {"hidden_size": _WIDTH, "image_size": side, "patch_size": patch, "mask_input_channels": 4}
    return {"prompt_encoder_config": prompts, "mask_decoder_config": _DECODER, "image_size": side, **_MEMORY}


def _pyramid(side: int) -> dict:
    return {"backbone_feature_sizes": [[side // stride] * 2 for stride in (4, 8, 16)], "fpn_hidden_size": _WIDTH}


def _sam2(side: int):
    from transformers import Sam2VideoConfig

    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [side, side],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 4, 8],
        "blocks_per_stage": [1, 1, 2, 1],
        "window_size_per_stage": [8, 4, 4, 2],
        "global_attention_blocks": [3],
    }
    vision = {"model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8]}
    return Sam2VideoConfig(
        vision_config=vision | _pyramid(side),
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_attention_feed_forward_hidden_size=64,
        **_common(side, 16),
    )


def _edgetam(side: int):
    from transformers import EdgeTamVideoConfig

    backbone = {
        "model_type": "timm_wrapper",
        "architecture": "test_convnext",
        "num_classes": 2,
        "model_args": {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
    }
    vision = {"model_type": "edgetam_vision_model", "backbone_config": backbone}
    return EdgeTamVideoConfig(
        vision_config=vision | {"backbone_channel_list": [64, 48, 32, 24]} | _pyramid(side),
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        memory_attention_rope_k_sizes=[2, 2],
        memory_attention_mlp_hidden_size=64,
        perceiver_resampler_num_latents=4,
        perceiver_resampler_num_latents_2d=4,
        **_common(side, 16),
    )


def _sam3(side: int):
    from transformers import Sam3TrackerVideoConfig

    backbone = {
        "model_type": "sam3_vit_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "window_size": 2,
        "global_attn_indexes": [1],
        "pretrain_image_size": 28,
        "image_size": side,
    }
    return Sam3TrackerVideoConfig(
        vision_config={"model_type": "sam3_vision_model", "backbone_config": backbone, "fpn_hidden_size": _WIDTH},
        memory_attention_feed_forward_hidden_size=64,
        **_common(side, 14),
    )


_CONFIGS: dict[str, Callable] = {"sam2_video": _sam2, "edgetam_video": _edgetam, "sam3_tracker_video": _sam3}


def network_and_processor(model_type: str, side: int | None = None, seed: int = 0):
    """A network whose masks depend on what it remembers of each object, and objects count as visible."""
    import transformers

    side = side or SIDES[model_type]
    config = _CONFIGS[model_type](side)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = transformers.AutoModel.from_config(config).eval()
        for name, value in network.named_parameters():
            if value.ndim > 1 and "backbone" not in name:
                torch.nn.init.normal_(value, std=1.5 / value[0].numel() ** 0.5)
    with torch.no_grad():
        network.mask_decoder.pred_obj_score_head.proj_out.bias += 4
    size = {"height": side, "width": side}
    sam3 = model_type.startswith("sam3")
    image = transformers.Sam3ImageProcessor if sam3 else transformers.Sam2ImageProcessor
    processor = transformers.Sam3TrackerVideoProcessor if sam3 else transformers.Sam2VideoProcessor
    return network, processor(
        image_processor=image(size=size, mask_size=size),
        video_processor=transformers.Sam2VideoVideoProcessor(size=size),
    )


def write_video_network(folder: Path, model_type: str, side: int | None = None, seed: int = 0) -> Path:
    """Save a small network and its processor."""
    for part in network_and_processor(model_type, side, seed):
        part.save_pretrained(folder)
    return folder


def logits_by_hand(
    network, processor, frames: Iterable[np.ndarray], objects: ObjectMap, prompts: dict[int, dict] | None = None
) -> list[torch.Tensor]:
    """(K, H, W) of every frame but the first, as the documentation of `transformers` streams.

    Args:
        network: The network.
        processor: Its processor.
        frames: The frames.
        objects: Objects of the first.
        prompts: Arguments of `add_inputs_to_inference_session` by frame, given before the frame is looked at.
    """
    session = processor.init_video_session()
    masks = {"obj_ids": [item.id for item in objects.objects]}
    masks["input_masks"] = [objects.ids == number for number in masks["obj_ids"]]
    found = []
    for number, frame in enumerate(frames):
        inputs = processor(images=frame, return_tensors="pt")
        given = masks if number == 0 else (prompts or {}).get(number)
        if given:
            processor.add_inputs_to_inference_session(session, number, **given, original_size=inputs.original_sizes[0])
        output = network(inference_session=session, frame=inputs.pixel_values[0])
        found.append(processor.post_process_masks([output.pred_masks], inputs.original_sizes, binarize=False)[0][:, 0])
    return found[1:]
