"""The folder of a run of EVA-VOS, from which the run goes on wherever it was stopped.

<run>/run.json        settings; another run is refused
<run>/actions.jsonl   a row per annotation, in the order in which they were made
<run>/bought/<video>/<object:03d>/<round:02d>_<frame:06d>.png    the annotated mask, 1 on the object
<run>/state/<video>/<object:03d>/<round:02d>.npz    masks of all frames after the latest annotation
<run>/masks/<video>/<frame name>.png    what came of it: object ids of all frames; written at the end

The row of an annotation comes after its files. So whatever has a row is complete, and what has none is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thriftseg.annotation.eva_vos.objects import ObjectVideo, decode_masks
from thriftseg.annotation.people.masks import AnnotationKind
from thriftseg.arrays import BoolArray, UInt16Array
from thriftseg.atomic import sweep_partial, write_bytes
from thriftseg.costs import AnnotationCost
from thriftseg.datasets import PALETTE, encode_label_png, read_label_png, write_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.folders import claim_folder
from thriftseg.parsing import Amount, Count, FileName, Record, check, read_bytes
from thriftseg.stores import Manifest, Row

_MOST_IN_A_BYTE = 254


class _Action(Record, frozen=True):
    """A row of the log."""

    action: Count
    video: FileName
    object: Count
    round: Count
    frame: Count
    asked: AnnotationKind
    type: AnnotationKind
    clicks: list[tuple[int, int, int]]
    free_clicks: Count
    cost: AnnotationCost
    seconds: Amount
    j: float | None
    f: float | None
    jf: float | None
    value: float | None
    score: float | None


class EVAVOSFolder:
    """The folder of a run.

    Args:
        root: The folder; made when absent.
        settings: Settings of the run, JSON values only.

    Raises:
        ConfigError: The folder holds another run.
        LabelStoreError: Its log is damaged.
    """

    def __init__(self, root: str | Path, settings: Mapping[str, Any]) -> None:
        self.root = Path(root)
        sweep_partial(self.root)
        claim_folder(self.root, settings)
        self._log = Manifest(self.root, stem="actions")
        self.rows = self._log.read()
        for number, row in enumerate(self.rows, start=1):
            check(row, _Action, self._log.path, f"line {number}", fault=LabelStoreError)

    def keep(self, video: ObjectVideo, row: Row, mask: BoolArray, masks: bytes) -> None:
        """Add an annotation.

        Args:
            video: The object.
            row: What goes into the log.
            mask: The annotated mask, (H, W).
            masks: Masks of all frames, from `encode_masks`.
        """
        write_label_png(self._bought(video, row["round"], row["frame"]), mask.view(np.uint8), PALETTE)
        state = self._state(video, row["round"])
        write_bytes(state, masks)
        self._log.append([row])
        self.rows.append(row)
        for older in state.parent.glob("*.npz"):
            if older != state:
                older.unlink()

    def read_bought(self, video: ObjectVideo, round: int, number: int) -> BoolArray:
        """The mask that a frame was annotated with, (H, W).

        Raises:
            DatasetError: The file is missing or unreadable.
        """
        return np.equal(read_label_png(self._bought(video, round, number)), 1)

    def read_state(self, video: ObjectVideo, round: int) -> BoolArray | None:
        """Masks of all frames after a round, (N, H, W); `None` where they are not kept."""
        path = self._state(video, round)
        return decode_masks(read_bytes(path), path) if path.exists() else None

    def write_masks(self, video: ObjectVideo, place: int, ids: UInt16Array) -> None:
        """Write the objects of a frame, (H, W), as DAVIS does; with 16 bits where an id needs that."""
        narrow = int(ids.max(initial=0)) <= _MOST_IN_A_BYTE
        name = video.clip.frame_name(video.numbers[place])
        content = encode_label_png(ids.astype(np.uint8), PALETTE) if narrow else encode_label_png(ids)
        write_bytes(self.root / "masks" / video.video / f"{name}.png", content)

    def _bought(self, video: ObjectVideo, round: int, number: int) -> Path:
        return self.root / "bought" / video.video / f"{video.object_id:03d}" / f"{round:02d}_{number:06d}.png"

    def _state(self, video: ObjectVideo, round: int) -> Path:
        return self.root / "state" / video.video / f"{video.object_id:03d}" / f"{round:02d}.npz"
