"""SEN2VENµS: Sentinel-2 at 10 and 20 m and Venµs at 5 m, the same minutes (Michel et al. 2022).

A folder a site with `index.csv` (separated by tabs) and tensors of patches, (patches, bands, rows,
cols), int16, reflectance × 10000, negative where it came out so: `…_10m_b2b3b4b8.pt` beside
`…_05m_b2b3b4b8.pt` for scale 2, `…_20m_b4b5b6b8a.pt` beside `…_05m_b4b5b6b8a.pt` for scale 4. The
latter hold B5, B6, B7 and B8A, as the index says, whatever their names do.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from geosr.errors import UsageError
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions
from geosr.training.datasets import tensors
from geosr.training.datasets.layouts.layout import Layout, Pair, require_whole, wanted

NAME = "SEN2VENµS"
_COLUMNS = {
    2: ("tensor_05m_b2b3b4b8", "tensor_10m_b2b3b4b8"),
    4: ("tensor_05m_b5b6b7b8a", "tensor_20m_b5b6b7b8a"),
}  # of the index, by scale: fine and coarse
_ENDINGS = {
    2: ("_05m_b2b3b4b8.pt", "_10m_b2b3b4b8.pt"),
    4: ("_05m_b4b5b6b8a.pt", "_20m_b4b5b6b8a.pt"),
}
_BANDS = {2: ("B2", "B3", "B4", "B8"), 4: ("B5", "B6", "B7", "B8A")}


def is_in(data: Path) -> bool:
    """It is a site, or has one in it."""
    return bool(_sites(data))


def _sites(data: Path) -> list[Path]:
    children = sorted(p for p in data.iterdir() if p.is_dir())
    return [p for p in (data, *children) if _is_site(p)]


def _is_site(folder: Path) -> bool:
    endings = (ending for both in _ENDINGS.values() for ending in both)
    return _is_index(folder / "index.csv") or any(any(folder.glob(f"*{e}")) for e in endings)


def _is_index(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        return "tensor_05m" in file.readline(4096)


def pairs(data: Path, part: str, scale: int, pattern: str | None) -> Sequence[Pair]:
    """One a patch; the data set has no parts."""
    if scale not in _COLUMNS:
        raise UsageError(f"{NAME} is for scales 2 and 4, not {scale}. Change --scale.")
    files = [both for site in _sites(data) for both in _files(site, scale)
             if wanted(both[0].name, pattern)]  # fmt: skip
    missing = [str(p.relative_to(data)) for both in files for p in both if not p.is_file()]
    require_whole(NAME, data, missing)
    found = []
    for fine, coarse in files:
        stem = fine.name.partition("_05m")[0]
        count = min(tensors.count(fine), tensors.count(coarse))
        found += [Pair(f"{stem}-{i:04}", fine, (coarse,), i) for i in range(count)]
    return found


def _files(site: Path, scale: int) -> Iterator[tuple[Path, Path]]:
    """Fine and coarse files, by the index, else by their names."""
    index = site / "index.csv"
    if _is_index(index):
        with index.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                names = [Path(row.get(column) or "").name for column in _COLUMNS[scale]]
                if all(names):
                    yield site / names[0], site / names[1]
        return
    fine, coarse = _ENDINGS[scale]
    for stem in sorted(
        {p.name.removesuffix(e) for e in (fine, coarse) for p in site.glob(f"*{e}")}
    ):
        yield site / (stem + fine), site / (stem + coarse)


def opened(pair: Pair, scale: int, options: OpenOptions) -> tuple[Scene, tuple[Scene, ...]]:
    """One patch of both tensors."""
    fine, *coarse = (tensors.scene(path, pair.index, _BANDS[scale], options)
                     for path in (pair.fine, *pair.coarse))  # fmt: skip
    return fine, tuple(coarse)


def _site_of(name: str) -> str:
    return name.partition("_")[0]


LAYOUT = Layout(NAME, "Venµs images CC BY-NC 4.0, not for commercial use; see its LICENCE",
                is_in, pairs, opened, place=_site_of)  # fmt: skip
