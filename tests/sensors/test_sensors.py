"""Every layout a scene comes in, found by looking; and what is told when it is none."""

import shutil
import zipfile
from functools import cache
from pathlib import Path

import make_scene
import numpy as np
import pytest
import rasterio
import scene_files
from rasterio.enums import Resampling
from rasterio.warp import reproject

from geosr.batch.targets import targets
from geosr.errors import SceneError, UsageError
from geosr.raster.window import Window
from geosr.scene.pixels import fold
from geosr.sensors import OpenOptions, find_scenes, open_scene, remote_path
from geosr.sensors.sentinel2 import band_in_file_name, band_name

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


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    found = ((p, p.stat()) for p in folder.rglob("*"))
    return {str(p.relative_to(folder)): (s.st_size, s.st_mtime_ns) for p, s in found}


def tagged(path: Path, **tags: str) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(**tags)


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


@pytest.fixture(scope="session")
def write_safe(tmp_path_factory):
    """scene_files.write_safe at SIZE, each product made once and copied."""

    @cache
    def made(**options) -> Path:
        return scene_files.write_safe(tmp_path_factory.mktemp("safe"), size=SIZE, **options)

    def copied(folder: Path, **options) -> Path:
        source = made(**options)
        copy = shutil.copytree if source.is_dir() else shutil.copy
        return Path(copy(source, folder / source.name))

    return copied


@pytest.fixture
def folder(tmp_path) -> Path:
    scene_files.write_folder(tmp_path / "scene", size=SIZE)
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
    tmp_path, write_safe, level, baseline, satellite, offset, zipped
):
    path = write_safe(tmp_path, level=level, baseline=baseline, satellite=satellite, zipped=zipped)
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


def test_the_metadata_name_is_matched_in_any_spelling(tmp_path, write_safe):
    path = write_safe(tmp_path, level="L2A")
    (path / "MTD_MSIL2A.xml").rename(path / "MTD_MSIL2a.xml")
    assert open_scene(path).level == "L2A"


@pytest.mark.parametrize("name", ["MTD_MSIL1C.xml", "manifest.safe"])
def test_the_metadata_of_a_product_stands_for_it(tmp_path, write_safe, name):
    path = write_safe(tmp_path, level="L1C")
    (path / "manifest.safe").touch()
    assert find_scenes(path / name) == [path]
    assert open_scene(path / name) == open_scene(path)
    with pytest.raises(UsageError, match="lies in the input"):
        targets(path / name, path / "out")


def test_a_safe_without_a_band_opens_and_names_it_when_asked(tmp_path, write_safe):
    path = write_safe(tmp_path)
    next(path.glob("GRANULE/*/IMG_DATA/*_B8A.jp2")).unlink()
    with pytest.raises(SceneError, match=r"lacks B8A \(found: B1 B2"):
        open_scene(path).select(names=["B8A"])


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda p: next(p.glob("MTD*.xml")).unlink(), "no SAFE metadata"),
        (lambda p: next(p.glob("MTD*.xml")).write_text("<a"), "not readable as XML"),
        (lambda p: next(p.glob("MTD*.xml")).write_text('<!DOCTYPE a [<!ENTITY x "">]><a/>'),
         "entities"),
        (lambda p: [f.unlink() for f in p.glob("GRANULE/*/IMG_DATA/*.jp2")], "no band images"),
        (lambda p: next(p.glob("GRANULE/*/IMG_DATA/*_B05.jp2")).write_bytes(b""), "B05.jp2"),
    ],
)  # fmt: skip
def test_broken_products_say_what_is_broken(tmp_path, write_safe, damage, said):
    path = write_safe(tmp_path)
    damage(path)
    with pytest.raises(SceneError, match=said):
        open_scene(path)


def test_a_damaged_zip_says_so(tmp_path, write_safe):
    path = write_safe(tmp_path, zipped=True)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SceneError, match="not a readable zip"):
        open_scene(path)


def test_flat_folders_of_jp2_are_scenes_with_the_offset_of_their_name(tmp_path, write_safe):
    safe = write_safe(tmp_path, level="L1C", baseline="05.10")
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


