"""Images as several simulated frames; the images are the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.protocols.case import Case, Data, Rows, all_names, images
from geosr.inference.engine import Engine
from geosr.inference.predict import predict
from geosr.metrics import kelvins
from geosr.models.card import Model, ModelCard
from geosr.scene.scene import Scene
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.series import Sensor, SeriesWindows
from geosr.training.datasets.windows import Area, Spot

_SERIES_SIDE = 576  # pixels of truth along a simulated window


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """Windows of every image."""
    card = _with_frames(card, data)
    for scene in images(data, card, failed):
        yield from _windows(scene, data, card)


def _windows(scene: Scene, data: Data, card: ModelCard) -> Iterator[Case]:
    """One case a band and window: a net sees a window untiled."""
    whole = [min(n, _SERIES_SIDE) // card.scale * card.scale for n in scene.grid.shape]
    side = min(whole)
    bands = len(scene.bands) if len(card.bands) == 1 else 1
    windows = SeriesWindows([Area(scene, scene.grid.window, bands)], card, side)
    for spot in windows.spots(len(windows)):
        for band in range(bands):
            there = replace(spot, band=band)
            name = f"{scene.name}@{spot.window.row},{spot.window.col}"
            names = (scene.bands[band].name,) if bands > 1 else all_names(scene)
            yield Case(
                name if bands == 1 else f"{name}:{names[0]}", scene.path, "", f"x{card.scale}",
                names, partial(_rows, scene, there, side, data),
                partial(_low, scene, there, side, card),
            )  # fmt: skip


def _with_frames(card: ModelCard, data: Data) -> ModelCard:
    """The card of a net that takes that many frames, where it takes any number."""
    if not card.fewer or not data.frames.count:
        return card
    return replace(card, inputs=(replace(card.inputs[0], frames=data.frames.count),))


def _every_frame(scene: Scene, card: ModelCard, side: int) -> SeriesWindows:
    """Windows of series with as many frames as the net takes, all there."""
    sensor = Sensor(fewest=card.frames)
    return SeriesWindows([Area(scene, scene.grid.window)], card, side, sensor=sensor)


def _rows(
    scene: Scene, spot: Spot, side: int, data: Data, model: Model, engine: Engine
) -> Iterator[Rows]:
    windows = _every_frame(scene, _with_frames(model.card, data), side)
    sample = windows.at(spot)
    windows.close()
    (estimate,) = predict(model, [sample.inputs], engine)
    yield Rows(sample.target, estimate, sample.mask, _challenge(sample, estimate))


def _challenge(sample: Sample, estimate: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """The challenge's figure of one band, its peak 1.0."""
    if len(estimate) > 1 or not sample.mask.any():
        return {}
    made, truth = (np.clip(x[0].astype(np.float64) / 1e4, 0, 1) for x in (estimate, sample.target))
    value, _ = kelvins.cpsnr(made, truth, sample.mask[0])
    return {"cpsnr": (value, 1.0)}


def _low(scene: Scene, spot: Spot, side: int, card: ModelCard) -> NDArray[np.float32]:
    windows = _every_frame(scene, card, side)
    low = windows.at(spot).inputs[card.inputs[0].gsd]
    windows.close()
    return low[0, :-1] if card.task == "misr" else low
