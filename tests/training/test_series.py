"""Several dates of one place become one raster."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine

from geosr.scene import degrade

GRID = Affine(300, 0, 500000, 0, -300, 4600000)
SIDE = 48


@pytest.fixture(scope="module")
def truth():
    field = np.random.default_rng(3).normal(size=(3 * SIDE + 60, 3 * SIDE + 60))
    taps = degrade.point_spread(1, 1.5)
    for axis in (0, 1):
        field = np.apply_along_axis(np.convolve, axis, field, taps, "same")
    return 3500 + 3000 * field


def frame(truth, shift, seed, gain=1.0):
    taps = [degrade.point_spread(3, 1.1, shift=3 * by) for by in shift]
    seen = degrade.shrink(truth[None], 3, *taps, pad=30)[0] * gain
    return np.rint(seen + np.random.default_rng(seed).normal(0, 15, seen.shape)).astype(np.uint16)


def write(path, image, transform=GRID):
    path.parent.mkdir(exist_ok=True, parents=True)
    profile = {"driver": "GTiff", "width": image.shape[1], "height": image.shape[0], "count": 1}
    profile |= {"dtype": image.dtype, "crs": "EPSG:32631", "transform": transform}
    with rasterio.open(path, "w", **profile) as out:
        out.write(image, 1)


SHIFTS = [(0, 0), (0.4, -0.3), (-0.45, 0.2), (0.1, 0.45), (-0.2, -0.4), (0.35, 0.3), (-0.3, -0.1),
          (0.2, -0.15), (1.4, -0.9)]  # fmt: skip


def series(folder, truth, order=range(9), everywhere=False):
    """Nine dates, named in `order`; the first is clear, the others have a cloud each."""
    for name, which in enumerate(order):
        image = frame(truth, SHIFTS[which], which, 1 + 0.05 * (which % 3))
        clear = np.full((SIDE, SIDE), 255, np.uint8)
        if which:
            clear[which * 3 : which * 3 + 5, 10:18] = 0
            image[which * 3 : which * 3 + 5, 10:18] = 9000
        if everywhere:
            clear[2:6, 30:36] = 0
            image[2:6, 30:36] = 9000
        write(folder / f"2020-0{name + 1}.tif", image)
        write(folder / f"2020-0{name + 1}_QM.tif", clear)
    return folder


def made(path):
    with rasterio.open(path) as dataset:
        return dataset.read(1).astype(float), dataset.profile, dataset.dataset_mask()


def inner(truth):
    return truth[30:-30, 30:-30]


def rmse(image, truth):
    at = (slice(12, -12), slice(12, -12))
    return float((image[at] - truth[at]).std())


def test_nine_dates_with_clouds_give_one_raster_on_the_finer_grid(geosr, truth, tmp_path):
    folder = series(tmp_path / "place", truth)
    done = geosr("superres", folder, tmp_path / "out", "--model", "ibp", "--json")
    assert done.returncode == 0, done.stderr
    image, profile, mask = made(tmp_path / "out" / "place.tif")
    assert profile["transform"] == GRID @ Affine.scale(1 / 3)
    assert (profile["width"], profile["height"], profile["crs"].to_epsg()) == (144, 144, 32631)
    assert mask.all()
    outcome = json.loads(done.stdout)
    assert len(outcome["frames"]) == 9
    shifts = {tuple(np.round(look["shift"], 1)) for look in outcome["frames"]}
    assert (1.4, -0.9) in shifts
    assert not any(look["note"] for look in outcome["frames"])
    record = json.loads((tmp_path / "out" / "place.geosr.json").read_text())
    assert record["frames"] == outcome["frames"]
    alone = geosr("superres", folder, tmp_path / "one", "--model", "ibp", "--frames", "1")
    assert alone.returncode == 0, alone.stderr
    one = made(tmp_path / "one" / "place.tif")[0]
    assert rmse(image, inner(truth)) < 0.75 * rmse(one, inner(truth))


@pytest.mark.parametrize("model", ["ibp", "median", "shift-and-add", "mean"])
def test_the_order_of_the_files_changes_nothing(geosr, truth, tmp_path, model):
    images = []
    for name, order in (("a", range(9)), ("b", [5, 3, 8, 0, 7, 1, 2, 6, 4])):
        folder = series(tmp_path / name / "place", truth, order)
        done = geosr("superres", folder, tmp_path / f"out-{name}", "--model", model)
        assert done.returncode == 0, done.stderr
        images.append(made(tmp_path / f"out-{name}" / "place.tif")[0])
    np.testing.assert_allclose(images[0], images[1], atol=1)  # counts


def test_where_no_date_is_clear_nothing_is_written_and_it_is_said(geosr, truth, tmp_path):
    folder = series(tmp_path / "place", truth, everywhere=True)
    done = geosr("superres", folder, tmp_path / "out", "--model", "ibp")
    assert done.returncode == 0, done.stderr
    assert "clear in no image" in done.stderr
    _, _, mask = made(tmp_path / "out" / "place.tif")
    gone = np.zeros((144, 144), bool)
    gone[6:18, 90:108] = True
    assert not (mask == 0)[~gone].any()
    assert (mask == 0)[gone].mean() > 0.5  # a date that looks elsewhere sees some of it


@pytest.mark.parametrize("register", ["none", "integer", "subpixel"])
def test_registration_can_be_switched(geosr, truth, tmp_path, register):
    folder = series(tmp_path / "place", truth)
    done = geosr("superres", folder, tmp_path / "out", "--model", "mean", "--register", register,
                 "--json")  # fmt: skip
    shifts = [part for look in json.loads(done.stdout)["frames"] for part in look["shift"]]
    assert any(shifts) == (register != "none")
    assert all(part == round(part) for part in shifts) == (register != "subpixel")


def test_tiles_give_what_the_whole_gives(geosr, truth, tmp_path):
    folder, images = series(tmp_path / "place", truth), []
    for model in ("mean", "median", "shift-and-add", "ibp"):
        for size in (20, 400):
            out = tmp_path / f"{model}{size}"
            done = geosr("superres", folder, out, "--model", model, "--tile-size", size)
            assert done.returncode == 0, done.stderr
            images.append(made(out / "place.tif")[0])
        np.testing.assert_allclose(images[-2], images[-1], atol=1, err_msg=model)


def test_an_ensemble_averages_over_orders_of_the_frames(geosr, truth, tmp_path):
    folder = series(tmp_path / "place", truth)
    args = ("superres", folder, tmp_path / "out")
    refused = geosr(*args, "--model", "lapsr", "--ensemble", "3")
    assert refused.returncode != 0
    done = geosr(*args, "--model", "ibp", "--ensemble", "3", "--frames", "4")
    assert done.returncode == 0, done.stderr
    plain = geosr("superres", folder, tmp_path / "one", "--model", "ibp", "--frames", "4")
    assert plain.returncode == 0, plain.stderr
    ensemble, one = (made(tmp_path / name / "place.tif")[0] for name in ("out", "one"))
    np.testing.assert_allclose(ensemble, one, atol=1)  # no order of frames matters to it


def test_uncertainty_is_told_by_piunet_alone(geosr, truth, tmp_path):
    folder = series(tmp_path / "place", truth)
    refused = geosr("superres", folder, tmp_path / "out", "--model", "ibp", "--uncertainty")
    assert refused.returncode != 0
    assert "only piunet" in refused.stderr


def test_a_kelvins_set_comes_out_as_16_bit_pngs(geosr, truth, tmp_path):
    for number in range(3):
        image = frame(truth, SHIFTS[number], number)
        for name, pixels in (("LR", image), ("QM", np.full((SIDE, SIDE), 255, np.uint8))):
            path = tmp_path / "RED" / "imgset0007" / f"{name}00{number}.png"
            path.parent.mkdir(exist_ok=True, parents=True)
            with rasterio.open(path, "w", driver="PNG", width=SIDE, height=SIDE, count=1,
                               dtype=pixels.dtype) as out:  # fmt: skip
                out.write(pixels, 1)
    args = ("superres", tmp_path / "RED", tmp_path / "out", "--model", "ibp")
    done = geosr(*args, "--format", "PNG", "--check")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out" / "imgset0007.png") as made:
        assert (made.driver, made.dtypes[0], made.shape) == ("PNG", "uint16", (144, 144))
        assert rmse(made.read(1).astype(float), inner(truth)) < 300
    assert not list((tmp_path / "out").glob("*.xml"))
    assert "1 skipped" in geosr(*args, "--format", "PNG").stderr
    assert geosr("verify", tmp_path / "out").returncode == 0
    other = geosr("superres", tmp_path / "RED", tmp_path / "tif", "--model", "ibp")
    assert other.returncode == 0, other.stderr
    with (
        rasterio.open(tmp_path / "tif" / "imgset0007.tif") as tif,
        rasterio.open(tmp_path / "out" / "imgset0007.png") as png,
    ):
        np.testing.assert_array_equal(tif.read(1), png.read(1))
