"""Nets for cubes without a guide: trained for a number of bands, run, taught by a discriminator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from nets import THIN
from rasters import picture, write

from geosr.errors import UsageError
from geosr.inference.engine import Engine
from geosr.inference.superres import superres
from geosr.models import weights
from geosr.sensors import OpenOptions, open_scene
from geosr.training.config import TrainConfig, config_of
from geosr.training.train import train

NETS = ("sspsr", "rfsr-hsi", "gan-hsi")
GRID = Affine(10, 0, 5e5, 0, -10, 5e6)


@pytest.fixture(scope="module")
def cubes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cubes of nine bands, mixtures of two pictures."""
    folder = tmp_path_factory.mktemp("cubes")
    shares = np.linspace(0, 1, 9)[:, None, None]
    for i in range(2):
        a, b = (picture(2 * i + k, side=48).astype(np.float64)[0] for k in (0, 1))
        write(folder / f"c{i}.tif", (shares * a + (1 - shares) * b).astype(np.uint16), grid=GRID)
    return folder


def config(name: str, preset: str = "default") -> TrainConfig:
    made = config_of(name, Engine(), preset=preset, recipe={"batch_size": 2}, steps=2)
    return replace(made, scale=3, bands=9, net_options=THIN[name], patch=24, val_windows=2)


@pytest.mark.parametrize("name", NETS)
def test_a_net_for_cubes_trains_by_its_recipe_and_enlarges_one(cubes, tmp_path, name):
    (model,) = weights.load(str(train(cubes, tmp_path / "run", config=config(name)).best))
    assert len(model.card.bands) == 9 and model.card.scale == 3 and not model.card.adversarial
    out = tmp_path / "o.tif"
    superres(open_scene(cubes / "c0.tif", OpenOptions(kind="image")), out, [model])
    with rasterio.open(out) as file, rasterio.open(cubes / "c0.tif") as given:
        assert (file.count, file.height, file.width) == (9, 144, 144)
        means = file.read().reshape(9, 48, 3, 48, 3).mean((2, 4))
        assert np.corrcoef(means.ravel(), given.read().ravel())[0, 1] > 0.98


def test_the_preset_of_gan_hsi_has_a_discriminator_after_a_third_of_the_steps(cubes, tmp_path):
    made = config("gan-hsi", "gan-hsi")
    assert made.adversarial is not None and 3 * made.adversarial.after == 30_000
    how = replace(made.adversarial, after=1, options={"features": 4})
    result = train(cubes, tmp_path / "run", config=replace(made, adversarial=how))
    assert result.skipped == 0 and weights.card_of(result.best).adversarial


@pytest.mark.parametrize("name", ["sspsr", "gan-hsi"])
def test_bands_by_themselves_are_no_cube_for_a_loss_along_the_spectrum(cubes, tmp_path, name):
    with pytest.raises(UsageError, match="at least two bands"):
        train(cubes, tmp_path / "run", config=replace(config(name), bands=1))
