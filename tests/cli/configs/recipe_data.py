"""Small data sets in their true layouts, with the labels that recipe configs name in a store."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from thriftseg.cli.main import main
from thriftseg.synthetic import synthesize

HEIGHT, WIDTH = 64, 128


@dataclass(frozen=True)
class RecipeData:
    root: Path
    store: Path

    def label(self, method: str, dataset: str, *options: str) -> None:
        options = ("--root", str(self.root), "--store", str(self.store), *options)
        assert main(["label", method, "--dataset", dataset, *options]) == 0


def make_recipe_data(dataset: str, folder: Path, clips: int = 2) -> RecipeData:
    """Some training clips and one to validate on."""
    data = RecipeData(folder / dataset, folder / "labels")
    frames = 3 if dataset == "camvid" else 30
    size = {"height": HEIGHT, "width": WIDTH}
    synthesize(data.root, layout=dataset, train_clips=clips, val_clips=1, frames=frames, seed=0, devices=1, **size)
    {"cityscapes": _label_cityscapes, "camvid": _label_camvid, "idd": _label_idd}[dataset](data)
    return data


def _label_cityscapes(data: RecipeData) -> None:
    for source in ("sam2", "sam2_filled"):
        data.label("propagate", "cityscapes", "--method", "nearest", "--source", source, "--offsets=-10..10")
    for source in ("refined", "refined_all", "amg"):
        data.label("refine", "cityscapes", "--method", "grabcut", "--source", source)
    data.label("clicks", "cityscapes")
    for package in ("leftImg8bit", "gtCoarse"):
        for file in (data.root / package / "train").rglob("*.*"):
            extra = (
                data.root / package / "train_extra" / "extraville" / file.name.replace(file.parent.name, "extraville")
            )
            extra.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, extra)


def _label_idd(data: RecipeData) -> None:
    reader = json.dumps({"frame_size": [HEIGHT, WIDTH]})
    data.label("propagate", "idd", "--reader", reader, "--method", "nearest", "--source", "sam2", "--offsets=-10..10")


def _label_camvid(data: RecipeData) -> None:
    for frame in (data.root / "train").iterdir():
        recording, _, number = frame.stem.rpartition("_")
        letters = number.rstrip("0123456789")
        digits = number.removeprefix(letters)
        for back in range(1, 5):
            name = f"{recording}_{letters}{int(digits) - back:0{len(digits)}d}{frame.suffix}"
            (data.root / "train_sequence").mkdir(exist_ok=True)
            shutil.copy(frame, data.root / "train_sequence" / name)
    data.label("clicks", "camvid")
    data.label("coarse", "camvid")
    data.label("refine", "camvid", "--method", "grabcut", "--source", "refined", "--classes", "car,sign")
