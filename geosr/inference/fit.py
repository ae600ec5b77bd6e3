"""Nets that learn on the scene before they are run on it.

The pairs they learn from are the scene itself and the scene degraded: by the point spread that its
own spectrum shows (`geosr.scene.blind`), or by cubic convolution. Small scenes are held whole; of
large ones windows spread over all of them, so memory is the same whatever the size.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import SceneError, UsageError, WeightsError
from geosr.inference.engine import Engine
from geosr.inference.fitoptions import FitOptions
from geosr.inference.plan import Plan
from geosr.models import registry, weights
from geosr.models.card import Model, ModelCard
from geosr.models.memory import KINDS
from geosr.models.nets.fitted import projection
from geosr.models.nets.fitted.dip import DIP
from geosr.models.nets.fitted.mip import MIP
from geosr.models.nets.fitted.zssr import ZSSR
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene import blind
from geosr.scene.fill import fill
from geosr.scene.pixels import Reader, fold
from geosr.scene.radiometry import NET_QUANTIFICATION, reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene

log = logging.getLogger("geosr")

LEAST = blind.WINDOW  # pixels a side: with less, neither a spectrum nor pairs can be had
_WINDOWS, _SIDE = 64, 128  # of a large scene
_BANDS = 4  # of them so many windows; of more bands fewer
_FILL_REACH = 8
_SENSED = 0.9  # share of a window that must have been sensed
_TRIES = 50  # places that are drawn for one crop
_SMALLER = 0.5  # share of crops that are shrunk, by up to as much
_EDGE = 8  # fine pixels of a crop's edge that do not count
_CHECKED = 8  # pairs by which the best state is told
_CHECKS = 20  # of a fit
_DIVERGED = 4.0  # times the best loss

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
    looks = _look(scene, reader, names, card, rng)
    kernel, said = kernel_of(looks, card.scale, options.kernel)
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
        found = _learn(model, looks, options, engine, rng, scene.path)
        log.info("%s: %s learned for %d steps in %.0f s, loss %.6f at step %d", scene.path,
                 card.name, found["steps"], time.monotonic() - started, found["loss"],
                 found["best"])  # fmt: skip
    model.net.eval()
    if options.save is not None:
        _save(model, scene, options)
    facts = {"kernel": said, "seed": options.seed, **found}
    nets = tuple(replace(net, model=model) for net in plan.nets)
    return replace(plan, nets=nets, fit=facts)


# what is looked at


@dataclass(frozen=True)
class Looks:
    """Windows of a scene in unit values, gaps filled; each (bands, rows, cols)."""

    values: Sequence[Array]
    usable: Sequence[NDArray[np.bool_]]

    def sensed(self) -> Array:
        """Every usable value."""
        both = zip(self.values, self.usable, strict=True)
        return np.concatenate([values[usable] for values, usable in both])

    @property
    def side(self) -> int:
        """The shorter side of the smallest window."""
        return min(min(window.shape[1:]) for window in self.values)

    def crop(self, side: int, rng: np.random.Generator) -> Array:
        """A square of one band from anywhere it was sensed."""
        for _ in range(_TRIES):
            at = int(rng.integers(len(self.values)))
            values, usable = self.values[at], self.usable[at]
            band = int(rng.integers(len(values)))
            row, col = (int(rng.integers(n - side + 1)) for n in values.shape[1:])
            here = (band, slice(row, row + side), slice(col, col + side))
            if usable[here].mean() >= _SENSED:
                break
        return values[here]


def _look(
    scene: Scene, reader: Reader, names: Sequence[str], card: ModelCard, rng: np.random.Generator
) -> Looks:
    """The whole scene where it is small, else windows spread over it."""
    height, width = scene.grids[scene.finest].shape
    if min(height, width) < LEAST:
        raise SceneError(
            f"{scene.path} has {height} × {width} px: too small for '{card.name}' to learn from, "
            f"which needs {LEAST} × {LEAST}. Use a trained net (--model edsr-baseline), or "
            "--model bicubic."
        )
    values, usable = [], []
    for window in _places(height, width, len(names), rng):
        pixels = reader.read(names, scene.finest, window)
        if pixels.usable.mean() >= _SENSED or window[2:] == (height, width):
            counts = fill(pixels.values, pixels.usable, _FILL_REACH)
            values.append(reflectance(scene, names, counts) / np.float32(NET_QUANTIFICATION))
            usable.append(pixels.usable)
    sensed = sum(int(each.sum()) for each in usable)
    if sensed < LEAST**2:
        raise SceneError(
            f"{scene.path}: {sensed} pixels were sensed where '{card.name}' looked, too few to "
            f"learn from ({LEAST**2} are needed). Use a trained net (--model edsr-baseline), or "
            "--model bicubic."
        )
    return Looks(values, usable)


def _places(height: int, width: int, bands: int, rng: np.random.Generator) -> list[Window]:
    """One window in each part of a grid over the scene, or the whole where that is no more."""
    count = max(_WINDOWS * _BANDS // max(bands, _BANDS), 4)
    if height * width <= count * _SIDE**2:
        return [Window(0, 0, height, width)]
    side = min(_SIDE, height, width)
    down = min(max(round(math.sqrt(count * height / width)), 1), height // side)
    across = min(max(count // down, 1), width // side)
    found = []
    for i in range(down):
        for j in range(across):
            rows = (i * height // down, (i + 1) * height // down - side)
            cols = (j * width // across, (j + 1) * width // across - side)
            row, col = (int(rng.integers(a, b + 1)) for a, b in (rows, cols))
            found.append(Window(row, col, side, side))
    return found


def kernel_of(looks: Looks, factor: int, wanted: str) -> tuple[NDArray[np.float64], str]:
    """The kernel of `factor` that made the scene, and what it is in words."""
    found = _spread(looks) if wanted == "auto" else None
    if found is None:
        return projection.bicubic(factor), "cubic convolution"
    kernel = projection.gaussian(factor, found.covariance * factor**2)
    squares, axes = np.linalg.eigh(projection.covariance(kernel))
    turn = round(math.degrees(math.atan2(axes[0, 1], axes[1, 1]))) % 180
    small, large = np.sqrt(np.maximum(squares, 0))
    return kernel, f"a Gaussian of {large:.2f} × {small:.2f} px, its long axis {turn}° down"


def _spread(looks: Looks) -> blind.Spread | None:
    """What the mean spectrum of all bands and windows tells, every band by its own variance."""
    powers, noises = [], []
    for values, usable in zip(looks.values, looks.usable, strict=True):
        for band, known in zip(values.astype(np.float64), usable, strict=True):
            deviation = float(band.std())
            if deviation > 0 and known.mean() >= _SENSED:
                powers.append(blind.spectrum(band / deviation))
                noises.append(blind.noise(band / deviation))
    if not powers:
        return None
    return blind.spread(np.mean(powers, 0), float(np.median(noises)))


# learning


@dataclass
class _Course:
    """How far learning has come, and its best state."""

    steps: float
    seconds: float
    started: float = field(default_factory=time.monotonic)
    loss: float = math.inf
    best: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)

    def done(self, step: int) -> float:
        """The share of the whole that lies behind."""
        return max(step / self.steps, (time.monotonic() - self.started) / self.seconds)

    def keep(self, step: int, loss: float, net: nn.Module) -> None:
        """Note a state if it is the best."""
        if loss < self.loss or not self.state:
            self.loss, self.best = loss, step
            self.state = {name: x.detach().clone() for name, x in net.state_dict().items()}


def _learn(
    model: Model, looks: Looks, options: FitOptions, engine: Engine, rng: np.random.Generator,
    said: str,
) -> dict[str, Any]:  # fmt: skip
    """Train the net on pairs of the scene; it is left in its best state.

    Returns:
        Steps that were made, the best one, and its loss.
    """
    net, recipe = model.net, registry.design(model.card.name).recipe
    assert isinstance(net, ZSSR)
    every = looks.sensed()
    net.begin(rng, middle=float(every.mean()), spread=float(every.std()) or 1.0)
    pairs = _Pairs(looks, net, _patch(looks, net, recipe.patch), engine)
    checked = pairs.draw(np.random.default_rng([options.seed, 1]), _CHECKED)
    endless = options.seconds is not None and options.steps is None
    steps = options.steps or recipe.steps
    course = _Course(math.inf if endless else steps, options.seconds or math.inf)
    optimizer = torch.optim.Adam(net.parameters(), recipe.lr)
    step, next_check, diverged = 0, 0.0, False
    while True:
        done = course.done(step)
        if done >= next_check or done >= 1:
            with torch.no_grad():
                loss = float(pairs.loss(checked))
            log.info("%s: step %d, %.0f %%, loss %.6f", said, step, 100 * min(done, 1), loss)
            course.keep(step, loss, net)
            diverged = not loss <= _DIVERGED * course.loss
            next_check = done + 1 / _CHECKS
        if done >= 1 or diverged:
            break
        for group in optimizer.param_groups:
            warm = min(1.0, (step + 1) / max(recipe.warmup, 1))
            group["lr"] = recipe.lr * warm * 0.5 * (1 + math.cos(math.pi * done))
        optimizer.zero_grad(set_to_none=True)
        pairs.loss(pairs.draw(rng, recipe.batch_size)).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
        optimizer.step()
        step += 1
    net.load_state_dict(course.state)
    if diverged:
        log.warning("%s: learning diverged at step %d (loss %g): its best state is taken, of step "
                    "%d (loss %g). Try another --fit-seed.", said, step, loss, course.best,
                    course.loss)  # fmt: skip
    return {"steps": step, "best": course.best, "loss": course.loss, "diverged": diverged}


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
    values = torch.from_numpy(fill(pixels.values, pixels.usable, _FILL_REACH))[None]
    middle, spread = values.mean((2, 3), keepdim=True), values.std((2, 3), keepdim=True)
    return (values - middle) / spread.clamp_min(1e-6)


def _bounds(grid: Grid) -> str:
    return " ".join(f"{edge:.10g}" for edge in grid.bounds)


def _patch(looks: Looks, net: ZSSR, wanted: int) -> int:
    """Coarse pixels along a pair, as many as the scene has room for."""
    return min(wanted, (looks.side - 2 * net.projection.beyond) // net.scale)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a scene and the scene degraded, and what a net gets wrong of them."""

    looks: Looks
    net: ZSSR
    patch: int
    engine: Engine

    def draw(self, rng: np.random.Generator, count: int) -> Tensor:
        """(count, 1, side, side): truths with what the kernel needs beyond them."""
        side = self.patch * self.net.scale + 2 * self.net.projection.beyond
        crops = np.stack([self._crop(side, rng) for _ in range(count)])
        return torch.from_numpy(crops)[:, None].to(self.engine.device)

    def _crop(self, side: int, rng: np.random.Generator) -> Array:
        """A square, maybe shrunk, flipped and turned."""
        wide = side
        if rng.random() < _SMALLER:
            wide = min(round(side / rng.uniform(1 - _SMALLER, 1)), self.looks.side)
        crop = self.looks.crop(wide, rng)
        if wide > side:
            small = F.interpolate(torch.from_numpy(crop)[None, None], (side, side), mode="bicubic",
                                  align_corners=False, antialias=True)  # fmt: skip
            crop = small[0, 0].numpy()
        crop = np.rot90(crop, int(rng.integers(4)))
        return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)

    def loss(self, wide: Tensor) -> Tensor:
        """Mean absolute error of the net on the degraded truths."""
        kind, beyond = KINDS.get(self.engine.precision), self.net.projection.beyond
        low = self.net.projection.degrade(wide, padded=True)
        with torch.autocast(wide.device.type, dtype=kind, enabled=kind is not None):
            made = self.net(low)
        edge = min(_EDGE, made.shape[-1] // 8)
        inner = slice(edge, made.shape[-1] - edge)
        truth = wide[..., beyond:-beyond, beyond:-beyond]
        error = (made.float() - truth)[..., inner, inner].abs().mean()
        return error / self.net.spread


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
