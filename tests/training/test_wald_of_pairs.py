"""Learning from Landsat-like pairs: windows, other guides, sharper ones, a short training."""

from __future__ import annotations

from pathlib import Path

import make_landsat
import numpy as np
import pytest
import rasterio
from affine import Affine

from geosr.evaluation.evaluate import bicubic_beside, evaluate
from geosr.evaluation.protocols import Data
from geosr.models import weights
from geosr.models.registry import design
from geosr.scene import degrade
from geosr.scene.pointspread import LANDSAT
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.wald import (
    WaldWindows,
    areas,
    one_guide,
    sharper,
    with_other_guide,
)

CARD = design("landsat-ps").card()


def write(path: Path, values: np.ndarray, gsd: float, names: tuple[str, ...]) -> None:
    count, height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", height=height, width=width, count=count,
                       dtype="uint8", transform=Affine(gsd, 0, 0, 0, -gsd, 0)) as file:  # fmt: skip
        file.write(values.astype(np.uint8))
        file.descriptions = names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pairs of 64 × 64 pixels at 30 m, whose bands are shares of the guide."""
    path = tmp_path_factory.mktemp("pairs")
    for i in (1, 2):
        field = make_landsat.ground(64, seed=i)
        low = make_landsat.seen(field)
        shares = list(make_landsat.SHARES.values())
        write(path / f"s{i}_ms.tif", np.stack([250 * share * low for share in shares]), 30, LANDSAT)
        write(path / f"s{i}_pan.tif", 400 * make_landsat.means(field, 2)[None], 15, ("pan",))
    return path


def sample(folder: Path) -> Sample:
    windows = WaldWindows(areas(folder, CARD), CARD, 32, operator="sensor")
    try:
        return windows.sample(0, 0)
    finally:
        windows.close()


def test_windows_of_pairs_have_the_shapes_of_the_card(folder):
    assert one_guide(CARD) and not one_guide(design("dsen2-ps-20").card())
    found = sample(folder)
    assert found.inputs[15].shape == (1, 32, 32) and found.inputs[30].shape == (6, 16, 16)
    assert found.target.shape == (6, 32, 32) and found.mask.all()


def test_a_sharper_sample_is_what_the_sensor_sees_of_its_own_truth(folder):
    before = sample(folder)
    after = sharper(before, CARD, np.random.default_rng(0))
    assert after.target.std() > before.target.std()
    taps = degrade.point_spread(2, 1.1)
    pad = degrade.beyond(taps, 2)
    around = np.pad(after.target, ((0, 0), (pad, pad), (pad, pad)), "symmetric")
    low = degrade.shrink(around, 2, taps, taps, pad=pad)
    np.testing.assert_allclose(after.inputs[30], low, rtol=1e-4)


def test_another_guide_is_a_mixture_of_the_own_one_and_the_truths(folder):
    before = sample(folder)
    after = with_other_guide(before, CARD, np.random.default_rng(1))
    columns = np.concatenate([before.inputs[15], before.target]).reshape(7, -1).T
    wanted = after.inputs[15].ravel()
    shares = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    np.testing.assert_allclose(columns @ shares, wanted, rtol=1e-3)
    np.testing.assert_array_equal(after.target, before.target)


def test_a_training_on_pairs_leaves_weights_that_sharpen_a_pair(geosr, folder, tmp_path):
    done = geosr("train", "--model", "landsat-ps", "--data", folder, "--out", "run", "--steps", 2,
                 "--patch", 32, "--batch-size", 2, "--val-windows", 2,
                 "--net-option", "features=8", "--net-option", "blocks=1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = geosr("superres", folder / "s1_ms.tif", "o.tif", "--model", "run/best.safetensors")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "o.tif") as file:
        assert file.descriptions == LANDSAT and file.shape == (128, 128)
        assert file.dtypes[0] == "uint8" and file.transform.a == 15


def test_classical_nets_and_bicubic_are_scored_on_pairs_beside_each_other(folder):
    nets = bicubic_beside({name: weights.load(name) for name in ("gsa", "regress")})
    assert [net.card.name for net in nets["bicubic"]] == ["bicubic-pair"]
    found = evaluate(Data(folder, protocol="wald", operator="sensor"), nets)
    assert not found.failed and found.groups == ["30"]
    scores = {name: found.mean(name, "30", "rmse") for name in found.models}
    assert scores["regress"] < 0.7 * scores["bicubic"] and scores["gsa"] < 0.7 * scores["bicubic"]


def test_the_guide_as_its_own_twin_is_found_again(folder):
    nets = {name: weights.load(name) for name in ("mtf-glp", "regress")}
    found = evaluate(Data(folder, protocol="twin"), nets)
    assert len(found.scores) == 4  # of a single guide all mixtures are alike
    for name in nets:
        assert 0.95 < (found.mean(name, "twin 30", "gain") or 0) < 1.05
