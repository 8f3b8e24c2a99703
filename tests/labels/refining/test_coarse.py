from __future__ import annotations

import os
import signal
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest

from thriftseg.cli.main import main
from thriftseg.costs import CostModel
from thriftseg.datamodules import SemanticDataModule
from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.datasets.polygons import draw_labels, read_polygons
from thriftseg.errors import ConfigError, LabelStoreError
from thriftseg.labels.refining.coarse import CoarseStyle, generate_coarse, label_coarse, polygon_path
from thriftseg.stores.label_store import LabelStore, rows_equal
from thriftseg.types import LabelKind

SIZE = (1024, 2048)  # lengths and areas of a style are those of such a frame
STEADY = CoarseStyle(erosion=0, min_area=0)


def empty() -> np.ndarray:
    return np.full(SIZE, 255, np.uint8)


def drawn(polygons) -> np.ndarray:
    label = empty()
    for polygon in polygons:
        cv2.fillPoly(label, [polygon.points], polygon.train_id)
    return label


def disc(label: np.ndarray, centre: tuple[int, int], radius: int, train_id: int) -> np.ndarray:
    return cv2.circle(label, centre, radius, train_id, -1)


def test_without_erosion_a_rectangle_is_drawn_exactly():
    label = empty()
    label[100:300, 200:600] = 2
    (polygon,) = generate_coarse(label, style=STEADY)
    assert sorted(polygon.points.tolist()) == [[200, 100], [200, 299], [599, 100], [599, 299]]
    assert polygon.area == 200 * 400
    assert (drawn([polygon]) == label).all()


@pytest.mark.parametrize("vertices", [4, 5, 8, 12, 30])
def test_vertex_budget_is_kept_and_used(vertices):
    label = disc(empty(), (1000, 500), 300, 1)
    (polygon,) = generate_coarse(label, style=CoarseStyle(vertices, 0, 0))
    assert len(polygon.points) <= vertices
    corners = 2 ** int(np.log2(vertices))  # Douglas-Peucker halves the arcs of a circle
    regular = corners / (2 * np.pi) * np.sin(2 * np.pi / corners)  # area of the inscribed polygon over the disc's
    assert polygon.area / np.count_nonzero(label == 1) > 0.99 * regular


def test_more_vertices_cover_no_less():
    label = disc(empty(), (1000, 500), 300, 1)
    areas = [generate_coarse(label, style=CoarseStyle(vertices, 0, 0))[0].area for vertices in (4, 8, 16, 32)]
    assert all(before < after for before, after in pairwise(areas))


def test_corners_err_by_the_jitter():
    """The corners of a square are the only ones that can be found, so their distance from it is the error."""
    label = np.full((1024, 2048), 255, np.uint8)
    label[200:801, 600:1201] = 13
    corners = np.array([[600, 200], [600, 800], [1200, 800], [1200, 200]])
    style = CoarseStyle(vertices=4, erosion=0, jitter=20)
    found = [generate_coarse(label, style=style, seed=seed)[0].points for seed in range(200)]
    errors = np.concatenate([points - corners for points in found]).ravel()
    assert errors.std() == pytest.approx(20, rel=0.1)
    assert abs(errors.mean()) < 2


def test_neighbours_of_a_class_are_drawn_as_one_with_what_lies_between():
    label = np.zeros((1024, 2048), np.uint8)
    label[300:500, 400:600] = label[300:500, 620:820] = 13
    apart, together = (
        [polygon for polygon in generate_coarse(label, style=CoarseStyle(erosion=0, gap=gap)) if polygon.train_id == 13]
        for gap in (10, 40)
    )
    assert sorted(polygon.area for polygon in apart) == [200 * 200, 200 * 200]
    assert [polygon.area for polygon in together] == [pytest.approx(200 * 420, abs=100)]  # the brush is round


@pytest.mark.parametrize("erosion", [10, 40])
def test_erosion_keeps_its_distance_from_the_border(erosion):
    label = empty()
    label[200:800, 300:1500] = 0
    distances = []
    for seed in range(8):
        (polygon,) = generate_coarse(label, style=CoarseStyle(erosion=erosion, min_area=0), seed=seed)
        left, top, columns, rows = cv2.boundingRect(polygon.points)
        distances += [left - 300, top - 200, 1500 - left - columns, 800 - top - rows]
    assert 0.5 * erosion - 1 <= min(distances)
    assert max(distances) <= 1.5 * erosion + 1
    assert np.mean(distances) == pytest.approx(erosion, rel=0.15)


def test_the_border_of_the_frame_is_not_eroded():
    label = np.zeros(SIZE, np.uint8)
    (polygon,) = generate_coarse(label)
    assert polygon.area == label.size
    label[:512] = 1
    upper, lower = sorted(generate_coarse(label), key=lambda polygon: -polygon.train_id)
    assert upper.points.min(axis=0).tolist() == [0, 0]
    assert 512 - 48 <= upper.points[:, 1].max() < 512 < lower.points[:, 1].min() <= 512 + 48
    assert lower.points.max(axis=0).tolist() == [2047, 1023]


