"""What a user sees: log lines and progress on stderr, results on stdout."""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Any

import click


def set_up_log(*, quiet: bool, verbose: int) -> None:
    """Messages of geosr on stderr: errors only when quiet, else what was done and why."""
    level = logging.ERROR if quiet else logging.DEBUG if verbose > 1 else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("geosr")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"warning: {text}" if record.levelno == logging.WARNING else text


class Bar:
    """A tqdm bar on a terminal, nothing anywhere else."""

    def __init__(self, *, quiet: bool = False, unit: str = "tile") -> None:
        self.enabled = not quiet and sys.stderr.isatty()
        self.unit, self.name = unit, ""
        self._bar: Any = None

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def advance(self, name: str, done: int, total: int, *, note: str = "") -> None:
        """`done` more of `total` units of the work called `name`; `note` follows the bar."""
        if not self.enabled:
            return
        from tqdm import tqdm

        if name != self.name or self._bar is None:
            self.close()
            self.name = name
            self._bar = tqdm(total=total, desc=name, unit=self.unit, leave=False)
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done)

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def say(text: str, *, quiet: bool = False) -> None:
    """A line for a person, on stderr."""
    if not quiet:
        click.echo(text, err=True)
