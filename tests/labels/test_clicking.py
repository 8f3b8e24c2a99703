from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from thriftseg.cli.main import main
from thriftseg.costs import CostModel
from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart
from thriftseg.datasets import CamVid, Cityscapes
from thriftseg.datasets.images import read_label_png, write_label_png
from thriftseg.errors import LabelStoreError
from thriftseg.labels.clicking.generate import generate_clicks, import_clicks, label_clicks, scaled_min_component
from thriftseg.labels.clicking.point_maps import write_point_maps
from thriftseg.stores.label_store import LabelStore, rows_equal
from thriftseg.types import LabelKind

THING = 13


def empty(height: int = 64, width: int = 96) -> np.ndarray:
    return np.full((height, width), 255, np.uint8)


class TestGenerate:
    def test_square_is_clicked_in_its_centre(self):
        label = empty()
        label[10:41, 20:51] = 2
        assert generate_clicks(label) == [(35, 25, 2)]

    def test_even_square_rounds_half_up(self):
        label = empty()
        label[0:30, 0:30] = 2
        assert generate_clicks(label) == [(15, 15, 2)]

    def test_ring_is_clicked_on_the_ring(self):
        label = empty()
        label[5:45, 5:45] = 2
        label[15:35, 15:35] = 255
        ((column, row, train_id),) = generate_clicks(label, seed=1)
        assert train_id == label[row, column] == 2
        assert generate_clicks(label, seed=1) == [(column, row, 2)]
        assert len({tuple(generate_clicks(label, seed=seed)) for seed in range(8)}) > 4

    @pytest.mark.parametrize(("size", "clicks"), [(511, 0), (512, 1)])
    def test_small_components_are_dropped(self, size, clicks):
        label = empty()
        label.ravel()[: 96 * 5] = 4
        label[5, : size - 96 * 5] = 4
        assert np.count_nonzero(label == 4) == size
        assert len(generate_clicks(label)) == clicks

    def test_diagonal_pixels_are_one_component(self):
        label = empty()
        np.fill_diagonal(label, 3)
        assert len(generate_clicks(label, min_component=64)) == 1

    def test_every_component_gets_a_click(self):
        label = empty()
        label[0:20, 0:30] = label[40:60, 0:30] = label[40:60, 50:90] = 1
        assert [(c, r) for c, r, _ in generate_clicks(label)] == [(15, 10), (15, 50), (70, 50)]

    def test_instances_are_never_dropped_and_never_merged(self):
        label, instances = empty(), np.zeros((64, 96), np.int32)
        label[10, 10:15] = THING
        instances[10, 10:15] = THING * 1000
        label[10:40, 15:45] = THING
        instances[10:40, 15:45] = THING * 1000 + 1
        assert generate_clicks(label, instances, {THING}) == [(12, 10, THING), (30, 25, THING)]

    def test_instance_in_two_pieces_is_one_object(self):
        label, instances = empty(), np.zeros((64, 96), np.int32)
        for columns in (slice(0, 10), slice(80, 90)):
            label[10:20, columns] = THING
            instances[10:20, columns] = THING * 1000 + 7
        ((column, row, _),) = generate_clicks(label, instances, {THING})
        assert instances[row, column] == THING * 1000 + 7

    def test_groups_are_treated_like_regions(self):
        label, instances = empty(), np.zeros((64, 96), np.int32)
        label[0:30, 0:30] = THING  # a group: no instance
        label[40:45, 40:45] = THING  # too small a group
        assert generate_clicks(label, instances, {THING}) == [(15, 15, THING)]

    def test_instances_of_other_classes_are_no_objects(self):
        label = empty()
        label[0:30, 0:30] = 2
        instances = np.where(label == 2, THING * 1000, 0).astype(np.int32)
        assert generate_clicks(label, instances, {THING}) == [(15, 15, 2)]

    def test_void_gets_no_click(self):
        assert generate_clicks(empty()) == []

    def test_clicks_lie_on_their_class(self):
        rng = np.random.default_rng(0)
        label = np.kron(rng.integers(0, 5, (8, 12)), np.ones((8, 8))).astype(np.uint8)
        clicks = generate_clicks(label, min_component=64)
        assert clicks
        assert all(label[row, column] == train_id for column, row, train_id in clicks)

    def test_minimum_scales_with_area(self):
        assert scaled_min_component(1024, 2048) == 512
        assert scaled_min_component(360, 480) == 42
        assert scaled_min_component(2, 2) == 1


