"""Landsat 7, 8 and 9, Collection 2: folders and tars as the USGS gives them.

Level 1 (`LC08_L1TP_…_B8.TIF`) has the panchromatic band at 15 m beside the bands at 30 m; Level 2
surface reflectance (`…_SR_B4.TIF`) has none. What a count is comes from `…_MTL.txt` or `…_MTL.json`
(REFLECTANCE_MULT_BAND_n, REFLECTANCE_ADD_BAND_n; the sun's height is left out, as it is the same
for all), which pixels are clear from `…_QA_PIXEL.TIF` (Landsat 8-9 Collection 2 Data Format Control
Book, LSDS-1822; Landsat 7: LSDS-1414). Thermal bands and cirrus are left out.
"""

from __future__ import annotations

import json
import math
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from geosr.errors import SceneError, cause
from geosr.raster.files import open_raster
from geosr.raster.grid import Grid
from geosr.scene.acquisition import told
from geosr.scene.band import Band
from geosr.scene.note import Note
from geosr.scene.pointspread import LANDSAT
from geosr.scene.quality import Quality
from geosr.scene.scene import Scene
from geosr.sensors.options import OpenOptions

NAME, SENSOR = "Landsat", "landsat"
METRES = (15, 30)  # of the panchromatic and the multispectral bands
NO_GUIDE = ("no panchromatic band (B8) beside those at 30 m; Level 2 has none. Give the Level 1 "
            "product")  # fmt: skip
PAN = "pan"
_ETM = dict(zip((1, 2, 3, 4, 5, 7, 8), (*LANDSAT, PAN), strict=True))
_OLI = dict(zip((1, 2, 3, 4, 5, 6, 7, 8), ("coastal", *LANDSAT, PAN), strict=True))
_NUMBERS = {"LE07": _ETM, "LC08": _OLI, "LC09": _OLI, "LO08": _OLI, "LO09": _OLI}
_BAND = re.compile(
    r"(?P<sensor>L[EOC]0[789])_(?P<level>L[12]\w\w)_\d{6}_\d{8}_\d{8}_02_(?:T1|T2|RT)_"
    r"(?P<sr>SR_)?B(?P<number>\d+)\.TIF",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"_MTL\.(txt|json)$", re.IGNORECASE)
_QUALITY = re.compile(r"_QA_PIXEL\.TIF$", re.IGNORECASE)
_FILL_OR_CLOUD = 0b1001  # bits of QA_PIXEL
_LINE = re.compile(r'\s*(\w+)\s*=\s*"?([^"\n]*)"?\s*')
_TOLD = ("DATE_ACQUIRED", "SCENE_CENTER_TIME", "SPACECRAFT_ID", "SUN_AZIMUTH", "SUN_ELEVATION",
         "WRS_PATH", "WRS_ROW")  # fmt: skip
_LARGEST = 2**22  # bytes of an MTL
_NODATA = 0.0
_GSD = 1  # as of any raster; a pair tells metres
_USUAL = {("L1", 2): (2e-5, -0.1), ("L2", 2): (2.75e-5, -0.2), ("L1", 1): (1 / 255, 0.0)}

Scaling = tuple[float, float]  # reflectance = count × first + second


@dataclass(frozen=True)
class _Product:
    """Names inside a product, and how to reach them."""

    path: Path
    names: tuple[str, ...]

    def gdal_path(self, name: str) -> str:
        if self.path.is_file():
            return f"/vsitar/{self.path.resolve()}/{name}"
        return str(self.path / name)

    def text(self, name: str) -> str:
        if self.path.is_file():
            with tarfile.open(self.path) as tar:
                file = tar.extractfile(name)  # a stream: nothing is unpacked
                data = file.read(_LARGEST) if file else b""
        else:
            with (self.path / name).open("rb") as opened:
                data = opened.read(_LARGEST)
        return data.decode("utf-8", "replace")

    def find(self, pattern: re.Pattern[str]) -> str | None:
        """The first name that a pattern is found in."""
        return next((name for name in self.names if pattern.search(name)), None)


def told_by(path: Path) -> Path:
    """The product whose MTL a path is; else the path."""
    return path.parent if _ABOUT.search(path.name) and path.is_file() else path


