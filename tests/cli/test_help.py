"""The help of long commands lists every option once, in named groups, the main ones first."""

import click
import pytest

from geosr.cli.groups import (
    BATCHES,
    CHECKS,
    FIT,
    INPUTS,
    JUDGED,
    LEARNING,
    MAIN,
    OUTPUT,
    PAIRS,
    SCORES,
    SEVERAL,
    SPEED,
    VALIDATION,
    WHAT,
    GroupedCommand,
    group_of,
    option_group,
)
from geosr.cli.main import cli
from geosr.cli.options import option

GROUPS = {
    "superres": [MAIN, WHAT, INPUTS, SEVERAL, FIT, SPEED, BATCHES, CHECKS, OUTPUT],
    "train": [MAIN, PAIRS, LEARNING, JUDGED, VALIDATION, SPEED, OUTPUT],
    "eval": [MAIN, SCORES, WHAT, INPUTS, SEVERAL, FIT, SPEED, OUTPUT],
}


def sections(name: str) -> dict[str, list[str]]:
    """The first line of every option by heading, as `--help` prints them."""
    command = cli.get_command(click.Context(cli), name)
    context = click.Context(command, terminal_width=98, help_option_names=["-h", "--help"])
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in context.get_help().splitlines():
        if line.endswith(":") and line[0].isupper():
            lines = found.setdefault(line[:-1], [])
        elif line.startswith("  -"):
            lines.append(line)
    return found


@pytest.mark.parametrize("name", GROUPS)
def test_help_shows_the_groups_in_their_order(name):
    assert list(sections(name)) == GROUPS[name]


@pytest.mark.parametrize("name", GROUPS)
def test_help_lists_every_option_in_exactly_one_group(name):
    command = cli.get_command(click.Context(cli), name)
    listed = [line.split()[0].rstrip(",") for lines in sections(name).values() for line in lines]
    options = [param for param in command.params if isinstance(param, click.Option)]
    spelled = [min(param.opts, key=lambda text: text.startswith("--")) for param in options]
    assert sorted(listed) == sorted([*spelled, "-h"])
    assert all(param.group for param in options)


@pytest.mark.parametrize("name", GROUPS)
def test_the_main_options_are_few(name):
    assert len(sections(name)[MAIN]) <= 13


def test_a_group_keeps_the_groups_within_it_and_leaves_options_beside_it_alone():
    @click.command(cls=GroupedCommand)
    @option_group("Outer", option("--a"), option_group("Inner", option("--b")), option("--c"))
    @option("--d")
    def command() -> None:
        pass

    groups = {param.name: group_of(param) for param in command.params}
    assert groups == {"a": "Outer", "b": "Inner", "c": "Outer", "d": OUTPUT}
