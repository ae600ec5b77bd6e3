"""What a net without weights is to know of a scene, taken from it before it is cut into tiles."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from geosr.errors import UsageError
from geosr.inference.anypair import bound, known_spread
from geosr.inference.engine import Engine
from geosr.inference.fitoptions import FitOptions
from geosr.inference.learning import learn_pair
from geosr.inference.plan import Plan, make_plan
from geosr.inference.request import Request
from geosr.models.card import Model
from geosr.models.nets.guided.classical import Classical, Sample
from geosr.models.nets.guided.mmsr import MMSR
from geosr.raster.window import Window
from geosr.scene import degrade, estimation
from geosr.scene.fill import fill
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene

log = logging.getLogger("geosr")
_SIDE = 512  # coarse pixels along a window that is looked at
_FILL_REACH = 16


def learnt(plan: Plan, reader: Reader, request: Request, engine: Engine) -> Plan:
    """The plan with nets that know the scene's point spread and statistics, and knowing it itself.

    Those are of the whole scene, of a large one of nine windows of 512 coarse pixels, so that tiles
    give what the whole would. Nets with weights stay as they are; their plan is told the point
    spread where its results are to agree with a coarse raster of an unknown sensor.

    Raises:
        SceneError: a band cannot be read.
    """
    classical = any(isinstance(net.model.net, Classical) for net in plan.nets)
    if not classical and not (plan.agrees and plan.scene.sensor == "pair"):
        return plan
    bands = plan.scene.select(gsd=max(plan.scene.grids))
    spread = known_spread(plan.scene) or _estimated(plan.scene, reader)
    told = {band.name: sigma for band, sigma in zip(bands, spread, strict=True)}
    if not classical:
        return replace(plan, spread=told)
    samples = [_sample(window, plan.scene, reader) for window in _windows(plan.scene)]
    models = [_taught(model, plan.scene, spread, samples).to(engine.device)
              for model in plan.models]  # fmt: skip
    fit = dict(plan.fit)
    for model in models:
        if isinstance(model.net, MMSR):
            fit |= _fitted(model.net, plan.scene, samples, request.fit, engine)
    return replace(make_plan(plan.scene, models, request, engine), spread=told, fit=fit)


def _fitted(
    net: MMSR, scene: Scene, samples: list[Sample], options: FitOptions, engine: Engine
) -> dict[str, Any]:
    """Let a net learn on the pair; how it did.

    Raises:
        UsageError: what it learns is to be saved.
    """
    if options.save is not None:
        raise UsageError(
            "--save-fit: 'mmsr' learns on one pair and is of no use to another. Drop it."
        )
    found = learn_pair(net, samples, options, engine, f"{scene.path}: mmsr")
    sigma = " ".join(f"{each / net.factor:.2f}" for each in sorted(set(net.spread)))
    return {"kernel": f"a Gaussian of {sigma} coarse px", "seed": options.seed, **found}


def _taught(model: Model, scene: Scene, spread: list[float], samples: list[Sample]) -> Model:
    """A net of its own for the scene: several may run at a time."""
    if not isinstance(model.net, Classical):
        return model
    made = bound(model, scene, spread)
    assert isinstance(made.net, Classical)
    made.net.learn(samples)
    return made


def _estimated(scene: Scene, reader: Reader) -> list[float]:
    """σ of the coarse bands in fine pixels, as the scene tells it; what it does not tell is the
    mean of what it does, or what most sensors have.
    """
    low, high = sorted(scene.grids)
    found = estimation.estimate(scene, reader, high)
    told = [part.sigma / low for part in found.values() if part.sigma]
    factor = high // low
    usual = float(np.mean(told)) if told else degrade.image_sigma(factor)
    sigmas = [part.sigma / low if part.sigma else usual for part in found.values()]
    said = " to ".join(f"{s / factor:.2f}" for s in sorted({min(sigmas), max(sigmas)}))
    log.info("%s: point spread of %s coarse pixels (σ), %s", scene.path, said,
             f"estimated from {len(told)} of {len(found)} bands" if told else
             "as most sensors have, since the guide explains too little of it")  # fmt: skip
    return sigmas


def _windows(scene: Scene) -> list[Window]:
    """All of the coarse grid, or nine windows of a large one."""
    height, width = scene.grids[max(scene.grids)].shape
    tall, wide = min(height, _SIDE), min(width, _SIDE)
    rows = sorted({0, (height - tall) // 2, height - tall})
    cols = sorted({0, (width - wide) // 2, width - wide})
    return [Window(row, col, tall, wide) for row in rows for col in cols]


def _sample(window: Window, scene: Scene, reader: Reader) -> Sample:
    low, high = sorted(scene.grids)
    arrays, usable = [], []
    for gsd in (low, high):
        names = [band.name for band in scene.select(gsd=gsd)]
        pixels = reader.read(names, gsd, window.at(high // gsd))
        values = reflectance(scene, names, fill(pixels.values, pixels.usable, _FILL_REACH))
        arrays.append(torch.from_numpy(values)[None])
        usable.append(pixels.usable.all(0))
    factor = high // low
    blocks = usable[0].reshape(window.height, factor, window.width, factor).all((1, 3))
    return Sample(arrays[0], arrays[1], torch.from_numpy(usable[1] & blocks))
