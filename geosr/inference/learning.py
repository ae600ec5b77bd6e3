"""A net that learns from pairs of a scene and the scene degraded."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import SceneError
from geosr.inference.engine import Engine
from geosr.inference.excerpts import Excerpts
from geosr.inference.fitoptions import FitOptions
from geosr.models import registry
from geosr.models.card import Model
from geosr.models.design import Recipe
from geosr.models.memory import KINDS
from geosr.models.nets.fitted import projection
from geosr.models.nets.fitted.zssr import ZSSR
from geosr.models.nets.guided.classical import Sample
from geosr.models.nets.guided.mmsr import MMSR
from geosr.scene import degradation

log = logging.getLogger("geosr")

_SMALLER = 0.5  # share of crops that are shrunk, by up to as much
_EDGE = 8  # fine pixels of a crop's edge that do not count
_CHECKED = 8  # pairs by which the best state is told
_CHECKS = 20  # of a fit
_KERNELS, _UNSURE = 16, 0.15  # that are learned from, and the deviation of their log σ
_CUBIC = 0.05  # second moment of a kernel below which it is no Gaussian
_DIVERGED = 4.0  # times the best loss
_LEAST_SIDE = 12  # coarse pixels of a square that a net of a pair learns from
_LOOKED = 2  # such squares by which its best state is told
_PLACES, _CLEAR = 50, 0.9  # tries for such a square, and the share of it that was sensed
Array = NDArray[np.float32]


def _like(step: projection.Projection, rng: np.random.Generator) -> list[Tensor]:
    """Kernels that the scene's may really be, as far as estimates go wrong; cubic ones are known.

    A net that learned from the one kernel alone would trust it, and sharpen too much where it is
    too wide.
    """
    kernel = step.kernel.cpu()
    squares, axes = np.linalg.eigh(degradation.covariance(kernel.numpy().astype(np.float64)))
    if squares.min() < _CUBIC:
        return [kernel]
    found = []
    for _ in range(_KERNELS):
        wide = squares * np.exp(2 * rng.normal(0, _UNSURE, 2))
        drawn = projection.gaussian(step.scale, axes @ np.diag(wide) @ axes.T)
        found.append(torch.from_numpy(drawn).float())
    return found


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


def learn(
    model: Model, excerpts: Excerpts, options: FitOptions, engine: Engine, rng: np.random.Generator,
    said: str,
) -> dict[str, Any]:  # fmt: skip
    """Train the net on pairs of the scene; it is left in its best state.

    Returns:
        Steps that were made, the best one, and its loss.
    """
    net, recipe = model.net, registry.design(model.card.name).recipe
    assert isinstance(net, ZSSR)
    every = excerpts.sensed()
    net.begin(rng, middle=float(every.mean()), spread=float(every.std()) or 1.0)
    kernels = _like(net.projection, rng)
    pairs = _Pairs(excerpts, net, _patch(excerpts, net, recipe.patch), engine, kernels)
    checked = pairs.draw(np.random.default_rng([options.seed, 1]), _CHECKED)
    optimizer = torch.optim.Adam(net.parameters(), recipe.lr)
    return _optimised(net, optimizer, recipe, options, said, lambda: pairs.loss(checked),
                      lambda: pairs.loss(pairs.draw(rng, recipe.batch_size)))  # fmt: skip


def _optimised(
    net: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, options: FitOptions,
    said: str, check: Callable[[], Tensor], draw: Callable[[], Tensor],
) -> dict[str, Any]:  # fmt: skip
    """Train a net; it is left in its best state.

    Args:
        check: the loss by which that is told.
        draw: the loss of a step.
    """
    endless = options.seconds is not None and options.steps is None
    steps = options.steps or recipe.steps
    course = _Course(math.inf if endless else steps, options.seconds or math.inf)
    step, next_check, diverged = 0, 0.0, False
    while True:
        done = course.done(step)
        if done >= next_check or done >= 1:
            with torch.no_grad():
                loss = float(check())
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
        draw().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip or math.inf)
        optimizer.step()
        step += 1
    net.load_state_dict(course.state)
    if diverged:
        log.warning("%s: learning diverged at step %d (loss %g): its best state is taken, of step "
                    "%d (loss %g). Try another --fit-seed.", said, step, loss, course.best,
                    course.loss)  # fmt: skip
    return {"steps": step, "best": course.best, "loss": course.loss, "diverged": diverged}


def _patch(excerpts: Excerpts, net: ZSSR, wanted: int) -> int:
    """Coarse pixels along a pair, as many as the scene has room for."""
    return min(wanted, (excerpts.side - 2 * net.projection.beyond) // net.scale)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a scene and the scene degraded, and what a net gets wrong of them."""

    excerpts: Excerpts
    net: ZSSR
    patch: int
    engine: Engine
    kernels: Sequence[Tensor]

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Truths (count, 1, side, side) with what a kernel needs beyond them, and degraded."""
        side = self.patch * self.net.scale + 2 * self.net.projection.beyond
        crops = np.stack([self._crop(side, rng) for _ in range(count)])
        wide = torch.from_numpy(crops)[:, None]
        kernel = self.kernels[int(rng.integers(len(self.kernels)))]
        low = self.net.projection.degrade(wide, padded=True, kernel=kernel)
        return wide.to(self.engine.device), low.to(self.engine.device)

    def _crop(self, side: int, rng: np.random.Generator) -> Array:
        """A square, maybe shrunk, flipped and turned."""
        wide = side
        if rng.random() < _SMALLER:
            wide = min(round(side / rng.uniform(1 - _SMALLER, 1)), self.excerpts.side)
        crop = self.excerpts.crop(wide, rng)
        if wide > side:
            small = F.interpolate(torch.from_numpy(crop)[None, None], (side, side), mode="bicubic",
                                  align_corners=False, antialias=True)  # fmt: skip
            crop = small[0, 0].numpy()
        crop = np.rot90(crop, int(rng.integers(4)))
        return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)

    def loss(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        """Mean absolute error of the net on the degraded truths."""
        wide, low = pair
        kind, beyond = KINDS.get(self.engine.precision), self.net.projection.beyond
        with torch.autocast(wide.device.type, dtype=kind, enabled=kind is not None):
            made = self.net(low)
        edge = min(_EDGE, made.shape[-1] // 8)
        inner = slice(edge, made.shape[-1] - edge)
        truth = wide[..., beyond:-beyond, beyond:-beyond]
        error = (made.float() - truth)[..., inner, inner].abs().mean()
        return error / self.net.spread


# a coarse raster and its guide


def learn_pair(
    net: MMSR, samples: Sequence[Sample], options: FitOptions, engine: Engine, said: str
) -> dict[str, Any]:
    """Teach a net of a pair that its result, seen by the coarse sensor, is the coarse raster.

    Returns:
        As `learn`.

    Raises:
        SceneError: hardly anything of the pair was sensed.
    """
    rng, recipe = np.random.default_rng(options.seed), registry.design("mmsr").recipe
    side = max(-(-recipe.patch // net.factor), _LEAST_SIDE)
    fit = [s for s in samples if s.clear.sum() >= _LEAST_SIDE**2]
    if not fit:
        raise SceneError(
            f"{said}: too little of the pair was sensed to learn from. Choose --model gsa."
        )
    net.begin(rng)
    border = min(net.reach, side // 4)

    def missed(count: int, rng: np.random.Generator) -> Tensor:
        losses = []
        for _ in range(count):
            window = _window(fit[int(rng.integers(len(fit)))], side, net.factor, rng)
            there = Sample(*(part.to(engine.device) for part in window))
            losses.append(net.missed(there, border))
        return torch.stack(losses).mean()

    own = {id(p) for part in (net.guiding, net.to_guide) for p in part.parameters()}
    groups = [{"params": [p for p in net.parameters() if (id(p) in own) == guide],
               "weight_decay": recipe.weight_decay * guide} for guide in (True, False)]  # fmt: skip
    found = _optimised(
        net, torch.optim.Adam(groups, recipe.lr), recipe, options, said,
        lambda: missed(_LOOKED, np.random.default_rng([options.seed, 1])),
        lambda: missed(recipe.batch_size, rng),
    )  # fmt: skip
    net.eval()
    return found


def _window(sample: Sample, side: int, factor: int, rng: np.random.Generator) -> Sample:
    """A square of a pair, of so many coarse pixels where there are, mostly sensed."""
    high, wide = (min(side, n) for n in sample.clear.shape)
    for _ in range(_PLACES):
        row, col = (int(rng.integers(n - m + 1))
                    for n, m in zip(sample.clear.shape, (high, wide), strict=True))  # fmt: skip
        clear = sample.clear[row : row + high, col : col + wide]
        if clear.float().mean() >= _CLEAR:
            break
    fine = sample.fine[
        ..., row * factor : (row + high) * factor, col * factor : (col + wide) * factor
    ]
    return Sample(fine, sample.coarse[..., row : row + high, col : col + wide], clear)
