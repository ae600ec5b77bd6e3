"""A coarse raster and its guide: how they are brought together, refused, sharpened and written."""

from __future__ import annotations

from pathlib import Path

import make_landsat
import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS

from geosr.errors import SceneError
from geosr.raster.window import Window
from geosr.sensors import OpenOptions, find_scenes, open_scene

LEFT, TOP = 500_010.0, 4_100_040.0
NAMES = ("brovey", "gsa", "mtf-glp", "bdsd", "regress")


def write(
    path: Path, values: np.ndarray, gsd: float, *, corner=(0.0, 0.0), crs=32633, names=(),
    nodata=None,
) -> Path:  # fmt: skip
    """Bands of `gsd` metres that begin `corner` metres (down, right) from the common corner."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Affine(gsd, 0, LEFT + corner[1], 0, -gsd, TOP - corner[0])
    count, height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=count,
                       dtype=values.dtype, crs=crs and CRS.from_epsg(crs), transform=grid,
                       nodata=nodata) as file:  # fmt: skip
        file.write(values)
        file.descriptions = names or (None,) * count
    return path


def bands(side: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Two bands at 20 m, (2, side, side), and the guide at 10 m that they hang on."""
    field = make_landsat.ground(side)
    low = make_landsat.seen(field)
    counts = np.stack([20000 * low, 8000 * (1 - low)]).astype(np.uint16)
    return counts, (10000 * make_landsat.means(field, 2)).astype(np.uint16)[None]


def pair(folder: Path, **more) -> tuple[Path, Path]:
    low, fine = bands()
    return write(folder / "ms.tif", low, 20), write(folder / "rgb.tif", fine, 10, **more)


def opened(low: Path, fine: Path, **more):
    return open_scene(low, OpenOptions(kind="pair", guide=str(fine), **more))


def said(scene) -> str:
    return " ".join(map(str, scene.notes))


def test_grids_that_nest_are_used_as_they_are(tmp_path):
    low, fine = pair(tmp_path)
    scene = opened(low, fine)
    assert scene.sensor == "pair" and sorted(scene.grids) == [1, 2]
    assert [(band.name, band.gsd, band.warp) for band in scene.bands] == [
        ("guide:1", 1, None), ("1", 2, None), ("2", 2, None)
    ]  # fmt: skip
    assert "guide" not in said(scene)


@pytest.mark.parametrize("down, right", [(1, 1), (-2, 3)])
def test_a_guide_that_shows_the_ground_elsewhere_is_moved_by_whole_pixels(tmp_path, down, right):
    low, fine = pair(tmp_path)
    with rasterio.open(fine, "r+") as file:
        straight = file.read()
        file.write(np.roll(straight, (-down, -right), (1, 2)))
    scene = opened(low, fine)
    assert f"{down:g} px down and {right:g} px right" in said(scene)
    with scene.open() as reader:
        moved = reader.read(["guide:1"], 1, Window(8, 8, 100, 100)).values
    np.testing.assert_array_equal(moved, straight[:, 8:108, 8:108])
    kept = opened(low, fine, register=False)
    assert "elsewhere" not in said(kept) and kept.bands[0].warp is None


def test_pixels_beyond_a_moved_guide_hold_nothing(tmp_path):
    low, fine = pair(tmp_path)
    with rasterio.open(fine, "r+") as file:
        file.write(np.roll(file.read(), (-1, -1), (1, 2)))
    with opened(low, fine).open() as reader:
        pixels = reader.read(["guide:1"], 1, Window(0, 0, 4, 4))
    assert not pixels.valid[0, 0].any() and not pixels.valid[0, :, 0].any()
    assert pixels.usable[0, 1:, 1:].all()


