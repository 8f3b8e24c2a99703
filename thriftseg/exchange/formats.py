"""The file formats of annotation tools, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from thriftseg.errors import ConfigError
from thriftseg.exchange.cityscapes_polygons import read_cityscapes, write_cityscapes
from thriftseg.exchange.coco import read_coco, write_coco
from thriftseg.exchange.cvat import read_cvat, write_cvat
from thriftseg.exchange.cvat_video import read_cvat_video, write_cvat_video
from thriftseg.exchange.davis import read_davis, write_davis
from thriftseg.exchange.label_studio import read_label_studio, write_label_studio
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame
from thriftseg.taxonomies import Taxonomy


class Format(NamedTuple):
    """A file format of annotation tools.

    Attributes:
        read: Images of a file or folder.
        write: Writes frames to a folder and returns the files.
        whole_clips: Whether the tool counts frames, so that it needs all frames of a clip.
    """

    read: Callable[[Path], list[AnnotatedImage]]
    write: Callable[[Path, Iterable[ExportedFrame], Taxonomy], list[Path]]
    whole_clips: bool = False


FORMATS = {
    "coco": Format(read_coco, write_coco),
    "cvat": Format(read_cvat, write_cvat),
    "cvat-video": Format(read_cvat_video, write_cvat_video, whole_clips=True),
    "label-studio": Format(read_label_studio, write_label_studio),
    "cityscapes": Format(read_cityscapes, write_cityscapes),
    "davis": Format(read_davis, write_davis),
}
"""Formats by their name on the command line."""


def format_named(name: str) -> Format:
    """The format of a name.

    Raises:
        ConfigError: There is no such format.
    """
    if name not in FORMATS:
        raise ConfigError("no such annotation format", expected=", ".join(FORMATS), found=repr(name))
    return FORMATS[name]
