"""How far a net sees: the support of the gradient of one coarse pixel's outputs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from geosr.models.card import SHIFTS, image

if TYPE_CHECKING:
    from collections.abc import Callable

    from geosr.models.card import Model, ModelCard

LIMIT = 96  # input pixels; a net that sees further blends its tiles
_SIDES = (17, 49, 97, 2 * LIMIT + 9)  # coarsest pixels, tried in turn


def margin(card: ModelCard, build: Callable[[ModelCard], Model], side: int) -> int:
    """Output pixels beyond a coarsest pixel that its outputs depend on, in a window of `side`.

    Weights are made positive, so that nothing cancels, and the net thin where its width is an
    option: the reach hangs on depth alone. A net that sees the whole window answers with about
    half of it.
    """
    if "features" in card.options and not card.blend:
        card = replace(card, options={**card.options, "features": 8})
    before = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = build(card)
    model.net.double().eval()
    for parameter in model.net.parameters():
        parameter.data = torch.rand_like(parameter) * 0.02 + 1e-4
    inputs = _inputs(card, side)
    torch.random.set_rng_state(before)
    block = card.inputs[-1].gsd // card.output.gsd
    corner = side // 2 * block
    at = slice(corner, corner + block)
    seen: Tensor = image(model.outputs(inputs))[..., at, at].sum()
    seen.backward()  # type: ignore[no-untyped-call]
    return max(_beyond(inputs[item.gsd], item.gsd // card.output.gsd, corner, block)
               for item in card.inputs)  # fmt: skip


def measured(card: ModelCard, build: Callable[[ModelCard], Model]) -> int | None:
    """The margin of a card's net; None where it sees further than `LIMIT` input pixels."""
    block = card.inputs[-1].gsd // card.output.gsd
    for side in _SIDES:
        found = margin(card, build, side)
        if found < (side // 2 - 1) * block:
            return found
    return None


def _inputs(card: ModelCard, side: int) -> dict[int, Tensor]:
    """Random inputs; frames look up to a pixel beside the grid, every other is half unclear."""
    coarsest = card.inputs[-1].gsd
    inputs: dict[int, Tensor] = {}
    for item in card.inputs:
        size, bands = side * coarsest // item.gsd, len(item.bands)
        shape = (1, bands, size, size)
        if card.task == "misr":
            shape = (1, item.frames, bands + 1, size, size)  # type: ignore[assignment]
        x = torch.rand(shape, dtype=torch.float64) * 10000
        if card.task == "misr":
            x[:, :, -1] = 1
        inputs[item.gsd] = x.requires_grad_()
    if card.shifts:
        inputs[coarsest].data[:, 1::2, -1] = (x[:, 1::2, 0] > 5000).double()
        along = torch.linspace(-1, 1, card.frames, dtype=torch.float64)
        inputs[SHIFTS] = torch.stack([along, along.flip(0)], 1)[None]
    return inputs


def _beyond(x: Tensor, k: int, corner: int, block: int) -> int:
    """How far the gradient of one input lies beyond the block, in output pixels."""
    assert x.grad is not None
    seen = x.grad.abs().flatten(0, -3).sum(0) > 0
    reach = 0
    for axis in (0, 1):
        at = seen.any(axis).nonzero().flatten()
        reach = max(reach, corner - int(at.min()) * k, (int(at.max()) + 1) * k - corner - block)
    return reach
