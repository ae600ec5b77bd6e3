"""Filling gaps: usable pixels untouched, gaps from their neighbours, nothing from afar."""

import numpy as np

from geosr.scene.fill import fill


def test_usable_pixels_are_untouched_and_full_images_are_copied():
    values = np.random.default_rng(0).integers(1, 9000, (2, 9, 11)).astype(np.uint16)
    usable = np.ones(values.shape, bool)
    np.testing.assert_array_equal(fill(values, usable, 4), values)
    usable[:, 3:6, 4:8] = False
    filled = fill(values, usable, 4)
    np.testing.assert_array_equal(filled[usable], values[usable])


def test_constant_surroundings_fill_with_the_constant():
    values = np.full((1, 20, 20), 700, np.uint16)
    usable = np.ones(values.shape, bool)
    usable[0, 5:15, 5:15] = False
    values[~usable] = 0
    np.testing.assert_allclose(fill(values, usable, 5), 700)


def test_deeper_than_the_reach_is_zero():
    usable = np.zeros((1, 1, 30), bool)
    usable[0, 0, 0] = True
    filled = fill(np.full((1, 1, 30), 5.0), usable, 3)
    np.testing.assert_array_equal(filled[0, 0, :5], [5, 5, 5, 5, 0])


def test_a_filled_pixel_depends_on_nothing_beyond_the_reach():
    rng = np.random.default_rng(3)
    values = rng.random((1, 60, 60)).astype(np.float32)
    usable = rng.random((1, 60, 60)) > 0.7
    whole = fill(values, usable, 6)
    part = fill(values[:, 10:50, 10:50], usable[:, 10:50, 10:50], 6)
    np.testing.assert_allclose(part[:, 6:-6, 6:-6], whole[:, 16:44, 16:44], rtol=1e-6)


def test_nothing_usable_gives_zeros():
    assert not fill(np.ones((1, 4, 4)), np.zeros((1, 4, 4), bool), 8).any()
