"""Figures without a truth: each fault is told by its own."""

import numpy as np
import pytest

from geosr.errors import UsageError
from geosr.metrics.no_reference import _resize, consistency, d_lambda, d_rho, opensr, qnr
from geosr.scene.degrade import box, shrink

SCALE = 4


def down(image):
    return shrink(image, SCALE, box(SCALE), box(SCALE), pad=0)


def smooth(rng, side, sigma):
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.fft.fft2(rng.normal(size=(side, side)))
    image = np.fft.ifft2(spectrum * np.exp(-2 * (np.pi * sigma * frequency) ** 2)).real
    return image / image.std()


@pytest.fixture(scope="module")
def truth():
    """Three bands of fields and texture, reflectance about 0.3."""
    rng = np.random.default_rng(0)
    land, texture = smooth(rng, 256, 12), smooth(rng, 256, 0.9)
    own = [smooth(rng, 256, 6) for _ in range(3)]
    mean = np.array([0.2, 0.3, 0.4])[:, None, None]
    return mean + 0.03 * land + 0.02 * texture + 0.005 * np.stack(own)


@pytest.fixture(scope="module")
def low(truth):
    return _resize(truth, (64, 64))


@pytest.fixture(scope="module")
def figures(truth, low):
    """opensr's figures of a perfect, a blurred, a shifted and a textured image."""
    invented = 0.02 * smooth(np.random.default_rng(1), 256, 0.9)
    made = {
        "perfect": truth,
        "blurred": _resize(low, (256, 256)),
        "shifted": np.roll(truth, (4, -4), (1, 2)),
        "textured": truth + 1.5 * invented,
    }
    return {name: opensr(low, sr, truth) for name, sr in made.items()}


def test_a_perfect_image_is_consistent_and_an_improvement(figures):
    perfect = figures["perfect"]
    assert perfect["reflectance"] == pytest.approx(0, abs=1e-12)
    assert perfect["spectral"] == pytest.approx(0, abs=1e-5)
    assert perfect["spatial"] == 0
    assert perfect["improvement"] > 0.9


def test_improvement_omission_and_hallucination_sum_to_one(figures):
    for found in figures.values():
        parts = [found[name] for name in ("improvement", "omission", "hallucination")]
        assert sum(parts) == pytest.approx(1)


def test_a_blurred_image_omits(figures):
    assert figures["blurred"]["omission"] > 0.5
    assert max(figures, key=lambda name: figures[name]["omission"]) == "blurred"
    assert figures["blurred"]["synthesis"] < 0.5 * figures["perfect"]["synthesis"]


def test_an_image_with_invented_texture_hallucinates(figures):
    assert max(figures, key=lambda name: figures[name]["hallucination"]) == "textured"
    assert figures["textured"]["hallucination"] > 5 * figures["blurred"]["hallucination"]
    assert figures["textured"]["improvement"] < 0.5 * figures["perfect"]["improvement"]


def test_a_shifted_image_is_told_by_its_shift_and_aligned_for_the_rest(figures):
    shifted = figures["shifted"]
    assert shifted["spatial"] == pytest.approx(2**0.5, abs=0.08)  # 4 px of 1 / 4
    assert all(figures[name]["spatial"] < 0.1 for name in figures if name != "shifted")
    assert shifted["improvement"] == pytest.approx(figures["perfect"]["improvement"], abs=0.02)


def test_a_shift_beyond_five_pixels_is_left_as_it_is(truth, low):
    assert opensr(low, np.roll(truth, 8, 1), truth)["improvement"] < 0.6


def test_a_gain_is_told_by_reflectance_and_taken_out_of_the_rest(truth, low, figures):
    found = opensr(low, 1.1 * truth, truth)
    assert found["reflectance"] == pytest.approx(0.03, rel=0.1)
    assert found["spectral"] == pytest.approx(0, abs=1e-5)
    assert found["improvement"] == pytest.approx(figures["perfect"]["improvement"], abs=1e-3)


def test_without_a_truth_there_is_no_correctness(truth, low):
    found = opensr(low, truth)
    assert set(found) == {"reflectance", "spectral", "spatial", "synthesis"}
    assert found["synthesis"] == pytest.approx(
        np.abs(truth - _resize(low, (256, 256)))[:, 16:-16, 16:-16].mean()
    )


def test_flat_and_dark_images_have_no_shift_no_angle_and_no_correctness():
    dark = np.zeros((2, 12, 12))
    found = opensr(dark, np.zeros((2, 48, 48)), np.zeros((2, 48, 48)))
    assert found["reflectance"] == found["synthesis"] == 0
    assert {key for key, value in found.items() if value is None} == {
        "spatial", "spectral", "improvement", "omission", "hallucination"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("lr", "sr", "hr", "message"),
    [
        (np.zeros((1, 12, 12)), np.zeros((1, 47, 48)), None, "sr of"),
        (np.zeros((1, 12, 12)), np.zeros((1, 48, 48)), np.zeros((2, 48, 48)), "hr of"),
        (np.zeros((1, 8, 8)), np.zeros((1, 32, 32)), None, "nothing is left"),
        (np.full((1, 12, 12), np.nan), np.zeros((1, 48, 48)), None, "NaN"),
    ],
)
def test_images_that_do_not_fit_say_so(lr, sr, hr, message):
    with pytest.raises(UsageError, match=message):
        opensr(lr, sr, hr)


