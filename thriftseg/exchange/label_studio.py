"""Annotations in the JSON of Label Studio: brush masks, polygons and rectangles.

Label Studio keeps a brush mask as the RGBA bytes of the whole image, packed by the scheme of rle-pack: the number of
words in 32 bits, word size minus 1 in 5 bits, four run sizes minus 1 in 4 bits each, then packets. A packet is one bit
"repeat", two bits that choose the run size, the number of words minus 1 in that many bits, and one word to repeat or
all words.

[0] https://labelstud.io/guide/export   [1] https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree.ElementTree import Element, SubElement

import msgspec
import numpy as np

from thriftseg.arrays import BoolArray, UInt8Array
from thriftseg.atomic import write_bytes
from thriftseg.exchange.records import AnnotatedImage, ExportedFrame, Shape
from thriftseg.limits import IMAGE_PIXELS
from thriftseg.parsing import dump_xml, located, read_json
from thriftseg.regions import MaskRegion, PolygonRegion, Region, run_lengths, turned
from thriftseg.taxonomies import Taxonomy, hex_color

TASK_FILE = "tasks.json"
CONFIG_FILE = "label_config.xml"
LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio serves a folder of its own machine."""

_CHANNELS, _OPAQUE = 4, 128
_WORD_BITS, _RUN_BITS = 8, (3, 4, 8, 16)
_BRUSH, _POLYGON, _RECTANGLE = "brushlabels", "polygonlabels", "rectanglelabels"


