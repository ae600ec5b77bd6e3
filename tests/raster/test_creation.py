"""Creation options are tried on a small raster before any work."""

import logging

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from geosr.errors import SceneError, UsageError
from geosr.raster.creation import require_options, try_options
from geosr.raster.grid import Grid
from geosr.raster.writer import Layout

GRID = Grid(CRS.from_epsg(32633), Affine(10, 0, 399960, 0, -10, 5600040), 900, 7)


def layout(dtype="uint16", count=2, **settings):
    names = tuple(str(i) for i in range(count))
    return Layout(GRID, names, np.dtype(dtype), 0, **settings)


@pytest.mark.parametrize(
    "format, options",
    [
        ("GTiff", {}),
        ("GTiff", {"COMPRESS": "ZSTD", "ZLEVEL": "9"}),
        ("GTiff", {"compress": "none", "tiled": "no"}),
        ("GTiff", {"PREDICTOR": "3"}),  # of floats
        ("GTiff", {"INTERLEAVE": "PIXEL", "NUM_THREADS": "2", "BIGTIFF": "YES"}),
        ("COG", {"BLOCKSIZE": "256", "COMPRESS": "LERC"}),
        ("COG", {"OVERVIEWS": "NONE"}),
        ("PNG", {"ZLEVEL": "9"}),
    ],
)  # fmt: skip
def test_options_by_which_pixels_come_back_are_taken(format, options):
    require_options(format, options)


@pytest.mark.parametrize(
    "format, options, message",
    [
        ("GTiff", {"FOO": "BAR"}, "does not support creation option FOO"),
        ("GTiff", {"COMPRESS": "NONSENSE"}, "COMPRESS=NONSENSE.*unexpected value"),
        ("GTiff", {"ZLEVEL": "99"}, "ZLEVEL=99 value not recognised"),
        ("GTiff", {"BLOCKXSIZE": "100"}, "multiples of 16"),
        ("GTiff", {"PROFILE": "BASELINE"}, "lose its CRS"),
        ("GTiff", {"nodata": "7"}, "NODATA comes from the scene"),
        ("GTiff", {"dtype": "uint8"}, "DTYPE comes from the scene"),
        ("GTiff", {"TFW": "YES"}, "TFW writes a file beside the output"),
        ("GTiff", {"COMPRESS": "JPEG"}, "COMPRESS=JPEG: a GTiff of uint16"),
        ("COG", {"TILED": "YES"}, "driver COG does not support creation option TILED"),
        ("COG", {"TILING_SCHEME": "GoogleMapsCompatible"}, "another grid"),
        ("COG", {"COMPRESS": "LERC", "MAX_Z_ERROR": "10"}, "pixels would not come back"),
    ],
)
def test_options_that_gdal_ignores_or_that_change_the_raster_are_refused(format, options, message):
    with pytest.raises(UsageError, match=message):
        require_options(format, options)


def test_an_option_that_one_type_of_pixels_does_not_take_fails_its_scene():
    try_options(layout("float32", options={"PREDICTOR": "3"}))
    with pytest.raises(SceneError, match=r"GTiff of uint16 .*PREDICTOR=3 is only supported with"):
        try_options(layout("uint16", options={"PREDICTOR": "3"}))


def test_trying_options_leaves_rasterios_logger_as_it_was():
    logger = logging.getLogger("rasterio._env")
    before = logger.handlers[:], logger.level, logger.propagate
    try_options(layout(options={"COMPRESS": "LZW"}))
    assert (logger.handlers[:], logger.level, logger.propagate) == before
