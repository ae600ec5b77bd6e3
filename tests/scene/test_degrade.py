"""The published degradation, against its test vectors and SciPy."""

import numpy as np
import pytest
from rasters import degraded
from scipy.ndimage import gaussian_filter


def test_the_published_ramp():
    found = degraded(np.arange(64.0).reshape(1, 8, 8), 2)[0]
    np.testing.assert_allclose(found[0], [4.983778, 6.930025, 8.930025, 10.876272], atol=2e-6)
    np.testing.assert_allclose(found[1], [20.553753, 22.5, 24.5, 26.446247], atol=2e-6)


def test_the_published_point():
    image = np.zeros((1, 8, 8))
    image[0, 3, 3] = 4.0
    found = degraded(image, 2)[0]
    assert found[1, 1] == pytest.approx(0.797487, abs=1e-6)
    assert found[1, 2] == found[2, 1] == pytest.approx(0.095298, abs=1e-6)
    assert found[2, 2] == pytest.approx(0.011388, abs=1e-6)
    assert found[0, 1] == pytest.approx(0.000236, abs=1e-6)
    assert found[0, 2] == pytest.approx(0.000028, abs=1e-6)


def test_factor_six_is_a_block_mean():
    image = np.zeros((1, 12, 12))
    image[0, 5, 5] = 36
    np.testing.assert_allclose(degraded(image, 6)[0], [[1, 0], [0, 0]], atol=1e-6)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_it_is_scipys_gaussian_and_a_block_mean(factor):
    image = np.random.default_rng(0).random((2, 36, 24)) * 5000
    blurred = np.stack([gaussian_filter(band, 1 / factor, mode="reflect") for band in image])
    shape = (2, 36 // factor, factor, 24 // factor, factor)
    expected = blurred.reshape(shape).mean((2, 4))
    np.testing.assert_allclose(degraded(image, factor), expected, rtol=1e-5)


def test_a_constant_stays():
    np.testing.assert_allclose(degraded(np.full((1, 12, 12), 1234.0), 2), 1234, rtol=1e-6)
