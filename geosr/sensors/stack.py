"""One GeoTIFF with all bands of Sentinel-2 on one 10 m grid; coarse bands are brought back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.raster.files import open_raster, read_window
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.acquisition import told
from geosr.scene.band import Band
from geosr.scene.note import Note
from geosr.scene.scene import Scene
from geosr.sensors.bandfile import (
    BandFile,
    check_counts,
    check_once,
    look,
    offset_of,
    quantified,
    samples,
    unknown,
)
from geosr.sensors.options import OpenOptions
from geosr.sensors.sentinel2 import (
    ESA_ORDER,
    GSD,
    level_of,
)


def is_raster(path: Path) -> bool:
    """A single file that may be a GeoTIFF."""
    return path.is_file() or str(path).startswith("/vsi")


def open_stack(path: Path, options: OpenOptions) -> Scene:
    """One GeoTIFF with 10 to 13 bands on one 10 m grid; coarse bands are brought back.

    Exact pixel replication is found, at any phase, and undone exactly; otherwise native coarse
    pixels are block means and the notes say that the file was interpolated.

    Raises:
        SceneError: not a raster, another number of bands, or unknown band names.
    """
    file = look(path, vrt=options.vrt)
    check_counts(file)
    names, notes = _stack_names(file, options)
    offsets = [
        offset_of(file, i, path.with_suffix(""), options, file.tags) for i in range(len(names))
    ]
    notes = (*notes, *file.lost, *dict.fromkeys(note for _, note in offsets))
    bands = tuple(
        file.band(i, name, offsets[i][0], factor=GSD[name] // 10) for i, name in enumerate(names)
    )
    bands = tuple(sorted(bands, key=lambda band: ESA_ORDER.index(band.name)))
    phase, resampled, how = _phase(file, bands, vrt=options.vrt)
    grids, window = _grown(file.grid, phase, {band.gsd for band in bands})
    scene = Scene(
        path.stem, str(path), "sentinel2", level_of(path.stem), bands, grids, window, file.dtype,
        notes=(*notes, how), resampled=resampled, vrt=options.vrt,
        acquisition=told(path.stem, file.tags),
    )  # fmt: skip
    return quantified(scene, options)


def _stack_names(file: BandFile, options: OpenOptions) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    count = len(file.names)
    if options.bands_in:
        if len(options.bands_in) != count:
            raise SceneError(
                f"{file.path} has {count} bands, --bands-in names {len(options.bands_in)}. "
                "Name every band of the file, in its order."
            )
        strange = [name for name in options.bands_in if name not in GSD]
        if strange or len(set(options.bands_in)) < count:
            raise SceneError(
                f"{file.path}: --bands-in {','.join(options.bands_in)} repeats a band or names an "
                f"unknown one (known: {' '.join(ESA_ORDER)}). Name each band once."
            )
        return options.bands_in, ()
    if not file.stacked:
        raise SceneError(
            f"{file.path} holds {count} bands, a stacked Sentinel-2 scene 10 to 13. Give the "
            "folder that holds all bands of the scene, or name the bands with --bands-in. For any "
            "other raster choose a net for those (--model lapsr)."
        )
    check_once(file)
    named = [name for name in file.names if name]
    if len(named) == count:
        return tuple(named), ()
    if named or any(file.described):
        odd = "; ".join(unknown(file)) or f"only {len(named)} of its bands have names"
        raise SceneError(
            f"{file.path}: {odd[:400]}. Correct the descriptions of its bands (known: "
            f"{' '.join(ESA_ORDER)}), or say what they are: --bands-in B2,B3,B4,…"
        )
    default = {12: tuple(name for name in ESA_ORDER if name != "B10"), 13: ESA_ORDER}.get(count)
    if default is None:
        raise SceneError(
            f"{file.path} holds {count} bands without names. "
            "Say what they are: --bands-in B2,B3,B4,…"
        )
    assumed = " ".join(default)
    note = Note(f"bands have no names, assumed {assumed}; else say --bands-in", warning=True)
    return default, (note,)


def _phase(
    file: BandFile, bands: Sequence[Band], *, vrt: bool
) -> tuple[tuple[int, int], str, Note]:
    """Rows and columns by which the file starts inside a coarse pixel, and how it is known."""
    factors = sorted({band.factor for band in bands if band.factor > 1})
    utm = _utm_phase(file.grid, max(factors, default=1))
    free = {k: _replication(file, bands, k, vrt=vrt) for k in factors}
    known = {k: found for k, found in free.items() if found}
    rows = _fitting({k: found[0] for k, found in known.items()}, utm[0], max(factors, default=1))
    cols = _fitting({k: found[1] for k, found in known.items()}, utm[1], max(factors, default=1))
    if len(known) == len(factors) and rows is not None and cols is not None:
        note = Note(f"coarse bands are exact replicas (phase {rows}, {cols}), undone exactly")
        return (rows, cols), "replicated", note
    phase = utm if rows is None or cols is None else (rows, cols)
    note = Note(
        "coarse bands were interpolated to 10 m by someone: native pixels are estimated by block "
        f"means (phase {phase[0]}, {phase[1]})",
        warning=True,
    )
    return phase, "interpolated", note


def _fitting(free: dict[int, set[int]], utm: int, factor: int) -> int | None:
    """The phase that fits every replicated factor, ESA's if it does, None if there is none."""
    fits = [p for p in range(factor) if all(p % k in phases for k, phases in free.items())]
    return utm if utm in fits else min(fits, default=None)


