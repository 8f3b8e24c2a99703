"""The first run: synthetic video, three sources of labels, three students."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.quickstart.config import QuickstartConfig, StudentConfig
    from thriftseg.quickstart.run import QuickstartResult, quickstart, segmented_clip

__getattr__, __dir__, __all__ = face(__name__)
