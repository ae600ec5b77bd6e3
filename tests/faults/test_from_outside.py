"""What the tests of faults did not think of: names, scales, sidecars, XML, texts and settings."""

import os
import time
import zipfile
from pathlib import Path

import make_scene
import numpy as np
import pytest
import rasterio
import scene_files
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp, Resampling

from geosr.cli import gdal
from geosr.cli.console import tell
from geosr.cli.scoring import require_local
from geosr.errors import SceneError, UsageError, without_secrets
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.models import weights
from geosr.raster.files import open_hdf5, open_raster, read_window
from geosr.raster.window import Window
from geosr.sensors import OpenOptions, open_scene
from geosr.sensors.sentinel2 import parse

h5py = pytest.importorskip("h5py")


@pytest.fixture
def stack(tmp_path) -> Path:
    return scene_files.write_stack(tmp_path / "in/a.tif", size=12)


def rename(path: Path, change) -> list[str]:
    with rasterio.open(path, "r+") as dataset:
        names = [change(i, name) for i, name in enumerate(dataset.descriptions)]
        dataset.descriptions = names
    return names


# bands


def test_a_misspelt_name_in_a_stack_is_refused_and_the_nearest_named(stack):
    rename(stack, lambda i, name: "BA8" if name == "B8A" else name)
    with pytest.raises(SceneError, match=r"is named 'BA8' \(B8A\?\)"):
        open_scene(stack)


def test_a_name_given_twice_in_a_stack_is_refused(stack):
    rename(stack, lambda i, name: "B8" if name == "B8A" else name)
    with pytest.raises(SceneError, match="are both named B8"):
        open_scene(stack)


def test_a_band_without_a_name_among_named_ones_is_refused(stack):
    rename(stack, lambda i, name: "" if name == "B8A" else name)
    with pytest.raises(SceneError, match="only 11 of its bands have names"):
        open_scene(stack)


def test_mere_numbers_are_no_names(stack):
    rename(stack, lambda i, name: f"Band {i + 1}")
    assert [str(n) for n in open_scene(stack).notes if "assumed B1 B2" in str(n)]


def test_numbers_in_another_order_are_names(stack):
    rename(stack, lambda i, name: f"Band {12 - i}")
    with pytest.raises(SceneError, match="is named 'Band 12'"):
        open_scene(stack)


def test_an_alpha_band_is_a_mask_and_no_band(stack):
    with rasterio.open(stack) as dataset:
        values, profile = dataset.read(), dataset.profile
    alpha = np.full((1, *values.shape[1:]), 65535, np.uint16)
    alpha[:, :4] = 0
    path = stack.with_name("alpha.tif")
    with rasterio.open(path, "w", **{**profile, "count": 13}) as dataset:
        dataset.write(np.concatenate([alpha, values]))
        dataset.colorinterp = [ColorInterp.alpha, ColorInterp.gray, *[ColorInterp.undefined] * 11]
    scene = open_scene(path)
    assert [band.name for band in scene.bands if band.name == "B10"] == []
    assert sorted(band.index for band in scene.bands) == list(range(2, 14))
    with scene.open() as reader:
        usable = reader.read(["B2"], 10, scene.grids[10].window).usable[0]
    assert not usable[:4].any() and usable[4:].all()


def test_a_name_twice_in_a_folders_file_is_refused(tmp_path):
    folder = scene_files.write_folder(tmp_path / "s", size=12)
    rename(folder / "10m.tif", lambda i, name: "B4" if name == "B3" else name)
    with pytest.raises(SceneError, match="are both named B4"):
        open_scene(folder)


# radiometry


def scaled(path: Path, scale: float, offset: float) -> Path:
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = [scale] * dataset.count, [offset] * dataset.count
    return path


def test_gdals_scale_says_what_counts_as_1(stack):
    scene = open_scene(scaled(stack, 0.0002, -0.1))
    assert (scene.quantification, scene.bands[0].offset) == (5000, -500)


def test_the_output_has_the_scale_and_offset_of_the_input(stack, tmp_path, geosr):
    done = geosr("superres", scaled(stack, 0.0002, -0.1), tmp_path / "out", "--model", "bicubic")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out/a.tif") as dataset:
        assert set(dataset.scales) == {0.0002} and set(dataset.offsets) == {-0.1}


