"""Detail of coarse bands by local regression on fine ones, for nets to refine.

Around every coarse pixel the coarse bands are regressed on what the coarse sensor would have seen
of the fine ones, by least squares with a ridge; those coefficients times what it would have missed
of them are the coarse bands' detail. How bands go together is thus read off the scene at hand, at
the scale where both are known. A band that is a mixture of the fine ones is found exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

_ROWS = 256  # fine, at a time
_CHANNELS = 8
_SIGMAS = 3  # where point spreads are cut
_CUBIC = 2  # coarse pixels that bicubic interpolation looks at beyond its own


def detail(
    fine: Tensor, coarse: Tensor, radii: Sequence[int], *, factor: int,
    ridges: Mapping[int, float], spreads: Sequence[Sequence[float]],
) -> Tensor:  # fmt: skip
    """What the coarse bands lack, (batch, ridges · radii · bands, k · rows, k · cols).

    Args:
        fine: (batch, guides, k · rows, k · cols), of the same ground and in the same unit.
        coarse: (batch, bands, rows, cols).
        radii: of the squares that a regression is taken over, in coarse pixels.
        factor: k.
        ridges: by what is regressed: 0 is the values themselves, n what exceeds the mean of a
            square of radius n. Added to the variance of every guide, in that unit squared.
        spreads: by band and guide, σ in fine pixels of the Gaussian through which the band sees
            the guide. Neighbouring bands of the same spreads share their sums.
    """
    groups = [(spread, len(list(same))) for spread, same in groupby(spreads)]
    parts = torch.split(coarse, [count for _, count in groups], 1)
    found = [
        _in_strips(fine, part, radii, factor, ridges, spread)
        for part, (spread, _) in zip(parts, groups, strict=True)
    ]
    return torch.cat(found, 2).flatten(1, 2)


def _in_strips(
    fine: Tensor, coarse: Tensor, radii: Sequence[int], factor: int, ridges: Mapping[int, float],
    spread: Sequence[float],
) -> Tensor:  # fmt: skip
    """Of bands that see alike: (batch, ridges · radii, bands, k · rows, k · cols)."""
    rows, step = coarse.shape[-2], _ROWS // factor
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or rows <= step:
        return _detail(fine, coarse, radii, factor, ridges, spread)
    halo = max(radii) + max(ridges) + _CUBIC + beyond(factor, spread)
    found = []
    for top in range(0, rows, step):  # what stays in the cache is quicker by far
        first, last = max(top - halo, 0), min(top + step + halo, rows)
        part = _detail(
            fine[..., first * factor : last * factor, :], coarse[..., first:last, :],
            radii, factor, ridges, spread,
        )  # fmt: skip
        kept = min(top + step, rows) - top
        found.append(part.narrow(-2, (top - first) * factor, kept * factor))
    return torch.cat(found, -2)


def _detail(
    fine: Tensor, coarse: Tensor, radii: Sequence[int], factor: int, ridges: Mapping[int, float],
    spread: Sequence[float],
) -> Tensor:  # fmt: skip
    """The same, all rows at once."""
    means = sensed(fine, factor, spread)
    smooth = F.interpolate(means, scale_factor=factor, mode="bicubic", align_corners=False)
    lacking = torch.split(F.pixel_unshuffle(fine - smooth, factor), factor**2, 1)  # by guide
    # one after the other stays in the cache; all at once makes a graph that can be exported
    together = len(ridges) * len(radii) if torch.compiler.is_exporting() else 1
    found, systems = [], []
    channels = fine.shape[1], coarse.shape[1]
    for above, ridge in ridges.items():
        moments = _moments(*(_exceeding(x, above) for x in (means, coarse)))
        for radius in radii:
            systems.append(_system(local_mean(moments, radius), *channels, ridge))
            if len(systems) == together:
                slopes, systems = _solved(systems), []
                found.append(_applied(slopes, lacking, factor))
    return torch.cat(found, 1)


def _applied(slopes: Tensor, lacking: Sequence[Tensor], factor: int) -> Tensor:
    """Detail by the slopes of some regressions, (batch, systems, bands, k · rows, k · cols).

    Args:
        lacking: by guide, (batch, k², rows, cols) of its detail.
    """
    made = torch.zeros((), dtype=lacking[0].dtype, device=lacking[0].device)
    for slope, lack in zip(slopes.unbind(2), lacking, strict=True):
        made = torch.addcmul(made, slope.unsqueeze(3), lack.unsqueeze(1))
    return F.pixel_shuffle(made.flatten(2, 3), factor).transpose(0, 1)


def lines(
    guides: Tensor, bands: Tensor, radius: int, ridge: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The lines by which bands follow guides on the same grid, in squares around every pixel.

    Returns:
        Slopes (batch, guides, bands, rows, cols) and constants (batch, bands, rows, cols).
    """
    means = local_mean(_moments(guides.double(), bands.double()), radius)
    count, total = guides.shape[1], bands.shape[1]
    (slopes,) = _solved([_system(means, count, total, ridge)])
    centre, level = means[:, :count, None], means[:, count : count + total]
    return slopes, (level - (slopes * centre).sum(1)).float()