def is_product(path: Path) -> bool:
    """A folder with files named as Collection 2's bands, or a tar named as a product."""
    if path.is_dir():
        return any(_BAND.fullmatch(p.name) for p in path.iterdir())
    named = re.match(r"L[EOC]0[789]_L[12]\w\w_", path.name, re.IGNORECASE)
    return bool(named) and path.suffix.lower() == ".tar" and path.is_file()


def open_bands(path: Path, options: OpenOptions) -> tuple[Scene, Scene | None]:
    """The bands at 30 m, and the panchromatic one; None where the product has none.

    Raises:
        SceneError: a band is missing or broken, or what a count is cannot be read.
    """
    product = _product(path)
    found = {int(m["number"]): m for name in product.names
             if (m := _BAND.fullmatch(PurePosixPath(name).name))}  # fmt: skip
    first = next(iter(found.values()), None)
    numbers = _NUMBERS.get(first["sensor"].upper()) if first else None
    if first is None or numbers is None:
        raise SceneError(
            f"{path} holds no band of Landsat 7, 8 or 9 named as Collection 2 does "
            "(LC08_L1TP_…_B2.TIF). Unpack the product as it came."
        )
    level = first["level"].upper()
    about, notes = _about(product)
    files = {number: next(n for n in product.names if PurePosixPath(n).name == m.group())
             for number, m in found.items() if number in numbers}  # fmt: skip
    clear = product.find(_QUALITY)
    quality = None
    if clear:
        quality = Quality(product.gdal_path(clear), bits=_FILL_OR_CLOUD)
        notes = (*notes, Note("pixels that QA_PIXEL calls cloud or fill are left empty"))
    scenes = [
        _scene(product, level, {numbers[n]: (n, files[n]) for n in part}, about, quality=at)
        for part, at in (([n for n in files if numbers[n] != PAN], quality),
                         ([n for n in files if numbers[n] == PAN], None)) if part
    ]  # fmt: skip
    if scenes[0].bands[0].name == PAN:
        raise SceneError(f"{path}: no band at 30 m beside the panchromatic one. Get it whole.")
    low = _noted(scenes[0], (*scenes[0].notes, *notes), options)
    return low, _noted(scenes[1], scenes[1].notes, options) if len(scenes) > 1 else None


def open_pan(path: Path, options: OpenOptions) -> Scene | None:
    """The panchromatic band by itself, as its product counts; None of a file that is none by name.

    Raises:
        SceneError: as `open_bands`.
    """
    match = _BAND.fullmatch(path.name)
    if not match or _NUMBERS.get(match["sensor"].upper(), {}).get(int(match["number"])) != PAN:
        return None
    own = path.name[: match.start("number") - 1]  # of a folder with several products' files
    names = tuple(name for name in _product(path.parent).names if name.startswith(own))
    product = _Product(path.parent, names)
    about, notes = _about(product)
    files = {PAN: (int(match["number"]), path.name)}
    scene = _scene(product, match["level"].upper(), files, about, quality=None)
    return _noted(scene, (*scene.notes, *notes), options)


def _product(path: Path) -> _Product:
    try:
        if path.is_dir():
            return _Product(path, tuple(sorted(p.name for p in path.iterdir())))
        with tarfile.open(path) as archive:
            return _Product(path, tuple(sorted(m.name for m in archive if m.isfile())))
    except (OSError, tarfile.TarError) as error:
        raise SceneError(f"cannot read {path}: {cause(error)}. Get the product again.") from error


def _about(product: _Product) -> tuple[dict[str, str], tuple[Note, ...]]:
    """What the MTL says, by key; the first of equal ones, which is the product's own level."""
    name = product.find(_ABOUT)
    if name is None:
        said = "no MTL.txt or MTL.json beside the bands; the usual scale and offset are taken"
        return {}, (Note(said, warning=True),)
    text, found = product.text(name), dict[str, str]()
    if name.lower().endswith(".json"):
        try:
            pairs = list(_flat(json.loads(text)))
        except ValueError as error:
            raise SceneError(
                f"{product.path}: {name} is no JSON ({error}). Get the product again."
            ) from error
    else:
        matches = (_LINE.fullmatch(line) for line in text.splitlines())
        pairs = [(m[1], m[2].strip()) for m in matches if m]
    for key, value in pairs:
        found.setdefault(key, value)
    return found, ()


