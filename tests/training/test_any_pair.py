"""Nets for any pair: bands and factor are the data's; trained, run, scored, refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from nets import THIN

from geosr.errors import SceneError, UsageError, WeightsError
from geosr.evaluation.evaluate import bicubic_beside, evaluate
from geosr.evaluation.protocols import Data
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.models import registry, weights
from geosr.scene.degraded import WaldReader, truth
from geosr.scene.estimation import displaced
from geosr.sensors import OpenOptions, open_scene
from geosr.training.config import TrainConfig
from geosr.training.datasets import pool
from geosr.training.datasets.wald import WaldWindows, areas, card_of
from geosr.training.train import train

NETS = ("hsrnet", "mog-dcn")
CUBE = ("B5", "B6", "B7", "B8A")  # called like Sentinel-2's, but of no known sensor
GUIDE = ("B2", "B8")
LESS = {"hsrnet": {}, "mog-dcn": {"stages": 1}}  # what a net is quick without


def write(path: Path, values: np.ndarray, gsd: float, names: tuple[str, ...]) -> None:
    count, height, width = values.shape
    grid = Affine(gsd, 0, 0, 0, -gsd, 0)
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=count,
                       dtype="uint16", transform=grid) as file:  # fmt: skip
        file.write(values.astype(np.uint16))
        file.descriptions = names


def ground(side: int, seed: int) -> np.ndarray:
    """(2, side, side): two fields with edges, around 2000."""
    rng = np.random.default_rng(seed)
    blocks = rng.uniform(500, 4000, (2, side // 6 + 1, side // 6 + 1))
    return np.repeat(np.repeat(blocks, 6, 1), 6, 2)[:, :side, :side]


def pair(folder: Path, stem: str, factor: int, seed: int, side: int = 48) -> Path:
    """`side` coarse pixels of four bands that are mixtures of the two of the guide."""
    folder.mkdir(parents=True, exist_ok=True)
    fine = ground(side * factor, seed)
    shares = np.array([[1, 0], [0.7, 0.3], [0.3, 0.7], [0.1, 0.8]])
    mixed = np.einsum("bg,grc->brc", shares, fine)
    low = mixed.reshape(4, side, factor, side, factor).mean((2, 4))
    write(folder / f"{stem}_ms.tif", low, 10.0 * factor, CUBE)
    write(folder / f"{stem}_pan.tif", fine, 10.0, GUIDE)
    return folder / f"{stem}_ms.tif"


@pytest.fixture(scope="module")
def thirds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs whose guides are three times finer."""
    folder = tmp_path_factory.mktemp("pairs")
    for i in (1, 2):
        pair(folder, f"s{i}", 3, i)
    return folder


