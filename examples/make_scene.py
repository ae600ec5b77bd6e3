"""Seeded, plausible Sentinel-2 scenes in every layout geosr reads, for examples and tests.

    python examples/make_scene.py OUT --kind folder|bands|stack|safe

A scene is farmland with a river, a lake, woods, roads and a small town. What differs between
layouts is only the packaging: one seed and size give the same reflectances everywhere. The truth
is known at 10 m for every band; a coarse band is its block mean, so a sharpened band has something
to be compared with.

Counts (DN) are reflectance × 10000. An `offset` is what a reader adds to stored counts: 0, or -1000
for processing baselines from 04.00, which store DN + 1000.
"""

from __future__ import annotations

import math
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine

BANDS: dict[str, int] = {
    "B1": 60, "B2": 10, "B3": 10, "B4": 10, "B5": 20, "B6": 20, "B7": 20,
    "B8": 10, "B8A": 20, "B9": 60, "B10": 60, "B11": 20, "B12": 20,
}  # fmt: skip
TWELVE = tuple(name for name in BANDS if name != "B10")
CRS = "EPSG:32633"
ORIGIN = (399960.0, 5600040.0)  # a corner of ESA's 60 m lattice
_SENSED, _MADE = "20170527T102031", "20170527T102301"
_TILE = f"T33UUB_{_SENSED}"
LARGEST_BASE = 1200  # larger scenes repeat a base of this size, mirrored
BRIGHTEST = 14000.0

Floats = NDArray[np.float64]
Counts = NDArray[np.uint16]
Bytes = NDArray[np.uint8]
_T = TypeVar("_T", bound=np.generic)
_Place = tuple[float, float]  # pixels (across, along) the river from the scene's middle

# Two spectra per cover, in DN and ESA order; a pixel is a mixture of both. Fields and woods are
# round figures near those of a Sentinel-2 L1C scene of Brandenburg in May; the rest are estimates.
# Water is silty: clear water is so dark in the SWIR that sharpened counts would fall below zero.
_SPECTRA = {
    "cereal": ((1300, 1090, 1120, 1000, 1450, 2400, 2850, 2750, 3050, 850, 12, 2350, 1450),
               (1190, 870, 860, 500, 960, 3100, 4350, 4150, 4650, 1130, 12, 1500, 650)),
    "rapeseed": ((1200, 950, 1050, 760, 1350, 3100, 3800, 3650, 4100, 1060, 12, 1700, 850),
                 (1190, 1040, 1470, 1170, 1750, 4210, 5260, 4990, 5520, 1250, 12, 1460, 700)),
    "beet": ((1450, 1260, 1270, 1340, 1650, 2150, 2500, 2400, 2700, 770, 13, 2800, 2100),
             (1190, 880, 950, 560, 1100, 3400, 4800, 4600, 5100, 1180, 12, 1650, 700)),
    "meadow": ((1270, 1010, 1060, 850, 1350, 2500, 2950, 2850, 3200, 880, 12, 2150, 1250),
               (1210, 950, 1010, 640, 1200, 3450, 4400, 4200, 4700, 1140, 12, 1700, 790)),
    "soil": ((1380, 1150, 1120, 1180, 1350, 1600, 1780, 1730, 1920, 640, 13, 2200, 1750),
             (1560, 1400, 1430, 1640, 1810, 2150, 2400, 2310, 2620, 750, 14, 3100, 2600)),
    "forest": ((1120, 790, 610, 380, 560, 1500, 1850, 1750, 1980, 620, 11, 800, 370),
               (1140, 810, 680, 400, 690, 2450, 3400, 3250, 3700, 950, 11, 1200, 500)),
    "water": ((1090, 820, 640, 520, 500, 440, 440, 410, 410, 380, 10, 330, 310),
              (1180, 930, 860, 640, 600, 470, 460, 430, 430, 400, 10, 350, 330)),
    "road": ((1420, 1220, 1190, 1250, 1330, 1450, 1540, 1520, 1650, 560, 13, 1900, 1700),
             (1650, 1520, 1560, 1680, 1780, 1900, 2000, 1990, 2100, 680, 14, 2500, 2250)),
    "roof": ((1750, 1700, 1750, 1850, 1900, 1980, 2050, 2050, 2130, 680, 14, 2300, 2150),
             (1500, 1290, 1340, 1850, 2150, 2350, 2500, 2450, 2650, 760, 14, 3050, 2700)),
    "metal": ((4300, 4900, 5100, 5200, 5250, 5300, 5300, 5300, 5250, 1600, 16, 4700, 4100),
              (9900, 12400, 12700, 12800, 12700, 12600, 12500, 12500, 12300, 3600, 20, 9900, 8300)),
}  # fmt: skip
_COVERS = tuple(_SPECTRA)
_CODE = {name: code for code, name in enumerate(_COVERS)}
_FIELDS = {"cereal": 0.38, "rapeseed": 0.16, "beet": 0.14, "meadow": 0.14, "soil": 0.18}
_ROUGHNESS = {"forest": 0.16, "roof": 0.10, "road": 0.04, "water": 0.012}  # else 0.025
_SCENE_CLASS = {"water": 6, "soil": 5, "road": 5, "roof": 5, "metal": 5}  # else 4, vegetation


