"""Every layout a scene comes in, found by looking; and what is told when it is none."""

from pathlib import Path

import make_scene
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geosr.errors import SceneError, UsageError
from geosr.scene import fold
from geosr.sensors import OpenOptions, find_scenes, open_scene, remote_path
from geosr.sensors.sentinel2 import band_in_file_name, band_name
from geosr.tiles import Window

SIZE = 60
TWELVE = [name for name in make_scene.BANDS if name != "B10"]


def native(name: str) -> np.ndarray:
    """The generated counts of a band on its own grid."""
    factor = make_scene.BANDS[name] // 10
    return make_scene.sense(make_scene.truth_band(name, SIZE), factor)


def read(scene, name: str) -> np.ndarray:
    gsd = make_scene.BANDS[name]
    with scene.open() as reader:
        return reader.read([name], gsd, scene.grids[gsd].window).values[0]


def rewrite(path: Path, change=lambda values: values, **profile) -> None:
    """Write a raster again with other pixels or another profile."""
    with rasterio.open(path) as dataset:
        values, before, names = dataset.read(), dataset.profile, dataset.descriptions
    after = {**before, **profile}
    if np.dtype(after["dtype"]).kind != "u":
        after["predictor"] = 1
    with rasterio.open(path, "w", **after) as dataset:
        dataset.write(change(values).astype(after["dtype"]))
        dataset.descriptions = names


@pytest.fixture
def folder(tmp_path) -> Path:
    make_scene.write_folder(tmp_path / "scene", size=SIZE)
    return tmp_path / "scene"


# names


@pytest.mark.parametrize(
    "text, name",
    [
        ("B5", "B5"), ("b05", "B5"), ("B8A", "B8A"), ("b8a", "B8A"), ("B12", "B12"), ("red", "B4"),
        ("nir08", "B8A"), ("B4, central wavelength 665 nm", "B4"), ("B13", None), ("SCL", None),
        ("", None), (None, None),
    ],
)  # fmt: skip
def test_band_names_of_all_habits_are_understood(text, name):
    assert band_name(text) == name


@pytest.mark.parametrize(
    "stem, found",
    [
        ("T33UUB_20170527T102031_B05", ("B5", None)), ("T33XWJ_B05_20m", ("B5", 20)),
        ("B8A", ("B8A", None)), ("scene_B08A", ("B8A", None)), ("T33UUB_TCI", (None, None)),
        ("MSK_B", (None, None)),
    ],
)  # fmt: skip
def test_file_names_tell_band_and_resolution(stem, found):
    assert band_in_file_name(stem) == found


# SAFE


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    "level, baseline, satellite, offset",
    [("L1C", "02.06", "S2A", 0), ("L1C", "04.00", "S2B", -1000), ("L2A", "02.14", "S2C", 0),
     ("L2A", "05.10", "S2D", -1000)],
)  # fmt: skip
def test_safe_products_of_all_levels_baselines_and_satellites(
    tmp_path, level, baseline, satellite, offset, zipped
):
    path = make_scene.write_safe(
        tmp_path, level=level, baseline=baseline, satellite=satellite, size=SIZE, zipped=zipped
    )
    scene = open_scene(path)
    assert (scene.level, scene.sensor) == (level, "sentinel2")
    assert [b.name for b in scene.bands] == (list(make_scene.BANDS) if level == "L1C" else TWELVE)
    assert {band.offset for band in scene.bands} == {offset}
    assert {gsd: grid.shape for gsd, grid in scene.grids.items()} == {
        10: (60, 60),
        20: (30, 30),
        60: (10, 10),
    }
    scene.check_nested([10, 20, 60])
    assert scene.grids[20].transform.c == 399960
    for name in ("B2", "B5", "B1"):
        np.testing.assert_array_equal(read(scene, name).astype(int) + offset, native(name))
    assert scene.name.startswith(satellite) and "." not in scene.name


def test_the_metadata_name_is_matched_in_any_spelling(tmp_path):
    path = make_scene.write_safe(tmp_path, level="L2A", size=SIZE)
    (path / "MTD_MSIL2A.xml").rename(path / "MTD_MSIL2a.xml")
    assert open_scene(path).level == "L2A"


