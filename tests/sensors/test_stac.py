"""STAC Items as scenes: assets on this machine, whatever names them."""

import json
from pathlib import Path

import make_landsat
import make_scene
import numpy as np
import pytest
import rasterio
import scene_files
from rasters import write_on_grid

from geosr.errors import SceneError
from geosr.sensors import OpenOptions, find_scenes, open_scene

EARTH_SEARCH = {
    "B2": "blue", "B3": "green", "B4": "red", "B8": "nir", "B5": "rededge1", "B6": "rededge2",
    "B7": "rededge3", "B8A": "nir08", "B11": "swir16", "B12": "swir22", "B1": "coastal",
    "B9": "nir09",
}  # fmt: skip


def write_item(path: Path, assets: dict[str, dict], **properties: object) -> Path:
    """An Item with these assets."""
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2B_33UUB_20210101_0_L2A",
        "geometry": None, "links": [], "assets": assets,
        "properties": {"datetime": "2021-01-01T10:21:09.123Z", "platform": "sentinel-2b",
                       **properties},
    }  # fmt: skip
    path.write_text(json.dumps(item))
    return path


@pytest.fixture
def bands(tmp_path: Path) -> dict[str, str]:
    """A scene of a file a band: hrefs by band."""
    folder = scene_files.write_folder(tmp_path / "assets", size=120, offset=-1000, per_band=True)
    names = {make_scene._padded(name): name for name in make_scene.TWELVE}
    return {names[p.stem.rsplit("_", 1)[1]]: f"./assets/{p.name}" for p in folder.iterdir()}


def by_common_name(hrefs: dict[str, str], /, **facts: object) -> dict[str, dict]:
    return {EARTH_SEARCH[name]: {"href": href, **facts} for name, href in hrefs.items()}


def offsets(path: Path, **options: float) -> set[float]:
    scene = open_scene(path, OpenOptions(**options))
    return {band.offset for band in scene.bands}


def test_assets_are_bands_by_their_keys_and_the_item_tells_time_and_satellite(bands, tmp_path):
    scene = open_scene(write_item(tmp_path / "item.json", by_common_name(bands)))
    assert tuple(band.name for band in scene.bands) == make_scene.TWELVE
    assert {gsd: grid.shape for gsd, grid in scene.grids.items()} == {
        10: (120, 120), 20: (60, 60), 60: (20, 20)
    }  # fmt: skip
    assert scene.acquisition.time == "2021-01-01T10:21:09Z"
    assert scene.acquisition.platform == "sentinel-2b"
    assert scene.level == "L2A" and str(tmp_path / "item.json") in scene.metadata


def test_assets_of_several_bands_are_named_by_the_item(tmp_path):
    for gsd in (10, 20, 60):
        names = [n for n in make_scene.TWELVE if make_scene.BANDS[n] == gsd]
        scene_files.write_folder(tmp_path / "in", size=120, bands=names)
        with rasterio.open(tmp_path / "in" / f"{gsd}m.tif", "r+") as file:
            file.descriptions = (None,) * len(names)
    groups = {
        "fine": ("10m.tif", "eo:bands", [{"name": "a", "common_name": n} for n in
                                         ("blue", "green", "red", "nir")]),
        "mid": ("20m.tif", "bands", [{"name": n} for n in ("B05", "B06", "B07", "B8A", "B11",
                                                           "B12")]),
        "low": ("60m.tif", "bands", [{"name": "x", "eo:common_name": "coastal"}, {"name": "B09"}]),
    }  # fmt: skip
    assets = {key: {"href": f"in/{file}", told: rows} for key, (file, told, rows) in groups.items()}
    scene = open_scene(write_item(tmp_path / "item.json", assets))
    assert tuple(band.name for band in scene.bands) == make_scene.TWELVE


def test_an_item_is_sharpened_as_its_files_are(geosr, bands, tmp_path):
    write_item(tmp_path / "item.json", by_common_name(bands), **{"s2:processing_baseline": "05.00"})
    done = geosr("superres", "item.json", "out", "--model", "bicubic")
    assert done.returncode == 0, done.stderr
    done = geosr("superres", "assets", "out", "--model", "bicubic", "--dn-offset", "-1000")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out/item.tif") as ours:
        with rasterio.open(tmp_path / "out/assets.tif") as theirs:
            assert (ours.read() == theirs.read()).all()
        assert ours.tags()["SATELLITEID"] == "SENTINEL-2B"
    again = geosr("superres", "item.json", "out", "--model", "bicubic")
    assert "skipped" in again.stderr
    write_item(tmp_path / "item.json", by_common_name(bands), **{"s2:processing_baseline": "02.00"})
    changed = geosr("superres", "item.json", "out", "--model", "bicubic")
    assert "1 done" in changed.stderr  # an Item that changed makes another output


@pytest.mark.parametrize(
    ("facts", "properties", "offset"),
    [
        ({}, {"s2:processing_baseline": "05.00"}, -1000),
        ({}, {"s2:processing_baseline": "03.01"}, 0),
        ({"raster:bands": [{"scale": 1e-4, "offset": -0.1}]}, {}, -1000),
        ({"raster:bands": [{"scale": 1e-4, "offset": -0.1}]},
         {"earthsearch:boa_offset_applied": True}, 0),
        ({"bands": [{"raster:scale": 1e-4, "raster:offset": -0.1}]}, {}, -1000),
    ],
)  # fmt: skip
def test_the_dn_offset_is_read_from_what_the_item_says(bands, tmp_path, facts, properties, offset):
    path = write_item(tmp_path / "item.json", by_common_name(bands, **facts), **properties)
    assert offsets(path) == {offset}
    assert offsets(path, dn_offset=-7.0) == {-7}


