"""The data module of semantic segmentation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from thriftseg.costs import AnnotationCost
from thriftseg.datamodules.base import ClassesDataModule, SplitDataModule, check_choice, check_counts, shown_mask
from thriftseg.datamodules.evaluation import StreamFrames, build_stream, shard_stream
from thriftseg.datamodules.mixing.mixture import Mixture
from thriftseg.datamodules.mixing.mixture_list import MixtureList
from thriftseg.datamodules.neighbours import NeighbourPolicy
from thriftseg.datamodules.photometric import PhotometricConfig
from thriftseg.datamodules.reading import ClipDecoder
from thriftseg.datamodules.training import TrainingFrames
from thriftseg.datamodules.transforms import RandomScaleCrop
from thriftseg.datasets import VideoDataset, probe_size
from thriftseg.errors import DatasetError
from thriftseg.flow import DIS, FlowEstimator, FlowStore
from thriftseg.stores import MANUAL, LabelSource
from thriftseg.types import LabelKind


class SemanticDataModule(ClassesDataModule, SplitDataModule):
    """Training batches from a mixture of label sources, evaluation streams in playing order.

    Training yields `types.SemanticBatch`, validation and test yield `types.StreamBatch`. Loaders yield uint8;
    `on_after_batch_transfer`, which the Trainer calls, makes them float and changes colours. A loop without a Trainer
    calls it itself.

    What is drawn depends on the seed, the epoch and the place in the epoch alone: neither the number of workers nor
    the number of processes nor an interruption changes a batch.

    Args:
        dataset: Reader of the data set.
        mixture: Label sources to train on; by default every manual label.
        crop: Height and width of training crops.
        past_frames: Frames before the one to segment, in training and evaluation; by default as many as the network of
            the trainer's module takes.
        resize: Working height and width of training and evaluation; `None` keeps that of the files.
        scale: Range of the random scale, relative to the working size.
        flip: Mirror every second training sample.
        photometric: Colour changes in training; `True` for the default strength.
        neighbours: Unlabelled frames to add to training samples.
        neighbour_flow: Add the optical flow from the frame to segment to its neighbours, by `flow` and `flow_cache`.
        neighbour_check: Add where that flow agrees with the flow back, which is estimated too.
        source_ratios: Share of each source among the training draws; by default every sample is drawn once an epoch.
        batch_size: Training samples per batch and process.
        eval_batch_size: Consecutive frames per evaluation batch.
        eval_size: Height and width to evaluate at, if not the working size. Labels are resized along.
        eval_labels: Label source to validate and test by: the labels of the data set, or a source of label maps in the
            store of the mixture, such as what people drew.
        tc: Which pairs of adjacent frames are evaluated for temporal consistency: those that end at a labelled frame,
            all, or none.
        flow: Estimator of the optical flow between evaluated pairs and to neighbours, by default DIS of the medium
            preset. It runs in the workers, on the CPU.
        flow_cache: Folder that keeps that flow between epochs and runs (see `FlowStore`). It takes about 1 MB per
            pair at 480p.
        num_workers: Worker processes per loader; 0 loads in the main process.
        cache: "ram" decodes every needed frame once, at set-up, and shares the arrays with forked workers.
        seed: Non-negative seed of order, augmentation and neighbours; by default that of `seed_everything`, else 0.
        train_split: Split to train on.
        val_split: Split to validate on.
        test_split: Split to test on.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import Folder, write_label_png
        >>> with tempfile.TemporaryDirectory() as root:
        ...     size = Path(root, "classes.yaml").write_text("classes: [{name: road}, {name: car}]")
        ...     for clip in ("train/drive", "val/street"):
        ...         for name in ("frames/7.png", "frames/8.png", "labels/8.png"):
        ...             write_label_png(Path(root, clip, name), np.ones((16, 24), np.uint8))
        ...     data = SemanticDataModule(
        ...         Folder(root), crop=(8, 8), past_frames=1, photometric=False, batch_size=1, num_workers=0
        ...     )
        ...     data.setup("fit")
        ...     batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())))
        folder: reading ... (from --root)
        ...
        >>> batch["id"], batch["frames"].shape, batch["label"].unique().tolist(), data.annotation_cost.masks
        (['drive/000008'], torch.Size([1, 2, 3, 8, 8]), [1], 1)
    """

    dataset: VideoDataset

    def __init__(
        self,
        dataset: VideoDataset,
        mixture: Mixture | None = None,
        *,
        crop: tuple[int, int],
        past_frames: int | None = None,
        resize: tuple[int, int] | None = None,
        scale: tuple[float, float] = (0.5, 2.0),
        flip: bool = True,
        photometric: PhotometricConfig | bool = True,
        neighbours: NeighbourPolicy | None = None,
        neighbour_flow: bool = False,
        neighbour_check: bool = False,
        source_ratios: dict[str, float] | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 1,
        eval_size: tuple[int, int] | None = None,
        eval_labels: str = MANUAL,
        tc: Literal["labelled", "all", "off"] = "labelled",
        flow: FlowEstimator | None = None,
        flow_cache: Path | None = None,
        num_workers: int = 2,
        cache: Literal["none", "ram"] = "none",
        seed: int | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "test",
    ) -> None:
        super().__init__(batch_size, num_workers, seed, (train_split, val_split, test_split))
        check_counts(eval_batch_size=(eval_batch_size, 1), past_frames=(past_frames or 0, 0))
        check_choice("cache", cache, ("none", "ram"))
        check_choice("tc", tc, ("labelled", "all", "off"))
        self.dataset = dataset
        self.mixture = mixture if mixture is not None else Mixture()
        self.transform = RandomScaleCrop(tuple(crop), tuple(scale), flip, tuple(resize) if resize else None)  # type: ignore[arg-type]
        self.past_frames = past_frames
        self.photometric = PhotometricConfig() if photometric is True else photometric or None
        self.neighbours, self.neighbour_flow = neighbours, neighbour_flow or neighbour_check
        self.neighbour_check = neighbour_check
        self.source_ratios = source_ratios
        self.eval_batch_size = eval_batch_size
        self.eval_size = tuple(eval_size) if eval_size else self.transform.resize
        self.eval_labels = eval_labels
        self.tc = tc
        self.flow = FlowStore(flow_cache, flow or DIS())
        self.cache = cache
        self.mixture_list: MixtureList | None = None
        self._reader = ClipDecoder(dataset)
        self._train: TrainingFrames | None = None

    @property
    def annotation_cost(self) -> AnnotationCost | None:
        """Cost of the labels of the training list; `None` until `setup("fit")` draws that list."""
        return self.mixture_list.cost() if self.mixture_list is not None else None

    @property
    def label_kinds(self) -> frozenset[LabelKind]:
        """Kinds of the labels in the training list; empty until `setup("fit")` draws that list."""
        return frozenset(sample.kind for sample in self.mixture_list.samples) if self.mixture_list else frozenset()

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled training batches of this rank."""
        sources = [sample.source for sample in self.mixture_list.samples] if self.mixture_list is not None else None
        return self._training_loader(self._train, sources=sources, ratios=self.source_ratios)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Make a loaded batch float, and change the colours of a training batch.

        Args:
            batch: Batch of a loader of this module; anything else passes through.
            dataloader_idx: Unused; every loader yields batches that say what they need.

        Returns:
            A new batch: frames in [0, 1], int64 labels, float32 flow; in training also `valid`, and `frames_raw` (and
            `neighbours_raw`), the frames before colour changes.
        """
        if not isinstance(batch, dict) or "frames" not in batch or batch["frames"].dtype != torch.uint8:
            return batch
        device = batch["frames"].device
        numbers = {key: torch.from_numpy(value) for key, value in batch.items() if isinstance(value, np.ndarray)}
        batch = batch | {key: value.to(device) for key, value in numbers.items()}
        factors = batch.pop("photometric", None)
        batch["label"] = batch["label"].long()
        if "flow" in batch:
            batch["flow_backward"], batch["flow_forward"] = batch.pop("flow").float().unbind(1)
        images = [key for key in ("frames", "neighbours", "neighbour_past") if key in batch]
        for key in images:
            batch[key] = batch[key].float().div_(255)
        if "shown" in batch:
            batch["valid"] = shown_mask(batch.pop("shown"), batch["label"].shape[1:])
            batch |= {f"{key}_raw": batch[key] for key in images if key != "neighbour_past"}
        if factors is not None and self.photometric is not None:
            shapes = [batch[key].shape[1:-3] for key in images]
            flat = torch.cat([batch[key].flatten(1, -4) for key in images], dim=1)
            changed = self.photometric.apply(flat, factors).split([math.prod(shape) for shape in shapes], dim=1)
            batch |= {key: part.unflatten(1, shape) for key, part, shape in zip(images, changed, shapes, strict=True)}
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Class table, mixture table and cost of the training labels, in plain types and without paths."""
        if self.mixture_list is None:
            return {}
        return {
            "taxonomy": {"name": self.taxonomy.name, "version": self.taxonomy.version, "classes": self.class_names},
            "mixture": self.mixture_list.state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Warn when training goes on with other labels than it began with.

        Args:
            state_dict: What `state_dict` returned when the checkpoint was written.
        """
        current = self.state_dict()
        if current and any(state_dict.get(key) != current[key] for key in ("taxonomy", "mixture")):
            rank_zero_warn("The training labels differ from those this checkpoint was trained on.")

    def _setup_training(self) -> None:
        self.mixture_list = self.mixture.draw(self.dataset, self.train_split)
        samples = self.mixture_list.samples
        if not samples:
            raise DatasetError(
                f"the mixture draws nothing from split {self.train_split!r}",
                path=self.dataset.root,
                fix="choose a split with labels or another mixture",
            )
        self.transform.check(*probe_size(samples[0].clip.frames[samples[0].number]))
        if self.neighbours is not None:
            self.neighbours.check(samples)
        self._train = TrainingFrames(
            self._reader,
            samples,
            self.transform,
            past_frames=self._past_frames(),
            photometric=self.photometric,
            neighbours=self.neighbours,
            flow=self.flow if self.neighbour_flow else None,
            check_flow=self.neighbour_check,
            seed=self.seed,
        )
        if self.cache == "ram":
            self._reader.preload(self._train.needed_frames(), samples, max(1, self.num_workers))
        self._announce(self.mixture_list)

    def _evaluation(self, split: str, needs_truth: bool) -> StreamFrames:
        labels = LabelSource(self.dataset, self.mixture.store_root(self.dataset), self.eval_labels)
        items = build_stream(labels.in_place_of_given(self.dataset.clips(split)), self.tc, self.eval_labels)
        if not any(item.scored for item in items):
            raise DatasetError(
                f"no labelled frame in split {split!r} of {self.dataset.name}",
                path=labels.folder,
                fix="evaluate on a split with public labels, or name those of the label store as eval_labels",
            )
        stream = StreamFrames(
            self._reader,
            shard_stream(items, *self._place()),
            past_frames=self._past_frames(),
            size=self.eval_size,  # type: ignore[arg-type]
            flow=self.flow,
        )
        if self.cache == "ram":
            self._reader.preload(stream.needed_frames(), stream.labelled_samples(), max(1, self.num_workers))
        return stream
