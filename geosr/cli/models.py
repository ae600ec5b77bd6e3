"""`geosr models`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import tell
from geosr.cli.options import SCALE, option

if TYPE_CHECKING:
    from geosr.models.design import Design


@click.command("models")
@click.argument("name", required=False)
@option("--scale", type=SCALE, help="Of nets that come in several.")
@option("--json", "as_json", is_flag=True, help="A list of all, or one card, as JSON on stdout.")
@click.pass_context
def command(ctx: click.Context, /, name: str | None, scale: float | None, as_json: bool) -> None:
    """List the nets, or show the card of NAME.

    \b
    geosr models
    geosr models lapsr --scale 8
    geosr models --json

    Tasks: guided (a scene's fine bands sharpen its coarse ones), sisr (one image), misr (several
    images of one place), fits (one image, on which the net learns first). Margin is what tiles
    read around their core, in output pixels. Nets with bands 1 take any raster band by band.
    Shipped weights come with geosr; the others are to be trained.
    """

    from geosr.models import registry

    if name is not None:
        found = registry.cards(name, scale=scale)
        if as_json:
            tell(json.dumps([asdict(card) for card in found]))
        else:
            tell("\n\n".join(_card(card) for card in found))
        return
    rows = [describe(design, scale) for design in registry.DESIGNS.values()]
    tell(json.dumps(rows) if as_json else _table(rows))


def describe(design: Design, scale: float | None = None) -> dict[str, Any]:
    """One line of the list as plain values."""
    from geosr.models import registry, weights

    card = design.card(scale=scale if scale in design.reach else None)
    entry = weights.entry(card)
    return {
        "name": card.name,
        "task": card.task,
        "scale": card.scale,
        "parameters": registry.count(card),
        "margin": card.margin,
        "bands": len(card.bands),
        "weights": entry["file"] if entry else None,
        "shipped": entry is not None,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    heads = ("name", "task", "scale", "parameters", "margin", "bands", "weights")
    cells = [[_cell(row[head]) for head in heads] for row in rows]
    widths = [max(len(row[i]) for row in [list(heads), *cells]) for i in range(len(heads))]
    left = ("name", "task", "weights")

    def line(row: list[str] | tuple[str, ...]) -> str:
        return "  ".join(
            text.ljust(width) if head in left else text.rjust(width)
            for head, text, width in zip(heads, row, widths, strict=True)
        ).rstrip()

    return "\n".join([line(heads), *(line(row) for row in cells), "", _default()])


def _default() -> str:
    """What is taken where nobody says, and why, by the manifest's figures."""
    from geosr.models import registry, weights

    def told(name: str) -> str:
        found = weights.manifest().get(name, {}).get("measured", {})
        if "ratio" not in found:
            return name
        said = f"{name} {found['ratio']:.3f}"
        if "sensor_ratio" in found:
            said += f", by the sensor's point spread {found['sensor_ratio']:.3f}"
        return said

    pairs = (registry.PAIRS[pair] for pair in ("dsen2-ps", "dsen2"))
    each = "; ".join(told(name) for pair in zip(*pairs, strict=True) for name in pair)
    taken = " and ".join(registry.DEFAULT)
    return f"superres takes {taken}. RMSE on held-out places by bicubic's: {each}."


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _measured(entry: Any) -> dict[str, str]:
    found = entry.get("measured") if entry else None
    return {"measured": ", ".join(f"{k} {v}" for k, v in found.items())} if found else {}


def _where_from(card: Any) -> str:
    learned = card.learns
    return "learned on each scene before it is made" if learned else "none shipped; train them"


def _card(card: Any) -> str:
    """A card for a person."""
    from geosr.models import registry, weights

    entry = weights.entry(card)
    inputs = ", ".join(
        f"{item.frames} × " * (item.frames > 1) + f"{' '.join(item.bands)} at {item.gsd}"
        for item in card.inputs
    )
    generic = card.sensor == "any"
    lines = {
        "name": card.name,
        "task": card.task,
        "architecture": " ".join([card.arch, *(f"{k}={v}" for k, v in card.options.items())]),
        "parameters": f"{registry.count(card):,}",
        "scale": f"any, here {card.factor:g}" if card.continuous else str(card.scale),
        "inputs": "any raster, band by band" if generic and len(card.bands) == 1 else inputs,
        "frames": str(card.frames),
        "outputs": "the same bands" if generic else " ".join(card.bands),
        "margin": f"{card.margin} output pixels" + (", blended" if card.blend else ""),
        "weights": f"{entry['file']} (shipped)" if entry else _where_from(card),
        **_measured(entry),
        "license": card.license,
        "source": card.source,
    }
    return "\n".join(f"{key + ':':14}{value}" for key, value in lines.items())
