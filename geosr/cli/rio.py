"""`rio superres`: the command of the same name as a plugin of rasterio's program `rio`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from geosr.cli.groups import GroupedCommand
from geosr.cli.main import defaults, exit_codes, handle_signals
from geosr.cli.settings import read_env
from geosr.cli.superres import command as superres


class _Plugin(GroupedCommand):
    """A command that reads its settings and ends as it does under `geosr`."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """With defaults from `.env`."""
        own = click.Context(self)
        with exit_codes(own):
            found = defaults(own, "superres", read_env(Path(".env")))
        return super().make_context(info_name, args, parent, default_map=found, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """With geosr's exit codes, and its clean-up where a signal ends it.

        GDAL's warnings, which rio would print, are geosr's to tell in its own words.
        """
        handle_signals()
        logging.getLogger("rasterio._env").setLevel(logging.ERROR)
        with exit_codes(ctx):
            return super().invoke(ctx)


command = _Plugin(
    "superres",
    params=superres.params,
    callback=superres.callback,
    help=(superres.help or "").replace("geosr superres", "rio superres"),
    short_help="Super-resolve scenes (geosr).",
)
