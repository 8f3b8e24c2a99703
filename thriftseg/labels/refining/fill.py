"""Gaps of labels filled with the prediction of a network; what is labelled stays as it is.

Propagated and coarse labels leave pixels without a label. A network that was trained on such labels can fill them, and
the next one be trained on the result, as in self-training [0].

[0] Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep Neural Networks", ICML 2013
    workshop on challenges in representation learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from thriftseg.arrays import Float32Array, UInt8Array
from thriftseg.datasets import VideoDataset
from thriftseg.errors import ConfigError
from thriftseg.inference import FrameSegmenter
from thriftseg.labels.jobs.generate import generate
from thriftseg.labels.jobs.job import FrameJob, RelabelTask
from thriftseg.labels.jobs.summary import Summary
from thriftseg.stores import LabelSource, LabelStore, given_kind, store_root
from thriftseg.types import IGNORE_INDEX, LabelKind
from thriftseg.workers import Workers
from thriftseg.zoo import SemanticNetwork, SlidingWindow, WholeImage


class Prediction(NamedTuple):
    """What a network sees in a frame.

    Attributes:
        label: Most probable train ids, (H, W) uint8.
        probability: Their probability, (H, W) float32 in [0, 1].
    """

    label: UInt8Array
    probability: Float32Array


class Filled(NamedTuple):
    """A label without gaps, or with fewer.

    Attributes:
        label: Train ids, (H, W) uint8, 255 = still no label.
        confidence: Mean probability of the pixels that were filled; `None` where none was.
    """

    label: UInt8Array
    confidence: float | None


def fill_gaps(label: UInt8Array, prediction: Prediction, min_confidence: float = 0.0) -> Filled:
    """Fill the pixels without a label that a network is sure enough about.

    Args:
        label: Train ids, (H, W) uint8, 255 = no label; not changed.
        prediction: What the network sees in the frame.
        min_confidence: Pixels whose probability is lower stay without a label.

    Example:
        >>> seen = Prediction(np.array([[4, 5, 6]], np.uint8), np.array([[0.9, 0.8, 0.3]], np.float32))
        >>> filled = fill_gaps(np.array([[1, 255, 255]], np.uint8), seen, min_confidence=0.5)
        >>> filled.label.tolist(), round(filled.confidence, 3)
        ([[1, 5, 255]], 0.8)
    """
    gaps = (label == IGNORE_INDEX) & (prediction.probability >= min_confidence)
    confidence = float(prediction.probability[gaps].mean()) if gaps.any() else None
    return Filled(np.where(gaps, prediction.label, label), confidence)


@dataclass(frozen=True, kw_only=True)
class FillSummary(Summary):
    """What `label_fill` did.

    Attributes:
        ignored_before: Mean share of pixels without a label in the source; `None` for labels of the data set.

    Example:
        >>> print(FillSummary(Path("filled"), written=8, kept=0, ignored_share=0.05, ignored_before=0.3))
        8 labels written to filled, 0 were there already; pixels without a label: 30.0 % before, 5.0 % now
    """

    ignored_before: float | None

    @property
    def ignored_after(self) -> float:
        """The same of the filled labels."""
        return self.ignored_share

    def __str__(self) -> str:
        before = "" if self.ignored_before is None else f"{100 * self.ignored_before:.1f} % before, "
        return (
            f"{self.written} labels written to {self.folder}, {self.kept} were there already; pixels without a label: "
            f"{before}{100 * self.ignored_share:.1f} % now"
        )


def label_fill(
    dataset: VideoDataset,
    split: str,
    network: SemanticNetwork,
    *,
    source: str,
    out_source: str,
    store: str | Path | None = None,
    min_confidence: float = 0.0,
    fill_void: bool = False,
    inference: WholeImage | SlidingWindow | None = None,
    resize: tuple[int, int] | None = None,
    licences: Sequence[str] = (),
    **workers: Any,
) -> FillSummary:
    """Fill the gaps in the labels of a source with what a network predicts there.

    Labels keep their parents, so a filled label costs what the one before it cost; the labels that the network was
    trained on are not counted. A manual label is copied as it is, since its void pixels were left out on purpose.
    A killed run goes on where it stopped when it is started again.

    Args:
        dataset: The data set.
        split: Its split.
        network: Predicts the classes of the data set, in their order.
        source: Labels to fill: "manual", "coarse", or a source of the label store.
        out_source: Name of the filled labels in the store.
        store: Folder of the label store; `labels/<dataset>` when absent.
        min_confidence: Pixels of a lower softmax probability stay without a label, 0..1.
        fill_void: Whether to fill manual labels too.
        inference: How to segment a frame; the whole of it at once when absent.
        resize: Height and width the network works at; those of the frames when absent.
        licences: Licences of the weights that had a part in the labels of the network.
        workers: Those of `thriftseg.workers.Workers`: `devices`, `accelerator`, `engine` and so on.

    Raises:
        ConfigError: The network has other classes, a setting is out of range, or there is nothing to fill.
        LabelStoreError: The source has no labels, `out_source` holds labels that were made in another way, or a process
            died.
        UnfinishedError: Some labels could not be made (the others are stored).

    Example:
        >>> import tempfile
        >>> import torch
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> class AllCar(SemanticNetwork):
        ...     def compute_logits(self, frames):
        ...         return torch.tensor([0.0, 5.0]).view(1, 2, 1, 1).expand(len(frames), 2, *frames.shape[-2:])
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     write_label_png(Path(root, "train/drive/frames/7.png"), np.zeros((2, 3), np.uint8))
        ...     dataset, label = Folder(root), np.array([[0, 0, 255], [0, 255, 255]], np.uint8)
        ...     store = LabelStore(Path(root, "labels"), "flow", dataset.taxonomy)
        ...     row = store.write("drive", 7, label, kind=LabelKind.PROPAGATED, generator="demo")
        ...     summary = label_fill(
        ...         dataset, "train", AllCar(2), source="flow", out_source="filled", store=store.root, progress=False
        ...     )
        ...     LabelStore(store.root, "filled", dataset.taxonomy).read("drive", 7).tolist()
        [[0, 0, 1], [0, 1, 1]]
        >>> summary.ignored_before, summary.ignored_after
        (0.5, 0.0)
    """
    _check(dataset, network, source, out_source, min_confidence, fill_void)
    root = store_root(store, dataset.name)
    given = LabelSource(dataset, root, source)
    labels = given.labels(split)
    segmenter = FrameSegmenter(network, inference, resize, device="cpu")
    target = LabelStore(root, out_source, dataset.taxonomy)
    before = [label.ignored_share for label in labels if label.ignored_share is not None]
    ignored_before = sum(before) / len(before) if before else None
    return generate(
        _FillJob(given, target, segmenter, min_confidence, fill_void, tuple(licences)),
        [RelabelTask.of(label) for label in labels],
        Workers(shared=True, **workers),
        lambda summary, _: FillSummary(**vars(summary), ignored_before=ignored_before),
    )


def _check(
    dataset: VideoDataset,
    network: SemanticNetwork,
    source: str,
    out_source: str,
    min_confidence: float,
    fill_void: bool,
) -> None:
    if not 0 <= min_confidence <= 1:
        raise ConfigError("min_confidence", expected="0..1", found=min_confidence)
    if out_source == source:
        raise ConfigError("the filled labels would replace their source", found=out_source, fix="give another name")
    if given_kind(source) is LabelKind.MANUAL and not fill_void:
        raise ConfigError("manual labels have void pixels only, which stay as they are", fix="set fill_void")
    if network.num_classes != dataset.taxonomy.num_classes:
        raise ConfigError(
            "the network was trained on other classes",
            expected=f"the {dataset.taxonomy.num_classes} classes of {dataset.taxonomy.name}",
            found=f"{network.num_classes} classes",
        )


class _FillJob(FrameJob[RelabelTask]):
    """Fills one label."""

    dataset: VideoDataset

    def __init__(
        self,
        given: LabelSource,
        store: LabelStore,
        segmenter: FrameSegmenter,
        min_confidence: float,
        fill_void: bool,
        of_network: tuple[str, ...],
    ) -> None:
        settings = {"source": given.source, "min_confidence": min_confidence, "fill_void": fill_void}
        super().__init__(
            given.dataset,
            store,
            "thriftseg.labels.refining.fill",
            {**settings, **segmenter.record},
            method=segmenter,
            description="fill",
        )
        self._given, self._segmenter = given, segmenter
        self._min_confidence, self._fill_void, self._of_network = min_confidence, fill_void, of_network

    def make(self, task: RelabelTask, number: int) -> None:
        label = self._given.read(task.label)
        kind, filled, licences = LabelKind.MANUAL, Filled(label, 1.0), tuple[str, ...]()
        if task.label.kind != LabelKind.MANUAL or self._fill_void:
            found = self._segmenter.frame(self.dataset, task.clip, number)
            seen = Prediction(found.label_map(), found.confidence[0].cpu().numpy())
            kind, filled = LabelKind.FILLED, fill_gaps(label, seen, self._min_confidence)
            licences = self._of_network
        actions, parents = self._given.recorded_actions(task.label), task.label.actions
        self.write(task, number, filled.label, kind, parents, filled.confidence, actions, licences=licences)
