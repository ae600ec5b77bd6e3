"""Laws of blending: identity through it, weights that sum to one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geosr.inference.blend import Blender
from geosr.inference.tiles import TileGrid
from geosr.raster.lattice import Lattice
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


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(5, 30),
    st.sampled_from([1.3, 1.7, 2.5, 10 / 3]),
    st.sampled_from([0, 1, 3]),
)
def test_at_any_scale_tiles_join_to_the_image_that_they_agree_on(extent, size, scale, ramp):
    grid = TileGrid(Window(0, 0, extent, 17), size)
    lattices = Lattice(extent, scale), Lattice(17, scale)
    image = np.random.default_rng(0).random((1, *map(len, lattices)), np.float32)
    blender, rows = Blender(grid, scale, ramp), []
    for strip in grid.strips():
        parts = []
        for tile in strip:
            at = [
                np.arange(lattice.edge(span.start - ramp), lattice.edge(span.stop + ramp) + 1)
                for span, lattice in zip(
                    (grid.rows[tile.row], grid.cols[tile.col]), lattices, strict=True
                )
            ]  # one more than is needed, and what lies beyond the image
            at = [np.clip(i, 0, len(lattice) - 1) for i, lattice in zip(at, lattices, strict=True)]
            parts.append((tile, image[:, at[0][:, None], at[1]]))
        rows.append(blender.add(parts))
    np.testing.assert_allclose(np.concatenate(rows, axis=1), image, atol=1e-6)
