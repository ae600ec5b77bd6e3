"""The step that makes an estimate agree with the image, by a point spread of any shape.

    x + Dᵀ (D Dᵀ + ε)⁻¹ (y - D x)

D filters by the point spread's kernel and keeps one pixel of s × s. (D Dᵀ + ε)⁻¹ is a filter on the
coarse grid, cut to a few pixels around its middle, so the step sees no further than it says. ε
keeps the noise of `y` from being raised where the kernel lets nothing through.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.scene import degradation, degrade

_BEYOND = 3  # coarse pixels of a kernel beyond the one in its middle
_REACH = 4  # coarse pixels of the inverse around its middle
_EPSILON = 0.01  # of what D Dᵀ lets through at frequency 0
_PERIOD = 64  # coarse pixels of the torus on which the inverse is found
_NARROWEST = 0.35  # fine pixels: σ below which samples of a Gaussian do not sum to it
_WIDEST = 1.2  # coarse pixels: σ that a kernel of that size still holds

Array = NDArray[np.float64]


def gaussian(factor: int, covariance: Array) -> Array:
    """The kernel of a Gaussian point spread: (7·factor, 7·factor), of sum one.

    Args:
        covariance: (2, 2), rows then columns, fine pixels squared; axes narrower or wider than a
            kernel can hold are brought to what it can.
    """
    squares, axes = np.linalg.eigh(covariance)
    squares = np.clip(squares, _NARROWEST**2, (_WIDEST * factor) ** 2)
    return degradation.gaussian(factor, axes @ np.diag(squares) @ axes.T, reach=_BEYOND * factor)


def bicubic(factor: int) -> Array:
    """The kernel of anti-aliased cubic convolution, as image libraries shrink pictures."""
    taps = degrade.bicubic(factor)
    spare = ((2 * _BEYOND + 1) * factor - len(taps)) // 2
    return np.asarray(np.pad(np.outer(taps, taps), spare))


def _inverse(kernel: Array, factor: int) -> Array:
    """(D Dᵀ + ε)⁻¹ as a filter of the coarse grid, `_REACH` pixels each way."""
    turned = np.fft.fft2(kernel, (_PERIOD * factor,) * 2)
    passed = np.fft.ifft2(np.abs(turned) ** 2).real[::factor, ::factor]  # D Dᵀ as a filter
    response = np.maximum(np.fft.fft2(passed).real, 0)
    undone = np.fft.ifft2(1 / (response + _EPSILON * response[0, 0])).real
    middle = np.roll(undone, (_REACH, _REACH), (0, 1))
    return np.asarray(middle[: 2 * _REACH + 1, : 2 * _REACH + 1])


class Projection(nn.Module):
    """The step; it knows the point spread of an image's sensor until it is told another.

    The kernel is kept with the weights.
    """

    kernel: Tensor
    inverse: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        square = degrade.image_sigma(scale) ** 2 * np.eye(2)
        for name, taps in self._of(gaussian(scale, square)).items():
            self.register_buffer(name, taps)

    def _of(self, kernel: Array) -> dict[str, Tensor]:
        taps = {"kernel": kernel, "inverse": _inverse(kernel, self.scale)}
        return {name: torch.from_numpy(each).float() for name, each in taps.items()}

    def tell(self, kernel: Array) -> None:
        """Take a kernel as `gaussian` and `bicubic` give them."""
        for name, taps in self._of(kernel).items():
            getattr(self, name).copy_(taps)

    @property
    def beyond(self) -> int:
        """Fine pixels that the kernel needs beyond the coarse one."""
        return _BEYOND * self.scale

    def degrade(
        self, fine: Tensor, *, padded: bool = False, kernel: Tensor | None = None
    ) -> Tensor:
        """(batch, bands, s·rows, s·cols) as the sensor would have seen them, edges repeated.

        Args:
            padded: `fine` carries `beyond` pixels more on every side, so none are repeated.
            kernel: another sensor's.
        """
        wide = fine if padded else F.pad(fine, (self.beyond,) * 4, mode="replicate")
        taps = (self.kernel if kernel is None else kernel).to(wide)[None, None]
        return _each_band(wide, lambda x: F.conv2d(x, taps, stride=self.scale))

    def forward(self, estimate: Tensor, low: Tensor) -> Tensor:
        """The estimate (batch, bands, s·rows, s·cols), made to agree with (batch, bands, …)."""
        with torch.autocast(low.device.type, enabled=False):
            estimate = estimate.to(low)
            missing = low - self.degrade(estimate)
            return estimate + _each_band(missing, self._back)

    def _back(self, missing: Tensor) -> Tensor:
        spread = F.conv2d(missing, self.inverse.to(missing)[None, None], padding=_REACH)
        return F.conv_transpose2d(
            spread, self.kernel.to(missing)[None, None], stride=self.scale, padding=self.beyond
        )


def _each_band(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A filter of one band on every band."""
    batch, bands = x.shape[:2]
    made = change(x.reshape(batch * bands, 1, *x.shape[2:]))
    return made.reshape(batch, bands, *made.shape[2:])
