"""Every row of a published table of semantic segmentation: composed, parsed, true to its numbers, and run."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.configs.parsed import (
    assert_contains,
    class_name,
    command_lines,
    composed,
    every_piece_once,
    plain,
    understood,
)
from tests.cli.configs.recipe_data import HEIGHT, WIDTH, RecipeData
from tests.datamodules.mixing.test_mixture import FakeDataset, make_clips
from thriftseg.cli.main import main
from thriftseg.datamodules import Mixture
from thriftseg.datamodules.mixing.mixture import MixturePart
from thriftseg.reports import PublishedRow, list_tables, load_table
from thriftseg.types import Clip
from thriftseg.zoo import create_model

PAPERS = ("samsam2", "weclick")
RUNS = {run: row for run, row in composed().items() if row.table.name.startswith(PAPERS)}
ROWS = [(name, row) for name in list_tables() if name.startswith(PAPERS) for row in load_table(name).rows]
COUNTS = {"cityscapes": 2975, "idd": 4032, "camvid": 367}
TRAIN_EXTRA = 19998
NETWORKS = {
    "tmanet": "TMANet",
    "td2fanet": "TDNetFANet",
    "dl": "DeepLabV3Plus",
    "psp": "PSPNet",
    "small": "DeepLabV3Plus",
}
READERS = {"cityscapes": "Cityscapes", "idd": "IDD", "camvid": "CamVid"}
TINY_NETWORKS = {
    "TMANet": {"depth": 18, "head_channels": 16, "value_channels": 16, "key_channels": 8},
    "TDNetFANet": {},
    "DeepLabV3Plus": {"decoder_channels": 16},
    "PSPNet": {"decoder_channels": 16, "output_stride": 16},
}


@pytest.mark.parametrize("run", ["cityscapes_td2fanet_coarse50", "camvid_dl_r18_kd_mfd"])
def test_fit_alone_parses_as_the_whole_command_line_does(run: str, tmp_path: Path) -> None:
    (tmp_path / "row.yaml").write_text(yaml.safe_dump(RUNS[run].config))
    arguments = ["--config", str(tmp_path / "row.yaml")]
    whole, fit = command_lines()
    assert plain(whole.parse_args(["fit", *arguments]).fit) == plain(fit.parse_args(arguments))


@pytest.mark.parametrize("run", every_piece_once(RUNS))
def test_every_fragment_parses_to_what_it_says(run: str) -> None:
    assert_contains(understood(RUNS[run].config), RUNS[run].config)


def test_rows_are_of_the_data_and_network_of_their_names(subtests: pytest.Subtests) -> None:
    for run, row in RUNS.items():
        with subtests.test(run):
            dataset, network, *_ = run.split("_")
            data, model = row.config["data"]["init_args"], row.config["model"]["init_args"]
            assert class_name(data["dataset"]) == READERS[dataset]
            assert class_name(model["network"]) == NETWORKS[network]
            assert class_name(row.config["model"]) == "SemanticSegmentation"
            assert data["num_workers"] > 0


@pytest.mark.parametrize("table", sorted({name for name, _ in ROWS}))
def test_rows_have_the_published_samples_hours_and_iterations(table: str, subtests: pytest.Subtests) -> None:
    for row in (row for name, row in ROWS if name == table):
        with subtests.test(row.key):
            check_row(row)


def check_row(row: PublishedRow) -> None:
    content = RUNS[row.run].config
    data, trainer = content["data"]["init_args"], content["trainer"]
    name, reader, mixture = row.run.partition("_")[0], json.dumps(data["dataset"]), json.dumps(data["mixture"])
    samples = None
    if row.hours is not None:
        samples, cost_model, hours = plan_of(name, reader, mixture)
        assert cost_model == "published"
        assert hours == pytest.approx(row.hours, abs=0.0501)
    if samples is None or "clip_selection" in data["mixture"]:
        samples = samples_of(name, reader, mixture)
    assert samples == row.samples
    steps = trainer["max_steps"] if "max_steps" in trainer else trainer["max_epochs"] * (samples // data["batch_size"])
    assert steps == row.iterations


def test_rows_of_synthetic_video_have_their_samples(subtests: pytest.Subtests) -> None:
    for run in ("synthetic_b3_mended", "synthetic_kd_r18", "synthetic_weight_printed"):
        assert_contains(understood(composed()[run].config), composed()[run].config)
    for run, row in composed().items():
        if row.table.name not in ("synthetic_diversity", "synthetic_hours"):
            continue
        with subtests.test(run):
            mixture = row.config["data"]["init_args"]["mixture"]
            drawn = (
                mixture
                if "pattern" in mixture
                else {"parts": [each | {"labels": "manual"} for each in mixture["parts"]]}
            )
            assert samples_of("cityscapes", "{}", json.dumps(drawn)) == row.row.samples
            if "pattern" in mixture:
                assert mixture["pattern"] == row.row.key.split()[0]
                assert run == "synthetic_n1" or mixture["propagated"] == run.split("_")[-1]


@functools.cache
def samples_of(name: str, reader: str, mixture: str) -> int:
    clips = clips_without_files(name, reader).clips("train")
    motion = {(clip.video, number): float(i) for i, clip in enumerate(clips) for number in clip.annotated}
    return len(mixture_of(json.loads(mixture)).select(clips, motion))


@functools.cache
def plan_of(name: str, reader: str, mixture: str) -> tuple[int, str | None, float]:
    settings = mixture_of(json.loads(mixture) | {"clip_selection": "random"})  # as many clips, and these need no files
    planned = settings.plan(clips_without_files(name, reader), "train")
    return len(planned), planned.cost_model, planned.cost().hours


def test_networks_are_profiled_as_rows_train_them(subtests: pytest.Subtests) -> None:
    for row in load_table("weclick_t4").rows:
        with subtests.test(row.key):
            trained, profiled = RUNS[row.run].config["model"]["init_args"]["network"], create_model(row.network, 19)
            assert class_name(trained) == type(profiled).__name__
            assert profiled.record["init_args"].items() >= (trained["init_args"] | {"pretrained": False}).items()


def test_rows_without_hours_have_no_published_times() -> None:
    """Clicks of Cityscapes are not counted in the paper, and nobody published times for CamVid."""
    assert {name for name, row in ROWS if row.hours is None} == {
        *(f"weclick_{name}" for name in ("t1", "t2", "t3", "t4", "t5", "f5", "camvid")),
        "samsam2_camvid",
    }


def clips_without_files(name: str, reader: str) -> FakeDataset:
    dataset = FakeDataset(clips_of(name, json.loads(reader).get("init_args", {}).get("coarse_source", "train")))
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
    if "parts" in settings:
        settings["parts"] = [MixturePart(**part) for part in settings["parts"]]
    return Mixture(**settings)


def traits_of(content: dict[str, Any]) -> set[tuple[object, ...]]:
    """Data set, kinds of labels, and network with objective and with terms; the rest of a config are numbers."""
    data, model = content["data"]["init_args"], content["model"]["init_args"]
    mixture, objective = data["mixture"], model["objective"]
    kind = "terms" if isinstance(objective, list) else class_name(objective)
    return {
        ("data", class_name(data["dataset"])),
        *(("labels", key, bool(mixture.get(key))) for key in ("parts", "propagated", "coarse", "clip_selection")),
        ("network", kind, class_name(model["network"])),
        ("terms", kind, "teacher" in model, "neighbours" in data),
    }


def every_trait_once() -> list[Any]:
    """All runs, as slow tests where they show nothing new; those of half coarse labels first, as they have both."""
    seen: set[tuple[object, ...]] = set()
    cases = []
    for run in sorted(RUNS, key=lambda name: ("td2fanet" in name, "50" not in name, name)):
        traits = traits_of(RUNS[run].config)
        cases.append(pytest.param(run, marks=[pytest.mark.slow] if traits <= seen else []))
        seen |= traits
    return cases


@pytest.mark.parametrize("run", every_trait_once())
def test_runs(
    run: str,
    recipe_data: Callable[[str], RecipeData],
    small_raft: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    row = RUNS[run]
    data = recipe_data(run.partition("_")[0])
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(tiny(row.config, data, small_raft)))
    arguments = ["--table", row.table.name, "--row", row.row.key, "--config", "tiny.yaml"]
    assert main(["fit", *arguments, f"--data.dataset.root={data.root}"]) == 0


def tiny(content: dict[str, Any], data: RecipeData, raft: str) -> dict[str, Any]:
    """What to change so that a core runs a config in a second."""
    model, loading = content["model"]["init_args"], content["data"]["init_args"]
    networks = {key: tiny_network(model[key]) for key in ("network", "teacher") if key in model}
    objective = model["objective"]["init_args"] if "init_args" in model["objective"] else {}
    flow = (
        {"objective": {"init_args": {"flow": {"init_args": {"weights": raft, "iterations": 1}}}}}
        if "flow" in objective
        else {}
    )
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