def encode_brush(mask: BoolArray) -> list[int]:
    """Pack a mask as the bytes that Label Studio keeps.

    Args:
        mask: (H, W).

    Example:
        >>> encode_brush(np.array([[False, True]]))
        [0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]
    """
    bits = [f"{mask.size * _CHANNELS:032b}", f"{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _RUN_BITS)]
    longest = 1 << _RUN_BITS[-1]
    for position, count in enumerate((run_lengths(mask.ravel()) * _CHANNELS).tolist()):
        word = 255 * (position % 2)
        bits += [_packet(min(longest, count - start), word) for start in range(0, count, longest)]
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


def decode_brush(packed: Sequence[int]) -> UInt8Array:
    """Unpack the words of a brush mask, flat uint8; four per pixel, the last of which is the opacity.

    Raises:
        ValueError: The words are not of 8 bits, the bytes end early, or there are too many pixels.

    Example:
        >>> decode_brush([0, 0, 0, 8, 57, 27, 252, 96, 17, 255, 128]).tolist()
        [0, 0, 0, 0, 255, 255, 255, 255]
    """
    content = np.asarray(packed)
    if content.ndim != 1 or content.dtype.kind not in "iu" or (content < 0).any() or (content > 255).any():
        raise ValueError("brush run lengths that are no list of bytes")
    stream = _BitStream(content.astype(np.uint8))
    count = stream.read(32)
    IMAGE_PIXELS.check(count // _CHANNELS)
    words = np.zeros(count, np.uint8)
    word_bits = stream.read(5) + 1
    run_bits = [stream.read(4) + 1 for _ in range(4)]
    if word_bits != _WORD_BITS:
        raise ValueError(f"brush run lengths with words of {word_bits} bits, expected {_WORD_BITS}")
    start = 0
    while start < len(words):
        repeat = stream.read(1)
        end = start + 1 + stream.read(run_bits[stream.read(2)])
        words[start:end] = (
            stream.read(word_bits) if repeat else [stream.read(word_bits) for _ in range(min(end, len(words)) - start)]
        )
        start = end
    return words


def read_label_studio(path: Path) -> list[AnnotatedImage]:
    """Read tasks with brush masks, polygons and rectangles; what comes later in an annotation is in front.

    Of several annotations of a task the last one counts that was not cancelled. Predictions are not read.

    Args:
        path: The JSON file, or the folder of `tasks.json`.

    Raises:
        DatasetError: The file is missing, malformed, or in the short form ("JSON-MIN").
    """
    path = path / TASK_FILE if path.is_dir() else path
    fix = "export from Label Studio as JSON, not as JSON-MIN"
    content: list[_Task] | _Task = read_json(path, list[_Task] | _Task, lax=True, fix=fix)  # type: ignore[arg-type]
    images: list[AnnotatedImage] = []
    for position, task in enumerate(content if isinstance(content, list) else [content]):
        kept = [entry for entry in task.annotations if not entry.was_cancelled]
        images.append(_image(task, kept[-1].result if kept else [], path, f"task {position}"))
    return images


def write_label_studio(folder: Path, frames: Iterable[ExportedFrame], taxonomy: Taxonomy) -> list[Path]:
    """Write `tasks.json` with brush masks, and the labelling interface `label_config.xml`.

    Images are taken from the local storage of Label Studio, whose document root is the folder of the images.

    Args:
        folder: Target folder.
        frames: The frames.
        taxonomy: Gives the labels.
    """
    tasks = [
        {"data": {"image": LOCAL_FILES + frame.name}, "annotations": [{"result": list(_results(frame, taxonomy))}]}
        for frame in frames
    ]
    write_bytes(folder / TASK_FILE, json.dumps(tasks).encode())
    write_bytes(folder / CONFIG_FILE, dump_xml(_interface(taxonomy)))
    return [folder / TASK_FILE, folder / CONFIG_FILE]


class _Annotation(msgspec.Struct):
    result: list[dict[str, Any]]
    was_cancelled: bool | None = None


class _Task(msgspec.Struct):
    data: Annotated[dict[str, Any], msgspec.Meta(min_length=1)]
    annotations: list[_Annotation]


class _BitStream:
    """Reads numbers of any bit width, highest bit first."""

    def __init__(self, content: UInt8Array) -> None:
        self._bits = (np.unpackbits(content) + ord("0")).tobytes().decode("ascii")
        self._position = 0

    def read(self, size: int) -> int:
        end = self._position + size
        if end > len(self._bits):
            raise ValueError("brush run lengths that end early")
        value = int(self._bits[self._position : end], 2)
        self._position = end
        return value


def _packet(count: int, word: int) -> str:
    """Bits of a packet that repeats a word."""
    choice = next(index for index, size in enumerate(_RUN_BITS) if count <= 1 << size)
    return f"1{choice:02b}{count - 1:0{_RUN_BITS[choice]}b}{word:0{_WORD_BITS}b}"


def _image(task: _Task, results: Sequence[Mapping[str, Any]], path: Path, place: str) -> AnnotatedImage:
    shapes: list[Shape] = []
    sizes: set[tuple[int, int]] = set()
    for index, result in enumerate(results):
        with located(path, f"result {index} of {place}"):
            if "original_width" not in result and result.get("type") not in (_BRUSH, _POLYGON, _RECTANGLE):
                continue  # a relation, or an answer about the whole image
            size = int(result["original_height"]), int(result["original_width"])
            sizes.add(size)
            shapes += [Shape(label, (_region(result, size),)) for label in _labels(result)]
    with located(path, place):
        if len(sizes) > 1:
            raise ValueError(f"results for images of different sizes: {sorted(sizes)}")
        return AnnotatedImage(path, _image_name(task.data), tuple(shapes), next(iter(sizes), None))


def _labels(result: Mapping[str, Any]) -> list[str]:
    labels = list(result["value"][result["type"]])
    if len(labels) != 1:
        raise ValueError(f"labels {labels}, expected one")
    return [str(labels[0])]


def _region(result: Mapping[str, Any], size: tuple[int, int]) -> Region:
    value, kind, (height, width) = result["value"], result["type"], size
    if result.get("image_rotation"):
        raise ValueError(f"an image turned by {result['image_rotation']} degrees; turn it back in Label Studio")
    scale = np.array([width / 100, height / 100])
    if kind == _BRUSH:
        return _brush_region(value, height, width)
    if kind == _POLYGON:
        return PolygonRegion(np.asarray(value["points"], np.float64).reshape(-1, 2) * scale)
    if kind == _RECTANGLE:
        corner = np.array([value["x"], value["y"]]) * scale
        sides = np.array([value["width"], value["height"]]) * scale
        corners = corner + sides * np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
        return PolygonRegion(turned(corners, (corner[0], corner[1]), float(value.get("rotation", 0))))
    raise ValueError(f"type {kind!r}, expected {_BRUSH}, {_POLYGON} or {_RECTANGLE}")


def _brush_region(value: Mapping[str, Any], height: int, width: int) -> MaskRegion:
    if value.get("format", "rle") != "rle":
        raise ValueError(f"format {value['format']!r}, expected 'rle'")
    words = decode_brush(value["rle"])
    if len(words) != height * width * _CHANNELS:
        raise ValueError(f"brush run lengths of {len(words)} bytes for an image of {width}x{height} x {_CHANNELS}")
    return MaskRegion(run_lengths(words[_CHANNELS - 1 :: _CHANNELS] >= _OPAQUE), width, height)


def _image_name(data: Mapping[str, Any]) -> str:
    """Path of an image in its storage."""
    address = str(data["image"] if "image" in data else next(iter(data.values())))
    parts = urlsplit(address)
    return unquote(parse_qs(parts.query).get("d", [parts.path])[0]).strip("/")


def _results(frame: ExportedFrame, taxonomy: Taxonomy) -> Iterator[dict[str, Any]]:
    height, width = frame.ids.shape
    for index, (item, mask) in enumerate(frame.masks()):
        label = taxonomy.class_names[item.train_id]
        yield {
            "id": f"{frame.number}-{index}",
            "type": _BRUSH,
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(mask), _BRUSH: [label]},
        }


def _interface(taxonomy: Taxonomy) -> Element:
    view = Element("View")
    SubElement(view, "Image", {"name": "image", "value": "$image", "zoom": "true"})
    labels = SubElement(view, "BrushLabels", {"name": "label", "toName": "image"})
    for row in taxonomy.classes:
        SubElement(labels, "Label", {"value": row.name, "background": hex_color(row.color)})
    return view
