"""The sensor's point spread: degradation consistent with scale, and what a scene tells of it."""

from dataclasses import replace

import numpy as np
import pytest
import scene_files

from geosr.scene import degrade, estimation, pointspread
from geosr.scene.degraded import WaldReader
from geosr.scene.estimation import displaced, estimate
from geosr.sensors import open_scene

TO_20 = ("B5", "B6", "B7", "B8A", "B11", "B12")
TO_60 = ("B1", "B9")


@pytest.mark.parametrize("truths, factor", [(TO_20, 2), (TO_60, 6)])
@pytest.mark.parametrize("wider", [0.9, 1.0, 1.1])
def test_relative_to_the_degraded_guides_every_band_is_as_soft_as_before(truths, factor, wider):
    """Squares of Gaussians' widths add up: a degraded band's, less the degraded guides'.

    What its own point spread adds is three quarters of σ, at the frequencies that are left.
    """
    guide = pointspread.blur("B4", truths, factor, wider=wider)
    for name in ("B5", "B8A", "B11", "B1"):
        own = pointspread.relative(name)
        total = (0.75 * own) ** 2 + pointspread.blur(name, truths, factor, wider=wider) ** 2
        assert np.sqrt(total - guide**2) == pytest.approx(factor * wider * own)


@pytest.mark.parametrize("truths", [TO_20, TO_60])
def test_all_truths_are_as_soft_as_the_guides_on_their_grid(truths):
    guide = pointspread.blur("B4", truths, 2)
    assert guide == pytest.approx(max(pointspread.METRES[name] for name in truths))
    for name in truths:
        total = pointspread.relative(name) ** 2 + pointspread.soften(name, truths) ** 2
        assert np.sqrt(total) == pytest.approx(guide)


@pytest.mark.parametrize("sigma, within", [
    (0.0, 0.02), (0.1, 0.02), (0.294, 0.02), (1.0, 0.02),
    (0.6, 0.022),  # its taps end where they fall below 0.002: at Nyquist alone 0.0217 off
])  # fmt: skip
def test_softening_has_the_transfer_of_a_gaussian_at_every_frequency(sigma, within):
    taps = degrade.softening(sigma)
    at = np.arange(len(taps)) - len(taps) // 2
    turns = np.linspace(0, np.pi, 50)
    transfer = (taps * np.cos(turns[:, None] * at)).sum(1)
    assert taps.sum() == pytest.approx(1)
    np.testing.assert_allclose(transfer, np.exp(-0.5 * (sigma * turns) ** 2), rtol=0, atol=within)


@pytest.fixture
def real(shared):
    return open_scene(shared / "sentinel2/val/L1C_20170527_T33UUB")


def test_a_real_scene_tells_the_widths_that_are_taken(real):
    with real.open() as reader:
        found = estimate(real, reader, 20) | estimate(real, reader, 60)
        shifts = displaced(real, reader, 20) | displaced(real, reader, 60)
    assert 8.5 <= found["B8A"].sigma <= 9.2
    assert found["B8A"].r2 > 0.95
    assert 28 <= found["B1"].sigma <= 33
    assert max(abs(metres) for shift in shifts.values() for metres in shift) < 2


@pytest.mark.parametrize("truths, factor, bands, square, within", [
    (TO_20, 2, ("B5", "B6", "B7", "B8A"), 12, 0.05),
    (TO_60, 6, TO_60, 6, 0.2),  # 16 × 16 pixels are left of it
])  # fmt: skip
def test_a_degraded_scene_tells_what_the_scene_tells(
    real, monkeypatch, truths, factor, bands, square, within
):
    """The law of scale, seen from outside, in pixels of the finest grid.

    B11 and B12 are left out: the finest bands explain less of them on the scene than when degraded,
    which draws one estimate up and not the other.
    """
    monkeypatch.setattr(estimation, "_SQUARE", square)
    monkeypatch.setattr(estimation, "_LEAST", 4)
    gsd = 10 * factor
    with real.open() as source:
        degraded = WaldReader(source, factor, (10, gsd), "sensor", truths=truths)
        before = estimate(real, source, gsd)
        after = estimate(replace(real, grids=degraded.grids), degraded, gsd)
    for band in bands:
        assert after[band].sigma == pytest.approx(before[band].sigma, abs=10 * within), band


def test_a_scene_that_is_too_small_gives_a_reason_and_no_number(tmp_path):
    scene_files.write_folder(tmp_path / "s", size=60)
    scene = open_scene(tmp_path / "s")
    with scene.open() as reader:
        found = estimate(scene, reader, 20)
    assert all(part.sigma is None and "squares" in part.reason for part in found.values())
