"""Images, degraded by an operator; the images are the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.protocols.case import Case, Data, Rows, all_names, images, rows_of, whole
from geosr.inference.engine import Engine
from geosr.models.card import Model, ModelCard
from geosr.scene.degraded import WaldReader
from geosr.scene.pixels import Reader
from geosr.scene.resample import ResampledReader
from geosr.scene.scene import Scene


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case an image."""
    for scene in images(data, card, failed):
        yield Case(
            scene.name, scene.path, "", f"x{card.factor:g}", all_names(scene),
            partial(_rows, scene, data), partial(_low, scene, data, card),
        )  # fmt: skip


def _rows(scene: Scene, data: Data, model: Model, engine: Engine) -> Iterator[Rows]:
    with scene.open() as source:
        reader = _reader(source, data, model.card)
        degraded = replace(scene, grids=reader.grids, window=reader.grids[1].window)
        yield from rows_of(degraded, reader, scene, source, data, model, engine, (0, 0))


def _low(scene: Scene, data: Data, card: ModelCard) -> NDArray[np.float32]:
    with scene.open() as source:
        return whole(_reader(source, data, card), scene, all_names(scene))


def _reader(source: Reader, data: Data, card: ModelCard) -> WaldReader | ResampledReader:
    """The scene, as many times coarser as the net makes it finer."""
    operator = data.operator or "bicubic"
    if card.factor == card.scale:
        return WaldReader(source, card.scale, (1,), operator)
    return ResampledReader(source, card.factor, operator)
