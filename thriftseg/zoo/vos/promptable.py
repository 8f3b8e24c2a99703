"""Video networks of `transformers` that are prompted with masks: SAM 2, EdgeTAM, the tracker of SAM 3, to be tuned.

The three have one interface, an inference session into which frames are streamed, and look back equally far. For an
object in frame t, the memory attention reads (`_gather_memory_frame_outputs`, `_get_object_pointers` of their code)

- from frames that were prompted, however old: memory features and the object pointer (SAM 3 reads the features of the
  `max_cond_frame_num` nearest of them, four as published, and the pointers of all);
- from frames t - 1 to t - (`num_maskmem` - 1), six as published: memory features;
- from frames t - 1 to t - (`max_object_pointers_in_encoder` - 1), fifteen as published: object pointers.

The masks, scores and pixels of a frame that has passed are read by nothing. A session of `transformers` keeps all of it
for good; `forget_past` drops the rest, which changes no logit.

[0] Ravi et al., SAM 2: Segment Anything in Images and Videos, ICLR 2025, https://arxiv.org/abs/2408.00714.
[1] Zhou et al., EdgeTAM: On-Device Track Anything Model, CVPR 2025, https://arxiv.org/abs/2501.07256.
[2] Carion et al., SAM 3: Segment Anything with Concepts, 2025, https://arxiv.org/abs/2511.16719.
[3] https://github.com/huggingface/transformers
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import CheckpointError, ConfigError
from thriftseg.zoo.network import Preprocessing
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.vos.aggregation import aggregate
from thriftseg.zoo.vos.network import VOSNetwork
from thriftseg.zoo.weights.pretrained import import_transformers, licence_of, load_pretrained

VIDEO_NETWORKS = {
    "sam2_video": "Sam2VideoModel",
    "edgetam_video": "EdgeTamVideoModel",
    "sam3_tracker_video": "Sam3TrackerVideoModel",
    "sam3_video": "Sam3TrackerVideoModel",  # SAM 3 as published: a detector beside the tracker, which alone is read
}
"""Class in `transformers` by the model type that a configuration states."""

VIDEO_NETWORK = "a video network of transformers"
_KNOWN = "facebook/sam2.1-hiera-tiny, yonigozlan/EdgeTAM-hf or facebook/sam3"
_OWN_TYPES = re.compile(r"(sam2|sam3|edgetam)(_\w+)?|timm_wrapper")  # other parts have encoders of a hub
_OF_CODE = ("_implementation", "_backbone")
_ABSENT = -16.118  # see `aggregate`


@dataclass(frozen=True)
class Proposals:
    """What a network says of K objects in one frame.

    Attributes:
        masks: (K, M, h, w) logits of M proposals, at a quarter of the input of the network.
        quality: (K, M) the IoU that the network expects of each.
        score: (K,) logit of the object being visible.

    Example:
        >>> told = Proposals(torch.zeros(2, 3, 8, 8), torch.tensor([[0.1, 0.9, 0.5], [0.8, 0.2, 0.1]]), torch.zeros(2))
        >>> told.quality.argmax(dim=1).tolist()  # the best proposal for each object
        [1, 0]
    """

    masks: Tensor
    quality: Tensor
    score: Tensor


@dataclass(frozen=True)
class SessionState(StreamState):
    """A session of `transformers` for each video of a batch; `step` goes on with it, so earlier states are gone.

    Attributes:
        index: Number of the next frame.
        sessions: The sessions, none before the first frame.
    """

    index: int = 0
    sessions: tuple[Any, ...] = ()


class PromptableVideoNetwork(VOSNetwork):
    """SAM 2 [0], EdgeTAM [1] or the tracker of SAM 3 [2] of `transformers` [3], as a network that can be tuned.

    Its forward pass is that of [3], with gradients. Frames are resized to the square that the network takes, and logits
    back. Objects are followed one by one; `aggregate` makes their probabilities compete. The network stays in
    evaluation mode in training, without dropout and with the batch statistics that it has.

    The record holds the configuration as plain data, so that a stored network is rebuilt without reading anything else.

    Args:
        weights: Folder that `save_pretrained` of [3] wrote, or an id of the Hugging Face hub.
        config: Configuration as plain data, for random weights; either this or `weights`.
        image_size: Side of the square; see `load_video_network`.
        trained: Parts to train, by their names in [3].
        lora_rank: Instead of moving the linear layers of attention in the image encoder, learn an addition of this rank
            to each; 0 for none.
        weights_licence: Licence of the weights; by default what their repository states.

    Raises:
        ConfigError: The extra `hf` is not installed, both or none of `weights` and `config` are given, there is no such
            part, or the image encoder has no attention to add to.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another network.
    """

    def __init__(
        self,
        weights: str | None = None,
        config: dict[str, Any] | None = None,
        image_size: int | None = None,
        trained: Sequence[str] = ("memory_attention", "mask_decoder"),
        lora_rank: int = 0,
        weights_licence: str | None = None,
    ) -> None:
        super().__init__()
        if config is None:
            self.model = load_video_network(weights, image_size)
        elif weights is None:
            self.model = _build(config, image_size)
        else:
            raise ConfigError("weights and a config", expected="one of the two", found=f"{weights} and a config")
        if weights is not None and weights_licence is None:
            weights_licence = licence_of(weights, self.model.config.model_type)
        self.weights_licence = weights_licence
        recorded = {"config": _plain(self.model.config.to_dict()), "weights_licence": weights_licence}
        self.__dict__["_init_args"] |= {"weights": None, "image_size": None, **recorded}
        processor = processor_for(self.model).image_processor
        self.preprocessing = Preprocessing(tuple(processor.image_mean), tuple(processor.image_std))
        self.side: int = self.model.image_size
        if lora_rank:
            _add_low_rank(self.model.vision_encoder, lora_rank)
        self._choose(trained, bool(lora_rank))
        self.eval()

    @classmethod
    def check_record(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse weights, and encoders and attentions of a hub, which would be fetched; see `Network.check_record`.

        Raises:
            CheckpointError: The record names some.
        """
        config = arguments.get("config")
        named = [f"{key}: {value}" for key, value in _entries(config) if _names_code_or_files(key, value)]
        if arguments.get("weights") is not None or not isinstance(config, dict) or named:
            raise CheckpointError(
                f"the record of a {cls.__name__} names weights",
                expected="its configuration, and no weights",
                found=f"weights {arguments.get('weights')!r}, config {named or type(config).__name__}",
                fix="build the network from its weights again, and save that",
            )

    def train(self, mode: bool = True) -> PromptableVideoNetwork:
        """Stay in evaluation mode, whatever is asked for."""
        super().train(False)
        return self

    def proposals(self, frames: Tensor, masks: Tensor) -> Iterator[Proposals]:
        """Follow the objects of the first frame of a clip; differentiable.

        Args:
            frames: (T, 3, H, W) normalised.
            masks: (K, H, W) of the first frame, 0 or 1.

        Yields:
            What the network says of each frame but the first.
        """
        session = self._session(frames.shape[-2:])
        for index, frame in enumerate(frames):
            _, found = self._look(session, index, frame, dict(enumerate(masks)) if index == 0 else {})
            if index:
                yield found

    def forward(
        self,
        frames: Tensor,
        masks: Tensor,
        num_objects: Tensor | None = None,
        detach_feedback: bool = False,
        remember_all: bool = False,
    ) -> Tensor:
        """Stream clips whose first frame is annotated; see `VOSNetwork.forward`.

        Args:
            frames: (B, T, 3, H, W) normalised.
            masks: (B, N, H, W) of the first frame.
            num_objects: (B,) number of objects of each clip.
            detach_feedback: Not used: gradients flow through the memory.
            remember_all: Not used: the network has a memory of its own.
        """
        given = None
        if num_objects is not None:
            given = torch.arange(masks.shape[1], device=num_objects.device) < num_objects.unsqueeze(1)
        state, clip = self.start(), []
        for index, frame in enumerate(frames.unbind(dim=1)):
            logits, state = self.step(frame, state, *((masks, given) if index == 0 else ()))
            clip.append(logits)
        return torch.stack(clip, dim=1)

    def start(self) -> SessionState:
        """The state before the first frame of a batch of videos."""
        return SessionState()

    def step(
        self, frame: Tensor, state: StreamState, masks: Tensor | None = None, given: Tensor | None = None
    ) -> tuple[Tensor, SessionState]:
        """Segment the next frame of a batch of videos; see `VOSNetwork.step`.

        Unlike there, the state that is given is gone afterwards.
        """
        if not isinstance(state, SessionState):
            raise ConfigError("the state of another network", found=type(state).__name__, fix="call start() first")
        sessions = state.sessions or tuple(self._session(frame.shape[-2:]) for _ in frame)
        channels = max((1 + max(session.obj_ids, default=-1) for session in sessions), default=0)
        channels = max(channels, 0 if masks is None else masks.shape[1])
        found = []
        for place, session in enumerate(sessions):
            prompts: dict[int, Tensor] = {}
            if masks is not None:
                flags = [True] * masks.shape[1] if given is None else given[place].tolist()
                prompts = {k: mask for k, (mask, flag) in enumerate(zip(masks[place], flags, strict=True)) if flag}
            logits = frame.new_full((channels, *frame.shape[-2:]), _ABSENT)
            if session.obj_ids or prompts:
                answer, _ = self._look(session, state.index, frame[place], prompts)
                logits = logits.index_copy(0, torch.tensor(session.obj_ids, device=logits.device), answer.to(logits))
                forget_past(session, self.model.config, state.index)
            found.append(logits)
        objects = torch.stack(found).sigmoid()
        if masks is not None:  # what is given is known
            keep = torch.zeros(objects.shape[:2], dtype=torch.bool, device=objects.device)
            keep[:, : masks.shape[1]] = True if given is None else given.to(objects.device)
            known = F.pad(masks.to(objects), (0, 0, 0, 0, 0, channels - masks.shape[1]))
            free = 1 - (known * keep[..., None, None]).sum(dim=1, keepdim=True).clamp(max=1)
            objects = torch.where(keep[..., None, None], known, objects * free)
        return aggregate(objects), SessionState(state.index + 1, sessions)

    def merged(self) -> Any:
        """The network of [3], with additions of low rank added to its layers."""
        for module in list(self.model.vision_encoder.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, _LowRank):
                    setattr(module, name, child.merged())
        return self.model

    def _session(self, size: Sequence[int]) -> Any:
        module = sys.modules[type(self.model).__module__]
        session = getattr(module, type(self.model).__name__.replace("Model", "InferenceSession"))
        device, dtype = self.model.no_memory_embedding.device, self.model.no_memory_embedding.dtype
        return session(
            video_height=size[0],
            video_width=size[1],
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=dtype,
        )

    def _look(self, session: Any, index: int, frame: Tensor, prompts: Mapping[int, Tensor]) -> tuple[Tensor, Proposals]:
        """Logits (K, H, W) of the objects of a session in a frame, and what they were chosen from."""
        for number, mask in prompts.items():
            place = session.obj_id_to_idx(number)
            session.add_mask_inputs(place, index, (_resized(mask[None, None], (self.side,) * 2) >= 0.5).float())
        session.obj_with_new_inputs = list(prompts)
        square = _resized(frame[None], (self.side,) * 2)[0]
        with _answers_of(self.model.mask_decoder) as answers:
            # The class's own method stands under a decorator that switches gradients off.
            output = type(self.model).forward.__wrapped__(self.model, session, frame=square, frame_idx=index)
        masks, quality, _, score = (torch.cat(parts).flatten(0, 1) for parts in zip(*answers, strict=True))
        logits = F.interpolate(output.pred_masks.float(), size=frame.shape[-2:], mode="bilinear", align_corners=False)
        return logits[:, 0], Proposals(masks.float(), quality.float(), score.float().flatten())

    def _choose(self, trained: Sequence[str], low_rank: bool) -> None:
        """Let gradients reach the parts to train only."""
        parts = dict(self.model.named_children())
        if low_rank and "vision_encoder" in trained:
            raise ConfigError("the image encoder learns additions", found="vision_encoder among trained", fix="drop it")
        for name in trained:
            if name not in parts:
                raise ConfigError("no such part of the network", expected=", ".join(parts), found=repr(name))
        for name, parameter in self.model.named_parameters():
            part = name.partition(".")[0]
            added = ".down." in name or ".up." in name
            parameter.requires_grad_(added if low_rank and part == "vision_encoder" else part in trained)


