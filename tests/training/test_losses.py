"""Laws that every loss keeps, and the values of those that have published ones."""

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.training.losses import LOSSES, Criterion, images
from geosr.training.losses.criterion import PRESETS
from geosr.training.losses.frequencies import low_pass, upper_half
from geosr.training.losses.images import laplace_nll
from geosr.training.losses.perceptual import _random_pyramid, _vgg, perceptual

NAMES = sorted(LOSSES)
OPTIMA = {"charbonnier": 1e-3, "psnr": -0.6, "sam": 1.4142137e-3}  # at no error; others 0
BEST = [n for n in NAMES if n not in ("tv", "spectral-tv")]  # they do not look at the target


def patches(name, batch=2, *, seed=0, dtype=torch.float64):
    """A prediction and a target large enough for the loss, and a mask with holes."""
    rng = torch.Generator().manual_seed(seed)
    bands, side = (1, 177) if name == "ms-ssim" else (2, 32)
    prediction, noise = torch.rand(2, batch, bands, side, side, generator=rng, dtype=dtype)
    mask = torch.ones(batch, bands, side, side, dtype=torch.bool)
    mask[0, :, 3:6, 2:9] = False
    mask[-1, 0, -1, -1] = False
    return prediction, 0.8 * prediction + 0.2 * noise, mask


def mean(pair):
    total, count = pair
    return total / count


class Spread(NamedTuple):
    mean: torch.Tensor
    log_scale: torch.Tensor


@pytest.mark.parametrize("name", BEST)
def test_a_loss_is_at_its_optimum_where_prediction_and_target_are_equal(name):
    prediction, target, mask = patches(name)
    best = mean(LOSSES[name](target, target, mask)).item()
    assert best == pytest.approx(OPTIMA.get(name, 0.0), abs=1e-9)
    assert mean(LOSSES[name](prediction, target, mask)).item() > best


