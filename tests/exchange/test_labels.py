from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from thriftseg.cli.main import main
from thriftseg.costs import CostModel
from thriftseg.datamodules.mixing.mixture import Mixture, MixturePart
from thriftseg.datasets import CamVid, Cityscapes, Folder, write_label_png
from thriftseg.datasets.registry import create
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError
from thriftseg.exchange import export_labels, import_labels
from thriftseg.exchange.formats import FORMATS
from thriftseg.parsing import read_xml
from thriftseg.stores.label_store import LabelStore
from thriftseg.types import LabelKind

HEIGHT, WIDTH = 64, 128


def exported(dataset, folder, format, **settings):
    return export_labels(dataset, "train", folder, format, progress=False, **settings)


def imported(dataset, folder, format, store, **settings):
    return import_labels(dataset, "train", folder, format, source="mended", store=store, progress=False, **settings)


def stored(dataset, root, source="mended"):
    return LabelStore(root, source, dataset.taxonomy)


@pytest.fixture
def noisy(camvid_root, tmp_path):
    """CamVid with labels of holes, specks and much without label in the store, each with its confidence."""
    dataset = CamVid(camvid_root)
    store = stored(dataset, tmp_path / "store", "noise")
    rng = np.random.default_rng(0)
    for clip in dataset.clips("train")[:2]:
        height, width = dataset.clip_size(clip)
        for number in list(clip.frames)[:2]:
            label = rng.integers(0, dataset.taxonomy.num_classes + 4, (height // 4, width // 4)).astype(np.uint8)
            label[label >= dataset.taxonomy.num_classes] = 255
            label = np.kron(label, np.ones((4, 4), np.uint8))
            label[::7, ::5] = 3
            store.write(
                clip.video,
                number,
                label,
                kind=LabelKind.PROPAGATED,
                generator="noise",
                confidence=float(rng.random()),
                parents=[f"manual:camvid/{clip.video}/{clip.annotated[0]:06d}"],
            )
    return dataset, store


class TestRoundTrip:
    @pytest.mark.parametrize(
        ("reader", "format"),
        [
            *(("cityscapes", format) for format in FORMATS),
            *(
                (reader, format)
                for reader in ("camvid", "idd", "veis", "scenenet", "folder")
                for format in ("cityscapes", "davis")
            ),
        ],
    )
    def test_manual_labels_come_back(self, reader, format, request, tmp_path):
        dataset = create(reader, request.getfixturevalue(f"{reader}_root"))
        summary = exported(dataset, tmp_path / "out", format)
        back = imported(dataset, tmp_path / "out", format, tmp_path / "store")
        frames = [(clip, number) for clip in dataset.clips("train") for number in clip.annotated]
        assert (summary.frames, back.written, back.kept, back.empty) == (len(frames), len(frames), 0, 0)
        store = stored(dataset, tmp_path / "store")
        for clip, number in frames:
            np.testing.assert_array_equal(store.read(clip.video, number), dataset.read_label(clip, number))
        assert store.verify() == []

    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("objects", ["class", "component"])
    def test_holes_and_specks_come_back(self, noisy, format, objects, tmp_path):
        dataset, store = noisy
        exported(dataset, tmp_path / "out", format, source="noise", store=store.root, objects=objects)
        imported(dataset, tmp_path / "out", format, store.root)
        back = stored(dataset, store.root)
        assert set(back.labels) == set(store.labels)
        for frame in store.labels:
            np.testing.assert_array_equal(back.read(*frame), store.read(*frame))

    @pytest.mark.parametrize("format", FORMATS)
    def test_the_second_export_equals_the_first(self, noisy, format, tmp_path):
        dataset, store = noisy
        exported(dataset, tmp_path / "a", format, source="noise", store=store.root)
        imported(dataset, tmp_path / "a", format, store.root)
        exported(dataset, tmp_path / "b", format, source="mended", store=store.root)
        files = [{p.relative_to(tmp_path / n): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "ab"]
        assert files[0].keys() == files[1].keys()
        assert files[0] == files[1]


class TestExport:
    def test_instances_become_objects(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        exported(dataset, tmp_path, "coco")
        content = json.loads((tmp_path / "annotations.json").read_text())
        names = {category["id"]: category["name"] for category in content["categories"]}
        assert [names[1], names[14], len(names)] == ["road", "car", 19]
        assert content["categories"][13]["color"] == [0, 0, 142]
        for image, clip in zip(content["images"], dataset.clips("train"), strict=True):
            (number,) = clip.annotated
            instances = dataset.read_instances(clip, number)
            cars = [a for a in content["annotations"] if a["image_id"] == image["id"] and a["category_id"] == 14]
            single = sorted(a["area"] for a in cars if not a["iscrowd"])
            areas = np.bincount(instances.ravel(), minlength=14000)[13000:14000]
            assert single == sorted(areas[areas > 0].tolist())
            assert image["file_name"] == f"{clip.video}/{clip.frames[number].name}"
        assert sum(1 for a in content["annotations"] if not a["iscrowd"]) > 0

    def test_least_confident_frames(self, noisy, tmp_path):
        dataset, store = noisy
        summary = exported(
            dataset, tmp_path / "out", "coco", source="noise", store=store.root, frames="least-confident:2"
        )
        assert summary.frames == 2
        images = json.loads((tmp_path / "out/annotations.json").read_text())["images"]
        rows = sorted(store.labels.values(), key=lambda row: row.confidence)[:2]
        clips = {clip.video: clip for clip in dataset.clips("train")}
        wanted = {f"{row.video}/{clips[row.video].frames[row.frame].name}" for row in rows}
        assert {image["file_name"] for image in images} == wanted
        back = imported(dataset, tmp_path / "out", "coco", store.root)
        assert back.written == 2

    def test_masks_are_tracks_of_one_frame(self, noisy, tmp_path):
        dataset, store = noisy
        exported(dataset, tmp_path, "cvat-video", source="noise", store=store.root)
        clip = dataset.clips("train")[0]
        root = read_xml(tmp_path / f"{clip.video}.xml")
        tracks = [[(int(m.get("frame")), m.get("outside")) for m in track] for track in root.findall("track")]
        assert {tuple(track) for track in tracks} == {((0, "0"), (1, "1")), ((1, "0"), (2, "1"))}
        assert len(tracks) == 2 * dataset.taxonomy.num_classes
        assert root.findtext("meta/task/stop_frame") == str(len(clip.frames) - 1)

    def test_the_last_frame_needs_no_end(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        clip, store = dataset.clips("train")[0], stored(CamVid(camvid_root), tmp_path / "s", "last")
        label = np.full(dataset.clip_size(clip), 3, np.uint8)
        store.write(clip.video, max(clip.frames), label, kind=LabelKind.PROPAGATED, generator="test")
        exported(dataset, tmp_path, "cvat-video", source="last", store=store.root)
        root = read_xml(tmp_path / f"{clip.video}.xml")
        assert [mask.get("frame") for mask in root.iter("mask")] == [str(len(clip.frames) - 1)]
        assert root.find("track/mask").get("rle") == f"0, {label.size}"

    def test_images_are_copied_once(self, camvid_root, tmp_path):
        dataset = CamVid(camvid_root)
        frames = sum(len(clip.annotated) for clip in dataset.clips("train"))
        assert exported(dataset, tmp_path, "cvat", copy_images=True).images == frames
        assert exported(dataset, tmp_path, "cvat", copy_images=True).images == 0
        clip = dataset.clips("train")[0]
        path = clip.frames[clip.annotated[0]]
        assert (tmp_path / "images" / clip.video / path.name).read_bytes() == path.read_bytes()
        content = (tmp_path / "annotations.xml").read_text()
        assert f'name="{clip.video}/{path.name}"' in content

    def test_video_tools_get_all_frames(self, cityscapes_root, tmp_path):
        dataset = Cityscapes(cityscapes_root)
        summary = exported(dataset, tmp_path, "cvat-video", copy_images=True)
        assert summary.images == sum(len(clip.frames) for clip in dataset.clips("train"))
        assert f"{summary.images} images copied" in str(summary)

    def test_cityscapes_reads_its_own_format_again(self, cityscapes_root, tmp_path):
        source, root = Cityscapes(cityscapes_root), tmp_path / "copy"
        shutil.copytree(cityscapes_root, root)
        shutil.rmtree(root / "gtFine/train")
        exported(source, root / "gtFine/train", "cityscapes")
        again = Cityscapes(root)
        for before, after in zip(source.clips("train"), again.clips("train"), strict=True):
            (number,) = after.annotated
            assert after.labels[number].suffix == ".json"
            np.testing.assert_array_equal(
                after_label := again.read_label(after, number), source.read_label(before, number)
            )
            assert (after_label != 255).any()

    def test_davis_ids_are_the_same_in_every_frame(self, noisy, tmp_path):
        dataset, store = noisy
        exported(dataset, tmp_path, "davis", source="noise", store=store.root)
        for (video, number), _ in store.labels.items():
            image = Image.open(tmp_path / f"Annotations/480p/{video}/{number:05d}.png")
            label = store.read(video, number)
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), np.where(label == 255, 0, label + 1))
            assert image.getpalette()[3 * 9 : 3 * 10] == [64, 0, 128]  # id 9 = train id 8, car

    def test_more_than_254_objects_take_16_bits(self, noisy, tmp_path):
        dataset, store = noisy
        exported(dataset, tmp_path / "out", "davis", source="noise", store=store.root, objects="component")
        ids = [np.asarray(Image.open(path)) for path in (tmp_path / "out").rglob("*.png")]
        assert all(array.dtype == np.uint16 and array.max() > 255 for array in ids)
        assert not any((array == 255).any() for array in ids)

    def test_label_studio_interface_and_cvat_labels(self, camvid_root, tmp_path):
        exported(CamVid(camvid_root), tmp_path, "label-studio")
        exported(CamVid(camvid_root), tmp_path, "cvat")
        assert '<Label value="car" background="#400080" />' in (tmp_path / "label_config.xml").read_text()
        labels = json.loads((tmp_path / "labels.json").read_text())
        assert labels[8] == {"name": "car", "color": "#400080", "type": "any", "attributes": []}

    def test_a_stored_label_that_has_changed(self, noisy, tmp_path):
        dataset, store = noisy
        (video, number), *_ = sorted(store.labels)
        write_label_png(store.path_of(video, number), np.zeros_like(store.read(video, number)))
        for format in ("coco", "davis"):
            with pytest.raises(LabelStoreError, match=rf"{number:06d}\.png: the label is not the one that was written"):
                exported(dataset, tmp_path / "x", format, source="noise", store=store.root)

    def test_refused(self, noisy, tmp_path):
        dataset, store = noisy
        with pytest.raises(ConfigError, match=r"no such annotation format; expected coco, cvat,.*found 'voc'"):
            exported(dataset, tmp_path / "x", "voc")
        with pytest.raises(ConfigError, match="expected all or least-confident:N; found 'least-confident:0'"):
            exported(dataset, tmp_path / "x", "coco", frames="least-confident:0")
        with pytest.raises(ConfigError, match="manual labels have no confidence"):
            exported(dataset, tmp_path / "x", "coco", frames="least-confident:3")
        with pytest.raises(LabelStoreError, match="source 'none' has no labels for split 'train' of camvid"):
            exported(dataset, tmp_path / "x", "coco", source="none", store=store.root)
        assert not (tmp_path / "x").exists()


def test_command_line(camvid_root, tmp_path, capsys):
    shared = ["--dataset", "camvid", "--root", str(camvid_root), "--format", "label-studio", "--store", str(tmp_path)]
    assert main(["label", "export", *shared, "--out", str(tmp_path / "out"), "--copy_images", "true"]) == 0
    out = capsys.readouterr().out
    frames = sum(len(clip.annotated) for clip in CamVid(camvid_root).clips("train"))
    assert f"{frames} frames of 3 clips written to {tmp_path}/out: tasks.json, label_config.xml" in out
    back = [*shared, "--path", str(tmp_path / "out/tasks.json"), "--source", "team", "--seconds_per_frame", "90"]
    assert main(["label", "import", *back]) == 0
    assert f"{frames} labels written to {tmp_path}/team ({frames * 90 / 3600:.2f} h), 0 were" in capsys.readouterr().out
    assert main(["label", "import", *back, "--split", "val"]) == 2
    error = capsys.readouterr().err
    assert f"{frames} of {frames} images fit no frame of the split" in error
    assert len(error.strip().splitlines()) == 1


class TestImport:
    @pytest.fixture
    def dataset(self, camvid_root):
        return CamVid(camvid_root)

    @pytest.fixture
    def out(self, dataset, tmp_path):
        exported(dataset, tmp_path / "out", "coco")
        return tmp_path / "out"

    def test_rows_are_manual_and_priced(self, dataset, out, tmp_path):
        summary = imported(dataset, out, "coco", tmp_path)
        store = stored(dataset, tmp_path)
        assert {row.label_kind for row in store.labels.values()} == {LabelKind.MANUAL}
        model = CostModel.named("polygon")
        for clip in dataset.clips("train"):
            for number in clip.annotated:
                row = store.labels[clip.video, number]
                (action,) = row.parents
                assert action == f"mended:camvid/{clip.video}/{number:06d}"
                assert store.actions[action].cost == model.manual_frame("camvid", dataset.read_label(clip, number))
                assert row.generator == "import/coco"
        assert summary.cost == sum(action.cost for action in store.actions.values())
        assert f"({summary.cost.hours:.2f} h)" in str(summary)

    def test_measured_time(self, dataset, out, tmp_path):
        summary = imported(dataset, out, "coco", tmp_path, seconds_per_frame=30)
        assert summary.cost.seconds == 30 * summary.written
        assert {a.cost_model for a in stored(dataset, tmp_path).actions.values()} == {""}

    def test_enters_a_mixture_with_its_cost(self, dataset, out, tmp_path):
        summary = imported(dataset, out, "coco", tmp_path, seconds_per_frame=30)
        drawn = Mixture(parts=[MixturePart("mended")], store=tmp_path).draw(dataset, "train")
        assert {sample.kind for sample in drawn.samples} == {LabelKind.MANUAL}
        assert drawn.cost() == summary.cost

    def test_corrections_descend_from_what_they_correct(self, noisy, tmp_path):
        dataset, store = noisy
        exported(dataset, tmp_path / "out", "coco", source="noise", store=store.root)
        imported(dataset, tmp_path / "out", "coco", store.root, based_on="noise", seconds_per_frame=5)
        for frame, row in stored(dataset, store.root).labels.items():
            assert row.parents == (*store.labels[frame].parents, f"mended:camvid/{frame[0]}/{frame[1]:06d}")
        with pytest.raises(LabelStoreError, match="no labels of source 'gone', which the import is based on"):
            imported(dataset, tmp_path / "out", "coco", store.root, based_on="gone")

    def test_again_keeps_and_changes_only_what_differs(self, dataset, out, tmp_path):
        first = imported(dataset, out, "coco", tmp_path / "s")
        manifest = (tmp_path / "s/mended/manifest.jsonl").read_bytes()
        again = imported(dataset, out, "coco", tmp_path / "s")
        assert (again.written, again.kept, again.cost) == (0, first.written, first.cost)
        assert (tmp_path / "s/mended/manifest.jsonl").read_bytes() == manifest
        content = json.loads((out / "annotations.json").read_text())
        last = content["images"][-1]["id"]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != last or a["category_id"] != 4]
        (out / "annotations.json").write_text(json.dumps(content))
        changed = imported(dataset, out, "coco", tmp_path / "s")
        assert (changed.written, changed.kept) == (1, first.written - 1)
        assert changed.ignored_share > first.ignored_share

    def test_a_lost_file_is_written_again(self, dataset, out, tmp_path):
        imported(dataset, out, "coco", tmp_path / "s")
        next((tmp_path / "s").rglob("*.png")).unlink()
        assert imported(dataset, out, "coco", tmp_path / "s").written == 1

    def test_other_making_is_refused(self, dataset, out, tmp_path):
        imported(dataset, out, "coco", tmp_path)
        with pytest.raises(LabelStoreError, match="made in another way"):
            imported(dataset, out, "coco", tmp_path, seconds_per_frame=3)

    def test_images_without_shapes_are_counted(self, dataset, out, tmp_path):
        content = json.loads((out / "annotations.json").read_text())
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != 1]
        (out / "annotations.json").write_text(json.dumps(content))
        summary = imported(dataset, out, "coco", tmp_path / "s")
        assert summary.empty == 1
        assert "1 images have no shapes" in str(summary)
        assert len(stored(dataset, tmp_path / "s").labels) == len(content["images"]) - 1

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda c: c["images"][0].update(file_name="moon/1.png"),
                r"1 of \d+ images fit no frame.*found moon/1.png",
            ),
            (lambda c: c["images"][0].update(c["images"][1] | {"id": 1}), r"1 of \d+ images fit a frame that another"),
            (lambda c: c["categories"][8].update(name="Fahrzeug"), "1 class names outside .* found 'Fahrzeug'"),
        ],
    )
    def test_nothing_is_written_when_the_file_does_not_fit(self, dataset, out, tmp_path, change, message):
        content = json.loads((out / "annotations.json").read_text())
        change(content)
        (out / "annotations.json").write_text(json.dumps(content))
        with pytest.raises(DatasetError, match=message):
            imported(dataset, out, "coco", tmp_path / "s")
        assert not (tmp_path / "s").exists()

    def test_file_without_shapes(self, dataset, out, tmp_path):
        path = out / "annotations.json"
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"annotations": []}))
        with pytest.raises(DatasetError, match=r"out: no image has any shape; found \d+ images"):
            imported(dataset, out, "coco", tmp_path / "s")

    def test_an_interrupted_import_goes_on_to_the_same_files(self, dataset, out, tmp_path, monkeypatch):
        write, calls = LabelStore.write, []

        def interrupted(self, *args, **kwargs):
            calls.append(args)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return write(self, *args, **kwargs)

        monkeypatch.setattr(LabelStore, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            imported(dataset, out, "coco", tmp_path / "a")
        monkeypatch.undo()
        resumed = imported(dataset, out, "coco", tmp_path / "a")
        whole = imported(dataset, out, "coco", tmp_path / "b")
        assert (resumed.kept, resumed.written, resumed.cost) == (2, whole.written - 2, whole.cost)
        manifests = [(tmp_path / name / "mended/manifest.jsonl").read_bytes() for name in "ab"]
        assert manifests[0] == manifests[1]

    def test_renamed_classes(self, dataset, out, tmp_path):
        path = out / "annotations.json"
        path.write_text(path.read_text().replace('"car"', '"Fahrzeug"'))
        imported(dataset, out, "coco", tmp_path / "s", class_names={"Fahrzeug": "car"})
        store = stored(dataset, tmp_path / "s")
        clip = dataset.clips("train")[0]
        label = dataset.read_label(clip, clip.annotated[0])
        np.testing.assert_array_equal(store.read(clip.video, clip.annotated[0]), label)

    def test_scaled_images(self, folder_root, tmp_path):
        dataset = Folder(folder_root)
        exported(dataset, tmp_path / "out", "cvat")
        path = tmp_path / "out/annotations.xml"
        path.write_text(path.read_text().replace(f'width="{WIDTH}" height="{HEIGHT}"', 'width="256" height="128"', 1))
        message = r"1 of \d images differ in size.*expected 128x64 as the frames of street1; found 256x128 for street1/"
        with pytest.raises(DatasetError, match=message):
            imported(dataset, tmp_path / "out", "cvat", tmp_path / "s")

    def test_packed_and_absent_files(self, dataset, tmp_path):
        with pytest.raises(DatasetError, match="no such file or folder"):
            imported(dataset, tmp_path / "none.json", "coco", tmp_path / "s")
        (tmp_path / "task.zip").write_bytes(b"PK")
        with pytest.raises(DatasetError, match=r"task.zip: a packed file; fix: unpack it and pass the folder"):
            imported(dataset, tmp_path / "task.zip", "cvat", tmp_path / "s")

    def test_published_times_are_for_their_data_sets(self, dataset, out, tmp_path):
        with pytest.raises(ConfigError, match="no annotation time is published for 'camvid'"):
            imported(dataset, out, "coco", tmp_path / "s", cost_model="published")
        with pytest.raises(ConfigError, match="seconds_per_frame; expected 0 or more; found -1"):
            imported(dataset, out, "coco", tmp_path / "s", seconds_per_frame=-1)
        assert not (tmp_path / "s").exists()

    def test_polygons_of_a_person_cover_what_is_behind(self, dataset, tmp_path):
        clip = dataset.clips("train")[0]
        height, width = dataset.clip_size(clip)
        image = (
            f'<image id="0" name="{clip.frames[clip.annotated[0]].name}" width="{width}" height="{height}">'
            '<polygon label="car" occluded="0" points="10,10;30,10;30,30;10,30" z_order="1"/>'
            f'<polygon label="road" occluded="0" points="0,0;{width},0;{width},20;0,20" z_order="0"/></image>'
        )
        path = tmp_path / "annotations.xml"
        path.write_text(f"<annotations><version>1.1</version>{image}</annotations>")
        imported(dataset, path, "cvat", tmp_path / "s")
        expected = np.full((height, width), 255, np.uint8)
        expected[:20], expected[10:30, 10:30] = 3, 8
        np.testing.assert_array_equal(stored(dataset, tmp_path / "s").read(clip.video, clip.annotated[0]), expected)
