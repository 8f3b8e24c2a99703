"""How to annotate a frame: by drawing the mask, or by clicks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, get_args

import numpy as np

from thriftseg.annotation.eva_vos.progress import ObjectProgress
from thriftseg.annotation.people.masks import AnnotationKind
from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.datamodules import CLICK, MASK
from thriftseg.datasets import resize_label
from thriftseg.errors import ConfigError
from thriftseg.stores import MASK_SIZE

if TYPE_CHECKING:
    from thriftseg.lightning_modules import ActionChoice
    from thriftseg.zoo import AnnotationPolicy

_KINDS: Mapping[int, AnnotationKind] = {CLICK: "clicks", MASK: "mask"}


class TypeDecision(NamedTuple):
    """How a frame is to be annotated.

    Attributes:
        kind: "mask" or "clicks".
        value: What the agent expects to come of it; NaN from others.
    """

    kind: AnnotationKind
    value: float = math.nan


class TypeChoice(Protocol):
    """Chooses how to annotate a frame.

    Attributes:
        needs_truth: Whether it looks at the truth, and so serves simulations only.
        has_values: Whether its decisions have a value.

    Example:
        >>> choices: list[TypeChoice] = [create_type_choice(name) for name in ("mask", "random", "oracle")]
        >>> [choice.needs_truth for choice in choices]
        [False, False, True]
    """

    needs_truth: ClassVar[bool]
    has_values: ClassVar[bool]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the choice depends on, JSON values only."""

    def choose(self, progress: ObjectProgress, place: int) -> TypeDecision:
        """How to annotate a frame."""


class FixedType:
    """Always the same.

    Args:
        kind: "mask" or "clicks".
    """

    needs_truth: ClassVar[bool] = False
    has_values: ClassVar[bool] = False

    def __init__(self, kind: AnnotationKind) -> None:
        self._kind: AnnotationKind = kind

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the choice depends on."""
        return {"types": self._kind}

    def choose(self, progress: ObjectProgress, place: int) -> TypeDecision:
        """How to annotate a frame; see `TypeChoice.choose`."""
        return TypeDecision(self._kind)


class RandomType:
    """Mask or clicks, with the same probability."""

    needs_truth: ClassVar[bool] = False
    has_values: ClassVar[bool] = False
    arguments: ClassVar[Mapping[str, Any]] = {"types": "random"}

    def choose(self, progress: ObjectProgress, place: int) -> TypeDecision:
        """How to annotate a frame; see `TypeChoice.choose`."""
        return TypeDecision(_KINDS[int(progress.random("type").integers(2))])


class OracleType:
    """Whatever adds more to the J&F of the video per second; the mask if they are equal. Tries both."""

    needs_truth: ClassVar[bool] = True
    has_values: ClassVar[bool] = False
    arguments: ClassVar[Mapping[str, Any]] = {"types": "oracle"}

    def choose(self, progress: ObjectProgress, place: int) -> TypeDecision:
        """How to annotate a frame; see `TypeChoice.choose`."""
        kinds: tuple[AnnotationKind, ...] = ("mask", "clicks")
        return TypeDecision(max(kinds, key=lambda kind: progress.gain_per_second(place, kind)))


class AgentType:
    """What a trained agent says of the frame and its mask [0].

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.

    Args:
        network: The agent, or where it is stored; see `thriftseg.inference.checkpoints.load_as`. It has two
            actions: clicks, mask.
        choice: Draw the action from the policy, as the authors do, or take the most probable one ("argmax").
        encoders: For an agent without an image encoder of its own: what embeds a frame, (H, W, 3) uint8 RGB, as
            (256, h, w), by the name of its embedding, "sam" or "sam2".
        device: Where it computes, as torch names it.

    Raises:
        ConfigError: The agent has other actions, nothing embeds frames as it needs, or there is no such choice.
    """

    needs_truth: ClassVar[bool] = False
    has_values: ClassVar[bool] = True

    def __init__(
        self,
        network: AnnotationPolicy | str | Path,
        choice: ActionChoice = "sampled",
        encoders: Mapping[str, Callable[[UInt8Array], Float32Array]] | None = None,
        device: str = "cpu",
    ) -> None:
        from thriftseg import zoo
        from thriftseg.inference import load_as
        from thriftseg.lightning_modules import ActionChoice

        if choice not in get_args(ActionChoice):
            raise ConfigError("choice of an agent", expected=" or ".join(get_args(ActionChoice)), found=repr(choice))
        loaded = load_as(network, zoo.AnnotationPolicy) if isinstance(network, (str, Path)) else network
        if loaded.policy.out_features != len(_KINDS):
            raise ConfigError("actions of an agent", expected="clicks and mask", found=loaded.policy.out_features)
        known, needed = encoders or {}, loaded.given_embedding
        if needed is not None and needed not in known:
            raise ConfigError(
                "the agent reads embeddings of frames",
                expected=f"those of {needed}",
                found=", ".join(known) or "none",
                fix=f"use the prompter that it was trained with, {needed}",
            )
        self._network, self._choice, self._device = loaded.eval().to(device), choice, device
        self._embed_frame = None if needed is None else known[needed]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Settings that the choice depends on."""
        from thriftseg.zoo import weights_digest

        return {"types": "agent", "choice": self._choice, "weights": weights_digest(self._network)}

    def choose(self, progress: ObjectProgress, place: int) -> TypeDecision:
        """How to annotate a frame; see `TypeChoice.choose`."""
        import torch

        from thriftseg.lightning_modules import choose_actions

        frame = progress.video.frame(place)
        mask = torch.from_numpy(resize_label(progress.masks[place].view(np.uint8), MASK_SIZE))[None].to(self._device)
        spent = torch.zeros(1, device=self._device) if self._network.cost_branch is not None else None
        with torch.inference_mode():
            if self._embed_frame is None:
                image = torch.from_numpy(frame).to(self._device).permute(2, 0, 1)[None].float().div(255)
                embedding = self._network.embed(self._network.preprocessing(image))
            else:
                given = torch.from_numpy(np.asarray(self._embed_frame(frame), np.float32))
                embedding = given[None].to(self._device)
            output = self._network(embedding, mask, spent)
        generator = torch.Generator().manual_seed(int(progress.random("type").integers(2**62)))
        (action,) = choose_actions(output.policy_logits, self._choice, [generator]).tolist()
        return TypeDecision(_KINDS[action], float(output.value))


TYPE_CHOICES = ("agent", "clicks", "mask", "random", "oracle")
"""Names that `create_type_choice` takes."""


def create_type_choice(name: str, **settings: Any) -> TypeChoice:
    """Build a choice of the annotation type by name.

    Args:
        name: "agent", "clicks", "mask", "random" or "oracle".
        settings: Arguments of `AgentType`; the others have none.

    Raises:
        ConfigError: There is no such choice, or it does not take one of the arguments.

    Example:
        >>> create_type_choice("clicks").arguments
        {'types': 'clicks'}
    """
    makers: Mapping[str, Callable[..., TypeChoice]] = {
        "agent": AgentType,
        "clicks": lambda: FixedType("clicks"),
        "mask": lambda: FixedType("mask"),
        "random": RandomType,
        "oracle": OracleType,
    }
    if name not in makers:
        raise ConfigError("no such choice of the annotation type", expected=", ".join(TYPE_CHOICES), found=repr(name))
    try:
        return makers[name](**settings)
    except TypeError as error:
        raise ConfigError(f"wrong settings of the choice of types {name!r}", found=str(error)) from error
