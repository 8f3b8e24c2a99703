"""SAM 2 by the name of a model and its weights, built by the `sam2` package itself.

Post-processing stays off, as in the authors' own evaluation of video object segmentation: filling holes needs a
compiled part that the wheel of `sam2` does not have, and the predictor would warn at every frame without it.

[0] Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025, https://arxiv.org/abs/2408.00714.
[1] https://github.com/facebookresearch/sam2
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo import weights_digest

INSTALL = "pip install thriftseg[sam]"

_STRIDE = 32
_ATTENTIONS = ("self_attention", "cross_attention")


@dataclass(frozen=True)
class SAM2Model:
    """A model of SAM 2 with its weights.

    Attributes:
        predictor: `sam2.sam2_video_predictor.SAM2VideoPredictor`, in evaluation mode, on the CPU; it serves as the
            model of `sam2.sam2_image_predictor.SAM2ImagePredictor` as well.
        identity: What tells it from others, JSON values only: name of the model, digest of its weights, size of its
            input.
    """

    predictor: Any
    identity: Mapping[str, Any]


def build_sam2(weights: str | Path | None, model: str | None = None, image_size: int | None = None) -> SAM2Model:
    """Build a model of SAM 2 and load its weights.

    Args:
        weights: Checkpoint file, or an id of the Hugging Face hub such as "facebook/sam2.1-hiera-tiny", which the
            `sam2` package downloads.
        model: Name of the model, such as "sam2.1_hiera_tiny" or "sam2_hiera_base_plus"; the name of the checkpoint
            file when absent.
        image_size: Side of the square that frames are resized to, a multiple of 32; 1024, as in training, when
            absent. The cost grows with its square or faster.

    Raises:
        ConfigError: The extra `sam` is not installed, there is no such model, or no weights are given.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another model.
    """
    if image_size is not None and (image_size < _STRIDE or image_size % _STRIDE):
        raise ConfigError("image_size of SAM 2", expected=f"a multiple of {_STRIDE}", found=image_size)
    try:
        library = import_module("sam2.build_sam")
    except ImportError as error:
        raise ConfigError("SAM 2 is not installed", found=error, fix=INSTALL) from error
    name, config, path = _locate(library, weights, model)
    state = _read(path)
    with torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about flash attention on old devices, which is no fault
        predictor = library.build_sam2_video_predictor(
            config, device="cpu", apply_postprocessing=False, hydra_overrides_extra=size_overrides(image_size)
        )
    own = predictor.state_dict()
    wrong = own.keys() ^ state.keys()
    wrong |= {key for key in own.keys() & state.keys() if own[key].shape != getattr(state[key], "shape", None)}
    if wrong:
        raise CheckpointError(
            f"no weights of {name}",
            path=path,
            found=f"{len(wrong)} entries that are missing, unknown or of another size, such as {min(wrong)}",
            fix="name the model that the checkpoint belongs to",
        )
    predictor.load_state_dict(state)
    identity = {"model": name, "weights": weights_digest(predictor), "image_size": predictor.image_size}
    return SAM2Model(predictor.requires_grad_(False), identity)


def precision_context(device: torch.device, enabled: bool) -> AbstractContextManager[Any]:
    """A context that computes in bfloat16 on CUDA where that is enabled, and in single precision otherwise."""
    return torch.autocast("cuda", torch.bfloat16) if enabled and device.type == "cuda" else nullcontext()


@contextmanager
def without_chatter() -> Iterator[None]:
    """Keep the `sam2` package from logging to the root logger, and so from setting that up."""
    root, silence = logging.getLogger(), logging.NullHandler()
    root.addHandler(silence)
    root.addFilter(_not_from_sam2)
    try:
        yield
    finally:
        root.removeFilter(_not_from_sam2)
        root.removeHandler(silence)


def _not_from_sam2(record: logging.LogRecord) -> bool:
    return not record.module.startswith("sam2_")


def _locate(library: Any, weights: str | Path | None, model: str | None) -> tuple[str, str, Path]:
    """Name and configuration of the model, and the file of its weights."""
    hub: Mapping[str, tuple[str, str]] = library.HF_MODEL_ID_TO_FILENAMES
    configs = {Path(checkpoint).stem: config for config, checkpoint in hub.values()}
    if weights is None:
        raise ConfigError(
            "SAM 2 has no weights",
            expected="a checkpoint file or an id of the Hugging Face hub",
            fix=f"pass one of {', '.join(hub)}, or a file fetched from https://github.com/facebookresearch/sam2",
        )
    path = Path(weights)
    if str(weights) in hub:
        try:
            path = Path(library._hf_download(str(weights))[1])
        except Exception as error:  # networks, proxies and disks fail in their own ways
            raise CheckpointError(
                "the weights could not be fetched", path=weights, found=error, fix="pass the path of a checkpoint file"
            ) from error
    if not path.is_file():
        raise CheckpointError("no such checkpoint", path=path, expected=f"a file, or one of {', '.join(hub)}")
    name = model or path.stem
    if name not in configs:
        fix = None if model else "name the model that the checkpoint belongs to"
        raise ConfigError("no such model of SAM 2", expected=", ".join(configs), found=repr(name), fix=fix)
    return name, configs[name], path


def size_overrides(image_size: int | None) -> list[str]:
    """Hydra overrides for another size of input; the rotary encoding of the attention is bound to it."""
    if image_size is None:
        return []
    side = image_size // 16
    layer = "++model.memory_attention.layer"
    return [
        f"++model.image_size={image_size}",
        *(f"{layer}.{attention}.feat_sizes=[{side},{side}]" for attention in _ATTENTIONS),
    ]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a parser fed with arbitrary bytes can fail in any way
        raise CheckpointError(
            "not a checkpoint, or cut short", path=path, found=f"{path.stat().st_size} bytes", fix="fetch it again"
        ) from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise CheckpointError("holds no weights of SAM 2", path=path, expected="an entry 'model' with tensors by name")
    return state
