"""Laws of the made-up scenes that every other test relies on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import make_scene
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from numpy.typing import NDArray

SIZE = 60


def read(path: str | Path) -> dict[str, NDArray[np.int64]]:
    """Counts by band of a GeoTIFF that names its bands."""
    with rasterio.open(path) as dataset:
        return dict(zip(dataset.descriptions, dataset.read().astype(np.int64), strict=True))


def read_folder(folder: Path) -> dict[str, NDArray[np.int64]]:
    return {name: band for path in folder.glob("*.tif") for name, band in read(path).items()}


def read_safe(product: Path, gsds: dict[str, int]) -> dict[str, NDArray[np.int64]]:
    """Counts by band, each from the image at its own GSD."""
    bands = {}
    for name, gsd in gsds.items():
        padded = f"B0{name[1:]}" if len(name) == 2 else name
        found = [*product.rglob(f"IMG_DATA/*_{padded}.jp2")]
        found += product.rglob(f"IMG_DATA/R{gsd}m/*_{padded}_{gsd}m.jp2")
        with rasterio.open(found[0]) as dataset:
            bands[name] = dataset.read(1).astype(np.int64)
    return bands


def assert_same(one: dict[str, NDArray[np.int64]], other: dict[str, NDArray[np.int64]]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def truth() -> dict[str, NDArray[np.float64]]:
    return make_scene.make_truth(SIZE, bands=tuple(make_scene.BANDS))


@pytest.fixture(scope="module")
def sensed(truth: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.int64]]:
    """What a scene of 12 bands has to hold."""
    gsds = make_scene.BANDS
    return {
        name: make_scene.sense(band, gsds[name] // 10).astype(np.int64)
        for name, band in truth.items()
        if name != "B10"
    }


@pytest.fixture(scope="module")
def l1c(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_scene.write_safe(tmp_path_factory.mktemp("l1c"), size=SIZE)


@pytest.fixture(scope="module")
def l2a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("l2a")
    return make_scene.write_safe(folder, level="L2A", baseline="04.00", size=SIZE)


# the land


def test_every_value_lies_between_1_and_14000_and_some_roofs_reflect_more_than_everything() -> None:
    truth = make_scene.make_truth(bands=tuple(make_scene.BANDS))
    assert all(band.shape == (240, 240) for band in truth.values())
    assert min(band.min() for band in truth.values()) >= 1
    assert 10000 < max(band.max() for band in truth.values()) <= 14000
    assert truth["B4"].max() > 10000
    assert truth["B10"].min() >= 1
    assert truth["B10"].max() < 50


def test_a_band_does_not_depend_on_the_others_and_a_seed_changes_it() -> None:
    alone = make_scene.truth_band("B5", SIZE, seed=3)
    np.testing.assert_array_equal(alone, make_scene.make_truth(SIZE, 3)["B5"])
    assert not np.array_equal(alone, make_scene.truth_band("B5", SIZE, seed=4))


def test_plants_have_a_red_edge_and_water_is_dark_in_the_infrared(
    truth: dict[str, NDArray[np.float64]], l2a: Path
) -> None:
    with rasterio.open(next(l2a.rglob("*_SCL_20m.jp2"))) as dataset:
        classes = dataset.read(1)
    means = {name: make_scene.sense(band, 2) for name, band in truth.items()}
    plants = {name: band[classes == 4].mean() for name, band in means.items()}
    water = {name: np.median(band[classes == 6]) for name, band in means.items()}
    assert plants["B4"] < plants["B5"] < plants["B6"] < plants["B7"] < plants["B8A"]
    assert plants["B9"] < plants["B8A"]
    assert water["B12"] < water["B8"] < water["B2"]
    assert water["B11"] < 500


@pytest.mark.parametrize("name", ["B5", "B7", "B11", "B12", "B1", "B9"])
def test_fine_bands_tell_of_the_detail_that_a_coarse_band_has_lost(name: str) -> None:
    factor = make_scene.BANDS[name] // 10

    def detail(band: str) -> NDArray[np.float64]:
        fine = make_scene.truth_band(band)
        coarse = fine.reshape(240 // factor, factor, 240 // factor, factor).mean((1, 3))
        lost: NDArray[np.float64] = fine - coarse.repeat(factor, 0).repeat(factor, 1)
        return lost.ravel()

    known = np.stack([detail(band) for band in ("B2", "B3", "B4", "B8")], axis=1)
    wanted = detail(name)
    fitted = known @ np.linalg.lstsq(known, wanted, rcond=None)[0]
    assert 1 - (wanted - fitted).var() / wanted.var() > 0.5


def test_a_coarse_band_is_the_rounded_block_mean_of_the_truth(
    tmp_path: Path, truth: dict[str, NDArray[np.float64]]
) -> None:
    stored = read_folder(make_scene.write_folder(tmp_path, size=SIZE))
    for name, band in stored.items():
        k = make_scene.BANDS[name] // 10
        for row, col in ((0, 0), (3, 5), (SIZE // k - 1, 2)):
            block = truth[name][row * k : row * k + k, col * k : col * k + k]
            assert band[row, col] == np.rint(block.mean())


def test_a_scene_larger_than_its_base_is_sensed_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_scene, "LARGEST_BASE", 60)
    stored = read_folder(make_scene.write_folder(tmp_path, size=138))
    for name, band in stored.items():
        truth = make_scene.truth_band(name, 138)
        np.testing.assert_array_equal(truth[:, 60:120], truth[:, 59::-1])
        np.testing.assert_array_equal(band, make_scene.sense(truth, make_scene.BANDS[name] // 10))


@pytest.mark.parametrize("size", [0, 100, -6])
def test_a_size_that_is_not_a_multiple_of_6_is_refused(size: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multiple of 6"):
        make_scene.make_truth(size)
    with pytest.raises(ValueError, match="multiple of 6"):
        make_scene.write_safe(tmp_path, size=size)
    assert not [*tmp_path.iterdir()]


def test_an_unknown_band_is_refused() -> None:
    with pytest.raises(ValueError, match="B13"):
        make_scene.make_truth(SIZE, bands=["B13"])


# folders


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def bytes_of(where: Path, seed: int) -> dict[str, bytes]:
        make_scene.write_folder(where, size=SIZE, seed=seed)
        make_scene.write_stack(where / "stack.tif", size=SIZE, seed=seed)
        make_scene.write_safe(where, size=SIZE, seed=seed, zipped=True)
        return {path.name: path.read_bytes() for path in where.iterdir()}

    one, again, other = (bytes_of(tmp_path / n, s) for n, s in (("a", 0), ("b", 0), ("c", 1)))
    assert len(one) == 5
    assert one == again
    assert not any(one[name] == other[name] for name in one)


def test_the_default_folder_is_small_enough_to_ship(tmp_path: Path) -> None:
    make_scene.write_folder(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 500_000


def test_grids_nest_in_one_upper_left_corner(tmp_path: Path, l1c: Path, l2a: Path) -> None:
    make_scene.write_folder(tmp_path, size=SIZE)
    rasters = [*tmp_path.glob("*.tif"), *l1c.rglob("*.jp2"), *l2a.rglob("*.jp2")]
    gsds = set()
    for path in rasters:
        with rasterio.open(path) as dataset:
            gsd = dataset.res[0]
            assert dataset.crs == rasterio.CRS.from_epsg(32633)
            assert (dataset.transform.c, dataset.transform.f) == (399960, 5600040)
            assert dataset.shape == (SIZE * 10 / gsd, SIZE * 10 / gsd)
            gsds.add(gsd)
    assert gsds == {10, 20, 60}


def test_a_folder_that_is_not_nested_has_the_same_pixels_half_a_fine_pixel_away(
    tmp_path: Path, sensed: dict[str, NDArray[np.int64]]
) -> None:
    folder = make_scene.write_folder(tmp_path, size=SIZE, nested=False)
    assert_same(sensed, {name: read_folder(folder)[name] for name in sensed})
    with rasterio.open(folder / "10m.tif") as fine, rasterio.open(folder / "20m.tif") as coarse:
        assert ~fine.transform @ (coarse.transform @ (0, 0)) == (0.5, 0.5)


def test_an_offset_of_minus_1000_stores_1000_more(
    tmp_path: Path, sensed: dict[str, NDArray[np.int64]]
) -> None:
    stored = read_folder(make_scene.write_folder(tmp_path, size=SIZE, offset=-1000))
    assert_same({name: stored[name] - 1000 for name in sensed}, sensed)
    with pytest.raises(ValueError, match="offset"):
        make_scene.write_folder(tmp_path, size=SIZE, offset=1000)


def test_a_folder_holds_the_bands_asked_for_by_gsd_or_one_by_one(
    tmp_path: Path, sensed: dict[str, NDArray[np.int64]]
) -> None:
    asked = make_scene.write_folder(tmp_path / "asked", size=SIZE, bands=["B10", "B2", "B1"])
    assert sorted(path.name for path in asked.iterdir()) == ["10m.tif", "60m.tif"]
    assert list(read(asked / "60m.tif")) == ["B1", "B10"]
    single = make_scene.write_folder(tmp_path / "single", size=SIZE, per_band=True)
    assert (single / "T33UUB_20170527T102031_B05.tif").exists()
    assert_same({name: read_folder(single)[name] for name in sensed}, sensed)


# stacks


def test_a_stack_repeats_coarse_pixels_at_any_phase(
    tmp_path: Path, sensed: dict[str, NDArray[np.int64]]
) -> None:
    path = make_scene.write_stack(tmp_path / "stack.tif", size=SIZE, phase=(2, 5))
    stored = read(path)
    assert list(stored) == [name for name in make_scene.BANDS if name != "B10"]
    for name, band in stored.items():
        k = make_scene.BANDS[name] // 10
        np.testing.assert_array_equal(band, sensed[name].repeat(k, 0).repeat(k, 1)[2:, 5:])
    with rasterio.open(path) as dataset:
        assert tuple(dataset.transform)[:6] == (10, 0, 399960 + 50, 0, -10, 5600040 - 20)


def test_an_interpolated_stack_is_bilinear_between_pixel_centres(
    tmp_path: Path, sensed: dict[str, NDArray[np.int64]]
) -> None:
    stored = read(make_scene.write_stack(tmp_path / "s.tif", size=SIZE, replicate=False))
    np.testing.assert_array_equal(stored["B2"], sensed["B2"])
    coarse = sensed["B5"]
    corner = [9 * coarse[0, 0], 3 * coarse[0, 1], 3 * coarse[1, 0], coarse[1, 1]]
    assert stored["B5"][0, 0] == coarse[0, 0]
    assert abs(stored["B5"][1, 1] - sum(corner) / 16) <= 0.5
    assert not np.array_equal(stored["B5"][::2], stored["B5"][1::2])


def test_a_stack_may_keep_its_band_names_to_itself(tmp_path: Path) -> None:
    path = make_scene.write_stack(
        tmp_path / "s.tif", size=12, descriptions=False, bands=["B8", "B2"], crs=None
    )
    with rasterio.open(path) as dataset:
        assert dataset.descriptions == (None, None)
        assert dataset.crs is None
    with pytest.raises(ValueError, match="phase"):
        make_scene.write_stack(path, size=12, phase=(-1, 0))


# SAFE products


def test_all_layouts_hold_the_same_reflectances(
    tmp_path: Path, sensed: dict[str, NDArray[np.int64]], l1c: Path, l2a: Path
) -> None:
    native = {name: make_scene.BANDS[name] for name in sensed}
    assert_same(sensed, read_safe(l1c, native))
    new = read_safe(l2a, native)
    assert_same(sensed, {name: band - 1000 for name, band in new.items()})
    folder = read_folder(make_scene.write_folder(tmp_path, size=SIZE))
    assert_same(sensed, {name: folder[name] for name in sensed})


def test_jp2_is_lossless(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (1, 70, 90)).astype(np.uint16)
    make_scene._write_jp2(tmp_path / "noise.jp2", pixels, 10)
    with rasterio.open(tmp_path / "noise.jp2") as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["noise.jp2"]


def test_an_l1c_product_is_named_and_laid_out_like_esas(l1c: Path) -> None:
    assert l1c.name == "S2A_MSIL1C_20170527T102031_N0206_R065_T33UUB_20170527T102301.SAFE"
    images = sorted(path.stem.split("_")[-1] for path in l1c.rglob("IMG_DATA/*.jp2"))
    assert images == sorted(["TCI", "B8A", *(f"B{n:02d}" for n in range(1, 13))])
    assert not [*l1c.rglob("QI_DATA")]


def test_an_l2a_product_repeats_fine_bands_at_coarser_gsds(l2a: Path) -> None:
    names = {
        gsd: {path.stem.split("_")[2] for path in l2a.rglob(f"R{gsd}m/*.jp2")}
        for gsd in (10, 20, 60)
    }
    assert names[10] == {"B02", "B03", "B04", "B08", "AOT", "TCI", "WVP"}
    coarse = names[10] - {"B08"} | {"B01", "B05", "B06", "B07", "B8A", "B11", "B12", "SCL"}
    assert names[20] == coarse
    assert names[60] == coarse | {"B09"}
    with rasterio.open(next(l2a.rglob("*_B02_60m.jp2"))) as dataset:
        expected = make_scene.sense(make_scene.truth_band("B2", SIZE), 6)
        np.testing.assert_array_equal(dataset.read(1), expected + 1000)


def test_b1_comes_at_20_m_and_masks_as_jp2_only_from_baseline_04_00(
    tmp_path: Path, l2a: Path
) -> None:
    old = make_scene.write_safe(tmp_path, level="L2A", baseline="02.14", size=12, satellite="S2B")
    assert old.name.startswith("S2B_MSIL2A_20170527T102031_N0214_")
    assert not [*old.rglob("*_B01_20m.jp2")] and [*l2a.rglob("*_B01_20m.jp2")]
    assert not [*old.rglob("QI_DATA")] and [*l2a.rglob("QI_DATA/MSK_DETFOO_B02.jp2")]


@pytest.mark.parametrize(
    ("level", "baseline", "element", "group"),
    [
        ("L1C", "05.10", "RADIO_ADD_OFFSET", "Radiometric_Offset_List"),
        ("L2A", "04.00", "BOA_ADD_OFFSET", "BOA_ADD_OFFSET_VALUES_LIST"),
        ("L1C", "02.06", "RADIO_ADD_OFFSET", None),
        ("L2A", "03.01", "BOA_ADD_OFFSET", None),
    ],
)
def test_metadata_tell_the_baseline_the_images_and_the_offsets(
    level: str, baseline: str, element: str, group: str | None, tmp_path: Path
) -> None:
    product = make_scene.write_safe(tmp_path, level=level, baseline=baseline, size=12)
    root = ElementTree.parse(product / f"MTD_MSI{level}.xml").getroot()
    assert root.findtext(".//PROCESSING_BASELINE") == baseline
    assert root.findtext(".//PROCESSING_LEVEL") == f"Level-{level[1:]}"
    quantification = "QUANTIFICATION_VALUE" if level == "L1C" else "BOA_QUANTIFICATION_VALUE"
    assert root.findtext(f".//{quantification}") == "10000"
    special = [e.text for e in root.iter("SPECIAL_VALUE_INDEX")]
    assert special == ["0", "65535"]
    images = {f"{e.text}.jp2" for e in root.iter("IMAGE_FILE")}
    assert images == {
        path.relative_to(product).as_posix() for path in product.rglob("IMG_DATA/**/*.jp2")
    }
    offsets = {e.get("band_id"): e.text for e in root.iter(element)}
    assert offsets == ({str(i): "-1000" for i in range(13)} if group else {})
    assert group is None or root.find(f".//Product_Image_Characteristics/{group}") is not None


@pytest.mark.parametrize(("gsd", "count"), [(10, 4), (20, 6), (60, 3)])
def test_gdals_own_driver_opens_the_product(l1c: Path, gsd: int, count: int) -> None:
    with rasterio.open(f"SENTINEL2_L1C:{l1c}/MTD_MSIL1C.xml:{gsd}m:EPSG_32633") as dataset:
        names = [text.split(",")[0] for text in dataset.descriptions]
        assert len(names) == count
        expected = make_scene.sense(make_scene.truth_band(names[0], SIZE), gsd // 10)
        np.testing.assert_array_equal(dataset.read(1), expected)


def test_a_zip_reads_through_vsizip(tmp_path: Path, l1c: Path) -> None:
    path = make_scene.write_safe(tmp_path, size=SIZE, zipped=True)
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{l1c.stem}.zip"]
    for image in l1c.rglob("*.jp2"):
        inside = f"/vsizip/{path}/{image.relative_to(l1c.parent)}"
        with rasterio.open(inside) as zipped, rasterio.open(image) as plain:
            np.testing.assert_array_equal(zipped.read(), plain.read())


@pytest.mark.parametrize(
    "wrong", [{"level": "L1B"}, {"baseline": "4"}, {"satellite": "S3A"}], ids=str
)
def test_a_product_that_cannot_exist_is_refused(wrong: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_scene.write_safe(tmp_path, size=6, **wrong)  # type: ignore[arg-type]


# the command line


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["--kind", "folder"], "out/20m.tif"),
        (["--kind", "bands"], "out/T33UUB_20170527T102031_B8A.tif"),
        (["--kind", "stack", "--no-replicate"], "out"),
        (["--kind", "safe", "--zip"], "out/S2A_MSIL1C_*_N0206_*.zip"),
        (["--kind", "safe", "--level", "L2A", "--baseline", "05.10"],
         "out/S2A_MSIL2A_*_N0510_*.SAFE/MTD_MSIL2A.xml"),
    ],
)  # fmt: skip
def test_the_command_line_writes_each_kind(arguments: list[str], made: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(make_scene.main, [str(out), "--size", "12", *arguments])
    assert result.exit_code == 0, result.output
    assert [*tmp_path.glob(made)]
    assert Path(result.output.strip()).exists()


def test_the_command_line_takes_the_baseline_for_every_kind(tmp_path: Path) -> None:
    for baseline in ("02.06", "04.00"):
        where = tmp_path / baseline
        CliRunner().invoke(make_scene.main, [str(where), "--size", "12", "--baseline", baseline])
    old, new = read(tmp_path / "02.06/10m.tif"), read(tmp_path / "04.00/10m.tif")
    assert_same({name: band + 1000 for name, band in old.items()}, new)


def test_the_command_line_explains_a_wrong_size(tmp_path: Path) -> None:
    result = CliRunner().invoke(make_scene.main, [str(tmp_path / "out"), "--size", "100"])
    assert result.exit_code == 2
    assert "Take 102" in result.output


def test_the_script_runs_on_its_own(tmp_path: Path) -> None:
    script = str(Path(make_scene.__file__))
    command = [sys.executable, script, str(tmp_path / "s.tif"), "--kind", "stack", "--size", "12"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "s.tif")
    assert len(read(tmp_path / "s.tif")) == 12
