"""A file at its final name is whole: temporary name beside it, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

from geosr.errors import StoppedError, cause

_PART = re.compile(r"^\..+\.(?P<host>[^.]+)\.(?P<pid>\d+)\.[0-9a-f]{8}\.part(\..+)?$")
_ROOM = 1.2  # of what an output takes uncompressed: its record, and blocks that do not compress
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def part_path(final: Path) -> Path:
    """A temporary name beside `final`, unique to host, process and call; it keeps the suffix."""
    owner = f"{_host()}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
    return final.with_name(f".{final.stem}.{owner}.part{final.suffix}")


def sweep_parts(folder: Path) -> list[Path]:
    """Remove temporary files that dead processes of this host left in `folder`; return them."""
    swept = []
    for path in folder.glob(".*.part*"):
        match = _PART.match(path.name)
        if match and match["host"] == _host() and not _alive(int(match["pid"])):
            with suppress(OSError):  # another user's
                path.unlink(missing_ok=True)
                swept.append(path)
    return swept


def flush(path: Path) -> None:
    """Force a closed file's bytes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def publish(part: Path, final: Path) -> None:
    """Give a whole, flushed file its final name; the old one stays until that instant."""
    part.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all.

    Raises:
        StoppedError: the disk is full or the folder is not writable.
    """
    part = part_path(path)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        publish(part, path)
    except OSError as error:
        raise stopped(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def require_space(path: Path, size: int) -> None:
    """Check, before any work, that an output of `size` bytes before compression can be written.

    Raises:
        StoppedError: less than 1.2 times as much is free.
    """
    need = math.ceil(_ROOM * size)
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:  # writing it will tell
        return
    if free < need:
        raise StoppedError(
            f"not enough space for {path}: {need:,} bytes needed, {free:,} free in {path.parent}. "
            "Free some space, then run the same command again."
        )


def stopped(path: Path, error: BaseException | str) -> StoppedError:
    """The message for an output that could not be written, with the free space at hand."""
    reason = error if isinstance(error, str) else cause(error)
    number = error.errno if isinstance(error, OSError) else None  # GDAL numbers its own otherwise
    full = number in FULL
    if full or any(words in reason for words in ("File too large", "No space left")):
        reason = f"No space left: {reason}"
    elif number is None and not isinstance(error, str):  # GDAL does not say why it failed
        reason = f"{reason} (disk full?)"
    return StoppedError(
        f"could not write {path}: {reason} ({_free(path)} bytes free). "
        "Free some space or make the folder writable, then run the same command again."
    )


def now() -> str:
    """The time, UTC to the second, as records and reports write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free:,}"
    except OSError:
        return "unknown"


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
