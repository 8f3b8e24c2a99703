"""Every command is a function: its help, its config, and the options that have another name now."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import MISSING
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from thriftseg import __version__
from thriftseg.cli.main import COMMANDS, main
from thriftseg.cli.options.renamed import MODEL_SETTINGS, RENAMED
from thriftseg.cli.options.signatures import Signature, signature_of
from thriftseg.datasets import DATASETS, VOS_DATASETS
from thriftseg.workers import Workers

ROOT = Path(__file__).resolve().parents[2]
NOT_FROM_SIGNATURES = {"fit", "validate", "test"}
"""Commands of the trainer import it for their help."""


def all_actions() -> dict[str, str]:
    """Full path of the function behind every command."""
    found = {}
    for name in COMMANDS:
        if name in NOT_FROM_SIGNATURES:
            continue
        module = import_module(f"thriftseg.cli.{COMMANDS[name].module}")
        actions = getattr(module, "ACTIONS", None)
        functions = {name: module.run} if actions is None else {f"{name} {key}": each for key, each in actions.items()}
        found |= {command: f"{each.__module__}.{each.__name__}" for command, each in functions.items()}
    return found


ACTIONS = all_actions()


def everything(signature: Signature) -> dict[str, object]:
    """All options by name, those of settings classes too."""
    found = {option.name: option for _, settings in signature.settings.values() for option in settings.options}
    return {**found, **{option.name: option for option in signature.options}}


def test_the_help_of_every_command_imports_no_torch() -> None:
    words = [["--help"], *([*command.split(), "--help"] for command in ACTIONS)]
    words += [[name, "--help"] for name in ("annotate", "data", "label", "zoo", "report")]
    code = f"""