def test_every_band_has_the_offset_its_own_xml_element_says(tmp_path, write_safe):
    path = write_safe(tmp_path, baseline="04.00")
    xml = next(path.glob("MTD*.xml"))
    text = xml.read_text().replace('band_id="8">-1000', 'band_id="8">-900')
    xml.write_text(text.replace('<RADIO_ADD_OFFSET band_id="0">-1000</RADIO_ADD_OFFSET>', ""))
    offsets = {band.name: band.offset for band in open_scene(path).bands}
    assert offsets == dict.fromkeys(make_scene.BANDS, -1000) | {"B8A": -900, "B1": 0}


def test_what_is_asked_wins_over_the_xml(tmp_path, write_safe):
    path = write_safe(tmp_path, baseline="04.00")
    assert {band.offset for band in open_scene(path, OpenOptions(dn_offset=0)).bands} == {0}


def test_a_zip_is_read_in_place(tmp_path, write_safe):
    path = write_safe(tmp_path, level="L2A", baseline="05.10", zipped=True)
    before = listing(tmp_path)
    scene = open_scene(path)
    assert all(band.path.startswith(f"/vsizip/{path}/") for band in scene.bands)
    assert all(f"/R{band.gsd}m/" in band.path for band in scene.bands)  # B01 lies in R20m too
    np.testing.assert_array_equal(read(scene, "B12").astype(int) - 1000, native("B12"))
    assert listing(tmp_path) == before


def test_a_zip_with_damaged_metadata_inside_says_so(tmp_path, write_safe):
    path = write_safe(tmp_path, zipped=True)
    with zipfile.ZipFile(path) as archive:
        entry = next(item for item in archive.infolist() if "MTD_MSI" in item.filename)
    content, start = bytearray(path.read_bytes()), entry.header_offset + 30 + len(entry.filename)
    content[start : start + 60] = b"\xff" * 60
    path.write_bytes(content)
    with pytest.raises(SceneError, match=r"MTD_MSIL1C\.xml: not readable"):
        open_scene(path)


@pytest.mark.parametrize(
    "right, wrong",
    [('"0">-1000<', '"0">n/a<'), ('band_id="12"', 'band_id="13"'), (">10000<", ">ten<")],
)
def test_metadata_with_impossible_values_name_the_product(tmp_path, write_safe, right, wrong):
    path = write_safe(tmp_path, baseline="04.00")
    xml = next(path.glob("MTD*.xml"))
    assert right in xml.read_text()
    xml.write_text(xml.read_text().replace(right, wrong))
    with pytest.raises(SceneError, match=path.name):
        open_scene(path)


