"""Optical flow: one convention for the whole package, warping, the forward-backward check, estimators.

`f_{a->b}(p) = (dx, dy)` in pixels, channel 0 = x, channel 1 = y: what is at `p` in frame a is at `p + f` in frame b.
So `warp(x_b, f_{a->b})` samples `x_b` at `p + f` and shows it as seen from a. Pixel centres lie at integers, and a
pixel is the unit square around its centre: a point is inside the image if the pixel nearest to it, `floor(x + 0.5)`,
is in the image.

The functions on arrays (`warp_labels`, `consistency_mask_np`, `compose`, `DIS`) import no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.flow.dense import DIS, compose, consistency_mask_np, warp_labels
from thriftseg.lazy import lazy_names

if TYPE_CHECKING:
    from thriftseg.flow.warping import consistency_mask, warp

__all__ = ["DIS", "compose", "consistency_mask", "consistency_mask_np", "warp", "warp_labels"]

__getattr__ = lazy_names(__name__, {"consistency_mask": "warping", "warp": "warping"})
