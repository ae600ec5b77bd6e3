"""Proba-V products and imgsets, series with quality masks, and frames warped onto one grid."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from make_probav import CLOUD, GOOD, PRODUCT, SHADOW, counts, write_imgset, write_png, write_product
from nets import checkpoint
from rasterio.crs import CRS

from geosr.errors import SceneError
from geosr.scene.pixels import Pixels
from geosr.scene.quality import Quality
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene

UTM = CRS.from_epsg(32630)
GRID = Affine(30, 0, 500010, 0, -30, 4100040)
SERIES = OpenOptions(kind="series")
ALIGNED = OpenOptions(kind="series", align=True)
IMAGE = OpenOptions(kind="image")


def write_tif(path: Path, values: np.ndarray, *, transform=GRID, crs=UTM, names=(), **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    mask = more.pop("mask", None)
    profile = {"width": width, "height": height, "count": count, "dtype": values.dtype, **more}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        with rasterio.open(path, "w", "GTiff", crs=crs, transform=transform, **profile) as file:
            file.write(values)
            file.descriptions = names or (None,) * count
            if mask is not None:
                file.write_mask(mask)
    return path


def ramp(shape=(30, 41), dtype=np.uint16) -> np.ndarray:
    """A plane, which bilinear warping keeps."""
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    return (1000 + 20 * rows + 10 * cols).astype(dtype)


def pixels(scene: Scene, frame: int = 0, name: str | None = None) -> Pixels:
    with scene.open() as reader:
        names = [name or scene.bands[0].name]
        return reader.read(names, 1, scene.grid.window, frame=frame)


def files(scene: Scene) -> list[str]:
    return [Path(b.path).name for b in scene.bands if b.name == scene.bands[0].name]


def warnings(scene: Scene) -> str:
    return "\n".join(note.text for note in scene.notes if note.warning)


# quality of a band


def test_quality_reads_bits_or_anything_but_zero():
    values = np.array([0b0000, 0b1000, 0b1011, 0b11111000], np.uint8)
    assert Quality("q").clear(values).tolist() == [False, True, True, True]
    assert Quality("q", bits=0b111).clear(values).tolist() == [True, True, False, True]
    good = Quality("q", bits=0b10000111, equals=0b10000000)
    assert good.clear(values).tolist() == [False, False, False, True]
    assert good.clear(values.astype(np.int8)).tolist() == [False, False, False, True]
    assert Quality("q").clear(np.array([np.nan, 0, 1])).tolist() == [False, False, True]
    assert Quality("q", bits=7).clear(np.array([np.nan, 0, 3])).tolist() == [False, True, False]


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_a_mask_beside_a_frame_is_its_quality_and_no_frame(tmp_path, suffix):
    cloud = np.full((30, 41), 1, np.uint8)
    cloud[:20] = 0
    for i in range(3):
        write_tif(tmp_path / f"p/{i}.tif", ramp())
    writer = write_tif if suffix == ".tif" else write_png
    writer(tmp_path / f"p/0_QM{suffix}", cloud)
    writer(tmp_path / f"p/1_QM{suffix}", np.ones_like(cloud))
    scene = open_scene(tmp_path / "p", SERIES)
    assert files(scene) == ["1.tif", "2.tif", "0.tif"]
    assert [band.name for band in scene.select()] == ["1"]
    read = pixels(scene, frame=2)
    np.testing.assert_array_equal(read.usable[0], cloud > 0)
    np.testing.assert_array_equal(read.mask[0], cloud > 0)
    assert read.valid.all() and pixels(scene).usable.all()
    with scene.open() as reader:
        assert not reader.has_mask(["1"], 1)
    assert "2.tif without a quality mask" in warnings(scene)
    assert {Path(name).name for name in scene.files} >= {f"0_QM{suffix}", f"1_QM{suffix}"}


def test_quality_and_the_files_own_mask_both_count(tmp_path):
    own, beside = np.full((30, 41), 255, np.uint8), np.full((30, 41), 255, np.uint8)
    own[:5], beside[-5:] = 0, 0
    write_tif(tmp_path / "p/a.tif", ramp())
    write_tif(tmp_path / "p/b.tif", ramp(), mask=own)
    write_png(tmp_path / "p/b_QM.png", beside)
    scene = open_scene(tmp_path / "p", SERIES)
    assert files(scene) == ["a.tif", "b.tif"]
    np.testing.assert_array_equal(pixels(scene, 1).mask[0], (own > 0) & (beside > 0))
    with scene.open() as reader:
        assert reader.has_mask(["1"], 1)


@pytest.mark.parametrize("described", ["SM", "status", "Status_Map"])
def test_a_status_band_counts_by_the_bits_of_each_band(tmp_path, described):
    status = np.full((30, 41), GOOD, np.uint16)
    status[0] |= CLOUD
    status[1] |= SHADOW
    status[2] &= ~np.uint16(1 << 6)  # RED is bad
    stack = np.stack([ramp(), ramp(), ramp(), status])
    for i in range(2):
        write_tif(tmp_path / f"p/{i}.tif", stack, names=("BLUE", "Red", "B3", described))
    scene = open_scene(tmp_path / "p", SERIES)
    assert [band.name for band in scene.select()] == ["BLUE", "Red", "B3"]
    bad = {name: np.flatnonzero(~pixels(scene, 0, name).usable[0, :, 0]).tolist()
           for name in ("BLUE", "Red", "B3")}  # fmt: skip
    assert bad == {"BLUE": [0, 1], "Red": [0, 1, 2], "B3": [0, 1]}


def test_a_qm_band_counts_where_it_is_not_zero(tmp_path):
    mask = np.zeros((30, 41), np.uint16)
    mask[3:] = 7
    for i in range(2):
        write_tif(tmp_path / f"p/{i}.tif", np.stack([mask, ramp()]), names=("qm", None))
    scene = open_scene(tmp_path / "p", SERIES)
    read = pixels(scene)
    np.testing.assert_array_equal(read.usable[0], mask > 0)
    np.testing.assert_array_equal(read.values[0], ramp())
    alone = open_scene(tmp_path / "p/0.tif", IMAGE)
    assert len(alone.bands) == 2 and all(band.quality is None for band in alone.bands)


def test_a_mask_of_another_size_is_refused_with_both_sizes(tmp_path):
    for i in range(2):
        write_tif(tmp_path / f"p/{i}.tif", ramp())
    write_png(tmp_path / "p/1_QM.png", np.full((30, 40), 255, np.uint8))
    with pytest.raises(SceneError, match=r"1_QM\.png \(30 × 40 px.*1\.tif \(30 × 41 px"):
        open_scene(tmp_path / "p", SERIES)


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path):
    for i in range(2):
        write_tif(tmp_path / f"p/{i}.tif", ramp())
    moved = GRID @ Affine.translation(1, 0)
    write_tif(tmp_path / "p/0_QM.tif", np.ones((30, 41), np.uint8), transform=moved)
    with pytest.raises(SceneError, match="has another size or lies elsewhere"):
        open_scene(tmp_path / "p", SERIES)


def test_a_mask_that_is_no_raster_is_refused(tmp_path):
    for i in range(2):
        write_tif(tmp_path / f"p/{i}.tif", ramp())
    (tmp_path / "p/1_QM.tif").write_text("<VRTDataset rasterXSize='41' rasterYSize='30'/>")
    with pytest.raises(SceneError, match=r"1_QM\.tif: content is VRT"):
        open_scene(tmp_path / "p", SERIES)


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path):
    for i in range(2):
        write_tif(tmp_path / f"p/{i}.tif", ramp((200, 300)), compress="deflate")
    broken = tmp_path / "p/1.tif"
    broken.write_bytes(broken.read_bytes()[:-300])
    with pytest.raises(SceneError, match=r"cannot decode .*1\.tif"):
        open_scene(tmp_path / "p", SERIES)


# imgsets


def test_an_imgset_is_a_series_of_its_low_resolution_frames(tmp_path):
    folder = write_imgset(tmp_path / "imgset0007", frames=4)
    scene = open_scene(folder, SERIES)
    assert scene.name == "imgset0007" and scene.grid.shape == (32, 32)
    assert files(scene) == [f"LR{i:03}.png" for i in range(4)]
    for i in range(4):
        assert (~pixels(scene, i).usable[0]).sum() == 2 * i * 32
    assert not warnings(scene) and scene.quantification == 32000


def test_trees_of_imgsets_are_found(tmp_path):
    for name in ("RED/imgset0000", "RED/imgset0001", "NIR/imgset0594"):
        write_imgset(tmp_path / "train" / name, size=12)
    for root in (tmp_path, tmp_path / "train"):
        found = [path.name for path in find_scenes(root, kind="series")]
        assert sorted(found) == ["imgset0000", "imgset0001", "imgset0594"]
    red = find_scenes(tmp_path / "train/RED", kind="series")
    assert [path.name for path in red] == ["imgset0000", "imgset0001"]
    assert find_scenes(red[0], kind="series") == red[:1]


def test_imgsets_hide_no_other_series(tmp_path):
    write_imgset(tmp_path / "imgset0000", size=12)
    for i in range(2):
        write_tif(tmp_path / f"lake/{i}.tif", ramp())
        write_png(tmp_path / f"lake/{i}_QM.png", np.ones((30, 41), np.uint8))
    found = find_scenes(tmp_path, kind="series")
    assert [path.name for path in found] == ["imgset0000", "lake"]


def test_masks_of_named_series_are_no_series(tmp_path):
    for name in ("imgset1", "imgset2"):
        for i in range(2):
            write_png(tmp_path / f"{name}_LR{i}.png", ramp((9, 9)))
            write_png(tmp_path / f"{name}_QM{i}.png", np.full((9, 9), i, np.uint8))
    found = find_scenes(tmp_path, kind="series")
    assert [path.name for path in found] == ["imgset1_LR*.png", "imgset2_LR*.png"]
    scene = open_scene(found[0], SERIES)
    assert files(scene) == ["imgset1_LR1.png", "imgset1_LR0.png"]
    assert not pixels(scene, 1).usable.any()


def test_an_imgset_without_a_mask_names_it(tmp_path):
    folder = write_imgset(tmp_path / "imgset0001")
    (folder / "QM001.png").unlink()
    with pytest.raises(SceneError, match=r"imgset0001: no mask QM001\.png"):
        open_scene(folder, SERIES)


def test_an_imgset_of_one_frame_is_no_series(tmp_path):
    folder = write_imgset(tmp_path / "imgset0001", frames=1)
    with pytest.raises(SceneError, match=r"needs a folder with two or more rasters.*found 1\."):
        open_scene(folder, SERIES)


def test_8_bit_copies_are_refused_among_16_bits_and_noted_alone(tmp_path):
    mixed = write_imgset(tmp_path / "mixed")
    write_png(mixed / "LR001.png", np.full((32, 32), 90, np.uint8))
    with pytest.raises(SceneError, match=r"LR001\.png \(bands 1 of uint8.*LR000\.png.*uint16"):
        open_scene(mixed, SERIES)
    eight = open_scene(write_imgset(tmp_path / "eight", dtype="uint8"), SERIES)
    assert "8-bit copies of 16-bit data?" in warnings(eight)


def test_an_imgset_becomes_one_finer_image(geosr, tmp_path):
    write_imgset(tmp_path / "train/RED/imgset0000")
    write_imgset(tmp_path / "train/NIR/imgset0594")
    net = checkpoint(tmp_path / "net.safetensors", "dual-edsr")
    done = geosr("superres", "train", "out", "--model", net)
    assert done.returncode == 0, done.stderr
    for name in ("imgset0000", "imgset0594"):
        with rasterio.open(tmp_path / f"out/{name}.tif") as file:
            assert file.shape == (96, 96) and file.dtypes == ("uint16",) and file.crs is None


def test_a_real_imgset_opens_the_clearest_first(shared):
    folder = shared / "probav/train/RED/imgset0000"
    if not folder.is_dir():
        pytest.skip("the real imgset is not beside this checkout")
    scene = open_scene(folder, SERIES)
    assert scene.frames == 17 and scene.grid.shape == (128, 128) and not warnings(scene)
    shares = [float(pixels(scene, i).usable.mean()) for i in range(17)]
    masks = {}
    for path in folder.glob("QM*.png"):
        with rasterio.open(path) as file:
            masks[path.name.replace("QM", "LR")] = float((file.read(1) > 0).mean())
    assert shares == [masks[name] for name in files(scene)] == sorted(masks.values(), reverse=True)
    (found,) = find_scenes(shared / "probav", kind="series")
    assert found == folder


# frames on other grids


def place(folder: Path, *, crs=UTM, shift=(0.0, 0.0), **more) -> Path:
    """Two frames of one plane; the second looks `shift` (x, y) pixels aside."""
    write_tif(folder / "a.tif", ramp(), crs=crs)
    x, y = shift
    rows, cols = np.mgrid[:30, :41]
    moved = (1000 + 20 * (rows + y) + 10 * (cols + x)).astype(more.pop("dtype", np.uint16))
    write_tif(folder / "b.tif", moved, crs=crs, transform=GRID @ Affine.translation(x, y), **more)
    return folder


def test_frames_on_other_grids_are_refused_until_asked(geosr, tmp_path):
    folder = place(tmp_path / "p", shift=(3, 2))
    with pytest.raises(SceneError, match=r"b\.tif.*is not on the grid of .*a\.tif.*--align"):
        open_scene(folder, SERIES)
    assert open_scene(folder, ALIGNED).frames == 2


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("nodata", [None, 7])
def test_an_aligned_frame_sees_the_same_ground(tmp_path, dtype, nodata):
    folder = tmp_path / "p"
    write_tif(folder / "a.tif", ramp(dtype=dtype), nodata=nodata)
    x, y = 3.5, 2
    rows, cols = np.mgrid[:30, :41]
    moved = (1000 + 20 * (rows + y) + 10 * (cols + x)).astype(dtype)
    write_tif(folder / "b.tif", moved, nodata=nodata, transform=GRID @ Affine.translation(x, y))
    scene = open_scene(folder, ALIGNED)
    assert files(scene) == ["a.tif", "b.tif"] and "b.tif warped" in str(scene.notes)
    assert scene.grid.transform == GRID
    read = pixels(scene, 1)
    inside = np.zeros((30, 41), bool)
    inside[2:, 4:] = True
    np.testing.assert_array_equal(read.usable[0][:, 4:], inside[:, 4:])
    assert not read.usable[0][:, :3].any()
    np.testing.assert_allclose(read.values[0][2:, 4:], ramp()[2:, 4:], atol=1)
    assert scene.select()[0].warp is None and pixels(scene).usable.all()


def test_masks_and_quality_are_warped_with_their_frame(tmp_path):
    own, beside = np.full((30, 41), 255, np.uint8), np.full((30, 41), 255, np.uint8)
    own[10, 10], beside[20, 20] = 0, 0
    folder = place(tmp_path / "p", shift=(3, 2), mask=own, nodata=0)
    write_png(folder / "b_QM.png", beside)
    read = pixels(open_scene(folder, ALIGNED), 1)
    inside = np.zeros((30, 41), bool)
    inside[2:, 3:] = True
    inside[12, 13] = inside[22, 23] = False
    np.testing.assert_array_equal(read.usable[0], inside)


def test_frames_in_another_crs_are_aligned(tmp_path):
    write_tif(tmp_path / "p/a.tif", ramp())
    east = rasterio.warp.transform_bounds(UTM, "EPSG:4326", 500010, 4099140, 501240, 4100040)
    transform = rasterio.transform.from_bounds(*east, 60, 60)
    write_tif(tmp_path / "p/b.tif", np.full((60, 60), 1500, np.uint16), transform=transform,
              crs=CRS.from_epsg(4326))  # fmt: skip
    scene = open_scene(tmp_path / "p", ALIGNED)
    read = pixels(scene, 1)
    assert scene.grid.crs == UTM and read.usable.mean() > 0.9
    assert (read.values[read.usable] == 1500).all()


def test_frames_of_three_bands_and_alpha_are_aligned(tmp_path):
    rgba = np.full((4, 30, 41), 90, np.uint8)
    rgba[3] = 255
    rgba[3, 10, 10] = 0
    for name, at in (("a", GRID), ("b", GRID @ Affine.translation(0, 4))):
        write_tif(tmp_path / f"p/{name}.tif", rgba, transform=at, photometric="RGB", alpha="yes")
    scene = open_scene(tmp_path / "p", ALIGNED)
    assert len(scene.select()) == 3
    usable = pixels(scene, 1, "3").usable[0]
    assert not usable[:4].any() and not usable[14, 10] and usable[4:].sum() == 26 * 41 - 1


def test_without_a_crs_nothing_is_warped(tmp_path):
    folder = place(tmp_path / "p", crs=None, shift=(3, 2))
    with pytest.raises(SceneError, match="without a CRS in both it cannot be warped"):
        open_scene(folder, ALIGNED)


def test_frames_of_other_bands_are_refused_even_aligned(tmp_path):
    write_tif(tmp_path / "p/a.tif", ramp())
    write_tif(tmp_path / "p/b.tif", np.stack([ramp(), ramp()]))
    with pytest.raises(SceneError, match="of another kind than"):
        open_scene(tmp_path / "p", ALIGNED)


# products


@pytest.fixture
def product(tmp_path: Path):
    pytest.importorskip("h5py")
    return lambda name=PRODUCT, **more: write_product(tmp_path / "in" / name, **more)


def test_a_product_opens_with_its_bands_scale_and_tile(product):
    scene = open_scene(product(nothing=(5, 6)), IMAGE)
    assert (scene.sensor, scene.level) == ("probav", "LEVEL3 TOC")
    assert [band.name for band in scene.bands] == ["BLUE", "RED", "NIR", "SWIR"]
    assert scene.grid.crs == CRS.from_epsg(4326) and scene.dtype == np.int16
    assert scene.grid.bounds == pytest.approx((0, 45, 10, 55))
    assert scene.quantification == 2000 and not warnings(scene)
    assert scene.files == (scene.path,)
    with scene.open() as reader:
        read = reader.read(["NIR", "BLUE"], 1, scene.grid.window)
    expected = np.stack([counts("NIR", (48, 48)), counts("BLUE", (48, 48))])
    assert np.argwhere(~read.valid[0]).tolist() == [[5, 6]] and read.mask.all()
    np.testing.assert_array_equal(read.values[read.valid], expected[read.valid])


def test_scale_and_offset_are_read_not_assumed(product):
    scene = open_scene(product(scale=dict.fromkeys(["RED", "NIR"], 400), offset=20,
                               bands=("RED", "NIR")), IMAGE)  # fmt: skip
    values = reflectance(scene, ["RED"], np.full((1, 1, 1), 220, np.float32))
    assert values.item() == pytest.approx(10000 * (220 - 20) / 400)
    asked = open_scene(scene.path, replace(IMAGE, quantification=1000, dn_offset=3))
    assert asked.quantification == 1000 and {band.offset for band in asked.bands} == {3}


def test_the_status_map_says_which_pixels_of_which_band_are_clear(product):
    status = np.full((48, 48), GOOD, np.uint8)
    status[0] |= CLOUD
    status[1] &= ~np.uint8(1 << 4)  # SWIR is bad
    status[2] &= ~np.uint8(1 << 3)  # sea is clear too
    scene = open_scene(product(status=status), IMAGE)
    with scene.open() as reader:
        usable = reader.read(["NIR", "SWIR"], 1, scene.grid.window).usable
        assert not reader.has_mask(["NIR", "SWIR"], 1)
    bad = [np.flatnonzero(~band[:, 0]).tolist() for band in usable]
    assert bad == [[0], [0, 1]]


def test_segments_at_toa_and_wide_status_maps_open(product):
    status = np.full((40, 60), 0xF00 | GOOD, np.uint16)
    status[7, 8] |= 4
    path = product(
        "PROBAV_L2A_20150101_101010_2_300M_V101.hdf5", level="LEVEL2A", kind="TOA",
        bands=("RED", "NIR"), shape=(40, 60), status=status,
        geotransform="3.25 0.00297619047619048 0 50.5 0 -0.00297619047619048",
    )  # fmt: skip
    scene = open_scene(path, IMAGE)
    assert scene.level == "LEVEL2A TOA" and scene.order({"NIR", "RED"}) == ("RED", "NIR")
    assert (scene.grid.transform.c, scene.grid.transform.f) == (3.25, 50.5)
    assert scene.grid.crs == CRS.from_epsg(4326) and scene.grid.gsd == pytest.approx(1 / 336)
    assert np.argwhere(~pixels(scene).usable[0]).tolist() == [[7, 8]]


def test_a_crs_in_the_file_goes_before_the_tile_in_its_name(product):
    path = product(geotransform="300000 300 0 5000000 0 -300", spatial_ref=UTM.to_wkt())
    grid = open_scene(path, IMAGE).grid
    assert grid.crs == UTM and grid.bounds == (300000, 5000000 - 48 * 300, 314400, 5000000)


@pytest.mark.parametrize(("name", "shape"), [("cut.h5", (48, 48)), (PRODUCT, (48, 40))])
def test_without_crs_and_whole_tile_there_is_a_warning(product, name, shape):
    scene = open_scene(product(name, shape=shape), IMAGE)
    assert scene.grid.crs is None and "no CRS" in warnings(scene)


@pytest.mark.parametrize("text", ["1 2 3", "0 0 0 0 0 0", "a b c d e f", "0 nan 0 0 0 -1"])
def test_a_broken_geotransform_is_refused(product, text):
    with pytest.raises(SceneError, match=f"GeoTransform of crs is '{text}'"):
        open_scene(product(geotransform=text), IMAGE)


def test_bands_of_several_scales_are_refused(product):
    with pytest.raises(SceneError, match=r"NIR/TOC \(.*SCALE 400\) differs from .*SCALE 2000"):
        open_scene(product(scale={"NIR": 400}), IMAGE)


@pytest.mark.parametrize(
    ("scale", "match"),
    [(None, "has no attribute SCALE"), ("much", "SCALE of .* is no number"), (0, "has SCALE 0")],
)
def test_a_scale_that_says_nothing_is_refused(product, scale, match):
    with pytest.raises(SceneError, match=match):
        open_scene(product(scale={"BLUE": scale}), IMAGE)


def test_a_status_map_of_another_size_is_refused_with_both(product):
    scene = open_scene(product(status=np.full((24, 24), GOOD, np.uint8)), IMAGE)
    with pytest.raises(SceneError, match=r"QUALITY/SM \(24 × 24 px.*BLUE/TOC \(48 × 48 px"):
        pixels(scene)


def test_what_is_no_product_says_what_was_looked_for_and_found(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for name in ("LEVEL3/NDVI/NDVI", "LEVEL3/QUALITY/SM"):
            file.create_dataset(name, data=np.zeros((4, 4), np.uint8))
    with pytest.raises(SceneError, match=r"looked for.*BLUE RED NIR SWIR.*found LEVEL3/NDVI/NDVI"):
        open_scene(tmp_path / "other.h5", IMAGE)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(SceneError, match="found no datasets"):
        open_scene(tmp_path / "empty.h5", IMAGE)


@pytest.mark.parametrize("content", [b"", b"<html>", b"II*\x00", b"\x89HDF\r\n\x1a\n" + b"x" * 99])
def test_what_is_named_hdf5_must_be_hdf5(tmp_path, content):
    path = tmp_path / PRODUCT
    path.write_bytes(content)
    with pytest.raises(SceneError, match=re.escape(PRODUCT)) as error:
        open_scene(path, IMAGE)
    assert any(s in str(error.value) for s in ("not an HDF5 file", "HDF5 file of unusual"))


def test_a_cut_product_is_refused(product):
    path = product()
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(SceneError, match="cannot open"):
        open_scene(path, IMAGE)


def test_a_folder_of_products_is_images_or_a_series(product):
    cloudy = np.full((48, 48), GOOD | CLOUD, np.uint8)
    cloudy[:10] = GOOD
    first = product("PROBAV_S1_TOC_X18Y02_20150101_100M_V101.HDF5", status=cloudy)
    second = product("PROBAV_S1_TOC_X18Y02_20150102_100M_V101.hdf5")
    folder = first.parent
    assert find_scenes(folder, kind="image") == [first, second]
    assert find_scenes(folder, kind="series") == [folder]
    scene = open_scene(folder, SERIES)
    assert files(scene) == [second.name, first.name] and scene.sensor == "probav"
    assert not pixels(scene, 1).usable[0, 10:].any() and pixels(scene, 1).usable[0, :10].all()
    assert set(scene.files) == {str(first), str(second)}


def test_products_of_other_tiles_or_scales_make_no_series(product):
    product("PROBAV_S1_TOC_X18Y02_20150101_100M_V101.HDF5")
    other = product("PROBAV_S1_TOC_X19Y02_20150102_100M_V101.HDF5")
    with pytest.raises(SceneError, match="is not on the grid of"):
        open_scene(other.parent, SERIES)
    product(other.name, scale=dict.fromkeys(["BLUE", "RED", "NIR", "SWIR"], 400))
    with pytest.raises(SceneError, match=r"400 is 1\.0.* is of another kind than"):
        open_scene(other.parent, SERIES)


def test_products_on_other_grids_are_aligned_with_their_status(product):
    status = np.full((48, 48), GOOD, np.uint8)
    status[20, 20] |= CLOUD
    product("a.h5", geotransform="0 0.1 0 55 0 -0.1")
    path = product("b.h5", geotransform="0.2 0.1 0 55 0 -0.1", status=status, nothing=(30, 30))
    read = pixels(open_scene(path.parent, ALIGNED), 1)
    usable = np.zeros((48, 48), bool)
    usable[:, 2:] = True
    usable[20, 22] = usable[30, 32] = False
    np.testing.assert_array_equal(read.usable[0], usable)
    np.testing.assert_array_equal(read.values[0][:5, 2:], counts("BLUE", (48, 48))[:5, :-2])


def test_a_product_becomes_a_finer_image(geosr, product):
    path = product()
    done = geosr("superres", path, "out.tif", "--model", "bicubic", "--scale", 3, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    with rasterio.open(path.parent / "out.tif") as file:
        assert file.shape == (144, 144) and file.descriptions == ("BLUE", "RED", "NIR", "SWIR")
        assert file.bounds == pytest.approx((0, 45, 10, 55)) and file.crs == CRS.from_epsg(4326)
        assert file.nodata == -1 and file.dtypes[0] == "int16"
        assert file.tags()["PROCESSING_LEVEL"] == "LEVEL3 TOC"
        inner = file.read(2)[6:-6, 6:-6].reshape(44, 3, 44, 3)[:, 1, :, 1]
    steps = np.abs(inner - counts("RED", (48, 48))[2:-2, 2:-2])
    assert np.median(steps) <= 1
