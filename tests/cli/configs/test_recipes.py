"""Every config of a published table of semantic segmentation: up to date, parsed, true to its row, and run."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.configs.parsed import FOLDER, assert_contains, class_name, command_lines, parsed, plain, written
from tests.cli.configs.recipe_data import HEIGHT, WIDTH, RecipeData
from tests.datamodules.mixing.test_mixture import FakeDataset, make_clips
from thriftseg.cli.main import main
from thriftseg.datamodules import Mixture
from thriftseg.datamodules.mixing.mixture import MixturePart
from thriftseg.reports import PublishedRow, list_tables, load_table
from thriftseg.types import Clip

PAPERS = ("samsam2", "weclick")
CONFIGS = sorted(str(path.relative_to(FOLDER)) for paper in PAPERS for path in FOLDER.glob(f"{paper}/*"))
ALL_ROWS = [(name, row) for name in list_tables() for row in load_table(name).rows]
ROWS = [(name, row) for name, row in ALL_ROWS if row.config.startswith(PAPERS)]
COUNTS = {"cityscapes": 2975, "idd": 4032, "camvid": 367}
TRAIN_EXTRA = 19998
NETWORKS = {
    "tmanet": "TMANet",
    "td2fanet": "TDNetFANet",
    "dl": "DeepLabV3Plus",
    "psp": "PSPNet",
    "small": "DeepLabV3Plus",
}
MODULES = {"td2fanet": "TDNetDistillation"}
READERS = {"cityscapes": "Cityscapes", "idd": "IDD", "camvid": "CamVid"}
TINY_NETWORKS = {
    "TMANet": {"depth": 18, "head_channels": 16, "value_channels": 16, "key_channels": 8},
    "TDNetFANet": {},
    "DeepLabV3Plus": {"decoder_channels": 16},
    "PSPNet": {"decoder_channels": 16, "output_stride": 16},
}


def generator(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, folder / "generate.py", *options], capture_output=True, text=True)


class TestGenerator:
    def test_the_committed_configs_are_what_it_writes(self) -> None:
        done = generator(FOLDER, "--check")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_it_finds_and_mends_changed_missing_and_stray_files(self, tmp_path: Path) -> None:
        copy = shutil.copytree(FOLDER, tmp_path / "configs")
        changed, missing, stray = (
            copy / "samsam2" / f"{name}.yaml" for name in ("idd_tmanet_n1", "idd_tmanet_f2", "x")
        )
        changed.write_text(changed.read_text().replace("40000", "4000"))
        missing.unlink()
        stray.write_text("")
        done = generator(copy, "--check")
        assert done.returncode == 1
        assert sorted(done.stdout.splitlines()) == [
            f"out of date: samsam2/{path.name}" for path in (missing, changed, stray)
        ]
        done = generator(copy)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
        for name in CONFIGS:
            assert (copy / name).read_bytes() == (FOLDER / name).read_bytes()
        assert not stray.exists()

    def test_every_config_serves_a_row(self) -> None:
        followed = {str(path.relative_to(FOLDER)) for path in FOLDER.glob("vos/*")}
        assert {row.config for _, row in ALL_ROWS} == {*CONFIGS, *followed}


@pytest.mark.parametrize("config", ["samsam2/cityscapes_td2fanet_coarse50.yaml", "weclick/camvid_dl_r18_kd_mfd.yaml"])
def test_fit_alone_parses_as_the_whole_command_line_does(config: str) -> None:
    arguments = ["--config", str(FOLDER / config)]
    whole, fit = command_lines()
    assert plain(whole.parse_args(["fit", *arguments]).fit) == plain(fit.parse_args(arguments))


def test_every_config_parses_to_what_it_says(subtests: pytest.Subtests) -> None:
    for config in CONFIGS:
        with subtests.test(config):
            check_config(config)


def check_config(config: str) -> None:
    content = parsed(config)
    assert_contains(content, written(config))
    dataset, network, *_ = Path(config).stem.split("_")
    data, model = content["data"]["init_args"], content["model"]["init_args"]
    assert class_name(data["dataset"]) == READERS[dataset]
    assert class_name(model["network"]) == NETWORKS[network]
    module = "WeClick" if config.startswith("weclick/") else MODULES.get(network, "SemanticSegmentation")
    assert class_name(content["model"]) == module
    assert data["num_workers"] > 0


@pytest.mark.parametrize("table", sorted({name for name, _ in ROWS}))
def test_rows_have_the_published_samples_hours_and_iterations(table: str, subtests: pytest.Subtests) -> None:
    for row in (row for name, row in ROWS if name == table):
        with subtests.test(row.key):
            check_row(row)


def check_row(row: PublishedRow) -> None:
    content = parsed(row.config)
    data, trainer = content["data"]["init_args"], content["trainer"]
    dataset = clips_without_files(row.config, data["dataset"])
    mixture = mixture_of(data["mixture"])
    clips = dataset.clips("train")
    motion = {(clip.video, number): float(i) for i, clip in enumerate(clips) for number in clip.annotated}
    samples = len(mixture.select(clips, motion))
    assert samples == row.samples
    if row.hours is not None:
        mixture.clip_selection = "random"  # as many clips, and these need no files
        planned = mixture.plan(dataset, "train")
        assert (len(planned), planned.cost_model) == (samples, "published")
        assert planned.cost().hours == pytest.approx(row.hours, abs=0.0501)
    steps = (
        trainer["max_steps"] if trainer["max_steps"] > 0 else trainer["max_epochs"] * (samples // data["batch_size"])
    )
    assert steps == row.iterations


def test_rows_without_hours_have_no_published_times() -> None:
    """Clicks of Cityscapes are not counted in the paper, and nobody published times for CamVid."""
    assert {name for name, row in ROWS if row.hours is None} == {
        *(f"weclick_{name}" for name in ("t1", "t2", "t3", "t4", "t5", "f5", "camvid")),
        "samsam2_camvid",
    }


def clips_without_files(config: str, reader: dict[str, Any]) -> FakeDataset:
    name = Path(config).stem.partition("_")[0]
    dataset = FakeDataset(clips_of(name, (reader.get("init_args") or {}).get("coarse_source", "train")))
    dataset.name = name
    return dataset


@functools.cache
def clips_of(dataset: str, coarse_source: str) -> list[Clip]:
    clips = make_clips(COUNTS[dataset])
    if coarse_source == "train":
        return clips
    extra = [Clip(f"extra_{i}", {0: Path(f"{i}.png")}, coarse={0: Path(f"{i}.png")}) for i in range(TRAIN_EXTRA)]
    return [Clip(clip.video, clip.frames, clip.labels) for clip in clips] + extra


def mixture_of(entry: dict[str, Any]) -> Mixture:
    settings = dict(entry)
    if settings["parts"] is not None:
        settings["parts"] = [MixturePart(**part) for part in settings["parts"]]
    return Mixture(**settings)


def traits_of(config: str) -> set[tuple[object, ...]]:
    """Data set, label sources, and module with network and with terms; the rest of a config are numbers."""
    content = written(config)
    data, model = content["data"]["init_args"], content["model"]["init_args"]
    mixture, module = data["mixture"], class_name(content["model"])
    return {
        ("data", class_name(data["dataset"])),
        ("labels", *(str(mixture.get(key)) for key in ("parts", "propagated", "coarse", "clip_selection"))),
        ("network", module, class_name(model["network"])),
        ("terms", module, "teacher" in model, "neighbours" in data),
    }


def every_trait_once() -> list[Any]:
    """All configs, as slow tests where they show nothing new; those of half coarse labels first, as they have both."""
    seen: set[tuple[object, ...]] = set()
    cases = []
    for config in sorted(CONFIGS, key=lambda name: ("td2fanet" in name, "50" not in name, name)):
        traits = traits_of(config)
        cases.append(pytest.param(config, marks=[pytest.mark.slow] if traits <= seen else []))
        seen |= traits
    return cases


@pytest.mark.parametrize("config", every_trait_once())
def test_runs(
    config: str,
    recipe_data: Callable[[str], RecipeData],
    small_raft: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    data = recipe_data(Path(config).stem.partition("_")[0])
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny(written(config), data, small_raft)))
    arguments = ["--config", config, "--config", "tiny.yaml", f"--data.dataset.root={data.root}"]
    assert main(["fit", *arguments]) == 0


def tiny(content: dict[str, Any], data: RecipeData, raft: str) -> dict[str, Any]:
    """What to change so that a core runs a config in a second."""
    model, loading = content["model"]["init_args"], content["data"]["init_args"]
    networks = {key: tiny_network(model[key]) for key in ("network", "teacher") if key in model}
    flow = {"flow": {"init_args": {"weights": raft, "iterations": 1}}} if "flow" in model else {}
    trainer = {
        "accelerator": "cpu",
        "devices": 1,
        "strategy": "auto",
        "precision": "32-true",
        "fast_dev_run": True,
        "enable_progress_bar": False,
    }
    changed = {
        "mixture": {"store": str(data.store), "total": None},
        "crop": [32, 64],
        "resize": None,
        "batch_size": 2,
        "eval_batch_size": 1,
        "num_workers": 0,
        "cache": "none",
    }
    if "frame_size" in loading["dataset"].get("init_args", {}):
        changed["dataset"] = {"init_args": {"frame_size": [HEIGHT, WIDTH]}}
    if loading["mixture"]["cost_model"] == "published":
        changed["mixture"]["cost_model"] = "published"
    return {"trainer": trainer, "model": {"init_args": networks | flow}, "data": {"init_args": changed}}


def tiny_network(network: dict[str, Any]) -> dict[str, Any]:
    settings = TINY_NETWORKS[class_name(network)] | {"pretrained": False}
    backbone = network["init_args"].get("backbone")
    if backbone and backbone.startswith("resnet"):
        settings = settings | {"backbone": "resnet18"}
    return {"init_args": settings}
