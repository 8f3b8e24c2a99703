"""Commands that consist of several actions, such as `thriftseg data check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


class Action(NamedTuple):
    """One action of a command.

    Attributes:
        declare: Adds its options to a parser.
        run: Does it and returns the exit code.
        summary: One line for the help page.
    """

    declare: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]
    summary: str


def add_actions(parser: ArgumentParser, actions: Mapping[str, Action]) -> None:
    """Declare actions and their options as sub-commands."""
    from jsonargparse import ArgumentParser

    commands = parser.add_subcommands(dest="action")
    for name, action in actions.items():
        sub = ArgumentParser(description=action.summary, exit_on_error=False)
        action.declare(sub)
        commands.add_subcommand(name, sub, help=action.summary)


def run_action(actions: Mapping[str, Action], args: Namespace) -> int:
    """Run the chosen action."""
    name: str = args.action
    return actions[name].run(args[name])
