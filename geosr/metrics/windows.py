"""Windows over images that come in strips of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Figure = float | None


def unmasked(valid: Mask, side: int) -> Mask:
    """Windows of side × side that hold no masked pixel."""
    for axis in (0, 1):
        moved = np.moveaxis(valid, axis, 0)
        reach = 1
        while reach < side:
            step = min(reach, side - reach)
            moved, reach = moved[:-step] & moved[step:], reach + step
        valid = np.moveaxis(moved, 0, axis)
    return valid


@dataclass
class Mean:
    total: float = 0.0
    n: int = 0

    def add(self, values: Array, kept: Mask) -> None:
        self.total += float(np.where(kept, values, 0.0).sum())
        self.n += int(np.count_nonzero(kept))

    @property
    def value(self) -> Figure:
        return self.total / self.n if self.n else None


class Carry:
    """Joins strips: keeps the last rows of one where the next still needs them.

    Args:
        kept: number of rows to keep of so many.
    """

    def __init__(self, kept: Callable[[int], int]) -> None:
        self._kept = kept
        self._rows: tuple[NDArray[Any], ...] = ()

    def join(self, *strip: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """These rows, those kept above them."""
        if self._rows:
            strip = tuple(np.concatenate(p, -2) for p in zip(self._rows, strip, strict=True))
        rows = strip[0].shape[-2]
        start = rows - self._kept(rows)
        self._rows = tuple(array[..., start:, :].copy() for array in strip)
        return strip

    @classmethod
    def windows(cls, side: int) -> Carry:
        """For windows sliding by one row."""
        return cls(lambda rows: min(rows, side - 1))

    @classmethod
    def blocks(cls, side: int) -> Carry:
        """For blocks side by side: what does not fill one yet."""
        return cls(lambda rows: rows % side)
