"""ibp-net and map-net: frames fused without learning, refined by a net on the coarse grid.

geosr's own: iterated back-projection (Irani and Peleg 1991), or the most probable image of
`regularised`, puts any number of frames, at their shifts, onto the fine grid; what it cannot
know, a residual net adds. The net runs on the coarse grid behind a pixel unshuffle, so that its
cost hardly hangs on the number of frames.

    frames, masks, shifts ─ fused image ─────┬───────────────────────────────────────── + ─
                                             ├─ image, shift-and-add, ─ unshuffle s ─┐  │
                                             │  remaining error, its spread          │  │
                                             └─ samples per pixel ─ gates            │  │
        conv · gate ─ n × [conv ReLU conv +] ─ conv ─ shuffle s ─────────────────────┴──┘

No convolution has a bias, and what enters is measured from the local mean: a gain or an offset of
all frames is one of the result.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.fusion import (
    BLUR,
    Blur,
    Sampling,
    back_projected,
    shift_and_add,
)
from geosr.models.nets.multi.regularised import STEPS, most_probable
from geosr.scene.pointspread import CUBIC

_STEPS = 4  # of back-projection before ibp-net's net


class _Residual(nn.Module):
    """x + convolution, ReLU, convolution; no bias."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.Conv2d(features, features, 3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class IBPNet(nn.Module):
    """The net; unit values in and out, band by band, any number of frames in any order.

    Maps frames (batch, frames, bands, rows, cols), where they are clear (batch, frames, 1, rows,
    cols) and their shifts (batch, frames, 2), in coarse pixels, to (batch, bands, scale ·
    rows, scale · cols).
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 8, blur: Blur = BLUR,
        probable: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale, self.blur, self.probable = scale, blur, probable
        cells = scale**2
        self.head = nn.Conv2d(3 * cells + 1, features, 3, padding=1, bias=False)
        last = nn.Conv2d(32, features, 1)
        self.gate = nn.Sequential(nn.Conv2d(cells, 32, 1), nn.ReLU(), last)
        self.body = nn.Sequential(*(_Residual(features) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, cells, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor, clear: Tensor, shifts: Tensor) -> Tensor:
        bands = frames.shape[2]
        with torch.autocast(frames.device.type, enabled=False):
            image, signals, samples = self._fused(frames.float(), clear.float(), shifts)
        x = self.head(signals.flatten(0, 1))
        gates = 2 * torch.sigmoid(self.gate(samples))
        x = x * gates.repeat_interleave(bands, 0)
        residual = F.pixel_shuffle(self.tail(self.body(x)), self.scale)
        return image + residual.float().view_as(image)

    @torch.no_grad()
    def _fused(
        self, frames: Tensor, clear: Tensor, shifts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The back-projected image; what the net sees of every band on the coarse grid,
        (batch, bands, 3 · scale² + 1, rows, cols); the weight of the samples, (batch, scale², …).
        """
        sampler = Sampling((frames.shape[-2], frames.shape[-1]), self.scale, shifts, self.blur)
        counted = torch.where(clear.any(1, keepdim=True), clear, 1.0)
        weight = sampler.weigh(counted).clamp(min=1e-6)
        if self.probable:
            image = most_probable(frames, clear, shifts, self.scale, steps=self.probable,
                                  blur=self.blur)  # fmt: skip
        else:
            image = back_projected(frames, clear, shifts, self.scale, steps=_STEPS, blur=self.blur)
        error = counted * (frames - sampler.see(image))
        spread = (sampler.weigh(error**2) / weight).sqrt()
        added = shift_and_add(frames, clear, shifts, self.scale)
        local = _smooth(F.avg_pool2d(image, self.scale))  # (batch, bands, rows, cols)
        signals = torch.cat(
            [
                self._cells(image) - local.unsqueeze(2),
                self._cells(added) - local.unsqueeze(2),
                self._cells(sampler.gather(error) / weight),
                F.avg_pool2d(spread, self.scale).unsqueeze(2),
            ],
            2,
        )
        return image, signals, torch.log1p(self._cells(weight).flatten(1, 2))

    def _cells(self, image: Tensor) -> Tensor:
        """(batch, bands, s · rows, s · cols) to (batch, bands, s², rows, cols)."""
        return F.pixel_unshuffle(image.unsqueeze(2), self.scale)


def _smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


def build(card: ModelCard) -> IBPNet:
    """The untrained net of a card."""
    return IBPNet(len(card.bands), card.scale, **card.options)


_SIZE = {"features": 64, "blocks": 8, "blur": BLUR}
_RECIPE = Recipe(patch=24, batch_size=8, lr=1e-3)
# Tiles read so far that the steps have faded, and blend.
DESIGNS = (
    Design("ibp-net", "misr", "ibp-net", build, {2: 28, 3: 28, 4: 28}, 3,
           "back-projection (Irani and Peleg 1991) refined by a residual net",
           frames=9, shifts=True, fewer=True, blend=4, options=_SIZE, recipe=_RECIPE),
    Design("map-net", "misr", "ibp-net", build, {2: 36, 3: 36, 4: 36}, 3,
           "maximum a posteriori (Hardie et al. 1997) refined by a residual net",
           frames=9, shifts=True, fewer=True, blend=4,
           options={**_SIZE, "blur": CUBIC, "probable": STEPS}, recipe=_RECIPE),
)  # fmt: skip
