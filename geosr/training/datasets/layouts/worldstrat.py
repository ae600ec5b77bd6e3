"""WorldStrat: revisits of Sentinel-2 at 10 m and SPOT 6/7 at 1.5 m (Cornebise et al. 2022).

    hr_dataset/<AOI>/<AOI>_ps.tiff                 red, green, blue, near infrared
    lr_dataset/<AOI>/L2A/<AOI>-<n>-L2A_data.tiff   12 bands, reflectance; or L1C, 13 bands
    lr_dataset/<AOI>/L2A/<AOI>-<n>-CLM.tiff        1 is cloud, 255 nothing known
    stratified_train_val_test_split.csv            tile, split

The truth is brought to a grid 4 times finer than the revisits' (2.5 m), each of its pixels the mean
of what lies in it.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from affine import Affine

from geosr.raster.files import Warp, open_raster
from geosr.raster.grid import Grid
from geosr.scene.quality import Quality
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene
from geosr.training.datasets.layouts.layout import Layout, Pair, require_whole, rgbn, wanted

log = logging.getLogger(__name__)
NAME = "WorldStrat"
_LEVELS = ("L2A", "L1C")
_SPLIT = "stratified_train_val_test_split.csv"
_REVISIT = re.compile(r"-(\d+)-L(?:2A|1C)_data\.tiff?$")
_CLEAR = 0  # of CLM
_LOOK = 128  # pixels along that tell how clear a revisit is


def is_in(data: Path) -> bool:
    """One of its two folders of images is there."""
    return (data / "lr_dataset").is_dir() or (data / "hr_dataset").is_dir()


def pairs(data: Path, part: str, scale: int, pattern: str | None) -> Sequence[Pair]:
    """One a place that belongs to the part, by the split; all where there is none."""
    low, high = data / "lr_dataset", data / "hr_dataset"
    require_whole(NAME, data, [f"{p.name}/" for p in (low, high) if not p.is_dir()])
    names = sorted({p.name for folder in (low, high) for p in folder.iterdir() if p.is_dir()
                    and p.name != "8bit" and wanted(p.name, pattern)})  # fmt: skip
    chosen = _of_part(names, _split(data / _SPLIT), part)
    fine = {name: _fine(high, name) for name in chosen}
    coarse = {name: _revisits(low / name) for name in chosen}
    missing = [f"hr_dataset/{n}/{n}_ps.tiff" for n, path in fine.items() if path is None]
    missing += [f"lr_dataset/{n}/L2A/{n}-1-L2A_data.tiff" for n, p in coarse.items() if not p]
    require_whole(NAME, data, missing)
    other = [name for name, p in coarse.items() if p[0].parent.name != _LEVELS[0]]
    if other:
        log.warning(
            "%d of %d places have no %s (%s …): their %s, the top of the atmosphere, is "
            "taken instead.",
            len(other),
            len(coarse),
            _LEVELS[0],
            other[0],
            _LEVELS[1],
        )
    return [Pair(name, path, coarse[name]) for name, path in fine.items() if path]


def _split(path: Path) -> dict[str, str]:
    """ "train", "val" or "test" of every place; empty where it is not told."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["tile"]: row["split"] for row in csv.DictReader(file)
                if row.get("tile") and row.get("split")}  # fmt: skip


def _of_part(names: Sequence[str], split: dict[str, str], part: str) -> list[str]:
    tested = [name for name in names if split.get(name) == "test"]
    if part == "test":
        return tested or list(names)
    return [name for name in names if name not in tested] or list(names)


def _fine(high: Path, name: str) -> Path | None:
    files = (high / name / f"{name}_ps.tiff", high / name / f"{name}_ps_8bit.tiff",
             high / "8bit" / name / f"{name}_ps_8bit.tiff")  # fmt: skip
    return next((path for path in files if path.is_file()), None)


def _revisits(folder: Path) -> tuple[Path, ...]:
    """Images of the first level that is there, by their number."""
    for level in _LEVELS:
        inside = folder / level
        found = [(int(m[1]), p) for p in (inside.iterdir() if inside.is_dir() else ())
                 if (m := _REVISIT.search(p.name))]  # fmt: skip
        if found:
            return tuple(path for _, path in sorted(found))
    return ()


def opened(pair: Pair, scale: int, options: OpenOptions) -> tuple[Scene, tuple[Scene, ...]]:
    """The truth on the revisits' grid made finer, and the revisits, the clearest first."""
    frames = [_revisit(path, options) for path in pair.coarse]
    grid = frames[0].grid
    frames = [_onto(frame, grid) for frame in frames]
    frames.sort(key=_unclear)
    fine = rgbn(open_scene(pair.fine, options))
    return _averaged(fine, grid.finer(scale)), tuple(frames)


def _revisit(path: Path, options: OpenOptions) -> Scene:
    scene, stem = rgbn(open_scene(path, options)), _REVISIT.sub(r"-\1-CLM", path.name)
    files = (path.with_name(stem + suffix) for suffix in (".tiff", ".tif"))
    clouds = next((file for file in files if file.is_file()), None)
    if clouds is None:
        return scene
    with open_raster(clouds) as dataset:
        grid = Grid.of(dataset)
    quality = Quality(str(clouds), bits=0xFF, equals=_CLEAR,
                      grid=None if grid.shape == scene.grid.shape else grid)  # fmt: skip
    return replace(scene, bands=tuple(replace(band, quality=quality) for band in scene.bands))


def _onto(scene: Scene, grid: Grid) -> Scene:
    """The scene on another's grid, as it is where it lies there."""
    if grid.ratio(scene.grid) == 1:
        return scene
    return _warped(scene, Warp(_spanned(scene.grid, grid), grid))


def _averaged(scene: Scene, grid: Grid) -> Scene:
    return _warped(scene, Warp(_spanned(scene.grid, grid), grid, "average"))


def _spanned(grid: Grid, over: Grid) -> Grid:
    """Where a raster lies; without a CRS it is taken to span the other's ground."""
    if grid.crs is not None and over.crs is not None:
        return grid
    size = Affine.scale(over.width / grid.width, over.height / grid.height)
    return Grid(over.crs, over.transform @ size, grid.width, grid.height)


def _warped(scene: Scene, warp: Warp) -> Scene:
    bands = tuple(replace(band, warp=warp) for band in scene.bands)
    target = warp.target
    return replace(scene, bands=bands, grids={scene.finest: target}, window=target.window)


def _unclear(frame: Scene) -> float:
    """Share of pixels that are not clear, by a look at the first band."""
    with frame.open() as reader:
        return 1 - reader.clearance(frame.bands[0].name, _LOOK)


LAYOUT = Layout(NAME, "Sentinel-2 and labels CC BY 4.0; SPOT images CC BY-NC 4.0, not for "
                "commercial use", is_in, pairs, opened, kind="revisits", scale=4)  # fmt: skip
