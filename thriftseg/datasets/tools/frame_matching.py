"""Finding an image again among the frames of a video."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from thriftseg.arrays import Float32Array
from thriftseg.atomic import write_bytes
from thriftseg.datasets.images import read_grey
from thriftseg.errors import DatasetError
from thriftseg.parsing import read_json
from thriftseg.progress import progress_bar
from thriftseg.resources import available_cpus, cache_folder
from thriftseg.shards import stamp_of

DOUBTFUL_DIFFERENCE = 8.0
"""Mean absolute grey difference (of 255) above which the best frame is probably another one."""

_COMPARED_WIDTH = 160


class _Match(TypedDict):
    number: int
    difference: float
    signature: str


def match_frames(candidates: Mapping[Path, Mapping[int, Path]], root: Path) -> dict[Path, int]:
    """Find which frame of a video an image is.

    Compares reduced grey images and takes the smallest mean absolute difference, the earlier frame on a tie. Answers
    are kept in the cache folder, one file per data root, so that images are opened only once. Warns when the best
    frame differs by more than `DOUBTFUL_DIFFERENCE`.

    Args:
        candidates: Image to frames of its video by number; no frame list may be empty.
        root: Folder of the data set.

    Returns:
        Image to number of its frame.

    Raises:
        DatasetError: An image or frame is unreadable.
    """
    cache = cache_folder() / "frame_matching" / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]}.json"
    known = _load(cache)
    keys = {image: image.relative_to(root).as_posix() for image in candidates}
    signatures = {image: _signature(image, frames) for image, frames in candidates.items()}
    pending = [
        image
        for image in candidates
        if keys[image] not in known or known[keys[image]]["signature"] != signatures[image]
    ]
    if pending:
        with progress_bar() as bar, ThreadPoolExecutor(available_cpus()) as pool:
            matches = pool.map(lambda image: _match(image, candidates[image], signatures[image]), pending)
            located = bar.track(matches, total=len(pending), description="locating annotated frames")
            known.update(zip((keys[image] for image in pending), located, strict=True))
        _save(cache, known)
    differences = {image: known[keys[image]]["difference"] for image in candidates}
    doubtful = [image for image, difference in differences.items() if difference > DOUBTFUL_DIFFERENCE]
    if doubtful:
        worst = max(doubtful, key=differences.__getitem__)
        warnings.warn(
            f"{len(doubtful)} of {len(differences)} annotated images resemble no frame of their video "
            f"(worst: {worst}, mean difference {differences[worst]:.1f} of 255)",
            stacklevel=2,
        )
    return {image: known[keys[image]]["number"] for image in candidates}


def _load(cache: Path) -> dict[str, _Match]:
    try:
        return read_json(cache, dict[str, _Match])
    except DatasetError:
        return {}


def _save(cache: Path, known: dict[str, _Match]) -> None:
    try:
        write_bytes(cache, json.dumps(known).encode())
    except OSError as error:
        warnings.warn(f"{cache}: cannot keep the located frames ({error.strerror})", stacklevel=3)


def _signature(image: Path, frames: Mapping[int, Path]) -> str:
    """Changes when the image, or the list of frames, does."""
    parts = [*map(str, stamp_of(image) or ()), *(path.name for path in frames.values())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _match(image: Path, frames: Mapping[int, Path], signature: str) -> _Match:
    wanted = _reduced(image)
    differences = {number: float(np.abs(_reduced(path) - wanted).mean()) for number, path in frames.items()}
    best = min(differences, key=lambda number: (differences[number], number))
    return {"number": best, "difference": differences[best], "signature": signature}


def _reduced(path: Path) -> Float32Array:
    grey = read_grey(path, at_least=_COMPARED_WIDTH)
    size = (_COMPARED_WIDTH, max(1, _COMPARED_WIDTH * grey.shape[0] // grey.shape[1]))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA).astype(np.float32)
