"""The installed `geosr`: where it is, and how it runs as a process of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import IO

INSTALLED_BY = Path(__file__).with_name("program.json")  # the command of that geosr
_PROGRESS = re.compile(r"progress: (\d+)/(\d+) (.*)")
_TROUBLE = ("geosr: ", "Error: ")  # how lines begin that say why it failed
_OF_QGIS = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP")  # QGIS's own Python, not geosr's
_POLL, _PATIENCE = 0.1, 10.0  # seconds: between looks at Cancel, and from asking to killing
_HIDDEN = 0x08000000  # Windows: no console window


class ProgramError(Exception):
    """geosr is not there, or did not do what it was asked."""


def find(setting: str = "", *, beside: Path = INSTALLED_BY) -> list[str]:
    """The start of geosr's command line.

    By the setting; else the geosr that installed the plugin; else that on PATH or in ~/.local/bin.

    Raises:
        ProgramError: there is none.
    """
    if setting:
        if not Path(setting).is_file():
            raise ProgramError(
                f"{setting} is no file, but the setting 'Path of geosr' names it. Correct it: "
                "Settings, Options, Processing, Providers, geosr."
            )
        return [setting]
    try:
        command = [str(part) for part in json.loads(beside.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        command = []
    if command and Path(command[0]).is_file():
        return command
    found = shutil.which("geosr") or shutil.which("geosr", path=str(Path.home() / ".local/bin"))
    if found:
        return [found]
    gone = f"{command[0]} is gone, and there is" if command else "there is"
    raise ProgramError(
        f"geosr was not found: {gone} no geosr on PATH. Install it (pipx install geosr), or give "
        "its path: Settings, Options, Processing, Providers, geosr, 'Path of geosr'."
    )


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """QGIS's environment without what only QGIS's own Python needs; progress comes as lines."""
    kept = {name: value for name, value in given.items() if name not in _OF_QGIS}
    return kept | {"GEOSR_VERBOSE": "1", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    line: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> bool:
    """Run geosr to its end, or until `cancelled` says so.

    Args:
        line: gets each line that it says.
        progress: gets units done, units in all (0: unknown) and the name of the work.

    Returns:
        Whether it came to its end; a cancelled process is gone.

    Raises:
        ProgramError: it could not be started, or failed; the message is its own.
    """
    process = _start(command, env)
    trouble: list[str] = []
    last = ""
    try:
        for said in _lines(process):
            if cancelled():
                return False
            found = _PROGRESS.fullmatch(said)
            if found:
                progress(int(found[1]), int(found[2]), found[3])
            elif said.startswith(_TROUBLE):
                trouble.append(said.partition(" ")[2])
            elif said:
                line(said)
                last = said
    finally:
        _stop(process)
    if process.returncode:
        quiet = f"geosr ended with code {process.returncode} and said nothing."
        raise ProgramError("\n".join(trouble) or last or quiet)
    for said in trouble:
        line(said)
    return True


def _start(command: Sequence[str], env: Mapping[str, str] | None) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            command, env=env, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            creationflags=_HIDDEN if sys.platform == "win32" else 0,
        )  # fmt: skip
    except OSError as error:
        raise ProgramError(
            f"could not start {command[0]}: {error.strerror}. Run it in a terminal to see why, or "
            "give another 'Path of geosr': Settings, Options, Processing, Providers, geosr."
        ) from error


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """What the process says, to its end; "" where that is nothing for a moment."""
    lines: Queue[str | None] = Queue()
    Thread(target=_read, args=(process.stdout, lines), daemon=True).start()
    while True:
        try:
            said = lines.get(timeout=_POLL)
        except Empty:
            said = ""
        if said is None:
            break
        yield said
    process.wait()


def _read(stream: IO[str], lines: Queue[str | None]) -> None:
    """Hand on each line of a stream; None is its end."""
    with stream:
        for text in stream:
            lines.put(text.rstrip())
    lines.put(None)


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask a process that runs to end, so that it removes what is unfinished; then kill it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
