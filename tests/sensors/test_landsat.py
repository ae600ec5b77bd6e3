"""Landsat products of Collection 2 open, run, and come out on the right grid."""

from __future__ import annotations

import make_landsat
import numpy as np
import pytest
import rasterio
from affine import Affine
from make_landsat import LEFT, NAME, TOP, product

from geosr.errors import SceneError
from geosr.raster.window import Window
from geosr.scene.radiometry import reflectance
from geosr.sensors import OpenOptions, find_scenes, open_scene

BANDS = ("coastal", "blue", "green", "red", "nir", "swir1", "swir2")


def opened(path, **more):
    return open_scene(path, OpenOptions(kind="pair", **more))


@pytest.mark.parametrize("about", ["txt", "json"])
@pytest.mark.parametrize("tar", [False, True])
def test_folders_and_tars_say_what_a_count_is(tmp_path, about, tar):
    scene = opened(product(tmp_path, about=about, tar=tar))
    assert scene.sensor == "landsat" and scene.level == "L1TP" and scene.name == NAME
    assert tuple(band.name for band in scene.bands) == ("pan", *BANDS)
    assert scene.quantification == pytest.approx(50000)
    assert "+0.50 down and +0.50 right" in " ".join(map(str, scene.notes))
    with scene.open() as reader:
        values = reader.read(["red"], 30, Window(0, 0, 48, 48)).values.astype(np.float32)
    field = make_landsat.seen(make_landsat.ground(48))
    np.testing.assert_allclose(
        reflectance(scene, ["red"], values)[0], 10000 * field, rtol=0, atol=0.3
    )


def test_bands_of_another_scale_are_brought_to_one_unit(tmp_path):
    path = product(tmp_path)
    about = path / f"{NAME}_MTL.txt"
    text = about.read_text().replace("MULT_BAND_4 = 2.0000E-05", "MULT_BAND_4 = 4.0000E-05")
    about.write_text(text.replace("ADD_BAND_4 = -1.0000E-01", "ADD_BAND_4 = -2.0000E-01"))
    scene = opened(path)
    with scene.open() as reader:
        values = reader.read(["red", "blue"], 30, Window(8, 8, 9, 9)).values.astype(np.float32)
    red, blue = reflectance(scene, ["red", "blue"], values)
    np.testing.assert_allclose(red, 2 * 2 * blue, rtol=1e-3)  # shares 1 and ½, then scale 2


def test_without_its_metadata_the_usual_scale_is_taken_with_a_warning(tmp_path):
    scene = opened(product(tmp_path, about=""))
    assert scene.quantification == pytest.approx(50000)
    assert "warning: no MTL.txt or MTL.json" in " ".join(map(str, scene.notes))


def test_a_scale_that_is_none_is_refused(tmp_path):
    path = product(tmp_path)
    about = path / f"{NAME}_MTL.txt"
    about.write_text(about.read_text().replace("2.0000E-05", "broken"))
    with pytest.raises(SceneError, match="scales band 1 by broken"):
        opened(path)


def test_level_2_has_no_panchromatic_band_and_takes_a_guide(tmp_path):
    path = product(tmp_path, pan=False)
    with pytest.raises(SceneError, match="no panchromatic band"):
        opened(path)
    other = product(tmp_path / "full")
    scene = opened(path, guide=str(other / f"{NAME}_B8.TIF"))
    assert sorted(scene.grids) == [15, 30] and scene.bands[0].name == "pan"  # it has no name


@pytest.mark.parametrize("about", ["txt", ""])
def test_level_1s_panchromatic_band_as_guide_counts_as_its_own_product_says(tmp_path, about):
    surface = product(tmp_path, level2=True, about="")
    pan = product(tmp_path / "full", about=about) / f"{NAME}_B8.TIF"
    scene = opened(surface, guide=str(pan))
    with scene.open() as reader:
        values = reader.read(["pan"], 15, Window(0, 0, 90, 90)).values.astype(np.float32)
    field = make_landsat.means(make_landsat.ground(48), 2)[:90, :90]
    got = reflectance(scene, ["pan"], values)[0] / 10000
    assert abs(got.mean() - field.mean()) < 0.01 * field.mean()
    assert got.std() == pytest.approx(field.std(), rel=0.1)


