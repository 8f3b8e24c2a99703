"""Networks in plain torch: build them by name, run them on any frame size, stream a video through them."""

from __future__ import annotations

from thriftseg.lazy import face
from thriftseg.zoo.blocks.backbones import fetching_weights, licensed_start
from thriftseg.zoo.blocks.batch_norm import freeze_batch_norm
from thriftseg.zoo.blocks.strided_logits import StridedLogits
from thriftseg.zoo.box2seg import Box2Seg
from thriftseg.zoo.deeplabv3plus import DeepLabV3Plus
from thriftseg.zoo.hf import HFNetwork, QueryState, semantic_logits
from thriftseg.zoo.hrnet import HRNet
from thriftseg.zoo.mmseg import MMSegNetwork
from thriftseg.zoo.network import (
    IDENTITY,
    IMAGENET,
    ConstructorRecord,
    Network,
    Preprocessing,
    SemanticNetwork,
)
from thriftseg.zoo.profiling import NetworkProfile, profile
from thriftseg.zoo.pspnet import PSPNet
from thriftseg.zoo.registry import (
    architectures_of,
    code_licence_of,
    create_model,
    list_models,
    rebuild,
    register_network,
)
from thriftseg.zoo.scorers.annotation_policy import AnnotationPolicy, PolicyOutput
from thriftseg.zoo.scorers.base import Scorer
from thriftseg.zoo.scorers.qnet import QNet
from thriftseg.zoo.smp import FPN, SegFormer, UPerNet
from thriftseg.zoo.spixelfcn import SpixelFCN
from thriftseg.zoo.streaming import FrameWindow, StreamState
from thriftseg.zoo.tdnet.fanet import TDNetFANet
from thriftseg.zoo.tdnet.network import TDNet, TDNetState
from thriftseg.zoo.tdnet.psp import TDNetPSP
from thriftseg.zoo.tmanet import TMANet
from thriftseg.zoo.vos.memory import Memory, MemoryFrame, MemoryPolicy
from thriftseg.zoo.vos.network import MemoryNetwork, VOSNetwork, VOSState
from thriftseg.zoo.vos.objects import ObjectIds, ObjectRows
from thriftseg.zoo.vos.padding import SplitPadding
from thriftseg.zoo.vos.promptable import (
    VIDEO_NETWORK,
    PromptableVideoNetwork,
    Proposals,
    forget_past,
    load_video_network,
    processor_for,
)
from thriftseg.zoo.vos.stm import STM
from thriftseg.zoo.vos.tracker import ObjectTracker
from thriftseg.zoo.weights.catalog import CatalogEntry, list_published, load, names_a_path, read_index, write_index
from thriftseg.zoo.weights.export import DEFAULT_SIZE, ExportReport, export_onnx
from thriftseg.zoo.weights.files import (
    CARD_SUFFIX,
    WEIGHTS_SUFFIX,
    Published,
    check_weights,
    describe_weights,
    encode_card,
    encode_weights,
    save_weights,
    weights_digest,
)
from thriftseg.zoo.weights.licences import NOT_STATED, licences_behind, restrictions, tell_restrictions
from thriftseg.zoo.weights.notes import CheckpointNotes, DataNote, ObjectRecord
from thriftseg.zoo.weights.official import (
    ImportReport,
    KeyMismatchError,
    OfficialReport,
    import_checkpoint,
    load_official,
    read_official,
)
from thriftseg.zoo.weights.onnx_stream import ONNX_SUFFIX, OnnxNetwork, OnnxStream
from thriftseg.zoo.weights.pretrained import import_transformers, licence_of, load_part, load_pretrained
from thriftseg.zoo.weights.releases import licence_of_release
from thriftseg.zoo.windows import (
    SlidingWindow,
    WholeImage,
    inference_from_record,
    inference_record,
    mean_of_windows,
    predict_sliding,
    predict_whole,
)

_, __dir__, __all__ = face(__name__)  # nothing is lazy here: networks register when they are imported
