"""What nets share: attention of sequences and windows, pixels beyond an edge; shares of zero."""

import numpy as np
import pytest
import torch
from nets import THIN

from geosr.models.nets.padding import mirrored, whole
from geosr.models.nets.single.swin import WindowAttention
from geosr.models.nets.transformer import Attention
from geosr.models.registry import build, design


@pytest.mark.parametrize("reach", [1, 4])
@pytest.mark.parametrize("size", [(5, 6), (7, 9)])
def test_mirroring_is_numpys(size, reach):
    x = torch.rand(2, 1, *size)
    expected = np.pad(x.numpy(), [(0, 0), (0, 0), (reach, reach), (reach, reach)], "reflect")
    np.testing.assert_array_equal(mirrored(x, reach).numpy(), expected)


def test_mirroring_repeats_what_there_is_of_a_small_image():
    x = torch.tensor([[1.0, 2.0]])
    expected = torch.tensor([2.0, 2, 2, 1, 2, 1, 1, 1]).expand(7, 8)
    assert torch.equal(mirrored(x, 3), expected)


@pytest.mark.parametrize("size", [(1, 8), (5, 11), (16, 9)])
def test_whole_blocks_keep_the_image_at_their_start(size):
    x = torch.rand(1, 2, *size)
    padded = whole(x, 8)
    assert not any(side % 8 for side in padded.shape[-2:])
    assert torch.equal(padded[..., : size[0], : size[1]], x)


@pytest.mark.parametrize("bias", [True, False])
def test_looking_at_a_memory_of_oneself_is_looking_at_oneself(bias):
    attention = Attention(12, 3, inner=6, bias=bias)
    x = torch.rand(2, 5, 12)
    torch.testing.assert_close(attention(x, memory=x), attention(x))
    assert attention(x, memory=torch.rand(2, 9, 12)).shape == x.shape


def test_windows_that_overlap_see_as_far_as_their_keys_and_no_further():
    attention = WindowAttention(4, 2, window=4, keys=8)
    x = torch.rand(1, 12, 12, 4, requires_grad=True)
    attention(x)[0, 4:8, 4:8].sum().backward()
    seen = x.grad[0].abs().sum(-1) > 0
    assert seen[2:10, 2:10].all() and seen.sum() == 8 * 8


def test_keys_as_large_as_the_window_are_the_window():
    torch.manual_seed(0)
    attention = WindowAttention(4, 2, window=4)
    x = torch.rand(1, 8, 8, 4)
    whole_image = attention(x)
    torch.testing.assert_close(whole_image[:, :4, 4:], attention(x[:, :4, 4:]))


@pytest.mark.parametrize("name", ["hsenet", "haunet", "han", "srehan"])
def test_attention_that_begins_at_zero_learns_all_the_same(name):
    """Its share is zero at first, its gradient is not (HSENet's coarse part waits for that)."""
    torch.manual_seed(0)
    card = design(name).card(scale=2, **THIN[name])
    net = build(card).net
    (net(torch.rand(1, 1, 12, 12)) ** 2).sum().backward()
    zero = [n for n, p in net.named_parameters() if not p.any() and "heat" not in n]
    shares = [
        n for n in zero if n.endswith(("gamma", "share", "back.weight")) and ".coarse." not in n
    ]
    assert shares and all(dict(net.named_parameters())[n].grad.any() for n in shares)


def test_haunet_s_blocks_are_nothing_at_first():
    net = build(design("haunet").card(scale=2, **THIN["haunet"])).net
    x = torch.rand(1, 8, 8, 8)
    for block in (net.down[0][0], net.middle[0]):
        assert torch.equal(block(x), x)


def test_transenet_takes_windows_of_any_number_of_blocks():
    net = build(design("transenet").card(scale=2, **THIN["transenet"])).net.eval()
    assert net(torch.rand(1, 1, 17, 40)).shape == (1, 1, 34, 80)
