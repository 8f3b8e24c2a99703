"""Limits on what a file may ask for, and the length of a line of error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from thriftseg.datasets import COCO, draw_labels, parse_offsets, read_polygons
from thriftseg.errors import ConfigError, DatasetError, ThriftsegError
from thriftseg.exchange.formats import FORMATS
from thriftseg.exchange.label_studio import decode_brush
from thriftseg.limits import ENTRIES, IMAGE_PIXELS, LimitError
from thriftseg.regions import DrawnPolygon, MaskRegion, PolygonRegion, decode_counts
from thriftseg.taxonomies import CITYSCAPES


class TestLimit:
    def test_the_limit_itself_is_allowed(self) -> None:
        IMAGE_PIXELS.check(IMAGE_PIXELS.default)
        with pytest.raises(
            DatasetError, match=r"huge\.png: too many pixels; expected at most 268435456; found 268435457"
        ):
            IMAGE_PIXELS.check(IMAGE_PIXELS.default + 1, "huge.png")

    def test_a_variable_raises_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", "300000000")
        IMAGE_PIXELS.check(300_000_000)
        with pytest.raises(ConfigError, match="at most 300000000"):
            IMAGE_PIXELS.check(300_000_001, fault=ConfigError)

    def test_the_variable_is_a_number(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("THRIFTSEG_LIMIT_IMAGE_PIXELS", "many")
        with pytest.raises(ConfigError, match="THRIFTSEG_LIMIT_IMAGE_PIXELS is no limit; expected a whole number"):
            IMAGE_PIXELS.check(1)

    def test_no_number_is_not_below_it(self) -> None:
        with pytest.raises(DatasetError, match="found nan"):
            IMAGE_PIXELS.check(float("nan"))


class TestLine:
    def test_a_long_part_gives_way_to_the_others(self) -> None:
        error = ThriftsegError("no such class", path="a/b.json", expected="sky", found="x" * 10**6, fix="name a class")
        assert 498 <= len(error.headline) <= 500
        assert error.headline.startswith("a/b.json: no such class; expected sky; found xxx")
        assert error.headline.endswith("xxx; fix: name a class")

    def test_all_parts_long(self) -> None:
        error = ThriftsegError("a" * 900, path="b" * 900, expected="c\n" * 900, found="d" * 900, fix="e" * 900)
        assert len(error.headline) <= 500
        assert "\n" not in error.headline
        assert all(letter * 20 in error.headline for letter in "abde")


def zigzag(corners: int, rows: int) -> np.ndarray:
    """A polygon whose every edge crosses all rows."""
    points = np.zeros((corners, 2), np.int32)
    points[:, 0] = np.arange(corners)
    points[1::2, 1] = rows
    return points


SIDE = 46_341  # whose square does not fit 32 bits
DECODED: list[tuple[str, Callable[[], object], str]] = [
    ("a box whose pixels wrap", lambda: MaskRegion([SIDE**2], SIDE, SIDE), "too many pixels; .* found 2147488281"),
    ("runs whose sum wraps", lambda: MaskRegion([2**62] * 4 + [4], 2, 2), f"too many pixels; .* found {2**62}"),
    ("negative sides", lambda: MaskRegion([2**40], -(2**20), -(2**20)), "too many pixels"),
    ("a far corner", lambda: PolygonRegion([(0, 0), (2**31, 0), (0, 5)]), "too many pixels from the corner"),
    (
        "a far corner before",
        lambda: PolygonRegion([(0, 0), (-(2.0**40), 0), (0, 5)]),
        "too many pixels from the corner",
    ),
    ("an endless number", lambda: decode_counts("o" * 10**6), "a number beyond 64 bits"),
    ("a brush of 4 GB", lambda: decode_brush([255, 255, 255, 255, 57, 27, 252, 96]), "found 1073741823"),
    ("a billion offsets", lambda: parse_offsets("-1..1000000000"), "too many frames; .* found 1000000001"),
    ("many ranges", lambda: parse_offsets(",".join(["1..200000"] * 9)), "too many frames; .* found 399999"),
    ("a long number", lambda: parse_offsets("1" * 5000), "cannot read the offsets"),
]


class TestDecoders:
    """Nothing below allocates what it is asked for, or it could not be a fast test."""

    @pytest.mark.parametrize(("decode", "message"), [case[1:] for case in DECODED], ids=[case[0] for case in DECODED])
    def test_too_much(self, decode: Callable[[], object], message: str) -> None:
        with pytest.raises((ThriftsegError, ValueError), match=message):
            decode()

    def test_polygons_of_many_corners_in_the_same_rows(self) -> None:
        """OpenCV takes a minute for 40 000 of them; as many that go around a disc are no trouble."""
        canvas = np.zeros((64, 128), np.uint8)
        with pytest.raises(LimitError, match="too many steps to fill a polygon"):
            DrawnPolygon(zigzag(40_000, 64)).paint(canvas, 1)
        angle = np.linspace(0, 2 * np.pi, 40_000)
        disc = np.rint(np.stack([64 + 30 * np.cos(angle), 32 + 30 * np.sin(angle)], axis=1)).astype(np.int32)
        DrawnPolygon(disc).paint(canvas, 1)
        corners = disc[(disc != np.roll(disc, 1, axis=0)).any(axis=1)]
        assert len(corners) < 250
        np.testing.assert_array_equal(canvas, cv2.fillPoly(np.zeros_like(canvas), [corners], 1))

    def test_polygons_that_cross_too_many_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        canvas, region = np.zeros((64, 128), np.uint8), PolygonRegion(zigzag(100, 64))
        region.paint(canvas, 1)
        monkeypatch.setenv("THRIFTSEG_LIMIT_ENTRIES", str(100 * 64 - 1))
        with pytest.raises(LimitError, match="too many entries; expected at most 6399; found 6400"):
            region.paint(canvas, 1)
        assert ENTRIES.value == 6399


class TestFiles:
    """The error names the file."""

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ({"imgHeight": 60_000, "imgWidth": 60_000}, "too many pixels"),
            ({"imgHeight": 0, "imgWidth": 8}, "an image without pixels|too small|malformed"),
            ({"polygon": [[0, 0], [2**31, 0], [5, 5]]}, "too many pixels from the corner"),
            ({"polygon": [[0, 0], [-1e300, 0], [5, 5]]}, "too many pixels from the corner"),
            ({"polygon": zigzag(40_000, 64).tolist()}, "too many steps to fill a polygon"),
        ],
        ids=["height", "no height", "corner", "corner before", "corners"],
    )
    def test_polygon_files(self, tmp_path: Path, content: dict[str, object], message: str) -> None:
        path = tmp_path / "a_polygons.json"
        objects = [{"label": "car", "polygon": content.pop("polygon", [[0, 0], [5, 0], [5, 5]])}]
        path.write_text(json.dumps({"imgHeight": 64, "imgWidth": 64, "objects": objects, **content}))
        with pytest.raises(DatasetError, match=rf"a_polygons\.json: .*({message})"):
            draw_labels(read_polygons(path), CITYSCAPES)
        with pytest.raises(DatasetError, match=rf"a_polygons\.json: .*({message})"):
            FORMATS["cityscapes"].read(path)[0].paint((64, 64), {"car": 13})

    @pytest.mark.parametrize(
        ("meta", "frames", "message"),
        [
            ("<stop_frame>10000000</stop_frame>", (0, 5), "too many frames; expected at most 262144; found 10000001"),
            ("<size>10000000</size>", (0, 5), "too many frames"),
            ("<stop_frame>5</stop_frame>", (0, 10**9), "too many frames; expected at most 262144; found 1000000000"),
            (f"<stop_frame>{10**30}</stop_frame>", (0, 5), "malformed"),
            ("<stop_frame>250000</stop_frame>", tuple(range(0, 60, 3)), "too many shapes in the frames of tracks"),
        ],
    )
    def test_tracks(self, tmp_path: Path, meta: str, frames: tuple[int, ...], message: str) -> None:
        box = '<box frame="{}" outside="0" occluded="0" xtl="0" ytl="0" xbr="2" ybr="2" z_order="0"/>'
        tracks = [f'<track id="0" label="car">{"".join(map(box.format, frames))}</track>']
        tracks += [f'<track id="{n}" label="car">{box.format(n)}</track>' for n in frames[1:] if len(frames) > 9]
        path = tmp_path / "drive.xml"
        path.write_text(f"<annotations><meta><task>{meta}</task></meta>{''.join(tracks)}</annotations>")
        with pytest.raises(DatasetError, match=rf"drive\.xml: .*{message}"):
            FORMATS["cvat-video"].read(path)

    def test_images_of_coco(self, tmp_path: Path) -> None:
        image = {"id": 1, "file_name": "a.jpg", "height": 60_000, "width": 60_000}
        path = tmp_path / "annotations" / "instances_val2017.json"
        path.parent.mkdir()
        path.write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
        with pytest.raises(DatasetError, match=r"instances_val2017\.json: .*too many pixels"):
            COCO(tmp_path).clips("val")
