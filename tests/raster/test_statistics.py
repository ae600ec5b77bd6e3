"""Statistics gathered while a band is written."""

import numpy as np
import pytest

from geosr.raster.statistics import Statistics

RNG = np.random.default_rng(3)


def numbers(tags: dict[str, str]) -> list[float]:
    names = ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV", "VALID_PERCENT")
    return [float(tags[f"STATISTICS_{name}"]) for name in names]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_they_are_those_of_all_values_however_they_came(dtype):
    values = RNG.uniform(1, 120, (37, 11)).astype(dtype)
    parts = Statistics()
    for top in range(0, 37, 7):
        parts.add(values[top : top + 7])
    whole = values.astype(np.float64)
    expected = [whole.min(), whole.max(), whole.mean(), whole.std(), 100]
    assert numbers(parts.tags()) == pytest.approx(expected, rel=1e-9)


def test_a_small_spread_far_from_zero_is_kept():
    values = 1e9 + RNG.normal(0, 0.01, (64, 64))
    found = Statistics()
    found.add(values)
    assert numbers(found.tags())[3] == pytest.approx(values.std(), rel=1e-4)


def test_nodata_masked_pixels_and_what_is_no_number_do_not_count():
    values = np.array([[0.0, 1.0, np.nan, 3.0], [5.0, np.inf, 100.0, 7.0]], np.float32)
    mask = np.ones(values.shape, bool)
    mask[1, 2] = False
    found = Statistics(nodata=0.0)
    found.add(values, mask)
    assert numbers(found.tags()) == pytest.approx([1, 7, 4, np.std([1, 3, 5, 7]), 50])


def test_a_band_without_a_valid_pixel_has_none():
    found = Statistics(nodata=0)
    found.add(np.zeros((5, 5), np.uint16))
    assert found.tags() == {}
