"""Losses of a fixed net's features: a small encoder's, random ones, VGG19's, a geosr net's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from geosr.errors import UsageError, WeightsError
from geosr.models import weights
from geosr.models.card import Model
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
        total = x.new_zeros(())
        for a, b in zip(self.features(x), self.features(y), strict=True):
            total = total + (a - b).abs().mean((1, 2, 3)).sum()
        return total, self.counted(valid)

    def features(self, x: Tensor) -> Iterator[Tensor]:
        """(batch · bands, features, rows, cols) of every level."""
        x = x.flatten(0, 1).unsqueeze(1).expand(-1, self.colours, -1, -1)
        for level in self.levels:
            x = level(x)
            yield x

    def counted(self, valid: Tensor) -> Tensor:
        """How many images were compared."""
        return count(valid.flatten(2).any(2), valid.float())


class _Enough(Exception):
    """The last features are there; the rest of the net need not run."""


class Trunk(Perceptual):
    """Features of a single-image geosr net on the grid of its input: three layers, evenly spaced.

    A net for one band compares every band by itself; one for several bands takes them together,
    and counts samples.

    Raises:
        UsageError: the net is guided or takes several images.
    """

    def __init__(self, model: Model, path: Path) -> None:
        super().__init__([model.net])
        self.card, self.path = model.card, path
        if self.card.task != "sisr":
            raise UsageError(
                f"perceptual loss: {path} is '{self.card.name}', a net for "
                f"{'several images' if self.card.task == 'misr' else 'bands of several sizes'}. "
                "Give the weights of one for a single image (edsr-baseline, srresnet)."
            )
        self.layers = self._spaced()

    def features(self, x: Tensor) -> Iterator[Tensor]:
        bands = len(self.card.bands)
        if bands not in (1, x.shape[1]):
            raise UsageError(
                f"perceptual loss: {self.path} takes {bands} bands, found {x.shape[1]}. Train with "
                f"--bands {bands}, or give a net for one band."
            )
        yield from self._run(x if bands > 1 else x.flatten(0, 1).unsqueeze(1), self.layers)

    def counted(self, valid: Tensor) -> Tensor:
        if len(self.card.bands) == 1:
            return super().counted(valid)
        return count(valid.flatten(1).any(1), valid.float())

    def _spaced(self) -> list[nn.Module]:
        """The last convolution of each third of those on the grid of the input, as they run."""
        convs = [m for m in self.levels.modules() if isinstance(m, nn.Conv2d)]
        x, ran = torch.rand(1, len(self.card.bands), 16, 16), list[nn.Module]()
        hooks = [conv.register_forward_hook(lambda m, _, out: ran.append(m)
                 if out.shape[2:] == x.shape[2:] else None) for conv in convs]  # fmt: skip
        self.levels[0](x)
        for hook in hooks:
            hook.remove()
        return [ran[len(ran) * part // 3 - 1] for part in (1, 2, 3) if len(ran) * part >= 3]

    def _run(self, x: Tensor, layers: Sequence[nn.Module]) -> list[Tensor]:
        found: list[Tensor] = []

        def note(module: nn.Module, _: object, out: Tensor) -> None:
            found.append(out)
            if module is layers[-1]:
                raise _Enough

        hooks = [layer.register_forward_hook(note) for layer in dict.fromkeys(layers)]
        try:
            self.levels[0](x)
        except _Enough:
            pass
        finally:
            for hook in hooks:
                hook.remove()
        return found


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


ENCODER = "encoder"
_WIDTHS = (24, 48, 96, 192)


def encoder_levels() -> list[nn.Module]:
    """The encoder without its weights: four levels of convolution and ReLU, 218,000 numbers.

    One band in; each level but the first halves the size. There are no biases, so what is twice as
    bright has features twice as large, and a distance is a share of the contrast.
    `examples/encoder.py` trains it.
    """
    return [
        nn.Sequential(_conv(narrow, wide, 1 + (level > 0), bias=False), nn.ReLU())
        for level, (narrow, wide) in enumerate(zip((1, *_WIDTHS[:-1]), _WIDTHS, strict=True))
    ]


@lru_cache(maxsize=1)
def _encoder() -> Perceptual:
    """The encoder that comes with geosr.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    found = weights.manifest().get(ENCODER, {"name": ENCODER, "file": f"{ENCODER}.safetensors"})
    path = weights.folder() / weights.file_name(found)
    if not path.is_file() or weights.digest(path) != found.get("sha256"):
        raise WeightsError(f"{path}: the encoder is missing or damaged. Install geosr again.")
    levels = encoder_levels()
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    nn.ModuleList(levels).load_state_dict(state)
    return Perceptual(levels, least=8)


def _conv(narrow: int, wide: int, stride: int = 1, *, bias: bool = True) -> nn.Conv2d:
    """3 × 3, left empty: initialising it would move the global random numbers of a training."""
    conv: nn.Conv2d = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Conv2d, narrow, wide, 3, stride=stride, padding=1, bias=bias
    )
    return conv


def perceptual(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of the features of a random, fixed pyramid of three levels."""
    return _random_pyramid()(prediction, target, mask)


def by_encoder(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of the features of the encoder that comes with geosr.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    return _encoder()(prediction, target, mask)


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
    """The features of a local file: VGG19 (Ledig 2017; Wang 2018: no activation) or a geosr net.

    Args:
        path: .safetensors or .pth, torchvision's names: `features.0.weight` to
            `features.34.bias`. Others in the file are left alone. Or weights that `geosr train`
            wrote, which carry their card.

    Raises:
        UsageError: no such file, not readable, or not these weights.
    """
    advice = (
        "Give weights of torchvision's VGG19 (.safetensors or .pth) or of a geosr net, or "
        "'perceptual'."
    )
    if not path.is_file():
        raise UsageError(f"perceptual loss: no file {path}. {advice}")
    if _carries_card(path):
        return Trunk(weights.load_file(path), path)
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


def _carries_card(path: Path) -> bool:
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return "card" in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False
