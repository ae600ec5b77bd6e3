"""Options in named groups: how a long command declares them, and how its `--help` lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Declare = Callable[[F], F]

MAIN = "Main options"
WHAT = "What to write"
INPUTS = "How inputs are read"
PAIRS = "How pairs are made"
SEVERAL = "Several images"
LEARNING = "Loss and optimiser"
JUDGED = "Adversarial term of the loss"
VALIDATION = "Validation"
SCORES = "What is measured"
FIT = "Nets that learn on the scene"
SPEED = "Speed and memory"
BATCHES = "Batches"
CHECKS = "Checks"
OUTPUT = "Output of the command"


class GroupedOption(click.Option):
    """An option that knows the heading under which `--help` lists it; "" is none."""

    def __init__(self, *args: Any, group: str = "", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.group = group


def option_group(name: str, *options: Declare[Any]) -> Declare[Any]:
    """Declare options in this order, and list them under one heading in `--help`.

    Options that have a group already keep it, so a group may stand in another.
    """

    def declare(command: F) -> F:
        before = len(getattr(command, "__click_params__", ()))
        for each in reversed(options):
            command = each(command)
        for param in getattr(command, "__click_params__", ())[before:]:
            if isinstance(param, GroupedOption) and not param.group:
                param.group = name
        return command

    return declare


def group_of(param: click.Parameter) -> str:
    """The heading of an option; `--help` and what else has none are output of the command."""
    return getattr(param, "group", "") or OUTPUT


class GroupedCommand(click.Command):
    """A command whose `--help` lists options by group, in the order of their first option."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                groups.setdefault(group_of(param), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)