@pytest.mark.parametrize("scale, offset", [(-1, 0), (float("inf"), 1), (1e-4, float("nan"))])
def test_a_scale_that_is_none_is_refused(stack, scale, offset):
    with pytest.raises(SceneError, match="GDAL scale"):
        open_scene(scaled(stack, scale, offset))


def test_several_scales_are_refused_unless_a_quantification_is_told(stack):
    with rasterio.open(stack, "r+") as dataset:
        dataset.scales = [1e-4] * 6 + [2e-4] * 6
    with pytest.raises(SceneError, match="several GDAL scales"):
        open_scene(stack)
    assert open_scene(stack, OpenOptions(quantification=1e4)).quantification == 1e4


def test_stale_overviews_are_never_looked_at(tmp_path):
    path = tmp_path / "a.tif"
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.full((1, 64, 64), 7, np.float32))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2], Resampling.nearest)
        dataset.write(np.full((1, 64, 64), 9, np.float32))
    with open_raster(path) as dataset:
        assert (read_window(dataset, [1], Window(0, 0, 64, 64), (8, 8)) == 9).all()


def test_other_programs_settings_of_gdal_are_forgotten(monkeypatch):
    for name in list(os.environ):
        monkeypatch.setenv(name, os.environ[name])
    monkeypatch.setenv("GTIFF_IGNORE_READ_ERRORS", "YES")
    monkeypatch.setenv("GDAL_GEOREF_SOURCES", "NONE")
    monkeypatch.setenv("GDAL_CONFIG_FILE", "/some/rc")
    monkeypatch.setenv("GDAL_HTTP_PROXY", "proxy")
    for name in ("GDAL_SKIP", "GDAL_DRIVER_PATH", "GDAL_NUM_THREADS", "CPL_LOG"):
        monkeypatch.setenv(name, "")
    gdal.prepare_gdal(1)
    assert "GTIFF_IGNORE_READ_ERRORS" not in os.environ
    assert "GDAL_GEOREF_SOURCES" not in os.environ
    assert os.environ["GDAL_CONFIG_FILE"] == "" and os.environ["GDAL_HTTP_PROXY"] == "proxy"


def test_offsets_of_several_values_in_one_tag_are_not_cut_to_the_first(stack):
    with rasterio.open(stack, "r+") as dataset:
        dataset.update_tags(GEOSR_DN_OFFSET="-1000 0")
    with pytest.raises(SceneError, match="several offsets"):
        open_scene(stack)


# hostile files


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("doctype", ['[<!ENTITY q "12345">]', 'SYSTEM "http://127.0.0.1:9/x.dtd"'])
def test_a_document_type_is_refused_in_any_encoding(encoding, doctype):
    text = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a {doctype}><a/>'
    with pytest.raises(SceneError, match="entities are refused"):
        parse(lambda: text.encode(encoding), "x.xml")


def test_xml_of_any_size_is_not_read_whole(tmp_path):
    product = tmp_path / "X.SAFE"
    product.mkdir()
    with (product / "MTD_MSIL1C.xml").open("wb") as file:
        file.truncate(2**35)
    with pytest.raises(SceneError, match="more than 32 MiB"):
        open_scene(product)


@pytest.mark.parametrize("ending", ["msk", "ovr", "msk.ovr"])
def test_what_lies_beside_a_raster_must_be_tiff(stack, ending):
    if ending == "msk.ovr":
        Path(f"{stack}.msk").write_bytes(stack.read_bytes())
    Path(f"{stack}.{ending}").write_text("<VRTDataset rasterXSize='1' rasterYSize='1'/>")
    with pytest.raises(SceneError, match="must be TIFF"):
        open_scene(stack)


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.tif")
    with pytest.raises(SceneError, match="no plain file"):
        open_raster(tmp_path / "x.tif")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("how", ["raw", "virtual", "link"])
