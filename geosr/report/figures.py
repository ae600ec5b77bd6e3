"""Figures of a report as text: PNG as data URIs, plots as inline SVG, drawn by style classes."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from geosr.raster.picture import png

Pixels = NDArray[np.uint8]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Range = tuple[float, float]

_LEFT, _RIGHT, _TOP = 52, 10, 10  # units of a drawing around its plot
_SQUARE, _WIDE, _SMALL = (260, 248), (400, 270), (270, 166)  # of a drawing, as shown unscaled
_COMPOSITES = (("B4", "B3", "B2"), ("B11", "B8A", "B5"))
_BINS = 96  # of a scatter, along each axis
_FLOOR = 1e-9  # of the highest power: below is rounding
_SMALLEST = 8  # pixels a side of an image with a power spectrum
_FIXED = {"LR": 0, "bicubic": 1, "truth": 2}
_EXTRA = 4  # styles of models, k3 to k6
_BLUE_RED = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))
_NEUTRAL = 127  # index of zero in a palette of 255 entries; 255 is transparent
Ticks = Sequence[tuple[float, str]]


def uri(file: bytes) -> str:
    """A PNG file as the address of an image."""
    return "data:image/png;base64," + base64.b64encode(file).decode()


def shrunk(image: Image, side: int) -> Image:
    """Means over blocks, at most `side` a side; NaN where a block has no finite value.

    Only the bands that are shown: the first three, or the first.
    """
    image = _chosen(image)
    k = math.ceil(max(image.shape[1:]) / side)
    if k < 2:
        return image
    rows, cols = (np.arange(0, n, k) for n in image.shape[1:])
    finite = np.isfinite(image)
    total, count = (
        np.add.reduceat(np.add.reduceat(part, rows, 1), cols, 2)
        for part in (np.where(finite, image, 0).astype(np.float64), finite.astype(np.float64))
    )
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return np.asarray(mean, np.float32)


def composite(names: Sequence[str]) -> list[int]:
    """The bands to show as red, green and blue: true colour, or SWIR, NIR and red edge.

    The first three where there are neither, the first where there are fewer.
    """
    found = next((known for known in _COMPOSITES if set(known) <= set(names)), tuple(names[:3]))
    return [list(names).index(name) for name in (found if len(found) == 3 else found[:1])]


def _chosen(image: Image) -> Image:
    """The bands that are shown."""
    return image[:3] if len(image) >= 3 else image[:1]


def stretch(image: Image, valid: Mask) -> list[Range]:
    """The 2nd and 98th percentile of each shown band where valid; 0 and 1 where nothing is."""
    if not valid.any():
        return [(0.0, 1.0)] * len(_chosen(image))
    ends = [np.percentile(band[valid], (2, 98)) for band in _chosen(image)]
    return [(float(low), float(high)) for low, high in ends]


def visible(image: Image, stretch: Sequence[Range]) -> Pixels:
    """(rows, cols, 3), or (rows, cols) of one band; a constant band is mid grey, NaN black."""
    shown = []
    for band, (low, high) in zip(_chosen(image), stretch, strict=True):
        scaled = (band - low) / (high - low) if high > low else (band - low) * 1e-3 + 0.5
        shown.append(np.clip(np.nan_to_num(scaled), 0, 1) * 255 + 0.5)
    return np.asarray(shown[0] if len(shown) == 1 else np.stack(shown, 2), np.uint8)


def styles(names: Sequence[str]) -> dict[str, int]:
    """The number of each image's line style, the same in all figures; models take turns."""
    models = [name for name in names if name not in _FIXED]
    return {
        name: _FIXED[name] if name in _FIXED else 3 + models.index(name) % _EXTRA for name in names
    }


def legend(names: Sequence[str]) -> str:
    """A list of names, each beside a sample of its line."""
    items = [
        f'<li><svg viewBox="0 0 28 8" aria-hidden="true"><path class="line k{k}" d="M1 4H27"/>'
        f"</svg>{escape(name)}</li>"
        for name, k in styles(names).items()
    ]
    return f'<ul class="legend">{"".join(items)}</ul>'


def difference(values: Image, valid: Mask, limit: float) -> bytes:
    """(rows, cols) from −`limit` blue over white to +`limit` red; what is not valid is clear."""
    scaled = np.clip(np.nan_to_num(values) / max(limit, 1e-9), -1, 1)
    index = np.rint(scaled * _NEUTRAL + _NEUTRAL)
    return png(np.where(valid, index, 255).astype(np.uint8), _diverging())


