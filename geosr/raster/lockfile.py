"""Lock files: one process at a time does something, and others are told which."""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geosr.errors import LockedError, SceneError
from geosr.raster import flock, publish

log = logging.getLogger("geosr")

_POLL = 0.2  # seconds between looks at a lock that is waited for
_HOLDER = "pid "  # what a lock's file begins with
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def locked(path: Path, timeout: float | None, said: str) -> Iterator[None]:
    """Hold the lock at `path`, whose file is there meanwhile and tells others who does.

    Args:
        timeout: seconds to wait for it; None waits as long as it takes.
        said: what another process does that holds it, for messages.

    Raises:
        LockedError: another process holds it.
        StoppedError: its file cannot be written.
        SceneError: something else has its name.
    """
    try:
        descriptor = _acquire(path, timeout, said)
    except OSError as error:
        raise publish.not_written(path, error) from error
    try:
        with suppress(OSError):  # only a courtesy
            holder = f"{_HOLDER}{os.getpid()} on {socket.gethostname()} since {publish.now()}"
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, holder.encode())
        yield
    finally:
        publish.discard(path)  # another user's may stay
        os.close(descriptor)


def _acquire(path: Path, timeout: float | None, said: str) -> int:
    """An open file that this process holds, and that lies at `path`."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    waiting = False
    while (descriptor := _taken(path)) is None:
        holder = _holder(path)
        told = f"{said} ({holder})" if holder else said
        left = end - time.monotonic()
        if left <= 0:
            raise LockedError(f"{told}. Wait for it to end.")
        if not waiting:
            log.info("waiting: %s", told)
        waiting = True
        time.sleep(min(_POLL, left))
    return descriptor


def _taken(path: Path) -> int | None:
    """The lock's open file; None where another process has it."""
    while True:
        descriptor = _opened(path)
        try:
            if not _take(descriptor, path):
                os.close(descriptor)
                return None
            if _lies_at(descriptor, path):  # else its holder removed it meanwhile
                _check_ours(descriptor, path)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _opened(path: Path) -> int:
    """A lock's file, made where there is none; another user's for reading alone."""
    while True:
        try:
            return os.open(path, os.O_RDWR | flock.FLAGS)
        except FileNotFoundError:
            with suppress(FileExistsError):  # made meanwhile
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flock.FLAGS, 0o666)
        except PermissionError:
            return os.open(path, os.O_RDONLY | flock.FLAGS)


def _take(descriptor: int, path: Path) -> bool:
    try:
        return flock.take(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        log.warning("no locks in %s (%s): two runs may do the same work twice", path.parent,
                    error.strerror, extra={"once": True})  # fmt: skip
        return True


def _lies_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _check_ours(descriptor: int, path: Path) -> None:
    """Whether nobody else keeps something in a file of this name."""
    size = os.fstat(descriptor).st_size
    if size and os.read(descriptor, len(_HOLDER)) != _HOLDER.encode():
        raise SceneError(
            f"{path} is in the way: {size:,} bytes that geosr did not write. Move it away."
        )


def _holder(path: Path) -> str:
    """What a lock's file says of its holder, on one line; "" where it says nothing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | flock.FLAGS)
    except OSError:
        return ""
    try:
        text = os.read(descriptor, 200).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)
    return "".join(c for c in text if c.isprintable())
