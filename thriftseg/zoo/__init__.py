"""Networks in plain torch: build them by name, run them on any frame size, stream a video through them."""

from __future__ import annotations

from thriftseg.zoo.deeplabv3plus import DeepLabV3Plus
from thriftseg.zoo.hrnet import HRNet
from thriftseg.zoo.inference import SlidingWindow, WholeImage, predict_sliding, predict_whole
from thriftseg.zoo.network import IMAGENET, ConstructorRecord, Network, Preprocessing, SemanticNetwork
from thriftseg.zoo.pspnet import PSPNet
from thriftseg.zoo.registry import create_model, list_models, rebuild, register_network

__all__ = [
    "IMAGENET",
    "ConstructorRecord",
    "DeepLabV3Plus",
    "HRNet",
    "Network",
    "PSPNet",
    "Preprocessing",
    "SemanticNetwork",
    "SlidingWindow",
    "WholeImage",
    "create_model",
    "list_models",
    "predict_sliding",
    "predict_whole",
    "rebuild",
    "register_network",
]
