"""Scenes on one grid, all bands measured: some of them are given, all of them are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geosr.errors import GeosrError, SceneError, UsageError
from geosr.models.card import ModelCard
from geosr.raster.window import Window
from geosr.scene.onegrid import OneGridReader
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.windows import Area, Spot, Windows, tell_left_out


@dataclass(frozen=True)
class Gridded:
    """A scene, and the GSD of the grid that its bands are averaged to."""

    name: str
    scene: Scene
    gsd: int


class SpectralWindows(Windows[Gridded]):
    """Windows of scenes on their 60 m and on their 20 m grid, where 60 m bands have no truth."""

    kind = "spectral"

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The bands given and all bands in a window; what is not known is 0 and does not count."""
        item, card = self.areas[spot.area].item, self.card
        reader = OneGridReader(self._reader(item.scene), item.scene, item.gsd)
        given = card.inputs[0].bands
        names = known_bands(item.scene, card, item.gsd)
        known = [card.bands.index(name) for name in names]
        low = reader.read(given, item.gsd, spot.window)
        true = reader.read(names, item.gsd, spot.window)
        sensed = low.usable.all(0)
        target = np.zeros((len(card.bands), *spot.window[2:]), np.float32)
        mask = np.zeros(target.shape, bool)
        target[known] = reflectance(item.scene, names, true.values)
        mask[known] = true.usable & sensed
        return Sample({1: reflectance(item.scene, given, low.values)}, target * mask, mask)

    def _gains(self, rng: np.random.Generator) -> dict[str, float]:
        """One gain for all bands: how they go together is what is learnt."""
        common = float(np.exp(rng.normal(0, self.jitter)))
        return dict.fromkeys((*self.card.inputs[0].bands, *self.card.bands), common)


def areas(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None
) -> list[Area[Gridded]]:
    """Every readable scene of a folder with all bands of the net, once a grid.

    Raises:
        UsageError: there is none; the message gives the first reason.
    """
    found, reasons = [], []
    for path in find_scenes(data, pattern=pattern):
        try:
            scene = open_scene(path, options)
            gsds = grids_of(scene, card)
        except GeosrError as error:
            reasons.append(str(error))
            continue
        found += [
            Area(Gridded(scene.name, scene, gsd), Window(0, 0, *scene.grids[gsd].shape))
            for gsd in gsds
        ]
    if not found:
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise UsageError(
            f"{data} holds no scene to train '{card.name}' on.{why} Give a folder of Sentinel-2 "
            "scenes that have all of these bands."
        )
    tell_left_out(reasons, len({area.item.scene.path for area in found}))
    return found


def grids_of(scene: Scene, card: ModelCard) -> list[int]:
    """GSDs of the grids to learn on: those of the coarse bands that the net tells.

    Raises:
        SceneError: it lacks a band that comes in or all others, or its grids do not nest.
    """
    scene.select(names=card.inputs[0].bands)
    told = scene.order(set(card.bands) - set(card.inputs[0].bands))
    gsds = sorted({scene.gsd(name) for name in told} - {scene.finest})
    if not gsds:
        raise SceneError(
            f"{scene.path} has no coarser bands that '{card.name}' tells (found: "
            f"{' '.join(band.name for band in scene.bands)}). Give a scene with bands of 20 m."
        )
    scene.check_nested(gsds)
    return gsds


def known_bands(scene: Scene, card: ModelCard, gsd: int) -> tuple[str, ...]:
    """Those of the net's bands that a scene has at a GSD or finer, in the net's order."""
    there = {band.name for band in scene.bands if band.gsd <= gsd}
    return tuple(name for name in card.bands if name in there)
