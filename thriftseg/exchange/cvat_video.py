"""Annotations in the XML format "CVAT for video 1.1": one file per clip, with tracks through its frames.

[0] https://docs.cvat.ai/docs/other/xml_format
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count, groupby, zip_longest
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from thriftseg.arrays import UInt8Array
from thriftseg.atomic import whole_file
from thriftseg.errors import DatasetError
from thriftseg.exchange.cvat import (
    add_labels,
    box_sides,
    mask_attributes,
    region_of,
    shape_points,
    write_label_constructor,
)
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, Shape
from thriftseg.limits import FRAMES, SHAPES
from thriftseg.parsing import dump_xml, located, read_xml
from thriftseg.regions import PolygonRegion, Region, box_region
from thriftseg.taxonomies import Taxonomy

_END = b"\n</annotations>"
_STEP = re.compile(r"step\s*=\s*(\d+)")


def read_cvat_video(path: Path) -> list[AnnotatedImage]:
    """Read tracks; frame numbers count the frames of the clip from 0.

    Between two listed frames of a track, boxes and polygons of equally many corners move on straight lines, and
    anything else stays as it is. After the last one the object stays until the end of the task. Where it is
    `outside` it is not there. Frames without any object are left out.

    Args:
        path: The XML file, or a folder with one per clip.

    Raises:
        DatasetError: A file is missing or malformed, or is of the image format.
    """
    if not path.is_dir():
        return _read_task(path)
    files = sorted(path.rglob("*.xml"))
    if not files:
        raise DatasetError("no annotations", path=path, expected="one XML file per clip", found="no *.xml")
    return [image for file in files for image in _read_task(file)]


def write_cvat_video(folder: Path, frames: Iterable[ExportedFrame], taxonomy: Taxonomy) -> list[Path]:
    """Write `<video>.xml` per clip, with masks as tracks of one frame, and `labels.json` for the project's labels.

    Args:
        folder: Target folder.
        frames: The frames, those of a clip after each other.
        taxonomy: Gives the labels.
    """
    written = []
    for video, group in groupby(frames, key=lambda frame: frame.clip.video):
        written.append(folder / f"{video}.xml")
        with whole_file(written[-1]) as stream:
            _write_task(stream, group, taxonomy)
    return [*written, write_label_constructor(folder, taxonomy)]


def _read_task(path: Path) -> list[AnnotatedImage]:
    root = read_xml(path)
    if root.tag != "annotations" or root.find("image") is not None:
        raise DatasetError(
            "not a file of CVAT for video", path=path, expected="<track> in <annotations>",
            found=f"<{root.tag}>" if root.find("image") is None else "<image>",
            fix="export it from CVAT as 'CVAT for video 1.1', or use --format cvat",
        )  # fmt: skip
    with located(path, "<meta>"):
        nodes = [root.find(f"meta/{tag}") for tag in ("task", "job")]
        task = next((node for node in nodes if node is not None), Element("task"))
        video = task.findtext("name") or path.stem
        height, width = task.findtext("original_size/height"), task.findtext("original_size/width")
        size = (int(height), int(width)) if height and width else None
        positions = _positions(task, root)
        FRAMES.check(len(positions))
    shapes: dict[int, list[Shape]] = defaultdict(list)
    shown = 0
    for index, track in enumerate(root.findall("track")):
        with located(path, f"track {track.attrib.get('id', index)}"):
            for span in _spans(track, positions):
                FRAMES.check(len(span.frames))
                shown += len(span.frames)
                SHAPES.check(shown)
                for position in span.frames:
                    shapes[position].append(span.shape_at(position))
    return [AnnotatedImage(path, video, tuple(shapes[position]), size, position) for position in sorted(shapes)]


def _positions(task: Element, root: Element) -> range:
    """The frames of a task, which may skip some of its video."""
    listed = [int(shape.attrib["frame"]) for track in root.findall("track") for shape in track]
    start = int(task.findtext("start_frame") or 0)
    step = int(match[1]) if (match := _STEP.search(task.findtext("frame_filter") or "")) else 1
    if stop := task.findtext("stop_frame"):
        return range(start, int(stop) + 1, step)
    size = int(task.findtext("size") or 0)
    return range(start, max([start + size * step, *(frame + 1 for frame in listed)]), step)


def _spans(track: Element, positions: range) -> Iterator[_Span]:
    """Where a track is visible."""
    label = track.attrib["label"]
    listed = sorted(track, key=lambda shape: int(shape.attrib["frame"]))
    for shape, following in zip_longest(listed, listed[1:]):
        if shape.attrib.get("outside", "0") == "1":
            continue
        end = positions.stop if following is None else int(following.attrib["frame"])
        frames = range(int(shape.attrib["frame"]), end, positions.step)
        held = Shape(label, (region_of(shape),), int(shape.attrib.get("z_order", 0)))
        moves = following is not None and shape.tag == following.tag and shape.tag in ("box", "polygon")
        stops = following is None or following.attrib.get("outside", "0") == "1"
        yield _Span(frames, held, shape, following if moves and not stops else None)


@dataclass(frozen=True)
class _Span:
    """A shape of a track, from the frame that lists it to the one before the next that does.

    Attributes:
        frames: The frames.
        held: The shape as it is listed.
        before: Its element.
        after: The next one, which it moves to; `None` where it stays as it is.
    """

    frames: range
    held: Shape
    before: Element
    after: Element | None

    def shape_at(self, frame: int) -> Shape:
        """The shape in a frame."""
        if self.after is None or frame == self.frames.start:
            return self.held
        share = (frame - self.frames.start) / (self.frames.stop - self.frames.start)
        return Shape(self.held.label, (_Moving(self.before, self.after, share),), self.held.z_order)


@dataclass(frozen=True, slots=True)
class _Moving:
    """A shape between two listed frames, which is only worked out when it is painted: tracks can be long.

    Attributes:
        before: The shape before.
        after: The one after, of the same kind.
        share: Of the way that lies behind.
    """

    before: Element
    after: Element
    share: float

    def paint(self, canvas: UInt8Array, value: int) -> None:
        """Set the pixels of the region; see `Region.paint`."""
        self._region.paint(canvas, value)

    @property
    def _region(self) -> Region:
        if self.before.tag == "box":
            sides = zip(box_sides(self.before), box_sides(self.after), strict=True)
            left, top, right, bottom = ((1 - self.share) * a + self.share * b for a, b in sides)
            return box_region(left, top, right, bottom, float(self.before.attrib.get("rotation", 0)))
        corners, later = np.array(shape_points(self.before)), np.array(shape_points(self.after))
        if corners.shape != later.shape:
            return region_of(self.before)
        return PolygonRegion((1 - self.share) * corners + self.share * later)


def _write_task(stream: BinaryIO, frames: Iterator[ExportedFrame], taxonomy: Taxonomy) -> None:
    """Write the frames of a clip one by one, as their masks would fill the memory."""
    first = next(frames)
    positions = {number: position for position, number in enumerate(sorted(first.clip.frames))}
    stream.write(dump_xml(_head(first, taxonomy)).removesuffix(_END))
    ids = count()
    for frame in chain([first], frames):
        for track in _tracks(frame, positions[frame.number], ids, taxonomy):
            indent(track, level=1)
            stream.write(b"\n  " + tostring(track, encoding="utf-8", xml_declaration=False))
    stream.write(_END)


def _head(frame: ExportedFrame, taxonomy: Taxonomy) -> Element:
    """The file without tracks."""
    clip, (height, width) = frame.clip, frame.ids.shape
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    texts = {"name": clip.video, "size": str(len(clip.frames)), "mode": "interpolation", "start_frame": "0"}
    for tag, text in {**texts, "stop_frame": str(len(clip.frames) - 1)}.items():
        SubElement(task, tag).text = text
    add_labels(task, taxonomy)
    size = SubElement(task, "original_size")
    SubElement(size, "width").text, SubElement(size, "height").text = str(width), str(height)
    return root


def _tracks(frame: ExportedFrame, position: int, ids: Iterator[int], taxonomy: Taxonomy) -> Iterator[Element]:
    """A track per mask that ends with its frame: CVAT keeps only the first mask of a track."""
    for item, mask in frame.masks():
        head = {"id": str(next(ids)), "label": taxonomy.class_names[item.train_id], "source": "auto"}
        track, attributes = Element("track", head), mask_attributes(mask)
        _add_mask(track, position, attributes, outside=False)
        if position + 1 < len(frame.clip.frames):
            _add_mask(track, position + 1, attributes, outside=True)
        yield track


def _add_mask(track: Element, position: int, attributes: Mapping[str, str], *, outside: bool) -> None:
    head = {"frame": str(position), "keyframe": "1", "outside": str(int(outside)), "occluded": "0"}
    SubElement(track, "mask", {**head, **attributes, "z_order": "0"})
