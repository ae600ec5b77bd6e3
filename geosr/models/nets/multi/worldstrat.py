"""worldstrat: an SRCNN for every revisit, their features side by side in one net.

The several-image SRCNN of Cornebise, Oršolić, Kalaitzis, "Open high-resolution satellite imagery:
the WorldStrat dataset", NeurIPS 2022. Reference repository: worldstrat/worldstrat (BSD-3).

    revisit 1 ─ double ─┐
        ⋮               ├─ concat ─ double ─┬─ double ─ + ─ shuffle 2 ─ tail ─ resize
    revisit T ─ double ─┘                   └───────────┘

    tail     1 × 1 to 32 features PReLU, 1 × 1 to the bands PReLU
    double   2 × [conv PReLU], 3 × 3, 128 features, images mirrored at their edges

All revisits have one encoder. The image is shuffled to twice its size; what is left to the scale is
bilinear. The repository drops half of the features in every double while it trains; geosr drops
none unless told.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.padding import Mirror


def _double(narrow: int, wide: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside in (narrow, wide):
        layers += [Mirror(), nn.Conv2d(inside, wide, 3), nn.PReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)


class WorldStrat(nn.Module):
    """The net; unit values in and out.

    Maps frames (batch, frames, bands, rows, cols) to (batch, bands, scale · rows, scale · cols).
    It takes exactly the number of frames that it was built for. The design knows no quality masks;
    unclear pixels are taken from the first frame that is clear there before the net sees them.

    Args:
        features: a multiple of four.
        blocks: doubles with a skip over them.
    """

    def __init__(
        self, bands: int, scale: int, frames: int = 8, *, features: int = 128, blocks: int = 1,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.scale, self.frames = scale, frames
        self.encoder = _double(bands, features, dropout)
        self.fuse = _double(frames * features, features, dropout)
        self.body = nn.ModuleList(_double(features, features, dropout) for _ in range(blocks))
        inside = features // 4
        self.tail = nn.Sequential(
            nn.PixelShuffle(2), nn.Conv2d(inside, inside, 1), nn.PReLU(),
            nn.Conv2d(inside, bands, 1), nn.PReLU(),
        )  # fmt: skip

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        if (count := frames.shape[1]) != self.frames:
            raise ValueError(f"worldstrat was built for {self.frames} images, got {count}")
        frames = mended(frames, clear)
        x = self.encoder(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        x = self.fuse(x.flatten(1, 2))  # of (batch, frames · features, rows, cols)
        for double in self.body:
            x = x + double(x)
        x = self.tail(x)  # (batch, bands, 2 · rows, 2 · cols)
        size = [side * self.scale for side in frames.shape[-2:]]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def build(card: ModelCard) -> WorldStrat:
    """The untrained net of a card, for its number of frames."""
    return WorldStrat(len(card.bands), card.scale, card.frames, **card.options)


# Published: 15 epochs, chips of 50 coarse pixels; the least of the losses over shifts of the truth.
DESIGNS = (
    Design("worldstrat", "misr", "worldstrat", build, {2: 6, 3: 7, 4: 7}, 4,
           "Cornebise et al., NeurIPS 2022", frames=8, aliases=("srcnn-misr",),
           options={"features": 128, "blocks": 1, "dropout": 0.0},
           recipe=Recipe(patch=16, batch_size=4),
           paper=Recipe("0.3*mse+0.4*l1+0.3*dssim", 50, 48, 1_000, "adam", 1e-4,
                        weight_decay=1e-4, schedule="constant", warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
