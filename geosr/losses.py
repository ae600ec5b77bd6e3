"""Losses: sums over valid pixels, and how many they were; masked pixels have no influence at all.

Every loss takes a prediction and a target (batch, bands, rows, cols) in unit values and a mask
(batch, bands or 1, rows, cols), True where valid, and gives (sum, count). The loss is sum / count;
a batch split over several processes has the loss Σ sums / Σ counts. Where nothing is valid both
are 0.

`Criterion.parse("l1+0.1*dssim")` is a weighted sum of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import UsageError

Loss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Term = tuple[float, Tensor, Tensor]  # weight, sum, count

SHIFT = 3  # pixels by which `registered` lets an image be off, each way
CEILING = 60.0  # dB at which `psnr` is content
_C1, _C2 = 0.01**2, 0.03**2  # of SSIM, for values of peak 1
_WINDOW = 11
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM, finest first


class Uncertain(Protocol):
    """What a net with an uncertainty gives: mean and log of Laplace's scale."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def log_scale(self) -> Tensor: ...


def l1(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error."""
    x, y, valid = _clean(prediction, target, mask)
    return (x - y).abs().sum(), _count(valid, x)


def mse(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error."""
    x, y, valid = _clean(prediction, target, mask)
    return (x - y).square().sum(), _count(valid, x)


def charbonnier(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(d² + ε²) with ε = 1e-3: the absolute error, smooth at zero (Lai et al. 2017)."""
    x, y, valid = _clean(prediction, target, mask)
    return (((x - y).square() + 1e-6).sqrt() * valid).sum(), _count(valid, x)


def psnr(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """−PSNR / 100 of each sample, peak 1; without a gradient above 60 dB. Counts samples."""
    x, y, valid = _clean(prediction, target, mask)
    n = valid.sum((1, 2, 3))
    error = (x - y).square().sum((1, 2, 3)) / n.clamp(min=1)
    decibels = (-10 * (error + 1e-8).log10()).clamp(max=CEILING)
    return (-decibels / 100 * (n > 0)).sum(), _count(n > 0, x)


def dssim(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(1 − SSIM) / 2 over Gaussian windows of 11 × 11 that are wholly valid.

    Raises:
        UsageError: patches smaller than a window.
    """
    _least(target, _WINDOW, "dssim")
    x, y, valid = _clean(prediction, target, mask)
    similarity = torch.mul(*_similarity(x, y))
    whole = _whole(valid, _WINDOW)
    return ((1 - similarity) / 2 * whole).sum(), _count(whole, x)


def ms_ssim(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """1 − MS-SSIM of each band of each sample; counts those with a valid window at every scale.

    Raises:
        UsageError: patches below 176 px, whose fifth scale holds no window.
    """
    _least(target, _WINDOW << (len(_SCALES) - 1), "ms-ssim")
    x, y, valid = _clean(prediction, target, mask)
    product = x.new_ones(x.shape[:2])  # (batch, bands)
    usable = torch.ones_like(product, dtype=torch.bool)
    for level, weight in enumerate(_SCALES):
        last = level == len(_SCALES) - 1
        luminance, contrast = _similarity(x, y)
        whole = _whole(valid, _WINDOW)
        n = whole.sum((2, 3))
        mean = ((luminance * contrast if last else contrast) * whole).sum((2, 3)) / n.clamp(min=1)
        product = product * mean.clamp(min=1e-4) ** weight  # near 0 the root's gradient explodes
        usable &= n > 0
        if not last:
            x, y, valid = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2), _whole(valid, 2, 2)
    return ((1 - product) * usable).sum(), _count(usable, x)


def gradient(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of Sobel's two derivatives, summed, per pixel of distance.

    Raises:
        UsageError: patches below 3 px.
    """
    _least(target, 3, "gradient")
    x, y, valid = _clean(prediction, target, mask)
    error = x - y
    smooth_rows = error[..., :-2, :] + 2 * error[..., 1:-1, :] + error[..., 2:, :]
    smooth_cols = error[..., :-2] + 2 * error[..., 1:-1] + error[..., 2:]
    across = smooth_rows[..., 2:] - smooth_rows[..., :-2]
    down = smooth_cols[..., 2:, :] - smooth_cols[..., :-2, :]
    whole = _whole(valid, 3)
    return ((across.abs() + down.abs()) / 8 * whole).sum(), _count(whole, x)


def tv(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Total variation of the prediction: steps to the right and lower neighbour, both valid."""
    x, _, valid = _clean(prediction, target, mask)
    right = (x[..., :-1, 1:] - x[..., :-1, :-1]).abs()
    below = (x[..., 1:, :-1] - x[..., :-1, :-1]).abs()
    whole = valid[..., :-1, :-1] & valid[..., :-1, 1:] & valid[..., 1:, :-1]
    return ((right + below) * whole).sum(), _count(whole, x)


def sam(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Spectral angle in radians of pixels with all bands valid and a length.

    The cosine is taken × (1 − 1e-6), where arccos still has a slope.

    Raises:
        UsageError: a single band has no angle.
    """
    if target.shape[1] < 2:
        raise UsageError("loss 'sam' needs at least two bands, found 1. Give --bands, or leave it.")
    x, y, valid = _clean(prediction, target, mask)
    squares = x.square().sum(1), y.square().sum(1)
    usable = valid.all(1) & ~(squares[0] < 1e-16) & ~(squares[1] < 1e-16)  # NaN is not hidden
    lengths = [torch.where(usable, square, 1).sqrt().unsqueeze(1) for square in squares]
    cosine = ((x / lengths[0]) * (y / lengths[1])).sum(1).clamp(-1, 1) * (1 - 1e-6)
    return (cosine.arccos() * usable).sum(), _count(usable, x)


def frequency(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error of log(1 + |F|), F the orthonormal spectrum of a band; counts its numbers."""
    x, y, valid = _clean(prediction, target, mask)
    spectra = [torch.fft.rfft2(image, norm="ortho").abs().log1p() for image in (x, y)]
    error = (spectra[0] - spectra[1]).abs()
    return error.sum(), _count(valid.flatten(2).any(2), x) * math.prod(error.shape[-2:])


def registered(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Absolute error at the best of 49 shifts of up to 3 px, each band's brightness aligned.

    The prediction loses 3 px on every side. Counts samples; a pixel is compared where it is valid
    at both places. The smallest error's gradient is that of its own shift, so only that one is
    kept for the backward pass.

    Raises:
        UsageError: patches below 12 px, of which too little is left.
    """
    _least(target, 12, "registered")
    x, y, valid = _clean(prediction, target, mask)
    shifts = [(u, v) for u in range(2 * SHIFT + 1) for v in range(2 * SHIFT + 1)]
    with torch.no_grad():
        tried = [_shifted(x, y, valid, shift) for shift in shifts]
        errors = torch.stack([torch.where(n > 0, error, math.inf) for error, n in tried])
    best = errors.argmin(0).tolist()  # one shift per sample
    kept = [
        _shifted(x[i : i + 1], y[i : i + 1], valid[i : i + 1], shifts[k])
        for i, k in enumerate(best)
    ]
    error, n = torch.cat([error for error, _ in kept]), torch.cat([n for _, n in kept])
    return error.sum(), _count(n > 0, x)


def _shifted(x: Tensor, y: Tensor, valid: Tensor, shift: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean absolute error of each sample without its bands' bias, and its number of pixels."""
    u, v = shift
    rows, cols = (side - 2 * SHIFT for side in x.shape[-2:])
    inner = (..., slice(SHIFT, SHIFT + rows), slice(SHIFT, SHIFT + cols))
    moved = (..., slice(u, u + rows), slice(v, v + cols))
    both = valid[inner] & valid[moved]
    n = both.sum((2, 3), keepdim=True)
    error = (y[moved] - x[inner]) * both
    error = (error - error.sum((2, 3), keepdim=True) / n.clamp(min=1)) * both
    total = n.sum((1, 2, 3))
    return error.abs().sum((1, 2, 3)) / total.clamp(min=1), total


def laplace_nll(
    mean: Tensor, log_scale: Tensor, target: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """s + |y − μ| · exp(−s): how unlikely the target is under Laplace's law (Valsesia 2021)."""
    x, y, valid = _clean(mean, target, mask)
    scale = torch.where(valid, log_scale.to(x.dtype), 0)
    return (scale + (x - y).abs() * torch.exp(-scale)).sum(), _count(valid, x)


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
        _least(target, self.least, "perceptual")
        x, y, valid = _clean(prediction, target, mask)
        self.levels.to(device=x.device, dtype=x.dtype)
        a, b = (z.flatten(0, 1).unsqueeze(1).expand(-1, self.colours, -1, -1) for z in (x, y))
        total = x.new_zeros(())
        for level in self.levels:
            a, b = level(a), level(b)  # (batch · bands, features, rows, cols)
            total = total + (a - b).abs().mean((1, 2, 3)).sum()
        return total, _count(valid.flatten(2).any(2), x)


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


LOSSES: dict[str, Loss] = {
    "l1": l1,
    "mse": mse,
    "charbonnier": charbonnier,
    "psnr": psnr,
    "dssim": dssim,
    "ms-ssim": ms_ssim,
    "gradient": gradient,
    "tv": tv,
    "sam": sam,
    "frequency": frequency,
    "perceptual": perceptual,
    "registered": registered,
}
UNCERTAIN = "laplace-nll"  # the one that takes two outputs
PRESETS = {"seed000": "l1+psnr", "seed001": "l1+0.1*perceptual"}


@dataclass(frozen=True)
class Criterion:
    """A weighted sum of losses.

    Attributes:
        parts: weight, name and loss; the one named "laplace-nll" has none.
    """

    text: str
    parts: tuple[tuple[float, str, Loss | None], ...]

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """The criterion that a text like "l1+0.1*dssim" or "seed000" describes.

        `perceptual:PATH` takes VGG19's features from a file.

        Raises:
            UsageError: a loss that does not exist, or a weight that is no number.
        """
        return cls(text, tuple(_parts(text)))

    def terms(
        self, output: Tensor | list[Tensor] | Uncertain, target: Tensor, mask: Tensor
    ) -> list[Term]:
        """(weight, sum, count) of every loss; of a pyramid, coarsest level first.

        Every level meets the target averaged down to its size; a pixel of a level is valid where
        all that it covers is.

        Raises:
            UsageError: the patches or the net do not fit a loss.
        """
        with torch.autocast(target.device.type, enabled=False):
            if not isinstance(output, list):
                return self._terms(output, target, mask)
            levels = [(level, *_coarser(target, mask, level)) for level in output]
            return [term for level in levels for term in self._terms(*level)]

    def _terms(self, output: Tensor | Uncertain, target: Tensor, mask: Tensor) -> list[Term]:
        image = output if isinstance(output, Tensor) else output.mean
        found = []
        for weight, name, loss in self.parts:
            if loss is not None:
                found.append((weight, *loss(image, target, mask)))
            elif isinstance(output, Tensor):
                raise UsageError(
                    f"loss '{name}' needs a net that gives an uncertainty, and this one gives "
                    "none. Choose such a net, or another loss (l1)."
                )
            else:
                found.append((weight, *laplace_nll(image, output.log_scale, target, mask)))
        return found

    def weighted(self, terms: Sequence[Term], totals: Sequence[Tensor] | None = None) -> Tensor:
        """Σ weight · sum / count.

        Args:
            totals: counts over the whole batch, where the terms are those of a part of it.
        """
        counts = totals if totals is not None else [count for _, _, count in terms]
        each = [w * s / n.clamp(min=1e-12) for (w, s, _), n in zip(terms, counts, strict=True)]
        return torch.stack(each).sum()


def _parts(text: str) -> list[tuple[float, str, Loss | None]]:
    found = []
    for part in re.split(r"(?<![0-9][eE])\+", text):  # the + of 1e+3 is no sum
        front, star, back = part.partition("*")
        weight = _weight(front, part) if star else 1.0
        name = (back if star else front).strip()
        if name in PRESETS:
            found += [(weight * own, inner, loss) for own, inner, loss in _parts(PRESETS[name])]
        else:
            found.append((weight, name, _loss(name)))
    return found


def _weight(text: str, part: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UsageError(
            f"loss '{part.strip()}': '{text.strip()}' is no weight above 0. "
            "Write for example 0.1*dssim."
        )
    return weight


def _loss(name: str) -> Loss | None:
    if name == UNCERTAIN:
        return None
    if name.startswith("perceptual:"):
        return load_perceptual(Path(name.removeprefix("perceptual:")).expanduser())
    if name in LOSSES:
        return LOSSES[name]
    known = [*LOSSES, UNCERTAIN, "perceptual:PATH", *PRESETS]
    near = get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"unknown loss '{name}' (known: {', '.join(known)}).{hint}")


def _clean(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both in at least single precision and 0 where masked; the mask for every band."""
    kind = torch.promote_types(prediction.dtype, torch.float32)
    valid = mask.expand_as(target)
    return (
        torch.where(valid, prediction.to(kind), 0),
        torch.where(valid, target.to(kind), 0),
        valid,
    )


def _count(valid: Tensor, like: Tensor) -> Tensor:
    return valid.sum().to(like.dtype)


def _least(image: Tensor, side: int, name: str) -> None:
    rows, cols = image.shape[-2:]
    if min(rows, cols) < side:
        raise UsageError(
            f"loss '{name}' needs patches of at least {side} × {side} output pixels, found "
            f"{rows} × {cols}. Raise the patch size, or choose another loss."
        )


def _whole(valid: Tensor, side: int, stride: int = 1) -> Tensor:
    """Windows of side × side without a masked pixel."""
    return F.max_pool2d((~valid).float(), side, stride) == 0


def _similarity(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's luminance and contrast-structure over all Gaussian windows that lie inside."""
    mean_x, mean_y, xx, yy, xy = (_blur(z) for z in (x, y, x * x, y * y, x * y))
    covariance = xy - mean_x * mean_y
    variances = xx - mean_x**2 + yy - mean_y**2
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blur(x: Tensor) -> Tensor:
    """Gaussian of σ = 1.5, (batch, bands, rows − 10, cols − 10)."""
    at = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-(at**2) / (2 * 1.5**2))
    weights = (weights / weights.sum()).view(1, 1, -1, 1)
    images = x.flatten(0, 1).unsqueeze(1)  # (batch · bands, 1, rows, cols)
    blurred = F.conv2d(F.conv2d(images, weights), weights.mT)
    return blurred.view(*x.shape[:2], *blurred.shape[-2:])


def _coarser(target: Tensor, mask: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Target and mask at the size of a level: means, valid where all that they cover is."""
    size = like.shape[-2:]
    valid = mask.expand_as(target)
    mean = F.interpolate(torch.where(valid, target, 0), size=size, mode="area")
    return mean, F.adaptive_max_pool2d((~valid).float(), size) == 0
