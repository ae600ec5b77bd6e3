"""The most probable image of several frames, and whom it believes where they disagree."""

import pytest
import torch
from sampled_frames import error, series

from geosr.models.nets.multi.agreement import agreeing, usual
from geosr.models.nets.multi.fusion import Sampling, back_projected
from geosr.models.nets.multi.regularised import conjugate_gradients, laplacian, most_probable
from geosr.models.registry import build, design


def fused(name, *frames):
    return build(design(name).card()).net(*frames)


def test_conjugate_gradients_solve_a_system_exactly_in_as_many_steps_as_it_has_unknowns():
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(2, 1, 6, 6, generator=rng, dtype=torch.float64)
    matrix = root @ root.mT + torch.eye(6, dtype=torch.float64)
    truth = torch.randn(2, 1, 6, 1, generator=rng, dtype=torch.float64)
    found = conjugate_gradients(
        lambda x: matrix @ x, matrix @ truth, torch.zeros_like(truth), steps=6
    )
    torch.testing.assert_close(found, truth)


def test_the_laplacian_is_its_own_transpose_and_of_a_constant_nothing():
    a, b = torch.rand(2, 1, 1, 7, 5)
    torch.testing.assert_close((laplacian(a) * b).sum(), (a * laplacian(b)).sum())
    assert not laplacian(torch.full((1, 1, 4, 4), 3.0)).any()


def test_a_constant_series_gives_the_constant():
    _, frames, clear, shifts = series(5)
    result = most_probable(torch.full_like(frames, 0.3), clear, shifts, 3)
    torch.testing.assert_close(result, torch.full((1, 1, 72, 72), 0.3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.04])
def test_it_beats_back_projection_whatever_the_noise_and_gains_with_frames(noise):
    errors = []
    for count in (2, 4, 9, 16):
        truth, *frames = series(count, noise=noise)
        errors.append(error(most_probable(*frames, 3), truth))
        assert errors[-1] < error(back_projected(*frames, 3), truth)
    assert errors == sorted(errors, reverse=True)


def test_more_noise_makes_a_smoother_image():
    _, *few = series(9, noise=0.002)
    _, *many = series(9, noise=0.04)
    assert float(laplacian(most_probable(*many, 3)).std()) < float(
        laplacian(most_probable(*few, 3)).std()
    )


def test_mirrored_margins_that_are_not_clear_do_not_count_as_noise():
    truth, frames, clear, shifts = series(6, noise=0.003)
    clear[..., :6, :] = 0
    spoiled = frames.clone()
    spoiled[..., :6, :] = frames[..., 6:12, :].flip(-2)
    plain, other = (most_probable(x, clear, shifts, 3) for x in (frames, spoiled))
    rows = slice(36, None)
    assert error(other[..., rows, :], truth[..., rows, :]) < 1.05 * error(
        plain[..., rows, :], truth[..., rows, :]
    )


def test_of_changing_ground_the_first_frames_is_shown():
    truth, frames, clear, shifts = series(7, noise=0.003)
    burnt = truth.clone()
    burnt[..., 24:42, 24:48] -= 0.1
    frames[:, 2:5] = Sampling((24, 24), 3, shifts).see(burnt)[:, 2:5]
    plain, agreed = (fused(name, frames, clear, shifts) for name in ("map", "map-reference"))
    assert error(agreed, truth) < 0.6 * error(plain, truth)


def test_a_cloud_that_no_mask_tells_does_little_harm():
    truth, frames, clear, shifts = series(7, noise=0.003)
    frames[:, 3, :, 8:16, 8:16] += 0.2
    plain, agreed = (fused(name, frames, clear, shifts) for name in ("map", "map-reference"))
    assert error(agreed, truth) < 0.5 * error(plain, truth)


def test_where_nothing_changes_all_frames_weigh_much():
    truth, frames, clear, shifts = series(9, noise=0.01)
    same, weights = agreeing(frames, clear, shifts, 3)
    assert float(weights[:, 1:].mean()) > 0.5
    assert float((same - frames).abs().mean()) < 0.01
    plain, agreed = (fused(name, frames, clear, shifts) for name in ("map", "map-reference"))
    assert error(agreed, truth) < 1.1 * error(plain, truth)


def test_what_most_frames_show_is_shown_whichever_comes_first():
    truth, frames, clear, shifts = series(9, noise=0.003)
    burnt = truth.clone()
    burnt[..., 24:42, 24:48] -= 0.1
    frames[:, :3] = Sampling((24, 24), 3, shifts).see(burnt)[:, :3]
    plain, robust = (fused(name, frames, clear, shifts) for name in ("map", "map-robust"))
    assert error(robust, truth) < 0.6 * error(plain, truth)


def test_where_nothing_changes_robust_weights_cost_next_to_nothing():
    truth, frames, clear, shifts = series(9, noise=0.01)
    same, weights = usual(frames, clear, shifts, 3)
    assert same is frames and float(weights.mean()) > 0.7 and float(weights.max()) <= 1
    plain, robust = (fused(name, frames, clear, shifts) for name in ("map", "map-robust"))
    assert error(robust, truth) < 1.05 * error(plain, truth)


@pytest.mark.parametrize("rule", [agreeing, usual])
def test_agreeing_frames_keep_their_masks(rule):
    _, frames, clear, shifts = series(5)
    clear[:, 2, :, 4:12, 4:12] = 0
    _, weights = rule(frames, clear, shifts, 3)
    assert not weights[clear == 0].any() and bool((weights[clear > 0] > 0).all())
    assert float(weights.max()) <= 1


@pytest.mark.parametrize("rule", [agreeing, usual])
def test_frames_that_are_nowhere_clear_do_not_make_the_others_weigh_less(rule):
    _, frames, clear, shifts = series(4, noise=0.01)
    _, alone = rule(frames, clear, shifts, 3)
    padded = torch.cat([frames, frames[:, :1].expand(-1, 6, -1, -1, -1)], 1)
    covered = torch.cat([clear, torch.zeros_like(clear[:, :1]).expand(-1, 6, -1, -1, -1)], 1)
    _, weights = rule(padded, covered, torch.cat([shifts, shifts.new_zeros(1, 6, 2)], 1), 3)
    torch.testing.assert_close(weights[:, :4], alone, atol=0.02, rtol=0)
    assert not weights[:, 4:].any()
