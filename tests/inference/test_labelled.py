"""`sharpen` takes and gives xarray.DataArrays: coordinates, CRS, names and nodata are kept."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

import geosr
from geosr.errors import SceneError, UsageError

xarray = pytest.importorskip("xarray")
rioxarray = pytest.importorskip("rioxarray")

SCENE = Path(__file__).resolve().parents[2] / "examples/scenes/farmland"
QUICK = {"model": "bicubic", "device": "cpu", "precision": "fp32"}
COARSE = ["B5", "B6", "B7", "B8A", "B11", "B12"]


@pytest.fixture
def bands():
    """The 10, 20 and 60 m bands of a part of the example, 60 × 48 pixels of 10 m."""
    return [_cut(gsd) for gsd in (10, 20, 60)]


def _cut(gsd: int):
    whole = rioxarray.open_rasterio(SCENE / f"{gsd}m.tif").load()
    return whole.isel(y=slice(600 // gsd, 1200 // gsd), x=slice(0, 480 // gsd))


def test_the_result_is_that_of_numpy_on_the_coordinates_of_the_fine_bands(bands):
    sharp = geosr.sharpen(*bands, **QUICK)
    plain = geosr.sharpen(*(array.to_numpy() for array in bands), **QUICK)
    assert isinstance(sharp, xarray.DataArray) and isinstance(plain, np.ndarray)
    np.testing.assert_array_equal(sharp.to_numpy(), plain)
    assert sharp.dims == ("band", "y", "x") and list(sharp.band.values) == [*COARSE, "B1", "B9"]
    for name in ("x", "y"):
        np.testing.assert_array_equal(sharp[name], bands[0][name])
    assert sharp.rio.crs == bands[0].rio.crs and sharp.rio.nodata == 0
    assert not [name for name in sharp.attrs if name.startswith("STATISTICS")]


def test_it_is_written_as_a_raster_that_lies_where_the_input_did(bands, tmp_path):
    geosr.sharpen(*bands[:2], **QUICK).rio.to_raster(tmp_path / "a.tif")
    with rasterio.open(tmp_path / "a.tif") as file, rasterio.open(SCENE / "10m.tif") as whole:
        assert file.descriptions == tuple(COARSE) and file.nodata == 0
        assert file.crs == whole.crs and file.shape == (60, 48)
        assert file.transform == whole.transform @ rasterio.Affine.translation(0, 60)


def test_bands_are_taken_by_name_in_any_order_and_any_place(bands):
    d10, d20 = bands[:2]
    names = ["B08", "B04", "B03", "B02"]
    mixed = d10[::-1].assign_coords(band=names).transpose("y", "x", "band")
    mixed.attrs.pop("long_name")
    sharp = geosr.sharpen(mixed, d20[[5, 0, 1, 2, 3, 4]].assign_attrs(
        long_name=("B12", "B5", "B6", "B7", "B8A", "B11")), **QUICK)  # fmt: skip
    np.testing.assert_array_equal(sharp, geosr.sharpen(d10, d20, **QUICK))


def test_other_coordinates_and_nodata_of_the_arrays_are_kept(bands):
    d10, d20 = (array.assign_coords(time=np.datetime64("2017-05-27", "ns")) for array in bands[:2])
    d10 = d10.rio.write_nodata(7)
    d20 = d20.copy()
    d20[:, 3, 4] = 7
    sharp = geosr.sharpen(d10, d20, **QUICK)
    assert sharp.time == d10.time and sharp.rio.nodata == 7
    assert (sharp[:, 6:8, 8:10] == 7).all() and not (sharp[:, :4] == 7).any()


def test_arrays_without_coordinates_are_taken_as_numpys_are(bands):
    bare = [xarray.DataArray(a.to_numpy(), dims=("band", "y", "x")) for a in bands[:2]]
    sharp = geosr.sharpen(*bare, **QUICK)
    assert "x" not in sharp.coords and sharp.shape == (6, 60, 48)
    np.testing.assert_array_equal(sharp, geosr.sharpen(*bands[:2], **QUICK))


def test_what_does_not_fit_is_named(bands):
    d10, d20, d60 = bands
    with pytest.raises(SceneError, match=r"d20 lies on the grid 20 × -20 from 399980 .*rio.clip"):
        geosr.sharpen(d10, d20.assign_coords(x=d20.x + 20), **QUICK)
    with pytest.raises(SceneError, match=r"d60 has the CRS EPSG:32634, d10 EPSG:32633"):
        geosr.sharpen(d10, d20, d60.rio.write_crs(32634), **QUICK)
    with pytest.raises(SceneError, match=r"d20 lacks B12 \(found: B5 B6 B7 B8A B11\)"):
        geosr.sharpen(d10, d20[:5].assign_attrs(long_name=tuple(COARSE[:5])), **QUICK)
    with pytest.raises(SceneError, match=r"dimensions time, band, y, x, not one of bands"):
        geosr.sharpen(d10.expand_dims("time"), d20, **QUICK)
    with pytest.raises(SceneError, match=r"dimensions band, rows, cols: .* Name them"):
        geosr.sharpen(xarray.DataArray(d10.to_numpy(), dims=("band", "rows", "cols")), d20, **QUICK)
    with pytest.raises(UsageError, match=r"d20 is a ndarray, another one an xarray.DataArray"):
        geosr.sharpen(d10, d20.to_numpy(), **QUICK)


def test_without_rioxarray_the_extra_is_named(bands, monkeypatch):
    known = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("rioxarray"):
            raise ImportError(f"No module named '{name}'")
        return known(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"pip install 'geosr\[xarray\]'"):
        geosr.sharpen(*bands[:2], **QUICK)


def test_numpy_arrays_do_not_load_xarray():
    code = (
        "import sys, numpy as np, geosr\n"
        "geosr.sharpen(np.ones((4, 12, 12)), np.ones((6, 6, 6)), model='bicubic')\n"
        "assert 'xarray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=SCENE.parents[2])
