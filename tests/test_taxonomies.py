from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from thriftseg.errors import DatasetError
from thriftseg.taxonomies import (
    CAMVID,
    CAMVID_VOID_FIRST,
    CITYSCAPES,
    IDD19,
    IDD26,
    IDD_TABLE,
    NYU13,
    TAXONOMIES,
    VEIS_TABLE,
    LabelClass,
    Taxonomy,
    idd_lookup,
)

CITYSCAPES_ORDER = (
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, "
    "rider, car, truck, bus, train, motorcycle, bicycle"
).split(", ")
LEVEL3_ORDER = (
    "road, drivable fallback, sidewalk, non-drivable fallback, person, rider, motorcycle, bicycle, autorickshaw, car, "
    "truck, bus, vehicle fallback, curb, wall, fence, guard rail, billboard, traffic sign, traffic light, pole, "
    "obs-str-bar-fallback, building, bridge, vegetation, sky"
).split(", ")


@pytest.mark.parametrize("taxonomy", [*TAXONOMIES.values(), CAMVID_VOID_FIRST], ids=lambda taxonomy: taxonomy.name)
class TestEveryTable:
    def test_ids_are_unique_and_train_ids_complete(self, taxonomy: Taxonomy):
        ids = [row.id for row in taxonomy.table]
        assert len(set(ids)) == len(ids)
        trained = {row.train_id for row in taxonomy.table if not row.ignored}
        assert trained == set(range(taxonomy.num_classes))

    def test_lookup_agrees_with_the_table(self, taxonomy: Taxonomy):
        lookup = taxonomy.lookup()
        for row in taxonomy.table:
            if row.id >= 0:
                assert lookup[row.id] == row.train_id
        named = {row.id for row in taxonomy.table}
        assert all(lookup[raw] == 255 for raw in range(256) if raw not in named)

    def test_palette_has_one_colour_per_class(self, taxonomy: Taxonomy):
        flat = np.frombuffer(taxonomy.flat_palette(), dtype=np.uint8).reshape(256, 3)
        assert flat[: taxonomy.num_classes].tolist() == [list(color) for color in taxonomy.palette]
        assert not flat[taxonomy.num_classes :].any()

    def test_survives_pickling(self, taxonomy: Taxonomy):
        again = pickle.loads(pickle.dumps(taxonomy))  # noqa: S301 - our own bytes
        assert again == taxonomy
        assert again.class_names == taxonomy.class_names


@pytest.mark.parametrize(
    ("taxonomy", "classes", "things"),
    [(CITYSCAPES, 19, 8), (CAMVID, 11, 0), (IDD26, 26, 9), (IDD19, 19, 8), (VEIS_TABLE, 19, 8), (NYU13, 13, 10)],
)
def test_numbers_of_classes(taxonomy: Taxonomy, classes: int, things: int):
    assert (taxonomy.num_classes, len(taxonomy.thing_ids)) == (classes, things)


def test_orders_are_the_published_ones():
    assert CITYSCAPES.class_names == VEIS_TABLE.class_names == IDD19.class_names == CITYSCAPES_ORDER
    assert IDD26.class_names == LEVEL3_ORDER


def test_cityscapes_colours_name_their_class_but_for_the_shared_ones():
    by_color: dict[tuple[int, int, int], set[str]] = {}
    for row in CITYSCAPES.table:
        by_color.setdefault(row.color, set()).add(row.name)
    shared = [names for names in by_color.values() if len(names) > 1]
    black = {"unlabeled", "ego vehicle", "rectification border", "out of roi", "static"}
    assert sorted(shared, key=len) == [{"pole", "polegroup"}, {"car", "license plate"}, black]


def test_idd_spaces_reach_every_id():
    assert [row.id for row in IDD_TABLE] == list(range(40))
    for space, count in (("level3_id", 26), ("level2_id", 16), ("level1_id", 7)):
        assert sorted(set(idd_lookup(space).tolist())) == [*range(count), 255]
    assert sorted(set(idd_lookup("cs_train_id").tolist())) == [*range(19), 255]


def test_idd_cityscapes_id_that_does_not_fit_eight_bits_is_ignored():
    fallback = next(row for row in IDD_TABLE if row.name == "vehicle fallback")
    assert fallback.cs_id == 355
    assert idd_lookup("cs_id")[fallback.id] == 255


def test_idd_cityscapes_ids_agree_with_the_cityscapes_table():
    names = {row.id: row.name for row in CITYSCAPES.table}
    for row in IDD_TABLE:
        if row.cs_id in names and row.name in CITYSCAPES.train_id_of_name:
            assert names[row.cs_id] == row.name


def test_idd_polygon_names_are_drawn_in_both_views():
    for row in IDD_TABLE:
        assert IDD26.train_id_of_name[row.name] == row.level3_id
        assert IDD19.train_id_of_name[row.name] == row.cs_train_id
    assert IDD19.train_id_of_name["non-drivable fallback"] == CITYSCAPES.train_id_of_name["terrain"]


def test_both_camvid_packings_give_equal_train_ids():
    void_last = np.arange(12, dtype=np.uint8)
    void_first = (void_last + 1) % 12
    assert CAMVID.to_train_ids(void_last).tolist() == [*range(11), 255]
    np.testing.assert_array_equal(CAMVID_VOID_FIRST.to_train_ids(void_first), CAMVID.to_train_ids(void_last))
    assert CAMVID_VOID_FIRST.palette == CAMVID.palette


