"""Nets for frames of a video: what they look at, deformable convolution, clouds, time between."""

from dataclasses import replace

import pytest
import torch
from nets import THIN
from torch.nn import functional as F

from geosr.models.nets.deformable import Deformable
from geosr.models.nets.multi import msttstvsr
from geosr.models.nets.multi.frames import mended
from geosr.models.registry import build, count, design

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


BEFORE_AND_AFTER = torch.tensor([-0.5, 0.5, -1.5, 1.5])
AROUND = torch.tensor([0.0, -1.0, 1.0, 2.0])


def places(times, shifts=0.0):
    """Of two samples of four frames, all moved alike."""
    at = torch.full((2, 4, 2), shifts)
    return torch.cat([at, times.expand(2, 4)[..., None]], -1)


def four(*size):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 4, 1, *size, generator=generator), torch.ones(2, 4, 1, *size)


@pytest.mark.parametrize("size", [(1, 1), (9, 5), (16, 8)])
def test_frames_and_those_between_come_out_at_every_size_and_scale(size):
    for scale in design("mstt-stvsr").reach:
        net = thin("mstt-stvsr", scale)
        for times in (AROUND, BEFORE_AND_AFTER):
            out = net(*four(*size), places(times))
            assert out.shape == (2, 1, size[0] * scale, size[1] * scale) and out.isfinite().all()


def test_a_net_that_is_told_no_times_gives_the_frame_itself():
    net, given = thin("mstt-stvsr"), four(8, 8)
    told = places(AROUND)
    torch.testing.assert_close(net(*given, told[..., :2]), net(*given, told))
    assert not torch.allclose(net(*given, told), net(*given, places(BEFORE_AND_AFTER)), atol=1e-4)


def test_the_order_in_which_frames_are_given_tells_nothing_their_times_do():
    net, (x, clear), told = thin("mstt-stvsr"), four(8, 8), places(BEFORE_AND_AFTER)
    turned = [3, 0, 2, 1]
    torch.testing.assert_close(net(x[:, turned], clear, told[:, turned]), net(x, clear, told))


def test_samples_of_a_batch_may_want_other_times():
    net, (x, clear) = thin("mstt-stvsr"), four(8, 8)
    mixed = torch.cat([places(AROUND)[:1], places(BEFORE_AND_AFTER)[1:]])
    apart = [net(x[i : i + 1], clear[i : i + 1], mixed[i : i + 1]) for i in (0, 1)]
    torch.testing.assert_close(net(x, clear, mixed), torch.cat(apart), atol=1e-5, rtol=1e-4)


def test_the_small_net_begins_as_the_mean_of_both_neighbours_where_they_meet():
    """A plane that moves on by a pixel a frame; the two bicubic frames meet in the middle."""
    torch.manual_seed(0)
    net = build(design("mstt-stvsr-s").card(scale=2)).net
    ramp = torch.arange(12.0).expand(12, 12) / 10
    times = BEFORE_AND_AFTER
    x = (ramp + times[:, None, None] / 10).view(1, 4, 1, 12, 12)
    told = torch.zeros(1, 4, 3)
    told[0, :, 1], told[0, :, 2] = times, times
    out = net(x, torch.ones(1, 4, 1, 12, 12), told)
    fine = (torch.arange(24.0) + 0.5) / 2 - 0.5
    inner = (0, 0, slice(None), slice(6, 18))
    torch.testing.assert_close(out[inner], (fine / 10).expand(24, 24)[:, 6:18])


def test_what_moves_evenly_is_halfway_between():
    """Frame and next one, each moved by half the way, lie on each other before the net mixes."""
    net = thin("mstt-stvsr")
    net.each = torch.nn.Identity()
    seen = []
    net.fuse = torch.nn.Module()
    net.fuse.forward = lambda x: seen.append(x) or x[:, :8]
    net.align = torch.nn.Module()
    net.align.forward = lambda one, other: one
    wave = torch.sin(torch.arange(40.0) / 4)
    x = torch.stack([torch.sin((torch.arange(40.0) + t) / 4) for t in (-1.5, -0.5, 0.5, 1.5)])
    x = x.view(1, 4, 1, 1, 40).expand(1, 4, 8, 5, 40)
    at = torch.stack([torch.zeros(4), torch.tensor([-1.5, -0.5, 0.5, 1.5])], 1)[None]
    net._seven(x, at)
    both = seen[3]  # (1, 16, 5, 40): frame 2 and frame 3, of the pair in the middle
    for part in (both[:, 0], both[:, 8]):
        torch.testing.assert_close(part[0, 2, 5:35], wave[5:35], atol=5e-3, rtol=0)


def test_squares_are_put_back_where_they_were():
    x = torch.randn(2 * 7, 3, 8, 12)
    cut = msttstvsr._squares(x, 7, 4)
    assert cut.shape == (2, 7 * 2 * 3, 3 * 16)
    torch.testing.assert_close(cut[0, 1].view(3, 4, 4), x[0, :, :4, 4:8])
    torch.testing.assert_close(msttstvsr._back(cut, 7, 4, x.shape[1:]), x)


def test_forty_blocks_make_the_larger_published_mstt():
    assert count(design("mstt-stvsr").card(scale=4, bands=3, blocks=40)) == 7_141_403
