"""Losses of a fixed net's features: random ones, or VGG19's from a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from geosr.errors import UsageError
from geosr.training.losses.masked import clean, count, require_side


class Perceptual:
    """Absolute error of a fixed net's features, every band an image of its own.

    Counts bands of samples; each one's error is the mean over a level's features, summed over
    levels. The net follows the images' device and precision.

    Args:
        levels: each takes the features of the one before.
        colours: channels of the net's input, all given the same band.
        least: smallest patch in pixels.
    """

    def __init__(self, levels: Sequence[nn.Module], *, colours: int = 1, least: int = 1) -> None:
        self.levels = nn.ModuleList(levels).requires_grad_(False).eval()
        self.colours = colours
        self.least = least

    def __call__(self, prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        require_side(target, self.least, "perceptual")
        x, y, valid = clean(prediction, target, mask)
        self.levels.to(device=x.device, dtype=x.dtype)
        a, b = (z.flatten(0, 1).unsqueeze(1).expand(-1, self.colours, -1, -1) for z in (x, y))
        total = x.new_zeros(())
        for level in self.levels:
            a, b = level(a), level(b)  # (batch · bands, features, rows, cols)
            total = total + (a - b).abs().mean((1, 2, 3)).sum()
        return total, count(valid.flatten(2).any(2), x)


@lru_cache(maxsize=1)
def _random_pyramid() -> Perceptual:
    """Three levels of convolution and ReLU, each at half the size of the one before.

    He's initialisation from a fixed seed: the same numbers everywhere. Nothing is learned; random
    filters still tell edges and textures apart.
    """
    generator = torch.Generator().manual_seed(0)
    levels = []
    for level, (narrow, wide) in enumerate([(1, 16), (16, 32), (32, 64)]):
        conv = _conv(narrow, wide, stride=1 + (level > 0))
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        levels.append(nn.Sequential(conv, nn.ReLU()))
    return Perceptual(levels)


def _conv(narrow: int, wide: int, stride: int = 1) -> nn.Conv2d:
    """3 × 3, left empty: initialising it would move the global random numbers of a training."""
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, narrow, wide, 3, stride=stride, padding=1
    )
    return conv


def perceptual(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of the features of a random, fixed pyramid of three levels."""
    return _random_pyramid()(prediction, target, mask)


_VGG = (64, 64, 0, 128, 128, 0, *[256] * 4, 0, *[512] * 4, 0, *[512] * 4)  # 0 halves the size


class _Standard(nn.Module):
    """Values as ImageNet's nets want them."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std  # type: ignore[operator]


def _vgg() -> nn.Sequential:
    """VGG19 up to conv5_4, before its activation, numbered as torchvision does."""
    layers: list[nn.Module] = []
    narrow = 3
    for wide in _VGG:
        if wide:
            layers += [_conv(narrow, wide), nn.ReLU()]
            narrow = wide
        else:
            layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1])


def load_perceptual(path: Path) -> Perceptual:
    """The features of VGG19, weights from a local file (Ledig 2017; Wang 2018: no activation).

    Args:
        path: .safetensors or .pth, torchvision's names: `features.0.weight` to
            `features.34.bias`. Others in the file are left alone.

    Raises:
        UsageError: no such file, not readable, or not these weights.
    """
    advice = "Give a file of torchvision's VGG19 weights (.safetensors or .pth), or 'perceptual'."
    if not path.is_file():
        raise UsageError(f"perceptual loss: no file {path}. {advice}")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        net = _vgg()
        wanted = {f"features.{key}": key for key in net.state_dict()}
        missing = [name for name in wanted if name not in state]
        if missing:
            raise UsageError(f"perceptual loss: {path} lacks '{missing[0]}'. {advice}")
        net.load_state_dict({key: state[name] for name, key in wanted.items()})
    except UsageError:
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise UsageError(f"perceptual loss: cannot read {path} ({error}). {advice}") from error
    return Perceptual([nn.Sequential(_Standard(), net)], colours=3, least=16)
