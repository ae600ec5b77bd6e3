"""The rule of output grids: corner, size, pixel size, and to which input pixel each one belongs."""

import math
from itertools import pairwise

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from geosr.raster.grid import Grid
from geosr.raster.lattice import Lattice, coarser_count, finer_count, finer_window
from geosr.raster.window import Window

SCALES = st.one_of(st.sampled_from([1.3, 1.5, 1.7, 2.5, 10 / 3, 3.7]), st.floats(1.01, 9))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 300), SCALES)
def test_the_output_covers_the_input_and_ends_less_than_a_pixel_behind_it(extent, scale):
    count = len(Lattice(extent, scale))
    assert count >= extent * scale - 1e-6 and count - 1 < extent * scale


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), SCALES)
def test_every_output_pixel_belongs_to_one_input_pixel_and_edges_say_so(extent, scale):
    lattice = Lattice(extent, scale)
    under = lattice.under(0, len(lattice))
    edges = [lattice.edge(at) for at in range(extent + 1)]
    assert edges[0] == 0 and edges[-1] == len(lattice)
    for at, (first, last) in enumerate(pairwise(edges)):
        assert first < last  # scales above 1 leave none out
        assert (under[first:last] == at).all()


@given(st.integers(1, 200), st.integers(1, 9))
def test_whole_scales_are_the_plain_multiples(extent, scale):
    lattice = Lattice(extent, scale)
    assert [lattice.edge(at) for at in range(-3, extent + 1)] == [
        at * scale for at in range(-3, extent + 1)
    ]
    np.testing.assert_array_equal(lattice.under(0, len(lattice)), np.arange(extent).repeat(scale))


def test_centres_lie_half_an_output_pixel_behind_the_edge():
    lattice = Lattice(5, 2.5)
    assert lattice.centre(0) == pytest.approx(0.2 - 0.5)
    assert lattice.centre(7) - lattice.centre(6) == pytest.approx(0.4)


@pytest.mark.parametrize("count, scale", [(470, 1.7), (29, 10 / 3), (7, 9 / 7), (1000, 1.1)])
def test_noise_of_floats_makes_no_further_pixel(count, scale):
    exact = {(470, 1.7): 799, (29, 10 / 3): 97, (7, 9 / 7): 9, (1000, 1.1): 1100}
    assert finer_count(count, scale) == exact[count, scale]
    assert coarser_count(exact[count, scale], scale) in (count, math.floor(97 / scale))


def test_windows_side_by_side_share_no_output_pixel_and_leave_none():
    whole = Window(3, 4, 21, 17)
    left, right = Window(3, 4, 21, 9), Window(3, 13, 21, 8)
    a, b = (finer_window(part, whole, 2.3) for part in (left, right))
    assert a.col == 0 and a.col + a.width == b.col
    assert b.col + b.width == finer_count(17, 2.3) and a.height == b.height == finer_count(21, 2.3)


GRID = Grid(CRS.from_epsg(32633), Affine(15, 0, 400000, 0, -15, 5000000), 257, 333)


@pytest.mark.parametrize(
    "scale, width, height", [(2.5, 643, 833), (3.75, 964, 1249), (2, 514, 666)]
)
def test_a_finer_grid_keeps_the_corner_and_divides_the_pixel(scale, width, height):
    fine = GRID.finer_by(scale)
    assert (fine.width, fine.height) == (width, height)
    assert fine.transform == Affine(15 / scale, 0, 400000, 0, -15 / scale, 5000000)
    left, bottom, right, top = fine.bounds
    assert (left, top) == (400000, 5000000)
    assert 0 <= right - GRID.bounds[2] < 15 / scale and 0 <= GRID.bounds[1] - bottom < 15 / scale


def test_a_turned_grid_is_made_finer_along_its_own_axes():
    turned = Grid(None, Affine.rotation(30) @ Affine.scale(6, -3), 10, 10)
    fine = turned.finer_by(1.5)
    assert fine.gsd == pytest.approx(4) and fine.shape == (15, 15)
    np.testing.assert_allclose(fine.transform @ (15, 15), turned.transform @ (10, 10))


def test_a_coarser_grid_drops_what_is_no_whole_pixel():
    coarse = GRID.coarser_by(1.7)
    assert (coarse.width, coarse.height) == (151, 195)
    assert coarse.transform.a == pytest.approx(25.5) and coarse.transform.c == 400000
