"""What turns the name of a method and its options into the method, shared by commands."""

from __future__ import annotations

from typing import Any

from thriftseg.errors import ConfigError


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