def test_grids_half_a_pixel_apart_are_brought_together_and_told(tmp_path):
    field = make_landsat.ground(60)
    low, _ = bands()
    half = (10000 * make_landsat.means(field[1:-1, 1:-1], 2)).astype(np.uint16)[None]
    scene = opened(
        write(tmp_path / "ms.tif", low, 20), write(tmp_path / "pan.tif", half, 10, corner=(5, 5))
    )
    assert "+0.50 down and +0.50 right of a pixel off" in said(scene)
    assert "elsewhere" not in said(scene)
    with scene.open() as reader:
        got = reader.read(["guide:1"], 1, Window(16, 16, 80, 80)).values[0].astype(float)
    straight = 10000 * make_landsat.means(field, 2)[16:96, 16:96]
    assert np.sqrt(((got - straight) ** 2).mean()) < 0.15 * straight.std()


def test_a_fractional_factor_takes_the_nearest_whole_one_and_tells(tmp_path):
    low, _ = bands()
    field = make_landsat.ground(60)  # 240 cells of 5 m
    fine = (10000 * field).astype(np.uint16)[None]
    scene = opened(write(tmp_path / "ms.tif", low, 12.5), write(tmp_path / "f.tif", fine, 5))
    assert scene.grids[1].gsd == 6.25 and sorted(scene.grids) == [1, 2]
    assert "do not nest" in said(scene)


def test_coarse_pixels_without_a_guide_are_left_out_and_told(tmp_path):
    low, fine = bands()
    part = write(tmp_path / "pan.tif", fine[:, 20:80, 40:120], 10, corner=(200, 400))
    scene = opened(write(tmp_path / "ms.tif", low, 20), part, register=False)
    assert scene.grid.shape == (60, 80) and "30 × 40 of 60 × 60 pixels" in said(scene)
    with scene.open() as reader:
        coarse = reader.read(["1"], 2, Window(0, 0, 30, 40)).values[0]
    np.testing.assert_array_equal(coarse, low[0, 10:40, 20:60])


def test_what_cannot_guide_is_refused_with_the_reason(tmp_path):
    low, fine = pair(tmp_path)
    far = write(tmp_path / "far.tif", bands()[1], 10, corner=(0, 90_000))
    with pytest.raises(SceneError, match=r"bounds 590010 .* does not touch .*bounds 500010"):
        opened(low, far)
    with pytest.raises(SceneError, match="is no finer than"):
        opened(fine, low)
    other = write(tmp_path / "other.tif", bands()[1], 10, crs=32634)
    with pytest.raises(SceneError, match="another CRS .* --align"):
        opened(low, other)
    nowhere = write(tmp_path / "nowhere.tif", bands()[1], 10, crs=None)
    with pytest.raises(SceneError, match="only one has a CRS"):
        opened(low, nowhere)
    with pytest.raises(SceneError, match="--guide FINE"):
        open_scene(low, OpenOptions(kind="pair"))


def test_a_guide_in_another_crs_is_brought_into_the_inputs_where_asked(tmp_path):
    from rasterio.warp import Resampling, calculate_default_transform, reproject

    low, fine = pair(tmp_path)
    with rasterio.open(fine) as file:
        crs = CRS.from_epsg(32632)
        grid, width, height = calculate_default_transform(
            file.crs, crs, file.width, file.height, *file.bounds
        )
        there = np.zeros((1, height, width), np.uint16)
        reproject(file.read(), there, src_transform=file.transform, src_crs=file.crs,
                  dst_transform=grid, dst_crs=crs, resampling=Resampling.cubic)  # fmt: skip
        straight = file.read(1)
    with rasterio.open(tmp_path / "there.tif", "w", driver="GTiff", height=height, width=width,
                       count=1, dtype="uint16", crs=crs, transform=grid,
                       nodata=0) as file:  # fmt: skip
        file.write(there)
    scene = opened(low, tmp_path / "there.tif", align=True, register=False)
    assert "brought from EPSG:32632" in said(scene)
    with scene.open() as reader:
        got = reader.read(["guide:1"], 1, Window(20, 20, 80, 80)).values[0].astype(float)
    wanted = straight[20:100, 20:100].astype(float)
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.97


