"""Wald's protocol: degrade a scene, so that its own coarse bands become the truth.

All bands are blurred and averaged by the factor between the target's GSD and 10 m; the degraded
scene plays the scene, the untouched coarse bands the truth (Wald, Ranchin, Mangolini 1997, with
the degradation of Lanaras et al. 2018).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geosr import degrade
from geosr.errors import UsageError
from geosr.fill import fill
from geosr.models import ModelCard
from geosr.radiometry import reflectance
from geosr.raster import Grid
from geosr.scene import Pixels, Reader, Scene, fold
from geosr.tiles import Window

_FILL_REACH = 16


@dataclass
class WaldReader:
    """A scene `factor` times coarser than the one that `source` reads.

    GSDs keep their nominal names: the degraded 10 m bands, now on the target's grid, still
    answer to 10. Only the grids of `gsds` are kept, cut to whole coarse pixels; edges are padded
    symmetrically there.
    Masked pixels that hold counts take part as they are; the mask belongs into the score.
    """

    source: Reader
    factor: int
    gsds: tuple[int, ...]
    grids: Mapping[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        coarsest = max(self.gsds)
        whole = self.source.grids[coarsest].coarser(self.factor)
        self.grids = {gsd: whole.finer(coarsest // gsd) for gsd in self.gsds}

    def read(self, names: Sequence[str], gsd: int, window: Window) -> Pixels:
        """Degraded bands in `window` of the degraded grid of `gsd`; all pixels count as valid."""
        extent, reach = self.grids[gsd].shape, degrade.reach(self.factor)
        fine = window.at(self.factor).grow(reach)
        folded = fold(fine, extent[0] * self.factor, extent[1] * self.factor)
        pixels = folded.take(self.source.read(names, gsd, folded.hull))
        usable = pixels.valid & ~pixels.saturated
        values = degrade.degrade(fill(pixels.values, usable, _FILL_REACH), self.factor)
        true = np.ones(values.shape, bool)
        return Pixels(values, true, true, ~true)

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Degraded scenes carry no mask."""
        return False


@dataclass(frozen=True)
class Sample:
    """One training pair: inputs by GSD and the truth, in reflectance × 10000."""

    inputs: Mapping[int, NDArray[np.float32]]
    target: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass
class WaldWindows:
    """Random windows of degraded scenes; sample i of step t depends on (seed, t, i) alone.

    Args:
        patch: side of the truth, in its own pixels; rounded down to whole coarse pixels.
        jitter: standard deviation of the log-gain that every band, and all together, get.
    """

    scenes: Sequence[Scene]
    card: ModelCard
    patch: int
    seed: int = 0
    jitter: float = 0.0
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.patch -= self.patch % self.card.scale
        self.scenes = [scene for scene in self.scenes if self._fits(scene)]
        if not self.scenes:
            raise UsageError(
                f"no scene has the bands of '{self.card.name}' on at least {self.patch} pixels of "
                f"{self.card.native_gsd} m. Give larger scenes or a smaller --patch."
            )
        self._readers = [self._stack.enter_context(scene.open()) for scene in self.scenes]
        areas = [np.prod(scene.grids[self.card.native_gsd].shape) for scene in self.scenes]
        self._cumulative = np.cumsum(areas) / np.sum(areas)

    def _fits(self, scene: Scene) -> bool:
        names = {band.name for band in scene.bands}
        wanted = {name for item in self.card.inputs for name in item.bands}
        grid = scene.grids.get(self.card.native_gsd)
        return wanted <= names and grid is not None and min(grid.shape) >= self.patch

    def close(self) -> None:
        """Close all scenes."""
        self._stack.close()

    def sample(self, step: int, i: int) -> Sample:
        """Pair `i` of step `step`: a random window, turned, flipped and brightened at random."""
        rng = np.random.default_rng([self.seed, step, i])
        which = int(np.searchsorted(self._cumulative, rng.random()))
        scale = self.card.scale
        grid = self.scenes[which].grids[self.card.native_gsd]
        row, col = (int(rng.integers((n - self.patch) // scale + 1)) * scale for n in grid.shape)
        sample = self.at(which, Window(row, col, self.patch, self.patch))
        return self._brighten(_turn(sample, int(rng.integers(8))), rng)

    def at(self, which: int, window: Window) -> Sample:
        """The pair in `window` of the truth's grid of scene `which`."""
        scene, source, card = self.scenes[which], self._readers[which], self.card
        degraded = WaldReader(source, card.scale, tuple(item.gsd for item in card.inputs))
        inputs = {}
        for item in card.inputs:
            ratio = item.gsd // card.output.gsd
            cut = Window(*(n // ratio for n in window))
            values = degraded.read(item.bands, item.gsd, cut).values
            inputs[item.gsd] = reflectance(scene, item.bands, values)
        truth = source.read(card.bands, card.native_gsd, window)
        target = reflectance(scene, card.bands, np.where(truth.usable, truth.values, 0))
        return Sample(inputs, target, truth.usable)

    def _brighten(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if not self.jitter:
            return sample
        common = rng.normal(0, self.jitter)
        gains = {
            name: float(np.exp(common + rng.normal(0, self.jitter / 2)))
            for item in self.card.inputs
            for name in item.bands
        }
        inputs = {
            item.gsd: sample.inputs[item.gsd] * _column(gains, item.bands)
            for item in self.card.inputs
        }
        return Sample(inputs, sample.target * _column(gains, self.card.bands), sample.mask)

    def grid_windows(self, limit: int) -> list[tuple[int, Window]]:
        """Up to `limit` windows spread evenly over all scenes, for validation."""
        patch = self.patch
        found = []
        for which, scene in enumerate(self.scenes):
            height, width = scene.grids[self.card.native_gsd].shape
            found += [
                (which, Window(row, col, patch, patch))
                for row in range(0, height - patch + 1, patch)
                for col in range(0, width - patch + 1, patch)
            ]
        step = max(len(found) // limit, 1)
        return found[::step][:limit]


def _column(gains: Mapping[str, float], names: Sequence[str]) -> NDArray[np.float32]:
    return np.array([gains[name] for name in names], np.float32)[:, None, None]


def _turn(sample: Sample, k: int) -> Sample:
    """One of the eight flips and rotations."""

    def turn(array: NDArray[np.float32]) -> NDArray[np.float32]:
        turned = np.rot90(array, k % 4, (1, 2))
        return np.ascontiguousarray(turned[:, :, ::-1] if k >= 4 else turned)

    inputs = {gsd: turn(values) for gsd, values in sample.inputs.items()}
    mask = turn(sample.mask.astype(np.float32)) > 0
    return Sample(inputs, turn(sample.target), mask)


def split_by_place(scenes: Sequence[Scene], share: float) -> tuple[list[Scene], list[Scene]]:
    """Scenes to train on, and at least `share` of them held out, whole places at a time.

    Scenes whose names differ only in digits (dates, tile counters) are one place. The choice
    depends on the names alone.
    """
    places: dict[str, list[Scene]] = {}
    for scene in scenes:
        places.setdefault(re.sub(r"\d+", "", scene.name), []).append(scene)
    order = sorted(places, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    held: list[Scene] = []
    while order and len(held) < share * len(scenes) and len(order) > 1:
        held += places.pop(order.pop(0))
    return [scene for group in places.values() for scene in group], held
