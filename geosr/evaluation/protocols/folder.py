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
from geosr.scene.scene import Scene


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case an image."""
    for scene in images(data, card, failed):
        yield Case(
            scene.name, scene.path, "", f"x{card.scale}", all_names(scene),
            partial(_rows, scene, data), partial(_low, scene, data, card),
        )  # fmt: skip


def _rows(scene: Scene, data: Data, model: Model, engine: Engine) -> Iterator[Rows]:
    with scene.open() as source:
        reader = WaldReader(source, model.card.scale, (1,), data.operator or "bicubic")
        degraded = replace(scene, grids=reader.grids, window=reader.grids[1].window)
        yield from rows_of(degraded, reader, scene, source, data, model, engine, (0, 0))


def _low(scene: Scene, data: Data, card: ModelCard) -> NDArray[np.float32]:
    with scene.open() as source:
        reader = WaldReader(source, card.scale, (1,), data.operator or "bicubic")
        return whole(reader, scene, all_names(scene))
