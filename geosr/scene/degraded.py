"""A scene as a coarser sensor would have seen it, so that its own coarse bands become the truth.

Wald's protocol (Wald, Ranchin, Mangolini 1997): all bands are blurred and averaged by the factor
between the target's GSD and 10 m; the degraded scene plays the scene. The degradation is that of
Lanaras et al. 2018, or the sensor's own, `geosr.scene.pointspread`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene import degrade, pointspread
from geosr.scene.degradation import Blur, Finish
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels, Reader, fold
from geosr.scene.scene import Scene

_FILL_REACH = 16


@dataclass
class WaldReader:
    """A scene `factor` times coarser than the one that `source` reads.

    GSDs keep their nominal names: the degraded 10 m bands, now on the target's grid, still
    answer to 10. Only the grids of `gsds` are kept, cut to whole coarse pixels; edges are padded
    symmetrically there.
    Masked pixels that hold counts take part as they are; the mask belongs into the score.

    Args:
        operator: "sensor" (each band's own point spread, consistent with scale), "gaussian" (the
            published one), another of `degrade.OPERATORS`, or a filter.
        origin: row and column of the target's grid where the first degraded pixel begins.
        truths: the bands whose own resolution is the truth; without any, or where their point
            spread is not known, "sensor" is what `degrade.taps` calls it.
        wider: for "sensor", σ relative to the finest bands as a share of the scene's own.
    """

    source: Reader
    factor: int
    gsds: tuple[int, ...]
    operator: str | Blur = "gaussian"
    origin: tuple[int, int] = (0, 0)
    truths: tuple[str, ...] = ()
    wider: float = 1.0
    grids: Mapping[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        coarsest = max(self.gsds)
        target, (row, col) = self.source.grids[coarsest], self.origin
        kept = target.crop(Window(row, col, target.height - row, target.width - col))
        whole = kept.coarser(self.factor)
        self.grids = {gsd: whole.finer(coarsest // gsd) for gsd in self.gsds}

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Degraded bands in `window` of the degraded grid of `gsd`; all pixels count as valid."""
        extent, pad = self.grids[gsd].shape, self._pad(names, gsd)
        fine = window.at(self.factor).grow(pad)
        folded = fold(fine, extent[0] * self.factor, extent[1] * self.factor)
        row, col = (at * (max(self.gsds) // gsd) for at in self.origin)
        hull = folded.hull.shift(row, col)
        pixels = folded.take(self.source.read(names, gsd, hull, frame=frame))
        usable = pixels.valid & ~pixels.saturated
        values = self._degraded(names, gsd, fill(pixels.values, usable, _FILL_REACH), pad)
        true = np.ones(values.shape, bool)
        return Pixels(values, true, true, ~true)

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Degraded scenes carry no mask."""
        return False

    def _taps(self, name: str, gsd: int) -> NDArray[np.float64]:
        assert isinstance(self.operator, str)
        if self.operator == "sensor" and self.truths and _known(self.source, self.truths):
            sigma = pointspread.blur(name, self.truths, self.factor, wider=self.wider)
            return degrade.point_spread(self.factor, sigma / gsd)
        return degrade.taps(self.operator, self.factor)

    def _degraded(
        self, names: Sequence[str], gsd: int, values: NDArray[np.float32], pad: int
    ) -> NDArray[np.float32]:
        if isinstance(self.operator, Blur):
            return self.operator(values, self.factor, pad=pad)
        if self.operator == "gaussian":
            return degrade.degrade(values, self.factor)
        taps = [self._taps(name, gsd) for name in names]
        return degrade.shrink_each(values, self.factor, taps, pad=pad)

    def _pad(self, names: Sequence[str], gsd: int) -> int:
        if isinstance(self.operator, Blur):
            return self.operator.beyond(self.factor)
        if self.operator == "gaussian":
            return degrade.reach(self.factor)
        return max(degrade.beyond(self._taps(name, gsd), self.factor) for name in names)


@dataclass
class SpoiltReader:
    """What `blurred` gives of a scene, finished as a sensor and a product would; held whole.

    Args:
        finish: takes all of some bands in units of 1.0.
        seed: of what it draws; the same bands are always spoilt alike.
    """

    blurred: WaldReader
    scene: Scene
    finish: Finish
    seed: int
    grids: Mapping[int, Grid] = field(init=False)
    _whole: dict[tuple[str, ...], NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grids = self.blurred.grids

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Bands in a window of the degraded grid; all pixels count as valid."""
        grid = self.grids[gsd]
        folded = fold(window, grid.height, grid.width)
        every = tuple(band.name for band in self.scene.bands)
        if every not in self._whole:
            counts = self.blurred.read(every, gsd, grid.window, frame=frame).values
            unit = np.float32(self.scene.quantification)
            rng = np.random.default_rng(self.seed)
            units = np.asarray(counts / unit, np.float32)
            self._whole[every] = np.asarray(self.finish(units, rng) * unit, np.float32)
        values = self._whole[every][[every.index(name) for name in names]]
        true = np.ones(values.shape, bool)
        inside = Pixels(values, true, true, ~true)
        return folded.take(inside.crop(folded.hull.within(grid.window)))

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Degraded scenes carry no mask."""
        return False


def _known(source: Reader, names: Sequence[str]) -> bool:
    """Whether the point spreads of some bands are told relative to a scene's finest ones.

    Of rasters of no known sensor they are not, though bands may be called like a sensor's.
    """
    return pointspread.known(names, min(source.grids))


def truth(
    source: Reader, names: Sequence[str], gsd: int, window: Window, operator: str | Blur
) -> Pixels:
    """The bands of `gsd` that a degraded scene is compared with; gaps hold 0 and do not count.

    With "sensor" all are brought to the sharpness of the softest, which the guides have there.
    """
    if operator != "sensor" or not _known(source, names):
        return source.read(names, gsd, window)
    taps = [degrade.softening(pointspread.soften(name, names) / gsd) for name in names]
    pad = max(len(weights) // 2 for weights in taps)
    grid = source.grids[gsd]
    folded = fold(window.grow(pad), grid.height, grid.width)
    pixels = folded.take(source.read(names, gsd, folded.hull))
    filled = fill(pixels.values, pixels.usable, _FILL_REACH)
    values = degrade.shrink_each(filled, 1, taps, pad=pad)
    inner = pixels.crop((slice(pad, pad + window.height), slice(pad, pad + window.width)))
    return replace(inner, values=values)
