"""A progress bar for what takes long, and silence from the trainer."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(shown: bool = True) -> Progress:
    """A bar on stderr that leaves nothing behind; none where stderr is no terminal.

    Args:
        shown: Whether to show it.

    Example:
        >>> with progress_bar(shown=False) as bar:
        ...     sum(bar.track([1, 2, 3], description="adding"))
        6
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    console.quiet = not (shown and console.is_terminal)
    return Progress(console=console, disable=console.quiet, transient=True)


@contextmanager
def quiet_trainer() -> Iterator[None]:
    """Keep Lightning's trainer from talking about hardware and data loaders.

    Example:
        >>> with quiet_trainer():
        ...     logging.getLogger("lightning.pytorch").isEnabledFor(logging.INFO)
        False
    """
    chatty = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [each.level for each in chatty]
    for each in chatty:
        each.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        try:
            yield
        finally:
            for each, level in zip(chatty, levels, strict=True):
                each.setLevel(level)
