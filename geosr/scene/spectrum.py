"""Where in the spectrum a band was sensed, and how viewers are to draw it.

Centre and full width at half maximum of Sentinel-2's bands: ESA, Sentinel-2 User Handbook and MSI
technical guide, by satellite; where the satellite is not known, ESA's nominal values, which GDAL's
driver of the products gives too. Landsat's are the ends of the bands as the USGS tells them
(Landsat 8-9 Collection 2 Data Format Control Book, LSDS-1822; Landsat 7 Data Users Handbook).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_S2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
_NANOMETRES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "sentinel2": (
        (443, 20), (490, 65), (560, 35), (665, 30), (705, 15), (740, 15), (783, 20), (842, 115),
        (865, 20), (945, 20), (1375, 30), (1610, 90), (2190, 180),
    ),
    "sentinel-2a": (
        (442.7, 21), (492.4, 66), (559.8, 36), (664.6, 31), (704.1, 15), (740.5, 15), (782.8, 20),
        (832.8, 106), (864.7, 21), (945.1, 20), (1373.5, 31), (1613.7, 91), (2202.4, 175),
    ),
    "sentinel-2b": (
        (442.2, 21), (492.1, 66), (559.0, 36), (664.9, 31), (703.8, 16), (739.1, 15), (779.7, 20),
        (832.9, 106), (864.0, 22), (943.2, 21), (1376.9, 30), (1610.4, 94), (2185.7, 185),
    ),
}  # fmt: skip
_OLI = {
    "coastal": (435, 451), "blue": (452, 512), "green": (533, 590), "red": (636, 673),
    "nir": (851, 879), "swir1": (1566, 1651), "swir2": (2107, 2294), "pan": (503, 676),
}  # fmt: skip
_ETM = {
    "blue": (441, 514), "green": (519, 601), "red": (631, 692), "nir": (772, 898),
    "swir1": (1547, 1749), "swir2": (2064, 2345), "pan": (515, 896),
}  # fmt: skip
_ENDS = {"landsat-7": _ETM, "landsat-8": _OLI, "landsat-9": _OLI}
_COLOURS = {
    "sentinel2": dict(zip(_S2, (
        "coastal", "blue", "green", "red", "rededge", "rededge", "rededge", "nir", "nir", "nir",
        "other_ir", "swir", "swir",
    ), strict=True)),
    "landsat": {
        "coastal": "coastal", "blue": "blue", "green": "green", "red": "red", "nir": "nir",
        "swir1": "swir", "swir2": "swir", "pan": "pan",
    },
    "probav": {"BLUE": "blue", "RED": "red", "NIR": "nir", "SWIR": "swir"},
}  # fmt: skip


@dataclass(frozen=True)
class Spectrum:
    """Of one band.

    Attributes:
        centre, width: in µm, the width at half maximum; 0 where it is not known.
        colour: GDAL's colour interpretation as rasterio writes it, "red" or "rededge"; "" for none.
    """

    centre: float = 0.0
    width: float = 0.0
    colour: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """GDAL's metadata of a band, in its domain IMAGERY."""
        told = {"CENTRAL_WAVELENGTH_UM": self.centre, "FWHM_UM": self.width}
        return {key: f"{value:.6g}" for key, value in told.items() if value}


def spectrum(name: str, sensor: str, platform: str = "") -> Spectrum:
    """What is known of a band.

    Args:
        sensor: as a scene has it, "sentinel2", "landsat" or "probav"; of others nothing is known.
        platform: the satellite, "sentinel-2a".
    """
    colour = _COLOURS.get(sensor, {}).get(name, "")
    centre, width = _nanometres(name, sensor, platform)
    return Spectrum(round(centre / 1000, 7), round(width / 1000, 7), colour)


def _nanometres(name: str, sensor: str, platform: str) -> tuple[float, float]:
    """Centre and width in nm; zeros where they are not known."""
    if sensor == "sentinel2" and name in _S2:
        table = _NANOMETRES.get(platform, _NANOMETRES[sensor])
        return table[_S2.index(name)]
    low, high = _ENDS.get(platform, {}).get(name, (0, 0)) if sensor == "landsat" else (0, 0)
    return (low + high) / 2, high - low


def of_tags(tags: Mapping[str, str], colour: str) -> Spectrum:
    """What a file itself says of a band: its domain IMAGERY, its colour interpretation."""
    centre, width = (_number(tags.get(key, "")) for key in ("CENTRAL_WAVELENGTH_UM", "FWHM_UM"))
    plain = colour in ("undefined", "gray", "alpha", "palette")
    return Spectrum(centre, width, "" if plain else colour)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 < value < 1000 else 0.0
