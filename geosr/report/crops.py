"""A crop as HTML: the slider of its images, maps of errors, scatters, power and spectra."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from geosr.raster import picture
from geosr.report import figures
from geosr.report.content import Crop, Image, Mask
from geosr.report.tables import digits

_PLACES = ((5, "a"), (35, "b"), (65, "c"), (95, "d"))  # percentile of brightness, name


def drawn(number: int, crop: Crop) -> str:
    """All that is shown of a crop."""
    if not min(crop.valid.shape):
        return ""
    valid, places = crop.valid, _places(crop)
    plots = _errors(crop, valid, places) + _scatters(crop, valid)
    lines = _power(crop, valid) + _spectra(crop, places)
    return (
        f'<article><h3><span class="number">{number}</span> {escape(crop.title)}</h3>'
        f'<div class="crop">{_slider(crop)}<div class="plots">{plots}</div></div>'
        f'<div class="lines">{lines}</div></article>'
    )


def _slider(crop: Crop) -> str:
    """All images; the script lays them over each other, without it they stand side by side."""
    order = figures.composite(crop.bands)
    low = crop.images.get("LR", next(iter(crop.images.values())))[order]
    stretch = figures.stretch(low, crop.valid)
    names = list(crop.images)
    left, right = (names.index(name) if name in names else 0 for name in ("LR", crop.model))
    shown = "".join(
        _picture(name, figures.visible(image[order], stretch), crop.factor if name == "LR" else 1)
        for name, image in crop.images.items()
    )
    picks = "".join(_select(*pair, names) for pair in (("left", left), ("right", right)))
    return (
        f'<div class="compare"><div class="stage">{shown}'
        '<div class="bar" role="slider" tabindex="0" aria-label="divider between both images" '
        'aria-valuemin="0" aria-valuemax="100" aria-valuenow="50" hidden></div></div>'
        f'<p class="pick" hidden>{picks}</p>'
        f'<p class="caption">{escape(_shown_as(crop, stretch))}</p></div>'
    )


def _picture(name: str, shown: NDArray[np.uint8], factor: int) -> str:
    """An image; one of repeated pixels is kept at its own size."""
    rows, cols = shown.shape[:2]
    small = shown[::factor, ::factor]
    whole = np.array_equal(small.repeat(factor, 0)[:rows].repeat(factor, 1)[:, :cols], shown)
    kept = small if whole and rows % factor == 0 and cols % factor == 0 else shown
    return (
        f'<figure><img width="{cols}" height="{rows}" alt="{escape(name)}" draggable="false" '
        f'src="{figures.uri(picture.png(kept))}"><figcaption>{escape(name)}</figcaption></figure>'
    )


def _select(label: str, chosen: int, names: Sequence[str]) -> str:
    options = [
        f'<option value="{i}"{" selected" if i == chosen else ""}>{escape(name)}</option>'
        for i, name in enumerate(names)
    ]
    return f'<label>{label} <select class="{label}">{"".join(options)}</select></label>'


def _shown_as(crop: Crop, stretch: Sequence[tuple[float, float]]) -> str:
    shown = [crop.bands[i] for i in figures.composite(crop.bands)]
    ends = [f"{band} {low:,.0f}–{high:,.0f}" for band, (low, high) in zip(shown, stretch,
            strict=True)]  # fmt: skip
    colours = "red, green, blue" if len(stretch) == 3 else "grey"
    return f"{colours}: {', '.join(ends)} counts, the 2nd to 98th percentile of LR"


def _places(crop: Crop) -> list[tuple[str, int, int]]:
    """A pixel a quarter, dark to bright: percentiles of the input's mean over bands."""
    low = crop.images.get("LR", next(iter(crop.images.values())))
    rows, cols = np.nonzero(crop.valid)
    quarter = 2 * (2 * rows >= low.shape[1]) + (2 * cols >= low.shape[2])
    found = []
    for number, (percent, name) in enumerate(_PLACES):
        here = np.flatnonzero(quarter == number)
        if len(here):
            bright = low[:, rows[here], cols[here]].mean(0, dtype=np.float64)
            i = here[np.argsort(bright, kind="stable")[percent * (len(here) - 1) // 100]]
            found.append((name, int(rows[i]), int(cols[i])))
    return found


def _errors(crop: Crop, valid: Mask, places: Sequence[tuple[str, int, int]]) -> str:
    """Maps of what estimates differ from the truth by, or the model from bicubic; one scale."""
    base = "truth" if "truth" in crop.images else "bicubic"
    names = [name for name in crop.estimates if name != base]
    if base not in crop.images or not names or not valid.any():
        return ""
    found = {name: (crop.images[name] - crop.images[base]).mean(0) for name in names}
    limit = max(float(np.percentile(np.abs(values[valid]), 99)) for values in found.values())
    limit = limit or 1.0
    maps = "".join(
        f"<figure>{_map(values, valid, limit, places)}<figcaption>{escape(name)} − {base}"
        "</figcaption></figure>"
        for name, values in found.items()
    )
    return (
        f'<section><h4>Error</h4><div class="maps">{maps}</div>'
        f'<p class="scale"><span>−{digits(limit)}</span><i></i><span>+{digits(limit)}</span></p>'
        '<p class="caption">counts, mean over bands; rings are the places of the spectra</p>'
        "</section>"
    )


def _map(values: Image, valid: Mask, limit: float, places: Sequence[tuple[str, int, int]]) -> str:
    rows, cols = values.shape
    size = max(rows, cols) * 0.045
    ends = [("end", -0.7) if col > 0.85 * cols else ("start", 0.7) for _, _, col in places]
    rings = "".join(
        f'<circle class="place" cx="{col + 0.5}" cy="{row + 0.5}" r="{size * 0.45:.2f}"/>'
        f'<text class="place" x="{col + 0.5 + size * off:.2f}" y="{row + 0.5 + size * 0.3:.2f}" '
        f'font-size="{size:.2f}" text-anchor="{anchor}">{name}</text>'
        for (name, row, col), (anchor, off) in zip(places, ends, strict=True)
    )
    address = figures.uri(figures.difference(values, valid, limit))
    return (
        f'<svg class="map" viewBox="0 0 {cols} {rows}" role="img" aria-label="error map">'
        f'<image width="{cols}" height="{rows}" href="{address}"/>{rings}</svg>'
    )


def _scatters(crop: Crop, valid: Mask) -> str:
    base = "truth" if "truth" in crop.images else "bicubic"
    if base not in crop.images:
        return ""
    plots = [
        figures.scatter(crop.images[base], crop.images[name], valid, (base, name))
        for name in crop.estimates
        if name != base
    ]
    if not any(plots):
        return ""
    return (
        f'<section><h4>Against {base}</h4><div class="scatters">{"".join(plots)}</div>'
        '<p class="caption">counts, all bands; the denser the more often (log)</p></section>'
    )


def _power(crop: Crop, valid: Mask) -> str:
    plot = figures.power_plot(_finite(crop, valid), valid, crop.factor)
    if not plot:
        return ""
    return f"<section><h4>Radial power</h4>{plot}{figures.legend(list(crop.images))}</section>"


def _finite(crop: Crop, valid: Mask) -> dict[str, Image]:
    return {name: np.where(valid, image, 0) for name, image in crop.images.items()}


def _spectra(crop: Crop, places: Sequence[tuple[str, int, int]]) -> str:
    """The values of a few pixels in all images."""
    plots = []
    for name, row, col in places:
        values = {key: image[:, row, col] for key, image in crop.images.items()}
        label = f"{name}: row {row}, column {col}"
        plot = figures.spectrum(values, crop.bands, label)
        plots.append(f"<figure>{plot}<figcaption>{label}</figcaption></figure>")
    if not plots:
        return ""
    return (
        f'<section><h4>Spectra</h4><div class="spectra">{"".join(plots)}</div>'
        f"{figures.legend(list(crop.images))}"
        '<p class="caption">counts by band, of a pixel in each quarter: the 5th, 35th, 65th '
        "and 95th percentile of its brightness in LR</p></section>"
    )
