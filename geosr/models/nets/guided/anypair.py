"""Nets that learn on pairs of any sensor: a coarse raster's bands by the bands of a finer one.

How many bands there are, what they are called and by how much the guide is finer is told by the
data. A design's own card is a template: one guide and one band of any name, at factor 2. `of_pair`
makes the card of the same net for the bands of a pair; a checkpoint carries that one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from geosr.models.card import ANY, Input, ModelCard
from geosr.models.design import Design, Recipe, guided

if TYPE_CHECKING:
    from torch import nn

TEMPLATE = (Input(1, (ANY,)), Input(2, (ANY,)))


def is_template(card: ModelCard) -> bool:
    """Whether a guided net has no bands of its own yet."""
    return card.task == "guided" and ANY in card.bands


def of_pair(card: ModelCard, fine: Input, coarse: Input, sensor: str = "pair") -> ModelCard:
    """A template's card for the bands of two grids; its margin grows with the factor."""
    scale = coarse.gsd // fine.gsd
    return replace(
        card, sensor=sensor, inputs=(fine, coarse) if len(card.inputs) > 1 else (coarse,),
        output=Input(fine.gsd, coarse.bands), scale=scale,
        margin=card.margin // card.scale * scale,
    )  # fmt: skip


def template(
    name: str, build: Callable[[ModelCard], nn.Module], *, source: str, reach: int, blend: int,
    options: Mapping[str, Any], recipe: Recipe, paper: Recipe,
) -> Design:  # fmt: skip
    """The design of a net with weights for any pair.

    Args:
        reach: coarse pixels that tiles read around their core.
        blend: as on the card.
    """
    fine, coarse = TEMPLATE
    card = ModelCard(
        name, name, "pair", TEMPLATE, Input(fine.gsd, coarse.bands), coarse.gsd,
        reach * coarse.gsd, options, source=source, blend=blend,
    )  # fmt: skip
    return guided(card, build, recipe=recipe, paper=paper)
