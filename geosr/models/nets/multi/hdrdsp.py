"""HDR-DSP: features of every frame, laid down where they fell on the fine grid, and decoded.

Nguyen, Anger, Davy, Arias, Facciolo, "Self-supervised super-resolution for multi-exposure
push-frame satellites", CVPR 2022. Reference repository: centreborelli/HDR-DSP-SR, without a
licence: facts alone are taken from there.

    frame ─┬─ Gaussian ─ base ───────────────────── bicubic, mean of all frames ────────────── + ─
           │               │                                                                   │
           ├───────────── [-] ─ detail ─┐                                                      │
           └───────────────────────── concat ─ encoder ─ features ─┐                           │
    clear ─────────────────────────────────────────────── weights ─┴─ splat ─ mean, maximum, ──┘
    shift ───────────────────────────────────────────────────────────┘     deviation, weight
                                                                                └─ decoder ─

    encoder  conv, 4 × residual, ReLU, conv; images mirrored at their edges
    splat    every sample's features to the four fine pixels around it, bilinearly
    decoder  conv, 10 × residual, ReLU, conv

The repository estimates a flow for every frame by a net of its own; here a frame has the one shift
that registration tells. It divides frames by their exposures, as geosr brings them to one
brightness before any net sees them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import present
from geosr.models.nets.multi.fusion import apply, enlarged, gaussian_mean
from geosr.models.nets.padding import Mirror
from geosr.models.nets.single.edsr import Skip

_BASE = 1.0  # σ of the Gaussian that parts base and detail, coarse pixels
_TAPS = 5  # of it on each side
_USUAL = 15  # frames that the weights are counted in
_LEAST = 1e-6


def _mirrored(narrow: int, wide: int) -> list[nn.Module]:
    return [Mirror(), nn.Conv2d(narrow, wide, 3)]


def _plain(narrow: int, wide: int) -> list[nn.Module]:
    return [nn.Conv2d(narrow, wide, 3, padding=1)]


class HDRDSP(nn.Module):
    """The net; unit values in and out, band by band, any number of frames in any order.

    Maps frames (batch, frames, bands, rows, cols), where they are clear (batch, frames, 1, rows,
    cols) and their shifts (batch, frames, 2), in coarse pixels, to (batch, bands, scale ·
    rows, scale · cols).

    Args:
        encoded, decoded: residual blocks of the encoder and of the decoder.
    """

    def __init__(
        self, scale: int, *, features: int = 64, encoded: int = 4, decoded: int = 10
    ) -> None:
        super().__init__()
        self.scale = scale
        self.encoder = nn.Sequential(
            *_mirrored(2, features),
            *(
                Skip(*_mirrored(features, features), nn.ReLU(), *_mirrored(features, features))
                for _ in range(encoded)
            ),
            nn.ReLU(),
            *_mirrored(features, features),
        )
        self.decoder = nn.Sequential(
            *_plain(3 * features + 1, features),
            *(
                Skip(*_plain(features, features), nn.ReLU(), *_plain(features, features))
                for _ in range(decoded)
            ),
            nn.ReLU(),
            *_plain(features, 1),
        )

    def forward(self, frames: Tensor, clear: Tensor, shifts: Tensor) -> Tensor:
        batch, count, bands = frames.shape[:3]
        frames = frames.transpose(1, 2).reshape(batch * bands, count, 1, *frames.shape[-2:])
        clear = torch.where(clear.any(1, keepdim=True), clear, 1.0).repeat_interleave(bands, 0)
        shifts = shifts.repeat_interleave(bands, 0)
        base = gaussian_mean(frames, _BASE, _TAPS)
        seen = torch.cat([frames - base, frames], 2).flatten(0, 1)  # (…, 2, rows, cols)
        features = self.encoder(seen).unflatten(0, frames.shape[:2])
        with torch.autocast(frames.device.type, enabled=False):
            pooled = self._pooled(features.float(), clear.float(), shifts)
            weights = enlarged(clear.float(), self.scale, shifts).clamp(min=0) + _LEAST
            low = (enlarged(base.float(), self.scale, shifts) * weights).sum(1) / weights.sum(1)
        detail = self.decoder(pooled.to(features.dtype))  # (batch · bands, 1, s · rows, s · cols)
        return (low + detail.float()).view(batch, bands, *detail.shape[-2:])

    def _pooled(self, features: Tensor, clear: Tensor, shifts: Tensor) -> Tensor:
        """(…, 3 · features + 1, s · rows, s · cols): mean, maximum, deviation, weight."""
        rows, cols = features.shape[-2:]
        down, across = (
            splat(side, self.scale, shifts[..., axis].float()).transpose(-1, -2)
            for axis, side in enumerate((rows, cols))
        )
        fallen = apply(down, features * clear, across)  # (…, frames, features, …)
        weight = apply(down, clear, across).sum(1)
        mean = fallen.sum(1) / torch.where(weight > 0, weight, 1.0)
        there = present(clear)[:, :, None, None, None]
        most = torch.where(there, fallen, -torch.inf).amax(1)
        count = there.sum(1)
        middle = (fallen * there).sum(1, keepdim=True) / count.unsqueeze(1)
        spread = ((fallen - middle) ** 2 * there).sum(1) / count
        return torch.cat([mean, most, spread.clamp(min=1e-12).sqrt(), weight / _USUAL], 1)


def splat(size: int, scale: int, shift: Tensor) -> Tensor:
    """Rows of bilinear weights, (…, size, scale · size): where samples fall on the fine grid.

    Rows sum to one, but for samples beyond the edge.
    """
    fine = torch.arange(scale * size, device=shift.device, dtype=torch.float32)
    coarse = torch.arange(size, device=shift.device, dtype=torch.float32)
    centre = (coarse + 0.5 + shift[..., None]) * scale - 0.5
    return (1 - (fine - centre[..., None]).abs()).clamp(min=0)


def build(card: ModelCard) -> HDRDSP:
    """The untrained net of a card."""
    return HDRDSP(card.scale, **card.options)


# Published: × 2, 1800 epochs of crops of 64 coarse pixels, the rate × 0.3 after every 400.
DESIGNS = (
    Design("hdr-dsp", "misr", "hdr-dsp", build, {2: 27, 3: 23, 4: 22}, 2,
           "Nguyen et al., CVPR 2022", frames=15, shifts=True, fewer=True,
           options={"features": 64, "encoded": 4, "decoded": 10},
           recipe=Recipe(patch=24, batch_size=4, lr=2e-4),
           paper=Recipe("l1", 64, 10, 1800 * 100, "adam", 1e-4, schedule="step", period=40_000,
                        gamma=0.3, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
