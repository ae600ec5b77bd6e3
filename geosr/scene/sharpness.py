"""Which of several images of one place is the sharpest: the one with most of the finest detail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from geosr.scene.pixels import Pixels

SHARPEST = "sharpest"  # in place of an image's name
_FINE = 0.25  # cycles a pixel from which detail is fine
_COARSE = (0.02, 0.2)  # cycles a pixel of detail that no point spread takes much of
_RIM = 3  # pixels around what is not clear that are left out: masks miss rims of clouds
_TAPER = 2  # pixels over which what is compared fades out
_SHARE = 0.5  # of pixels that images must have clear in common

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def sharpest(images: Sequence[Pixels], clearance: float = 0.0) -> int:
    """The number of the sharpest of some images of one place.

    The clearest ones are compared, as many as have half of their pixels clear in common. The
    sharpest has the largest share of power from a quarter cycle a pixel up, which is what a wider
    point spread takes first. Gain and haze do not count; noise does, as if it were detail.

    Args:
        images: of one size each, told by the mean of their bands.
        clearance: share of clear pixels that an image needs; the clearest needs none.

    Returns:
        The clearest's number where no two are clear in common, or none shows anything.
    """
    clear: list[Mask] = [np.asarray(image.usable.all(0)) for image in images]
    order = sorted(range(len(images)), key=lambda i: -float(clear[i].mean()))
    order = order[:1] + [i for i in order[1:] if clear[i].mean() >= clearance]
    common, compared = ~_near(~clear[order[0]]), order[:1]
    for i in order[1:]:
        both = common & ~_near(~clear[i])
        if both.mean() < _SHARE:
            break
        common, compared = both, [*compared, i]
    weight = common * _windows(common, _TAPER).mean((2, 3))
    weight *= np.hanning(len(weight) + 2)[1:-1, None] * np.hanning(weight.shape[1] + 2)[1:-1]
    return max(compared, key=lambda i: fine_share(images[i].values.mean(0), weight))


def fine_share(image: NDArray[Any], weight: Array) -> float:
    """Power of the finest detail as a share of that of the coarser; 0 where there is none.

    Args:
        image: (rows, cols).
        weight: same shape, 0 where nothing is known, fading out towards that.
    """
    known = np.where(weight > 0, image, 0.0)
    mean = float((known * weight).sum() / max(weight.sum(), np.finfo(float).tiny))
    power = np.abs(np.fft.rfft2((known - mean) * weight)) ** 2
    down, across = np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1])
    length = np.hypot(down, across)
    coarse = power[(length > _COARSE[0]) & (length < _COARSE[1])].sum()
    return float(power[length > _FINE].sum() / coarse) if coarse else 0.0


def _near(gaps: Mask) -> Mask:
    """Gaps and what is within some pixels of them."""
    return np.asarray(_windows(gaps, _RIM).any((2, 3)))


def _windows(mask: Mask, reach: int) -> Mask:
    """(rows, cols, 2 · reach + 1, 2 · reach + 1): what lies around each pixel; edges repeated."""
    return sliding_window_view(np.pad(mask, reach, mode="edge"), (2 * reach + 1,) * 2)