def test_a_truncated_image_of_a_product_opens_and_fails_at_reading(tmp_path, write_safe):
    path = write_safe(tmp_path)
    image = next(path.glob("GRANULE/*/IMG_DATA/*_B05.jp2"))
    image.write_bytes(image.read_bytes()[: image.stat().st_size * 9 // 10])
    scene = open_scene(path)
    assert read(scene, "B6").any()
    with pytest.raises(SceneError, match=r"cannot decode .*_B05\.jp2 at rows 0\+30"):
        read(scene, "B5")


@pytest.mark.parametrize("nested", [False, True])
def test_flat_folders_without_a_known_baseline_have_offset_0_and_one_warning(
    tmp_path, write_safe, nested
):
    safe = write_safe(tmp_path, level="L2A")
    flat = tmp_path / "aws"
    for file in safe.glob("GRANULE/*/IMG_DATA/R*/*_B*.jp2"):
        band, gsd = file.stem.split("_")[-2:]
        if nested or int(gsd[:2]) == make_scene.BANDS[band.replace("B0", "B")]:
            to = flat / (f"R{gsd}" if nested else "") / f"{band}.jp2"
            to.parent.mkdir(parents=True, exist_ok=True)
            file.rename(to)
    scene = open_scene(flat)
    assert [band.name for band in scene.bands] == TWELVE and scene.name == "aws"
    assert {band.offset for band in scene.bands} == {0}
    assert [note.warning for note in scene.notes] == [True]
    for name in ("B2", "B8A", "B1"):
        np.testing.assert_array_equal(read(scene, name), native(name))


# folders of GeoTIFFs


@pytest.mark.parametrize("per_band", [False, True])
def test_folders_of_geotiffs_hold_the_bands_by_file_or_by_band(tmp_path, per_band):
    scene_files.write_folder(tmp_path / "S2A_MSIL2A_here", size=SIZE, per_band=per_band)
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
    scene_files.write_folder(tmp_path / "s", size=SIZE, per_band=True)
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
    scene_files.write_folder(tmp_path / "s", size=SIZE, per_band=True)
    (file,) = (tmp_path / "s").glob("*B05.tif")
    with rasterio.open(file, "r+") as dataset:
        dataset.transform = dataset.transform @ rasterio.Affine.translation(0.5, 0)
    with pytest.raises(SceneError, match="another grid"):
        open_scene(tmp_path / "s")


@pytest.mark.parametrize("what", ["shift", "crs", "size"])
def test_grids_that_do_not_nest_are_refused_with_both_named(tmp_path, what):
    scene_files.write_folder(tmp_path / "s", size=SIZE, nested=what != "shift")
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


def test_a_folder_keeps_the_place_of_its_files(folder):
    scene = open_scene(folder)
    for gsd, grid in scene.grids.items():
        with rasterio.open(folder / f"{gsd}m.tif") as dataset:
            assert (grid.crs, grid.transform) == (dataset.crs, dataset.transform)
            assert grid.shape == dataset.shape
    assert scene.grid == scene.grids[10] and scene.dtype == np.uint16


def test_undescribed_files_of_one_band_are_named_by_file(tmp_path):
    folder = scene_files.write_folder(tmp_path / "s", size=SIZE, per_band=True)
    for path in list(folder.iterdir()):
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = (None,)
        path.rename(folder / f"{path.stem[-3:]}.tiff")  # B02.tiff, B8A.tiff
    scene = open_scene(folder)
    assert [band.name for band in scene.bands] == TWELVE
    np.testing.assert_array_equal(read(scene, "B8A"), native("B8A"))
    np.testing.assert_array_equal(read(scene, "B8"), native("B8"))


def test_a_stack_beside_the_files_of_a_scene_does_not_stand_in_for_native_bands(tmp_path):
    folder = scene_files.write_folder(tmp_path / "s", size=SIZE, per_band=True)
    scene_files.write_stack(folder / "sharp.tif", size=SIZE)
    scene = open_scene(folder)
    assert not [band.name for band in scene.bands if band.path.endswith("sharp.tif")]
    scene.check_nested([10, 20, 60])


# stacks


@pytest.mark.parametrize("phase", [(0, 0), (1, 0), (0, 1), (3, 2), (5, 5)])
def test_replicated_stacks_give_native_pixels_back_at_any_phase(tmp_path, phase):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, phase=phase)
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
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, replicate=False)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.resampled == "interpolated"
    assert any(note.warning and "interpolated" in note.text for note in scene.notes)
    with rasterio.open(tmp_path / "s.tif") as dataset:
        fine = dataset.read(TWELVE.index("B5") + 1).astype(float)
    means = fine.reshape(30, 2, 30, 2).mean((1, 3))
    np.testing.assert_allclose(read(scene, "B5"), means, rtol=1e-6)


@pytest.mark.parametrize("zone, south", [(32633, False), (32722, True)])
def test_interpolated_stacks_take_their_phase_from_the_utm_lattice(tmp_path, zone, south):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, replicate=False, phase=(3, 4))
    with rasterio.open(tmp_path / "s.tif", "r+") as dataset:
        dataset.crs = f"EPSG:{zone}"
        if south:  # a tile corner counted from the false northing, as T22HBD's 5900020
            a = dataset.transform
            dataset.transform = rasterio.Affine(10, 0, a.c, 0, -10, 5900020 - 30)
    assert open_scene(tmp_path / "s.tif").window[:2] == (3, 4)