def test_a_safe_without_a_band_opens_and_names_it_when_asked(tmp_path):
    path = make_scene.write_safe(tmp_path, size=SIZE)
    next(path.glob("GRANULE/*/IMG_DATA/*_B8A.jp2")).unlink()
    with pytest.raises(SceneError, match=r"lacks B8A \(found: B1 B2"):
        open_scene(path).select(names=["B8A"])


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda p: next(p.glob("MTD*.xml")).unlink(), "no SAFE metadata"),
        (lambda p: next(p.glob("MTD*.xml")).write_text("<a"), "not readable as XML"),
        (lambda p: next(p.glob("MTD*.xml")).write_text('<!DOCTYPE a [<!ENTITY x "">]><a/>'), "entities"),
        (lambda p: [f.unlink() for f in p.glob("GRANULE/*/IMG_DATA/*.jp2")], "no band images"),
        (lambda p: next(p.glob("GRANULE/*/IMG_DATA/*_B05.jp2")).write_bytes(b""), "B05.jp2"),
    ],
)  # fmt: skip
def test_broken_products_say_what_is_broken(tmp_path, damage, said):
    path = make_scene.write_safe(tmp_path, size=SIZE)
    damage(path)
    with pytest.raises(SceneError, match=said):
        open_scene(path)


def test_a_damaged_zip_says_so(tmp_path):
    path = make_scene.write_safe(tmp_path, size=SIZE, zipped=True)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SceneError, match="not a readable zip"):
        open_scene(path)


def test_flat_folders_of_jp2_are_scenes_with_the_offset_of_their_name(tmp_path):
    safe = make_scene.write_safe(tmp_path, level="L1C", baseline="05.10", size=SIZE)
    flat = tmp_path / "S2A_MSIL1C_20170527T102031_N0510_R065_T33UUB_x"
    flat.mkdir()
    for file in safe.glob("GRANULE/*/IMG_DATA/*_B*.jp2"):
        file.rename(flat / f"{file.stem[-3:]}.jp2")
    scene = open_scene(flat)
    assert scene.level == "L1C" and len(scene.bands) == 13
    assert {band.offset for band in scene.bands} == {-1000}


def test_the_real_zip_fails_at_60_m_alone_and_names_the_grids(shared):
    scene = open_scene(next((shared / "safe").glob("*.zip")))
    assert scene.level == "L1C" and len(scene.bands) == 13
    scene.check_nested([10, 20])
    with pytest.raises(SceneError, match=r"60 m grid \(29 × 29 px .*10 m grid \(172 × 172 px"):
        scene.check_nested([10, 20, 60])


def test_the_real_l2a_tree_is_read_from_native_folders(shared):
    scene = open_scene(next((shared / "safe").glob("*.SAFE")))
    assert scene.level == "L2A" and [band.name for band in scene.bands] == TWELVE
    assert all(f"R{band.gsd}m" in band.path for band in scene.bands)
    with pytest.raises(SceneError, match="does not nest"):
        scene.check_nested([10, 20])


# folders of GeoTIFFs


@pytest.mark.parametrize("per_band", [False, True])
def test_folders_of_geotiffs_hold_the_bands_by_file_or_by_band(tmp_path, per_band):
    make_scene.write_folder(tmp_path / "S2A_MSIL2A_here", size=SIZE, per_band=per_band)
    scene = open_scene(tmp_path / "S2A_MSIL2A_here")
    assert [band.name for band in scene.bands] == TWELVE
    assert (scene.name, scene.level) == ("S2A_MSIL2A_here", "L2A")
    for name in TWELVE:
        np.testing.assert_array_equal(read(scene, name), native(name))


def test_undescribed_files_are_named_by_their_gsd(folder):
    for path in folder.iterdir():
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = (None,) * dataset.count
    np.testing.assert_array_equal(read(open_scene(folder), "B8A"), native("B8A"))


