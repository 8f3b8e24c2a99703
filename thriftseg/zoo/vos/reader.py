"""Space-time memory read: attention from the positions of a frame to those of all remembered frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from thriftseg.errors import ConfigError
from thriftseg.zoo.blocks.symbolic import is_symbolic

SCORE_BYTES = 16 * 2**20
"""Scores that exist at once."""

Similarity = Literal["dot", "l2"]


class MemoryReader(nn.Module):
    r"""Reads the memory at every position of a frame: attention over all positions of all remembered frames.

    A remembered position has a key, which says what it looked like, and a value, which says whether it belonged to the
    object. A position of the new frame asks with a key of its own and gets the mean of the values, weighted by how much
    the keys resemble it: objects are found again wherever they moved, since places do not count.

    The softmax over memory positions is that of $k^\top q / \sqrt{C_k}$ ("dot", as in [0]) or of
    $-\lVert k - q \rVert^2 / \sqrt{C_k}$ ("l2", as in [1]). With "dot", a long key is near to every query: networks
    that learn from scratch may end up reading one position from everywhere.

    [0] Oh, Lee, Xu, Kim, Video Object Segmentation using Space-Time Memory Networks, ICCV 2019.
    [1] Cheng, Tai, Tang, Rethinking Space-Time Networks with Improved Memory Coverage for Efficient Video Object
        Segmentation, NeurIPS 2021, https://github.com/hkchengrex/STCN.

    Args:
        similarity: "dot" or "l2".

    Raises:
        ConfigError: Another similarity.
    """

    def __init__(self, similarity: Similarity = "dot") -> None:
        super().__init__()
        if similarity not in ("dot", "l2"):
            raise ConfigError("similarity of keys", expected="dot or l2", found=similarity)
        self.similarity = similarity

    def forward(
        self, query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], unknown: Tensor | None = None
    ) -> Tensor:
        """Read.

        The remembered frames are read where they are stored, for a few query positions at a time, so that neither the
        joined memory nor all scores exist at once.
        Scores are float32 even in half precision, where large ones would lose the digits that the softmax needs.

        Args:
            query: (M, Ck, h, w), or (1, Ck, h, w) for all objects.
            keys: (M, Ck, h, w) per remembered frame.
            values: (M, Cv, h, w) per remembered frame.
            unknown: (M, frames) bool, frames that an object must not read.

        Returns:
            (M, Cv, h, w).
        """
        wide = torch.promote_types(query.dtype, torch.float32)
        addresses = [key.flatten(2).to(wide) for key in keys]
        contents = [value.flatten(2) for value in values]
        lengths = [address.shape[2] for address in addresses]
        hidden = None
        if unknown is not None:  # (M, frames) to (M, 1, positions of all frames)
            hidden = unknown.repeat_interleave(torch.tensor(lengths, device=unknown.device), dim=1).unsqueeze(1)
        scale = query.shape[1] ** -0.5
        shifts = None
        lengthening = 1
        if self.similarity == "l2":
            # -|k - q|^2 = 2 k q - |k|^2 - |q|^2: products with twice the query, less a number per key (M, 1, p). What
            # depends on the query alone does not change a softmax over keys.
            lengthening = 2
            shifts = [address.square().sum(dim=1, keepdim=True) * -scale for address in addresses]
        scaled = (query.flatten(2).to(wide) * (lengthening * scale)).transpose(1, 2).expand(len(keys[0]), -1, -1)
        parts = [scaled]
        if not is_symbolic(sum(lengths)):  # an export for several sizes cannot count its parts
            parts = list(scaled.split(max(1, SCORE_BYTES // (4 * len(keys[0]) * sum(lengths))), dim=1))
        with torch.autocast(query.device.type, enabled=False):
            read = [_read(positions, addresses, shifts, contents, hidden) for positions in parts]
        return torch.cat(read, dim=2).view(*values[0].shape[:2], *query.shape[-2:])


def _read(
    positions: Tensor,
    addresses: list[Tensor],
    shifts: list[Tensor] | None,
    contents: list[Tensor],
    hidden: Tensor | None,
) -> Tensor:
    """Mean values (M, Cv, q) that some query positions (M, q, Ck) read from frames (M, C, p)."""
    scores = torch.cat([positions @ address for address in addresses], dim=2)
    if shifts is not None:
        scores = scores + torch.cat(shifts, dim=2)
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    weights = scores.softmax(dim=2).to(contents[0].dtype).split([address.shape[2] for address in addresses], dim=2)
    parts = [content @ weight.transpose(1, 2) for content, weight in zip(contents, weights, strict=True)]
    read: Tensor = sum(parts[1:], start=parts[0])
    return read
