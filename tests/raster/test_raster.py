"""Grids, and outputs that are whole or absent."""

import os

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geosr.errors import SceneError, StoppedError
from geosr.raster import publish
from geosr.raster.files import open_raster, sniff
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.raster.writer import Layout, create

UTM = CRS.from_epsg(32633)
GRID = Grid(UTM, Affine(10, 0, 399960, 0, -10, 5600040), 90, 66)


def layout(dtype="uint16", grid=GRID, **settings):
    return Layout(grid, ("B2", "B5"), np.dtype(dtype), 0, **settings)


def pixels(grid=GRID, dtype="uint16"):
    return np.random.default_rng(0).integers(1, 9999, (2, *grid.shape)).astype(dtype)


def test_finer_and_coarser_grids_cover_the_same_ground():
    assert GRID.finer(3).bounds == GRID.bounds
    assert GRID.finer(3).coarser(3) == GRID
    assert GRID.ratio(GRID.coarser(6)) == 6
    assert GRID.gsd == 10 and GRID.shape == (66, 90)


@pytest.mark.parametrize("noise, nested", [(1e-9, True), (1e-2, False), (0.5, False)])
def test_float_noise_nests_and_a_shift_does_not(noise, nested):
    moved = Affine.translation(noise, 0) @ GRID.coarser(2).transform
    assert (GRID.ratio(Grid(UTM, moved, 45, 33)) == 2) is nested


def test_other_sizes_ratios_and_crs_do_not_nest():
    coarse = GRID.coarser(2)
    assert GRID.ratio(Grid(UTM, coarse.transform, 44, 33)) is None
    assert GRID.ratio(Grid(CRS.from_epsg(32632), coarse.transform, 45, 33)) is None
    assert GRID.ratio(Grid(UTM, coarse.transform @ Affine.scale(1.025), 45, 33)) is None


def test_rotated_and_south_up_grids_keep_their_corners():
    turned = Grid(
        UTM, Affine.translation(4e5, 5e6) @ Affine.rotation(30) @ Affine.scale(20, 20), 8, 6
    )
    assert turned.finer(2).bounds == pytest.approx(turned.bounds)
    assert turned.finer(2).ratio(turned) == 2


def test_bounds_are_covered_by_whole_pixels():
    left, top = 399960, 5600040
    assert GRID.covering((left, top - 20, left + 20, top)) == Window(0, 0, 2, 2)
    assert GRID.covering((left + 1, top - 21, left + 11, top - 9)) == Window(0, 0, 3, 2)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("step", [1, 17, 66])