def test_of_several_copies_the_native_one_is_taken(tmp_path):
    make_scene.write_folder(tmp_path / "s", size=SIZE, per_band=True)
    (blue,) = (tmp_path / "s").glob("*B02.tif")
    with rasterio.open(blue) as dataset:
        values, profile = dataset.read(), dataset.profile
        coarse = dataset.transform @ rasterio.Affine.scale(2)
    profile |= {"width": 30, "height": 30, "transform": coarse}
    with rasterio.open(tmp_path / "s/x_B02_20m.tif", "w", **profile) as dataset:
        dataset.write(values[:, ::2, ::2])
        dataset.descriptions = ("B2",)
    np.testing.assert_array_equal(read(open_scene(tmp_path / "s"), "B2"), native("B2"))


def test_missing_bands_are_named_with_those_found(folder):
    (folder / "20m.tif").unlink()
    with pytest.raises(SceneError, match=r"lacks B5 B11 \(found: B1 B2 B3 B4 B8 B9\)"):
        open_scene(folder).select(names=["B5", "B11"])


def test_bands_of_one_gsd_on_two_grids_are_refused(tmp_path):
    make_scene.write_folder(tmp_path / "s", size=SIZE, per_band=True)
    (file,) = (tmp_path / "s").glob("*B05.tif")
    with rasterio.open(file, "r+") as dataset:
        dataset.transform = dataset.transform @ rasterio.Affine.translation(0.5, 0)
    with pytest.raises(SceneError, match="another grid"):
        open_scene(tmp_path / "s")


@pytest.mark.parametrize("what", ["shift", "crs", "size"])
def test_grids_that_do_not_nest_are_refused_with_both_named(tmp_path, what):
    make_scene.write_folder(tmp_path / "s", size=SIZE, nested=what != "shift")
    if what == "crs":
        rewrite(tmp_path / "s/20m.tif", crs="EPSG:32632")
    if what == "size":
        rewrite(tmp_path / "s/20m.tif", lambda v: v[:, :, :29], width=29)
    with pytest.raises(SceneError, match=r"20 m grid .*does not nest in the 10 m grid"):
        open_scene(tmp_path / "s").check_nested([10, 20])


def test_no_crs_is_fine(folder):
    for path in folder.iterdir():
        rewrite(path, crs=None)
    scene = open_scene(folder)
    scene.check_nested([10, 20, 60])
    assert scene.grid.crs is None


# stacks


@pytest.mark.parametrize("phase", [(0, 0), (1, 0), (0, 1), (3, 2), (5, 5)])
def test_replicated_stacks_give_native_pixels_back_at_any_phase(tmp_path, phase):
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE, phase=phase)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.resampled == "replicated"
    assert scene.window == Window(phase[0], phase[1], SIZE - phase[0], SIZE - phase[1])
    scene.check_nested([10, 20, 60])
    for name in ("B1", "B9", "B5", "B12"):
        k = make_scene.BANDS[name] // 10
        skip = (phase[0] // k, phase[1] // k)  # cut away altogether; partial pixels are recovered
        found = read(scene, name)[skip[0] :, skip[1] :]
        np.testing.assert_array_equal(found, native(name)[skip[0] :, skip[1] :])
    with rasterio.open(tmp_path / "s.tif") as dataset:
        assert (scene.grid.transform, scene.grid.shape) == (dataset.transform, dataset.shape)


def test_interpolated_stacks_are_averaged_and_said_to_be(tmp_path):
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE, replicate=False)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.resampled == "interpolated"
    assert any(note.warning and "interpolated" in note.text for note in scene.notes)
    with rasterio.open(tmp_path / "s.tif") as dataset:
        fine = dataset.read(TWELVE.index("B5") + 1).astype(float)
    means = fine.reshape(30, 2, 30, 2).mean((1, 3))
    np.testing.assert_allclose(read(scene, "B5"), means, rtol=1e-6)