def test_unknown_ids_are_named_with_their_file():
    raw = np.array([[0, 12], [99, 10]], dtype=np.uint8)
    assert CAMVID.unknown_ids(raw) == [12, 99]
    with pytest.raises(DatasetError, match=r"label\.png: label ids outside.*expected ids 0\.\.11.*found 12, 99"):
        CAMVID.to_train_ids(raw, "label.png")


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.int64])
def test_wide_maps_are_translated_without_wrapping(dtype: type):
    assert CITYSCAPES.to_train_ids(np.array([[7, 26]], dtype=dtype)).tolist() == [[0, 13]]
    with pytest.raises(DatasetError, match="found 263"):  # 263 = 256 + 7 would wrap to road
        CITYSCAPES.to_train_ids(np.array([[263]], dtype=dtype))


def test_veis_takes_unknown_values_for_unlabelled():
    assert VEIS_TABLE.to_train_ids(np.array([0, 18, 19, 254, 255, 700], dtype=np.int32)).tolist() == [0, 18, *[255] * 4]
    assert VEIS_TABLE.unknown_ids(np.array([200])) == []


def test_nyu13_counts_from_unknown():
    raw = np.arange(14, dtype=np.uint8)
    assert NYU13.to_train_ids(raw).tolist() == [255, *range(13)]
    assert (NYU13.class_names[0], NYU13.class_names[-1]) == ("bed", "window")
    assert [NYU13.class_names[train_id] for train_id in range(13) if train_id not in NYU13.thing_ids] == [
        "ceiling",
        "floor",
        "wall",
    ]
    with pytest.raises(DatasetError, match=r"'nyu13'; expected ids 0\.\.13; found 14, 255"):
        NYU13.to_train_ids(np.array([13, 14, 255], dtype=np.uint8))


def test_tables_that_contradict_themselves_are_refused():
    row = LabelClass(0, "a", 0, (0, 0, 0))
    with pytest.raises(DatasetError, match="names an id twice"):
        Taxonomy("twice", 1, (row, dataclasses.replace(row, name="b", train_id=1)))
    with pytest.raises(DatasetError, match="have gaps"):
        Taxonomy("gaps", 1, (row, LabelClass(1, "b", 2, (0, 0, 0))))


class TestClassFile:
    def test_reads_names_ids_colours_and_void(self, tmp_path):
        path = tmp_path / "classes.yaml"
        path.write_text(
            "name: street\nversion: 3\nclasses:\n"
            "  - {name: road, color: [1, 2, 3]}\n  - {name: car, id: 7, instances: true}\n  - sky\n"
            "ignore: [1, 200, 255]\n"
        )
        taxonomy = Taxonomy.from_yaml(path)
        assert (taxonomy.name, taxonomy.version, taxonomy.class_names) == ("street", 3, ["road", "car", "sky"])
        assert taxonomy.palette[0] == (1, 2, 3)
        assert taxonomy.thing_ids == (1,)
        assert taxonomy.to_train_ids(np.array([0, 7, 2, 1, 200, 255])).tolist() == [0, 1, 2, 255, 255, 255]

    def test_colours_are_distinct_by_default(self, tmp_path):
        path = tmp_path / "classes.yaml"
        path.write_text("classes: [" + ", ".join(f"class{i}" for i in range(200)) + "]")
        palette = Taxonomy.from_yaml(path).palette
        assert len(set(palette)) == 200
        assert palette[:3] == [(128, 0, 0), (0, 128, 0), (128, 128, 0)]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("classes: [", "is not YAML"),
            ("just text", "expected object; found 'just text'"),
            ("classes: []", r"malformed at \$\.classes; expected array of length >= 1"),
            ("classes: [{id: 1}]", r"\$\.classes\[0\]; expected an entry name; found a mapping of id"),
            ("classes: [{name: a, colour: [0, 0, 0]}]", r"\$\.classes\[0\]; found an unknown entry colour"),
            ("classes: [{name: a, id: 300}]", r"\$\.classes\[0\]\.id; expected int <= 255; found 300"),
            ("classes: [{name: a, color: [0, 0]}]", r"\$\.classes\[0\]\.color; expected array of length 3"),
            ("classes: [{name: a, color: red}]", r"\$\.classes\[0\]\.color; .*found 'red'"),
            ("classes: [{name: a, id: 1}, {name: b}]", "names an id twice"),
            ("classes: [a]\nignore: [0]", "names an id twice"),
            ("classes: [a]\nignore: void", "ignore"),
            ("classes: [a]\nversion: new", "version"),
            ("classes: [a, a]", "names a class twice"),
            (f"classes: {[f'c{k}' for k in range(255)]}", "expected array of length <= 253; found a list of 255"),
            ("a: &a [x, x]\nb: &b [*a, *a]\nclasses: [*b]", r"\$\.classes\[0\]"),
            ("classes: &a [*a]", "too many entries"),
        ],
    )
    def test_names_the_file_and_the_fault(self, tmp_path, text: str, message: str):
        path = tmp_path / "classes.yaml"
        path.write_text(text)
        with pytest.raises(DatasetError, match=message) as raised:
            Taxonomy.from_yaml(path)
        assert str(path) in raised.value.headline

    def test_missing_file(self, tmp_path):
        with pytest.raises(DatasetError, match=r"none\.yaml: no such file"):
            Taxonomy.from_yaml(tmp_path / "none.yaml")
