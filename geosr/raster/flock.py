"""Kernel locks on files, flock(2): they die with their process, and hold in all containers."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
except ImportError:  # Windows, which then is as a disk that knows no locks
    LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN = 2, 4, 1, 8  # type: ignore[misc]

    def flock(fd: int, operation: int, /) -> None:  # type: ignore[misc]
        """Always fails."""
        raise OSError(errno.ENOLCK, "no locks on this system")


_LOOKS = 200  # that are waited for, a millisecond each; one takes microseconds
FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # no link, no waiting pipe


def take(descriptor: int) -> bool:
    """Take an open file for this process alone; False at once where another has it.

    Those who only look (`is_held`) keep nobody from it.

    Raises:
        OSError: the disk knows no locks, or not of a file opened like this.
    """
    for _ in range(_LOOKS):
        if _locked(descriptor, LOCK_EX):
            return True
        if not _locked(descriptor, LOCK_SH):  # not somebody who only looks
            return False
        flock(descriptor, LOCK_UN)
        time.sleep(random.uniform(0, 0.002))
    return False


def _locked(descriptor: int, how: int) -> bool:
    try:
        flock(descriptor, how | LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool | None:
    """Whether a process has taken a file; None where nobody can tell, as of one that is not there.

    Asking keeps nobody from taking it.
    """
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
        try:
            return not _locked(descriptor, LOCK_SH)
        finally:
            os.close(descriptor)
    return None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Have a file that is there taken, where the disk knows locks."""
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | FLAGS)
        take(descriptor)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)