@pytest.mark.parametrize("zone, south", [(32633, False), (32722, True)])
def test_interpolated_stacks_take_their_phase_from_the_utm_lattice(tmp_path, zone, south):
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE, replicate=False, phase=(3, 4))
    with rasterio.open(tmp_path / "s.tif", "r+") as dataset:
        dataset.crs = f"EPSG:{zone}"
        if south:  # a tile corner counted from the false northing, as T22HBD's 5900020
            a = dataset.transform
            dataset.transform = rasterio.Affine(10, 0, a.c, 0, -10, 5900020 - 30)
    assert open_scene(tmp_path / "s.tif").window[:2] == (3, 4)


@pytest.mark.parametrize("count", [12, 13])
def test_unnamed_stacks_are_taken_in_esa_order_with_a_warning(tmp_path, count):
    bands = TWELVE if count == 12 else list(make_scene.BANDS)
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE, descriptions=False, bands=bands)
    scene = open_scene(tmp_path / "s.tif")
    assert [band.name for band in scene.bands] == bands
    assert any(note.warning and "no names" in note.text for note in scene.notes)


def test_ten_unnamed_bands_need_bands_in(tmp_path):
    bands = [name for name in TWELVE if make_scene.BANDS[name] < 60][::-1]
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE, descriptions=False, bands=bands)
    with pytest.raises(SceneError, match="--bands-in"):
        open_scene(tmp_path / "s.tif")
    scene = open_scene(tmp_path / "s.tif", OpenOptions(bands_in=tuple(bands)))
    np.testing.assert_array_equal(read(scene, "B11"), native("B11"))
    with pytest.raises(SceneError, match="--bands-in names 2"):
        open_scene(tmp_path / "s.tif", OpenOptions(bands_in=("B2", "B3")))


def test_descriptions_win_over_order(tmp_path):
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE, bands=TWELVE[::-1])
    scene = open_scene(tmp_path / "s.tif")
    assert [band.name for band in scene.bands] == TWELVE
    np.testing.assert_array_equal(read(scene, "B4"), native("B4"))


def test_four_bands_are_no_scene(folder):
    with pytest.raises(SceneError, match="holds 4 bands, a stacked Sentinel-2 scene 10 to 13"):
        open_scene(folder / "10m.tif")


# finding


def test_a_stack_alone_in_a_folder_is_a_scene_named_by_its_stem(tmp_path):
    make_scene.write_stack(tmp_path / "in/only_20m.tif", size=SIZE)
    assert find_scenes(tmp_path / "in") == [tmp_path / "in/only_20m.tif"]


def test_a_folder_of_scenes_lists_every_kind_and_broken_ones(tmp_path):
    make_scene.write_folder(tmp_path / "in/b", size=SIZE)
    make_scene.write_stack(tmp_path / "in/a.tif", size=SIZE)
    make_scene.write_safe(tmp_path / "in", size=SIZE, zipped=True)
    (tmp_path / "in/broken.tif").write_text("<html>")
    (tmp_path / "in/notes.txt").write_text("hello")
    (tmp_path / "in/empty").mkdir()
    names = [path.name for path in find_scenes(tmp_path / "in")]
    assert names[1:] == ["a.tif", "b", "broken.tif"] and names[0].endswith(".zip")
    assert [p.name for p in find_scenes(tmp_path / "in", pattern="a*")] == ["a.tif"]


def test_files_with_described_bands_make_one_scene_whatever_their_names(folder):
    for path, name in (("10m.tif", "x.tif"), ("20m.tif", "y.tif"), ("60m.tif", "z.tiff")):
        (folder / path).rename(folder / name)
    assert find_scenes(folder) == [folder]
    assert len(open_scene(folder).bands) == 12


def test_a_folder_with_one_broken_part_is_still_one_scene_and_fails(folder):
    (folder / "20m.tif").write_bytes(b"")
    assert find_scenes(folder) == [folder]
    with pytest.raises(SceneError, match=r"20m.tif: not a GeoTIFF.*is empty"):
        open_scene(folder)


