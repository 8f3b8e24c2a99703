"""Box2Seg learns to find round things in their boxes, and then one square thing from a single mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from tests.datasets.vos import vos_trees as trees
from thriftseg import zoo
from thriftseg.datamodules import BoxDataModule
from thriftseg.datamodules.boxes import TrainingBoxes, list_instances
from thriftseg.datasets import COCO, DAVIS
from thriftseg.datasets.boxes.samples import BoxAugmentation
from thriftseg.datasets.images import write_label_png
from thriftseg.datasets.vos.base import PALETTE
from thriftseg.errors import CheckpointError, DatasetError
from thriftseg.labels import Box2SegSegmenter, FineTuning, label_boxes
from thriftseg.lightning_modules import BoxSegmentation, load_box2seg

SIZE, CROP = (64, 80), (65, 65)


def write_shapes(root: Path, split: str, videos: int, square: bool = False, frames: int = 4) -> Path:
    """Things in front of noise, with the brightness of the noise but smooth."""
    rng = np.random.default_rng([videos, square, frames])
    names = [f"{split}{index}" for index in range(videos)]
    for name in names:
        grey, x, y = rng.integers(60, 200), rng.integers(24, 40), rng.integers(24, 40)
        for number in range(frames):
            image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            ids = np.zeros(SIZE, np.uint8)
            center, radius = (int(x) + 3 * number, int(y)), int(rng.integers(9, 15))
            if square:
                corners = [(center[0] - radius, center[1] - radius), (center[0] + radius, center[1] + radius)]
                cv2.rectangle(ids, *corners, 1, cv2.FILLED)
            else:
                cv2.circle(ids, center, radius, 1, cv2.FILLED)
            image[ids == 1] = grey + rng.integers(-10, 10, ((ids == 1).sum(), 3))
            for folder in ("JPEGImages", "Annotations"):
                (root / folder / "480p" / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / "JPEGImages/480p" / name / f"{number:05d}.jpg"), image)
            write_label_png(root / "Annotations/480p" / name / f"{number:05d}.png", ids, PALETTE)
    trees.lines(root / "ImageSets" / "2017" / f"{split}.txt", *names)
    return root


@pytest.fixture(scope="module")
def discs(tmp_path_factory) -> Path:
    root = write_shapes(tmp_path_factory.mktemp("discs"), "train", 8)
    return write_shapes(root, "val", 3)


def tiny() -> zoo.Box2Seg:
    torch.manual_seed(0)
    return zoo.Box2Seg(backbone="resnet18", decoder_channels=16, dropout=0.0)


def data(root: Path, **settings) -> BoxDataModule:
    return BoxDataModule(DAVIS(root), **{"crop": CROP, "margin": 16, "num_workers": 0, "batch_size": 4} | settings)


def train(module: BoxSegmentation, module_data: BoxDataModule, folder: Path, **settings) -> Trainer:
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = Trainer(default_root_dir=folder, **options | {"enable_checkpointing": False} | settings)
    trainer.fit(module, module_data)
    return trainer


class TestTraining:
    def test_a_step_learns_and_batch_norm_stays_frozen(self, discs, tmp_path):
        module = BoxSegmentation(tiny())
        norms = {k: v.clone() for k, v in module.state_dict().items() if "running" in k}
        weights = {k: v.clone() for k, v in module.named_parameters()}
        trainer = train(module, data(discs), tmp_path, max_epochs=1, limit_train_batches=1)
        state = module.state_dict()
        assert all(torch.equal(state[k], value) for k, value in norms.items())
        assert sum(not torch.equal(value, weights[k]) for k, value in module.named_parameters()) > 50
        assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-5
        assert type(trainer.optimizers[0]) is torch.optim.Adam
        assert 0 <= trainer.callback_metrics["val/j"] <= 1

    def test_scores_are_those_of_the_masks(self, discs, tmp_path):
        """A network that answers with the box has the IoU of discs with squares."""
        module = BoxSegmentation(tiny())
        module.network.forward = lambda frames, boxes: (2 * boxes.float() - 1).unsqueeze(1)
        options = {"logger": False, "enable_progress_bar": False, "accelerator": "cpu", "default_root_dir": tmp_path}
        (scores,) = Trainer(**options).validate(module, data(discs), verbose=False)
        dataset = DAVIS(discs)
        masks = [dataset.read_object_mask(*instance) == 1 for instance in list_instances(dataset, "val")]
        shares = [mask.sum() / (mask.any(0).sum() * mask.any(1).sum()) for mask in masks]
        assert scores["val/j"] == pytest.approx(np.mean(shares), abs=0.02)
        assert scores["val/recall_50"] == 1
        assert scores["val/recall_70"] == pytest.approx(np.mean(np.array(shares) >= 0.7), abs=0.2)

    def test_checkpoints_reload_by_path(self, discs, tmp_path):
        module = BoxSegmentation(tiny())
        trainer = train(module, data(discs), tmp_path, max_steps=1, limit_val_batches=0)
        trainer.save_checkpoint(tmp_path / "box2seg.ckpt")
        network = load_box2seg(tmp_path / "box2seg.ckpt")
        assert not network.training
        for name, value in module.network.state_dict().items():
            assert torch.equal(value, network.state_dict()[name])
        again = BoxSegmentation.load_from_checkpoint(tmp_path / "box2seg.ckpt", weights_only=True)
        assert type(again.network) is zoo.Box2Seg

    def test_published_weights(self, tmp_path):
        network = tiny()
        path = tmp_path / "box2seg.safetensors"
        zoo.save_weights(network, path)
        assert torch.equal(load_box2seg(path).classifier[0].weight, network.classifier[0].weight)

    def test_other_networks_are_refused(self, tmp_path):
        path = tmp_path / "pspnet.safetensors"
        zoo.save_weights(zoo.PSPNet(3, backbone="mobilenet_v2", decoder_channels=8), path)
        with pytest.raises(CheckpointError, match="does not hold a Box2Seg network"):
            load_box2seg(path)


class TestData:
    def test_batches(self, discs):
        module = data(discs)
        module.setup("fit")
        batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())))
        assert batch["frames"].shape == (4, 3, *CROP)
        assert batch["frames"].dtype == torch.float32
        assert float(batch["frames"].max()) <= 1
        assert batch["target"].shape == batch["boxes"].shape == (4, *CROP)
        assert set(batch["target"].unique().tolist()) <= {0, 1, 255}
        assert all(len(name.split("/")) == 3 for name in batch["id"])

    def test_small_objects_are_skipped(self, discs):
        dataset = DAVIS(discs)
        instances = list_instances(dataset, "train")
        areas = [int((dataset.read_object_mask(*instance) == 1).sum()) for instance in instances]
        least = sorted(areas)[len(areas) // 2]
        boxes = TrainingBoxes(dataset, instances, BoxAugmentation(CROP), least)
        large = {instance.id for instance, area in zip(instances, areas, strict=True) if area >= least}
        assert {boxes[index]["id"] for index in range(len(boxes))} <= large
        with pytest.raises(DatasetError, match="all smaller than 99999 pixels"):
            TrainingBoxes(dataset, instances, BoxAugmentation(CROP), 99999)[0]

    def test_coco_instances_and_crowds(self, tmp_path):
        dataset = COCO(trees.write_coco(tmp_path))
        instances = list_instances(dataset, "train")
        assert len(instances) == 3
        boxes = TrainingBoxes(dataset, instances, BoxAugmentation((24, 40), margin=50, jitter=0, flip=0), 1)
        first = boxes[0]["target"].numpy()
        assert set(np.unique(first).tolist()) == {0, 1, 255}  # a crowd beside the instance

    def test_draws_depend_on_the_seed_alone(self, discs):
        first, second, other = (data(discs, seed=seed) for seed in (1, 1, 2))
        batches = []
        for module in (first, second, other):
            module.setup("fit")
            batches.append(next(iter(module.train_dataloader())))
        assert torch.equal(batches[0]["frames"], batches[1]["frames"])
        assert not torch.equal(batches[0]["frames"], batches[2]["frames"])


@pytest.mark.slow
def test_discs_are_learned_and_then_one_square(discs, tmp_path):
    """Trained on discs alone, the network cuts the corners off a square; one drawn mask teaches it otherwise."""
    module = BoxSegmentation(
        tiny(), optimizer=lambda parameters: torch.optim.Adam(parameters, lr=2e-3), freeze_batch_norm=False
    )
    train(module, data(discs, batch_size=8, seed=0), tmp_path, max_steps=100, limit_val_batches=0)
    write_shapes(discs, "test-dev", 1)
    settings = {"store": tmp_path, "accelerator": "cpu", "progress": False}
    method = {"crop": CROP, "margin": 16, "tuning": FineTuning(steps=60, lr=1e-3)}
    learned = Box2SegSegmenter(module.network.eval(), **method)
    round_things = label_boxes(DAVIS(discs), "val", learned, source="discs", **settings)
    assert round_things.quality.j_mean > 0.8
    squares = DAVIS(write_shapes(tmp_path / "square", "val", 1, square=True))
    before = label_boxes(squares, "val", learned, source="before", **settings)
    after = label_boxes(squares, "val", learned, source="after", finetune="middle", **settings)
    print(round_things.quality, before.quality, after.quality, sep="\n")
    assert after.quality.j_mean > before.quality.j_mean
