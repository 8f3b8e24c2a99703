"""Methods that turn points, boxes and masks into masks, behind one protocol.

Only those that need a network import torch, when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from thriftseg.errors import ConfigError
from thriftseg.labels.refining.prompters.protocol import Candidates, Embedded, MaskGenerator, Prompt, Prompter
from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.labels.refining.prompters.grabcut import GrabCutPrompter
    from thriftseg.labels.refining.prompters.sam import SAMPrompter
    from thriftseg.labels.refining.prompters.sam2 import SAM2Prompter

__all__ = [
    "PROMPTERS",
    "Candidates",
    "Embedded",
    "GrabCutPrompter",
    "MaskGenerator",
    "Prompt",
    "Prompter",
    "SAM2Prompter",
    "SAMPrompter",
    "create_prompter",
]

PROMPTERS = {"grabcut": "GrabCutPrompter", "sam2": "SAM2Prompter", "sam": "SAMPrompter"}
"""Class by name of the method."""

__getattr__ = lazy_names(__name__, {cls: method for method, cls in PROMPTERS.items()})


def create_prompter(method: str, **settings: Any) -> Prompter:
    """Build a prompter by name.

    Args:
        method: "grabcut", "sam2" or "sam".
        settings: Arguments of its class.

    Raises:
        ConfigError: There is no such method, or it does not take one of the arguments.

    Example:
        >>> create_prompter("grabcut", iterations=3).arguments["iterations"]
        3
    """
    if method not in PROMPTERS:
        raise ConfigError("no such prompter", expected=", ".join(PROMPTERS), found=repr(method))
    make = getattr(import_module(f"{__name__}.{method}"), PROMPTERS[method])
    try:
        prompter: Prompter = make(**settings)
    except TypeError as error:
        raise ConfigError(f"wrong settings of the prompter {method!r}", found=str(error)) from error
    return prompter
