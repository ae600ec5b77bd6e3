"""Settings files, and which names in them and in the environment mean something to geosr."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from geosr.errors import UsageError

COMMANDS = (
    "superres", "info", "train", "eval", "models", "weights", "export", "data", "report", "kelvins",
    "verify", "status", "change", "doctor", "bench", "qgis", "config", "completion",
)  # fmt: skip
# the names that a settings file of DSen2 for GeoTIFF uses
DSEN2_KEYS = ("IMAGES_PATH", "SR_IMAGES_PATH", "SR_20M_PATH", "SR_60M_PATH")

Row = dict[str, Any]


def read_env(path: Path) -> dict[str, str]:
    """GEOSR_* and the keys of DSen2 for GeoTIFF of a settings file; nothing else is taken from it.

    Raises:
        UsageError: it cannot be read, or is no UTF-8.
    """
    from dotenv import dotenv_values

    if not path.is_file():
        return {}
    try:
        values = dotenv_values(path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the settings in {path}: {error}. Write it anew as UTF-8."
        ) from error
    return {
        key: value
        for key, value in values.items()
        if value and (key.startswith("GEOSR_") or key in DSEN2_KEYS)
    }


def odd_text(odd: Row) -> str:
    """One of `odd_settings` as a sentence."""
    hint = f" Did you mean {odd['nearest']}?" if odd["nearest"] else ""
    return f"{odd['name']} ({odd['source']}) is no setting of geosr.{hint}"


def odd_settings(
    settings: Mapping[str, str], path: Path, root: click.Group, own: click.Command | None = None
) -> list[Row]:
    """GEOSR_ names that no option of any command has, with the nearest that one has.

    Args:
        root: the group of all commands.
        own: a command whose options are looked at first; the others are loaded only where that
            does not know all names.
    """
    ours = {each for param in (*root.params, *(own.params if own else ())) for each in
            variables(param)}  # fmt: skip
    if own and not list(_unknown(ours, settings, path)):
        return []
    ctx = click.Context(root)
    made = (leaf for name in COMMANDS for _, leaf in leaves(name, root.get_command(ctx, name)))
    known = ours | {each for command in made for param in command.params for each in
                    variables(param)}  # fmt: skip
    return list(_unknown(known, settings, path))


def leaves(name: str, made: click.Command | None) -> Iterator[tuple[str, click.Command]]:
    """A command, or what a group of commands holds, as "kelvins submit"."""
    if made and not isinstance(made, click.Group):
        yield name, made
    for key, inner in getattr(made, "commands", {}).items():
        yield from leaves(f"{name} {key}", inner)


def variables(param: click.Parameter) -> list[str]:
    """The names a parameter has in the environment and in settings files, the first wins."""
    return [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())


def _unknown(known: set[str], settings: Mapping[str, str], path: Path) -> Iterator[Row]:
    """GEOSR_ names that stand for nothing."""
    for held, source in ((os.environ, "environment"), (settings, str(path))):
        for key in sorted(held):
            if key.startswith("GEOSR_") and key not in known:
                near = get_close_matches(key, sorted(known), 1)
                yield {"name": key, "source": source, "nearest": near[0] if near else None}
