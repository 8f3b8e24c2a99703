"""Flow on torch tensors: warping and the forward-backward check, on any device, differentiable where it makes sense."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def end_points(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows that the pixels of a (N, 2, H, W) flow point to, each (N, H, W).

    Example:
        >>> columns, rows = end_points(torch.full((1, 2, 1, 3), 0.5))
        >>> columns.tolist(), rows.tolist()
        ([[[0.5, 1.5, 2.5]]], [[[0.5, 0.5, 0.5]]])
    """
    height, width = flow.shape[-2:]
    columns = torch.arange(width, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    return columns + flow[:, 0], rows + flow[:, 1]


def _nearest_pixel(columns: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Column and row of the nearest pixel and whether it is in the image, each (N, H, W)."""
    height, width = columns.shape[-2:]
    column, row = torch.floor(columns.detach() + 0.5), torch.floor(rows.detach() + 0.5)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return column, row, inside


def _sample_bilinear(x: Tensor, columns: Tensor, rows: Tensor) -> Tensor:
    """Sample (N, C, H, W) at real positions (N, H, W), clamped to the image; NaN counts as 0."""
    height, width = x.shape[-2:]
    columns, rows = columns.nan_to_num(0.0), rows.nan_to_num(0.0)  # the backward pass would write to unowned memory
    grid = torch.stack([columns * (2 / max(width - 1, 1)) - 1, rows * (2 / max(height - 1, 1)) - 1], dim=-1)
    sampled = F.grid_sample(x.to(grid.dtype), grid, mode="bilinear", padding_mode="border", align_corners=True)
    return sampled.to(x.dtype)


def _full_precision(flow: Tensor) -> Tensor:
    """Half precision cannot hold a column number above 2048."""
    return flow if flow.dtype == torch.float64 else flow.float()


def warp(
    x: Tensor, flow: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear", fill: float | None = None
) -> tuple[Tensor, Tensor]:
    """Sample `x` where the flow points: `warped(p) = x(p + flow(p))`.

    With `x` in frame b and the flow a -> b, the result is `x` as seen from frame a.

    Args:
        x: (N, C, H, W); any type in mode "nearest", floating point in mode "bilinear" (gradients reach `x` and `flow`).
        flow: (N, 2, H, W) in pixels, channel 0 = x.
        mode: "bilinear", or "nearest" for the pixel `floor(p + flow + 0.5)`.
        fill: Value of pixels that point outside the image; by default they take the value at the nearest border point.

    Returns:
        The warped tensor, (N, C, H, W), and a bool mask (N, H, W), True where the flow points inside the image.

    Raises:
        ValueError: The shapes disagree or the mode is unknown.

    Example:
        >>> x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
        >>> one_right = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 3)
        >>> warped, inside = warp(x, one_right)
        >>> warped.flatten().tolist(), inside.flatten().tolist()
        ([2.0, 3.0, 3.0], [True, True, False])
    """
    if x.ndim != 4 or flow.shape != (x.shape[0], 2, *x.shape[2:]):
        raise ValueError(
            f"expected x (N, C, H, W) and flow (N, 2, H, W), found {tuple(x.shape)} and {tuple(flow.shape)}"
        )
    columns, rows = end_points(_full_precision(flow))
    column, row, inside = _nearest_pixel(columns, rows)
    if mode == "bilinear":
        warped = _sample_bilinear(x, columns, rows)
    elif mode == "nearest":
        height, width = x.shape[-2:]
        column = column.nan_to_num(0.0).clamp(0, width - 1).long()
        row = row.nan_to_num(0.0).clamp(0, height - 1).long()
        index = (row * width + column).flatten(1)[:, None].expand(-1, x.shape[1], -1)
        warped = x.flatten(2).gather(2, index).view_as(x)
    else:
        raise ValueError(f"mode must be 'bilinear' or 'nearest', found {mode!r}")
    if fill is not None:
        warped = warped.masked_fill(~inside[:, None], fill)
    return warped, inside


@torch.no_grad()
def consistency_mask(flow_backward: Tensor, flow_forward: Tensor, alpha: float = 0.01, beta: float = 0.5) -> Tensor:
    r"""Forward-backward check: which flow vectors lead to a point whose own flow leads back.

    With B the backward flow at p and F the forward flow sampled bilinearly at p + B (clamped to the image), a pixel
    passes if :math:`|B + F|^2 \le \alpha (|B|^2 + |F|^2) + \beta` and p + B lies inside the image
    (Sundaram, Brox and Keutzer, ECCV 2010).

    Args:
        flow_backward: Flow t -> t-1, (N, 2, H, W) in pixels.
        flow_forward: Flow t-1 -> t, (N, 2, H, W).
        alpha: Tolerance relative to the squared lengths.
        beta: Absolute tolerance in squared pixels.

    Returns:
        Bool mask (N, H, W) on frame t.

    Raises:
        ValueError: The shapes disagree.

    Example:
        >>> forward, backward = torch.zeros(1, 2, 1, 4), torch.zeros(1, 2, 1, 4)
        >>> backward[0, 0, 0, 2] = -2  # leads two pixels to the left, from where nothing leads back
        >>> consistency_mask(backward, forward).tolist()
        [[[True, True, False, True]]]
    """
    if flow_backward.ndim != 4 or flow_backward.shape[1] != 2 or flow_backward.shape != flow_forward.shape:
        raise ValueError(
            f"flows must both be (N, 2, H, W), found {tuple(flow_backward.shape)} and {tuple(flow_forward.shape)}"
        )
    backward, forward = _full_precision(flow_backward), _full_precision(flow_forward)
    columns, rows = end_points(backward)
    _, _, inside = _nearest_pixel(columns, rows)
    returned = _sample_bilinear(forward, columns, rows)
    gap = (backward + returned).square().sum(dim=1)
    lengths = backward.square().sum(dim=1) + returned.square().sum(dim=1)
    return inside & (gap <= alpha * lengths + beta)