def test_folders_hold_pairs_by_name(tmp_path):
    low, fine = bands()
    for name in ("a", "b"):
        write(tmp_path / "both" / f"{name}_ms.tif", low, 20)
        write(tmp_path / "both" / f"{name}_pan.tif", fine, 10)
        write(tmp_path / "low" / f"{name}.tif", low, 20)
        write(tmp_path / "fine" / f"{name}.tif", fine, 10)
    assert [p.name for p in find_scenes(tmp_path / "both", kind="pair")] == ["a_ms.tif", "b_ms.tif"]
    open_scene(tmp_path / "both/a_ms.tif", OpenOptions(kind="pair"))
    opened(tmp_path / "low/b.tif", tmp_path / "fine")
    (tmp_path / "fine/b.tif").unlink()
    with pytest.raises(SceneError, match=r"one raster named as b\.tif"):
        opened(tmp_path / "low/b.tif", tmp_path / "fine")


@pytest.mark.parametrize("name", [*NAMES, "guided-filter"])
def test_the_command_sharpens_to_the_grid_of_the_guide_alike_in_tiles(geosr, tmp_path, name):
    low, fine = pair(tmp_path, nodata=0)
    with rasterio.open(low, "r+") as file:
        file.nodata = 0
        values = file.read()
        values[:, 10:13, 20:25] = 0
        file.write(values)
        file.descriptions = ("heat", "moss")
    made = []
    for out, size in (("whole.tif", 4096), ("tiles.tif", 24)):
        done = geosr("superres", low, out, "--guide", fine, "--model", name, "--tile-size", size)
        assert done.returncode == 0, done.stderr
        with rasterio.open(tmp_path / out) as file, rasterio.open(fine) as guide:
            assert file.descriptions == ("heat", "moss") and file.nodata == 0
            assert (file.crs, file.transform, file.shape) == (
                guide.crs, guide.transform, guide.shape
            )  # fmt: skip
            assert file.tags()["GEOSR_MODEL"] == name
            made.append(file.read())
    whole, tiles = made
    assert (whole[:, 20:26, 40:50] == 0).all() and (whole != 0).mean() > 0.98
    assert np.abs(whole.astype(int) - tiles.astype(int)).max() <= 1  # the last bit's rounding


def test_sharpened_bands_come_nearer_to_the_truth_than_bicubic(geosr, tmp_path):
    low, fine = pair(tmp_path)
    truth = 20000 * make_landsat.means(make_landsat.ground(60), 2)
    errors = {}
    for name in (*NAMES, "bicubic-pair"):
        assert geosr("superres", low, f"{name}.tif", "--guide", fine, "-m", name).returncode == 0
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            errors[name] = np.sqrt(((file.read(1) - truth)[8:-8, 8:-8] ** 2).mean())
    assert all(errors[name] < 0.5 * errors["bicubic-pair"] for name in NAMES), errors


def test_the_default_with_a_guide_is_local_regression(geosr, tmp_path):
    low, fine = pair(tmp_path)
    assert geosr("superres", low, "o.tif", "--guide", fine).returncode == 0
    with rasterio.open(tmp_path / "o.tif") as file:
        assert file.tags()["GEOSR_MODEL"] == "regress"


def test_nets_that_take_no_guide_say_so(geosr, tmp_path):
    low, fine = pair(tmp_path)
    done = geosr("superres", low, "o.tif", "--guide", fine, "--model", "lapsr")
    assert done.returncode == 2 and "takes no --guide" in done.stderr


def test_an_output_made_by_another_guide_is_made_anew(geosr, tmp_path):
    low, fine = pair(tmp_path)
    other = write(tmp_path / "other.tif", bands()[1] // 2, 10)
    assert geosr("superres", low, "out", "--guide", fine).returncode == 0
    again = geosr("superres", low, "out", "--guide", fine)
    assert again.returncode == 0 and "skipped" in again.stderr
    done = geosr("superres", low, "out", "--guide", other)
    assert done.returncode != 0 and "--overwrite" in done.stderr


def test_real_landsat_pans_lie_one_pixel_off_and_are_moved(shared):
    for path in find_scenes(shared / "landsat7", kind="pair")[:3]:
        scene = open_scene(path, OpenOptions(kind="pair"))
        assert scene.sensor == "landsat" and sorted(scene.grids) == [15, 30]
        assert "1 px down and 1 px right" in said(scene)
