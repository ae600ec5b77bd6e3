"""Nets for frames of a video: what they look at, deformable convolution, where clouds are."""

from dataclasses import replace

import pytest
import torch
from nets import THIN
from torch.nn import functional as F

from geosr.models.nets.deformable import Deformable
from geosr.models.nets.multi.video import mended
from geosr.models.registry import build, design

VIDEO = ("msdtgp", "msdtgp-s", "rrn")


def thin(name, scale=2, bands=1):
    torch.manual_seed(0)
    card = design(name).card(scale=scale, bands=bands)
    net = build(replace(card, options={**card.options, **THIN[name]})).net.eval()
    for parameter in net.parameters():  # some begin as nothing, or next to it
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return net


def frames(*size, bands=1):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 5, bands, *size, generator=generator), torch.ones(2, 5, 1, *size)


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize("size", [(1, 1), (5, 3)])
def test_every_size_comes_out_exactly_scaled(name, size):
    for scale in design(name).reach:
        out = thin(name, scale, bands=2)(*frames(*size, bands=2))
        assert out.shape == (2, 2, size[0] * scale, size[1] * scale)
        assert out.isfinite().all()


@pytest.mark.parametrize("name", VIDEO)
def test_every_frame_has_a_say_and_so_has_its_place_in_time(name):
    net, (x, clear) = thin(name), frames(6, 6)
    out = net(x, clear)
    for t in range(5):
        other = x.clone()
        other[:, t] += 0.1
        assert not torch.allclose(net(other, clear), out, atol=1e-6), t
    swapped = x[:, [0, 1, 4, 3, 2]]  # the frame after, and the second one after it
    assert not torch.allclose(net(swapped, clear), out, atol=1e-6)


@pytest.mark.parametrize("name", VIDEO)
def test_what_lies_under_clouds_has_no_say(name):
    net, (x, clear) = thin(name), frames(6, 6)
    clear[:, 1:, :, 2:4] = 0
    spoilt = torch.where(clear > 0, x, 50.0)
    torch.testing.assert_close(net(spoilt, clear), net(x, clear))


def test_a_cloud_is_mended_from_the_nearest_clear_frame():
    x = torch.arange(5.0).view(1, 5, 1, 1, 1).expand(1, 5, 1, 1, 3).clone()
    clear = torch.ones(1, 5, 1, 1, 3)
    clear[0, 0, 0, 0, 1] = clear[0, 1, 0, 0, 1] = 0  # two frames under a cloud
    clear[..., 2] = 0  # all frames
    made = mended(x, clear)[0, :, 0, 0]
    assert made[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert made[:, 1].tolist() == [2, 2, 2, 3, 4]
    assert made[:, 2].tolist() == [0, 1, 2, 3, 4]


def test_deformable_convolution_begins_as_half_a_plain_one():
    torch.manual_seed(0)
    net, x = Deformable(16), torch.randn(2, 16, 7, 5)
    plain = F.conv2d(x, net.conv.weight, padding=1)
    torch.testing.assert_close(net(x, x), plain / 2 + net.conv.bias[:, None, None])


def test_offsets_move_the_samples_and_each_group_has_its_own():
    """One row down and half a column right for group 0; group 1 looks straight ahead."""
    torch.manual_seed(0)
    net = Deformable(4, groups=2)
    offsets = torch.zeros(3, 2, 9)
    offsets[0, 0], offsets[1, 0], offsets[2] = 1.0, 0.5, 50.0  # down, across, weight
    net.aside.bias.data = offsets.flatten()
    x = torch.randn(1, 4, 9, 9)
    moved = x.clone()
    moved[:, :2, :-1] = x[:, :2, 1:]
    moved[:, :2, :, :-1] = (moved[:, :2, :, :-1] + moved[:, :2, :, 1:]) / 2
    inner = (..., slice(1, 7), slice(1, 7))
    torch.testing.assert_close(net(x, x)[inner], net.conv(moved)[inner])


def test_deformable_convolution_learns_where_to_look():
    net = Deformable(8)
    net(torch.randn(1, 8, 6, 6, requires_grad=True), torch.randn(1, 8, 6, 6)).sum().backward()
    assert net.aside.weight.grad.abs().sum() > 0 and net.aside.bias.grad.abs().sum() > 0


def test_the_small_msdtgp_begins_as_the_bicubic_frame():
    torch.manual_seed(0)
    net, (x, clear) = build(design("msdtgp-s").card(scale=2)).net, frames(8, 8)
    up = F.interpolate(x[:, 0], scale_factor=2, mode="bicubic")
    torch.testing.assert_close(net(x, clear), up)


def test_ten_blocks_make_the_larger_published_rrn():
    assert build(design("rrn").card(scale=4, bands=3, blocks=10)).parameters == 3_364_400
