"""hdr-dsp: samples fall where they should, frames that are absent or in another order."""

import pytest
import torch

from geosr.models.nets.multi.hdrdsp import splat
from geosr.models.registry import build, design


def thin(scale=3):
    torch.manual_seed(0)
    card = design("hdr-dsp").card(scale=scale, features=4, encoded=1, decoded=1)
    return build(card).net.eval()


def series(count, *size, bands=1):
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(2, count, bands, *size, generator=generator)
    shifts = torch.rand(2, count, 2, generator=generator) - 0.5
    return frames, torch.ones(2, count, 1, *size), shifts


def test_samples_fall_bilinearly():
    rows = splat(4, 2, torch.tensor([0.0, 0.25]))
    assert rows.shape == (2, 4, 8)
    torch.testing.assert_close(rows[0, 1], torch.tensor([0, 0, 0.5, 0.5, 0, 0, 0, 0]))
    torch.testing.assert_close(rows[1, 1], torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0]))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_size_comes_out_exactly_scaled(scale, size):
    with torch.no_grad():
        out = thin(scale)(*series(3, *size, bands=2))
    assert out.shape == (2, 2, scale * size[0], scale * size[1])
    assert bool(out.isfinite().all())


def test_the_order_of_frames_changes_nothing_and_absent_ones_count_nothing():
    net = thin()
    frames, clear, shifts = series(5, 8, 8)
    clear[:, 3:] = 0
    order = torch.tensor([2, 4, 0, 3, 1])
    with torch.no_grad():
        one = net(frames, clear, shifts)
        other = net(frames[:, order], clear[:, order], shifts[:, order])
        fewer = net(frames[:, :3], clear[:, :3], shifts[:, :3])
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    torch.testing.assert_close(one, fewer, atol=1e-5, rtol=0)


def test_bands_know_nothing_of_each_other():
    net = thin()
    frames, clear, shifts = series(3, 8, 8, bands=2)
    with torch.no_grad():
        both, first = net(frames, clear, shifts), net(frames[:, :, :1], clear, shifts)
    torch.testing.assert_close(both[:, :1], first, atol=1e-5, rtol=0)


def test_masked_pixels_are_not_laid_down():
    net = thin()
    frames, clear, shifts = series(4, 8, 8)
    clear[:, 1, :, 3:5, 3:5] = 0
    dim = frames.clone()
    dim[:, 1, :, 3:5, 3:5] = 0.9
    with torch.no_grad():
        change = (net(dim, clear, shifts) - net(frames, clear, shifts)).abs()
        clear[:, 1, :, 3:5, 3:5] = 1
        seen = (net(dim, clear, shifts) - net(frames, clear, shifts)).abs()
    assert change.mean() < seen.mean()


def test_without_a_clear_frame_there_is_a_value():
    frames, clear, shifts = series(3, 6, 6)
    assert bool(thin()(frames, 0 * clear, shifts).isfinite().all())
