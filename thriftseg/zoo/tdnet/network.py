"""TDNet: shallow sub-networks take turns over the frames of a video and share what they see by attention."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self, cast

from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.network import IMAGENET, SemanticNetwork
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.tdnet.blocks import FrameMemory, Path

WarmUp = Literal["repeat", "no_attention"]

STRIDE = 8
"""Of the map that is encoded, and of the logits."""

_OFFICIAL_KEY = re.compile(r"(?P<block>ffm_\d+|[a-z_]+?)_?(?P<path>\d)(?:_(?P<source>\d))?\.(?P<entry>.+)")
_OFFICIAL_LAYERS = {
    "w_qs.0.conv": "query.0",
    "w_qs.0.bn": "query.1",
    "w_qs.1.conv": "query.3",
    "w_ks.0.conv": "key.0",
    "w_ks.0.bn": "key.1",
    "w_ks.1.conv": "key.3",
    "w_vs.0.conv": "value",
    "fc.0.conv": "project",
}


@dataclass(frozen=True)
class TDNetState(StreamState):
    """Memory of a TDNet between two frames of a video.

    Attributes:
        index: Path of the next frame.
        memory: Query, key and value of the last frames at few positions, oldest first; at most `past_frames`.

    Example:
        >>> import torch
        >>> values = torch.ones(1, 2, 3, requires_grad=True)
        >>> state = TDNetState(index=1, memory=((values, values, values),))
        >>> state.memory[0][2].requires_grad, state.detach().memory[0][2].requires_grad
        (True, False)
    """

    index: int = 0
    memory: tuple[FrameMemory, ...] = ()

    def detach(self) -> Self:
        """The same memory, through which no gradient flows back to past frames."""
        return replace(self, memory=tuple((q.detach(), k.detach(), v.detach()) for q, k, v in self.memory))


class _Outputs(NamedTuple):
    """Of one frame, before the head of its path: own values, those with what was recalled, and the middle map."""

    own: Tensor
    values: Tensor
    intermediate: Tensor
    path: Path


class TDNet(SemanticNetwork):
    """Base of the TDNets [0, 1]: paths that take turns, and attention from frame to frame.

    Frame `i` of a window goes through path `(first_index + i) % num_phases`, so a window uses every path once, and the
    last frame, the one to segment, goes through path `(first_index - 1) % num_phases`. Each frame's queries and values
    come from its own path alone. The values of the oldest frame are propagated by attention to the few positions kept
    of the next frame, added to the values there, and so on until they reach every position of the current frame.

    A stream runs one path per frame and remembers the few positions kept of the last `past_frames` frames. With
    `warm_up="repeat"` the first frame of a video is also run through the other paths, once, as a window that reaches
    back before the first frame repeats it. With `warm_up="no_attention"`, the authors' rule, frames are segmented
    without attention until enough of them have been seen, and `step` equals `forward` from then on.

    [0] Hu et al., Temporally Distributed Networks for Fast Video Semantic Segmentation, CVPR 2020.
    [1] https://github.com/feinanshan/TDNet

    Args:
        num_classes: Number of classes.
        num_paths: Number of paths; a subclass builds them.
        kv_stride: Distance between the positions of past frames that are kept, in evaluation mode.
        training_kv_stride: The same in training mode.
        layer_norm_size: Size of the map that the layer norms are bound to, or `None`.
        warm_up: What to do while a stream has seen too few frames.

    Example:
        >>> import torch
        >>> from thriftseg.zoo import TDNetFANet
        >>> with torch.device("meta"):
        ...     network = TDNetFANet(num_classes=5)
        >>> isinstance(network, TDNet), network.num_phases, network.start(first_index=3).index
        (True, 2, 1)
    """

    preprocessing = IMAGENET
    align_corners = True
    size_multiple = STRIDE
    can_resume = True

    def __init__(
        self,
        num_classes: int,
        num_paths: int,
        kv_stride: int,
        training_kv_stride: int,
        layer_norm_size: Sequence[int] | None,
        warm_up: WarmUp,
    ) -> None:
        super().__init__(num_classes)
        if min(kv_stride, training_kv_stride) < 1:
            raise ConfigError(
                "wrong stride of keys and values", expected="1 or more", found=min(kv_stride, training_kv_stride)
            )
        if warm_up not in ("repeat", "no_attention"):
            raise ConfigError("unknown warm-up", expected="repeat or no_attention", found=warm_up)
        self.paths = nn.ModuleList()
        self.num_phases = num_paths
        self.past_frames = num_paths - 1
        self.kv_stride = kv_stride
        self.training_kv_stride = training_kv_stride
        if layer_norm_size is not None and (len(layer_norm_size) != 2 or min(layer_norm_size) < 1):
            raise ConfigError(
                "wrong layer_norm_size", expected="height and width of a map", found=tuple(layer_norm_size)
            )
        self.layer_norm_size = None if layer_norm_size is None else (layer_norm_size[0], layer_norm_size[1])
        self.warm_up = warm_up

    @property
    def further_outputs(self) -> tuple[str, ...]:
        """See `SemanticNetwork.further_outputs`."""
        return "sub_path", *super().further_outputs

    def compute_features(self, frames: Tensor, first_index: int = 0) -> Tensor:  # type: ignore[override]
        """Map that the classifier of the current path reads; see `SemanticNetwork.compute_features`."""
        outputs = self._run(frames, first_index)
        return outputs.path.fuse(outputs.values)

    def classify(self, features: Tensor, first_index: int = 0) -> Tensor:  # type: ignore[override]
        """See `SemanticNetwork.classify`."""
        logits: Tensor = self._path(first_index + self.past_frames).head[-1](features)
        return logits

    def compute_outputs(  # type: ignore[override]
        self, frames: Tensor, first_index: int = 0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `SemanticNetwork.compute_outputs`.

        "sub_path" are the logits of the current frame's path without the past frames, "auxiliary" those of its
        auxiliary head, if there is one.
        """
        outputs = self._run(frames, first_index)
        logits, others = outputs.path.classify(outputs.values), {"sub_path": outputs.path.classify(outputs.own)}
        if outputs.path.auxiliary_head is not None:
            others["auxiliary"] = outputs.path.auxiliary_head(outputs.intermediate)
        return logits, others

    def start(self, first_index: int = 0) -> TDNetState:
        """The state before the first frame of a video.

        Args:
            first_index: Path of the first frame, modulo `num_phases`.
        """
        return TDNetState(first_index % self.num_phases)

    def step(self, frame: Tensor, state: StreamState) -> tuple[Tensor, TDNetState]:
        """Segment the next frame of a video; see `SemanticNetwork.step`, and above for the first frames.

        Equals `forward` with `first_index` such that the last frame has the same path.

        Raises:
            ConfigError: The state is of another network or of frames of another size, or the frame has another shape.
        """
        if not isinstance(state, TDNetState):
            raise ConfigError("state of another network", expected="TDNetState", found=type(state).__name__)
        if frame.ndim != 4 or frame.shape[1] != 3:
            raise ConfigError("no frame of a video", expected="(B, 3, H, W)", found=tuple(frame.shape))
        clip = self._pad(frame.unsqueeze(1))
        current = clip[:, 0]
        maps, own = self._see(current, state.index)
        memory = state.memory
        if memory and memory[-1][0].shape != own[0].shape:
            raise ConfigError(
                "the frames before this one were of another size, batch or mode",
                expected=f"queries of {tuple(memory[-1][0].shape)}",
                found=tuple(own[0].shape),
                fix="call start() before each video",
            )
        if not memory and self.warm_up == "repeat":  # as if the first frame had stood still before the video began
            memory = tuple(self._see(current, state.index - age)[1] for age in range(self.past_frames, 0, -1))
        outputs = self._attend(maps, state.index, memory)
        following = TDNetState((state.index + 1) % self.num_phases, (*memory, own)[-self.past_frames :])
        return self._enlarge(outputs.path.classify(outputs.values), clip, frame), following

    def resume(self, past: Tensor, first_index: int = 0) -> TDNetState:
        """See `SemanticNetwork.resume`."""
        index = (first_index + self.past_frames) % self.num_phases
        return TDNetState(index, self._memorise(self._pad(past).unbind(1), first_index))

    def official_key(self, key: str) -> str | None:
        """See `Network.official_key`."""
        match = _OFFICIAL_KEY.fullmatch(key)
        if match is None:
            return key
        path, entry = int(match["path"]), match["entry"]
        if match["block"] == "atn":  # numbered by the path that a past frame took; here from the oldest frame on
            oldest = path + 1
            order = (int(match["source"] or oldest) - oldest) % self.num_phases
            place: str | None = f"propagations.{order}.{rename(entry, _OFFICIAL_LAYERS)}"
        else:
            place = self._official_place(match["block"], entry)
        return place and f"paths.{path - 1}.{place}"

    def _official_place(self, block: str, entry: str) -> str | None:
        """Name inside a path of an entry of one of the authors' blocks; `None` if it is never used."""
        if block == "enc":
            return f"encoding.{rename(entry, _OFFICIAL_LAYERS)}"
        if block == "layer_norm":
            return f"norm.{entry.removeprefix('ln.')}"
        return f"{block}.{entry}"

    def _path(self, index: int) -> Path:
        return cast(Path, self.paths[index % self.num_phases])

    def _run(self, clip: Tensor, first_index: int) -> _Outputs:
        *past, current = clip.unbind(1)
        memory = self._memorise(past, first_index)
        index = first_index + len(past)
        return self._attend(self._path(index).subnetwork(current), index, memory)

    def _memorise(self, past: Sequence[Tensor], first_index: int) -> tuple[FrameMemory, ...]:
        return tuple(self._see(frame, first_index + i)[1] for i, frame in enumerate(past))

    def _see(self, frame: Tensor, index: int) -> tuple[tuple[Tensor, Tensor], FrameMemory]:
        """Maps of a frame's path, and what later frames need of them."""
        path = self._path(index)
        maps = path.subnetwork(frame)
        return maps, path.encoding.memorise(maps[0], self.training_kv_stride if self.training else self.kv_stride)

    def _attend(self, maps: tuple[Tensor, Tensor], index: int, memory: Sequence[FrameMemory]) -> _Outputs:
        features, intermediate = maps
        path = self._path(index)
        queries, own = path.encoding(features)
        values = own
        if len(memory) == self.past_frames:
            values = own + path.recall(queries, memory).mT.unflatten(2, features.shape[-2:])
        return _Outputs(own, values, intermediate, path)

    def _at_stride(self, features: Tensor, clip: Tensor, frames: Tensor) -> Tensor:
        return features  # less than a cell is padded

    def _pad(self, clip: Tensor) -> Tensor:
        if self.layer_norm_size is None:
            return super()._pad(clip)
        height, width = clip.shape[-2:]
        if (-(-height // STRIDE), -(-width // STRIDE)) == self.layer_norm_size:
            return clip
        rows, columns = (STRIDE * (side - self.size_remainder) + self.size_remainder for side in self.layer_norm_size)
        raise ConfigError(
            f"the layer norms of this {type(self).__name__} are bound to one size of frame",
            expected=f"{rows}x{columns}",
            found=f"{height}x{width}",
            fix="resize the frames, or train a network with layer_norm_size=None",
        )


def rename(entry: str, layers: Mapping[str, str]) -> str:
    """Replace the name of the layer, all but the last part of an entry's name, if it is listed."""
    layer, _, name = entry.rpartition(".")
    return f"{layers.get(layer, layer)}.{name}"
