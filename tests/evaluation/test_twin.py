"""Twins of 10 m bands in place of the coarse ones."""

from pathlib import Path

import make_scene
import numpy as np
import pytest

from geosr.errors import UsageError
from geosr.evaluation import twin
from geosr.evaluation.evaluate import evaluate
from geosr.evaluation.protocols import Data
from geosr.models import registry, weights
from geosr.raster.window import Window
from geosr.scene import degrade
from geosr.sensors import open_scene

GUIDES = ("B2", "B3", "B4", "B8")
BANDS = ("B5", "B6", "B7", "B8A", "B11", "B12")


@pytest.fixture
def scene(scene_dir: Path):
    return open_scene(scene_dir)


@pytest.mark.parametrize("shares", [twin.single, twin.mixed])
def test_a_twin_is_the_mixture_through_the_bands_own_point_spread(scene, shares):
    with scene.open() as source:
        reader = twin.TwinReader(source, 20, BANDS, GUIDES, shares(BANDS, GUIDES))
        height, width = scene.grids[20].shape
        low = reader.read(BANDS, 20, Window(0, 0, height, width)).values
        fine = source.read(GUIDES, 10, scene.grids[10].window).values.astype(np.float64)
    for share, name, found in zip(shares(BANDS, GUIDES), BANDS, low, strict=True):
        assert share.sum() == pytest.approx(1)
        taps = degrade.of_band(name, 2, 10)
        pad = degrade.beyond(taps, 2)
        wide = np.pad(np.einsum("g,grc->rc", share, fine), pad, "symmetric")
        np.testing.assert_allclose(found, degrade.shrink(wide, 2, taps, taps, pad=pad), rtol=1e-4)


def test_the_gain_is_one_for_the_truth_none_for_interpolation_two_for_twice_the_detail():
    rng = np.random.default_rng(0)
    truth, low = rng.normal(size=(2, 1, 20, 20)).astype(np.float32)
    mask = np.ones(truth.shape, bool)
    for gain in (0, 1, 2):
        made = low + gain * (truth - low)
        value, weight = twin.gains(("B5",), made, truth, low, mask)["B5"]
        assert value == pytest.approx(gain, abs=1e-5)
        assert weight > 0


def test_regressions_through_the_point_spread_alone_bring_twins_back(shared):
    nets = {"net": [registry.build(registry.design("dsen2-ps-20").card())],
            "bicubic": [weights.load("bicubic")[0]]}  # fmt: skip
    data = Data(shared / "sentinel2/val/L2A_ben_S2B_MSIL2A_20170927T094019_66_56", "twin")
    found = evaluate(data, nets)
    assert found.ratio("net", "twin 20", "bicubic") < 0.15
    for band in BANDS:
        assert 0.85 < found.mean("net", "twin 20", "gain", band) < 1.05
        assert found.mean("bicubic", "twin 20", "gain", band) == pytest.approx(0, abs=0.01)


def test_twins_ask_for_a_net_with_guides_and_a_scene_with_10_m_bands(scene_dir, tmp_path):
    with pytest.raises(UsageError, match="no finer bands"):
        evaluate(
            Data(scene_dir, "twin"), {"espcn": [registry.build(registry.design("espcn").card())]}
        )
    make_scene.write_folder(tmp_path / "s", size=60)
    (tmp_path / "s/10m.tif").unlink()
    with pytest.raises(UsageError, match="no 10 m bands"):
        evaluate(Data(tmp_path / "s", "twin"), {"bicubic": list(weights.load("bicubic"))})
