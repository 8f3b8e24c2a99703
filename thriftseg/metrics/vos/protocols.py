"""Conventions of the benchmarks of video object segmentation: the frames and objects of a video that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from thriftseg.arrays import BoolArray, Float64Array, UInt8Array
from thriftseg.errors import DatasetError
from thriftseg.metrics.vos.assignment import best_assignment
from thriftseg.metrics.vos.boundary_f import pair_scores, sequence_scores
from thriftseg.types import IGNORE_INDEX

VOSProtocol = Literal["davis", "davis_unsupervised", "all_frames", "present_frames", "youtube_vos"]

MOST_PROPOSALS = 20
"""Proposals per sequence that the unsupervised protocol allows."""


@dataclass(frozen=True)
class ObjectScores:
    """J and F of an object in the frames that count.

    Attributes:
        object: Id in the truth.
        j: J per scored frame, (n,).
        f: F per scored frame, (n,).
        proposal: Id in the prediction; differs from that in the truth only where proposals are assigned to objects.

    Example:
        >>> scores = ObjectScores(object=1, j=np.array([0.5, 1.0]), f=np.array([0.75, 0.75]), proposal=1)
        >>> float((scores.j.mean() + scores.f.mean()) / 2)
        0.75
    """

    object: int
    j: Float64Array
    f: Float64Array
    proposal: int


def score_sequence(
    pred: UInt8Array,
    target: UInt8Array,
    *,
    protocol: VOSProtocol = "davis",
    objects: Sequence[int] | None = None,
    bound_th: float = 0.008,
    ignore_void: bool | None = None,
    sequence: str | None = None,
) -> list[ObjectScores]:
    """Score a sequence by the rules of a benchmark, see `JAndF`.

    Args:
        pred: Predicted ids, (T, H, W) uint8.
        target: True ids, (T, H, W) uint8.
        protocol: Which frames and objects count.
        objects: Ids to score instead of those that the protocol chooses.
        bound_th: Tolerance of F: a share of the image diagonal below 1 (rounded up to pixels), else pixels.
        ignore_void: Leave pixels with truth 255 out; `None` does what the protocol does.
        sequence: Name for error messages.

    Returns:
        Scores of the objects in order of their id.

    Raises:
        DatasetError: The prediction holds objects that the truth does not know, or more proposals than allowed; a
            sequence of DAVIS has no frame to score or no object in its first frame.
        ValueError: The maps are not (T, H, W) of equal shape with at least one frame, or hold anything but uint8, or an
            object has an id outside 1 to 255.
        ConfigError: `bound_th` is not above 0.

    Example:
        >>> truth = np.zeros((4, 10, 10), np.uint8)
        >>> truth[:, 2:8, 2:8] = 1
        >>> found = truth.copy()
        >>> found[:, 2:8, 5:8] = 0  # half of the object
        >>> [scores] = score_sequence(found, truth)
        >>> scores.object, scores.j.tolist()  # without the first and the last frame
        (1, [0.5, 0.5])
    """
    if pred.ndim != 3 or pred.shape != target.shape or not target.size:
        raise ValueError(f"pred and target must be (T, H, W) of equal shape, found {pred.shape}, {target.shape}")
    known = _true_objects(target, protocol)
    if protocol.startswith("davis") and not known:
        raise DatasetError(
            "the first true frame holds no object",
            path=sequence,
            expected=f"ids from 1 to {IGNORE_INDEX - 1} ({IGNORE_INDEX} is void)",
            found=f"ids {np.flatnonzero(_ids(target[0])).tolist()}",
            fix='number the objects from 1 on, or use the protocol "all_frames" if they enter later',
        )
    if protocol == "davis":
        if len(target) < 3:
            raise DatasetError(
                "sequence has no frame to score",
                path=sequence,
                expected="at least 3 frames, of which the first and the last are not scored",
                found=len(target),
                fix='use the protocol "all_frames"',
            )
        pred, target = pred[1:-1], target[1:-1]
    chosen = list(known if objects is None else objects)
    settings: dict[str, Any] = {
        "bound_th": bound_th,
        "ignore_void": protocol == "davis_unsupervised" if ignore_void is None else ignore_void,
    }
    if protocol == "davis_unsupervised":
        return _score_proposals(pred, target, chosen, sequence, **settings)
    _check_surplus(pred, {*known, *chosen}, sequence)
    scored = _scored_frames(target, chosen, protocol)
    j, f = sequence_scores(pred, target, chosen, scored=scored, **settings)
    return [ObjectScores(k, j[i, scored[i]], f[i, scored[i]], k) for i, k in enumerate(chosen)]


def _ids(frame: UInt8Array) -> BoolArray:
    """Which of the ids 0..255 occur, (256,)."""
    flat = frame.reshape(-1)
    present = np.zeros(256, np.bool_)
    present[flat[:1]] = True
    present[flat[1:][flat[1:] != flat[:-1]]] = True  # label maps are piecewise constant
    return present


def _true_objects(target: UInt8Array, protocol: VOSProtocol) -> list[int]:
    """Ids of the objects that a protocol scores."""
    if protocol.startswith("davis"):
        first = target[0]
        return list(range(1, int(first[first != IGNORE_INDEX].max(initial=0)) + 1))
    present = np.any([_ids(frame) for frame in target], axis=0)
    return [id_ for id_ in np.flatnonzero(present).tolist() if id_ not in (0, IGNORE_INDEX)]


def _check_surplus(pred: UInt8Array, known: set[int], sequence: str | None) -> None:
    """Refuse predicted objects that the truth does not know."""
    present = np.any([_ids(frame) for frame in pred], axis=0)
    surplus = sorted({*np.flatnonzero(present).tolist()} - known - {0})
    if surplus:
        raise DatasetError(
            "the prediction holds objects that the truth does not",
            path=sequence,
            expected=f"0 and {sorted(known)}",
            found=surplus,
            fix="give every object the id that it has in the truth, and background 0",
        )


def _scored_frames(target: UInt8Array, objects: Sequence[int], protocol: VOSProtocol) -> BoolArray:
    """Which objects count in which frames, (K, T)."""
    scored = np.ones((len(objects), len(target)), np.bool_)
    if protocol in ("present_frames", "youtube_vos"):
        present = np.array([_ids(frame) for frame in target])[:, np.array(objects, np.int64)].T
        if protocol == "present_frames":
            return present
        scored[:, 0] = False
        scored[:, 1:] = np.logical_or.accumulate(present, axis=1)[:, :-1]
    return scored


def _score_proposals(
    pred: UInt8Array, target: UInt8Array, objects: Sequence[int], sequence: str | None, **settings: Any
) -> list[ObjectScores]:
    """Give every object the proposal that makes the mean of (J + F) / 2 over objects largest."""
    found = int(pred.max(initial=0))
    if found > MOST_PROPOSALS:
        raise DatasetError("too many proposals", path=sequence, expected=f"at most {MOST_PROPOSALS}", found=found)
    proposals = range(1, max(found, len(objects)) + 1)  # those beyond the ones found are empty
    pairs = [(proposal, id_) for proposal in proposals for id_ in objects]
    j, f = (values.reshape(len(proposals), len(objects), -1) for values in pair_scores(pred, target, pairs, **settings))
    chosen = best_assignment((j.mean(axis=2) + f.mean(axis=2)) / 2)
    matches = enumerate(zip(objects, chosen, strict=True))
    return [ObjectScores(id_, j[p, i], f[p, i], proposals[p]) for i, (id_, p) in matches]
