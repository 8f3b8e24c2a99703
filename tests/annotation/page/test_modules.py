"""The modules of the page under node: masks bit by bit, changes taken back, active seconds, keys, types."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import thriftseg
from tests.fixtures import rasters

STATIC = Path(thriftseg.__file__).parent / "annotation" / "page" / "static"
HERE = Path(__file__).parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="node is not installed")


def answers(folder: Path, cases: list[dict[str, object]]) -> list:
    """What the modules say, under node."""
    for path in [*STATIC.glob("*.js"), HERE / "modules.mjs"]:
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    done = subprocess.run(
        [str(NODE), "modules.mjs"], cwd=folder, input=json.dumps(cases), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def one(folder: Path, case: dict[str, object]) -> dict | list:
    return answers(folder, [case])[0]


@needs_node
def test_an_object_that_was_just_begun_takes_its_new_class_along(tmp_path: Path) -> None:
    assert one(tmp_path, {"kind": "begun"}) == [[1, 2]]


@needs_node
def test_strokes_equal_numpy(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    cases = []
    for diameter in (1, 2, 3, 4, 7, 16, 31):
        for count in (1, 2, 5):
            points = random.integers(-6, [66, 46], (count, 2)).tolist()
            cases.append({"kind": "stroke", "points": points, "diameter": diameter, "size": [40, 60]})
    for case, found in zip(cases, answers(tmp_path, cases), strict=True):
        wanted = rasters.stroke([tuple(point) for point in case["points"]], case["diameter"], (40, 60))
        assert np.array_equal(np.array(found, bool), wanted), case


@needs_node
def test_outlines_equal_numpy(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    shapes = [random.integers(0, [61, 41], (count, 2)).tolist() for count in (3, 3, 4, 5, 7, 12, 30)]
    shapes += [[[0, 0], [60, 0], [60, 40], [0, 40]], [[5, 5], [25, 25], [45, 5], [25, 38]], [[3, 3], [9, 9], [3, 9]]]
    cases = [{"kind": "outline", "vertices": shape, "size": [40, 60]} for shape in shapes]
    found = answers(tmp_path, cases)
    for shape, mask in zip(shapes, found, strict=True):
        wanted = rasters.outline([tuple(vertex) for vertex in shape], (40, 60))
        assert np.array_equal(np.array(mask, bool), wanted), shape
    assert np.array(found[7]).all()
    assert np.array(found[9]).sum() == 6 * 5 // 2, "a centre on an edge belongs to the right side"


@needs_node
def test_fills_equal_connected_components(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    ids = (random.random((40, 60)) > 0.4).astype(np.uint16)
    cases = [
        {"kind": "area", "ids": ids.tolist(), "x": x, "y": y, "size": [40, 60]} for x, y in ((0, 0), (59, 39), (30, 20))
    ]
    for case, found in zip(cases, answers(tmp_path, cases), strict=True):
        assert np.array_equal(np.array(found, bool), rasters.area(ids, case["x"], case["y"]))


@needs_node
def test_undo_and_redo_give_the_states_before_and_after(tmp_path: Path) -> None:
    objects = [{"id": number, "class": 0, "locked": number == 3} for number in (1, 2, 3)]
    paints = [
        [[1, 0, 6, 1], [2, 2, 8, 1]],
        [[2, 0, 4, 3]],
        [[0, 0, 8, 2], [1, 3, 5, 2], [2, 0, 8, 2]],  # passes over object 3, which is locked
        [[1, 0, 1, 1]],  # changes nothing
        [[1, 0, 8, 0]],
    ]
    found = one(tmp_path, {"kind": "history", "size": [4, 8], "objects": objects, "paints": paints})
    states, patches = found["states"], found["patches"]
    assert np.reshape(states[3], (4, 8)).tolist() == [
        [2] * 8,
        [1, 1, 1, 2, 2, 1, 0, 0],
        [3, 3, 3, 3, 2, 2, 2, 2],
        [0] * 8,
    ]
    assert patches[3] is None
    assert found["back"] == [states[3], states[2], states[1], states[0]]
    assert found["again"] == [states[1], states[2], states[3], states[5]]
    assert found["pixels"] == np.bincount(states[5], minlength=8).tolist()
    assert patches[0]["forward"] == {"x": 0, "y": 1, "width": 8, "height": 2, "runs": [1, 6, -1, 4, 1, 6]}


@needs_node
def test_patches_fill_their_box(tmp_path: Path) -> None:
    ids = np.random.default_rng(6).integers(-1, 3, (9, 11))
    patch = one(tmp_path, {"kind": "encode", "ids": ids.tolist(), "size": [9, 11]})
    assert np.array_equal(np.repeat(patch["runs"][::2], patch["runs"][1::2]), ids.ravel())


@needs_node
def test_pauses_and_hidden_tabs_do_not_count(tmp_path: Path) -> None:
    events = [
        [100.0, "sign"],
        [105.0, "sign"],
        [125.0, "sign"],  # exactly the pause still counts
        [145.5, "sign"],  # longer: nothing of it counts
        [147.0, "take"],
        [150.0, "hide"],
        [158.0, "show"],
        [159.0, "take"],
        [160.0, "hide"],
        [161.0, "sign"],  # a key while hidden
        [162.0, "show"],
        [163.5, "take"],
    ]
    taken = one(tmp_path, {"kind": "clock", "pause": 20, "events": events})
    assert [row["seconds"] for row in taken] == [26.5, 4.0, 2.5]
    assert [(row["start"], row["end"]) for row in taken] == [(100, 147), (147, 159), (159, 163.5)]


@needs_node
def test_every_key_means_one_thing(tmp_path: Path) -> None:
    found = one(tmp_path, {"kind": "keys"})
    assert len(found["all"]) == len(set(found["all"])) > 60
    assert found["names"] == ["Ctrl+Shift+z", "?", "Shift+1", "1", "d", "Space", "+", "Shift+Enter", "[", "]"]


def test_types_hold() -> None:
    tsc = shutil.which("tsc")
    if tsc is None:
        pytest.skip("TypeScript is not installed: npm install --global typescript")
    done = subprocess.run([tsc, "--project", HERE / "jsconfig.json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
