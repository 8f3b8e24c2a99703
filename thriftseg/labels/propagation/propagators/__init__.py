"""Methods that carry objects from an annotated frame to its neighbours, behind one protocol.

Only those that need a network import torch, when they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.errors import ConfigError
from thriftseg.labels.propagation.propagators.flow import FlowPropagator
from thriftseg.labels.propagation.propagators.nearest import NearestPropagator
from thriftseg.labels.propagation.propagators.protocol import MovesToDevice, Propagated, Propagator
from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from thriftseg.labels.propagation.propagators.stm import STMPropagator

__all__ = [
    "PROPAGATORS",
    "FlowPropagator",
    "MovesToDevice",
    "NearestPropagator",
    "Propagated",
    "Propagator",
    "STMPropagator",
    "create_propagator",
    "propagator_class",
]

_HOMES = {"STMPropagator": "stm", "SAM2Propagator": "sam2"}

__getattr__ = lazy_names(__name__, _HOMES)

PROPAGATORS = {
    "flow": "FlowPropagator",
    "nearest": "NearestPropagator",
    "stm": "STMPropagator",
    "sam2": "SAM2Propagator",
}
"""Class by name of the method."""


def create_propagator(method: str, **settings: Any) -> Propagator:
    """Build a propagator by name.

    Args:
        method: "flow", "nearest", "stm" or "sam2".
        settings: Arguments of its class.

    Raises:
        ConfigError: There is no such method, or it does not take one of the arguments.

    Example:
        >>> create_propagator("flow", beta=1.0).arguments["beta"]
        1.0
    """
    make = propagator_class(method)
    try:
        return make(**settings)
    except TypeError as error:
        raise ConfigError(f"wrong settings of the propagator {method!r}", found=str(error)) from error


def propagator_class(method: str) -> Callable[..., Propagator]:
    """The class of a propagator by name.

    Args:
        method: As for `create_propagator`.

    Raises:
        ConfigError: There is no such method.
    """
    if method not in PROPAGATORS:
        raise ConfigError("no such propagation method", expected=", ".join(PROPAGATORS), found=repr(method))
    name = PROPAGATORS[method]
    found: Any = globals()[name] if name in globals() else __getattr__(name)
    chosen: Callable[..., Propagator] = found
    return chosen
