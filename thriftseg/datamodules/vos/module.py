"""The data module of video object segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from thriftseg.costs import AnnotationCost
from thriftseg.datamodules.base import SplitDataModule, check_counts, shown_mask
from thriftseg.datamodules.photometric import PhotometricConfig
from thriftseg.datamodules.vos.clips import PseudoClips, ShorterSideCrop, TrainingClips, VideoClips
from thriftseg.datamodules.vos.curriculum import CurriculumSampler, GapCurriculum
from thriftseg.datamodules.vos.labels import MaskedVideo, MaskPart, licences_of, masked_videos, recorded_cost
from thriftseg.datamodules.vos.pseudo_clips import WarpConfig
from thriftseg.datamodules.vos.streams import VideoStream, VideoStreams
from thriftseg.datasets import VOSDataset
from thriftseg.errors import ConfigError
from thriftseg.metrics import VOSProtocol
from thriftseg.stores import MANUAL, MaskSource, store_root

VIDEO, STATIC = "video", "static"


class VOSDataModule(SplitDataModule):
    """Short training clips with masks of objects, and whole videos for evaluation.

    Training yields `types.VOSBatch`, validation and test yield one `types.VOSVideo` per batch, whose frames are read
    when the network asks for them. Loaders yield uint8; `on_after_batch_transfer`, which the Trainer calls, makes
    training batches float and changes colours.

    The objects of a training clip are those that its first frame shows; see `TrainingClips` for the rule. What is
    drawn depends on the seed, the epoch and the place in the epoch alone: neither the number of workers nor the number
    of processes nor an interruption changes a batch. An epoch draws every video `clips_per_video` times.

    Args:
        dataset: Reader of the videos.
        crop: Height and width of training crops.
        labels: "manual" to train on the masks of the data set, else a source of the label store, or parts of several
            sources. Evaluation always uses the masks of the data set.
        store: Folder of the label store, by default `labels/<dataset>`.
        resize: Shorter side of training frames, of which crops are taken; `None` keeps the size of the files.
        scale: Range of the random scale, relative to that.
        frames: Frames of a training clip.
        gap: How many frames of the video may lie between two frames of a clip; by default 0, growing to 25.
        max_objects: Largest number of objects of a clip.
        min_share: Smallest share of the crop that an object of a clip covers in its first frame; smaller ones are
            background. By default a pixel will do.
        clips_per_video: Clips drawn of every video in an epoch.
        static: Reader of images with masks, or of videos, to make pseudo clips of single images.
        static_split: Split of `static` to read.
        static_share: Share of pseudo clips among the draws where there is `static`; 1 trains on these alone.
        warps: Strength of the warps between the frames of a pseudo clip.
        flip: Mirror every second clip.
        photometric: Colour changes in training; `True` for the default strength.
        batch_size: Clips per batch and process.
        eval_resize: Shorter side of the frames that the network sees in evaluation; `None` keeps that of the files.
            Scores are taken at the size of the files.
        num_workers: Worker processes that load training clips; 0 loads in the main process.
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
        ...     _ = synthesize_objects(root, train_clips=1, val_clips=1, frames=3, height=48, width=64, devices=1)
        ...     clips = VOSDataModule(
        ...         DAVIS(root), crop=(32, 48), frames=2, photometric=False, batch_size=1, num_workers=0
        ...     )
        ...     clips.setup("fit")
        ...     batch = clips.on_after_batch_transfer(next(iter(clips.train_dataloader())))
        davis: reading ... (from --root)
        ...
        >>> batch["frames"].shape, batch["num_objects"].tolist() == [len(batch["object_ids"][0])]
        (torch.Size([1, 2, 3, 32, 48]), True)
    """

    dataset: VOSDataset
    eval_batch_size = None

    def __init__(
        self,
        dataset: VOSDataset,
        *,
        crop: tuple[int, int],
        labels: str | list[MaskPart] = MANUAL,
        store: Path | None = None,
        resize: int | None = None,
        scale: tuple[float, float] = (1.0, 1.0),
        frames: int = 3,
        gap: GapCurriculum | None = None,
        max_objects: int = 5,
        min_share: float = 0.0,
        clips_per_video: int = 1,
        static: VOSDataset | None = None,
        static_split: str = "train",
        static_share: float = 1.0,
        warps: WarpConfig | None = None,
        flip: bool = True,
        photometric: PhotometricConfig | bool = True,
        batch_size: int = 4,
        eval_resize: int | None = None,
        num_workers: int = 2,
        seed: int | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str = "val",
    ) -> None:
        super().__init__(batch_size, num_workers, seed, (train_split, val_split, test_split))
        check_counts(frames=(frames, 2), max_objects=(max_objects, 1), clips_per_video=(clips_per_video, 1))
        for name, share in (("static_share", static_share), ("min_share", min_share)):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is out of range", expected="0 to 1", found=share)
        self.dataset, self.static = dataset, static
        self.crop = ShorterSideCrop((crop[0], crop[1]), resize, (scale[0], scale[1]), flip)
        self.frames, self.clips_per_video = frames, clips_per_video
        self.max_objects, self.min_share = max_objects, min_share
        self.gap, self.warps = gap or GapCurriculum(), warps or WarpConfig()
        self.static_split, self.static_share = static_split, static_share if static is not None else 0.0
        self.photometric = PhotometricConfig() if photometric is True else photometric or None
        self.eval_resize = eval_resize
        self.parts = [MaskPart(labels)] if isinstance(labels, str) else labels
        self.store = store_root(store, dataset.name)
        self._train: TrainingClips | None = None
        self._sources: list[str] = []
        self._cost: AnnotationCost | None = None
        self._licences: set[str] = set()

    @property
    def protocol(self) -> VOSProtocol:
        """Rules by which predictions are scored; needs no `setup`."""
        return self.dataset.protocol

    @property
    def annotation_cost(self) -> AnnotationCost | None:
        """Cost of the masks; `None` where that of some, as of masks of the data set, is unknown, and until `setup`."""
        return self._cost

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled training batches of this rank."""
        if self._train is None:
            raise ConfigError("no training clips", fix='call setup("fit") first')
        rank, world_size = self._place()
        shares = {VIDEO: 1 - self.static_share, STATIC: self.static_share}
        sampler = CurriculumSampler(
            len(self._train),
            self.batch_size,
            self.gap,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            begun=self._begun,
            sources=self._sources,
            ratios=shares if len(set(self._sources)) > 1 else None,
        )
        sampler.batches = self._batches_per_epoch(sampler)
        return self._loader(self._train, sampler, self.batch_size)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Make a loaded training batch float, and change its colours.

        Args:
            batch: Batch of a loader of this module; anything but a loaded training batch passes through.
            dataloader_idx: Unused.

        Returns:
            A `types.VOSBatch`.
        """
        if not isinstance(batch, dict) or "shown" not in batch:
            return batch
        frames, masks = batch["frames"].float().div_(255), batch["masks"].long()
        factors = batch.get("photometric")
        if factors is not None and self.photometric is not None:
            frames = self.photometric.apply(frames, torch.from_numpy(factors).to(frames.device))
        return {
            "frames": frames,
            "masks": masks,
            "num_objects": torch.from_numpy(np.asarray(batch["num_objects"], np.int64)),
            "object_ids": batch["object_ids"],
            "valid": shown_mask(torch.from_numpy(batch["shown"]).to(masks.device), masks.shape[-2:]),
            "weight": torch.from_numpy(batch["weight"]).to(masks.device),
            "id": batch["id"],
        }

    def state_dict(self) -> dict[str, Any]:
        """Where the training masks came from, in plain types and without paths."""
        if self._train is None:
            return {}
        names = [part.labels for part in self.parts]
        labels = {
            "dataset": self.dataset.name,
            "split": self.train_split,
            "labels": names[0] if len(names) == 1 else names,
        }
        cost = self._cost.to_json() if self._cost is not None else None
        rest = {"static": self.static.name if self.static else None, "clips": len(self._train), "cost": cost}
        return {**labels, **rest, **({"licences": sorted(self._licences)} if self._licences else {})}

    def _setup_training(self) -> None:
        clips: list[VideoClips | PseudoClips] = []
        taken: set[str] = set()
        costs: list[AnnotationCost | None] = []
        self._licences = set()
        for part in self.parts if self.static_share < 1 else ():
            source = MaskSource(self.dataset, self.store, part.labels)
            videos = part.draw(masked_videos(source, self.train_split, least=self.frames), taken, self.seed)
            taken |= {video.clip.video for video in videos}
            clips += [VideoClips(source, video, self.frames, self.crop, self.gap, part.weight) for video in videos]
            self._licences |= licences_of(source, videos)
            cost = recorded_cost(source, videos)
            costs.append(cost)
            known = "of unknown cost" if cost is None else f"{cost.hours:.2f} h, {cost.clicks} clicks"
            self._announce(f"masks from {part.labels!r}: {len(videos)} videos, {known}")
        if self.static is not None and self.static_share > 0:
            clips += self._pseudo_clips(self.static)
        clips *= self.clips_per_video
        known_costs = [cost for cost in costs if cost is not None]
        self._cost = sum(known_costs, AnnotationCost()) if known_costs and len(known_costs) == len(costs) else None
        self._sources = [VIDEO if isinstance(entry, VideoClips) else STATIC for entry in clips]
        self._train = TrainingClips(
            clips,
            self.crop.crop,
            max_objects=self.max_objects,
            min_share=self.min_share,
            photometric=self.photometric,
            seed=self.seed,
        )
        counts = {name: self._sources.count(name) for name in dict.fromkeys(self._sources)}
        self._announce(f"training clips: {counts}")

    def _pseudo_clips(self, static: VOSDataset) -> list[PseudoClips]:
        """One per image with a mask; images of which a list says that they hold no object are left out."""
        source = MaskSource(static, store_root(None, static.name), MANUAL)
        return [
            PseudoClips(source, video.clip, number, self.frames, self.crop, self.warps)
            for video in masked_videos(source, self.static_split)
            for number in video.numbers
            if _may_hold_objects(static, video, number)
        ]

    def _evaluation(self, split: str, needs_truth: bool) -> VideoStreams:
        kept = self.dataset.masks_of(split)
        if kept == "none" or (needs_truth and kept != "all"):
            raise ConfigError(
                f"the masks of split {split!r} of {self.dataset.name} are not public",
                fix="validate on another split, such as one held out from training (see the reader's `held_out`)",
            )
        clips = self.dataset.clips(split)
        streams = [VideoStream(self.dataset, clip, self.eval_resize, truth=kept == "all") for clip in clips]
        return VideoStreams(streams, *self._place())


def _may_hold_objects(dataset: VOSDataset, video: MaskedVideo, number: int) -> bool:
    """Whether a frame may hold objects as far as a file beside the masks tells; COCO lists those of all images."""
    if video.clip.listed:
        return any(number in item.frames for item in video.clip.listed)
    return len(video.clip.frames) > 1 or bool(dataset.objects(video.clip))
