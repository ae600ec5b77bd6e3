"""What a scene itself tells of its point spread, and of how its grids lie to each other.

The finest bands are blurred by a Gaussian and read at the coarse pixels; a coarse band is regressed
on them, square by square, fine structure only. The σ and the shift that explain most of it are the
estimate. Where the guides explain little it is drawn upwards, so it comes with its R².
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster.window import Window
from geosr.scene import degrade, pointspread
from geosr.scene.fill import fill
from geosr.scene.pixels import Reader, fold
from geosr.scene.scene import Scene

_SIDE = 400  # coarse pixels along the part of a scene that is looked at
_SIDE_FOR_SHIFTS = 200
_SQUARE = 12  # coarse pixels; one regression each
_FINE = 2  # radius of the mean above which structure is fine
_LEAST = 16  # squares
_EXPLAINED = 0.6  # R² below which an estimate says nothing
_WIDTHS = np.arange(0.25, 0.85, 0.05)  # of σ that are tried, in coarse pixels
_SHIFT = 6  # fine pixels, at most
_FILL_REACH = 8

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """The point spread of a coarse band.

    Attributes:
        sigma: metres, relative to the finest bands; None where the scene does not tell.
        r2: share of the fine structure that the guides explain.
        reason: why there is no estimate.
    """

    sigma: float | None
    r2: float | None
    reason: str = ""


def estimate(scene: Scene, reader: Reader, gsd: int) -> dict[str, Estimate]:
    """Point spread of every band of `gsd`, from the scene alone."""
    names = [band.name for band in scene.select(gsd=gsd)]
    part = _part(scene, reader, names, gsd, _SIDE)
    if isinstance(part, str):
        return dict.fromkeys(names, Estimate(None, None, part))
    sigmas = _WIDTHS * part.factor
    explained = np.stack([part.explained(float(sigma)) for sigma in sigmas])
    return {name: _peak(sigmas * scene.finest, explained[:, i]) for i, name in enumerate(names)}


def of_scene(scene: Scene) -> dict[str, dict[str, Any]]:
    """By coarse band: σ in metres, R², why there is none, and the σ that geosr takes."""
    found: dict[str, dict[str, Any]] = {}
    with scene.open() as reader:
        for gsd in sorted(set(scene.grids) - {scene.finest}):
            for name, part in estimate(scene, reader, gsd).items():
                known = pointspread.relative(name) or None
                found[name] = {**asdict(part), "known": known}
    return found


def displaced(scene: Scene, reader: Reader, gsd: int) -> dict[str, tuple[float, float]]:
    """How far the bands of `gsd` lie off the finest ones, metres down and right, where told.

    Only bands of a known point spread, and those that the finest bands explain.
    """
    names = [band.name for band in scene.select(gsd=gsd)
             if pointspread.known([band.name], scene.finest)]  # fmt: skip
    part = _part(scene, reader, names, gsd, _SIDE_FOR_SHIFTS) if names else "none"
    if isinstance(part, str):
        return {}
    found = {}
    for i, name in enumerate(names):
        sigma = pointspread.relative(name) / scene.finest

        def at(down: float, right: float, i: int = i, sigma: float = sigma) -> float:
            return float(part.explained(sigma, (down, right))[i])

        shift, explained = _climb(at)
        if explained >= _EXPLAINED:
            found[name] = (shift[0] * scene.finest, shift[1] * scene.finest)
    return found


@dataclass(frozen=True)
class _Part:
    """Pixels of a scene to estimate on: guides with `pad` around them, coarse bands, squares."""

    guides: NDArray[np.float32]
    coarse: Array
    squares: NDArray[np.bool_]
    factor: int
    pad: int

    def explained(self, sigma: float, shift: tuple[float, float] = (0.0, 0.0)) -> Array:
        """R² by band, where the guides are seen through σ fine pixels, moved by a shift."""
        down, across = (degrade.point_spread(self.factor, sigma, shift=by) for by in shift)
        sensed = degrade.shrink(self.guides, self.factor, down, across, pad=self.pad)
        x, y = (self._cut(_fine(a.astype(np.float64))) for a in (sensed, self.coarse))
        gram = x @ x.transpose(0, 2, 1)
        scale = np.trace(gram, axis1=1, axis2=2)[:, None, None]
        slopes = np.linalg.solve(
            gram + (1e-6 * scale + 1e-3) * np.eye(x.shape[1]), x @ y.transpose(0, 2, 1)
        )
        left = y - slopes.transpose(0, 2, 1) @ x
        total = (y**2).sum((0, 2))
        return np.asarray(1 - (left**2).sum((0, 2)) / np.where(total > 0, total, np.inf))

    def _cut(self, x: Array) -> Array:
        """(squares, bands, pixels) of the usable squares."""
        return squares_of(x)[self.squares.ravel()]


def squares_of(x: NDArray[Any]) -> NDArray[Any]:
    """(squares, bands, pixels) of (bands, rows, cols); what is left over is dropped."""
    rows, cols = (n // _SQUARE for n in x.shape[1:])
    whole = x[:, : rows * _SQUARE, : cols * _SQUARE]
    split = whole.reshape(len(x), rows, _SQUARE, cols, _SQUARE)
    return split.transpose(1, 3, 0, 2, 4).reshape(rows * cols, len(x), _SQUARE**2)


def _part(scene: Scene, reader: Reader, names: Sequence[str], gsd: int, side: int) -> _Part | str:
    """The middle of a scene, or why it will not do."""
    guides = [band.name for band in scene.select(gsd=scene.finest)]
    factor = gsd // scene.finest
    if factor < 2 or not guides:
        return "no finer bands beside it"
    grid = scene.grids[gsd]
    height, width = (min(n, side) for n in grid.shape)
    window = Window((grid.height - height) // 2, (grid.width - width) // 2, height, width)
    pad = math.ceil(4 * _WIDTHS.max() * factor) + _SHIFT + 2
    fine = scene.grids[scene.finest]
    folded = fold(window.at(factor).grow(pad), fine.height, fine.width)
    sharp = folded.take(reader.read(guides, scene.finest, folded.hull))
    low = reader.read(names, gsd, window)
    inner = sharp.usable[:, pad:-pad, pad:-pad].all(0)
    blocks = inner.reshape(height, factor, width, factor).all((1, 3))
    usable = np.asarray(low.usable.all(0) & blocks)
    squares = np.logical_and.reduce(squares_of(usable[None])[:, 0], axis=1)
    if squares.sum() < _LEAST:
        return (
            f"{int(squares.sum())} clear squares of {_SQUARE} × {_SQUARE} pixels, "
            f"{_LEAST} are needed"
        )
    values = fill(sharp.values, sharp.usable, _FILL_REACH)
    coarse = fill(low.values, low.usable, _FILL_REACH).astype(np.float64)
    return _Part(values, coarse, squares, factor, pad)


def _fine(x: Array) -> Array:
    """What exceeds the mean of the square around a pixel; edges repeated."""
    side = 2 * _FINE + 1
    padded = np.pad(x, ((0, 0), (_FINE, _FINE), (_FINE, _FINE)), mode="edge")
    sums = padded
    for axis in (1, 2):
        sums = np.lib.stride_tricks.sliding_window_view(sums, side, axis).mean(-1)
    return np.asarray(x - sums)


def _peak(sigmas: Array, explained: Array) -> Estimate:
    """The σ that explains most, by a parabola through its neighbours."""
    best = int(explained.argmax())
    r2 = float(explained[best])
    if not math.isfinite(r2) or r2 < _EXPLAINED:
        return Estimate(None, max(r2, 0.0), "the finer bands explain too little of it")
    if best in (0, len(sigmas) - 1):
        return Estimate(None, r2, "no width explains it best")
    return Estimate(float(sigmas[best] + _top(explained[best - 1 : best + 2])
                          * (sigmas[1] - sigmas[0])), r2)  # fmt: skip


def _climb(at: Callable[[float, float], float]) -> tuple[tuple[float, float], float]:
    """The shift in fine pixels that explains most, from none uphill, and how much it does."""
    place, value = (0, 0), at(0, 0)
    while True:
        around = {
            step: at(place[0] + step[0], place[1] + step[1])
            for step in ((-1, 0), (1, 0), (0, -1), (0, 1))
        }
        step = max(around, key=around.__getitem__)
        inside = max(abs(place[0] + step[0]), abs(place[1] + step[1])) <= _SHIFT
        if around[step] <= value or not inside:
            break
        place, value = (place[0] + step[0], place[1] + step[1]), around[step]
    down = _top(np.array([around[-1, 0], value, around[1, 0]]))
    right = _top(np.array([around[0, -1], value, around[0, 1]]))
    return (place[0] + down, place[1] + right), value


def _top(three: Array) -> float:
    """Where a parabola through three neighbours has its top, in steps from the middle one."""
    before, middle, after = map(float, three)
    bend = before - 2 * middle + after
    return float(np.clip(0.5 * (before - after) / bend, -1, 1)) if bend < 0 else 0.0
