"""`thriftseg annotate ...`: people and networks label together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftseg.cli.actions import Action, add_actions, run_action
from thriftseg.cli.annotate import budget as annotate_budget
from thriftseg.cli.annotate import collect as annotate_collect
from thriftseg.cli.annotate import eva_vos as annotate_eva_vos
from thriftseg.cli.annotate import hvsa as annotate_hvsa
from thriftseg.cli.annotate import next as annotate_next
from thriftseg.cli.annotate import split as annotate_split

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the sub-commands and their options."""
    add_actions(parser, ACTIONS)


def run(args: Namespace) -> int:
    """Run the chosen sub-command."""
    return run_action(ACTIONS, args)


ACTIONS = {
    "hvsa": Action(annotate_hvsa.declare, annotate_hvsa.run, "label all frames of a video with a small budget"),
    "eva-vos": Action(
        annotate_eva_vos.declare, annotate_eva_vos.run, "draw or click objects of videos, where it helps most per hour"
    ),
    "collect": Action(annotate_collect.declare, annotate_collect.run, "record what the networks of eva-vos learn from"),
    "split": Action(
        annotate_split.declare, annotate_split.run, "list the videos to train, validate and test eva-vos on"
    ),
    "find-budget": Action(annotate_budget.declare, annotate_budget.run, "find the least budget that reaches a mIoU"),
    "next": Action(annotate_next.declare, annotate_next.run, "rank what to label next over a whole data set"),
}
