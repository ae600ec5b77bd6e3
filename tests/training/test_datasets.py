"""Pairs for training: folders, matched files, arrays, simulated series; what is read as what."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasters import paired, picture, write
from scipy.ndimage import shift as moved

from geosr.errors import UsageError
from geosr.models.registry import design
from geosr.raster.window import Window
from geosr.scene import degrade
from geosr.sensors import OpenOptions, open_scene
from geosr.training.datasets import Choice, kind_of, open_sets, places
from geosr.training.datasets.cache import Held, Room
from geosr.training.datasets.series import Sensor, SeriesWindows
from geosr.training.datasets.windows import Area

CHOICE = Choice(patch=24)
IMAGE = OpenOptions(kind="image")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i in range(3):
        write(tmp_path / f"images/scene{i}.tif", picture(i))
    return tmp_path / "images"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_pairs_are_what_torch_shrinks_with_antialiasing(images, scale):
    card = design("bicubic").card(scale=scale)
    card = replace(card, name="net")
    windows = open_sets(images, card, CHOICE).training
    spot = windows.spots(9)[0]
    sample = windows.at(spot)
    scene = windows.areas[spot.area].item
    with scene.open() as reader:
        pad = 12 * scale
        values = reader.read(["1"], 1, spot.window.grow(pad)).values / 255 * 10000
    wide = torch.from_numpy(values.astype(np.float64))[None]
    small = torch.nn.functional.interpolate(
        wide, scale_factor=1 / scale, mode="bicubic", antialias=True
    )[0, :, 12:-12, 12:-12]
    np.testing.assert_allclose(sample.inputs[scale], small.numpy(), atol=0.05)
    inner = (slice(None), *[slice(pad, -pad)] * 2)
    np.testing.assert_allclose(sample.target, values[inner], rtol=1e-6)


@pytest.mark.parametrize("operator", degrade.OPERATORS)
def test_every_operator_keeps_constants_and_phase(tmp_path, operator):
    ramp = np.tile(np.arange(60, dtype=np.float32), (60, 1))[None] / 100
    write(tmp_path / "a.tif", np.full((1, 60, 60), 0.5, np.float32))
    write(tmp_path / "b.tif", ramp)
    card = design("espcn").card(scale=3)
    windows = open_sets(tmp_path, card, replace(CHOICE, operator=operator, share=0.01)).training
    tolerance = 700 if operator == "blur-noise" else 1.0
    for which, area in enumerate(windows.areas):
        spot = replace(windows.spots(1)[0], area=which, window=Window(18, 18, 24, 24))
        sample = windows.at(spot)
        means = sample.target.reshape(1, 8, 3, 8, 3).mean((2, 4))
        assert np.abs(sample.inputs[3] - means).max() < tolerance, area.item.name


def test_an_unknown_sensor_lets_three_tenths_through_at_nyquist():
    taps = degrade.of_image(2)
    at = np.arange(len(taps)) - (len(taps) - 1) / 2
    assert (taps * np.cos(np.pi / 2 * at)).sum() == pytest.approx(0.3, abs=2e-3)
    assert taps.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "name, values, one",
    [
        ("a.tif", np.full((1, 48, 48), 51, np.uint8), 255),
        ("a.png", np.full((1, 48, 48), 13107, np.uint16), 65535),
        ("a.tif", np.full((1, 48, 48), 2000, np.uint16), 10000),
        ("a.tif", np.full((1, 48, 48), 0.2, np.float32), 1),
    ],
)
def test_what_counts_as_one_follows_a_stated_rule(tmp_path, name, values, one):
    path = write(tmp_path / name, values)
    assert open_scene(path, IMAGE).quantification == one
    sets = open_sets(tmp_path, design("espcn").card(scale=2), replace(CHOICE, patch=8, share=0.3))
    sample = sets.training.sample(0, 0)
    np.testing.assert_allclose(sample.target, 2000, rtol=1e-5)
    assert open_scene(path, replace(IMAGE, quantification=7)).quantification == 7


def test_masked_pixels_do_not_count_and_do_not_spread(tmp_path):
    values = np.full((1, 48, 48), 100, np.uint8)
    values[:, 10:14, 10:14] = 0
    for name in "ab":
        write(tmp_path / f"{name}.tif", values, nodata=0)
    windows = open_sets(tmp_path, design("espcn").card(scale=2), CHOICE).training
    sample = windows.at(replace(windows.spots(1)[0], window=Window(0, 0, 24, 24)))
    assert (~sample.mask).sum() == 16 and not sample.mask[0, 10:14, 10:14].any()
    np.testing.assert_allclose(sample.inputs[2], 100 / 255 * 10000, rtol=1e-5)


def test_bands_are_drawn_one_by_one_or_taken_at_once(tmp_path):
    for name in "ab":
        write(tmp_path / f"{name}.tif", picture(1, bands=3))
    one = open_sets(tmp_path, design("espcn").card(scale=2), CHOICE).training
    assert {one.sample(step, 0).target.shape[0] for step in range(5)} == {1}
    assert {spot.band for spot in one.spots(9)} == {0, 1, 2}
    three = open_sets(tmp_path, design("espcn").card(scale=2, bands=3), CHOICE).training
    assert three.sample(0, 0).target.shape == (3, 24, 24)
    with pytest.raises(UsageError, match="has 3 bands, 'espcn' is to take 4"):
        open_sets(tmp_path, design("espcn").card(scale=2, bands=4), CHOICE)


def test_nothing_held_out_is_learnt_from(images, tmp_path):
    sets = open_sets(images, design("espcn").card(scale=2), CHOICE)
    names = [{area.item.name for area in part.areas} for part in (sets.training, sets.held)]
    assert names[0] and names[1] and not names[0] & names[1]
    write(tmp_path / "one/only.tif", picture(7, side=96))
    sets = open_sets(tmp_path / "one", design("espcn").card(scale=2), replace(CHOICE, share=0.3))
    training, held = sets.training.areas[0].window, sets.held.areas[0].window
    assert not training.intersect(held).height


def test_a_band_suffix_does_not_make_another_place():
    assert places.of_image("scene01_pan") == places.of_image("scene01_ms")
    assert places.of_image("scene01_pan") != places.of_image("scene02_pan")


# matched files


def test_two_folders_of_matching_names_are_pairs(tmp_path):
    data = paired(tmp_path / "d")
    assert kind_of(data, "sisr") == "pairs"
    sample = open_sets(data, design("espcn").card(scale=2), CHOICE).training.sample(0, 0)
    means = sample.target.reshape(1, 12, 2, 12, 2).mean((2, 4))
    np.testing.assert_allclose(sample.inputs[2], means, atol=40)  # the file's rounding


def test_georeferenced_pairs_are_cut_by_coordinates(tmp_path):
    data = paired(tmp_path / "d", grid=True)
    sets = open_sets(data, design("espcn").card(scale=2), CHOICE)
    area = sets.training.areas[0]
    assert area.window == (4, 8, 44, 40)
    sample = sets.training.sample(0, 0)
    means = sample.target.reshape(1, 12, 2, 12, 2).mean((2, 4))
    np.testing.assert_allclose(sample.inputs[2], means, atol=40)


def test_pairs_of_other_sizes_are_refused(tmp_path):
    data = paired(tmp_path / "d")
    with pytest.raises(UsageError, match="are not 4 to 1"):
        open_sets(data, design("espcn").card(scale=4), CHOICE)
    (data / "lr/p1_LR.tif").unlink()
    with pytest.raises(UsageError, match="p1_HR.tif has 0 coarse images"):
        open_sets(data, design("espcn").card(scale=2), CHOICE)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_dual_layout_gives_two_frames(tmp_path, dtype):
    for i in range(3):
        fine = picture(i, dtype=dtype)
        small = fine.reshape(1, 12, 4, 12, 4).mean((2, 4)).astype(dtype)
        write(tmp_path / f"train/high_res/imgset{i:04d}_HR.png", fine)
        for frame in range(2):
            write(tmp_path / f"train/low_res/imgset{i:04d}_LR{frame}.png", small + frame)
    assert kind_of(tmp_path, "misr") == "dual"
    sample = open_sets(tmp_path, design("dual-edsr").card(scale=4), CHOICE).training.sample(0, 0)
    assert sample.inputs[4].shape == (2, 2, 6, 6)
    assert (sample.inputs[4][:, 1] == 1).all()
    one = 10000 / np.iinfo(dtype).max
    difference = sample.inputs[4][1, 0] - sample.inputs[4][0, 0]
    np.testing.assert_allclose(difference, one, rtol=2e-2)
    single = open_sets(tmp_path, design("espcn").card(scale=4), CHOICE).training.sample(0, 0)
    assert single.inputs[4].shape == (1, 6, 6)
    with pytest.raises(UsageError, match="'ibp-net' is to be told where each image looks"):
        open_sets(tmp_path, design("ibp-net").card(scale=4), CHOICE)


def test_a_net_for_any_number_is_scored_on_pairs_with_fewer_images_than_it_is_used_to(
    geosr, tmp_path
):
    for i in range(2):
        fine = picture(i)
        write(tmp_path / f"d/hr/p{i}.tif", fine)
        for frame in range(3):
            small = fine.reshape(fine.shape[0], 16, 3, 16, 3).mean((2, 4)).astype(fine.dtype)
            write(tmp_path / f"d/lr/p{i}_LR{frame}.tif", small)
    done = geosr("eval", "--model", "ibp", "--scale", 3, "--data", "d", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["means"]["x3"]["ibp"]["scenes"] == 2
    told = geosr("train", "--model", "highres-net", "--data", "d", "--out", "run", "--steps", 1)
    assert told.returncode == 2 and "has 3 coarse images, 'highres-net' needs 32" in told.stderr


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("last", [True, False])
def test_npz_arrays_are_read_in_either_order(tmp_path, last, save):
    fine = np.stack([picture(i, side=64, bands=3) for i in range(4)])
    coarse = fine.reshape(4, 3, 16, 4, 16, 4).mean((3, 5)).astype(np.uint8)
    order = (0, 2, 3, 1) if last else (0, 1, 2, 3)
    save(tmp_path / "hr_images.npz", fine.transpose(order))
    save(tmp_path / "hr_lr_images.npz", lr=coarse.transpose(order), hr=fine.transpose(order))
    assert kind_of(tmp_path, "sisr") == "npz"
    card = design("espcn").card(scale=4, bands=3)
    windows = open_sets(tmp_path, card, CHOICE).training
    sample = windows.sample(0, 0)
    assert isinstance(windows.arrays[0], np.memmap) == (save is np.savez)
    assert len(pickle.dumps(windows)) < 10_000
    means = sample.target.reshape(3, 6, 4, 6, 4).mean((2, 4))
    np.testing.assert_allclose(sample.inputs[4], means, atol=40)
    with pytest.raises(UsageError, match="are not 2 to 1"):
        open_sets(tmp_path, design("espcn").card(scale=2, bands=3), CHOICE)


# simulated series


def series(folder: Path, name: str, **sensor) -> SeriesWindows:
    scenes = [open_scene(path, IMAGE) for path in sorted(folder.iterdir())]
    areas = [Area(scene, Window(0, 0, *scene.grid.shape)) for scene in scenes]
    plain = {"shift": 1.0, "gain": 0.0, "offset": 0.0, "noise": 0.0, "clouds": 0.0}
    card = design(name).card(scale=3)
    return SeriesWindows(areas, card, 24, sensor=Sensor(**{**plain, **sensor}))


def smooth(folder: Path) -> Path:
    rows, cols = np.mgrid[:72, :72]
    image = 0.5 + 0.2 * np.sin(rows / 5) + 0.2 * np.cos(cols / 6 + rows / 9)
    write(folder / "smooth.tif", image[None].astype(np.float32))
    return folder


def test_the_first_of_two_frames_is_what_a_net_for_one_image_gets(tmp_path):
    folder = smooth(tmp_path / "s")
    more = {"gain": 0.02, "offset": 0.005, "noise": 0.004}
    two, one = (series(folder, name, **more).sample(4, 2) for name in ("dual-edsr", "espcn"))
    np.testing.assert_array_equal(two.inputs[3][0, :-1], one.inputs[3])
    np.testing.assert_array_equal(two.target, one.target)


def test_frames_are_moved_by_parts_of_a_pixel(tmp_path):
    windows = series(smooth(tmp_path / "s"), "dual-edsr")
    spot = windows.spots(1)[0]
    frames = windows.cut(spot, np.random.default_rng(5)).inputs[3][:, 0]
    shifts = windows._shifts(np.random.default_rng(5))
    assert (shifts[0] == 0).all() and 0.05 < np.abs(shifts[1]).max() <= 2
    back = moved(frames[0].astype(np.float64), -shifts[1], order=5, mode="nearest")
    inner = (slice(3, -3), slice(3, -3))
    assert np.abs(back - frames[1])[inner].max() < 20  # of 10000
    assert np.abs(frames[0] - frames[1])[inner].max() > 100


def test_clouds_are_bright_and_masked(tmp_path):
    windows = series(smooth(tmp_path / "s"), "piunet", clouds=1.0, shift=0.0, fewest=9)
    frames = windows.sample(0, 0).inputs[3]
    assert frames.shape[:2] == (9, 2) and (frames[:2, 1] == 1).all()
    cloudy = frames[2:, 1] == 0
    assert cloudy.any()
    assert (frames[2:, 0][cloudy] > 6000).all()
    first = np.broadcast_to(frames[0, 0], cloudy.shape)
    np.testing.assert_allclose(frames[2:, 0][~cloudy], first[~cloudy], rtol=1e-5)


# what a folder would be read as


def test_the_program_says_what_a_folder_is_read_as(geosr, images, scene_dir, tmp_path):
    done = geosr("data", images, "--json", "--preview", "pairs.png")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kind"] == "folder" and found["images"] == 3 and found["scale"] == 2
    assert found["bands"]["1"]["valid_share"] == 1.0
    assert sum(found["bands"]["1"]["histogram"]) == pytest.approx(1, abs=0.01)
    with rasterio.open(tmp_path / "pairs.png") as file:
        assert file.driver == "PNG" and file.width == 48 * 2 + 4
    done = geosr("data", scene_dir.parent, "--json", "--patch", 24)
    assert json.loads(done.stdout)["kind"] == "wald"
    done = geosr("data", paired(tmp_path / "d"), "--patch", 24)
    assert "read as 'pairs' for edsr-baseline at scale 2" in done.stdout
    assert geosr("data", tmp_path / "missing").returncode == 2


def test_images_that_cannot_be_opened_are_told_where_others_can(geosr, images):
    (images / "broken.tif").write_text("hello")
    count = len(list(images.iterdir())) - 1
    done = geosr("data", images)
    assert done.returncode == 0 and f"{count} images" in done.stdout
    assert f"warning: 1 of {count + 1} left out, the first: " in done.stderr
    assert "broken.tif: not a GeoTIFF" in done.stderr


def test_images_are_read_once_as_far_as_there_is_room(images):
    scene = open_scene(images / "scene0.tif", IMAGE)
    with scene.open() as reader:
        asked = []

        def source():
            asked.append(1)
            return reader

        size = scene.grid.height * scene.grid.width * (scene.dtype.itemsize + 3)
        held, room = Held(scene, source, Room(size)), Room(size - 1)
        unheld = Held(scene, source, room)
        for window in (Window(3, 5, 9, 7), Window(-4, -2, 12, 12), Window(40, 40, 30, 30)):
            expected = reader.read(["1"], 1, window)
            for each in (held, unheld):
                found = each.read(["1"], 1, window)
                np.testing.assert_array_equal(found.values, expected.values)
                np.testing.assert_array_equal(found.usable, expected.usable)
        assert held.room.left == 0 and room.left == size - 1
        asked.clear()
        held.read(["1"], 1, Window(0, 0, 4, 4))
        assert held.grids and not asked  # the file may be closed by then
        unheld.read(["1"], 1, Window(0, 0, 4, 4))
        assert asked
