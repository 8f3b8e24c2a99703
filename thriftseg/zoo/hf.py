"""Vision transformers of Hugging Face `transformers` that classify masks, as networks that give every pixel a class."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo.network import IMAGENET, SemanticNetwork
from thriftseg.zoo.registry import register_network
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.weights.licences import tell_terms
from thriftseg.zoo.weights.pretrained import (
    INSTALL,
    check_exists,
    import_transformers,
    licence_of,
    quiet_transformers,
    reading_weights,
)

MODELS = {
    "eomt": "EomtForUniversalSegmentation",
    "eomt_dinov3": "EomtDinov3ForUniversalSegmentation",
    "videomt": "VideomtForUniversalSegmentation",
}
"""Class in `transformers` by the model type that a configuration states."""

TINY = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "num_blocks": 3}
SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "num_blocks": 3}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "num_blocks": 3}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "num_blocks": 4}
SEMANTIC = {"image_size": 512, "num_queries": 100}

_UNREAD = {"attn_mask_probs", "criterion.empty_weight", "embeddings.mask_token"}
_OF_CLASSES = {"class_predictor.weight", "class_predictor.bias", "criterion.empty_weight"}


@dataclass(frozen=True)
class QueryState(StreamState):
    """What VidEoMT knows of the frames before.

    Attributes:
        queries: (B, Q, D) each, as the last layer leaves them: one per place in the past where a window that is still
            to be judged begins, the oldest first.

    Example:
        >>> state = QueryState((torch.zeros(1, 2, 4),))
        >>> state.to("meta").queries[0].device.type, len(list(state.tensors))
        ('meta', 1)
    """

    queries: tuple[Tensor, ...] = ()


@register_network("eomt_tiny", config={"model_type": "eomt", **TINY, **SEMANTIC})
@register_network("eomt_small", config={"model_type": "eomt", **SMALL, **SEMANTIC})
@register_network("eomt_base", config={"model_type": "eomt", **BASE, **SEMANTIC})
@register_network("eomt_large", config={"model_type": "eomt", **LARGE, **SEMANTIC})
@register_network("videomt_tiny", config={"model_type": "videomt", **TINY, **SEMANTIC})
@register_network("videomt_small", config={"model_type": "videomt", **SMALL, **SEMANTIC})
@register_network("videomt_large", config={"model_type": "videomt", **LARGE, **SEMANTIC})
@register_network("hf")
class HFNetwork(SemanticNetwork):
    """EoMT [0], EoMT on DINOv3, or VidEoMT [1] of `transformers` [2]: a plain ViT whose last blocks also read queries.

    Each query proposes a mask and the class of it; `semantic_logits` turns the proposals into a logit per class and
    pixel, so that such a network is trained with any objective for semantic networks, at stride 4 for patches of 16.
    Frames of any size are taken: they are padded to whole patches, and learned positions are resized bicubically.

    Queries attend to all patches, as [0] and [1] do when they predict. The masked attention with which [0] begins its
    training and which it anneals to none is left out, and so are losses on masks that are matched to objects.

    VidEoMT hands the queries of a frame, as the last block leaves them, to the next. `forward` does so along its clip
    of `past_frames` + 1 frames. A stream either gives the same, for which it keeps the queries of each window that has
    begun (the first blocks run once per frame, the last ones `past_frames` + 1 times), or with `whole_video` hands them
    on from the first frame to the last, as in [1], which costs no more than a single frame.

    `pip install "thriftseg[hf]"` installs [2]. The record holds the configuration as plain data in place of the name of
    the weights, so that a stored network is rebuilt without reading or fetching anything.

    [0] Kerssies et al., Your ViT is Secretly an Image Segmentation Model, CVPR 2025.
    [1] Norouzi et al., VidEoMT: Your ViT is Secretly Also a Video Segmentation Model, CVPR 2026.
    [2] https://github.com/huggingface/transformers

    Args:
        num_classes: Number of classes. Weights for another number keep all but the layer that classifies.
        config: Entries of the configuration class of [2], with `model_type`: "eomt", "eomt_dinov3" or "videomt". What
            is not given has the default of [2], or with `weights` is theirs.
        weights: Folder that `save_pretrained` of [2] wrote, or an id of the Hugging Face hub; random by default.
        past_frames: Frames before the one to segment, 1 by default, for VidEoMT only.
        whole_video: Let a stream of VidEoMT remember all frames instead of the last `past_frames`.
        weights_licence: Licence of the weights, which the record keeps; by default what their README.md states.

    Raises:
        ConfigError: The extra `hf` is not installed, or the configuration is not one of these models.
        CheckpointError: The weights cannot be read or fetched, or belong to another network.

    Example:
        >>> config = {"model_type": "eomt", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> network = HFNetwork(5, {**config, "num_blocks": 1, "num_queries": 10, "image_size": 64}).eval()
        >>> network(torch.zeros(1, 3, 45, 60)).shape
        torch.Size([1, 5, 45, 60])
    """

    preprocessing = IMAGENET
    library_licence = "Apache-2.0"

    def __init__(
        self,
        num_classes: int,
        config: dict[str, Any] | None = None,
        weights: str | None = None,
        past_frames: int | None = None,
        whole_video: bool = False,
        weights_licence: str | None = None,
    ) -> None:
        super().__init__(num_classes)
        transformers = import_transformers()
        settings = _settings(transformers, config or {}, weights)
        settings.num_labels = num_classes
        model_type, described = settings.model_type, {name: getattr(settings, name) for name in _entries(settings)}
        self.is_video = model_type == "videomt"
        if not self.is_video and (past_frames or whole_video):
            raise ConfigError(f"{model_type} reads single frames", fix="choose videomt, or leave out past_frames")
        if past_frames is not None and past_frames < 0:
            raise ConfigError("past_frames", expected="0 or more", found=past_frames)
        self.past_frames = (1 if past_frames is None else past_frames) if self.is_video else 0
        self.whole_video = whole_video
        self.size_multiple = settings.patch_size
        if weights is None:
            self.model: Any = _random(transformers, settings)
        else:
            self.model = _pretrained(transformers, settings, weights)
            weights_licence = weights_licence or licence_of(weights, model_type)
            tell_terms(f"the weights {weights}", weights_licence)
        _drop_unread(self.model)
        kept = {"config": {"model_type": model_type, **described}, "weights": None, "weights_licence": weights_licence}
        self.__dict__["_init_args"] |= kept

    @classmethod
    def check_record(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse weights, which would be read or fetched; see `Network.check_record`."""
        if arguments.get("weights") is not None or not isinstance(arguments.get("config"), dict):
            raise CheckpointError(
                f"the record of a {cls.__name__} names weights",
                expected="its configuration, and no weights",
                found=f"weights {arguments.get('weights')!r}, config {type(arguments.get('config')).__name__}",
                fix="build the network from its weights again, and save that",
            )

    def compute_logits(self, frames: Tensor, **phase: int) -> Tensor:
        """See `SemanticNetwork.compute_logits`; at stride 4 for patches of 16 that are enlarged twice."""
        batch, length = frames.shape[:2]
        tokens, rope = self._encode(frames.flatten(0, 1))
        clip = tokens.unflatten(0, (batch, length))
        hidden, queries = clip[:, 0], None
        for index in range(length):
            hidden = self._read(queries, clip[:, index], rope)
            queries = hidden[:, : self._num_queries]
        return self._logits(hidden, frames)

    def start(self) -> StreamState:
        """See `SemanticNetwork.start`."""
        return QueryState() if self.is_video else super().start()

    def step(self, frame: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """See `SemanticNetwork.step`; with `whole_video` the result equals `forward` on all frames so far."""
        if not self.is_video:
            return super().step(frame, state)
        if not isinstance(state, QueryState):
            raise ConfigError("state of another network", expected="QueryState", found=type(state).__name__)
        padded = self._pad(frame.unsqueeze(1))
        tokens, rope = self._encode(padded[:, 0])
        past: list[Tensor | None] = [*state.queries]
        if not past and not self.whole_video:
            for _ in range(self.past_frames):  # the windows that began before the video hold its first frame instead
                past.insert(0, self._read(past[0] if past else None, tokens, rope)[:, : self._num_queries])
        if not past or not self.whole_video:
            past.append(None)
        read = [self._read(queries, tokens, rope) for queries in past]
        kept = read if self.whole_video else read[1:]
        logits = self._enlarge(self._logits(read[0], padded), padded, frame)
        return logits, QueryState(tuple(hidden[:, : self._num_queries] for hidden in kept))

    @property
    def _num_queries(self) -> int:
        queries: int = self.model.config.num_queries
        return queries

    def _encode(self, frames: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Tokens (B, N, D) of (B, 3, H, W) after the blocks without queries, and rotations of the patches, if any."""
        model, embeddings = self.model, self.model.embeddings
        if hasattr(model, "rope_embeddings"):
            tokens = model.dropout(embeddings(frames))
            options = {"position_embeddings": model.rope_embeddings(frames)}
        else:
            patches = embeddings.patch_embeddings(frames) + self._positions(frames)
            prefix = [embeddings.cls_token, embeddings.register_tokens]
            tokens = torch.cat([*(token.expand(len(frames), -1, -1) for token in prefix), patches], dim=1)
            tokens, options = embeddings.dropout(tokens), {}
        for layer in model.layers[: -model.config.num_blocks]:
            tokens = layer(tokens, **options)
        return tokens, options

    def _positions(self, frames: Tensor) -> Tensor:
        """Learned positions of the patches of a frame of any size, (1, N, D)."""
        weight: Tensor = self.model.embeddings.position_embeddings.weight
        side = self.model.config.image_size // self.size_multiple
        grid = frames.shape[-2] // self.size_multiple, frames.shape[-1] // self.size_multiple
        if grid == (side, side):
            return weight[None]
        plane = weight.T.reshape(1, -1, side, side)
        return F.interpolate(plane, size=grid, mode="bicubic", align_corners=False).flatten(2).mT

    def _read(self, queries: Tensor | None, tokens: Tensor, options: dict[str, Any]) -> Tensor:
        """Queries and tokens after the last blocks, (B, Q + N, D); `queries` are those of the frame before."""
        fresh = self.model.query.weight[None]
        first = fresh.expand(len(tokens), -1, -1) if queries is None else self.model.query_updater(queries) + fresh
        hidden = torch.cat([first, tokens], dim=1)
        for layer in self.model.layers[-self.model.config.num_blocks :]:
            hidden = layer(hidden, **options)
        return hidden

    def _logits(self, hidden: Tensor, frames: Tensor) -> Tensor:
        model = self.model
        hidden = model.layernorm(hidden)
        queries = hidden[:, : self._num_queries]
        patches = hidden[:, self._num_queries + model.embeddings.num_prefix_tokens :]
        rows = frames.shape[-2] // self.size_multiple
        pixels = model.upscale_block(patches.mT.unflatten(2, (rows, -1)))
        masks = torch.einsum("bqc,bchw->bqhw", model.mask_head(queries), pixels)
        return semantic_logits(model.class_predictor(queries), masks)


def semantic_logits(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Logits per class and pixel from proposed masks and their classes.

    The score of class `c` at pixel `x` is `s_c(x) = sum_q p_q(c) m_q(x)` [0], where `p_q` is the softmax over the
    classes and "no object", and `m_q` the sigmoid of the mask. The logit is `log s_c(x)`: it ranks classes as the score
    does, and the softmax over classes is `s_c(x) / sum_k s_k(x)`, so that cross entropy pushes the scores of a pixel
    apart whatever their sum is.

    [0] Cheng et al., Per-Pixel Classification is Not All You Need for Semantic Segmentation, NeurIPS 2021, section 3.4.

    Args:
        class_logits: (B, Q, C + 1), "no object" last.
        mask_logits: (B, Q, H, W).

    Returns:
        (B, C, H, W) in single precision, finite.

    Example:
        >>> logits = semantic_logits(torch.tensor([[[9.0, 0.0, 0.0]]]), torch.tensor([[[[20.0, -200.0]]]]))
        >>> logits[0].flatten(1).round().int().tolist()
        [[0, -200], [-9, -209]]
    """
    with torch.autocast(mask_logits.device.type, enabled=False):
        classes = class_logits.float().log_softmax(dim=-1)[..., :-1]
        masks = F.logsigmoid(mask_logits.float())
        # Taking out the largest summands keeps the sum of the others from vanishing where all of them are small.
        of_class, of_pixel = classes.amax(1, keepdim=True).detach(), masks.amax(1, keepdim=True).detach()
        scores = torch.einsum("bqc,bqhw->bchw", (classes - of_class).exp(), (masks - of_pixel).exp())
        tiny = torch.finfo(scores.dtype).tiny
        return scores.clamp(min=tiny).log() + of_class.mT[..., None] + of_pixel


def _settings(transformers: Any, config: dict[str, Any], weights: str | None) -> Any:
    """The configuration of the weights, or the default one of a model type, with what is said of it.

    Only what describes the model is taken, as a record may come from anywhere: other entries of `transformers` can name
    code to fetch, such as that of an attention.
    """
    if weights is None:
        settings = _default_settings(transformers, config.get("model_type"))
    else:
        check_exists(weights)
        with reading_weights(weights, " or ".join(MODELS)):
            settings = transformers.AutoConfig.from_pretrained(weights, trust_remote_code=False)
        if settings.model_type not in MODELS:
            raise CheckpointError(f"no weights of {', '.join(MODELS)}", path=weights, found=settings.model_type)
    known = ("model_type", *_entries(settings))
    for name, value in config.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
            fix = f"did you mean {', '.join(close)}?" if close else f"choose from {', '.join(known)}"
            raise ConfigError(f"{settings.model_type} has no entry {name!r}", fix=fix)
        if name == "model_type" and value != settings.model_type:
            raise ConfigError("the weights are of another model type", expected=value, found=settings.model_type)
        try:
            setattr(settings, name, value)
        except Exception as error:  # transformers checks types with errors of its own
            found = f"{value!r}, where the default is {getattr(settings, name)!r}"
            raise ConfigError(f"entry {name!r} of {settings.model_type}", found=found) from error
    _check_sizes(settings)
    return settings


def _default_settings(transformers: Any, model_type: object) -> Any:
    if model_type not in MODELS:
        raise ConfigError("no such model type", expected=", ".join(MODELS), found=model_type)
    try:
        return transformers.AutoConfig.for_model(model_type)
    except ValueError as error:
        raise ConfigError(
            f"transformers {transformers.__version__} has no {model_type}", fix=f"{INSTALL} --upgrade"
        ) from error


def _entries(settings: Any) -> list[str]:
    """Entries of a configuration that describe the model."""
    return [*inspect.get_annotations(type(settings))]


def _check_sizes(settings: Any) -> None:
    enlarged = 2**settings.num_upscale_blocks if 0 <= settings.num_upscale_blocks < 10 else 0
    if not isinstance(settings.image_size, int) or not isinstance(settings.patch_size, int):
        raise ConfigError("image_size and patch_size", expected="whole numbers, for squares")
    if settings.patch_size < 1 or not enlarged or settings.patch_size % enlarged:
        raise ConfigError(
            "patch_size and num_upscale_blocks",
            expected="patches that enlarging does not make larger than the frame",
            found=f"{settings.patch_size} and {settings.num_upscale_blocks}",
        )
    if not 1 <= settings.num_blocks < settings.num_hidden_layers or settings.num_queries < 1:
        raise ConfigError(
            "num_blocks and num_queries",
            expected="from 1 to less than num_hidden_layers, and at least one query",
            found=f"{settings.num_blocks} of {settings.num_hidden_layers}, {settings.num_queries}",
        )


def _random(transformers: Any, settings: Any) -> Any:
    try:
        return getattr(transformers, MODELS[settings.model_type])(settings)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"transformers cannot build this {settings.model_type}", found=error) from error


def _pretrained(transformers: Any, settings: Any, weights: str) -> Any:
    """A model with its weights, but for the layer that classifies where that is of another number of classes."""
    with reading_weights(weights, settings.model_type), quiet_transformers(transformers.utils.logging):
        model, report = getattr(transformers, MODELS[settings.model_type]).from_pretrained(
            weights, config=settings, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    others = {key[0] if isinstance(key, tuple) else key for key in report["mismatched_keys"]} - _OF_CLASSES
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"], *others} - _UNREAD)
    if wrong:
        raise CheckpointError(
            f"no weights of this {settings.model_type}",
            path=weights,
            found=f"{len(wrong)} entries that are missing, unknown or of another size, such as {wrong[0]}",
        )
    if (
        "attn_mask_probs" not in report["missing_keys"]
        and model.attn_mask_probs.any()
        and not hasattr(model, "query_updater")
    ):
        raise CheckpointError(
            "weights that still mask the attention of the queries",
            path=weights,
            expected="attn_mask_probs of 0, as at the end of the training of their authors",
            found=model.attn_mask_probs.tolist(),
        )
    return model


def _drop_unread(model: Any) -> None:
    """Drop what plays no part in a prediction: it would get no gradient."""
    del model.criterion, model.attn_mask_probs
    model.embeddings.mask_token = None
