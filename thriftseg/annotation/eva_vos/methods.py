"""Settings that name what EVA-VOS works with: networks, rules and people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from thriftseg.annotation.eva_vos.collect import STORED_EMBEDDINGS
from thriftseg.annotation.eva_vos.frame_choice import FrameChoice, create_frame_choice
from thriftseg.annotation.eva_vos.propagation import MaskPropagator, create_mask_propagator
from thriftseg.annotation.eva_vos.type_choice import TypeChoice, create_type_choice
from thriftseg.annotation.people.mask_clicker import ClickPerson
from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.labels import PROMPTERS, PROPAGATORS, Prompter, create_prompter


@dataclass(frozen=True)
class MaskMethods:
    """What carries masks to other frames, and what makes masks of clicks.

    Attributes:
        propagator: What carries masks to the other frames: nearest, flow, stm, sam2, hf, cutie, or what a package
            adds.
        propagator_weights: Weights of a network, a name or a path.
        flow_cache: Folder that keeps the flow of the propagator flow.
        prompter: What turns clicks into masks: grabcut, sam, sam2, hf, or what a package adds.
        prompter_weights: Weights of a network, a name or a path.
        accelerator: Where networks compute: auto, cpu, gpu, or one GPU of several such as cuda:1.

    Example:
        >>> MaskMethods().make_prompter().name, MaskMethods(accelerator="cpu").make_propagator().name
        ('grabcut', 'nearest')
        >>> MaskMethods(prompter="sam").make_prompter()
        Traceback (most recent call last):
        thriftseg.errors.ConfigError: sam needs weights; fix: add --prompter_weights with the name or path of ...
    """

    propagator: str = "nearest"
    propagator_weights: str | None = None
    flow_cache: str | None = None
    prompter: str = "grabcut"
    prompter_weights: str | None = None
    accelerator: str = "auto"

    def make_prompter(self) -> Prompter:
        """The prompter.

        Raises:
            ConfigError: Weights are missing, or given to a method without any.
        """
        network = self.network("prompter", self.prompter, self.prompter_weights, PROMPTERS.has_weights(self.prompter))
        return create_prompter(self.prompter, **PROMPTERS.known(self.prompter, network))

    def make_propagator(self) -> MaskPropagator:
        """The propagator.

        Raises:
            ConfigError: Weights are missing, or given to a method without any; or there is no flow to keep.
        """
        _ = self.device  # it is refused where there is none, whether a network needs it or not
        network = self.network(
            "propagator", self.propagator, self.propagator_weights, PROPAGATORS.has_weights(self.propagator)
        )
        if self.flow_cache and self.propagator != "flow":
            fix = "leave it out"
            raise ConfigError("--flow_cache is about flow", found=f"--propagator {self.propagator}", fix=fix)
        return create_mask_propagator(self.propagator, self.flow_cache, **PROPAGATORS.known(self.propagator, network))

    @property
    def device(self) -> str:
        """Where networks compute, as torch names it."""
        from thriftseg.inference import choose_device

        return str(choose_device(self.accelerator))

    def network(self, option: str, method: str, weights: str | None, is_network: bool) -> dict[str, str]:
        """Weights and device of a method, nothing where it is not a network.

        Args:
            option: Setting that names the method; that of its weights ends in `_weights`.
            method: The method.
            weights: Its weights.
            is_network: Whether it has weights.

        Raises:
            ConfigError: Weights are missing, or given to a method without any.
        """
        named = {"frame": "qnet_weights", "type": "policy_weights"}.get(option, f"{option}_weights")
        if is_network and not weights:
            raise ConfigError(
                f"{method} needs weights", fix=f"add --{named} with the name or path of a trained network"
            )
        if not is_network and weights:
            fix = f"leave it out, or set --{option} to a network"
            raise ConfigError(f"--{option} {method} has no such weights", found=f"--{named} {weights}", fix=fix)
        return {"weights": weights, "device": self.device} if weights else {}


@dataclass(frozen=True)
class AnnotationChoices:
    """What is annotated next, and how.

    Attributes:
        frame: Frame to annotate next: qnet, random, oracle, upper_bound, or of pictures alone l2:qnet, l2:<timm model>.
        upper_bound_frames: Frames that upper_bound tries; all if null.
        qnet_weights: Weights of QNet, a name or a path.
        type: Who decides how to annotate it, or how it is.
        policy_weights: Weights of the agent, a name or a path.
        policy: Draw the agent's decision, or take the best.

    Example:
        >>> choices, methods = AnnotationChoices(frame="upper_bound", upper_bound_frames=5), MaskMethods()
        >>> choices.make_frames(methods).arguments, choices.make_types(methods, methods.make_prompter()).arguments
        ({'frames': 'upper_bound', 'cap': 5}, {'types': 'mask'})
    """

    frame: str = "random"
    upper_bound_frames: int | None = 104
    qnet_weights: str | None = None
    type: Literal["agent", "clicks", "mask", "random", "oracle"] = "mask"
    policy_weights: str | None = None
    policy: Literal["sampled", "argmax"] = "sampled"

    def make_frames(self, methods: MaskMethods) -> FrameChoice:
        """The choice of frames.

        Args:
            methods: Tells where networks compute.

        Raises:
            ConfigError: There is no such choice, or it has no weights.
        """
        is_qnet = self.frame in ("qnet", "l2:qnet")
        network = methods.network("frame", self.frame, self.qnet_weights, is_qnet)
        if is_qnet:
            return create_frame_choice(self.frame, network=network["weights"], device=network["device"])
        if self.frame == "upper_bound":
            return create_frame_choice("upper_bound", cap=self.upper_bound_frames)
        return create_frame_choice(self.frame, **({"device": methods.device} if self.frame.startswith("l2:") else {}))

    def make_types(self, methods: MaskMethods, prompter: Prompter) -> TypeChoice:
        """The choice of types.

        Args:
            methods: Tells where networks compute.
            prompter: Embeds frames for an agent that was trained so.

        Raises:
            ConfigError: The choice has no weights.
        """
        network = methods.network("type", self.type, self.policy_weights, self.type == "agent")
        if self.type != "agent":
            return create_type_choice(self.type)
        agent = {"network": network["weights"], "device": network["device"], "choice": self.policy}
        return create_type_choice("agent", encoders=encoders_of(prompter), **agent)


@dataclass(frozen=True)
class Clicking:
    """How a person clicks.

    Attributes:
        clicks: Clicks of an annotation.
        sam_choice: Who picks one of several masks of the prompter: the simulated person, or the score.

    Example:
        >>> Clicking(clicks=5).simulated(MaskMethods().make_prompter()).price("clicks").seconds
        8.5
    """

    clicks: int = 3
    sam_choice: Literal["oracle", "score"] = "oracle"

    def simulated(self, prompter: Prompter) -> ClickPerson:
        """A simulated person."""
        return ClickPerson(prompter, clicks=self.clicks, sam_choice=self.sam_choice)


def encoders_of(prompter: Any) -> dict[str, Callable[[UInt8Array], Float32Array]]:
    """Encoders of frames by name, for an agent that was trained with the embeddings of SAM or SAM 2.

    Example:
        >>> encoders_of(MaskMethods(prompter="grabcut").make_prompter())  # which embeds nothing that an agent reads
        {}
    """
    return {prompter.name: lambda frame: prompter.embed(frame).embedding} if prompter.name in STORED_EMBEDDINGS else {}
