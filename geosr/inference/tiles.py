"""Tiles that cover a scene: integer arithmetic in the coarsest input's pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count, pairwise

from geosr.raster.window import Window


@dataclass(frozen=True)
class Span:
    """One tile along one axis: it is computed on [start, stop), and finished on [first, last)."""

    start: int
    stop: int
    first: int
    last: int


def spread(extent: int, size: int) -> list[Span]:
    """Cut `extent` pixels into the fewest equal spans of at most `size`, spread evenly.

    All spans have one length, so tiles can share a batch; neighbours overlap by a pixel or so
    where `extent` does not divide, and the seam lies in the middle of that overlap.
    """
    count = -(-extent // size)
    length = -(-extent // count)
    starts = [i * (extent - length) // max(count - 1, 1) for i in range(count)]
    seams = [0, *((a + length + b) // 2 for a, b in pairwise(starts)), extent]
    return [Span(s, s + length, seams[i], seams[i + 1]) for i, s in enumerate(starts)]


@dataclass(frozen=True)
class Tile:
    """One tile: `window` is computed, `core` (inside it, between the seams) is its own.

    Row and column are counted in its panel.
    """

    row: int
    col: int
    window: Window
    core: Window


def best_shape(extent: tuple[int, int], margin: int, area: int, rows: int) -> tuple[int, int]:
    """Height and width of the cores of tiles that read and compute least twice.

    Args:
        extent: (height, width) of what they cover.
        margin: pixels read around a core.
        area: of a tile, margin included, at most.
        rows: of a core at most, so that one row of tiles fits into memory.
    """
    best, least = (1, 1), float("inf")
    for down in count(max(-(-extent[0] // max(rows, 1)), 1)):
        height = -(-extent[0] // down)
        widest = area // (height + 2 * margin) - 2 * margin
        if widest >= 1:
            across = -(-extent[1] // widest)
            width = -(-extent[1] // across)
            cost = down * (height + 2 * margin) * across * (width + 2 * margin)
            if cost < least:
                best, least = (height, width), cost
        if height <= max(2 * margin, 1):
            return best
    raise AssertionError


@dataclass(frozen=True)
class TileGrid:
    """Tiles that cover a window of the scene, in the coarsest input's pixels.

    A wide window is cut into panels, one beside the other; each has its tiles row by row.

    Attributes:
        window: the part of the scene to finish.
        size: side of a finished core at most; the margin is read on top of it.
        width: of a core at most, where that is another number than its height.
        borders: columns at which panels meet, relative to the window's first.
    """

    window: Window
    size: int
    width: int | None = None
    borders: tuple[int, ...] = ()

    @cached_property
    def panels(self) -> tuple[TileGrid, ...]:
        """The panels from left to right, each as a grid of its own."""
        if not self.borders:
            return (self,)
        left = self.window.col
        return tuple(
            replace(self, window=self.window._replace(col=left + a, width=b - a), borders=())
            for a, b in pairwise((0, *self.borders, self.window.width))
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the tiles of one panel, seams not regarded."""
        down, across = self.rows[0], self.cols[0]
        return down.stop - down.start, across.stop - across.start

    @cached_property
    def rows(self) -> list[Span]:
        """The spans down the window, relative to its first row."""
        return spread(self.window.height, self.size)

    @cached_property
    def cols(self) -> list[Span]:
        """The spans across a window of one panel, relative to its first column."""
        assert not self.borders
        return spread(self.window.width, self.width or self.size)

    def __len__(self) -> int:
        return sum(len(panel.rows) * len(panel.cols) for panel in self.panels)

    def __iter__(self) -> Iterator[Tile]:
        for strip in self.strips():
            yield from strip

    def strips(self) -> Iterator[list[Tile]]:
        """One list of tiles a row of a panel, top to bottom, panel by panel."""
        for panel in self.panels:
            for row, down in enumerate(panel.rows):
                yield [panel._tile(row, down, col, across) for col, across in enumerate(panel.cols)]

    def _tile(self, row: int, down: Span, col: int, across: Span) -> Tile:
        top, left = self.window.row, self.window.col
        window = Window(
            down.start, across.start, down.stop - down.start, across.stop - across.start
        )
        core = Window(down.first, across.first, down.last - down.first, across.last - across.first)
        return Tile(row, col, window.shift(top, left), core.shift(top, left))
