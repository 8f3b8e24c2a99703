"""Training lists that mix manual, propagated, coarse and clicked labels, and what they cost.

A mixture draws annotated frames once, by seed, and takes samples at offsets from them. The draw orders the annotated
frames by a hash of seed, video and number, so it depends neither on the order of files nor on the library version,
and a larger share contains a smaller one. The same holds where those with the largest motion come first.
"""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thriftseg.costs import CostModel
from thriftseg.datamodules.mixing.mixture_list import MixtureList
from thriftseg.datamodules.mixing.motion import measure_motion
from thriftseg.datamodules.mixing.patterns import offsets_of
from thriftseg.datamodules.mixing.pick import Pick
from thriftseg.datasets import VideoDataset, parse_offsets
from thriftseg.errors import MixtureError
from thriftseg.stores import COARSE, MANUAL, LabelSource, given_files, given_kind, is_given, price_actions, store_root
from thriftseg.types import Clip, ClipFrame, Frame


@dataclass(frozen=True)
class MixturePart:
    """Samples of one source. Exactly one of `clips` and `share` may be given; without both, all are taken.

    Parts of equal seed walk the same order of annotated frames. Where an earlier part already labels the same offset
    of an annotated frame, a part goes on to the next one: no two parts label the same offset of an annotated frame, and
    parts at different offsets stand on the same annotated frames. Where annotated frames lie so close that their
    offsets meet, a frame is drawn once for each of them. In a split without annotated frames, the frames that a source
    of the label store has labels of stand in for them.

    Attributes:
        labels: "manual" or "coarse" (of the data set), or a source of the label store.
        offsets: Offsets from the annotated frame: a number, a list, or a text such as `-10..10`.
        clips: Number of annotated frames to draw.
        share: Share of the annotated frames to draw, 0..1; rounded half up.
        seed: Seed of the draw; that of the mixture when absent.
        weight: Factor on the loss of these samples.

    Example:
        >>> MixturePart(labels="clicks", share=0.5)
        MixturePart(labels='clicks', offsets=0, clips=None, share=0.5, seed=None, weight=1.0)
    """

    labels: str = MANUAL
    offsets: str | int | list[int] = 0
    clips: int | None = None
    share: float | None = None
    seed: int | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        parse_offsets(self.offsets)
        if self.clips is not None and self.share is not None:
            raise MixtureError(f"part {self.labels!r} has both clips and share", fix="give one of them")
        if self.share is not None and not 0 <= self.share <= 1:
            raise MixtureError(f"share of part {self.labels!r}", expected="0..1", found=self.share)
        if self.clips is not None and self.clips < 0:
            raise MixtureError(f"clips of part {self.labels!r}", expected="0 or more", found=self.clips)
        if self.weight < 0:
            raise MixtureError(f"weight of part {self.labels!r}", expected="0 or more", found=self.weight)

    def count(self, available: int) -> int:
        """How many of the available annotated frames to draw."""
        if self.clips is not None:
            return self.clips
        return available if self.share is None else round_half_up(self.share * available)


