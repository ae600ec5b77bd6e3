"""HighRes-net: frames encoded beside their median, then fused two by two until one is left.

Deudon, Kalaitzis, Goytom, Arefin, Lin, Sankaran, Michalski, Kahou, Cornebise, Bengio,
"HighRes-net: Recursive fusion for multi-frame super-resolution of satellite imagery", 2020
(arXiv 2002.06460). Reference repository: ServiceNow/HighRes-net. Its ShiftNet, which aligns
images while it is trained, is not part of the net.

    frame 1 ─┐                                      ┌─ 1 ─┐
       ⋮     ├─ each beside the median ─ encoder ─ ─┤  ⋮  ├─ log₂ T × [pairs fused] ─ decoder
    frame T ─┘                                      └─ T ─┘

    encoder   conv PReLU ─ 2 × [conv PReLU conv PReLU +] ─ conv
    pair      a + α_b · (concat(a, b) ─ [conv PReLU conv PReLU +] ─ conv PReLU)
    decoder   transposed conv s × s, stride s, PReLU ─ conv 1 × 1

Convolutions are 3 × 3 with zero padding. α is 0 for frames that are absent.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from geosr.models.card import Design, ModelCard, Recipe

_ANCHORS = 9  # frames that the median is taken over


class _Residual(nn.Module):
    """x + two times convolution and PReLU."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_layer(features, features), *_layer(features, features))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _layer(narrow: int, wide: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(narrow, wide, 3, padding=1), nn.PReLU()


def encoder(bands: int, features: int, blocks: int) -> nn.Sequential:
    """What makes features of a frame with its anchor, (…, 2 · bands, rows, cols)."""
    return nn.Sequential(
        *_layer(2 * bands, features),
        *(_Residual(features) for _ in range(blocks)),
        nn.Conv2d(features, features, 3, padding=1),
    )


def present(clear: Tensor) -> Tensor:
    """Which frames have a clear pixel, (batch, frames); all of them where none has."""
    seen = (clear > 0).flatten(2).any(2)
    return seen | ~seen.any(1, keepdim=True)


def anchor(frames: Tensor, clear: Tensor) -> Tensor:
    """Each pixel's median over the first nine frames that are clear there, (batch, 1, bands, …).

    Where no frame is clear, the first nine that are present; of an even number the mean of the
    two in the middle.
    """
    usable = clear > 0
    there = present(clear)[:, :, None, None, None]
    usable = torch.where(usable.any(1, keepdim=True), usable, there)
    usable = usable & (usable.cumsum(1) <= _ANCHORS)
    ranked = torch.where(usable, frames, torch.inf).sort(1).values
    n = usable.sum(1, keepdim=True).expand_as(frames[:, :1])
    return (ranked.gather(1, (n - 1) // 2) + ranked.gather(1, n // 2)) / 2


def beside_anchor(frames: Tensor, middle: Tensor) -> Tensor:
    """Every frame with the anchor as further bands, (batch · frames, 2 · bands, rows, cols)."""
    return torch.cat([frames, middle.expand_as(frames)], 2).flatten(0, 1)


class HighResNet(nn.Module):
    """The net; unit values in and out, any number of frames, clearest first.

    Maps frames (batch, frames, bands, rows, cols) and where they are clear (batch, frames, 1,
    rows, cols) to (batch, bands, scale · rows, scale · cols). A frame with no clear pixel in the
    whole window is absent: the result is that of the other frames.
    """

    def __init__(self, bands: int, scale: int, *, features: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.encoder = encoder(bands, features, blocks)
        self.fuse = nn.Sequential(_Residual(2 * features), *_layer(2 * features, features))
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(features, features, scale, stride=scale),
            nn.PReLU(),
            nn.Conv2d(features, bands, 1),
        )

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        x = self.encoder(beside_anchor(frames, anchor(frames, clear)))
        x, there = _present_first(x.unflatten(0, frames.shape[:2]), present(clear))
        return self.decoder(self._fused(x, there[:, :, None, None, None].to(x.dtype)))

    def _fused(self, x: Tensor, alpha: Tensor) -> Tensor:
        """(batch, frames, features, rows, cols) to (batch, features, rows, cols).

        The list counts as filled up with absent frames to a power of two, so that frames at its
        end that are absent change nothing; first meets last, second the last but one.
        """
        while (count := x.shape[1]) > 1:
            half = 1 << (count - 1).bit_length() - 1
            alone = 2 * half - count  # how many meet a frame that is not there
            near, far = x[:, alone:half], x[:, half:].flip(1)
            both = torch.cat([near, far], 2)  # (batch, pairs, 2 · features, rows, cols)
            fused = self.fuse(both.flatten(0, 1)).unflatten(0, both.shape[:2])
            x = torch.cat([x[:, :alone], near + alpha[:, half:].flip(1) * fused], 1)
            alpha = alpha[:, :half]
        return x[:, 0]


def _present_first(x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Frames in their order, those that are absent moved to the end."""
    order = (~there).int().argsort(dim=1, stable=True)
    index = order[:, :, None, None, None].expand_as(x)
    return x.gather(1, index), there.gather(1, order)


def build(card: ModelCard) -> HighResNet:
    """The untrained net of a card."""
    return HighResNet(len(card.bands), card.scale, **card.options)


# The reach is that of 32 frames: 6 pixels of the encoder, 3 of each of five fusions. Published:
# 400 epochs of about 1040 scenes, the loss −cPSNR after an alignment that ShiftNet learns.
DESIGNS = (
    Design("highres-net", "misr", "highres-net", build, {2: 21, 3: 21, 4: 21}, 3,
           "Deudon et al., 2020 (arXiv 2002.06460)", frames=32, fewer=True,
           options={"features": 64, "blocks": 2},
           recipe=Recipe(patch=12, batch_size=2),
           paper=Recipe("registered", 64, 32, 13_000, "adam", 7e-4, schedule="plateau", period=2,
                        gamma=0.97, warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
