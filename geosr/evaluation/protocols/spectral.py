"""Sentinel-2 scenes on one grid, where all bands are measured; the net is given some of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.evaluation.protocols.case import Case, Data, Rows, scenes, whole
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.strips import strips
from geosr.models.card import Model, ModelCard
from geosr.models.nets.spectral.spectral import nearest
from geosr.scene.onegrid import OneGridReader, on_one_grid
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.training.datasets.spectral import grids_of, known_bands


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case a scene and grid; bands that come in are not scored."""
    for scene in scenes(data, "sentinel2", failed):
        try:
            gsds = grids_of(scene, card)
        except SceneError as error:
            failed[scene.name] = str(error)
            continue
        for gsd in gsds:
            known = known_bands(scene, card, gsd)
            bands = tuple(name for name in known if name not in card.inputs[0].bands)
            yield Case(
                scene.name, scene.path, scene.level, f"spectral {gsd} m", bands,
                partial(_rows, scene, gsd, bands, data), partial(_low, scene, gsd, bands, card),
            )  # fmt: skip


def _rows(
    scene: Scene, gsd: int, bands: tuple[str, ...], data: Data, model: Model, engine: Engine
) -> Iterator[Rows]:
    low = on_one_grid(scene, gsd)
    with scene.open() as source:
        reader = OneGridReader(source, scene, gsd)
        plan = make_plan(low, [model], Request(tile_size=data.tile_size, panels=False), engine)
        with closing(strips(reader, plan, engine)) as finished:
            for strip in finished:
                true = reader.read(bands, gsd, strip.window)
                given = strip.read[gsd].usable.all(0)
                estimate = np.stack([strip.predicted[band] for band in bands])
                yield Rows(reflectance(low, bands, true.values), estimate, true.usable & given)


def _low(scene: Scene, gsd: int, bands: tuple[str, ...], card: ModelCard) -> NDArray[np.float32]:
    """For pictures: of every band the nearest one that comes in."""
    given, near = card.inputs[0].bands, nearest(card)
    names = [given[near[card.bands.index(band)]] for band in bands]
    with scene.open() as source:
        return whole(OneGridReader(source, scene, gsd), on_one_grid(scene, gsd), names)