@pytest.mark.parametrize("name", NAMES)
def test_masked_pixels_change_neither_the_value_nor_the_gradient(name):
    prediction, target, mask = patches(name)
    values = []
    for junk in (0.5, float("nan"), float("inf")):
        x = torch.where(mask, prediction, junk).requires_grad_()
        total, count = LOSSES[name](x, torch.where(mask, target, -junk), mask)
        total.backward()
        assert x.grad.isfinite().all() and (x.grad[~mask] == 0).all()
        values.append((total.detach(), count, x.grad))
    for other in values[1:]:
        assert all(torch.equal(a, b) for a, b in zip(values[0], other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_sums_and_counts_of_two_half_batches_add_up_to_the_whole(name):
    prediction, target, mask = patches(name, batch=2)
    total, count = LOSSES[name](prediction, target, mask)
    halves = [
        LOSSES[name](prediction[i : i + 1], target[i : i + 1], mask[i : i + 1]) for i in (0, 1)
    ]
    torch.testing.assert_close(sum(s for s, _ in halves), total)
    assert sum(n for _, n in halves) == count


@pytest.mark.parametrize("name", NAMES)
def test_nothing_valid_is_a_sum_and_a_count_of_zero_and_no_gradient(name):
    prediction, target, mask = patches(name)
    prediction.requires_grad_()
    criterion = Criterion.parse(name)
    terms = criterion.terms(prediction, target, torch.zeros_like(mask))
    assert [(s.item(), n.item()) for _, s, n in terms] == [(0, 0)]
    criterion.weighted(terms).backward()
    assert (prediction.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_with_and_without_an_error(name):
    prediction, target, mask = patches(name, dtype=torch.float32)
    for start in (prediction, target, torch.zeros_like(target)):
        x = start.clone().requires_grad_()
        total, _ = LOSSES[name](x, target, mask[:, :1])
        total.backward()
        assert total.isfinite() and x.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_net_that_gives_nan_is_not_taken_for_a_good_one(name):
    prediction, target, mask = patches(name)
    prediction[0, :, 16, 16] = float("nan")
    assert mean(LOSSES[name](prediction, target, mask)).isnan()


def test_half_precision_is_summed_in_single_precision():
    prediction, target, mask = patches("l1")
    total, count = images.l1(prediction.bfloat16(), target.bfloat16(), mask)
    assert total.dtype == count.dtype == torch.float32


def test_dssim_has_the_published_value_of_the_test_pattern():
    i, j = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    x = ((7 * i + 3 * j) % 17).double() / 17
    y = 0.9 * x + 0.05 + 0.02 * (((i + j) % 3).double() - 1)
    x, y = x[None, None], y[None, None]
    total, count = images.dssim(y, x, torch.ones_like(x, dtype=torch.bool))
    assert count == 22 * 22
    assert (total / count).item() == pytest.approx(0.003593309587, abs=1e-10)


def test_a_masked_pixel_takes_its_windows_out_of_dssim():
    prediction, target, mask = patches("dssim", batch=1)
    mask[:] = True
    mask[:, :, 0, 0] = False  # in the first window alone
    _, count = images.dssim(prediction, target, mask)
    assert count == 2 * (22 * 22 - 1)


def test_ms_ssim_agrees_with_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    rng = torch.Generator().manual_seed(1)
    x = F.interpolate(torch.rand(2, 1, 24, 24, generator=rng), size=192, mode="bicubic")
    x = x.clamp(0, 1).double()
    y = (x + 0.05 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
    theirs = functional.multiscale_structural_similarity_index_measure(y, x, data_range=1.0)
    ours = mean(images.ms_ssim(y, x, torch.ones_like(x, dtype=torch.bool)))
    assert (1 - ours).item() == pytest.approx(theirs.item(), abs=1e-4)


@pytest.mark.parametrize("name, side", [
    ("dssim", 11), ("ms-ssim", 176), ("registered", 12), ("low-l1", 13),
    ("high-frequency", 32),
])  # fmt: skip
def test_patches_too_small_for_a_loss_are_refused(name, side):
    image = torch.rand(1, 1, side, side)
    mask = torch.ones_like(image, dtype=torch.bool)
    assert LOSSES[name](image, image, mask)[1] > 0
    with pytest.raises(UsageError, match=f"at least {side} × {side} .* found {side - 1} × {side}"):
        LOSSES[name](image[..., 1:, :], image[..., 1:, :], mask[..., 1:, :])


def test_one_band_has_no_spectral_angle():
    image = torch.rand(1, 1, 4, 4)
    with pytest.raises(UsageError, match="two bands"):
        images.sam(image, image, torch.ones_like(image, dtype=torch.bool))


def test_the_spectral_angle_is_that_of_the_vectors_and_skips_pixels_with_a_masked_band():
    target = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]).view(1, 2, 1, 3)
    prediction = torch.tensor([[1.0, 0.0, 5.0], [1.0, 2.0, 5.0]]).view(1, 2, 1, 3)
    mask = torch.ones(1, 2, 1, 3, dtype=torch.bool)
    mask[0, 0, 0, 2] = False
    total, count = images.sam(prediction, target, mask)
    assert count == 2
    assert total.item() == pytest.approx(torch.pi / 4 + torch.pi / 2, abs=1e-5)


def test_gradient_measures_a_ramp_by_its_slope_and_ignores_brightness():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 10
    mask = torch.ones_like(ramp, dtype=torch.bool)
    assert mean(images.gradient(ramp, torch.zeros_like(ramp), mask)).item() == pytest.approx(0.1)
    assert mean(images.gradient(ramp + 3, ramp, mask)).item() == pytest.approx(0, abs=1e-6)


def test_total_variation_is_the_steps_of_the_prediction_alone():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 10
    mask = torch.ones_like(ramp, dtype=torch.bool)
    assert mean(images.tv(ramp, torch.rand_like(ramp), mask)).item() == pytest.approx(0.1)


def test_spectral_variation_is_the_squared_step_from_band_to_band_of_the_prediction_alone():
    cube = torch.tensor([0.0, 0.3, 0.4]).view(1, 3, 1, 1).expand(2, 3, 4, 5)
    mask = torch.ones_like(cube, dtype=torch.bool)
    found = mean(images.spectral_tv(cube, torch.rand_like(cube), mask)).item()
    assert found == pytest.approx((0.09 + 0.01) / 2)
    with pytest.raises(UsageError, match="at least two bands"):
        images.spectral_tv(cube[:, :1], cube[:, :1], mask[:, :1])


def test_psnr_is_minus_a_hundredth_of_the_decibels():
    target = torch.zeros(2, 1, 8, 8)
    prediction = torch.full_like(target, 0.1)  # 20 dB
    total, count = images.psnr(prediction, target, torch.ones_like(target, dtype=torch.bool))
    assert (total.item(), count.item()) == (pytest.approx(-0.4, abs=1e-5), 2)


def waves(cycles):
    """A wave along the rows, of so many cycles per pixel."""
    return torch.cos(2 * torch.pi * cycles * torch.arange(96.0)).expand(1, 1, 96, 96).double()


def test_low_frequencies_pass_and_high_ones_do_not():
    inner = (..., slice(8, -8), slice(8, -8))
    for cycles, share in [(0, 1), (0.125, 1), (0.25, 0.5), (0.4, 0), (0.5, 0)]:
        slow = low_pass(waves(cycles))[inner]
        assert (slow - share * waves(cycles)[inner]).abs().max() < 0.05, cycles


def test_low_l1_leaves_high_frequencies_free():
    mask = torch.ones(1, 1, 96, 96, dtype=torch.bool)
    truth = waves(0.05)
    for detail, wanted in [(waves(0.45), 0), (waves(0.05), 2 / torch.pi)]:
        assert mean(LOSSES["low-l1"](truth + detail, truth, mask)) == pytest.approx(
            wanted, abs=0.04
        )


def test_the_upper_half_has_neither_what_is_coarse_nor_the_corners():
    inner = (..., slice(8, -8), slice(8, -8))
    both = waves(0.5) * waves(0.5).mT  # 0.71 cycles per pixel along the diagonal
    for x, share in [(waves(0), 0), (waves(0.15), 0), (waves(0.375), 1), (both, 0)]:
        assert (upper_half(x) - share * x)[inner].abs().max() < 0.07


def test_high_frequency_is_the_decibels_of_detail_wherever_it_lies():
    mask = torch.ones(1, 1, 96, 96, dtype=torch.bool)
    rng = torch.Generator().manual_seed(0)
    detail, other = (torch.randn(1, 1, 96, 96, generator=rng).double() for _ in range(2))
    loss = LOSSES["high-frequency"]
    assert mean(loss(detail + 0.3, detail, mask)) == pytest.approx(0, abs=1e-9)
    assert mean(loss(detail / 2, detail, mask)) == pytest.approx(math.log(4) ** 2, rel=1e-3)
    assert mean(loss(other, detail, mask)) < 0.05  # a decibel


def test_registered_finds_a_shifted_and_brightened_truth():
    target = torch.rand(2, 2, 24, 24, dtype=torch.float64)
    gain = torch.tensor([0.1, -0.3]).view(1, 2, 1, 1)
    prediction = torch.roll(target, (2, -3), (2, 3)) + gain
    mask = torch.ones_like(target, dtype=torch.bool)
    assert mean(images.registered(prediction, target, mask)).item() == pytest.approx(0, abs=1e-12)
    too_far = torch.roll(target, (4, 0), (2, 3))
    assert mean(images.registered(too_far, target, mask)).item() > 0.1


def test_every_sample_is_registered_by_itself():
    target = torch.rand(2, 1, 24, 24, dtype=torch.float64)
    prediction = torch.stack([target[0].roll(1, 1), target[1].roll(-2, 2)])
    total, count = images.registered(prediction, target, torch.ones_like(target, dtype=torch.bool))
    assert (total.item(), count.item()) == (pytest.approx(0, abs=1e-12), 2)


def test_laplace_is_likeliest_where_the_scale_is_the_error():
    error, target = 0.2, torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    scale = torch.tensor(error).double().log().expand_as(target).clone().requires_grad_()
    total, count = laplace_nll(target + error, scale, target, mask)
    total.backward()
    assert count == target.numel()
    torch.testing.assert_close(scale.grad, torch.zeros_like(scale), atol=1e-6, rtol=0)


def test_masked_scales_do_not_matter():
    target, mask = torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[..., 0] = False
    scale = torch.where(mask, 0.0, torch.nan)
    assert laplace_nll(target + 1, scale, target, mask)[0] == 12


def test_the_random_features_are_the_same_everywhere_and_leave_random_numbers_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    _random_pyramid.cache_clear()
    image = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    mask = torch.ones_like(image, dtype=torch.bool)
    value = mean(perceptual(image, image.square(), mask)).item()
    assert torch.equal(torch.get_rng_state(), before)
    assert value == pytest.approx(0.24262, rel=1e-4)


def test_a_text_is_a_weighted_sum():
    prediction, target, mask = patches("l1")
    criterion = Criterion.parse("l1 + 1e+1*mse+0.5*dssim")
    terms = criterion.terms(prediction, target, mask)
    assert [weight for weight, _, _ in terms] == [1, 10, 0.5]
    parts = [mean(f(prediction, target, mask)) for f in (images.l1, images.mse, images.dssim)]
    expected = parts[0] + 10 * parts[1] + 0.5 * parts[2]
    torch.testing.assert_close(criterion.weighted(terms), expected)


def test_totals_take_the_place_of_a_parts_own_counts():
    prediction, target, mask = patches("l1")
    criterion = Criterion.parse("l1+dssim")
    whole = criterion.terms(prediction, target, mask)
    totals = [count for _, _, count in whole]
    halves = [
        criterion.weighted(criterion.terms(*(x[i : i + 1] for x in (prediction, target, mask))),
                           totals)
        for i in (0, 1)
    ]  # fmt: skip
    torch.testing.assert_close(halves[0] + halves[1], criterion.weighted(whole))


def test_presets_stand_for_the_published_sums():
    names = {text: [(w, n) for w, n, _ in Criterion.parse(text).parts] for text in PRESETS}
    assert names == {
        "dual-edsr": [(1, "l1"), (1, "psnr")],
        "enhanced": [(1, "l1"), (0.1, "perceptual")],
    }
    assert [w for w, _, _ in Criterion.parse("2*enhanced+tv").parts] == [2, 0.2, 1]


def test_every_level_of_a_pyramid_meets_the_target_averaged_to_its_size():
    target = torch.rand(1, 2, 8, 8)
    target[0, 0, 0, 0] = torch.nan
    mask = target.isfinite()
    levels = [F.avg_pool2d(target.nan_to_num(9), k) for k in (4, 2)] + [target.nan_to_num(9)]
    terms = Criterion.parse("l1+mse").terms(levels, target, mask)
    assert [count.item() for _, _, count in terms] == [7, 7, 31, 31, 127, 127]
    assert all(total.item() == pytest.approx(0, abs=1e-5) for _, total, _ in terms)


def test_an_uncertain_output_is_judged_by_its_mean_and_laplace_takes_both():
    prediction, target, mask = patches("l1")
    output = Spread(prediction, torch.zeros_like(prediction))
    terms = Criterion.parse("laplace-nll+l1").terms(output, target, mask)
    torch.testing.assert_close(terms[0][1], terms[1][1])  # at log scale 0
    with pytest.raises(UsageError, match="gives an uncertainty"):
        Criterion.parse("laplace-nll").terms(prediction, target, mask)


@pytest.mark.parametrize(
    "text, hint",
    [
        ("l1+dsim", "Did you mean dssim"),
        ("ms_ssim", "Did you mean ms-ssim"),
        ("charbonier", "Did you mean charbonnier"),
        ("enhance", "Did you mean enhanced"),
        ("nonsense", "known: l1, mse"),
        ("l1:file", "unknown loss"),
        ("l1++mse", "unknown loss ''"),
        ("x*l1", "'x' is no weight"),
        ("-1*l1", "no weight above 0"),
        ("nan*l1", "no weight above 0"),
    ],
)
def test_a_typo_lists_the_losses_and_suggests_one(text, hint):
    with pytest.raises(UsageError, match=hint):
        Criterion.parse(text)


def vgg_state():
    """Torchvision's names and sizes, thin numbers: zeros but for a few."""
    torch.manual_seed(0)
    state = {f"features.{k}": torch.zeros_like(v) for k, v in _vgg().state_dict().items()}
    for value in state.values():
        value.flatten()[:9] = torch.rand(9) - 0.2
    return state


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_perceptual_reads_vgg_features_from_a_file(tmp_path, suffix):
    state = vgg_state() | {"classifier.0.bias": torch.zeros(3)}
    assert {"features.0.weight", "features.34.bias"} <= state.keys() and len(state) == 33
    path = tmp_path / f"vgg{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    criterion = Criterion.parse(f"l1+0.1*perceptual:{path}")
    image, other = torch.rand(2, 1, 2, 16, 16)
    mask = torch.ones_like(image, dtype=torch.bool)
    terms = criterion.terms(image, other, mask)
    assert [(w, n.item()) for w, _, n in terms] == [(1, 512), (0.1, 2)]
    assert terms[1][1] > 0 and criterion.terms(image, image, mask)[1][1] == 0


def test_perceptual_without_its_file_or_with_another_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match=r"no file .*missing\.pth"):
        Criterion.parse(f"perceptual:{tmp_path / 'missing.pth'}")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UsageError, match=r"lacks 'features\.0\.weight'"):
        Criterion.parse(f"perceptual:{tmp_path / 'other.pth'}")
    (tmp_path / "damaged.pth").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="cannot read"):
        Criterion.parse(f"perceptual:{tmp_path / 'damaged.pth'}")
    wrong = {name: value[..., :1] for name, value in vgg_state().items()}
    torch.save(wrong, tmp_path / "wrong.pth")
    with pytest.raises(UsageError, match="cannot read"):
        Criterion.parse(f"perceptual:{tmp_path / 'wrong.pth'}")


