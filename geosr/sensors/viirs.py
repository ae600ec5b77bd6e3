"""VIIRS surface reflectance of Suomi NPP and NOAA-20, -21: imagery bands beside moderate ones.

VNP09GA, VJ109GA and VJ209GA have the bands I1 to I3 on a grid of 500 m and the bands M1 to M11 at
1 km, resampled from 375 and 750 m, in one HDF5 file or as GeoTIFFs; the 8-day composites VNP09H1
and VNP09A1 likewise, in a file each.

Which pixels are clear is told by QF1 (VIIRS Surface Reflectance User's Guide): bit 3 is set where
it is cloudy, confidently or probably.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from geosr.errors import SceneError
from geosr.scene.scene import Scene
from geosr.sensors import modland
from geosr.sensors.options import OpenOptions

NAME, SENSOR = "VIIRS", "viirs"
METRES = (500, 1000)
NO_GUIDE = "no I bands beside the M bands. Put SurfReflect_I1 to I3 into the same folder"
SUFFIXES = (".h5", ".hdf5")
_PRODUCT = re.compile(r"V(?:NP|J1|J2)09(?P<kind>GA|H1|A1)?(?=[._])", re.IGNORECASE)
_LAYER = r"SurfReflect_(?P<layer>I[1-3]|M\d\d?|QF1)(?:_1)?(?=[_.\-]|$)"
_FILE = re.compile(rf"{_PRODUCT.pattern}.*?{_LAYER}", re.IGNORECASE)
_DATASET = re.compile(rf"GRIDS/.*/{_LAYER}$", re.IGNORECASE)
_FINE = ("I1", "I2", "I3")
_COARSE = ("M1", "M2", "M3", "M4", "M5", "M7", "M8", "M10", "M11")
_CLOUDY = 0b1000  # bit of QF1


def is_product(path: Path) -> bool:
    """A folder of GeoTIFFs named as VIIRS surface reflectance, or one HDF5 file so named."""
    if path.is_dir():
        return bool(modland.geotiffs(path, _FILE))
    named = bool(_PRODUCT.match(path.name))
    return named and path.suffix.lower() in SUFFIXES and path.is_file()


def open_bands(path: Path, options: OpenOptions) -> tuple[Scene, Scene | None]:
    """The M bands at 1 km, and the I bands at 500 m; None where the product has none.

    Raises:
        SceneError: a layer is broken or there twice, or there are no M bands on a grid.
    """
    named = (modland.datasets(path, "HDF5Image", _DATASET, "GA") if path.is_file()
             else modland.single(modland.geotiffs(path, _FILE)))  # fmt: skip
    layers = {name.split()[-1]: layer for name, layer in named.items()}
    low, fine = ({name: layers[name] for name in names if name in layers}
                 for names in (_COARSE, _FINE))  # fmt: skip
    if not low:
        raise SceneError(
            f"{path}: no M band on a grid (found: {', '.join(layers) or 'none'}). Swaths (VNP09) "
            "lie as they were scanned: take VNP09GA, or put its SurfReflect_M… beside the I bands."
        )
    level = _level(path, low)
    quality = layers["QF1"].quality(_CLOUDY) if "QF1" in layers else None
    coarse = modland.scene_of(path, SENSOR, level, low, options, quality)
    coarse = replace(coarse, notes=(*coarse.notes, modland.masked_note(quality, "QF1")))
    return coarse, modland.scene_of(path, SENSOR, level, fine, options) if fine else None


def _level(path: Path, layers: dict[str, modland.Layer]) -> str:
    """The product that some bands come from, "VNP09GA"."""
    match = _PRODUCT.search(Path(next(iter(layers.values())).path).name)
    return match[0].upper() if match else ""