def test_erosion_scales_with_the_diagonal():
    label = empty()
    label[200:800, 300:1500] = 0
    (large,) = generate_coarse(label)
    (small,) = generate_coarse(np.ascontiguousarray(label[::4, ::4]))
    assert small.area * 16 == pytest.approx(large.area, rel=0.02)


def test_thin_objects_stay():
    label = empty()
    label[100:900, 500:512] = 5  # a pole of 12 px, against an erosion of 32
    (polygon,) = generate_coarse(label)
    _, _, columns, rows = cv2.boundingRect(polygon.points)
    assert 4 <= columns <= 8
    assert rows > 750


def test_small_objects_are_left_out():
    label = empty()
    label[0:16, 0:16] = 3
    label[100:116, 100:115] = 4
    polygons = generate_coarse(label, style=CoarseStyle(erosion=0, min_area=256))
    assert [polygon.train_id for polygon in polygons] == [3]


def test_smaller_objects_lie_in_front():
    label = np.zeros(SIZE, np.uint8)
    label[300:700, 800:1200] = 13  # fills a hole of the class around it
    label[400:500, 900:1000] = 2
    polygons = generate_coarse(label)
    assert [polygon.train_id for polygon in polygons] == [0, 13, 2]
    coarse = drawn(polygons)
    assert (coarse[360:640, 860:880] == 13).all()
    assert coarse[450, 950] == 2
    assert coarse[310, 810] == 0  # what the eroded car leaves of the hole is covered by the class around it


def test_every_component_and_instance_has_its_own_polygon():
    label, instances = empty(), np.zeros(SIZE, np.int32)
    label[0:200, 0:200] = label[400:600, 0:200] = 1  # two components
    label[0:200, 500:900] = 13
    instances[0:200, 500:700], instances[0:200, 700:900] = 13001, 13002  # two touching cars
    label[400:600, 500:900] = 13  # a group
    classes = [polygon.train_id for polygon in generate_coarse(label, instances, {13})]
    assert sorted(classes) == [1, 1, 13, 13, 13]
    assert sorted(polygon.train_id for polygon in generate_coarse(label)) == [1, 1, 13, 13]


def test_diagonal_pixels_are_one_component():
    label = empty()
    for step in range(20):
        label[step * 20 : step * 20 + 20, step * 20 : step * 20 + 20] = 3
    assert len(generate_coarse(label, style=STEADY)) == 1


def test_seed_decides():
    label = disc(disc(empty(), (500, 500), 200, 1), (1200, 500), 150, 2)
    first, again, other = (generate_coarse(label, seed=seed) for seed in (0, 0, 1))
    assert [polygon.points.tolist() for polygon in first] == [polygon.points.tolist() for polygon in again]
    assert [polygon.points.tolist() for polygon in first] != [polygon.points.tolist() for polygon in other]


def test_nothing_labelled_gives_nothing():
    assert generate_coarse(empty()) == []


def test_lines_of_one_pixel_have_no_polygon():
    label = empty()
    label[500, 100:1500] = 5
    assert generate_coarse(label, style=STEADY) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vertices": 3}, "vertices of coarse polygons; expected at least 4; found 3"),
        ({"erosion": -1}, "erosion of coarse polygons; expected at least 0; found -1"),
        ({"min_area": float("nan")}, "min_area of coarse polygons; expected at least 0; found nan"),
    ],
)
def test_style_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        CoarseStyle(**settings)


