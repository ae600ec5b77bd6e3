"""Sentinel-2 scenes, degraded by the net's factor; their own coarse bands are the truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.protocols.case import Case, Data, Rows, bound_card, scenes, whole
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.statistics import learnt
from geosr.inference.strips import strips
from geosr.models.card import Model, ModelCard
from geosr.scene.degraded import WaldReader, truth
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case a scene that has all bands of the net."""
    net = card
    for scene in scenes(data, card.scenes, failed):
        card = bound_card(net, scene)
        names = {name for item in card.inputs for name in item.bands}
        nested = {item.gsd for item in card.inputs} <= set(scene.grids)
        if not nested or not names <= {band.name for band in scene.bands}:
            continue  # scenes that lack a net's bands are left out of its scores
        yield Case(
            scene.name, scene.path, scene.level, str(card.native_gsd), card.bands,
            partial(_rows, scene, data, card), partial(_low, scene, data, card),
            card.scale,
        )  # fmt: skip


def _reader(scene: Scene, data: Data, card: ModelCard, source: Reader) -> WaldReader:
    gsds = tuple({card.output.gsd, *(item.gsd for item in card.inputs)})
    return WaldReader(source, card.scale, gsds, data.operator or "gaussian", truths=card.bands)


def _rows(
    scene: Scene, data: Data, card: ModelCard, model: Model, engine: Engine
) -> Iterator[Rows]:
    scene.check_nested([item.gsd for item in card.inputs])
    with scene.open() as source:
        reader = _reader(scene, data, card, source)
        finest = reader.grids[card.output.gsd]
        degraded = replace(scene, grids=reader.grids, window=finest.window)
        request = Request(only_sr=True, tile_size=data.tile_size, fit=data.fit, refine=data.refine,
                          panels=False)  # fmt: skip
        plan = learnt(make_plan(degraded, [model], request, engine), reader, request, engine)
        with closing(strips(reader, plan, engine)) as finished:
            for strip in finished:
                true = truth(source, card.bands, card.native_gsd, strip.window, reader.operator)
                target = reflectance(scene, card.bands, true.values)
                estimate = np.stack([strip.predicted[band] for band in card.bands])
                yield Rows(target, estimate, true.usable)


def _low(scene: Scene, data: Data, card: ModelCard) -> NDArray[np.float32]:
    with scene.open() as source:
        return whole(_reader(scene, data, card, source), scene, card.bands)
