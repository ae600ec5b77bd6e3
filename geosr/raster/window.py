"""Windows: rectangles of whole pixels.

A window in coarse pixels has an exact counterpart on every finer grid, `window.at(k)`, because a
60 m pixel covers exactly 3 × 3 pixels of 20 m and 6 × 6 of 10 m.
"""

from __future__ import annotations

from typing import NamedTuple


class Window(NamedTuple):
    """A rectangle of whole pixels; it may reach past the edges of its grid."""

    row: int
    col: int
    height: int
    width: int

    def at(self, k: int) -> Window:
        """The same ground on a grid `k` times finer."""
        return Window(self.row * k, self.col * k, self.height * k, self.width * k)

    def coarse(self, k: int) -> Window:
        """The smallest window of `k` times coarser pixels that covers this one."""
        row, col = self.row // k, self.col // k
        bottom, right = -(-(self.row + self.height) // k), -(-(self.col + self.width) // k)
        return Window(row, col, bottom - row, right - col)

    def grow(self, n: int) -> Window:
        """`n` more pixels on every side."""
        return Window(self.row - n, self.col - n, self.height + 2 * n, self.width + 2 * n)

    def shift(self, rows: int, cols: int) -> Window:
        """Moved down by `rows` and right by `cols`."""
        return Window(self.row + rows, self.col + cols, self.height, self.width)

    def intersect(self, other: Window) -> Window:
        """The common part; its height or width is 0 where there is none."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.col + self.width, other.col + other.width)
        return Window(row, col, max(bottom - row, 0), max(right - col, 0))

    def within(self, outer: Window) -> tuple[slice, slice]:
        """This window as row and column slices of an array that holds `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)
