"""Wald's protocol: the degraded scene, windows of it, and places held out."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scene_files
from rasters import degraded

from geosr.errors import UsageError
from geosr.evaluation.evaluate import evaluate
from geosr.evaluation.protocols import Data
from geosr.models import weights
from geosr.models.card import Model
from geosr.models.nets.bicubic import Bicubic
from geosr.models.registry import design
from geosr.raster.window import Window
from geosr.scene import degrade, pointspread
from geosr.scene import scene as scene_module
from geosr.scene.degraded import WaldReader
from geosr.sensors import open_scene
from geosr.training.datasets import places
from geosr.training.datasets.wald import WaldWindows, areas
from geosr.training.datasets.windows import Area, Spot, split


@pytest.fixture
def scene(scene_dir: Path):
    return open_scene(scene_dir)


def whole(scene, card):
    return [Area(scene, Window(0, 0, *scene.grids[card.native_gsd].shape))]


@pytest.mark.parametrize("factor, gsds", [(2, (10, 20)), (2, (10, 20, 60)), (6, (10, 20, 60))])
def test_windows_of_the_degraded_scene_are_windows_of_the_degraded_arrays(scene, factor, gsds):
    with scene.open() as source:
        reader = WaldReader(source, factor, gsds)
        for gsd in gsds:
            names = [band.name for band in scene.select(gsd=gsd)]
            height, width = reader.grids[gsd].shape
            crop = Window(0, 0, height * factor, width * factor)
            values = source.read(names, gsd, crop).values.astype(np.float64)
            whole = np.pad(degraded(values, factor), ((0, 0), (3, 3), (3, 3)), "symmetric")
            found = reader.read(names, gsd, Window(-3, -3, height + 6, width + 6)).values
            np.testing.assert_allclose(found, whole, rtol=1e-5)
            part = reader.read(names, gsd, Window(1, 0, 1, 2)).values
            np.testing.assert_allclose(part, whole[:, 4:5, 3:5], rtol=1e-5)


def test_samples_depend_on_seed_step_and_place_alone(scene):
    def sample(seed, step, i):
        card = design("dsen2-20").card()
        windows = WaldWindows(whole(scene, card), card, 16, seed=seed, jitter=0.1)
        try:
            return windows.sample(step, i)
        finally:
            windows.close()

    first, again, other = sample(3, 5, 1), sample(3, 5, 1), sample(3, 5, 2)
    np.testing.assert_array_equal(first.target, again.target)
    np.testing.assert_array_equal(first.inputs[10], again.inputs[10])
    assert (first.target != other.target).any()


@pytest.mark.parametrize("name, patch", [("dsen2-20", 24), ("dsen2-60", 12)])
def test_a_sample_holds_the_truth_over_its_own_degraded_ground(scene, name, patch):
    card = design(name).card()
    windows = WaldWindows(whole(scene, card), card, patch, operator="gaussian")
    sample = windows.sample(0, 0)
    assert sample.target.shape == (len(card.bands), patch, patch)
    assert {gsd: values.shape for gsd, values in sample.inputs.items()} == {
        item.gsd: (len(item.bands), patch * 10 // item.gsd, patch * 10 // item.gsd)
        for item in card.inputs
    }
    coarse = sample.inputs[card.native_gsd]
    blocks = sample.target.reshape(len(card.bands), *coarse.shape[1:2], card.scale, -1, card.scale)
    means = blocks.mean((2, 4))
    if card.scale == 6:  # a pure block mean
        np.testing.assert_allclose(coarse, means, rtol=1e-5)
    assert np.corrcoef(means.ravel(), coarse.ravel())[0, 1] > 0.98
    windows.close()


def test_windows_of_every_phase_are_degraded_by_themselves(scene):
    """A window that begins between two coarse pixels: its own corner is where they begin."""
    card = design("dsen2-20").card()
    windows = WaldWindows(whole(scene, card), card, 12, operator="sensor")
    row, col = 7, 4
    sample = windows.at(Spot(0, Window(row, col, 12, 12)))
    with scene.open() as source:
        for item in card.inputs:
            ratio = 20 // item.gsd
            pad = 10 * ratio
            ground = Window(row, col, 12, 12).at(ratio).grow(pad)
            fine = source.read(item.bands, item.gsd, ground).values
            for name, band, found in zip(item.bands, fine, sample.inputs[item.gsd], strict=True):
                sigma = pointspread.blur(name, card.bands, 2) / item.gsd
                taps = degrade.point_spread(2, sigma)
                expected = degrade.shrink(band, 2, taps, taps, pad=pad)
                np.testing.assert_allclose(found, expected, rtol=1e-5)
        native = source.read(card.bands, 20, Window(row, col, 12, 12)).values
    softest = [card.bands.index("B11"), card.bands.index("B12")]
    np.testing.assert_allclose(sample.target[softest], native[softest], rtol=1e-5)
    assert sample.target[0].std() < native[0].std()  # as soft as they are
    windows.close()


def test_random_windows_begin_at_every_pixel_of_the_truth(scene):
    card = design("dsen2-60").card()
    windows = WaldWindows(whole(scene, card), card, 12)
    drawn = [windows._draw(np.random.default_rng(i)).window for i in range(400)]
    assert {(w.row % 6, w.col % 6) for w in drawn} == {(r, c) for r in range(6) for c in range(6)}
    windows.close()


def test_scenes_too_small_for_a_window_are_an_error_that_says_so(scene):
    card = design("dsen2-60").card()
    with pytest.raises(UsageError, match="has 48 × 48 pixels of truth"):
        WaldWindows(whole(scene, card), card, 48)


def test_scenes_without_the_nets_bands_are_left_out(tmp_path):
    scene_files.write_folder(tmp_path / "s", size=60)
    (tmp_path / "s/60m.tif").unlink()
    with pytest.raises(UsageError, match="lacks B1 B9"):
        areas(tmp_path, design("dsen2-60").card())


def test_the_sensors_own_point_spread_is_wider_than_the_published_one(scene):
    with scene.open() as source:
        window = Window(2, 2, 12, 12)
        published, sensor = (
            WaldReader(source, 2, (10, 20), operator, truths=("B8A", "B11"))
            .read(("B8",), 10, window).values
            for operator in ("gaussian", "sensor")
        )  # fmt: skip
    assert sensor.std() < published.std()
    assert abs(sensor.mean() / published.mean() - 1) < 0.01


def test_whole_places_are_held_out(tmp_path):
    scenes = []
    for name in ("rome_2018", "rome_2020", "oslo_2018", "lima_2017"):
        scene_files.write_folder(tmp_path / name, size=12)
        scene = open_scene(tmp_path / name)
        unplaced = {gsd: replace(grid, crs=None) for gsd, grid in scene.grids.items()}
        scenes.append(replace(scene, grids=unplaced))
    found = split([Area(s, Window(0, 0, 12, 12)) for s in scenes], 0.25, places.of_scene)
    names = [{area.item.name for area in part} for part in (found.training, found.held)]
    assert names[0] | names[1] == {s.name for s in scenes}
    cities = [{name.split("_")[0] for name in part} for part in names]
    assert all(cities) and not cities[0] & cities[1]


def test_of_one_place_alone_the_lower_part_is_held_out(scene):
    found = split([Area(scene, Window(0, 0, 60, 60))], 0.1, places.of_scene, scale=4)
    assert found.training[0].window == (0, 0, 52, 60)
    assert found.held[0].window == (52, 0, 8, 60)


def test_bicubic_reproduces_the_published_baseline(shared):
    data = Data(shared / "sentinel2/val/L1C_20170527_T33UUB")
    found = evaluate(data, {"bicubic": weights.load("bicubic")})
    score = next(score for score in found.scores if score.group == "20")
    expected = [76.12, 151.91, 210.28, 222.62, 86.79, 91.65]
    assert list(score.bands["rmse"].values()) == pytest.approx(expected, abs=0.1)
    assert score.whole["rmse"] == pytest.approx(139.90, abs=0.1)
    assert score.whole["sre"] == pytest.approx(24.37, abs=0.01)
    assert score.whole["sam"] == pytest.approx(1.406, abs=0.001)


def test_the_other_kernel_reproduces_its_own_published_baseline(shared):
    model = Model(design("bicubic-20").card(), Bicubic(20, 2, a=-0.5))
    data = Data(shared / "sentinel2/val/L1C_20170527_T33UUB")
    (score,) = evaluate(data, {"keys": [model]}).scores
    expected = [79.41, 157.98, 218.77, 231.76, 92.76, 97.49]
    assert list(score.bands["rmse"].values()) == pytest.approx(expected, abs=0.1)
    assert score.whole["sre"] == pytest.approx(23.95, abs=0.01)
    assert score.whole["sam"] == pytest.approx(1.450, abs=0.001)


def test_threads_that_share_a_scene_read_in_turn(scene_dir, monkeypatch):
    inside, most, read = [], [], scene_module.read_window

    def watched(*args):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        found = read(*args)
        inside.pop()
        return found

    monkeypatch.setattr(scene_module, "read_window", watched)
    with open_scene(scene_dir).open() as reader, ThreadPoolExecutor(4) as pool:
        cuts = [Window(row, 3, 5, 20) for row in range(0, 48, 3)]
        found = list(pool.map(lambda cut: reader.read(["B5", "B11"], 20, cut).values, cuts))
        assert max(most) == 1
        for cut, values in zip(cuts, found, strict=True):
            np.testing.assert_array_equal(values, reader.read(["B5", "B11"], 20, cut).values)


def test_tiles_do_not_change_the_scores(scene_dir):
    models = {"bicubic": weights.load("bicubic")}
    whole = evaluate(Data(scene_dir), models)
    parts = evaluate(Data(scene_dir, tile_size=30), models)
    for a, b in zip(whole.scores, parts.scores, strict=True):
        assert a.whole["rmse"] == pytest.approx(b.whole["rmse"], rel=1e-5)
        assert a.whole["uiq"] == pytest.approx(b.whole["uiq"], rel=1e-5)


def test_scenes_without_the_60_m_bands_are_scored_at_20_m_alone(tmp_path):
    scene_files.write_folder(tmp_path / "s", size=60)
    (tmp_path / "s/60m.tif").unlink()
    found = evaluate(Data(tmp_path / "s"), {"bicubic": weights.load("bicubic")})
    assert found.groups == ["20"]
