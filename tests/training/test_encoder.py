"""The encoder's distance ranks what was done to an image in the order that eyes do."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from torch.nn import functional as F

from geosr.training.losses import LOSSES

SIDE, CUT = 96, 8
KINDS = ("shift", "blur", "noise", "ringing")


def crops(real: Path) -> torch.Tensor:
    """Real windows of 96 pixels that the encoder never saw, (windows, 1, rows, cols)."""
    files = {real / f"landsat7/scene{n}_pan.tif": 255 for n in (15, 17, 19)}
    files |= dict.fromkeys(sorted(real.glob("sentinel2/val/*/10m.tif")), 10000)
    found, rng = [], np.random.default_rng(0)
    for path, unit in files.items():
        with rasterio.open(path) as file:
            image = file.read(1) / np.float32(unit)
        for _ in range(6):
            row, col = (int(rng.integers(max(side - SIDE, 1))) for side in image.shape)
            part = image[row : row + SIDE, col : col + SIDE]
            if part.shape == (SIDE, SIDE) and part.std() > 2e-3 and (part > 0).all():
                found.append(part)
    return torch.from_numpy(np.stack(found))[:, None]


def changed(x: torch.Tensor, kind: str, rng: torch.Generator) -> torch.Tensor:
    """The windows shifted, blurred, noisy or ringing, at unit strength; edges are of no use."""
    down = torch.fft.fftfreq(SIDE)[:, None] * 2 * torch.pi
    across = torch.fft.rfftfreq(SIDE)[None] * 2 * torch.pi
    low = torch.exp(-(down**2 + across**2) / 2)
    if kind == "noise":
        return x + torch.randn(x.shape, generator=rng)
    by = {"shift": torch.exp(0.25j * (down + across)), "blur": low, "ringing": 2 - low}[kind]
    return torch.fft.irfft2(torch.fft.rfft2(x) * by, s=(SIDE, SIDE))


def differences(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of each kind, all of one mean squared error per window, that of the shift."""
    rng = torch.Generator().manual_seed(0)
    found = {kind: (changed(x, kind, rng) - x)[..., CUT:-CUT, CUT:-CUT] for kind in KINDS}
    size = {kind: d.square().mean((1, 2, 3), keepdim=True).sqrt() for kind, d in found.items()}
    return {kind: d * size["shift"] / size[kind] for kind, d in found.items()}


def distances(loss: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of each window by itself."""
    every = torch.ones_like(x[:1], dtype=torch.bool)
    return torch.stack([torch.div(*LOSSES[loss](a[None], b[None], every))
                        for a, b in zip(x, y, strict=True)])  # fmt: skip


def rightly_ordered(loss: str, real: Path) -> float:
    """Share of pairs at equal error in the order of eyes: shift, then blur, then the rest."""
    x = crops(real)
    change, middle = differences(x), x[..., CUT:-CUT, CUT:-CUT]
    by = {kind: distances(loss, middle + d, middle) for kind, d in change.items()}
    pairs = [("shift", "blur"), ("shift", "noise"), ("shift", "ringing"), ("blur", "noise"),
             ("blur", "ringing")]  # fmt: skip
    return float(torch.stack([by[near] < by[far] for near, far in pairs]).float().mean())


def test_windows_are_ranked_as_eyes_rank_them(shared):
    """Squares cannot tell them apart, random features do so less often."""
    encoder = rightly_ordered("perceptual:encoder", shared)
    assert encoder > 0.85
    assert encoder > rightly_ordered("perceptual", shared) + 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_distances_grow_with_strength(shared, kind):
    x = crops(shared)[::4]
    change, middle = differences(x)[kind], x[..., CUT:-CUT, CUT:-CUT]
    steps = [
        distances("perceptual:encoder", middle + s * change, middle) for s in (0.25, 0.5, 1, 2)
    ]
    assert all((b > a).all() for a, b in pairwise(steps))


def test_the_encoder_is_small_and_takes_any_number_of_bands():
    from geosr.training.losses.perceptual import _encoder

    assert sum(p.numel() for p in _encoder().levels.parameters()) == 217_944
    x = torch.rand(2, 5, 32, 32)
    every = torch.ones_like(x, dtype=torch.bool)
    total, count = LOSSES["perceptual:encoder"](x, F.avg_pool2d(x, 3, 1, 1), every)
    assert count == 10 and total > 0
