"""The data module of networks that turn boxes into masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from thriftseg.arrays import UInt8Array
from thriftseg.datamodules.base import SplitDataModule, check_counts
from thriftseg.datamodules.sampling import Draw
from thriftseg.datasets import CROP, MARGIN, BoxAugmentation, BoxSample, VOSClip, VOSDataset, shard
from thriftseg.errors import DatasetError
from thriftseg.types import IGNORE_INDEX

_TRIES = 100


class BoxInstance(NamedTuple):
    """An object in a frame.

    Attributes:
        clip: The video or image.
        number: Native frame number.
        object_id: Id of the object.
    """

    clip: VOSClip
    number: int
    object_id: int

    @property
    def id(self) -> str:
        """`video/number/object`."""
        return f"{self.clip.video}/{self.number:06d}/{self.object_id}"


class BoxDataModule(SplitDataModule):
    """Single objects with their boxes and surroundings, from COCO or the masks of any videos.

    Yields `types.BoxBatch`. Loaders yield uint8; `on_after_batch_transfer`, which the Trainer calls, makes frames
    float. An object that is too small, or absent from a frame of its video, is replaced by another one in training
    and not scored in evaluation, where boxes are exact and nothing is varied. What is drawn depends on the seed, the
    epoch and the place in the epoch alone.

    Args:
        dataset: Reader of the masks.
        crop: Height and width that the network sees.
        margin: Pixels shown on each side of a box.
        jitter: Shift of the sides of boxes in training, see `BoxAugmentation`.
        flip: Probability of mirroring in training.
        gamma: Strength of the gamma changes in training.
        min_size: Least pixels of an object.
        batch_size: Objects per batch and process.
        num_workers: Worker processes per loader; 0 loads in the main process.
        seed: Non-negative seed; by default that of `seed_everything`, else 0.
        train_split: Split to train on.
        val_split: Split to validate on.
        test_split: Split to test on.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import DAVIS
        >>> from thriftseg.synthetic import synthesize_objects
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthesize_objects(root, train_clips=1, val_clips=1, frames=2, height=48, width=64, devices=1)
        ...     boxes = BoxDataModule(DAVIS(root), crop=(33, 33), min_size=20, batch_size=2, num_workers=0)
        ...     boxes.setup("fit")
        ...     batch = boxes.on_after_batch_transfer(next(iter(boxes.val_dataloader())))
        davis: reading ... (from --root)
        >>> batch["id"], batch["frames"].shape, bool((batch["boxes"][batch["target"] == 1] == 1).all())
        (['scene-val-000/000000/1', 'scene-val-000/000001/1'], torch.Size([2, 3, 33, 33]), True)
    """

    dataset: VOSDataset

    def __init__(
        self,
        dataset: VOSDataset,
        *,
        crop: tuple[int, int] = CROP,
        margin: int = MARGIN,
        jitter: float = 0.05,
        flip: float = 0.5,
        gamma: float = 0.1,
        min_size: int = 100,
        batch_size: int = 4,
        num_workers: int = 2,
        seed: int | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "val",
    ) -> None:
        super().__init__(batch_size, num_workers, seed, (train_split, val_split, test_split))
        check_counts(min_size=(min_size, 1))
        size = (crop[0], crop[1])
        self.dataset, self.min_size = dataset, min_size
        self.augmentation = BoxAugmentation(size, margin, jitter, flip, gamma)
        self.exact = BoxAugmentation(size, margin, jitter=0.0, flip=0.0, gamma=0.0)
        self.eval_batch_size = batch_size
        self._train: TrainingBoxes | None = None

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled training batches of this rank."""
        return self._training_loader(self._train)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Make a loaded batch float.

        Args:
            batch: Batch of a loader of this module; anything else passes through.
            dataloader_idx: Unused.
        """
        if not isinstance(batch, dict) or "boxes" not in batch or batch["frames"].dtype != torch.uint8:
            return batch
        return batch | {
            "frames": batch["frames"].float().div_(255),
            "target": batch["target"].long(),
            "weight": torch.from_numpy(batch["weight"]).to(batch["frames"].device),
        }

    def _setup_training(self) -> None:
        instances = list_instances(self.dataset, self.train_split)
        self._train = TrainingBoxes(self.dataset, instances, self.augmentation, self.min_size, self.seed)

    def _evaluation(self, split: str, needs_truth: bool) -> ScoredBoxes:
        instances = shard(list_instances(self.dataset, split), *self._place())
        return ScoredBoxes(self.dataset, instances, self.exact, self.min_size)


class TrainingBoxes(Dataset[dict[str, Any]]):
    """Varied examples; everything random depends on (seed, epoch, position) alone.

    Args:
        dataset: Reader of the masks.
        instances: Objects to draw from.
        augmentation: How examples are varied.
        min_size: Least pixels of an object.
        seed: Non-negative seed.
    """

    def __init__(
        self,
        dataset: VOSDataset,
        instances: Sequence[BoxInstance],
        augmentation: BoxAugmentation,
        min_size: int,
        seed: int = 0,
    ) -> None:
        self.dataset, self.instances, self.augmentation = dataset, instances, augmentation
        self.min_size, self.seed = min_size, seed

    def __len__(self) -> int:
        return len(self.instances)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        """Item of a batch.

        Args:
            draw: What the sampler drew; a plain index stands for epoch 0.

        Raises:
            DatasetError: No object is large enough, or a file cannot be read.
        """
        epoch, position, index = draw if isinstance(draw, Draw) else Draw(0, draw, draw)
        rng = np.random.default_rng((self.seed, epoch, position))
        for _ in range(_TRIES):
            instance = self.instances[index]
            mask = self.dataset.read_object_mask(*instance)
            if np.count_nonzero(mask == 1) >= self.min_size:
                frame = self.dataset.read_frame(instance.clip, instance.number)
                return _item(self.augmentation.draw(frame, mask, rng), instance)
            index = int(rng.integers(len(self.instances)))
        raise DatasetError(
            f"{_TRIES} objects drawn at random are all smaller than {self.min_size} pixels",
            path=self.dataset.root,
            fix="set a smaller min_size",
        )


class ScoredBoxes(Dataset[dict[str, Any]]):
    """Every object once, as it is; those that are too small are blank.

    Args:
        dataset: Reader of the masks.
        instances: The objects.
        exact: Crop and margin, without variation.
        min_size: Least pixels of an object.
    """

    def __init__(
        self, dataset: VOSDataset, instances: Sequence[BoxInstance], exact: BoxAugmentation, min_size: int
    ) -> None:
        self.dataset, self.instances, self.exact, self.min_size = dataset, instances, exact, min_size

    def __len__(self) -> int:
        return max(1, len(self.instances))  # a rank without objects keeps step with the others

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Item of a batch."""
        instance = self.instances[index] if self.instances else None
        if instance is not None:
            mask = self.dataset.read_object_mask(*instance)
            if np.count_nonzero(mask == 1) >= self.min_size:
                frame = self.dataset.read_frame(instance.clip, instance.number)
                return _item(self.exact.draw(frame, mask, np.random.default_rng(0)), instance)
        black: UInt8Array = np.zeros(self.exact.crop, np.uint8)
        return _item(BoxSample(np.dstack([black] * 3), black, np.full_like(black, IGNORE_INDEX)), instance)


def list_instances(dataset: VOSDataset, split: str) -> list[BoxInstance]:
    """Every object in every frame of a split that has a mask and may show it.

    Raises:
        DatasetError: The split is empty or has no objects.
    """
    found = [
        BoxInstance(clip, number, item.id)
        for clip in dataset.clips(split)
        for item in dataset.objects(clip)
        for number in (item.frames or clip.annotated)
        if number in clip.labels
    ]
    if not found:
        raise DatasetError(f"split {split!r} of {dataset.name} has no masks of objects", path=dataset.root)
    return found


def _item(sample: BoxSample, instance: BoxInstance | None) -> dict[str, Any]:
    return {
        "frames": torch.from_numpy(np.ascontiguousarray(sample.frame.transpose(2, 0, 1))),
        "boxes": torch.from_numpy(sample.box),
        "target": torch.from_numpy(sample.target),
        "weight": np.float32(1),
        "id": instance.id if instance is not None else "",
    }
