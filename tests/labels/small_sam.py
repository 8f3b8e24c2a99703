"""SAM small enough for tests: the true network of `transformers`, with random weights, saved to a folder."""

from __future__ import annotations

from pathlib import Path

import torch

SIDE = 64


def write_sam(folder: Path, seed: int = 0) -> Path:
    from transformers import SamConfig, SamImageProcessor, SamModel

    config = SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": SIDE,
            "patch_size": 8,
            "num_pos_feats": 16,
            "window_size": 4,
            "global_attn_indexes": [1],
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": SIDE, "patch_size": 8},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "iou_head_hidden_dim": 32},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = SamModel(config)
        for parameter in network.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    square = {"height": SIDE, "width": SIDE}
    SamImageProcessor(size={"longest_edge": SIDE}, pad_size=square).save_pretrained(folder)
    return folder
