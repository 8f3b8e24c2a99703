"""Every row of video object segmentation: parsed as it is, true to its numbers, and run on small synthetic videos."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.cli.configs.parsed import assert_contains, class_name, composed, every_piece_once, understood
from tests.datasets.vos import vos_trees as trees
from thriftseg.cli.main import main
from thriftseg.costs import CostModel
from thriftseg.datasets import VOSDataset
from thriftseg.datasets.registry import create_vos
from thriftseg.inference.checkpoints import load_vos_network
from thriftseg.labels.boxes.generate import default_source
from thriftseg.labels.boxes.settings import BoxSettings, MaskFilter
from thriftseg.reports import list_tables, load_table
from thriftseg.stores.label_store import LabelStore, store_root
from thriftseg.synthetic import synthesize_objects
from thriftseg.taxonomies import OBJECT_IDS
from thriftseg.types import LabelKind

RUNS = {run: row for run, row in composed().items() if row.table.fragments == "vos"}
STM = [run for run in RUNS if "_stm_" in run]
ROWS = [(name, row) for name in list_tables() for row in load_table(name).rows if row.run in RUNS]
READERS = {"youtube": "YouTubeVOS", "tao": "TAOVOS", "davis": "DAVIS", "synthetic": "DAVIS", "coco": "COCO"}
MASKS_OF_YOUTUBE_VOS, OBJECTS_OF_YOUTUBE_VOS = 159_976, 6_459
RUN_BY_DEFAULT = {
    "youtube_vos_stm_ft_middle_phuber_filtered",
    "davis_stm_box2seg_filtered70",
    "davis_stm_r18_boxes_phuber",
    "coco_stm_static",
    "coco_box2seg",
}
STATIC = "synthetic_stm_r18_static"
SAY_NO_LABELS = ("phuber", "filtered", "static", "finetuned")
TRAINER = {
    "accelerator": "cpu",
    "log_every_n_steps": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
SHORT = {"max_epochs": 1, "check_val_every_n_epoch": 1, "val_check_interval": 1.0, "limit_train_batches": 2}


def tiny(config: str, **trainer: Any) -> dict[str, Any]:
    """What to change so that a core runs a config in a second."""
    network = {"decoder_channels": 8, "backbone": "resnet18"} | ({} if is_small(config) else {"pretrained": False})
    data: dict[str, Any] = {"batch_size": 2, "num_workers": 0}
    data |= {"crop": [33, 33], "min_size": 5} if is_box2seg(config) else {"crop": [32, 48]}
    data |= {} if is_box2seg(config) or "resize" not in loading(config) else {"resize": None, "eval_resize": None}
    return {
        "trainer": TRAINER | trainer,
        "model": {"init_args": {"network": {"init_args": network}}},
        "data": {"init_args": data},
    }


def loading(config: str) -> dict[str, Any]:
    settings: dict[str, Any] = RUNS[config].config["data"]["init_args"]
    return settings


def is_small(config: str) -> bool:
    return "_r18" in config


def is_box2seg(config: str) -> bool:
    return config in ("coco_box2seg", "synthetic_box2seg_r18")


def traits(config: str) -> tuple[str, str, float | None]:
    """Labels, loss and threshold of the filter, from the name."""
    words = config.partition("_stm_")[2].removeprefix("r18").split("_")
    threshold = 0.7 if "filtered70" in words else 0.5 if "filtered" in words else None
    labels = "_".join(word for word in words if word and not word.startswith(SAY_NO_LABELS))
    labels = {"": "gt", "boxes": "box2seg"}.get(labels, labels)
    return labels, "phuber" if "phuber" in words else "ce", threshold


def source_of(labels: str, threshold: float | None) -> str:
    method = "grabcut" if labels == "grabcut" else "box2seg"
    drawn = labels.removeprefix("ft_") if labels.startswith("ft_") else None
    mask_filter = MaskFilter("oracle", threshold) if threshold else None
    return default_source(method, BoxSettings(drawn, mask_filter=mask_filter))  # type: ignore[arg-type]


def commands_of(config: str) -> list[list[str]]:
    """Arguments of all commands of a row, in order; the data are where the environment says."""
    row = RUNS[config]
    commands = [*row.needs, row.command, *row.then]
    return [shlex.split(re.sub(r" --data\.\w+\.root DIR", "", command))[1:] for command in commands]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small data sets by name."""
    folder = tmp_path_factory.mktemp("made")
    size = {"train_clips": 2, "val_clips": 1, "frames": 5, "height": 48, "width": 80, "devices": 1}
    synthesize_objects(folder / "davis", layout="davis", test_clips=1, **size)
    synthesize_objects(folder / "youtube_vos", layout="youtube_vos", **size)
    synthesize_objects(folder / "tao_vos", layout="tao_vos", **size)
    trees.write_coco(folder / "coco")
    for name in ("train2017", "annotations/instances_train2017.json"):
        (folder / "coco" / name.replace("train", "val")).symlink_to(folder / "coco" / name)
    return {name: folder / name for name in ("davis", "youtube_vos", "tao_vos", "coco")}


