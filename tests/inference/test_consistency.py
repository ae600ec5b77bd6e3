"""Outputs made consistent with their input."""

import json

import numpy as np
import pytest
import rasterio

from geosr.inference import consistency
from geosr.scene import degrade


@pytest.mark.parametrize("factor", [2, 3, 6])
@pytest.mark.parametrize("name", ["B11", "B5", "anything"])
def test_the_result_degrades_to_the_input(factor, name):
    rng = np.random.default_rng(0)
    estimate = rng.normal(2000, 300, (1, 20 * factor, 24 * factor)).astype(np.float32)
    low = rng.normal(2000, 100, (1, 20, 24)).astype(np.float32)
    result = consistency.project(estimate, low, [degrade.of_band(name, factor, 10)])
    taps = degrade.of_band(name, factor, 10)
    pad = degrade.beyond(taps, factor)
    padded = np.pad(result, ((0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    np.testing.assert_allclose(degrade.shrink(padded, factor, taps, taps, pad=pad), low, atol=0.01)


def test_what_is_consistent_already_stays():
    rng = np.random.default_rng(0)
    estimate = rng.normal(2000, 300, (1, 40, 40)).astype(np.float32)
    taps = degrade.of_band("B5", 2, 10)
    pad = degrade.beyond(taps, 2)
    padded = np.pad(estimate, ((0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    low = degrade.shrink(padded, 2, taps, taps, pad=pad)
    np.testing.assert_allclose(consistency.project(estimate, low, [taps]), estimate, atol=0.01)


def test_a_tile_far_from_its_edges_is_as_in_the_whole_image():
    rng = np.random.default_rng(0)
    estimate = rng.normal(2000, 300, (1, 160, 160)).astype(np.float32)
    low = rng.normal(2000, 100, (1, 80, 80)).astype(np.float32)
    taps = [degrade.of_band("B11", 2, 10)]
    whole = consistency.project(estimate, low, taps)
    spare = consistency.REACH
    part = consistency.project(estimate[:, 40:120, 40:120], low[:, 20:60, 20:60], taps)
    inner = slice(2 * spare, -2 * spare)
    np.testing.assert_allclose(
        part[:, inner, inner], whole[:, 40:120, 40:120][:, inner, inner], atol=0.2
    )


def test_an_image_made_consistent_passes_its_self_check(geosr, tmp_path):
    rows, cols = np.ogrid[:90, :120]
    image = 4000 + 1500 * np.sin(rows / 3) * np.cos(cols / 5) + 800 * (rows > cols)
    with rasterio.open(tmp_path / "field.tif", "w", driver="GTiff", width=120, height=90, count=1,
                       dtype="uint16") as output:  # fmt: skip
        output.write(np.rint(image).astype(np.uint16), 1)
    done = geosr(
        "superres", tmp_path / "field.tif", tmp_path / "out", "--consistent", "--check", "--json",
        "--tile-size", "40", "--model", "bicubic", "--scale", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert max(outcome["check"]["rmse"].values()) < 0.5  # what rounding to counts leaves
    assert min(band["rmse"] for band in outcome["changed"].values()) > 1
    record = json.loads((tmp_path / "out" / "field.geosr.json").read_text())
    assert record["changed"] == outcome["changed"]
    assert record["recipe"]["consistent"] is True


def test_several_images_cannot_be_made_consistent(geosr, tmp_path):
    for number in range(2):
        path = tmp_path / "place" / f"{number}.tif"
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(path, "w", driver="GTiff", width=16, height=16, count=1,
                           dtype="uint16") as output:  # fmt: skip
            output.write(np.arange(256, dtype=np.uint16).reshape(1, 16, 16) + 1)
    done = geosr("superres", tmp_path / "place", tmp_path / "out", "--model", "ibp", "--consistent")
    assert done.returncode != 0
    assert "takes several images" in done.stderr
