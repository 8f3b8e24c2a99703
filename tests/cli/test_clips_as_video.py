"""The same clips as pictures and as video files: whatever reads frames gives the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fixtures.videos import decoded, write_h264
from thriftseg.annotation import rank_samples, write_ranking
from thriftseg.cli.main import main
from thriftseg.datamodules import SemanticDataModule, measure_motion
from thriftseg.datasets import CLASS_FILE, Folder, FrameFolder
from thriftseg.datasets.images import encode_frame, read_frame
from thriftseg.exchange import export_labels
from thriftseg.reports.evaluate import evaluate

pytest.importorskip("av")


@pytest.fixture(scope="module")
def roots(folder_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Root with pictures, root with videos; the frames of `val` count from 4 by 2, and half of them is labelled."""
    pictures, videos = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("videos")
    for root in (pictures, videos):
        shutil.copy(folder_root / CLASS_FILE, root)
    for split in ("train", "val"):
        first, step = (0, 1) if split == "train" else (4, 2)
        for clip in Folder(folder_root).clips(split):
            folder = Path(split, clip.video)
            shutil.copytree(folder_root / folder / "labels", videos / folder / "labels")
            name = "frames.mp4" if split == "train" else f"frames_{first}_{step}.mp4"
            if split == "val":
                for label in sorted((videos / folder / "labels").iterdir(), reverse=True):
                    label.rename(label.with_name(f"{first + step * int(label.stem):06d}.png"))
            shutil.copytree(videos / folder / "labels", pictures / folder / "labels")
            video = write_h264(videos / folder / name, [read_frame(path) for path in clip.frames.values()])
            (pictures / folder / "frames").mkdir()
            for place, image in enumerate(decoded(video)):
                target = pictures / folder / "frames" / f"{first + step * place:06d}.png"
                target.write_bytes(encode_frame(image, ".png"))
    return pictures, videos


def files(folder: Path) -> dict[str, bytes]:
    """Content by name, but for times and processes in manifests."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".csv", ".xml"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_clips_are_the_same(roots):
    for split in ("train", "val"):
        pictures, videos = (Folder(root).clips(split) for root in roots)
        for picture, video in zip(pictures, videos, strict=True):
            assert list(picture.frames) == list(video.frames)
            assert (picture.frame_step, picture.annotated) == (video.frame_step, video.annotated)
            assert [path.name for path in picture.frames.values()] == [path.name for path in video.frames.values()]
    assert (list(video.frames), video.annotated) == ([4, 6, 8, 10, 12, 14], (6, 10, 14))


def test_labels_made_from_them_are_the_same(roots, tmp_path: Path):
    for root in roots:
        target = ["--dataset", "folder", "--root", str(root), "--store", str(tmp_path / root.name)]
        assert main(["label", "propagate", "--offsets=-1", *target]) == 0
    pictures, videos = (files(tmp_path / root.name) for root in roots)
    assert len(pictures) >= 6
    assert pictures == videos


def test_check_and_scores_are_the_same(roots, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    said = []
    for root in roots:
        assert main(["data", "check", "--dataset", "folder", "--root", str(root)]) == 0
        said.append(capsys.readouterr().out.partition(" in ")[2].partition(")")[2])
    assert said[0].replace(roots[0].name, roots[1].name) == said[1] != ""
    labels = sorted((roots[0] / "val").rglob("labels/*.png"))
    (tmp_path / "pred/street3").mkdir(parents=True)
    for place, number in enumerate(range(4, 16, 2)):
        shutil.copy(labels[place // 3], tmp_path / f"pred/street3/{number:06d}.png")
    scores = [evaluate(tmp_path / "pred", root, "folder", ["miou", "tc"], devices=1, progress=False) for root in roots]
    assert scores[0].pairs == scores[1].pairs > 0
    assert scores[0].scores == scores[1].scores


def test_batches_and_motion_are_the_same(roots):
    batches = []
    for root in roots:
        module = SemanticDataModule(Folder(root), crop=(48, 64), batch_size=2, num_workers=2, past_frames=2)
        module.setup("fit")
        batches.append([batch["frames"] for batch in module.train_dataloader()])
    assert len(batches[0]) == 3
    for picture, video in zip(*batches, strict=True):
        assert torch.equal(picture, video)
    motion = [measure_motion(Folder(root), Folder(root).clips("train"), progress=False) for root in roots]
    assert motion[0] == motion[1]


def test_what_people_get_is_the_same(roots, tmp_path: Path):
    for root in roots:
        out, dataset = tmp_path / root.name, Folder(root)
        export_labels(dataset, "val", out / "all", "cvat-video", copy_images=True, progress=False)
        write_ranking(dataset, rank_samples(dataset, "train", 2, progress=False), out / "next")
    pictures, videos = (files(tmp_path / root.name) for root in roots)
    assert sum(name.endswith(".png") for name in pictures) == 6 + 2
    del pictures["next/next.csv"], videos["next/next.csv"]  # which names the files
    assert pictures == videos


def test_a_video_alone_is_a_data_set(roots):
    (video,) = (roots[1] / "val").rglob("*.mp4")
    dataset = FrameFolder(video, roots[1] / CLASS_FILE)
    (clip,) = dataset.clips("all")
    assert (clip.video, list(clip.frames)) == (video.stem, [4, 6, 8, 10, 12, 14])
    np.testing.assert_array_equal(dataset.read_frame(clip, 8), decoded(video)[2])
