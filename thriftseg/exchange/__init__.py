"""Reading and writing the files of annotation tools.

A format turns a file or folder into images with shapes, and frames with objects into the files its tool takes.
Coordinates follow the tool: all but Cityscapes measure from the corner of the image, so that a pixel is 1 x 1 in size
and belongs to a polygon when its centre does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from thriftseg.exchange.cityscapes_polygons import read_cityscapes, write_cityscapes
from thriftseg.exchange.class_names import train_ids_of
from thriftseg.exchange.coco import decode_counts, encode_counts, read_coco, write_coco
from thriftseg.exchange.cvat import read_cvat, write_cvat
from thriftseg.exchange.cvat_video import read_cvat_video, write_cvat_video
from thriftseg.exchange.davis import read_davis, write_davis
from thriftseg.exchange.frame_names import FrameNames
from thriftseg.exchange.label_studio import decode_brush, encode_brush, read_label_studio, write_label_studio
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, ExportedObject, Shape, image_name
from thriftseg.taxonomies import Taxonomy

__all__ = [
    "FORMATS",
    "AnnotatedImage",
    "ExportedFrame",
    "ExportedObject",
    "Format",
    "FrameNames",
    "Shape",
    "decode_brush",
    "decode_counts",
    "encode_brush",
    "encode_counts",
    "image_name",
    "train_ids_of",
]


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
