"""Packs predictions as the servers of video object segmentation take them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import whole_file
from thriftseg.datasets import PALETTE, VOSClip, VOSDataset, encode_label_png, read_label_png
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.progress import progress_bar
from thriftseg.types import BACKGROUND

PROPOSALS = 20
"""Largest id where no mask introduces objects: the unsupervised task of DAVIS takes that many proposals."""

SHOWN_FAULTS = 20
"""Faults that a refusal lists."""

_FOLDERS = ("", "480p", "Annotations", "Annotations/480p")
_DATE = (1980, 1, 1, 0, 0, 0)  # equal predictions give equal files


@dataclass(frozen=True)
class Submission:
    """Result of `write_submission`.

    Attributes:
        path: The file.
        videos: Number of videos.
        frames: Number of masks.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = Path(folder, "davis.zip").write_bytes(bytes(3 * 2**19))
        ...     str(Submission(Path(folder, "davis.zip"), videos=2, frames=90)).removeprefix(folder)
        '/davis.zip: 90 masks of 2 videos, 1.5 MiB'
    """

    path: Path
    videos: int
    frames: int

    def __str__(self) -> str:
        return f"{self.path}: {self.frames} masks of {self.videos} videos, {self.path.stat().st_size / 2**20:.1f} MiB"


def write_submission(
    dataset: VOSDataset, split: str, predictions: str | Path, out: str | Path, progress: bool = False
) -> Submission:
    """Check predictions and pack them into the zip that the server of a data set takes.

    Every frame that is scored needs a mask of the size of the frame, with ids of the video's objects. Masks of other
    frames are left out. All are written as palette PNGs.

    Args:
        dataset: The data set.
        split: Split that was predicted.
        predictions: Folder of `{video}/{frame}.png`, or one above it (`480p`, `Annotations`).
        out: The zip to write.
        progress: Show a progress bar on stderr.

    Raises:
        ConfigError: No server scores the data set, or `out` is no zip.
        DatasetError: There are no predictions, or some are missing, unreadable, of another size or hold unknown ids;
            the first of them are listed.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=0, val_clips=1, frames=2, height=32, width=48)
        ...     dataset, found = datasets.DAVIS(root), Path(root, "found")
        ...     [clip] = dataset.clips("val")
        ...     for number in clip.scored:
        ...         path = found / clip.video / f"{clip.frame_name(number)}.png"
        ...         datasets.write_label_png(path, dataset.read_mask(clip, number))
        ...     write_submission(dataset, "val", found, f"{root}/davis.zip").frames
        2
    """
    out = Path(out)
    if dataset.submission_folder is None:
        raise ConfigError(f"no server scores {dataset.name}", fix="score it with `thriftseg evaluate --metrics jf`")
    if out.suffix != ".zip":
        raise ConfigError("not the name of a zip", path=out, expected="FILE.zip")
    clips = dataset.clips(split)
    folder = _folder_of(Path(predictions), clips)
    faults: list[str] = []
    frames = 0
    with whole_file(out) as stream, progress_bar(progress) as bar, zipfile.ZipFile(stream, "w") as packed:
        for clip in bar.track(clips, description=f"packing {dataset.name}"):
            for number in clip.scored:
                path = folder / clip.video / f"{clip.frame_name(number)}.png"
                try:
                    ids = _read_prediction(path, dataset, split, clip)
                except DatasetError as error:
                    faults.append(error.headline)
                    continue
                name = f"{dataset.submission_folder}{clip.video}/{path.name}"
                packed.writestr(zipfile.ZipInfo(name, _DATE), encode_label_png(ids, PALETTE))
                frames += 1
        if faults:
            raise _refusal(folder, faults)
    return Submission(out, len(clips), frames)


def _read_prediction(path: Path, dataset: VOSDataset, split: str, clip: VOSClip) -> UInt8Array:
    """Read the prediction of a frame and refuse one that does not fit its video."""
    ids = read_label_png(path)
    height, width = dataset.clip_size(clip)
    if ids.shape != (height, width):
        found = f"{ids.shape[1]}x{ids.shape[0]}"
        raise DatasetError("a mask of the wrong size", path=path, expected=f"{width}x{height}", found=found)
    proposals = dataset.masks_of(split) == "none"
    known = [BACKGROUND, *(range(1, PROPOSALS + 1) if proposals else (item.id for item in dataset.objects(clip)))]
    unknown = np.setdiff1d(ids, known).tolist()
    if unknown:
        raise DatasetError("ids of no object", path=path, expected=known, found=unknown)
    return ids.astype(np.uint8)


def _folder_of(predictions: Path, clips: list[VOSClip]) -> Path:
    """The folder that holds a folder for at least one video."""
    for name in _FOLDERS:
        if any((predictions / name / clip.video).is_dir() for clip in clips):
            return predictions / name
    raise DatasetError(
        "no predictions", path=predictions, expected=f"{clips[0].video}/{clips[0].frame_name(clips[0].scored[0])}.png"
    )


def _refusal(folder: Path, faults: list[str]) -> DatasetError:
    shown = [f"  {fault}" for fault in faults[:SHOWN_FAULTS]]
    if len(faults) > SHOWN_FAULTS:
        shown.append(f"  ... and {len(faults) - SHOWN_FAULTS} more")
    return DatasetError(
        f"{len(faults)} predictions cannot be submitted",
        path=folder,
        fix="predict every frame of the split at its own size, with the ids of the first masks",
        detail="\n".join(shown),
    )
