from __future__ import annotations

import pickle
import re
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from thriftseg.costs import AnnotationCost
from thriftseg.datamodules import Mixture, MixturePart, NeighbourPolicy, SemanticDataModule
from thriftseg.datasets.images import write_label_png
from thriftseg.datasets.registry import create
from thriftseg.errors import ConfigError, DatasetError, MixtureError
from thriftseg.stores.label_store import LabelStore
from thriftseg.stores.review_log import Decision
from thriftseg.stores.rows import action_id
from thriftseg.types import LabelKind


def make(dataset, mixture=None, stage="fit", **settings) -> SemanticDataModule:
    settings = {"crop": (32, 40), "batch_size": 2, "num_workers": 0, **settings}
    module = SemanticDataModule(dataset, mixture, **settings)
    module.setup(stage)
    return module


def batches(module: SemanticDataModule, epoch: int = 0) -> list[dict]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [module.on_after_batch_transfer(batch, 0) for batch in loader]


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key] for key in a
    )


def test_training_batch(squares):
    module = make(squares, past_frames=2, neighbours=NeighbourPolicy("two_sided"))
    loaded = next(iter(module.train_dataloader()))
    assert loaded["frames"].dtype == loaded["label"].dtype == torch.uint8
    batch = module.on_after_batch_transfer(loaded, 0)
    assert batch["frames"].shape == (2, 3, 3, 32, 40)
    assert batch["neighbours"].shape == (2, 2, 3, 32, 40)
    assert batch["label"].shape == batch["valid"].shape == (2, 32, 40)
    assert (batch["label"].dtype, batch["valid"].dtype) == (torch.int64, torch.bool)
    assert 0 <= batch["frames"].min() < batch["frames"].max() <= 1
    assert torch.equal(batch["frames_raw"], loaded["frames"] / 255)
    assert torch.equal(batch["neighbours_raw"], loaded["neighbours"] / 255)
    assert (batch["frames"] - batch["frames_raw"]).abs().mean() > 0.005
    assert (batch["label"][~batch["valid"]] == 255).all()
    assert batch["kind"].tolist() == [0, 0]
    assert all(name.endswith("/000106") for name in batch["id"])
    assert "photometric" not in batch


def test_frames_and_neighbours_are_the_right_ones_under_one_crop(squares):
    module = make(
        squares, crop=(48, 64), scale=(1, 1), flip=False, photometric=False, past_frames=2,
        neighbours=NeighbourPolicy("forward", distance=3),
    )  # fmt: skip
    batch = batches(module)[0]
    clip = next(c for c in squares.clips("train") if batch["id"][0].startswith(c.video))
    shown = [*batch["neighbours"][0], *batch["frames"][0]]
    for image, number in zip(shown, [103, 100, 104, 105, 106], strict=True):
        assert np.array_equal((image * 255).round().byte().permute(1, 2, 0), squares.read_frame(clip, number))


def test_missing_past_repeats_the_oldest_frame(squares):
    module = make(squares, crop=(48, 64), scale=(1, 1), flip=False, photometric=False, past_frames=8)
    frames = batches(module)[0]["frames"][0]
    assert [torch.equal(a, b) for a, b in pairwise(frames)] == [True] * 2 + [False] * 6


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(squares, workers: int):
    settings = {"neighbours": NeighbourPolicy(), "past_frames": 1, "seed": 5}
    alone, forked = make(squares, **settings), make(squares, num_workers=workers, **settings)
    loader = forked.train_dataloader()
    for epoch in (0, 1, 4):
        loader.sampler.set_epoch(epoch)
        found = [forked.on_after_batch_transfer(batch, 0) for batch in loader]
        wanted = batches(alone, epoch)
        assert len(found) == len(wanted) == 2
        assert all(same(a, b) for a, b in zip(found, wanted, strict=True))


def test_epochs_and_seeds_differ(squares):
    module = make(squares)
    assert not torch.equal(batches(module, 0)[0]["frames"], batches(module, 1)[0]["frames"])
    assert not torch.equal(batches(module, 0)[0]["frames"], batches(make(squares, seed=1), 0)[0]["frames"])


