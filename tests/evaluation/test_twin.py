"""Twins of 10 m bands in place of the coarse ones."""

from pathlib import Path

import numpy as np
import pytest
import scene_files

from geosr.errors import UsageError
from geosr.evaluation.evaluate import evaluate
from geosr.evaluation.protocols import Data
from geosr.evaluation.protocols.twin import gains
from geosr.models import registry, weights
from geosr.raster.window import Window
from geosr.scene import twin
from geosr.scene.pointspread import METRES
from geosr.sensors import open_scene

GUIDES = ("B2", "B3", "B4", "B8")
BANDS = ("B5", "B6", "B7", "B8A", "B11", "B12")


@pytest.fixture
def scene(scene_dir: Path):
    return open_scene(scene_dir)


def through(image: np.ndarray, sigma: float) -> np.ndarray:
    """An image seen through a Gaussian of σ fine pixels, read at every second pixel's corner."""
    size, reach = len(image), 12
    seen = np.zeros((size // 2, size))
    for i, row in enumerate(seen):
        at = np.arange(2 * i - reach, 2 * i + 2 + reach)
        taps = np.exp(-0.5 * ((at - 2 * i - 0.5) / sigma) ** 2)
        mirrored = np.minimum(np.where(at < 0, -1 - at, at), 2 * size - 1 - at)
        np.add.at(row, mirrored, taps / taps.sum())
    return seen @ image @ seen.T


def test_a_band_whose_neighbour_the_scene_lacks_has_another_guide_for_its_twin():
    assert twin.single(("B8A", "B5"), ("B2", "B4")).tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("shares", [twin.single, twin.mixed])
def test_a_twin_is_the_mixture_through_the_bands_own_point_spread(scene, shares):
    with scene.open() as source:
        reader = twin.TwinReader(source, 20, BANDS, GUIDES, shares(BANDS, GUIDES))
        height, width = scene.grids[20].shape
        low = reader.read(BANDS, 20, Window(0, 0, height, width)).values
        cut = Window(30, 44, 20, 16)
        part = reader.read(BANDS, 20, cut).values
        truth = reader.truth(BANDS, scene.grids[10].window)
        fine = source.read(GUIDES, 10, scene.grids[10].window).values.astype(np.float64)
    assert truth.usable.all()
    np.testing.assert_array_equal(part, low[:, 30:50, 44:60])
    for i, (share, name) in enumerate(zip(shares(BANDS, GUIDES), BANDS, strict=True)):
        assert share.sum() == pytest.approx(1)
        mixture = np.einsum("g,grc->rc", share, fine)
        np.testing.assert_allclose(truth.values[i], mixture, rtol=1e-5)
        np.testing.assert_allclose(low[i], through(mixture, METRES[name] / 10), rtol=1e-3)


def test_the_gain_is_one_for_the_truth_none_for_interpolation_two_for_twice_the_detail():
    rng = np.random.default_rng(0)
    truth, low = rng.normal(size=(2, 1, 20, 20)).astype(np.float32)
    mask = np.ones(truth.shape, bool)
    for gain in (0, 1, 2):
        made = low + gain * (truth - low)
        value, weight = gains(("B5",), made, truth, low, mask)["B5"]
        assert value == pytest.approx(gain, abs=1e-5)
        assert weight > 0


@pytest.fixture
def nets():
    return {"net": [registry.build(registry.design("dsen2-ps-20").card())],
            "bicubic": [weights.load("bicubic")[0]]}  # fmt: skip


def test_regressions_through_the_point_spread_alone_bring_twins_back(scene_dir, nets):
    found = evaluate(Data(scene_dir, "twin"), nets)
    assert found.ratio("net", "twin 20", "bicubic") < 0.1
    for band in BANDS:
        assert 0.9 < found.mean("net", "twin 20", "gain", band) < 1.05
        assert found.mean("bicubic", "twin 20", "gain", band) == pytest.approx(0, abs=0.01)


def test_they_bring_twins_of_a_real_scene_back(shared, nets):
    data = Data(shared / "sentinel2/val/L2A_ben_S2B_MSIL2A_20170927T094019_66_56", "twin")
    found = evaluate(data, nets)
    assert found.ratio("net", "twin 20", "bicubic") < 0.1
    for band in BANDS:  # the ridge holds B11 back, 0.899; a tenth of it would leave 0.974
        assert 0.89 < found.mean("net", "twin 20", "gain", band) < 1.05
        assert found.mean("bicubic", "twin 20", "gain", band) == pytest.approx(0, abs=0.01)


def test_twins_ask_for_a_net_with_guides_and_a_scene_with_10_m_bands(scene_dir, tmp_path):
    with pytest.raises(UsageError, match="no finer bands"):
        evaluate(
            Data(scene_dir, "twin"), {"espcn": [registry.build(registry.design("espcn").card())]}
        )
    scene_files.write_folder(tmp_path / "s", size=60)
    (tmp_path / "s/10m.tif").unlink()
    with pytest.raises(UsageError, match="no finer bands to make twins of"):
        evaluate(Data(tmp_path / "s", "twin"), {"bicubic": list(weights.load("bicubic"))})
