"""The contract of all networks: recorded constructor arguments, any input size, streaming."""

from __future__ import annotations

import functools
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.strided_logits import StridedLogits
from thriftseg.zoo.blocks.symbolic import is_symbolic
from thriftseg.zoo.streaming import FrameWindow, StreamState


class ConstructorRecord(TypedDict):
    """Class and arguments of a network: enough to build it again, and plain enough for JSON."""

    class_path: str
    init_args: dict[str, Any]


@dataclass(frozen=True)
class Preprocessing:
    """Normalisation of the frames of a network.

    Args:
        mean: Per RGB channel, for values in [0, 1].
        std: Per RGB channel, for values in [0, 1].
        channel_order: Order of the channels that the network reads.

    Raises:
        ConfigError: A number is not finite, or a standard deviation is not above 0.

    Example:
        >>> IMAGENET(torch.full((1, 3, 2, 2), 0.5)).shape
        torch.Size([1, 3, 2, 2])
    """

    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)) or min(self.std) <= 0:
            found = f"mean {self.mean}, std {self.std}"
            raise ConfigError("normalisation of frames", expected="finite numbers, std above 0", found=found)

    def __call__(self, frames: Tensor) -> Tensor:
        """Normalise RGB frames.

        Args:
            frames: (..., 3, H, W) float in [0, 1].

        Returns:
            (..., 3, H, W) in the channel order of the network.

        Raises:
            TypeError: The frames are integers, so their range is not [0, 1].
        """
        if not frames.is_floating_point():
            raise TypeError(f"frames must be float in [0, 1], got {frames.dtype}")
        # Scalars instead of constant tensors: a copy to the device in each step would stall its queue.
        planes = [(plane - m) / s for plane, m, s in zip(frames.unbind(-3), self.mean, self.std, strict=True)]
        return torch.stack(planes if self.channel_order == "rgb" else planes[::-1], dim=-3)


IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
IDENTITY = Preprocessing()


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap a constructor so that the outermost call stores its arguments on the instance."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self: Network, *args: Any, **kwargs: Any) -> None:
        if "_init_args" not in self.__dict__:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            named = dict(list(bound.arguments.items())[1:])  # without self
            for name, parameter in signature.parameters.items():
                if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                    named.update(named.pop(name))
            self.__dict__["_init_args"] = {name: _plain(value, name) for name, value in named.items()}
        init(self, *args, **kwargs)

    return wrapper