def test_what_is_no_scene_says_what_was_looked_for_and_found(tmp_path):
    with pytest.raises(SceneError, match="no such file"):
        open_scene(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no such file"):
        find_scenes(tmp_path / "nowhere")
    with pytest.raises(SceneError, match=r"looked for a SAFE product.*an empty folder"):
        open_scene(tmp_path)
    (tmp_path / "photo.txt").touch()
    with pytest.raises(SceneError, match=r"found photo.txt"):
        open_scene(tmp_path)


def test_urls_become_paths_that_gdal_reads_in_place():
    assert str(remote_path("https://h/a b.tif")) == "/vsicurl?url=https%3A%2F%2Fh%2Fa%20b.tif"
    assert str(remote_path("s3://bucket/key.tif")) == "/vsis3/bucket/key.tif"
    with pytest.raises(SceneError, match="local files only"):
        open_scene("/vsicurl/x.tif")


# content that is refused


@pytest.mark.parametrize("dtype", ["complex64"])
def test_complex_rasters_are_refused(folder, dtype):
    rewrite(folder / "10m.tif", dtype=dtype)
    with pytest.raises(SceneError, match="complex"):
        open_scene(folder)


def test_vrts_are_refused_unless_asked_for(tmp_path):
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE)
    vrt = tmp_path / "v.tif"
    rasterio.shutil.copy(tmp_path / "s.tif", vrt, driver="VRT")
    with pytest.raises(SceneError, match="content is VRT, not TIFF"):
        open_scene(vrt)
    assert len(open_scene(vrt, OpenOptions(vrt=True)).bands) == 12


def test_a_truncated_file_fails_at_reading_and_is_named(folder):
    path = folder / "20m.tif"
    rewrite(path, tiled=False, compress="none", predictor=1)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match=r"20m.tif"):
        read(open_scene(folder), "B12")


# radiometry and validity


def test_the_offset_of_plain_files_is_read_from_tags_else_0_with_a_warning(folder):
    scene = open_scene(folder)
    assert {band.offset for band in scene.bands} == {0}
    assert [note.warning for note in scene.notes] == [True]
    with rasterio.open(folder / "10m.tif", "r+") as dataset:
        dataset.update_tags(RADIO_ADD_OFFSET="-1000")
    assert {band.offset for band in open_scene(folder).bands} == {-1000}
    asked = open_scene(folder, OpenOptions(dn_offset=-500))
    assert {band.offset for band in asked.bands} == {-500}
    assert not any(note.warning for note in asked.notes)


def test_gdal_scale_and_offset_are_an_offset_in_counts(folder):
    for path in folder.iterdir():
        with rasterio.open(path, "r+") as dataset:
            dataset.scales = (0.0001,) * dataset.count
            dataset.offsets = (-0.1,) * dataset.count
    assert {band.offset for band in open_scene(folder).bands} == {-1000}


def test_float_reflectance_is_told_by_its_99th_percentile(folder):
    for path in folder.iterdir():
        rewrite(path, lambda values: values / 1e4, dtype="float32")
    assert open_scene(folder).quantification == 1
    assert open_scene(folder, OpenOptions(quantification=255)).quantification == 255
    for path in folder.iterdir():
        rewrite(path, lambda values: values * 1e4)
    assert open_scene(folder).quantification == 10000


def pixels(folder, names, window=None):
    scene = open_scene(folder)
    gsd = make_scene.BANDS[names[0]]
    with scene.open() as reader:
        return reader.read(names, gsd, window or scene.grids[gsd].window)


def test_nodata_is_per_band_and_the_files_own_value_wins(folder):
    rewrite(folder / "20m.tif", lambda v: np.where(np.arange(6)[:, None, None] == 1, 0, v))
    valid = pixels(folder, ["B5", "B6"]).valid
    assert valid[0].all() and not valid[1].any()
    rewrite(folder / "20m.tif", nodata=7)
    assert pixels(folder, ["B6"]).valid.all()


def test_a_nodata_value_the_type_cannot_hold_is_no_nodata(folder):
    rewrite(folder / "20m.tif", dtype="int16", nodata=-9999)
    assert pixels(folder, ["B5"]).valid.all()
    assert open_scene(folder).select(names=["B5"])[0].nodata == -9999


