"""3DWDSR: blocks that are wide before their activation, in 3-D; frames shrink to one.

Dorr, "Satellite image multi-frame super resolution using 3D wide-activation neural networks",
Remote Sensing 12 (2020). Reference repository: frandorr/PROBA-V-3DWDSR, whose licence forbids some
uses: facts alone are taken from there.

    T frames ─┬─ pad conv ReLU ─ 8 × [block] ─ n × [pad conv ReLU] ─ conv s² ─ + ─ pixel shuffle s
              │                                    T frames become 3           │
              └─ mean ─ pad conv s² ReLU ─ conv s² ────────────────────────────┘

    block   x + 1 (32→192) ReLU ─ 1 (192→25) ─ conv (25→32)

Convolutions are 3 × 3 × 3, or 3 × 3 beside the trunk, with weight norm; zero padding keeps their
size in the blocks. Those that shrink the frames have none, nor have the last of trunk and skip:
images are mirrored by a pixel before, and by one at the start. Values are normalised inside the
net.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.multi.frames import mended
from geosr.models.nets.multi.piunet import MEAN, STD
from geosr.models.nets.multi.rams import conv3d
from geosr.models.nets.padding import Mirror, mirrored
from geosr.models.nets.single.edsr import Skip


def _block(features: int, expansion: int) -> Skip:
    wide, narrow = features * expansion, max(int(0.8 * features), 1)
    return Skip(
        conv3d(features, wide, 1), nn.ReLU(), conv3d(wide, narrow, 1), conv3d(narrow, features)
    )


class WDSR3D(nn.Module):
    """The net; unit values in and out.

    Maps frames (batch, frames, bands, rows, cols) to (batch, bands, scale · rows, scale · cols).
    It takes exactly the number of frames that it was built for, odd and at least 3, as its
    convolutions shrink them by two each. The design knows no quality masks; unclear pixels are
    taken from the first frame that is clear there before the net sees them.

    Args:
        expansion: how many times wider a block is before its activation.

    Raises:
        UsageError: an even number of frames, or one frame.
    """

    def __init__(
        self, bands: int, scale: int, frames: int = 7, *, features: int = 32, blocks: int = 8,
        expansion: int = 6,
    ) -> None:  # fmt: skip
        super().__init__()
        if frames < 3 or frames % 2 == 0:
            raise UsageError(f"3dwdsr takes an odd number of images from 3 on, not {frames}")
        self.frames = frames
        made = bands * scale**2
        self.head = nn.Sequential(conv3d(bands, features), nn.ReLU())
        self.body = nn.Sequential(*(_block(features, expansion) for _ in range(blocks)))
        self.shrink = nn.Sequential(*(_shrinker(features) for _ in range((frames - 3) // 2)))
        self.tail = conv3d(features, made, padding=0)
        self.skip = nn.Sequential(
            weight_norm(nn.Conv2d(bands, made, 3)), nn.ReLU(),
            weight_norm(nn.Conv2d(made, made, 3)),
        )  # fmt: skip
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, frames: Tensor, clear: Tensor) -> Tensor:
        if frames.shape[1] != self.frames:
            raise ValueError(f"3dwdsr was built for {self.frames} images, got {frames.shape[1]}")
        frames = mended(frames, clear)
        x = (frames - MEAN) / STD
        y = self.head(mirrored(x, 1).transpose(1, 2))  # (batch, features, frames, rows + 2, …)
        y = self.tail(self.shrink(self.body(y))).squeeze(2)  # (batch, s² · bands, rows, cols)
        y = self.shuffle(y + self.skip(mirrored(x.mean(1), 2)))
        return y.to(frames.dtype) * STD + MEAN  # low precision stays with the deviation


def _shrinker(features: int) -> nn.Sequential:
    """Two frames fewer, the window as large as before."""
    return nn.Sequential(Mirror(), conv3d(features, features, padding=0), nn.ReLU())


def build(card: ModelCard) -> WDSR3D:
    """The untrained net of a card, for its number of frames."""
    return WDSR3D(len(card.bands), card.scale, card.frames, **card.options)


# Published: windows of 34 coarse pixels, each in six orders of its frames.
DESIGNS = (
    Design("3dwdsr", "misr", "3dwdsr", build, {2: 12, 3: 12, 4: 12}, 3,
           "Dorr, Remote Sensing 12 (2020)", frames=7,
           options={"features": 32, "blocks": 8, "expansion": 6},
           recipe=Recipe(patch=12, batch_size=4),
           paper=Recipe("registered", 34, 32, 100_000, "nadam", 5e-4, schedule="constant",
                        warmup=0, clip=0.0, ema=0.0)),
)  # fmt: skip