def sensed(fine: Tensor, factor: int, spread: Sequence[float]) -> Tensor:
    """The fine bands as a coarse sensor sees them; the image's edge is repeated."""
    around, count = beyond(factor, spread) * factor, len(spread)
    at = torch.arange(-around, factor + around, dtype=torch.float64) - (factor - 1) / 2
    sigma = torch.tensor(list(spread), dtype=torch.float64)[:, None]
    taps = torch.exp(-0.5 * (at / sigma) ** 2)
    taps = (taps / taps.sum(1, keepdim=True)).to(fine)[:, None]  # (guides, 1, taps)
    x = F.pad(fine, (around,) * 4, mode="replicate")
    x = F.conv2d(x, taps[..., None, :], stride=(1, factor), groups=count)
    return F.conv2d(x, taps[..., None], stride=(factor, 1), groups=count)


def beyond(factor: int, spread: Sequence[float]) -> int:
    """Coarse pixels that a point spread reaches beyond its own."""
    return max(math.ceil((_SIGMAS * max(spread) - factor / 2) / factor), 0)


def _exceeding(x: Tensor, above: int) -> Tensor:
    """What exceeds the local mean, or the values themselves."""
    if above:
        return x - local_mean(x, above)
    return x.double()  # over bright ground variances drown in the rounding of squares


def _moments(guides: Tensor, coarse: Tensor) -> Tensor:
    """Values and products whose means tell a regression: guides, bands, guide², guide · bands."""
    rows, cols = torch.tril_indices(guides.shape[1], guides.shape[1], device=guides.device)
    squares = guides[:, rows] * guides[:, cols]
    return torch.cat([guides, coarse, squares, _outer(guides, coarse).flatten(1, 2)], 1)


def _system(moments: Tensor, guides: int, bands: int, ridge: float) -> tuple[Tensor, Tensor, float]:
    """The equations of a regression at every pixel, from means of `_moments`, for `_solved`."""
    sizes = [guides, bands, guides * (guides + 1) // 2, guides * bands]
    centre, level, squares, crossed = torch.split(moments, sizes, 1)
    sides = [[(max(i, j), min(i, j)) for i in range(guides)] for j in range(guides)]
    whole = squares[:, [[i * (i + 1) // 2 + j for i, j in side] for side in sides]]
    ridges = ridge * torch.eye(guides, dtype=whole.dtype, device=whole.device)[..., None, None]
    matrix = whole - _outer(centre, centre) + ridges
    right = torch.unflatten(crossed, 1, (guides, bands)) - _outer(centre, level)
    return matrix.float(), right.float(), ridge


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors along a new first dimension; a single one is not copied."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))


def _outer(a: Tensor, b: Tensor) -> Tensor:
    """Products of all channels of both, (batch, of a, of b, rows, cols)."""
    return a.unsqueeze(2) * b.unsqueeze(1)


def local_mean(x: Tensor, radius: int) -> Tensor:
    """Means over squares; the image's edge is repeated. A few channels at a time, for the cache."""
    side, found = 2 * radius + 1, []
    together = x.shape[1] if torch.compiler.is_compiling() else _CHANNELS
    for part in torch.split(x, together, 1):
        padded = F.pad(part, (radius, radius, radius, radius), mode="replicate")
        found.append(_sums(_sums(padded, side, -1), side, -2) / side**2)
    return torch.cat(found, 1)


def _sums(x: Tensor, count: int, dim: int) -> Tensor:
    """Sums of `count` neighbours along a dimension, put together of sums of 1, 2, 4, … of them."""
    left, at, width = x.shape[dim] - count + 1, 0, 1
    run, found = x, []
    while width <= count:
        if count & width:
            found.append(run.narrow(dim, at, left))
            at += width
        if 2 * width <= count:
            length = run.shape[dim] - width
            run = run.narrow(dim, 0, length) + run.narrow(dim, width, length)
        width *= 2
    return sum(found[1:], found[0])


def _solved(systems: Sequence[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Solve symmetric positive definite systems at every pixel, all pixels at once.

    Gauss's elimination, which such matrices need no pivoting for.

    Args:
        systems: matrix (batch, n, n, rows, cols), right sides (batch, n, bands, rows, cols) and
            the bound of the matrix's eigenvalues; what rounding brings below it is put back there.

    Returns:
        (systems, batch, n, bands, rows, cols).
    """
    matrices, rights, bounds = zip(*systems, strict=True)
    matrix, right = _stacked(matrices), _stacked(rights)
    least = torch.tensor(bounds, device=matrix.device).view(-1, *[1] * 5)
    steps = []
    for _ in range(matrix.shape[-3]):
        first, rest = torch.split(matrix, [1, matrix.shape[-4] - 1], -4)
        pivot, row = torch.split(first, [1, first.shape[-3] - 1], -3)
        top, below = torch.split(right, [1, right.shape[-4] - 1], -4)
        pivot = pivot.maximum(least)
        column, matrix = torch.split(rest, [1, row.shape[-3]], -3)
        column = column / pivot
        steps.append((pivot, row.transpose(-4, -3), top))
        matrix, right = matrix - column * row, below - column * top
    found = right  # of no unknowns yet
    for pivot, row, top in reversed(steps):
        value = (top - (row * found).sum(-4, keepdim=True)) / pivot
        found = torch.cat([value, found], -4)
    return found
