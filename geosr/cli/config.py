"""`geosr config`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from geosr.cli.console import say, tell
from geosr.cli.options import option
from geosr.cli.settings import (
    COMMANDS,
    Row,
    leaves,
    odd_settings,
    odd_text,
    read_env,
    variables,
)
from geosr.errors import without_secrets


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
    root = ctx.find_root().command
    assert isinstance(root, click.Group)
    if name is not None and name not in COMMANDS:
        raise click.UsageError(f"No such command '{name}'.{_hint(name, COMMANDS)}")
    path = ctx.find_root().params.get("env_file") or Path(".env")
    settings = read_env(path)
    commands = (leaf for other in COMMANDS for leaf in leaves(other, root.get_command(ctx, other)))
    params = [(key, param) for key, made in commands for param in made.params]
    rows = [
        _row(key, param, settings, path)
        for key, param in params
        if name in (None, key.split()[0]) and variables(param)
    ]
    unknown = odd_settings(settings, path, root)
    tell(json.dumps({"settings": rows, "unknown": unknown}) if as_json else _text(rows))
    for odd in unknown:
        say(f"warning: {odd_text(odd)}")


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
    return without_secrets(value) if isinstance(value, str) else value


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
