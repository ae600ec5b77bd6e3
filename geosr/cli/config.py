"""`geosr config`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from geosr.cli.console import say
from geosr.cli.options import option
from geosr.errors import shown

Row = dict[str, Any]


@click.command("config")
@click.argument("action", type=click.Choice(["show"]))
@click.argument("name", metavar="[COMMAND]", required=False)
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def command(ctx: click.Context, /, action: str, name: str | None, as_json: bool) -> None:
    """Show every setting, its value, and where that comes from.

    \b
    geosr config show
    geosr config show superres --json

    For every option of every command, or of COMMAND: the environment, the settings file (.env,
    or the one given by --env-file), or the default. GEOSR_ names that no option has are told on
    stderr with the nearest one that exists. Passwords and queries in URLs are masked.
    """
    from geosr.cli.main import cli
    from geosr.cli.settings import COMMANDS, read_env

    if name is not None and name not in COMMANDS:
        raise click.UsageError(f"No such command '{name}'.{_hint(name, COMMANDS)}")
    path = ctx.find_root().params.get("env_file") or Path(".env")
    settings = read_env(path)
    commands = (leaf for other in COMMANDS for leaf in leaves(other, cli.get_command(ctx, other)))
    params = [(key, param) for key, made in commands for param in made.params]
    rows = [
        _row(key, param, settings, path)
        for key, param in params
        if name in (None, key.split()[0]) and variables(param)
    ]
    unknown = odd_settings(settings, path)
    click.echo(json.dumps({"settings": rows, "unknown": unknown}) if as_json else _text(rows))
    for odd in unknown:
        say(f"warning: {odd_text(odd)}")


def odd_text(odd: Row) -> str:
    """One of `odd_settings` as a sentence."""
    hint = f" Did you mean {odd['nearest']}?" if odd["nearest"] else ""
    return f"{odd['name']} ({odd['source']}) is no setting of geosr.{hint}"


def odd_settings(settings: Mapping[str, str], path: Path, own: click.Command | None = None
                 ) -> list[Row]:  # fmt: skip
    """GEOSR_ names that no option of any command has, with the nearest that one has.

    Args:
        own: a command whose options are looked at first; the others are loaded only where that
            does not know all names.
    """
    from geosr.cli.main import cli
    from geosr.cli.settings import COMMANDS

    ours = {each for param in (*cli.params, *(own.params if own else ())) for each in
            variables(param)}  # fmt: skip
    if own and not list(_unknown(ours, settings, path)):
        return []
    made = (leaf for name in COMMANDS for _, leaf in leaves(name, cli.get_command(click.Context(
        cli), name)))  # fmt: skip
    known = ours | {each for command in made for param in command.params for each in
                    variables(param)}  # fmt: skip
    return list(_unknown(known, settings, path))


def leaves(name: str, made: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    """A command, or what a group of commands holds, as "kelvins submit"."""
    if isinstance(made, click.Group):
        for key, inner in made.commands.items():
            yield from leaves(f"{name} {key}", inner)
    elif made:
        yield name, made


def variables(param: click.Parameter) -> list[str]:
    """The names a parameter has in the environment and in settings files, the first wins."""
    return [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())


def _row(name: str, param: click.Parameter, settings: Mapping[str, str], path: Path) -> Row:
    """One setting as plain values, found as click and `geosr` find it."""
    names = variables(param)
    sources = ((os.environ, "environment"), (settings, str(path)))
    found = ((key, held[key], said) for held, said in sources for key in names if held.get(key))
    variable, value, source = next(found, (names[0], param.to_info_dict()["default"], "default"))
    long = (text for text in param.opts if text.startswith("--"))
    shown = next(long, str(param.name).upper())
    return {"command": name, "option": shown, "variable": variable, "value": _masked(value),
            "source": source}  # fmt: skip


def _masked(value: Any) -> Any:
    """URLs without passwords and queries, which may hold keys."""
    return shown(value) if isinstance(value, str) else value


def _unknown(known: set[str], settings: Mapping[str, str], path: Path) -> Iterator[Row]:
    """GEOSR_ names that stand for nothing."""
    for held, source in ((os.environ, "environment"), (settings, str(path))):
        for key in sorted(held):
            if key.startswith("GEOSR_") and key not in known:
                near = get_close_matches(key, sorted(known), 1)
                yield {"name": key, "source": source, "nearest": near[0] if near else None}


def _hint(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name, names, 1)
    return f" Did you mean '{near[0]}'?" if near else ""


def _text(rows: list[Row]) -> str:
    lines = []
    for name, group in groupby(rows, lambda row: row["command"]):
        lines.append(name)
        lines += [_line(row) for row in group]
    return "\n".join(lines)


def _line(row: Row) -> str:
    told = row["source"]
    if told != "default":
        told = f"{told}: {row['variable']}"
    return f"  {row['option']:20} {_cell(row['value']):24} {told}"


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
