"""MoG-DCN: fusion of a coarse cube and a fine guide as an optimisation, unrolled.

Dong, Zhou, Wu, Wu, Shi, Li, "Model-guided deep hyperspectral image super-resolution", IEEE TIP 30
(2021). Reference repository: chengerr/Model-Guided-Deep-Hyperspectral-Image-Super-resolution (no
licence: facts only).

    x = M↑, the cube M interpolated; Y is the guide. In every stage
        v = x + U(x)                                what the prior makes of it
        z = (1 − δη) x + δη v + δ S*(Y − S x)
        c = z + U(z)
        x ← (1 − εθ) x + εθ c + ε S*(Y − S x) + ε D*(M − D x)
    and the last stage gives c.

    U: 4 × [4 conv, then one of stride 2] ─ 4 conv ─ 4 × [transposed ─ concat with its level ─ 4 conv]

S, 3 × 3, makes the guide's bands of the cube's, D, (r + 5) × (r + 5) of stride r, the coarse grid of
the fine one; S* and D* go back. All four are learnt, as are the steps δ, η, ε, θ. The one U serves
all stages: its first level's features go on into later calls. In the source's code U's part of z has
the other sign, and so has D*'s, which its weights must learn to undo; here both are as a descent has
them. D begins as a point spread with an MTF of 0.3 and D* as its transpose, and S* and U's last
convolution begin as zero: the net begins as interpolation that is brought into agreement with M once
a stage. So δ and ε can begin as 1, not as 0.1. Convolutions are 3 × 3 with zero padding unless said.
"""  # noqa: E501 - the picture

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Recipe
from geosr.models.nets.guided.anypair import template
from geosr.models.nets.guided.dsen2 import DN
from geosr.scene import degrade

_BEFORE, _AFTER = 3, 2  # fine pixels that D sees beyond its block
_STEP, _SHARE = 1.0, 0.9
_LEVELS = 4