@pytest.fixture(autouse=True, scope="module")
def few_regions() -> Iterator[None]:
    """Two regions to learn from, not hundreds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_MOST", 2)
        yield


def config(name: str, steps: int) -> TrainConfig:
    recipe = replace(registry.design(name).recipe, batch_size=2)
    return TrainConfig(name, recipe=recipe, net_options=THIN[name], steps=steps, patch=24,
                       val_windows=2)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(thirds: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Nets that learned two steps of those pairs."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: train(thirds, folder / name, config=config(name, 2)).best for name in NETS}


@pytest.mark.parametrize("name", NETS)
def test_a_checkpoint_has_the_bands_and_the_factor_of_its_pairs(checkpoints, name):
    card = weights.card_of(checkpoints[name])
    assert [(item.gsd, item.bands) for item in card.inputs] == [(1, GUIDE), (3, CUBE)]
    assert card.scale == 3 and card.scenes == "pair" and card.bands == CUBE


def test_a_net_is_trained_and_sharpens_a_pair_by_two_commands(geosr, thirds, tmp_path):
    options = [arg for key, value in THIN["mog-dcn"].items()
               for arg in ("--net-option", f"{key}={value}")]  # fmt: skip
    done = geosr("train", "--model", "mog-dcn", "--data", thirds, "--out", "run", "--steps", 2,
                 "--batch-size", 2, "--patch", 24, "--val-windows", 2, *options)  # fmt: skip
    assert done.returncode == 0, done.stderr
    low, fine = thirds / "s1_ms.tif", thirds / "s1_pan.tif"
    done = geosr("superres", low, "o.tif", "--guide", fine, "--model", "run/best.safetensors")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "o.tif") as file, rasterio.open(low) as given:
        assert file.descriptions == CUBE and file.shape == (144, 144)
        assert file.transform.a == 10 and file.bounds == given.bounds
        means = file.read().reshape(4, 48, 3, 48, 3).mean((2, 4))
        assert np.corrcoef(means.ravel(), given.read().ravel())[0, 1] > 0.98


def test_a_training_goes_on_with_the_same_pairs_only(thirds, tmp_path):
    train(thirds, tmp_path / "run", config=config("hsrnet", 1))
    bound = json.loads((tmp_path / "run/config.json").read_text())["bound"]
    assert bound["scale"] == 3 and bound["output"]["bands"] == [*CUBE]
    done = train(thirds, tmp_path / "run", config=config("hsrnet", 2), resume=True)
    assert done.step == 2
    pair(tmp_path / "halves", "s1", 2, 3)
    with pytest.raises(UsageError, match="bound"):
        train(tmp_path / "halves", tmp_path / "run", config=config("hsrnet", 3), resume=True)


def test_a_pair_of_another_factor_is_refused_and_both_are_told(checkpoints, tmp_path):
    path = pair(tmp_path / "halves", "s1", 2, 3)
    (model,) = weights.load(str(checkpoints["hsrnet"]))
    scene = open_scene(path, OpenOptions(kind="pair"))
    with pytest.raises(SceneError, match="2 times finer, 'hsrnet' was trained for 3"):
        superres(scene, tmp_path / "o.tif", [model])
    assert not (tmp_path / "o.tif").exists()
    with pytest.raises(UsageError, match="nothing was scored"):
        evaluate(Data(tmp_path / "halves", protocol="wald"), {"hsrnet": [model]})


def test_pairs_of_another_factor_than_the_first_are_left_out_of_a_training(thirds, tmp_path):
    for path in thirds.iterdir():
        (tmp_path / path.name).symlink_to(path)
    pair(tmp_path, "t1", 2, 3)
    card = card_of(tmp_path, registry.design("hsrnet").card(), OpenOptions())
    assert [area.item.name for area in areas(tmp_path, card)] == ["s1_ms", "s2_ms"]


def test_a_folder_without_pairs_is_told_at_once(tmp_path):
    template = registry.design("hsrnet").card()
    with pytest.raises(UsageError, match="no such file"):
        card_of(tmp_path / "none", template, OpenOptions())
    write(tmp_path / "a.tif", np.ones((1, 8, 8)), 10, ("a",))
    with pytest.raises(UsageError, match="no pair to train 'hsrnet' on"):
        card_of(tmp_path, template, OpenOptions())


def test_bands_and_scale_of_a_net_for_pairs_are_not_the_users_to_say():
    with pytest.raises(UsageError, match="from the pair of rasters. Leave --scale"):
        TrainConfig("hsrnet", scale=3).card  # noqa: B018


def test_without_weights_a_net_for_pairs_says_how_to_get_some():
    with pytest.raises(WeightsError, match="geosr train --model hsrnet"):
        weights.load("hsrnet")


def test_bands_called_like_a_sensors_are_degraded_as_of_an_unknown_one(tmp_path):
    scene = open_scene(pair(tmp_path, "s1", 2, 1), OpenOptions(kind="pair"))
    with scene.open() as reader:
        degraded = WaldReader(reader, 2, (1, 2), "sensor", truths=CUBE)
        plain = WaldReader(reader, 2, (1, 2), "sensor")
        window = degraded.grids[2].window
        np.testing.assert_array_equal(
            degraded.read(CUBE, 2, window).values, plain.read(CUBE, 2, window).values
        )
        whole = reader.grids[2].window
        np.testing.assert_array_equal(
            truth(reader, CUBE, 2, whole, "sensor").values, reader.read(CUBE, 2, whole).values
        )
        assert displaced(scene, reader, 2) == {}


def test_windows_of_an_unknown_sensor_keep_their_bands_apart(thirds):
    card = card_of(thirds, registry.design("hsrnet").card(), OpenOptions())
    windows = WaldWindows(areas(thirds, card), card, 24, operator="sensor")
    try:
        batch = windows.batch(0, [0, 1])
        truths = batch.target.numpy()
        shares = np.array([[1, 0], [0.7, 0.3], [0.3, 0.7], [0.1, 0.8]])
        fits = np.linalg.lstsq(shares, truths.transpose(1, 0, 2, 3).reshape(4, -1), rcond=None)[0]
        left = truths.transpose(1, 0, 2, 3).reshape(4, -1) - shares @ fits
        assert np.abs(left).max() < 2  # counts: rounded ones
    finally:
        windows.close()


@pytest.mark.parametrize("name", NETS)
def test_tiles_of_a_net_that_blends_have_no_seams(tmp_path, name):
    path = pair(tmp_path, "s1", 2, 5, side=72)
    torch.manual_seed(0)
    card = card_of(tmp_path, registry.design(name).card(), OpenOptions())
    model = registry.build(replace(card, options={**card.options, **THIN[name], **LESS[name]}))
    for parameter in model.net.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    model.net.eval()
    scene = open_scene(path, OpenOptions(kind="pair"))
    made = []
    for size in (400, 72):
        out = tmp_path / f"tile{size}.tif"
        superres(scene, out, [model], request=Request(tile_size=size))
        with rasterio.open(out) as file:
            made.append(file.read().astype(np.float64))
    whole, tiles = made
    assert np.abs(tiles - whole).mean() < 0.02 * whole.std()


def test_trained_nets_stand_beside_classical_ones(checkpoints, thirds):
    nets = bicubic_beside({name: weights.load(name) for name in
                           (*map(str, checkpoints.values()), "gsa")})  # fmt: skip
    found = evaluate(Data(thirds, protocol="wald", operator="sensor"), nets)
    assert not found.failed and found.groups == ["3"] and len(found.scores) == 8
