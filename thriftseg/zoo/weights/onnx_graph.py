"""One ONNX graph of a step of a stream, whose memory goes in and comes out.

The state of a stream has a few forms: before the first frame there is no tensor, a window fills, parts of a network
take turns. A stream is followed until no new form comes; each form is traced as a branch of its own, of whatever
`start` and `step` of the network make of it, and the graph chooses the branch by the number of the form, its `place`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim

from thriftseg.errors import ConfigError
from thriftseg.zoo.network import Network, SemanticNetwork
from thriftseg.zoo.streaming import StreamState
from thriftseg.zoo.vos.slots import SlotState, SlotStream
from thriftseg.zoo.weights.onnx_join import FRAMES, LOGITS, NEXT, PLACE, Branch, Fork, join_models

_MOST_PLACES = 64

Stream = SemanticNetwork | SlotStream


class FrameShape(NamedTuple):
    """Number, height and width of frames."""

    batch: int
    height: int
    width: int


class ShapeRange(NamedTuple):
    """Shapes of frames that an exported network takes: the smallest in each direction, the usual, and the largest."""

    least: FrameShape
    usual: FrameShape
    most: FrameShape

    @property
    def varies(self) -> list[bool]:
        """Per direction, whether it is not fixed."""
        return [low != high for low, high in zip(self.least, self.most, strict=True)]

    @property
    def examples(self) -> list[FrameShape]:
        """What to try: the three, and one that is no round number."""
        odd = FrameShape(*(min(low + 1, high) for low, high in zip(self.least, self.most, strict=True)))
        return list(dict.fromkeys((self.usual, self.least, odd, self.most)))


def example_inputs(stream: Stream, shape: FrameShape, number: int) -> dict[str, Tensor]:
    """Frames and what else a step takes, by name; the same each time.

    Args:
        stream: The stream.
        shape: FrameShape of the frames.
        number: Number of the frame in its video; masks are given on the first frame, and now and then.

    Returns:
        "frames" (B, 3, H, W) in [0, 1]; of a `SlotStream` also "masks" (1, N, H, W) and "given" (1, N) bool.
    """
    frames = torch.rand(shape.batch, 3, *shape[1:], generator=torch.Generator().manual_seed(number))
    if not isinstance(stream, SlotStream):
        return {FRAMES: frames}
    stripe = torch.arange(shape.width) * stream.objects // shape.width  # one for each object
    masks = (stripe == torch.arange(stream.objects)[:, None]).float()[None, :, None].repeat(1, 1, shape.height, 1)
    masks[..., : shape.height // 3, :] = 0
    given = torch.zeros(1, stream.objects, dtype=torch.bool)
    given[0, : stream.objects // 2 + 1] = number == 0
    given[0, -1] |= number % 50 == 2
    return {FRAMES: frames, "masks": masks, "given": given}


def advance(network: Network, stream: Stream, state: StreamState, inputs: dict[str, Tensor], **options: bool) -> Any:
    """A step with frames that are not normalised: logits and the new state."""
    frames, *extras = inputs.values()
    step: Any = stream.step
    return step(network.preprocessing(frames), state, *extras, **options)


class GraphBuilder:
    """Builds the graph of a step.

    Args:
        network: The network, in evaluation mode.
        stream: The network itself, or a `SlotStream` of it.
        shapes: Shapes of the frames.

    Attributes:
        inputs: Example of every input but the place, for the largest and for the smallest shape.
        states: One for each form that the state takes; their tensors are of the largest shape.
        following: Per form, the number of the one that comes after it.

    Raises:
        ConfigError: The network needs another shape, or its state takes ever new forms.
    """

    def __init__(self, network: Network, stream: Stream, shapes: ShapeRange) -> None:
        self.network, self.stream, self.shapes = network, stream, shapes
        self.states, self.following = self._follow(shapes.most)
        small = self._follow(shapes.least)[0] if any(shapes.varies) else self.states
        pairs = [(example_inputs(stream, shapes.most, 0), example_inputs(stream, shapes.least, 0))]
        self.extras = list(pairs[0][0])[1:]
        pairs += [(state.tensors, other.tensors) for state, other in zip(self.states, small, strict=True)]
        # A tensor that is there twice, such as the first frame of a video, would become one input.
        self.inputs = {name: (large[name].clone(), less[name]) for large, less in pairs for name in large}

    @property
    def state(self) -> list[str]:
        """Names of the tensors of the state."""
        return list(self.inputs)[1 + len(self.extras) :]

    def build(self, share_weights: bool = True) -> Any:
        """The ONNX model, without metadata.

        Args:
            share_weights: As for `export_onnx`.

        Raises:
            ConfigError: The network cannot be exported for these shapes.
        """
        from onnx import TensorProto, helper

        place = [PLACE] if len(self.states) > 1 else []
        inputs = [self._value(name, name) for name in (FRAMES, *self.extras, *place, *self.state)]
        batch, _, height, width = self._dims(FRAMES)
        stream = self.stream
        channels = 1 + stream.objects if isinstance(stream, SlotStream) else stream.num_classes
        logits = helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [batch, channels, height, width])
        outputs = [logits, *(self._value(name, NEXT + name) for name in (*place, *self.state))]
        return join_models(self._branches(0), inputs, outputs, share_weights)

    @torch.no_grad()
    def _follow(self, shape: FrameShape) -> tuple[list[StreamState], list[int]]:
        inputs, following = example_inputs(self.stream, shape, 0), list[int]()
        states: list[StreamState] = [self.stream.start()]
        forms = [_form(states[0])]
        while len(following) < len(states) <= _MOST_PLACES:
            state = advance(self.network, self.stream, states[len(following)], inputs)[1]
            if _form(state) not in forms:
                forms.append(_form(state))
                states.append(state)
            following.append(forms.index(_form(state)))
        if len(states) > _MOST_PLACES:
            raise ConfigError(f"the state of {type(self.network).__name__} takes ever new forms, which no graph has")
        return states, following

    def _branches(self, place: int) -> Branch | Fork:
        """The forms from a place on."""
        state, after = self.states[place], self.following[place]
        here: Branch | Fork
        if isinstance(self.stream, SlotStream) and isinstance(state, SlotState) and state.features:
            stored, passed = (Branch(self._trace(place, memorise=choice), after) for choice in (True, False))
            here = Fork(self._trace(place, decides=True), stored, passed)
        else:
            here = Branch(self._trace(place), after)
        return here if place + 1 == len(self.states) else Fork(place, here, self._branches(place + 1))

    def _trace(self, place: int, *, decides: bool = False, **options: bool) -> Any:
        """Model of a step, or of the question whether a memory needs it."""
        state, following = self.states[place], self.states[self.following[place]]

        def step(frames: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
            given = dict(zip(names, (frames, *others), strict=True))
            before = state.mapped(lambda name, _: given[name])
            if decides:
                question: Any = self.stream
                return (question.needs(before, given["given"]),)
            inputs = {name: given[name] for name in (FRAMES, *self.extras)}
            logits, new = advance(self.network, self.stream, before, inputs, **options)
            return logits, *new.tensors.values()

        names = [FRAMES, *self.extras, *state.tensors]
        hints = [self._hints(name) for name in names]
        try:
            with _quiet_exporter():
                program = torch.onnx.export(
                    _Function(self.network, step).eval(),
                    ([self.inputs[name][0] for name in names],),
                    dynamo=True,
                    input_names=names,
                    output_names=[LOGITS, *([] if decides else (NEXT + name for name in following.tensors))],
                    dynamic_shapes=(hints,) if any(hints) else None,
                    verbose=False,
                )
        except Exception as error:  # the exporter fails in any way
            sizes = " for several sizes" if any(hints) else ""
            raise ConfigError(
                f"{type(self.network).__name__} cannot be exported{sizes}",
                found=_reason(error),
                fix="give one size, without min_size, max_size, min_batch and max_batch" if sizes else None,
            ) from error
        return program.model_proto  # type: ignore[union-attr]

    def _dims(self, name: str) -> list[int | str]:
        """Sizes of an input, and names of those that vary."""
        shapes = zip(*(each.shape for each in self.inputs[name]), strict=True)
        if name in (FRAMES, *self.extras):
            labels = ("batch", "channels", "height", "width")
            return [large if large == small else label for label, (large, small) in zip(labels, shapes, strict=False)]
        batches = (self.shapes.most.batch, self.shapes.least.batch)
        return [
            sizes[0] if sizes[0] == sizes[1] else "batch" if not axis and sizes == batches else f"{name}_{axis}"
            for axis, sizes in enumerate(shapes)
        ]

    def _hints(self, name: str) -> dict[int, Any]:
        """What the exporter is told of sizes that vary: of frames, what they are; of other tensors, to find out."""
        bounds = dict(zip((0, 2, 3), zip(self.shapes.least, self.shapes.most, strict=True), strict=True))
        varying = [axis for axis, size in enumerate(self._dims(name)) if isinstance(size, str)]
        if name in self.state:
            return dict.fromkeys(varying, Dim.AUTO)
        return {axis: Dim.DYNAMIC(min=bounds[axis][0], max=bounds[axis][1]) for axis in varying}

    def _value(self, name: str, label: str) -> Any:
        from onnx import TensorProto, helper

        if name == PLACE:
            return helper.make_tensor_value_info(label, TensorProto.INT64, [])
        kinds = {torch.float32: TensorProto.FLOAT, torch.int64: TensorProto.INT64, torch.bool: TensorProto.BOOL}
        return helper.make_tensor_value_info(label, kinds[self.inputs[name][0].dtype], self._dims(name))


def _form(state: StreamState) -> StreamState:
    """The state without the values of its tensors."""
    return state.mapped(lambda name, _: name)


class _Function(nn.Module):
    """A function of tensors that uses a network."""

    def __init__(self, network: nn.Module, function: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        return self.function(*inputs)


def _reason(error: BaseException) -> str:
    """First line of the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter from reporting its progress and its own deprecations."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
