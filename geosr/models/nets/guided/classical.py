"""What the classical ways of sharpening by a finer raster share: nets without weights.

    P    the guide, on the fine grid; of several guides their combination that is nearest to a band
    M    the coarse bands; M↑ interpolated bicubically
    P_c  the guide as the coarse sensor sees it, through the band's point spread

They do not learn from other scenes. The few numbers that they need of a scene (`learn`) are taken
from it once, from at most nine windows of it, before it is cut into tiles: so tiles give what the
whole would. For one guide and six bands at factor 2 a card names them; for a scene `for_scene`
makes another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ANY, Input, ModelCard
from geosr.models.design import Design, guided
from geosr.models.nets.guided.anypair import TEMPLATE, of_pair
from geosr.models.nets.guided.regress import beyond, sensed
from geosr.scene import degrade

CUBIC = 2  # coarse pixels that bicubic interpolation looks at beyond its own
WIDEST = 0.85  # σ in coarse pixels at most


class Sample(NamedTuple):
    """A window of a scene: guides (1, guides, k · rows, k · cols), bands (1, bands, rows, cols).

    `clear`, (rows, cols), is where all of them were sensed.
    """

    fine: Tensor
    coarse: Tensor
    clear: Tensor


class Classical(nn.Module):
    """A net that sharpens coarse bands by a finer raster.

    Args:
        card: its inputs are the guide's bands and the coarse ones; the option "spread" holds σ in
            fine pixels, by band.
    """

    share: Tensor
    constant: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        fine, coarse = card.inputs
        self.low, self.high, self.factor = fine.gsd, coarse.gsd, card.scale
        self.bands, self.guides = len(coarse.bands), len(fine.bands)
        self.spread = tuple(float(sigma) for sigma in card.options["spread"])
        self.channels = 1 if self.guides == 1 else self.bands  # of P
        self.register_buffer("share", torch.full((self.bands, self.guides), 1 / self.guides))
        self.register_buffer("constant", torch.zeros(self.bands))

    @property
    def reach(self) -> int:
        """Coarse pixels that it looks at beyond its own."""
        return CUBIC

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, k · rows, k · cols) in counts, in full precision wherever it runs."""
        fine, coarse = inputs[self.low], inputs[self.high]
        with torch.autocast(coarse.device.type, enabled=False):
            return self.sharpened(self.guide(fine), coarse)

    def sharpened(self, guide: Tensor, coarse: Tensor) -> Tensor:
        """The coarse bands on the fine grid, by P, (batch, 1 or bands, k · rows, k · cols)."""
        raise NotImplementedError

    def guide(self, fine: Tensor) -> Tensor:
        """P: the one guide; of several for every band what comes nearest to it."""
        if self.guides == 1:
            return fine
        share = self.share.to(fine)
        return torch.einsum("bg,ngrc->nbrc", share, fine) + column(self.constant, fine)

    def seen(self, x: Tensor) -> Tensor:
        """What the coarse sensor sees of fine channels: of P, or of one for every band."""
        if x.shape[1] == 1 and len(set(self.spread)) == 1:
            return sensed(x, self.factor, self.spread[:1])
        return sensed(x.expand(-1, self.bands, -1, -1), self.factor, self.spread)

    def raised(self, x: Tensor) -> Tensor:
        """↑: bicubic, a = −0.75, with half-pixel centres."""
        return F.interpolate(x, scale_factor=self.factor, mode="bicubic", align_corners=False)

    @torch.no_grad()
    def learn(self, samples: Sequence[Sample]) -> None:
        """Take from windows of a scene what is to be known of it."""
        if self.guides > 1:
            every = sensed_guides(self, samples)
            share, constant = regression((x, s.coarse[0], s.clear) for x, s in every)
            self.share.copy_(share)
            self.constant.copy_(constant)
        self.measure(samples)

    def measure(self, samples: Sequence[Sample]) -> None:
        """What a way of sharpening needs beyond the combination of guides."""


def sensed_guides(net: Classical, samples: Sequence[Sample]) -> Iterable[tuple[Tensor, Sample]]:
    """Every guide through the bands' mean point spread, with its sample."""
    sigma = sum(net.spread) / len(net.spread)
    for sample in samples:
        yield sensed(sample.fine, net.factor, [sigma] * net.guides)[0], sample


