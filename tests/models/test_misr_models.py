"""Nets for several images: counts, frames that are absent or in another order, uncertainty."""

from dataclasses import replace

import pytest
import torch

from geosr.errors import UsageError
from geosr.models.card import Input, Uncertain
from geosr.models.nets.multi.frames import anchor, fused_in_pairs, mended
from geosr.models.nets.multi.recursive import Pair
from geosr.models.nets.transformer import in_parts
from geosr.models.registry import build, design

COUNTS = {
    "highres-net": 591_818, "tr-misr": 386_191, "piunet": 828_355, "rams": 958_129,
    "deepsum": 1_045_330, "3dwdsr": 329_328, "misr-gru": 923_468,
    "recursive": 1_552_193 + 105,  # SRResNet × 3 for a band, and the fusion of one
    "worldstrat": 128 * (9 + 1) + 128 * (8 * 1152 + 1) + 4 * 128 * (1152 + 1) + 6
    + 33 * 32 + 33 + 2,
}  # fmt: skip
THIN = {
    "highres-net": {"features": 4},
    "tr-misr": {"features": 8, "heads": 2, "layers": 2, "hidden": 8},
    "piunet": {"features": 4, "blocks": 1, "reduction": 2},
    "rams": {"features": 4, "blocks": 1, "reduction": 2},
    "deepsum": {"features": 4, "blocks": 2},
    "3dwdsr": {"features": 4, "blocks": 2},
    "misr-gru": {"features": 4},
    "recursive": {"features": 4, "blocks": 1},
    "worldstrat": {"features": 8},
    "dual-edsr": {"features": 4, "blocks": 1},
    "rrdb-series": {"features": 8, "blocks": 1},
    "srresnet-series": {"features": 8, "blocks": 1},
}
RECURSIVE = ["highres-net", "tr-misr", "misr-gru", "recursive"]  # leave absent frames out


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
        out = net(*series(design(name).frames, *size, bands=2))
        assert out.shape == (2, 2, size[0] * scale, size[1] * scale)
        assert out.isfinite().all()


@pytest.mark.parametrize("name", [*RECURSIVE, "piunet"])
@pytest.mark.parametrize("frames", [1, 2, 5, 12])
def test_any_number_of_frames_will_do(name, frames):
    assert thin(name)(*series(frames, 4, 3)).shape == (2, 1, 12, 9)


@pytest.mark.parametrize("name", RECURSIVE)
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
    frames, clear = series(design(name).frames, 5, 5)
    frames[1] *= 20
    clear[0, 1], clear[1, [0, 2, 3]] = 0, 0  # each has its own absent frames
    alone = [net(frames[i : i + 1], clear[i : i + 1]) for i in range(2)]
    torch.testing.assert_close(net(frames, clear), torch.cat(alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", RECURSIVE)
def test_frames_that_are_there_do_matter(name):
    net = thin(name)
    frames, clear = series(5, 6, 6)
    for t in range(5):
        other = frames.clone()
        other[:, t] += 0.5
        assert (net(other, clear) - net(frames, clear)).abs().max() > 1e-4


@pytest.mark.parametrize("name", RECURSIVE)
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


@pytest.mark.parametrize("name", ["rams", "deepsum", "3dwdsr"])
def test_nets_that_shrink_their_frames_take_the_number_they_were_built_for(name):
    card = design(name).card(**THIN[name])
    with pytest.raises(ValueError, match=f"built for {card.frames} images, got 5"):
        build(card).net(*series(5, 4, 4))
    for frames in (3, 5):
        other = replace(card, inputs=(Input(3, card.bands, frames),))
        assert build(other).net(*series(frames, 4, 4)).shape == (2, 1, 12, 12)
    for frames in (1, 4):
        with pytest.raises(
            (ValueError, UsageError), match=f"odd number of images from 3 on, not {frames}"
        ):
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


def test_recursive_begins_as_the_mean_of_its_frames():
    frames = torch.rand(2, 4, 3, 5, 6)
    fused = fused_in_pairs(frames, torch.ones(2, 4, dtype=torch.bool), Pair(3).eval())
    torch.testing.assert_close(fused, frames.mean(1))


def test_the_source_s_fusion_of_three_bands_has_851_numbers():
    assert sum(p.numel() for p in Pair(3).parameters()) == 851


def test_deepsum_fills_a_frame_from_the_first_that_is_clear_there():
    x = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, 4, 2, 1, 3)
    clear = torch.ones(1, 4, 1, 1, 3, dtype=torch.bool)
    clear[:, [0, 2], ..., 1] = False
    clear[..., 2] = False  # none: each its own
    expected = torch.tensor([[0.0, 1, 0], [1, 1, 1], [2, 1, 2], [3, 3, 3]])
    assert torch.equal(mended(x, clear)[0, :, 0, 0], expected)


def test_deepsum_keeps_a_constant_where_its_residual_is_zero():
    net = thin("deepsum")
    torch.nn.init.zeros_(net.tail.weight)
    torch.nn.init.zeros_(net.tail.bias)
    frames = torch.full((1, 9, 1, 6, 7), 0.3)
    out = net(frames, torch.ones_like(frames))
    torch.testing.assert_close(out, torch.full((1, 1, 18, 21), 0.3))


def test_misr_gru_hangs_on_the_order_of_its_frames():
    net = thin("misr-gru")
    frames, clear = series(5, 6, 6)
    assert (net(frames.flip(1), clear) - net(frames, clear)).abs().max() > 1e-6


@pytest.mark.parametrize(
    "name",
    [
        "recursive",
        "worldstrat",
        "3dwdsr",
        "rams",
        "piunet",
        "dual-edsr",
        "rrdb-series",
        "srresnet-series",
    ],
)
def test_a_cloud_under_a_mask_changes_nothing(name):
    frames, clear = series(design(name).frames, 6, 6)
    clear[:, 1, :, :3] = 0
    clouded = frames + (clear == 0)
    net = thin(name)
    torch.testing.assert_close(net(clouded, clear), net(frames, clear), atol=1e-6, rtol=0)