class _Encoder(nn.Module):
    """A level of U on the way down: its features, and what goes to the next one."""

    def __init__(self, features: int, *, last: bool = False) -> None:
        super().__init__()
        self.act = nn.PReLU()
        self.convs = nn.ModuleList(_conv(features, features) for _ in range(3))
        self.wide = _conv(features, 2 * features)
        self.down = None if last else nn.Conv2d(2 * features, features, 3, 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for conv in self.convs:
            x = self.act(conv(x))
        level = self.wide(x)  # (batch, 2 · features, rows, cols)
        return level, level if self.down is None else self.act(self.down(level))


class _Decoder(nn.Module):
    """A level of U on the way up."""

    def __init__(self, entering: int, features: int, leaving: nn.Module) -> None:
        super().__init__()
        wide = 2 * features
        self.act = nn.PReLU()
        self.up = nn.ConvTranspose2d(entering, wide, 3, 2, 1)
        self.convs = nn.ModuleList([_conv(2 * wide, wide), _conv(wide, wide), _conv(wide, wide)])
        self.leaving = leaving

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        x = torch.cat([self.up(x, output_size=level.shape[-2:]), level], 1)
        for conv in self.convs:
            x = self.act(conv(x))
        out: Tensor = self.leaving(x)
        return out


class Prior(nn.Module):
    """U: maps (batch, features, rows, cols) to the bands, and gives its first level beside them."""

    def __init__(self, bands: int, features: int) -> None:
        super().__init__()
        wide = 8 * features
        self.encoders = nn.ModuleList(_Encoder(features) for _ in range(_LEVELS))
        self.bottom = _Encoder(features, last=True)
        last = _conv(2 * features, bands)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        leaving = [*(nn.Conv2d(2 * features, wide, 1) for _ in range(_LEVELS - 1)), last]
        entering = [2 * features, *[wide] * (_LEVELS - 1)]
        self.decoders = nn.ModuleList(
            _Decoder(n, features, end) for n, end in zip(entering, leaving, strict=True)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        levels = []
        for encoder in self.encoders:
            level, x = encoder(x)
            levels.append(level)
        x, _ = self.bottom(x)
        for decoder, level in zip(self.decoders, reversed(levels), strict=True):
            x = decoder(x, level)
        return x, levels[0]


class Sensor(nn.Module):
    """D and D*: to the coarse grid as the sensor sees it, and back."""

    def __init__(self, bands: int, factor: int) -> None:
        super().__init__()
        side = factor + _BEFORE + _AFTER
        self.down = nn.Conv2d(bands, bands, side, factor)
        self.up = nn.ConvTranspose2d(bands, bands, side, factor)
        spread = torch.tensor(_spread(factor))
        with torch.no_grad():
            for layer, gain in ((self.down, 1), (self.up, factor**2)):
                layer.weight.copy_(torch.eye(bands)[:, :, None, None] * spread * gain)
                layer.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor, cube: Tensor) -> Tensor:
        """D*(M − D x): what the coarse grid has and x does not, on the fine grid."""
        around = F.pad(x, (_BEFORE, _AFTER, _BEFORE, _AFTER), "replicate")
        missing = self.up(cube - self.down(around))
        return missing[..., _BEFORE:-_AFTER, _BEFORE:-_AFTER]


def _spread(factor: int) -> np.ndarray:
    """(r + 5, r + 5): a Gaussian at the centre of a coarse pixel, sum one."""
    at = np.arange(-_BEFORE, factor + _AFTER) - (factor - 1) / 2
    taps = np.exp(-0.5 * (at / degrade.image_sigma(factor)) ** 2)
    return np.outer(taps, taps).astype(np.float32) / taps.sum() ** 2


class MoGDCN(nn.Module):
    """The net: counts by GSD to counts of the coarse bands on the guide's grid.

    Args:
        bands: number of bands by GSD, the guide's first.
        stages: of the optimisation.
    """

    def __init__(self, bands: Mapping[int, int], *, features: int = 32, stages: int = 2) -> None:
        super().__init__()
        self.gsds = tuple(bands)
        fine, coarse = self.gsds
        self.factor = coarse // fine
        guides, cube = bands[fine], bands[coarse]
        self.steps = nn.Parameter(torch.full((2,), _STEP))  # δ, ε
        self.shares = nn.Parameter(torch.full((2,), _SHARE))  # η, θ
        self.prior = Prior(cube, features)
        self.enter = _conv(cube, features)
        self.first = nn.ModuleList(
            _conv((1 + 2 * stage) * features, features) for stage in range(1, stages)
        )
        self.second = nn.ModuleList(_conv(3 * features, features) for _ in range(stages))
        self.sensor = Sensor(cube, self.factor)
        self.respond = _conv(cube, guides)  # S
        self.back = _conv(guides, cube)  # S*
        nn.init.zeros_(self.back.weight)
        nn.init.zeros_(self.back.bias)  # type: ignore[arg-type]

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, r · rows, r · cols); only U may run in low precision."""
        guide, cube = (inputs[gsd] / DN for gsd in self.gsds)
        x = F.interpolate(cube, scale_factor=self.factor, mode="bicubic", align_corners=False)
        levels: list[Tensor] = []
        made = x
        for stage, second in enumerate(self.second):
            v, level = self._cleaned(x, levels, self.first[stage - 1] if stage else None)
            levels.append(level)
            by_guide = self._by_guide(x, guide)
            z = x + self.steps[0] * (self.shares[0] * (v - x) + by_guide)
            made, _ = self._cleaned(z, [level], second)
            if stage + 1 < len(self.second):
                with torch.autocast(x.device.type, enabled=False):
                    missing = self.sensor(x, cube)
                x = x + self.steps[1] * (self.shares[1] * (made - x) + by_guide + missing)
        return made * DN

    def _cleaned(
        self, x: Tensor, levels: Sequence[Tensor], join: nn.Module | None
    ) -> tuple[Tensor, Tensor]:
        """x + U(x), and U's first level; what earlier calls had there is seen beside x."""
        with torch.autocast(x.device.type, enabled=False):
            entered = self.enter(x)
            if join is not None:
                entered = join(torch.cat([entered, *(y.to(x.dtype) for y in levels)], 1))
        change, level = self.prior(entered)
        return x + change.to(x.dtype), level

    def _by_guide(self, x: Tensor, guide: Tensor) -> Tensor:
        """S*(Y − S x)."""
        with torch.autocast(x.device.type, enabled=False):
            found: Tensor = self.back(guide - self.respond(x))
        return found


def _conv(narrow: int, wide: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, padding=1)


def build(card: ModelCard) -> MoGDCN:
    """The untrained net of a card."""
    return MoGDCN({item.gsd: len(item.bands) for item in card.inputs}, **card.options)


# U's bottom lies four halvings down: every call sees over a hundred pixels far, so tiles blend.
# Published are four stages of 64 features: --net-option stages=4 --net-option features=64.
DESIGNS = (
    template(
        "mog-dcn", build, source="Dong et al., IEEE TIP 30 (2021)", reach=32, blend=8,
        options={"features": 32, "stages": 2},
        recipe=Recipe(patch=24, batch_size=4, lr=5e-4, jitter=0.1),
        paper=Recipe("l1", 12, 4, 100_000, "adam", 1e-4, 1e-8, schedule="constant", warmup=0,
                     clip=0.0, ema=0.0),
    ),
)  # fmt: skip
