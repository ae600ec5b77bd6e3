"""GeoTIFFs: a folder that holds a scene's bands, or one stack with all bands on one grid."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geosr.errors import GeosrError, SceneError
from geosr.raster.files import open_raster, read_window, unplaced_by
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.scene import Band, Note, Quality, Scene, lost
from geosr.sensors.options import OpenOptions
from geosr.sensors.sentinel2 import (
    ESA_ORDER,
    GSD,
    NO_OFFSET,
    band_in_file_name,
    band_name,
    check_same,
    known_offset,
    level_of,
    sort_bands,
)

SUFFIXES = (".tif", ".tiff")
_GSD_IN_NAME = re.compile(r"(?:^|[_.\-])R?(10|20|60)m(?=[_.\-]|$)", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:band|layer|channel)?[ _-]?(\d+)", re.IGNORECASE)
_GROUPS = {10: ("B2", "B3", "B4", "B8"), 20: ("B5", "B6", "B7", "B8A", "B11", "B12"),
           60: ("B1", "B9")}  # fmt: skip


@dataclass(frozen=True)
class _File:
    """What a GeoTIFF says of itself without its pixels; alpha bands are masks and do not count.

    Attributes:
        indexes: of its bands in the file, from 1; the other tuples follow them.
        names: ESA's, None where a band has none or another.
        described: what the file itself calls them, "" for nothing or a mere number.
        scales, offsets: GDAL's, value = count × scale + offset.
        alpha: the band that says where the others hold something; GDAL itself heeds it among two
            or four bands alone. One with a name of Sentinel-2 is a band like others.
    """

    path: Path
    grid: Grid
    indexes: tuple[int, ...]
    names: tuple[str | None, ...]
    described: tuple[str, ...]
    nodata: float
    dtype: np.dtype[Any]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    tags: dict[str, str]
    palette: bool
    lost: tuple[Note, ...] = ()
    alpha: int | None = None

    @property
    def stacked(self) -> bool:
        """Holds 10 to 13 bands, so it can be a scene by itself."""
        return 10 <= len(self.names) <= 13

    def band(self, at: int, name: str, offset: float, *, factor: int = 1) -> Band:
        """The band at a place in the tuples."""
        return Band(
            name, GSD[name], str(self.path), self.indexes[at], offset=offset, nodata=self.nodata,
            factor=factor, tagged=(self.scales[at], self.offsets[at]),
            quality=Quality(str(self.path), self.alpha) if self.alpha else None,
        )  # fmt: skip


def is_raster(path: Path) -> bool:
    """A single file that may be a GeoTIFF."""
    return path.is_file() or str(path).startswith("/vsi")


def _rasters(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def is_folder_scene(path: Path) -> bool:
    """Whether a folder is one scene: names say so, or several files complete the bands."""
    if not path.is_dir():
        return False
    parts, stacks, broken = [], 0, False
    for raster in _rasters(path):
        try:
            file = _look(raster, vrt=False)
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
    return bool(_GSD_IN_NAME.search(stem) or band_in_file_name(stem)[0])


def open_folder(path: Path, options: OpenOptions) -> Scene:
    """A folder of GeoTIFFs that together hold the bands, one or several in a file.

    Raises:
        SceneError: a file is broken, a band comes twice, or the grids of one GSD differ.
    """
    files = [_look(raster, vrt=options.vrt) for raster in _rasters(path)]
    merged = {key: value for file in files for key, value in file.tags.items()}
    notes: dict[Note, None] = {}
    bands: dict[str, Band] = {}
    grids: dict[int, Grid] = {}
    native = {name: _native(name, files) for name in ESA_ORDER}
    for name, found in native.items():
        if found is None:
            continue
        file, index = found
        _check_counts(file)
        offset, note = _offset(file, index, path, options, merged | file.tags)
        notes[note] = None
        band = file.band(index, name, offset)
        check_same(path, band, grids.setdefault(band.gsd, file.grid), file.grid)
        bands[name] = band
    if not bands:
        raise SceneError(
            f"{path}: no band names in {', '.join(f.path.name for f in files)}. Describe the "
            "bands (B2, B3, …) in the files, or name the files by band or GSD."
        )
    notes |= {note: None for file in files for note in (*_odd_names(file), *file.lost)}
    used = {band.path for band in bands.values()}
    dtype = np.result_type(*(file.dtype for file in files if str(file.path) in used))
    scene = Scene(
        path.resolve().name, str(path), "sentinel2", level_of(path.resolve().name),
        tuple(bands[name] for name in sort_bands(bands)), grids, grids[min(grids)].window,
        dtype, notes=tuple(notes), vrt=options.vrt,
    )  # fmt: skip
    return _quantified(scene, options)


def _native(name: str, files: Sequence[_File]) -> tuple[_File, int] | None:
    """Where a band lies at its native GSD: a name that says so, then the nearest size."""
    found = [(f, i) for f in files for i, n in enumerate(f.names) if n == name]
    if not found:
        return None

    def rank(item: tuple[_File, int]) -> tuple[bool, float]:
        match = _GSD_IN_NAME.search(item[0].path.stem)
        said = match is not None and int(match[1]) == GSD[name]
        return not said, abs(item[0].grid.gsd - GSD[name])

    file, at = min(found, key=rank)
    _check_once(file)
    return file, at


def _check_once(file: _File) -> None:
    """Refuse a file that gives two bands one name."""
    twice = [name for name, count in Counter(filter(None, file.names)).items() if count > 1]
    if twice:
        at = [str(i) for i, name in zip(file.indexes, file.names, strict=True) if name == twice[0]]
        raise SceneError(
            f"{file.path}: bands {' and '.join(at)} are both named {twice[0]}. Name each band "
            "once in the file, or say what they are with --bands-in."
        )


def _odd_names(file: _File) -> list[Note]:
    """Bands that lie among Sentinel-2's but are called otherwise."""
    if not any(file.names):
        return []
    return [Note(f"{file.path.name}: {said}, left out", warning=True) for said in _unknown(file)]


