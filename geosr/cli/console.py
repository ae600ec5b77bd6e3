"""What a user sees: log lines and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from geosr.errors import UsageError

_notes = logging.getLogger("geosr.notes")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def set_up_log(
    *, quiet: bool, verbose: int, file: Path | None = None, as_json: bool = False
) -> None:
    """Messages of geosr on stderr: errors only when quiet, else what was done and why.

    Args:
        file: gets all of it, also when quiet, and the lines of `note`; appended to.
        as_json: one JSON object a line in that file.

    Raises:
        UsageError: `file` cannot be written.
    """
    level = logging.DEBUG if verbose > 1 else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    handler.setLevel(logging.ERROR if quiet else level)
    logger = logging.getLogger("geosr")
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(level if file else handler.level)
    for old in _notes.handlers[:]:
        old.close()
    _notes.handlers[:] = []
    _notes.propagate = False
    if file:
        _notes.addHandler(_file_handler(file, _JsonLines() if as_json else _Lines()))
        logger.addHandler(_notes.handlers[0])


def note(level: int, text: str, **facts: Any) -> None:
    """A line for the log file alone, where there is one; `facts` are told in JSON lines."""
    if _notes.handlers:
        _notes.log(level, "%s", text, extra={"facts": facts})


def _file_handler(path: Path, formatter: logging.Formatter) -> logging.Handler:
    try:
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"--log-file {path}: not writable ({error.strerror}). Choose another."
        ) from error
    handler.setFormatter(formatter)
    return handler


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"warning: {text}" if record.levelno == logging.WARNING else text


class _Lines(logging.Formatter):
    """2026-11-21T03:00:12Z INFO a: done; what could pass for another line is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        text = _CONTROLS.sub(lambda c: repr(c[0])[1:-1], record.getMessage())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return f"{_utc(record)} {record.levelname} {text}{trace}"


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        told = {"time": _utc(record), "level": record.levelname, "message": record.getMessage()}
        trace = {"trace": self.formatException(record.exc_info)} if record.exc_info else {}
        return json.dumps(told | trace | getattr(record, "facts", {}), ensure_ascii=False)


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))


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
