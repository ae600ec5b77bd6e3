"""What lies beside outputs: of each its record, journal and lock, of all the last run's report.

The record is the commit mark: small, written last, it says what the output was made of.
"Finished" is told by it, never by the output's existence.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import BaseFileLock, FileLock, Timeout

from geosr import publish
from geosr.errors import LockedError, SceneError, StoppedError

if TYPE_CHECKING:
    from geosr.scene import Scene

log = logging.getLogger("geosr")

SUFFIXES = (".tif", ".tiff", ".png")  # of outputs
FORMAT = 1
RUN_FORMAT = 1
_LARGEST = 2**20  # bytes; a record takes a few thousand
_LARGEST_RUN = 2**26
_SUFFIX = ".geosr.json"
_POLL = 0.2  # seconds between looks at a lock that is waited for


def record_path(output: Path) -> Path:
    """Where the record of an output lies."""
    return output.with_name(f"{output.stem}{_SUFFIX}")


def load(output: Path) -> dict[str, Any] | None:
    """The output's record; None where there is none or it is no record."""
    record = _read(record_path(output), _LARGEST)
    try:
        sound = (
            record["geosr_record"] == FORMAT
            and isinstance(record["recipe"], dict)
            and isinstance(record["inputs"], dict)
            and isinstance(record["output"]["size"], int)
        )
        return record if sound else None
    except (KeyError, TypeError, IndexError):
        return None


def write(output: Path, facts: Mapping[str, Any]) -> None:
    """Write the record of a finished output, whole: `facts` and what the file itself is.

    Args:
        facts: "inputs" (of `stamps`), "recipe", and whatever else is worth keeping.

    Raises:
        StoppedError: the disk is full or the folder is not writable.
    """
    stat = output.stat()
    made = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(output)}
    record = {"geosr_record": FORMAT, **facts, "output": made, "finished": now()}
    publish.write_bytes(record_path(output), (json.dumps(record, indent=1) + "\n").encode())


def finished(
    scene: Scene,
    output: Path,
    recipe: Mapping[str, Any],
    *,
    overwrite: bool = False,
    strict: bool = False,
) -> bool:
    """Whether `output` is whole and made of this scene by this recipe.

    Args:
        overwrite: an output made otherwise is merely unfinished, not an error.
        strict: as for `stamps`; a record without the inputs' sha256 is then no proof.

    Raises:
        SceneError: the file is somebody else's, or was made in another way.
    """
    if not output.exists() or interrupted(output):
        return False
    record = load(output)
    if record is None and not overwrite:
        raise SceneError(
            f"{output} exists and was not made by geosr (no record beside it): left alone. "
            "Move it away, or pass --overwrite."
        )
    if record is None:
        return False
    if record["recipe"] != recipe and not overwrite:
        raise SceneError(
            f"{output} was made with other settings "
            f"({differences(record['recipe'], recipe)}): left alone. "
            "Choose another DST, or pass --overwrite."
        )
    return (
        record["recipe"] == recipe
        and bool(record["output"]["size"] == output.stat().st_size)
        and _same_inputs(record["inputs"], scene, strict=strict)
    )


def _same_inputs(recorded: Mapping[str, Any], scene: Scene, *, strict: bool) -> bool:
    """Size and time first, which cost nothing; the sha256 of files only where those agree."""
    if {name: _plain(entry) for name, entry in recorded.items()} != stamps(scene):
        return False
    return not strict or recorded == stamps(scene, strict=True)


def _plain(entry: Any) -> Any:
    """Size and time of a recorded input; they were a bare pair once."""
    if isinstance(entry, list) and len(entry) == 2:
        return {"size": entry[0], "mtime_ns": entry[1]}
    if isinstance(entry, dict):
        return {key: value for key, value in entry.items() if key != "sha256"}
    return entry


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """The settings in which two recipes differ, in words."""
    names = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
    return ", ".join(name.replace("_", " ") for name in names)