class Mixture:
    """Which frames to train on and where their labels come from.

    Give one of `pattern`, `coarse_percent` and `parts`; without any, all manual labels are used (pattern N1).

    Args:
        pattern: Name of a pattern of offsets (`PATTERNS`). Of N annotated frames, ceil(N / j)
            are drawn for a pattern of j offsets; offset 0 is manual, the others are of the source `propagated`.
        coarse_percent: Per cent of the samples whose label is coarse, rounded half up; the rest is manual. No
            annotated frame is in both.
        parts: Parts of any source, offsets, share and seed.
        propagated: Source of the propagated labels of a pattern.
        coarse: Source of coarse labels: "coarse" for those of the data set, or one of the label store, such as
            "refined", which then stands on the same samples.
        total: Number of samples to aim at in place of N, for `pattern` and `coarse_percent`.
        seed: Seed of the draw.
        store: Folder of the label store; `labels/<dataset>` when absent.
        cost_model: "polygon", "published", or a model of your own.
        weights: Factor on the loss by source.
        clip_selection: Order in which annotated frames are drawn: "random" by seed, or "flow" by motion, those with the
            largest mean optical flow around them first and equal ones by seed (`measure_motion`, which remembers what
            it measured in the label store; measure once, by `thriftseg data mixture`, before several processes train).

    Raises:
        MixtureError: The settings contradict each other.

    Example:
        >>> Mixture(pattern="B3", seed=1)
        Mixture(pattern='B3', propagated='flow', seed=1, cost_model='polygon')
    """

    def __init__(
        self,
        pattern: str | None = None,
        coarse_percent: float | None = None,
        parts: list[MixturePart] | None = None,
        *,
        propagated: str = "flow",
        coarse: str = COARSE,
        total: int | None = None,
        seed: int = 0,
        store: str | Path | None = None,
        cost_model: str | CostModel = "polygon",
        weights: dict[str, float] | None = None,
        clip_selection: Literal["random", "flow"] = "random",
    ) -> None:
        given = [name for name, value in _named(pattern, coarse_percent, parts) if value is not None]
        if len(given) > 1:
            raise MixtureError("a mixture is given in several ways", found=" and ".join(given), fix="give one of them")
        if coarse_percent is not None and not 0 <= coarse_percent <= 100:
            raise MixtureError("coarse_percent", expected="0..100", found=coarse_percent)
        if total is not None and (parts is not None or total < 1):
            raise MixtureError(
                "total", expected="at least 1, and no parts", found=total, fix="parts have clips or share instead"
            )
        if clip_selection not in ("random", "flow"):
            raise MixtureError("clip_selection", expected="random or flow", found=repr(clip_selection))
        self.pattern = pattern if given else "N1"
        self.offsets = offsets_of(self.pattern) if self.pattern is not None else (0,)
        self.coarse_percent, self.parts, self.propagated, self.coarse = coarse_percent, parts, propagated, coarse
        self.total, self.seed, self.store, self.weights = total, seed, store, dict(weights or {})
        self.clip_selection = clip_selection
        self.cost_model = CostModel.named(cost_model) if isinstance(cost_model, str) else cost_model

    def __repr__(self) -> str:
        shape = next(f"{n}={v!r}" for n, v in _named(self.pattern, self.coarse_percent, self.parts) if v is not None)
        source = {"pattern": f", propagated={self.propagated!r}", "coarse_percent": f", coarse={self.coarse!r}"}
        middle = source.get(shape.partition("=")[0], "")
        middle += f", clip_selection={self.clip_selection!r}" if self.clip_selection != "random" else ""
        return f"Mixture({shape}{middle}, seed={self.seed}, cost_model={self.cost_model.name!r})"

    def select(
        self,
        clips: Sequence[Clip],
        motion: Mapping[Frame, float] | None = None,
        stored: Mapping[str, Sequence[ClipFrame]] | None = None,
    ) -> list[Pick]:
        """Draw the frames; nothing on disk is touched.

        Args:
            clips: All clips of a split.
            motion: Motion around each annotated frame, by video and number, as from `measure_motion`; needed with
                clip_selection "flow" alone.
            stored: Frames that each source of the label store has labels of, where no frame is annotated.

        Returns:
            Picks ordered by video, annotated frame and offset.

        Raises:
            MixtureError: Nothing is annotated, more is asked for than there is, an offset does not exist, or motion is
                needed and not given.
        """
        if self.clip_selection == "random":
            motion = {}
        elif motion is None:
            raise MixtureError(
                "drawing by flow needs the motion around the annotated frames",
                fix="pass what measure_motion returns, or call draw or plan",
            )
        picks: list[Pick] = []
        taken: set[tuple[str, int, int]] = set()
        parts = self._parts(clips)
        self._check_weights(parts)
        for part in parts:
            offsets = parse_offsets(part.offsets)
            pool = self._pool(part.labels, clips) or (stored or {}).get(part.labels, ())
            for clip, annotated in self._draw(part, offsets, pool, taken, motion):
                taken.update((clip.video, annotated, offset) for offset in offsets)
                weight = part.weight * self.weights.get(part.labels, 1.0)
                picks += [Pick(clip, annotated, offset, part.labels, weight) for offset in offsets]
        for pick in picks:
            _ = pick.number  # an offset that does not exist is an error already here
        return sorted(picks, key=lambda pick: (pick.clip.video, pick.annotated, pick.offset))

    def draw(self, dataset: VideoDataset, split: str) -> MixtureList:
        """Draw the frames of a split, look their labels up and price them.

        Labels that a person has rejected (`thriftseg label review`) are left out.

        Raises:
            MixtureError: See `select`; or a label is not in the store, or all of them were rejected.
            LabelStoreError: The store is damaged, of another class table or holds object ids; or a label descends from
                an action that nobody recorded, or that was priced by another cost model.
            ConfigError: The cost model knows no price for this data set.
        """
        with _uncollected():
            return self._resolve(dataset, split, planned=frozenset())

    def plan(self, dataset: VideoDataset, split: str) -> MixtureList:
        """Like `draw`, for labels that are still to be made: tells what a mixture will cost.

        Labels of `propagated` are taken to descend from the manual label of their annotated frame, those of `coarse`
        from its coarse label. Samples of these sources have no label file.
        """
        made = {name for name in (self.propagated, self.coarse) if given_kind(name) is None}
        with _uncollected():
            return self._resolve(dataset, split, planned=made)

    def store_root(self, dataset: VideoDataset) -> Path:
        """Folder of the label store for a data set."""
        return store_root(self.store, dataset.name)

    def _parts(self, clips: Sequence[Clip]) -> list[MixturePart]:
        if self.parts is not None:
            return self.parts
        total = self.total if self.total is not None else sum(len(clip.labels) for clip in clips)
        if self.coarse_percent is not None:
            coarse = round_half_up(total * self.coarse_percent / 100)
            return [MixturePart(self.coarse, clips=coarse), MixturePart(MANUAL, clips=total - coarse)]
        count = math.ceil(total / len(self.offsets))
        others = [offset for offset in self.offsets if offset != 0]
        parts = [MixturePart(MANUAL, clips=count)] if 0 in self.offsets else []
        return parts + ([MixturePart(self.propagated, offsets=others, clips=count)] if others else [])

    def _draw(
        self,
        part: MixturePart,
        offsets: Sequence[int],
        pool: Sequence[ClipFrame],
        taken: set[tuple[str, int, int]],
        motion: Mapping[Frame, float],
    ) -> list[ClipFrame]:
        seed = self.seed if part.seed is None else part.seed
        order = sorted(
            pool,
            key=lambda frame: (-motion.get((frame[0].video, frame[1]), 0.0), draw_rank(seed, frame[0].video, frame[1])),
        )
        free = [
            (clip, annotated)
            for clip, annotated in order
            if not any((clip.video, annotated, offset) in taken for offset in offsets)
        ]
        wanted = part.count(len(pool))
        if not pool:
            raise MixtureError(
                f"no frame of the split is annotated, which part {part.labels!r} needs",
                fix="put the label files in place (`thriftseg data check` lists what is there) or choose another split",
            )
        if wanted > len(free):
            raise MixtureError(
                f"part {part.labels!r} asks for more annotated frames than there are",
                expected=f"at most {len(free)}",
                found=wanted,
                fix="lower clips, share or total",
            )
        return free[:wanted]

    def _pool(self, source: str, clips: Sequence[Clip]) -> list[ClipFrame]:
        """The annotated frames that samples of a source are drawn from: coarse labels have their own where given."""
        for name in (COARSE if source == self.coarse else source, MANUAL):
            if frames := [(clip, number) for clip in clips for number in given_files(name, clip)]:
                return frames
        return []

    def _stored(self, dataset: VideoDataset, clips: Sequence[Clip]) -> dict[str, list[ClipFrame]]:
        """The frames that the sources of the label store have labels of."""
        root = self.store_root(dataset)
        sources = {part.labels for part in self._parts(clips) if given_kind(part.labels) is None}
        found = {source: LabelSource(dataset, root, source).of(clips) for source in sources}
        return {source: [(label.clip, label.number) for label in labels] for source, labels in found.items()}

    def _check_weights(self, parts: Sequence[MixturePart]) -> None:
        unknown = set(self.weights) - {part.labels for part in parts}
        if unknown:
            raise MixtureError(
                "weights for sources that are not in the mixture",
                expected=", ".join(dict.fromkeys(part.labels for part in parts)),
                found=", ".join(sorted(unknown)),
            )

    def _resolve(self, dataset: VideoDataset, split: str, planned: Collection[str]) -> MixtureList:
        clips, root = dataset.clips(split), self.store_root(dataset)
        motion = measure_motion(dataset, clips, store=root) if self.clip_selection == "flow" else None
        picks = self.select(clips, motion, {} if any(clip.labels for clip in clips) else self._stored(dataset, clips))
        sources = {pick.source: LabelSource(dataset, root, pick.source) for pick in picks}
        kept = [
            pick
            for pick in picks
            if pick.source in planned or sources[pick.source].verdict(pick.clip, pick.number) != "reject"
        ]
        if not kept:
            raise MixtureError("people have rejected all labels of the mixture", path=root)
        samples = [
            pick.planned_sample(dataset.name, from_coarse=pick.source == self.coarse)
            if pick.source in planned
            else pick.sample(sources[pick.source])
            for pick in kept
        ]
        actions = dict.fromkeys(action for sample in samples for action in sample.actions)
        stored = dict.fromkeys(sample.source for sample in samples if not is_given(sample.source, sample.clip))
        stores = [sources[name].store for name in stored if name not in planned]
        prices = price_actions(dataset, clips, actions, self.cost_model, stores=stores, cache_folder=root)
        return MixtureList(dataset.name, split, self.cost_model.name, samples, prices, len(picks) - len(kept), motion)


def round_half_up(value: float) -> int:
    """Round to the nearest whole number, halves upwards.

    Example:
        >>> round_half_up(892.5), round_half_up(892.49), round(892.5)
        (893, 892, 892)
    """
    return math.floor(value + 0.5 + 1e-9)  # 0.3 * 2975 falls short of 892.5 in binary


def _named(
    pattern: str | None, coarse_percent: float | None, parts: list[MixturePart] | None
) -> list[tuple[str, object]]:
    return [("pattern", pattern), ("coarse_percent", coarse_percent), ("parts", parts)]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which looks at hundreds of thousands of objects again and again as they are made."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


def draw_rank(seed: int, *names: str | int) -> bytes:
    """Place of something in the order of a draw, which depends on the seed and its name alone."""
    return hashlib.blake2b("/".join(map(str, (seed, *names))).encode(), digest_size=16).digest()
