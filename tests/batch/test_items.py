"""STAC Items and pictures beside outputs."""

import json
import sys
from pathlib import Path

import make_scene
import numpy as np
import pytest
import rasterio
import scene_files
from affine import Affine
from rasterio.crs import CRS
from rasters import write_on_grid

from geosr.batch import records
from geosr.batch.items import _outline
from geosr.errors import StoppedError
from geosr.raster import publish
from geosr.raster.grid import Grid

pystac = pytest.importorskip("pystac")
validate_dict = pytest.importorskip("pystac.validation").validate_dict
BICUBIC = ("--model", "bicubic")


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("safe")
    return scene_files.write_safe(folder, level="L2A", baseline="05.10", size=120)


@pytest.fixture
def made(geosr, safe, tmp_path):
    """The Item that a run with these options writes."""

    def run(*more: str) -> pystac.Item:
        done = geosr("superres", safe, "out", *BICUBIC, "--stac", *more)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / "out").glob("*.stac.json")
        return pystac.Item.from_file(str(path))

    return run


def valid(item: pystac.Item) -> list[str]:
    """The schemas that ship with pystac by which an Item is valid; those of extensions do not."""
    told = item.to_dict(include_self_link=False)
    told["stac_extensions"] = []
    return validate_dict(told)


@pytest.mark.parametrize("form", ["GTiff", "COG"])
def test_an_item_is_valid_and_says_where_when_and_what(made, tmp_path, form):
    item = made("--format", form, "--quicklook")
    assert valid(item)
    assert item.datetime.isoformat() == "2017-05-27T10:20:31+00:00"
    assert item.common_metadata.platform == "sentinel-2a" and item.common_metadata.gsd == 10
    assert item.ext.proj.epsg == 32633 and item.ext.proj.shape == [120, 120]
    west, south, east, north = item.bbox
    assert 13 < west < east < 14 and 50 < south < north < 51
    bands = item.assets["data"].ext.eo.bands
    assert [band.name for band in bands] == list(make_scene.TWELVE)
    assert [band.common_name for band in bands] == [
        "coastal", "blue", "green", "red", "rededge", "rededge", "rededge", "nir", "nir08",
        "nir09", "swir16", "swir22",
    ]  # fmt: skip
    assert bands[3].center_wavelength == 0.6646 and bands[3].full_width_half_max == 0.031
    kind = pystac.MediaType.COG if form == "COG" else pystac.MediaType.GEOTIFF
    assert item.assets["data"].media_type == kind
    assert set(item.assets) == {"data", "thumbnail", "swir", "record"}
    assert all((tmp_path / "out" / asset.href).is_file() for asset in item.assets.values())


def test_counts_and_their_statistics_are_told_by_band(made, tmp_path):
    told = made().assets["data"].ext.raster.bands
    with rasterio.open(next((tmp_path / "out").glob("*.tif"))) as dataset:
        for index, band in zip(dataset.indexes, told, strict=True):
            values = dataset.read(index)
            assert band.data_type == "uint16" and band.nodata == 0
            assert (band.scale, band.offset) == (1e-4, -0.1)
            assert band.statistics.mean == pytest.approx(values.mean())
            assert band.statistics.maximum == values.max()


def test_provenance_comes_from_the_record(made, safe, tmp_path):
    item = made("--check")
    record = records.load(next((tmp_path / "out").glob("*.tif")))
    told = item.properties
    assert told["processing:software"] == {"geosr": record["geosr"]}
    assert told["processing:level"] == "L2A" and "bicubic-20" in told["processing:lineage"]
    assert [each["name"] for each in told["geosr:models"]] == ["bicubic-20", "bicubic-60"]
    assert told["geosr:self_check_rmse"] == record["check"]["rmse"]
    assert [link.target for link in item.links if link.rel == "derived_from"] == [str(safe)]
    assert any("processing" in uri for uri in item.stac_extensions)


def test_the_outline_goes_round_against_the_clock_in_degrees(made):
    (ring,) = made().geometry["coordinates"]
    xs, ys = np.array(ring).T
    assert ring[0] == ring[-1]
    assert ((xs[:-1] * ys[1:]) - (xs[1:] * ys[:-1])).sum() > 0


def test_where_only_the_day_is_known_the_item_covers_it(geosr, tmp_path):
    scene_files.write_folder(tmp_path / "in" / "L2A_20200813_field", size=120)
    done = geosr("superres", "in", "out", *BICUBIC, "--stac")
    assert done.returncode == 0, done.stderr
    item = pystac.Item.from_file(str(tmp_path / "out" / "L2A_20200813_field.stac.json"))
    assert valid(item) and item.datetime is None
    assert item.properties["start_datetime"] == "2020-08-13T00:00:00Z"
    assert item.properties["end_datetime"] == "2020-08-13T23:59:59Z"


def test_a_raster_without_a_place_has_an_item_without_geometry(geosr, tmp_path):
    scene_files.write_folder(tmp_path / "in" / "S2A_20200813T101112", size=120, crs=None)
    assert geosr("superres", "in", "out", *BICUBIC, "--stac").returncode == 0
    item = pystac.Item.from_file(str(tmp_path / "out" / "S2A_20200813T101112.stac.json"))
    assert valid(item) and item.geometry is None and item.bbox is None


