"""The user's cache folder, where commands keep what a later one can do without."""

from __future__ import annotations

import os
from pathlib import Path


def runs_file() -> Path | None:
    """Where `superres` and `bench` keep how fast they were; None where there is no home."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(cache) / "geosr" / "runs.json"