def test_memory_cache_changes_nothing(squares_root, open_squares):
    settings = {"neighbours": NeighbourPolicy(), "past_frames": 1, "num_workers": 2}
    plain = make(open_squares(squares_root), **settings)
    cached = make(open_squares(squares_root), cache="ram", **settings)
    assert all(same(a, b) for a, b in zip(batches(plain), batches(cached), strict=True))
    streams = [
        [module.on_after_batch_transfer(batch, 0) for batch in module.val_dataloader()] for module in (plain, cached)
    ]
    assert all(same(a, b) for a, b in zip(*streams, strict=True))


def test_memory_cache_reads_no_file_again(tmp_path, open_squares, write_squares):
    write_squares(tmp_path / "train" / "a", range(6), {3})
    write_squares(tmp_path / "val" / "b", range(4), {1, 3})
    module = make(open_squares(tmp_path), cache="ram", past_frames=1, batch_size=1)
    for file in tmp_path.rglob("*.png"):
        file.unlink()
    assert len(batches(module)) == 1
    assert len(list(module.val_dataloader())) == 4


def test_working_size_applies_to_training_and_evaluation(squares):
    module = make(squares, crop=(24, 32), resize=(24, 32), scale=(1, 1), flip=False)
    assert batches(module)[0]["valid"].all()
    assert next(iter(module.val_dataloader()))["frames"].shape[-2:] == (24, 32)
    other = make(squares, stage="validate", resize=(24, 32), eval_size=(48, 64))
    assert next(iter(other.val_dataloader()))["frames"].shape[-2:] == (48, 64)


def test_evaluation_batch(squares):
    module = make(squares, stage="validate", eval_batch_size=4, num_workers=1)
    stream = [module.on_after_batch_transfer(batch, 0) for batch in module.val_dataloader()]
    assert [len(batch["id"]) for batch in stream] == [4, 4, 3]
    first = stream[0]
    assert first["frames"].shape == (4, 1, 3, 48, 64)
    assert (first["frames"].dtype, first["label"].dtype) == (torch.float32, torch.int64)
    assert first["flow_backward"].dtype == torch.float32
    assert first["paired"].tolist() == [False, True, True, True]
    assert first["scored"].all()
    assert "frames_raw" not in first
    assert first["id"][1] == "every/000001"


def test_evaluation_by_labels_of_the_store(squares, tmp_path):
    """Those that people rejected do not count, nor do labels of the data set."""
    store = LabelStore(tmp_path, "drawn", squares.taxonomy)
    for video, number in (("first", 3), ("first", 4), ("single", 25)):
        store.write(video, number, np.full((48, 64), 1, np.uint8), kind=LabelKind.MANUAL, generator="page")
    store.review_log.add([Decision("first", 4, "reject", 0)])
    module = make(squares, Mixture(store=tmp_path), stage="validate", eval_labels="drawn", eval_batch_size=9, tc="off")
    (batch,) = module.val_dataloader()
    assert batch["id"] == ["first/000003", "single/000025"]
    assert batch["scored"].all()
    assert batch["label"].unique().tolist() == [1]  # in the data set, most is 0
    with pytest.raises(DatasetError, match=r"none: no labelled frame in split 'val' of squares; .*eval_labels"):
        make(squares, Mixture(store=tmp_path), stage="validate", eval_labels="none")
    fill_stores(tmp_path, squares)
    with pytest.raises(ConfigError, match="clicks are no label maps"):
        make(squares, Mixture(store=tmp_path), stage="validate", eval_labels="clicks", val_split="train")


def test_setup_reads_only_what_a_stage_needs(tmp_path, open_squares, write_squares):
    write_squares(tmp_path / "val" / "b", range(3), {1})
    module = make(open_squares(tmp_path), stage="validate")
    assert len(list(module.val_dataloader())) == 2
    assert module.annotation_cost is None
    assert module.state_dict() == {}
    with pytest.raises(ConfigError, match=r'call setup\("fit"\) first'):
        module.train_dataloader()
    with pytest.raises(ConfigError, match="no test videos"):
        module.test_dataloader()
    module.setup("predict")


def test_class_table_is_known_before_setup(open_squares):
    module = SemanticDataModule(open_squares("/nowhere"), crop=(8, 8))
    assert module.num_classes == 2
    assert module.class_names == ["ground", "square"]