def test_saturated_and_nan_pixels_are_told_apart(folder):
    rewrite(folder / "10m.tif", lambda v: np.where(v > 9000, 65535, v))
    found = pixels(folder, ["B4"])
    assert found.saturated.any() and found.valid.all()
    assert not (found.usable & found.saturated).any()
    rewrite(folder / "10m.tif", lambda v: np.where(v == 65535, np.nan, v), dtype="float32")
    found = pixels(folder, ["B4"])
    assert not found.valid.all() and not found.saturated.any()


@pytest.mark.parametrize("internal", [True, False])
def test_internal_and_external_masks_are_seen(folder, internal):
    mask = np.ones((60, 60), bool)
    mask[5:9] = False
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal),
        rasterio.open(folder / "10m.tif", "r+") as d,
    ):
        d.write_mask(mask)
    assert (folder / "10m.tif.msk").exists() is not internal
    np.testing.assert_array_equal(pixels(folder, ["B3"]).mask[0], mask)


def test_masked_copies_do_not_count_in_a_stack(tmp_path):
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE)
    mask = np.ones((60, 60), bool)
    mask[0:2, 0:2] = False  # a whole 20 m pixel, and a ninth of a 60 m one
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "s.tif", "r+") as d:
        d.write_mask(mask)
    scene = open_scene(tmp_path / "s.tif")
    with scene.open() as reader:
        b5 = reader.read(["B5"], 20, scene.grids[20].window)
        b1 = reader.read(["B1"], 60, scene.grids[60].window)
    assert np.argwhere(~b5.sensed[0]).tolist() == [[0, 0]]
    assert b1.sensed.all()
    np.testing.assert_array_equal(b1.values[0], native("B1"))


def test_stray_sidecars_change_nothing_and_reading_writes_nothing(folder):
    expected = open_scene(folder).grids
    sidecar = (
        "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform></PAMDataset>"
    )
    for name in ("10m.tif", "20m.tif"):
        (folder / f"{name}.aux.xml").write_text(sidecar)
    before = {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir()}
    scene = open_scene(folder)
    assert scene.grids == expected
    read(scene, "B5")
    assert before == {p.name: (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.iterdir()}


# reading windows


@pytest.mark.parametrize(
    "window", [Window(-9, -4, 50, 45), Window(25, 28, 40, 9), Window(-70, -70, 200, 200)]
)
def test_windows_past_the_edges_are_numpys_symmetric_padding(folder, window):
    values = native("B5")
    padded = np.pad(values, 100, "symmetric")
    rows, cols = window.shift(100, 100).within(Window(0, 0, 260, 260))
    np.testing.assert_array_equal(pixels(folder, ["B5"], window).values[0], padded[rows, cols])


def test_one_pixel_folds_into_any_window():
    folded = fold(Window(-5, -5, 12, 12), 1, 1)
    assert folded.hull == Window(0, 0, 1, 1)
    assert not folded.index[0].any() and not folded.index[1].any()


def test_bands_come_in_the_order_asked(folder):
    found = pixels(folder, ["B12", "B5", "B8A"]).values
    for values, name in zip(found, ("B12", "B5", "B8A"), strict=True):
        np.testing.assert_array_equal(values, native(name))


def test_reprojected_scenes_without_a_common_lattice_still_read(tmp_path, folder):
    """A stack warped by someone keeps its own grid, phase 0, and block means."""
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE)
    with rasterio.open(tmp_path / "s.tif") as source:
        profile = source.profile | {
            "transform": source.transform @ rasterio.Affine.translation(0.3, 0.4)
        }
        warped = np.zeros((12, 60, 60), np.uint16)
        reproject(source.read(), warped, src_transform=source.transform, src_crs=source.crs,
                  dst_transform=profile["transform"], dst_crs=source.crs,
                  resampling=Resampling.bilinear)  # fmt: skip
    with rasterio.open(tmp_path / "w.tif", "w", **profile) as dataset:
        dataset.write(warped)
        dataset.descriptions = tuple(TWELVE)
    scene = open_scene(tmp_path / "w.tif")
    assert scene.resampled == "interpolated" and scene.window[:2] == (0, 0)


def test_permissions_of_the_reader_are_enough(folder):
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    try:
        assert read(open_scene(folder), "B5").any()
    finally:
        folder.chmod(0o755)
