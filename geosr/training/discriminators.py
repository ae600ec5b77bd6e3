"""Discriminators by name: nets that tell made images from true ones. They are no part of a model.

Each maps (batch, channels, rows, cols) in unit values to scores without an activation, the higher
the truer: one per image (`vgg`) or one per place (`unet`, `patch`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from geosr.errors import UsageError

_SLOPE = 0.2
_OPTIONS = {"features": 64, "given": False, "high": False}


class VGG(nn.Module):
    """Ten convolutions to a thirty-second, then two full layers; one score per image.

    SRGAN's (Ledig et al., CVPR 2017) as XPixelGroup/BasicSR has it: 3 × 3 and 4 × 4 of stride 2 in
    turn, 64 to 512 features, batch normalisation but in the first, leaky ReLU 0.2, 100 hidden
    numbers. What remains is averaged to 4 × 4, so any patch of 32 pixels or more goes. 14,499,401
    numbers for three bands at a patch of any size.
    """

    def __init__(self, channels: int, *, features: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, features, 3, padding=1), _leaky()]
        narrow = features
        for level in range(5):
            wide = features * min(2**level, 8)
            if level:
                layers += _normalised(nn.Conv2d(narrow, wide, 3, padding=1, bias=False))
            layers += _normalised(nn.Conv2d(wide, wide, 4, 2, 1, bias=False))
            narrow = wide
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.tail = nn.Sequential(nn.Linear(narrow * 16, 100), _leaky(), nn.Linear(100, 1))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(self.body(x))
        return out


class UNet(nn.Module):
    """Three levels down and up again with added skips; a score per pixel.

    Real-ESRGAN's (Wang et al., ICCV workshops 2021; XPixelGroup/BasicSR), which
    allenai/satlas-super-resolution takes too: spectral normalisation but in the first and the last
    layer, no biases there, leaky ReLU 0.2. Sides must be multiples of 8. 4,376,897 numbers for
    three bands.
    """

    def __init__(self, channels: int, *, features: int = 64) -> None:
        super().__init__()
        widths = [features * 2**level for level in range(4)]
        self.head = nn.Conv2d(channels, features, 3, padding=1)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(_spectral(narrow, wide, 4, 2) for narrow, wide in pairs)
        self.up = nn.ModuleList(_spectral(wide, narrow) for narrow, wide in reversed(pairs))
        self.body = nn.Sequential(
            _spectral(features, features), _leaky(), _spectral(features, features), _leaky()
        )
        self.tail = nn.Conv2d(features, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        levels = [F.leaky_relu(self.head(x), _SLOPE)]
        for down in self.down:
            levels.append(F.leaky_relu(down(levels[-1]), _SLOPE))
        out = levels.pop()
        for up in self.up:
            out = F.interpolate(out, scale_factor=2, mode="bilinear", align_corners=False)
            out = F.leaky_relu(up(out), _SLOPE) + levels.pop()
        score: Tensor = self.tail(self.body(out))  # (batch, 1, rows, cols)
        return score


class Patch(nn.Module):
    """Five convolutions; a score for every field of 70 pixels (Isola et al., CVPR 2017).

    Reference repository: junyanz/pytorch-CycleGAN-and-pix2pix. 4 × 4, three of stride 2, batch
    normalisation in the middle ones, leaky ReLU 0.2. 2,765,633 numbers for three bands.

    Args:
        spectral: spectral normalisation of all five instead (Yu et al., ICCV 2019). Made and true
            images are batches of their own, so batch normalisation takes out how strong their
            detail is.
    """

    def __init__(self, channels: int, *, features: int = 64, spectral: bool = False) -> None:
        super().__init__()
        first, last = nn.Conv2d(channels, features, 4, 2, 1), nn.Conv2d(features * 8, 1, 4, 1, 1)
        ends = [spectral_norm(conv) if spectral else conv for conv in (first, last)]
        layers: list[nn.Module] = [ends[0], _leaky()]
        for level in range(3):
            narrow, stride = features * 2**level, 2 if level < 2 else 1
            if spectral:
                layers += [_spectral(narrow, 2 * narrow, 4, stride), _leaky()]
            else:
                layers += _normalised(nn.Conv2d(narrow, 2 * narrow, 4, stride, 1, bias=False))
        self.body = nn.Sequential(*layers, ends[1])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return out


@dataclass(frozen=True)
class Kind:
    """One name of the registry.

    Attributes:
        least: smallest side of a patch of truth, pixels.
        alone: the same in batches of one, whose statistics would be of one number below it.
        multiple: what the side must be a multiple of.
        options: keyword arguments, and `given`: whether it sees the net's input too, and `high`:
            whether of images only the high frequencies, a quarter to half a cycle per pixel, and
            those 32 times as strong: of the order of one, as nets take numbers in.
    """

    build: Callable[..., nn.Module]
    least: int
    multiple: int = 1
    alone: int = 0
    options: Mapping[str, Any] = field(default_factory=lambda: dict(_OPTIONS))


DISCRIMINATORS = {
    "vgg": Kind(VGG, 32, alone=64),
    "unet": Kind(UNet, 8, 8),
    "patch": Kind(Patch, 24, options={**_OPTIONS, "spectral": False}),
    "conditional": Kind(Patch, 24, options={**_OPTIONS, "spectral": False, "given": True}),
}


def kind_of(
    name: str, options: Mapping[str, Any], side: int, batch: int
) -> tuple[Kind, dict[str, Any]]:
    """The entry of a name, and all its options.

    Args:
        side: of the patches of truth that it is to judge, pixels.
        batch: patches of truth at a time, in one process.

    Raises:
        UsageError: no such name or option, or patches that do not fit.
    """
    if name not in DISCRIMINATORS:
        near = get_close_matches(name, DISCRIMINATORS, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UsageError(
            f"unknown discriminator '{name}' (known: {', '.join(DISCRIMINATORS)}).{hint}"
        )
    kind = DISCRIMINATORS[name]
    unknown = [key for key in options if key not in kind.options]
    if unknown:
        raise UsageError(
            f"discriminator '{name}' has no option {', '.join(unknown)} "
            f"(known: {', '.join(kind.options)}). Check --discriminator-option."
        )
    if side < kind.least or side % kind.multiple:
        wanted = f"at least {kind.least}"
        wanted += f" and a multiple of {kind.multiple}" if kind.multiple > 1 else ""
        fitting = max(-(-side // kind.multiple) * kind.multiple, kind.least)
        raise UsageError(
            f"discriminator '{name}' judges patches of {wanted} pixels a side, found {side}. "
            f"Pass --patch {fitting}, or another --discriminator."
        )
    if batch == 1 and side < kind.alone:
        raise UsageError(
            f"discriminator '{name}' judges patches of at least {kind.alone} pixels a side one at "
            f"a time, found {side}. Pass --batch-size 2 (for each process), or "
            f"--patch {kind.alone}."
        )
    return kind, {**kind.options, **options}


def _leaky() -> nn.Module:
    return nn.LeakyReLU(_SLOPE)


def _normalised(conv: nn.Conv2d) -> list[nn.Module]:
    """By the statistics of the batch at hand: a discriminator is never used outside training."""
    return [conv, nn.BatchNorm2d(conv.out_channels, track_running_stats=False), _leaky()]


def _spectral(narrow: int, wide: int, side: int = 3, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(narrow, wide, side, stride, 1, bias=False))