def test_surface_reflectance_without_a_guide_says_what_to_give(geosr, tmp_path):
    product(tmp_path / "in", level2=True, cloud=True, about="")
    (name,) = (p.name for p in (tmp_path / "in").iterdir())
    done = geosr("superres", "in", "out", "--model", "regress")
    assert done.returncode == 4 and "Level 2 has none" in done.stderr and "--guide" in done.stderr
    pan = product(tmp_path / "l1") / f"{NAME}_B8.TIF"
    done = geosr("superres", f"in/{name}", "out", "--model", "regress", "--guide", pan)
    assert done.returncode == 0, done.stderr
    assert "no MTL.txt or MTL.json" in done.stderr
    with rasterio.open(tmp_path / f"out/{name}.tif") as file:
        assert file.scales[0] == pytest.approx(2.75e-5) and file.offsets[0] == -0.2
        assert file.tags()["PROCESSING_LEVEL"] == "L2SP" and file.descriptions == BANDS
        assert (file.read(4)[:8, :12] == 0).all()


def test_cut_products_and_other_files_are_refused_with_the_reason(tmp_path):
    path = product(tmp_path)
    (path / f"{NAME}_B3.TIF").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(SceneError, match=r"B3\.TIF"):
        opened(path)
    tar = tmp_path / f"{NAME.replace('LC08', 'LC09')}.tar"
    tar.write_bytes(b"no archive")
    with pytest.raises(SceneError, match="cannot read"):
        opened(tar)
    with pytest.raises(SceneError, match="landsat-ps"):
        open_scene(path)


def test_the_output_lies_on_the_nesting_grid_with_names_tags_and_nodata(geosr, tmp_path):
    for name in (NAME, NAME.replace("LC08", "LC09")):
        product(tmp_path / "in", name=name, cloud=True, tar=name != NAME)
    done = geosr("superres", "in", "out", "--model", "mtf-glp")
    assert done.returncode == 0, done.stderr
    assert "pixels that QA_PIXEL calls cloud or fill are left empty" in done.stderr
    truth = make_landsat.counts(make_landsat.means(make_landsat.ground(48), 2)).astype(float)
    for name in (NAME, NAME.replace("LC08", "LC09")):
        with rasterio.open(tmp_path / f"out/{name}.tif") as file:
            assert file.descriptions == BANDS and file.nodata == 0 and file.dtypes[0] == "uint16"
            assert file.transform == Affine(15, 0, LEFT, 0, -15, TOP) and file.shape == (96, 96)
            assert file.crs == make_landsat.CRS_
            assert file.scales[3] == 2e-5 and file.offsets[3] == -0.1
            assert file.tags()["PROCESSING_LEVEL"] == "L1TP"
            red = file.read(4).astype(float)
        assert (red[:8, :12] == 0).all() and (red != 0).sum() == 96 * 96 - 96
        wrong = (red - truth)[16:-8, 16:-8]
        assert np.sqrt((wrong**2).mean()) < 0.15 * truth[16:-8, 16:-8].std()


def test_the_mtl_of_a_product_stands_for_it(tmp_path):
    source = product(tmp_path)
    mtl = next(source.glob("*_MTL.txt"))
    assert find_scenes(mtl, kind="pair") == [source] and opened(mtl) == opened(source)


def test_info_tells_metres_and_superres_which_bands_there_are(geosr, tmp_path):
    source = make_landsat.product(tmp_path)
    said = geosr("info", source, "-m", "landsat-ps").stdout
    assert "  15 m: pan\n" in said and "  30 m: coastal blue" in said
    done = geosr("superres", source, "out", "-m", "landsat-ps", "--bands", "B4")
    assert "cannot give B4 (can give: blue green red nir swir1 swir2)" in done.stderr