def _unknown(file: _File) -> list[str]:
    """What is said of each band whose name is none of Sentinel-2's."""
    rows = zip(file.indexes, file.names, file.described, strict=True)
    return [
        f"band {index} is named '{text[:40]}'{_nearest(text, file)}"
        for index, name, text in rows
        if text and not name
    ]


def _nearest(text: str, file: _File) -> str:
    """The band that a misspelt name may mean: the likest of those that the file lacks."""
    left = [name for name in ESA_ORDER if name not in file.names]
    word = text.strip().upper()[:8]
    same = [name for name in left if sorted(name) == sorted(word)]  # BA8, two letters swapped
    near = same or get_close_matches(word, left, 1, 0.5)
    return f" ({near[0]}?)" if near else ""


def _look(path: Path, *, vrt: bool) -> _File:
    with open_raster(path, vrt=vrt) as dataset:
        kinds = dataset.colorinterp
        try:
            alphas = [i for i, kind in enumerate(kinds) if kind == ColorInterp.alpha
                      and not band_name(dataset.descriptions[i])]  # fmt: skip
            at = [i for i in range(dataset.count) if i not in alphas]
            described = [dataset.descriptions[i] or "" for i in at]
            return _File(
                path, Grid.of(dataset), tuple(i + 1 for i in at), _names(path, described),
                tuple(_worded(described)), _nodata(dataset), np.dtype(dataset.dtypes[0]),
                tuple(dataset.scales[i] for i in at), tuple(dataset.offsets[i] for i in at),
                dataset.tags(), ColorInterp.palette in kinds,
                lost(unplaced_by(dataset), path.name), alphas[0] + 1 if alphas else None,
            )  # fmt: skip
        except UnicodeDecodeError as error:
            raise SceneError(
                f"{path}: a band name or tag is no UTF-8 ({error}). Describe its bands again."
            ) from error


def _nodata(dataset: Any) -> float:
    """The file's own nodata value; 0, ESA's, where it has none or one its type cannot hold."""
    value, dtype = dataset.nodata, np.dtype(dataset.dtypes[0])
    if value is None:
        return 0.0
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        return 0.0
    return float(value)


def _check_counts(file: _File) -> None:
    """Refuse what holds no counts."""
    if file.dtype.kind == "c" or file.palette:
        kind = "palette" if file.palette else str(file.dtype)
        raise SceneError(
            f"{file.path}: complex and palette rasters are not counts ({kind}). Convert it first."
        )


def _names(path: Path, descriptions: Sequence[str]) -> tuple[str | None, ...]:
    """Band names by description, else by the file's name: `…_B05.tif`, or `20m.tif` in order."""
    described = tuple(band_name(text) for text in descriptions)
    if any(described):
        return described
    band, _ = band_in_file_name(path.stem)
    if band and len(described) == 1:
        return (band,)
    match = _GSD_IN_NAME.search(path.stem)
    group = _GROUPS[int(match[1])] if match else ()
    return group if len(group) == len(described) else described


def _worded(descriptions: Sequence[str]) -> list[str]:
    """Descriptions that say more than "Band 3" of the third band."""
    said = ((i, text.strip()) for i, text in enumerate(descriptions, 1))
    numbered = ((text, _NUMBERED.fullmatch(text), i) for i, text in said)
    return ["" if match and int(match[1]) == i else text for text, match, i in numbered]


def _gdal_offset(file: _File, at: int) -> float:
    """GDAL's scale and offset (value = count × scale + offset) as an offset in counts."""
    scale, offset = file.scales[at], file.offsets[at]
    if not (0 < scale < math.inf and math.isfinite(offset) and math.isfinite(1 / scale)):
        raise SceneError(
            f"{file.path}: band {file.indexes[at]} has GDAL scale {scale:g} and offset "
            f"{offset:g}; a positive and a finite number are needed. Correct them (gdal_edit)."
        )
    return round(offset / scale, 3)


def _offset(
    file: _File, at: int, path: Path, options: OpenOptions, tags: dict[str, str]
) -> tuple[float, Note]:
    """Offset of one band: asked, tagged or in a name; else GDAL's own; else 0 with a warning."""
    known = known_offset(path, options, tags)
    offset = _gdal_offset(file, at)
    if known is None and any(file.offsets):
        return offset, Note(f"DN offset {offset:g} from the file's GDAL offset")
    return known or NO_OFFSET