class _LowRank(nn.Module):
    """A linear layer that stays as it is, and an addition of low rank that begins at nothing.

    Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, https://arxiv.org/abs/2106.09685.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.base(x) + self.up(self.down(x))
        return added

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        self.base.weight += self.up.weight @ self.down.weight
        return self.base


def load_video_network(weights: str | Path | None, image_size: int | None = None) -> Any:
    """Load a video network of `transformers`, in evaluation mode, without gradients, on the CPU.

    Args:
        weights: Folder that `save_pretrained` wrote, or an id of the Hugging Face hub such as
            "facebook/sam2.1-hiera-tiny".
        image_size: Side of the square that frames are resized to: a multiple of 32 for SAM 2, of 256 for EdgeTAM, of 14
            for SAM 3; as in training when absent. The cost grows with its square or faster.

    Raises:
        ConfigError: The extra `hf` is not installed, or the network cannot take that size.
        CheckpointError: The weights are missing, damaged, cannot be fetched, or belong to another network.
    """
    adapt = None if image_size is None else partial(_resize, image_size=image_size)
    return _mended(load_pretrained(weights, VIDEO_NETWORKS, VIDEO_NETWORK, _KNOWN, adapt))


def processor_for(network: Any) -> Any:
    """The processor of `transformers` that a video network is published with, for its size of frames.

    Args:
        network: Of `load_video_network`.
    """
    transformers = import_transformers()
    sam3 = type(network).__name__.startswith("Sam3")
    size = {"height": network.image_size, "width": network.image_size}
    image = transformers.Sam3ImageProcessor if sam3 else transformers.Sam2ImageProcessor
    whole = transformers.Sam3TrackerVideoProcessor if sam3 else transformers.Sam2VideoProcessor
    return whole(image_processor=image(size=size), video_processor=transformers.Sam2VideoVideoProcessor(size=size))


def forget_past(session: Any, config: Any, index: int) -> None:
    """Drop from a session what no frame after this one reads; see the module.

    Args:
        session: An inference session of `transformers`.
        config: Configuration of its network.
        index: The current frame.
    """
    session.processed_frames.clear()
    session.cache.clear_all()
    for by_object in (session.frames_tracked_per_obj, session.point_inputs_per_obj, session.mask_inputs_per_obj):
        for by_frame in by_object.values():
            by_frame.clear()
    features_from, pointers_from = (
        index + 2 - window for window in (config.num_maskmem, config.max_object_pointers_in_encoder)
    )

    def kept(output: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
        yield "object_pointer", output["object_pointer"]
        for name in ("maskmem_features", "maskmem_pos_enc"):
            yield name, output[name].to(session.inference_state_device)

    for outputs in session.output_dict_per_obj.values():
        prompted, followed = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
        if index in prompted:  # kept for good, and so without the other objects that it is a slice of
            prompted[index] = {name: value.clone() for name, value in kept(prompted[index])}
        if index in followed:
            followed[index] = dict(kept(followed[index]))
        if features_from - 1 in followed:
            followed[features_from - 1] = {"object_pointer": followed[features_from - 1]["object_pointer"]}
        followed.pop(min(features_from, pointers_from) - 1, None)


@contextmanager
def _answers_of(module: nn.Module) -> Iterator[list[Any]]:
    """What a module returns from now on."""
    answers: list[Any] = []
    handle = module.register_forward_hook(lambda _, __, output: answers.append(output))
    try:
        yield answers
    finally:
        handle.remove()


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, h, w) at another size, as the processor does it."""
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False, antialias=True)


