"""What a person is asked to label at a time."""

from __future__ import annotations

from typing import NamedTuple


class Sample(NamedTuple):
    """A region of a frame; of all samples of a frame, each pixel belongs to one.

    Attributes:
        number: Native frame number.
        region: Number of the region in its frame, from 0 in raster order of the first pixels.
    """

    number: int
    region: int
