"""Imgsets of Proba-V's challenge, with its own rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.evaluation.protocols.case import Case, Data, Rows
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.strips import strips
from geosr.inference.superres import with_frames
from geosr.models.card import Model, ModelCard
from geosr.scene.scene import Scene
from geosr.sensors import open_scene, probav

SCALE = 3


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case an imgset that has its truth."""
    for imgset, scene in imgsets(data, failed):
        yield case_of(imgset, scene, data)


def imgsets(data: Data, failed: dict[str, str]) -> Iterator[tuple[probav.Imgset, Scene]]:
    """Those that have their truth, and their scenes; of the others, why they cannot be read."""
    options = replace(data.options, kind="series")
    for path in probav.find_imgsets(data.path, data.pattern):
        try:
            imgset, scene = probav.read_imgset(path), open_scene(path, options)
        except SceneError as error:
            failed[path.name] = str(error)
            continue
        if imgset.truth is not None and imgset.clear is not None:
            yield imgset, scene


def case_of(imgset: probav.Imgset, scene: Scene, data: Data) -> Case:
    """The challenge's own case of an imgset."""
    path, band = imgset.path, imgset.path.parent.name
    return Case(path.name, str(path), band, "kelvins", (band,),
                partial(rows, imgset, scene, data), partial(_low, imgset))  # fmt: skip


def rows(
    imgset: probav.Imgset, scene: Scene, data: Data, model: Model, engine: Engine
) -> Iterator[Rows]:
    """The whole image at once, as the challenge's shifts need it."""
    assert imgset.truth is not None and imgset.clear is not None
    request = Request(tile_size=data.tile_size, frames=data.frames, panels=False)
    plan = make_plan(scene, [model], request, engine)
    with scene.open() as reader:
        plan = with_frames(plan, reader, request)
        parts = [
            np.stack([strip.predicted[name] for name in plan.names])
            for strip in strips(reader, plan, engine)
        ]
    made = np.concatenate(parts, 1) * np.float32(scene.quantification / probav.UNIT)
    truth = imgset.truth.astype(np.float32)[None] * np.float32(10000 / probav.UNIT)
    yield Rows(truth, made, imgset.clear[None])


def _low(imgset: probav.Imgset) -> NDArray[np.float32]:
    first = imgset.clearest()[0]
    return imgset.frames[first].astype(np.float32)[None] * np.float32(10000 / probav.UNIT)
