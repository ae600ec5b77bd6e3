"""Detail of coarse bands by local regression on fine ones, for nets to refine.

Around every coarse pixel the coarse bands are regressed on what the coarse sensor would have seen
of the fine ones, by least squares with a ridge; those coefficients times what it would have missed
of them are the coarse bands' detail. How bands go together is thus read off the scene at hand, at
the scale where both are known. A band that is a mixture of the fine ones is found exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

_ROWS = 640  # fine, at a time
_CHANNELS = 8
_SIGMAS = 3  # where point spreads are cut
_CUBIC = 2  # coarse pixels that bicubic interpolation looks at beyond its own


def detail(
    fine: Tensor, coarse: Tensor, radii: Sequence[int], *, factor: int,
    ridges: Mapping[int, float], spreads: Sequence[Sequence[float]],
) -> Tensor:  # fmt: skip
    """What the coarse bands lack, (batch, ridges · radii · bands · k², rows, cols).

    Sub-pixel convolution's order: `pixel_shuffle` by k brings it to the fine grid.

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

    def made(rows: slice) -> Tensor:
        at = slice(rows.start * factor, rows.stop * factor)
        by_group = [
            _detail(fine[..., at, :], part[..., rows, :], radii, factor, ridges, spread)
            for part, (spread, _) in zip(parts, groups, strict=True)
        ]
        return torch.cat([part for system in zip(*by_group, strict=True) for part in system], 1)

    halo = max(radii) + max(ridges) + _CUBIC + max(beyond(factor, spread) for spread in spreads)
    return _in_strips(made, coarse.shape[-2], max(_ROWS // factor, 1), halo)


def _in_strips(made: Callable[[slice], Tensor], rows: int, step: int, halo: int) -> Tensor:
    """What is made of some rows, of all of them; a part at a time takes less memory."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or rows <= step:
        return made(slice(0, rows))
    whole: Tensor | None = None
    for top in range(0, rows, step):
        first, last = max(top - halo, 0), min(top + step + halo, rows)
        count = min(step, rows - top)
        part = made(slice(first, last)).narrow(-2, top - first, count)
        if whole is None:
            whole = part.new_empty((*part.shape[:-2], rows, part.shape[-1]))
        whole.narrow(-2, top, count).copy_(part)
    assert whole is not None
    return whole


def _detail(
    fine: Tensor, coarse: Tensor, radii: Sequence[int], factor: int, ridges: Mapping[int, float],
    spread: Sequence[float],
) -> list[Tensor]:  # fmt: skip
    """Of bands that see alike, by ridge and radius: (batch, bands · k², rows, cols)."""
    means = sensed(fine, factor, spread)
    smooth = F.interpolate(means, scale_factor=factor, mode="bicubic", align_corners=False)
    lacking = torch.split(F.pixel_unshuffle(fine - smooth, factor), factor**2, 1)  # by guide
    # one after the other takes less memory; all at once makes a graph that can be exported
    together = len(ridges) * len(radii) if torch.compiler.is_exporting() else 1
    found, systems = list[Tensor](), []
    for above, ridge in ridges.items():
        guides, bands = (_exceeding(x, above) for x in (means, coarse))
        for moments in _averaged(guides, bands, radii):
            systems.append(_system(moments, guides.shape[1], bands.shape[1], ridge))
            if len(systems) == together:
                found += _applied(_solved(systems), lacking)
                systems = []
    return found


def _applied(slopes: Tensor, lacking: Sequence[Tensor]) -> list[Tensor]:
    """Detail by the slopes of some regressions: of each (batch, bands · k², rows, cols).

    Args:
        lacking: by guide, (batch, k², rows, cols) of its detail.
    """
    made = torch.zeros((), dtype=lacking[0].dtype, device=lacking[0].device)
    for slope, lack in zip(slopes.unbind(2), lacking, strict=True):
        made = torch.addcmul(made, slope.unsqueeze(3), lack.unsqueeze(1))
    return list(made.flatten(2, 3).unbind(0))


def lines(
    guides: Tensor, bands: Tensor, radius: int, ridge: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The lines by which bands follow guides on the same grid, in squares around every pixel.

    Returns:
        Slopes (batch, guides, bands, rows, cols) and constants (batch, bands, rows, cols).
    """
    count, total = guides.shape[1], bands.shape[1]
    (means,) = _averaged(guides.double(), bands.double(), [radius])
    (slopes,) = _solved([_system(means, count, total, ridge)])
    centre, level = means[0][:, :, None], means[1]
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


def _averaged(guides: Tensor, bands: Tensor, radii: Sequence[int]) -> list[list[Tensor]]:
    """By radius what tells a regression: means of the guides, the bands and their products.

    Of products by guide: those with the guides up to itself, then those with the bands.
    """
    count = guides.shape[1]
    ones = [guides[:, i : i + 1] for i in range(count)]
    parts = [guides, bands, *(one * guides[:, : i + 1] for i, one in enumerate(ones)),
             *(one * bands for one in ones)]  # fmt: skip
    if torch.compiler.is_compiling():  # a graph wants few steps
        sizes = [part.shape[1] for part in parts]
        return [
            list(torch.split(means, sizes, 1)) for means in local_means(torch.cat(parts, 1), radii)
        ]
    return [list(means) for means in zip(*(local_means(x, radii) for x in parts), strict=True)]


def _system(
    means: Sequence[Tensor], guides: int, bands: int, ridge: float
) -> tuple[Tensor, Tensor, float]:
    """The equations of a regression at every pixel, from what `_averaged` gives, for `_solved`."""
    centre, level, crossed = *means[:2], means[2 + guides :]
    squares = torch.cat(list(means[2 : 2 + guides]), 1)
    sides = [[(max(i, j), min(i, j)) for i in range(guides)] for j in range(guides)]
    whole = squares[:, [[i * (i + 1) // 2 + j for i, j in side] for side in sides]]
    matrix = _less(whole, centre, centre).float()
    right = _less(torch.stack(list(crossed), 1), centre, level).float()
    ridges = ridge * torch.eye(guides, device=matrix.device)[..., None, None]
    return matrix + ridges, right, ridge


def _less(products: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Covariances: means of products, less the products of means."""
    return torch.addcmul(products, a.unsqueeze(2), b.unsqueeze(1), value=-1)


def _stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors along a new first dimension; a single one is not copied."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))


def local_mean(x: Tensor, radius: int) -> Tensor:
    """Means over squares; the image's edge is repeated."""
    return local_means(x, [radius])[0]


def local_means(x: Tensor, radii: Sequence[int]) -> list[Tensor]:
    """By radius, means over squares; the image's edge is repeated. They share their sums.

    A few channels at a time, for the cache.
    """
    reach, found = max(radii), []
    together = x.shape[1] if torch.compiler.is_compiling() else _CHANNELS
    for part in torch.split(x, together, 1):
        padded = F.pad(part, (reach,) * 4, mode="replicate")
        across = zip(_sums(padded, radii, -1), radii, strict=True)
        found.append([
            _sums(_inner(along, reach - radius), [radius], -2)[0] / (2 * radius + 1) ** 2
            for along, radius in across
        ])  # fmt: skip
    return [torch.cat(parts, 1) if len(parts) > 1 else parts[0]
            for parts in zip(*found, strict=True)]  # fmt: skip


def _inner(x: Tensor, edge: int) -> Tensor:
    """Rows without `edge` of them on either side."""
    return x.narrow(-2, edge, x.shape[-2] - 2 * edge)


def _sums(x: Tensor, radii: Sequence[int], dim: int) -> list[Tensor]:
    """By radius, sums of 2 · radius + 1 neighbours, around places that have all of the widest.

    A wider one is a narrower one and what lies on both sides of it.
    """
    reach, runs = max(radii), {1: x}
    places = x.shape[dim] - 2 * reach
    found, total, before = dict[int, Tensor](), None, -1
    for radius in sorted(set(radii)):
        sides = (reach - radius, reach + before + 1)  # where what is new begins
        if total is None:
            total = _run(runs, 2 * radius + 1, dim).narrow(dim, sides[0], places)
        else:
            more = _run(runs, radius - before, dim)
            total = total + more.narrow(dim, sides[0], places) + more.narrow(dim, sides[1], places)
        found[radius], before = total, radius
    return [found[radius] for radius in radii]


def _run(runs: dict[int, Tensor], width: int, dim: int) -> Tensor:
    """Sums of `width` neighbours from every place on; those of other widths are kept in `runs`."""
    if width not in runs:
        first = width // 2 if width % 2 == 0 else width - 1
        start, rest = _run(runs, first, dim), _run(runs, width - first, dim)
        length = start.shape[dim] - (width - first)
        runs[width] = start.narrow(dim, 0, length) + rest.narrow(dim, first, length)
    return runs[width]


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
        pivot = pivot.maximum(least).reciprocal()
        column, matrix = torch.split(rest, [1, row.shape[-3]], -3)
        column = column * pivot
        steps.append((pivot, row.transpose(-4, -3), top))
        matrix = torch.addcmul(matrix, column, row, value=-1)
        right = torch.addcmul(below, column, top, value=-1)
    found = right  # of no unknowns yet
    for pivot, row, top in reversed(steps):
        value = (top - (row * found).sum(-4, keepdim=True)) * pivot
        found = torch.cat([value, found], -4)
    return found
