"""Scores of an estimate against a truth: masked, float64, one strip of rows at a time.

x is the truth, y the estimate, in counts (10000 = reflectance 1); sums run over valid pixels.
`DEFINITIONS` says what every metric is. Sources: Lanaras et al. 2018 (RMSE, SRE, SAM), Wald 2000
(ERGAS), Wang and Bovik 2002 (UIQ), Wang et al. 2004 (SSIM), Wang et al. 2003 (MS-SSIM), Garzelli
and Nencini 2009 (Q2n).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geosr.metrics.q2n import Q2n
from geosr.metrics.ssim import SCALES, Scale, multiscale
from geosr.metrics.uiq import UIQ_WINDOW, uiq
from geosr.metrics.windows import Array, Carry, Figure, Mask, Mean, unmasked

_ROWS = 64  # worked on at once: what the processor's cache holds of a wide scene

PEAK = 10000.0  # counts of reflectance 1
_PSNR = "10·log10(peak² / mean((y − x)²)) in dB; peak {}"
_SSIM = (
    "Gaussian window 11 × 11, σ 1.5, inside the image; K 0.01 and 0.03, L = {}, population "
    "covariances"
)

DEFINITIONS: dict[str, str] = {
    "rmse": "sqrt(mean((y − x)²)) in counts; of a scene the mean over bands",
    "rmse_pooled": "sqrt of the mean (y − x)² over the pixels of all bands together, in counts",
    "mae": "mean(|y − x|) in counts",
    "bias": "mean(y − x) in counts",
    "cc": "Pearson's correlation of x and y",
    "sre": "10·log10(mean(x)² / mean((y − x)²)) in dB",
    "sre_energy": "10·log10(mean(x²) / mean((y − x)²)) in dB",
    "psnr": _PSNR.format("10000 counts unless given"),
    "ssim": _SSIM.format("10000 counts unless given"),
    "dssim": "(1 − SSIM) / 2",
    "ms_ssim": "SSIM's window at 5 scales, halved by 2 × 2 means; contrast-structure at 1-4, SSIM "
    "at 5; exponents 0.0448 0.2856 0.3001 0.2363 0.1333; means below 0 count as 0",
    "uiq": "mean of 4·σxy·x̄·ȳ / ((σx² + σy²)(x̄² + ȳ²)) over windows of 8 × 8, step 1",
    "sam": "mean over pixels of arccos(⟨x, y⟩ / (‖x‖·‖y‖)) in degrees; zero vectors left out",
    "ergas": "100/s · sqrt(mean over bands of (MSE / mean(x)²)), s the ratio of the pixel sizes",
    "d_lambda": "1 − Q2n of the output, degraded by the sensor's point spread, against the input",
    "d_rho": "1 − mean correlation with the best native band over windows of 8 × 8, step 1",
    "qnr": "(1 − D_λ)·(1 − D_ρ)",
    "opensr_reflectance": "mean |lr − sr↓| in reflectance, as all of opensr_…: opensr-test, border "
    "of 16 px left out; of the upper left 1024 × 1024 px, null where not all of it is valid",
    "opensr_spectral": "mean angle between lr and sr↓ in degrees",
    "opensr_spatial": "shift of sr↓ in pixels of lr",
    "opensr_synthesis": "mean |lr↑ − sr| in reflectance, sr brought to the truth's histogram",
    "opensr_improvement": "share of the changed pixels' detail that is right; the three sum to 1",
    "opensr_omission": "share that is missing",
    "opensr_hallucination": "share that is invented",
    "power_ratio": "power over the truth's at a quarter to a half cycle per pixel: 1 is as sharp, "
    "right or not; this and the next four of the upper left 1024 × 1024 px, null where not all of "
    "it is valid",
    "detail_gain": "share of the truth's detail beyond lr↑ (bilinear) that the estimate has, by "
    "least squares",
    "detail_right": "share of the detail of both that is in both; the three sum to 1",
    "detail_missing": "share that only the truth has: omission",
    "detail_invented": "share that only the estimate has: hallucination",
    "lpips": "LPIPS 0.1 with AlexNet of B4, B3, B2, else of the first three bands, the first again "
    "where there are fewer; reflectance clipped to 0 … 1 and brought to −1 … 1; of the upper left "
    "1024 × 1024 px, null where not all of it is valid or it is below 64 px",
    "cpsnr": "PSNR in dB after the mean is set to the truth's, best of 49 shifts of up to 3 px, "
    "border of 3 px left out; peak 65535 and rounded to 16 bits, of simulated series peak 10000",
    "cssim": "SSIM with L = 65535 at the best of those shifts, masked pixels 0 in both",
    "score": "cPSNR of the organisers' baseline (norm.csv) / cPSNR; lower is better",
    "q2n": "mean over blocks of 32 × 32 of 4·|σxy|·|x̄|·|ȳ| / ((σx² + σy²)(|x̄|² + |ȳ|²)), a "
    "pixel's bands one hypercomplex number padded to 2^n; x and y less x̄, by σx, plus 1 per band",
}

Peak = float | Literal["max"]


def definitions(peak: Peak = PEAK) -> dict[str, str]:
    """`DEFINITIONS` as they are with a peak."""
    top = "the largest valid x of the band in the scene, 0 where none is positive"
    return DEFINITIONS | {
        "psnr": _PSNR.format(top if isinstance(peak, str) else f"{peak:.10g} counts"),
        "ssim": _SSIM.format(f"{_range(peak):.10g} counts"),
    }


def _range(peak: Peak) -> float:
    """SSIM's L."""
    return PEAK if isinstance(peak, str) else peak