import contextlib, io, sys
from thriftseg.cli.main import main
for words in {words!r}:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(words) == 0, words
    heavy = {{"torch", "torchvision", "lightning", "timm", "matplotlib"}} & set(sys.modules)
    assert not heavy, (words, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_labels_that_take_no_network_are_made_without_libraries_of_networks(camvid_root: Path, tmp_path: Path) -> None:
    commands = {
        "label clicks --source clicks": "clicks/clicks.json",
        "label propagate --method flow --offsets=-1..1 --on_missing skip --source flow": "flow/*/*.png",
        "label coarse --source coarse": "coarse/*/*.png",
        "label refine --method grabcut --source refined --coarse coarse": "refined/*/*.png",
    }
    words = [f"{line} --dataset camvid --root {camvid_root} --store {tmp_path}".split() for line in commands]
    code = f"""
import sys
from thriftseg.cli.main import main
networks = {{"torch", "torchvision", "torchmetrics", "lightning", "timm", "kornia", "segmentation_models_pytorch"}}
for line in {words!r}:
    assert main(line) == 0, line
    heavy = {{*networks, "scipy", "matplotlib"}} & set(sys.modules)
    assert not heavy, (line, heavy)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(any(tmp_path.glob(pattern)) for pattern in commands.values())


@pytest.mark.parametrize("command", ACTIONS)
def test_every_option_is_described(command: str) -> None:
    signature = signature_of(ACTIONS[command])
    assert signature.summary
    assert all(summary.summary for _, summary in signature.settings.values())
    missing = [name for name, option in everything(signature).items() if not option.description]
    assert not missing


@pytest.mark.parametrize("command", ACTIONS)
def test_the_options_are_those_that_python_sees(command: str) -> None:
    module, _, name = ACTIONS[command].rpartition(".")
    parameters = inspect.signature(getattr(import_module(module), name)).parameters
    signature = signature_of(ACTIONS[command])
    own = {key for key, each in parameters.items() if each.kind is not each.VAR_KEYWORD}
    assert own <= {option.name for option in signature.options} | signature.settings.keys()
    defaults = {option.name: option.default for option in signature.options}
    for key in own - signature.settings.keys():
        expected = parameters[key].default
        assert defaults[key] == (MISSING if expected is inspect.Parameter.empty else expected)


@pytest.mark.parametrize(
    "path",
    [
        "thriftseg.labels.label_refine",
        "thriftseg.labels.label_boxes",
        "thriftseg.reports.evaluate.evaluate",
        "thriftseg.annotation.HVSASettings",
        "thriftseg.annotation.MaskMethods",
        "thriftseg.synthetic.synthesize_objects",
    ],
)
def test_a_signature_that_is_read_is_that_of_the_thing(path: str) -> None:
    module, _, name = path.rpartition(".")
    parameters = dict(inspect.signature(getattr(import_module(module), name)).parameters)
    if parameters.pop("workers", None):  # stands for those of `Workers`, but that generators always share their work
        parameters |= inspect.signature(Workers).parameters
        del parameters["shared"]
    read = signature_of(path)
    assert {option.name for option in read.options} | read.settings.keys() == parameters.keys()
    for option in read.options:
        expected = parameters[option.name].default
        assert option.default == (MISSING if expected is inspect.Parameter.empty else expected)


def test_types_are_read_too() -> None:
    from thriftseg.annotation import TuningSettings

    read = {option.name: option.annotation for option in signature_of("thriftseg.annotation.TuningSettings").options}
    assert read == get_type_hints(TuningSettings)


def test_options_stand_in_the_printed_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["label", "refine", "--dataset", "camvid", "--gate", "false", "--classes", "car"]
    assert main([*command, "--print_config"]) == 0
    printed = capsys.readouterr().out
    config = tmp_path / "refine.yaml"
    config.write_text(printed)
    assert main(["label", "refine", "--config", str(config), "--print_config"]) == 0
    assert capsys.readouterr().out == printed
    assert yaml.safe_load(printed)["gate"] is False


@pytest.mark.parametrize("command", sorted(ACTIONS.keys() - {"data mixture", "sweep"}))
def test_every_command_prints_a_config_that_it_takes(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--print_config"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed).keys() <= everything(signature_of(ACTIONS[command])).keys()
    config = tmp_path / "printed.yaml"
    config.write_text(printed)
    assert main([*command.split(), "--config", str(config), "--print_config"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(("command", "old"), [(command, old) for command, names in RENAMED.items() for old in names])
def test_an_old_name_is_refused_with_the_new_one(
    command: str, old: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = RENAMED[command][old]
    config = tmp_path / "old.yaml"
    config.write_text(f"{old}: 1\n")
    for words in ([f"--{old}", "1"], [f"--{old}=1"], [f"--{old.replace('_', '-')}", "1"], ["--config", str(config)]):
        assert main([*command.split(), *words]) == 2
        assert f"has no --{old} any more; fix: write --{new}" in capsys.readouterr().err
    assert new.split()[0] in everything(signature_of(ACTIONS[command]))
    assert old not in everything(signature_of(ACTIONS[command]))


def test_the_page_of_old_and_new_names_is_complete() -> None:
    page = (ROOT / "docs" / "reference" / "options.md").read_text(encoding="utf-8")
    rows = {tuple(re.findall(r"`([^`]+)`", line)) for line in page.splitlines() if line.startswith("| `")}
    listed = {(command, f"--{old}", f"--{new}") for command, names in RENAMED.items() for old, new in names.items()}
    assert {row[:3] for row in rows if row[0] in RENAMED} == listed
    assert all(f"`model.{name}`" in page for name in MODEL_SETTINGS)


def test_the_help_names_the_data_sets() -> None:
    classes, objects = ", ".join(DATASETS), ", ".join(VOS_DATASETS)
    described = {
        name: everything(signature_of(f"thriftseg.cli.options.reader.{name}"))["dataset"].description
        for name in ("AnyData", "ClassData", "ObjectData")
    }
    assert described == {
        "AnyData": f"One of {classes}, or with masks of objects {objects}",
        "ClassData": f"One of {classes}",
        "ObjectData": f"One of {objects}",
    }


def test_flags_stand_alone_or_take_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["label", "boxes", "--dataset", "davis", "--print_config"]
    for words, expected in (
        (["--from_masks"], True),
        (["--from-masks"], True),
        (["--from_masks", "false"], False),
        ([], False),
    ):
        assert main([*command[:-1], *words, command[-1]]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["from_masks"] is expected


def test_a_room_of_commands_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--help"]) == 0
    assert re.search(r"^  export +Write one step of a network as ONNX", capsys.readouterr().out, re.M)
    assert main(["zoo", "sell"]) == 2
    assert "thriftseg zoo takes a command; expected list, publish, import, export" in capsys.readouterr().err


def test_the_package_runs_as_a_module() -> None:
    program = [sys.executable, "-m", "thriftseg"]
    told = subprocess.run([*program, "--version"], check=True, capture_output=True, text=True)
    assert told.stdout == f"thriftseg {__version__}\n"
    wrong = subprocess.run([*program, "data", "check", "--dataset", "kitti"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("thriftseg: error: no data set 'kitti'")


def shown_commands() -> list[tuple[str, str]]:
    """Commands in the documents and in the heads of configs, with the line that shows them."""
    found = []
    for path in [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "configs").rglob("*.yaml")),
    ]:
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in re.findall(r"thriftseg ((?:[a-z]+ )[^`#\n]*)", text):
            command = max((name for name in ACTIONS if line.startswith(f"{name} ")), key=len, default=None)
            if command is not None:
                found.append((command, line))
    return sorted(set(found))


def test_the_options_that_the_documents_show_exist() -> None:
    shown = shown_commands()
    assert len({command for command, _ in shown}) > 15
    wrong = []
    for command, line in shown:
        known = everything(signature_of(ACTIONS[command])).keys() | {"config", "table", "row"}
        if command == "sweep":  # its other options are those of what runs the table
            known |= {"data", "model", "trainer"} | everything(signature_of(ACTIONS["annotate hvsa"])).keys()
        words = re.sub(r"\"[^\"]*\"", "", line.partition("&&")[0])
        named = {word.replace("-", "_") for word in re.findall(r"(?<!\S)--([a-zA-Z][\w-]*)", words)}
        wrong += [(line, name) for name in named - known]
    assert not wrong
