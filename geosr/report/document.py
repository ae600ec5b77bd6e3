"""The document: as many scenes and crops, as large, as its size allows."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from geosr.raster import marks, picture
from geosr.raster.publish import write_bytes
from geosr.report import figures
from geosr.report.content import Crop, Image, ScenePage, Values
from geosr.report.crops import drawn
from geosr.report.tables import bullets, definition_list, fact_list, mean_tables, metric_table

LIMIT = 5_000_000  # bytes of a report
_SIDE = 320  # pixels of a crop that are shown at most
_LEAST = 96  # and at least, however many crops there are
_OVERVIEW, _THUMB = 512, 48  # the same of an overview
_SPARE = 10_000  # bytes for the notes of what was left out
_AROUND = 800  # for a scene's headings and notes
_MARK = 300  # for the mark of a crop
_DEEP, _FLAT = 3.4, 1.3  # bytes of a pixel in RGB and in grey, measured on textured scenes


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
    head = fact_list(facts, "facts") + mean_tables(table)
    foot = definition_list({key: text for key, text in definitions.items() if key in named})
    outside = _document(title, head, "", foot)
    budget = _Budget(LIMIT - _size(outside) - _SPARE)
    drafts = _drafts(pages, budget)
    side = _fill(drafts, budget)
    notes = _notes(pages, drafts, side)
    sections = "".join(_section(number, draft) for number, draft in enumerate(drafts, 1))
    return _document(title, notes + head, _contents(drafts) + sections, foot)


def write(path: Path, html: str, *, overwrite: bool = False) -> None:
    """A report as a file, whole or not at all; what UTF-8 cannot hold becomes `?`.

    Args:
        overwrite: replace a file that is no report of geosr too.

    Raises:
        UsageError: such a file is there.
        StoppedError: the disk is full or the folder is not writable.
    """
    marks.require_replaceable(path, marks.PAGE, overwrite=overwrite)
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
    body = budget.take(drawn(number + 1, crop), more=_MARK)
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
        f"{marks.PAGE.decode()}\n"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{head}</header>\n"
        f"<main>{body}</main>\n{foot}<script>{script}</script>\n</body>\n</html>\n"
    )


def _asset(name: str) -> str:
    return (resources.files("geosr.report") / name).read_text(encoding="utf-8")


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
    return bullets(found, "note")


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
        f'<div class="words">{bullets(page.warnings)}{metric_table(page.metrics)}'
        f"{fact_list(page.facts, 'facts')}</div>"
    )


def _section(number: int, draft: _Draft) -> str:
    missing = len(draft.page.crops) - len(draft.bodies)
    note = [f"{missing} of {len(draft.page.crops)} crops of this scene are left out."]
    bodies = "".join(draft.bodies[key] for key in sorted(draft.bodies))
    return (
        f'<section class="scene" id="scene-{number}"><h2>{escape(draft.page.name)}</h2>'
        f'<div class="top">{_marked(draft)}{draft.text}</div>'
        f"{bullets(note if missing else [], 'note')}{bodies}</section>"
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
    return f'<image width="{cols}" height="{rows}" href="{figures.uri(picture.png(shown))}"/>'


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
