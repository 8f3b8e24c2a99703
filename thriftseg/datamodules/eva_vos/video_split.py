"""Splitting what was recorded of videos into training and validation, by video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from thriftseg.datasets import check_share, is_held_out, read_list
from thriftseg.errors import ConfigError, DatasetError
from thriftseg.stores import QualitySample, TypeState

Entry = TypeVar("Entry", QualitySample, TypeState)


def split_by_video(
    entries: Sequence[Entry], held_out: float, val_list: Path | None, noun: str
) -> tuple[list[Entry], list[Entry], str]:
    """Entries to train on, entries to validate on, and a line that counts both.

    Args:
        entries: What was recorded; its key names the video.
        held_out: Share of the videos that is held out by a fixed rule, see `thriftseg.datasets.is_held_out`.
        val_list: File that names the videos to validate on instead, one a line; names of other videos do not matter.
        noun: Plural of what the entries are, for the line.

    Raises:
        ConfigError: Nothing is left to train or to validate on, or the share is out of range.
        DatasetError: There is no list file.
    """
    videos = {entry.key.video for entry in entries}
    if val_list is None:
        chosen = {video for video in videos if is_held_out(video, check_share(held_out))}
    elif (names := read_list(Path(val_list))) is not None:
        chosen = videos & set(names)
    else:
        raise DatasetError("no such list of videos", path=val_list)
    if not chosen or chosen == videos:
        raise ConfigError(
            f"no videos left to {'train' if chosen else 'validate'} on",
            path=val_list,
            found=f"{len(chosen)} of {len(videos)} videos to validate on",
            fix="change held_out, or name the videos to validate on in a file (val_list)",
        )
    train = [entry for entry in entries if entry.key.video not in chosen]
    val = [entry for entry in entries if entry.key.video in chosen]
    counts = f"{len(train)} {noun} of {len(videos - chosen)} videos", f"{len(val)} {noun} of {len(chosen)} videos"
    return train, val, "train: {}; val: {}".format(*counts)
