from __future__ import annotations

import json

import pytest

from thriftseg.errors import LabelStoreError
from thriftseg.stores.click_file import click_key, encode_click_file, read_click_file
from thriftseg.taxonomies import CAMVID, CITYSCAPES, IDD26

PUBLIC = {
    "aachen_000000_000019": [
        {"cls": 7, "x": 1024.0, "y": 800.9},
        {"cls": 26, "x": 3, "y": 0},
        {"cls": 4, "x": 1, "y": 1},  # static: not trained
        {"cls": 29, "x": 1, "y": 1},  # caravan: not trained
    ],
    "bochum_000000_000019": [],
}


@pytest.fixture
def write(tmp_path):
    def write_json(content) -> str:
        path = tmp_path / "clicks.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write_json


def test_public_file_is_floored_and_void_left_out(write):
    clicks = read_click_file(write(PUBLIC), CITYSCAPES)
    assert clicks == {"aachen_000000_000019": ((1024, 800, 0), (3, 0, 13)), "bochum_000000_000019": ()}


@pytest.mark.parametrize("taxonomy", [CITYSCAPES, CAMVID, IDD26], ids=lambda taxonomy: taxonomy.name)
def test_round_trip_of_every_class(taxonomy, tmp_path):
    clicks = {"b": tuple((i, 2 * i, i) for i in range(taxonomy.num_classes)), "a": ()}
    path = tmp_path / "clicks.json"
    path.write_bytes(encode_click_file(clicks, taxonomy))
    assert read_click_file(path, taxonomy) == clicks
    assert encode_click_file(dict(reversed(clicks.items())), taxonomy) == path.read_bytes()


def test_raw_ids_are_written(tmp_path):
    content = json.loads(encode_click_file({"a": [(5, 6, 13)]}, CITYSCAPES))
    assert content == {"a": [{"cls": 26, "x": 5, "y": 6}]}


def test_keys():
    assert click_key("cityscapes", "frankfurt_000000_000294", 294) == "frankfurt_000000_000294"
    assert click_key("cityscapes", "frankfurt_000000_000294", 304) == "frankfurt_000000_000304"
    assert click_key("veis", "part/3", 4) == "part/3/000004"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "expected object; found a list of 0"),
        ({"a": 3}, r"malformed at \$\.a; expected array; found 3"),
        ({"a": [{"cls": 7, "x": 3}]}, r"malformed at \$\.a\[0\]; expected an entry y; found a mapping of cls, x"),
        ({"a": [{"x": 1, "y": 3}]}, r"malformed at \$\.a\[0\]; expected an entry cls"),
        ({"a": [{"cls": 7, "x": -1, "y": 0}]}, r"malformed at \$\.a\[0\]\.x; expected float >= 0\.0; found -1"),
        ({"a": [{"cls": 7, "x": 3e9, "y": 0}]}, r"malformed at \$\.a\[0\]\.x; expected float <= 2147483648\.0"),
        ('{"a": [{"cls": 7, "x": NaN, "y": 0}]}', "is not JSON; found NaN"),
        ({"a": [{"cls": 77, "x": 1, "y": 0}]}, "outside the class table 'cityscapes'; found 77"),
    ],
)
def test_damaged_files(write, content, message):
    with pytest.raises(LabelStoreError, match=message):
        read_click_file(write(content), CITYSCAPES)


def test_missing_file(tmp_path):
    with pytest.raises(LabelStoreError, match="no such file"):
        read_click_file(tmp_path / "none.json", CITYSCAPES)
