"""Every net geosr knows, by name: an explicit table, one module per architecture.

To add one: write its module with a net, `build(card)` and `DESIGNS`, and name it in `_MODULES`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches

import torch
from torch import nn

from geosr.errors import UsageError
from geosr.models import receptive_field
from geosr.models.card import (
    ANY,
    BY_GUIDE,
    DEFAULT,
    PAIRS,
    SHIFTS,
    Input,
    Model,
    ModelCard,
    Uncertain,
)
from geosr.models.design import Design, Recipe
from geosr.models.nets import bicubic
from geosr.models.nets.change import srcdnet
from geosr.models.nets.continuous import cdcr, funsr, liif
from geosr.models.nets.fitted import dip, mip, zssr
from geosr.models.nets.guided import (
    aesr,
    bdsd,
    brovey,
    dsen2,
    dsen2ps,
    dsen2ps10,
    gsa,
    guidedfilter,
    hsrnet,
    local,
    mmsr,
    mogdcn,
    mtfglp,
    rrsgan,
)
from geosr.models.nets.multi import (
    deepsum,
    dual,
    fusion,
    hdrdsp,
    highresnet,
    ibpnet,
    misrgru,
    msdtgp,
    msttstvsr,
    piunet,
    rams,
    recursive,
    regularised,
    rrn,
    trmisr,
    wdsr3d,
    worldstrat,
)
from geosr.models.nets.single import (
    baseline,
    carn,
    cincgan,
    ddrn,
    dmcn,
    edsr,
    eegan,
    espcn,
    fsrcnn,
    ganhsi,
    han,
    hat,
    haunet,
    hsenet,
    lapsrn,
    lpan,
    pecnn,
    rcan,
    rfsr,
    rfsrhsi,
    rrdb,
    rsinet,
    sgfbgan,
    srcnn,
    srresnet,
    sspsr,
    swinir,
    transenet,
    vdsr,
)
from geosr.models.nets.spectral import spectral

__all__ = ["ANY", "BY_GUIDE", "DEFAULT", "DESIGNS", "PAIRS", "SHIFTS", "Design", "Input", "Model",
           "ModelCard", "Recipe", "Uncertain", "build", "builder", "cards", "count", "design",
           "known", "measured"]  # fmt: skip

_MODULES = (
    dsen2, dsen2ps, dsen2ps10, aesr, hsrnet, mogdcn, baseline, lpan, lapsrn, srcnn, vdsr, espcn,
    fsrcnn, srresnet, edsr, carn, rcan, han, dmcn, pecnn, ddrn, hsenet, haunet, transenet, swinir,
    hat, rrdb, eegan, sgfbgan, rsinet, cincgan, rfsr, sspsr, rfsrhsi, ganhsi, dual, highresnet,
    trmisr, piunet, rams, deepsum, wdsr3d, misrgru, recursive, worldstrat, ibpnet, hdrdsp, fusion,
    regularised, msdtgp, msttstvsr, rrn, liif, cdcr, funsr, zssr, dip, mip, spectral, bicubic,
    brovey, gsa, mtfglp, bdsd, local, guidedfilter, mmsr, rrsgan, srcdnet,
)  # fmt: skip
DESIGNS: dict[str, Design] = {d.name: d for module in _MODULES for d in module.DESIGNS}
_BUILDERS = {d.arch: d.build for d in DESIGNS.values()}
_ALIASES = {alias: d.name for d in DESIGNS.values() for alias in d.aliases}


def design(name: str) -> Design:
    """The design of that name or alias.

    Raises:
        UsageError: no such name; suggests the nearest. Pairs of nets have no one design.
    """
    name = _ALIASES.get(name, name)
    if name in DESIGNS:
        return DESIGNS[name]
    if name in PAIRS:
        parts = " and ".join(PAIRS[name])
        raise UsageError(f"'{name}' is a pair of nets. Take {parts} one after the other.")
    names = dict.fromkeys([*PAIRS, *DESIGNS])
    near = get_close_matches(name, [*names, *_ALIASES], 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"unknown model '{name}' (known: {', '.join(names)}).{hint}")


def count(card: ModelCard) -> int:
    """Trainable numbers of a card's net, without making room for them."""
    with torch.device("meta"):
        return build(card).parameters


def measured(card: ModelCard) -> ModelCard:
    """The card with the margin that its net really has; one that sees too far blends."""
    if card.blend:
        return card
    margin = receptive_field.measured(card, build)
    if margin is None:
        return replace(card, margin=32 * card.scale, blend=8)
    return replace(card, margin=margin)


def known(name: str) -> bool:
    """Whether a net, a pair or an alias has that name."""
    return name in DESIGNS or name in PAIRS or name in _ALIASES


def cards(name: str, *, scale: float | None = None, bands: int = 1) -> tuple[ModelCard, ...]:
    """The cards a name stands for: a pair of nets, or one.

    Args:
        scale: of nets that come in several; None is their default. Where a pair and a net for
            any raster share a name, a scale asks for the latter.

    Raises:
        UsageError: no such name, or not in that scale.
    """
    if name in PAIRS and not (scale and name in DESIGNS):
        return tuple(DESIGNS[part].card(scale=scale) for part in PAIRS[name])
    return (design(name).card(scale=scale, bands=bands),)


def build(card: ModelCard) -> Model:
    """The untrained net of a card.

    Raises:
        UsageError: this version has no such architecture.
    """
    return Model(card, builder(card)(card))


def builder(card: ModelCard) -> Callable[[ModelCard], nn.Module]:
    """What makes the nets of a card's architecture.

    Raises:
        UsageError: this version has no such architecture.
    """
    if card.arch not in _BUILDERS:
        raise UsageError(
            f"model '{card.name}' needs architecture '{card.arch}', which this version lacks "
            f"(it has: {', '.join(_BUILDERS)}). Install a newer geosr."
        )
    return _BUILDERS[card.arch]
