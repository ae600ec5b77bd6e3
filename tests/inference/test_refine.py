"""Results refined by total variation, with their input as a bound."""

import json

import numpy as np
import pytest
import rasterio

from geosr.inference import consistency, refine
from geosr.scene import degrade


def _field(rows, cols):
    """Bright and dark blocks with a little structure, (1, rows, cols)."""
    down, across = np.ogrid[:rows, :cols]
    blocks = 3000 + 900 * ((down // 14 + across // 18) % 2) + 60 * np.sin(down / 3 + across / 5)
    return blocks[None].astype(np.float32)


def _seen(fine, factor, taps):
    pad = degrade.beyond(taps, factor)
    padded = np.pad(fine, ((0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    return degrade.shrink(padded, factor, taps, taps, pad=pad)


def _variation(x):
    return np.abs(np.diff(x, axis=-1)).sum() + np.abs(np.diff(x, axis=-2)).sum()


@pytest.mark.parametrize("factor", [2, 6])
def test_the_refined_image_still_degrades_to_the_input(factor):
    taps = degrade.of_image(factor)
    truth = _field(20 * factor, 24 * factor)
    low = _seen(truth, factor, taps)
    rough = truth + np.random.default_rng(0).normal(0, 100, truth.shape).astype(np.float32)
    np.testing.assert_allclose(_seen(refine.tv_tv(rough, low, [taps]), factor, taps), low, atol=0.1)


def test_it_comes_nearer_to_the_least_variation_than_the_projection():
    taps = degrade.of_image(2)
    truth = _field(80, 96)
    low = _seen(truth, 2, taps)
    rough = low.repeat(2, 1).repeat(2, 2)
    projected = consistency.project(rough, low, [taps])
    refined = refine.tv_tv(rough, low, [taps])
    cost = [_variation(x) + _variation(x - rough) for x in (projected, refined)]
    assert cost[1] < 0.95 * cost[0]


def test_a_weak_result_comes_nearer_to_the_truth():
    taps = degrade.box(2)
    truth = _field(80, 96)
    low = _seen(truth, 2, taps)
    weak = low.repeat(2, 1).repeat(2, 2)
    weak = (weak + np.roll(weak, 1, 1) + np.roll(weak, 1, 2)) / 3
    errors = [
        float(np.sqrt(((x - truth) ** 2).mean()))
        for x in (weak, consistency.project(weak, low, [taps]), refine.tv_tv(weak, low, [taps]))
    ]
    assert errors[2] < errors[1] < errors[0]


def test_ground_without_structure_stays():
    flat = np.full((2, 24, 24), 1234.0, np.float32)
    refined = refine.tv_tv(flat, flat[:, ::2, ::2], [degrade.of_image(2)] * 2)
    np.testing.assert_allclose(refined, flat, atol=0.01)


def test_it_is_the_same_of_larger_counts():
    taps = degrade.of_image(2)
    truth = _field(40, 40)
    low = _seen(truth, 2, taps)
    rough = low.repeat(2, 1).repeat(2, 2)
    once, larger = refine.tv_tv(rough, low, [taps]), refine.tv_tv(8 * rough, 8 * low, [taps])
    np.testing.assert_allclose(larger / 8, once, atol=0.1)


def test_far_from_a_tiles_edge_it_is_as_in_the_whole_image():
    taps = degrade.of_image(2)
    truth = _field(240, 240)
    low = _seen(truth, 2, taps)
    rough = truth + np.random.default_rng(1).normal(0, 60, truth.shape).astype(np.float32)
    whole = refine.tv_tv(rough, low, [taps])
    tile = refine.tv_tv(rough[:, 40:200, 40:200], low[:, 20:100, 20:100], [taps])
    inner = slice(consistency.REFINED, -consistency.REFINED)
    apart = np.abs(tile[:, inner, inner] - whole[:, 40:200, 40:200][:, inner, inner])
    assert apart.mean() < 0.05
    assert apart.max() < 2  # of a range of 900


def test_a_sharpened_pair_is_refined_by_its_own_point_spread(geosr, tmp_path):
    fine = _field(120, 120)
    low = _seen(fine, 2, degrade.point_spread(2, 1.1))
    for name, values, size in (("x_pan", fine, 15), ("x_ms", np.concatenate([low, low / 2]), 30)):
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", driver="GTiff", width=values.shape[2],
            height=values.shape[1], count=len(values), dtype="uint16",
            transform=rasterio.Affine(size, 0, 0, 0, -size, 0),
        ) as output:  # fmt: skip
            output.write(np.rint(values).astype(np.uint16))
    arguments = ("superres", tmp_path / "x_ms.tif", "--model", "bicubic-pair", "--check",
                 "--json")  # fmt: skip
    plain = geosr(*arguments, tmp_path / "plain")
    done = geosr(*arguments, tmp_path / "out", "--refine", "tv-tv")
    assert done.returncode == plain.returncode == 0, done.stderr
    before, after = (max(json.loads(x.stdout)["check"]["rmse"].values()) for x in (plain, done))
    assert after < 0.6 < before  # what rounding to counts leaves
    record = json.loads((tmp_path / "out" / "x_ms.geosr.json").read_text())
    assert record["recipe"]["refine"] == "tv-tv"
    assert set(record["changed"]) == {"1", "2"}


def test_nets_of_any_scale_cannot_be_refined(geosr, tmp_path):
    with rasterio.open(tmp_path / "a.tif", "w", driver="GTiff", width=40, height=40, count=1,
                       dtype="uint16") as output:  # fmt: skip
        output.write(_field(40, 40).astype(np.uint16))
    done = geosr("superres", tmp_path / "a.tif", tmp_path / "out", "--model", "bicubic",
                 "--scale", "2.5", "--refine", "tv-tv")  # fmt: skip
    assert done.returncode != 0
    assert "--refine is for nets of one whole scale" in done.stderr
