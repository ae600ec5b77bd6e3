"""MODIS and VIIRS surface reflectance opens, runs, and comes out on the right grid."""

from __future__ import annotations

import make_modland
import numpy as np
import pytest
import rasterio
from affine import Affine
from make_landsat import ground, means, seen
from make_modland import APPEEARS, CLOUD, CLOUDY, FILL, FINE, LAND, MIXED, SHADOW, TOP, UNSET

from geosr.errors import SceneError
from geosr.raster.window import Window
from geosr.scene.radiometry import reflectance
from geosr.sensors import OpenOptions, find_scenes, modland, open_scene


def opened(path, **more):
    return open_scene(path, OpenOptions(kind="pair", **more))


def said(scene) -> str:
    return " ".join(map(str, scene.notes))


def names(scene, gsd) -> list[str]:
    return [band.name for band in scene.select(gsd=gsd)]


@pytest.mark.parametrize("style", [make_modland.MODIS, APPEEARS])
def test_modis_bands_lie_on_their_native_grids_whoever_exported_them(tmp_path, style):
    scene = opened(make_modland.modis(tmp_path / "m", names=style))
    assert (scene.sensor, scene.level, sorted(scene.grids)) == ("modis", "MOD09GA", [250, 500])
    assert names(scene, 250) == ["sur_refl_b01", "sur_refl_b02"]
    assert names(scene, 500) == [f"sur_refl_b0{n}" for n in range(3, 8)]
    assert "sur_refl_b01 and sur_refl_b02 at 500 m left out" in said(scene)
    assert "off one that nests" not in said(scene) and scene.quantification == 10000
    with scene.open() as reader:
        pixels = reader.read(["sur_refl_b04"], 500, Window(0, 0, 48, 48))
    assert not pixels.usable[0, 0, 0] and pixels.usable.sum() == 48 * 48 - 1
    values = reflectance(scene, ["sur_refl_b04"], pixels.values.astype(np.float32))[0]
    np.testing.assert_allclose(values[1:], 8000 * seen(ground(48))[1:], atol=0.6)


@pytest.mark.parametrize(
    "state, clear",
    [
        (LAND, True), (LAND | UNSET, True), (LAND | CLOUDY, False), (LAND | MIXED, False),
        (LAND | SHADOW, False), (LAND | CLOUD, False), (65535, False),
    ],
)  # fmt: skip
def test_the_state_of_a_kilometre_masks_what_lies_in_it(tmp_path, state, clear):
    states = np.full((24, 24), LAND, np.uint16)
    states[3, 5] = state
    scene = opened(make_modland.modis(tmp_path / "m", state=states))
    with scene.open() as reader:
        usable = reader.read(["sur_refl_b03"], 500, Window(4, 4, 40, 40)).usable[0]
    assert usable[2:4, 6:8].all() == clear and usable.sum() == 1600 - (0 if clear else 4)


def test_modis_comes_out_at_250_m_with_names_tags_and_nodata_alike_in_tiles(geosr, tmp_path):
    states = np.full((24, 24), LAND, np.uint16)
    states[3, 5] |= CLOUDY
    make_modland.modis(tmp_path / "m", state=states)
    truth = make_modland.counts(1.6 * means(ground(48), 2)).astype(float)
    made = []
    for out, size in (("whole", 4096), ("tiles", 24)):
        done = geosr("superres", "m", out, "--model", "regress", "--tile-size", size)
        assert done.returncode == 0, done.stderr
        with rasterio.open(tmp_path / out / "m.tif") as file:
            assert file.descriptions == tuple(f"sur_refl_b0{n}" for n in range(3, 8))
            assert file.transform.almost_equals(Affine(FINE, 0, 0, 0, -FINE, TOP))
            assert file.shape == (96, 96) and file.crs == make_modland.SINUSOIDAL
            assert (file.nodata, file.dtypes[0], file.scales[0]) == (FILL, "int16", 1e-4)
            assert file.tags()["PROCESSING_LEVEL"] == "MOD09GA"
            assert file.tags()["ACQUISITIONDATETIME"] == "2020-01-01"
            assert file.tags()["SATELLITEID"] == "TERRA"
            made.append(file.read(3).astype(float))
    whole, tiles = made
    assert np.abs(whole - tiles).max() <= 1
    assert (whole[12:16, 20:24] == FILL).all() and (whole[:2, :2] == FILL).all()
    assert (whole == FILL).sum() == 16 + 4
    wrong = (whole - truth)[24:-8, 24:-8]
    assert np.sqrt((wrong**2).mean()) < 0.15 * truth[24:-8, 24:-8].std()


def test_bands_of_250_m_that_begin_half_a_pixel_off_are_brought_to_the_others_and_told(tmp_path):
    scene = opened(make_modland.modis(tmp_path / "m", corner=FINE / 2))
    assert "+0.50 down and +0.50 right of a pixel off" in said(scene)
    with scene.open() as reader:
        got = reader.read(["sur_refl_b01"], 250, Window(16, 16, 64, 64)).values[0].astype(float)
    straight = 10000 * means(ground(48), 2)[16:80, 16:80]
    assert np.sqrt(((got - straight) ** 2).mean()) < 0.15 * straight.std()


