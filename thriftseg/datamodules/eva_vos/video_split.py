"""Splitting what was made from videos into training and validation, by video."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from thriftseg.datasets import check_share, is_held_out, read_list
from thriftseg.errors import ConfigError, DatasetError


def validation_videos(videos: Iterable[str], held_out: float, val_list: Path | None) -> set[str]:
    """The videos to validate on.

    Args:
        videos: All videos.
        held_out: Share that is held out by a fixed rule, see `thriftseg.datasets.vos.base.is_held_out`.
        val_list: File that names them instead, one a line; names of other videos do not matter.

    Returns:
        Some of the videos, but not all.

    Raises:
        ConfigError: Nothing is left to train or to validate on, or the share is out of range.
        DatasetError: There is no list file.

    Example:
        >>> sorted(validation_videos(["a", "b", "c", "d", "e"], held_out=0.5, val_list=None))
        ['b', 'c', 'd', 'e']
    """
    everything = set(videos)
    if val_list is None:
        chosen = {video for video in everything if is_held_out(video, check_share(held_out))}
    elif (names := read_list(Path(val_list))) is not None:
        chosen = everything & set(names)
    else:
        raise DatasetError("no such list of videos", path=val_list)
    if not chosen or chosen == everything:
        raise ConfigError(
            f"no videos left to {'train' if chosen else 'validate'} on",
            path=val_list,
            found=f"{len(chosen)} of {len(everything)} videos to validate on",
            fix="change held_out, or name the videos to validate on in a file (val_list)",
        )
    return chosen
