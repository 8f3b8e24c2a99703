"""Networks in plain torch: build them by name, run them on any frame size, stream a video through them."""

from __future__ import annotations

from thriftseg.zoo.blocks.strided_logits import StridedLogits
from thriftseg.zoo.box2seg import Box2Seg
from thriftseg.zoo.deeplabv3plus import DeepLabV3Plus
from thriftseg.zoo.hrnet import HRNet
from thriftseg.zoo.mmseg import MMSegNetwork
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
from thriftseg.zoo.scorers.annotation_policy import AnnotationPolicy, PolicyOutput
from thriftseg.zoo.scorers.base import Scorer
from thriftseg.zoo.scorers.qnet import QNet
from thriftseg.zoo.spixelfcn import SpixelFCN
from thriftseg.zoo.tdnet.fanet import TDNetFANet
from thriftseg.zoo.tdnet.network import DistillationOutputs, TDNet, TDNetState
from thriftseg.zoo.tdnet.psp import TDNetPSP
from thriftseg.zoo.tmanet import TMANet
from thriftseg.zoo.vos import (
    Memory,
    MemoryFrame,
    MemoryPolicy,
    ObjectIds,
    ObjectRows,
    ObjectTracker,
    SplitPadding,
    VOSNetwork,
    VOSState,
)
from thriftseg.zoo.vos.stm import STM
from thriftseg.zoo.weights.catalog import CatalogEntry, list_published, load
from thriftseg.zoo.weights.files import Published, save_weights
from thriftseg.zoo.weights.official import KeyMismatchError, OfficialReport, load_official
from thriftseg.zoo.windows import SlidingWindow, WholeImage, predict_sliding, predict_whole

__all__ = [
    "IDENTITY",
    "IMAGENET",
    "STM",
    "AnnotationPolicy",
    "Box2Seg",
    "CatalogEntry",
    "ConstructorRecord",
    "DeepLabV3Plus",
    "DistillationOutputs",
    "FrameWindow",
    "HRNet",
    "KeyMismatchError",
    "MMSegNetwork",
    "Memory",
    "MemoryFrame",
    "MemoryPolicy",
    "Network",
    "ObjectIds",
    "ObjectRows",
    "ObjectTracker",
    "OfficialReport",
    "PSPNet",
    "PolicyOutput",
    "Preprocessing",
    "Published",
    "QNet",
    "Scorer",
    "SemanticNetwork",
    "SlidingWindow",
    "SpixelFCN",
    "SplitPadding",
    "StreamState",
    "StridedLogits",
    "TDNet",
    "TDNetFANet",
    "TDNetPSP",
    "TDNetState",
    "TMANet",
    "VOSNetwork",
    "VOSState",
    "WholeImage",
    "create_model",
    "list_models",
    "list_published",
    "load",
    "load_official",
    "predict_sliding",
    "predict_whole",
    "rebuild",
    "register_network",
    "save_weights",
]
