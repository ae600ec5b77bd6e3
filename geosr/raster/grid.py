"""Where the pixels of a raster lie on the ground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from affine import Affine
from rasterio.crs import CRS

from geosr.raster.lattice import coarser_count, finer_count
from geosr.raster.window import Window

TOLERANCE = 1e-6  # in pixels: more is another grid, less is float noise


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a raster lie: CRS (or None), affine transform, width, height."""

    crs: CRS | None
    transform: Affine
    width: int
    height: int

    @classmethod
    def of(cls, dataset: Any) -> Grid:
        """The grid of an open rasterio dataset."""
        return cls(dataset.crs, dataset.transform, dataset.width, dataset.height)

    @property
    def gsd(self) -> float:
        """Side of a pixel along a row, in units of the CRS."""
        return math.hypot(self.transform.a, self.transform.d)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def window(self) -> Window:
        """The whole grid as a window."""
        return Window(0, 0, self.height, self.width)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top), over all four corners."""
        corners = [self.transform @ (x, y) for x in (0, self.width) for y in (0, self.height)]
        xs, ys = zip(*corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def finer(self, k: int) -> Grid:
        """The same ground in pixels `k` times smaller."""
        return Grid(self.crs, self.transform @ Affine.scale(1 / k), self.width * k, self.height * k)

    def finer_by(self, scale: float) -> Grid:
        """The same upper-left corner in pixels `scale` times smaller, any number above 0.

        It has as many as cover the ground, the last may reach beyond: `geosr.raster.lattice`.
        """
        a, b, c, d, e, f = self.transform[:6]
        transform = Affine(a / scale, b / scale, c, d / scale, e / scale, f)
        size = finer_count(self.width, scale), finer_count(self.height, scale)
        return Grid(self.crs, transform, *size)

    def coarser_by(self, scale: float) -> Grid:
        """The same upper-left corner in pixels `scale` times larger; a remainder is dropped."""
        size = coarser_count(self.width, scale), coarser_count(self.height, scale)
        return Grid(self.crs, self.transform @ Affine.scale(scale), *size)

    def coarser(self, k: int) -> Grid:
        """The same upper-left corner in pixels `k` times larger; a remainder is dropped."""
        return Grid(self.crs, self.transform @ Affine.scale(k), self.width // k, self.height // k)

    def crop(self, window: Window) -> Grid:
        """The grid of `window`, which may reach past the edges."""
        moved = self.transform @ Affine.translation(window.col, window.row)
        return Grid(self.crs, moved, window.width, window.height)

    def covering(self, bounds: Sequence[float]) -> Window:
        """The smallest window of whole pixels over (left, bottom, right, top)."""
        left, bottom, right, top = bounds
        inverse = ~self.transform
        cols, rows = zip(
            *(inverse @ (x, y) for x in (left, right) for y in (bottom, top)), strict=True
        )
        row, col = math.floor(min(rows) + TOLERANCE), math.floor(min(cols) + TOLERANCE)
        height = math.ceil(max(rows) - TOLERANCE) - row
        width = math.ceil(max(cols) - TOLERANCE) - col
        return Window(row, col, height, width)

    def ratio(self, coarse: Grid) -> int | None:
        """How many times coarser `coarse` is if it covers the same ground, else None."""
        k = round(coarse.gsd / self.gsd) if self.gsd else 0
        if k < 1 or self.crs != coarse.crs or self.shape != (coarse.height * k, coarse.width * k):
            return None
        ours = self.transform @ Affine.scale(k)
        drift = ~ours @ coarse.transform
        return k if _is_identity(drift, max(coarse.shape)) else None

    def __str__(self) -> str:
        name = self.crs.to_string() if self.crs else "no CRS"
        x, y = self.transform.c, self.transform.f
        return f"{self.height} × {self.width} px of {self.gsd:g} from ({x:.10g}, {y:.10g}), {name}"


def _is_identity(transform: Affine, extent: int) -> bool:
    """Whether no corner of `extent` pixels moves by more than the tolerance."""
    scale = max(abs(transform.a - 1), abs(transform.b), abs(transform.d), abs(transform.e - 1))
    shift = max(abs(transform.c), abs(transform.f))
    return scale * extent <= TOLERANCE * max(extent, 1) and shift <= 1e-4