def test_without_a_time_the_scene_fails_before_it_is_begun(geosr, scene_dir, tmp_path):
    done = geosr("superres", scene_dir, "out", *BICUBIC, "--stac")
    assert done.returncode == 4
    assert (
        "needs the time of the acquisition" in done.stderr and "ACQUISITIONDATETIME" in done.stderr
    )
    assert not (tmp_path / "out" / "field.tif").exists()


def test_a_picture_without_a_place_is_refused_an_item(geosr, safe, tmp_path):
    done = geosr("superres", safe, "out", *BICUBIC, "--stac", "--format", "PNG", "--bands", "B4")
    assert done.returncode == 2 and "does not say where it lies" in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_pystac_the_extra_is_named(geosr, safe, monkeypatch):
    monkeypatch.setitem(sys.modules, "pystac", None)
    done = geosr("superres", safe, "out", *BICUBIC, "--stac")
    assert done.returncode == 2 and "pip install 'geosr[stac]'" in done.stderr
    assert geosr("superres", safe, "out", *BICUBIC).returncode == 0


def test_what_is_missing_beside_a_finished_output_is_made_and_nothing_else(made, geosr, safe,
                                                                          tmp_path):  # fmt: skip
    made("--quicklook")
    item = next((tmp_path / "out").glob("*.stac.json"))
    before = next((tmp_path / "out").glob("*.tif")).stat().st_mtime_ns
    item.unlink()
    done = geosr("superres", safe, "out", *BICUBIC, "--stac", "--quicklook")
    assert "1 skipped" in done.stderr and item.exists()
    assert next((tmp_path / "out").glob("*.tif")).stat().st_mtime_ns == before


def test_quicklooks_are_no_outputs_that_lack_a_record(made, geosr, tmp_path):
    made("--quicklook")
    told = json.loads(geosr("status", "out", "--json").stdout)
    assert (told["finished"], told["foreign"]) == (1, [])
    done = geosr("verify", "out")
    assert done.returncode == 0 and done.stdout.strip() == "1 whole, 0 damaged"
    (tmp_path / "out/mine.quicklook.png").write_bytes(b"\x89PNG")
    assert json.loads(geosr("status", "out", "--json").stdout)["foreign"] == ["mine.quicklook.png"]


def test_a_file_of_somebody_is_left_alone_and_the_output_stands(geosr, safe, tmp_path):
    (tmp_path / "out").mkdir()
    names = [f"x.{ending}" for ending in ("stac.json", "quicklook.png")]
    for name in names:
        (tmp_path / "out" / name).write_text("mine")
    done = geosr("superres", safe, "out/x.tif", *BICUBIC, "--stac", "--quicklook")
    assert done.returncode == 0
    assert done.stderr.count("left alone") == 2 and (tmp_path / "out/x.tif").exists()
    assert all((tmp_path / "out" / name).read_text() == "mine" for name in names)


def test_nodata_that_is_no_number_is_a_word(geosr, tmp_path):
    values = np.random.default_rng(0).random((1, 24, 24)).astype(np.float32)
    values[0, 0, 0] = np.nan
    write_on_grid(tmp_path / "x_20200813T101112.tif", values, nodata=np.nan)
    done = geosr("superres", "x_20200813T101112.tif", "out", *BICUBIC, "--scale", "2", "--stac")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "x_20200813T101112.stac.json").read_text()
    assert "NaN" not in text
    item = pystac.Item.from_dict(json.loads(text))
    assert valid(item) and item.assets["data"].ext.raster.bands[0].nodata == "nan"


def test_an_item_is_whole_or_not_there(geosr, safe, tmp_path, monkeypatch):
    write = publish.write_bytes

    def full(path: Path, data: bytes) -> None:
        if path.name.endswith(".stac.json"):
            raise StoppedError(f"could not write {path}: No space left")
        write(path, data)

    monkeypatch.setattr(publish, "write_bytes", full)
    done = geosr("superres", safe, "out/x.tif", *BICUBIC, "--stac")
    assert done.returncode == 0 and "no STAC Item of" in done.stderr
    assert not list((tmp_path / "out").glob("*stac*"))


def test_items_of_outputs_are_scenes_again(made, geosr, tmp_path):
    made()
    item = next((tmp_path / "out").glob("*.stac.json"))
    told = json.loads(geosr("info", item, "--json").stdout)
    assert float(told["dn_offset"]) == -1000 and set(told["gsd"]) == {"10", "20", "60"}


def test_a_outline_across_the_antimeridian_is_cut():
    grid = Grid(CRS.from_epsg(32601), Affine(1000, 0, 160000, 0, -1000, 0), 40, 40)
    geometry, (west, _, east, _) = _outline(grid)
    assert geometry["type"] == "MultiPolygon" and 179 < west < 180 and -180 < east < -179
    longitudes = [x for (ring,) in geometry["coordinates"] for x, _ in ring]
    assert all(-180 <= x <= 180 and abs(x) > 179 for x in longitudes)
