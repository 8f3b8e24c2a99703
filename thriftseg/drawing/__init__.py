"""Pictures and videos of label maps: colours, overlays, error maps, captions, contact sheets.

Needs numpy, OpenCV and Pillow only.

Example:
    >>> import numpy as np
    >>> label = np.array([[0, 1], [1, 255]], dtype=np.uint8)
    >>> colorize(label, [(128, 64, 128), (0, 0, 142)])[0].tolist()
    [[128, 64, 128], [0, 0, 142]]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.drawing.comparison import compare
    from thriftseg.drawing.overlay import (
        CORRECT_COLOR,
        IGNORED_COLOR,
        WRONG_COLOR,
        Palette,
        blend,
        colorize,
        contact_sheet,
        error_map,
        legend,
        side_by_side,
    )
    from thriftseg.drawing.video import VideoWriter

__getattr__, __dir__, __all__ = face(__name__)
