"""What bands and counts of a scene mean to whoever opens a raster made of it."""

from __future__ import annotations

from dataclasses import replace

from geosr.scene.band import Band
from geosr.scene.scene import Scene
from geosr.scene.spectrum import Spectrum, spectrum
from geosr.sensors.sentinel2 import NO_OFFSET

_REFLECTANCE = ("sentinel2", "probav")  # sensors whose counts have one quantification


def with_meaning(scene: Scene) -> Scene:
    """The scene whose bands have wavelength, colour and GDAL's scale and offset, where known.

    What a file says of its own bands stands. Counts whose offset was merely assumed get no scale:
    reflectance would be a guess there.
    """
    scaled = scene.sensor in _REFLECTANCE and NO_OFFSET[1] not in scene.notes
    bands = (_with_spectrum(band, scene) for band in scene.bands)
    return replace(
        scene, bands=tuple(_with_scale(band, scene) if scaled else band for band in bands)
    )


def _with_spectrum(band: Band, scene: Scene) -> Band:
    if band.spectrum != Spectrum():
        return band
    known = spectrum(band.name, scene.sensor, scene.acquisition.platform)
    return replace(band, spectrum=known)


def _with_scale(band: Band, scene: Scene) -> Band:
    """Reflectance is count × scale + offset, GDAL's way of saying (count + offset) × gain."""
    if band.tagged != (1.0, 0.0):
        return band
    unit = band.gain / scene.quantification
    return replace(band, tagged=(float(f"{unit:.12g}"), float(f"{band.offset * unit:.12g}")))
