"""Nets for any raster, on the command line: grids, bands, series, seams."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from nets import checkpoint
from rasters import CRS_, GRID
from rasters import write_on_grid as write

from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.models import weights
from geosr.models.registry import DESIGNS, design
from geosr.sensors import OpenOptions, open_scene

ONE = [name for name, d in DESIGNS.items() if d.task == "sisr"]
MANY = [name for name, d in DESIGNS.items() if d.task == "misr"]

_LONG = {"misr-gru"}  # its margin is measured anew where the card is not the registry's


def quick_first(names):
    """The names; the longest ones are for `-m slow`."""
    return [pytest.param(n, marks=pytest.mark.slow) if n in _LONG else n for n in names]


def scene(seed: int, bands=1, shape=(30, 41), dtype=np.uint8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(20, 200, (bands, *shape)).astype(dtype)


@pytest.mark.parametrize("name", ONE)
def test_the_output_grid_is_the_inputs_times_the_scale(geosr, tmp_path, name):
    write(tmp_path / "in/a.tif", scene(0, bands=2), names=("red", "nir"))
    if name == "bicubic":
        args = ["--model", name, "--scale", 2]
    else:
        args = ["--model", checkpoint(tmp_path / "net.safetensors", name)]
    done = geosr("superres", "in", "out", *args)
    assert done.returncode == 0, done.stderr
    scale = design(name).scale
    with rasterio.open(tmp_path / "in/a.tif") as a, rasterio.open(tmp_path / "out/a.tif") as b:
        assert b.crs == CRS_ and b.bounds == pytest.approx(a.bounds, abs=1e-6)
        assert b.transform.almost_equals(GRID @ Affine.scale(1 / scale))
        assert b.shape == (a.height * scale, a.width * scale)
        assert b.descriptions == ("red", "nir") and b.dtypes == ("uint8", "uint8")
        assert b.nodata is None and b.tags()["GEOSR_MODEL"] == name


@pytest.mark.parametrize("name", quick_first(n for n in MANY if not DESIGNS[n].video))
def test_a_folder_of_frames_is_one_scene(geosr, tmp_path, name):
    for i in range(3):
        write(tmp_path / f"places/lake/frame{i}.tif", scene(i, dtype=np.uint16))
    net = checkpoint(tmp_path / "net.safetensors", name)
    for source in ("places", "places/lake"):
        done = geosr("superres", source, f"out-{source[-4:]}", "--model", net)
        assert done.returncode == 0, done.stderr
        with rasterio.open(tmp_path / f"out-{source[-4:]}/lake.tif") as file:
            scale = design(name).scale
            assert file.shape == (30 * scale, 41 * scale) and file.crs == CRS_
            assert file.bounds == pytest.approx((500010, 4099140, 501240, 4100040))
            assert file.dtypes == ("uint16",)


def test_a_flat_folder_of_numbered_frames_holds_a_series_a_name(geosr, tmp_path):
    for name in ("imgset1160", "imgset1161"):
        for frame in range(2):
            write(tmp_path / f"low_res/{name}_LR{frame}.tif", scene(frame))
    net = checkpoint(tmp_path / "net.safetensors", "dual-edsr")
    done = geosr("superres", "low_res", "out", "--model", net)
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (tmp_path / "out").glob("*.tif"))
    assert made == ["imgset1160.tif", "imgset1161.tif"]
    assert geosr("superres", "low_res", "out", "--model", net).stderr.count("skipped") == 3


def test_one_file_is_no_series(geosr, tmp_path):
    path = write(tmp_path / "a.tif", scene(0))
    net = checkpoint(tmp_path / "net.safetensors", "dual-edsr")
    done = geosr("superres", path, "out", "--model", net)
    assert done.returncode == 4 and "needs a folder with two or more rasters" in done.stderr


def test_a_raster_alone_in_its_folder_fails_and_is_not_passed_over(geosr, tmp_path):
    for name in ("one/a", "places/many/a", "places/many/b", "places/one/a"):
        write(tmp_path / f"{name}.tif", scene(0))
    alone = geosr("superres", "one", "out", "--model", "mean")
    assert alone.returncode == 4 and "two or more rasters of one place, found 1" in alone.stderr
    some = geosr("superres", "places", "out", "--model", "mean")
    assert some.returncode == 3 and "1 done, 0 skipped, 1 failed" in some.stderr
    assert "places/one: a multi-image net needs" in some.stderr


def test_frames_on_other_grids_are_refused(geosr, tmp_path):
    write(tmp_path / "place/a.tif", scene(0))
    write(tmp_path / "place/b.tif", scene(0, shape=(30, 40)))
    net = checkpoint(tmp_path / "net.safetensors", "dual-edsr")
    done = geosr("superres", "place", "out", "--model", net)
    assert done.returncode == 4 and "is not on the grid of" in done.stderr


def test_the_clearest_frames_come_first(tmp_path):
    mask = np.full((30, 41), 255, np.uint8)
    mask[:20] = 0
    write(tmp_path / "p/a.tif", scene(0), mask=mask)
    write(tmp_path / "p/b.tif", scene(1))
    found = open_scene(tmp_path / "p", OpenOptions(kind="series"))
    assert [Path(band.path).name for band in found.bands] == ["b.tif", "a.tif"]


def test_bands_by_name_and_patterns_choose(geosr, tmp_path):
    write(tmp_path / "in/a.tif", scene(0, bands=3), names=("red", "green", "swir"))
    write(tmp_path / "in/b.png.tif", scene(0))
    args = ["--model", "bicubic", "--scale", 3, "--pattern", "a*"]
    done = geosr("superres", "in", "out", *args, "--bands", "swir,red")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in sorted((tmp_path / "out").glob("*.tif"))] == ["a.tif"]
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert file.descriptions == ("red", "swir")
    done = geosr("superres", "in", "out2", *args, "--bands", "blue")
    assert done.returncode == 4 and "cannot give blue" in done.stderr


def test_a_joint_net_takes_its_number_of_bands(geosr, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors", "espcn", scale=2, bands=3)
    write(tmp_path / "in/a.tif", scene(0, bands=3))
    write(tmp_path / "in/b.tif", scene(0, bands=2))
    done = geosr("superres", "in", "out", "--model", net)
    assert done.returncode == 3 and "has 2 bands, espcn takes 3 at once" in done.stderr
    assert (tmp_path / "out/a.tif").exists() and not (tmp_path / "out/b.tif").exists()


def test_masks_and_nodata_come_through(geosr, tmp_path):
    mask = np.full((30, 41), 255, np.uint8)
    mask[3:9, 5:11] = 0
    write(tmp_path / "in/masked.tif", scene(0), mask=mask)
    values = scene(1)
    values[0, 4, 4] = 7
    write(tmp_path / "in/nodata.tif", values, nodata=7)
    done = geosr("superres", "in", "out", "--model", "bicubic", "--scale", 2)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out/masked.tif") as file:
        np.testing.assert_array_equal(file.dataset_mask(), mask.repeat(2, 0).repeat(2, 1))
    with rasterio.open(tmp_path / "out/nodata.tif") as file:
        assert file.nodata == 7
        lost = file.read(1) == 7
        assert lost.sum() == 4 and lost[8:10, 8:10].all()


def test_an_alpha_band_is_a_mask_and_no_band(geosr, tmp_path):
    rgba = np.concatenate([scene(0, bands=3), np.full((1, 30, 41), 255, np.uint8)])
    rgba[3, :5] = 0
    (tmp_path / "in").mkdir()
    with rasterio.open(tmp_path / "in/a.png", "w", driver="PNG", width=41, height=30, count=4,
                       dtype="uint8") as file:  # fmt: skip
        file.write(rgba)
    done = geosr("superres", "in", "out", "--model", "bicubic", "--scale", 2)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert file.count == 3 and file.shape == (60, 82)
        assert not file.dataset_mask()[:10].any() and file.dataset_mask()[10:].all()


@pytest.mark.parametrize("kind", ["complex64", "palette"])
def test_what_holds_no_values_is_refused(geosr, tmp_path, kind):
    dtype = "complex64" if kind == "complex64" else "uint8"
    (tmp_path / "in").mkdir()
    with rasterio.open(tmp_path / "in/a.tif", "w", driver="GTiff", width=8, height=8, count=1,
                       dtype=dtype) as file:  # fmt: skip
        file.write(np.ones((1, 8, 8), dtype))
        if kind == "palette":
            file.write_colormap(1, {1: (255, 0, 0, 255)})
    done = geosr("superres", "in", "out", "--model", "bicubic", "--scale", 2)
    assert done.returncode == 4 and "bands of one real type are needed" in done.stderr


def test_full_counts_are_no_saturation_outside_sentinel_2(geosr, tmp_path):
    values = np.full((1, 20, 20), 65535, np.uint16)
    write(tmp_path / "in/a.tif", values)
    done = geosr("superres", "in", "out", "--model", "bicubic", "--scale", 2)
    assert done.returncode == 0 and "filled" not in done.stderr
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert (file.read() == 65535).all()


def test_a_part_of_the_raster_lands_where_it_lies(geosr, tmp_path):
    write(tmp_path / "in/a.tif", scene(0))
    args = ["superres", "in", "whole", "--model", "bicubic", "--scale", 2]
    assert geosr(*args).returncode == 0
    bounds = (500010 + 95, 4100040 - 500, 500010 + 400, 4100040 - 130)
    args[2] = "part"
    done = geosr(*args, "--bounds", *bounds)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "whole/a.tif") as a, rasterio.open(tmp_path / "part/a.tif") as b:
        col, row = (round(v) for v in ~a.transform @ (b.bounds.left, b.bounds.top))
        assert (row, col) == (2 * 4, 2 * 3)
        part = a.read(window=((row, row + b.height), (col, col + b.width)))
        np.testing.assert_array_equal(part, b.read())


EXACT = [n for n in (*ONE, *MANY) if not DESIGNS[n].blend and n != "bicubic"]
BLENDED = [n for n in (*ONE, *MANY) if DESIGNS[n].blend]


def made(model, path: Path, folder: Path, tile: int) -> np.ndarray:
    kind = "series" if model.card.task == "misr" else "image"
    opened = open_scene(path, OpenOptions(kind=kind))
    out = folder / f"tile{tile}.tif"
    superres(opened, out, [model], request=Request(tile_size=tile))
    with rasterio.open(out) as file:
        return file.read()


def place(folder: Path, name: str, shape=(96, 80)) -> Path:
    """A smooth float scene, or a series of it, so that errors show below a count."""
    rng = np.random.default_rng(3)
    coarse = rng.uniform(0.2, 0.6, (1, shape[0] // 8, shape[1] // 8))
    fine = coarse.repeat(8, 1).repeat(8, 2).astype(np.float32)
    if DESIGNS[name].task == "sisr":
        return write(folder / "a.tif", fine)
    for i in range(3):
        noise = rng.normal(0, 0.01, fine.shape).astype(np.float32)
        write(folder / f"place/{i}.tif", fine + noise)
    return folder / "place"


@pytest.mark.parametrize("name", quick_first(EXACT))
def test_tiles_make_the_same_as_the_whole(tmp_path, name):
    net = checkpoint(tmp_path / "net.safetensors", name)
    (model,) = weights.load(str(net))
    path = place(tmp_path, name, shape=(96, 48))
    whole, tiles = (made(model, path, tmp_path, size) for size in (400, 24))
    np.testing.assert_allclose(tiles, whole, atol=2e-5)


@pytest.mark.parametrize("name", BLENDED)
def test_blended_tiles_have_no_seams(tmp_path, name):
    """Where tiles meet, the tiled result departs from the whole no more abruptly than elsewhere."""
    net = checkpoint(tmp_path / "net.safetensors", name)
    (model,) = weights.load(str(net))
    path = place(tmp_path, name)
    whole, tiles = (made(model, path, tmp_path, size)[0] for size in (400, 48))
    difference = tiles.astype(np.float64) - whole
    k = model.card.scale * 48
    seam = np.abs(difference[k] - difference[k - 1]).max()
    inside = np.abs(np.diff(difference, axis=0)).max()
    spread = whole.std()
    assert seam <= inside and seam < 0.1 * spread, (seam, inside, spread)
    assert np.abs(difference).mean() < 0.2 * spread


@pytest.mark.parametrize("size", [1, 6, 9])
def test_tiles_smaller_than_the_ramp_of_a_net_that_blends_are_made_larger(tmp_path, size):
    net = checkpoint(tmp_path / "net.safetensors", "swinir-light")
    (model,) = weights.load(str(net))
    tiles, least = (made(model, place(tmp_path, "swinir-light"), tmp_path, n) for n in (size, 16))
    np.testing.assert_array_equal(tiles, least)


def test_guided_nets_and_nets_for_any_raster_do_not_mix(geosr, tmp_path):
    done = geosr("superres", ".", "out", "--model", "dsen2", "--model",
                 checkpoint(tmp_path / "net.safetensors", "espcn"))  # fmt: skip
    assert done.returncode == 2 and "do not go together" in done.stderr


def test_a_scale_that_the_file_does_not_have_is_refused(geosr, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors", "espcn", scale=3)
    done = geosr("superres", ".", "out", "--model", net, "--scale", 2)
    assert done.returncode == 2 and "at scale 3, not 2" in done.stderr


def test_a_net_without_weights_says_how_to_train_it(geosr):
    done = geosr("superres", ".", "out", "--model", "rcan", "--scale", 4)
    assert done.returncode == 6 and "geosr train --model rcan --scale 4" in done.stderr


def test_the_list_of_models_is_json(geosr):
    done = geosr("models", "--json")
    rows = json.loads(done.stdout)
    keys = {"name", "task", "scale", "parameters", "margin", "bands", "weights", "shipped"}
    assert all(set(row) == keys for row in rows)
    by_name = {row["name"]: row for row in rows}
    assert by_name["dual-edsr"]["task"] == "misr" and by_name["dual-edsr"]["scale"] == 3
    assert by_name["lapsr"]["scale"] == 4 and by_name["edsr-baseline"]["scale"] == 2
    assert by_name["dsen2-20"]["shipped"] and by_name["dsen2-20"]["weights"].endswith("tensors")
    assert by_name["lapsr"]["parameters"] == 814_242
    done = geosr("models", "lapsrn", "--scale", 8)
    assert "1,221,043" in done.stdout
    assert geosr("models", "lapsrr").returncode == 2