class TestCommand:
    def test_labels_polygons_and_costs(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        summary = label_coarse(dataset, "train", store=tmp_path, source="drawn", progress=False)
        store = LabelStore(tmp_path, "drawn", dataset.taxonomy)
        assert (summary.written, summary.kept, len(store.labels)) == (3, 0, 3)
        assert store.verify() == []
        model, costs = CostModel.named("polygon"), []
        for clip in dataset.clips("train"):
            (number,) = clip.annotated
            fine, coarse = dataset.read_label(clip, number), store.read(clip.video, number)
            polygons = read_polygons(polygon_path(store, clip.video, number))
            assert (draw_labels(polygons, dataset.taxonomy) == coarse).all()
            assert all(3 <= len(polygon.points) <= 12 for polygon in polygons.polygons)
            covered = (coarse != 255) & (fine != 255)
            assert (coarse == fine)[covered].mean() > 0.95
            assert 0.4 < covered.sum() / (fine != 255).sum() < 0.95
            row = store.labels[clip.video, number]
            assert (row.label_kind, len(row.parents)) == (LabelKind.COARSE, 1)
            action = store.actions[row.parents[0]]
            assert action.cost_model == "polygon"
            assert action.cost.seconds == pytest.approx(7 / 90 * model.manual_frame("cityscapes", fine).seconds)
            costs.append(action.cost.seconds)
        assert summary.cost.seconds == pytest.approx(sum(costs))
        assert "3 coarse labels written" in str(summary)

    def test_published_cost_is_seven_minutes(self, cityscapes_root, tmp_path):
        summary = label_coarse(
            Cityscapes(cityscapes_root), "train", store=tmp_path, source="c", cost_model="published", progress=False
        )
        assert summary.cost.seconds == pytest.approx(3 * 7 * 60)

    def test_no_published_cost(self, camvid_root, tmp_path):
        with pytest.raises(ConfigError, match="no annotation time is published for 'camvid'"):
            label_coarse(CamVid(camvid_root), "train", store=tmp_path, cost_model="published", progress=False)
        assert not any(tmp_path.iterdir())

    def test_name_of_given_coarse_labels_is_refused(self, cityscapes_root, tmp_path):
        with pytest.raises(ConfigError, match="has coarse labels of its own, which a mixture knows as 'coarse'"):
            label_coarse(Cityscapes(cityscapes_root), "train", store=tmp_path, progress=False)

    def test_datamodule_trains_on_the_labels(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        summary = label_coarse(dataset, "train", store=tmp_path, progress=False)
        frames = summary.written
        drawn = Mixture(parts=[MixturePart("coarse")], store=tmp_path).draw(dataset, "train")
        assert [sample.kind for sample in drawn.samples] == [LabelKind.COARSE] * frames
        assert drawn.cost().seconds == pytest.approx(summary.cost.seconds)
        half = Mixture(coarse_percent=50, store=tmp_path).draw(dataset, "train")
        assert sorted({sample.kind for sample in half.samples}) == [LabelKind.MANUAL, LabelKind.COARSE]
        data = SemanticDataModule(
            CamVid(camvid_root),
            mixture=Mixture(parts=[MixturePart("coarse")], store=tmp_path),
            crop=(48, 96),
            batch_size=2,
            num_workers=0,
        )
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        assert set(batch["kind"].tolist()) == {LabelKind.COARSE}
        assert 0 < (batch["label"] != 255).float().mean() < 1

    def test_killed_run_ends_in_the_same_files(self, camvid_root, tmp_path):
        process = get_context("fork").Process(target=label_until_killed, args=(camvid_root, tmp_path / "killed"))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        dataset = CamVid(camvid_root)
        resumed = label_coarse(dataset, "train", store=tmp_path / "killed", progress=False)
        whole = label_coarse(dataset, "train", store=tmp_path / "whole", progress=False)
        assert (resumed.kept, resumed.written) == (3, whole.written - 3)
        stores = [LabelStore(tmp_path / name, "coarse", dataset.taxonomy) for name in ("killed", "whole")]
        assert rows_equal(*stores)
        files = [{path.relative_to(s.folder): path.read_bytes() for path in s.folder.rglob("*.*")} for s in stores]
        assert files[0] == files[1]

    def test_lost_polygons_are_drawn_again(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        label_coarse(dataset, "train", store=tmp_path, progress=False)
        store = LabelStore(tmp_path, "coarse", dataset.taxonomy)
        path = polygon_path(store, *next(iter(store.labels)))
        content = path.read_bytes()
        path.unlink()
        assert label_coarse(dataset, "train", store=tmp_path, progress=False).written == 1
        assert path.read_bytes() == content

    def test_another_style_is_refused(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        label_coarse(dataset, "train", store=tmp_path, progress=False)
        with pytest.raises(LabelStoreError, match="made in another way"):
            label_coarse(dataset, "train", store=tmp_path, style=CoarseStyle(vertices=6), progress=False)

    def test_unreadable_label_is_listed_and_the_others_are_made(self, camvid_copy, tmp_path, capsys):
        clip = CamVid(camvid_copy).clips("train")[0]
        broken = clip.labels[clip.annotated[0]]
        broken.write_bytes(b"no image")
        where = ["--dataset=camvid", f"--root={camvid_copy}", f"--store={tmp_path / 's'}"]
        assert main(["label", "coarse", *where]) == 2
        message = capsys.readouterr().err
        assert "1 of 24 labels could not be made" in message
        assert broken.name in message
        assert (tmp_path / "s/coarse/manifest.jsonl").read_text().count('"kind":"coarse"') >= 2


def label_until_killed(root: Path, store: Path) -> None:
    """Dies when the polygons and the action of the fourth frame are on disk and its label is not."""
    written, write = [], LabelStore.write

    def killed_write(self, video, number, *arguments, **options):
        if len(written) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        written.append((video, number))
        return write(self, video, number, *arguments, **options)

    LabelStore.write = killed_write
    label_coarse(CamVid(root), "train", store=store, progress=False)
