"""Simulated video: what a panning camera sees, and training on it."""

from dataclasses import replace

import numpy as np
import pytest
from nets import THIN
from rasters import write

from geosr.models.card import SHIFTS
from geosr.models.registry import design
from geosr.sensors import OpenOptions
from geosr.training.datasets import Choice, open_sets
from geosr.training.datasets.series import Sensor, SeriesWindows

PLAIN = Sensor(vary=0, gain=0, offset=0, noise=0, clouds=0)


def windows(folder, name="rrn", sensor=PLAIN, scale=2):
    """Of a plane: a frame's mean tells where it lies."""
    rows, cols = np.mgrid[:120, :120]
    write(folder / "plane.tif", (1000 + 10 * rows + 20 * cols)[None].astype(np.uint16))
    card = design(name).card(scale=scale)
    sets = open_sets(folder, card, Choice(patch=48, options=OpenOptions(kind="image")))
    made = SeriesWindows(sets.training.areas, card, 48, sensor=sensor)
    sets.close()
    return made


def test_the_frame_in_the_middle_is_the_truth_and_the_others_lie_around_it(tmp_path):
    made = windows(tmp_path)
    seen = []
    for step in range(40):
        sample = made.sample(step, 0)
        (frames,) = (v for k, v in sample.inputs.items() if k > 0)
        assert frames.shape == (5, 2, 24, 24) and frames[:, 1].all()
        inner = frames[:, 0, 2:-2, 2:-2].mean((1, 2))
        assert inner[0] == pytest.approx(sample.target[0, 4:-4, 4:-4].mean(), abs=0.5)
        seen.append(inner[1:] - inner[0])
    away = np.abs(np.array(seen))
    largest = 0.7 * 2 * (10 + 20)  # coarse pixels, fine ones along, slope
    assert away.max() < largest and (away.max(0) > 10).all() and (away.mean(0) > 3).all()
    made.close()


def test_a_still_camera_sees_the_same_all_along(tmp_path):
    made = windows(tmp_path, sensor=replace(PLAIN, pan=0, tremble=0))
    (frames,) = (v for k, v in made.sample(0, 0).inputs.items() if k > 0)
    np.testing.assert_allclose(frames, frames[:1].repeat(5, 0), atol=1e-2)
    made.close()


def test_a_pan_is_even_and_frames_before_and_after_lie_opposite(tmp_path):
    made = windows(tmp_path, sensor=replace(PLAIN, pan=0.2, tremble=0, aim=0))
    way = made._shifts(np.random.default_rng(0))
    assert np.abs(way).max() > 0.1
    np.testing.assert_allclose(way, way[2] * np.array([0, -1, 1, -2, 2])[:, None], atol=1e-12)
    made.close()


def test_whole_pixels_are_taken_back(tmp_path):
    made = windows(tmp_path, sensor=replace(PLAIN, pan=9, aim=0))
    rng = np.random.default_rng(0)
    assert all(np.abs(made._shifts(rng)).max() <= 0.5 for _ in range(20))
    made.close()


def test_the_frame_in_the_middle_keeps_its_brightness(tmp_path):
    made = windows(tmp_path, sensor=replace(PLAIN, gain=0.3))
    for step in range(5):
        sample = made.sample(step, 0)
        (frames,) = (v for k, v in sample.inputs.items() if k > 0)
        ratio = frames[:, 0, 2:-2, 2:-2].mean((1, 2)) / sample.target[0, 4:-4, 4:-4].mean()
        assert ratio[0] == pytest.approx(1, abs=1e-3) and np.abs(ratio[1:] - 1).max() > 0.02
    made.close()


def test_every_other_truth_lies_midway_between_two_frames(tmp_path):
    made = windows(tmp_path, name="mstt-stvsr-s", sensor=replace(PLAIN, aim=0))
    seen = set()
    for step in range(30):
        sample = made.sample(step, 0)
        (frames,) = (v for k, v in sample.inputs.items() if k > 0)
        places = sample.inputs[SHIFTS]
        seen.add(tuple(places[:, 2].tolist()))
        truth = sample.target[0, 4:-4, 4:-4].mean()
        away = frames[:, 0, 2:-2, 2:-2].mean((1, 2)) - truth
        steps = np.linalg.lstsq(places[:, :2], away, rcond=None)[0]
        np.testing.assert_allclose(places[:, :2] @ steps, away, atol=0.5)
        if places[0, 2]:
            np.testing.assert_allclose((places[0, :2] + places[1, :2]) % 1, 0, atol=1e-5)
    assert seen == {(0, -1, 1, 2), (-0.5, 0.5, -1.5, 1.5)}
    made.close()


def test_both_neighbours_of_what_lies_between_keep_their_brightness(tmp_path):
    made = windows(tmp_path, name="mstt-stvsr-s", sensor=replace(PLAIN, gain=0.3, pan=0))
    for step in range(12):
        sample = made.sample(step, 0)
        (frames,) = (v for k, v in sample.inputs.items() if k > 0)
        ratio = frames[:, 0, 2:-2, 2:-2].mean((1, 2)) / sample.target[0, 4:-4, 4:-4].mean()
        exact = 2 if sample.inputs[SHIFTS][0, 2] else 1
        assert np.abs(ratio[:exact] - 1).max() < 0.02 < np.abs(ratio[exact:] - 1).max()
    made.close()


@pytest.mark.parametrize("name, window", [("rrn", 5), ("mstt-stvsr", 4)])
def test_a_net_for_video_learns_from_images_and_makes_frames(geosr, tmp_path, name, window):
    rng = np.random.default_rng(0)
    for i in range(3):
        image = rng.integers(40, 200, (1, 12, 12)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
        write(tmp_path / f"images/{i}.tif", image)
    options = [f"--net-option={key}={value}" for key, value in THIN[name].items()]
    done = geosr("train", "--model", name, "--scale", 2, "--data", "images", "--out", "run",
                 "--steps", 2, "--batch-size", 2, "--patch", 12, "--val-windows", 1,
                 *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = geosr("superres", "images", "out", "--model", "run/best.safetensors", "--window", window)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.tif"))) == 3
