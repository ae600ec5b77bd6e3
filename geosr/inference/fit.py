"""Nets that learn on the scene before they are run on it.

The pairs they learn from are the scene itself and the scene degraded: by the point spread that its
own spectrum shows (`geosr.scene.blind`), or by cubic convolution. Small scenes are held whole; of
large ones windows spread over all of them, so memory is the same whatever the size.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import SceneError, UsageError, WeightsError
from geosr.inference.engine import Engine
from geosr.inference.excerpts import FILL_REACH, kernel_of, read
from geosr.inference.fitoptions import FitOptions
from geosr.inference.learning import learn
from geosr.inference.plan import Plan
from geosr.models import registry, weights
from geosr.models.card import Model, ModelCard
from geosr.models.memory import KINDS
from geosr.models.nets.fitted.dip import DIP
from geosr.models.nets.fitted.mip import MIP
from geosr.models.nets.fitted.zssr import ZSSR
from geosr.raster.grid import Grid
from geosr.scene.fill import fill
from geosr.scene.pixels import Reader, fold
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene

log = logging.getLogger("geosr")


Array = NDArray[np.float32]


def fitted(plan: Plan, reader: Reader, options: FitOptions, engine: Engine) -> Plan:
    """The plan with its net as it has learned on the scene; any other plan as it is.

    Raises:
        SceneError: the scene is too small to learn from, or hardly anything of it was sensed.
        UsageError: --save-fit, and the net holds nothing that could be saved.
    """
    if not any(net.model.card.task == "fits" for net in plan.nets):
        return plan
    started, card, scene = time.monotonic(), plan.nets[0].model.card, plan.scene
    rng = np.random.default_rng(options.seed)
    names = scene.order({name for net in plan.nets for name in net.bands})
    excerpts = read(scene, reader, names, card, rng)
    kernel, said = kernel_of(excerpts, card.scale, options.kernel)
    log.info("%s: %s learns, degraded by %s", scene.path, card.name, said)
    reference = _reference(plan, card, options) if card.arch == "mip" else None
    if reference is not None:
        card = replace(card, options={**card.options, "reference_bands": reference.shape[1]})
    model = Model(replace(card, task="sisr"), registry.build(card).net)
    assert isinstance(model.net, (ZSSR, DIP))
    model.net.projection.tell(kernel)
    model.to(engine.device)
    if isinstance(model.net, DIP):
        if isinstance(model.net, MIP):
            model.net.reference = reference
        found = _prepare(model, model.net, plan, options, engine)
    else:
        found = learn(model, excerpts, options, engine, rng, scene.path)
        log.info("%s: %s learned for %d steps in %.0f s, loss %.6f at step %d", scene.path,
                 card.name, found["steps"], time.monotonic() - started, found["loss"],
                 found["best"])  # fmt: skip
    model.net.eval()
    if options.save is not None:
        _save(model, scene, options)
    facts = {"kernel": said, "seed": options.seed, **found}
    nets = tuple(replace(net, model=model) for net in plan.nets)
    return replace(plan, nets=nets, fit=facts)


def _prepare(
    model: Model, net: DIP, plan: Plan, options: FitOptions, engine: Engine
) -> dict[str, Any]:
    """Tell a net that is fitted to each tile as it is run how to do so.

    Raises:
        UsageError: what it learns is to be saved.
    """
    name = model.card.name
    if options.save is not None:
        raise UsageError(
            f"--save-fit: '{name}' is fitted to every tile anew and holds nothing to keep. Drop "
            "it, or choose --model zssr."
        )
    endless = options.seconds is not None and options.steps is None
    steps = options.steps or registry.design(name).recipe.steps
    fits = len(plan.tiles) * len(plan.nets)
    net.steps = math.inf if endless else steps
    net.seconds = (options.seconds or math.inf) / fits
    net.seed, net.kind = options.seed, KINDS.get(engine.precision)
    net.said = f"{plan.scene.path}: {name}"
    log.info("%s: %d fits, one for each tile and band", net.said, fits)
    return {"steps": None if endless else steps, "fits": fits}


def _reference(plan: Plan, card: ModelCard, options: FitOptions) -> Tensor:
    """What the reference shows of the one tile and its margin, every band of mean 0, deviation 1.

    Raises:
        UsageError: there is no reference.
        SceneError: the reference lies on another grid, or the scene takes several tiles.
    """
    if options.reference is None:
        raise UsageError(
            f"'{card.name}' learns from a finer image of the place, and none was given. "
            "Add --fit-reference FILE, or choose --model dip."
        )
    path, scale = plan.scene.path, card.scale
    if len(plan.tiles) > 1:
        raise SceneError(
            f"{path} takes {len(plan.tiles)} tiles, '{card.name}' makes scenes of one. "
            "Give --bounds, or a larger --tile-size."
        )
    scene = open_scene(options.reference, OpenOptions(kind="image", max_pixels=None))
    grid, wanted = scene.grid, plan.scene.grid.finer(scale)
    apart = max(abs(a - b) for a, b in zip(grid.bounds, wanted.bounds, strict=True))
    if grid.shape != wanted.shape or apart > abs(wanted.transform.a) / 2:
        raise SceneError(
            f"--fit-reference {options.reference} has {grid.height} × {grid.width} px over "
            f"{_bounds(grid)}; the output of {path} has {wanted.height} × {wanted.width} over "
            f"{_bounds(wanted)}. Warp it onto that grid (gdalwarp -te -ts)."
        )
    window = next(iter(plan.tiles)).window.grow(plan.pad).at(scale)
    folded = fold(window, *grid.shape)
    names = [band.name for band in scene.bands]
    with scene.open() as reader:
        pixels = folded.take(reader.read(names, scene.finest, folded.hull))
    values = torch.from_numpy(fill(pixels.values, pixels.usable, FILL_REACH))[None]
    middle, spread = values.mean((2, 3), keepdim=True), values.std((2, 3), keepdim=True)
    return (values - middle) / spread.clamp_min(1e-6)


def _bounds(grid: Grid) -> str:
    return " ".join(f"{edge:.10g}" for edge in grid.bounds)


# keeping


def _save(model: Model, scene: Scene, options: FitOptions) -> None:
    """Write what the net has learned as weights that load by path."""
    assert options.save is not None
    path = options.save / f"{scene.name}-{model.card.name}-x{model.card.scale}.safetensors"
    if path.exists() and not _is_fit(path, model.card):
        raise UsageError(
            f"{path} is no fit of '{model.card.name}': left alone. Choose another --save-fit."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    weights.save(path, model.card, model.net.state_dict())
    log.info("%s: what %s learned is in %s", scene.path, model.card.name, path)


def _is_fit(path: Any, card: ModelCard) -> bool:
    try:
        return weights.card_of(path).arch == card.arch
    except WeightsError:
        return False
