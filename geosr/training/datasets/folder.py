"""A folder of images as truth; the inputs are the same images, degraded."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, UsageError
from geosr.models.card import ModelCard
from geosr.raster.window import Window
from geosr.scene.degradation import way_of
from geosr.scene.fill import fill
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.layouts import layout_of
from geosr.training.datasets.windows import Area, Spot, Windows, check_bands, pick, tell_left_out

_FILL_REACH = 8
_UNIT = 10000.0  # counts of 1.0


class FolderWindows(Windows[Scene]):
    """Windows of images, degraded in a way of `geosr.scene.degradation.way_of`."""

    kind = "folder"
    anywhere = True

    def __init__(
        self, areas: Sequence[Area[Scene]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0, operator: str = "bicubic",
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self.way = way_of(operator)
        self.way.draw(card.scale, np.random.default_rng(0))  # says what is not for this scale

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """A window of truth and its degraded self; gaps are filled before they are degraded."""
        factor = self.card.scale
        drawn = self.way.draw(factor, rng)
        pad = drawn.blur.beyond(factor)
        values, usable = self._truth(spot, pad)
        small = drawn.blur(values, factor, pad=pad)
        if drawn.finish is not None:
            small = drawn.finish(small / np.float32(_UNIT), rng) * np.float32(_UNIT)
        inner = (slice(None), *[slice(pad, pad + self.patch)] * 2)
        return Sample({self.card.native_gsd: small}, values[inner], usable[inner])

    def _truth(self, spot: Spot, pad: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values, filled, and where they were sensed, in the window and `pad` around it."""
        scene = self.areas[spot.area].item
        names = pick(self.card, [band.name for band in scene.bands], spot.band)
        reader = self._reader(scene)
        pixels = reader.read(names, scene.finest, spot.window.grow(pad))
        values = fill(pixels.values, pixels.usable, _FILL_REACH)
        return reflectance(scene, names, values), pixels.usable


def images(data: Path, pattern: str | None = None) -> Sequence[Path]:
    """The images of a folder whose names match, or of the published data set that it is.

    Raises:
        UsageError: no such folder, or something of the data set is missing.
    """
    layout = layout_of(data)
    if layout is None or layout.images is None:
        return find_scenes(data, pattern=pattern, kind="image")
    return [path for path in layout.images(data) if fnmatch(path.name, pattern or "*")]


def areas(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None
) -> list[Area[Scene]]:
    """Every readable image of a folder.

    Raises:
        UsageError: there is none, or one has another number of bands than the net takes.
    """
    found, reasons = [], []
    for path in images(data, pattern):
        try:
            scene = open_scene(path, options)
        except GeosrError as error:
            reasons.append(str(error))
            continue
        bands = check_bands(card, path.name, len(scene.bands))
        found.append(Area(scene, Window(0, 0, *scene.grid.shape), bands))
    if not found:
        why = f" First reason: {reasons[0]}" if reasons else ""
        said = f" named {pattern}" if pattern else ""
        raise UsageError(
            f"{data} holds no image{said} to train '{card.name}' on.{why} "
            "Give a folder of GeoTIFF, PNG or JPEG files."
        )
    tell_left_out(reasons, len(found))
    return found
