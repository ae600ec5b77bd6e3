"""Kernel locks on outputs and on whole runs; they die with their process."""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from geosr.errors import LockedError, SceneError
from geosr.raster import flock, publish

log = logging.getLogger("geosr")

_POLL = 0.2  # seconds between looks at a lock that is waited for
_HOLDER = "pid "  # what a lock's file begins with
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


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
        SceneError: something else has its name.
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

    Saves work only: each output has its own lock, and outputs are whole without any. Where
    something else has its name it is done without.

    Args:
        timeout: as for `locked`.

    Raises:
        LockedError: another run of the same scenes into `dst` goes on.
        StoppedError: the lock cannot be written.
    """
    said = f"another run does these {len(outputs)} scenes into {dst}"
    with ExitStack() as stack:
        try:
            stack.enter_context(_held(run_lock_path(dst, outputs), timeout, said))
        except SceneError as error:
            log.warning("the run is not locked: %s", error)
        yield


@contextmanager
def _held(path: Path, timeout: float | None, said: str) -> Iterator[None]:
    """Hold the lock at `path`, whose file tells others who does."""
    try:
        descriptor = _acquire(path, timeout, said)
    except OSError as error:
        raise publish.not_written(path, error) from error
    try:
        with suppress(OSError):  # only a courtesy
            holder = f"{_HOLDER}{os.getpid()} on {socket.gethostname()} since {publish.now()}"
            os.ftruncate(descriptor, 0)
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
    if size and not os.pread(descriptor, len(_HOLDER), 0) == _HOLDER.encode():
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


def is_locked(output: Path) -> bool:
    """Whether a run is writing `output` now; False too where that cannot be told."""
    return flock.is_held(lock_path(output))
