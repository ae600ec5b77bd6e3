"""A report: one static HTML file of sliders, figures and scores, needing nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr import figures
from geosr.publish import write_bytes

LIMIT = 5_000_000  # bytes of a report
_SIDE = 320  # pixels of a crop that are shown at most
_LEAST = 96  # and at least, however many crops there are
_OVERVIEW, _THUMB = 512, 48  # the same of an overview
_PLACES = ((5, "a"), (35, "b"), (65, "c"), (95, "d"))  # percentile of brightness, name
_SPARE = 10_000  # bytes for the notes of what was left out
_AROUND = 800  # for a scene's headings and notes
_MARK = 300  # for the mark of a crop
_DEEP, _FLAT = 3.4, 1.3  # bytes of a pixel in RGB and in grey, measured on textured scenes
_HIGH = {"cc", "sre", "sre_energy", "psnr", "ssim", "ms_ssim", "uiq", "q2n", "qnr", "cpsnr",
         "cssim"}  # fmt: skip
_LOW = {
    "rmse",
    "rmse_pooled",
    "mae",
    "bias",
    "dssim",
    "sam",
    "ergas",
    "d_lambda",
    "d_rho",
    "score",
    "lpips",
}

Values = Mapping[str, Mapping[str, float | None]]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Crop:
    """One place of a scene, all images on the output grid and of one size.

    Attributes:
        images: "LR" (every pixel repeated), "bicubic", models, and "truth" where there is one, in
            this order; (bands, rows, cols) in counts of 10000 to 1.0. NaN counts as masked.
        mask: (rows, cols), True is valid; None is all valid.
        bands: names; three are shown as `figures.composite` chooses, or the first as grey.
        factor: output pixels along an input pixel.
    """

    title: str
    images: Mapping[str, Image]
    mask: Mask | None
    bands: tuple[str, ...]
    factor: int

    @property
    def valid(self) -> Mask:
        """(rows, cols): neither masked nor NaN in any image."""
        finite = [np.isfinite(image).all(0) for image in self.images.values()]
        found = np.logical_and.reduce(finite)
        return np.asarray(found if self.mask is None else found & self.mask)

    @property
    def estimates(self) -> list[str]:
        """Bicubic and the models."""
        return [name for name in self.images if name not in ("LR", "truth")]

    @property
    def model(self) -> str:
        """The image that the page is about."""
        models = [name for name in self.estimates if name != "bicubic"]
        return [*models[:1], *self.estimates, *self.images][0]


@dataclass(frozen=True)
class ScenePage:
    """What is shown of a scene.

    Attributes:
        overview: (bands, rows, cols) of the LR; shrunk to at most 512 pixels a side.
        marks: of each crop (top, left, height, width) as shares of the overview.
        metrics: model to metric to value; None where it is not defined.
        facts: path, level, group and the like.
    """

    name: str
    overview: Image
    marks: Sequence[tuple[float, float, float, float]]
    crops: Sequence[Crop]
    metrics: Values
    facts: Mapping[str, str]
    warnings: Sequence[str] = ()


@dataclass
class _Budget:
    """Bytes that are left."""

    left: int

    def take(self, text: str, *, more: int = 0) -> str | None:
        """The text if there is room for it and `more` bytes around it."""
        size = _size(text) + more
        if size > self.left:
            return None
        self.left -= size
        return text


@dataclass
class _Draft:
    """A scene's section while it is put together; `bodies` by the number of its crop."""

    page: ScenePage
    text: str
    overview: str = ""
    bodies: dict[int, str] = field(default_factory=dict)
    marks: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)


def render(
    title: str,
    pages: Sequence[ScenePage],
    *,
    facts: Mapping[str, str],
    definitions: Mapping[str, str],
    table: Mapping[str, Values] = {},
) -> str:
    """The whole document; the same arguments give the same text.

    It takes at most 5 MB: with many scenes crops are cut to their middle, down to 96 pixels a
    side, then the later crops of each scene are left out, then the last scenes; the page says so.

    Args:
        facts: of the run: versions, models, weights.
        definitions: what each metric is; those that occur are shown.
        table: group to model to metric, means over scenes, shown first.
    """
    named = {metric for page in pages for row in page.metrics.values() for metric in row}
    named |= {metric for rows in table.values() for row in rows.values() for metric in row}
    head = _list(facts, "facts") + _means(table)
    foot = _definitions({key: text for key, text in definitions.items() if key in named})
    outside = _document(title, head, "", foot)
    budget = _Budget(LIMIT - _size(outside) - _SPARE)
    drafts = _drafts(pages, budget)
    side = _fill(drafts, budget)
    notes = _notes(pages, drafts, side)
    sections = "".join(_section(number, draft) for number, draft in enumerate(drafts, 1))
    return _document(title, notes + head, _contents(drafts) + sections, foot)


