"""Kernel locks on outputs and on whole runs; they die with their process."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from geosr.errors import SceneError
from geosr.raster import flock, lockfile

log = logging.getLogger("geosr")


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
    with lockfile.locked(lock_path(output), timeout, f"{output} is being written by another run"):
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
            stack.enter_context(lockfile.locked(run_lock_path(dst, outputs), timeout, said))
        except SceneError as error:
            log.warning("the run is not locked: %s", error)
        yield


def is_locked(output: Path) -> bool:
    """Whether a run is writing `output` now; False too where that cannot be told."""
    return bool(flock.is_held(lock_path(output)))
