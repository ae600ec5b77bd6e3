"""Nets: what each reads and gives (`card`), the table of all (`registry`), one module a net.

Cards are there without PyTorch; the registry, which holds the nets themselves, is imported when
one of its names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from geosr.models.card import (
    ANY,
    DEFAULT,
    PAIRS,
    SHIFTS,
    Design,
    Input,
    Model,
    ModelCard,
    Recipe,
    Uncertain,
)

if TYPE_CHECKING:
    from geosr.models.registry import DESIGNS, build, cards, count, design, known, measured

__all__ = ["ANY", "DEFAULT", "DESIGNS", "PAIRS", "SHIFTS", "Design", "Input", "Model", "ModelCard",
           "Recipe", "Uncertain", "build", "cards", "count", "design", "known",
           "measured"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'geosr.models' has no attribute '{name}'")
    return getattr(import_module("geosr.models.registry"), name)
