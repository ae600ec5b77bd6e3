"""Every net geosr knows, by name: an explicit table, one module per architecture."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from torch import nn

from geosr.errors import UsageError
from geosr.models import bicubic, dsen2
from geosr.models.card import Input, Model, ModelCard

__all__ = ["ARCHITECTURES", "MODELS", "PAIRS", "Input", "Model", "ModelCard", "build", "cards"]

ARCHITECTURES: dict[str, Callable[[ModelCard], nn.Module]] = {
    "dsen2": dsen2.build,
    "bicubic": bicubic.build,
}
MODELS: dict[str, ModelCard] = {card.name: card for card in (*dsen2.CARDS, *bicubic.CARDS)}
PAIRS: dict[str, tuple[str, ...]] = {
    "dsen2": ("dsen2-20", "dsen2-60"),
    "vdsen2": ("vdsen2-20", "vdsen2-60"),
    "bicubic": ("bicubic-20", "bicubic-60"),
}


def cards(name: str) -> tuple[ModelCard, ...]:
    """The cards a name stands for: a pair of nets, or one.

    Raises:
        UsageError: no such name; suggests the nearest.
    """
    if name in PAIRS:
        return tuple(MODELS[part] for part in PAIRS[name])
    if name in MODELS:
        return (MODELS[name],)
    known = [*PAIRS, *MODELS]
    near: list[Any] = get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"unknown model '{name}' (known: {', '.join(known)}).{hint}")


def build(card: ModelCard) -> Model:
    """The untrained net of a card.

    Raises:
        UsageError: this version has no such architecture.
    """
    if card.arch not in ARCHITECTURES:
        raise UsageError(
            f"model '{card.name}' needs architecture '{card.arch}', which this version lacks "
            f"(it has: {', '.join(ARCHITECTURES)}). Install a newer geosr."
        )
    return Model(card, ARCHITECTURES[card.arch](card))
