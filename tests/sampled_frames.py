"""Frames of a known image, as tensors: each samples it at its shift."""

import torch

from geosr.models.nets.multi.fusion import Sampling


def scene(seed=0, size=72):
    """A smooth image with detail near the fine grid's limit, (1, 1, size, size)."""
    noise = torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(seed))
    taps = torch.exp(-0.5 * (torch.arange(-4, 5) / 1.0) ** 2)
    taps = (taps / taps.sum()).view(1, 1, 1, 9)
    smooth = torch.nn.functional.conv2d(noise, taps, padding=(0, 4))
    smooth = torch.nn.functional.conv2d(smooth, taps.transpose(-1, -2), padding=(4, 0))
    return 0.2 + 0.1 * smooth


def series(count, noise=0.0, seed=0):
    """Truth, frames, masks and shifts."""
    truth, rng = scene(seed), torch.Generator().manual_seed(seed + 1)
    shifts = torch.rand(1, count, 2, generator=rng) * 2 - 1
    shifts[:, 0] = 0
    frames = Sampling((24, 24), 3, shifts).see(truth)
    frames = frames + noise * torch.randn(frames.shape, generator=rng)
    return truth, frames, torch.ones(1, count, 1, 24, 24), shifts


def error(a, b):
    return float((a - b)[..., 9:-9, 9:-9].pow(2).mean().sqrt())