# one stack


def open_stack(path: Path, options: OpenOptions) -> Scene:
    """One GeoTIFF with 10 to 13 bands on one 10 m grid; coarse bands are brought back.

    Exact pixel replication is found, at any phase, and undone exactly; otherwise native coarse
    pixels are block means and the notes say that the file was interpolated.

    Raises:
        SceneError: not a raster, another number of bands, or unknown band names.
    """
    file = _look(path, vrt=options.vrt)
    _check_counts(file)
    names, notes = _stack_names(file, options)
    offsets = [
        _offset(file, i, path.with_suffix(""), options, file.tags) for i in range(len(names))
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
    )  # fmt: skip
    return _quantified(scene, options)


def _stack_names(file: _File, options: OpenOptions) -> tuple[tuple[str, ...], tuple[Note, ...]]:
    count = len(file.names)
    if options.bands_in:
        if len(options.bands_in) != count:
            raise SceneError(
                f"{file.path} has {count} bands, --bands-in names {len(options.bands_in)}. "
                "Name every band of the file, in its order."
            )
        unknown = [name for name in options.bands_in if name not in GSD]
        if unknown or len(set(options.bands_in)) < count:
            raise SceneError(
                f"{file.path}: --bands-in {','.join(options.bands_in)} repeats a band or names an "
                f"unknown one (known: {' '.join(ESA_ORDER)}). Name each band once."
            )
        return options.bands_in, ()
    if not file.stacked:
        raise SceneError(
            f"{file.path} holds {count} bands, a stacked Sentinel-2 scene 10 to 13. Give the "
            "folder that holds all bands of the scene, or name the bands with --bands-in."
        )
    _check_once(file)
    named = [name for name in file.names if name]
    if len(named) == count:
        return tuple(named), ()
    if named or any(file.described):
        odd = "; ".join(_unknown(file)) or f"only {len(named)} of its bands have names"
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


def _phase(file: _File, bands: Sequence[Band], *, vrt: bool) -> tuple[tuple[int, int], str, Note]:
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
    file: _File, bands: Sequence[Band], factor: int, *, vrt: bool
) -> tuple[set[int], set[int]] | None:
    """Row and column phases at which all bands of `factor` repeat exactly, None if at none.

    Looks at up to nine samples; flat images repeat at any phase.
    """
    indexes = [band.index for band in bands if band.factor == factor]
    rows, cols = set(range(factor)), set(range(factor))
    with open_raster(file.path, vrt=vrt) as dataset:
        for window in _samples(file.grid):
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


def _samples(grid: Grid) -> list[Window]:
    """Up to nine windows of 240 pixels, spread over the grid."""

    def starts(extent: int) -> list[int]:
        last = max(extent - 240, 0)
        return sorted({0, last // 2, last})

    return [
        Window(r, c, min(240, grid.height), min(240, grid.width))
        for r in starts(grid.height)
        for c in starts(grid.width)
    ]


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


# reflectance or counts


def _quantified(scene: Scene, options: OpenOptions) -> Scene:
    """What count means reflectance 1.0: as asked; by GDAL's scale; by the size of floats.

    Floats with a 99th percentile ≤ 2 are reflectance.
    """
    if options.quantification:
        note = Note(f"quantification {options.quantification:g} as asked")
        return replace(scene, quantification=options.quantification, notes=(*scene.notes, note))
    scale = _scale(scene)
    if scale != 1:
        note = Note(f"value {1 / scale:.6g} counts as 1.0, by the file's GDAL scale {scale:g}")
        return replace(scene, quantification=float(f"{1 / scale:.12g}"), notes=(*scene.notes, note))
    if scene.dtype.kind != "f":
        return scene
    high = _percentile(scene.bands[0], vrt=scene.vrt)
    if high > 2:
        return scene
    note = Note(f"reflectance (99th percentile {high:.3g}): × 10000 for the net and back")
    return replace(scene, quantification=1.0, notes=(*scene.notes, note))


def _scale(scene: Scene) -> float:
    """GDAL's scale of all bands; 1, which is GDAL's for none, says nothing."""
    scales = {band.tagged[0] for band in scene.bands}
    if len(scales) > 1:
        found = " ".join(f"{band.name}: {band.tagged[0]:g}" for band in scene.bands)
        raise SceneError(
            f"{scene.path}: its bands have several GDAL scales ({found}). Bring them to one, or "
            "say what count means reflectance 1.0: --quantification N"
        )
    return scales.pop()


def _percentile(band: Band, *, vrt: bool) -> float:
    """The 99th percentile of a band's samples, at full resolution."""
    with open_raster(band.path, vrt=vrt) as dataset:
        windows = _samples(Grid.of(dataset))
        values = np.concatenate(
            [read_window(dataset, [band.index], window).ravel() for window in windows]
        )
    values = values[np.isfinite(values) & (values != band.nodata)]
    return float(np.percentile(values, 99)) if values.size else 0.0