@pytest.mark.parametrize("count", [12, 13])
def test_unnamed_stacks_are_taken_in_esa_order_with_a_warning(tmp_path, count):
    bands = TWELVE if count == 12 else list(make_scene.BANDS)
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, descriptions=False, bands=bands)
    scene = open_scene(tmp_path / "s.tif")
    assert [band.name for band in scene.bands] == bands
    assert any(note.warning and "no names" in note.text for note in scene.notes)


def test_ten_unnamed_bands_need_bands_in(tmp_path):
    bands = [name for name in TWELVE if make_scene.BANDS[name] < 60][::-1]
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, descriptions=False, bands=bands)
    with pytest.raises(SceneError, match="--bands-in"):
        open_scene(tmp_path / "s.tif")
    scene = open_scene(tmp_path / "s.tif", OpenOptions(bands_in=tuple(bands)))
    np.testing.assert_array_equal(read(scene, "B11"), native("B11"))
    with pytest.raises(SceneError, match="--bands-in names 2"):
        open_scene(tmp_path / "s.tif", OpenOptions(bands_in=("B2", "B3")))


def test_descriptions_win_over_order(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, bands=TWELVE[::-1])
    scene = open_scene(tmp_path / "s.tif")
    assert [band.name for band in scene.bands] == TWELVE
    np.testing.assert_array_equal(read(scene, "B4"), native("B4"))


def test_four_bands_are_no_scene(folder):
    with pytest.raises(
        SceneError, match="holds 4 bands, a stacked Sentinel-2 scene 10 to 13.*--model lapsr"
    ):
        open_scene(folder / "10m.tif")


@pytest.mark.parametrize("dropped", [("B1", "B9", "B10"), ("B1", "B10"), ("B10",), ()])
def test_stacks_of_10_to_13_bands_give_native_pixels_back(tmp_path, dropped):
    bands = [name for name in make_scene.BANDS if name not in dropped]
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, bands=bands)
    scene = open_scene(tmp_path / "s.tif")
    assert [band.name for band in scene.bands] == bands
    for name in bands:
        np.testing.assert_array_equal(read(scene, name), native(name))


def test_nine_bands_are_no_stack(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, bands=TWELVE[:9])
    with pytest.raises(SceneError, match=r"s\.tif holds 9 bands"):
        open_scene(tmp_path / "s.tif")


def test_a_stack_grows_outward_to_whole_coarse_pixels_and_mirrors_what_it_lacks(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, phase=(3, 4))
    with rasterio.open(tmp_path / "s.tif") as dataset:
        transform, values = dataset.transform, dataset.read()[:, :50, :47]
    rewrite(tmp_path / "s.tif", lambda v: v[:, :50, :47], height=50, width=47)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.window == Window(3, 4, 50, 47)
    assert {gsd: grid.shape for gsd, grid in scene.grids.items()} == {
        10: (54, 54), 20: (27, 27), 60: (9, 9)
    }  # fmt: skip
    assert all(grid.transform[2::3] == (*make_scene.ORIGIN, 1) for grid in scene.grids.values())
    assert (scene.grid.transform, scene.grid.shape) == (transform, (50, 47))
    blue = values[TWELVE.index("B2")]
    np.testing.assert_array_equal(
        read(scene, "B2"), np.pad(blue, ((3, 1), (4, 3)), mode="symmetric")
    )
    np.testing.assert_array_equal(read(scene, "B9"), native("B9")[:9, :9])


def test_without_crs_and_replication_the_phase_is_0(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, replicate=False, phase=(3, 4), crs=None)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.window == Window(0, 0, 57, 56)
    assert scene.grids[60].shape == (10, 10)


def test_without_crs_replication_alone_tells_the_phase(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, phase=(5, 3), crs=None)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.resampled == "replicated" and scene.window[:2] == (5, 3)
    np.testing.assert_array_equal(read(scene, "B11")[2:, 1:], native("B11")[2:, 1:])


