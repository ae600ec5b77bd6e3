"""The nets that other programs have weights of, told by the shapes of their tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from geosr.errors import UsageError
from geosr.models import registry
from geosr.models.card import ModelCard

NETS = ("dsen2-20", "dsen2-60", "vdsen2-20", "vdsen2-60", "aesr-20", "aesr-60")
_SIDE = 12  # pixels of the test pattern; whole pixels of 20 and 60 m


def card_of(net: str) -> ModelCard:
    """The card of a net by name.

    Raises:
        UsageError: none of NETS.
    """
    if net not in NETS:
        raise UsageError(f"'{net}' cannot be converted to; choose one of {', '.join(NETS)}.")
    return registry.design(net).card()


def shapes_of(card: ModelCard) -> dict[str, tuple[int, ...]]:
    """Of a net's tensors, by name."""
    with torch.device("meta"):
        net = registry.build(card).net
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def fitting(tensors: Mapping[str, Tensor]) -> str | None:
    """The net whose tensors have these shapes, in whatever order; None where there is none."""
    shapes = sorted(tuple(value.shape) for value in tensors.values())
    return next((net for net in NETS if sorted(shapes_of(card_of(net)).values()) == shapes), None)


def pattern(card: ModelCard) -> list[Tensor]:
    """A test image: for each GSD (1, bands, 12, 12) on the 10 m grid, in units of 2000 DN.

    Waves at 10 m; coarser bands are constant, so that however they are upsampled they stay so.
    """
    fine, *coarse = (len(item.bands) for item in card.inputs)
    waves = torch.arange(fine * _SIDE * _SIDE, dtype=torch.float32).mul(0.7).sin()
    planes = [1 + 0.3 * waves.reshape(1, fine, _SIDE, _SIDE)]
    for bands in coarse:
        levels = torch.linspace(0.7, 1.3, bands)[None, :, None, None]
        planes.append(levels.expand(1, bands, _SIDE, _SIDE).clone())
    return planes
