"""What a user sees: log lines and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from geosr.cli.settings import odd_settings, odd_text
from geosr.errors import StoppedError, UsageError, without_secrets
from geosr.raster.publish import FULL

SETTINGS = "geosr.settings"  # in a context's meta: the settings file and what it holds
_notes = logging.getLogger("geosr.notes")
# control codes, ends of lines, and what turns the direction of writing
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


_UNSEEN = re.compile(  # the same but for ends of lines and tabs, which tables and CSV have
    r"\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)


def plain(text: str) -> str:
    """A text as one line that only says what it says: no control codes, no keys in URLs."""
    return _CONTROLS.sub(lambda c: repr(c[0])[1:-1], without_secrets(text))


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
    ctx = click.get_current_context(silent=True)
    if ctx and SETTINGS in ctx.meta:
        path, settings = ctx.meta[SETTINGS]
        root = ctx.find_root().command
        assert isinstance(root, click.Group)
        for odd in odd_settings(settings, path, root, ctx.command):
            logger.warning("%s", odd_text(odd))


def note(level: int, text: str, **facts: Any) -> None:
    """A line for the log file alone, where there is one; `facts` are told in JSON lines."""
    if _notes.handlers:
        _notes.log(level, "%s", text, extra={"facts": facts})


def _file_handler(path: Path, formatter: logging.Formatter) -> logging.Handler:
    try:
        if path.is_file() and b"\0" in path.open("rb").read(512):
            raise UsageError(f"--log-file {path} holds no text, so it is no log. Choose another.")
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"--log-file {path}: not writable ({error.strerror}). Choose another."
        ) from error
    handler.setFormatter(formatter)
    return handler


class _Formatter(logging.Formatter):
    """What happened, on one line; the trace of an exception below it."""

    def format(self, record: logging.LogRecord) -> str:
        text = plain(record.getMessage())
        trace = f"\n{_trace(self, record)}" if record.exc_info else ""
        return f"warning: {text}{trace}" if record.levelno == logging.WARNING else f"{text}{trace}"


class _Lines(logging.Formatter):
    """2026-11-21T03:00:12Z INFO a: done; what could pass for another line is escaped."""

    def format(self, record: logging.LogRecord) -> str:
        trace = f"\n{_trace(self, record)}" if record.exc_info else ""
        return f"{_utc(record)} {record.levelname} {plain(record.getMessage())}{trace}"


class _JsonLines(logging.Formatter):
    """One JSON object a line: time, level, message, and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        text = without_secrets(record.getMessage())
        told = {"time": _utc(record), "level": record.levelname, "message": text}
        trace = {"trace": _trace(self, record)} if record.exc_info else {}
        return json.dumps(told | trace | getattr(record, "facts", {}), ensure_ascii=False)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    assert record.exc_info
    return "\n".join(map(plain, formatter.formatException(record.exc_info).splitlines()))


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))


class Bar:
    """A tqdm bar on a terminal; elsewhere lines where one asked for more (-v), else nothing.

    Lines are `progress: DONE/TOTAL NAME`, one for each per cent at most; TOTAL is 0 where it is not
    known.
    """

    def __init__(self, *, quiet: bool = False, unit: str = "tile", verbose: int = 0) -> None:
        self.enabled = not quiet and sys.stderr.isatty()
        self.lines = bool(verbose) and not quiet and not self.enabled
        self.unit, self.name = unit, ""
        self._done = self._told = 0
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
        if self.lines:
            self._tell(name, done, total, note)
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

    def _tell(self, name: str, done: int, total: int, note: str) -> None:
        """A line, where there is a per cent more to tell, or less as the work begins anew."""
        if name != self.name:
            self.name, self._done, self._told = name, 0, -1
        self._done += done
        step = 100 * self._done // total if total else self._done
        if step != self._told:
            self._told = step
            say(f"progress: {self._done}/{total} {name} {note}".rstrip())

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def say(text: str, *, quiet: bool = False) -> None:
    """A line for a person, on stderr."""
    if not quiet:
        click.echo(plain(text), err=True)


def tell(text: str, *, nl: bool = True) -> None:
    """A result, on stdout; control codes as JSON writes them, so that JSON stays the same.

    Raises:
        StoppedError: there is no room for it.
    """
    try:
        click.echo(_UNSEEN.sub(lambda c: f"\\u{ord(c[0]):04x}", text), nl=nl)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise full(error) from error


def full(error: OSError) -> StoppedError:
    """What to say where stdout has no room; no more is written to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return StoppedError(
        f"could not write to standard output: {error.strerror}. "
        "Free some space, then run the same command again."
    )