def _plain(value: Any, name: str) -> Any:
    """The value of an argument in types that JSON knows."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, name) for key, item in value.items()}
    raise ConfigError(
        f"argument {name!r} of a network cannot be recorded",
        expected="numbers, strings, booleans, None, or lists and dicts of them",
        found=type(value).__name__,
    )


class Network(nn.Module):
    """A module that remembers how it was built.

    The constructor arguments of every subclass are recorded, defaults included. They must be plain values (numbers,
    strings, booleans, `None`, and lists, tuples or dicts of these), so that they can be stored in a checkpoint.

    Attributes:
        kind: What the network is for; `list_models(kind=...)` filters by it.
        library_licence: Licence of the library whose code computes it; `None` for code of its own package.
        preprocessing: How frames are normalised before they enter the network.
        size_multiple: Height and width inside the network are multiples of this.

    Example:
        >>> class Shift(Network):
        ...     def __init__(self, by, times=1):
        ...         super().__init__()
        >>> Shift(3).init_args
        {'by': 3, 'times': 1}
    """

    kind: ClassVar[str]
    library_licence: ClassVar[str | None] = None
    preprocessing: Preprocessing = IDENTITY
    size_multiple: int = 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    @property
    def init_args(self) -> dict[str, Any]:
        """Constructor arguments by name, defaults included, tuples as lists."""
        return dict(self.__dict__.get("_init_args", {}))

    @property
    def record(self) -> ConstructorRecord:
        """Class path and constructor arguments; `thriftseg.zoo.rebuild` makes an equal network from it."""
        return {"class_path": import_path(type(self)), "init_args": self.init_args}

    @classmethod
    def check_record(cls, arguments: Mapping[str, Any]) -> None:
        """Refuse recorded arguments that would make the constructor read other files; here none does.

        Args:
            arguments: The `init_args` of a record, which may come from anywhere.

        Raises:
            CheckpointError: An argument names a file.
        """

    def official_key(self, key: str) -> str | None:
        """Name that an entry of the authors' checkpoint has in `state_dict` here.

        Args:
            key: Name in the authors' checkpoint, without a `module.` prefix.

        Returns:
            A name; one that `state_dict` does not have stands for an entry that cannot be placed. `None` for an entry
            that the authors store and never use.

        Raises:
            ConfigError: There is no checkpoint of the authors for this network.
        """
        raise ConfigError(f"{type(self).__name__} has no checkpoint of its authors", found=key)

    def start_from(self, source: Network) -> dict[str, Tensor]:
        """State dict to start training from, made of that of another network, by default the same.

        Args:
            source: A trained network.
        """
        return source.state_dict()


class SemanticNetwork(Network):
    """Gives every pixel of a frame a class, possibly with the help of past frames.

    A subclass implements `compute_features` and `classify`, or, where it tells no features, `compute_logits`, for
    frames whose sides are multiples of `size_multiple`; this class pads any other size at the right and the bottom by
    repeating the border, enlarges the logits once, and crops them.

    Args:
        num_classes: Number of classes, 1 to 255 (255 is the ignored train id).

    Attributes:
        past_frames: Frames before the one to segment that `forward` takes; 0 for image networks.
        can_resume: Whether `resume` is there, so that windows that overlap need not be encoded twice.
        num_phases: Number of values of `first_index` that use different parameters, which `compute_logits` and the like
            are then given; 1 for networks without that argument. Training cycles through them, or some parameters get
            no gradient.
        size_remainder: What remains of padded sides after division by `size_multiple`; 1 where the corners of the frame
            and of the map are aligned, so that sides of 8 k + 1 are not padded.
        align_corners: Convention of the final bilinear enlargement of the logits.

    Raises:
        ConfigError: `num_classes` is not in 1 to 255.

    Example:
        >>> class Brightness(SemanticNetwork):
        ...     def compute_logits(self, frames):
        ...         return frames[:, -1].mean(dim=1, keepdim=True) * torch.tensor([-1.0, 1.0]).view(2, 1, 1)
        >>> Brightness(2)(torch.tensor([[-1.0, 0.5, 2.0]]).expand(1, 3, 1, 3)).argmax(dim=1).tolist()
        [[[0, 1, 1]]]
    """

    kind = "semantic"
    past_frames: int = 0
    can_resume: ClassVar[bool] = False
    num_phases: int = 1
    size_remainder: int = 0
    align_corners: bool = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if not 1 <= num_classes <= 255:
            raise ConfigError("wrong number of classes", expected="num_classes from 1 to 255", found=num_classes)
        self.num_classes = num_classes

    @property
    def has_auxiliary_heads(self) -> bool:
        """Whether `compute_outputs` gives logits of auxiliary heads: modules whose name is `auxiliary_head`."""
        return any(name.rpartition(".")[2] == "auxiliary_head" for name, _ in self.named_modules())

    @property
    def further_outputs(self) -> tuple[str, ...]:
        """Names of what `compute_outputs` gives beside the logits; a network that has other ones says so."""
        return ("auxiliary",) if self.has_auxiliary_heads else ()

    def compute_logits(self, frames: Tensor, **phase: int) -> Tensor:
        """Logits at the resolution of the network's last layer.

        Args:
            frames: (B, T, 3, H, W) normalised, the last frame is the one to segment; H and W are multiples of
                `size_multiple`.
            phase: `first_index` of `forward` where there are several phases, for this and the next methods; networks
                of one phase get and need no such argument.

        Returns:
            (B, num_classes, H / s, W / s), where s is the output stride of the decoder.
        """
        return self.classify(self.compute_features(frames, **phase), **phase)

    def compute_outputs(self, frames: Tensor, **phase: int) -> tuple[Tensor, dict[str, Tensor]]:
        """All that can be trained, at the resolutions of the layers that give it.

        Args:
            frames: As for `compute_logits`.
            phase: As for `compute_logits`.

        Returns:
            What `compute_logits` returns, and by name the logits of auxiliary heads ("auxiliary..."), and others.
        """
        return self.compute_logits(frames, **phase), {}

    def compute_features(self, frames: Tensor, **phase: int) -> Tensor:
        """Features that the head of the network reads.

        Args:
            frames: As for `compute_logits`.
            phase: As for `compute_logits`.

        Returns:
            (B, D, H / s, W / s).

        Raises:
            ConfigError: The network does not tell its features.
        """
        raise ConfigError(
            f"{type(self).__name__} does not tell its features",
            fix="choose another network, or implement compute_features and classify",
        )

    def classify(self, features: Tensor, **phase: int) -> Tensor:
        """The head of the network.

        Args:
            features: (B, D, H / s, W / s) from `compute_features`.
            phase: As for `compute_logits`.

        Returns:
            What `compute_logits` returns for the same frames.

        Raises:
            ConfigError: The network does not tell its features.
        """
        raise ConfigError(f"{type(self).__name__} does not tell its features", fix="choose another network")

    def features(self, frames: Tensor, first_index: int = 0) -> Tensor:
        """Features of the last frame of each clip, before the network decides on classes.

        Args:
            frames: As for `forward`.
            first_index: As for `forward`.

        Returns:
            (B, D, ceil(H / s), ceil(W / s)), where s is the stride of the features.

        Raises:
            ConfigError: The network does not tell its features.
        """
        clip = self._clip(frames)
        return self._at_stride(self.compute_features(clip, **self._phase(first_index)), clip, frames)

    def logits_and_features(self, frames: Tensor, first_index: int = 0) -> tuple[Tensor, Tensor]:
        """Both in one pass.

        Args:
            frames: As for `forward`.
            first_index: As for `forward`.

        Returns:
            The logits of `forward`, and `features`.

        Raises:
            ConfigError: The network does not tell its features.
        """
        clip, phase = self._clip(frames), self._phase(first_index)
        features = self.compute_features(clip, **phase)
        return self._enlarge(self.classify(features, **phase), clip, frames), self._at_stride(features, clip, frames)

    def forward(self, frames: Tensor, first_index: int = 0) -> Tensor:
        """Segment the last frame of each clip.

        Args:
            frames: (B, T, 3, H, W) with T = `past_frames` + 1, or (B, 3, H, W) for image networks; normalised, of
                any height and width.
            first_index: Place in the video of the first of the T frames, for networks with several phases.

        Returns:
            Logits, (B, num_classes, H, W).

        Raises:
            ConfigError: The shape is another one.
        """
        return self.strided_logits(frames, first_index).at(1)

    def low_resolution_logits(self, frames: Tensor, first_index: int = 0) -> Tensor:
        """Logits before the final enlargement, for losses that work at low resolution.

        Args:
            frames: As for `forward`.
            first_index: As for `forward`.

        Returns:
            (B, num_classes, ceil(H / s), ceil(W / s)), where s is the output stride of the decoder.
        """
        clip = self._clip(frames)
        return self._at_stride(self.compute_logits(clip, **self._phase(first_index)), clip, frames)

    def strided_logits(self, frames: Tensor, first_index: int = 0) -> StridedLogits:
        """Segment once, for losses at several resolutions.

        Args:
            frames: As for `forward`.
            first_index: As for `forward`.

        Returns:
            What gives the logits of `forward` at stride 1, and others at other strides.
        """
        clip = self._clip(frames)
        return self._strided(self.compute_logits(clip, **self._phase(first_index)), clip, frames)

    def strided_outputs(self, frames: Tensor, first_index: int = 0) -> tuple[StridedLogits, dict[str, StridedLogits]]:
        """Segment once, and return what else can be trained.

        Args:
            frames: As for `forward`.
            first_index: As for `forward`.

        Returns:
            What `strided_logits` returns, and by name the same of auxiliary heads and others (none by default).
        """
        clip = self._clip(frames)
        logits, others = self.compute_outputs(clip, **self._phase(first_index))
        further = {name: self._strided(output, clip, frames) for name, output in others.items()}
        return self._strided(logits, clip, frames), further

    def forward_with_auxiliary(self, frames: Tensor, first_index: int = 0) -> tuple[Tensor, dict[str, Tensor]]:
        """Segment and return the outputs of auxiliary heads too.

        Args:
            frames: As for `forward`.
            first_index: As for `forward`.

        Returns:
            The logits of `forward`, and further logits of the same shape by name (none by default).
        """
        logits, others = self.strided_outputs(frames, first_index)
        return logits.at(1), {name: output.at(1) for name, output in others.items()}

    def start(self) -> StreamState:
        """The state before the first frame of a video."""
        return FrameWindow()

    def step(self, frame: Tensor, state: StreamState) -> tuple[Tensor, StreamState]:
        """Segment the next frame of a video.

        The result equals `forward` on the window that ends at this frame, where a window that reaches back before
        the first frame repeats it.

        Args:
            frame: (B, 3, H, W) normalised.
            state: From `start` or from the previous step; it is not changed.

        Returns:
            Logits (B, num_classes, H, W) and the new state.
        """
        if not isinstance(state, FrameWindow):
            raise ConfigError("state of another network", expected="FrameWindow", found=type(state).__name__)
        length = self.past_frames + 1
        window = [*state.frames, frame][-length:]
        window = window[:1] * (length - len(window)) + window
        logits: Tensor = self(torch.stack(window, dim=1), **self._phase(state.index - self.past_frames))
        return logits, FrameWindow(tuple(window[1:]), (state.index + 1) % self.num_phases)

    def resume(self, past: Tensor, first_index: int = 0) -> StreamState:
        """The state in the midst of a video, from which `step` gives what `forward` gives on the whole window.

        Args:
            past: (B, `past_frames`, 3, H, W) normalised, the frames before the one to segment, oldest first.
            first_index: As for `forward`.

        Raises:
            ConfigError: The network encodes the frames of every window anew.
        """
        raise ConfigError(f"{type(self).__name__} does not resume a stream", fix="call forward on each window")

    def _phase(self, first_index: int) -> dict[str, int]:
        return {"first_index": first_index % self.num_phases} if self.num_phases > 1 else {}

    def _clip(self, frames: Tensor) -> Tensor:
        """Frames as a padded clip (B, T, 3, H', W')."""
        length = self.past_frames + 1
        clip = frames.unsqueeze(1) if frames.ndim == 4 else frames
        if clip.ndim != 5 or clip.shape[1] != length or clip.shape[2] != 3:
            image = " or (B, 3, H, W)" if length == 1 else ""
            raise ConfigError(
                f"{type(self).__name__} cannot take these frames",
                expected=f"(B, {length}, 3, H, W){image}",
                found=tuple(frames.shape),
                fix=f"set past_frames to {self.past_frames} where the clips are made, and use RGB frames",
            )
        return self._pad(clip)

    def _pad(self, clip: Tensor) -> Tensor:
        return pad_to_multiple(clip, self.size_multiple, self.size_remainder)

    def _enlarge(self, logits: Tensor, clip: Tensor, frames: Tensor) -> Tensor:
        return self._strided(logits, clip, frames).at(1)

    def _strided(self, logits: Tensor, clip: Tensor, frames: Tensor) -> StridedLogits:
        padded, size = ((x.shape[-2], x.shape[-1]) for x in (clip, frames))
        return StridedLogits(logits, padded, size, self.align_corners)

    def _at_stride(self, features: Tensor, clip: Tensor, frames: Tensor) -> Tensor:
        """Cut from a low-resolution map what lies wholly in the padding: (B, C, ceil(H / s), ceil(W / s))."""
        stride_y, stride_x = clip.shape[-2] // features.shape[-2], clip.shape[-1] // features.shape[-1]
        return features[..., : -(-frames.shape[-2] // stride_y), : -(-frames.shape[-1] // stride_x)]


def pad_to_multiple(frames: Tensor, multiple: int, remainder: int = 0) -> Tensor:
    """Repeat the border at the right and at the bottom until both sides are multiples of a number.

    Args:
        frames: (B, ..., C, H, W).
        multiple: Of what the sides become multiples.
        remainder: What remains of the sides after division by it.

    Example:
        >>> pad_to_multiple(torch.zeros(1, 2, 3, 45, 60), 16).shape
        torch.Size([1, 2, 3, 48, 64])
    """
    bottom, right = ((remainder - side) % multiple for side in frames.shape[-2:])
    if not is_symbolic(bottom + right) and bottom + right == 0:
        return frames
    padded = F.pad(frames.flatten(0, -4), (0, right, 0, bottom), mode="replicate")
    unfolded: Tensor = padded.unflatten(0, frames.shape[:-3])
    return unfolded


def import_path(cls: type) -> str:
    """The shortest dotted path under which a class can be imported.

    Example:
        >>> import_path(SemanticNetwork)
        'thriftseg.zoo.SemanticNetwork'
    """
    parts = cls.__module__.split(".")
    for end in range(1, len(parts)):
        package = ".".join(parts[:end])
        if getattr(sys.modules.get(package), cls.__qualname__, None) is cls:
            return f"{package}.{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"
