"""Kernel locks on outputs and on whole runs; they die with their process."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from geosr.errors import LockedError
from geosr.raster import publish

log = logging.getLogger("geosr")

_POLL = 0.2  # seconds between looks at a lock that is waited for


def lock_path(output: Path) -> Path:
    """Where the lock of an output lies while it is written."""
    return output.with_name(f".{output.name}.lock")


@contextmanager
def locked(output: Path, *, timeout: float | None = 0.0) -> Iterator[None]:
    """A kernel lock on one output; it dies with its process.

    Args:
        timeout: seconds to wait for it; None waits as long as it takes.

    Raises:
        LockedError: another process is writing this output.
        StoppedError: the lock cannot be written.
    """
    with _held(lock_path(output), timeout, f"{output} is being written by another run"):
        yield


def run_lock_path(dst: Path, outputs: Mapping[Path, Path]) -> Path:
    """Where the lock of a run lies: one for each DST and set of scenes, in the outputs' folder.

    Args:
        outputs: scene to output.
    """
    names = (str(dst.resolve()), *sorted(str(scene.absolute()) for scene in outputs))
    key = hashlib.sha256(os.fsencode("\0".join(names))).hexdigest()[:12]
    return next(iter(outputs.values())).with_name(f".geosr-{key}.lock")


@contextmanager
def run_locked(
    dst: Path, outputs: Mapping[Path, Path], *, timeout: float | None = 0.0
) -> Iterator[None]:
    """A kernel lock on a whole run: a second one of the same scenes need not even begin.

    Saves work only: each output has its own lock, and outputs are whole without any.

    Args:
        timeout: as for `locked`.

    Raises:
        LockedError: another run of the same scenes into `dst` goes on.
        StoppedError: the lock cannot be written.
    """
    said = f"another run does these {len(outputs)} scenes into {dst}"
    with _held(run_lock_path(dst, outputs), timeout, said):
        yield


@contextmanager
def _held(path: Path, timeout: float | None, said: str) -> Iterator[None]:
    """Hold the lock at `path`, whose file tells others who does."""
    lock = FileLock(path)
    try:
        _acquire(lock, path, timeout, said)
    except OSError as error:
        raise publish.stopped(path, error) from error
    try:
        with suppress(OSError):  # only a courtesy
            path.write_text(f"pid {os.getpid()} on {socket.gethostname()} since {publish.now()}")
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: BaseFileLock, path: Path, timeout: float | None, said: str) -> None:
    holder = _holder(path)
    said = f"{said} ({holder})" if holder else said
    with suppress(Timeout):
        lock.acquire(timeout=0)
        return
    if timeout != 0:
        log.info("waiting: %s", said)
        with suppress(Timeout):
            lock.acquire(timeout=-1 if timeout is None else timeout, poll_interval=_POLL)
            return
    raise LockedError(f"{said}. Wait for it to end.")


def _holder(path: Path) -> str:
    """What a lock's file says of its holder, on one line; "" where it says nothing."""
    try:
        with path.open("rb") as file:
            text = file.read(200).decode(errors="replace")
    except OSError:
        return ""
    return "".join(c for c in text if c.isprintable())


def is_locked(output: Path) -> bool:
    """Whether a run is writing `output` now; False too where that cannot be told."""
    path = lock_path(output)
    if not path.exists():
        return False
    try:
        FileLock(path, timeout=0).acquire().lock.release()
    except Timeout:
        return True
    except OSError:  # another user's, or a read-only folder
        return False
    return False
