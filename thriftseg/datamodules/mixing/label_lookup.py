"""From drawn frames to labels: which file or clicks, which human actions, and what those cost."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from thriftseg.costs import AnnotationCost, CostModel
from thriftseg.datasets import VideoDataset, describe_reach, target_number
from thriftseg.errors import MixtureError
from thriftseg.stores import GivenLabel, LabelRow, LabelStore, action_id, price_labels
from thriftseg.types import Clip, LabelKind, TrainingSample


@dataclass(frozen=True)
class Pick:
    """A frame to train on, before its label is looked up.

    Attributes:
        clip: The clip.
        annotated: Native number of the annotated frame it was drawn from.
        offset: Steps from there.
        source: "manual", "coarse" or a source of the label store.
        weight: Factor on its loss.
    """

    clip: Clip
    annotated: int
    offset: int
    source: str
    weight: float = 1.0

    @property
    def number(self) -> int:
        """Native number of the frame to train on.

        Raises:
            MixtureError: The clip has no frame at this offset.
        """
        number = target_number(self.clip, self.annotated, self.offset)
        if number is None:
            raise MixtureError(
                f"clip {self.clip.video!r} has no frame at offset {self.offset} of annotated frame {self.annotated}",
                expected=f"offsets within {describe_reach(self.clip, self.annotated)} "
                f"(1 step = {self.clip.frame_step} in frame numbers)",
                fix="choose a pattern with shorter offsets, or a data set whose annotated frames have neighbours",
            )
        return number


class LabelLookup:
    """Finds the label of a pick, and the human actions it descends from.

    Args:
        dataset: The data set the clips belong to.
        root: Folder of the label store.
        planned: Sources that need not be in the store yet.
        coarse: The source whose planned labels descend from coarse labels.
    """

    def __init__(self, dataset: VideoDataset, root: Path, planned: frozenset[str], coarse: str) -> None:
        self._dataset, self._root, self._planned, self._coarse = dataset, root, planned, coarse
        self.stores: dict[str, LabelStore] = {}

    def is_rejected(self, pick: Pick) -> bool:
        """Whether a person has rejected the stored label of a pick."""
        given = pick.source == "manual" or (pick.source == "coarse" and bool(pick.clip.coarse))
        if given or pick.source in self._planned:
            return False
        return (pick.clip.video, pick.number) in self._store(pick.source).reviews.rejected

    def sample(self, pick: Pick) -> TrainingSample:
        """Look the label of a pick up.

        Raises:
            MixtureError: There is no such label.
            LabelStoreError: The store is damaged or of another class table.
        """
        number = pick.number
        if pick.source == "manual":
            return self._given(pick, number, pick.clip.labels, LabelKind.MANUAL)
        if pick.source == "coarse" and pick.clip.coarse:
            return self._given(pick, number, pick.clip.coarse, LabelKind.COARSE)
        if pick.source in self._planned:
            return self._planned_sample(pick, number)
        return self._stored(pick, number)

    def _given(self, pick: Pick, number: int, labels: Mapping[int, Path], kind: LabelKind) -> TrainingSample:
        if number not in labels:
            raise MixtureError(
                f"clip {pick.clip.video!r} has no {pick.source} label at offset {pick.offset}",
                expected=f"a label of frame {number}",
                fix="take this offset from a source of the label store",
            )
        action = action_id(pick.source, self._dataset.name, pick.clip.video, number)
        return _sample(pick, number, kind, label=labels[number], actions=(action,))

    def _planned_sample(self, pick: Pick, number: int) -> TrainingSample:
        coarse = pick.source == self._coarse
        origin = "coarse" if coarse and pick.annotated in pick.clip.coarse else "manual"
        action = action_id(origin, self._dataset.name, pick.clip.video, pick.annotated)
        return _sample(pick, number, LabelKind.REFINED if coarse else LabelKind.PROPAGATED, actions=(action,))

    def _stored(self, pick: Pick, number: int) -> TrainingSample:
        store = self._store(pick.source)
        row = store.labels.get((pick.clip.video, number))
        if row is None or not store.has(pick.clip.video, number):
            raise self._no_label(pick, number, store, row)
        if row.space != "train_id":
            raise MixtureError(
                f"source {pick.source!r} holds object ids, not classes",
                path=store.manifest_path,
                expected="space train_id",
                found=f"space {row.space}",
                fix="take a source of class labels",
            )
        if row.label_kind == LabelKind.CLICKS:
            points = store.points(pick.clip.video, number)
            return _sample(pick, number, LabelKind.CLICKS, points=points, actions=row.parents)
        path = store.path_of(pick.clip.video, number)
        return _sample(pick, number, row.label_kind, label=path, actions=row.parents)

    def _store(self, source: str) -> LabelStore:
        if source not in self.stores:
            self.stores[source] = LabelStore(self._root, source, self._dataset.taxonomy)
        return self.stores[source]

    def _no_label(self, pick: Pick, number: int, store: LabelStore, row: LabelRow | None) -> MixtureError:
        found = "no such source" if not store.exists else "no row in its manifest" if row is None else "its row only"
        return MixtureError(
            f"source {pick.source!r} has no label at offset {pick.offset} of frame {pick.annotated} "
            f"in clip {pick.clip.video!r}",
            path=store.path_of(pick.clip.video, number),
            found=found,
            fix="make the labels first (thriftseg label --help), or set store to the folder that has them",
        )


class ActionPricer:
    """Prices human actions: those of the data set by the cost model, those of a store by what it recorded.

    Args:
        dataset: Reads label maps for models that count on them.
        clips: The clips of the split.
        model: Prices one label map.
        cache: Folder in which counted prices are kept.
    """

    def __init__(self, dataset: VideoDataset, clips: Sequence[Clip], model: CostModel, cache: Path) -> None:
        self._dataset, self._model, self._cache = dataset, model, cache
        self._clips = {clip.video: clip for clip in clips}

    def price(self, actions: Collection[str], stores: Mapping[str, LabelStore]) -> dict[str, AnnotationCost]:
        """Cost by action.

        Raises:
            MixtureError: An action is unknown, or was priced by another cost model.
            ConfigError: The cost model knows no price for this data set.
        """
        recorded = {a: cost for a in actions if (cost := self._recorded(a, stores)) is not None}
        given = [self._given(action) for action in actions if action not in recorded]
        prices = price_labels(self._dataset, given, self._model, self._cache) | recorded
        return {action: prices[action] for action in actions}

    def _recorded(self, action: str, stores: Mapping[str, LabelStore]) -> AnnotationCost | None:
        store = next((store for store in stores.values() if action in store.actions), None)
        if store is None:
            return None
        row = store.actions[action]
        if row.cost_model not in {"", self._model.name}:
            raise MixtureError(
                f"action {action!r} was priced by another cost model",
                path=store.manifest_path,
                expected=self._model.name,
                found=row.cost_model,
                fix=f"set cost_model to {row.cost_model}",
            )
        return row.cost

    def _given(self, action: str) -> GivenLabel:
        source, _, frame = action.partition(":")
        dataset, _, rest = frame.partition("/")
        video, _, number = rest.rpartition("/")
        clip = self._clips.get(video)
        labels: Mapping[int, Path] = {}
        if clip is not None and dataset == self._dataset.name:
            labels = {"manual": clip.labels, "coarse": clip.coarse}.get(source, {})
        if clip is None or not number.isdecimal() or int(number) not in labels:
            raise MixtureError(
                "a label descends from an action that nobody recorded",
                expected=f"a label of {self._dataset.name}, or an action row in the manifest",
                found=action,
                fix="generate the labels again",
            )
        return GivenLabel(clip, int(number), source)


def _sample(
    pick: Pick,
    number: int,
    kind: LabelKind,
    *,
    label: Path | None = None,
    points: tuple[tuple[int, int, int], ...] | None = None,
    actions: tuple[str, ...] = (),
) -> TrainingSample:
    return TrainingSample(
        clip=pick.clip,
        number=number,
        annotated=pick.annotated,
        source=pick.source,
        kind=kind,
        label=label,
        points=points,
        actions=actions,
        weight=pick.weight,
    )
