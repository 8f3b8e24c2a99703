"""Every command, used in every wrong way: one line that names the culprit, no traceback, nothing half-written."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.hostile.world import INVOCATIONS
from thriftseg.cli.main import COMMANDS, main
from thriftseg.cli.options.signatures import Option, signature_of

TRAINER = {"fit", "validate", "test"}
"""Commands whose options are those of the trainer, not of a signature."""
TRAINER_PATHS = ("config", "ckpt_path", "weights", "name", "trainer.default_root_dir", "data.dataset.root")
INPUTS = set(
    "root weights input pred gt flow_weights flow_store runs superpixel_weights video_list propagator_weights "
    "prompter_weights qnet_weights policy_weights from_tracks bad_list path folder checkpoint file config predictions "
    "classes taxonomy ckpt_path data.dataset.root".split()
)
OUTPUTS = set("out store json sheet plot decisions export work flow_cache name trainer.default_root_dir".split())
NAMES = set(
    "accelerator arch based_on budget class_names coarse config_name corrections cost_model data data_licence "
    "data_source dataset exchange frame granularity hub labelled launcher licence network options out_source precision "
    "remarks rows seeds set shares size source split offsets table".split()
)
"""Options whose text is no path in any command."""
INPUTS_OF = {
    "evaluate": {"frames"},
    "data import": {"videos"},
    "zoo publish": {"metrics"},
    "zoo profile": {"name"},
    "annotate hvsa": {"video"},
    "annotate find-budget": {"video"},
}
NAMES_OF = {
    "evaluate": {"metrics"},
    "label refine": {"classes"},
    "label export": {"frames"},
    "report table": {"name"},
    "report list": {"name"},
    "zoo publish": {"name"},
    **{f"annotate {action}": {"videos"} for action in ("eva-vos", "collect")},
}


def signatures() -> dict[str, dict[str, Option]]:
    """Options of every command that has a signature."""
    found = {}
    for name, command in COMMANDS.items():
        if name in TRAINER:
            continue
        module = import_module(f"thriftseg.cli.{command.module}")
        for action, function in getattr(module, "ACTIONS", {"": getattr(module, "run", None)}).items():
            signature = signature_of(f"{function.__module__}.{function.__name__}")
            options = {option.name: option for option in signature.options}
            for _, settings in signature.settings.values():
                options |= {option.name: option for option in settings.options}
            found[f"{name} {action}".strip()] = options
    return found


SIGNATURES = signatures()


def is_text(option: Option) -> bool:
    """Whether an option takes text, which may be a path; not one of some words, nor a mapping."""
    return "str" in str(option.annotation) and "dict" not in str(option.annotation)


def is_input(command: str, name: str) -> bool:
    return name in INPUTS_OF.get(command, ()) or (name in INPUTS and name not in NAMES_OF.get(command, ()))


def is_output(command: str, name: str) -> bool:
    return name in OUTPUTS and name not in NAMES_OF.get(command, set()) | INPUTS_OF.get(command, set())


def path_options(command: str) -> list[str]:
    """Options of a command that name files and folders."""
    if command in TRAINER:
        return list(TRAINER_PATHS)
    found = [name for name, option in SIGNATURES[command].items() if is_text(option)]
    return [
        "config",
        *(name for name in found if name != "config" and (is_input(command, name) or is_output(command, name))),
    ]


def test_every_command_has_an_invocation() -> None:
    assert INVOCATIONS.keys() == SIGNATURES.keys() | TRAINER


def test_every_option_is_known_to_be_a_path_or_a_name() -> None:
    unknown = [
        f"{command} --{name}"
        for command, options in SIGNATURES.items()
        for name, option in options.items()
        if is_text(option)
        and (is_input(command, name) or is_output(command, name))
        == (name in NAMES or name in NAMES_OF.get(command, ()))
    ]
    assert not unknown


FAULTS: dict[str, Callable[[], str]] = {}
"""What can be wrong with a path: makes it in the current folder and names it."""


def fault(make: Callable[[], str]) -> Callable[[], str]:
    FAULTS[make.__name__] = make
    return make


@fault
def missing() -> str:
    return "nowhere/at_all"


@fault
def a_file() -> str:
    Path("a_file").write_text("text\n")
    return "a_file"


@fault
def a_folder() -> str:
    Path("a_folder").mkdir()
    Path("a_folder", "text").write_text("text\n")
    return "a_folder"


@fault
def an_empty_file() -> str:
    Path("empty_file").touch()
    return "empty_file"


@fault
def an_empty_folder() -> str:
    Path("empty_folder").mkdir()
    return "empty_folder"


@fault
def not_utf_8() -> str:
    return os.fsdecode(b"caf\xe9")


@fault
def a_nul() -> str:
    return "a\0b"


@fault
def below_a_file() -> str:
    return f"{a_file()}/below"


@fault
def below_proc() -> str:
    return "/proc/below"


@dataclass(frozen=True)
class Case:
    command: str
    option: str
    fault: str

    def __str__(self) -> str:
        return f"{self.command} --{self.option}: {self.fault}"


CASES = [
    Case(command, option, fault) for command in INVOCATIONS for option in path_options(command) for fault in FAULTS
]


def words_of(command: str, world: dict[str, Path]) -> list[str]:
    return [*command.split(), *shlex.split(INVOCATIONS[command].words.format(**world))]


def with_option(command: str, words: list[str], name: str, value: str) -> list[str]:
    """A command line with another value of an option."""
    option = SIGNATURES.get(command, {}).get(name)
    at = len(command.split())
    if option is not None and option.positional:
        return [*words[:at], value, *words[at + 1 :]]
    if f"--{name}" in words:
        at = words.index(f"--{name}") + 1
        prefix = "a=" if command == "report curve" and name == "runs" else ""
        return [*words[:at], prefix + value, *words[at + 1 :]]
    beside = INVOCATIONS[command].beside.get(name, "")
    return [*words, *shlex.split(beside), f"--{name}={value}"]


def said(words: list[str]) -> tuple[int, str]:
    """Exit code of a command, and what it wrote to stderr."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code = main(words)
    return code, errors.getvalue()


def escaped(text: str) -> str:
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode() for each in text
    )


def complaint(words: list[str], named: tuple[str, ...]) -> str | None:
    """What is wrong with how a command ends; it may succeed."""
    try:
        code, errors = said(words)
    except Exception as error:
        return f"traceback: {error!r}"
    if code in (0, 3):
        return None
    lines = [line for line in errors.splitlines() if line.startswith("thriftseg: error: ")]
    if code != 2 or len(lines) != 1 or len(lines[0]) > len("thriftseg: error: ") + 500:
        return f"exit code {code} with {lines}"
    if not any(each in lines[0] for each in named):
        return f"none of {named} is in: {lines[0]}"
    return None