class Scores:
    """Streams strips of a scene and tells its scores at the end.

    A metric is None where nothing is valid and where the image is too small for its window: 8 px
    for UIQ, 11 for SSIM, 32 for Q2n, 176 for MS-SSIM. Windows count that lie wholly inside and
    hold no masked pixel. A NaN that is not masked makes a metric NaN.

    Without an error SRE and PSNR are infinite, and SRE is −infinite for an error on a truth of
    mean 0. The correlation with a constant is None. Flat windows are told by their means: UIQ is
    2·x̄·ȳ / (x̄² + ȳ²), 1 where both are zero, and SSIM of equal constants is 1. Q2n scales a
    band that is flat in the truth by its mean. SAM leaves out pixels of zero length or with a
    masked band. ERGAS is infinite for an error on a mean of 0.

    Args:
        names: bands, in the order of the arrays' first axis.
        factor: coarse pixel size over fine, ERGAS' s.
        peak: largest value there can be, in counts; "max" takes for PSNR the largest valid value
            of the truth, by band, and leaves SSIM's L at 10000.
        extra: score MS-SSIM and Q2n too, at almost twice the time.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        factor: float = 1,
        peak: Peak = PEAK,
        extra: bool = True,
    ) -> None:
        self.names = tuple(names)
        self.factor = factor
        self._bands = [_Band(peak, len(SCALES) if extra else 1) for _ in self.names]
        self._angle = Mean()
        self._q2n = Q2n(len(self.names)) if extra else None

    def add(self, truth: NDArray[Any], estimate: NDArray[Any], mask: NDArray[Any]) -> None:
        """The next rows, top to bottom; arrays are (bands, rows, cols), mask True is valid."""
        for top in range(0, truth.shape[1], _ROWS):
            rows = slice(top, top + _ROWS)
            valid = mask[:, rows].astype(bool)
            x = np.where(valid, truth[:, rows], 0.0).astype(np.float64, copy=False)
            y = np.where(valid, estimate[:, rows], 0.0).astype(np.float64, copy=False)
            for band, *strip in zip(self._bands, x, y, valid, strict=True):
                band.add(*strip)
            self._angle.add(*_angles(x, y, np.asarray(valid.all(0))))
            if self._q2n:
                self._q2n.add(x, y, valid)

    def bands(self) -> dict[str, dict[str, Figure]]:
        """Metric to band to value."""
        each = [band.figures() for band in self._bands]
        metrics = each[0] if each else {}
        return {m: {n: e[m] for n, e in zip(self.names, each, strict=True)} for m in metrics}

    def whole(self) -> dict[str, Figure]:
        """Metric to value, of all bands together.

        Those of `bands()` are means over the bands that have one, infinite ones left out beside
        finite ones; "rmse_pooled", "sam", "ergas" and "q2n" are of the vectors.
        """
        means = {metric: mean(by.values()) for metric, by in self.bands().items()}
        return means | {
            "rmse_pooled": _pooled([band.sums for band in self._bands]),
            "sam": self.sam,
            "ergas": _ergas([band.sums for band in self._bands], self.factor),
            **({"q2n": self._q2n.mean.value} if self._q2n else {}),
        }

    @property
    def rmse(self) -> dict[str, Figure]:
        """Root mean square error by band, in counts; None where nothing is valid."""
        return self.bands()["rmse"]

    @property
    def sre(self) -> dict[str, Figure]:
        """10·log10(mean(x)² / MSE) by band, dB; infinite without an error."""
        return self.bands()["sre"]

    @property
    def uiq(self) -> dict[str, Figure]:
        """Universal image quality by band: mean over 8 × 8 windows that are wholly valid."""
        return self.bands()["uiq"]

    @property
    def sam(self) -> Figure:
        """Mean spectral angle over the bands, degrees; pixels of zero length are skipped."""
        return None if self._angle.value is None else math.degrees(self._angle.value)


def mean(values: Iterable[Figure]) -> Figure:
    """Mean of the values there are; infinite ones count only where no finite one is."""
    known = [value for value in values if value is not None]
    bounded = [value for value in known if not math.isinf(value)] or known
    return sum(bounded) / len(bounded) if bounded else None


class _Band:
    """All that is gathered of one band."""

    def __init__(self, peak: Peak, scales: int) -> None:
        self.peak = peak
        self.sums = _Sums()
        self._uiq, self._carry = Mean(), Carry.windows(UIQ_WINDOW)
        self._scales = [Scale(_range(peak)) for _ in range(scales)]

    def add(self, x: Array, y: Array, valid: Mask) -> None:
        self.sums.add(x, y, valid)
        joined = self._carry.join(x, y, valid)
        if min(joined[0].shape) >= UIQ_WINDOW:
            self._uiq.add(uiq(joined[0], joined[1]), unmasked(joined[2], UIQ_WINDOW))
        for scale in self._scales:
            scale.add(x, y, valid)
            if scale is not self._scales[-1]:
                x, y, valid = scale.halve(x, y, valid)

    def figures(self) -> dict[str, Figure]:
        ssim = self._scales[0].ssim.value
        more = {"ms_ssim": multiscale(self._scales)} if len(self._scales) > 1 else {}
        return {
            **_pointwise(self.sums, self.peak),
            "ssim": ssim,
            "dssim": None if ssim is None else (1 - ssim) / 2,
            **more,
            "uiq": self._uiq.value,
        }


@dataclass
class _Sums:
    """Sums over valid pixels; dx and dy are distances from each image's first valid pixel.

    From there a constant image has no spread at all, and counts of thousands lose no digits.
    `top` is the largest x, 0 where none is positive.
    """

    n: int = 0
    origin: tuple[float, float] = (0.0, 0.0)
    x: float = 0.0
    xx: float = 0.0
    error: float = 0.0
    absolute: float = 0.0
    squared: float = 0.0
    dx: float = 0.0
    dy: float = 0.0
    dxdx: float = 0.0
    dydy: float = 0.0
    dxdy: float = 0.0
    top: float = 0.0

    def add(self, x: Array, y: Array, valid: Mask) -> None:
        """x and y are 0 where they are not valid."""
        n = int(np.count_nonzero(valid))
        if n and not self.n:
            first = np.unravel_index(valid.argmax(), valid.shape)
            self.origin = float(x[first]), float(y[first])
        self.n += n
        self.top = max(self.top, float(x.max(initial=0.0)))
        error = y - x
        self.x, self.xx = self.x + float(x.sum()), self.xx + _dot(x, x)
        self.error += float(error.sum())
        self.squared += _dot(error, error)
        self.absolute += float(np.abs(error, out=error).sum())
        self._spread(np.where(valid, x - self.origin[0], 0), np.where(valid, y - self.origin[1], 0))

    def _spread(self, dx: Array, dy: Array) -> None:
        self.dx, self.dy = self.dx + float(dx.sum()), self.dy + float(dy.sum())
        self.dxdx, self.dydy = self.dxdx + _dot(dx, dx), self.dydy + _dot(dy, dy)
        self.dxdy += _dot(dx, dy)

    @property
    def mse(self) -> float:
        return self.squared / self.n


def _pointwise(sums: _Sums, peak: Peak) -> dict[str, Figure]:
    """Metrics of pixels by themselves."""
    if not sums.n:
        names = ("rmse", "mae", "bias", "cc", "sre", "sre_energy", "psnr")
        return dict.fromkeys(names)
    n, mse = sums.n, sums.mse
    return {
        "rmse": math.sqrt(mse),
        "mae": sums.absolute / n,
        "bias": sums.error / n,
        "cc": _correlation(sums),
        "sre": _decibels((sums.x / n) ** 2, mse),
        "sre_energy": _decibels(sums.xx / n, mse),
        "psnr": _decibels((sums.top if isinstance(peak, str) else peak) ** 2, mse),
    }


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def _correlation(sums: _Sums) -> Figure:
    n = sums.n
    spreads = (sums.dxdx - sums.dx**2 / n, sums.dydy - sums.dy**2 / n)
    if min(spreads) <= 0:
        return None
    value = (sums.dxdy - sums.dx * sums.dy / n) / math.sqrt(spreads[0] * spreads[1])
    return value if math.isnan(value) else max(-1.0, min(1.0, value))


def _pooled(bands: Sequence[_Sums]) -> Figure:
    n = sum(band.n for band in bands)
    return math.sqrt(sum(band.squared for band in bands) / n) if n else None


def _ergas(bands: Sequence[_Sums], factor: float) -> Figure:
    """Over the bands that have valid pixels."""
    parts = []
    for band in bands:
        if band.n:
            signal = (band.x / band.n) ** 2
            parts.append(band.mse / signal if signal else math.inf if band.mse else 0.0)
    return 100 / factor * math.sqrt(sum(parts) / len(parts)) if parts else None


def _angles(x: Array, y: Array, valid: Mask) -> tuple[Array, Mask]:
    """Angle between the vectors of every pixel in radians, and where there is one."""
    norms = np.sqrt((x * x).sum(0) * (y * y).sum(0))
    usable = valid & (norms != 0)
    cosine = (x * y).sum(0) / np.where(usable, norms, 1)
    return np.arccos(np.clip(cosine, -1, 1)), usable


def _dot(a: Array, b: Array) -> float:
    return float((a * b).sum())  # pairwise, and the same for any number of BLAS threads
