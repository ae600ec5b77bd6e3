"""The user's cache folder, where commands keep what a later one can do without."""

from __future__ import annotations

import os
from pathlib import Path


def runs_file() -> Path | None:
    """Where `superres` and `bench` keep how fast they were; None where there is no home."""
    return _file("runs.json")


def trials_file() -> Path | None:
    """Where it is kept which precision this machine is quickest in; None where there is no home."""
    return _file("precision.json")


def _file(name: str) -> Path | None:
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(cache) / "geosr" / name