class TestCommand:
    def test_clicks_of_a_split(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        summary = label_clicks(dataset, "train", store=tmp_path, progress=False)
        assert (summary.images, summary.kept) == (3, 0)
        assert summary.cost == CostModel.named("published").clicks(summary.clicks)
        store = LabelStore(tmp_path, "clicks", dataset.taxonomy)
        assert store.verify() == []
        raw = json.loads(store.click_path.read_text())
        for clip in dataset.clips("train"):
            (number,) = clip.annotated
            label = dataset.read_label(clip, number)
            clicks = store.points(clip.video, number)
            assert clicks
            assert all(label[row, column] == train_id for column, row, train_id in clicks)
            assert len(raw[clip.video]) == len(clicks)
        assert f"{summary.clicks} clicks on 3 frames" in str(summary)

    @pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
    def test_same_seed_gives_the_same_file(self, cityscapes_root, tmp_path, workers):
        dataset = Cityscapes(cityscapes_root)
        for name, number in (("a", 1), ("b", workers)):
            label_clicks(dataset, "train", store=tmp_path / name, devices=number, progress=False)
        first, second = (LabelStore(tmp_path / name, "clicks", dataset.taxonomy) for name in "ab")
        assert rows_equal(first, second)
        assert first.click_path.read_bytes() == second.click_path.read_bytes()
        assert first.manifest_path.read_bytes() == second.manifest_path.read_bytes()

    def test_second_run_keeps_everything(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        first = label_clicks(dataset, "train", store=tmp_path, progress=False)
        content = (tmp_path / "clicks/clicks.json").read_bytes()
        again = label_clicks(dataset, "train", store=tmp_path, progress=False)
        assert (again.images, again.kept, again.clicks) == (0, first.images, first.clicks)
        assert (tmp_path / "clicks/clicks.json").read_bytes() == content
        with pytest.raises(LabelStoreError, match="made in another way"):
            label_clicks(dataset, "train", store=tmp_path, seed=1, progress=False)

    def test_unreadable_label_is_listed_and_the_others_are_made(self, camvid_copy, tmp_path):
        dataset = CamVid(camvid_copy)
        clip = dataset.clips("train")[0]
        broken = clip.labels[clip.annotated[0]]
        whole = broken.read_bytes()
        broken.write_bytes(b"no image")
        frames = sum(len(clip.annotated) for clip in dataset.clips("train"))
        with pytest.raises(LabelStoreError, match=rf"1 of {frames} labels could not be made[\s\S]*{broken.name}"):
            label_clicks(dataset, "train", store=tmp_path / "s", progress=False)
        assert len(LabelStore(tmp_path / "s", "clicks", dataset.taxonomy).labels) == frames - 1
        broken.write_bytes(whole)
        assert label_clicks(dataset, "train", store=tmp_path / "s", progress=False).images == 1

    def test_clicks_enter_a_mixture_as_points(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        summary = label_clicks(dataset, "train", store=tmp_path, progress=False)
        drawn = Mixture(parts=[MixturePart("clicks")], store=tmp_path).draw(dataset, "train")
        assert {sample.kind for sample in drawn.samples} == {LabelKind.CLICKS}
        assert sum(len(sample.points) for sample in drawn.samples) == summary.clicks
        assert drawn.cost() == summary.cost


class TestImport:
    @pytest.fixture
    def public(self, cityscapes_root, tmp_path):
        content = {
            clip.video: [{"cls": 7, "x": 3.7, "y": 2}, {"cls": 4, "x": 1, "y": 1}]
            for clip in Cityscapes(cityscapes_root).clips("train")
        }
        path = tmp_path / "public.json"
        path.write_text(json.dumps(content | {"elsewhere_000000_000019": []}))
        return path

    def test_public_file(self, cityscapes_root, public, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        summary = import_clicks(dataset, "train", public, store=tmp_path)
        assert (summary.images, summary.clicks, summary.cost.seconds) == (3, 3, 7.5)
        store = LabelStore(tmp_path, "clicks", dataset.taxonomy)
        assert {store.points(*frame) for frame in store.labels} == {((3, 2, 0),)}
        assert import_clicks(dataset, "train", public, store=tmp_path).kept == 3

    def test_missing_frame(self, cityscapes_root, public, tmp_path):
        content = json.loads(public.read_text())
        video = Cityscapes(cityscapes_root).clips("train")[1].video
        del content[video]
        public.write_text(json.dumps(content))
        with pytest.raises(LabelStoreError, match=f"lacks 1 of 3 frames of split 'train'; expected a key '{video}'"):
            import_clicks(Cityscapes(cityscapes_root), "train", public, store=tmp_path)

    def test_click_outside_the_frame(self, cityscapes_root, public, tmp_path):
        public.write_text(public.read_text().replace('"x": 3.7', '"x": 128'))
        with pytest.raises(LabelStoreError, match="outside the frame; expected x < 128, y < 64; found x 128, y 2"):
            import_clicks(Cityscapes(cityscapes_root), "train", public, store=tmp_path)


KILLED = """
import os, signal, sys
from thriftseg.datasets import CamVid
from thriftseg.stores.manifest import Manifest, canonical
from thriftseg.labels.clicking import generate as clicks

clicks._FLUSH_EVERY, calls, append = 5, 0, Manifest.append

def killed_append(self, rows):
    global calls
    calls += 1
    if calls == 2:  # the click file has the second batch; one and a half rows reach the manifest
        line = "".join(canonical(row) + "\\n" for row in rows)
        with self._own.open("a") as stream:
            stream.write(line[: line.index("\\n") + 40])
        os.kill(os.getpid(), signal.SIGKILL)
    return append(self, rows)

Manifest.append = killed_append
clicks.label_clicks(CamVid(sys.argv[1]), "train", store=sys.argv[2], progress=False)
"""


def test_a_killed_run_goes_on_to_the_same_files(camvid_root, tmp_path):
    command = [sys.executable, "-c", KILLED, str(camvid_root), str(tmp_path / "killed")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    dataset = CamVid(camvid_root)
    resumed = label_clicks(dataset, "train", store=tmp_path / "killed", progress=False)
    whole = label_clicks(dataset, "train", store=tmp_path / "whole", progress=False)
    assert (resumed.kept, resumed.images) == (5, whole.images - 5)
    assert (resumed.clicks, resumed.cost) == (whole.clicks, whole.cost)
    for name in ("clicks.json", "manifest.jsonl"):
        assert (tmp_path / "killed/clicks" / name).read_bytes() == (tmp_path / "whole/clicks" / name).read_bytes()


class TestPointMaps:
    def test_round_trip(self, cityscapes_root, tmp_path, capsys):
        where = ["label", "clicks", "--dataset=cityscapes", f"--root={cityscapes_root}"]
        assert main([*where, f"--store={tmp_path / 'a'}", "--point_maps=true"]) == 0
        folder = tmp_path / "a/clicks/point_maps"
        assert f"point maps in {folder}" in capsys.readouterr().out
        assert main([*where, f"--store={tmp_path / 'b'}", f"--path={folder}"]) == 0
        dataset = Cityscapes(cityscapes_root)
        made, read = (LabelStore(tmp_path / name, "clicks", dataset.taxonomy) for name in "ab")
        assert len(made.labels) == 3
        for clip in dataset.clips("train"):
            (number,) = clip.annotated
            points = made.points(clip.video, number)
            drawn = read_label_png(folder / clip.video / f"{number:06d}.png")
            assert np.count_nonzero(drawn != 255) == len(points)
            assert all(drawn[row, column] == train_id for column, row, train_id in points)
            assert sorted(read.points(clip.video, number)) == sorted(points)
        costs = [sum((action.cost for action in store.actions.values()), start=0) for store in (made, read)]
        assert costs[0] == costs[1]

    def test_second_import_keeps_everything_and_other_maps_are_refused(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        label_clicks(dataset, "train", store=tmp_path, progress=False)
        folder = write_point_maps(dataset, "train", store=tmp_path, progress=False)
        first = import_clicks(dataset, "train", folder, store=tmp_path, source="read")
        assert import_clicks(dataset, "train", folder, store=tmp_path, source="read").kept == first.images
        path = sorted(folder.rglob("*.png"))[0]
        ids = read_label_png(path).copy()
        ids[ids != 255] = 255
        write_label_png(path, ids)
        with pytest.raises(LabelStoreError, match="made in another way"):
            import_clicks(dataset, "train", folder, store=tmp_path, source="read")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda ids: ids[:-1], "has another size than the frame; expected 128x64; found 128x63"),
            (lambda ids: np.full_like(ids, 3), "a common label map in place of a point map"),
            (lambda ids: np.where(ids == 255, 255, 99).astype(np.uint8), "outside the class table 'camvid'.*found 99"),
            (None, r"1 of \d+ point maps are missing; expected "),
        ],
    )
    def test_maps_that_are_none(self, camvid_root, tmp_path, change, message):
        dataset = CamVid(camvid_root)
        label_clicks(dataset, "train", store=tmp_path, progress=False)
        folder = write_point_maps(dataset, "train", store=tmp_path, progress=False)
        path = sorted(folder.rglob("*.png"))[0]
        if change is None:
            path.unlink()
        else:
            write_label_png(path, change(read_label_png(path)))
        with pytest.raises(LabelStoreError, match=message):
            import_clicks(dataset, "train", folder, store=tmp_path, source="read")

    def test_no_clicks_no_maps(self, camvid_root, tmp_path):
        with pytest.raises(LabelStoreError, match="source 'clicks' has no clicks for split 'train'"):
            write_point_maps(CamVid(camvid_root), "train", store=tmp_path)

    def test_old_names_of_options_are_refused(self, camvid_root, tmp_path, capsys):
        where = ["label", "clicks", "--dataset=camvid", f"--root={camvid_root}"]
        assert main([*where, "--import_file=a.json"]) == 2
        assert "thriftseg label clicks has no --import_file any more; fix: write --path" in capsys.readouterr().err