def repeated(clear: Tensor, factor: int) -> Tensor:
    """Every pixel (…, rows, cols) of the coarse grid on those of the fine one that it covers."""
    return clear.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def column(values: Tensor, like: Tensor) -> Tensor:
    """One number a channel, for (batch, channels, rows, cols)."""
    return values.to(like)[:, None, None]


def regression(parts: Iterable[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Least squares of some channels on others: weights (of y, of x) and constants (of y).

    Args:
        parts: x (channels, rows, cols), y likewise, and where they count (rows, cols).
    """
    total: Any = 0.0
    for x, y, clear in parts:
        flat = torch.cat([x, y]).flatten(1)[:, clear.flatten()].double()
        flat = torch.cat([flat, torch.ones_like(flat[:1])])
        total, size = total + flat @ flat.T, len(x)
    count = total[-1, -1].clamp(min=1)
    mean = total[:-1, -1] / count
    spread = total[:-1, :-1] / count - torch.outer(mean, mean)
    weights = (torch.linalg.pinv(spread[:size, :size], rtol=1e-9) @ spread[:size, size:]).T
    return weights, mean[size:] - weights @ mean[:size]


def each_regression(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The same, each channel of y on its own of x, or on the only one: (of y,) and (of y,)."""
    bands = range(len(parts[0][1]))
    found = [regression((x[i : i + 1] if len(x) > 1 else x, y[i : i + 1], clear)
                        for x, y, clear in parts) for i in bands]  # fmt: skip
    return torch.cat([w[0] for w, _ in found]), torch.cat([c for _, c in found])


class Intensity(Classical):
    """One that knows the guide as a combination of the coarse bands: I, nearest to P_c."""

    weight: Tensor
    level: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.register_buffer("weight", torch.full((self.channels, self.bands), 1 / self.bands))
        self.register_buffer("level", torch.ones(self.channels))

    def intensity(self, coarse: Tensor) -> Tensor:
        """I on the coarse grid, (batch, 1 or bands, rows, cols)."""
        weight = self.weight.to(coarse)
        return torch.einsum("pb,nbrc->nprc", weight, coarse) + column(self.level, coarse)

    def measure(self, samples: Sequence[Sample]) -> None:
        """The weights of I."""
        seen = [(s.coarse[0], self.nearest(s), s.clear) for s in samples]
        weight, level = regression(seen)
        self.weight.copy_(weight)
        self.level.copy_(level)

    def nearest(self, sample: Sample) -> Tensor:
        """P_c, one channel where there is one guide."""
        seen = self.seen(self.guide(sample.fine))[0]
        return seen.mean(0, keepdim=True) if self.guides == 1 else seen


class Windowed(Classical):
    """One of regressions over squares, whose ridges are shares of the guides' variance.

    Attributes:
        variance: mean of the guides' local variances.
    """

    variance: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.register_buffer("variance", torch.tensor(1e5))


def template(
    name: str, build: Callable[[ModelCard], nn.Module], *, source: str, guides: bool = True
) -> Design:
    """The design of a net without weights for any pair: one guide, one band, factor 2."""
    inputs = TEMPLATE if guides else TEMPLATE[1:]
    card = ModelCard(name, name, "pair", inputs, Input(1, (ANY,)), 2, 0, source=source)
    return guided(_sized(card, build, None), build)


def for_scene(
    card: ModelCard, build: Callable[[ModelCard], nn.Module], fine: Input, coarse: Input,
    spread: Sequence[float] | None,
) -> ModelCard:  # fmt: skip
    """A template's card for the bands of a pair.

    Args:
        spread: by coarse band σ in fine pixels; None is what most sensors have.
    """
    return _sized(of_pair(card, fine, coarse), build, spread)


def _sized(
    card: ModelCard, build: Callable[[ModelCard], nn.Module], spread: Sequence[float] | None
) -> ModelCard:
    """The card with its point spreads and the margin that follows from them."""
    most = WIDEST * card.scale
    told = spread or [degrade.image_sigma(card.scale)] * len(card.bands)
    card = replace(card, options={"spread": [round(min(sigma, most), 4) for sigma in told]})
    reach: Any = build(card).reach
    return replace(card, margin=int(reach) * card.scale)


def through(net: Classical) -> int:
    """Coarse pixels that P_c looks at beyond its own."""
    return beyond(net.factor, net.spread)
