"""Laws of blending: identity through it, weights that sum to one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.inference.blend import Blender
from geosr.inference.tiles import TileGrid
from geosr.raster.window import Window


def blended(image, size, scale, ramp):
    """Cut an image into tiles with `ramp` more pixels around, and join them again."""
    height, width = (n // scale for n in image.shape[1:])
    grid = TileGrid(Window(0, 0, height, width), size)
    blender = Blender(grid, scale, ramp)
    padded = np.pad(image, ((0, 0), *[(ramp * scale, ramp * scale)] * 2), "symmetric")
    rows = []
    for strip in grid.strips():
        parts = []
        for tile in strip:
            at = tile.window.grow(ramp).at(scale).shift(ramp * scale, ramp * scale)
            rows_at, cols_at = at.within(Window(0, 0, 0, 0))
            parts.append((tile, padded[:, rows_at, cols_at]))
        rows.append(blender.add(parts))
    return np.concatenate(rows, axis=1)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(5, 30), st.sampled_from([1, 2, 6]))
def test_cut_tiles_join_to_the_image(height, width, size, scale):
    image = np.random.default_rng(0).random((2, height * scale, width * scale), np.float32)
    np.testing.assert_array_equal(blended(image, size, scale, 0), image)


@pytest.mark.parametrize("ramp", [1, 2, 4])
@pytest.mark.parametrize("shape", [(9, 40), (33, 10), (40, 37), (3, 3)])
def test_weights_of_ramps_sum_to_one_at_every_pixel(shape, ramp):
    ones = np.ones((1, *(2 * n for n in shape)), np.float32)
    np.testing.assert_allclose(blended(ones, 12, 2, ramp), 1, atol=1e-6)


def test_a_ramp_joins_tiles_that_agree_without_a_trace():
    image = np.random.default_rng(1).random((3, 60, 44), np.float32)
    np.testing.assert_allclose(blended(image, 13, 2, 3), image, atol=1e-6)