def test_hdf5_that_reads_other_files_is_refused(tmp_path, how, libver):
    path = tmp_path / "x.h5"
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros((4, 4), "u1")
    with h5py.File(path, "w", libver=libver) as file:
        group = file.create_group("LEVEL3/RADIOMETRY/RED")
        if how == "raw":
            raw = [(str(tmp_path / "other.h5"), 0, 16)]
            group.create_dataset("TOC", (4, 4), "u1", external=raw)
        elif how == "link":
            group["TOC"] = h5py.ExternalLink("other.h5", "x")
        else:
            layout = h5py.VirtualLayout((4, 4), "u1")
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=(4, 4))
            group.create_virtual_dataset("TOC", layout)
    with pytest.raises(SceneError, match="from other files"):
        open_hdf5(path)


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_hdf5_of_its_own_values_is_read(tmp_path, libver):
    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as file:
        file.create_dataset("a", data=np.arange(4096).reshape(64, 64), chunks=(8, 8))
        file["b"] = np.random.default_rng(0).integers(0, 255, (512, 512), np.uint8)
        file["soft"] = h5py.SoftLink("/a")
    open_hdf5(tmp_path / "x.h5").close()


def test_a_word_longer_than_a_path_costs_no_time():
    started = time.monotonic()
    assert without_secrets("named " + "ab:/" * 20_000) == "named … (80000 characters)"
    assert time.monotonic() - started < 1


def test_results_hold_no_control_codes_but_ends_of_lines(capsys):
    tell("a\x1b[31m\tb\x9b\u202e\r\nc")
    assert capsys.readouterr().out == "a\\u001b[31m\tb\\u009b\\u202e\r\nc\n"


@pytest.mark.parametrize(
    "change",
    [
        {"data": "/vsicurl?url=http://127.0.0.1:9/a.tif"},
        {"models": ["https://127.0.0.1:9/a.safetensors"]},
        {"options": {"remote": True}},
        {"options": {"vrt": True}},
    ],
)
def test_a_result_file_makes_a_report_ask_no_network(change):
    settings = {"data": "/data", "models": ["dsen2"], "options": {}, "lpips": None}
    require_local(settings, Path("r.json"))
    with pytest.raises(UsageError, match="local rasters only"):
        require_local(settings | change, Path("r.json"))


def test_gcps_are_not_lost_without_a_word(stack):
    with rasterio.open(stack, "r+") as dataset:
        points = [
            GroundControlPoint(r, c, 12 + c / 100, 55 - r / 100) for r in (0, 12) for c in (0, 12)
        ]
        dataset.gcps = points, rasterio.CRS.from_epsg(4326)
    said = [note.text for note in open_scene(stack).notes if note.warning]
    assert [text for text in said if "4 GCPs" in text]


def test_hdf5_that_ends_after_its_magic_is_refused(tmp_path):
    (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(SceneError, match="unusual addresses"):
        open_hdf5(tmp_path / "x.h5")


def test_names_in_a_zip_do_not_lead_out_of_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("X.SAFE/MTD_MSIL1C.xml", "<a/>")
        archive.writestr("X.SAFE/../../B02.jp2", b"")
    with pytest.raises(SceneError, match="no band images"):
        open_scene(tmp_path / "x.zip")


@pytest.mark.parametrize("pixel", [(np.nan, np.nan), (10.0, 0.0), (np.inf, -10.0)])
def test_a_transform_that_places_no_pixel_is_refused(tmp_path, pixel):
    scene_files.write_stack(tmp_path / "a.tif", size=60)
    with rasterio.open(tmp_path / "a.tif", "r+") as dataset:
        dataset.transform = Affine(pixel[0], 0, 300_000, 0, pixel[1], 6_000_000)
    with pytest.raises(SceneError, match="places no pixel"):
        open_scene(tmp_path / "a.tif")


def test_rows_wider_than_memory_are_refused_before_they_are_read(tmp_path):
    profile = {"driver": "GTiff", "width": 6_000_000, "height": 60, "count": 12, "dtype": "uint16",
               "SPARSE_OK": "TRUE", "BIGTIFF": "YES", "blockysize": 1}  # fmt: skip
    with rasterio.open(tmp_path / "a.tif", "w", **profile) as dataset:
        dataset.descriptions = [name for name in make_scene.BANDS if name != "B10"]
    scene = open_scene(tmp_path / "a.tif")
    nets = weights.load("bicubic")
    with pytest.raises(SceneError, match="6,000,000 px wide, one row of tiles takes"):
        make_plan(scene, nets, Request(options={"TILED": "NO"}), Engine())
    panels = make_plan(scene, nets, Request(), Engine()).tiles.panels
    assert max(panel.window.width for panel in panels) * 6 < 5000