def stamps(scene: Scene, *, strict: bool = False) -> dict[str, dict[str, Any]]:
    """Size and modification time of every input file, by its place in the scene.

    Args:
        strict: the sha256 of every file too, which reads them whole.

    Raises:
        SceneError: a file cannot be read whole.
    """
    root = Path(scene.path)
    if "*" in root.name:  # a series by name in a folder of many
        root = root.parent
    files = [root] if root.is_file() else [Path(name) for name in scene.files]
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        stamp = _stamp(file)
        if stamp is not None:
            name = file.relative_to(root) if file != root else Path(file.name)
            found[str(name)] = {"size": stamp[0], "mtime_ns": stamp[1]}
            if strict:
                found[str(name)]["sha256"] = _sha256_of_input(file)
    return found


def _stamp(path: Path) -> list[int] | None:
    """Size and modification time of a file, None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _sha256_of_input(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise SceneError(f"cannot read {path}: {error.strerror}. Check the file.") from error


def sha256(path: Path) -> str:
    """Of a file of any size, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def now() -> str:
    """The time, UTC to the second, as records write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _read(path: Path, largest: int) -> Any:
    """A JSON file's content; None where there is none, it is too large or no JSON."""
    try:
        if path.stat().st_size > largest:
            return None
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


# journal


def journal_path(output: Path) -> Path:
    """Where the note lies that an output is about to be published."""
    return output.with_name(f".{output.stem}.geosr.begun")


@contextmanager
def journalled(output: Path) -> Iterator[Callable[[Path], None]]:
    """Gives a function that notes which temporary file is about to become `output`.

    Between the renaming of an output and its record lies an instant; killed there, the next run
    finds the note, knows the file for its own by size and time, which renaming keeps, and makes
    it again. No other file can match.
    """
    journal = journal_path(output)
    try:
        yield lambda part: publish.write_bytes(journal, json.dumps(_stamp(part)).encode())
    except BaseException:
        if not interrupted(output):
            journal.unlink(missing_ok=True)
        raise
    journal.unlink(missing_ok=True)


def interrupted(output: Path) -> bool:
    """Whether `output` was published by a run that died before it wrote the record."""
    noted = _read(journal_path(output), _LARGEST)
    if noted is None or noted != _stamp(output):
        return False
    record = load(output)  # where it is of this very file, only the note is left over
    return record is None or record["output"].get("mtime_ns") != noted[1]


# lock


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
            path.write_text(f"pid {os.getpid()} on {socket.gethostname()} since {now()}")
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


def tidy(outputs: Iterable[Path]) -> None:
    """Remove temporary files, locks and notes of these outputs that dead processes left."""
    outputs = list(outputs)
    for folder in {output.parent for output in outputs}:
        publish.sweep_parts(folder)
    for output in outputs:
        if lock_path(output).exists():
            with suppress(LockedError, StoppedError), locked(output):
                pass  # leaving it removes it
        if load(output) is not None and not interrupted(output) and not is_locked(output):
            journal_path(output).unlink(missing_ok=True)


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


# the run


def run_path(folder: Path, shard: tuple[int, int] | None = None) -> Path:
    """Where the report of the last run into a folder lies; every shard (I, N) has its own."""
    part = "-{}of{}".format(*shard) if shard else ""
    return folder / f"geosr-run{part}.json"


def write_run(
    folder: Path, facts: Mapping[str, Any], *, shard: tuple[int, int] | None = None
) -> None:
    """Write the report of a run, whole.

    Args:
        facts: "geosr", "started", "scenes" (one object each), "done", "skipped", "failed" (how
            many) and "code", what the shell sees.

    Raises:
        StoppedError: the disk is full or the folder is not writable.
    """
    report = {"geosr_run": RUN_FORMAT, **facts, "finished": now()}
    publish.write_bytes(run_path(folder, shard), (json.dumps(report, indent=1) + "\n").encode())


