"""Devices by name."""

from __future__ import annotations

import torch

from thriftseg.errors import ConfigError


def choose_device(name: str | torch.device) -> torch.device:
    """A device by name.

    Args:
        name: `cpu`, `gpu`, `cuda:1`, ..., or `auto` for CUDA where there is one.

    Raises:
        ConfigError: There is no such device here.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cuda" if name == "gpu" else name)
    except RuntimeError:
        raise ConfigError("unknown device", expected="auto, cpu, gpu or cuda:N", found=name) from None
    if device.type == "cuda":
        if (device.index or 0) >= torch.cuda.device_count():
            raise ConfigError(
                "this CUDA device is not there",
                found=f"{torch.cuda.device_count()} CUDA devices",
                fix="--accelerator cpu",
            )
        return device
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ConfigError("no such device here", expected="auto, cpu, gpu or cuda:N", found=name) from error