def test_an_item_of_a_product_that_is_there_whole_is_the_product(tmp_path):
    safe = scene_files.write_safe(tmp_path, level="L1C", baseline="05.10", size=120)
    images = {p.stem.rsplit("_", 1)[1]: p for p in safe.rglob("IMG_DATA/*.jp2")}
    assets = {name: {"href": p.as_uri()} for name, p in images.items() if name != "TCI"}
    scene = open_scene(write_item(tmp_path / "item.json", assets))
    assert scene.level == "L1C" and {band.offset for band in scene.bands} == {-1000}
    assert any(name.endswith("MTD_MSIL1C.xml") for name in scene.metadata)


def test_an_item_of_landsat_is_sharpened_by_its_panchromatic_band(tmp_path):
    product = make_landsat.product(tmp_path)
    assets = {p.stem[-2:]: {"href": str(p)} for p in product.glob("*_B*.TIF")}
    scene = open_scene(write_item(tmp_path / "item.json", assets), OpenOptions(kind="pair"))
    assert scene.sensor == "landsat" and "pan" in [band.name for band in scene.bands]


def test_one_raster_of_an_item_is_any_raster(tmp_path):
    values = np.ones((1, 8, 8), np.uint16)
    write_on_grid(tmp_path / "x.tif", values)
    assets = {"data": {"href": "x.tif"}, "look": {"href": "x.png", "roles": ["thumbnail"]}}
    path = write_item(tmp_path / "item.json", assets)
    assert open_scene(path, OpenOptions(kind="image")).grid.shape == (8, 8)
    write_item(path, {**assets, "more": {"href": "y.tif"}})
    with pytest.raises(SceneError, match=r"takes one raster, the Item has 2 \(data, more\)"):
        open_scene(path, OpenOptions(kind="image"))
    with pytest.raises(SceneError, match="Give a folder of rasters"):
        open_scene(path, OpenOptions(kind="series"))


def test_remote_assets_are_named_without_their_keys_and_with_the_next_step(bands, tmp_path):
    assets = by_common_name(bands)
    assets["swir16"]["href"] = "https://me:secret@host/B11.tif?sig=secret"
    assets["nir08"]["href"] = "s3://bucket/B8A.tif"
    with pytest.raises(SceneError) as told:
        open_scene(write_item(tmp_path / "item.json", assets))
    said = str(told.value)
    assert "'nir08'" in said and "'swir16'" in said and "download them" in said
    assert "secret" not in said


def test_a_band_that_also_lies_here_is_not_missed(bands, tmp_path):
    assets = by_common_name(bands)
    assets["blue-jp2"] = {"href": "https://host/B02.jp2", "eo:bands": [{"name": "blue"}]}
    assert len(open_scene(write_item(tmp_path / "item.json", assets)).bands) == 12


def test_missing_assets_are_named_with_the_file_that_is_not_there(bands, tmp_path):
    assets = by_common_name(bands)
    assets["red"]["href"] = "./gone.tif"
    with pytest.raises(SceneError, match=r"asset 'red' is missing \(no file .*gone\.tif\)"):
        open_scene(write_item(tmp_path / "item.json", assets))


def test_an_item_without_bands_says_which_assets_it_has(tmp_path):
    path = write_item(tmp_path / "item.json", {"dem": {"href": "dem.tif"}})
    with pytest.raises(SceneError, match=r"no asset holds a band of Sentinel-2 \(assets: dem\)"):
        open_scene(path)


def test_items_in_a_folder_are_scenes_where_nothing_else_is(bands, tmp_path):
    items = tmp_path / "items"
    items.mkdir()
    here = {name: {"href": f".{href}"} for name, href in bands.items()}
    write_item(items / "b.json", here)
    write_item(items / "a.json", here)
    (items / "run.json").write_text("{}")
    (items / "broken.json").write_text('{"type": "Feature"')
    (items / "list.json").write_text("[1]")
    assert find_scenes(items) == [items / "a.json", items / "b.json"]
    scene_files.write_stack(items / "stack.tif", size=120)
    assert find_scenes(items) == [items / "stack.tif"]


def test_an_output_never_replaces_an_asset_of_its_item(geosr, tmp_path):
    scene_files.write_stack(tmp_path / "data" / "x.tif", size=120)
    before = (tmp_path / "data" / "x.tif").read_bytes()
    rows = [{"name": name} for name in make_scene.TWELVE]
    write_item(tmp_path / "x.json", {"data": {"href": "data/x.tif", "eo:bands": rows}})
    done = geosr("superres", "x.json", "data", "--model", "bicubic", "--overwrite")
    assert done.returncode == 4 and "is a file of the scene" in done.stderr
    assert (tmp_path / "data" / "x.tif").read_bytes() == before


@pytest.mark.parametrize(
    "odd",
    [
        {"assets": {"red": 3}},
        {"assets": {"red": {"href": 3}}},
        {"assets": {"red": {"href": "x.tif", "roles": 3, "eo:bands": [3, {}, {"name": None}]}}},
        {"assets": {"red": {"href": "x.tif", "eo:bands": {"a": 1}, "raster:bands": [[]]}}},
    ],
)
def test_items_of_odd_content_fail_as_scenes_do(tmp_path, odd):
    path = write_item(tmp_path / "item.json", {})
    path.write_text(json.dumps(json.loads(path.read_text()) | odd))
    with pytest.raises(SceneError):
        open_scene(path)
