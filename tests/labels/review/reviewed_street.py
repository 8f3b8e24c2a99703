"""A street whose propagated labels are reviewed and corrected."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.labels.propagation.known_motion import KnownMotion, Scene, shifted
from thriftseg.costs import AnnotationCost
from thriftseg.labels import (
    apply_decisions,
    label_propagate,
    label_repropagate,
)
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.rows import ActionRow, action_id
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import LabelKind

ROAD, SKY, PERSON, CAR, TRUCK = 0, 10, 11, 13, 14
FIXED = "fixed"


class Street(Scene):
    """A scene of sky, road and a car that moves by a pixel per frame; the car is label enough to see motion."""

    def __init__(self, annotated=(10,), instances=None) -> None:
        label = np.full((24, 48), ROAD, np.uint8)
        label[:8] = SKY
        label[12:20, 20:28] = CAR
        super().__init__(label, instances)
        self._annotated = annotated

    def _scan(self, split):
        (clip,) = super()._scan(split)
        labels = {number: Path(f"{number}_label.png") for number in self._annotated}
        return [type(clip)(clip.video, clip.frames, labels)]

    def clip_size(self, clip):
        return self.label.shape


def propagated(dataset, folder, offsets="-10..10", **settings):
    settings = {"method": KnownMotion(), "accelerator": "cpu", "progress": False, **settings}
    label_propagate(dataset, "train", offsets, store=folder, on_missing="skip", **settings)
    return dataset


def stored(folder: Path, source: str = "known_motion") -> LabelStore:
    return LabelStore(folder, source, CITYSCAPES)


def decide(dataset, folder: Path, *lines: str):
    path = folder / "decisions.csv"
    path.write_text("\n".join(["decision,video,frame,object", *lines]) + "\n")
    return apply_decisions(dataset, "known_motion", path, store=folder)


def corrected_label(dataset: Street, number: int, what: int = TRUCK) -> np.ndarray:
    """The true label of a frame, whose car a person calls a truck."""
    label = shifted(dataset.label, number - 10, 255)
    return np.where(label == CAR, np.uint8(what), label)


def correct(dataset: Street, folder: Path, *numbers: int, what: int = TRUCK) -> None:
    store = stored(folder, FIXED)
    for number in numbers:
        action = action_id(FIXED, dataset.name, "clip0", number)
        store.record_action(ActionRow(action, FIXED, "clip0", number, AnnotationCost(seconds=60, masks=1)))
        label = corrected_label(dataset, number, what)
        store.write("clip0", number, label, kind=LabelKind.MANUAL, generator="import/coco", parents=[action])


def repropagate(dataset, folder: Path, **settings):
    settings = {"propagator": KnownMotion(), "accelerator": "cpu", "progress": False, **settings}
    return label_repropagate(dataset, "train", "known_motion", FIXED, store=folder, **settings)


def contents(folder: Path, source: str = "known_motion") -> dict[int, bytes]:
    return {int(path.stem): path.read_bytes() for path in (folder / source / "clip0").glob("??????.png")}


def changed(before: dict[int, bytes], after: dict[int, bytes]) -> list[int]:
    assert before.keys() == after.keys()
    return sorted(number for number in before if before[number] != after[number])
