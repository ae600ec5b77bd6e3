"""Degrading by any factor: whole ones as ever, ramps stay ramps, windows agree with the whole."""

import make_scene  # noqa: F401 - finds the examples
import numpy as np
import pytest
from affine import Affine

from geosr.errors import UsageError
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene import degrade, resample
from geosr.scene.pixels import Pixels, fold

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("operator", resample.OPERATORS)
def test_whole_factors_are_those_of_the_taps(operator, factor):
    pad = resample.pad(factor)
    fine = RNG.random((2, 6 * factor + 2 * pad, 5 * factor + 2 * pad)).astype(np.float32)
    taps = degrade.taps(operator, factor)
    down, across = (resample.lines(operator, factor, n, pad=pad) for n in (6, 5))
    expected = degrade.shrink(fine, factor, taps, taps, pad=pad)
    np.testing.assert_allclose(resample.shrink(fine, down, across), expected, atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 1.3, 2.5, 3.7])
@pytest.mark.parametrize("operator", resample.OPERATORS)
def test_a_ramp_stays_a_ramp_read_at_the_coarse_centres(operator, factor):
    pad = resample.pad(factor)
    count = 9
    fine = np.arange(int(np.ceil(count * factor)) + 2 * pad, dtype=np.float32)[None] + 0.5 - pad
    along = resample.lines(operator, factor, count, pad=pad)
    one = resample.lines("box", 1.0, 1, pad=0)
    seen = resample.shrink(fine[None], one, along)[0, 0]
    centres = (np.arange(count) + 0.5) * factor
    close = 0.1 if operator == "box" else 0.02  # whole fine pixels are parted there
    np.testing.assert_allclose(seen, centres, atol=close * factor)


def test_the_published_degradation_is_of_whole_factors_alone():
    with pytest.raises(UsageError, match=r"'gaussian'.*2\.5.*Choose bicubic"):
        resample.lines("gaussian", 2.5, 3, pad=8)


class Whole:
    """A reader of one array, edges padded symmetrically."""

    def __init__(self, values):
        self.values = values
        self.grids = {1: Grid(None, Affine.identity(), *values.shape[:0:-1])}

    def read(self, names, gsd, window, *, frame=0):
        true = np.ones(self.values.shape, bool)
        pixels = Pixels(self.values, true, true, ~true)
        folded = fold(window, *self.values.shape[1:])
        return folded.take(pixels.crop(folded.hull.within(self.grids[1].window)))

    def has_mask(self, names, gsd):
        return False


@pytest.mark.parametrize("factor", [1.7, 2.5, 3.1])
def test_a_window_of_the_coarser_scene_is_a_part_of_the_whole(factor):
    reader = resample.ResampledReader(Whole(RNG.random((1, 53, 67), np.float32)), factor)
    grid = reader.grids[1]
    assert grid.shape == (int(53 / factor), int(67 / factor))
    whole = reader.read(("1",), 1, grid.window).values
    window = Window(3, 5, 9, 8)
    part = reader.read(("1",), 1, window).values
    np.testing.assert_allclose(part, whole[:, 3:12, 5:13], atol=1e-5)
    beyond = reader.read(("1",), 1, Window(-2, -1, 4, 4)).values
    np.testing.assert_allclose(beyond[:, ::-1][:, 2:], whole[:, :2][:, :, [0, 0, 1, 2]], atol=1e-5)
