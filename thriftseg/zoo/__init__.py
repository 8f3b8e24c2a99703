"""Networks in plain torch: build them by name, run them on any frame size, stream a video through them."""

from __future__ import annotations

from thriftseg.zoo.deeplabv3plus import DeepLabV3Plus
from thriftseg.zoo.hrnet import HRNet
from thriftseg.zoo.inference import SlidingWindow, WholeImage, predict_sliding, predict_whole
from thriftseg.zoo.network import (
    IDENTITY,
    IMAGENET,
    ConstructorRecord,
    FrameWindow,
    Network,
    Preprocessing,
    SemanticNetwork,
    StreamState,
)
from thriftseg.zoo.pspnet import PSPNet
from thriftseg.zoo.registry import create_model, list_models, rebuild, register_network
from thriftseg.zoo.tdnet import DistillationOutputs, TDNet, TDNetState
from thriftseg.zoo.tdnet_fanet import TDNetFANet
from thriftseg.zoo.tdnet_psp import TDNetPSP
from thriftseg.zoo.weights import Published, save_weights

__all__ = [
    "IDENTITY",
    "IMAGENET",
    "ConstructorRecord",
    "DeepLabV3Plus",
    "DistillationOutputs",
    "FrameWindow",
    "HRNet",
    "Network",
    "PSPNet",
    "Preprocessing",
    "Published",
    "SemanticNetwork",
    "SlidingWindow",
    "StreamState",
    "TDNet",
    "TDNetFANet",
    "TDNetPSP",
    "TDNetState",
    "WholeImage",
    "create_model",
    "list_models",
    "predict_sliding",
    "predict_whole",
    "rebuild",
    "register_network",
    "save_weights",
]
