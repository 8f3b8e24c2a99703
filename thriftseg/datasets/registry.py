"""The readers by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from thriftseg.datasets.base import ClipReader, VideoDataset
from thriftseg.datasets.camvid import CamVid
from thriftseg.datasets.cityscapes import Cityscapes
from thriftseg.datasets.folder import Folder
from thriftseg.datasets.idd import IDD
from thriftseg.datasets.scenenet import SceneNet
from thriftseg.datasets.veis import VEIS
from thriftseg.datasets.vos.base import VOSDataset
from thriftseg.datasets.vos.coco import COCO
from thriftseg.datasets.vos.davis import DAVIS
from thriftseg.datasets.vos.mose import MOSE
from thriftseg.datasets.vos.tao_vos import TAOVOS
from thriftseg.datasets.vos.youtube_vos import YouTubeVOS
from thriftseg.errors import ConfigError

DATASETS: dict[str, type[VideoDataset]] = {
    reader.name: reader for reader in (Cityscapes, CamVid, IDD, VEIS, SceneNet, Folder)
}
"""Readers of labels of classes by their name on the command line."""

VOS_DATASETS: dict[str, type[VOSDataset]] = {reader.name: reader for reader in (DAVIS, YouTubeVOS, MOSE, TAOVOS, COCO)}
"""Readers of masks of objects by their name on the command line."""

Reader = TypeVar("Reader", bound=ClipReader[Any])


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
    return _create(DATASETS, name, root, settings)


def create_vos(name: str, root: str | Path | None = None, **settings: Any) -> VOSDataset:
    """Make a reader of masks of objects by name.

    Args:
        name: A key of `VOS_DATASETS`, in any case.
        root: Folder of the data; see `resolve_root` for where it comes from when absent.
        settings: Further arguments of the reader.

    Raises:
        ConfigError: There is no such reader, or it does not take one of the settings.

    Example:
        >>> create_vos("MOSE", "data/mose", held_out=0.2).splits
        ('train', 'held_out', 'valid')
    """
    return _create(VOS_DATASETS, name, root, settings)


def _create(
    readers: Mapping[str, type[Reader]], name: str, root: str | Path | None, settings: dict[str, Any]
) -> Reader:
    if name.lower() not in readers:
        raise ConfigError(f"no data set {name!r}", expected=", ".join(readers))
    reader = readers[name.lower()]
    known = [setting for setting in inspect.signature(reader).parameters if setting != "root"]
    for setting in settings:
        if setting not in known:
            expected = ", ".join(known) or "no settings"
            raise ConfigError(f"the reader of {reader.name} has no setting {setting!r}", expected=expected)
    return reader(root, **settings)
