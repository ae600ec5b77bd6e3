"""Words and numbers of a report as HTML: lists, tables of metrics, warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from geosr.report.content import Values

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


def bullets(texts: Iterable[str], kind: str = "warning") -> str:
    """A list of texts, of that class; empty of none."""
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def fact_list(facts: Mapping[str, str], kind: str) -> str:
    """A list of names and what they stand for, of that class; empty of none."""
    rows = "".join(
        f"<div><dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd></div>"
        for key, value in facts.items()
    )
    return f'<dl class="{kind}">{rows}</dl>' if rows else ""


def definition_list(texts: Mapping[str, str]) -> str:
    """What each metric is, as the page's foot."""
    if not texts:
        return ""
    return f"<footer><h2>Metrics</h2>{fact_list(texts, 'definitions')}</footer>\n"


def mean_tables(table: Mapping[str, Values]) -> str:
    """Tables of all groups."""
    found = [
        f"<section><h3>{escape(_group(group))}</h3>{shown}</section>"
        for group, rows in table.items()
        if (shown := metric_table(rows))
    ]
    return f'<h2>Means over scenes</h2><div class="means">{"".join(found)}</div>' if found else ""


def _group(name: str) -> str:
    return f"{name} m bands" if name.isdigit() else name


def metric_table(rows: Values) -> str:
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
        f"<strong>{digits(v)}</strong>" if v is not None and v == best else digits(v)
        for v in values
    ]
    return "".join(f"<td>{text}</td>" for text in shown)


def _best(metric: str, values: Sequence[float]) -> float | None:
    """The best of at least two different values of a metric that has a direction."""
    if len(set(values)) < 2 or metric not in _HIGH | _LOW:
        return None
    return max(values) if metric in _HIGH else min(values, key=abs)


def digits(value: float | None) -> str:
    """A value with four digits that count."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.3e}".replace("-", "−")
    places = 3 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(places, 0), 5)}f}".replace("-", "−")
