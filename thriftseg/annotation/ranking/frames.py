"""Ranks what to label next in a whole data set, by a network or, before there is one, by looks and motion."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch

from thriftseg.annotation.ranking.cold_start import cold_start_sample
from thriftseg.annotation.ranking.granularity import Granularity, WholeFrame
from thriftseg.annotation.ranking.selection import Sample, SampleSelection, SampleTable, frame_samples
from thriftseg.annotation.ranking.uncertainty import pixel_uncertainty
from thriftseg.datasets import ClipReader, VideoDataset
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.inference import FrameSegmenter, choose_device, load_for
from thriftseg.progress import progress_bar
from thriftseg.stores import LabelStore, store_root
from thriftseg.taxonomies import Taxonomy
from thriftseg.types import Clip, Frame
from thriftseg.zoo import SemanticNetwork, SlidingWindow, WholeImage

FrameRule = Literal["entropy", "margin", "least_conf"]
"""Measures of uncertainty that look at one frame alone."""


class RankedSample(NamedTuple):
    """A region that is worth labelling.

    Attributes:
        clip: Its video.
        sample: The region.
        pixels: Number of its pixels.
        score: How unsure the network is of it or, without a network, how much its frame moves; 0..1.

    Example:
        >>> clip = Clip("drive", {7: Path("7.png"), 8: Path("8.png")})
        >>> ranking = [RankedSample(clip, Sample(8, 0), 480, 0.9), RankedSample(clip, Sample(7, 0), 480, 0.2)]
        >>> [each.clip.frames[each.sample.number].name for each in ranking if each.score > 0.5]
        ['8.png']
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
        device: Where it runs, see `FrameSegmenter`.
        inference: How it segments a frame; the whole of it at once by default.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> class Brightness(SemanticNetwork):
        ...     def compute_logits(self, frames): return self.classify(self.compute_features(frames))
        ...     def compute_features(self, frames): return frames[:, -1, :1]
        ...     def classify(self, features): return torch.cat([features, -features], dim=1)
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     for grey in (255, 51):
        ...         write_label_png(f"{root}/val/drive/frames/{grey}.png", np.full((4, 6), grey, np.uint8))
        ...     view, by_doubt = NetworkView(Brightness(2), "margin"), SampleSelection("uncertainty")
        ...     ranking = rank_samples(Folder(root), "val", 2, view=view, selection=by_doubt, progress=False)
        >>> [(each.sample.number, round(each.score, 4)) for each in ranking]  # 1 - tanh(0.2), 1 - tanh(1)
        [(51, 0.8026), (255, 0.2384)]
    """

    network: SemanticNetwork
    uncertainty: FrameRule = "entropy"
    resize: tuple[int, int] | None = None
    device: torch.device | str = "cpu"
    inference: WholeImage | SlidingWindow | None = None


def view_of(
    taxonomy: Taxonomy,
    weights: str | None,
    uncertainty: FrameRule = "entropy",
    resize: tuple[int, int] | None = None,
    accelerator: str = "auto",
) -> NetworkView | None:
    """The view of a network by the name of its weights; none without weights.

    Args:
        taxonomy: Class table of the data set.
        weights: Published weights or a checkpoint; see `load_weights`.
        uncertainty: Measure of uncertainty.
        resize: Height and width that it works at; as in the evaluation of the weights by default.
        accelerator: Where it runs: auto, cpu, gpu, or one GPU of several such as cuda:1.

    Raises:
        ConfigError: The network was trained on other classes.

    Example:
        >>> from thriftseg.taxonomies import CITYSCAPES
        >>> view = view_of(CITYSCAPES, "deeplabv3plus_mobilenetv2.synthetic_manual", "margin", accelerator="cpu")
        >>> view.uncertainty, view.resize, view_of(CITYSCAPES, None)
        ('margin', (128, 256), None)
    """
    if weights is None:
        return None
    loaded = load_for(taxonomy, weights)
    device = choose_device(accelerator)
    return NetworkView(loaded.network, uncertainty, resize or loaded.eval_size, device, loaded.inference)


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
        step: Look at every n-th frame of a video, and at all labelled ones.
        seed: Of what is random in the selection.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: A number is below 1, parts of frames are to be ranked without a network, or the network does not
            tell its features.
        DatasetError: A frame cannot be read.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     for number in range(3):
        ...         write_label_png(f"{root}/val/drive/frames/{number}.png", np.zeros((16, 24), np.uint8))
        ...     ranking = rank_samples(Folder(root), "val", 3, labelled={("drive", 0)}, progress=False)
        >>> [(each.sample.number, each.pixels, each.score) for each in ranking]
        [(1, 384, 0.0), (2, 384, 0.0)]
    """
    for name, number in (("count", count), ("step", step)):
        if number < 1:
            raise ConfigError(f"{name} of a ranking", expected="at least 1", found=number)
    if seed < 0:
        raise ConfigError("seed of a ranking", expected="0 or more", found=seed)
    clips = dataset.clips(split)
    granularity = granularity or WholeFrame()
    if view is not None:
        segmenter = FrameSegmenter(view.network, view.inference, view.resize, view.device)
        samples_of = partial(_by_network, dataset, segmenter, view.uncertainty, granularity)
    elif isinstance(granularity, WholeFrame):
        samples_of = partial(_by_motion, dataset)
    else:
        raise ConfigError("without a network, only whole frames are ranked", fix='take "frame", or pass --weights')
    places = [
        _Place(video, clip, number, (clip.video, number) in labelled)
        for video, clip in enumerate(clips)
        for position, number in enumerate(clip.frames)
        if position % step == 0 or (clip.video, number) in labelled
    ]
    with progress_bar(progress) as bar:
        tracked = bar.track(places, description="looking at frames")
        table = SampleTable.concatenate(samples_of(place) for place in tracked)
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

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = Path(root, "classes.yaml").write_text("classes: [road, car]")
        ...     for name in ("frames/7", "frames/8", "labels/8"):
        ...         write_label_png(f"{root}/val/drive/{name}.png", np.zeros((4, 6), np.uint8))
        ...     labelled_frames(Folder(root), "val"), labelled_frames(Folder(root), "val", manual=False)
        ({('drive', 8)}, set())
    """
    found = {(clip.video, number) for clip in dataset.clips(split) for number in clip.labels if manual}
    for source in sources:
        known = LabelStore(store_root(store, dataset.name), source, dataset.taxonomy)
        if not known.usable:
            raise LabelStoreError(f"no labels of source {source!r}", path=known.folder, fix="check its name")
        found |= set(known.usable)
    return found


class _Place(NamedTuple):
    """A frame among all videos of a split."""

    video: int
    clip: Clip
    number: int
    labelled: bool


def _by_motion(dataset: ClipReader[Any], place: _Place) -> SampleTable:
    """A frame as one sample, of which its looks and how much it moves are told."""
    video, clip, number, labelled = place
    beside = next((n for n in (number - clip.frame_step, number + clip.frame_step) if n in clip.frames), None)
    neighbour = None if beside is None else dataset.read_frame(clip, beside)
    return cold_start_sample(number, dataset.read_frame(clip, number), neighbour, labelled=labelled, video=video)


def _by_network(
    dataset: ClipReader[Any], segmenter: FrameSegmenter, rule: FrameRule, granularity: Granularity, place: _Place
) -> SampleTable:
    """The samples of a frame, of which the network tells features and how unsure it is."""
    video, clip, number, labelled = place
    regions = granularity.regions(dataset.read_frame(clip, number))
    height, width = regions.shape
    found = segmenter.frame(dataset, clip, number, features=True)
    uncertainty = pixel_uncertainty(found.probabilities[0], rule).cpu().numpy()
    return frame_samples(
        number,
        regions,
        np.asarray(cv2.resize(uncertainty, (width, height), interpolation=cv2.INTER_LINEAR), np.float32),
        found.features[0].float().cpu().numpy() if found.features is not None else None,
        np.full(regions.shape, not labelled),
        video,
    )
