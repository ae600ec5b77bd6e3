"""Nets for several images: counts, frames that are absent or in another order, uncertainty."""

from dataclasses import replace

import pytest
import torch

from geosr.models.card import Input, Uncertain
from geosr.models.nets.multi.frames import anchor
from geosr.models.nets.transformer import in_parts
from geosr.models.registry import build, design

COUNTS = {"highres-net": 591_818, "tr-misr": 386_191, "piunet": 828_355, "rams": 958_129}
THIN = {
    "highres-net": {"features": 4},
    "tr-misr": {"features": 8, "heads": 2, "layers": 2, "hidden": 8},
    "piunet": {"features": 4, "blocks": 1, "reduction": 2},
    "rams": {"features": 4, "blocks": 1, "reduction": 2},
}


def thin(name, scale=3, bands=1):
    torch.manual_seed(0)
    return build(design(name).card(scale=scale, bands=bands, **THIN[name])).net.eval()


def series(frames, *size, bands=1):
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(2, frames, bands, *size, generator=generator)
    return values, torch.ones(2, frames, 1, *size)


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    assert build(design(name).card(scale=3)).parameters == COUNTS[name]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3)])
def test_every_size_comes_out_exactly_scaled(name, size):
    assert set(design(name).reach) == {2, 3, 4}
    for scale in design(name).reach:
        net = thin(name, scale, bands=2)
        out = net(*series(9, *size, bands=2))
        assert out.shape == (2, 2, size[0] * scale, size[1] * scale)
        assert out.isfinite().all()


@pytest.mark.parametrize("name", ["highres-net", "tr-misr", "piunet"])
@pytest.mark.parametrize("frames", [1, 2, 5, 12])
def test_any_number_of_frames_will_do(name, frames):
    assert thin(name)(*series(frames, 4, 3)).shape == (2, 1, 12, 9)


@pytest.mark.parametrize("name", ["highres-net", "tr-misr"])
@pytest.mark.parametrize("absent", [[6], [0], [0, 3], [1, 2, 4, 5, 6]])
def test_frames_without_a_clear_pixel_change_nothing(name, absent):
    net = thin(name)
    frames, clear = series(7, 6, 5)
    clear[:, 0, :, :2] = 0  # clouds elsewhere are no absence
    clear[:, absent] = 0
    frames[:, absent] *= 50
    there = [t for t in range(7) if t not in absent]
    torch.testing.assert_close(
        net(frames, clear), net(frames[:, there], clear[:, there]), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("name", COUNTS)
def test_images_of_a_batch_know_nothing_of_each_other(name):
    net = thin(name)
    frames, clear = series(9, 5, 5)
    frames[1] *= 20
    clear[0, 1], clear[1, [0, 4, 5]] = 0, 0  # each has its own absent frames
    alone = [net(frames[i : i + 1], clear[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(net(frames, clear), torch.cat(alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["highres-net", "tr-misr"])
def test_frames_that_are_there_do_matter(name):
    net = thin(name)
    frames, clear = series(5, 6, 6)
    for t in range(5):
        other = frames.clone()
        other[:, t] += 0.5
        assert (net(other, clear) - net(frames, clear)).abs().max() > 1e-4


@pytest.mark.parametrize("name", ["highres-net", "tr-misr"])
def test_without_any_clear_pixel_the_result_is_still_finite(name):
    frames, clear = series(3, 4, 4)
    assert thin(name)(frames, torch.zeros_like(clear)).isfinite().all()


@pytest.mark.parametrize("name", ["piunet", "tr-misr"])
def test_the_order_of_the_frames_is_of_no_matter(name):
    net = thin(name, bands=2)
    frames, clear = series(8, 5, 6, bands=2)
    clear[:, 2, :, 1:] = 0
    order = torch.tensor([3, 0, 7, 5, 1, 6, 2, 4])
    torch.testing.assert_close(
        net(frames[:, order], clear[:, order]), net(frames, clear), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_piunet_gives_its_uncertainty_in_training_and_the_mean_alone_otherwise(scale):
    net = thin("piunet", scale, bands=2)
    out = net.train()(*series(3, 4, 5, bands=2))
    assert isinstance(out, Uncertain)
    assert out.mean.shape == out.log_scale.shape == (2, 2, 4 * scale, 5 * scale)
    out.log_scale.sum().backward()  # the log-scale is no function of the mean's own layer
    assert net.mean.weight.grad is None
    assert isinstance(net.eval()(*series(3, 4, 5, bands=2)), torch.Tensor)


def test_without_a_residual_piunet_is_the_mean_of_the_frames_bilinear():
    net = thin("piunet", 3)
    torch.nn.init.zeros_(net.mean.weight)
    torch.nn.init.zeros_(net.mean.bias)
    frames, clear = series(4, 5, 5)
    expected = torch.nn.functional.interpolate(frames.mean(1), scale_factor=3, mode="bilinear")
    torch.testing.assert_close(net(frames, clear), expected)


def test_rams_takes_the_number_of_frames_it_was_built_for():
    card = design("rams").card(**THIN["rams"])
    with pytest.raises(ValueError, match="built for 9 images, got 5"):
        build(card).net(*series(5, 4, 4))
    for frames in (3, 5):
        other = replace(card, inputs=(Input(3, card.bands, frames),))
        assert build(other).net(*series(frames, 4, 4)).shape == (2, 1, 12, 12)
    for frames in (1, 4):
        with pytest.raises(ValueError, match=f"odd number of images from 3 on, not {frames}"):
            build(replace(card, inputs=(Input(3, card.bands, frames),)))


def test_the_anchor_is_the_median_of_the_first_nine_clear_values():
    frames = torch.arange(12.0).flip(0).view(1, 12, 1, 1, 1).repeat(1, 1, 1, 1, 3)
    clear = torch.ones(1, 12, 1, 1, 3)
    clear[0, :4, ..., 1] = 0  # 7 … 0 are left
    clear[..., 2] = 0  # none: as if all were
    assert anchor(frames, clear).flatten().tolist() == [7.0, 3.5, 7.0]


def test_pixels_in_parts_are_the_pixels_at_once(monkeypatch):
    monkeypatch.setattr("geosr.models.nets.transformer._PART", 3)
    x, factor = torch.rand(7, 2), torch.rand(7, 1)
    torch.testing.assert_close(in_parts(torch.mul, x, factor), x * factor)