def _diverging() -> Pixels:
    places = np.linspace(0, 2 * _NEUTRAL, len(_BLUE_RED))
    colours = np.array(_BLUE_RED).T
    rgb = [np.interp(np.arange(2 * _NEUTRAL + 1), places, colour) for colour in colours]
    palette = np.full((256, 4), 255)
    palette[:255, :3] = np.rint(rgb).T
    palette[255] = 0
    return palette.astype(np.uint8)


@dataclass(frozen=True)
class _Axes:
    """A plot's ranges, and where their values lie in it."""

    x: Range
    y: Range
    size: tuple[int, int]
    foot: int = 40  # units under it

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Units of the drawing, from its top left."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        wide, high = self.size[0] - _LEFT - _RIGHT, self.size[1] - _TOP - self.foot
        return round(_LEFT + across * wide, 1), round(_TOP + (1 - up) * high, 1)


def _plot(axes: _Axes, xs: Ticks, ys: Ticks, labels: tuple[str, str], body: str, name: str) -> str:
    """A frame with ticks around `body`; tick labels are markup."""
    (left, bottom), (right, top) = axes.at(axes.x[0], axes.y[0]), axes.at(axes.x[1], axes.y[1])
    parts = [
        f'<path class="grid" d="M{x} {top}V{bottom}"/>'
        f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{label}</text>'
        for x, label in ((axes.at(value, axes.y[0])[0], label) for value, label in xs)
    ]
    parts += [
        f'<path class="grid" d="M{left} {y}H{right}"/>'
        f'<text x="{left - 5}" y="{y + 4}" text-anchor="end">{label}</text>'
        for y, label in ((axes.at(axes.x[0], value)[1], label) for value, label in ys)
    ]
    middle = (top + bottom) / 2
    parts += [
        body,
        f'<path class="axis" d="M{left} {top}V{bottom}H{right}"/>',
        f'<text x="{(left + right) / 2}" y="{axes.size[1] - 6}" text-anchor="middle">'
        f"{escape(labels[0])}</text>",
        f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(labels[1])}</text>",
    ]
    return (
        f'<svg class="plot" viewBox="0 0 {axes.size[0]} {axes.size[1]}" role="img" '
        f'aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )


def _line(axes: _Axes, points: Sequence[tuple[float, float]], style: int, *, dots: bool) -> str:
    places = [axes.at(x, y) for x, y in points]
    path = "M" + "L".join(f"{x} {y}" for x, y in places)
    shown = [f'<circle class="dot k{style}" cx="{x}" cy="{y}" r="2.5"/>' for x, y in places]
    return f'<path class="line k{style}" d="{path}"/>' + "".join(shown if dots else [])


def _padded(values: Sequence[float], share: float = 0.06) -> Range:
    """A range around finite values that is never empty."""
    low, high = min(values), max(values)
    more = (high - low) * share or max(abs(high) * share, 1.0)
    return low - more, high + more


def ticks(ends: Range, count: int = 5) -> list[tuple[float, str]]:
    """Round numbers inside a range, about `count`, with their labels."""
    rough = (ends[1] - ends[0]) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((power * k for k in (1, 2, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first, last = math.ceil(ends[0] / step), math.floor(ends[1] / step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(i * step, f"{i * step:,.{digits}f}") for i in range(first, last + 1)]


def spectrum(values: Mapping[str, NDArray[np.float32]], bands: Sequence[str], name: str) -> str:
    """The values of one place by band, a line an image; points alone where there is one band."""
    finite = [float(v) for line in values.values() for v in line if math.isfinite(v)]
    if not finite:
        return ""
    axes = _Axes((-0.4, len(bands) - 0.6), _padded(finite), _SMALL, 24)
    lines = [
        _line(axes, points, styles(list(values))[key], dots=True)
        for key, line in values.items()
        if (points := [(i, float(v)) for i, v in enumerate(line) if math.isfinite(v)])
    ]
    step = math.ceil(len(bands) / 7)
    xs = [(float(i), escape(band)) for i, band in enumerate(bands) if i % step == 0]
    return _plot(axes, xs, ticks(axes.y), ("", ""), "".join(lines), name)


def scatter(base: Image, estimate: Image, valid: Mask, labels: tuple[str, str]) -> str:
    """How often `estimate` (upwards) has which value where `base` has another, log counts.

    Args:
        base: (bands, rows, cols), as `estimate`; all bands are counted together.
        labels: what stands along x and y.
    """
    x, y = (image[:, valid].astype(np.float64) for image in (base, estimate))
    if not x.size:
        return ""
    low, high = (float(v) for v in np.percentile(x, (0.2, 99.8)))
    low, high = (low, high) if high > low else _padded([low])
    counts, *_ = np.histogram2d(y.ravel(), x.ravel(), _BINS, [(low, high), (low, high)])
    axes = _Axes((low, high), (low, high), _SQUARE)
    (left, bottom), (right, top) = axes.at(low, low), axes.at(high, high)
    body = (
        f'<image x="{left}" y="{top}" width="{right - left:.1f}" height="{bottom - top:.1f}" '
        f'preserveAspectRatio="none" href="{uri(_density(counts))}"/>'
        f'<path class="guide" d="M{left} {bottom}L{right} {top}"/>'
    )
    marks = ticks((low, high), 3)
    return _plot(axes, marks, marks, labels, body, f"{labels[1]} against {labels[0]}")


def _density(counts: NDArray[np.float64]) -> bytes:
    """A histogram, first row lowest, as one hue that grows dense with the log of the count."""
    shade = np.log1p(counts[::-1]) / max(math.log1p(float(counts.max())), 1e-9)
    palette = np.tile(np.array([47, 125, 196, 0], np.uint8), (256, 1))
    palette[1:, 3] = np.linspace(40, 255, 255)
    return png(np.ceil(shade * 255).astype(np.uint8), palette)


def radial_power(image: Image, valid: Mask) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean power over rings of frequency and over bands, under a Hann window.

    Args:
        image: (bands, rows, cols), at least 8 pixels a side.
        valid: (rows, cols); other pixels become their band's mean.

    Returns:
        Cycles per pixel up to 0.5, and the power of the window's mean square, in counts².
    """
    rows, cols = valid.shape
    window = np.outer(np.hanning(rows), np.hanning(cols))
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(cols)[None])
    rings = min(rows, cols)
    ring = np.rint(radius * rings).astype(np.int64).ravel()
    power = np.zeros(valid.shape)
    for band in image.astype(np.float64):
        centred = np.where(valid, band, 0) - (band[valid].mean() if valid.any() else 0) * valid
        power += np.abs(np.fft.fft2(centred * window)) ** 2 / (window**2).sum() / len(image)
    mean = np.bincount(ring, power.ravel()) / np.maximum(np.bincount(ring), 1)
    steps = np.arange(1, rings // 2 + 1)
    return steps / rings, mean[steps]


def power_plot(images: Mapping[str, Image], valid: Mask, factor: int) -> str:
    """Radial power of every image, both axes logarithmic; empty where there is nothing to draw.

    A line at 0.5 / factor marks the finest the input can hold. Powers under 1e-9 of the highest
    are left out, so a constant image has no line.
    """
    if min(valid.shape) < _SMALLEST:
        return ""
    found = {name: radial_power(image, valid) for name, image in images.items()}
    top = max(float(power.max()) for _, power in found.values())
    lines = {
        name: [(math.log10(f), math.log10(p)) for f, p in zip(*pair, strict=True)
               if p > top * _FLOOR and p > 1e-6]
        for name, pair in found.items()
    }  # fmt: skip
    heights = [y for line in lines.values() for _, y in line]
    if not heights:
        return ""
    frequencies = next(iter(found.values()))[0]
    axes = _Axes((math.log10(frequencies[0]), math.log10(0.5)), _padded(heights, 0.04), _WIDE)
    body = "".join(
        _line(axes, line, styles(list(lines))[name], dots=False)
        for name, line in lines.items()
        if line
    )
    labels = ("cycles per output pixel", "power (counts²)")
    return _plot(
        axes, _decimals(axes.x), _decades(axes.y), labels, _limit(axes, factor) + body,
        "radial power spectrum",
    )  # fmt: skip


def _limit(axes: _Axes, factor: int) -> str:
    """The finest frequency of the input."""
    if factor < 2 or math.log10(0.5 / factor) <= axes.x[0]:
        return ""
    x, bottom = axes.at(math.log10(0.5 / factor), axes.y[0])
    return (
        f'<path class="guide" d="M{x} {_TOP}V{bottom}"/>'
        f'<text x="{x - 4}" y="{_TOP + 10}" text-anchor="end">LR limit</text>'
    )


def _decimals(ends: Range) -> Ticks:
    places = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    found = [(math.log10(v), f"{v:g}") for v in places]
    return [(x, label) for x, label in found if ends[0] - 1e-9 <= x <= ends[1] + 1e-9]


def _decades(ends: Range) -> Ticks:
    first, last = math.ceil(ends[0]), math.floor(ends[1])
    step = max(1, math.ceil((last - first + 1) / 6))
    return [
        (float(i), f'10<tspan dy="-4" class="power">{i}</tspan>')
        for i in range(first, last + 1, step)
    ]
