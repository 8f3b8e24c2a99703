"""EVA-VOS: the quality network and the agent."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from thriftseg.zoo import AnnotationPolicy, Network, QNet

MODELS = ("qnet_resnet18", "actor_critic_resnet18")


def build(config: dict[str, Any], shapes: dict[str, tuple[int, ...]]) -> Network:
    if "n_labels" in config:
        _refuse_other_merges(config)
        return QNet(config["n_labels"], backbone=config["arch"], dropout=config["dropout"]).eval()
    return AnnotationPolicy(
        config["out_dim"],
        image_encoder="sam",
        backbone=config["arch"],
        use_cost=config["use_cost"],
        dropout=config["dropout"],
    ).eval()


def run(network: Any, inputs: dict[str, Tensor], golden: dict[str, Any]) -> dict[str, Tensor]:
    masks = (inputs["mask_labels"] > 0).float()
    if isinstance(network, QNet):
        return {"features": network.features(inputs["rgb"], masks), "logits": network(inputs["rgb"], masks)}
    policy_logits, value = network(inputs["sam_embedding"], masks, inputs.get("cost"))
    return {"policy_logits": policy_logits, "value": value}


def _refuse_other_merges(config: dict[str, Any]) -> None:
    if config["merge_strategy"] != "cat":
        raise ValueError(f"unknown merge_strategy {config['merge_strategy']!r}")
