"""What to label next in a whole data set, by a network or, before there is one, by looks and motion."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import cv2
import numpy as np
import torch

from thriftseg.annotation.ranking.cold_start import cold_start_sample
from thriftseg.annotation.ranking.granularity import Granularity, WholeFrame
from thriftseg.annotation.ranking.selection import Sample, SampleSelection, SampleTable, frame_samples
from thriftseg.annotation.ranking.uncertainty import pixel_uncertainty
from thriftseg.arrays import Float32Array
from thriftseg.datasets import ClipReader, VideoDataset, resize_frame
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.progress import progress_bar
from thriftseg.stores import Frame, LabelStore, store_root
from thriftseg.types import Clip
from thriftseg.zoo import SemanticNetwork

FrameRule = Literal["entropy", "margin", "least_conf"]
"""Measures of uncertainty that look at one frame alone."""


class RankedSample(NamedTuple):
    """A region that is worth labelling.

    Attributes:
        clip: Its video.
        sample: The region.
        pixels: Number of its pixels.
        score: How unsure the network is of it or, without a network, how much its frame moves; 0..1.
    """

    clip: Clip
    sample: Sample
    pixels: int
    score: float


@dataclass(frozen=True)
class NetworkView:
    """How a network looks at a data set.

    Attributes:
        network: The network, which tells its features.
        uncertainty: Measure of uncertainty.
        resize: Height and width that it works at; those of the files by default.
        device: Where it runs.
    """

    network: SemanticNetwork
    uncertainty: FrameRule = "entropy"
    resize: tuple[int, int] | None = None
    device: torch.device | str = "cpu"


def rank_samples(
    dataset: ClipReader[Any],
    split: str,
    count: int,
    *,
    view: NetworkView | None = None,
    granularity: Granularity | None = None,
    selection: SampleSelection | None = None,
    labelled: Collection[Frame] = (),
    step: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> list[RankedSample]:
    """Rank what to label next over all videos of a split.

    With a network, samples that it is unsure of and that differ from each other come first; nothing is tuned. Without
    one, whole frames that move and look different, see `cold_start_sample`. Labelled frames are never
    candidates, and diversity keeps away from them. The features of all samples are held in memory.

    Args:
        dataset: The data set.
        split: Its split.
        count: Samples that are wanted; fewer are returned where there are not as many.
        view: The network; `None` where there is none yet.
        granularity: What is labelled at a time, whole frames by default.
        selection: How samples are chosen.
        labelled: Video and native number of the frames that have a label; see `labelled_frames`.
        step: Look at every so-manieth frame of a video, and at all labelled ones.
        seed: Of what is random in the selection.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: A number is below 1, parts of frames are to be ranked without a network, or the network does not
            tell its features.
        DatasetError: A frame cannot be read.
    """
    for name, number in (("count", count), ("step", step)):
        if number < 1:
            raise ConfigError(f"{name} of a ranking", expected="at least 1", found=number)
    clips = dataset.clips(split)
    look = _look(dataset, view, granularity or WholeFrame())
    frames = [
        (video, clip, number, (clip.video, number) in labelled)
        for video, clip in enumerate(clips)
        for place, number in enumerate(clip.frames)
        if place % step == 0 or (clip.video, number) in labelled
    ]
    with progress_bar(progress) as bar:
        tracked = bar.track(frames, description="looking at frames")
        table = SampleTable.concatenate(look.table(*frame) for frame in tracked)
    order = (selection or SampleSelection()).rank(table, count, np.random.default_rng(seed))[:count]
    return [
        RankedSample(clips[table.video[row]], table.sample(row), int(table.pixels[row]), float(table.uncertainty[row]))
        for row in order.tolist()
    ]


def labelled_frames(
    dataset: VideoDataset,
    split: str,
    *,
    manual: bool = True,
    sources: Iterable[str] = (),
    store: str | Path | None = None,
) -> set[Frame]:
    """Frames of a split that need no label any more; a frame with a label in part is among them.

    Args:
        dataset: The data set.
        split: Its split.
        manual: Whether the labels that came with the data set count.
        sources: Sources of the label store that count.
        store: Folder of the label store; `labels/<dataset>` when absent.

    Raises:
        LabelStoreError: A source has no labels.
    """
    found = {(clip.video, number) for clip in dataset.clips(split) for number in clip.labels if manual}
    for source in sources:
        known = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
        if not known.usable:
            raise LabelStoreError(f"no labels of source {source!r}", path=known.folder, fix="check its name")
        found |= set(known.usable)
    return found


class _Look(Protocol):
    """Tells about a frame what decides on its rank."""

    def table(self, video: int, clip: Clip, number: int, labelled: bool) -> SampleTable: ...


def _look(dataset: ClipReader[Any], view: NetworkView | None, granularity: Granularity) -> _Look:
    if view is not None:
        return _NetworkLook(dataset, view, granularity)
    if not isinstance(granularity, WholeFrame):
        raise ConfigError("without a network, only whole frames are ranked", fix='take "frame", or pass --weights')
    return _ColdLook(dataset)


class _ColdLook:
    def __init__(self, dataset: ClipReader[Any]) -> None:
        self._dataset = dataset

    def table(self, video: int, clip: Clip, number: int, labelled: bool) -> SampleTable:
        image = self._dataset.read_frame(clip, number)
        beside = next((n for n in (number - clip.frame_step, number + clip.frame_step) if n in clip.frames), None)
        neighbour = None if beside is None else self._dataset.read_frame(clip, beside)
        return cold_start_sample(number, image, neighbour, labelled=labelled, video=video)


class _NetworkLook:
    def __init__(self, dataset: ClipReader[Any], view: NetworkView, granularity: Granularity) -> None:
        self._dataset, self._view, self._granularity = dataset, view, granularity
        self._network = view.network.to(view.device).eval()

    def table(self, video: int, clip: Clip, number: int, labelled: bool) -> SampleTable:
        regions = self._granularity.regions(self._dataset.read_frame(clip, number))
        uncertainty, features = self._predict(clip, number)
        height, width = regions.shape
        return frame_samples(
            number,
            regions,
            np.asarray(cv2.resize(uncertainty, (width, height), interpolation=cv2.INTER_LINEAR), np.float32),
            features,
            np.full(regions.shape, not labelled),
            video,
        )

    @torch.inference_mode()
    def _predict(self, clip: Clip, number: int) -> tuple[Float32Array, Float32Array]:
        """Uncertainty (h, w) at the working size, and features (D, h', w')."""
        size = self._view.resize or self._dataset.clip_size(clip)
        window = [*clip.past(number, self._network.past_frames), number]
        images = np.stack([resize_frame(self._dataset.read_frame(clip, each), size) for each in window])
        frames = torch.from_numpy(images).to(self._view.device).permute(0, 3, 1, 2)[None].float() / 255
        logits, features = self._network.logits_and_features(self._network.preprocessing(frames))
        uncertainty = pixel_uncertainty(logits[0].float().softmax(dim=0), self._view.uncertainty)
        return uncertainty.cpu().numpy(), features[0].float().cpu().numpy()
