"""Where the pixels of an output grid lie among the features of an input: one way for all nets.

Everything is told in input pixels: 0 is the centre of the input's first pixel, and the centre of
output pixel i, `scale` of which lie along an input pixel, is at (i + 1/2) / scale - 1/2. As both
grids are regular, rows and columns are told apart; nothing is as large as the output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geosr.raster.lattice import TOLERANCE, finer_count

_CUBIC = -0.75  # torch's, as of geosr's bicubic nets


@dataclass(frozen=True)
class Axis:
    """Output pixels along rows or columns.

    Attributes:
        at: (batch, n) float64, their centres in input pixels.
        step: (batch, 1) float64, from one to the next: an output pixel's size in input pixels.
        extent: input pixels along the axis.
    """

    at: Tensor
    step: Tensor
    extent: int

    def near(self, side: int) -> tuple[Tensor, Tensor]:
        """Index of the input pixel before (0) or behind (1) each centre, and the offset from it.

        Beyond the input it is the outermost pixel.
        """
        index = (self._first + side).clamp(0, self.extent - 1)
        return index.long(), self.at - index

    def nearest(self) -> tuple[Tensor, Tensor]:
        """Index of the input pixel that each centre lies in, and the offset from its centre."""
        index = (self.at + 0.5 + TOLERANCE).floor().clamp(0, self.extent - 1)
        return index.long(), self.at - index

    def share(self, side: int) -> Tensor:
        """Weight of that neighbour in linear interpolation; both sum to one."""
        behind = self.at - self._first
        return behind if side else 1 - behind

    def taps(self) -> list[tuple[Tensor, Tensor]]:
        """Index and weight of the four input pixels of cubic convolution; edges are repeated."""
        return [
            ((self._first + k).clamp(0, self.extent - 1).long(), _cubic(self.at - self._first - k))
            for k in (-1, 0, 1, 2)
        ]

    def part(self, start: int, stop: int) -> Axis:
        """Some of the output pixels."""
        return Axis(self.at[:, start:stop], self.step, self.extent)

    @property
    def _first(self) -> Tensor:
        return self.at.floor()


@dataclass(frozen=True)
class Places:
    """Output pixels that are asked for, by rows and columns."""

    rows: Axis
    cols: Axis

    @classmethod
    def of(cls, told: Tensor | None, x: Tensor, factor: float) -> Places:
        """What `inputs[PLACES]` tells of an input x; without it all pixels over x.

        Args:
            told: (batch, 2, 3): first centre, step and number, of rows and columns.
        """
        if told is None:
            rows, cols = (_over(extent, factor, x) for extent in x.shape[-2:])
        else:
            rows, cols = (_axis(told[:, i], x.shape[i - 2], x.device) for i in (0, 1))
        return cls(rows, cols)

    def blocks(self, most: int) -> list[Places]:
        """The same in blocks of whole rows, of about `most` pixels each."""
        count, height, width = *self.rows.at.shape, self.cols.at.shape[1]
        step = max(most // max(count * width, 1), 1)
        return [Places(self.rows.part(at, at + step), self.cols) for at in range(0, height, step)]

    def cells(self) -> Tensor:
        """(batch, 2): size of an output pixel, in units of half an input pixel, down and across."""
        return 2 * torch.cat([self.rows.step, self.cols.step], 1)


def _over(extent: int, factor: float, x: Tensor) -> Axis:
    """All output pixels over an input, the same of every image."""
    count = finer_count(extent, factor)
    step = torch.full((len(x), 1), 1 / factor, dtype=torch.float64, device=x.device)
    return Axis((_numbers(count, x.device) + 0.5) * step - 0.5, step, extent)


def _axis(told: Tensor, extent: int, device: torch.device) -> Axis:
    """What (batch, 3) tells: first centre, step and number."""
    first, step, count = told[:, :1], told[:, 1:2], int(told[0, 2])
    at = first + step * _numbers(count, told.device)
    return Axis(at.to(device), step.to(device), extent)


def _numbers(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, dtype=torch.float64, device=device)


def gather(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """(batch, channels, H, W) at rows (batch, n), columns (batch, m): (batch, n, m, channels)."""
    each = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[each, rows[:, :, None], cols[:, None, :]]


def bicubic(x: Tensor, places: Places) -> Tensor:
    """Cubic convolution (a = -0.75) of x at places, (batch, channels, n, m).

    It is never done in low precision. Over a whole input by a whole number it is torch's.
    """
    down = _interpolated(x, places.rows)  # (batch, channels, n, W)
    return _interpolated(down.transpose(2, 3), places.cols).transpose(2, 3)


def _interpolated(x: Tensor, axis: Axis) -> Tensor:
    """(batch, channels, H, W) at centres along H."""
    channels = torch.arange(x.shape[1], device=x.device)[None, :, None]
    each = torch.arange(len(x), device=x.device)[:, None, None]
    parts = [
        x[each, channels, index[:, None]] * weight[:, None, :, None].to(x.dtype)
        for index, weight in axis.taps()
    ]
    return torch.stack(parts).sum(0)


def _cubic(distance: Tensor) -> Tensor:
    """Weight of an input pixel at that distance from a centre."""
    x, a = distance.abs(), _CUBIC
    near = ((a + 2) * x - (a + 3)) * x**2 + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
