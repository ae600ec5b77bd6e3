"""What a GeoTIFF with bands of Sentinel-2 says of itself: names, offsets, scale, type."""

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
from rasterio.enums import ColorInterp

from geosr.errors import SceneError
from geosr.raster.files import open_raster, read_window, unplaced_by
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.band import Band
from geosr.scene.note import Note, lost
from geosr.scene.quality import Quality
from geosr.scene.scene import Scene
from geosr.sensors.options import OpenOptions
from geosr.sensors.sentinel2 import (
    ESA_ORDER,
    GSD,
    NO_OFFSET,
    band_in_file_name,
    band_name,
    known_offset,
)

GSD_IN_NAME = re.compile(r"(?:^|[_.\-])R?(10|20|60)m(?=[_.\-]|$)", re.IGNORECASE)
_NUMBERED = re.compile(r"(?:band|layer|channel)?[ _-]?(\d+)", re.IGNORECASE)
_GROUPS = {10: ("B2", "B3", "B4", "B8"), 20: ("B5", "B6", "B7", "B8A", "B11", "B12"),
           60: ("B1", "B9")}  # fmt: skip


@dataclass(frozen=True)
class BandFile:
    """What a GeoTIFF says of itself without its pixels; alpha bands are masks and do not count.

    Attributes:
        indexes: of its bands in the file, from 1; the other tuples follow them.
        names: ESA's, None where a band has none or another.
        described: what the file itself calls them, "" for nothing or a mere number.
        scales, offsets: GDAL's, value = count × scale + offset.
        tags: of the file, those of GDAL's domain IMAGERY among them.
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


def look(path: Path, *, vrt: bool) -> BandFile:
    with open_raster(path, vrt=vrt) as dataset:
        kinds = dataset.colorinterp
        try:
            alphas = [i for i, kind in enumerate(kinds) if kind == ColorInterp.alpha
                      and not band_name(dataset.descriptions[i])]  # fmt: skip
            at = [i for i in range(dataset.count) if i not in alphas]
            described = [dataset.descriptions[i] or "" for i in at]
            return BandFile(
                path, Grid.of(dataset), tuple(i + 1 for i in at), _names(path, described),
                tuple(_worded(described)), _nodata(dataset), np.dtype(dataset.dtypes[0]),
                tuple(dataset.scales[i] for i in at), tuple(dataset.offsets[i] for i in at),
                dataset.tags(ns="IMAGERY") | dataset.tags(), ColorInterp.palette in kinds,
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


def check_counts(file: BandFile) -> None:
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
    match = GSD_IN_NAME.search(path.stem)
    group = _GROUPS[int(match[1])] if match else ()
    return group if len(group) == len(described) else described


def _worded(descriptions: Sequence[str]) -> list[str]:
    """Descriptions that say more than "Band 3" of the third band."""
    said = ((i, text.strip()) for i, text in enumerate(descriptions, 1))
    numbered = ((text, _NUMBERED.fullmatch(text), i) for i, text in said)
    return ["" if match and int(match[1]) == i else text for text, match, i in numbered]


def check_once(file: BandFile) -> None:
    """Refuse a file that gives two bands one name."""
    twice = [name for name, count in Counter(filter(None, file.names)).items() if count > 1]
    if twice:
        at = [str(i) for i, name in zip(file.indexes, file.names, strict=True) if name == twice[0]]
        raise SceneError(
            f"{file.path}: bands {' and '.join(at)} are both named {twice[0]}. Name each band "
            "once in the file, or say what they are with --bands-in."
        )


def odd_names(file: BandFile) -> list[Note]:
    """Bands that lie among Sentinel-2's but are called otherwise."""
    if not any(file.names):
        return []
    return [Note(f"{file.path.name}: {said}, left out", warning=True) for said in unknown(file)]


def unknown(file: BandFile) -> list[str]:
    """What is said of each band whose name is none of Sentinel-2's."""
    rows = zip(file.indexes, file.names, file.described, strict=True)
    return [
        f"band {index} is named '{text[:40]}'{_nearest(text, file)}"
        for index, name, text in rows
        if text and not name
    ]


def _nearest(text: str, file: BandFile) -> str:
    """The band that a misspelt name may mean: the likest of those that the file lacks."""
    left = [name for name in ESA_ORDER if name not in file.names]
    word = text.strip().upper()[:8]
    same = [name for name in left if sorted(name) == sorted(word)]  # BA8, two letters swapped
    near = same or get_close_matches(word, left, 1, 0.5)
    return f" ({near[0]}?)" if near else ""


def _gdal_offset(file: BandFile, at: int) -> float:
    """GDAL's scale and offset (value = count × scale + offset) as an offset in counts."""
    scale, offset = file.scales[at], file.offsets[at]
    if not (0 < scale < math.inf and math.isfinite(offset) and math.isfinite(1 / scale)):
        raise SceneError(
            f"{file.path}: band {file.indexes[at]} has GDAL scale {scale:g} and offset "
            f"{offset:g}; a positive and a finite number are needed. Correct them (gdal_edit)."
        )
    return round(offset / scale, 3)


def offset_of(
    file: BandFile, at: int, path: Path, options: OpenOptions, tags: dict[str, str]
) -> tuple[float, Note]:
    """Offset of one band: asked, tagged or in a name; else GDAL's own; else 0 with a warning."""
    known = known_offset(path, options, tags)
    offset = _gdal_offset(file, at)
    if known is None and any(file.offsets):
        return offset, Note(f"DN offset {offset:g} from the file's GDAL offset")
    return known or NO_OFFSET


def quantified(scene: Scene, options: OpenOptions) -> Scene:
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
        windows = samples(Grid.of(dataset))
        values = np.concatenate(
            [read_window(dataset, [band.index], window).ravel() for window in windows]
        )
    values = values[np.isfinite(values) & (values != band.nodata)]
    return float(np.percentile(values, 99)) if values.size else 0.0


def samples(grid: Grid) -> list[Window]:
    """Up to nine windows of 240 pixels, spread over the grid."""

    def starts(extent: int) -> list[int]:
        last = max(extent - 240, 0)
        return sorted({0, last // 2, last})

    return [
        Window(r, c, min(240, grid.height), min(240, grid.width))
        for r in starts(grid.height)
        for c in starts(grid.width)
    ]
