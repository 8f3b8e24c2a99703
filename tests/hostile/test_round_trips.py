"""What is written is read back as it was: every exchange format, run lengths, manifests, files of clicks and PNGs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from thriftseg.arrays import UInt8Array
from thriftseg.datasets import encode_label_png, read_label_png
from thriftseg.exchange.formats import FORMATS
from thriftseg.exchange.label_studio import decode_brush, encode_brush
from thriftseg.exchange.records import ExportedFrame, ExportedObject
from thriftseg.regions import decode_counts, encode_counts, run_lengths
from thriftseg.stores import Click
from thriftseg.stores.click_file import encode_click_file, read_click_file
from thriftseg.stores.manifest import Manifest
from thriftseg.taxonomies import CITYSCAPES
from thriftseg.types import Clip

CLASSES = CITYSCAPES.num_classes
TRAIN_IDS = {row.name: row.train_id for row in CITYSCAPES.classes if row.train_id < CLASSES} | {"unlabeled": 255}
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
label_maps = array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 7, CLASSES - 1, 255]))
)
masks = array_shapes(min_dims=2, max_dims=2, max_side=40).flatmap(lambda shape: arrays(np.bool_, shape))
names = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))


def in_new_folder(check: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(Path(folder))


def frames_of(labels: list[UInt8Array]) -> list[ExportedFrame]:
    clip = Clip("town/drive", {number: Path(f"drive_{number:06d}.png") for number in range(len(labels))})
    frames = []
    for number, label in enumerate(labels):
        present = [int(train_id) for train_id in np.unique(label) if train_id != 255]
        ids = np.zeros(label.shape, np.uint16)
        for position, train_id in enumerate(present, start=1):
            ids[label == train_id] = position
        frames.append(ExportedFrame(clip, number, ids, tuple(map(ExportedObject, present))))
    return frames


@pytest.mark.parametrize("format", FORMATS)
@given(
    labels=label_maps.flatmap(
        lambda first: st.lists(
            arrays(np.uint8, first.shape, elements=st.sampled_from([0, 1, 7, CLASSES - 1, 255])), min_size=1, max_size=3
        )
    )
)
@quick
def test_labels_come_back_from_annotation_tools(format: str, labels: list[UInt8Array]) -> None:
    def check(folder: Path) -> None:
        files = FORMATS[format].write(folder, frames_of(labels), CITYSCAPES)
        place = next((path for path in files if path.suffix in (".json", ".xml")), folder)
        images = FORMATS[format].read(folder if format in ("davis", "cityscapes") else place)
        drawn = [label for label in labels if (label != 255).any()]  # frames without any object may be left out
        for image, label in zip(images, labels if len(images) == len(labels) else drawn, strict=True):
            np.testing.assert_array_equal(image.paint(label.shape, TRAIN_IDS), label)

    in_new_folder(check)


@given(masks)
@quick
def test_run_lengths(mask: np.ndarray) -> None:
    counts = [int(count) for count in run_lengths(mask.ravel(order="F"))]
    assert sum(counts) == mask.size
    assert decode_counts(encode_counts(counts)) == counts
    restored = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(mask.shape, order="F")
    np.testing.assert_array_equal(restored, mask)


@given(masks)
@quick
def test_brushes(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_brush(encode_brush(mask)).reshape(*mask.shape, 4)[..., 3] > 0, mask)


@given(label_maps)
@quick
def test_label_pngs(label: UInt8Array) -> None:
    def check(folder: Path) -> None:
        for name, content in {
            "plain": encode_label_png(label),
            "colour": encode_label_png(label, [0, 1, 2] * 256),
        }.items():
            (folder / f"{name}.png").write_bytes(content)
            np.testing.assert_array_equal(read_label_png(folder / f"{name}.png"), label)

    in_new_folder(check)


plain: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), plain, min_size=1, max_size=4), max_size=4
    ),
    st.integers(0, 30),
)
@quick
def test_manifests_survive_a_torn_line(rows: list[dict[str, Any]], torn: int) -> None:
    def check(folder: Path) -> None:
        manifest = Manifest(folder)
        manifest.append(rows)
        assert Manifest(folder).read() == rows
        with manifest.path.open("ab") as stream:
            stream.write(b'{"video":"a","frame":1,"half":"writ'[:torn])
        assert Manifest(folder).read() == rows
        again = Manifest(folder)
        again.append(rows)
        assert again.read() == rows * 2

    in_new_folder(check)


clicks = st.tuples(st.integers(0, 5000), st.integers(0, 5000), st.integers(0, CLASSES - 1))


@given(st.dictionaries(names, st.lists(clicks, min_size=1, max_size=4), max_size=4))
@quick
def test_click_files(entries: dict[str, list[Click]]) -> None:
    def check(folder: Path) -> None:
        path = folder / "clicks.json"
        path.write_bytes(encode_click_file(entries, CITYSCAPES))
        assert read_click_file(path, CITYSCAPES) == {key: tuple(found) for key, found in entries.items()}

    in_new_folder(check)