@pytest.fixture
def place(roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where the environment names the data sets."""
    for name, root in roots.items():
        monkeypatch.setenv(f"THRIFTSEG_DATA_{name.upper()}", str(root))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestSettings:
    @pytest.mark.parametrize("config", every_piece_once(RUNS))
    def test_every_fragment_parses_to_what_it_says(self, config: str) -> None:
        content = understood(RUNS[config].config)
        assert_contains(content, RUNS[config].config)
        assert content["trainer"]["precision"] is None

    def test_rows_are_of_the_data_and_module_of_their_names(self, subtests: pytest.Subtests) -> None:
        for config, row in RUNS.items():
            with subtests.test(config):
                data, first = loading(config), config.split("_")[0]
                assert class_name(data["dataset"]) == ("DAVIS" if config == "coco_stm_static" else READERS[first])
                assert class_name(row.config["model"]) == (
                    "BoxSegmentation" if is_box2seg(config) else "VideoObjectSegmentation"
                )
                assert data["num_workers"] > 0

    def test_labels_loss_and_filter_are_those_of_the_name(self, subtests: pytest.Subtests) -> None:
        losses = {"ce": "CrossEntropy", "phuber": "PartiallyHuberisedCrossEntropy"}
        for config in STM:
            with subtests.test(config):
                labels, loss, threshold = traits(config)
                chosen = RUNS[config].config["model"]["init_args"]["loss"]
                assert loading(config).get("labels") == (None if labels == "gt" else source_of(labels, threshold))
                assert class_name(chosen) == losses[loss]
                assert chosen.get("init_args", {}).get("tau") == (3.0 if loss == "phuber" else None)

    def test_commands_make_the_labels(self, subtests: pytest.Subtests) -> None:
        for config in STM:
            with subtests.test(config):
                labels, _, threshold = traits(config)
                made = [command for command in commands_of(config) if command[:2] == ["label", "boxes"]]
                assert len(made) == (labels != "gt")
                for command in made:
                    options = dict(pairwise(command))
                    found = MaskFilter("oracle", float(options["--threshold"])) if "--filter" in options else None
                    settings = BoxSettings(options.get("--finetune"), mask_filter=found)  # type: ignore[arg-type]
                    assert default_source(options["--method"], settings) == source_of(labels, threshold)

    def test_published_settings(self, subtests: pytest.Subtests) -> None:
        assert understood(RUNS["davis_stm_gt"].config)["model"]["init_args"]["freeze_batch_norm"]
        for config in (config for config in STM if not is_small(config)):
            with subtests.test(config):
                data, model = loading(config), RUNS[config].config["model"]["init_args"]
                assert model["network"]["init_args"]["backbone"] == "resnet50"
                assert "freeze_batch_norm" not in model
                assert model["optimizer"] == {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-5}}
                assert (data["batch_size"], data["crop"], data["resize"]) == (4, [384, 384], 480)
                assert (data["frames"], data["max_objects"]) == (3, 5)
                step = {"annotation_step": 5} if config.startswith(("youtube", "tao")) else {}
                assert data["gap"] == {"first": 0, "last": 25, "step": 1, "every": 3000} | step

    def test_box2seg_is_trained_as_published(self) -> None:
        content = RUNS["coco_box2seg"].config
        data, model = content["data"]["init_args"], content["model"]["init_args"]
        assert (data["crop"], data["margin"], data["jitter"], data["min_size"]) == ([385, 385], 50, 0.05, 100)
        assert model["network"]["init_args"]["backbone"] == "tu-xception65"
        assert model["loss"]["init_args"]["share"] == 0.25
        assert model["optimizer"]["init_args"]["lr"] == 1e-5


class TestRows:
    def test_iterations(self, subtests: pytest.Subtests) -> None:
        for table, row in ROWS:
            with subtests.test(f"{table} {row.key}"):
                trainer = RUNS[row.run].config["trainer"]
                if row.labels:
                    assert row.iterations is None
                else:
                    assert trainer["max_steps"] == row.iterations

    @pytest.mark.parametrize("table", ["taovos_t2", "taovos_t3"])
    def test_masks_and_hours(self, table: str) -> None:
        """Hours are those of a box around every mask, and of the masks that are drawn."""
        model = CostModel.named("polygon")
        rows = [row for row in load_table(table).rows if row.hours is not None]
        assert len(rows) == (4 if table == "taovos_t2" else 7)
        for row in rows:
            boxes = 0 if row.masks == MASKS_OF_YOUTUBE_VOS else MASKS_OF_YOUTUBE_VOS
            assert row.masks in (0, OBJECTS_OF_YOUTUBE_VOS, MASKS_OF_YOUTUBE_VOS)
            cost = [model.box().scaled(boxes), model.mask().scaled(row.masks)]
            assert row.hours == pytest.approx(sum(entry.hours for entry in cost), abs=0.051)

    @pytest.mark.parametrize("table", ["taovos_youtube_vos", "taovos_davis", "vos_synthetic"])
    def test_all_combinations(self, table: str) -> None:
        sources = ["gt", "box2seg", "ft_first", "ft_middle"] + ["grabcut"] * (table == "vos_synthetic")
        wanted = {(labels, loss, None) for labels in sources for loss in ("ce", "phuber")}
        wanted |= {(labels, loss, t) for labels, loss, _ in wanted if labels != "gt" for t in (0.5, 0.7)}
        rows = [row for row in load_table(table).rows if row.series != "before"]
        assert {traits(row.run) for row in rows} == wanted
        assert len(rows) == len(wanted)


@pytest.mark.parametrize(
    "config",
    [pytest.param(name, marks=[] if name in RUN_BY_DEFAULT else [pytest.mark.slow]) for name in RUNS],
)
def test_runs(config: str, roots: dict[str, Path], place: Path) -> None:
    """The labels are the true masks under the name of those that the config reads."""
    labels, _, threshold = traits(config)
    if config in STM and labels != "gt":
        dataset = create_vos("youtube_vos" if "youtube" in config else "davis")
        store_masks(dataset, source_of(labels, threshold))
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny(config, fast_dev_run=True)))
    readers = ["dataset"] * is_small(config) + ["static"] * (config == STATIC)
    places = [f"--data.{reader}.root={roots['davis']}" for reader in readers]
    assert main(["fit", *row_of(config), "--config", "tiny.yaml", "--weights=null", *places]) == 0


def row_of(config: str) -> list[str]:
    return ["--table", RUNS[config].table.name, "--row", config]


def store_masks(dataset: VOSDataset, source: str) -> None:
    store = LabelStore(store_root(None, dataset.name), source, OBJECT_IDS)
    settings = {"kind": LabelKind.BOXES, "generator": "boxes/test", "arguments": {}, "space": "object_id"}
    for clip in dataset.clips("train"):
        for number in clip.annotated:
            store.write(clip.video, number, dataset.read_mask(clip, number), **settings)


def run_commands(config: str, place: Path) -> None:
    """Run what a row takes, in order, with everything made small."""
    for index, command in enumerate(commands_of(config)):
        options: list[str] = []
        if command[:2] == ["data", "synthesize"]:
            options = shlex.split("--train_clips 2 --val_clips 1 --frames 5 --height 48 --width 80 --devices 1")
        elif command[:2] == ["label", "boxes"]:
            options = ["--steps", "1", "--accelerator", "cpu"]
        elif command[0] in ("fit", "test"):
            table, key = (command[command.index(option) + 1] for option in ("--table", "--row"))
            named = load_table(table).row(key).run
            limits = {} if "limit_val_batches" in RUNS[named].config["trainer"] else {"limit_val_batches": 1}
            path = place / f"tiny{index}.yaml"
            path.write_text(yaml.safe_dump(tiny(named, **SHORT, **limits)))
            at = command.index("--row") + 2
            command = [*command[:at], "--config", str(path), *command[at:]]
        assert main([*command, *options]) == 0, command


def records(text: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(entry["run"], entry["metric"]): entry for entry in csv.DictReader(io.StringIO(text))}


@pytest.mark.slow
def test_from_nothing_to_the_tables_of_small_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = "synthetic_stm_r18_ft_middle"
    run_commands(config, place)
    box2seg = json.loads(Path("runs/synthetic_box2seg_r18/fit.json").read_text())["metrics"]
    assert {"train/loss", "val/j", "val/recall_50", "val/recall_70"} <= box2seg.keys()
    quality = json.loads(Path("labels/davis/boxes_box2seg_ft_middle/quality.json").read_text())
    capsys.readouterr()
    assert main(["report", "table", "vos_synthetic_labels", "--format=csv"]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    (found,) = [line for line in lines if line["row"] == "Box2Seg, middle mask" and line["metric"] == "mean_j"]
    assert float(found["ours"]) == pytest.approx(100 * quality["quality"]["j_mean"], abs=1e-3)
    assert int(found["masks"]) == quality["manual"] == quality["cost"]["masks"]
    fitted = json.loads(Path("runs/synthetic_stm_r18_ft_middle/fit.json").read_text())["metrics"]
    assert main(["report", "table", "vos_synthetic", "--format=csv", "--unfinished"]) == 0
    found = records(capsys.readouterr().out)[config, "jf"]
    assert float(found["ours"]) == pytest.approx(100 * fitted["val/jf"], abs=1e-3)
    assert float(found["hours"]) == pytest.approx(quality["cost"]["seconds"] / 3600, abs=1e-3)


@pytest.mark.slow
def test_from_single_images_to_the_published_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The network is tested on two data sets, one of which only a server scores."""
    run_commands("youtube_vos_stm_gt", place)
    run = Path("runs/youtube_vos_stm_gt")
    assert not list(run.glob("checkpoints/epoch*"))  # nothing was validated
    assert (place / "youtube_vos_stm_gt.zip").is_file()
    server = {"command": "server", "network_sha256": None, "metrics": {"test/overall": 0.75}}
    (run / "youtube_vos" / "test.json").write_text(json.dumps(server))
    davis = json.loads((run / "davis" / "test.json").read_text())["metrics"]
    capsys.readouterr()
    assert main(["report", "table", "taovos_t3", "--format=csv", "--unfinished"]) == 0
    found = records(capsys.readouterr().out)
    assert float(found["youtube_vos_stm_gt", "davis/jf"]["ours"]) == pytest.approx(100 * davis["test/jf"], abs=1e-3)
    assert found["youtube_vos_stm_gt", "youtube_vos/overall"]["difference"] == "-4.3"


@pytest.mark.slow
def test_tao_vos_is_tuned_from_youtube_vos_and_tested_at_two_frame_rates(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = "tao_vos_stm_finetuned"
    trained = [command.split("--row ")[1].split(" --")[0].strip("'") for command in RUNS[config].needs]
    assert trained == ["static images only, original", "STM"]
    run_commands(config, place)
    tests = {name: Path("runs", config, name, "test.json") for name in ("annotated_frames", "all_frames")}
    scores = {name: json.loads(path.read_text())["metrics"] for name, path in tests.items()}
    capsys.readouterr()
    assert main(["report", "table", "taovos_t5", "--format=csv", "--unfinished"]) == 0
    found = records(capsys.readouterr().out)
    best = max(scores.values(), key=lambda metrics: metrics["test/jf"])
    for name in ("jf", "j", "f"):
        assert float(found[config, f"tao_vos/{name}"]["ours"]) == pytest.approx(100 * best[f"test/{name}"], abs=1e-3)
    for name, metrics in scores.items():
        assert float(found[config, f"{name}/jf"]["ours"]) == pytest.approx(100 * metrics["test/jf"], abs=1e-3)


def test_fit_validate_and_test(
    roots: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config, davis = "synthetic_stm_r18", roots["davis"]
    Path("tiny.yaml").write_text(yaml.safe_dump(tiny(config, **SHORT)))
    common = [
        *row_of(config),
        "--config",
        "tiny.yaml",
        "--weights=null",
        f"--data.dataset.root={davis}",
        "--name",
        "run",
    ]
    assert main(["fit", *common]) == 0
    run = Path("runs/run")
    fitted = json.loads((run / "fit.json").read_text())["metrics"]
    assert {"train/loss", "train/loss/frame2", "train/loss/frame3", "val/j", "val/f", "val/jf"} <= fitted.keys()
    (best,) = run.glob("checkpoints/epoch000-jf*.ckpt")
    last = run / "checkpoints" / "last.ckpt"
    assert main(["validate", *common, f"--ckpt_path={last}"]) == 0
    validated = json.loads((run / "validate.json").read_text())["metrics"]
    assert validated["val/jf"] == pytest.approx(fitted["val/jf"], abs=1e-6)
    predicted = [f"--model.predictions={tmp_path / 'out'}", "--data.test_split=test-dev"]
    assert main(["test", *common, f"--ckpt_path={best}", *predicted]) == 0
    assert len(list((tmp_path / "out").rglob("*.png"))) == 5
    capsys.readouterr()
    command = ["data", "submit", "--dataset", "davis", "--root", str(davis), "--split", "test-dev", "--out", "out.zip"]
    assert main([*command, "--predictions", "out"]) == 0
    assert "5 masks of 1 videos" in capsys.readouterr().out
    started = ["--model.optimizer.lr=0", f"--weights={last}", "--trainer.limit_train_batches=1"]
    assert main(["fit", *common, "--name", "further", *started]) == 0
    before, after = (load_vos_network(folder / "checkpoints/last.ckpt") for folder in (run, Path("runs/further")))
    assert before.memory_policy.max_frames == 8
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
