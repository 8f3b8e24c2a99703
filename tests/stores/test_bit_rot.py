from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from thriftseg.datasets.images import encode_label_png
from thriftseg.stores.label_store import LabelStore, find_rot
from thriftseg.taxonomies import CAMVID
from thriftseg.types import LabelKind


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    store = LabelStore(tmp_path, "flow", CAMVID)
    for number in range(4):
        label = np.full((6, 8), number, np.uint8)
        store.write("drive", number, label, kind=LabelKind.PROPAGATED, generator="test")
        store.object_log.write_ids("drive", number, label.astype(np.uint16), 3)
    return store


def found(folder: Path) -> list[str]:
    return [finding.message for finding in find_rot(folder, CAMVID)]


def test_nothing_to_find(store: LabelStore, tmp_path: Path) -> None:
    assert found(tmp_path) == []
    assert found(tmp_path / "none") == []


def test_what_is_not_what_was_written(store: LabelStore, tmp_path: Path) -> None:
    replaced, missing = store.path_of("drive", 1), store.path_of("drive", 2)
    ids = store.object_log.path_of_ids("drive", 3)
    replaced.write_bytes(encode_label_png(np.zeros((6, 8), np.uint8)))
    missing.unlink()
    content = bytearray(ids.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 1
    ids.write_bytes(content)
    first, second, third = found(tmp_path)
    assert [first, second] == [f"{path}: missing, or not what was written" for path in (replaced, missing)]
    assert third.startswith(f"{ids}: cannot decode the image")
    assert "wrong check sum at byte 33" in third


def test_a_source_that_cannot_be_read_does_not_hide_the_others(store: LabelStore, tmp_path: Path) -> None:
    store.path_of("drive", 0).unlink()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.jsonl").write_text("{no json\n{}\n")
    (tmp_path / "no source!").mkdir()
    assert len(found(tmp_path)) == 3
