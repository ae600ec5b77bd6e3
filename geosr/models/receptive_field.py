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
_NARROW = 17  # of the other side of a window, across the axis that is measured
_WIDTHS = ("features", "hidden")  # options that the reach does not hang on


def margin(card: ModelCard, build: Callable[[ModelCard], Model], side: int) -> int:
    """Output pixels beyond a coarsest pixel that its outputs depend on, in windows `side` long.

    Rows and columns are measured one after the other, each in a strip along that axis. Weights are
    made positive, so that nothing cancels, and the net thin where its width is an option: the
    reach hangs on depth alone. A net that sees the whole window answers with about half of it.
    """
    if not card.blend:
        thin = {name: 8 for name in _WIDTHS if name in card.options}
        card = replace(card, options={**card.options, **thin})
    narrow = min(side, _NARROW)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(card)
        model.net.double().eval()
        for parameter in model.net.parameters():
            parameter.data = torch.rand_like(parameter) * 0.02 + 1e-4
            parameter.requires_grad_(False)
        return max(_reach(model, size) for size in {(side, narrow), (narrow, side)})


def measured(card: ModelCard, build: Callable[[ModelCard], Model]) -> int | None:
    """The margin of a card's net; None where it sees further than `LIMIT` input pixels."""
    block = card.inputs[-1].gsd // card.output.gsd
    for side in _SIDES:
        found = margin(card, build, side)
        if found < (side // 2 - 1) * block:
            return found
    return None


def _reach(model: Model, size: tuple[int, int]) -> int:
    """The margin in one window of so many coarsest rows and columns."""
    card = model.card
    inputs = _inputs(card, size)
    block = card.inputs[-1].gsd // card.output.gsd
    corner = (size[0] // 2 * block, size[1] // 2 * block)
    rows, cols = (slice(at, at + block) for at in corner)
    seen: Tensor = image(model.outputs(inputs))[..., rows, cols].sum()
    seen.backward()  # type: ignore[no-untyped-call]
    return max(_beyond(inputs[item.gsd], item.gsd // card.output.gsd, corner, block)
               for item in card.inputs)  # fmt: skip


def _inputs(card: ModelCard, size: tuple[int, int]) -> dict[int, Tensor]:
    """Random inputs; frames look up to a pixel beside the grid, every other is half unclear."""
    coarsest = card.inputs[-1].gsd
    inputs: dict[int, Tensor] = {}
    for item in card.inputs:
        k, bands = coarsest // item.gsd, len(item.bands)
        several = (item.frames, bands + 1) if card.task == "misr" else (bands,)
        shape = (1, *several, k * size[0], k * size[1])
        x = torch.rand(shape, dtype=torch.float64) * 10000
        if card.task == "misr":
            x[:, :, -1] = 1
        inputs[item.gsd] = x.requires_grad_()
    if card.shifts:
        inputs[coarsest].data[:, 1::2, -1] = (x[:, 1::2, 0] > 5000).double()
        along = torch.linspace(-1, 1, card.frames, dtype=torch.float64)
        inputs[SHIFTS] = torch.stack([along, along.flip(0)], 1)[None]
    return inputs


def _beyond(x: Tensor, k: int, corner: tuple[int, int], block: int) -> int:
    """How far the gradient of one input lies beyond the block, in output pixels."""
    assert x.grad is not None
    seen = x.grad.abs().flatten(0, -3).sum(0) > 0
    reach = 0
    for axis, first in enumerate(corner):
        at = seen.any(1 - axis).nonzero().flatten()
        reach = max(reach, first - int(at.min()) * k, (int(at.max()) + 1) * k - first - block)
    return reach
