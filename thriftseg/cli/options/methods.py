"""What turns the name of a method and its options into the method, shared by commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thriftseg.errors import ConfigError

if TYPE_CHECKING:
    from thriftseg.flow import FlowEstimator


def weights_of(method: str, weights: str | None, *, option: str, networks: tuple[str, ...]) -> dict[str, Any]:
    """Weights as an argument of a method, nothing where it is not a network.

    Args:
        method: Its name.
        weights: Its weights.
        option: Option that names them.
        networks: Methods that have weights.

    Raises:
        ConfigError: The method has no weights.
    """
    if method in networks:
        return {"weights": weights}
    if weights:
        raise ConfigError(f"{method} has no weights", found=f"--{option} {weights}", fix="leave them out")
    return {}


def estimator_of(flow: str, flow_weights: str | None) -> FlowEstimator:
    """The estimator of flow by its name.

    Args:
        flow: "dis" or "raft".
        flow_weights: Weights of RAFT.

    Raises:
        ConfigError: There is no such estimator, or it has no weights.
    """
    from thriftseg.flow import create_estimator

    return create_estimator(flow, **weights_of(flow, flow_weights, option="flow_weights", networks=("raft",)))
