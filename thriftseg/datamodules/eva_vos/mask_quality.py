"""The data module of networks that judge the masks of objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from thriftseg.datamodules.base import VideoDataModule
from thriftseg.datamodules.eva_vos.video_split import split_by_video
from thriftseg.datamodules.sampling import Draw, OrderedSampler
from thriftseg.datasets import shard
from thriftseg.errors import ConfigError
from thriftseg.metrics import quality_bins
from thriftseg.stores import MASK_SIZE, QualitySample, QualitySet


class MaskQualityDataModule(VideoDataModule):
    """Frames with the mask of an object and its quality, at 224 x 224, from a quality set.

    Yields `types.QualityBatch`. Loaders yield uint8; `on_after_batch_transfer`, which the Trainer calls, makes frames
    float. Training and validation share no video.

    Args:
        quality_set: Folder of the set, see `thriftseg.stores.quality_set`.
        frames_root: Folder of the data set that it was made from; its environment variable by default.
        held_out: Share of the videos to validate on, chosen by a fixed rule.
        val_list: File with the names of the videos to validate on instead, one a line.
        balanced: Draw from each of 20 quality bins that occurs equally often; otherwise every mask once an epoch.
        batch_size: Masks per batch and process.
        num_workers: Worker processes per loader; 0 loads in the main process.
        seed: Non-negative seed; by default that of `seed_everything`, else 0.

    Raises:
        ConfigError: A setting is out of range.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import write_label_png
        >>> from thriftseg.stores import RatedMask, RoundKey
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     rated, val_list = QualitySet.create(Path(folder, "set"), "davis", folder), Path(folder, "val.txt")
        ...     for video, quality in (("bear", 0.25), ("goat", 0.75)):
        ...         frame, mask = Path(folder, video, "00000.png"), np.ones((48, 80), np.uint8)
        ...         write_label_png(frame, mask)
        ...         rated.write_round(RoundKey(video, 1, 0), [RatedMask(0, frame, mask, quality)])
        ...     size = val_list.write_text("goat")
        ...     masks = MaskQualityDataModule(rated.root, frames_root=Path(folder), val_list=val_list, num_workers=0)
        ...     masks.setup()
        ...     [batch] = masks.val_dataloader()
        quality set ...: frames from ...
          train: 1 masks of 1 videos; val: 1 masks of 1 videos
        >>> batch["id"], batch["quality"].tolist(), batch["masks"].shape
        (['goat/001/00/000000'], [0.75], torch.Size([1, 224, 224]))
    """

    def __init__(
        self,
        quality_set: Path,
        *,
        frames_root: Path | None = None,
        held_out: float = 0.15,
        val_list: Path | None = None,
        balanced: bool = False,
        batch_size: int = 64,
        num_workers: int = 2,
        seed: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.quality_set = QualitySet(quality_set, frames_root)
        self.held_out, self.val_list, self.balanced = held_out, val_list, balanced
        self._train: RatedMasks | None = None
        self._val: RatedMasks | None = None

    def setup(self, stage: str | None = None) -> None:
        """List the masks of both splits.

        Args:
            stage: fit, validate, test or predict; all the same.

        Raises:
            DatasetError: The set is missing, empty or damaged.
            ConfigError: A split is empty.
        """
        train, val, summary = split_by_video(self.quality_set.samples(), self.held_out, self.val_list, "masks")
        self._train = RatedMasks(self.quality_set, train)
        self._val = RatedMasks(self.quality_set, shard(val, *self._place()))
        self._announce(f"quality set {self.quality_set.root}: frames from {self.quality_set.frames_root}\n  {summary}")

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled training batches of this rank."""
        if not self.balanced or self._train is None:
            return self._training_loader(self._train)
        qualities = torch.tensor([sample.quality for sample in self._train.samples], dtype=torch.float64)
        sources = [f"{number:02d}" for number in quality_bins(qualities).tolist()]
        return self._training_loader(self._train, sources=sources, ratios=dict.fromkeys(sources, 1.0))

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """This rank's part of the validation masks."""
        if self._val is None:
            raise ConfigError("no validation masks", fix="call setup first")
        return self._loader(self._val, OrderedSampler(len(self._val)), self.batch_size)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Make a loaded batch float.

        Args:
            batch: Batch of a loader of this module; anything else passes through.
            dataloader_idx: Unused.
        """
        if not isinstance(batch, dict) or "quality" not in batch or batch["frames"].dtype != torch.uint8:
            return batch
        return batch | {
            "frames": batch["frames"].float().div_(255),
            "quality": torch.from_numpy(batch["quality"]).to(batch["frames"].device),
        }


class RatedMasks(Dataset[dict[str, Any]]):
    """Stored masks with their quality; a blank item stands for an empty list and keeps processes in step.

    Args:
        quality_set: The set that holds them.
        samples: The masks.
    """

    def __init__(self, quality_set: QualitySet, samples: Sequence[QualitySample]) -> None:
        self.quality_set, self.samples = quality_set, samples

    def __len__(self) -> int:
        return max(1, len(self.samples))

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        """Item of a batch.

        Args:
            draw: What the sampler drew, or an index.

        Raises:
            DatasetError: A file is missing or unreadable.
        """
        if not self.samples:
            black = np.zeros(MASK_SIZE, np.uint8)
            return _item(np.dstack([black] * 3), black, float("nan"), "")
        sample = self.samples[draw.sample if isinstance(draw, Draw) else draw]
        return _item(*self.quality_set.read(sample), sample.quality, sample.id)


def _item(frame: Any, mask: Any, quality: float, name: str) -> dict[str, Any]:
    return {
        "frames": torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))),
        "masks": torch.from_numpy(mask),
        "quality": np.float32(quality),
        "id": name,
    }
