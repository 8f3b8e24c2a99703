"""Which videos train the networks of EVA-VOS, which validate them, and which measure the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from thriftseg.atomic import write_bytes
from thriftseg.datasets import MOSE, VOSDataset, read_list
from thriftseg.errors import ConfigError, DatasetError

LEAST_FRAMES = 16
"""Fewest frames of a video that EVA-VOS takes."""
MOST_FRAMES = 104
"""Most frames of such a video."""

PARTS = {"train": 800, "val": 150, "test": 216}
"""Videos of each part: the 1166 training videos of MOSE (version 1) with 16 to 104 frames."""


def split_videos(
    lengths: Mapping[str, int], least: int = LEAST_FRAMES, most: int = MOST_FRAMES
) -> dict[str, list[str]]:
    """Split videos as EVA-VOS [0] splits those of MOSE: 800 to train, 150 to validate, 216 to test.

    The authors shuffle what a folder lists, in whatever order it does, so that their own lists cannot be had again.
    Here the order is that of the SHA-256 of the names: the same videos give the same lists everywhere. Other numbers
    of videos than 1166 are split in the same proportions, three or more of them.

    [0] Delatolas et al., Learning the What and How of Annotation in Video Object Segmentation, WACV 2024.

    Args:
        lengths: Number of frames by name of the video.
        least: Fewest frames of a video that is taken.
        most: Most frames of a video that is taken.

    Returns:
        Names by part, sorted; no video is in two parts.

    Raises:
        ConfigError: A part is left without a video.

    Example:
        >>> parts = split_videos({f"video{number}": 20 for number in range(1166)})
        >>> {part: len(names) for part, names in parts.items()}, parts["val"][:2]
        ({'train': 800, 'val': 150, 'test': 216}, ['video1005', 'video1031'])
    """
    taken = [name for name, length in lengths.items() if least <= length <= most]
    order = sorted(taken, key=lambda name: (hashlib.sha256(name.encode()).digest(), name))
    count, whole = len(order), sum(PARTS.values())
    train = max(1, min(_half_up(count * PARTS["train"], whole), count - 2))
    val = max(train + 1, min(_half_up(count * (PARTS["train"] + PARTS["val"]), whole), count - 1))
    parts = {"train": order[:train], "val": order[train:val], "test": order[val:]}
    if not all(parts.values()):
        raise ConfigError(
            "too few videos to train, validate and test on",
            expected=f"some of {least} to {most} frames for each",
            found=", ".join(f"{part} {len(names)}" for part, names in parts.items()),
            fix="name another split, or allow other lengths",
        )
    return {part: sorted(names) for part, names in parts.items()}


@dataclass(frozen=True)
class VideoSplit:
    """What `split_dataset` wrote.

    Attributes:
        folder: Folder of the lists.
        lengths: Number of videos by part.
        considered: Videos of all lengths.
        least: Fewest frames of a video that was taken.
        most: Most frames of a video that was taken.
        dataset: Name of the data set.

    Example:
        >>> print(VideoSplit(Path("lists"), {"train": 8, "val": 1, "test": 3}, 15, least=16, most=104, dataset="davis"))
        12 of 15 videos have 16 to 104 frames
        lists/train.txt: 8
        lists/val.txt: 1
        lists/test.txt: 3
    """

    folder: Path
    lengths: Mapping[str, int]
    considered: int
    least: int
    most: int
    dataset: str

    def __str__(self) -> str:
        taken, whole = sum(self.lengths.values()), sum(PARTS.values())
        lines = [f"{taken} of {self.considered} videos have {self.least} to {self.most} frames"]
        lines += (f"{self.folder / part}.txt: {length}" for part, length in self.lengths.items())
        if self.dataset == MOSE.name and taken != whole:
            lines.append(
                f"EVA-VOS found {whole} such videos in the training part of MOSE and split them "
                f"{'/'.join(map(str, PARTS.values()))}; take all of them by --reader '{{\"held_out\": 0}}'"
            )
        return "\n".join(lines)


def split_dataset(
    dataset: VOSDataset, out: str | Path, split: str = "train", *, least: int = LEAST_FRAMES, most: int = MOST_FRAMES
) -> VideoSplit:
    """List the videos to train, validate and test EVA-VOS on; see `split_videos`.

    Args:
        dataset: The data set.
        out: Folder of train.txt, val.txt and test.txt.
        split: Split whose videos are split.
        least: Fewest frames of a video that is taken.
        most: Most frames of a video that is taken.

    Raises:
        ConfigError: The lengths contradict each other, a part is left without a video, or a file holds another list.

    Example:
        >>> import tempfile
        >>> from thriftseg import datasets, synthetic
        >>> with tempfile.TemporaryDirectory() as root:
        ...     _ = synthetic.synthesize_objects(root, train_clips=3, val_clips=0, frames=1, height=32, width=32)
        ...     split = split_dataset(datasets.DAVIS(root), f"{root}/lists", least=1)
        ...     split.lengths, len(read_lists([Path(root, "lists", "train.txt")]))
        ({'train': 1, 'val': 1, 'test': 1}, 1)
    """
    if not 1 <= least <= most:
        raise ConfigError("--least and --most", expected="1 <= least <= most", found=f"{least} and {most}")
    lengths = {clip.video: len(clip.frames) for clip in dataset.clips(split)}
    parts = split_videos(lengths, least, most)
    write_lists(parts, Path(out))
    taken = {part: len(names) for part, names in parts.items()}
    return VideoSplit(Path(out), taken, len(lengths), least, most, dataset.name)


def write_lists(parts: Mapping[str, list[str]], folder: Path) -> None:
    """Write `<part>.txt` files with a name a line.

    Raises:
        ConfigError: A file holds another list.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_lists({"train": ["cat", "dog"]}, Path(folder))
        ...     Path(folder, "train.txt").read_text().split()
        ['cat', 'dog']
    """
    for part, names in parts.items():
        path, content = folder / f"{part}.txt", "".join(f"{name}\n" for name in names).encode()
        if path.is_file() and path.read_bytes() != content:
            raise ConfigError("holds another list of videos", path=path, fix="choose another folder, or delete it")
        write_bytes(path, content)


def read_lists(paths: list[Path]) -> list[str]:
    """Names in list files, in their order.

    Raises:
        DatasetError: A file is missing or empty, or a video is named twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_lists({"train": ["cat", "dog"], "val": ["bird"]}, Path(folder))
        ...     read_lists([Path(folder, "val.txt"), Path(folder, "train.txt")])
        ['bird', 'cat', 'dog']
    """
    names: list[str] = []
    for path in paths:
        listed = read_list(path)
        if not listed:
            raise DatasetError("no such list of videos" if listed is None else "the list of videos is empty", path=path)
        twice = sorted(set(names) & set(listed))
        if twice:
            raise DatasetError("a video is listed twice", path=path, found=twice[0], fix="name each list once")
        names += listed
    return names


def _half_up(numerator: int, denominator: int) -> int:
    return (2 * numerator + denominator) // (2 * denominator)