def test_rows_in_any_portions_give_one_raster(tmp_path, dtype, step):
    values, mask = pixels(dtype=dtype), np.random.default_rng(1).random(GRID.shape) > 0.2
    with create(tmp_path / "o.tif", layout(dtype, masked=True)) as output:
        for row in range(0, 66, step):
            output.write(values[:, row : row + step], mask[row : row + step])
    with rasterio.open(tmp_path / "o.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), values)
        np.testing.assert_array_equal(dataset.dataset_mask() > 0, mask)
        assert Grid.of(dataset) == GRID
        assert dataset.descriptions == ("B2", "B5")
        assert dataset.nodata == 0
    assert [p.name for p in tmp_path.iterdir()] == ["o.tif"]


def test_large_rasters_are_written_by_block_rows(tmp_path):
    grid = Grid(UTM, GRID.transform, 300, 700)
    values = pixels(grid)
    with create(tmp_path / "o.tif", layout(grid=grid)) as output:
        for row in range(0, 700, 90):
            output.write(values[:, row : row + 90])
    with rasterio.open(tmp_path / "o.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(), values)


@pytest.mark.parametrize("format", ["GTiff", "COG"])
@pytest.mark.parametrize("step", [1, 90, 256, 700])
def test_panels_in_any_portions_give_one_raster(tmp_path, format, step):
    grid = Grid(UTM, GRID.transform, 900, 700)
    values, mask = pixels(grid), np.random.default_rng(1).random(grid.shape) > 0.2
    told = layout(grid=grid, masked=True, format=format)
    with create(tmp_path / "o.tif", told) as output:
        for left, right in ((0, 256), (256, 768), (768, 900)):
            for row in range(0, 700, step):
                at = slice(row, row + step), slice(left, right)
                output.write(values[:, *at], mask[at], col=left)
    with create(tmp_path / "whole.tif", told) as output:
        output.write(values, mask)
    with rasterio.open(tmp_path / "o.tif") as dataset, rasterio.open(tmp_path / "whole.tif") as one:
        np.testing.assert_array_equal(dataset.read(), values)
        np.testing.assert_array_equal(dataset.dataset_mask() > 0, mask)
        for index in dataset.indexes:
            theirs = {key: float(value) for key, value in one.tags(index).items()}
            ours = {key: float(value) for key, value in dataset.tags(index).items()}
            assert ours == pytest.approx(theirs, rel=1e-9)
            assert "STATISTICS_STDDEV" in ours


def test_blocks_of_panels_are_written_once(tmp_path):
    """A block that is written again leaves its first bytes in the file."""
    grid = Grid(UTM, GRID.transform, 900, 700)
    values, sizes = pixels(grid), []
    for name, panels in (("one", ((0, 900),)), ("three", ((0, 256), (256, 768), (768, 900)))):
        with create(tmp_path / name, layout(grid=grid)) as output:
            for left, right in panels:
                for row in range(0, 700, 90):
                    output.write(values[:, row : row + 90, left:right], col=left)
        sizes.append((tmp_path / name).stat().st_size)
    assert sizes[0] == pytest.approx(sizes[1], abs=200)  # tags of statistics have other digits


@pytest.mark.parametrize("rows, left", [(600, 256), (700, 128), (700, 512)])
def test_panels_that_leave_rows_out_or_cut_blocks_are_refused(tmp_path, rows, left):
    grid = Grid(UTM, GRID.transform, 900, 700)
    values, width = pixels(grid), 128 if left == 128 else 256
    with pytest.raises(ValueError, match=f"column {left} does not go on"):
        with create(tmp_path / "o.tif", layout(grid=grid)) as output:
            output.write(values[:, :rows, :width])
            output.write(values[:, :, left:], col=left)
    assert not list(tmp_path.iterdir())


def test_a_missing_panel_is_found_before_publishing(tmp_path):
    grid = Grid(UTM, GRID.transform, 900, 700)
    with pytest.raises(StoppedError, match="could not verify"):
        with create(tmp_path / "o.tif", layout(grid=grid)) as output:
            output.write(pixels(grid)[:, :, :256])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", ["GTiff", "COG"])
def test_an_exception_leaves_nothing(tmp_path, format):
    with (
        pytest.raises(ZeroDivisionError),
        create(tmp_path / "o.tif", layout(format=format)) as output,
    ):
        output.write(pixels()[:, :20])
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_missing_rows_are_found_before_publishing(tmp_path):
    with pytest.raises(StoppedError, match="could not verify"):
        with create(tmp_path / "o.tif", layout()) as output:
            output.write(pixels()[:, :20])
    assert not list(tmp_path.iterdir())


def test_a_byte_that_changes_on_the_way_to_the_disk_is_found(tmp_path, monkeypatch):
    flush = publish.flush

    def damaged(path):
        flush(path)
        with rasterio.open(path, "r+") as dataset:
            values = dataset.read()
            values[0, 40, 40] += 1
            dataset.write(values)

    monkeypatch.setattr(publish, "flush", damaged)
    with pytest.raises(StoppedError, match="row 0 differs"):
        with create(tmp_path / "o.tif", layout()) as output:
            output.write(pixels())
    assert not list(tmp_path.iterdir())


def test_cogs_are_cogs_with_the_same_pixels(tmp_path):
    grid = Grid(UTM, GRID.transform, 1100, 700)
    values, mask = pixels(grid), np.ones(grid.shape, bool)
    mask[:50] = False
    with create(tmp_path / "o.tif", layout(grid=grid, format="COG", masked=True)) as output:
        output.write(values, mask)
    with rasterio.open(tmp_path / "o.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.overviews(1)
        np.testing.assert_array_equal(dataset.read(), values)
        np.testing.assert_array_equal(dataset.dataset_mask() > 0, mask)
        assert dataset.descriptions == ("B2", "B5")
    assert [p.name for p in tmp_path.iterdir()] == ["o.tif"]


def test_the_order_is_flush_file_rename_flush_folder(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda a, b: (calls.append("rename"), replace(a, b))[1]
    )
    with create(tmp_path / "o.tif", layout()) as output:
        output.write(pixels())
    assert calls == ["fsync", "rename", "fsync"]
    calls.clear()
    publish.write_bytes(tmp_path / "o.json", b"{}")
    assert calls == ["fsync", "rename", "fsync"]


def test_parts_of_dead_processes_are_swept_and_those_of_living_ones_kept(tmp_path):
    mine = publish.part_path(tmp_path / "a.tif")
    host, pid = mine.name.split(".")[2:4]
    dead = tmp_path / f".a.{host}.999999999.0123abcd.part.tif"
    other = tmp_path / ".a.elsewhere.1.0123abcd.part.tif"
    for path in (mine, dead, other):
        path.touch()
    assert pid == str(os.getpid())
    assert publish.sweep_parts(tmp_path) == [dead]
    assert mine.exists() and other.exists()


@pytest.mark.parametrize(
    "head, driver",
    [(b"II*\0", "GTiff"), (b"MM\0+", "GTiff"), (b"\0\0\0\x0cjP  \r\n", "JP2OpenJPEG"),
     (b"<html>", None), (b"", None)],
)  # fmt: skip
def test_content_tells_the_driver(head, driver):
    assert sniff(head) == driver


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"II*\0broken"])
def test_what_is_no_raster_is_an_error_that_names_the_file(tmp_path, content):
    path = tmp_path / "x.tif"
    path.write_bytes(content)
    with pytest.raises(SceneError, match="x.tif"):
        open_raster(path)
