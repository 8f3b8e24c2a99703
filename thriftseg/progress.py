"""The progress bar of everything that takes long."""

from __future__ import annotations

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
    return Progress(console=console, disable=not (shown and console.is_terminal), transient=True)
