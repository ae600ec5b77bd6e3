"""RRSGAN's generator, RRSNet: a fine image of another date or sensor gives its texture.

Dong, Zhang, Fu, "RRSGAN: reference-based super-resolution for remote sensing image", IEEE TGRS 60
(2022). Reference repository: dongrunmin/RRSGAN (no licence: facts only).

    image, bicubic ↑ ────────────────────── encoder ─ own ──┐
    reference, block means ↓, bicubic ↑ ─── encoder ─ seen ─┴ offsets, from coarse to fine
    reference ───────────────────────────── encoder ─ f ────── deformable convolutions ─ a₂, a₁, a₀
    image ─ conv ─ 16 × [conv ReLU conv +] ─ + ─ x₂ ─ transfer(a₂) ─ shuffle ─ x₁ ─ transfer(a₁) ─
        shuffle ─ x₀ ─ transfer(a₀) ─ conv ─ conv ─ + (image, bicubic ↑)

    encoder   5 × 5 convolutions with SELU on every grid from fine to coarse, and narrower ones of
              the bands' gradients beside them
    transfer  r = a · sigmoid(conv conv [a, x]) + conv conv [a, x]: what of the reference goes with
              the image; x + 16 × [conv ReLU conv +] of conv [x, r]

Convolutions are 3 × 3 with zero padding and leaky ReLUs have the slope 0.1 unless said. ×4 has three
grids; here there is one for every prime factor of the ratio, and one more. Where the reference has
another number of bands than the image, the encoder's first convolutions are one for each. Ours are
the block means (bicubic there), the skip over it all (bilinear there) and the last convolution
being zero at first: the net begins as interpolation. The others begin so that signals keep their
size through a dozen of them (He et al. 2015; Klambauer et al. 2017 before SELU): as PyTorch begins
them, the detail of a reference arrives too weak to be learnt from. The source has a tail of 334,083
numbers more, whose output nothing reads. The adversarial part is `--preset rrsgan`.
"""  # noqa: E501 - the picture

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Recipe
from geosr.models.nets.deformable import Deformable
from geosr.models.nets.guided.anypair import template
from geosr.models.nets.guided.dsen2 import DN
from geosr.models.nets.guided.dsen2ps import raised
from geosr.models.nets.single.edsr import Residual, factors

_SLOPE = 0.1
_GROUPS = 8  # of features that look the same way
_TINY = 1e-6  # beside squares, where a root has a slope
_BRANCH = 0.1  # of a residual's own part at first, so that many of them add up to little


class _Encoder(nn.Module):
    """Features of images of either kind on every grid, fine first: (batch, features, rows, cols).

    Args:
        bands: of the image and of the reference; where they are as many one convolution sees both.
        steps: from every grid to the next coarser one.
    """

    def __init__(self, bands: Sequence[int], features: int, steps: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Conv2d(count, features, 5, padding=2) for count in dict.fromkeys(bands)
        )
        self.grids = nn.ModuleList(
            nn.Conv2d(features, features, 5, step, padding=2) for step in (1, *steps)
        )

    def forward(self, x: Tensor, *, reference: bool) -> list[Tensor]:
        x = F.selu(self.heads[-1 if reference else 0](x))
        found: list[Tensor] = []
        for conv in self.grids:
            x = F.selu(conv(x))
            found.append(x)
        return found