def test_flat_60_m_bands_do_not_hide_the_replication_of_20_m_bands(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, phase=(1, 1), crs=None)
    with rasterio.open(tmp_path / "s.tif", "r+") as dataset:
        for name in ("B1", "B9"):
            dataset.write(np.full(dataset.shape, 500, np.uint16), TWELVE.index(name) + 1)
    scene = open_scene(tmp_path / "s.tif")
    assert scene.resampled == "replicated"
    np.testing.assert_array_equal(read(scene, "B5")[:30, :30], native("B5"))


def test_replicated_20_m_bands_are_undone_exactly_beside_interpolated_60_m_bands(tmp_path):
    smooth = scene_files.write_stack(tmp_path / "i.tif", size=SIZE, phase=(1, 1), replicate=False)
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, phase=(1, 1), crs=None)
    with rasterio.open(smooth) as source, rasterio.open(tmp_path / "s.tif", "r+") as dataset:
        for index in (TWELVE.index(name) + 1 for name in ("B1", "B9")):
            dataset.write(source.read(index), index)
    np.testing.assert_array_equal(
        read(open_scene(tmp_path / "s.tif"), "B5")[:30, :30], native("B5")
    )


def test_bands_in_as_asked_win_over_descriptions(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE)
    scene = open_scene(tmp_path / "s.tif", OpenOptions(bands_in=tuple(TWELVE[::-1])))
    assert [band.index for band in scene.select(names=["B12", "B1"])] == [1, 12]


@pytest.mark.parametrize("wrong", ["B99", "B2"])
def test_bands_in_must_name_existing_bands_once(tmp_path, wrong):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE, descriptions=False)
    names = ("B1", "B2", wrong, *TWELVE[3:])
    with pytest.raises((SceneError, UsageError), match=wrong):
        open_scene(tmp_path / "s.tif", OpenOptions(bands_in=names))


# finding


def test_a_stack_alone_in_a_folder_is_a_scene_named_by_its_stem(tmp_path):
    scene_files.write_stack(tmp_path / "in/only_20m.tif", size=SIZE)
    (found,) = find_scenes(tmp_path / "in")
    assert found == tmp_path / "in/only_20m.tif"
    assert open_scene(found).name == "only_20m"


def test_a_folder_of_scenes_lists_every_kind_and_broken_ones(tmp_path, write_safe):
    scene_files.write_folder(tmp_path / "in/b", size=SIZE)
    scene_files.write_stack(tmp_path / "in/a.tif", size=SIZE)
    write_safe(tmp_path / "in", zipped=True)
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


def test_a_broken_stack_among_stacks_is_listed_even_if_named_by_gsd(tmp_path):
    scene_files.write_stack(tmp_path / "in/a_10m.tif", size=SIZE)
    scene_files.write_stack(tmp_path / "in/b_10m.tif", size=SIZE)
    assert [path.name for path in find_scenes(tmp_path / "in")] == ["a_10m.tif", "b_10m.tif"]
    (tmp_path / "in/b_10m.tif").write_text("<html>")
    assert [path.name for path in find_scenes(tmp_path / "in")] == ["a_10m.tif", "b_10m.tif"]


def test_products_without_metadata_are_listed_and_fail_by_themselves(tmp_path, write_safe):
    path = write_safe(tmp_path)
    next(path.glob("MTD*.xml")).unlink()
    assert find_scenes(tmp_path) == [path]
    with pytest.raises(SceneError, match="no SAFE metadata"):
        open_scene(path)


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


def test_complex_rasters_are_refused(tmp_path, folder):
    rewrite(folder / "10m.tif", dtype="complex64")
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE)
    rewrite(tmp_path / "s.tif", dtype="complex64")
    for path, name in ((folder, "10m.tif"), (tmp_path / "s.tif", "s.tif")):
        with pytest.raises(SceneError, match=rf"{name}: complex .* are not counts .*Convert it"):
            open_scene(path)


