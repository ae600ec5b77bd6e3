"""A folder of GeoTIFFs that together hold the bands of one Sentinel-2 scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from geosr.errors import GeosrError, SceneError
from geosr.raster.grid import Grid
from geosr.scene.acquisition import told
from geosr.scene.band import Band
from geosr.scene.note import Note
from geosr.scene.scene import Scene
from geosr.sensors.bandfile import (
    GSD_IN_NAME,
    BandFile,
    check_counts,
    check_once,
    look,
    odd_names,
    offset_of,
    quantified,
)
from geosr.sensors.options import OpenOptions
from geosr.sensors.sentinel2 import (
    ESA_ORDER,
    GSD,
    band_in_file_name,
    check_same,
    level_of,
    sort_bands,
)

SUFFIXES = (".tif", ".tiff")


def _rasters(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def is_folder_scene(path: Path) -> bool:
    """Whether a folder is one scene: names say so, or several files complete the bands."""
    if not path.is_dir():
        return False
    parts, stacks, broken = [], 0, False
    for raster in _rasters(path):
        try:
            file = look(raster, vrt=False)
        except GeosrError:
            broken |= _named(raster.stem)
            continue
        stacks += file.stacked
        parts += [] if file.stacked else [file]
    if any(_named(file.path.stem) for file in parts):
        return True
    if broken and not stacks:  # a broken 20m.tif still makes this a scene, which fails
        return True
    names = [name for file in parts for name in file.names if name]
    return len(parts) > 1 and {"B2", "B3", "B4", "B8"} <= set(names)


def _named(stem: str) -> bool:
    return bool(GSD_IN_NAME.search(stem) or band_in_file_name(stem)[0])


def open_folder(path: Path, options: OpenOptions) -> Scene:
    """A folder of GeoTIFFs that together hold the bands, one or several in a file.

    Raises:
        SceneError: a file is broken, a band comes twice, or the grids of one GSD differ.
    """
    files = [look(raster, vrt=options.vrt) for raster in _rasters(path)]
    return assembled(path, files, options, {}, path.resolve().name)


def assembled(
    path: Path, files: Sequence[BandFile], options: OpenOptions, tags: Mapping[str, str], name: str
) -> Scene:
    """A scene of files that together hold the bands.

    Args:
        path: of the scene.
        tags: of all files; what a file itself says goes before.
        name: of the scene; it may tell level and time.

    Raises:
        SceneError: as `open_folder`.
    """
    merged = {**tags, **{key: value for file in files for key, value in file.tags.items()}}
    notes: dict[Note, None] = {}
    bands: dict[str, Band] = {}
    grids: dict[int, Grid] = {}
    native = {key: _native(key, files) for key in ESA_ORDER}
    for key, found in native.items():
        if found is None:
            continue
        file, index = found
        check_counts(file)
        offset, note = offset_of(file, index, path, options, merged | file.tags)
        notes[note] = None
        band = file.band(index, key, offset)
        check_same(path, band, grids.setdefault(band.gsd, file.grid), file.grid)
        bands[key] = band
    if not bands:
        raise SceneError(
            f"{path}: no band names in {', '.join(f.path.name for f in files)}. Describe the "
            "bands (B2, B3, …) in the files, or name the files by band or GSD."
        )
    notes |= {note: None for file in files for note in (*odd_names(file), *file.lost)}
    used = {band.path for band in bands.values()}
    dtype = np.result_type(*(file.dtype for file in files if str(file.path) in used))
    scene = Scene(
        name, str(path), "sentinel2", level_of(name),
        tuple(bands[key] for key in sort_bands(bands)), grids, grids[min(grids)].window,
        dtype, notes=tuple(notes), vrt=options.vrt,
        acquisition=told(f"{name} {files[0].path.stem}", merged),
    )  # fmt: skip
    return quantified(scene, options)


def _native(name: str, files: Sequence[BandFile]) -> tuple[BandFile, int] | None:
    """Where a band lies at its native GSD: a name that says so, then the nearest size."""
    found = [(f, i) for f in files for i, n in enumerate(f.names) if n == name]
    if not found:
        return None

    def rank(item: tuple[BandFile, int]) -> tuple[bool, float]:
        match = GSD_IN_NAME.search(item[0].path.stem)
        said = match is not None and int(match[1]) == GSD[name]
        return not said, abs(item[0].grid.gsd - GSD[name])

    file, at = min(found, key=rank)
    check_once(file)
    return file, at