def test_what_modis_lacks_is_told_with_where_to_get_it(tmp_path):
    alone = make_modland.modis(tmp_path / "ga", fine=False)
    with pytest.raises(SceneError, match="no bands at 250 m .*MOD09GQ.*--guide FINE"):
        opened(alone)
    fine = make_modland.modis(tmp_path / "gq")
    for file in fine.glob("*GA*"):
        file.unlink()
    with pytest.raises(SceneError, match="no band at 500 m beside sur_refl_b01, sur_refl_b02"):
        opened(fine)
    scene = opened(alone, guide=str(next(fine.iterdir())))
    assert names(scene, 2) == [f"sur_refl_b0{n}" for n in range(1, 8)] and scene.sensor == "pair"
    with pytest.raises(SceneError, match="a MODIS product.*--model regress"):
        open_scene(alone)


def test_two_dates_in_one_folder_are_refused_by_name(tmp_path):
    both = make_modland.modis(tmp_path / "m")
    make_modland.modis(both, names=APPEEARS)
    with pytest.raises(SceneError, match=r"holds \w+ 2 times \(.*Put each date"):
        opened(both)


def test_without_a_state_all_is_taken_for_clear_with_a_warning(tmp_path):
    path = make_modland.modis(tmp_path / "m")
    next(path.glob("*state*")).unlink()
    assert "warning: no state layer beside the bands" in said(opened(path))


def test_a_band_on_another_grid_is_refused_with_both(tmp_path):
    path = make_modland.modis(tmp_path / "m")
    file = next(path.glob("*GA*b05*"))
    make_modland.write(file, np.zeros((48, 48), np.int16), 2 * FINE, corner=2 * FINE)
    with pytest.raises(SceneError, match="sur_refl_b05 lies on another grid"):
        opened(path)


def test_floats_that_are_reflectance_stay_so(tmp_path):
    path = make_modland.modis(tmp_path / "m")
    for file in path.glob("*sur_refl*"):
        with rasterio.open(file) as source:
            values = np.where(source.read(1) == FILL, np.nan, source.read(1) * 1e-4)
            gsd, corner = source.transform.a, source.transform.c
        make_modland.write(file, values.astype(np.float32), gsd, corner=corner, nodata=np.nan)
    scene = opened(path)
    assert scene.quantification == 1 and scene.dtype == np.float32
    with scene.open() as reader:
        pixels = reader.read(["sur_refl_b04"], 500, Window(0, 0, 48, 48))
    assert pixels.usable.sum() == 48 * 48 - 1
    assert opened(path, quantification=5000.0).quantification == 5000


def test_hdf4_without_its_driver_is_refused_with_the_next_step(geosr, tmp_path):
    from geosr.raster.files import open_hdf4

    folder = tmp_path / "m"
    folder.mkdir()
    file = folder / "MOD09GA.A2020001.h18v04.061.2020003032127.hdf"
    file.write_bytes(b"\x0e\x03\x13\x01" + bytes(600))
    with rasterio.Env() as env:
        if "HDF4Image" in env.drivers():
            pytest.skip("this GDAL reads HDF4")
    for path in (folder, file):
        done = geosr("superres", path, "out", "--model", "regress")
        assert done.returncode == 4 and "Write its layers as GeoTIFFs" in done.stderr
    file.write_bytes(b"<html>")
    with pytest.raises(SceneError, match="not an HDF4 file"):
        open_hdf4(file)


@pytest.mark.parametrize("grid", ["VIIRS", "VNP"])
@pytest.mark.parametrize("structure", [True, False])
def test_viirs_in_hdf5_lies_where_it_says_or_where_its_tile_does(tmp_path, grid, structure):
    path = make_modland.viirs(tmp_path, grid=grid, structure=structure, side=48)
    scene = opened(path)
    assert (scene.sensor, scene.level, sorted(scene.grids)) == ("viirs", "VNP09GA", [500, 1000])
    assert names(scene, 500) == ["I1", "I2", "I3"]
    assert names(scene, 1000) == ["M3", "M5", "M8", "M11"]
    step = 2 * FINE if structure else make_modland.SIDE / 96  # a tile has that many here
    wanted = Affine(step, 0, 0, 0, -step, TOP)
    assert scene.grids[500].transform.almost_equals(wanted, 1e-3)
    assert scene.grids[500].crs is not None


