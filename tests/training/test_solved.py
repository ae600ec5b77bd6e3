"""Nets without steps: forests that stand in arrays, and linear maps between bands."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
import torch
from rasters import write
from safetensors.numpy import load_file as load_arrays

from geosr.errors import WeightsError
from geosr.models import weights
from geosr.models.nets.single.rfsr import RandomForest
from geosr.models.registry import build, design
from geosr.training import forest

SMALL = ("--net-option", "trees=4", "--net-option", "depth=5")


def textured(seed: int, side: int = 96) -> np.ndarray:
    """Rectangles, so that bicubic interpolation lacks something that can be learnt."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side), 0.4)
    for _ in range(60):
        row, col = rng.integers(0, side - 4, 2)
        height, width = rng.integers(3, 24, 2)
        image[row : row + height, col : col + width] = rng.uniform(0.1, 0.9)
    return (image[None] * 255).astype(np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(4):
        write(folder / f"place{chr(97 + i)}.tif", textured(i))
    return folder


@pytest.fixture
def grown(geosr, images, tmp_path) -> Path:
    pytest.importorskip("sklearn")
    done = geosr("train", "--model", "rfsr", "--data", images, "--out", "run", *SMALL,
                 "--patch", 32, "--val-windows", 4, "--threads", 1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / "run"


def test_a_forest_of_arrays_says_what_scikit_learns_forest_says():
    sklearn = pytest.importorskip("sklearn.ensemble")
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (3000, 24)).astype(np.float32) / 7  # many values lie on thresholds
    y = np.sin(3 * x[:, 0]) * x[:, 5] + 0.1 * rng.normal(size=3000)
    trees = sklearn.RandomForestRegressor(5, max_depth=6, random_state=0).fit(x, y)
    arrays = forest.arrays([each.tree_ for each in trees.estimators_])
    count, nodes = arrays["value"].shape
    net = RandomForest(2, trees=count, depth=6, nodes=nodes, radius=2)
    net.load_state_dict({name: array.float() for name, array in arrays.items()})
    around = torch.from_numpy(x.T.reshape(1, 1, 24, 50, 60).copy())
    found = net.lacking(around).numpy().ravel()
    np.testing.assert_allclose(found, trees.predict(x), atol=1e-6)


def test_a_forest_is_grown_run_in_tiles_and_beats_bicubic_where_it_grew(grown, geosr, images):
    card = weights.card_of(grown / "best.safetensors")
    assert card.options["trees"] == 4 and card.margin == 6
    tensors = load_arrays(grown / "best.safetensors")
    assert set(tensors) == {"child", "feature", "threshold", "value"}
    log = (grown / "log.csv").read_text().splitlines()
    row = dict(zip(log[0].split(","), log[1].split(","), strict=True))
    assert float(row["psnr"]) > float(row["psnr_bicubic"])
    for size in (24, 400):
        done = geosr("superres", images, f"out{size}", "--model", grown / "best.safetensors",
                     "--tile-size", size)  # fmt: skip
        assert done.returncode == 0, done.stderr
    out = [grown.parent / f"out{size}/placea.tif" for size in (24, 400)]
    with rasterio.open(out[0]) as a, rasterio.open(out[1]) as b:
        assert a.shape == (192, 192) and a.dtypes == ("uint8",)
        np.testing.assert_array_equal(a.read(), b.read())


def test_a_forest_runs_without_scikit_learn(grown, geosr, images, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    done = geosr("superres", images, "out", "--model", "run/best.safetensors")
    assert done.returncode == 0, done.stderr


def test_growing_without_scikit_learn_says_what_to_install(geosr, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    done = geosr("train", "--model", "rfsr", "--data", images, "--out", "run", "--patch", 32)
    assert done.returncode == 2 and "pip install 'geosr[classic]'" in done.stderr


@pytest.mark.parametrize("option", [
    ("--lr", 0.1), ("--resume",), ("--loss", "l1"), ("--steps", 5), ("--init", "x.safetensors"),
    ("--preset", "esrgan"),
])  # fmt: skip
def test_what_needs_steps_is_refused(geosr, images, option):
    done = geosr("train", "--model", "rfsr", "--data", images, "--out", "run", *option)
    assert done.returncode == 2 and "has no meaning for 'rfsr'" in done.stderr


def test_a_finished_forest_is_not_replaced_unasked(grown, geosr, images):
    again = ["train", "--model", "rfsr", "--data", images, "--out", "run", *SMALL]
    done = geosr(*again)
    assert done.returncode == 2 and "holds a training already" in done.stderr


def test_a_tree_that_leads_out_of_itself_is_refused(tmp_path):
    card = design("rfsr").card()
    card = replace(card, options={"trees": 1, "depth": 2, "nodes": 3, "radius": 2})
    state = build(card).net.state_dict()
    state["child"][0, 0, 1] = 7
    weights.save(tmp_path / "net.safetensors", card, state)
    with pytest.raises(WeightsError, match="'child' holds numbers that are not from 0 to 2"):
        weights.load_file(tmp_path / "net.safetensors")


def test_bands_that_are_mixtures_are_told_exactly(geosr, tmp_path):
    for name, seed in (("north", 0), ("south", 1)):
        scene_files.write_folder(tmp_path / f"scenes/{name}", size=240, seed=seed)
        with rasterio.open(tmp_path / f"scenes/{name}/10m.tif") as file:
            fine = file.read().astype(np.float64)
        for gsd, k in (("20m", 2), ("60m", 6)):
            with rasterio.open(tmp_path / f"scenes/{name}/{gsd}.tif", "r+") as file:
                n = 240 // k
                means = fine.reshape(4, n, k, n, k).mean((2, 4))
                mixed = 100 + 0.5 * means[0] + 0.3 * means[2]
                file.write(np.repeat(np.round(mixed)[None], file.count, 0).astype(np.uint16))
    done = geosr("train", "--model", "linear-rgb", "--data", "scenes", "--out", "run",
                 "--patch", 16, "--val-windows", 4)  # fmt: skip
    assert done.returncode == 0, done.stderr
    tensors = load_arrays(tmp_path / "run/best.safetensors")
    swir = weights.card_of(tmp_path / "run/best.safetensors").bands.index("B11")
    found = tensors["linear.weight"][swir].ravel()  # of B4, B3, B2
    np.testing.assert_allclose(found, [0.3, 0, 0.5], atol=0.01)
    assert tensors["linear.bias"][swir] == pytest.approx(0.01, abs=5e-4)
