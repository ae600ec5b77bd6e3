"""L1BSR: crops of Sentinel-2 L1B where two detectors overlap (Nguyen et al. 2023); no truth.

Folders `…_left` and `…_right`, or `left` and `right`, with GeoTIFFs of equal names, one of each
detector, four bands (blue, green, red, near infrared) of one size. How its authors pack it is not
published; as other loaders have it. For nets of one image every crop is a truth that is degraded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from geosr.sensors import find_scenes
from geosr.training.datasets.layouts.layout import Layout, require_whole

NAME = "L1BSR"
_SIDE = re.compile(r"(^|_)(left|right)$", re.IGNORECASE)
_OTHER = {"left": "right", "right": "left"}


def is_in(data: Path) -> bool:
    """It has a folder of one side."""
    return bool(_folders(data))


def _folders(data: Path) -> list[Path]:
    return sorted(p for p in data.iterdir() if p.is_dir() and _SIDE.search(p.name))


def images(data: Path) -> Sequence[Path]:
    """Every crop of both detectors.

    Raises:
        UsageError: one of them is missing for some; the first of these are listed.
    """
    found = {folder: find_scenes(folder, kind="image") for folder in _folders(data)}
    beside = {folder: folder.with_name(_SIDE.sub(_swapped, folder.name)) for folder in found}
    require_whole(NAME, data, [f"{other.name}/" for other in beside.values() if other not in found])
    missing = [f"{other.name}/{file.name}" for folder, other in beside.items()
               for file in found[folder] if other / file.name not in found[other]]  # fmt: skip
    require_whole(NAME, data, missing)
    return [file for files in found.values() for file in files]


def _swapped(match: re.Match[str]) -> str:
    return match[1] + _OTHER[match[2].lower()]


LAYOUT = Layout(NAME, "not stated (its code is GPL-3)", is_in, kind="folder", images=images)