def test_html_named_tif_is_shown_by_its_first_characters(tmp_path):
    (tmp_path / "s.tif").write_text("<html><body>503</body></html>")
    with pytest.raises(SceneError, match=r"s\.tif: not a GeoTIFF.*starts with '<html.*Replace"):
        open_scene(tmp_path / "s.tif")


def test_vrts_are_refused_unless_asked_for(tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE)
    vrt = tmp_path / "v.tif"
    rasterio.shutil.copy(tmp_path / "s.tif", vrt, driver="VRT")
    with pytest.raises(SceneError, match="content is VRT, not TIFF"):
        open_scene(vrt)
    assert len(open_scene(vrt, OpenOptions(vrt=True)).bands) == 12


def test_a_truncated_file_fails_at_reading_and_is_named(folder):
    path = folder / "20m.tif"
    whole = path.rename(folder / "whole")
    rasterio.shutil.copy(whole, path, driver="GTiff")  # a copy begins with its directory
    whole.unlink()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    scene = open_scene(folder)
    assert read(scene, "B2").any()
    with pytest.raises(SceneError, match=r"cannot decode .*20m\.tif at rows 0\+30.*Replace"):
        read(scene, "B12")


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


@pytest.mark.parametrize("tag", ["GEOSR_DN_OFFSET", "RADIO_ADD_OFFSET", "BOA_ADD_OFFSET"])
def test_known_tags_of_a_stack_tell_its_offset(tmp_path, tag):
    path = scene_files.write_stack(tmp_path / "s.tif", size=SIZE, offset=-1000)
    tagged(path, **{tag: "-1000"})
    scene = open_scene(path)
    assert {band.offset for band in scene.bands} == {-1000}
    assert not any(note.warning for note in scene.notes)
    np.testing.assert_array_equal(read(scene, "B5").astype(int) - 1000, native("B5"))


def test_a_tag_counts_for_the_file_it_is_in(folder):
    tagged(folder / "10m.tif", RADIO_ADD_OFFSET="-1000")
    tagged(folder / "20m.tif", RADIO_ADD_OFFSET="0")
    offsets = {band.name: band.offset for band in open_scene(folder).bands}
    assert (offsets["B2"], offsets["B5"]) == (-1000, 0)


def test_a_tag_that_is_no_number_names_the_scene(folder):
    tagged(folder / "10m.tif", RADIO_ADD_OFFSET="unknown")
    with pytest.raises(SceneError, match="RADIO_ADD_OFFSET"):
        open_scene(folder)


@pytest.mark.parametrize("stacked", [False, True])
def test_an_offset_of_0_that_was_asked_for_wins_over_gdals(tmp_path, stacked):
    path = tmp_path / ("s.tif" if stacked else "s")
    (scene_files.write_stack if stacked else scene_files.write_folder)(path, size=SIZE)
    for file in [path] if stacked else path.iterdir():
        with rasterio.open(file, "r+") as dataset:
            dataset.scales, dataset.offsets = (1e-4,) * dataset.count, (-0.1,) * dataset.count
    assert {band.offset for band in open_scene(path).bands} == {-1000}
    assert {band.offset for band in open_scene(path, OpenOptions(dn_offset=0)).bands} == {0}


def test_an_offset_read_from_gdal_is_not_called_unknown(folder):
    for path in folder.iterdir():
        with rasterio.open(path, "r+") as dataset:
            dataset.scales, dataset.offsets = (1e-4,) * dataset.count, (-0.1,) * dataset.count
    said = [str(note) for note in open_scene(folder).notes if note.warning]
    assert not [text for text in said if "no DN offset known" in text]


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
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE)
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


def test_nan_and_infinity_are_invalid_where_they_are_and_nowhere_else(folder):
    def spoil(values):
        values = values.astype("float32")
        values[1, 3, 4], values[2, 5, 6] = np.nan, np.inf  # B3 and B4
        return values

    rewrite(folder / "10m.tif", spoil, dtype="float32")
    found = pixels(folder, ["B2", "B3", "B4"])
    assert np.argwhere(~found.valid).tolist() == [[1, 3, 4], [2, 5, 6]]
    assert found.mask.all() and not found.saturated.any()


