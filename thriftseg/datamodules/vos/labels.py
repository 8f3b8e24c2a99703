"""Which frames of the videos have a mask to train on, and what these masks cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from thriftseg.costs import AnnotationCost
from thriftseg.datamodules.mixing.mixture import draw_rank, round_half_up
from thriftseg.datasets import VOSClip, usual_step
from thriftseg.errors import ConfigError, DatasetError, MixtureError
from thriftseg.stores import MANUAL, MaskSource, given_kind
from thriftseg.types import LabelKind


@dataclass(frozen=True)
class MaskPart:
    """The videos whose masks come from one source.

    Attributes:
        labels: "manual" for the masks of the data set, else a source of the label store.
        share: Share of the videos of the split with enough masks of this source, 0 to 1, rounded half up and drawn by
            the seed; all that no earlier part has taken when absent.
        weight: Factor on the loss of their clips.

    Raises:
        MixtureError: A setting is out of range.

    Example:
        >>> names = ("bear", "camel", "goat", "koala")
        >>> videos = [MaskedVideo(VOSClip(name, {}), (0, 1, 2)) for name in names]
        >>> first = MaskPart("manual", share=0.5).draw(videos, taken=[], seed=0)
        >>> rest = MaskPart("flow").draw(videos, taken=[video.clip.video for video in first], seed=0)
        >>> [video.clip.video for video in first], [video.clip.video for video in rest]
        (['camel', 'goat'], ['bear', 'koala'])
    """

    labels: str = MANUAL
    share: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.share is not None and not 0 <= self.share <= 1:
            raise MixtureError(f"share of part {self.labels!r}", expected="0..1", found=self.share)
        if self.weight < 0:
            raise MixtureError(f"weight of part {self.labels!r}", expected="0 or more", found=self.weight)

    def draw(self, videos: Sequence[MaskedVideo], taken: Collection[str], seed: int) -> list[MaskedVideo]:
        """Its videos, in their order.

        Args:
            videos: Those with enough masks of this source.
            taken: Names of the videos of earlier parts.
            seed: Seed of the draw.

        Raises:
            MixtureError: Earlier parts have left too few.
        """
        free = [video for video in videos if video.clip.video not in taken]
        count = len(free) if self.share is None else round_half_up(self.share * len(videos))
        if count > len(free) or not free:
            raise MixtureError(
                f"part {self.labels!r} asks for more videos than earlier parts have left",
                expected=f"at most {len(free)}",
                found=count,
                fix="lower the shares",
            )
        chosen = set(sorted((video.clip.video for video in free), key=lambda name: draw_rank(seed, name))[:count])
        return [video for video in free if video.clip.video in chosen]


@dataclass(frozen=True)
class MaskedVideo:
    """A video and the frames of it that have a mask.

    Attributes:
        clip: The video.
        numbers: Native numbers of the frames with a mask, increasing.
    """

    clip: VOSClip
    numbers: tuple[int, ...]

    @property
    def step(self) -> int:
        """Usual distance of the masks in native numbers."""
        return usual_step(self.numbers)


def masked_videos(source: MaskSource, split: str, least: int = 1) -> list[MaskedVideo]:
    """The videos of a split with enough masks.

    Args:
        source: The masks.
        split: Name of the split.
        least: Masks that a video needs.

    Raises:
        ConfigError: The split comes without the masks to train on.
        DatasetError: No video has enough masks.
        LabelStoreError: The store is damaged.
    """
    dataset = source.dataset
    if given_kind(source.source) is LabelKind.MANUAL and dataset.masks_of(split) != "all":
        raise ConfigError(
            f"split {split!r} of {dataset.name} comes without the masks of all frames",
            fix="train on another split, or on labels of a source of the label store",
        )
    clips = dataset.clips(split)
    labels = source.of(clips)
    numbers: dict[str, list[int]] = defaultdict(list)
    for label in labels:
        numbers[label.clip.video].append(label.number)
    enough = [MaskedVideo(clip, tuple(numbers[clip.video])) for clip in clips if len(numbers[clip.video]) >= least]
    if not enough:
        raise DatasetError(
            f"no video of split {split!r} has {least} frames with a mask of source {source.source!r}",
            path=source.folder,
            found=f"{len(clips)} videos with {len(labels)} masks",
            fix="choose another split or source, or make the labels first",
        )
    return enough


def licences_of(source: MaskSource, videos: Sequence[MaskedVideo]) -> set[str]:
    """Licences of the weights that had a part in the masks."""
    return {licence for label in source.of([video.clip for video in videos]) for licence in label.licences}


def recorded_cost(source: MaskSource, videos: Sequence[MaskedVideo]) -> AnnotationCost | None:
    """What the human actions cost that the masks descend from; `None` where nobody noted it."""
    if given_kind(source.source) is LabelKind.MANUAL:
        return None
    labels = source.of([video.clip for video in videos])
    rows = {action.id: action for label in labels for action in source.recorded_actions(label)}
    return sum((rows[action].cost for action in sorted(rows)), AnnotationCost())
