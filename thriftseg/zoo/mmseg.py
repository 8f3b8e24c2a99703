"""Networks of mmsegmentation, built from their configs."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo.network import Preprocessing, SemanticNetwork
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.weights.official import load_official

INSTALL = 'pip install "thriftseg[mmseg]"'

LARGEST_STRIDE = 64
"""Multiples of this suit every network of mmsegmentation."""

TUPLE = "__tuple__"
"""Key of a dictionary that stands for a tuple in a record."""

Config = dict[str, Any]


@register_network("mmseg")
class MMSegNetwork(SemanticNetwork):
    """Any encoder-decoder of mmsegmentation [1], from its config and its checkpoint.

    The network is built by [1] and read as in its whole-image mode: `forward` gives the logits that [1] computes for
    the same frame. `preprocessing` is the config's data preprocessor (mean, std and channel order). Frames whose sides
    are no multiples of `size_multiple` are padded by repeating their border.

    Changed in the config: links to pre-trained weights are dropped, since nothing is fetched here, and synchronised
    batch norms become plain ones (a trainer can synchronise them again). The record holds what remains of the config's
    model section in place of the file names, so that a stored network can be rebuilt anywhere.

    `pip install "thriftseg[mmseg]"` installs [1], and with it another wheel of cv2: use an environment of its own. Its
    operations in C++ are not built then, so the few networks that need them (CCNet, PSANet, PointRend) are refused.

    A Python config is a program: only read one that you trust. A record is not: it names no files, and no modules but
    those that are registered with [1]. Checkpoints are read without running code of theirs.

    [1] https://github.com/VBTI-development/onedl-mmsegmentation, the maintained fork of
        https://github.com/open-mmlab/mmsegmentation

    Args:
        config: Path of a config of [1], or the plain dictionary of its model section.
        checkpoint: Path of its weights; the initialisation of [1] if left out.
        size_multiple: Of what the sides of the input must be multiples. By default the size divisor of the data
            preprocessor, or what a U-Net's downsampling asks for, and 1 for all other networks.

    Raises:
        ConfigError: mmsegmentation is not installed, or the config cannot be read, names a module that is not
            registered, or describes no semantic segmentation of RGB images.
        CheckpointError: The checkpoint cannot be read, or its entries are not those of the config.

    Example:
        >>> try:
        ...     MMSegNetwork.check_record({"config": "configs/segformer.py", "checkpoint": None})
        ... except CheckpointError as error:
        ...     print(error.found)
        config 'configs/segformer.py'
    """

    library_licence = "Apache-2.0"

    def __init__(self, config: str | Config, checkpoint: str | None = None, size_multiple: int | None = None) -> None:
        package = _import_mmseg()
        section = _plain(_model_section(config) if isinstance(config, str) else config)
        _refuse_unregistered(section)
        settings = section.get("data_preprocessor") or {}
        model = _build(package, {key: value for key, value in section.items() if key != "data_preprocessor"})
        super().__init__(model.num_classes)
        self.model = model
        self.align_corners = bool(model.align_corners)
        self.preprocessing = preprocessing_of(settings)
        divisor: int | None = (settings.get("test_cfg") or {}).get("size_divisor")
        self.size_multiple = size_multiple or divisor or _downsampling(model.backbone)
        record = {"config": _storable(section), "checkpoint": None, "size_multiple": self.size_multiple}
        self.__dict__["_init_args"] = record
        if checkpoint is None:
            _initialise(model)
        else:
            self._load(checkpoint)

    @classmethod
    def check_record(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse the path of a config, which would be run, and that of a checkpoint; see `Network.check_record`."""
        for name, expected in (("config", dict), ("checkpoint", type(None))):
            if not isinstance(arguments.get(name), expected):
                raise CheckpointError(
                    f"the record of a {cls.__name__} names a file",
                    expected="the model section of its config, and no checkpoint",
                    found=f"{name} {arguments.get(name)!r}",
                    fix="build the network from its config again, and save that",
                )

    def compute_logits(self, frames: Tensor, **phase: int) -> Tensor:
        """Logits of the decode head; at the input's size if it enlarges them itself (cascades, mask classification)."""
        return self._decode(self._features(frames), frames)

    def compute_outputs(self, frames: Tensor, **phase: int) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SemanticNetwork.compute_outputs`; the heads are "auxiliary_0", "auxiliary_1", ..."""
        features = self._features(frames)
        auxiliary = {name: head(features) for name, head in self._auxiliary_heads.items()}
        return self._decode(features, frames), auxiliary

    @property
    def further_outputs(self) -> tuple[str, ...]:
        """See `SemanticNetwork.further_outputs`."""
        return tuple(self._auxiliary_heads)

    @property
    def _auxiliary_heads(self) -> dict[str, Any]:
        heads = _listed(self.model.auxiliary_head) if self.model.with_auxiliary_head else []
        return {f"auxiliary_{index}": head for index, head in enumerate(heads)}

    def official_key(self, key: str) -> str | None:
        """See `Network.official_key`."""
        return f"model.{key}"

    def _features(self, clip: Tensor) -> Any:
        height, width = clip.shape[-2:]
        try:
            return self.model.extract_feat(clip[:, -1])
        except (AssertionError, RuntimeError) as error:  # networks that join several strides do not take all sizes
            if isinstance(error, torch.OutOfMemoryError) or height % LARGEST_STRIDE == width % LARGEST_STRIDE == 0:
                raise
            raise ConfigError(
                "this network of mmsegmentation cannot take this size",
                expected=f"sides that are multiples of {LARGEST_STRIDE}, or of less",
                found=f"{height} x {width}",
                fix=f"build it with size_multiple={LARGEST_STRIDE}",
            ) from error

    def _decode(self, features: Any, frames: Tensor) -> Tensor:
        *earlier, last = _listed(self.model.decode_head)
        plain = importlib.import_module("mmseg.models.decode_heads.decode_head").BaseDecodeHead
        if not earlier and isinstance(last, plain) and type(last).predict is plain.predict:
            logits: Tensor = last(features)
            return logits
        outputs: list[Any] = []
        for head in earlier:
            outputs = [head(features, *outputs)]
        metas = [{"img_shape": tuple(frames.shape[-2:])}] * frames.shape[0]
        predicted: Tensor = last.predict(features, *outputs, metas, self.model.test_cfg)
        return predicted

    def _load(self, checkpoint: str) -> None:
        """Read a checkpoint, whose log of the training may hold arrays, and objects that mean nothing here."""
        rebuild_array: Any = np.zeros(0).__reduce__()[0]
        arrays = [(rebuild_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
        logged = [(_Ignored, name) for name in ("builtins.getattr", "mmengine.logging.history_buffer.HistoryBuffer")]
        with torch.serialization.safe_globals([np.ndarray, *arrays, *logged]):
            load_official(self, checkpoint)


def preprocessing_of(settings: Mapping[str, Any]) -> Preprocessing:
    """Translate a data preprocessor of mmsegmentation, which reads BGR frames in 0 to 255.

    Args:
        settings: Its config; empty if there is none.

    Raises:
        ConfigError: It normalises something else than three channels.

    Example:
        >>> preprocessing_of({"mean": [127.5, 0.0, 0.0], "std": [51.0, 255.0, 255.0], "bgr_to_rgb": True})
        Preprocessing(mean=(0.5, 0.0, 0.0), std=(0.2, 1.0, 1.0), channel_order='rgb')
    """
    mean, std = settings.get("mean") or (0.0, 0.0, 0.0), settings.get("std") or (1.0, 1.0, 1.0)
    if len(mean) != 3 or len(std) != 3:
        raise ConfigError("the config's data preprocessor is not for RGB images", expected="3 means", found=len(mean))
    turned = bool(settings.get("bgr_to_rgb") or settings.get("rgb_to_bgr"))  # to it, the two are one operation
    return Preprocessing(_rgb_share(mean, turned), _rgb_share(std, turned), "rgb" if turned else "bgr")


def _rgb_share(values: Sequence[float], in_rgb: bool) -> tuple[float, float, float]:
    first, second, third = (value / 255 for value in values)
    return (first, second, third) if in_rgb else (third, second, first)


def _import_mmseg() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about optional parts of its own
            return importlib.import_module("mmseg.models")
    except ImportError as error:
        raise ConfigError("mmsegmentation is not installed", found=error, fix=INSTALL) from error


def _model_section(path: str) -> Config:
    mmengine = importlib.import_module("mmengine")
    if not Path(path).is_file():
        raise ConfigError("no such config", path=path)
    try:
        whole = mmengine.Config.fromfile(path).to_dict()
    except Exception as error:  # a Python config can fail in any way
        raise ConfigError("cannot read this config", path=path, found=f"{type(error).__name__}: {error}") from error
    if not isinstance(whole.get("model"), dict):
        raise ConfigError("config without a model section", path=path, found=", ".join(whole) or "nothing")
    section: Config = whole["model"]
    if "data_preprocessor" not in section and "data_preprocessor" in whole:
        section["data_preprocessor"] = whole["data_preprocessor"]
    return section


def _plain(value: Any) -> Any:
    """Plain values only, without links to weights, and with batch norms that need no process group."""
    if isinstance(value, Mapping) and value.keys() == {TUPLE}:
        return tuple(_plain(value[TUPLE]))
    if isinstance(value, Mapping):
        kept = {str(key): _plain(item) for key, item in value.items() if key != "pretrained" and not _is_link(item)}
        return {**kept, "type": "BN"} if kept.get("type") == "SyncBN" else kept
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value if not _is_link(item))
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ConfigError(
        "config with a value that cannot be stored",
        expected="numbers, strings, lists and dictionaries",
        found=repr(value),
    )


def _is_link(value: Any) -> bool:
    """Whether a value of a config says that a module shall get its weights from a file or an address."""
    return isinstance(value, Mapping) and value.get("type") == "Pretrained"


def _storable(value: Any) -> Any:
    """Plain values as JSON can hold them, for `_plain` to read: modules of mmsegmentation tell tuples from lists."""
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_storable(item) for item in value]
        return {TUPLE: items} if isinstance(value, tuple) else items
    return value


def _refuse_unregistered(section: Config) -> None:
    """A module that is not registered would be imported by its path, and called with what the config says."""
    mmseg, mmengine = importlib.import_module("mmseg.registry"), importlib.import_module("mmengine.registry")
    registries = mmseg.MODELS, mmseg.TASK_UTILS, mmengine.MODELS, mmengine.WEIGHT_INITIALIZERS
    known = {name for registry in registries for name in registry.module_dict}
    for scope, registry in mmengine.MODELS.children.items():
        known |= {f"{scope}.{name}" for name in registry.module_dict}
    for name in _types(section):
        if name not in known:
            raise ConfigError(
                f"no module {name!r} is registered with mmsegmentation",
                fix="import the package that registers it first, or correct the name",
            )


def _types(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "type" in value:
            yield str(value["type"])
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _types(item)


def _build(package: Any, section: Config) -> Any:
    """The network that a config describes, if it gives every pixel a class."""
    registry, mmengine = importlib.import_module("mmseg.registry"), importlib.import_module("mmengine.registry")
    with mmengine.DefaultScope.overwrite_default_scope("mmseg"):
        try:
            model = registry.MODELS.build(section)
        except Exception as error:  # each of its modules checks its arguments in its own way
            found = f"{type(error).__name__} {error}".strip()
            raise ConfigError("mmsegmentation cannot build this config", found=found) from error
    if not isinstance(model, package.EncoderDecoder) or isinstance(model, package.DepthEstimator):
        raise ConfigError(
            "not a network for semantic segmentation", expected="an EncoderDecoder", found=type(model).__name__
        )
    if model.out_channels != model.num_classes:
        raise ConfigError(
            "the decode head has no logit per class", expected=model.num_classes, found=model.out_channels
        )
    return model


def _initialise(model: Any) -> None:
    """Let mmsegmentation draw the weights, without its report on every one of them."""
    logger = importlib.import_module("mmengine.logging").MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        model.init_weights()
    finally:
        logger.setLevel(level)


def _listed(head: nn.Module) -> list[Any]:
    return list(head) if isinstance(head, nn.ModuleList) else [head]


def _downsampling(backbone: Any) -> int:
    """A U-Net of mmsegmentation refuses sides that its downsampling does not divide."""
    if not (hasattr(backbone, "downsamples") and hasattr(backbone, "strides")):
        return 1
    halvings = zip(backbone.strides[1:], backbone.downsamples, strict=False)
    return math.prod(2 if stride == 2 or halved else 1 for stride, halved in halvings)


class _Ignored:
    """Stands for what the training of mmsegmentation logs into a checkpoint, so that nothing of it is called."""

    def __init__(self, *_: Any) -> None:
        pass
