"""Readers of video data sets in the folder layouts they are published in.

Each reader yields `Clip`s; see `VideoDataset` for what they share. Nothing here imports torch.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from thriftseg.datasets.base import EmptySplitError, VideoDataset, resolve_root
from thriftseg.datasets.camvid import CamVid
from thriftseg.datasets.cityscapes import Cityscapes
from thriftseg.datasets.folder import Folder
from thriftseg.datasets.idd import IDD
from thriftseg.datasets.veis import VEIS
from thriftseg.errors import ConfigError

__all__ = [
    "DATASETS",
    "IDD",
    "VEIS",
    "CamVid",
    "Cityscapes",
    "EmptySplitError",
    "Folder",
    "VideoDataset",
    "create",
    "resolve_root",
]

DATASETS: dict[str, type[VideoDataset]] = {reader.name: reader for reader in (Cityscapes, CamVid, IDD, VEIS, Folder)}
"""Readers by their name on the command line."""


def create(name: str, root: str | Path | None = None, **settings: Any) -> VideoDataset:
    """Make a reader by name.

    Args:
        name: A key of `DATASETS`, in any case.
        root: Folder of the data; see `resolve_root` for where it comes from when absent.
        settings: Further arguments of the reader.

    Raises:
        ConfigError: There is no such reader, or it does not take one of the settings.

    Example:
        >>> create("CamVid", "data/camvid").name
        'camvid'
    """
    if name.lower() not in DATASETS:
        raise ConfigError(f"no data set {name!r}", expected=", ".join(DATASETS))
    reader = DATASETS[name.lower()]
    known = [setting for setting in inspect.signature(reader).parameters if setting != "root"]
    for setting in settings:
        if setting not in known:
            expected = ", ".join(known) or "no settings"
            raise ConfigError(f"the reader of {reader.name} has no setting {setting!r}", expected=expected)
    return reader(root, **settings)
