"""Optical flow: one convention for the whole package, warping, the forward-backward check, estimators, stored flow.

`f_{a->b}(p) = (dx, dy)` in pixels, channel 0 = x, channel 1 = y: what is at `p` in frame a is at `p + f` in frame b.
So `warp(x_b, f_{a->b})` samples `x_b` at `p + f` and shows it as seen from a. Pixel centres lie at integers, and a
pixel is the unit square around its centre: a point is inside the image if the pixel nearest to it, `floor(x + 0.5)`,
is in the image.

Only `warp`, `consistency_mask` and `RAFT` import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.lazy import face

if TYPE_CHECKING:
    from thriftseg.flow.dense import compose, consistency_mask_np, warp_labels, warp_settled
    from thriftseg.flow.dis import DIS
    from thriftseg.flow.estimators import FlowEstimator, create_estimator, estimator_of
    from thriftseg.flow.raft import RAFT
    from thriftseg.flow.stored import FlowStore, read_flow, write_flow
    from thriftseg.flow.transforms import crop_flow, flip_flow, scale_flow
    from thriftseg.flow.warping import consistency_mask, end_points, warp

__getattr__, __dir__, __all__ = face(__name__)