def test_perceptual_takes_the_features_of_a_geosr_net(tmp_path):
    """Three layers before the upsampling, whose features follow edges; several bands together."""
    from nets import checkpoint

    path = checkpoint(tmp_path / "net.safetensors", "edsr-baseline")
    ((_, _, loss),) = Criterion.parse(f"perceptual:{path}").parts
    x, y = torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24, 24)
    mask = torch.ones(2, 1, 24, 24, dtype=torch.bool)
    shapes = [tuple(f.shape) for f in loss.features(x)]
    assert shapes == [
        (6, 8, 24, 24),
        (6, 8, 24, 24),
        (6, 32, 24, 24),
    ]  # the last before the shuffle
    assert loss(x, x, mask)[0] == 0
    x.requires_grad_()
    total, n = loss(x, y, mask)
    total.backward()
    assert float(n) == 6 and float(x.grad.abs().sum()) > 0
    several = checkpoint(tmp_path / "three.safetensors", "edsr-baseline", bands=3)
    ((_, _, loss),) = Criterion.parse(f"perceptual:{several}").parts
    assert float(loss(x, y, mask)[1]) == 2
    with pytest.raises(UsageError, match="takes 3 bands, found 1.*--bands 3"):
        loss(x[:, :1], y[:, :1], mask)
    guided = checkpoint(tmp_path / "misr.safetensors", "dual-edsr")
    with pytest.raises(UsageError, match="several images"):
        Criterion.parse(f"perceptual:{guided}")


def test_a_perceptual_net_takes_the_place_of_the_plain_features():
    from geosr.training.losses.criterion import with_features

    assert with_features("l1+0.1*perceptual", Path("a.st")) == "l1+0.1*perceptual:a.st"
    with pytest.raises(UsageError, match="no perceptual term"):
        with_features("l1+perceptual:b.st", Path("a.st"))


def test_plain_features_are_made_louder_and_no_others():
    from geosr.training.losses.criterion import louder

    assert louder("1e+3*mse+1e-5*perceptual", 10) == "1e+3*mse+0.0001*perceptual"
    assert louder("perceptual+0.1*perceptual:encoder", 3) == "3*perceptual+0.1*perceptual:encoder"
