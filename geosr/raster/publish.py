"""A file at its final name is whole: temporary name beside it, fsync, rename, fsync the folder."""

from __future__ import annotations

import errno
import functools
import hashlib
import math
import os
import re
import shutil
import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

from geosr.errors import SceneError, StoppedError, cause
from geosr.raster import flock

_PART = re.compile(
    r"^\..+\.[^.]+?(?:-(?P<boot>[0-9a-f]{8})-(?P<space>\d+))?\.(?P<pid>\d+)\.[0-9a-f]{8}"
    r"\.part(\..+)?$"
)
_ROOM = 1.2  # of what an output takes uncompressed: its record, and blocks that do not compress
_NAME = 255  # bytes of a file's name at most, on any common disk
_OLD, _FOREIGN = 60, 24 * 3600  # seconds after which a file that nobody holds may be a dead one's
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OF_THE_NAME = {
    errno.ENAMETOOLONG, errno.EISDIR, errno.ELOOP, errno.EEXIST, errno.ENOTEMPTY, errno.EILSEQ,
    errno.EINVAL,
}  # fmt: skip
_OF_NAME_OR_FOLDER = {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ETXTBSY}


def part_path(final: Path) -> Path:
    """A temporary name beside `final`, unique to host, process and call; it keeps the suffix."""
    rest = f".{_place()}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part{final.suffix}"
    return final.with_name(f".{shortened(final.stem, _NAME - 1 - len(os.fsencode(rest)))}{rest}")


def shortened(text: str, size: int) -> str:
    """The start of a text that takes at most `size` bytes in a file's name."""
    while len(os.fsencode(text)) > size:
        text = text[:-1]
    return text


def sweep_parts(folder: Path) -> list[Path]:
    """Remove temporary files that dead processes left in `folder`; return them."""
    swept = []
    for path in folder.glob(".*.part*"):
        match = _PART.match(path.name)
        if match and _is_dead(path, match):
            with suppress(OSError):  # another user's
                path.unlink(missing_ok=True)
                swept.append(path)
    return swept


def _is_dead(path: Path, match: re.Match[str]) -> bool:
    """Whether the process that wrote a temporary file is gone.

    Where its id is of the same kind as ours and nobody has it, it is. Else the kernel's lock tells,
    which it holds from soon after the file is there: ids are used again, and in another container
    they are others'. Locks of another machine may not reach here: nothing was written for a day.
    """
    boot, space = _process_ids()
    if (match["boot"], match["space"]) == (boot, space) and not _alive(int(match["pid"])):
        return True
    try:
        quiet = time.time() - path.lstat().st_mtime
    except OSError:
        return False
    return quiet > (_OLD if match["boot"] == boot else _FOREIGN) and flock.is_held(path) is False


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
    except OSError as error:
        if error.errno != errno.EINVAL:  # of disks that know no such thing
            raise
    finally:
        os.close(folder)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all.

    Raises:
        StoppedError: the disk is full or the folder is not writable.
        SceneError: no file can have this name here.
    """
    part = part_path(path)
    try:
        with part.open("xb") as file:
            with suppress(OSError):
                flock.take(file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        publish(part, path)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        discard(part)


def discard(part: Path) -> None:
    """Remove a temporary file; where that fails the next run tries again."""
    with suppress(OSError):
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


def not_written(path: Path, error: BaseException | str) -> StoppedError | SceneError:
    """The error for a file that could not be written, with the free space at hand.

    A SceneError where only this name cannot be written, a StoppedError where no other can either.
    """
    reason = error if isinstance(error, str) else cause(error)
    number = error.errno if isinstance(error, OSError) else None  # GDAL numbers its own otherwise
    if number in _OF_THE_NAME or (number in _OF_NAME_OR_FOLDER and _takes_files(path.parent)):
        return SceneError(
            f"could not write {path}: {reason}. Move away what has this name, or choose another, "
            "then run the same command again."
        )
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


def _takes_files(folder: Path) -> bool:
    try:
        probe_folder(folder)
    except OSError:
        return False
    return True


def probe_folder(folder: Path) -> None:
    """Make a file in a folder and remove it.

    Raises:
        OSError: the folder takes none.
    """
    probe = part_path(folder / "probe")
    try:
        probe.touch(exist_ok=False)
    finally:  # also where a signal comes just now
        discard(probe)


def _place() -> str:
    """Where this process runs: the host's name for people, and what its process ids are of."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:32] or "host"
    return "-".join((host, *_process_ids()))


@functools.cache
def _process_ids() -> tuple[str, str]:
    """The run of a kernel and the PID namespace in which a process id means one process.

    Containers of one host name, and hosts of one name, differ in it; where a system tells neither,
    the host's name stands for both.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        return _short(boot), str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return _short(socket.gethostname()), "0"


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # it ended, and nobody asked how: no pid 1 of a container may
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in "ZX"
