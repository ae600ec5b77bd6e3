"""How far a folder of outputs is: what its records say, and the report of the last run into it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr.batch import locks, records
from geosr.errors import SceneError, StoppedError, UsageError
from geosr.raster import marks, publish

log = logging.getLogger("geosr")

FORMAT = 1  # of the report
_LARGEST = 2**26  # bytes of it


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
    report = {"geosr_run": FORMAT, **facts, "finished": publish.now()}
    publish.write_bytes(run_path(folder, shard), (json.dumps(report, indent=1) + "\n").encode())


def report_run(
    folder: Path,
    facts: Mapping[str, Any],
    scenes: Sequence[Mapping[str, Any]],
    *,
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> None:
    """Count and write the report of a run; where it cannot be written the run's own end stands.

    Args:
        overwrite: replace a file of its name that is no such report.
    """
    statuses = [scene["status"] for scene in scenes]
    counts = {status: statuses.count(status) for status in ("done", "skipped", "failed")}
    try:
        marks.require_replaceable(run_path(folder, shard), marks.RUN, overwrite=overwrite)
        write_run(folder, {**facts, **counts, "scenes": list(scenes)}, shard=shard)
    except (StoppedError, SceneError, UsageError) as error:
        log.warning("no report of this run: %s", error)


def load_run(folder: Path) -> dict[str, Any] | None:
    """The report of the last run into a folder; None where there is none or it is no report."""
    reports = {path: records.stamp(path) or [0, 0] for path in folder.glob("geosr-run*.json")}
    newest = max(reports, key=lambda path: reports[path][1], default=run_path(folder))
    report = records.read(newest, _LARGEST)
    sound = (
        isinstance(report, dict)
        and report.get("geosr_run") == FORMAT
        and isinstance(report.get("scenes"), list)
        and all(isinstance(scene, dict) for scene in report["scenes"])
    )
    return report if sound else None


def outputs(dst: Path) -> list[Path]:
    """Everything that is or will be an output in a folder, by name; `dst` itself where it is none.

    Rasters (by records.SUFFIXES, no quicklooks), what records are of, and what is being written.
    """
    if not dst.is_dir():
        return [dst]
    rasters = [path for path in dst.glob("[!.]*") if _is_raster(path) and not _is_picture(path)]
    recorded = filter(None, map(records.recorded_output, dst.glob("[!.]*.json")))
    lost = [path for path in recorded if _is_raster(path) and not records.is_anothers(path)]
    begun = [dst / path.name[1:].removesuffix(".lock") for path in dst.glob(".*.lock")]
    writing = [path for path in begun if _is_raster(path) and locks.is_locked(path)]
    return sorted({*rasters, *lost, *writing})


def _is_raster(path: Path) -> bool:
    return path.suffix.lower() in records.SUFFIXES


def standing(output: Path) -> str:
    """What can be said of an output without reading it through.

    Returns:
        "writing": a run holds its lock. "interrupted": published by a run that was killed before
        it wrote the record. "finished": of the size its record gives. "changed": not so, or
        gone, or the record is none. "foreign": there is no record. "absent": nor a file.
    """
    if locks.is_locked(output):
        return "writing"
    if records.interrupted(output):
        return "interrupted"
    record, stamp = records.load(output), records.stamp(output)
    if record is None and not records.record_path(output).exists():
        return "foreign" if output.exists() else "absent"
    whole = record is not None and stamp is not None and record["output"]["size"] == stamp[0]
    return "finished" if whole else "changed"


def _is_picture(path: Path) -> bool:
    """Whether a file is a quicklook of an output, and no output itself."""
    return path.suffix.lower() == ".png" and marks.carries(path, marks.QUICKLOOK)


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
    done = [record for output in found.get("finished", ()) if (record := records.load(output))]
    run = load_run(dst) or {}
    failed = tuple(
        {key: scene.get(key) for key in ("scene", "code", "message")}
        for scene in run.pop("scenes", ())
        if scene.get("status") == "failed"
    )
    last = max((str(record.get("finished", "")) for record in done), default="")
    return State(len(done), last or None, failed=failed, run=run or None, **names)
