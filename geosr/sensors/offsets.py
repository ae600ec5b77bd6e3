"""DN offsets against the pixels: one that makes much of a scene negative is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from geosr.errors import GeosrError
from geosr.raster.window import Window
from geosr.scene.note import Note
from geosr.scene.scene import Scene

_SIDE = 512  # pixels along the middle of the scene that is looked at, at full resolution
_NEGATIVE = -0.02  # reflectance that no ground has
_SHARE = 0.01  # of the valid pixels


def checked(scene: Scene) -> Scene:
    """The scene without a guessed offset that its pixels speak against; else with a warning.

    What the product's XML, a tag or the user said stands. An offset was guessed where a name told
    the processing baseline.
    """
    if not any(band.offset < 0 for band in scene.bands):
        return scene
    shares = _negative(scene)
    name = max(shares, key=shares.__getitem__, default="")
    if not name or shares[name] <= _SHARE:
        return scene
    offset = next(band.offset for band in scene.bands if band.name == name)
    said = (
        f"DN offset {offset:g} would make {shares[name]:.0%} of {name} negative beyond "
        f"{_NEGATIVE:g} reflectance"
    )
    if not any(note.guess for note in scene.notes):
        note = Note(f"{said}; it is applied as told. Check it, or say --dn-offset 0", warning=True)
        return replace(scene, notes=(*scene.notes, note))
    note = Note(f"{said}, so 0 is assumed; say --dn-offset {offset:g} to apply it", warning=True)
    kept = tuple(other for other in scene.notes if not other.guess)
    bands = tuple(replace(band, offset=0.0) for band in scene.bands)
    return replace(scene, bands=bands, notes=(*kept, note))


def _negative(scene: Scene) -> Mapping[str, float]:
    """Share of the valid pixels of each of the finest bands that would lie far below zero."""
    bands = [band for band in scene.bands if band.gsd == scene.finest and not band.frame]
    grid = scene.grids[scene.finest]
    height, width = (min(n, _SIDE) for n in grid.shape)
    window = Window((grid.height - height) // 2, (grid.width - width) // 2, height, width)
    limit = _NEGATIVE * scene.quantification
    try:
        with scene.open() as reader:
            pixels = reader.read([band.name for band in bands], scene.finest, window)
    except GeosrError:  # who reads the scene will say so
        return {}
    found = {}
    for band, values, usable in zip(bands, pixels.values, pixels.usable, strict=True):
        if usable.any():
            low = values[usable].astype(np.float64) + band.offset < limit
            found[band.name] = float(low.mean())
    return found
