"""Data for the tests: every layout is written once per session by the generator and read by the true readers.

Libraries are imported where they are used, as the process that hands tests to others needs none of them.
"""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.fixtures.distributed import GlooPool

REFERENCE_VARIABLE = "THRIFTSEG_REFERENCE"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One worker more than there are cores: tests wait for browsers and for processes that they start and kill."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Libraries are a million objects that live to the end, which the garbage collector need not walk again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # some libraries count what is left at the end


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut() -> Iterator[None]:
    """What tests write need not reach the disk; a killed process loses nothing that it has handed to the kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def gloo_pool() -> GlooPool:
    """The one pool of two processes of this test session."""
    from tests.fixtures.distributed import shared_pool

    return shared_pool()


@pytest.fixture(scope="session")
def reference_dir() -> Path:
    """Folder of third-party reference data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get(REFERENCE_VARIABLE, Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"reference data not found in {folder} (set {REFERENCE_VARIABLE})")
    return folder


@pytest.fixture(scope="session")
def reference_golden(reference_dir: Path) -> Callable[[str], Path]:
    """A function that finds a golden of the reference data by name; the skip of a test without it names it."""

    def find(name: str) -> Path:
        path = reference_dir / "golden" / "metrics" / f"{name}.json"
        if not path.is_file():
            pytest.skip(f"left out: no golden {path}")
        return path

    return find


@pytest.fixture(scope="session")
def synthesize_layout(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that writes a small data set in a layout, once per session."""
    from thriftseg.synthetic import synthesize

    made: dict[str, Path] = {}

    def make(layout: str) -> Path:
        if layout not in made:
            made[layout] = tmp_path_factory.mktemp("synthetic") / layout
            synthesize(
                made[layout],
                layout=layout,
                train_clips=3,
                val_clips=2,
                frames=8,
                height=64,
                width=128,
                seed=0,
                devices=1,
            )
        return made[layout]

    return make


@pytest.fixture(scope="session")
def cityscapes_root(synthesize_layout: Callable[[str], Path]) -> Path:
    return synthesize_layout("cityscapes")


@pytest.fixture(scope="session")
def camvid_root(synthesize_layout: Callable[[str], Path]) -> Path:
    return synthesize_layout("camvid")


@pytest.fixture(scope="session")
def idd_root(synthesize_layout: Callable[[str], Path]) -> Path:
    return synthesize_layout("idd")


@pytest.fixture(scope="session")
def veis_root(synthesize_layout: Callable[[str], Path]) -> Path:
    return synthesize_layout("veis")


@pytest.fixture(scope="session")
def scenenet_root(synthesize_layout: Callable[[str], Path]) -> Path:
    return synthesize_layout("scenenet")


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a small network with random weights for the classes of CamVid."""
    import torch
    from lightning.pytorch import Trainer

    from thriftseg.lightning_modules import SemanticSegmentation
    from thriftseg.taxonomies import CAMVID
    from thriftseg.zoo import create_model

    torch.manual_seed(0)
    network = create_model("deeplabv3plus_mobilenetv2", CAMVID.num_classes, decoder_channels=8)
    for _ in range(20):
        network.train()(torch.randn(2, 3, 32, 32))  # running statistics that fit the weights
    module = SemanticSegmentation(network, class_names=CAMVID.class_names)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(module)
    path = tmp_path_factory.mktemp("weights") / "tiny.ckpt"
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["thriftseg"]["taxonomy"] = CAMVID.name  # comes from the data module of a true run
    torch.save(checkpoint, path)
    return path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small instance of everything that a command reads; tests leave it as it is."""
    from tests.hostile.world import write_world

    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def folder_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own clips: three classes, every second frame labelled."""
    import cv2
    import numpy as np

    from thriftseg.datasets.images import write_label_png
    from thriftseg.synthetic import SceneConfig, render_clip

    root = tmp_path_factory.mktemp("own")
    ground, vehicle, other = 0, 1, 2
    (root / "classes.yaml").write_text("classes: [{name: ground}, {name: vehicle}, {name: other}]\n")
    to_three = np.full(256, other, np.uint8)
    to_three[[0, 1, 9]], to_three[13:19], to_three[255] = ground, vehicle, 255
    for split, seed in (("train", 1), ("train", 2), ("val", 3)):
        clip = root / split / f"street{seed}"
        for folder in ("frames", "labels"):
            (clip / folder).mkdir(parents=True)
        for number, frame in enumerate(render_clip(SceneConfig(height=64, width=128, num_frames=6, seed=seed))):
            cv2.imwrite(str(clip / "frames" / f"{number:06d}.png"), frame.image[..., ::-1])
            if number % 2:
                write_label_png(clip / "labels" / f"{number:06d}.png", to_three[frame.label])
    return root


@pytest.fixture
def camvid_copy(camvid_root: Path, tmp_path: Path) -> Path:
    """CamVid files that a test may break."""
    return Path(shutil.copytree(camvid_root, tmp_path / "camvid"))


@pytest.fixture
def cityscapes_copy(cityscapes_root: Path, tmp_path: Path) -> Path:
    """Cityscapes files that a test may break."""
    return Path(shutil.copytree(cityscapes_root, tmp_path / "cityscapes"))