@pytest.mark.parametrize("geotiffs", [False, True])
def test_viirs_comes_out_at_500_m_with_names_tags_and_nodata(geosr, tmp_path, geotiffs):
    if geotiffs:
        path = make_modland.viirs_geotiffs(tmp_path / "in" / "v", cloud=True)
    else:
        path = make_modland.viirs(tmp_path / "in", cloud=True)
    assert find_scenes(path, kind="pair") == [path]
    done = geosr("superres", path, "out.tif", "--model", "regress")
    assert done.returncode == 0, done.stderr
    assert "pixels that QF1 calls cloudy are left empty" in done.stderr
    truth = make_modland.counts(means(ground(48), 2)).astype(float)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.descriptions == ("M3", "M5", "M8", "M11") and file.nodata == FILL
        assert file.transform.almost_equals(Affine(2 * FINE, 0, 0, 0, -2 * FINE, TOP), 1e-3)
        assert file.shape == (96, 96) and file.scales[0] == 1e-4
        assert file.tags()["PROCESSING_LEVEL"] == "VNP09GA"
        assert file.tags()["ACQUISITIONDATETIME"] == "2020-01-01"
        assert file.tags()["SATELLITEID"] == "SUOMI-NPP"
        red = file.read(2).astype(float)
    assert (red[:8, :12] == FILL).all() and (red == FILL).sum() == 96  # QF1 alone
    wrong = (red - truth)[16:-8, 16:-8]
    assert np.sqrt((wrong**2).mean()) < 0.15 * truth[16:-8, 16:-8].std()


@pytest.mark.parametrize("name, told", [
    ("MYD09GQ.061_sur_refl_b01_1_doy2024366_aid0001.tif", ("2024-12-31", "aqua")),
    ("VJ109GA.A2023060.h18v04.002.2023105183328.h5", ("2023-03-01", "noaa-20")),
    ("MOD09A1.A2020001.h18v04.061.2020003032127.sur_refl_b03.tif", ("", "terra")),  # eight days
    ("MOD09GA.A2020000.h18v04.061.2020003032127.sur_refl_b03.tif", ("", "terra")),
    ("other.tif", ("", "")),
])  # fmt: skip
def test_names_tell_the_day_and_the_satellite(name, told):
    acquisition = modland.acquired(name)
    assert (acquisition.time, acquisition.platform) == told


def test_products_without_a_net_for_them_are_told_which_are(geosr, tmp_path):
    make_modland.viirs(tmp_path / "h5")
    make_modland.viirs_geotiffs(tmp_path / "tif")
    for path in ("h5", "tif"):
        done = geosr("superres", path, "out")
        assert done.returncode == 4 and "a VIIRS product. Choose a net" in done.stderr
        assert "1 failed" in done.stderr


def test_layers_of_hdf4_are_found_by_the_names_that_gdal_gives_them(tmp_path, monkeypatch):
    from geosr.raster.files import open_raster
    from geosr.sensors import modland

    tifs = make_modland.modis(tmp_path / "tifs")
    folder = tmp_path / "hdf"
    folder.mkdir()
    layers = {}
    for kind in ("GA", "GQ"):
        file = folder / f"MOD09{kind}.A2020001.h18v04.061.2020003032127.hdf"
        file.write_bytes(b"\x0e\x03\x13\x01")
        for tif in tifs.glob(f"*09{kind}*"):
            name = tif.stem.rpartition(".")[2]
            grid = "1km" if "state" in name else "500m" if kind == "GA" else "250m"
            layers[f'HDF4_EOS:EOS_GRID:"{file}":MODIS_Grid_{grid}_2D:{name}'] = tif

    class Listing:
        def __init__(self, path):
            self.subdatasets = [name for name in layers if str(path) in name]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def open_hdf4(path, layer=""):
        return open_raster(layers[layer]) if layer else Listing(path)

    monkeypatch.setattr(modland, "open_hdf4", open_hdf4)
    monkeypatch.setattr("geosr.scene.scene.open_hdf4", open_hdf4)
    scene, same = opened(folder), opened(tifs)
    assert names(scene, 250) == names(same, 250) and names(scene, 500) == names(same, 500)
    with scene.open() as reader, same.open() as other:
        first = reader.read(["sur_refl_b04"], 500, Window(0, 0, 48, 48))
        second = other.read(["sur_refl_b04"], 500, Window(0, 0, 48, 48))
    np.testing.assert_array_equal(first.values, second.values)
    np.testing.assert_array_equal(first.usable, second.usable)


def test_what_viirs_lacks_is_told(tmp_path):
    path = make_modland.viirs_geotiffs(tmp_path / "v")
    next(path.glob("*QF1*")).unlink()
    assert "warning: no QF1 beside the bands" in said(opened(path))
    for file in path.glob("*SurfReflect_I*"):
        file.unlink()
    with pytest.raises(SceneError, match="no I bands beside the M bands"):
        opened(path)


def test_swaths_are_refused_as_they_lie_on_no_grid(tmp_path):
    import h5py

    path = tmp_path / "VNP09.A2020001.1200.001.2020002.h5"
    with h5py.File(path, "w") as file:
        file["HDFEOS/SWATHS/Reflectance/Data Fields/SurfReflect_M1"] = np.zeros((8, 8), np.int16)
    with pytest.raises(SceneError, match="no M band on a grid .*take VNP09GA"):
        opened(path)