def write(path: Path, html: str) -> None:
    """A report as a file, whole or not at all; what UTF-8 cannot hold becomes `?`.

    Raises:
        StoppedError: the disk is full or the folder is not writable.
    """
    write_bytes(path, html.encode("utf-8", "replace"))


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def _drafts(pages: Sequence[ScenePage], budget: _Budget) -> list[_Draft]:
    """The scenes whose text fits."""
    drafts = []
    for page in pages:
        text = budget.take(_text(page), more=_AROUND + 2 * _size(escape(page.name)))
        if text is None:
            break
        drafts.append(_Draft(page, text))
    return drafts


def _fill(drafts: Sequence[_Draft], budget: _Budget) -> int:
    """Give drafts their pictures while there is room; the side of a crop that was allowed.

    The first crop of every scene comes before the second of any.
    """
    share = budget.left / max(len(drafts), 1)
    depth = max((_depth(crop) for draft in drafts for crop in draft.page.crops), default=1.0)
    side = _between(_LEAST, math.sqrt(0.7 * share / depth) // 16 * 16, _SIDE)
    small = _between(_THUMB, math.sqrt(0.2 * share / _DEEP), _OVERVIEW)
    for draft in drafts:
        draft.overview = budget.take(_overview(_overview_of(draft.page), small)) or ""
    for number in range(max((len(draft.page.crops) for draft in drafts), default=0)):
        for draft in drafts:
            if number < len(draft.page.crops):
                _add(draft, number, side, budget)
    return side


def _add(draft: _Draft, number: int, side: int, budget: _Budget) -> None:
    """Draw a crop if there is room for it, and its mark."""
    crop, share = _middle(draft.page.crops[number], side)
    body = budget.take(_crop(number + 1, crop), more=_MARK)
    if body is None:
        return
    draft.bodies[number] = body
    if number < len(draft.page.marks):
        draft.marks[number] = _inner(draft.page.marks[number], *share)


def _between(low: int, value: float, high: int) -> int:
    return int(min(max(value, low), high))


def _depth(crop: Crop) -> float:
    """Bytes that a pixel of a crop takes, all its pictures together."""
    shown = _DEEP if len(crop.bands) >= 3 else _FLAT
    return shown * (len(crop.images) - 1) + _FLAT * len(crop.estimates) + 0.1


def _middle(crop: Crop, side: int) -> tuple[Crop, tuple[float, float]]:
    """A crop cut to at most `side` pixels, on whole input pixels, and what share it still is."""
    rows, cols = crop.valid.shape
    if max(rows, cols) <= side:
        return crop, (1.0, 1.0)
    k = crop.factor
    height, width = (min(n, max(side // k * k, 1)) for n in (rows, cols))
    top, left = (rows - height) // 2 // k * k, (cols - width) // 2 // k * k
    at = (slice(top, top + height), slice(left, left + width))
    images = {name: image[:, *at] for name, image in crop.images.items()}
    mask = None if crop.mask is None else crop.mask[at]
    title = f"{crop.title} (its middle {height} × {width})"
    return replace(crop, title=title, images=images, mask=mask), (height / rows, width / cols)


def _inner(
    mark: tuple[float, float, float, float], down: float, across: float
) -> tuple[float, float, float, float]:
    top, left, height, width = mark
    return (
        top + height * (1 - down) / 2, left + width * (1 - across) / 2, height * down,
        width * across,
    )  # fmt: skip


def _document(title: str, head: str, body: str, foot: str) -> str:
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    policy += f"script-src 'sha256-{known}'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{head}</header>\n"
        f"<main>{body}</main>\n{foot}<script>{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (resources.files("geosr") / name).read_text(encoding="utf-8")


def _notes(pages: Sequence[ScenePage], drafts: Sequence[_Draft], side: int) -> str:
    """What was cut or left out to keep the file small."""
    crops = [crop for draft in drafts for crop in draft.page.crops]
    kept = sum(len(draft.bodies) for draft in drafts)
    megabytes = f"{LIMIT / 1e6:.0f} MB"
    found = []
    if any(max(crop.valid.shape) > side for crop in crops) and side < _SIDE:
        found.append(f"Crops are cut to {side} pixels a side to keep this file under {megabytes}.")
    if kept < len(crops):
        found.append(
            f"{len(crops) - kept} of {len(crops)} crops are left out to keep this file under "
            f"{megabytes}."
        )
    if len(drafts) < len(pages):
        found.append(
            f"{len(pages) - len(drafts)} of {len(pages)} scenes are left out to keep this file "
            f"under {megabytes}; the means count every scene."
        )
    return _warnings(found, "note")


def _warnings(texts: Iterable[str], kind: str = "warning") -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _list(facts: Mapping[str, str], kind: str) -> str:
    rows = "".join(
        f"<div><dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd></div>"
        for key, value in facts.items()
    )
    return f'<dl class="{kind}">{rows}</dl>' if rows else ""


def _definitions(texts: Mapping[str, str]) -> str:
    if not texts:
        return ""
    return f"<footer><h2>Metrics</h2>{_list(texts, 'definitions')}</footer>\n"


def _means(table: Mapping[str, Values]) -> str:
    """Tables of all groups."""
    found = [
        f"<section><h3>{escape(_group(group))}</h3>{shown}</section>"
        for group, rows in table.items()
        if (shown := _table(rows))
    ]
    return f'<h2>Means over scenes</h2><div class="means">{"".join(found)}</div>' if found else ""


def _group(name: str) -> str:
    return f"{name} m bands" if name.isdigit() else name


def _table(rows: Values) -> str:
    """A line a metric, a column a model, the best value of a line bold; empty ones left out."""
    known = {
        model: {key: value for key, value in row.items() if _known(value)}
        for model, row in rows.items()
    }
    models = [model for model, row in known.items() if row]
    metrics = [m for m in dict.fromkeys(k for row in rows.values() for k in row)
               if any(m in row for row in known.values())]  # fmt: skip
    if not metrics:
        return ""
    heads = "".join(f'<th scope="col">{escape(model)}</th>' for model in models)
    lines = [
        f'<tr><th scope="row">{escape(metric)}</th>'
        + _cells(metric, [rows[model].get(metric) for model in models])
        + "</tr>"
        for metric in metrics
    ]
    return (
        f'<div class="scroll"><table><thead><tr><td></td>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _cells(metric: str, values: Sequence[float | None]) -> str:
    best = _best(metric, [value for value in values if value is not None and _known(value)])
    shown = [
        f"<strong>{_number(v)}</strong>" if v is not None and v == best else _number(v)
        for v in values
    ]
    return "".join(f"<td>{text}</td>" for text in shown)


def _best(metric: str, values: Sequence[float]) -> float | None:
    """The best of at least two different values of a metric that has a direction."""
    if len(set(values)) < 2 or metric not in _HIGH | _LOW:
        return None
    return max(values) if metric in _HIGH else min(values, key=abs)


def _number(value: float | None) -> str:
    """Four digits that count."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3e}".replace("-", "−")
    digits = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(digits, 0), 5)}f}".replace("-", "−")


def _contents(drafts: Sequence[_Draft]) -> str:
    if len(drafts) < 2:
        return ""
    items = [
        f'<li><a href="#scene-{number}">{escape(draft.page.name)}</a></li>'
        for number, draft in enumerate(drafts, 1)
    ]
    return f'<nav aria-label="scenes"><h2>Scenes</h2><ol>{"".join(items)}</ol></nav>'


def _text(page: ScenePage) -> str:
    """A scene's words and numbers."""
    return (
        f'<div class="words">{_warnings(page.warnings)}{_table(page.metrics)}'
        f"{_list(page.facts, 'facts')}</div>"
    )


def _section(number: int, draft: _Draft) -> str:
    missing = len(draft.page.crops) - len(draft.bodies)
    note = [f"{missing} of {len(draft.page.crops)} crops of this scene are left out."]
    bodies = "".join(draft.bodies[key] for key in sorted(draft.bodies))
    return (
        f'<section class="scene" id="scene-{number}"><h2>{escape(draft.page.name)}</h2>'
        f'<div class="top">{_marked(draft)}{draft.text}</div>'
        f"{_warnings(note if missing else [], 'note')}{bodies}</section>"
    )


def _overview_of(page: ScenePage) -> Image:
    """The overview's bands that are shown."""
    bands = page.crops[0].bands if page.crops else ()
    return page.overview[figures.composite(bands)] if bands else page.overview


def _overview(image: Image, side: int) -> str:
    """The input as part of an SVG, in whose units its own pixels are one; empty if it is."""
    if not image.size:
        return ""
    rows, cols = image.shape[1:]
    small = figures.shrunk(image, side)
    shown = figures.visible(small, figures.stretch(small, np.asarray(np.isfinite(small).all(0))))
    return f'<image width="{cols}" height="{rows}" href="{figures.uri(figures.png(shown))}"/>'


def _marked(draft: _Draft) -> str:
    """The overview with the crops that are shown drawn and numbered on it."""
    if not draft.overview:
        return ""
    rows, cols = draft.page.overview.shape[1:]
    size = max(rows, cols) * 0.06
    marks = "".join(
        f'<rect class="mark" x="{left * cols:.2f}" y="{top * rows:.2f}" '
        f'width="{width * cols:.2f}" height="{height * rows:.2f}"/>'
        f'<text class="mark" x="{left * cols + size * 0.3:.2f}" '
        f'y="{top * rows + size:.2f}" font-size="{size:.2f}">{number + 1}</text>'
        for number, (top, left, height, width) in sorted(draft.marks.items())
    )
    return (
        f'<figure class="overview"><svg viewBox="0 0 {cols} {rows}" role="img" '
        f'aria-label="the input">{draft.overview}{marks}</svg>'
        f"<figcaption>LR{', and the crops shown below' if marks else ''}</figcaption></figure>"
    )


def _crop(number: int, crop: Crop) -> str:
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
        f'src="{figures.uri(figures.png(kept))}"><figcaption>{escape(name)}</figcaption></figure>'
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
        f'<p class="scale"><span>−{_number(limit)}</span><i></i><span>+{_number(limit)}</span></p>'
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
