"""The data module of one video: pairs of adjacent frames with partial labels, and single frames to predict."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from thriftseg.arrays import BoolArray, Float32Array, UInt8Array
from thriftseg.datamodules.base import ClassesDataModule, check_counts
from thriftseg.datamodules.loaded_video import FLOW_STEPS, LoadedVideo, Pair, load_video
from thriftseg.datamodules.sampling import seeded_generator
from thriftseg.datasets import VideoDataset, resize_label
from thriftseg.errors import CheckpointError, ConfigError, DatasetError
from thriftseg.flow import DIS, FlowEstimator, FlowStore
from thriftseg.stores import LabelStore
from thriftseg.types import IGNORE_INDEX, Clip, Size

Labels = Mapping[int, UInt8Array]
"""Label maps (H, W) uint8 by native frame number: train ids, 255 = not labelled."""


class PairDraw(NamedTuple):
    """Request of the sampler.

    Attributes:
        pair: Index of the pair.
        padding: It only fills a batch of this process, so nothing about it counts.
    """

    pair: int
    padding: bool = False


class PairSampler(DistributedSampler[PairDraw]):
    """Every pair once an epoch, in an order that depends on seed, round and epoch alone.

    With R processes and n pairs per batch, the union of the processes' k-th batches is the k-th batch of one process
    with R n pairs. The last batch may be smaller; processes for which nothing is left of it get padding, so that all
    have equally many batches of equal size.

    Args:
        size: Number of pairs.
        batch_size: Pairs per batch and process.
        seed: Non-negative seed.
        round: Number of the round.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self, size: int, batch_size: int, *, seed: int = 0, round: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(range(size), num_replicas=world_size, rank=rank, seed=seed)  # type: ignore[arg-type]
        self.size, self.batch_size, self.round = size, batch_size, round

    def __len__(self) -> int:
        """Draws of this rank."""
        full, rest = divmod(self.size, self.batch_size * self.num_replicas)
        return full * self.batch_size + -(-rest // self.num_replicas)

    def __iter__(self) -> Iterator[PairDraw]:
        """Draws of this rank in order."""
        order = self.order(self.epoch)
        together = self.batch_size * self.num_replicas
        for start in range(0, self.size, together):
            batch = order[start : start + together]
            own = [PairDraw(index) for index in batch[self.rank :: self.num_replicas]]
            missing = -(-len(batch) // self.num_replicas) - len(own)
            yield from own + [PairDraw(batch[0], padding=True)] * missing

    def order(self, epoch: int) -> list[int]:
        """Pairs of an epoch over all ranks."""
        permutation: list[int] = torch.randperm(
            self.size, generator=seeded_generator(self.seed, self.round, epoch)
        ).tolist()
        return permutation


class VideoPairs(Dataset[dict[str, Any]]):
    """Pairs of a video with their labels, flow and check mask.

    Args:
        video: The video.
        labels: Label maps at its working size by native number.
        past_frames: Frames before each frame of a pair.
    """

    def __init__(self, video: LoadedVideo, labels: Labels, past_frames: int = 0) -> None:
        self.video, self.labels, self.past_frames = video, labels, past_frames

    def __len__(self) -> int:
        return len(self.video.pairs)

    def __getitem__(self, draw: PairDraw | int) -> dict[str, Any]:
        """Item of a `types.SemanticBatch`: frame t, and frame t-1 as its only neighbour.

        Frames are uint8, the flow int16. A frame without neighbours, and what only fills a batch, is not
        `neighbour_paired`: its frames are equal, the label of its neighbour is 255 throughout, and no flow agrees.
        """
        index, padding = draw if isinstance(draw, PairDraw) else PairDraw(draw)
        pair = self.video.pairs[index]
        flow = self.video.flow[pair.current]
        before, current = (self.video.window(place, self.past_frames) for place in pair)
        neighbour_label, label = self._labels(pair, padding)
        item = {
            "frames": current,
            "label": label,
            "neighbours": before[-1:],
            "neighbour_offset": np.array([-1]),
            "padding": np.bool_(padding),
            "neighbour_label": neighbour_label[None],
            "neighbour_flow": flow.steps[None],
            "neighbour_agrees": (torch.zeros_like(flow.mask) if padding else flow.mask)[None],
            "neighbour_paired": np.array([pair.adjacent and not padding]),
            "id": f"{self.video.clip.video}/{self.video.numbers[pair.current]:06d}",
        }
        return item | ({"neighbour_past": before[None, :-1]} if self.past_frames else {})

    def _labels(self, pair: Pair, padding: bool) -> Tensor:
        """(2, H, W) uint8; a frame that is paired with itself is labelled once."""
        labels = torch.full((2, *self.video.size), IGNORE_INDEX, dtype=torch.uint8)
        for place, out in zip(pair, labels, strict=True):
            known = self.labels.get(self.video.numbers[place])
            if known is not None and not padding:
                out.copy_(torch.from_numpy(known))
        if not pair.adjacent:
            labels[0] = IGNORE_INDEX
        return labels


class VideoFrames(Dataset[dict[str, Any]]):
    """All frames of a video in playing order; see `types.VideoFrameBatch`.

    Args:
        video: The video.
        past_frames: Frames before the one to segment.
    """

    def __init__(self, video: LoadedVideo, past_frames: int = 0) -> None:
        self.video, self.past_frames = video, past_frames

    def __len__(self) -> int:
        return len(self.video.numbers)

    def __getitem__(self, place: int) -> dict[str, Any]:
        """Item of a batch; frames are uint8."""
        number = self.video.numbers[place]
        return {
            "frames": self.video.window(place, self.past_frames),
            "number": number,
            "position": place,
            "id": f"{self.video.clip.video}/{number:06d}",
        }


class VideoPairDataModule(ClassesDataModule):
    """One video, to tune a network on it in rounds: each round has more labels.

    Training yields `types.SemanticBatch`: batches of pairs of adjacent frames, every pair once an epoch. Pairs with a
    gap between their frames do not exist, and a frame without neighbours is trained on alone. What is drawn depends on
    the seed, the round and the epoch alone, so an epoch that was interrupted can be done again in the same way.
    Prediction yields `types.VideoFrameBatch`: all frames in playing order. There is no augmentation.

    The video is decoded once, and its flow estimated once, when a trainer or `setup` first asks for it; both stay in
    memory, eight bytes per pixel and frame in each process.

    Args:
        dataset: Reader of the data set; `thriftseg.datasets.FrameFolder` for a mere folder of frames.
        split: Split that holds the video.
        video: Its name; it may be left out where the split holds one video alone.
        labels: Labels of the first round; see `start_round`.
        resize: Working height and width; `None` keeps that of the files. Labels and predictions have it, too.
        past_frames: Frames before each frame; by default as many as the network of the trainer's module takes.
        batch_size: Training frames per batch and process, twice the number of pairs.
        predict_batch_size: Frames per batch of prediction.
        flow: Estimator of the optical flow; by default DIS of the medium preset.
        flow_cache: Folder that keeps the flow between runs (see `FlowStore`).
        num_workers: Worker processes per loader. As everything is in memory, 0 is usually best.
        seed: Non-negative seed of the order; by default that of `seed_everything`, else 0.
        progress: Whether to show a progress bar while the flow is estimated.

    Attributes:
        round: Number of the round, part of the seed.

    Raises:
        ConfigError: The batch size is odd, or a setting is out of range.

    Example:
        >>> import tempfile
        >>> from thriftseg.datasets import FrameFolder, write_label_png
        >>> from thriftseg.taxonomies import CAMVID
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for number in (3, 4, 5):
        ...         write_label_png(Path(root, f"drive/{number}.png"), np.full((32, 48), 40 * number, np.uint8))
        ...     dataset = FrameFolder(Path(root, "drive"), CAMVID)
        ...     video = VideoPairDataModule(dataset, "all", past_frames=0, progress=False)
        ...     video.start_round(1, {4: np.full((32, 48), 2, np.uint8)})
        ...     video.setup("fit")
        ...     batches = [video.on_after_batch_transfer(batch) for batch in video.train_dataloader()]
        >>> sorted((batch["id"][0], batch["label"].min().item()) for batch in batches)  # 255 = no label
        [('drive/000004', 2), ('drive/000005', 255)]
    """

    def __init__(
        self,
        dataset: VideoDataset,
        split: str,
        video: str | None = None,
        *,
        labels: Labels | LabelStore | None = None,
        resize: tuple[int, int] | None = None,
        past_frames: int | None = None,
        batch_size: int = 2,
        predict_batch_size: int = 1,
        flow: FlowEstimator | None = None,
        flow_cache: Path | None = None,
        num_workers: int = 0,
        seed: int | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        check_counts(predict_batch_size=(predict_batch_size, 1), past_frames=(past_frames or 0, 0))
        check_counts(resize=(min(resize or (1, 1)), 1))
        if batch_size % 2:
            raise ConfigError(
                "a batch of pairs has an even number of frames", expected="batch_size 2, 4, ...", found=batch_size
            )
        self.dataset, self.split, self.video = dataset, split, video
        self.resize = (resize[0], resize[1]) if resize else None
        self.past_frames, self.predict_batch_size = past_frames, predict_batch_size
        self.flow = FlowStore(flow_cache, flow or DIS())
        self.progress = progress
        self.round = 0
        self._given: Labels | LabelStore = labels if labels is not None else {}
        self._labels: dict[int, UInt8Array] | None = None
        self._clip: Clip | None = None
        self._loaded: LoadedVideo | None = None

    @property
    def clip(self) -> Clip:
        """The video; needs no `setup`.

        Raises:
            ConfigError: The split has no such video, or several and none was named.
            DatasetError: The split is empty, or files are missing.
        """
        if self._clip is None:
            clips = {clip.video: clip for clip in self.dataset.clips(self.split)}
            video = next(iter(clips)) if self.video is None and len(clips) == 1 else self.video
            if video not in clips:
                raise ConfigError(
                    f"split {self.split!r} has no video {video!r}" if video else "no video was named",
                    expected=", ".join(clips),
                    fix="set video",
                )
            self._clip = clips[video]
        return self._clip

    @property
    def numbers(self) -> tuple[int, ...]:
        """Native numbers of the frames in playing order; needs no `setup`."""
        return tuple(sorted(self.clip.frames))

    @property
    def size(self) -> Size:
        """Working height and width; needs no `setup`."""
        return self.resize or self.dataset.clip_size(self.clip)

    @property
    def labels(self) -> Labels:
        """Labels of this round at the working size; needs no `setup`.

        Raises:
            DatasetError: See `start_round`.
        """
        if self._labels is None:
            self._labels = self._read(self._given)
        return self._labels

    def start_round(self, number: int, labels: Labels | LabelStore) -> None:
        """Go on with other labels.

        Args:
            number: Number of the round.
            labels: Label maps at the size of the files or at the working size, of all rounds so far; or a store whose
                usable label maps of this video are read now.

        Raises:
            ConfigError: The number is negative.
            DatasetError: A label is of a frame that does not exist, has another size, or holds an unknown class.
        """
        check_counts(round=(number, 0))
        self.round, self._labels = number, self._read(labels)

    def prepare_data(self) -> None:
        """Decode the video and store its flow, in one process per node before the others read it."""
        self._load()

    def setup(self, stage: str | None = None) -> None:
        """Decode the video and read its flow, unless that was done before.

        Args:
            stage: Any.

        Raises:
            DatasetError: A frame is missing or unreadable, or stored flow is damaged.
        """
        self._load()

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Shuffled pairs of this rank."""
        pairs = VideoPairs(self._load(), self.labels, self._past_frames())
        rank, world_size = self._place()
        batch_size = self.batch_size // 2
        sampler = PairSampler(
            len(pairs), batch_size, seed=self.seed, round=self.round, rank=rank, world_size=world_size
        )
        return self._loader(pairs, sampler, batch_size)

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """All frames in playing order; the Trainer shares them out over the processes."""
        return self._loader(VideoFrames(self._load(), self._past_frames()), None, self.predict_batch_size)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int = 0) -> Any:
        """Make a loaded batch float.

        Args:
            batch: Batch of a loader of this module.
            dataloader_idx: Unused.

        Returns:
            A new batch: frames in [0, 1], int64 labels, float32 flow in pixels.
        """
        device = batch["frames"].device
        numbers = {key: torch.from_numpy(value) for key, value in batch.items() if isinstance(value, np.ndarray)}
        batch = batch | {key: value.to(device) for key, value in numbers.items()}
        for key in ("frames", "neighbours", "neighbour_past"):
            if key in batch:
                batch[key] = batch[key].float().div_(255)
        if "label" in batch:
            batch["neighbour_flow"] = batch["neighbour_flow"].float().div_(FLOW_STEPS)
            batch["label"], batch["neighbour_label"] = batch["label"].long(), batch["neighbour_label"].long()
            batch["weight"] = torch.ones(len(batch["label"]), device=device)
            batch["valid"] = ~batch.pop("padding")[:, None, None].expand_as(batch["label"])
            batch["neighbour_valid"] = batch["neighbour_agrees"]
        return batch

    def flow_into(self, number: int) -> tuple[Float32Array, BoolArray] | None:
        """Flow from a frame to the one before it.

        Args:
            number: Native number of the frame.

        Returns:
            Flow (2, H, W) in pixels of the working size, and where it passes the forward-backward check (H, W); `None`
            where there is no adjacent frame before it.
        """
        video = self._load()
        place = self.numbers.index(number)
        adjacent = Pair(place - 1, place) in video.pairs
        return video.flow[place].in_pixels() if adjacent else None

    def flows_between(self, number: int) -> Float32Array | None:
        """Flow between a frame and the one before it, both ways.

        Args:
            number: Native number of the frame.

        Returns:
            Flow to the frame before, and back from there, (2, 2, H, W) in pixels of the working size, NaN where it is
            not known; `None` where there is no adjacent frame before it.
        """
        video = self._load()
        place = self.numbers.index(number)
        if Pair(place - 1, place) not in video.pairs:
            return None
        before, here = (video.frames[each].permute(1, 2, 0).contiguous().numpy() for each in (place - 1, place))
        return self.flow.both(self.clip.video, self.numbers[place - 1], number, before, here)

    def truth(self, number: int) -> UInt8Array | None:
        """Manual label of a frame at the working size, (H, W); `None` where the data set has none."""
        if number not in self.clip.labels:
            return None
        return resize_label(self.dataset.read_label(self.clip, number), self.size)

    def state_dict(self) -> dict[str, Any]:
        """Tells rounds apart, in plain types: video, seed, number, and a digest of the labels."""
        digest = hashlib.sha256(repr((self.clip.video, self.size)).encode())
        for number, label in sorted(self.labels.items()):
            digest.update(repr(number).encode() + np.ascontiguousarray(label).tobytes())
        return {"video": self.clip.video, "round": self.round, "seed": self.seed, "labels": digest.hexdigest()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to go on with a round that was begun in another way.

        Args:
            state_dict: What `state_dict` returned when the checkpoint was written.

        Raises:
            CheckpointError: Something differs.
        """
        current = self.state_dict()
        differing = [key for key, value in current.items() if state_dict.get(key) != value]
        if differing:
            raise CheckpointError(
                "the round of this checkpoint was begun in another way",
                expected=", ".join(f"{key} {current[key]}" for key in differing),
                found=", ".join(f"{key} {state_dict.get(key)}" for key in differing),
                fix="delete the checkpoint, or choose another folder for this round",
            )

    def _load(self) -> LoadedVideo:
        if self._loaded is None:
            self._loaded = load_video(self.dataset, self.clip, self.size, self.flow, self.progress)
        return self._loaded

    def _read(self, labels: Labels | LabelStore) -> dict[int, UInt8Array]:
        """Labels at the working size by native number."""
        if isinstance(labels, LabelStore):
            video = self.clip.video
            labels = {number: labels.read(video, number) for name, number in labels.usable if name == video}
        sizes = self.dataset.clip_size(self.clip), self.size
        read = {}
        for number, label in labels.items():
            if number not in self.clip.frames:
                span = f"frames {self.numbers[0]} to {self.numbers[-1]}"
                raise self._wrong(number, "the video has no such frame", span, number)
            if label.shape not in sizes:
                expected = " or ".join(f"{width}x{height}" for height, width in dict.fromkeys(sizes))
                raise self._wrong(number, "wrong size", expected, "x".join(map(str, label.shape[::-1])))
            unknown = label[(label >= self.num_classes) & (label != IGNORE_INDEX)]
            if label.dtype != np.uint8 or unknown.size:
                found = unknown[0] if unknown.size else label.dtype
                raise self._wrong(number, "no train ids", f"uint8, 0..{self.num_classes - 1} or {IGNORE_INDEX}", found)
            read[number] = resize_label(label, self.size)
        return read

    def _wrong(self, number: int, problem: str, expected: object, found: object) -> DatasetError:
        return DatasetError(f"label of frame {number} of {self.clip.video}: {problem}", expected=expected, found=found)
