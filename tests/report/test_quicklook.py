"""Small pictures of outputs."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp

from geosr.raster.thumbnail import thumbnail
from geosr.report import quicklook

GRID = Affine(10, 0, 0, 0, -10, 0)
FOUR = (ColorInterp.swir, ColorInterp.blue, ColorInterp.green, ColorInterp.red)


def write(path, values, colours=(), nodata=0, mask=None):
    count, height, width = values.shape
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=count,
                           dtype=values.dtype, nodata=nodata, tiled=True, blockxsize=64,
                           blockysize=64, transform=GRID) as file:  # fmt: skip
            if colours:
                file.colorinterp = list(colours)
            file.write(values)
            if mask is not None:
                file.write_mask(mask)
    return path


def read(path):
    with rasterio.open(path) as picture:
        return picture.read()


def test_true_colour_takes_the_bands_by_colour_whatever_their_order(tmp_path):
    values = np.ones((4, 40, 60), np.uint16)
    values[:, 20:] = 9
    for band, columns in ((3, slice(0, 20)), (2, slice(20, 40)), (1, slice(40, 60))):
        values[band, :, columns] += 1000
    (path,) = quicklook.draw(write(tmp_path / "x.tif", values, FOUR))
    shown = read(path)
    assert path == tmp_path / "x.quicklook.png" and shown.shape == (3, 40, 60)
    assert [int(shown[:, 5, col].argmax()) for col in (10, 30, 50)] == [0, 1, 2]


def test_short_wave_infrared_has_a_picture_of_its_own(tmp_path):
    values = np.random.default_rng(0).integers(1, 4000, (5, 30, 30)).astype(np.uint16)
    drawn = quicklook.draw(write(tmp_path / "x.tif", values, (*FOUR, ColorInterp.nir)))
    assert [path.name for path in drawn] == ["x.quicklook.png", "x.quicklook-swir.png"]
    plain, swir = map(read, drawn)
    assert (swir[2] == plain[0]).all() and not (swir[0] == plain[0]).all()  # red is its blue


def test_a_raster_without_colours_is_drawn_in_grey(tmp_path):
    values = np.random.default_rng(0).random((2, 20, 20)).astype(np.float32)
    (path,) = quicklook.draw(write(tmp_path / "x.tif", values, nodata=None))
    shown = read(path)
    assert (shown[0] == shown[1]).all() and shown.max() == 255


def test_pictures_have_a_thousand_pixels_at_most(tmp_path):
    values = np.random.default_rng(0).integers(1, 9, (1, 300, 2001)).astype(np.uint8)
    (path,) = quicklook.draw(write(tmp_path / "x.tif", values))
    assert read(path).shape == (3, 100, 667)


def test_where_nothing_was_sensed_it_is_black(tmp_path):
    values = np.full((1, 64, 64), 500, np.uint16)
    values[0, :32, :32] = 0
    values[0, 40:] = 900
    mask = np.ones((64, 64), bool)
    mask[60:, 60:] = False
    (path,) = quicklook.draw(write(tmp_path / "x.tif", values, nodata=None, mask=mask))
    assert (read(path)[:, 62, 62] == 0).all()
    (path,) = quicklook.draw(write(tmp_path / "y.tif", values))
    assert (read(path)[:, :32, :32] == 0).all()


@pytest.mark.parametrize(("height", "width"), [(700, 900), (1000, 10), (7, 5)])
def test_a_thumbnail_is_the_mean_of_squares(tmp_path, height, width):
    values = np.random.default_rng(1).integers(1, 5000, (2, height, width)).astype(np.uint16)
    with rasterio.open(write(tmp_path / "x.tif", values)) as dataset:
        found, valid = thumbnail(dataset, [1, 2], 100)
    side = -(-max(height, width) // 100)
    assert found.shape[1:] == (-(-height // side), -(-width // side)) == valid.shape
    whole = values[:, : height // side * side, : width // side * side].astype(float)
    means = whole.reshape(2, height // side, side, width // side, side).mean((2, 4))
    assert found[:, : height // side, : width // side] == pytest.approx(means, rel=1e-5)
    assert valid.all() and found[0, -1, -1] == pytest.approx(
        values[0, (height - 1) // side * side :, (width - 1) // side * side :].mean(), rel=1e-5
    )


def test_the_command_draws_them_beside_each_output(geosr, scene_dir, tmp_path):
    done = geosr("superres", scene_dir, "out", "--model", "bicubic", "--quicklook")
    assert done.returncode == 0, done.stderr
    shown = read(tmp_path / "out" / "field.quicklook.png")
    assert shown.shape == (3, 120, 120) and shown.std() > 20
    assert (tmp_path / "out" / "field.quicklook-swir.png").exists()
