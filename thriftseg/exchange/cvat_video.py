"""Annotations in the XML format "CVAT for video 1.1": one file per clip, with tracks through its frames.

[0] https://docs.cvat.ai/docs/other/xml_format
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from thriftseg.atomic import write_bytes
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
from thriftseg.parsing import dump_xml, located, read_xml
from thriftseg.regions import PolygonRegion, Region, box_region
from thriftseg.taxonomies import Taxonomy

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
        write_bytes(written[-1], dump_xml(_task_element(list(group), taxonomy)))
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
    shapes: dict[int, list[Shape]] = defaultdict(list)
    for index, track in enumerate(root.findall("track")):
        with located(path, f"track {track.attrib.get('id', index)}"):
            for position, shape in _walk(track, positions):
                shapes[position].append(shape)
    return [AnnotatedImage(path, video, tuple(shapes[position]), size, position) for position in sorted(shapes)]


def _positions(task: Element, root: Element) -> range:
    """The frames of a task, which may skip some of its video."""
    listed = [int(shape.attrib["frame"]) for track in root.findall("track") for shape in track]
    start = int(task.findtext("start_frame") or 0)
    step = int(match[1]) if (match := _STEP.search(task.findtext("frame_filter") or "")) else 1
    if stop := task.findtext("stop_frame"):
        return range(start, int(stop) + 1, step)
    count = int(task.findtext("size") or 0)
    return range(start, max([start + count * step, *(frame + 1 for frame in listed)]), step)


def _walk(track: Element, positions: range) -> Iterator[tuple[int, Shape]]:
    """The shape of a track at every frame where it is visible."""
    label = track.attrib["label"]
    listed = sorted(track, key=lambda shape: int(shape.attrib["frame"]))
    for index, shape in enumerate(listed):
        if shape.attrib.get("outside", "0") == "1":
            continue
        region, z_order = region_of(shape), int(shape.attrib.get("z_order", 0))
        following = listed[index + 1] if index + 1 < len(listed) else None
        end = positions.stop if following is None else int(following.attrib["frame"])
        start = int(shape.attrib["frame"])
        for here in range(start, end, positions.step):
            moved = region if here == start or following is None else _between(shape, following, here, region)
            yield here, Shape(label, (moved,), z_order)


def _between(before: Element, after: Element, frame: int, held: Region) -> Region:
    """The shape between two listed frames."""
    start, end = int(before.attrib["frame"]), int(after.attrib["frame"])
    share = (frame - start) / (end - start)
    if before.tag != after.tag or after.attrib.get("outside", "0") == "1":
        return held
    if before.tag == "box":
        first, second = box_sides(before), box_sides(after)
        left, top, right, bottom = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
        return box_region(left, top, right, bottom, float(before.attrib.get("rotation", 0)))
    if before.tag == "polygon":
        corners, later = np.array(shape_points(before)), np.array(shape_points(after))
        return PolygonRegion((1 - share) * corners + share * later) if corners.shape == later.shape else held
    return held


def _task_element(frames: Sequence[ExportedFrame], taxonomy: Taxonomy) -> Element:
    clip = frames[0].clip
    height, width = frames[0].ids.shape
    root = Element("annotations")
    SubElement(root, "version").text = "1.1"
    task = SubElement(SubElement(root, "meta"), "task")
    texts = {"name": clip.video, "size": str(len(clip.frames)), "mode": "interpolation", "start_frame": "0"}
    for tag, text in {**texts, "stop_frame": str(len(clip.frames) - 1)}.items():
        SubElement(task, tag).text = text
    add_labels(task, taxonomy)
    size = SubElement(task, "original_size")
    SubElement(size, "width").text, SubElement(size, "height").text = str(width), str(height)
    for frame in frames:
        _add_tracks(root, frame, taxonomy)
    return root


def _add_tracks(root: Element, frame: ExportedFrame, taxonomy: Taxonomy) -> None:
    """A track per mask that ends with its frame: CVAT keeps only the first mask of a track."""
    numbers = sorted(frame.clip.frames)
    position = numbers.index(frame.number)
    for item, mask in frame.masks():
        head = {"id": str(len(root.findall("track"))), "label": taxonomy.class_names[item.train_id], "source": "auto"}
        track, attributes = SubElement(root, "track", head), mask_attributes(mask)
        _add_mask(track, position, attributes, outside=False)
        if position + 1 < len(numbers):
            _add_mask(track, position + 1, attributes, outside=True)


def _add_mask(track: Element, position: int, attributes: Mapping[str, str], *, outside: bool) -> None:
    head = {"frame": str(position), "keyframe": "1", "outside": str(int(outside)), "occluded": "0"}
    SubElement(track, "mask", {**head, **attributes, "z_order": "0"})
