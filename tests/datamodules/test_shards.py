from __future__ import annotations

import http.server
import io
import json
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image

from thriftseg.costs import AnnotationCost
from thriftseg.datamodules import LABELS_OF_SHARDS, Mixture, MixturePart, SemanticDataModule, write_shards
from thriftseg.datamodules import shards as packing
from thriftseg.datasets import DATASETS, Cityscapes, Folder, check_dataset, create
from thriftseg.datasets.files import glob_files
from thriftseg.drawing import VideoWriter
from thriftseg.errors import ConfigError, DatasetError, LabelStoreError
from thriftseg.shards import bucket as remote
from thriftseg.shards import members
from thriftseg.stores import LabelSource, LabelStore, find_rot
from thriftseg.stores.review_log import Decision
from thriftseg.stores.rows import action_id
from thriftseg.synthetic import synthesize
from thriftseg.types import Clip, LabelKind

SIZE = {"height": 32, "width": 64, "frames": 4, "train_clips": 3, "val_clips": 1, "devices": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Cityscapes with three training clips, and a store with propagated labels, one of them rejected, and clicks."""
    root, store = (tmp_path_factory.mktemp(name) for name in ("data", "labels"))
    synthesize(root, layout="cityscapes", **SIZE)
    dataset, rng = Cityscapes(root), np.random.default_rng(0)
    flow, clicks = (LabelStore(store, name, dataset.taxonomy) for name in ("flow", "clicks"))
    for clip in dataset.clips("train"):
        for number in clip.frames:
            label = rng.integers(0, 19, (32, 64)).astype(np.uint8)
            parents = (action_id("manual", "cityscapes", clip.video, clip.annotated[0]),)
            flow.write(clip.video, number, label, kind=LabelKind.PROPAGATED, generator="made", parents=parents)
    first = dataset.clips("train")[0]
    flow.record_reviews([Decision(first.video, min(first.frames), "reject")])
    frames = [(clip.video, clip.annotated[0]) for clip in dataset.clips("train")]
    clicks.write_points(
        {frame: [(3, 4, 5)] for frame in frames},
        dataset="cityscapes",
        generator="made",
        costs=dict.fromkeys(frames, AnnotationCost(seconds=2.5, clicks=1)),
        sizes=dict.fromkeys(frames, (32, 64)),
    )
    return root, store


@pytest.fixture(scope="module")
def packed(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packed")
    report = write_shards(Cityscapes(files[0]), out, store=files[1])
    assert (report.shards, report.written, report.frames) == (1, 1, 16)
    return out


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    remote._mirror.cache_clear()


def mixture(store: Path | str) -> Mixture:
    drawn, carried = MixturePart("manual", clips=1), MixturePart("flow", offsets=-1, weight=0.5)
    return Mixture(parts=[drawn, carried, MixturePart("clicks", clips=2)], store=store, seed=3)


def module_of(root: Path | str, store: Path | str, workers: int = 0) -> SemanticDataModule:
    module = SemanticDataModule(
        Cityscapes(root), mixture(store), crop=(24, 32), batch_size=2, past_frames=1, num_workers=workers, seed=7
    )
    module.setup("fit")
    return module


def batches(module: SemanticDataModule) -> list[dict]:
    found = []
    for epoch in range(2):
        loader = module.train_dataloader()
        loader.sampler.set_epoch(epoch)
        found += list(loader)
    return found


def assert_same(found: list[dict], expected: list[dict]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else np.all(value == other[key])


def test_a_bucket_gives_the_batches_and_costs_of_the_files(files: tuple[Path, Path], packed: Path) -> None:
    expected = module_of(*files)
    assert expected.annotation_cost is not None
    for root in (str(packed), f"file://{packed}"):
        found = module_of(root, f"{root}/{LABELS_OF_SHARDS}", workers=2)
        assert found.annotation_cost == expected.annotation_cost
        assert found.state_dict() == expected.state_dict()
        assert_same(batches(found), batches(expected))
        assert_same(list(found.val_dataloader()), list(expected.val_dataloader()))
    assert not list(packed.rglob("*.partial"))


@pytest.mark.parametrize("rank", [0, 1])
def test_two_ranks_that_go_on_within_an_epoch(files: tuple[Path, Path], packed: Path, rank: int) -> None:
    both = []
    for root, store in (files, (packed, packed / LABELS_OF_SHARDS)):
        module = module_of(root, store)
        loader = module.train_dataloader()
        sampler = type(loader.sampler)(len(loader.dataset), 1, seed=7, rank=rank, world_size=2, begun=lambda: (1, 2))
        sampler.set_epoch(1)
        both.append([loader.dataset[draw] for draw in sampler])
    assert_same(both[1], both[0])
    assert len(both[0]) == len(loader.dataset) // 2 - 2


def test_shards_hold_the_bytes_as_samples_of_webdataset(files: tuple[Path, Path], packed: Path) -> None:
    clip = Cityscapes(files[0]).clips("train")[0]
    annotated = clip.annotated[0]
    with tarfile.open(packed / "000000.tar") as tar:
        names = tar.getnames()
        samples: dict[str, dict[str, bytes]] = {}
        for name in names:
            key, ending = re.fullmatch(r"((?:.*/|)[^.]+)[.]([^/]*)", name).groups()
            samples.setdefault(key, {})[ending] = tar.extractfile(name).read()
    keys = [re.match(r"(?:.*/|)[^.]+", name)[0] for name in names]
    assert len(samples) == sum(one != other for one, other in zip(keys, [None, *keys], strict=False))  # not torn
    sample = samples[f"train/{clip.video}/{annotated:06d}"]
    assert sample["png"] == clip.frames[annotated].read_bytes()
    assert sample["manual.png"] == clip.labels[annotated].read_bytes()
    assert sample["instances.png"] == clip.instances[annotated].read_bytes()
    assert sample["flow.png"] == (files[1] / "flow" / clip.video / f"{annotated:06d}.png").read_bytes()
    about = json.loads(sample["json"])
    drawn, clicked = (f"{name}:cityscapes/{clip.video}/{annotated:06d}" for name in ("manual", "clicks"))
    assert about["labels"]["flow"]["parents"] == about["labels"]["manual"]["parents"] == [drawn]
    assert about["labels"]["clicks"]["clicks"] == [[3, 4, 5]]
    assert about["costs"][clicked]["seconds"] == 2.5
    assert about["costs"][drawn]["clicks"] > 0
    rejected = samples[f"train/{clip.video}/{min(clip.frames):06d}"]
    assert json.loads(rejected["json"])["labels"]["flow"]["verdict"] == "reject"


def test_webdataset_reads_them(packed: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    found = list(webdataset.WebDataset(str(packed / "000000.tar"), shardshuffle=False))
    assert len(found) == 16
    assert {"png", "json"} <= found[0].keys()


@pytest.mark.parametrize("layout", ["cityscapes", "camvid", "idd", "veis", "scenenet"])
def test_every_reader_finds_the_same_in_shards(layout: str, tmp_path: Path) -> None:
    synthesize(tmp_path / "data", layout=layout, **SIZE | {"train_clips": 1})
    dataset, out = create(layout, tmp_path / "data"), tmp_path / "out"
    write_shards(dataset, out, store=tmp_path / "none")
    packed = create(layout, f"file://{out}")
    assert str(check_dataset(packed).splits) == str(check_dataset(dataset).splits)
    for split in ("train", "val"):
        for clip, other in zip(packed.clips(split), dataset.clips(split), strict=True):
            for number in other.frames:
                assert np.array_equal(packed.read_frame(clip, number), dataset.read_frame(other, number))
            for number in other.labels:
                assert np.array_equal(packed.read_label(clip, number), dataset.read_label(other, number))
                instances = packed.read_instances(clip, number), dataset.read_instances(other, number)
                assert np.array_equal(*instances) if instances[1] is not None else instances[0] is None
            for number in other.coarse:
                assert np.array_equal(packed.read_coarse(clip, number), dataset.read_coarse(other, number))
                regions = packed.read_coarse_regions(clip, number), dataset.read_coarse_regions(other, number)
                assert np.array_equal(regions[0].index, regions[1].index)


def test_this_file_knows_every_reader() -> None:
    assert {*DATASETS} == {"cityscapes", "camvid", "idd", "veis", "scenenet", "folder"}


def test_a_reader_that_shards_cannot_serve_is_told(noise: Folder, tmp_path: Path) -> None:
    class Globbing(Folder):
        def _scan(self, split: str) -> list[Clip]:
            return [clip for clip in super()._scan(split) if any((self.root / split).glob("*/frames/*.png"))]

    with pytest.raises(DatasetError, match=r"lists other clips in the shards.*found clip drive of split 'train'"):
        write_shards(Globbing(noise.root), tmp_path / "out", store=tmp_path / "none")
    assert not (tmp_path / "out" / "shards.json").exists()


def test_a_video_stays_a_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    clip = tmp_path / "data" / "train" / "drive"
    (clip / "labels").mkdir(parents=True)
    (tmp_path / "data" / "classes.yaml").write_text("name: two\nclasses: [{name: a}, {name: b}]\n")
    with VideoWriter(clip / "frames_90_3.mp4", 10) as video:
        for shade in range(6):
            video.write(np.full((32, 64, 3), 40 * shade, np.uint8))
    dataset, out = Folder(tmp_path / "data"), tmp_path / "out"
    write_shards(dataset, out, store=tmp_path / "none")
    with tarfile.open(out / "000000.tar") as tar:
        content = tar.extractfile("train/drive/frames_90_3.mp4").read()
    assert content == (clip / "frames_90_3.mp4").read_bytes()
    shutil.rmtree(clip)
    for root in (out, f"file://{out}"):
        (packed,) = Folder(root).clips("train")
        assert list(packed.frames) == [90, 93, 96, 99, 102, 105]
        assert [round(Folder(root).read_frame(packed, n).mean(), -1) for n in (105, 93)] == [200, 40]


@pytest.fixture
def noise(tmp_path: Path) -> Folder:
    """Frames that take 480 kB each, so that two fill a shard of 1 MiB."""
    rng, clip = np.random.default_rng(0), tmp_path / "noise" / "train" / "drive"
    for folder in ("frames", "labels"):
        (clip / folder).mkdir(parents=True)
    (tmp_path / "noise" / "classes.yaml").write_text("name: two\nclasses: [{name: a}, {name: b}]\n")
    for number in range(6):
        write_image(clip / "frames" / f"{number}.png", rng.integers(0, 255, (400, 400, 3), np.uint8))
    write_image(clip / "labels" / "3.png", rng.integers(0, 2, (400, 400), np.uint8))
    return Folder(tmp_path / "noise")


def write_image(path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_killed_run_goes_on_and_a_finished_one_does_nothing(
    noise: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"store": tmp_path / "none", "shard_mib": 1}
    assert write_shards(noise, tmp_path / "whole", **settings).written == 3
    out, write = tmp_path / "out", packing._write_shard

    def killed(path: Path, *rest: object) -> object:
        if path.name == "000002.tar":
            raise KeyboardInterrupt
        return write(path, *rest)

    monkeypatch.setattr(packing, "_write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        write_shards(noise, out, **settings)
    assert not (out / "shards.json").exists()
    monkeypatch.undo()
    stamp = (out / "000001.tar").stat().st_mtime_ns
    assert str(write_shards(noise, out, **settings)).startswith(f"{out}: 3 shards (1 written now) with 6 frames, 2.8")
    assert (out / "000001.tar").stat().st_mtime_ns == stamp
    assert contents(out) == contents(tmp_path / "whole")
    assert write_shards(noise, out, **settings).written == 0
    write_image(noise.root / "train" / "drive" / "frames" / "5.png", np.zeros((400, 400, 3), np.uint8))
    assert write_shards(noise, out, **settings).written == 1
    assert Folder(out).read_frame(Folder(out).clips("train")[0], 5).max() == 0
    with pytest.raises(ConfigError, match="holds other shards; expected shard_mib 2; found shard_mib 1"):
        write_shards(noise, out, **settings | {"shard_mib": 2})


def test_damage_names_the_shard_and_the_member(noise: Folder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_shards(noise, out, store=tmp_path / "none", shard_mib=1)
    shard = out / "000001.tar"
    content = bytearray(shard.read_bytes())
    content[100_000] ^= 1
    shard.write_bytes(content)
    (clip,) = Folder(out).clips("train")
    assert np.array_equal(Folder(out).read_frame(clip, 3), noise.read_frame(noise.clips("train")[0], 3))
    with pytest.raises(DatasetError, match=r"000001.tar: this shard is damaged .* at train/drive/frames/2.png"):
        Folder(out).read_frame(clip, 2)
    assert [f.message for f in check_dataset(Folder(out)).findings if "000001.tar" in f.message]
    shard.write_bytes(content[:600_000])
    with pytest.raises(DatasetError, match=r"cut short at train/drive/frames/3.png; expected \d+ bytes from byte"):
        Folder(out).read_frame(clip, 3)
    shard.unlink()
    with pytest.raises(DatasetError, match=r"000001.tar: this shard is missing, which has train/drive/frames/3.png"):
        Folder(out).read_frame(clip, 3)
    index = json.loads((out / "shards.json").read_text())
    for change in ({"schema": 2}, {"plain": {"../up": [1, ""]}}, {"plain": {"a/./b": [1, ""]}}, {"more": 1}):
        (out / "shards.json").write_text(json.dumps(index | change))
        with pytest.raises(DatasetError, match=r"shards.json: is no index of shards"):
            Folder(out).clips("train")


def test_a_bucket_is_read_by_ranges_into_a_bounded_cache(
    noise: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(noise, tmp_path / "out", store=tmp_path / "none", shard_mib=1)
    bucket = fsspec.filesystem("memory")
    bucket.put(str(tmp_path / "out"), "/bucket", recursive=True)
    dataset, asked = Folder("memory://bucket"), []
    fetch = remote.fetch
    for module in (remote, members):
        monkeypatch.setattr(module, "fetch", lambda *where: asked.append(where) or fetch(*where))
    (clip,), (given,) = dataset.clips("train"), noise.clips("train")
    assert [where[0].rpartition("/")[2] for where in asked] == ["shards.json", "classes.yaml"]

    def read(*numbers: int) -> int:
        before = len(asked)
        for number in numbers:
            assert np.array_equal(dataset.read_frame(clip, number), noise.read_frame(given, number))
        return len(asked) - before

    assert read(0, 1, 2, 4) == 4
    assert sum(end - start for _, start, end in asked[2:]) == sum(given.frames[n].stat().st_size for n in (0, 1, 2, 4))
    assert read(0, 1, 2, 4) == 0
    first, second, third = sorted(remote._mirrors().glob("*/*.tar"), key=lambda path: path.name.partition("-")[2])
    with third.open("r+b") as stream:  # what another process has written only in part
        stream.seek(200_000)
        stream.write(bytes(1000))
    assert read(4) == 1
    for age, path in enumerate((second, third, first)):
        os.utime(path, (age, age))
    monkeypatch.setenv("THRIFTSEG_LIMIT_SHARD_CACHE", "2000000")  # of some 2.4 MB
    assert read(5) == 1
    assert [path.exists() for path in (first, second, third)] == [True, False, True]
    assert read(0, 1, 4, 2) == 1
    bucket.rm_file("/bucket/000001.tar")
    with pytest.raises(DatasetError, match=r"memory://bucket/000001.tar: a range .* cannot be fetched.*no such"):
        read(3)
    bucket.rm("/bucket", recursive=True)


def test_a_range_is_asked_for_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, failures = fsspec.filesystem("memory"), [TimeoutError("slow down"), ConnectionError("gone")]
    bucket.pipe_file("/again/file", b"0123456789")
    read = type(bucket).cat_file

    def failing(*where: object, **rest: object) -> bytes:
        if failures:
            raise failures.pop()
        return read(*where, **rest)

    monkeypatch.setattr(type(bucket), "cat_file", failing)
    monkeypatch.setattr(remote, "_PAUSES", (0.0, 0.0))
    assert remote.fetch("memory://again/file", 2, 5) == b"234"
    failures += [TimeoutError("slow down")] * 3
    with pytest.raises(DatasetError, match="memory://again/file: cannot be fetched; found TimeoutError: slow down"):
        remote.fetch("memory://again/file", 2, 5)
    assert not failures
    bucket.rm("/again", recursive=True)


def read_all(root: str) -> int:
    (clip,) = Folder(root).clips("train")
    return sum(int(Folder(root).read_frame(clip, number).sum()) for number in clip.frames)


def test_processes_that_fetch_the_same_shards(noise: Folder, tmp_path: Path) -> None:
    write_shards(noise, tmp_path / "out", store=tmp_path / "none", shard_mib=1)
    root = f"file://{tmp_path / 'out'}"
    with ProcessPoolExecutor(3, get_context("fork")) as pool:
        assert {*pool.map(read_all, [root] * 3)} == {read_all(str(noise.root))}


class Ranges(http.server.SimpleHTTPRequestHandler):
    def send_head(self) -> io.BytesIO | None:
        path, asked = Path(self.translate_path(self.path)), self.headers.get("Range")
        if not path.is_file():
            return self.send_error(404)
        first, last = map(int, asked.removeprefix("bytes=").split("-")) if asked else (0, path.stat().st_size - 1)
        self.send_response(206 if asked else 200)
        self.end_headers()
        return io.BytesIO(path.read_bytes()[first : last + 1])

    def log_message(self, *_: object) -> None:
        pass


class NoRanges(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[object]:
    servers = []

    def serve(handler: type, folder: Path) -> str:
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *arguments: handler(*arguments, directory=str(folder))
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_web_server(noise: Folder, tmp_path: Path, served) -> None:
    write_shards(noise, tmp_path / "web" / "out", store=tmp_path / "none", shard_mib=1)
    assert read_all(f"{served(Ranges, tmp_path / 'web')}/out") == read_all(str(noise.root))
    with pytest.raises(DatasetError, match=r"expected \d+ bytes from byte \d+; found \d+ bytes; .*requests for ranges"):
        read_all(f"{served(NoRanges, tmp_path / 'web')}/out")
    with pytest.raises(DatasetError, match="no shards at this address"):
        read_all(f"{served(Ranges, tmp_path / 'web')}/elsewhere/than/there")


def test_stored_labels_in_shards_are_verified_and_those_of_a_bucket_only_read(
    files: tuple[Path, Path], packed: Path
) -> None:
    taxonomy = Cityscapes(files[0]).taxonomy
    assert find_rot(packed / LABELS_OF_SHARDS, taxonomy) == []
    address = f"file://{packed}"
    dataset = Cityscapes(address)
    root = mixture(f"{address}/{LABELS_OF_SHARDS}").store_root(dataset)
    source = LabelSource(dataset, root, "flow")
    label = source.labels("train")[0]
    stored = LabelStore(files[1], "flow", taxonomy).read(label.clip.video, label.number)
    assert np.array_equal(source.read(label), stored)
    with pytest.raises(LabelStoreError, match="labels in a bucket are only read"):
        source.store.write(label.clip.video, label.number, source.read(label), kind=label.kind, generator="made")


def test_a_glob_finds_in_shards_what_path_finds_on_disk(noise: Folder, tmp_path: Path) -> None:
    write_shards(noise, tmp_path / "out", store=tmp_path / "none")
    for pattern in ("**/*", "**/*.png", "*", "train/*/frames/?.png", "train/**/3.png", "*/*"):
        found = [path.relative_to(tmp_path / "out") for path in glob_files(tmp_path / "out", pattern)]
        expected = sorted(path for path in noise.root.glob(pattern) if path.is_file())
        assert [path for path in found if path.suffix == ".png"] == [
            path.relative_to(noise.root) for path in expected if path.suffix == ".png"
        ]
