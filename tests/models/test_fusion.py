"""Classical fusion of frames, and the net on top of it."""

from functools import partial

import numpy as np
import pytest
import torch
from sampled_frames import error, series

from geosr.models.card import SHIFTS
from geosr.models.nets.multi import fusion
from geosr.models.nets.multi.fusion import (
    CUBIC,
    Sampling,
    back_projected,
    cubic,
    mean,
    median,
    sampling,
    shift_and_add,
)
from geosr.models.registry import build, design
from geosr.scene import degrade

FUSIONS = ("mean", "median", "shift-and-add", "ibp")


def test_sampling_and_interpolation_keep_constants():
    shift = torch.tensor([0.0, 0.4, -1.0])
    for matrix in (sampling(8, 3, shift, 0.375), sampling(8, 3, shift, CUBIC), cubic(8, 3, shift)):
        torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:-1]))


@pytest.mark.parametrize("blur", [0.375, CUBIC])
def test_the_transpose_of_seeing_is_spreading(blur):
    sampler = Sampling((6, 5), 3, torch.tensor([[[0.3, -0.2], [0.0, 0.7]]]), blur)
    image, frames = torch.rand(1, 1, 18, 15), torch.rand(1, 2, 1, 6, 5)
    torch.testing.assert_close(
        (sampler.see(image) * frames).sum(), (sampler.gather(frames) * image).sum()
    )


def test_frames_see_through_the_taps_that_images_are_shrunk_by():
    for blur, taps in (
        (CUBIC, degrade.bicubic),
        (0.375, partial(degrade.point_spread, sigma=1.125)),
    ):
        row = sampling(8, 3, torch.tensor(0.4), blur)[4].numpy()
        expected = taps(3, shift=3 * 0.4)
        middle = 4 * 3 + 1
        around = row[middle - len(expected) // 2 : middle + len(expected) // 2 + 1]
        np.testing.assert_allclose(around, expected[: len(around)], atol=1e-4)


@pytest.mark.parametrize("fuse", [mean, median, shift_and_add, back_projected])
def test_a_constant_series_gives_the_constant(fuse):
    _, frames, clear, shifts = series(5)
    result = fuse(torch.full_like(frames, 0.3), clear, shifts, 3)
    torch.testing.assert_close(result, torch.full((1, 1, 72, 72), 0.3), atol=1e-5, rtol=0)


def test_back_projection_gains_with_frames_and_beats_the_mean():
    errors = {}
    for count in (1, 4, 16):
        truth, *rest = series(count)
        errors[count] = error(back_projected(*rest, 3), truth)
    assert errors[1] > errors[4] > errors[16]
    truth, *rest = series(16)
    assert errors[16] < 0.8 * error(mean(*rest, 3), truth)


def test_the_median_survives_an_unmasked_cloud_and_the_mean_does_not():
    truth, frames, clear, shifts = series(7, noise=0.005)
    frames[:, 3, :, 8:16, 8:16] += 0.5
    assert error(median(frames, clear, shifts, 3), truth) < error(
        mean(frames, clear, shifts, 3), truth
    )


@pytest.mark.parametrize("name", [*FUSIONS, "map", "map-reference", "map-robust"])
def test_masked_pixels_do_not_count(name):
    _, frames, clear, shifts = series(6)
    clear[:, 2, :, 4:12, 4:12] = 0
    spoiled = frames.clone()
    spoiled[:, 2, :, 4:12, 4:12] = 9.0
    net = build(design(name).card()).net
    torch.testing.assert_close(net(frames, clear, shifts), net(spoiled, clear, shifts))


@pytest.mark.parametrize("name", [*FUSIONS, "map", "map-robust", "ibp-net"])
def test_the_order_of_frames_changes_nothing(name):
    torch.manual_seed(0)
    _, frames, clear, shifts = series(6)
    model = build(design(name).card())
    inputs = {3: torch.cat([frames * 1e4, clear], 2), SHIFTS: shifts}
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    with torch.no_grad():
        one, other = model(inputs), model({key: x[:, order] for key, x in inputs.items()})
    torch.testing.assert_close(one, other, atol=0.05, rtol=0)


def test_without_a_clear_frame_there_is_a_value():
    _, frames, clear, shifts = series(3)
    for name in (*FUSIONS, "map", "map-reference", "map-robust", "ibp-net"):
        result = build(design(name).card()).net(frames, clear * 0, shifts)
        assert bool(result.isfinite().all())
        assert 0 < float(result.detach().mean()) < 1


def test_ibp_net_scales_and_shifts_with_its_frames():
    torch.manual_seed(0)
    _, frames, clear, shifts = series(5)
    net = build(design("ibp-net").card(features=8, blocks=1)).net
    torch.nn.init.normal_(net.tail.weight, std=0.1)
    with torch.no_grad():
        plain, brighter = net(frames, clear, shifts), net(2 * frames + 0.1, clear, shifts)
        assert float((plain - back_projected(frames, clear, shifts, 3, steps=4)).abs().max()) > 1e-3
    torch.testing.assert_close(brighter, 2 * plain + 0.1, atol=1e-4, rtol=0)


def test_ibp_net_begins_as_back_projection():
    _, frames, clear, shifts = series(4)
    net = build(design("ibp-net").card()).net
    with torch.no_grad():
        torch.testing.assert_close(
            net(frames, clear, shifts), back_projected(frames, clear, shifts, 3, steps=4)
        )


def test_turned_samples_keep_their_shifts_true():
    from geosr.training.datasets.windows import Sample, turn

    truth, frames, clear, shifts = series(6)
    sample = Sample(
        {3: torch.cat([frames, clear], 2)[0].numpy(), SHIFTS: shifts[0].numpy()},
        truth[0].numpy(), np.ones((1, 72, 72), bool),
    )  # fmt: skip
    errors = []
    for k in range(8):
        turned = turn(sample, k)
        x = torch.from_numpy(turned.inputs[3])[None]
        fused = fusion.back_projected(
            x[:, :, :-1], x[:, :, -1:], torch.from_numpy(turned.inputs[SHIFTS])[None], 3
        )
        errors.append(error(fused, torch.from_numpy(turned.target.copy())[None]))
    np.testing.assert_allclose(errors, errors[0], rtol=1e-3)