def report_run(
    folder: Path,
    facts: Mapping[str, Any],
    scenes: Sequence[Mapping[str, Any]],
    *,
    shard: tuple[int, int] | None = None,
) -> None:
    """Count and write the report of a run; where it cannot be written the run's own end stands."""
    statuses = [scene["status"] for scene in scenes]
    counts = {status: statuses.count(status) for status in ("done", "skipped", "failed")}
    try:
        write_run(folder, {**facts, **counts, "scenes": list(scenes)}, shard=shard)
    except StoppedError as error:
        log.warning("no report of this run: %s", error)


def load_run(folder: Path) -> dict[str, Any] | None:
    """The report of the last run into a folder; None where there is none or it is no report."""
    reports = {path: _stamp(path) or [0, 0] for path in folder.glob("geosr-run*.json")}
    newest = max(reports, key=lambda path: reports[path][1], default=run_path(folder))
    report = _read(newest, _LARGEST_RUN)
    sound = (
        isinstance(report, dict)
        and report.get("geosr_run") == RUN_FORMAT
        and isinstance(report.get("scenes"), list)
        and all(isinstance(scene, dict) for scene in report["scenes"])
    )
    return report if sound else None


# a folder of outputs


def outputs(dst: Path) -> list[Path]:
    """Everything that is or will be an output in a folder, by name; `dst` itself where it is none.

    Rasters (by SUFFIXES), what records are of, and what is being written.
    """
    if not dst.is_dir():
        return [dst]
    rasters = [path for path in dst.glob("[!.]*") if _is_raster(path)]
    stems = {path.stem for path in rasters}
    names = (path.name.removesuffix(_SUFFIX) for path in dst.glob(f"[!.]*{_SUFFIX}"))
    lost = [dst / f"{name}.tif" for name in names if name not in stems]
    begun = [dst / path.name[1:].removesuffix(".lock") for path in dst.glob(".*.lock")]
    writing = [path for path in begun if _is_raster(path) and is_locked(path)]
    return sorted({*rasters, *lost, *writing})


def _is_raster(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def standing(output: Path) -> str:
    """What can be said of an output without reading it through.

    Returns:
        "writing": a run holds its lock. "interrupted": published by a run that was killed before
        it wrote the record. "finished": of the size its record gives. "changed": not so, or
        gone, or the record is none. "foreign": there is no record. "absent": nor a file.
    """
    if is_locked(output):
        return "writing"
    if interrupted(output):
        return "interrupted"
    if not record_path(output).exists():
        return "foreign" if output.exists() else "absent"
    record, stamp = load(output), _stamp(output)
    whole = record is not None and stamp is not None and record["output"]["size"] == stamp[0]
    return "finished" if whole else "changed"


@dataclass(frozen=True)
class State:
    """How far a folder of outputs is.

    Attributes:
        last: when the latest output was finished, UTC; None where none is.
        writing, interrupted, changed, foreign: names of outputs, as of `standing`.
        failed: scene, code and message of what failed in the last run.
        run: the last run's report without its scenes; None where there is none.
    """

    finished: int
    last: str | None
    writing: tuple[str, ...]
    interrupted: tuple[str, ...]
    changed: tuple[str, ...]
    foreign: tuple[str, ...]
    failed: tuple[dict[str, Any], ...]
    run: dict[str, Any] | None


def state(dst: Path) -> State:
    """How far a folder of outputs, or a single output, is; nothing is written or read through."""
    found: dict[str, list[Path]] = {}
    for output in outputs(dst):
        found.setdefault(standing(output), []).append(output)
    names = {
        kind: tuple(path.name for path in found.get(kind, ()))
        for kind in ("writing", "interrupted", "changed", "foreign")
    }
    done = [record for output in found.get("finished", ()) if (record := load(output))]
    run = load_run(dst) or {}
    failed = tuple(
        {key: scene.get(key) for key in ("scene", "code", "message")}
        for scene in run.pop("scenes", ())
        if scene.get("status") == "failed"
    )
    last = max((str(record.get("finished", "")) for record in done), default="")
    return State(len(done), last or None, failed=failed, run=run or None, **names)