def test_seed_of_the_run_is_the_default(squares, monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    unset, seven, eight = (batches(make(squares, seed=seed)) for seed in (None, 7, 8))
    assert all(map(same, unset, seven))
    assert not all(map(same, unset, eight))
    monkeypatch.delenv("PL_GLOBAL_SEED")
    assert make(squares).seed == 0


def test_set_up_announces_root_and_cost(squares, squares_root, capsys):
    module = make(squares)
    printed = capsys.readouterr().out
    assert f"squares: reading {squares_root} (from --root)" in printed
    assert "manual" in printed
    assert "total" in printed
    assert isinstance(module.annotation_cost, AnnotationCost)
    assert module.annotation_cost.masks == 4
    module.setup("validate")
    assert capsys.readouterr().out == f"squares: reading {squares_root} (from --root)\n"


def test_state_is_plain_and_names_no_path(squares, squares_root):
    module = make(squares)
    state = module.state_dict()
    assert state["taxonomy"] == {"name": "squares", "version": 1, "classes": ["ground", "square"]}
    assert state["mixture"]["cost"]["masks"] == 4
    assert str(squares_root) not in repr(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.load_state_dict(state)
    fewer = make(squares, Mixture(parts=[MixturePart(clips=2)]))
    with pytest.warns(UserWarning, match="training labels differ"):
        fewer.load_state_dict(state)


def fill_stores(root: Path, dataset) -> dict[str, tuple]:
    """Three clicks on every annotated frame, and a label of one class on the frame after it."""
    clips = dataset.clips("train")
    clicks = {(clip.video, 106): ((12 + k, 10, 1), (5, 40, 0), (60, 30, 0)) for k, clip in enumerate(clips)}
    LabelStore(root, "clicks", dataset.taxonomy).write_points(
        clicks,
        dataset="squares",
        generator="test",
        costs={frame: AnnotationCost(seconds=7.5, clicks=3) for frame in clicks},
        sizes={frame: (48, 64) for frame in clicks},
    )
    flow = LabelStore(root, "flow", dataset.taxonomy)
    for clip in clips:
        parents = (action_id("manual", "squares", clip.video, 106),)
        flow.write(
            clip.video, 107, np.ones((48, 64), np.uint8), kind=LabelKind.PROPAGATED, generator="test", parents=parents
        )
    return {video: points for (video, _), points in clicks.items()}


def test_clicks_stay_points_and_propagated_labels_are_read(squares, tmp_path):
    clicks = fill_stores(tmp_path, squares)
    parts = [MixturePart("clicks", clips=2), MixturePart("flow", offsets=1, clips=4), MixturePart(clips=1)]
    module = make(squares, Mixture(parts=parts, store=tmp_path), crop=(48, 64), scale=(0.5, 1), batch_size=7)
    batch = batches(module)[0]
    assert Counter(batch["kind"].tolist()) == {LabelKind.CLICKS: 2, LabelKind.PROPAGATED: 4, LabelKind.MANUAL: 1}
    seen = 0
    for name, kind, label, valid in zip(batch["id"], batch["kind"], batch["label"], batch["valid"], strict=True):
        if kind == LabelKind.CLICKS:
            drawn = Counter(label[label != 255].tolist())
            clicked = Counter(train_id for *_, train_id in clicks[name.split("/")[0]])
            assert drawn <= clicked
            seen += drawn.total()
        if kind == LabelKind.PROPAGATED:
            assert name.endswith("/000107")
            assert label[valid].unique().tolist() == [1]
    assert 2 <= seen <= 6
    assert module.annotation_cost.clicks > 6


def test_ids_outside_the_table_in_a_stored_label(squares, tmp_path):
    fill_stores(tmp_path, squares)
    for path in (tmp_path / "flow").rglob("*.png"):
        write_label_png(path, np.full((48, 64), 77, np.uint8))
    module = make(squares, Mixture(parts=[MixturePart("flow", offsets=1)], store=tmp_path))
    with pytest.raises(
        DatasetError, match=r"000107\.png: train ids outside .*'squares'; expected 0..1 or 255; found 77"
    ):
        batches(module)


def test_source_ratios(squares, tmp_path):
    fill_stores(tmp_path, squares)
    parts = [MixturePart("clicks", clips=1), MixturePart("flow", offsets=1, clips=3)]
    module = make(squares, Mixture(parts=parts, store=tmp_path), source_ratios={"clicks": 1, "flow": 1}, batch_size=4)
    assert Counter(batches(module)[0]["kind"].tolist()) == {LabelKind.CLICKS: 2, LabelKind.PROPAGATED: 2}


def test_two_process_run_sees_every_item_once(squares, tmp_path):
    run = Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    run.fit(Recorder(tmp_path), datamodule=SemanticDataModule(squares, crop=(32, 40), batch_size=1, num_workers=0))
    ranks = [pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()) for rank in range(2)]  # noqa: S301
    single = make(squares, batch_size=2)
    for epoch in range(2):
        wanted = [batch["id"] for batch in batches(single, epoch)]
        for step, names in enumerate(wanted):
            found = [ranks[rank]["train"][2 * epoch + step][0] for rank in range(2)]
            assert sorted(found) == sorted(names)
    scored = Counter(name for rank in ranks for name in rank["scored"])
    paired = Counter(name for rank in ranks for name in rank["paired"])
    assert set(scored.values()) == set(paired.values()) == {2}  # two epochs
    assert len(scored) == 6 + 1 + 2
    assert len(paired) == 5 + 2


class Recorder(LightningModule):
    """A linear model that notes which items it was fed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.layer = folder, torch.nn.Conv2d(3, 2, 1)
        self.seen: dict[str, list] = {"train": [], "scored": [], "paired": [], "sums": []}

    def training_step(self, batch, batch_idx):
        self.seen["train"].append(list(batch["id"]))
        self.seen["sums"].append(batch["frames"].sum().item())
        return self.layer(batch["frames"][:, -1]).mean()

    def validation_step(self, batch, batch_idx):
        for key in ("scored", "paired"):
            self.seen[key] += [name for name, counts in zip(batch["id"], batch[key], strict=True) if counts]

    def on_train_end(self):
        (self.folder / f"{self.global_rank}.pkl").write_bytes(pickle.dumps(self.seen))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(squares, folder: Path, workers: int, *, resume: Path | None = None, **settings) -> Recorder:
    folder.mkdir()
    saver = ModelCheckpoint(folder, save_top_k=-1, every_n_train_steps=1, filename="{step}")
    ends = ModelCheckpoint(folder, save_top_k=-1, filename="end-{epoch}")
    trainer = Trainer(
        accelerator="cpu", max_epochs=4, logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, callbacks=[saver, ends], **settings,
    )  # fmt: skip
    model = Recorder(folder)
    data = SemanticDataModule(squares, crop=(32, 40), batch_size=1, num_workers=workers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=False)
    return model


@pytest.mark.parametrize(
    ("checkpoint", "steps", "workers"),
    [
        pytest.param(f"{name}.ckpt", steps, workers, marks=pytest.mark.slow if workers and steps in (4, 7, 12) else ())
        for name, steps in {"step=5": 5, "step=4": 4, "step=7": 7, "end-epoch=1": 8, "end-epoch=2": 12}.items()
        for workers in (0, 1)
    ],
)
def test_interrupted_run_goes_on_with_the_batches_it_had_ahead(squares, tmp_path, workers, checkpoint, steps):
    whole = train(squares, tmp_path / "whole", workers)
    assert len(whole.seen["train"]) == 16
    rest = train(squares, tmp_path / "rest", workers, resume=tmp_path / "whole" / checkpoint)
    assert rest.seen["train"] == whole.seen["train"][steps:]
    assert rest.seen["sums"] == whole.seen["sums"][steps:]


@pytest.mark.parametrize("layout", ["cityscapes", "camvid"])
def test_true_folder_layouts(synthesize_layout, layout):
    dataset = create(layout, synthesize_layout(layout))
    module = make(dataset, crop=(48, 64), past_frames=1, num_workers=1)
    batch = batches(module)[0]
    assert batch["frames"].shape == (2, 2, 3, 48, 64)
    known = batch["label"][batch["label"] != 255]
    assert 0 < known.numel()
    assert known.max() < module.num_classes
    stream = [module.on_after_batch_transfer(batch, 0) for batch in module.val_dataloader()]
    labels = sum(len(clip.labels) for clip in dataset.clips("val"))
    assert sum(int(batch["scored"].sum()) for batch in stream) == labels > 0
    assert sum(int(batch["paired"].sum()) for batch in stream) > 0


def read_everything(module: SemanticDataModule) -> None:
    for _ in (*module.train_dataloader(), *module.val_dataloader()):
        pass


@pytest.fixture
def broken(tmp_path, open_squares, write_squares):
    """A data set to break: one clip per split."""
    write_squares(tmp_path / "train" / "a", range(6), {3})
    write_squares(tmp_path / "val" / "b", range(6), {3})
    return open_squares(tmp_path)


@pytest.mark.parametrize(("split", "workers"), [("train/a", 0), ("val/b", 0), ("train/a", 1)])
def test_frame_sizes_that_differ_inside_a_clip(broken, split, workers):
    cv2.imwrite(str(broken.root / split / "000002.png"), np.zeros((40, 64, 3), np.uint8))
    with pytest.raises(DatasetError) as raised:
        read_everything(make(broken, past_frames=1, batch_size=1, num_workers=workers))
    assert re.fullmatch(
        rf"{broken.root / split}/000002.png: sizes differ inside a clip; expected 64x48 .*; found 64x40",
        raised.value.headline,
    )
    assert "Traceback" not in str(raised.value)


def test_label_of_another_size(broken, tmp_path):
    write_label_png(broken.root / "train/a/000003_label.png", np.zeros((24, 32), np.uint8))
    with pytest.raises(DatasetError, match=r"000003_label.png: sizes differ inside a clip"):
        batches(make(broken, batch_size=1))
    store = LabelStore(tmp_path / "store", "flow", broken.taxonomy)
    parents = (action_id("manual", "squares", "a", 3),)
    store.write("a", 4, np.zeros((24, 32), np.uint8), kind=LabelKind.PROPAGATED, generator="t", parents=parents)
    write_label_png(broken.root / "train/a/000003_label.png", np.zeros((48, 64), np.uint8))
    mixture = Mixture(parts=[MixturePart("flow", offsets=1)], store=tmp_path / "store")
    with pytest.raises(DatasetError, match=r"000004.png: label and frame differ in size; expected 48x64; found 24x32"):
        batches(make(broken, mixture, batch_size=1))


def test_label_that_vanished(broken):
    module = make(broken, batch_size=1)
    (broken.root / "train/a/000003_label.png").unlink()
    with pytest.raises(DatasetError, match=r"^\S*000003_label.png: no such file") as raised:
        batches(module)
    assert "\n" not in str(raised.value)


def test_corrupt_frame_is_named(broken):
    (broken.root / "train/a/000003.png").write_bytes(b"no png")
    with pytest.raises(DatasetError, match=r"train/a/000003.png: cannot "):
        batches(make(broken, batch_size=1, crop=(32, 32)))


def test_empty_split(broken):
    with pytest.raises(DatasetError, match="split 'test' of squares is empty"):
        make(broken, stage="test")


def test_split_without_labels(tmp_path, open_squares, write_squares):
    write_squares(tmp_path / "val" / "b", range(3), set())
    with pytest.raises(DatasetError, match="no labelled frame in split 'val' of squares"):
        make(open_squares(tmp_path), stage="validate")


def test_crop_larger_than_the_padded_image(broken):
    with pytest.raises(ConfigError, match=r"crop 200x64 is larger than the padded image.*frame 48x64"):
        make(broken, crop=(200, 64))


def test_mixture_offsets_that_do_not_exist(broken, tmp_path):
    with pytest.raises(MixtureError, match="no frame at offset 9 of annotated frame 3"):
        make(broken, Mixture(parts=[MixturePart("flow", offsets=9)], store=tmp_path))


def test_neighbours_that_do_not_exist(broken):
    with pytest.raises(ConfigError, match="neighbour at offset -4 of frame a/000003 does not exist"):
        make(broken, neighbours=NeighbourPolicy())


def test_sizes_that_differ_inside_an_evaluation_batch(broken, write_squares):
    write_squares(broken.root / "val" / "c", range(3), {0, 1}, size=(40, 64))
    with pytest.raises(ConfigError, match="differ in size; found 40x64, 48x64; fix: set eval_size"):
        list(make(broken, stage="validate", eval_batch_size=8).val_dataloader())
    assert len(list(make(broken, stage="validate").val_dataloader())) == 4
    assert len(list(make(broken, stage="validate", eval_batch_size=4, eval_size=(24, 32)).val_dataloader())) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1; found 0"),
        ({"num_workers": -1}, "num_workers must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"cache": "disk"}, "no such choice of cache; expected none, ram; found 'disk'"),
        ({"crop": (0, 4)}, "crop must be positive"),
        ({"tc": "some"}, "no such choice of tc"),
    ],
)
def test_bad_settings(squares, settings, message):
    with pytest.raises(ConfigError, match=message):
        SemanticDataModule(squares, **{"crop": (8, 8), **settings})
