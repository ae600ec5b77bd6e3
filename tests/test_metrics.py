"""Scores against the published vectors and against scikit-image; masks and strips."""

import math

import numpy as np
import pytest

from geosr.metrics import Scores

ROW, COL = np.mgrid[0:32, 0:32]
X = ((7 * ROW + 3 * COL) % 17) / 17
Y = 0.9 * X + 0.05 + 0.02 * (((ROW + COL) % 3) - 1)
X3 = ((5 * ROW + 11 * COL) % 13) / 13
THREE = np.stack([X, 0.5 * X + 0.2, X3]), np.stack([Y, 0.5 * Y + 0.21, 0.95 * X3 + 0.02])


def scored(truth, estimate, mask=None, rows=None):
    mask = np.ones(truth.shape, bool) if mask is None else mask
    scores = Scores([f"B{i}" for i in range(len(truth))])
    for start in range(0, truth.shape[1], rows or truth.shape[1]):
        cut = slice(start, start + (rows or truth.shape[1]))
        scores.add(truth[:, cut], estimate[:, cut], mask[:, cut])
    return scores


def test_the_published_vectors():
    scores = scored(X[None], Y[None])
    assert scores.rmse["B0"] == pytest.approx(0.033469979254, abs=1e-12)
    assert scores.sre["B0"] == pytest.approx(22.952287251362, abs=1e-10)
    assert scores.uiq["B0"] == pytest.approx(0.992697592066, abs=1e-10)
    assert scored(*THREE).sam == pytest.approx(2.189296106877, abs=1e-9)


@pytest.mark.parametrize("rows", [1, 3, 7, 8, 13])
def test_strips_give_what_the_whole_gives(rows):
    rng = np.random.default_rng(0)
    mask = rng.random(THREE[0].shape) > 0.05
    whole, strips = scored(*THREE, mask), scored(*THREE, mask, rows)
    for metric in ("rmse", "sre", "uiq"):
        assert getattr(strips, metric) == pytest.approx(getattr(whole, metric), rel=1e-9)
    assert strips.sam == pytest.approx(whole.sam)


def test_perfect_estimates_are_at_the_optimum():
    scores = scored(THREE[0], THREE[0])
    assert set(scores.rmse.values()) == {0.0}
    assert set(scores.sre.values()) == {math.inf}
    assert scores.uiq["B0"] == pytest.approx(1)
    assert scores.sam == pytest.approx(0, abs=1e-5)


def test_masked_pixels_do_not_count_even_if_they_are_nan():
    truth, estimate = (array.copy() for array in THREE)
    mask = np.ones(truth.shape, bool)
    mask[:, 10:14, 5:9] = False
    clean = scored(truth, estimate, mask)
    truth[~mask], estimate[~mask] = np.nan, 1e9
    dirty = scored(truth, estimate, mask)
    assert dirty.rmse == clean.rmse
    assert dirty.sam == clean.sam
    assert dirty.uiq == pytest.approx(clean.uiq)


def test_nothing_valid_is_none_and_not_zero():
    scores = scored(*THREE, np.zeros(THREE[0].shape, bool))
    assert set(scores.rmse.values()) == {None}
    assert set(scores.uiq.values()) == {None}
    assert scores.sam is None


def test_flat_images_are_told_by_their_means():
    scores = scored(np.full((1, 9, 9), 2.0), np.full((1, 9, 9), 1.0))
    assert scores.uiq["B0"] == pytest.approx(0.8)  # 2·2·1 / (4 + 1)
    assert scored(np.zeros((1, 9, 9)), np.zeros((1, 9, 9))).uiq["B0"] == 1
