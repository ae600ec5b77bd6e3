"""A scene whose coarse bands are twins of its 10 m bands: a truth at the scale that users get.

A twin is a 10 m band, or a mixture of them, seen through the point spread of the coarse band whose
place it takes (`geosr.scene.pointspread`) and read at that band's pixels. Sharpened, it should be
that 10 m band again. The finer bands stay as they are.

It proves sharpness and geometry: how much of the missing detail comes back, and where. It says
nothing of spectral content that no 10 m band has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene import degrade
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels, Reader, fold

SINGLE = {
    "B1": "B2", "B5": "B4", "B6": "B8", "B7": "B8", "B8A": "B8", "B9": "B8", "B11": "B4",
    "B12": "B3",
}  # fmt: skip  # the neighbour in wavelength; other than that for B11 and B12, which have none
_FILL_REACH = 16

Array = NDArray[np.float32]


def single(bands: Sequence[str], guides: Sequence[str]) -> Array:
    """Shares of the guides in every twin, (bands, guides): one guide each."""
    shares = np.zeros((len(bands), len(guides)), np.float32)
    for row, name in zip(shares, bands, strict=True):
        near = SINGLE.get(name, "")
        row[guides.index(near) if near in guides else -1] = 1
    return shares


def mixed(bands: Sequence[str], guides: Sequence[str]) -> Array:
    """Shares drawn once for each band by its name: positive, of sum one."""
    drawn = [np.random.default_rng(crc32(name.encode())).dirichlet(np.ones(len(guides)))
             for name in bands]  # fmt: skip
    return np.asarray(drawn, np.float32)


@dataclass
class TwinReader:
    """The scene that `source` reads, with twins in place of the bands of one GSD.

    Args:
        bands: the coarse bands that are replaced.
        guides: the 10 m bands.
        shares: (bands, guides), as `single` and `mixed` give them.
    """

    source: Reader
    gsd: int
    bands: tuple[str, ...]
    guides: tuple[str, ...]
    shares: Array
    grids: Mapping[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        self.grids = self.source.grids

    @property
    def factor(self) -> int:
        """Fine pixels along a coarse one."""
        return self.gsd // self.finest

    @property
    def finest(self) -> int:
        """GSD of the guides."""
        return min(self.grids)

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Bands in a window; all pixels of twins count as valid."""
        if gsd != self.gsd:
            return self.source.read(names, gsd, window, frame=frame)
        taps = [degrade.of_band(name, self.factor, self.finest) for name in names]
        pad = max(degrade.beyond(weights, self.factor) for weights in taps)
        fine = self.truth(names, window.at(self.factor).grow(pad)).values
        values = degrade.shrink_each(fine, self.factor, taps, pad=pad)
        true = np.ones(values.shape, bool)
        return Pixels(values, true, true, ~true)

    def truth(self, names: Sequence[str], window: Window) -> Pixels:
        """Counts of the mixtures on the finest grid; gaps are filled and do not count."""
        grid = self.grids[self.finest]
        folded = fold(window, grid.height, grid.width)
        pixels = folded.take(self.source.read(self.guides, self.finest, folded.hull))
        shares = self.shares[[self.bands.index(name) for name in names]]
        values = np.einsum("bg,grc->brc", shares, fill(pixels.values, pixels.usable, _FILL_REACH))
        usable = ~np.einsum("bg,grc->brc", shares > 0, ~pixels.usable)
        return Pixels(values, usable, np.ones_like(usable), np.zeros_like(usable))

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Twins carry no mask."""
        return gsd != self.gsd and self.source.has_mask(names, gsd)
