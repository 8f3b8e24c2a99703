"""Base of the data modules: loaders, resuming, the place among processes, batches."""

from __future__ import annotations

import gc
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, default_collate

from thriftseg.datamodules.sampling import EpochSampler, OrderedSampler, seeded_generator
from thriftseg.datasets import VideoDataset, VOSDataset
from thriftseg.errors import ConfigError
from thriftseg.taxonomies import Taxonomy
from thriftseg.workers import keep_freed_memory


class LateLoader(DataLoader[Any]):
    """Draws and loads from the first batch that is asked for.

    The trainer makes the iterator of a resumed run before it has restored where that run was; workers would begin with
    the first batches of the first epoch.
    """

    def __iter__(self) -> Any:
        """Batches in order."""
        yield from super().__iter__()


class VideoDataModule(LightningDataModule):
    """Loaders whose order and randomness come from samplers alone.

    Args:
        batch_size: Training samples per batch and process.
        num_workers: Worker processes per loader; 0 loads in the main process.
        seed: Non-negative seed; by default that of `seed_everything`, else 0.

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(self, batch_size: int, num_workers: int, seed: int | None) -> None:
        super().__init__()
        if seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", 0))  # where Lightning's seed_everything leaves it
        check_counts(batch_size=(batch_size, 1), num_workers=(num_workers, 0), seed=(seed, 0))
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    def _loader(
        self, frames: Any, sampler: Any, batch_size: int, collate_fn: Callable[[list[Any]], Any] | None = None
    ) -> DataLoader[Any]:
        on_cuda = self.trainer.strategy.root_device.type == "cuda" if self.trainer else torch.cuda.is_available()
        return LateLoader(
            frames,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=collate_fn or collate,
            pin_memory=on_cuda,
            worker_init_fn=start_worker,
            persistent_workers=self.num_workers > 0,
            generator=seeded_generator(self.seed),
        )

    def _place(self) -> tuple[int, int]:
        """Rank of this process and number of processes."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _training_loader(
        self, items: Any, collate_fn: Callable[[list[Any]], Any] | None = None, **settings: Any
    ) -> DataLoader[Any]:
        """Shuffled batches of this rank, from where an interrupted run stopped.

        Args:
            items: The training data; `None` before `setup`.
            collate_fn: Makes a batch of items.
            settings: Further arguments of `EpochSampler`.
        """
        if items is None:
            raise ConfigError("no training data", fix='call setup("fit") first')
        rank, world_size = self._place()
        settings |= {"rank": rank, "world_size": world_size, "begun": self._begun}
        sampler = EpochSampler(len(items), self.batch_size, seed=self.seed, **settings)
        return self._loader(items, sampler, self.batch_size, collate_fn)

    def _begun(self) -> tuple[int, int]:
        """The epoch that the trainer is in, and its batches that each process has had."""
        if self.trainer is None:
            return 0, 0
        loop: Any = self.trainer.fit_loop
        return loop.epoch_progress.current.processed, loop.epoch_loop.batch_progress.current.ready

    def _batches_per_epoch(self, sampler: EpochSampler) -> int:
        """Training batches of each process in an epoch, as far as the Trainer wants them."""
        batches = len(sampler) // self.batch_size
        limit = self.trainer.limit_train_batches if self.trainer else None
        return min(limit, batches) if isinstance(limit, int) else int(batches * (limit or 1.0))

    @rank_zero_only
    def _announce(self, text: object) -> None:
        print(text)


