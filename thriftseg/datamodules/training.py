"""Training items: a frame with its past, its label and its neighbours under one augmentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from thriftseg.arrays import UInt8Array
from thriftseg.datamodules.neighbours import NeighbourPolicy
from thriftseg.datamodules.packed import Packed
from thriftseg.datamodules.photometric import PhotometricConfig
from thriftseg.datamodules.reading import ClipDecoder
from thriftseg.datamodules.sampling import Draw
from thriftseg.datamodules.transforms import Geometry, RandomScaleCrop
from thriftseg.flow import FlowStore, consistency_mask_np
from thriftseg.types import ClipFrame, TrainingSample


class TrainingFrames(Dataset[dict[str, Any]]):
    """Augmented samples; everything random depends on (seed, epoch, position) alone.

    Args:
        reader: Reads frames and labels.
        samples: The training list.
        transform: Geometric augmentation.
        past_frames: Frames before the one to segment; a missing one repeats the next newer frame.
        photometric: Colour changes to draw factors for.
        neighbours: Unlabelled frames to add.
        flow: Store of the flow from the frame to segment to its neighbours, which is then added too.
        check_flow: Also add where that flow agrees with the flow back.
        seed: Non-negative seed.
    """

    def __init__(
        self,
        reader: ClipDecoder,
        samples: Sequence[TrainingSample],
        transform: RandomScaleCrop,
        *,
        past_frames: int = 0,
        photometric: PhotometricConfig | None = None,
        neighbours: NeighbourPolicy | None = None,
        flow: FlowStore | None = None,
        check_flow: bool = False,
        seed: int = 0,
    ) -> None:
        self.reader, self.samples, self.transform = reader, Packed(samples), transform
        self.past_frames, self.photometric, self.neighbours, self.seed = past_frames, photometric, neighbours, seed
        self.flow, self.check_flow = flow, check_flow

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw | int) -> dict[str, Any]:
        """Item of a batch: images and label as uint8 tensors, everything small as numbers.

        Args:
            draw: What the sampler drew; a plain index stands for epoch 0.
        """
        epoch, position, index = draw if isinstance(draw, Draw) else Draw(0, draw, draw)
        rng = np.random.default_rng((self.seed, epoch, position))
        sample = self.samples[index]
        offsets = self.neighbours.offsets(rng) if self.neighbours is not None else []
        beside = [sample.clip.number_at(sample.number, offset) for offset in offsets]
        windows = [[*sample.clip.past(number, self.past_frames), number] for number in (*beside, sample.number)]
        numbers = list(dict.fromkeys(number for window in windows for number in window))
        images = dict(zip(numbers, self.reader.frames(sample.clip, numbers), strict=True))
        target = images[sample.number]
        geometry = self.transform.draw(rng, *target.shape[:2])
        frames = torch.empty((len(numbers), 3, *geometry.crop), dtype=torch.uint8)
        if geometry.padded:
            frames.zero_()
        for image, out in zip(images.values(), frames.numpy(), strict=True):
            geometry.frame(image, out)
        clips = [frames[[numbers.index(number) for number in window]] for window in windows]
        if sample.points is not None:
            label = geometry.point_map(sample.points)
        else:
            label = geometry.label(self.reader.label(sample, target))
        item: dict[str, Any] = {
            "frames": clips[-1],
            "label": torch.from_numpy(label),
            "kind": int(sample.kind),
            "weight": np.float32(sample.weight),
            "shown": np.array(geometry.shown),
            "id": sample.id,
            "source": sample.source,
        }
        if beside:
            item["neighbours"] = torch.stack([clip[-1] for clip in clips[:-1]])
            if self.neighbours is not None and self.neighbours.distance is not None:
                item["neighbour_offset"] = np.array(offsets)
        if beside and self.past_frames:
            item["neighbour_past"] = torch.stack([clip[:-1] for clip in clips[:-1]])
        if beside and self.flow is not None:
            item |= self._flow_item(self.flow, sample, {number: images[number] for number in beside}, target, geometry)
        if self.photometric is not None:
            item["photometric"] = self.photometric.draw(rng)
        return item

    def needed_frames(self) -> Iterator[ClipFrame]:
        """Every frame that an item can ask for."""
        offsets = self.neighbours.possible_offsets() if self.neighbours else []
        for sample in self.samples:
            yield sample.clip, sample.number
            for number in sample.clip.past(sample.number, self.past_frames):
                yield sample.clip, number
            for offset in offsets:
                neighbour = sample.clip.number_at(sample.number, offset)
                for number in (*sample.clip.past(neighbour, self.past_frames), neighbour):
                    yield sample.clip, number

    def _flow_item(
        self,
        store: FlowStore,
        sample: TrainingSample,
        neighbours: dict[int, UInt8Array],
        frame: UInt8Array,
        geometry: Geometry,
    ) -> dict[str, torch.Tensor]:
        """Flow from the frame to segment to its neighbours, and where it is known and stays in the shown part."""
        flow = torch.empty((len(neighbours), 2, *geometry.crop))
        valid = torch.empty((len(neighbours), *geometry.crop), dtype=torch.bool)
        agrees = torch.empty_like(valid) if self.check_flow else None
        for place, (number, neighbour) in enumerate(neighbours.items()):
            found = store.flow(sample.clip.video, sample.number, number, frame, neighbour)
            moved, inside = geometry.flow(np.nan_to_num(found), np.isfinite(found[0]) & np.isfinite(found[1]))
            flow[place], valid[place] = torch.from_numpy(moved), torch.from_numpy(inside)
            if agrees is not None:
                back = store.flow(sample.clip.video, number, sample.number, neighbour, frame)
                same = consistency_mask_np(np.nan_to_num(found, nan=np.inf), np.nan_to_num(back))
                agrees[place] = torch.from_numpy(geometry.label(same.astype(np.uint8)) == 1)
        item = {"neighbour_flow": flow, "neighbour_valid": valid}
        return item if agrees is None else item | {"neighbour_agrees": agrees}
