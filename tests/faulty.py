"""What tests of faults say of a run and of a folder."""

from __future__ import annotations

import resource
from pathlib import Path

BICUBIC = ("--model", "bicubic")


def left(folder: Path) -> list[str]:
    """Everything in a folder, hidden files included, but for the run's report."""
    names = (path.name for path in folder.iterdir()) if folder.exists() else ()
    return sorted(name for name in names if name != "geosr-run.json")


def fails(done, code: int, *words: str):
    assert done.returncode == code, (done.returncode, done.stderr)
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    return done


def snapshot(folder: Path) -> dict:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def limit(size: int):
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
