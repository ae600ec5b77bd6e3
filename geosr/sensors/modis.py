"""MODIS surface reflectance of Terra and Aqua: 250 m bands beside 500 m ones.

MOD09GA and MYD09GA have the bands 1 to 7 at 500 m and `state_1km`, MOD09GQ and MYD09GQ the bands 1
and 2 at 250 m; of the 8-day composites MOD09A1 and MOD09Q1 likewise. Files of both lie in one
folder. Bands 1 and 2 at 500 m are means of those at 250 m and are left out where those are there.

Which pixels are clear is told by the state (MODIS Surface Reflectance User's Guide, collection
6.1): neither cloudy nor mixed by bits 0 and 1, no cloud shadow by bit 2, no cloud by bit 10.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from geosr.errors import SceneError
from geosr.raster.files import is_hdf4
from geosr.scene.note import Note
from geosr.scene.quality import Quality
from geosr.scene.scene import Scene
from geosr.sensors import modland
from geosr.sensors.options import OpenOptions

NAME, SENSOR = "MODIS", "modis"
METRES = (250, 500)
NO_GUIDE = "no bands at 250 m beside those at 500 m. Put those of MOD09GQ into the same folder"
_PRODUCT = re.compile(r"M[OY]D09(?P<kind>GA|GQ|A1|Q1)(?=[._])", re.IGNORECASE)
_LAYER = r"(?P<layer>sur_refl_b0[1-7]|(?:sur_refl_)?state_(?:1km|500m))(?:_1)?(?=[_.\-]|$)"
_FILE = re.compile(rf"{_PRODUCT.pattern}.*?{_LAYER}", re.IGNORECASE)
_DATASET = re.compile(rf"{_LAYER}$", re.IGNORECASE)
_FINE, _COARSE = ("GQ", "Q1"), ("GA", "A1")
_BANDS = tuple(f"sur_refl_b0{n}" for n in range(1, 8))
_SHADOW_OR_CLOUD = 0b100_0000_0100  # bits of the state
_CLOUDY, _MIXED = (0b11, 0b01), (0b11, 0b10)


def is_product(path: Path) -> bool:
    """A folder with files named as MODIS surface reflectance, or one HDF4 file so named."""
    if path.is_dir():
        return bool(_hdf(path) or modland.geotiffs(path, _FILE))
    return bool(_PRODUCT.match(path.name)) and path.suffix.lower() == ".hdf" and is_hdf4(path)


def open_bands(path: Path, options: OpenOptions) -> tuple[Scene, Scene | None]:
    """The bands at 500 m, and those at 250 m; None where the product has none.

    Raises:
        SceneError: a layer is broken or there twice, there are no bands at 500 m, or the product
            is HDF4, for which GDAL has no driver.
    """
    found = modland.geotiffs(path, _FILE)
    for file in _hdf(path):
        kind = _kind(file)
        for name, layer in modland.datasets(file, "HDF4Image", _DATASET, kind).items():
            found.setdefault(name, []).append(layer)
    layers = modland.single(found)
    fine = {name: layers[f"{kind} {name}"] for kind in _FINE for name in _BANDS
            if f"{kind} {name}" in layers}  # fmt: skip
    coarse = {name: layers[f"{kind} {name}"] for kind in _COARSE for name in _BANDS
              if f"{kind} {name}" in layers}  # fmt: skip
    kept = {name: layer for name, layer in coarse.items() if name not in fine}
    if not kept:
        raise SceneError(
            f"{path}: no band at 500 m beside {', '.join(fine) or 'nothing'} at 250 m. Put "
            "MOD09GA's bands into the same folder (sur_refl_b03 to b07)."
        )
    quality = _quality(layers)
    low = modland.scene_of(path, SENSOR, _level(layers, _COARSE), kept, options, quality)
    notes = [*low.notes, modland.masked_note(quality, "the state layer")]
    if len(kept) < len(coarse):
        names = " and ".join(sorted(coarse.keys() & fine.keys()))
        notes.append(Note(f"{names} at 500 m left out: they are means of those at 250 m"))
    low = replace(low, notes=tuple(notes))
    if not fine:
        return low, None
    return low, modland.scene_of(path, SENSOR, _level(layers, _FINE), fine, options)


def _hdf(path: Path) -> list[Path]:
    """The product's HDF4 files: the one given, or those of a folder."""
    files = [path] if path.is_file() else path.iterdir()
    return sorted(p for p in files if p.suffix.lower() == ".hdf" and _PRODUCT.match(p.name))


def _kind(file: Path) -> str:
    match = _PRODUCT.match(file.name)
    return match["kind"].upper() if match else ""


def _quality(layers: dict[str, modland.Layer]) -> Quality | None:
    """Clear pixels by the state of the observation, if it is there."""
    state = next((layer for name, layer in layers.items() if "state" in name), None)
    return state.quality(_SHADOW_OR_CLOUD, _CLOUDY, _MIXED) if state else None


def _level(layers: dict[str, modland.Layer], kinds: tuple[str, ...]) -> str:
    """The product that some bands come from, "MOD09GA"."""
    names = (Path(layer.path).name for name, layer in layers.items() if name[:2] in kinds)
    match = next(filter(None, map(_PRODUCT.match, names)), None)
    return match[0].upper() if match else ""
