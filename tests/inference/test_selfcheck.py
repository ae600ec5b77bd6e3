"""The output, seen by its own sensor again, against the input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
from rasters import write_on_grid as write

from geosr.inference import selfcheck
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.models.weights import load
from geosr.scene import degrade
from geosr.sensors import OpenOptions, open_scene


@pytest.fixture
def truth() -> np.ndarray:
    """A fine image whose degraded self is the input: the one perfectly consistent answer."""
    rng = np.random.default_rng(0)
    return rng.uniform(2000, 6000, (1, 96, 120)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path, truth: np.ndarray) -> Path:
    taps = degrade.of_image(2)
    pad = degrade.beyond(taps, 2)
    wide = np.pad(truth, ((0, 0), (pad, pad), (pad, pad)), "symmetric")
    low = degrade.shrink(wide, 2, taps, taps, pad=pad)
    return write(tmp_path / "low.tif", low / 10000)


def checked(source: Path, output: Path, request: Request | None = None) -> selfcheck.Check:
    scene = open_scene(source, OpenOptions(kind="image"))
    plan = make_plan(scene, load("bicubic", scale=2), request or Request())
    with scene.open() as reader:
        return selfcheck.check(output, plan, reader)


def test_what_the_sensor_would_see_as_the_input_has_no_error(tmp_path, source, truth):
    output = write(tmp_path / "out.tif", truth / 10000)
    assert checked(source, output).worst < 1e-2


def test_shifted_brightened_and_invented_outputs_show(tmp_path, source, truth):
    made = {
        "shifted": np.roll(truth, 1, 2),
        "brighter": truth + 100,
        "invented": truth + 500 * (np.indices(truth.shape).sum(0) // 4 % 2),
    }
    found = {
        name: checked(source, write(tmp_path / f"{name}.tif", values / 10000)).worst
        for name, values in made.items()
    }
    assert found["brighter"] == pytest.approx(100, rel=1e-3)
    assert found["shifted"] > 50 and found["invented"] > 50


def test_a_part_of_the_scene_is_compared_with_its_own_ground(tmp_path, source, truth):
    with rasterio.open(source) as file:
        left, bottom, right, top = file.bounds
    bounds = (left + 300, bottom + 300, right - 300, top - 300)
    output = write(tmp_path / "part.tif", truth[:, 20:-20, 20:-20] / 10000)
    found = checked(source, output, Request(bounds=bounds))
    assert found.worst < 300  # edges are repeated where the ground goes on
    assert found.worst > 0


def test_unsensed_pixels_are_left_out(tmp_path, source, truth):
    values = truth / 10000
    values[:, 40:44, 40:44] = np.nan
    output = write(tmp_path / "out.tif", values, nodata=np.nan)
    assert checked(source, output).worst < 1e-2


def test_the_program_tells_and_a_limit_fails_the_scene(geosr, tmp_path):
    scene_files.write_folder(tmp_path / "s", size=60)
    args = ["superres", "s", "--model", "bicubic"]
    done = geosr(*args, "out", "--check", "--json")
    assert done.returncode == 0, done.stderr
    check = json.loads(done.stdout)["check"]
    assert set(check["rmse"]) == {"B1", "B5", "B6", "B7", "B8A", "B9", "B11", "B12"}
    assert set(check["sam"]) == {"20", "60"} and all(check["rmse"].values())
    record = json.loads((tmp_path / "out/s.geosr.json").read_text())
    assert record["check"] == check and "self-check RMSE" in done.stderr
    done = geosr(*args, "out2", "--check-limit", 0.01)
    assert done.returncode == 4 and "more than --check-limit 0.01" in done.stderr
    assert not list((tmp_path / "out2").glob("*.tif"))
