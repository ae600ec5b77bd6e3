"""Detail of coarse bands by local regression on fine ones, for nets to refine.

Around every coarse pixel the coarse bands are regressed on block means of the fine ones, by least
squares with a ridge; those coefficients times the fine bands' detail are the coarse bands' detail.
How bands go together is thus read off the scene at hand, at the scale where both are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

Matrix = list[list[Tensor]]
_ROWS = 256  # fine, at a time
_CHANNELS = 8
_CUBIC = 2  # coarse pixels that bicubic interpolation looks at beyond its own


def detail(
    fine: Tensor, coarse: Tensor, radii: Sequence[int], *, factor: int, ridges: Mapping[int, float]
) -> Tensor:
    """What the coarse bands lack, (batch, ridges · radii · bands, k · rows, k · cols).

    Args:
        fine: (batch, guides, k · rows, k · cols), of the same ground and in the same unit.
        coarse: (batch, bands, rows, cols).
        radii: of the squares that a regression is taken over, in coarse pixels.
        factor: k.
        ridges: by what is regressed: 0 is the values themselves, n what exceeds the mean of a
            square of radius n. Added to the variance of every guide, in that unit squared.
    """
    rows, step = coarse.shape[-2], _ROWS // factor
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or rows <= step:
        return _detail(fine, coarse, radii, factor, ridges)
    halo, found = max(radii) + max(ridges) + _CUBIC, []
    for top in range(0, rows, step):  # what stays in the cache is quicker by far
        first, last = max(top - halo, 0), min(top + step + halo, rows)
        part = _detail(
            fine[..., first * factor : last * factor, :], coarse[..., first:last, :],
            radii, factor, ridges,
        )  # fmt: skip
        kept = min(top + step, rows) - top
        found.append(part.narrow(-2, (top - first) * factor, kept * factor))
    return torch.cat(found, -2)


def _detail(
    fine: Tensor, coarse: Tensor, radii: Sequence[int], factor: int, ridges: Mapping[int, float]
) -> Tensor:
    """The same, all at once."""
    means = F.avg_pool2d(fine, factor)
    smooth = F.interpolate(means, scale_factor=factor, mode="bicubic", align_corners=False)
    lacking = torch.split(F.pixel_unshuffle(fine - smooth, factor), factor**2, 1)  # by guide
    found = []
    for above, ridge in ridges.items():
        moments = _moments(*(_exceeding(x, above) for x in (means, coarse)))
        for radius in radii:
            slopes = _slopes(_local_mean(moments, radius), fine.shape[1], coarse.shape[1], ridge)
            made = slopes[0].unsqueeze(2) * lacking[0].unsqueeze(1)  # (…, bands, k², rows, cols)
            for slope, lack in zip(slopes[1:], lacking[1:], strict=True):
                made = torch.addcmul(made, slope.unsqueeze(2), lack.unsqueeze(1))
            found.append(F.pixel_shuffle(made.flatten(1, 2), factor))
    return torch.cat(found, 1)


def _exceeding(x: Tensor, above: int) -> Tensor:
    """What exceeds the local mean, or the values themselves."""
    if above:
        return x - _local_mean(x, above)
    return x.double()  # over bright ground variances drown in the rounding of squares


def _moments(means: Tensor, coarse: Tensor) -> Tensor:
    """Values and products whose means tell a regression: guides, bands, guide², guide · bands."""
    guides = torch.split(means, 1, 1)
    squares = [guides[i] * guides[j] for i in range(len(guides)) for j in range(i + 1)]
    return torch.cat([*guides, coarse, *squares, *(guide * coarse for guide in guides)], 1)


def _slopes(moments: Tensor, guides: int, bands: int, ridge: float) -> list[Tensor]:
    """By guide, (batch, bands, rows, cols) each, from means of `_moments`."""
    pairs = [(i, j) for i in range(guides) for j in range(i + 1)]
    sizes = [*[1] * guides, bands, *[1] * len(pairs), *[bands] * guides]
    parts = torch.split(moments, sizes, 1)
    centre, level = parts[:guides], parts[guides]
    squares, crossed = parts[guides + 1 : -guides], parts[-guides:]
    rows: Matrix = [[] for _ in range(guides)]
    for (i, j), square in zip(pairs, squares, strict=True):
        rows[i].append(square - centre[i] * centre[j] + (ridge if i == j else 0.0))
    together = [crossed[i] - centre[i] * level for i in range(guides)]
    return _solved([[x.float() for x in row] for row in rows], [x.float() for x in together], ridge)


def _local_mean(x: Tensor, radius: int) -> Tensor:
    """Means over squares; the image's edge is repeated. A few channels at a time, for the cache."""
    side, found = 2 * radius + 1, []
    for part in torch.split(x, _CHANNELS, 1):
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


def _solved(rows: Matrix, right: list[Tensor], least: float) -> list[Tensor]:
    """Solve at every pixel a symmetric positive definite system, given by its lower triangle.

    L · D · Lᵀ written out, since every entry is an image: a few unknowns, very many systems.

    Args:
        least: bound of its eigenvalues; what rounding brings below it is put back there.
    """
    lower: Matrix = []
    diagonal: list[Tensor] = []
    found: list[Tensor] = []
    for i, row in enumerate(rows):
        lower.append([])
        for j in range(i):
            left = row[j]
            for k in range(j):
                left = left - lower[i][k] * lower[j][k] * diagonal[k]
            lower[i].append(left / diagonal[j])
        pivot, value = row[i], right[i]
        for k, factor in enumerate(lower[i]):
            pivot = pivot - factor**2 * diagonal[k]
            value = value - factor * found[k]
        diagonal.append(pivot.clamp(min=least))
        found.append(value)
    found = [value / pivot for value, pivot in zip(found, diagonal, strict=True)]
    for i in reversed(range(len(rows))):
        for k in range(i + 1, len(rows)):
            found[i] = found[i] - lower[k][i] * found[k]
    return found
