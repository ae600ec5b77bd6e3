"""Detail: sharp is told from right."""

import numpy as np
import pytest

from geosr.metrics.detail import FIGURES, detail, power_ratio

RNG = np.random.default_rng(0)
TRUTH = RNG.normal(1000, 100, (2, 64, 64))
FLAT = np.full_like(TRUTH, 1000.0)


def test_the_truth_itself_is_sharp_and_right():
    assert power_ratio(TRUTH, TRUTH) == pytest.approx(1)
    found = detail(TRUTH, TRUTH, FLAT)
    assert [found[k] for k in FIGURES[1:]] == pytest.approx([1, 1, 0, 0])


def test_the_input_lacks_everything_and_other_noise_is_invented():
    none = detail(FLAT, TRUTH, FLAT)
    assert [none[k] for k in FIGURES[1:]] == pytest.approx([0, 0, 1, 0])
    other = FLAT + RNG.normal(0, 100, TRUTH.shape)
    assert power_ratio(other, TRUTH) == pytest.approx(1, abs=0.05)  # as sharp, and wrong
    found = detail(other, TRUTH, FLAT)
    assert abs(found["detail_gain"]) < 0.05
    assert found["detail_invented"] == pytest.approx(found["detail_missing"], abs=0.02)
    assert found["detail_right"] < 0.25


def test_half_the_detail_has_a_quarter_of_the_power_and_half_is_missing():
    half = FLAT + (TRUTH - FLAT) / 2
    assert power_ratio(half, TRUTH) == pytest.approx(0.25, rel=1e-6)
    found = detail(half, TRUTH, FLAT)
    assert [found[k] for k in FIGURES[1:]] == pytest.approx([0.5, 0.5, 0.5, 0])
    double = FLAT + (TRUTH - FLAT) * 2
    assert detail(double, TRUTH, FLAT)["detail_invented"] == pytest.approx(0.5)


def test_only_the_upper_half_of_frequencies_counts():
    """A wave of six pixels a period lies below it, one of three above."""
    cols = np.arange(64)
    for period, ratio in ((6, 1.0), (3, 4.0)):
        wave = 50 * np.sin(2 * np.pi * cols / period)
        base = np.sin(2 * np.pi * cols / 3) * 50
        truth = np.broadcast_to(base, (1, 64, 64)) + 0.0
        assert power_ratio(truth + wave, truth) == pytest.approx(ratio, rel=0.01)


def test_nothing_to_tell_is_none():
    assert power_ratio(TRUTH, FLAT) is None
    assert set(detail(FLAT, FLAT, FLAT).values()) == {None}
