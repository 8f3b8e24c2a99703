"""SAM 2 small enough for tests: the true hiera-tiny at image size 256, with random weights, as a checkpoint file."""

from __future__ import annotations

from pathlib import Path

import torch

from thriftseg.labels.sam2_models import size_overrides
from thriftseg.stores.object_map import ObjectMap, objects_of
from thriftseg.synthetic import SceneConfig, render_clip

CONFIGS = {
    "sam2_hiera_tiny": "configs/sam2/sam2_hiera_t.yaml",
    "sam2.1_hiera_tiny": "configs/sam2.1/sam2.1_hiera_t.yaml",
}


def hand_built(model: str = "sam2.1_hiera_tiny", image_size: int = 256, checkpoint: Path | None = None):
    """The predictor as a user of the package builds it."""
    from sam2.build_sam import build_sam2_video_predictor

    return build_sam2_video_predictor(
        CONFIGS[model],
        checkpoint,
        device="cpu",
        apply_postprocessing=False,
        hydra_overrides_extra=size_overrides(image_size),
    )


def write_checkpoint(folder: Path, model: str = "sam2.1_hiera_tiny", seed: int = 0) -> Path:
    """Random weights, in the layout of the authors' checkpoints.

    They are turned so that objects count as visible and that masks depend on the memory of each object: with plain
    random weights all objects look nearly the same.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = hand_built(model).state_dict()
    for name, value in state.items():
        if name == "sam_mask_decoder.pred_obj_score_head.layers.2.bias":
            value += 2
        if "cross_attn_image" in name and name.endswith(("v_proj.weight", "out_proj.weight")):
            value *= 4
    path = folder / f"{model}.pt"
    torch.save({"model": state}, path)
    return path


def street(frames: int, seed: int = 0, height: int = 96, width: int = 160, most_objects: int | None = None):
    """Frames, (H, W, 3) uint8, and the objects of the first of them."""
    clip = list(render_clip(SceneConfig(height=height, width=width, num_frames=frames, seed=seed)))
    objects = objects_of(clip[0].label)
    return [frame.image for frame in clip], ObjectMap(objects.ids, objects.objects[:most_objects])
