"""Every function that opens a file of a user: how to write a small valid one, and how to read it.

`tests/test_architecture.py` sees to it that none is missing; `test_mutations.py` reads damaged files with all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

Read = Callable[[], object]
Build = Callable[[Path], tuple[Path, Read]]


@dataclass(frozen=True)
class Parser:
    """One reader.

    Attributes:
        name: What it reads.
        build: Writes a valid file into an empty folder; returns the file, and what reads it.
        opens: The functions that open the file, as `<file below thriftseg>:<function>`.
        weight: Share of the damaged files, lower for slow readers.
    """

    name: str
    build: Build
    opens: tuple[str, ...]
    weight: float = 1.0


PARSERS: list[Parser] = []

LABELS = {
    "dataset": "camvid",
    "table": [{"source": "manual", "samples": 3}],
    "cost": {"seconds": 1.0, "clicks": 2},
    "licences": ["SAM License", "mit"],
}
"""What checkpoints and cards note about labels."""


def reads(*opens: str, weight: float = 1.0) -> Callable[[Build], Build]:
    """Add a reader to the table, under the name of the function that builds its file."""

    def register(build: Build) -> Build:
        PARSERS.append(Parser(build.__name__, build, opens, weight))
        return build

    return register


def as_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


# --- base of the house


@reads("taxonomies.py:Taxonomy.from_yaml")
def class_table(folder: Path) -> tuple[Path, Read]:
    from thriftseg.taxonomies import Taxonomy

    path = folder / "classes.yaml"
    road = "{name: road, color: [1, 2, 3], synonyms: [street, 7]}"
    path.write_text(f"name: street\nclasses:\n- {road}\n- {{name: car, id: 7}}\nignore: [255]\n")
    return path, lambda: Taxonomy.from_yaml(path)


@reads("folders.py:claim_folder")
def record_of_a_folder(folder: Path) -> tuple[Path, Read]:
    from thriftseg.folders import claim_folder

    settings = {"seed": 1, "budget": {"clicks": 9, "names": ["a", "b"]}, "share": 0.5}
    claim_folder(folder, settings)
    return folder / "run.json", lambda: claim_folder(folder, settings)


@reads(
    "shards/index.py:decode_shard_index",
    "shards/index.py:read_shard_index",
    "shards/members.py:_Shards._stored",
    "shards/bucket.py:_mirror",
    "datamodules/shards.py:write_shards",
)
def index_of_shards(folder: Path) -> tuple[Path, Read]:
    from thriftseg.shards import SHARD_INDEX, packed_names, read_packed

    member = {"images": {"a.png": [512, 4, 0xADF3F363], "b.png": [1024, 1, 0]}}
    row = {"name": "000000.tar", "bytes": 2048, "sha256": "0" * 64, "plan": "", "files": member}
    (folder / "000000.tar").write_bytes(bytes(512) + b"data" + bytes(1532))
    content = {"schema": 1, "dataset": "camvid", "shards": [row], "plain": {"train.txt": [1, "0"]}}
    path = as_json(folder / SHARD_INDEX, content)
    return path, lambda: [packed_names(folder / "images"), read_packed(folder / "images" / "a.png")]


# --- flow, zoo


@reads("flow/stored.py:_check_format")
def flow_manifest(folder: Path) -> tuple[Path, Read]:
    from thriftseg.flow import DIS, FlowStore

    _store_flow(folder)
    return folder / "flow.json", lambda: FlowStore(folder, DIS())


def _store_flow(folder: Path) -> tuple[np.ndarray, np.ndarray, Path]:
    from thriftseg.flow import DIS, FlowStore

    first, second = (np.random.default_rng(seed).integers(0, 255, (32, 40, 3), np.uint8) for seed in (0, 1))
    store = FlowStore(folder, DIS())
    store.flow("v", 0, 1, first, second)
    return first, second, store.path_of("v", 0, 1, (32, 40))


@reads("flow/stored.py:_read_png")
def flow_png(folder: Path) -> tuple[Path, Read]:
    from thriftseg.flow.stored import read_flow

    path = _store_flow(folder)[2]
    return path, lambda: read_flow(path)


@reads("flow/stored.py:_read_flo")
def flow_flo(folder: Path) -> tuple[Path, Read]:
    from thriftseg.flow.stored import read_flow

    path = folder / "a.flo"
    size = np.array([3, 2], "<i4").tobytes()
    path.write_bytes(np.float32(202021.25).tobytes() + size + np.zeros(12, "<f4").tobytes())
    return path, lambda: read_flow(path)


@reads("flow/raft.py:_read_weights", "flow/raft.py:_read_state", weight=0.5)
def raft_weights(folder: Path) -> tuple[Path, Read]:
    import torch

    from thriftseg.flow.raft import _read_weights

    path = folder / "raft.pth"
    torch.save({"fnet.conv1.weight": torch.zeros(2, 3), "fnet.conv1.bias": torch.zeros(2)}, path)
    return path, lambda: _read_weights(str(path))


def _saved_weights(folder: Path) -> Path:
    from tests.fixtures.two_layers import TwoLayers
    from thriftseg.taxonomies import CAMVID
    from thriftseg.zoo import SlidingWindow, save_weights

    path = folder / "two_layers.safetensors"
    notes = {
        "architecture": "two_layers",
        "labels": LABELS,
        "teacher": {"added_cost": {"hours": 0.5}, "licences": ["cc-by-nc-4.0"]},
        "licences": {"weights": "mit", "lineage": [{"what": "labels", "name": "made from the data", "licence": "mit"}]},
    }
    window = SlidingWindow((16, 16), (8, 8))
    save_weights(TwoLayers(11), path, taxonomy=CAMVID, inference=window, eval_size=(32, 48), notes=notes)
    return path


@reads("zoo/weights/files.py:read_card")
def card(folder: Path) -> tuple[Path, Read]:
    from thriftseg.inference import load_weights

    path = _saved_weights(folder)
    return path.with_suffix(".json"), lambda: load_weights(path).class_table


@reads("zoo/weights/files.py:_read_tensors")
def weights(folder: Path) -> tuple[Path, Read]:
    from thriftseg.zoo.weights.files import read_weights

    path = _saved_weights(folder)
    return path, lambda: read_weights(path)


@reads("zoo/weights/files.py:_read_tensors")
def weights_with_a_true_hash(folder: Path) -> tuple[Path, Read]:
    """As whoever wants to do harm would publish them."""
    import hashlib

    from thriftseg.zoo.weights.files import read_weights

    path = _saved_weights(folder)
    description = json.loads(path.with_suffix(".json").read_text())

    def read() -> object:
        content = path.read_bytes() if path.is_file() else b""
        stated = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        as_json(path.with_suffix(".json"), description | {"weights": description["weights"] | stated})
        return read_weights(path)

    return path, read


@reads("zoo/weights/onnx_stream.py:OnnxStream.__init__", weight=0.3)
def exported_network(folder: Path) -> tuple[Path, Read]:
    from thriftseg.inference import load_weights

    path = folder / "two_layers.onnx"
    path.write_bytes(_exported())
    return path, lambda: load_weights(path).class_table


@cache
def _exported() -> bytes:
    from tempfile import TemporaryDirectory

    from tests.fixtures.two_layers import TwoLayers
    from thriftseg.zoo import export_onnx

    with TemporaryDirectory() as folder:
        notes = {"palette": [(9, 9, 9)] * 3, "taxonomy": "mine", "labels": LABELS}
        export_onnx(TwoLayers(3), Path(folder) / "x.onnx", (8, 8), class_names=["a", "b", "c"], notes=notes)
        return (Path(folder) / "x.onnx").read_bytes()


@reads("zoo/weights/catalog.py:read_index")
def index_of_checkpoints(folder: Path) -> tuple[Path, Read]:
    from thriftseg.zoo.weights.catalog import CatalogEntry, read_index, write_index

    write_index(folder, {"net.tag": CatalogEntry("a/b.safetensors", "00", 3, "net", "tag", hours=1.5, miou=0.5)})
    return folder / "index.json", lambda: read_index(folder)


@reads("zoo/weights/official.py:_read_pickle")
def official_pickle(folder: Path) -> tuple[Path, Read]:
    import torch

    from thriftseg.zoo.weights.official import read_official

    path = folder / "official.pth"
    torch.save({"epoch": 3, "state_dict": {"module.conv.weight": torch.zeros(2, 3)}}, path)
    return path, lambda: read_official(path)


@reads("zoo/weights/official.py:read_official")
def official_safetensors(folder: Path) -> tuple[Path, Read]:
    import torch
    from safetensors.torch import save_file

    from thriftseg.zoo.weights.official import read_official

    path = folder / "official.safetensors"
    save_file({"conv.weight": torch.zeros(2, 3)}, path)
    return path, lambda: read_official(path)


# --- data sets


def _png(path: Path, ids: np.ndarray, palette: bytes | None = None) -> Path:
    from thriftseg.datasets import write_label_png

    write_label_png(path, ids, palette)
    return path


LABEL = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3


@reads("pixels.py:open_image", "datasets/images.py:read_label_png")
def label_png(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import read_label_png
    from thriftseg.taxonomies import CAMVID

    path = _png(folder / "a.png", LABEL, CAMVID.flat_palette())
    return path, lambda: read_label_png(path)


@reads("pixels.py:decode_image", "datasets/images.py:_decode")
def frame_png(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import encode_frame, read_frame

    path = folder / "a.png"
    path.write_bytes(encode_frame(np.zeros((6, 8, 3), np.uint8), ".png"))
    return path, lambda: read_frame(path)


@reads("datasets/images.py:_decode")
def frame_jpeg(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import encode_frame
    from thriftseg.datasets.images import read_grey

    path = folder / "a.jpg"
    path.write_bytes(encode_frame(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8), ".jpg"))
    return path, lambda: read_grey(path, at_least=8)


@reads("datasets/images.py:probe_size")
def size_of_an_image(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import probe_size

    path = _png(folder / "a.png", LABEL)
    return path, lambda: probe_size(path)


@reads("datasets/polygons.py:read_polygons")
def polygons(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import draw_labels, read_polygons
    from thriftseg.taxonomies import CITYSCAPES

    triangle = {"label": "car", "polygon": [[0, 0], [4, 0.5], [4, 4]], "deleted": 0}
    content = {"imgHeight": 5, "imgWidth": 6.0, "objects": [triangle, triangle | {"deleted": 1}]}
    path = as_json(folder / "a_gtFine_polygons.json", content)
    return path, lambda: draw_labels(read_polygons(path), CITYSCAPES)


@reads("datasets/vos/base.py:read_list")
def list_of_videos(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import read_list

    path = folder / "train.txt"
    path.write_text("bear\ncamel\n")
    return path, lambda: read_list(path)


@reads("datasets/vos/meta.py:read_meta")
def youtube_meta(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets.vos.meta import read_meta

    objects = {"1": {"category": "dog", "frames": ["00000", "00005"]}, "02": {"frames": ["00005"]}}
    path = as_json(folder / "meta.json", {"videos": {"0062f687f1": {"objects": objects}}})
    return path, lambda: read_meta(path)


def _coco() -> dict[str, Any]:

    image = {"id": 7, "file_name": "drive/000000.png", "height": 6, "width": 8.0}
    polygon = {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 4.5]], "iscrowd": 0}
    runs = {"id": 2, "image_id": 7, "category_id": 2, "segmentation": {"size": [6, 8], "counts": [20, 2, 26]}}
    packed = {
        "id": 3,
        "image_id": 7,
        "category_id": 2,
        "segmentation": {"size": [6, 8], "counts": "d02j0"},
        "iscrowd": 1,
    }
    categories = [{"id": 1, "name": "road"}, {"id": 2, "name": "car"}]
    return {"images": [image], "annotations": [polygon, runs, packed], "categories": categories}


@reads("datasets/vos/coco.py:COCO._scan")
def coco_data_set(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import COCO

    path = as_json(folder / "annotations/instances_train2017.json", _coco())

    def read() -> object:
        dataset = COCO(folder)
        return [dataset.read_mask(clip, 0) for clip in dataset.clips("train")]

    return path, read


@reads("datasets/camvid.py:CamVid._listed")
def camvid_list(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import CamVid, encode_frame

    for number in (30, 60):
        _png(folder / f"trainannot/0001TP_{number:06d}.png", LABEL)
        (folder / "train").mkdir(exist_ok=True)
        (folder / f"train/0001TP_{number:06d}.png").write_bytes(encode_frame(np.zeros((3, 4, 3), np.uint8), ".png"))
    path = folder / "train.txt"
    path.write_text(
        "".join(f"/SegNet/train/0001TP_{n:06d}.png /SegNet/trainannot/0001TP_{n:06d}.png\n" for n in (30, 60))
    )
    return path, lambda: CamVid(folder).clips("train")


@reads("datasets/veis.py:VEIS._members")
def veis_list(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets import VEIS

    for part in ("one", "two"):
        _png(folder / f"images/{part}/000001.png", LABEL)
        _png(folder / f"labels/{part}/000001.png", LABEL)
    path = folder / "train.txt"
    path.write_text("one\ntwo\n")
    return path, lambda: VEIS(folder).clips("train")


@reads("datasets/tools/frame_matching.py:_load")
def located_frames(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets.tools.frame_matching import _load

    path = as_json(folder / "cache.json", {"a.png": {"number": 3, "difference": 0.5, "signature": "ab"}})
    return path, lambda: _load(path)


def _video(path: Path) -> Path:
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (32, 24))
    for number in range(30):
        writer.write(np.full((24, 32, 3), 8 * number, np.uint8))
    writer.release()
    return path


def _imported(folder: Path) -> Read:
    from thriftseg.datasets import import_videos

    video = _video(folder / "drive.avi")

    def read() -> object:
        settings = {"every": 1.0, "shares": (0.5, 0.5, 0.0), "gap": 0.0, "progress": False}
        return import_videos([video], folder / "out", **settings)  # type: ignore[arg-type]

    read()
    return read


@reads("datasets/tools/video_import.py:_record", weight=0.2)
def record_of_an_import(folder: Path) -> tuple[Path, Read]:
    read = _imported(folder)
    return folder / "out/import.json", read


@reads("datasets/tools/video_import.py:import_videos", weight=0.2)
def frames_to_label(folder: Path) -> tuple[Path, Read]:
    read = _imported(folder)
    return folder / "out/to_label.txt", read


@reads("datasets/tools/video_import.py:_write_class_file", weight=0.2)
def class_file_of_an_import(folder: Path) -> tuple[Path, Read]:
    read = _imported(folder)
    return folder / "out/classes.yaml", read


@reads("datasets/tools/video_import.py:_opened", weight=0.2)
def video_to_import(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datasets.tools.video_import import _rate_and_count

    path = _video(folder / "drive.avi")
    return path, lambda: _rate_and_count(path)


@reads("datasets/video.py:_open", weight=0.3)
def video_of_a_clip(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.videos import pictures, write_h264
    from thriftseg.datasets.images import read_frame
    from thriftseg.datasets.video import list_video

    path = write_h264(folder / "drive.mp4", pictures(24))
    return path, lambda: [read_frame(frame) for number, frame in list_video(path).items() if number % 5 == 3]


# --- stores, inference


def _label_store(folder: Path) -> Any:
    from thriftseg.costs import AnnotationCost
    from thriftseg.stores import ActionRow, LabelStore
    from thriftseg.taxonomies import CAMVID
    from thriftseg.types import LabelKind

    store = LabelStore(folder, "flow", CAMVID)
    store.record_action(ActionRow("manual:camvid/a/000001", "manual", "a", 1, AnnotationCost(2.5, clicks=3)))
    for number in (1, 2):
        store.write("a", number, LABEL, kind=LabelKind.PROPAGATED, generator="test", arguments={"x": [1, {"y": None}]})
    return store


@reads(
    *(
        "stores/manifest.py:Manifest.read",
        "stores/manifest.py:Manifest.tables",
    ),
    *(f"stores/row_index.py:RowIndex.{name}" for name in ("load", "lines_behind", "_extend")),
)
def label_manifest(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores import LabelStore
    from thriftseg.taxonomies import CAMVID

    path = _label_store(folder).manifest_path

    def read() -> object:
        store = LabelStore(folder, "flow", CAMVID)
        return store.usable, store.actions, store.rows()

    return path, read


@reads("stores/manifest.py:Manifest.append")
def manifest_to_be_continued(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores import Manifest

    Manifest(folder).append([{"video": "a"}])
    return folder / "manifest.jsonl", lambda: Manifest(folder).append([{"video": "b"}])


@reads("stores/manifest.py:_sorted_lines")
def manifest_to_be_merged(folder: Path) -> tuple[Path, Read]:
    store = _label_store(folder)
    return store.manifest_path, store.consolidate


@reads("stores/label_store.py:LabelStore._is_intact")
def stored_label(folder: Path) -> tuple[Path, Read]:
    store = _label_store(folder)
    return store.path_of("a", 1), lambda: (store.verify(), store.read("a", 1))


@reads("stores/label_store.py:_rot_of_source")
def image_beside_labels(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores import find_rot
    from thriftseg.taxonomies import CAMVID

    store = _label_store(folder)
    path = _png(store.object_log.path_of_ids("a", 1), LABEL)
    return path, lambda: find_rot(folder, CAMVID)


@reads("stores/object_log.py:ObjectLog.read")
def object_log(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores.object_log import LoggedObject, ObjectLog

    ObjectLog(folder).write("a", 3, [LoggedObject(1, 2, None, 30, 0.5), LoggedObject(2, 0, 1, 0)])
    return folder / "objects.jsonl", lambda: ObjectLog(folder).read()


@reads("stores/review_log.py:ReviewLog.read")
def review_log(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores.review_log import Decision, Remade, ReviewedObject, ReviewLog

    rows = [Decision("a", 1, "lock", 1, ReviewedObject(1, 2, 3, 4, "04")), Remade("a", 1, 1, "person", 2, "ab")]
    ReviewLog(folder).add([*rows, Decision("a", 2, "reject")])

    def read() -> object:
        reviews = ReviewLog(folder).read()
        return reviews.locked, reviews.rejected, reviews.locked_objects("a", 1)

    return folder / "reviews.jsonl", read


@reads("stores/annotation_journal.py:AnnotationJournal.read")
def annotation_journal(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores.annotation_journal import AnnotationJournal, JournalRow, Patch, measured_cost

    brush = JournalRow(
        "a1",
        "brush",
        1,
        2,
        0.5,
        2,
        5,
        objects=((2, 5),),
        patch=Patch(1, 2, 3, 1, (2, 3)),
        session="s",
        person="Ann",
        video="a",
        frame=3,
    )
    journal = AnnotationJournal(folder)
    journal.append(
        [brush, JournalRow("a2", "finish", 2, 3, verdict="drawn", session="s", person="Ann", video="a", frame=3)]
    )
    return journal.path, lambda: measured_cost(journal.read())


@reads("stores/click_file.py:read_click_file")
def click_file(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores import read_click_file
    from thriftseg.stores.click_file import encode_click_file
    from thriftseg.taxonomies import CITYSCAPES

    path = folder / "clicks.json"
    path.write_bytes(encode_click_file({"aachen_000000_000019": [(5, 6, 13), (1, 2, 0)], "b": []}, CITYSCAPES))
    return path, lambda: read_click_file(path, CITYSCAPES)


@reads("stores/measurements.py:MeasurementCache.__init__")
def measurements(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores import MeasurementCache

    path = folder / "motion.json"
    cache = MeasurementCache(path, {"schema": 1}, float)
    cache.add("a/000001", [3, "ab"], 0.5)
    cache.save()
    return path, lambda: MeasurementCache(path, {"schema": 1}, float).get("a/000001", [3, "ab"])


@reads("stores/annotation_rounds.py:RoundFolder.dataset")
def header_of_a_set(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.annotation_sets import write_quality_set
    from thriftseg.stores import QualitySet

    places = write_quality_set(folder, videos=1, rounds=1, frames=1)
    return places[0] / "set.json", lambda: QualitySet(*places).samples()


@reads("stores/annotation_rounds.py:RoundFolder.rows")
def quality_set(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.annotation_sets import write_quality_set
    from thriftseg.stores import QualitySet

    places = write_quality_set(folder, videos=1, rounds=2, frames=2)
    return places[0] / "manifest.jsonl", lambda: QualitySet(*places).samples()


@reads("stores/annotation_rounds.py:RoundFolder.rows")
def type_set(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.annotation_sets import write_type_set
    from thriftseg.stores import TypeSet

    places = write_type_set(folder, videos=1, rounds=2)
    return places[0] / "manifest.jsonl", lambda: TypeSet(*places).states()


@reads("stores/type_set.py:_read_embedding")
def embedding(folder: Path) -> tuple[Path, Read]:
    from thriftseg.stores.type_set import _read_embedding

    np.save(folder / "a.npy", np.zeros(256, np.float32))
    return folder / "a.npy", lambda: _read_embedding(folder / "a.npy")


@reads("synthetic/production.py:_finished")
def marker_of_a_clip(folder: Path) -> tuple[Path, Read]:
    from thriftseg.synthetic.layouts.classes import ClipName
    from thriftseg.synthetic.production import PlannedClip, _finished
    from thriftseg.synthetic.scene import SceneConfig

    clip = PlannedClip(folder, "folder", "png", ClipName("train", "a", "a", [0, 1], 0), 0, SceneConfig(32, 32, 3))
    content = {"split": "train", "video": "a", "files": ["train/a/000000.png"], "objects": 3}
    return as_json(clip.marker, content), lambda: _finished(clip)


@reads("inference/checkpoints.py:read_checkpoint", weight=2)
def checkpoint(folder: Path) -> tuple[Path, Read]:
    import torch

    from tests.fixtures.two_layers import TwoLayers
    from thriftseg.inference import load_network

    network, path = TwoLayers(2), folder / "a.ckpt"
    content = {
        "state_dict": {f"network.{name}": value for name, value in network.state_dict().items()},
        "hyper_parameters": {"network": dict(network.record), "lr": 0.1},
        "epoch": 3,
        "global_step": 7,
        "thriftseg": {
            "version": "1",
            "cost": {"hours": 0.5},
            "class_names": ["a", "b"],
            "taxonomy": "camvid",
            "palette": [[0, 1, 2], [3, 4, 5]],
            "eval_size": [24, 32],
            "inference": {"class_path": "thriftseg.zoo.SlidingWindow", "init_args": {"crop": [16, 16]}},
            "teacher": {"added_cost": {"hours": 1.0}},
        },
        "callbacks": {"RunRecord": {"command": "x", "step": 7, "scores": {"val/miou": 0.5}, "metrics": {}}},
        "SemanticDataModule": {"taxonomy": {"name": "camvid", "version": 1, "classes": ["a"]}, "mixture": LABELS},
    }
    torch.save(content, path)

    def read() -> object:
        loaded = load_network(path)
        return loaded.class_table, loaded.labels

    return path, read


@reads("inference/frame_source.py:_probe_video", "inference/frame_source.py:FrameSource._read_video", weight=0.2)
def video_to_segment(folder: Path) -> tuple[Path, Read]:
    from thriftseg.inference.frame_source import FrameSource

    path = _video(folder / "drive.avi")
    return path, lambda: [frame.name for frame in FrameSource(path)]


# --- exchange


def _frames() -> list[Any]:
    from thriftseg.exchange import ExportedFrame
    from thriftseg.exchange.records import ExportedObject
    from thriftseg.types import Clip

    clip = Clip("drive", {number: Path(f"drive/f_{number:03d}.png") for number in range(3)})
    ids = np.array([[0, 1, 1, 0], [2, 2, 1, 0], [2, 2, 0, 0]], np.uint16)
    return [ExportedFrame(clip, number, ids, (ExportedObject(0), ExportedObject(13, 1))) for number in (0, 1)]


def _exchanged(folder: Path, format: str, suffix: str) -> tuple[Path, Read]:
    """A file as the package writes it; reading it takes painting what was read."""
    from thriftseg.exchange import FORMATS
    from thriftseg.taxonomies import CITYSCAPES

    path = next(file for file in FORMATS[format].write(folder, _frames(), CITYSCAPES) if file.name.endswith(suffix))
    return path, lambda: _paint(format, folder if format == "davis" else path)


def _paint(format: str, path: Path) -> list[object]:
    from thriftseg.exchange import FORMATS

    images = FORMATS[format].read(path)
    names = {shape.label: 1 for image in images for shape in image.shapes}
    return [image.paint((3, 4), names) for image in images]


@reads("exchange/coco.py:read_coco")
def coco(folder: Path) -> tuple[Path, Read]:
    return _exchanged(folder, "coco", ".json")


@reads("exchange/coco.py:read_coco")
def coco_of_another_tool(folder: Path) -> tuple[Path, Read]:
    path = as_json(folder / "instances.json", _coco())
    return path, lambda: _paint("coco", path)


@reads("exchange/cvat_server.py:unpack_annotations")
def packed_annotations_of_cvat(folder: Path) -> tuple[Path, Read]:
    import zipfile

    from thriftseg.exchange.cvat_server import unpack_annotations

    path = folder / "annotations.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("annotations.xml", '<annotations><image name="a"/></annotations>' * 9)
    return path, lambda: unpack_annotations(path, folder / "unpacked")


@reads("exchange/cvat.py:read_cvat")
def cvat(folder: Path) -> tuple[Path, Read]:
    return _exchanged(folder, "cvat", ".xml")


@reads("exchange/cvat.py:read_cvat")
def cvat_of_all_shapes(folder: Path) -> tuple[Path, Read]:
    path = folder / "annotations.xml"
    shapes = (
        '<polygon label="road" points="0.5,0.5;3,0.5;3,2" z_order="1"/><points label="car" points="1,1;2,2"/>'
        '<box label="car" xtl="0" ytl="0" xbr="2.5" ybr="2" rotation="10"/>'
        '<mask label="car" rle="0, 2, 2" left="0" top="0" width="2" height="2"/><tag label="x"/>'
    )
    path.write_text(f'<annotations><image id="0" name="a.png" width="4" height="3">{shapes}</image></annotations>')
    return path, lambda: _paint("cvat", path)


@reads("exchange/cvat_video.py:_read_task")
def cvat_video(folder: Path) -> tuple[Path, Read]:
    return _exchanged(folder, "cvat-video", ".xml")


@reads("exchange/label_studio.py:read_label_studio")
def label_studio(folder: Path) -> tuple[Path, Read]:
    return _exchanged(folder, "label-studio", ".json")


@reads("exchange/label_studio.py:read_label_studio")
def label_studio_of_all_shapes(folder: Path) -> tuple[Path, Read]:
    head = {"original_width": 4, "original_height": 3, "image_rotation": 0}
    results = [
        {**head, "type": "polygonlabels", "value": {"points": [[0, 0], [50, 0], [50, 90]], "polygonlabels": ["road"]}},
        {**head, "type": "rectanglelabels", "value": {"x": 1, "y": 2, "width": 50, "height": 60, "rotation": 5,
                                                      "rectanglelabels": ["car"]}},
        {"type": "choices", "value": {"choices": ["sunny"]}},
    ]  # fmt: skip
    tasks = [{"data": {"image": "/data/a.png"}, "annotations": [{"result": results, "was_cancelled": False}]}]
    path = as_json(folder / "tasks.json", tasks)
    return path, lambda: _paint("label-studio", path)


@reads("exchange/davis.py:read_davis")
def davis_table(folder: Path) -> tuple[Path, Read]:
    return _exchanged(folder, "davis", ".json")


@reads("exchange/davis.py:read_davis")
def davis_png(folder: Path) -> tuple[Path, Read]:
    return _exchanged(folder, "davis", ".png")


@reads("datasets/polygons.py:read_polygons")
def cityscapes_polygons(folder: Path) -> tuple[Path, Read]:
    return _exchanged(folder, "cityscapes", ".json")


def _boxes(folder: Path, name: str, content: object) -> tuple[Path, Read]:
    from tests.fixtures.moving_squares import write_squares
    from thriftseg.exchange.box_tracks import read_box_tracks

    dataset = write_squares(folder / "data", {"bear": {0: [1], 1: [1]}})
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path, lambda: read_box_tracks(path, dataset, "train")


@reads("exchange/box_tracks.py:_read_json", "exchange/box_tracks.py:_read_own")
def box_tracks(folder: Path) -> tuple[Path, Read]:
    tracks = {"1": {"00000": [1, 2, 3.5, 4], "00001": [1, 2, 3, 4]}, "300": {"00001": [0, 0, 2, 2]}}
    return _boxes(folder, "boxes.json", {"format": "thriftseg/box_tracks", "version": 1, "videos": {"bear": tracks}})


@reads("exchange/box_tracks.py:_read_coco")
def box_tracks_of_coco(folder: Path) -> tuple[Path, Read]:
    images = [{"id": 1, "file_name": "bear/00000.jpg"}, {"id": 2, "file_name": "bear/00001.jpg"}]
    annotations = [
        {"image_id": 1, "bbox": [1, 2, 3, 4], "track_id": 4},
        {"image_id": 2, "bbox": [1, 2, 3, 4.5], "iscrowd": 1},
    ]
    return _boxes(folder, "boxes.json", {"images": images, "annotations": annotations})


@reads("exchange/box_tracks.py:_read_mot")
def box_tracks_of_mot(folder: Path) -> tuple[Path, Read]:
    return _boxes(folder, "bear.csv", "1,4,3,4.5,10,16.5,1,1,1.0\n0,5,1,1,4,4,0\n0,4,3,4.5,10,16.5\n")


# --- labels


@reads("labels/boxes/settings.py:MaskFilter.from_file")
def bad_masks(folder: Path) -> tuple[Path, Read]:
    from thriftseg.labels import MaskFilter

    path = folder / "bad.csv"
    path.write_text("video,frame,object,x0\nfilm,1,7,0.5\nfilm,2,7,\n")
    return path, lambda: MaskFilter.from_file(path)


@reads("labels/boxes/table.py:MaskTable.read")
def table_of_masks(folder: Path) -> tuple[Path, Read]:
    from thriftseg.labels.boxes.table import MaskRow, MaskTable

    rows = [MaskRow("a", n, 1, (0, 0.5, 9, None), "mask", "box2seg", 9, 0.9, None, True) for n in (1, 2)]
    MaskTable(folder).write(rows)
    return folder / "masks.jsonl", lambda: MaskTable(folder).read()


@reads("labels/review/table.py:read_decisions")
def decisions(folder: Path) -> tuple[Path, Read]:
    from thriftseg.labels.review.table import read_decisions

    path = folder / "decisions.csv"
    path.write_text("decision,video,frame,object,class\nlock,a,000007,,\nReject,a,8,5,car\n,a,9,,\n")
    return path, lambda: read_decisions(path)


@reads("labels/refining/generate.py:_logged_masks")
def log_of_refining(folder: Path) -> tuple[Path, Read]:
    from thriftseg.labels.refining.generate import _logged_masks

    path = as_json(folder / "a.json", [{"accepted": True, "class": "car"}, {"accepted": False, "class": None}])
    return path, lambda: _logged_masks(path)


@reads("labels/sam2_models.py:_read")
def sam2_weights(folder: Path) -> tuple[Path, Read]:
    import torch

    from thriftseg.labels.sam2_models import _read

    path = folder / "sam2.1_hiera_tiny.pt"
    torch.save({"model": {"weight": torch.zeros(2)}}, path)
    return path, lambda: path.is_file() and _read(path)  # who calls it has looked


@reads("zoo/weights/pretrained.py:licence_of")
def front_matter(folder: Path) -> tuple[Path, Read]:
    from thriftseg.zoo.weights.pretrained import licence_of

    path = folder / "README.md"
    path.write_text("---\nlicense: other\nlicense_name: sam-license\ntags: [video]\n---\n# SAM\n")
    return path, lambda: licence_of(folder, "sam2")


@reads("labels/text/words.py:class_words")
def words_of_classes(folder: Path) -> tuple[Path, Read]:
    from thriftseg.labels import class_words
    from thriftseg.taxonomies import CAMVID

    path = folder / "words.yaml"
    path.write_text("car: [automobile, van]\nsky: clouds\nroad: null\npole: 7\n")
    return path, lambda: class_words(CAMVID, words=path)


@reads("datamodules/mixing/config.py:_data_section", weight=0.2)
def mixture_of_a_config(folder: Path) -> tuple[Path, Read]:
    from thriftseg.datamodules.mixing.config import read_mixture

    path = folder / "config.yaml"
    dataset = "{class_path: thriftseg.datasets.CamVid, init_args: {root: data}}"
    path.write_text(f"data:\n  init_args:\n    dataset: {dataset}\n    mixture: {{pattern: N1, seed: 3}}\nlr: 1e-3\n")
    return path, lambda: read_mixture(path)


# --- annotation


@reads("annotation/page/in_work.py:FramesInWork._first", weight=0.2)
def start_of_a_frame_in_work(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.square_and_disc import write_video
    from thriftseg.annotation.page.dataset_work import DatasetWork
    from thriftseg.annotation.page.in_work import FramesInWork, PageAction

    work = DatasetWork(write_video(folder / "data", 1), ["val"], folder, "drawn", "flow")
    FramesInWork(work).act((0, 0), [PageAction("a1", "undo", 1.0, 2.0)], "s", "Ann")
    return work.folder / "street" / "000000.png", lambda: FramesInWork(work).state((0, 0)).to_label()


@reads("annotation/hvsa/folder.py:HVSAFolder.selection")
def selection_of_a_round(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation import Budget
    from thriftseg.annotation.hvsa.folder import HVSAFolder, RoundSelection
    from thriftseg.annotation.ranking.selection import Sample

    run = HVSAFolder(folder, {})
    run.keep_selection(1, RoundSelection(Budget(90, 3, "clicks").to_dict(), [Sample(7, 3)], [12]))

    def read() -> object:
        selection = run.selection(1)
        return selection and Budget(**selection.budget)

    return folder / "round_1/selection.json", read


def _finished_round(number: int) -> dict[str, Any]:
    scores = {"miou": 0.5, "boundary_iou": None, "tc": 0.25}
    share = {"pixels": 0.5, "clicks": 0.25}
    bought = {"samples": 3, "pixels": 12, "cost": {"seconds": 1.5, "clicks": 2}, "share": share}
    return {"round": number, **bought, "scores": scores, "pasted": scores}


@reads("annotation/hvsa/folder.py:HVSAFolder.scores")
def scores_of_a_round(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.hvsa.folder import HVSAFolder

    run = HVSAFolder(folder, {})
    run.keep_scores(0, _finished_round(0))
    return folder / "round_0/scores.json", lambda: run.scores(0)


def _object_video(folder: Path) -> Any:
    from tests.fixtures.moving_squares import write_squares
    from thriftseg.annotation import list_objects

    return list_objects(write_squares(folder / "data", {"bear": {0: [1], 1: [1]}}), "train").videos[0]


def _eva_vos(folder: Path) -> tuple[Any, Any]:
    from thriftseg.annotation.eva_vos.folder import EVAVOSFolder
    from thriftseg.annotation.eva_vos.objects import encode_masks

    video, run = _object_video(folder), EVAVOSFolder(folder / "run", {})
    masks = np.zeros((2, *video.size), bool)
    row = {
        "action": 0, "video": "bear", "object": 1, "round": 0, "frame": 0, "asked": "mask", "type": "clicks",
        "clicks": [[1, 2, 1]], "free_clicks": 0, "cost": {"seconds": 1.5, "clicks": 1}, "seconds": 1.5,
        "j": 0.5, "f": 0.5, "jf": 0.5, "value": None, "score": None,
    }  # fmt: skip
    run.keep(video, row, masks[0], encode_masks(masks))
    return video, run


@reads("annotation/eva_vos/folder.py:EVAVOSFolder.__init__")
def log_of_annotations(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.eva_vos.folder import EVAVOSFolder
    from thriftseg.annotation.eva_vos.loop import curve_of

    _eva_vos(folder)
    return folder / "run/actions.jsonl", lambda: curve_of(EVAVOSFolder(folder / "run", {}).rows)


@reads("annotation/eva_vos/folder.py:EVAVOSFolder.read_state", "annotation/eva_vos/objects.py:decode_masks")
def masks_of_an_object(folder: Path) -> tuple[Path, Read]:
    video, run = _eva_vos(folder)
    return next((folder / "run").rglob("*.npz")), lambda: run.read_state(video, 0)


@reads("annotation/eva_vos/collect.py:_Recorder.__init__")
def recorded_objects(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.annotation_sets import write_quality_set
    from tests.fixtures.disc_prompter import DiscPrompter
    from thriftseg.annotation import ClickPerson, CollectSettings, create_mask_propagator
    from thriftseg.annotation.eva_vos.collect import _QualityRecorder
    from thriftseg.stores import Manifest, QualitySet

    places = write_quality_set(folder, videos=1, rounds=1, frames=1)
    row = {"video": "video0", "object": 1, "rounds": 2, "samples": 3, "cost": {"seconds": 80.0, "masks": 1}}
    Manifest(places[0], stem="objects").append([row])
    person, propagator = ClickPerson(DiscPrompter()), create_mask_propagator("flow")

    def read() -> object:
        return _QualityRecorder(QualitySet(*places), person, propagator, CollectSettings()).total()

    return places[0] / "objects.jsonl", read


def _image_task() -> Any:
    from thriftseg.annotation import Request
    from thriftseg.annotation.people.images import ImageTask
    from thriftseg.annotation.ranking.selection import Sample

    return ImageTask(Request.of("drive", Sample(30, 0), np.ones((3, 4), bool), "frame"), 0)


@reads("annotation/people/task_file.py:open_task_file")
def task_file(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.people.task_file import open_task_file
    from thriftseg.taxonomies import CAMVID

    tasks = [_image_task()]
    open_task_file(folder, "png", tasks, CAMVID)
    return folder / "task.json", lambda: open_task_file(folder, "png", tasks, CAMVID)


@reads("annotation/people/answer_files.py:LabelPNGs._check_palette")
def label_of_a_person(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.people.answer_files import answer_files
    from thriftseg.taxonomies import CAMVID

    files, tasks = answer_files("png", CAMVID), [_image_task()]
    path = _png(folder / "labels" / f"{tasks[0].name}.png", LABEL, CAMVID.flat_palette())
    return path, lambda: files.read(folder, tasks)


@reads("annotation/people/task_file.py:write_notes")
def notes_of_a_person(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.people.task_file import open_task_file, write_notes
    from thriftseg.taxonomies import CAMVID

    task = _image_task()
    open_task_file(folder, "png", [task], CAMVID)
    return folder / "task.json", lambda: write_notes(folder / "task.json", {"done": True}, task.name)


@reads("annotation/page/tasks/answers.py:read_tasks", "annotation/page/tasks/answers.py:_read_regions")
def regions_on_the_page(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.page.tasks.answers import read_tasks
    from thriftseg.annotation.people.task_file import open_task_file
    from thriftseg.atomic import write_bytes
    from thriftseg.datasets import encode_frame
    from thriftseg.taxonomies import CAMVID

    task = _image_task()
    open_task_file(folder, "png", [task], CAMVID)
    write_bytes(task.image_path(folder), encode_frame(np.zeros((3, 4, 3), np.uint8), ".png"))

    def look() -> None:
        for each in read_tasks(folder / "task.json", "round_1")[1]:
            each.start()

    return folder / "task.json", look


@reads("annotation/page/tasks/answers.py:MaskTask._asked")
def mask_on_the_page(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.disc_prompter import DiscPrompter
    from thriftseg.annotation import MaskFilesPerson
    from thriftseg.annotation.page.tasks.answers import read_tasks

    video = _object_video(folder)
    person = MaskFilesPerson(folder / "work", DiscPrompter())
    path = person.prepare(video, 1, "clicks", np.zeros(video.size, bool), 1) / "task.json"
    return path, lambda: [task.start() for task in read_tasks(path, "a")[1]]


@reads("annotation/people/mask_files.py:MaskFilesPerson.annotate")
def clicks_of_a_person(folder: Path) -> tuple[Path, Read]:
    from tests.fixtures.disc_prompter import DiscPrompter
    from thriftseg.annotation import MaskFilesPerson

    video, person = _object_video(folder), MaskFilesPerson(folder / "work", DiscPrompter())
    current = np.zeros(video.size, bool)
    path = person.prepare(video, 1, "clicks", current, 1) / "task.json"
    as_json(path, json.loads(path.read_text()) | {"clicks": [[3, 4, 1], [5, 6, 0]], "done": True, "seconds": 2.5})
    return path, lambda: person.annotate(video, 1, "clicks", current, 1)


@dataclass(frozen=True)
class Halves:
    """Cuts a frame into two super-pixels."""

    def segment(self, image: np.ndarray) -> np.ndarray:
        return np.indices(image.shape[:2])[0] // 2


@reads("annotation/ranking/superpixels.py:SuperpixelStore.segment")
def superpixels(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.ranking.superpixels import SuperpixelStore

    store, image = SuperpixelStore(Halves(), folder), np.zeros((4, 6, 3), np.uint8)
    store.segment(image)
    return next(folder.glob("*.npz")), lambda: store.segment(image)


# --- reports


@reads("reports/run_scores.py:read_score_file")
def file_of_scores(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.run_scores import read_run

    training = {"steps": 9, "scored_step": 6, "seed": 1}
    metrics = {"val/miou": 0.5, "val/iou/car": None, "cost/hours": 2.5}
    content = {"command": "thriftseg fit", "network_sha256": "ab", "training": training, "metrics": metrics}
    return as_json(folder / "fit.json", content), lambda: read_run(folder)


@reads("reports/run_scores.py:read_labels")
def report_of_labels(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.run_scores import read_labels

    quality = {"j_mean": 0.5, "recall_50": 1.0, "recall_70": 0.25, "masks": 3}
    content = {"manual": 3, "cost": {"seconds": 7.5, "boxes": 1}, "quality": quality}
    return as_json(folder / "quality.json", content), lambda: read_labels(folder)


@reads("reports/run_scores.py:read_profile")
def profile_of_a_network(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.run_scores import read_profile

    content = {"parameters": 10, "gflops": 1.5, "fps": 30.0, "size": [24, 32], "device": "cpu", "milliseconds": 3.5}
    return as_json(folder / "profile.json", content), lambda: read_profile(folder)


@reads("reports/run_scores.py:read_kept_runs")
def kept_runs(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports import read_pilots

    runs = [{"name": "a", "seed": 1, "steps": 9, "hours": h, "miou": 0.5 - 0.2 / h} for h in (1, 2, 3, 4)]
    path = as_json(folder / "results.json", {"students": runs})
    return path, lambda: read_pilots({"a": str(path)})


@reads("reports/annotation/curves.py:read_curve")
def curve(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.annotation.curves import read_curve

    content = {"target": 0.85, "hours_at_target": None, "area": 0.5, "hours": [1, 2.5], "jf": [0.5, 0.75]}
    return as_json(folder / "curve.json", content), lambda: read_curve(folder)


def _annotation_run(folder: Path) -> Path:
    settings = {"dataset": "folder", "video": "drive", "paste_manual": True, "tuning": {"lr": 0.1}}
    as_json(folder / "run.json", settings)
    (folder / "rounds.jsonl").write_text("".join(json.dumps(_finished_round(number)) + "\n" for number in (0, 1)))
    return folder


@reads("reports/annotation/runs.py:read_annotation_run")
def settings_of_an_annotation_run(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.annotation.runs import annotation_table, read_annotation_run

    return _annotation_run(folder) / "run.json", lambda: annotation_table(read_annotation_run(folder))


@reads("reports/annotation/runs.py:read_annotation_run")
def rounds_of_an_annotation_run(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.annotation.runs import annotation_table, read_annotation_run

    return _annotation_run(folder) / "rounds.jsonl", lambda: annotation_table(read_annotation_run(folder))


@reads("reports/annotation/runs.py:_found_by")
def search_for_a_budget(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.annotation.runs import find_ends

    _annotation_run(folder / "budget_10")
    probes = [{"percent": 10, "miou": 0.5, "cost": {"seconds": 3}, "run": "budget_10"}]
    path = as_json(folder / "budgets.json", {"target_miou": 0.25, "probes": probes})
    return path, lambda: find_ends(folder, searched=True)


@reads("reports/annotation/page.py:_bought")
def bought_samples(folder: Path) -> tuple[Path, Read]:
    from thriftseg.annotation.hvsa.folder import PERSON
    from thriftseg.reports.annotation.page import _bought
    from thriftseg.reports.annotation.runs import read_annotation_run
    from thriftseg.stores import LabelStore
    from thriftseg.taxonomies import CAMVID
    from thriftseg.types import Clip, LabelKind

    path = as_json(_annotation_run(folder) / "round_1/selection.json", {"samples": [[3, 0, 12], [4, 1, 9]]})
    store = LabelStore(folder / "labels", PERSON, CAMVID)
    parents = ("person:folder/drive/000003#0",)
    store.write("drive", 3, LABEL, kind=LabelKind.MANUAL, generator="person", parents=parents)
    return path, lambda: _bought(read_annotation_run(folder), store, Clip("drive", {3: Path("a.png")}))


@reads("reports/scoring/label_maps.py:_has_colours")
def predicted_colours(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.scoring.label_maps import _has_colours

    path = _png(folder / "a.png", LABEL)
    return path, lambda: _has_colours(path)


@reads("reports/scoring/pairing.py:_listed")
def list_of_recordings(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.scoring.pairing import _Index, _listed

    path = folder / "val.txt"
    path.write_text("drive first\nride\n")
    index = _Index({"drive": {0: folder}, "ride": {0: folder}})
    return path, lambda: _listed(index, path)


@reads("reports/sweeps.py:SweepTask.steps")
def log_of_metrics(folder: Path) -> tuple[Path, Read]:
    import os

    from thriftseg.reports.sweeps import SweepTask
    from thriftseg.reports.tables.composing import compose_row

    task = SweepTask(0, compose_row("samsam2_t1", "N1"), 0, ())
    path = folder / task.folder / "version_0/metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch,step,train/loss\n0,49,0.5\n0,99,\n")

    def read() -> object:
        before = Path.cwd()
        os.chdir(folder)
        try:
            return task.steps()
        finally:
            os.chdir(before)

    return path, read


@reads("reports/tables/fragments.py:_load_yaml")
def published_table(folder: Path) -> tuple[Path, Read]:
    from thriftseg.reports.tables.fragments import _load_yaml
    from thriftseg.reports.tables.published import read_table

    path = folder / "small.yaml"
    path.write_text(
        "name: small\ntitle: two rows\nsource: a paper\ndataset: camvid\nmetrics: [miou]\nx: null\n"
        "defaults: {series: s, base: camvid}\n"
        "rows:\n- {key: a, run: r, samples: 10, hours: 1.5, published: {miou: 50}}\n"
        "- {key: b, run: q, without: [x.y]}\n"
    )

    def read() -> object:
        _load_yaml.cache_clear()
        return read_table(path)

    return path, read


@reads("quickstart/run.py:_student_point")
def result_of_a_student(folder: Path) -> tuple[Path, Read]:
    from dataclasses import asdict

    from thriftseg.quickstart.config import QuickstartConfig
    from thriftseg.quickstart.run import _student_point
    from thriftseg.reports import CostQualityPoint

    config = QuickstartConfig.load()
    student = config.students[0]
    point = CostQualityPoint(student.name, 1.5, 0.5, 3, 0.5, 0.5)
    path = as_json(folder / "students" / student.key / "result.json", asdict(point))
    # without the file the student would be trained
    return path, lambda: path.exists() and _student_point(student, None, folder, config, 0, False)  # type: ignore[arg-type]


@reads("cli/options/shipped_config.py:_options_in", weight=0.2)
def config_of_a_command(folder: Path) -> tuple[Path, Read]:
    from jsonargparse import ArgumentParser

    from thriftseg.cli.options.shipped_config import add_config_argument
    from thriftseg.errors import ConfigError

    path = folder / "options.yaml"
    path.write_text("split: train\nnumber: 3\nshare: 0.5\n")

    def read() -> object:
        parser = ArgumentParser(prog="thriftseg label clicks", exit_on_error=False)
        add_config_argument(parser)
        parser.add_argument("--split", type=str)
        parser.add_argument("--number", type=int)
        parser.add_argument("--share", type=float)
        try:
            return parser.parse_args(["--config", str(path)])
        except Exception as error:
            if type(error).__module__.startswith(("jsonargparse", "argparse")):  # what the command line prints as it is
                raise ConfigError("wrong options", path=path, found=error) from error
            raise

    return path, read