def _flat(node: Any) -> list[tuple[str, str]]:
    """Keys and values of nested objects."""
    if not isinstance(node, dict):
        return []
    parts = (_flat(value) if isinstance(value, dict) else [(key, str(value))]
             for key, value in node.items())  # fmt: skip
    return [pair for part in parts for pair in part]


def _scene(
    product: _Product, level: str, files: Mapping[str, tuple[int, str]], about: Mapping[str, str],
    *, quality: Quality | None,
) -> Scene:  # fmt: skip
    """Bands of one grid, by name: (number, file)."""
    grids: dict[str, Grid] = {}
    dtypes = set()
    for name, (_, file) in files.items():
        with open_raster(product.gdal_path(file)) as dataset:
            grids[name], kind = Grid.of(dataset), np.dtype(dataset.dtypes[0])
            dtypes.add(kind)
    grid = next(iter(grids.values()))
    for name, other in grids.items():
        if grid.ratio(other) != 1:
            raise SceneError(
                f"{product.path}: band {name} lies on another grid ({other}) than the others "
                f"({grid}). Get the product again."
            )
    dtype = np.result_type(*dtypes)
    scales = {name: _scaling(product, level, number, about, dtype)
              for name, (number, _) in files.items()}  # fmt: skip
    unit = 1 / next(iter(scales.values()))[0]
    bands = tuple(
        Band(
            name, _GSD, product.gdal_path(file), offset=scales[name][1] / scales[name][0],
            nodata=_NODATA, driver="GTiff", quality=quality, tagged=scales[name],
            gain=scales[name][0] * unit,
        )
        for name, (_, file) in files.items()
    )  # fmt: skip
    path, name = product.path, product.path.name.removesuffix(".tar")
    metadata = product.find(_ABOUT)
    return Scene(
        name, str(path), SENSOR, level, bands, {_GSD: grid}, grid.window, dtype, unit,
        metadata=(str(path / metadata),) if metadata and path.is_dir() else (),
        acquisition=told(name, _told(about)),
    )  # fmt: skip


def _told(about: Mapping[str, str]) -> dict[str, str]:
    """What the MTL says of the acquisition, its day and time of day in one."""
    kept = {key: about[key] for key in _TOLD if key in about}
    day, time = about.get("DATE_ACQUIRED"), about.get("SCENE_CENTER_TIME", "")
    return kept | ({"ACQUISITIONDATETIME": f"{day}T{time}"} if day else {})


def _scaling(
    product: _Product, level: str, number: int, about: Mapping[str, str], dtype: np.dtype[Any]
) -> Scaling:
    """Scale and offset of a band's counts to reflectance."""
    keys = (f"REFLECTANCE_MULT_BAND_{number}", f"REFLECTANCE_ADD_BAND_{number}")
    if not all(key in about for key in keys):
        return _USUAL.get((level[:2], dtype.itemsize), (1e-4, 0.0))
    try:
        scale, offset = (float(about[key]) for key in keys)
    except ValueError:
        scale, offset = math.nan, math.nan
    if not (0 < scale < math.inf and math.isfinite(offset)):
        said = f"{about[keys[0]][:20]} and {about[keys[1]][:20]}"
        raise SceneError(
            f"{product.path}: its MTL scales band {number} by {said}; a positive and a finite "
            "number are needed. Get the product again."
        )
    return scale, offset


def _noted(scene: Scene, notes: tuple[Note, ...], options: OpenOptions) -> Scene:
    """The scene as asked, and what is told of it."""
    unit = options.quantification or scene.quantification
    said = "as asked" if options.quantification else "by its MTL or the usual scale"
    bands = scene.bands
    if options.dn_offset is not None:
        bands = tuple(replace(band, offset=options.dn_offset) for band in bands)
    note = Note(f"count {unit:.6g} of {bands[0].name} is 1.0, {said}")
    return replace(scene, quantification=unit, bands=bands, notes=(note, *notes))
