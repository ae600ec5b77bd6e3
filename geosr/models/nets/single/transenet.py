"""TransENet: convolutions at three depths, their patches brought together by transformers.

Lei, Shi, Mo, "Transformer-based multistage enhancement for remote sensing image super-resolution",
IEEE Trans. Geosci. Remote Sens. 60 (2022). Reference repository: Shaosifan/TransENet.

    image − mean ─ conv ─┬─ stage 1 ─ tokens ─ encoder 1 ───────────────────────────┐
                         ├─ stage 2 ─ tokens ─ encoder 2 ─────────────────┐         │
                         └─ stage 3 ─┬ tokens ─ encoder 3 ──────┐         │         │
                           upsampler ┴ tokens ─ encoder 4 ─ decoder ─ decoder ─ decoder ─ tail

    tail     unfold, conv
    stage    5 × [conv ReLU conv +]
    tokens   1 × 1 convolution to 16 features, blocks of 8 × 8 pixels, linear to 512
    encoder  8 transformer layers: 6 heads of 32, scores by the root of 512, MLP of 512
    decoder  attention to itself, attention to an encoder's tokens, MLP
    unfold   linear to blocks of 8 × 8 pixels of 16 features, 1 × 1 convolution

Every convolution is 3 × 3 with zero padding where nothing is said. Tokens have no code of their
place, so windows of any number of whole blocks will do; images are mirrored at their end to whole
ones. Attention was learned between as many tokens as a window in training has, which is why tiles
have that window's size.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.padding import whole
from geosr.models.nets.single.edsr import Residual, mean_of, upsampler
from geosr.models.nets.transformer import Attention, Layer, perceptron

BLOCK = 8  # side of a token's pixels
_INNER = 32  # features of a head


class _Tokens(nn.Module):
    """Features to an encoder's tokens, (batch, blocks, wide)."""

    def __init__(self, features: int, narrow: int, wide: int, heads: int, layers: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(features, narrow, 1)
        self.embed = nn.Linear(narrow * BLOCK**2, wide)
        self.layers = nn.Sequential(
            *(Layer(wide, heads, wide, inner=heads * _INNER) for _ in range(layers))
        )

    def forward(self, x: Tensor) -> Tensor:
        blocks = F.unfold(self.reduce(x), BLOCK, stride=BLOCK).mT  # (batch, blocks, narrow · 64)
        return self.layers(self.embed(blocks))


class _Decoder(nn.Module):
    """Tokens that look at each other, then at those of a stage; one norm for both of these."""

    def __init__(self, wide: int, heads: int) -> None:
        super().__init__()
        self.norm, self.cross_norm = nn.LayerNorm(wide), nn.LayerNorm(wide)
        self.attention, self.cross = (
            Attention(wide, heads, inner=heads * _INNER, bias=False, scale=wide**-0.5)
            for _ in range(2)
        )
        self.mlp = perceptron(wide, wide)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        x = x + self.cross(self.cross_norm(x), memory=self.cross_norm(memory))
        return x + self.mlp(x)


class TransENet(nn.Module):
    """The net; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Args:
        blocks: residual blocks in a stage.
        layers: of an encoder.
        wide: features of a token.
        narrow: features of a pixel within it.
    """

    mean: Tensor

    def __init__(
        self, bands: int, scale: int, *, features: int = 64, blocks: int = 5, layers: int = 8,
        heads: int = 6, wide: int = 512, narrow: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_buffer("mean", mean_of(bands), persistent=False)
        self.scale = scale
        self.head = nn.Conv2d(bands, features, 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Residual(features) for _ in range(blocks))) for _ in range(3)
        )
        self.up = upsampler(features, scale)
        self.tokens = nn.ModuleList(
            _Tokens(features, narrow, wide, heads, layers) for _ in range(4)
        )
        self.decoders = nn.ModuleList(_Decoder(wide, heads) for _ in range(3))
        self.unfold = nn.Linear(wide, narrow * BLOCK**2)
        self.expand = nn.Conv2d(narrow, features, 1)
        self.tail = nn.Conv2d(features, bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        rows, cols = x.shape[-2:]
        x = self.head(whole(x - self.mean, BLOCK))
        stages = [stage(x) for stage in self.stages]
        fine = self.up(stages[-1])  # (batch, features, s · whole rows, s · whole cols)
        *memories, y = (to(seen) for to, seen in zip(self.tokens, (*stages, fine), strict=True))
        for decoder, memory in zip(self.decoders, reversed(memories), strict=True):
            y = decoder(y, memory)
        y = F.fold(self.unfold(y).mT, fine.shape[-2:], BLOCK, stride=BLOCK)
        image: Tensor = self.tail(self.expand(y))
        return image[..., : self.scale * rows, : self.scale * cols] + self.mean


def build(card: ModelCard) -> TransENet:
    """The untrained net of a card."""
    return TransENet(len(card.bands), card.scale, **card.options)


# Every token looks at the whole window: tiles blend. A tile and what it reads around are 48 coarse
# pixels, as in the published training: 500 epochs of UCMerced or AID.
DESIGNS = (
    Design("transenet", "sisr", "transenet", build, {2: 8, 3: 8, 4: 8, 8: 8}, 4,
           "Lei et al., IEEE TGRS 60 (2022)", blend=8, tile=32,
           options={"features": 64, "blocks": 5, "layers": 8, "heads": 6, "wide": 512,
                    "narrow": 16},
           recipe=Recipe(patch=48, batch_size=2, lr=1e-4),
           paper=Recipe("l1", 48, 16, 33_000, "adam", 1e-4, schedule="step", period=26_000,
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
