"""Nets without weights for any pair, bound to the bands and grids of a scene."""

from __future__ import annotations

import math

from geosr.errors import SceneError
from geosr.models import registry
from geosr.models.card import Input, Model
from geosr.models.nets.guided.classical import for_scene
from geosr.scene import pointspread
from geosr.scene.scene import Scene


def bound(model: Model, scene: Scene, spread: list[float] | None = None) -> Model:
    """The net for the bands of a scene's two grids.

    Args:
        spread: by coarse band σ in fine pixels; None is what is known of the sensor.

    Raises:
        SceneError: the scene has not two grids.
    """
    fine, coarse = two_inputs(scene, model.card.name)
    builder = registry.builder(model.card)
    card = for_scene(model.card, builder, fine, coarse, spread or known_spread(scene))
    net = registry.build(card)
    return Model(card, net.net.eval())


def two_inputs(scene: Scene, net: str) -> tuple[Input, Input]:
    """What a net for any pair reads of a scene: the bands of its finer grid and of its coarser one.

    Raises:
        SceneError: the scene has not two grids.
    """
    if len(scene.grids) != 2:
        raise SceneError(
            f"{scene.path} has {len(scene.grids)} grids; '{net}' sharpens one by another. Give a "
            "coarse raster and --guide FINE."
        )
    fine, coarse = (Input(gsd, tuple(band.name for band in scene.select(gsd=gsd)))
                    for gsd in sorted(scene.grids))  # fmt: skip
    return fine, coarse


def known_spread(scene: Scene) -> list[float] | None:
    """σ of the coarse bands in fine pixels, relative to the softest guide, where all are known."""
    low, high = sorted(scene.grids)
    names = [band.name for band in scene.select(gsd=high)]
    if not pointspread.known(names, low):
        return None
    own = max(pointspread.relative(band.name) for band in scene.select(gsd=low))
    return [math.sqrt(max(pointspread.relative(n) ** 2 - own**2, 0.0)) / low for n in names]
