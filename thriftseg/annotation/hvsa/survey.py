"""Survey of a video by a network: label maps of all frames, and the samples that a person may be asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from thriftseg.annotation.hvsa.manual_labels import ManualLabels, paste
from thriftseg.annotation.ranking.granularity import Granularity
from thriftseg.annotation.ranking.selection import SampleTable, frame_samples
from thriftseg.annotation.ranking.uncertainty import Neighbour, UncertaintyRule, pixel_uncertainty
from thriftseg.arrays import UInt8Array
from thriftseg.datamodules import VideoPairDataModule
from thriftseg.flow import scale_flow
from thriftseg.inference import resize_maps
from thriftseg.lightning_modules import FramePrediction, SemanticSegmentation, predict_frames
from thriftseg.metrics import VideoFrame, score_video


@dataclass(frozen=True, eq=False)
class Survey:
    """What a network says about a video, at the size of its files.

    Attributes:
        labels: Label map of every frame, (H, W) uint8 train ids, by native number in playing order.
        confidence: Mean probability of the labels of every frame.
        table: The samples of all frames, `None` where they were not asked for.
    """

    labels: Mapping[int, UInt8Array]
    confidence: Mapping[int, float]
    table: SampleTable | None


def survey_video(
    module: SemanticSegmentation,
    data: VideoPairDataModule,
    manual: ManualLabels,
    granularity: Granularity | None = None,
    uncertainty: UncertaintyRule = "entropy",
    **settings: Any,
) -> Survey:
    """Predict all frames of a video, one after the other.

    Args:
        module: Holds the network.
        data: The video.
        manual: What people have labelled; their regions are no candidates again.
        granularity: Cuts frames into samples; `None` leaves the samples out, and the features with them.
        uncertainty: Measure of uncertainty.
        settings: Arguments of the trainer, such as `accelerator`, `devices` and `precision`.

    Raises:
        ConfigError: Uncertainty or features are not finite, or the network does not tell its features.
    """
    surveyor = _Surveyor(data, manual, granularity, uncertainty)
    predict_frames(module, data, surveyor.take, features=granularity is not None, **settings)
    return surveyor.finish()


def score_labels(
    data: VideoPairDataModule, labels: Mapping[int, UInt8Array], manual: ManualLabels | None = None
) -> dict[str, float]:
    """Scores of the label maps of a video at the size of its files.

    Args:
        data: The video, its truth and its flow.
        labels: Label map of every frame, (H, W) uint8.
        manual: Labels that are put over them first.

    Returns:
        `miou`, `pixel_accuracy`, `boundary_iou` (band of 2 px) and `tc`; NaN where there is no truth or no pair.
    """
    pasted = frozenset(manual.numbers) if manual is not None else frozenset()

    def shown(number: int, label: UInt8Array) -> UInt8Array:
        return paste(label, manual.read(number)) if manual is not None and number in pasted else label

    frames = ((number, shown(number, label)) for number, label in labels.items())
    return score_video(scored_frames(data, frames), data.num_classes)


def scored_frames(data: VideoPairDataModule, labels: Iterable[tuple[int, UInt8Array]]) -> Iterator[VideoFrame]:
    """Label maps of a video with what they are scored by, at the size of its files.

    Args:
        data: The video, its truth and its flow.
        labels: Native number and label map (H, W) uint8 of every frame, in playing order.
    """
    for number, label in labels:
        flow = data.flow_into(number)
        truth = data.dataset.read_label(data.clip, number) if number in data.clip.labels else None
        yield label, truth, scale_flow(flow[0], label.shape, flow[1]) if flow is not None else None


@dataclass
class _Surveyor:
    """Takes predictions in playing order. "temporal" needs the frame after, so there it is one frame behind."""

    data: VideoPairDataModule
    manual: ManualLabels
    granularity: Granularity | None
    rule: UncertaintyRule
    labels: dict[int, UInt8Array] = field(default_factory=dict)
    confidence: dict[int, float] = field(default_factory=dict)
    tables: list[SampleTable] = field(default_factory=list)
    window: list[FramePrediction] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.size = self.data.dataset.clip_size(self.data.clip)
        self.asked = self.manual.samples

    def take(self, prediction: FramePrediction) -> None:
        confidence, label = resize_maps(prediction.probabilities[None], self.size)[0].max(dim=0)
        self.labels[prediction.number] = label.to(torch.uint8).cpu().numpy()
        self.confidence[prediction.number] = float(confidence.mean())
        if self.granularity is None:
            return
        self.window = [*self.window[-2:], prediction]
        if self.rule != "temporal":
            self._add_samples(prediction)
        elif len(self.window) > 1:
            self._add_samples(self.window[-2], [*self.window[:-2], prediction])

    def finish(self) -> Survey:
        if self.rule == "temporal" and self.window:
            self._add_samples(self.window[-1], self.window[-2:-1])
        return Survey(self.labels, self.confidence, SampleTable.concatenate(self.tables) if self.tables else None)

    def _add_samples(self, frame: FramePrediction, beside: Sequence[FramePrediction] = ()) -> None:
        """Cut a frame into samples; "temporal" compares it with the frames beside it whose flow is known."""
        if self.granularity is None or frame.features is None:
            raise ValueError("samples were not asked for")
        neighbours = []
        for other in beside:
            both = self.data.flows_between(max(frame.number, other.number))
            if both is not None:
                backward, forward = torch.from_numpy(both).to(frame.probabilities)
                flows = (backward, forward) if other.number < frame.number else (forward, backward)
                neighbours.append(Neighbour(other.probabilities, *flows))
        asked = [region for number, region in self.asked if number == frame.number]
        regions = self.granularity.regions(self.data.dataset.read_frame(self.data.clip, frame.number))
        uncertainty = pixel_uncertainty(frame.probabilities, self.rule, neighbours)
        table = frame_samples(
            frame.number,
            regions,
            resize_maps(uncertainty[None, None], self.size)[0, 0].cpu().numpy(),
            frame.features.float().cpu().numpy(),
            ~np.isin(regions, asked),
        )
        self.tables.append(table)