class SplitDataModule(VideoDataModule, ABC):
    """A data module that trains on one split of a data set and is scored on others.

    Args:
        batch_size: Training samples per batch and process.
        num_workers: Worker processes per loader; 0 loads in the main process.
        seed: Non-negative seed; by default that of `seed_everything`, else 0.
        splits: Splits to train on, to validate on and to test on.

    Attributes:
        dataset: Reader of the splits.
        eval_batch_size: Items per evaluation batch; `None` hands over single items, which never leave this process.
    """

    dataset: VideoDataset | VOSDataset
    eval_batch_size: int | None = 1

    def __init__(self, batch_size: int, num_workers: int, seed: int | None, splits: tuple[str, str, str]) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.train_split, self.val_split, self.test_split = splits
        self._evaluated: dict[str, Any] = {}

    @abstractmethod
    def _setup_training(self) -> None:
        """List what is trained on."""

    @abstractmethod
    def _evaluation(self, split: str, needs_truth: bool) -> Any:
        """This rank's part of a split, in order.

        Args:
            split: Name of the split.
            needs_truth: Whether everything in it must be scored.
        """

    def setup(self, stage: str | None = None) -> None:
        """List what a stage trains on or scores.

        Args:
            stage: fit, validate, test or predict; `None` for all.

        Raises:
            DatasetError: A split is empty or holds no labels, or files are missing.
            MixtureError: A mixture asks for labels that do not exist.
            ConfigError: The labels of a split are not public, or a setting does not fit the data.
        """
        if stage != "predict":
            self._announce(self.dataset.describe_root())
        if stage in ("fit", None):
            self._setup_training()
        if stage in ("fit", "validate", None):
            self._evaluated["val"] = self._evaluation(self.val_split, needs_truth=True)
        if stage in ("test", None):
            self._evaluated["test"] = self._evaluation(self.test_split, needs_truth=False)

    def val_dataloader(self) -> DataLoader[Any]:
        """This rank's part of the validation split, in order."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Any]:
        """This rank's part of the test split, in order."""
        return self._evaluation_loader("test")

    def _evaluation_loader(self, name: str) -> DataLoader[Any]:
        if name not in self._evaluated:
            raise ConfigError(f"no {name} videos", fix="call setup for this stage first")
        items = self._evaluated[name]
        sampler = OrderedSampler(len(items))
        if self.eval_batch_size is None:
            return LateLoader(items, batch_size=None, sampler=sampler, generator=seeded_generator(self.seed))
        return self._loader(items, sampler, self.eval_batch_size)


class ClassesDataModule(VideoDataModule):
    """A data module of labels of classes.

    Attributes:
        dataset: Reader of the videos.
        past_frames: Frames before the one to segment; by default as many as the network of the trainer's module takes.
    """

    dataset: VideoDataset
    past_frames: int | None

    @property
    def taxonomy(self) -> Taxonomy:
        """Class table of the data set; needs no `setup`."""
        return self.dataset.taxonomy

    @property
    def num_classes(self) -> int:
        """Number of classes; needs no `setup`."""
        return self.taxonomy.num_classes

    @property
    def class_names(self) -> list[str]:
        """Class names by train id; needs no `setup`."""
        return list(self.taxonomy.class_names)

    def _past_frames(self) -> int:
        if self.past_frames is not None:
            return self.past_frames
        network = getattr(self.trainer.lightning_module, "network", None) if self.trainer else None
        return int(getattr(network, "past_frames", 0))


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack items into a batch: tensors of images, arrays of numbers, lists of text or lists.

    Every tensor that leaves a worker costs a shared memory file, so numbers travel as arrays inside the message.

    Raises:
        ConfigError: The items differ in size.
    """
    sizes = {tuple(item["frames"].shape[-2:]) for item in items}
    if len(sizes) > 1:
        raise ConfigError(
            "frames of one evaluation batch differ in size",
            found=", ".join(f"{height}x{width}" for height, width in sorted(sizes)),
            fix="set eval_size, or eval_batch_size to 1",
        )
    batch: dict[str, Any] = {}
    for key, first in items[0].items():
        values = [item[key] for item in items]
        if isinstance(first, Tensor):
            batch[key] = default_collate(values)
        else:
            batch[key] = values if isinstance(first, str | list) else np.array(values)
    return batch


def shown_mask(shown: Tensor, crop: torch.Size) -> Tensor:
    """True inside the upper left (height, width) = `shown` (B, 2) of each crop, (B, H, W)."""
    rows, columns = (torch.arange(size, device=shown.device) for size in crop)
    return (rows < shown[:, :1])[:, :, None] & (columns < shown[:, 1:])[:, None, :]


def start_worker(worker_id: int) -> None:
    """Keep a worker to one core, since threads of OpenCV would fight over them, and to memory of its own.

    The collector would write to every object of the parent, and so copy the memory that they lie in.
    """
    gc.freeze()
    cv2.setNumThreads(0)
    keep_freed_memory()


def check_counts(**limits: tuple[int, int]) -> None:
    """Raise a `ConfigError` where a setting, given as (value, least), is below its least value."""
    for name, (value, least) in limits.items():
        if value < least:
            raise ConfigError(f"{name} must be at least {least}", found=value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a `ConfigError` where a setting is none of its choices."""
    if value not in choices:
        raise ConfigError(f"no such choice of {name}", expected=", ".join(choices), found=repr(value))
