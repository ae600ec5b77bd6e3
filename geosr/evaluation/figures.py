"""Figures of one scene, from the rows that a net gives: by band, and of the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.evaluation.protocols import CHALLENGE, Case, Rows
from geosr.metrics import detail, kelvins, lpips, no_reference
from geosr.metrics.full_reference import Peak, Scores, mean
from geosr.metrics.lpips import Lpips
from geosr.sensors import probav

Values = Mapping[str, float | None]


@dataclass(frozen=True)
class Asked:
    """What is to be told of every scene."""

    extra: bool
    peak: Peak
    perceptual: Lpips | None

    def check(self, protocol: str) -> None:
        """Raise UsageError for a peak that is no count, and for LPIPS without a truth."""
        positive = not isinstance(self.peak, str) and 0 < self.peak < math.inf
        if not positive and self.peak != "max":
            raise UsageError(f"peak {self.peak} is no count. Give a number above 0, or max.")
        if self.perceptual and protocol in ("full", *CHALLENGE):
            raise UsageError(f"LPIPS is not told by the protocol '{protocol}'. Leave --lpips out.")


def figures(
    rows: Iterator[Rows], case: Case, scale: float, asked: Asked
) -> tuple[dict[str, dict[str, float | None]], dict[str, float | None]]:
    """Scores by band and of the whole scene.

    opensr-test and the figures of detail are of whole scales; at others they are left out.
    """
    even = scale == int(scale)
    full = case.group.startswith("full")
    scores = Scores(case.bands, factor=scale, peak=asked.peak, extra=asked.extra or full)
    more, corner = _Means(), _Corner(int(scale) if even else 1)
    by_band: dict[str, _Means] = {}
    for part in rows:
        scores.add(part.truth, part.estimate, part.mask)
        more.add(part.figures)
        for metric, figures in part.by_band.items():
            by_band.setdefault(metric, _Means()).add(figures)
        if not full and (asked.extra or asked.perceptual):
            corner.add(part)
    whole = scores.whole()
    if corner.held and asked.extra and even:
        whole |= corner.opensr(case.low())
        whole |= corner.detail(case.low())
    if corner.held and asked.perceptual:
        whole["lpips"] = corner.lpips(case.bands, asked.perceptual)
    whole |= _without_truth(whole, more) if full else more.all()
    told = {metric: means.all() for metric, means in by_band.items()}
    whole |= {metric: mean(figures.values()) for metric, figures in told.items()}
    return {**scores.bands(), **told}, whole


class _Corner:
    """The upper left corner of a scene, kept for what can only be told of a whole image."""

    def __init__(self, scale: int) -> None:
        self._scale = scale
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.float32], bool]] = []
        self._rows = 0

    def add(self, part: Rows) -> None:
        """Keep what lies in it of some rows."""
        at = (slice(None), slice(0, no_reference.SIDE - self._rows), slice(0, no_reference.SIDE))
        truth, estimate = part.truth[at], part.estimate[at]
        if truth.size:
            self._parts.append((truth, estimate, bool(part.mask[at].all())))
            self._rows += truth.shape[1]

    @property
    def held(self) -> bool:
        """Whether there is any of it."""
        return bool(self._parts)

    def opensr(self, low: NDArray[np.float32]) -> dict[str, float | None]:
        """The figures of opensr-test; None where the corner is too small or not all valid."""
        truth, estimate = self._images()
        rows, cols = (n // self._scale for n in truth.shape[1:])
        return no_reference.opensr_or_none(
            low[:, :rows, :cols], estimate, truth, scale=self._scale, valid=self._valid
        )

    def detail(self, low: NDArray[np.float32]) -> dict[str, float | None]:
        """Sharpness and rightness of detail; None where the corner is small or not all valid."""
        truth, estimate = self._images()
        if not self._valid or min(truth.shape[1:]) < detail.LEAST:
            return dict.fromkeys(detail.FIGURES)
        rows, cols = (n // self._scale for n in truth.shape[1:])
        up = no_reference.enlarged(low[:, :rows, :cols], truth.shape[1:])
        ratio = detail.power_ratio(estimate, truth)
        return {"power_ratio": ratio, **detail.detail(estimate, truth, up)}

    def lpips(self, names: Sequence[str], perceptual: Lpips) -> float | None:
        """LPIPS; None where the corner is too small or not all valid."""
        truth, estimate = self._images()
        at = list(lpips.rgb_bands(names))
        fits = self._valid and min(truth.shape[1:]) >= lpips.LEAST
        return perceptual(truth[at], estimate[at]) if fits else None

    @property
    def _valid(self) -> bool:
        return all(whole for *_, whole in self._parts)

    def _images(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Truth and estimate, cut to whole pixels of the input."""
        truth, estimate = (np.concatenate([p[i] for p in self._parts], 1) for i in (0, 1))
        rows, cols = (n // self._scale * self._scale for n in truth.shape[1:])
        return truth[:, :rows, :cols], estimate[:, :rows, :cols]


class _Means:
    """Figures of rows, averaged by weight."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, float]] = {}

    def add(self, figures: Mapping[str, tuple[float, float]]) -> None:
        """Those of some more rows."""
        for name, (value, weight) in figures.items():
            total, weights = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = total + value * weight, weights + weight

    def all(self) -> dict[str, float | None]:
        """Every mean so far."""
        return {name: self.get(name) for name in self._sums}

    def get(self, name: str) -> float | None:
        """The mean so far."""
        total, weights = self._sums.get(name, (0.0, 0.0))
        return total / weights if weights else None


def _without_truth(whole: Values, more: _Means) -> dict[str, float | None]:
    """D_λ from the spectral quality of what was degraded, D_ρ, and QNR of both."""
    quality, spatial = whole["q2n"], more.get("d_rho")
    spectral = None if quality is None else 1 - quality
    known = spectral is not None and spatial is not None
    agreement = {
        f"opensr_{name}": more.get(f"opensr_{name}") for name in no_reference.WITHOUT_TRUTH
    }
    return {
        **agreement,
        "d_lambda": spectral,
        "d_rho": spatial,
        "qnr": (1 - spectral) * max(1 - spatial, 0.0) if known else None,  # type: ignore[operator]
    }


def challenge(
    rows: Iterator[Rows], case: Case
) -> tuple[dict[str, dict[str, float | None]], dict[str, float | None]]:
    """The challenge's own figures; the estimate is rounded as a submission is."""
    (part,) = rows
    counts = probav.UNIT / 1e4
    estimate = np.clip(np.rint(part.estimate[0].astype(np.float64) * counts), 0, 65535)
    truth = np.rint(part.truth[0].astype(np.float64) * counts)
    return {}, by_rules(estimate / 65535, truth / 65535, part.mask[0], case.path)


def by_rules(
    estimate: NDArray[np.float64], truth: NDArray[np.float64], clear: NDArray[np.bool_], path: str
) -> dict[str, float | None]:
    """Of the Kelvins challenge; images in 0 to 1. The score where norm.csv lies with the imgset."""
    value, _ = kelvins.cpsnr(estimate, truth, clear)
    figures: dict[str, float | None] = {
        "cpsnr": value,
        "cssim": kelvins.cssim(estimate, truth, clear),
    }
    norms = probav.norm_file(Path(path))
    if norms is not None:
        norm = kelvins.read_norm(norms).get(Path(path).name)
        figures["score"] = kelvins.score(value, norm) if norm is not None else None
    return figures