def make_truth(
    size: int = 240, seed: int = 0, *, bands: Sequence[str] = TWELVE
) -> dict[str, Floats]:
    """Every band at 10 m: {name: (size, size)}, in DN from 1 to 14000.

    Args:
        size: rows and columns in 10 m pixels, a multiple of 6.

    Raises:
        ValueError: an unknown band, or a size that is not a multiple of 6.
    """
    return {name: truth_band(name, size, seed=seed) for name in bands}


def truth_band(name: str, size: int = 240, *, seed: int = 0) -> Floats:
    """One band at 10 m, (size, size) in DN; 8 bytes a pixel, so about 1 GB at 10980.

    The same whatever other bands are made. Above 1200 pixels the scene is one of 1200, repeated
    mirrored.
    """
    _check(size, (name,))
    return _mirrored(_base_band(name, min(size, LARGEST_BASE), seed), size)


def sense(truth_band: Floats, factor: int) -> Counts:
    """The mean of every `factor` × `factor` block, rounded to counts: (rows, cols) / factor."""
    rows, cols = truth_band.shape
    blocks = truth_band.reshape(rows // factor, factor, cols // factor, factor)
    counts: Counts = np.rint(blocks.mean(axis=(1, 3))).astype(np.uint16)
    return counts


def _sensed(name: str, size: int, seed: int, factor: int) -> Counts:
    """`sense(truth_band(name, size), factor)` without a float array of the whole scene.

    The base is a multiple of 6, so blocks are mirrored as a whole, and truth is in 1/64 DN, so
    their sums are exact in any order.
    """
    base = _base_band(name, min(size, LARGEST_BASE), seed)
    return _mirrored(sense(base, factor), size // factor)


def _mirrored(base: NDArray[_T], size: int) -> NDArray[_T]:
    """`base` repeated to (size, size), every other copy flipped, so that no edge appears."""
    last = len(base) - 1
    place = np.arange(size) % (2 * len(base))
    place = np.where(place > last, 2 * last + 1 - place, place)
    return base[np.ix_(place, place)]


def _check(size: int, bands: Iterable[str]) -> None:
    if size < 6 or size % 6:
        raise ValueError(
            f"size is {size}, not a positive multiple of 6 (one 60 m pixel is six of 10 m). "
            f"Take {max(6, round(size / 6) * 6)}."
        )
    unknown = [name for name in bands if name not in BANDS]
    if unknown:
        raise ValueError(f"no band named {', '.join(unknown)}. Choose from {', '.join(BANDS)}.")


@dataclass(frozen=True)
class _Land:
    """What lies where: cover codes, mixture of the cover's two spectra, and light, (rows, cols)."""

    cover: Bytes
    mixture: Floats
    light: Floats


def _base_band(name: str, size: int, seed: int) -> Floats:
    """One band of the land as the sensor's optics see it, (size, size) in steps of 1/64 DN."""
    land, index = _land(size, seed), list(BANDS).index(name)
    first, second = np.array([_SPECTRA[cover] for cover in _COVERS], float)[:, :, index].T
    values = first[land.cover] + (second - first)[land.cover] * land.mixture
    values = _blurred(values * land.light)
    noise = np.random.default_rng([seed, index]).random((size, size)) - 0.5
    values += noise * (0.5 + 0.004 * values)
    return np.rint(np.clip(values, 1.0, BRIGHTEST) * 64) / 64


def _blurred(values: Floats) -> Floats:
    """Mixed pixels at edges: (1, 4, 1)/6 along both axes, an MTF of 1/3 at Nyquist."""
    padded = np.pad(values, 1, mode="symmetric")
    rows = (padded[:-2] + 4 * padded[1:-1] + padded[2:]) / 6
    return (rows[:, :-2] + 4 * rows[:, 1:-1] + rows[:, 2:]) / 6


@lru_cache(maxsize=2)  # every band of a scene needs it
def _land(size: int, seed: int) -> _Land:
    """Fields first, then what lies on them, in the order in which one hides the other."""
    rng = np.random.default_rng(seed)
    ground = _Ground(*_fields(size, rng), math.pi * rng.random(), rng)
    side = size if rng.random() < 0.5 else -size
    town = (side * (0.20 + 0.06 * rng.random()), size * 0.3 * (rng.random() - 0.5))
    lake = (-side * (0.24 + 0.06 * rng.random()), size * 0.4 * (rng.random() - 0.5))
    _plant_woods(ground)
    _lay_river(ground)
    _lay_roads(ground, town)
    _lay_lake(ground, lake)
    _build_town(ground, town)
    _build_halls(ground, town)
    return _Land(ground.cover, *_texture(ground.cover, ground.mixture, rng))


def _texture(cover: Bytes, mixture: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mixture and light with detail that all bands share: what fine bands tell of coarse ones."""
    size = len(cover)
    fine = 0.5 * _noise(size, 3, rng) + 0.5 * rng.random((size, size)) - 0.5
    uneven = mixture + 0.5 * (_cloudy(size, 22, rng) - 0.5) + 0.12 * fine
    relief = 0.10 * (_cloudy(size, max(size / 3, 12), rng) - 0.5)
    roughness = np.array([_ROUGHNESS.get(name, 0.025) for name in _COVERS])
    return np.clip(uneven, -0.1, 1.1), 1 + relief + 2 * roughness[cover] * fine


def _noise(size: int, cell: float, rng: np.random.Generator) -> Floats:
    """Smooth value noise from 0 to 1 with features of `cell` pixels, (size, size)."""
    lattice = rng.random((int(size / cell) + 2,) * 2)
    place = (np.arange(size) + 0.5) / cell
    low = place.astype(int)
    step = place - low
    part: Floats = step * step * (3 - 2 * step)
    rows: Floats = lattice[low] * (1 - part)[:, None] + lattice[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _cloudy(size: int, cell: float, rng: np.random.Generator) -> Floats:
    """Three octaves of noise from 0 to 1, (size, size)."""
    coarse, middle, fine = (_noise(size, cell / k, rng) for k in (1, 2, 4))
    return 0.5 * coarse + 0.3 * middle + 0.2 * fine


def _axes(size: int, angle: float | Floats) -> tuple[Floats, Floats]:
    """Pixels along and across a direction, counted from the scene's middle.

    Args:
        angle: of the direction, in radians; an array (size, size) turns every pixel by its own.
    """
    x = np.arange(size)[None, :] + 0.5 - size / 2
    y = np.arange(size)[:, None] + 0.5 - size / 2
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


@dataclass(frozen=True)
class _Ground:
    """A map to paint on: cover codes and mixtures (rows, cols), and the river's heading."""

    cover: Bytes
    mixture: Floats
    heading: float
    rng: np.random.Generator

    def axes(self, turn: float = 0.0, origin: _Place = (0.0, 0.0)) -> tuple[Floats, Floats]:
        """Pixels along and across the heading turned by `turn`, counted from a place."""
        along, across = _axes(len(self.cover), self.heading + turn)
        aside, ahead = origin
        cos, sin = math.cos(turn), math.sin(turn)
        return along - (ahead * cos + aside * sin), across - (aside * cos - ahead * sin)

    def paint(self, where: NDArray[np.bool_], name: str, mix: float | Floats) -> None:
        """Cover `where` by one class; `mix` is one value or an array (rows, cols)."""
        self.cover[where] = _CODE[name]
        self.mixture[where] = np.broadcast_to(mix, where.shape)[where]

    def chance(self, lot: NDArray[np.int64]) -> Floats:
        """A random number from 0 to 1 for every lot, at its pixels."""
        return self.rng.random(1024)[lot % 1024]


def _fields(size: int, rng: np.random.Generator) -> tuple[Bytes, Floats]:
    """Districts of parallel strips of parcels, with tracks within and roads between districts."""
    owner, edge = _districts(size, 130, rng)
    angles, scales = rng.random(256)[owner % 256] * math.pi, 0.8 + 0.7 * rng.random(256)
    along, across = _axes(size, angles)
    length, width = 46 * scales[owner % 256], 17 * scales[owner % 256]
    strip = np.floor(along / length).astype(int)
    shift = rng.random(256)[(strip + 31 * owner) % 256]
    parcel = np.floor(across / width + shift).astype(int)
    joined = rng.random(256)[(parcel // 2 + 17 * strip + 5 * owner) % 256] < 0.4
    parcel = np.where(joined, parcel // 2 * 2, parcel)
    lot = (37 * parcel + 101 * strip + 211 * owner) % 4096
    cover, mixture = (table[lot] for table in _crops(rng))
    mixture = mixture + 0.05 * np.sin(across * (2 * math.pi / 3.3))  # rows of the crop
    for where, name in ((along % length < 1.2, "soil"), (edge < 0.8, "road")):
        cover[where], mixture[where] = _CODE[name], 0.5
    return cover, mixture


def _crops(rng: np.random.Generator) -> tuple[Bytes, Floats]:
    """What grows on each of 4096 lots, and how ripe it is."""
    codes = np.array([_CODE[name] for name in _FIELDS], np.uint8)
    chosen = np.searchsorted(np.cumsum(list(_FIELDS.values())), rng.random(4096))
    return codes[np.minimum(chosen, len(codes) - 1)], rng.random(4096)


def _districts(size: int, cell: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Voronoi cells about `cell` pixels wide: whose a pixel is, and how far it is from the edge."""
    count = size // cell + 3
    seeds = (np.indices((count, count)).reshape(2, -1).T - 1 + rng.random((count**2, 2))) * cell
    y, x = np.arange(size)[:, None], np.arange(size)[None, :]
    owner, rival = np.zeros((2, size, size), np.int64)
    first, second = np.full((2, size, size), np.inf)
    for index, (row, col) in enumerate(seeds):
        square = (y - row) ** 2 + (x - col) ** 2
        wins, places = square < first, square < second
        rival = np.where(wins, owner, np.where(places, index, rival))
        second = np.where(wins, first, np.where(places, square, second))
        owner, first = np.where(wins, index, owner), np.where(wins, square, first)
    apart = np.hypot(*np.moveaxis(seeds[owner] - seeds[rival], -1, 0))
    return owner, (second - first) / (2 * apart)


def _plant_woods(ground: _Ground) -> None:
    """Woods over a seventh of the land, with stands of conifers and of broad leaves."""
    size = len(ground.cover)
    dense = _cloudy(size, max(min(size / 4, 90), 8), ground.rng)
    stands = np.clip(3 * _noise(size, 30, ground.rng) - 1, 0, 1)
    ground.paint(dense > np.quantile(dense, 0.86), "forest", stands)


def _lay_river(ground: _Ground) -> None:
    """A meandering river through the middle, with trees on its banks."""
    size = len(ground.cover)
    along, across = ground.axes()
    course, slope = np.zeros_like(along), np.zeros_like(along)
    for length, swing in ((0.62, 0.060), (0.27, 0.035), (0.13, 0.012)):  # shares of the size
        phase = along * (2 * math.pi / (length * size)) + 2 * math.pi * ground.rng.random()
        course += swing * size * np.sin(phase)
        slope += swing * 2 * math.pi / length * np.cos(phase)
    bank = np.abs(across - course) / np.sqrt(1 + slope**2) - (1.6 + size / 200)
    ground.paint(bank < 1 + 7 * (_noise(size, 9, ground.rng) - 0.35), "forest", 0.9)
    ground.paint(bank < 0, "water", 0.7)


def _lay_roads(ground: _Ground, town: _Place) -> None:
    """Two roads that meet in the town, one of them over the river."""
    size = len(ground.cover)
    for turn, half in ((math.radians(55 + 30 * ground.rng.random()), 1.0), (_GRID_TURN, 0.7)):
        along, across = ground.axes(turn, town)
        bend = size / 40 * np.sin(along * (3 * math.pi / size))
        ground.paint(np.abs(across - bend) < half, "road", 0.8)


def _lay_lake(ground: _Ground, centre: _Place) -> None:
    """A lake with reeds around it."""
    size = len(ground.cover)
    along, across = ground.axes(0.0, centre)
    shore = np.hypot(along / 1.4, across) - 0.075 * size
    shore += 0.07 * size * (_cloudy(size, max(size / 8, 6), ground.rng) - 0.5)
    ground.paint(shore < 1.5, "meadow", 1.0)
    ground.paint(shore < 0, "water", 0.15)


_GRID_TURN = 0.08  # radians, of the town's streets from the river


def _town_radius(size: int) -> float:
    return min(max(0.12 * size, 5.0), 70.0)


def _build_town(ground: _Ground, centre: _Place) -> None:
    """Streets, gardens, and houses that thin out from the centre, some under bright roofs."""
    size, chance = len(ground.cover), ground.chance
    along, across = ground.axes(_GRID_TURN, centre)
    out = np.hypot(along, across) / _town_radius(size) + 0.5 * _noise(size, 12, ground.rng) - 0.25
    inside = (out < 1) & (ground.cover != _CODE["water"])
    lot = (np.floor(along / 3.7) * 61 + np.floor(across / 3.7) * 17).astype(np.int64)
    house = inside & (along % 3.7 < 2.7) & (across % 3.7 < 2.9) & (chance(lot) < 1.5 - out)
    street = inside & ((along % 14.8 < 1.1) | (across % 11.1 < 1.1))
    ground.paint(inside, "meadow", chance(lot))
    ground.paint(house, "roof", chance(lot) ** 0.6)
    ground.paint(house & (chance(lot) < 0.04), "metal", 0.0)
    ground.paint(street, "road", 0.6)


def _build_halls(ground: _Ground, centre: _Place) -> None:
    """Three halls at the town's edge; their roofs exceed reflectance 1."""
    size, rng = len(ground.cover), ground.rng
    along, across = ground.axes(_GRID_TURN, centre)
    radius, half = _town_radius(size), min(max(size / 48, 1.6), 6.0)
    for angle in 2 * math.pi * (rng.random() + np.arange(3) / 3 + 0.1 * rng.random(3)):
        x, y = radius * math.cos(angle), radius * math.sin(angle)
        depth = half * (0.6 + 0.3 * rng.random())
        hall = (np.abs(along - x) < half) & (np.abs(across - y) < depth)
        ground.paint(hall, "metal", 0.85 + 0.15 * rng.random())


def write_folder(
    folder: str | Path,
    *,
    size: int = 240,
    seed: int = 0,
    offset: int = 0,
    crs: str | None = CRS,
    origin: tuple[float, float] = ORIGIN,
    bands: Sequence[str] | None = None,
    nested: bool = True,
    per_band: bool = False,
) -> Path:
    """A folder of uint16 GeoTIFFs at native GSD: 10m.tif, 20m.tif and 60m.tif.

    Args:
        size: rows and columns in 10 m pixels, a multiple of 6.
        offset: what a reader adds to counts; -1000 stores DN + 1000. No tag tells it.
        origin: (x, y) of the upper-left corner, in metres.
        bands: those to write, all but B10 if None; a file without bands is left out.
        nested: False moves 20m.tif and 60m.tif half a 10 m pixel east and south, with the same
            pixels: grids that no reader may take for nested.
        per_band: one file a band instead, `T33UUB_20170527T102031_B05.tif`.
    """
    names = _in_order(size, bands)
    if per_band:
        groups = {f"{_TILE}_{_padded(name)}": [name] for name in names}
    else:
        groups = {f"{gsd}m": [n for n in names if BANDS[n] == gsd] for gsd in (10, 20, 60)}
    for stem, group in groups.items():
        if group:
            gsd = BANDS[group[0]]
            x, y = origin if nested or gsd == 10 else (origin[0] + 5, origin[1] - 5)
            layers = {n: partial(_stored, n, size, seed, offset, gsd // 10) for n in group}
            _write_tif(Path(folder) / f"{stem}.tif", layers, _grid((x, y), gsd), crs)
    return Path(folder)


def write_stack(
    path: str | Path,
    *,
    size: int = 240,
    seed: int = 0,
    offset: int = 0,
    replicate: bool = True,
    phase: tuple[int, int] = (0, 0),
    descriptions: bool = True,
    bands: Sequence[str] | None = None,
    crs: str | None = CRS,
    origin: tuple[float, float] = ORIGIN,
) -> Path:
    """One uint16 GeoTIFF of all bands at 10 m, (bands, size - rows, size - cols).

    Args:
        size: rows and columns in 10 m pixels before `phase`, a multiple of 6.
        offset: what a reader adds to counts; -1000 stores DN + 1000. No tag tells it.
        replicate: coarse pixels repeated; False interpolates them bilinearly between centres.
        phase: (rows, cols) of 10 m pixels cut off at the top and left, so that a coarse pixel need
            not begin at the file's corner.
        descriptions: whether the file names its bands.
        bands: those to write, in this order; all but B10 in ESA's order if None.
        origin: (x, y) of the upper-left corner before `phase`, in metres.
    """
    names = tuple(bands or TWELVE)
    _check(size, names)
    if not all(0 <= cut < size for cut in phase):
        raise ValueError(f"phase is {phase}, outside the scene's {size} pixels. Take 0 to 5.")
    enlarge = _repeated if replicate else _interpolated

    def layer(name: str) -> Counts:
        factor = BANDS[name] // 10
        fine = enlarge(_stored(name, size, seed, offset, factor), factor)
        return fine[phase[0] :, phase[1] :]

    layers = {name: partial(layer, name) for name in names}
    grid = _grid(origin, 10) @ Affine.translation(phase[1], phase[0])
    return _write_tif(Path(path), layers, grid, crs, described=descriptions)


def _in_order(size: int, bands: Sequence[str] | None) -> list[str]:
    """The bands asked for, in ESA's order."""
    wanted = TWELVE if bands is None else bands
    _check(size, wanted)
    return [name for name in BANDS if name in wanted]


def _stored(name: str, size: int, seed: int, offset: int, factor: int) -> Counts:
    """Counts as a file holds them, (size / factor, size / factor)."""
    if offset > 0:
        raise ValueError(f"offset is {offset}; readers add it to counts. Take 0 or -1000.")
    return _sensed(name, size, seed, factor) + np.uint16(-offset)


def _repeated(coarse: Counts, factor: int) -> Counts:
    """Every pixel `factor` times in both directions."""
    return coarse.repeat(factor, axis=0).repeat(factor, axis=1)


def _interpolated(coarse: Counts, factor: int) -> Counts:
    """Bilinear between pixel centres, edges repeated; in strips, for memory's sake."""
    fine = np.empty((coarse.shape[0] * factor, coarse.shape[1] * factor), np.uint16)
    left, right, part = _taps(coarse.shape[1], factor)
    up, down, share = _taps(coarse.shape[0], factor)
    for start in range(0, len(fine), 512):
        strip = slice(start, start + 512)
        part_down = share[strip, None]
        rows = coarse[up[strip]] * (1 - part_down) + coarse[down[strip]] * part_down
        fine[strip] = np.rint(rows[:, left] * (1 - part) + rows[:, right] * part)
    return fine


def _taps(extent: int, factor: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """The two coarse neighbours of every fine pixel, and the second one's weight."""
    place = np.clip((np.arange(extent * factor) + 0.5) / factor - 0.5, 0, extent - 1)
    low = np.floor(place).astype(np.intp)
    return low, np.minimum(low + 1, extent - 1), place - low


def _grid(origin: tuple[float, float], gsd: int) -> Affine:
    return Affine.translation(*origin) @ Affine.scale(gsd, -gsd)


def _write_tif(
    path: Path,
    layers: Mapping[str, Callable[[], Counts]],
    transform: Affine,
    crs: str | None,
    *,
    described: bool = True,
) -> Path:
    """Write bands one after another; each is made only when its turn comes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = (make() for make in layers.values())
    first = next(made)
    profile = {
        "driver": "GTiff", "dtype": "uint16", "count": len(layers), "crs": crs,
        "height": first.shape[0], "width": first.shape[1], "transform": transform, "tiled": True,
        "blockxsize": 256, "blockysize": 256, "interleave": "band", "compress": "deflate",
        "predictor": 2, "zlevel": 9, "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with _gdal(), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(first, 1)
        for index, pixels in enumerate(made, start=2):
            dataset.write(pixels, index)
        if described:
            dataset.descriptions = tuple(layers)
    return path


def _gdal() -> rasterio.Env:
    """A bounded block cache, and no .aux.xml beside a file."""
    return rasterio.Env(GDAL_CACHEMAX=256, GDAL_PAM_ENABLED="NO")


# SAFE products. Names and nesting are those of real products before and after baseline 04.00.

_ORBIT = "A010072"
_JP2_BLOCK = {10: 1024, 20: 640, 60: 192}  # ESA's own
_FLAT = {"AOT": np.uint16(120), "WVP": np.uint16(1800), "DETFOO": np.uint8(7)}


@dataclass(frozen=True)
class _Product:
    """What a SAFE product calls itself, and which images it holds."""

    level: str
    baseline: str
    satellite: str
    b10: bool

    def __post_init__(self) -> None:
        for what, pattern, example in (
            ("level", r"L1C|L2A", "L1C or L2A"),
            ("baseline", r"\d\d\.\d\d", "02.06 or 04.00"),
            ("satellite", r"S2[A-D]", "S2A"),
        ):
            if not re.fullmatch(pattern, getattr(self, what)):
                raise ValueError(f"{what} is {getattr(self, what)!r}. Take {example}.")

    @property
    def name(self) -> str:
        number = self.baseline.replace(".", "")
        return f"{self.satellite}_MSI{self.level}_{_SENSED}_N{number}_R065_T33UUB_{_MADE}"

    @property
    def datatake(self) -> str:
        return f"G{self.satellite}_{_SENSED}_{_ORBIT[1:]}_N{self.baseline}"

    @property
    def modern(self) -> bool:
        """Stores DN + 1000, and masks as JP2."""
        return self.baseline >= "04.00"

    @property
    def offset(self) -> int:
        return -1000 if self.modern else 0

    @property
    def granule(self) -> str:
        return f"GRANULE/{self.level}_T33UUB_{_ORBIT}_{_MADE}"

    def images(self) -> dict[str, tuple[str, int]]:
        """Path in the product without suffix: (layer, GSD in metres), in ESA's order."""
        folder = f"{self.granule}/IMG_DATA"
        if self.level == "L1C":
            return {f"{folder}/{_TILE}_{_padded(n)}": (n, g) for n, g in self._l1c()}
        return {
            f"{folder}/R{gsd}m/{_TILE}_{_padded(name)}_{gsd}m": (name, gsd)
            for gsd in (10, 20, 60)
            for name in self._l2a(gsd)
        }

    def _l1c(self) -> list[tuple[str, int]]:
        return [*((n, g) for n, g in BANDS.items() if n != "B10" or self.b10), ("TCI", 10)]

    def _l2a(self, gsd: int) -> list[str]:
        """Each band at its GSD and coarser, but B8 at 10 m only; newer products: B1 at 20 m."""
        bands = [n for n in TWELVE if BANDS[n] <= gsd and (n != "B8" or gsd == 10)]
        if self.modern and gsd == 20:
            bands.insert(0, "B1")
        return [*bands, "TCI", "AOT", "WVP", *(["SCL"] if gsd > 10 else [])]

    def masks(self) -> dict[str, tuple[str, int]]:
        """Detector footprints, named like bands: JP2 from baseline 04.00, else not written."""
        folder = f"{self.granule}/QI_DATA/MSK_DETFOO"
        return {f"{folder}_{_padded(n)}": ("DETFOO", g) for n, g in BANDS.items() if self.modern}


def write_safe(
    folder: str | Path,
    *,
    level: str = "L1C",
    baseline: str = "02.06",
    size: int = 240,
    seed: int = 0,
    satellite: str = "S2A",
    zipped: bool = False,
    b10: bool = True,
) -> Path:
    """A SAFE product in `folder`: the path of its .SAFE folder, or of its .zip.

    Args:
        level: "L1C" or "L2A". Both hold the same reflectances; real ones differ by the atmosphere.
        baseline: from "04.00" on counts are DN + 1000, and the metadata say so.
        size: rows and columns in 10 m pixels, a multiple of 6.
        b10: whether an L1C product has its cirrus band; L2A never has.

    Raises:
        ValueError: not a level, baseline, satellite or size that exists.
    """
    product = _Product(level, baseline, satellite, b10)
    _check(size, ())
    if not zipped:
        return _write_tree(Path(folder) / f"{product.name}.SAFE", product, size, seed)
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        tree = _write_tree(Path(scratch) / f"{product.name}.SAFE", product, size, seed)
        return _zip(tree, Path(folder) / f"{product.name}.zip")


def _write_tree(root: Path, product: _Product, size: int, seed: int) -> Path:
    """Images, masks and metadata of a product below `root`."""
    for path, (name, gsd) in (product.images() | product.masks()).items():
        pixels = _layer(name, gsd, size=size, seed=seed, offset=product.offset)
        _write_jp2(root / f"{path}.jp2", pixels, gsd)
    metadata = {
        f"MTD_MSI{product.level}.xml": _product_xml(product),
        f"{product.granule}/MTD_TL.xml": _tile_xml(product, size),
    }
    for name, text in metadata.items():
        (root / name).write_text(text, encoding="utf-8")
    return root


def _zip(tree: Path, path: Path) -> Path:
    """Deflated, with folders as entries and one fixed time, as the same scene is the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for item in (tree, *sorted(tree.rglob("*"))):
            name = item.relative_to(tree.parent).as_posix() + ("/" if item.is_dir() else "")
            entry = zipfile.ZipInfo(name, (2017, 5, 27, 10, 23, 2))
            entry.compress_type = zipfile.ZIP_STORED if item.is_dir() else zipfile.ZIP_DEFLATED
            archive.writestr(entry, b"" if item.is_dir() else item.read_bytes())
    return path


def _layer(name: str, gsd: int, *, size: int, seed: int, offset: int) -> NDArray[np.generic]:
    """Pixels of one image of a product, (bands, rows, cols)."""
    factor = gsd // 10
    if name == "B1" and gsd == 20:  # it holds nothing finer than 60 m
        return _repeated(_stored(name, size, seed, offset, 6), 3)[None]
    if name in BANDS:
        return _stored(name, size, seed, offset, factor)[None]
    if name == "TCI":
        return np.stack([_true_colour(n, size, seed, factor) for n in ("B4", "B3", "B2")])
    if name == "SCL":
        return _scene_classes(size, seed, factor)[None]
    return np.full((1, size // factor, size // factor), _FLAT[name])


def _true_colour(name: str, size: int, seed: int, factor: int) -> Bytes:
    """ESA's stretch of reflectance 0 to 0.3558 over 1 to 255; 0 is nodata."""
    table: Bytes = np.clip(np.arange(65536) * (254 / 3558) + 1, 1, 255).astype(np.uint8)
    return table[_sensed(name, size, seed, factor)]


def _scene_classes(size: int, seed: int, factor: int) -> Bytes:
    """sen2cor's classes by the pixel in the middle of each block: 4 plants, 5 bare, 6 water."""
    cover = _land(min(size, LARGEST_BASE), seed).cover[factor // 2 :: factor, factor // 2 :: factor]
    table = np.array([_SCENE_CLASS.get(name, 4) for name in _COVERS], np.uint8)
    return _mirrored(table[cover], size // factor)


def _write_jp2(path: Path, pixels: NDArray[np.generic], gsd: int) -> None:
    """Lossless JPEG 2000 on the scene's grid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    profile = {
        "driver": "JP2OpenJPEG", "dtype": pixels.dtype, "count": count, "height": height,
        "width": width, "crs": CRS, "transform": _grid(ORIGIN, gsd),
        "QUALITY": "100", "REVERSIBLE": "YES",
        "TILED": True, "BLOCKXSIZE": _JP2_BLOCK[gsd], "BLOCKYSIZE": _JP2_BLOCK[gsd],
    }  # fmt: skip
    with _gdal(), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)


def _padded(name: str) -> str:
    """A layer's name in file names: B1 is B01, B8A stays."""
    return f"B0{name[1:]}" if re.fullmatch(r"B\d", name) else name


_PSD = "https://psd-14.sentinel2.eo.esa.int/PSD"


def _product_xml(product: _Product) -> str:
    """MTD_MSIL1C.xml or MTD_MSIL2A.xml: what readers of pixels need of it."""
    level = product.level.removeprefix("L")
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="{_PSD}/User_Product_Level-{level}.xsd">
<n1:General_Info>
<Product_Info>
<PRODUCT_START_TIME>2017-05-27T10:20:31.026Z</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>2017-05-27T10:20:31.026Z</PRODUCT_STOP_TIME>
<PRODUCT_URI>{product.name}.SAFE</PRODUCT_URI>
<PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI{level}</PRODUCT_TYPE>
<PROCESSING_BASELINE>{product.baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>2017-05-27T10:23:01.000000Z</GENERATION_TIME>
{_organisation_xml(product)}</Product_Info>
<Product_Image_Characteristics>
<Special_Values>
<SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
</Special_Values>
<Special_Values>
<SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
<SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
</Special_Values>
{_radiometry_xml(product)}</Product_Image_Characteristics>
</n1:General_Info>
</n1:Level-{level}_User_Product>
"""


def _organisation_xml(product: _Product) -> str:
    """The datatake, and the images of the one granule."""
    images = "".join(f"<IMAGE_FILE>{path}</IMAGE_FILE>\n" for path in product.images())
    return f"""<Datatake datatakeIdentifier="{product.datatake}">
<SPACECRAFT_NAME>Sentinel-{product.satellite[1:]}</SPACECRAFT_NAME>
<DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
<DATATAKE_SENSING_START>2017-05-27T10:20:31.026Z</DATATAKE_SENSING_START>
<SENSING_ORBIT_NUMBER>65</SENSING_ORBIT_NUMBER>
<SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
</Datatake>
<Query_Options completeSingleTile="true">
<PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>
</Query_Options>
<Product_Organisation>
<Granule_List>
<Granule datastripIdentifier="{_identifier(product, "DS")}"
 granuleIdentifier="{_identifier(product, "TL")}" imageFormat="JPEG2000">
{images}</Granule>
</Granule_List>
</Product_Organisation>
"""


def _identifier(product: _Product, what: str) -> str:
    """The long name of the datastrip (DS) or the tile (TL)."""
    place = f"S{_MADE}" if what == "DS" else f"{_ORBIT}_T33UUB"
    start = f"{product.satellite}_OPER_MSI_{product.level}_{what}_SGS__{_MADE}"
    return f"{start}_{place}_N{product.baseline}"


def _radiometry_xml(product: _Product) -> str:
    """Quantification, and from baseline 04.00 an offset for each of the 13 bands, absent or not."""
    if product.level == "L1C":
        scale = '<QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>\n'
        group, element = "Radiometric_Offset_List", "RADIO_ADD_OFFSET"
    else:
        scale = (
            "<QUANTIFICATION_VALUES_LIST>\n"
            '<BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>\n'
            '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>\n'
            '<WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>\n'
            "</QUANTIFICATION_VALUES_LIST>\n"
        )
        group, element = "BOA_ADD_OFFSET_VALUES_LIST", "BOA_ADD_OFFSET"
    if not product.modern:
        return scale
    offsets = "".join(f'<{element} band_id="{i}">-1000</{element}>\n' for i in range(len(BANDS)))
    return f"{scale}<{group}>\n{offsets}</{group}>\n"


def _tile_xml(product: _Product, size: int) -> str:
    """MTD_TL.xml: the grids, which GDAL's driver takes from here."""
    level = product.level.removeprefix("L")
    sizes = places = ""
    for gsd in (10, 20, 60):
        side = size * 10 // gsd
        sizes += f'<Size resolution="{gsd}"><NROWS>{side}</NROWS><NCOLS>{side}</NCOLS></Size>\n'
        places += (
            f'<Geoposition resolution="{gsd}"><ULX>{ORIGIN[0]:.0f}</ULX><ULY>{ORIGIN[1]:.0f}</ULY>'
            f"<XDIM>{gsd}</XDIM><YDIM>-{gsd}</YDIM></Geoposition>\n"
        )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_Tile_ID xmlns:n1="{_PSD}/S2_PDI_Level-{level}_Tile_Metadata.xsd">
<n1:General_Info>
<TILE_ID metadataLevel="Brief">{_identifier(product, "TL")}</TILE_ID>
<DATASTRIP_ID metadataLevel="Standard">{_identifier(product, "DS")}</DATASTRIP_ID>
<SENSING_TIME metadataLevel="Standard">2017-05-27T10:23:01.000Z</SENSING_TIME>
</n1:General_Info>
<n1:Geometric_Info>
<Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>WGS84 / UTM zone 33N</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>{CRS}</HORIZONTAL_CS_CODE>
{sizes}{places}</Tile_Geocoding>
</n1:Geometric_Info>
</n1:Level-{level}_Tile_ID>
"""


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(["folder", "bands", "stack", "safe"]),
    default="folder",
    show_default=True,
    help="10m.tif, 20m.tif, 60m.tif; one file a band; one 10 m file; a SAFE product.",
)
@click.option("--level", type=click.Choice(["L1C", "L2A"]), default="L1C", show_default=True,
              help="Level of a SAFE product.")  # fmt: skip
@click.option("--baseline", default="02.06", show_default=True,
              help="Processing baseline; from 04.00 on counts are DN + 1000.")  # fmt: skip
@click.option("--size", default=240, show_default=True, help="In 10 m pixels, a multiple of 6.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--no-replicate", is_flag=True, help="Interpolate the coarse bands of a stack.")
@click.option("--zip", "zipped", is_flag=True, help="Zip the SAFE product.")
def main(
    out: Path,
    kind: str,
    level: str,
    baseline: str,
    size: int,
    seed: int,
    no_replicate: bool,
    zipped: bool,
) -> None:
    """Write a made-up Sentinel-2 scene to OUT: the folder it goes to, or the stack's file."""
    try:
        offset = _Product(level, baseline, "S2A", True).offset
        if kind == "safe":
            path = write_safe(
                out, level=level, baseline=baseline, size=size, seed=seed, zipped=zipped
            )
        elif kind == "stack":
            path = write_stack(out, size=size, seed=seed, offset=offset, replicate=not no_replicate)
        else:
            path = write_folder(out, size=size, seed=seed, offset=offset, per_band=kind == "bands")
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(path)


if __name__ == "__main__":
    main()
