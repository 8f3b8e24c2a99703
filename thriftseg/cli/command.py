"""A command is a function: its parameters are the options, its docstring is the help."""

from __future__ import annotations

import argparse
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thriftseg.cli.options.signatures import Option, Signature, signature_of
from thriftseg.errors import ConfigError
from thriftseg.resources import config_path

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

Action = Callable[..., int]
"""What a command does; it returns the exit code.

Parameters are options, those before a `/` are given by their place. A parameter whose type is a settings class stands
for the options of that class, which the help groups under its summary. `**options` are those that the function which
they are handed to takes beside.
"""
CONFIG_NAME = "config_name"
"""Parameter that is no option: the name of the last `--config` without its ending, where there is one."""
STDOUT = "-"
"""What `--json` without a file stands for."""


@dataclass(frozen=True)
class _Command:
    name: str
    action: Action
    signature: Signature

    @property
    def options(self) -> dict[str, Option]:
        """Every option by its name; one that two settings classes share is one."""
        found = {option.name: option for option in self.signature.options}
        for _, settings in self.signature.settings.values():
            found = {option.name: option for option in settings.options} | found
        return found


def run_command(name: str, action: Action, arguments: Sequence[str], defaults: str | None = None) -> int:
    """Run a command.

    Args:
        name: What it is called after `thriftseg`.
        action: What it does.
        arguments: Its arguments.
        defaults: Config that ships with the package, which holds the defaults.

    Raises:
        ConfigError: An option has another name now.
    """
    from thriftseg.cli.options.renamed import refuse_old_names

    command = _Command(name, action, signature_of(f"{action.__module__}.{action.__name__}"))
    parser = _parser(command)
    if defaults is not None:
        parser.default_config_files = [str(config_path(defaults))]
    words = [re.sub(r"^--[\w-]+", lambda option: f"--{option[0][2:].replace('-', '_')}", word) for word in arguments]
    refuse_old_names(name, words)
    return _call(command, parser.instantiate_classes(parser.parse_args(words)))


def run_one_of(name: str, summary: str, actions: Mapping[str, Action], arguments: Sequence[str]) -> int:
    """Run the action of a command that its first argument names, such as `thriftseg data check`.

    Args:
        name: What the command is called after `thriftseg`.
        summary: One line for its help.
        actions: Its actions.
        arguments: Name of an action, and its arguments.
    """
    if arguments and arguments[0] in actions:
        return run_command(f"{name} {arguments[0]}", actions[arguments[0]], arguments[1:])
    if not arguments or not arguments[0].startswith("-"):
        found = arguments[0] if arguments else "nothing"
        raise ConfigError(f"thriftseg {name} takes a command", expected=", ".join(actions), found=found)
    entries = {key: signature_of(f"{each.__module__}.{each.__name__}").summary for key, each in actions.items()}
    parser = listing(f"thriftseg {name}", summary, entries)
    parser.parse_args(arguments)
    return 0


def listing(prog: str, summary: str, entries: Mapping[str, str]) -> argparse.ArgumentParser:
    """A parser that knows nothing but the names of commands, and shows them.

    Args:
        prog: Beginning of the command line.
        summary: What the commands are for.
        entries: Their names, and a line about each.
    """
    width = max(map(len, entries))
    lines = "\n".join(f"  {name:<{width}}  {line}" for name, line in entries.items())
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND [options]",
        description=summary,
        epilog=f"commands:\n{lines}\n\n`{prog} COMMAND --help` lists the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", choices=entries, help=argparse.SUPPRESS)
    return parser


def _parser(command: _Command) -> ArgumentParser:
    from jsonargparse import ArgumentParser

    from thriftseg.cli.options.shipped_config import add_config_argument

    summary = command.signature.summary
    parser = ArgumentParser(prog=f"thriftseg {command.name}", description=summary, exit_on_error=False)
    declared = {option.name for option in command.signature.options}
    if "config" not in declared:
        add_config_argument(parser)
    for option in command.signature.options:
        if option.name != CONFIG_NAME:
            _declare(parser, option)
    for _, settings in command.signature.settings.values():
        group = parser.add_argument_group(settings.summary)
        for option in settings.options:
            if option.name not in declared:
                _declare(group, option)
                declared.add(option.name)
    return parser


def _declare(parser: Any, option: Option) -> None:
    """Declare an option: of a list the words that follow, of a flag `true` where none follows."""
    annotation: Any = option.annotation
    extra: dict[str, Any] = {}
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    inner = parts[0] if type(None) in typing.get_args(annotation) and len(parts) == 1 else annotation
    entries = typing.get_args(inner)
    if typing.get_origin(inner) is list and entries[0] in (str, int, float):
        annotation, extra = entries[0], {"nargs": "+" if option.positional else "*"}
    elif typing.get_origin(inner) is tuple:
        annotation, extra = entries[0], {"nargs": "*" if entries[-1] is ... else len(entries)}
    elif inner is bool:
        extra = {"nargs": "?", "const": True}
    elif option.name == "json":
        extra = {"nargs": "?", "const": STDOUT}
    if option.positional and option.default is not MISSING:
        extra = {"nargs": "?", "default": option.default}
    if not option.positional:
        extra |= {"required": True} if option.default is MISSING else {"default": option.default}
    if typing.get_origin(inner) is Literal:
        extra |= {"choices": list(entries)}
    else:
        extra |= {"type": annotation}
    flag = option.name if option.positional else f"--{option.name}"
    parser.add_argument(flag, help=option.description, **extra)


def _call(command: _Command, given: Namespace) -> int:
    values = {name: _value(option, given.get(name, option.default)) for name, option in command.options.items()}
    if CONFIG_NAME in values and given.config:
        values[CONFIG_NAME] = Path(str(given.config[-1])).stem
    settings = {}
    for name, (path, signature) in command.signature.settings.items():
        module, _, kind = path.rpartition(".")
        build = getattr(import_module(module), kind)
        settings[name] = build(**{option.name: values[option.name] for option in signature.options})
    by_place = [values[option.name] for option in command.signature.options if option.positional]
    named = {option.name: values[option.name] for option in command.signature.options if not option.positional}
    return int(command.action(*by_place, **named, **settings) or 0)


def _value(option: Option, value: Any) -> Any:
    kinds = [typing.get_origin(part) for part in (option.annotation, *typing.get_args(option.annotation))]
    return tuple(value) if tuple in kinds and value is not None else value


def print_json(target: str | None, content: str) -> bool:
    """Write a report as `--json` asks for it.

    Args:
        target: The file; `STDOUT` for none; nothing if unset.
        content: The report.

    Returns:
        Whether it went to stdout, where nothing else shall then stand.
    """
    from thriftseg.atomic import write_bytes

    if target == STDOUT:
        sys.stdout.write(content)
    elif target is not None:
        write_bytes(Path(target), content.encode())
    return target == STDOUT


def say(line: str) -> None:
    """Print a line at once, so that a long run tells where it is."""
    print(line, flush=True)
