"""`thriftseg quickstart`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thriftseg.quickstart import QuickstartConfig

DEFAULTS = "quickstart.yaml"


def run(config: QuickstartConfig, devices: int = 2, **options: Any) -> int:
    """Synthesise a data set, train from three label sources, show quality and cost.

    Args:
        config: Sizes and training settings.
        devices: Processes that draw the video.
        options: Those of `thriftseg.quickstart.quickstart`.
    """
    from thriftseg.quickstart import quickstart

    quickstart(config=config, devices=devices, **options)
    return 0
