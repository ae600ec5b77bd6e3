"""What an output says of itself to a GIS: colours, wavelengths, scale, statistics, time."""

import json
import shutil
import subprocess
from pathlib import Path

import make_landsat
import make_scene
import numpy as np
import pytest
import rasterio
import scene_files
from rasterio.enums import ColorInterp
from rasters import write_on_grid

BICUBIC = ("--model", "bicubic")
KINDS = ["coastal", "blue", "green", "red", *["rededge"] * 3, *["nir"] * 3, "swir", "swir"]


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("safe")
    return scene_files.write_safe(folder, level="L2A", baseline="05.10", size=120, satellite="S2B")


def opened(geosr, source: Path, tmp_path: Path, *more: str) -> rasterio.DatasetReader:
    done = geosr("superres", source, "out", *BICUBIC, *more)
    assert done.returncode == 0, done.stderr
    return rasterio.open(next((tmp_path / "out").glob("*.tif")))


@pytest.mark.parametrize("form", ["GTiff", "COG"])
def test_bands_of_a_product_have_colours_wavelengths_and_the_scale_of_reflectance(
    geosr, safe, tmp_path, form
):
    with opened(geosr, safe, tmp_path, "--format", form) as dataset:
        assert [kind.name for kind in dataset.colorinterp] == KINDS
        assert dataset.descriptions == make_scene.TWELVE
        centres = [float(dataset.tags(i, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"])
                   for i in dataset.indexes]  # fmt: skip
        assert centres == pytest.approx(
            [0.4422, 0.4921, 0.559, 0.6649, 0.7038, 0.7391, 0.7797, 0.8329, 0.864, 0.9432, 1.6104,
             2.1857]
        )  # fmt: skip
        assert dataset.tags(4, ns="IMAGERY")["FWHM_UM"] == "0.031"
        assert set(dataset.scales) == {1e-4} and set(dataset.offsets) == {-0.1}


@pytest.mark.parametrize("form", ["GTiff", "COG"])
def test_the_time_the_satellite_and_tags_that_hold_are_carried_over(geosr, safe, tmp_path, form):
    with opened(geosr, safe, tmp_path, "--format", form) as dataset:
        tags = dataset.tags()
        assert tags["ACQUISITIONDATETIME"] == "2017-05-27 10:20:31"
        assert tags["SATELLITEID"] == "SENTINEL-2B"
        assert tags["PROCESSING_BASELINE"] == "05.10" and tags["PROCESSING_LEVEL"] == "L2A"
        if form == "GTiff":  # GDAL's COG driver keeps the default domain alone
            assert dataset.tags(ns="IMAGERY")["ACQUISITIONDATETIME"] == "2017-05-27 10:20:31"


def test_statistics_are_those_of_the_pixels(geosr, safe, tmp_path):
    with opened(geosr, safe, tmp_path) as dataset:
        for index in dataset.indexes:
            values, tags = dataset.read(index).astype(float), dataset.tags(index)
            told = [
                float(tags[f"STATISTICS_{n}"]) for n in ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV")
            ]
            expected = [values.min(), values.max(), values.mean(), values.std()]
            assert told == pytest.approx(expected, rel=1e-9)
            assert float(tags["STATISTICS_VALID_PERCENT"]) == 100


@pytest.mark.parametrize("form", ["GTiff", "COG"])
def test_the_same_run_gives_the_same_bytes(geosr, safe, tmp_path, form):
    outputs = []
    for folder in ("a", "b"):
        done = geosr("superres", safe, folder, *BICUBIC, "--overviews", "--format", form)
        assert done.returncode == 0, done.stderr
        outputs.append(next((tmp_path / folder).glob("*.tif")).read_bytes())
    assert outputs[0] == outputs[1]


def test_an_offset_that_was_merely_assumed_gives_no_scale(geosr, scene_dir, tmp_path):
    with opened(geosr, scene_dir, tmp_path) as dataset:
        assert set(dataset.scales) == {1.0} and set(dataset.offsets) == {0.0}
        assert dataset.tags(4, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"] == "0.665"  # nominal
    with opened(geosr, scene_dir, tmp_path, "--dn-offset", "0", "--overwrite") as dataset:
        assert set(dataset.scales) == {1e-4} and set(dataset.offsets) == {0.0}


def test_an_output_as_an_input_means_what_it_meant(geosr, safe, tmp_path):
    opened(geosr, safe, tmp_path).close()
    output = next((tmp_path / "out").glob("*.tif"))
    info = json.loads(geosr("info", output, "--json").stdout)
    assert info["quantification"] == 10000 and float(info["dn_offset"]) == -1000
    done = geosr("superres", output, "again.tif", *BICUBIC)
    assert done.returncode == 0, done.stderr
    with rasterio.open(output) as first, rasterio.open(tmp_path / "again.tif") as second:
        assert second.tags()["ACQUISITIONDATETIME"] == first.tags()["ACQUISITIONDATETIME"]
        assert second.scales == first.scales and second.offsets == first.offsets
        assert second.tags(12, ns="IMAGERY") == first.tags(12, ns="IMAGERY")


def test_an_assumed_offset_is_not_known_of_its_output_either(geosr, scene_dir, tmp_path):
    opened(geosr, scene_dir, tmp_path).close()
    output = next((tmp_path / "out").glob("*.tif"))
    with rasterio.open(output) as first:
        assert first.tags()["GEOSR_DN_OFFSET_SOURCE"] == "assumed"
    done = geosr("superres", output, "again.tif", *BICUBIC)
    assert "no DN offset known, 0 assumed" in done.stderr
    with rasterio.open(tmp_path / "again.tif") as second:
        assert set(second.scales) == {1.0}
    done = geosr("superres", output, "told.tif", *BICUBIC, "--dn-offset", "0")
    with rasterio.open(tmp_path / "told.tif") as third:
        assert set(third.scales) == {1e-4} and "GEOSR_DN_OFFSET_SOURCE" not in third.tags()


@pytest.mark.parametrize("size", [120, 600])
def test_overviews_are_made_on_request_down_to_a_block(geosr, tmp_path, size):
    source = scene_files.write_folder(tmp_path / "in", size=size)
    with opened(geosr, source, tmp_path, "--overviews", "--bands", "B4") as dataset:
        assert dataset.overviews(1) == ([] if size == 120 else [2, 4])
        full = dataset.read(1)
        if size == 600:
            half = dataset.read(1, out_shape=(300, 300))
            means = full.reshape(300, 2, 300, 2).mean((1, 3))
            assert np.abs(half - means).max() <= 1
    with opened(geosr, source, tmp_path, "--bands", "B4", "--overwrite") as dataset:
        assert dataset.overviews(1) == []
        assert (dataset.read(1) == full).all()
    done = geosr("superres", source, "out", *BICUBIC, "--bands", "B4", "--overviews")
    assert "was made with other settings (overviews)" in done.stderr


def test_landsat_has_its_own_colours_and_wavelengths(geosr, tmp_path):
    source = make_landsat.product(tmp_path)
    done = geosr("superres", source, "out", "--model", "brovey")
    assert done.returncode == 0, done.stderr
    with rasterio.open(next((tmp_path / "out").glob("*.tif"))) as dataset:
        at = dataset.descriptions.index("nir")
        assert dataset.colorinterp[at] == ColorInterp.nir
        assert dataset.tags(at + 1, ns="IMAGERY") == {
            "CENTRAL_WAVELENGTH_UM": "0.865", "FWHM_UM": "0.028"
        }  # fmt: skip
        assert dataset.tags()["SATELLITEID"] == "LANDSAT-8"
        assert dataset.tags()["ACQUISITIONDATETIME"].startswith("2020-08-06")


def test_any_raster_keeps_its_own_colours_wavelengths_and_tags(geosr, tmp_path):
    values = np.random.default_rng(0).integers(1, 3000, (3, 24, 24)).astype(np.uint16)
    path = write_on_grid(tmp_path / "in" / "x.tif", values, names=("nir", "red", "green"))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        file.update_tags(1, ns="IMAGERY", CENTRAL_WAVELENGTH_UM="0.81", FWHM_UM="0.1")
        file.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2019-01-02 03:04:05")
        file.update_tags(CAMPAIGN="north", PIXEL_SIZE="30", SOURCE_FILE="/home/me/x", WIND="a\nb")
        file.update_tags(1, STATISTICS_MEAN="1")
    done = geosr("superres", path, "out", *BICUBIC, "--scale", "2")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out" / "x.tif") as dataset:
        assert [kind.name for kind in dataset.colorinterp] == ["red", "green", "blue"]
        assert dataset.tags(1, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"] == "0.81"
        assert dataset.tags(2, ns="IMAGERY") == {}
        tags = dataset.tags()
        assert tags["CAMPAIGN"] == "north" and tags["ACQUISITIONDATETIME"] == "2019-01-02 03:04:05"
        assert not {"PIXEL_SIZE", "SOURCE_FILE", "WIND"} & set(tags)
        assert float(dataset.tags(1)["STATISTICS_MEAN"]) == pytest.approx(dataset.read(1).mean())


@pytest.mark.parametrize("format", ["GTiff", "COG"])
def test_any_raster_keeps_the_units_of_its_values(geosr, tmp_path, format):
    values = np.full((2, 24, 24), 15000, np.uint16)
    path = write_on_grid(tmp_path / "in" / "lst.tif", values, names=("LST", "emissivity"))
    with rasterio.open(path, "r+") as file:
        file.units, file.scales = ("K", ""), (0.02, 1)
    done = geosr("superres", path, "out", *BICUBIC, "--scale", "2", "--format", format)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out" / "lst.tif") as dataset:
        assert [unit or "" for unit in dataset.units] == ["K", ""]
        assert dataset.scales == (0.02, 1)


@pytest.mark.skipif(not shutil.which("gdalinfo"), reason="gdalinfo is not installed")
def test_gdalinfo_shows_true_colour_and_wavelengths(geosr, safe, tmp_path):
    opened(geosr, safe, tmp_path).close()
    output = next((tmp_path / "out").glob("*.tif"))
    done = subprocess.run(["gdalinfo", "-json", "-mdd", "all", output], capture_output=True)
    told = json.loads(done.stdout)
    kinds = {band["description"]: band["colorInterpretation"] for band in told["bands"]}
    assert (kinds["B4"], kinds["B3"], kinds["B2"]) == ("Red", "Green", "Blue")
    red = told["bands"][3]
    assert red["metadata"]["IMAGERY"]["CENTRAL_WAVELENGTH_UM"] == "0.6649"
    assert red["scale"] == pytest.approx(1e-4) and red["offset"] == pytest.approx(-0.1)