def _add_low_rank(encoder: nn.Module, rank: int) -> None:
    places = [
        (module, name, child)
        for path, module in encoder.named_modules()
        for name, child in module.named_children()
        if isinstance(child, nn.Linear) and "att" in path.rpartition(".")[2]
    ]
    if rank < 0 or not places:
        expected = "0 or more" if rank < 0 else "0: the image encoder has no attention"
        raise ConfigError("lora_rank", expected=expected, found=rank)
    for module, name, child in places:
        setattr(module, name, _LowRank(child, rank))


def _build(config: dict[str, Any], image_size: int | None) -> Any:
    transformers = import_transformers()
    if config.get("model_type") not in VIDEO_NETWORKS:
        raise ConfigError(f"no {VIDEO_NETWORK[2:]}", expected=", ".join(VIDEO_NETWORKS), found=config.get("model_type"))
    try:
        settings = transformers.AutoConfig.for_model(**config)
        if image_size is not None:
            _resize(settings, image_size)
        network = getattr(transformers, VIDEO_NETWORKS[config["model_type"]])(settings)
    except ConfigError:
        raise
    except Exception as error:  # its constructors fail in their own ways
        raise ConfigError(f"the config of {VIDEO_NETWORK}", found=error) from error
    return _mended(network)


def _mended(network: Any) -> Any:
    if network.config.model_type == "edgetam_video":
        network._use_mask_as_output = partial(_with_scores_of_one_shape, network._use_mask_as_output)
    return network


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of a tree of dictionaries and lists."""
    for key, value in config.items() if isinstance(config, dict) else ():
        for item in value if isinstance(value, list | tuple) else [value]:
            yield str(key), item
            yield from _entries(item)


def _names_code_or_files(key: str, value: Any) -> bool:
    """Whether an entry of a configuration can make `transformers` or timm read a file or fetch code."""
    if key == "model_type":
        return not _OWN_TYPES.fullmatch(str(value))
    is_path = isinstance(value, str) and not set("/:\\").isdisjoint(value)
    return is_path or key == "backbone" or key.startswith(("_", "pretrained", "checkpoint")) or key.endswith(_OF_CODE)


def _plain(value: Any) -> Any:
    """Values that JSON knows; what transformers adds for itself is left out."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if not _names_code_or_files(str(key), item)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _with_scores_of_one_shape(answer: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """The answer of EdgeTAM to a mask, whose scores lack the dimension that those of objects it follows have.

    `transformers` 5.23 joins the two where a mask is given in a frame with other objects, and fails.
    """
    output = answer(*arguments, **named)
    scores = output.object_score_logits
    output.object_score_logits = scores if scores.ndim > 2 else scores.unsqueeze(-1)
    return output


def _resize(config: Any, image_size: int) -> None:
    """Prepare a configuration for another size of frames; no weight depends on it.

    Raises:
        ConfigError: The network cannot take that size.
    """
    if config.model_type.startswith("sam3"):
        step = (
            config if hasattr(config, "vision_config") else config.tracker_config
        ).vision_config.backbone_config.patch_size
    elif config.model_type == "edgetam_video":
        step = 16 * math.isqrt(config.perceiver_resampler_num_latents_2d)
    else:
        step = 32
    if image_size < step or image_size % step:
        raise ConfigError(f"image_size of {config.model_type}", expected=f"a multiple of {step}", found=image_size)
    config.image_size = image_size
    if not config.model_type.startswith("sam3"):  # those of SAM 3 do the rest themselves
        config.prompt_encoder_config.image_size = image_size
        config.memory_attention_rope_feat_sizes = [image_size // 16] * 2
        config.vision_config.backbone_feature_sizes = [[image_size // stride] * 2 for stride in (4, 8, 16)]
