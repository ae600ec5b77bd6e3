"""OLI2MSI: Landsat-8 at 30 m and Sentinel-2 at 10 m of the same ground (Wang et al. 2021).

`train_lr`, `train_hr`, `test_lr`, `test_hr` with GeoTIFFs of equal names, 160 and 480 pixels along,
three bands of reflectance: https://github.com/wjwjww/OLI2MSI
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geosr.sensors import find_scenes
from geosr.training.datasets.layouts.layout import Layout, Pair, require_whole, wanted

NAME = "OLI2MSI"
_PARTS = ("train", "test")


def is_in(data: Path) -> bool:
    """One of its four folders is there."""
    return any((data / f"{part}_{side}").is_dir() for part in _PARTS for side in ("lr", "hr"))


def pairs(data: Path, part: str, scale: int, pattern: str | None) -> Sequence[Pair]:
    """Files of equal names; of the other part where the data set lacks the one asked for."""
    there = [p for p in _PARTS if any((data / f"{p}_{s}").is_dir() for s in ("lr", "hr"))]
    part = part if part in there else there[0]
    coarse, fine = (data / f"{part}_{side}" for side in ("lr", "hr"))
    require_whole(NAME, data, [f"{p.name}/" for p in (coarse, fine) if not p.is_dir()])
    low, high = ({p.name: p for p in find_scenes(folder, kind="image") if wanted(p.name, pattern)}
                 for folder in (coarse, fine))  # fmt: skip
    missing = [f"{coarse.name}/{name}" for name in high if name not in low]
    missing += [f"{fine.name}/{name}" for name in low if name not in high]
    require_whole(NAME, data, missing)
    return [Pair(Path(name).stem, high[name], (low[name],)) for name in high]


LAYOUT = Layout(NAME, "none stated", is_in, pairs, scale=3)
