"""SwinIR: self-attention in windows of 8 × 8 that shift, then sub-pixel convolution.

Liang, Cao, Sun, Zhang, Van Gool, Timofte, "SwinIR: image restoration using Swin transformer", ICCV
workshops 2021. Reference repository: JingyunLiang/SwinIR.

    image − mean ─ conv ─┬─ norm ─ n × [block] ─ norm ─ conv ─ + ─ tail ─ + mean
                         └─────────────────────────────────────┘

    tail    light: conv, pixel shuffle s; full: conv LReLU ─ upsampler ─ conv

Blocks and layers are those of `swin`: light has 4 blocks of 6 layers and 60 features, full 6 of 6
and 180. Convolutions are 3 × 3 with zero padding. Paths are not dropped in training.
"""

from __future__ import annotations

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.single.swin import Block, Layer, WindowNet

WINDOW = 8


class SwinIR(WindowNet):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        features: a multiple of `heads`.
        layers: in each block.
        ratio: how many times wider than the features the perceptrons are inside.
        wide: features while the image is enlarged; 0 is the light net's tail.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 60, blocks: int = 4, layers: int = 6,
        heads: int = 6, ratio: int = 2, wide: int = 0,
    ) -> None:  # fmt: skip
        def layer(i: int) -> Layer:
            return Layer(features, heads, ratio, WINDOW, shift=WINDOW // 2 * (i % 2))

        chains = [Block(features, map(layer, range(layers))) for _ in range(blocks)]
        super().__init__(bands, scale, chains, features=features, window=WINDOW, wide=wide)


def build(card: ModelCard) -> SwinIR:
    """The untrained net of a card."""
    return SwinIR(len(card.bands), card.scale, **card.options)


# 24 layers of windows see further than tiles can afford to read around their core (96 pixels at
# most), and where the windows lie hangs on where the tile starts: tiles blend, and read this much.
# Published: the rate is halved after 250, 400, 450 and 475 thousand steps, not at a fixed period.
_REACH, _SOURCE = {2: 32, 3: 32, 4: 32, 8: 32}, "Liang et al., ICCV workshops 2021"
DESIGNS = (
    Design("swinir-light", "sisr", "swinir", build, _REACH, 2, _SOURCE, blend=8,
           options={"features": 60, "blocks": 4, "layers": 6, "heads": 6, "ratio": 2},
           recipe=Recipe(patch=16, batch_size=4),
           paper=Recipe("l1", 64, 64, 500_000, "adam", 2e-4, schedule="step", period=125_000,
                        warmup=0, clip=0.0, ema=0.0)),
    Design("swinir", "sisr", "swinir", build, _REACH, 2, _SOURCE, blend=8,
           options={"features": 180, "blocks": 6, "layers": 6, "heads": 6, "ratio": 2, "wide": 64},
           recipe=Recipe(patch=16, batch_size=2, lr=2e-4),
           paper=Recipe("l1", 48, 32, 500_000, "adam", 2e-4, schedule="step", period=125_000,
                        warmup=0, clip=0.0, ema=0.999)),
)  # fmt: skip
