"""HAT: SwinIR's windows at 16 × 16, channel attention beside them, and windows that overlap.

Chen, Wang, Zhou, Qiao, Dong, "Activating more pixels in image super-resolution transformer", CVPR
2023. Reference repository: XPixelGroup/HAT.

    image − mean ─ conv ─┬─ norm ─ 6 × [block] ─ norm ─ conv ─ + ─ conv LReLU ─ upsampler ─ conv ─ +
                         └─────────────────────────────────────┘

    block:  ┬─ 6 × [layer, beside it 0.01 · channels] ─ overlapping layer ─ conv ─ + ─
            └──────────────────────────────────────────────────────────────────────┘
    channels: conv GELU conv ─ weights by means over the window, as RCAN's

An overlapping layer's windows look at the 24 × 24 pixels around them. Blocks and layers are those
of `swin`, the tail that of the full SwinIR. HAT-S has 144 features, HAT 180; the channels' two
convolutions are 24 and 3 times narrower inside, the weighting 24 and 30 times. Paths are not
dropped in training.
"""

from __future__ import annotations

from torch import Tensor, nn

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.rcan import ChannelAttention
from geosr.models.nets.single.swin import Block, Layer, WindowNet

WINDOW, KEYS = 16, 24
_SHARE = 0.01  # of the channels beside the attention


class _Channels(nn.Module):
    """Two convolutions, narrow in between, their features weighted by their means."""

    def __init__(self, features: int, compress: int, reduction: int) -> None:
        super().__init__()
        narrow = max(features // compress, 1)
        self.layers = nn.Sequential(
            nn.Conv2d(features, narrow, 3, padding=1), nn.GELU(),
            nn.Conv2d(narrow, features, 3, padding=1), ChannelAttention(features, reduction),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return _SHARE * self.layers(x)


class HAT(WindowNet):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        features: a multiple of `heads`.
        layers: in each block, the overlapping one not counted.
        ratio: how many times wider than the features the perceptrons are inside.
        compress: how many times narrower the channels' convolutions are inside.
        reduction: how many times fewer features their weighting squeezes them to.
        wide: features while the image is enlarged.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 180, blocks: int = 6, layers: int = 6,
        heads: int = 6, ratio: int = 2, compress: int = 3, reduction: int = 30, wide: int = 64,
    ) -> None:  # fmt: skip
        def layer(i: int) -> Layer:
            beside = _Channels(features, compress, reduction)
            shift = WINDOW // 2 * (i % 2)
            return Layer(features, heads, ratio, WINDOW, shift=shift, beside=beside)

        def chain() -> list[Layer]:
            overlapping = Layer(features, heads, ratio, WINDOW, keys=KEYS)
            return [*map(layer, range(layers)), overlapping]

        chains = [Block(features, chain()) for _ in range(blocks)]
        super().__init__(bands, scale, chains, features=features, window=WINDOW, wide=wide)


def build(card: ModelCard) -> HAT:
    """The untrained net of a card."""
    return HAT(len(card.bands), card.scale, **card.options)


# Tiles blend as SwinIR's do. Published: the rate is halved after 250, 400, 450 and 475 thousand
# steps; × 3 and × 4 are tuned from × 2.
_REACH, _SOURCE = {2: 32, 3: 32, 4: 32, 8: 32}, "Chen et al., CVPR 2023"
_WIDTHS = {"blocks": 6, "layers": 6, "heads": 6, "ratio": 2}
_RECIPE = Recipe(patch=16, batch_size=2, lr=2e-4)
_PAPER = Recipe("l1", 64, 32, 500_000, "adam", 2e-4, schedule="step", period=125_000, warmup=0,
                clip=0.0, ema=0.999)  # fmt: skip
DESIGNS = (
    Design("hat-s", "sisr", "hat", build, _REACH, 2, _SOURCE, blend=8,
           options={"features": 144, **_WIDTHS, "compress": 24, "reduction": 24, "wide": 64},
           recipe=_RECIPE, paper=_PAPER),
    Design("hat", "sisr", "hat", build, _REACH, 2, _SOURCE, blend=8,
           options={"features": 180, **_WIDTHS, "compress": 3, "reduction": 30, "wide": 64},
           recipe=_RECIPE, paper=_PAPER),
)  # fmt: skip
