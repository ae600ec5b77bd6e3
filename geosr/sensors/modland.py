"""What the land products of MODIS and VIIRS share: layers, the sinusoidal tiles, scale and fill.

A product is a folder of GeoTIFFs, a layer each, named as LP DAAC's tools and AppEEARS export them
(`MOD09GA.A2020001.h18v04.061….sur_refl_b01_1.tif`, `MOD09GA.061_sur_refl_b01_1_doy2020001….tif`),
or the HDF files themselves. Surface reflectance is int16, 0.0001 a count, −28672 where nothing was
sensed. Tiles of 10° lie on the sinusoidal grid of a sphere of 6 371 007.181 m.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from geosr.errors import SceneError
from geosr.raster.files import open_hdf4, open_hdf5, open_raster
from geosr.raster.grid import Grid
from geosr.scene.acquisition import Acquisition
from geosr.scene.band import Band, nodata_value
from geosr.scene.note import Note
from geosr.scene.quality import Quality
from geosr.scene.scene import Scene
from geosr.sensors.bandfile import quantified
from geosr.sensors.options import OpenOptions

GEOTIFF = (".tif", ".tiff")
_FILL = -28672.0
_UNIT = 10000.0
_GSD = 1  # as of any raster; a pair tells metres
_TILE = re.compile(r"[._]h(\d\d)v(\d\d)(?=[._]|$)", re.IGNORECASE)
_DAY = re.compile(r"(?:\.A|_doy)(\d{7})(?=[._]|$)", re.IGNORECASE)
_DAILY = ("GA", "GQ")  # of other products a name tells the first of eight days
_PLATFORMS = {"MOD": "terra", "MYD": "aqua", "VNP": "suomi-npp", "VJ1": "noaa-20",
              "VJ2": "noaa-21"}  # fmt: skip
_SIDE = 1111950.5196666666  # metres of a tile
_LEFT, _TOP = -18 * _SIDE, 9 * _SIDE
_SINUSOIDAL = CRS.from_proj4("+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs")


@dataclass(frozen=True)
class Layer:
    """One layer of a product: a GeoTIFF, or a dataset in an HDF file."""

    path: str
    driver: str = "GTiff"
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.name else self.path

    def open(self) -> Any:
        """The layer as a dataset.

        Raises:
            SceneError: it cannot be read.
        """
        if not self.name:
            return open_raster(self.path)
        opened = open_hdf4 if self.driver == "HDF4Image" else open_hdf5
        return opened(self.path, self.name)

    def grid(self) -> Grid:
        """Where the layer lies: as it says, else by the tile in the file's name.

        Raises:
            SceneError: it cannot be read.
        """
        with self.open() as dataset:
            found = Grid.of(dataset)
        tile = _TILE.search(Path(self.path).name)
        if not self.name or found.transform != Affine.identity() or not tile:
            return found
        step = _SIDE / found.width
        left, top = _LEFT + int(tile[1]) * _SIDE, _TOP - int(tile[2]) * _SIDE
        transform = Affine(step, 0, left, 0, -step, top)
        return replace(found, crs=_SINUSOIDAL, transform=transform)

    def quality(self, bits: int, *unless: tuple[int, int]) -> Quality:
        """Clear where none of `bits` are set, nor a combination of `unless`."""
        driver = self.driver if self.name else None
        return Quality(self.path, driver=driver, layer=self.name, bits=bits, unless=unless,
                       grid=self.grid())  # fmt: skip


Layers = Mapping[str, Sequence[Layer]]  # by name as the product writes it


def geotiffs(path: Path, pattern: re.Pattern[str]) -> dict[str, list[Layer]]:
    """GeoTIFFs of a folder by product and layer, "GA sur_refl_b01".

    Args:
        pattern: of a file's name without its suffix; has the groups `kind` and `layer`.
    """
    found: dict[str, list[Layer]] = {}
    for file in sorted(path.iterdir() if path.is_dir() else ()):
        match = pattern.search(file.stem) if file.suffix.lower() in GEOTIFF else None
        if match:
            found.setdefault(f"{match['kind'].upper()} {match['layer']}", []).append(
                Layer(str(file))
            )
    return found


def datasets(path: Path, driver: str, pattern: re.Pattern[str], kind: str) -> dict[str, Layer]:
    """Layers of an HDF file by product and name.

    Raises:
        SceneError: it is no such file, or this GDAL has no driver for it.
    """
    with open_hdf4(path) if driver == "HDF4Image" else open_hdf5(path) as dataset:
        names = list(dataset.subdatasets)
    if driver != "HDF4Image":
        names = [name.partition("://")[2] for name in names]
    matches = ((name, pattern.search(name)) for name in names)
    return {f"{kind} {m['layer']}": Layer(str(path), driver, name) for name, m in matches if m}


def single(found: Mapping[str, Sequence[Layer]]) -> dict[str, Layer]:
    """Layers that are there once.

    Raises:
        SceneError: one is there more often, as of several dates.
    """
    for name, layers in found.items():
        if len(layers) > 1:
            raise SceneError(
                f"{Path(layers[0].path).parent} holds {name.split()[-1]} {len(layers)} times "
                f"({Path(layers[0].path).name}, {Path(layers[1].path).name}). Put each date and "
                "tile into a folder of its own."
            )
    return {name: layers[0] for name, layers in found.items()}


def scene_of(
    path: Path, sensor: str, level: str, layers: Mapping[str, Layer], options: OpenOptions,
    quality: Quality | None = None,
) -> Scene:  # fmt: skip
    """Bands of one grid as a scene.

    Raises:
        SceneError: one cannot be read, or lies on another grid than the others.
    """
    grids = {name: layer.grid() for name, layer in layers.items()}
    first = next(iter(grids))
    for name, grid in grids.items():
        if grids[first].ratio(grid) != 1:
            raise SceneError(
                f"{path}: {name} lies on another grid ({grid}) than {first} ({grids[first]}). "
                "Export them alike."
            )
    values = {name: _values(layer) for name, layer in layers.items()}
    dtype = np.result_type(*(kind for kind, _, _ in values.values()))
    bands = tuple(
        Band(
            name, _GSD, layer.path, nodata=values[name][1], quality=quality, layer=layer.name,
            driver=layer.driver, offset=options.dn_offset or 0.0, tagged=(values[name][2], 0.0),
        )
        for name, layer in layers.items()
    )  # fmt: skip
    grid = grids[first]
    scene = Scene(path.name, str(path), sensor, level, bands, {_GSD: grid}, grid.window, dtype,
                  _UNIT, acquisition=acquired(Path(layers[first].path).name))  # fmt: skip
    return quantified(scene, options)


def acquired(name: str) -> Acquisition:
    """What a file's name tells: the satellite, and the day where it shows one day."""
    match, time = _DAY.search(name), ""
    if match and name[5:7].upper() in _DAILY:
        try:
            time = f"{datetime.strptime(match[1], '%Y%j'):%Y-%m-%d}"
        except ValueError:  # no such day
            time = ""
    return Acquisition(time, _PLATFORMS.get(name[:3].upper(), ""))


def _values(layer: Layer) -> tuple[np.dtype[Any], float, float]:
    """Type, nodata and scale of a layer; the product's own where the file tells none."""
    with layer.open() as dataset:
        dtype = np.dtype(dataset.dtypes[0])
        nodata = nodata_value(dataset.nodata, dtype)
        scale = float(dataset.scales[0])
    if dtype.kind == "i" and np.isnan(nodata):
        nodata = _FILL
    told = 0 < scale < 1  # some libraries write its inverse
    return dtype, nodata, scale if told else 1 / _UNIT if dtype.kind in "iu" else 1.0


def masked_note(quality: Quality | None, name: str) -> Note:
    """What is told of the layer that says which pixels are clear."""
    if quality is None:
        said = name.removeprefix("the ")
        return Note(f"no {said} beside the bands: every pixel is taken for clear", warning=True)
    return Note(f"pixels that {name} calls cloudy are left empty")