def _replication(
    file: BandFile, bands: Sequence[Band], factor: int, *, vrt: bool
) -> tuple[set[int], set[int]] | None:
    """Row and column phases at which all bands of `factor` repeat exactly, None if at none.

    Looks at up to nine samples; flat images repeat at any phase.
    """
    indexes = [band.index for band in bands if band.factor == factor]
    rows, cols = set(range(factor)), set(range(factor))
    with open_raster(file.path, vrt=vrt) as dataset:
        for window in samples(file.grid):
            values = read_window(dataset, indexes, window)
            rows &= _free_phases(values, 1, window.row, factor)
            cols &= _free_phases(values, 2, window.col, factor)
    return (rows, cols) if rows and cols else None


def _free_phases(values: NDArray[Any], axis: int, start: int, factor: int) -> set[int]:
    """Phases at which no step between neighbours falls inside a block.

    Pixel i belongs to block (i + phase) // factor, so a step into pixel i needs
    (i + phase) % factor == 0.
    """
    steps = np.moveaxis(np.diff(values, axis=axis) != 0, axis, 0)
    at = start + 1 + np.flatnonzero(steps.any(axis=tuple(range(1, steps.ndim))))
    needed = {int(-i % factor) for i in at % factor}
    return set(range(factor)) if not needed else needed if len(needed) == 1 else set()


def _utm_phase(grid: Grid, factor: int) -> tuple[int, int]:
    """Where the corner lies in ESA's lattice of coarse pixels, which start at multiples of 60 m.

    Southern zones count northings down from the 10,000 km false northing.
    """
    transform = grid.transform
    axes = transform.b == 0 and transform.d == 0 and transform.a > 0 and transform.e < 0
    if grid.crs is None or not grid.crs.is_projected or not axes:
        return 0, 0
    epsg = grid.crs.to_epsg() or 0
    top = (10_000_000 if 32700 < epsg <= 32760 else 0) - transform.f
    rows, cols = top / -transform.e, transform.c / transform.a
    if abs(rows - round(rows)) > 1e-3 or abs(cols - round(cols)) > 1e-3:
        return 0, 0
    return round(rows) % factor, round(cols) % factor


def _grown(grid: Grid, phase: tuple[int, int], gsds: set[int]) -> tuple[dict[int, Grid], Window]:
    """Grids grown outward to whole coarse pixels, and the file's own window in the finest."""
    coarsest = max(gsds) // 10
    rows, cols = phase[0] % coarsest, phase[1] % coarsest
    height = -(-(grid.height + rows) // coarsest) * coarsest
    width = -(-(grid.width + cols) // coarsest) * coarsest
    corner = grid.transform @ Affine.translation(-cols, -rows)
    fine = Grid(grid.crs, corner, width, height)
    grids = {gsd: fine.coarser(gsd // 10) for gsd in sorted(gsds | {10})}
    return grids, Window(rows, cols, grid.height, grid.width)