def test_nodata_copies_do_not_count_in_a_stack(tmp_path):
    path = scene_files.write_stack(tmp_path / "s.tif", size=SIZE)
    with rasterio.open(path, "r+") as dataset:
        values = dataset.read(5)
        values[0, 0], values[2:4, 2:4] = 0, 0  # one copy of a pixel, all copies of another
        dataset.write(values, 5)
    scene = open_scene(path)
    with scene.open() as reader:
        found = reader.read(["B5"], 20, scene.grids[20].window)
        others = reader.read(["B6"], 20, scene.grids[20].window)
    assert np.argwhere(~found.valid[0]).tolist() == [[1, 1]] and others.valid.all()
    assert found.values[0, 0, 0] == native("B5")[0, 0]


@pytest.mark.parametrize("kind", ["folder", "stack", "safe"])
def test_a_sidecar_that_lies_about_bands_changes_nothing(tmp_path, write_safe, kind):
    write = {
        "folder": lambda: scene_files.write_folder(tmp_path / "s", size=SIZE),
        "stack": lambda: scene_files.write_stack(tmp_path / "s.tif", size=SIZE),
        "safe": lambda: write_safe(tmp_path),
    }
    path = write[kind]()
    honest = open_scene(path)
    pam = (
        "<PAMDataset><SRS>EPSG:4326</SRS><GeoTransform>0,1,0,0,0,-1</GeoTransform>"
        '<Metadata><MDI key="RADIO_ADD_OFFSET">-7</MDI></Metadata><PAMRasterBand band="1">'
        f"<NoDataValue>{native('B2')[0, 0]}</NoDataValue><Description>B9</Description>"
        "<Offset>-0.1</Offset><Scale>0.0001</Scale></PAMRasterBand></PAMDataset>"
    )
    for file in honest.files:
        Path(f"{file}.aux.xml").write_text(pam)
    before = listing(tmp_path)
    scene = open_scene(path)
    assert (scene.bands, scene.grids, scene.notes) == (honest.bands, honest.grids, honest.notes)
    with scene.open() as reader:
        found = reader.read(["B2"], 10, scene.window)
    assert found.valid.all()
    np.testing.assert_array_equal(found.values[0], native("B2"))
    assert listing(tmp_path) == before


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


def test_a_grid_of_one_pixel_is_padded_to_any_window(tmp_path):
    scene = open_scene(scene_files.write_folder(tmp_path / "s", size=6))
    assert scene.grids[60].shape == (1, 1)
    window = Window(-5, -7, 13, 15)
    with scene.open() as reader:
        coarse = reader.read(["B1", "B9"], 60, window)
        fine = reader.read(["B8"], 10, window.at(6))
        whole = reader.read(["B1", "B9"], 60, Window(0, 0, 1, 1)).values
        blue = reader.read(["B8"], 10, Window(0, 0, 6, 6)).values
    around = ((0, 0), (5, 7), (7, 7))
    np.testing.assert_array_equal(coarse.values, np.pad(whole, around, "symmetric"))
    assert coarse.usable.all()
    around = ((0, 0), (30, 42), (42, 42))
    np.testing.assert_array_equal(fine.values, np.pad(blue, around, "symmetric"))


def test_validity_is_padded_like_the_values(folder):
    rewrite(folder / "20m.tif", lambda v: np.where(np.arange(30) == 0, 0, v))
    valid = pixels(folder, ["B5"], Window(0, -3, 30, 6)).valid[0]
    assert valid.all(0).tolist() == [True, True, False, False, True, True]


def test_bands_come_in_the_order_asked(folder):
    found = pixels(folder, ["B12", "B5", "B8A"]).values
    for values, name in zip(found, ("B12", "B5", "B8A"), strict=True):
        np.testing.assert_array_equal(values, native(name))


def test_reprojected_scenes_without_a_common_lattice_still_read(tmp_path, folder):
    """A stack warped by someone keeps its own grid, phase 0, and block means."""
    scene_files.write_stack(tmp_path / "s.tif", size=SIZE)
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