def test_consistency_is_zero_when_degrading_gives_the_input_back(truth):
    found = consistency(truth, down(truth), SCALE, down, names=["B5", "B6", "B7"])
    assert found == {
        "rmse": 0, "rmse_B5": 0, "rmse_B6": 0, "rmse_B7": 0, "sam": pytest.approx(0, abs=1e-5)
    }  # fmt: skip
    assert d_lambda(truth, down(truth), SCALE, down) == pytest.approx(0, abs=1e-9)


def test_consistency_tells_which_band_is_off(truth):
    off = truth + np.array([0, 0.01, 0])[:, None, None]
    found = consistency(off, down(truth), SCALE, down)
    assert found["rmse_2"] == pytest.approx(0.01, rel=1e-4)
    assert found["rmse"] == pytest.approx(0.01 / 3, rel=1e-4)
    assert found["rmse_1"] == found["rmse_3"] == 0
    assert found["sam"] > 0.5


def test_masked_ground_does_not_count(truth):
    lr = down(truth)
    mask = np.ones((64, 64), bool)
    mask[10:20, 30:40] = False
    spoilt = truth.copy()
    spoilt[:, 40:80, 120:160] = np.nan
    clean = consistency(truth + 0.01, lr, SCALE, down, mask=mask)
    assert consistency(spoilt + 0.01, lr, SCALE, down, mask=mask) == pytest.approx(clean)
    assert set(consistency(truth, lr, SCALE, down, mask=mask & False).values()) == {None}
    found = qnr(spoilt, lr, truth[:1], SCALE, down, mask=mask)
    assert found["d_lambda"] == pytest.approx(0, abs=1e-9)
    assert 0 < found["d_rho"] < 1


def test_an_image_of_another_size_says_so(truth):
    with pytest.raises(UsageError, match="factor 4"):
        consistency(truth, truth, SCALE, down)
    with pytest.raises(UsageError, match="pads"):
        consistency(truth, down(truth), SCALE, lambda image: down(image)[:, 1:])
    with pytest.raises(UsageError, match="guide"):
        d_rho(truth, truth[:, 1:])


def test_the_local_correlation_is_that_of_every_window(truth):
    x, y = truth[0, :20, :23], truth[1, :20, :23]
    views = [np.lib.stride_tricks.sliding_window_view(z, (8, 8)).reshape(-1, 64) for z in (x, y)]
    expected = np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*views, strict=True)])
    assert d_rho(x[None], y[None])["d_rho"] == pytest.approx(1 - expected, abs=1e-9)


def test_a_band_with_the_guides_detail_has_no_spatial_distortion(truth):
    assert d_rho(0.5 * truth[:1] + 1, truth[:1])["d_rho"] == pytest.approx(0, abs=1e-9)
    assert d_rho(-truth[:1], truth[:1])["d_rho"] == pytest.approx(2, abs=1e-9)
    noise = np.random.default_rng(2).normal(size=truth[:1].shape)
    assert d_rho(noise, truth[:1])["d_rho"] == pytest.approx(1, abs=0.05)
    assert d_rho(truth, np.concatenate([noise, truth]))["d_rho"] == pytest.approx(0, abs=1e-9)


def test_flat_and_masked_windows_have_no_correlation(truth):
    flat = np.stack([truth[0], np.full((256, 256), 0.3)])
    found = d_rho(flat, truth[:1])
    assert found["d_rho_2"] is None and found["d_rho"] == found["d_rho_1"]
    assert d_rho(truth, truth, mask=np.zeros((256, 256)))["d_rho"] is None
    assert d_rho(truth[:, :7], truth[:, :7])["d_rho"] is None


def test_qnr_falls_with_either_distortion(truth):
    lr, guide = down(truth), truth[:1]
    perfect = qnr(truth, lr, guide, SCALE, down)
    assert perfect["d_lambda"] == pytest.approx(0, abs=1e-9)
    assert perfect["qnr"] == pytest.approx((1 - perfect["d_lambda"]) * (1 - perfect["d_rho"]))
    blurred = qnr(np.kron(lr, np.ones((1, 4, 4))), lr, guide, SCALE, down)
    assert blurred["d_rho"] > perfect["d_rho"] and blurred["qnr"] < perfect["qnr"]
    coloured = qnr(truth * np.array([1, 1.3, 0.8])[:, None, None], lr, guide, SCALE, down)
    assert coloured["d_lambda"] > 0.03 and coloured["qnr"] < perfect["qnr"]
    assert qnr(truth[:, :64], lr[:, :16], guide[:, :64], SCALE, down)["qnr"] is None
