"""J and F of the objects of frames.

J is intersection over union. F compares outlines: a boundary pixel is matched when the other outline passes within a
tolerance of it, precision and recall are the matched shares of the predicted and of the true outline, and F is their
harmonic mean (Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR
2016; Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation", arXiv 1704.00675;
https://github.com/davisvideochallenge/davis2017-evaluation).

A pixel is boundary unless the mask is constant on the 2x2 square that it is the upper left of; squares at the lower and
right side of the image are cut off there, so that the image border itself is no boundary.

Only the rows and 64-column strips around an object are looked at, 64 pixels at a time as the bits of a word. Words are
ordered by (column strip, map, row), and the lowest bit of a word is its leftmost pixel. An outline grows by horizontal
runs of pixels, and the runs of a disk's rows are joined by moving whole words up and down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from thriftseg.arrays import BoolArray, Float64Array, UInt8Array
from thriftseg.errors import ConfigError
from thriftseg.types import IGNORE_INDEX

Bits = npt.NDArray[np.uint64]


_WORD = 64
_WHOLE = np.uint64(2**_WORD - 1)


def boundary_tolerance(bound_th: float, height: int, width: int) -> float:
    """Distance in pixels up to which outlines match: `ceil(bound_th * diagonal)`, or `bound_th` itself from 1 on.

    Example:
        >>> boundary_tolerance(0.008, 480, 854), boundary_tolerance(3, 480, 854)
        (8, 3)
    """
    return bound_th if bound_th >= 1 else math.ceil(bound_th * math.sqrt(height * height + width * width))


def check_bound_th(bound_th: float) -> None:
    """Refuse a tolerance that makes no sense.

    Raises:
        ConfigError: It is not above 0.
    """
    if not 0 < bound_th < math.inf:
        raise ConfigError(
            "bound_th is out of range",
            expected="above 0 (a share of the diagonal below 1, else pixels)",
            found=bound_th,
        )


@lru_cache(maxsize=16)
def _half_widths(radius: float) -> tuple[int, ...]:
    """Half width of the rows of a disk, from its central row to its last."""
    squared = math.floor(radius * radius)
    return tuple(math.isqrt(squared - row * row) for row in range(math.isqrt(squared) + 1))


def _widened(bits: Bits, step: int, reach: int) -> Bits:
    """Lengthen the runs of pixels in (strips, 2, rows) to either side.

    Args:
        bits: Pixels, each amid a run of `2 * reach + 1`.
        step: Pixels to add, 1 to 63 and at most `2 * reach + 1`.
        reach: Half width of the runs so far.
    """
    left: Bits = np.right_shift(bits, step)
    left[:-1] |= bits[1:] << (_WORD - step)
    right: Bits = np.left_shift(bits, step)
    right[1:] |= bits[:-1] >> (_WORD - step)
    left |= right
    if step > reach:  # else the two moved runs meet
        left |= bits
    return left


def _within(edges: Bits, half_widths: Sequence[int]) -> Bits:
    """Pixels that have a boundary pixel within the disk of these half widths.

    Args:
        edges: Boundary pixels, (strips, 2, rows), ending in as many empty rows as the disk's radius, so that what is
            moved beyond the first or last row lands there.
        half_widths: Half width of the disk's rows, from the central one to the last.
    """
    near = np.zeros_like(edges)
    flat, run, reach = near.reshape(-1), edges, 0
    for row in range(len(half_widths) - 1, -1, -1):
        while reach < half_widths[row]:
            step = min(half_widths[row] - reach, 2 * reach + 1, _WORD - 1)
            run = _widened(run, step, reach)
            reach += step
        moved = run.reshape(-1)
        flat[row:] |= moved[: moved.size - row]
        flat[: moved.size - row] |= moved[row:]
    return near


def _boundary(bits: Bits, inner_columns: Bits, empty_rows: int) -> Bits:
    """Boundary pixels of (strips, 2, rows), with empty rows added.

    Args:
        bits: Masks.
        inner_columns: Pixels that have a neighbour to the right in the image, (strips,).
        empty_rows: Number of rows to add at the end.
    """
    across: Bits = np.right_shift(bits, 1)
    across[:-1] |= bits[1:] << (_WORD - 1)
    across ^= bits
    across[-1] &= inner_columns[-1]
    strips, maps, rows = bits.shape
    edges = np.zeros((strips, maps, rows + empty_rows), np.uint64)
    edges[..., :rows] = across
    with_lower = edges[..., : rows - 1]
    with_lower |= across[..., 1:]
    with_lower |= bits[..., :-1] ^ bits[..., 1:]
    return edges


def _counts(bits: Bits) -> tuple[int, int]:
    """Number of pixels of each of the two maps of (strips, 2, rows)."""
    pred, target = np.bitwise_count(bits).sum(axis=(0, 2)).tolist()
    return pred, target


class FrameScorer:
    """Compares the mask of any id of a prediction with the mask of any id of the truth, frame by frame.

    The buffers stay for the next frame: fresh memory for every frame would cost more than the comparison.

    Args:
        height: Rows of the frames.
        width: Columns of the frames.
        bound_th: Tolerance of F: a share of the image diagonal below 1 (rounded up to pixels), else pixels.

    Raises:
        ConfigError: `bound_th` is not above 0.
    """

    def __init__(self, height: int, width: int, bound_th: float = 0.008) -> None:
        check_bound_th(bound_th)
        self._half_widths = _half_widths(boundary_tolerance(bound_th, height, width))
        self._shape = height, width
        strips = -(-width // _WORD)
        self._bytes = bytearray(2 * height * strips * _WORD)
        self._maps = np.frombuffer(self._bytes, np.uint8).reshape(2, height, strips * _WORD)  # padded with background
        self._masks = np.empty(self._maps.shape, np.bool_)
        self._void: BoolArray | None = None
        self._inner_columns = np.full(strips, _WHOLE)  # those with a neighbour to the right
        self._inner_columns[-1] = (1 << (width - 1) % _WORD) - 1

    def load(self, pred: UInt8Array, target: UInt8Array, void: BoolArray | None = None) -> None:
        """Take up the next frame.

        Args:
            pred: Predicted ids, (H, W) uint8.
            target: True ids, (H, W) uint8.
            void: Pixels that are cleared from both masks before anything is compared, (H, W).

        Raises:
            ValueError: A map is of another size or type.
        """
        for ids, given in zip(self._maps, (pred, target), strict=True):
            if given.shape != self._shape or given.dtype != np.uint8:
                raise ValueError(f"expected maps {self._shape} of uint8, found {given.shape} of {given.dtype}")
            ids[:, : self._shape[1]] = given
        self._void = void if void is not None and void.any() else None

    def scores(self, pred_id: int, target_id: int) -> tuple[float, float]:
        """J and F of two masks; both are 1 where both masks are empty."""
        rows = self._rows(pred_id, target_id)
        if rows is None:
            return 1.0, 1.0
        bits, inner_columns = self._cut_out(pred_id, target_id, rows)
        intersection = int(np.bitwise_count(bits[:, 0] & bits[:, 1]).sum())
        union = sum(_counts(bits)) - intersection
        edges = _boundary(bits, inner_columns, len(self._half_widths) - 1)
        boundary = _counts(edges)
        matched = _counts(edges & _within(edges, self._half_widths)[:, ::-1])
        j = intersection / union if union else 1.0
        if not all(boundary):
            return j, float(not any(boundary))
        precision, recall = (part / whole for part, whole in zip(matched, boundary, strict=True))
        return j, 2 * precision * recall / (precision + recall) if any(matched) else 0.0

    def _rows(self, pred_id: int, target_id: int) -> slice | None:
        """Rows that hold the masks and their outlines."""
        _, height, width = self._maps.shape
        size, data = height * width, self._bytes
        starts = data.find(pred_id, 0, size), data.find(target_id, size) - size
        ends = data.rfind(pred_id, 0, size), data.rfind(target_id, size) - size
        last = max(ends)
        if last < 0:
            return None
        first = min(start for start in starts if start >= 0)
        return slice(max(first // width - 1, 0), last // width + 2)

    def _cut_out(self, pred_id: int, target_id: int, rows: slice) -> tuple[Bits, Bits]:
        """The strips that hold the masks and their outlines, and those pixels there that have a right neighbour."""
        ids = np.array([pred_id, target_id], np.uint8)[:, None, None]
        masks = np.equal(self._maps[:, rows], ids, out=self._masks[:, rows])
        if self._void is not None:
            masks[..., : self._shape[1]] &= ~self._void[rows]
        words = np.packbits(masks, axis=2, bitorder="little").view("<u8")
        bits = np.ascontiguousarray(words.transpose(2, 0, 1), np.uint64)
        used = np.bitwise_or.reduce(bits.reshape(len(bits), -1), axis=1)
        occupied = np.flatnonzero(used).tolist() or [0]  # none where all of it is void
        first, last = occupied[0], occupied[-1]
        first -= first > 0 and bool(used[first] & 1)  # the outline begins one pixel to the left of the mask
        return bits[first : last + 1], self._inner_columns[first : last + 1]


def _check_ids(objects: Iterable[int]) -> None:
    """Refuse ids that no mask can have: frames are padded with 0."""
    wrong = [id_ for id_ in objects if not 1 <= id_ <= 255]
    if wrong:
        raise ValueError(f"expected ids of objects from 1 to 255, found {wrong}")


def object_scores(
    pred: UInt8Array,
    target: UInt8Array,
    objects: Sequence[int],
    *,
    bound_th: float = 0.008,
    void: BoolArray | None = None,
) -> tuple[Float64Array, Float64Array]:
    """J and F of objects in one frame.

    Args:
        pred: Predicted ids, (H, W) uint8.
        target: True ids, (H, W) uint8.
        objects: The K ids to score, 1 to 255.
        bound_th: Tolerance of F: a share of the image diagonal below 1 (rounded up to pixels), else pixels.
        void: Pixels that are cleared from the masks before anything is compared, (H, W).

    Returns:
        J and F, each (K,). Both are 1 where an object is absent from prediction and truth.

    Raises:
        ValueError: The maps differ in shape or hold anything but uint8, or an id is out of range.
        ConfigError: `bound_th` is not above 0.

    Example:
        >>> target = np.zeros((6, 8), np.uint8)
        >>> target[1:4, 2:6] = 1
        >>> j, f = object_scores(np.roll(target, 1, axis=1), target, [1, 2], bound_th=1)
        >>> j.tolist(), f.tolist()
        ([0.6, 1.0], [1.0, 1.0])
    """
    _check_ids(objects)
    height, width = target.shape
    scorer = FrameScorer(height, width, bound_th)
    scorer.load(pred, target, void)
    scores = np.array([scorer.scores(id_, id_) for id_ in objects], np.float64).reshape(-1, 2)
    return scores[:, 0], scores[:, 1]


def sequence_scores(
    pred: Iterable[UInt8Array],
    target: Iterable[UInt8Array],
    objects: Sequence[int],
    *,
    bound_th: float = 0.008,
    ignore_void: bool = False,
    scored: BoolArray | None = None,
) -> tuple[Float64Array, Float64Array]:
    """J and F of objects in the frames of a sequence.

    Args:
        pred: Predicted ids: T frames (H, W) uint8.
        target: True ids: T frames (H, W) uint8.
        objects: The K ids to score, 1 to 255.
        bound_th: Tolerance of F: a share of the image diagonal below 1 (rounded up to pixels), else pixels.
        ignore_void: Clear pixels whose truth is 255 from all masks before anything is compared.
        scored: Which objects to score in which frames, (K, T); by default all of them.

    Returns:
        J and F, each (K, T), NaN where not scored. Both are 1 where an object is absent from prediction and truth.

    Raises:
        ValueError: The numbers of frames differ, frames differ in size or hold anything but uint8, or an id is out of
            range.
        ConfigError: `bound_th` is not above 0.

    Example:
        >>> target = np.zeros((3, 6, 8), np.uint8)
        >>> target[:2, 1:4, 2:6] = 1
        >>> j, f = sequence_scores(np.roll(target, 1, axis=2), target, [1], bound_th=1)
        >>> j.tolist(), f.tolist()
        ([[0.6, 0.6, 1.0]], [[1.0, 1.0, 1.0]])
    """
    _check_ids(objects)
    pairs = [(id_, id_) for id_ in objects]
    return pair_scores(pred, target, pairs, bound_th=bound_th, ignore_void=ignore_void, scored=scored)


def pair_scores(
    pred: Iterable[UInt8Array],
    target: Iterable[UInt8Array],
    pairs: Sequence[tuple[int, int]],
    *,
    bound_th: float,
    ignore_void: bool,
    scored: BoolArray | None = None,
) -> tuple[Float64Array, Float64Array]:
    """J and F, each (pairs, T), of pairs of a predicted and a true id; see `sequence_scores`."""
    check_bound_th(bound_th)
    scorer: FrameScorer | None = None
    columns = []
    for t, (pred_frame, target_frame) in enumerate(zip(pred, target, strict=True)):
        if scorer is None:
            height, width = target_frame.shape
            scorer = FrameScorer(height, width, bound_th)
        scorer.load(pred_frame, target_frame, target_frame == IGNORE_INDEX if ignore_void else None)
        chosen = range(len(pairs)) if scored is None else np.flatnonzero(scored[:, t]).tolist()
        column = np.full((len(pairs), 2), np.nan)
        for index in chosen:
            column[index] = scorer.scores(*pairs[index])
        columns.append(column)
    scores = np.array(columns, np.float64).reshape(len(columns), len(pairs), 2)
    return scores[..., 0].T, scores[..., 1].T