class _Alignment(nn.Module):
    """On one grid, the reference's features as those of the image lie.

    Args:
        out: features that come out.
        below: of the aligned ones on the coarser grid; 0 is none.
    """

    def __init__(self, features: int, out: int, below: int = 0) -> None:
        super().__init__()
        self.both = _conv(2 * features, features)
        self.further = _conv(2 * features, features) if below else None
        self.guide = _conv(features, features)
        self.deformable = Deformable(features, math.gcd(_GROUPS, features))
        self.join = _conv(features + below, out)

    def forward(
        self, reference: Tensor, seen: Tensor, own: Tensor, coarser: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Aligned features, before their leaky ReLU, and the guide of the offsets.

        Args:
            seen, own: what offsets are told from: the reference as coarse as the image, the image.
            coarser: both results of the next coarser grid.
        """
        guide = _act(self.both(torch.cat([seen, own], 1)))
        if coarser is not None and self.further is not None:
            step = guide.shape[-1] / coarser[1].shape[-1]
            offsets = step * _onto(coarser[1], guide)  # counted in pixels
            guide = _act(self.further(torch.cat([guide, offsets], 1)))
        guide = _act(self.guide(guide))
        x = self.deformable(reference, guide)
        if coarser is not None:
            x = torch.cat([x, _onto(coarser[0], x)], 1)
        return self.join(x), guide


class _Transfer(nn.Module):
    """The image's features, and what of the aligned reference goes with them."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        narrow = features // 2
        self.weigh, self.add = (
            nn.Sequential(
                _conv(2 * features, narrow), nn.LeakyReLU(_SLOPE), _conv(narrow, features)
            )
            for _ in range(2)
        )
        self.join = _conv(2 * features, features)
        self.body = nn.Sequential(*(Residual(features) for _ in range(blocks)))

    def forward(self, x: Tensor, aligned: Tensor) -> Tensor:
        both = torch.cat([aligned, x], 1)
        taken = aligned * torch.sigmoid(self.weigh(both)) + self.add(both)
        return x + self.body(_act(self.join(torch.cat([x, taken], 1))))


class RRSNet(nn.Module):
    """The net: counts by GSD to counts of the coarse bands on the reference's grid.

    Args:
        bands: number of bands by GSD, the reference's first.
        features: of the image; the reference has a quarter more, of its gradients.
        blocks: residual blocks of the image and of every grid.
    """

    def __init__(self, bands: Mapping[int, int], *, features: int = 64, blocks: int = 16) -> None:
        super().__init__()
        self.gsds = tuple(bands)
        fine, coarse = self.gsds
        self.factor = coarse // fine
        steps = factors(self.factor)[::-1]
        kinds = (bands[coarse], bands[fine])
        wide = features + features // 4
        self.encoder = _Encoder(kinds, features, steps)
        self.of_gradients = _Encoder(kinds, features // 4, steps)
        self.alignments = nn.ModuleList(
            _Alignment(wide, features if grid else wide, features if grid < len(steps) else 0)
            for grid in range(len(steps) + 1)
        )
        self.cascade = _Alignment(wide, features)
        self.head = _conv(bands[coarse], features)
        self.content = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.transfers = nn.ModuleList(_Transfer(features, blocks) for _ in range(len(steps) + 1))
        self.ups = nn.ModuleList(_conv(features, features * step**2) for step in steps[::-1])
        self.steps = steps[::-1]
        self.tail = nn.Sequential(
            _conv(features, features // 2), nn.LeakyReLU(_SLOPE),
            _conv(features // 2, bands[coarse]),
        )  # fmt: skip
        _begin(self)

    def forward(self, inputs: Mapping[int, Tensor]) -> Tensor:
        """(batch, bands, r · rows, r · cols); what sees the images themselves runs in fp32."""
        reference, image = (inputs[gsd] / DN for gsd in self.gsds)
        with torch.autocast(image.device.type, enabled=False):
            up = raised(image, self.factor)
            seen = raised(F.avg_pool2d(reference, self.factor), self.factor)
            x = _act(self.head(image))
        aligned = self._aligned(
            self._features(reference, reference=True), self._features(seen, reference=True),
            self._features(up, reference=False),
        )  # fmt: skip
        x = x + self.content(x)
        for number, transfer in enumerate(self.transfers):  # from the coarse grid to the fine one
            if number:
                x = F.pixel_shuffle(self.ups[number - 1](x), self.steps[number - 1])
                x = _act(x)
            x = transfer(x, aligned[number])
        with torch.autocast(image.device.type, enabled=False):
            return (up + self.tail(x.to(up.dtype))) * DN

    def _features(self, image: Tensor, *, reference: bool) -> list[Tensor]:
        """By grid, fine first: (batch, features and a quarter more, rows, cols)."""
        own = self.encoder(image, reference=reference)
        edges = self.of_gradients(_gradient(image), reference=reference)
        return [torch.cat(both, 1) for both in zip(own, edges, strict=True)]

    def _aligned(
        self, reference: list[Tensor], seen: list[Tensor], own: list[Tensor]
    ) -> list[Tensor]:
        """By grid, coarse first, the reference's features as those of the image lie."""
        found: list[Tensor] = []
        coarser: tuple[Tensor, Tensor] | None = None
        for grid in reversed(range(1, len(reference))):
            x, guide = self.alignments[grid](reference[grid], seen[grid], own[grid], coarser)
            coarser = _act(x), guide
            found.append(coarser[0])
        x, _ = self.alignments[0](reference[0], seen[0], own[0], coarser)
        x, _ = self.cascade(x, x, own[0], None)
        return [*found, _act(x)]


def _begin(net: RRSNet) -> None:
    """First weights: signals keep their size, offsets and the last convolution are zero."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and not name.endswith(".aside"):
            selu = name.startswith(("encoder", "of_gradients"))  # as if nothing followed
            nn.init.kaiming_normal_(module.weight, a=1.0 if selu else _SLOPE)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, Residual):
            module.second.weight.data.mul_(_BRANCH)
    nn.init.zeros_(net.tail[-1].weight)  # type: ignore[arg-type]


def _gradient(image: Tensor) -> Tensor:
    """Length of the central differences, band by band; zero beyond the edge."""
    padded = F.pad(image, (1, 1, 1, 1))
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    return (down**2 + across**2 + _TINY).sqrt()


def _onto(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, on the grid of another."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, _SLOPE)


def _conv(narrow: int, wide: int) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, 3, padding=1)


def build(card: ModelCard) -> RRSNet:
    """The untrained net of a card."""
    return RRSNet({item.gsd: len(item.bands) for item in card.inputs}, **card.options)


# Offsets have no bound, so tiles blend. Published: cosine over 250,000 steps, patches of 256 px.
DESIGNS = (
    template(
        "rrsgan", build, source="Dong, Zhang, Fu, IEEE TGRS 60 (2022)", reach=16, blend=8,
        options={"features": 64, "blocks": 16},
        recipe=Recipe(patch=16, batch_size=4, lr=2e-4, jitter=0.1),
        paper=Recipe("l1", 64, 8, 250_000, "adam", 2e-4, warmup=0, clip=0.0, ema=0.0),
    ),
)  # fmt: skip
