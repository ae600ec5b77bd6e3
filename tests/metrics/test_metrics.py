"""Scores against published vectors and independent implementations; masks, strips and edges."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rasters import picture, write

from geosr.metrics import detail, no_reference
from geosr.metrics.full_reference import DEFINITIONS, Scores, definitions, mean
from geosr.metrics.windows import unmasked

ROW, COL = np.mgrid[0:32, 0:32]
X = ((7 * ROW + 3 * COL) % 17) / 17
Y = 0.9 * X + 0.05 + 0.02 * (((ROW + COL) % 3) - 1)
X3 = ((5 * ROW + 11 * COL) % 13) / 13
THREE = np.stack([X, 0.5 * X + 0.2, X3]), np.stack([Y, 0.5 * Y + 0.21, 0.95 * X3 + 0.02])
PIXEL = ("rmse", "mae", "bias", "cc", "sre", "sre_energy", "psnr")
WINDOW = ("ssim", "dssim", "ms_ssim", "uiq")


def scored(truth, estimate, mask=None, rows=None, **more):
    mask = np.ones(truth.shape, bool) if mask is None else mask
    scores = Scores([f"B{i}" for i in range(len(truth))], **{"peak": 1.0, **more})
    for start in range(0, truth.shape[1], rows or truth.shape[1]):
        cut = slice(start, start + (rows or truth.shape[1]))
        scores.add(truth[:, cut], estimate[:, cut], mask[:, cut])
    return scores


def pictures(bands=2, rows=200, cols=190, seed=0):
    """Rough and smooth together in 0 to 1, and a noisy, darker estimate."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.random((bands, rows // 8 + 1, cols // 8 + 1)), np.ones((1, 8, 8)))
    truth = 0.7 * coarse[:, :rows, :cols] + 0.3 * rng.random((bands, rows, cols))
    return truth, 0.9 * truth + 0.1 * rng.random(truth.shape)


def test_the_published_vectors():
    found = {metric: by["B0"] for metric, by in scored(X[None], Y[None]).bands().items()}
    assert found["rmse"] ** 2 == pytest.approx(0.001120239511, abs=1e-12)
    assert found["rmse"] == pytest.approx(0.033469979254, abs=1e-12)
    assert found["psnr"] == pytest.approx(29.506891136764, abs=1e-12)
    assert found["ssim"] == pytest.approx(0.992813380825, abs=1e-12)
    assert found["dssim"] == pytest.approx(0.003593309587, abs=1e-12)
    assert found["uiq"] == pytest.approx(0.992697592066, abs=1e-12)
    assert found["sre"] == pytest.approx(22.952287251362, abs=1e-12)
    assert found["sre_energy"] == pytest.approx(24.338351472779, abs=1e-12)


def test_the_published_vectors_of_three_bands():
    assert scored(*THREE, factor=2).sam == pytest.approx(2.189296106877, abs=1e-12)
    assert scored(*THREE, factor=2).whole()["ergas"] == pytest.approx(2.621756349991, abs=1e-12)
    assert scored(*THREE, factor=4).whole()["ergas"] == pytest.approx(1.310878174995, abs=1e-12)


def test_ssim_agrees_with_skimage():
    metrics = pytest.importorskip("skimage.metrics")
    truth, estimate = pictures(rows=61, cols=70)
    ssim = scored(truth * 3000, estimate * 3000, peak=4000.0).bands()["ssim"]
    for i in range(2):
        expected = metrics.structural_similarity(
            3000 * truth[i], 3000 * estimate[i], data_range=4000, gaussian_weights=True,
            sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        assert ssim[f"B{i}"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("rows", "cols"), [(176, 176), (200, 190), (191, 205)])
def test_ms_ssim_is_the_product_of_its_scales(rows, cols):
    truth, estimate = pictures(1, rows, cols)
    x, y = (torch.from_numpy(image)[None] for image in (truth, estimate))
    expected = 1.0
    for i, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        luminance, contrast = windows(x, y)
        expected *= float((contrast * (luminance if i == 4 else 1)).mean()) ** weight
        x, y = (torch.nn.functional.avg_pool2d(z, 2) for z in (x, y))
    found = scored(truth, estimate).bands()["ms_ssim"]["B0"]
    assert found == pytest.approx(expected, abs=1e-12)


def windows(x, y):
    """SSIM's two parts by a direct two-dimensional window."""
    at = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(at**2) / 4.5)
    kernel = (torch.outer(line, line) / line.sum() ** 2)[None, None]
    a, b, aa, bb, ab = (torch.conv2d(z, kernel) for z in (x, y, x * x, y * y, x * y))
    luminance = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    return luminance, (2 * (ab - a * b) + 9e-4) / (aa - a * a + bb - b * b + 9e-4)


def test_ms_ssim_agrees_with_torchmetrics_up_to_its_padded_windows():
    functional = pytest.importorskip("torchmetrics.functional.image")
    truth, estimate = pictures(1, 256, 256)
    x, y = (torch.from_numpy(image)[None] for image in (truth, estimate))
    expected = functional.multiscale_structural_similarity_index_measure(y, x, data_range=1.0)
    found = scored(truth, estimate).bands()["ms_ssim"]["B0"]
    assert found == pytest.approx(float(expected), abs=1e-4)


def test_ergas_sam_and_correlation_agree_with_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    regression = pytest.importorskip("torchmetrics.functional.regression")
    truth, estimate = pictures(4, 40, 50)
    x, y = (torch.from_numpy(image)[None] for image in (truth, estimate))
    scores = scored(truth, estimate, factor=6)
    ergas = functional.error_relative_global_dimensionless_synthesis(y, x, ratio=6)
    assert scores.whole()["ergas"] == pytest.approx(float(ergas), rel=1e-12)
    angle = functional.spectral_angle_mapper(y, x)
    assert scores.sam == pytest.approx(math.degrees(float(angle)), rel=1e-12)
    for i in range(4):
        expected = regression.pearson_corrcoef(y[0, i].flatten(), x[0, i].flatten())
        assert scores.bands()["cc"][f"B{i}"] == pytest.approx(float(expected), abs=1e-9)


def test_uiq_is_that_of_every_window_by_itself():
    truth, estimate = pictures(1, 19, 23)
    views = [np.lib.stride_tricks.sliding_window_view(z[0], (8, 8)) for z in (truth, estimate)]
    values = []
    for x, y in zip(*(view.reshape(-1, 64) for view in views), strict=True):
        (xx, xy), (_, yy) = np.cov(x, y, bias=True)
        squares = x.mean() ** 2 + y.mean() ** 2
        values.append(4 * xy * x.mean() * y.mean() / ((xx + yy) * squares))
    assert scored(truth, estimate).uiq["B0"] == pytest.approx(np.mean(values), abs=1e-12)


def hamilton(p, q):
    """Product of quaternions along the first axis."""
    a, b, c, d = p
    e, f, g, h = q
    return np.stack(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_q2n_up_to_four_bands_is_a_quaternion_quality(bands):
    truth, estimate = pictures(bands, 70, 100)
    size = 1 << (bands - 1).bit_length()  # of 4, the others stay 0
    values = []
    for top in (0, 32):
        for left in (0, 32, 64):
            x, y = np.zeros((2, 4, 32 * 32))
            x[:size] = y[:size] = 1
            cut = (slice(top, top + 32), slice(left, left + 32))
            for band in range(bands):
                block, made = truth[band][cut].ravel(), estimate[band][cut].ravel()
                x[band] = (block - block.mean()) / block.std(ddof=1) + 1
                y[band] = (made - block.mean()) / block.std(ddof=1) + 1
            mean_x, mean_y = x.mean(1, keepdims=True), y.mean(1, keepdims=True)
            conjugate = np.array([1, -1, -1, -1])[:, None] * (y - mean_y)
            covariance = np.linalg.norm(hamilton(x - mean_x, conjugate).mean(1))
            variances = x.var(1).sum() + y.var(1).sum()
            lengths = np.linalg.norm(mean_x), np.linalg.norm(mean_y)
            luminance = lengths[0] * lengths[1] / (lengths[0] ** 2 + lengths[1] ** 2)
            values.append(4 * covariance * luminance / variances)
    found = scored(truth, estimate).whole()["q2n"]
    assert found == pytest.approx(np.mean(values), abs=1e-12)


@pytest.mark.parametrize("bands", [5, 12])
def test_q2n_of_many_bands_is_one_only_without_an_error(bands):
    truth, estimate = pictures(bands, 64, 64)
    assert scored(truth, truth).whole()["q2n"] == pytest.approx(1, abs=1e-12)
    assert 0 < scored(truth, estimate).whole()["q2n"] < 0.999
    assert 0 < scored(truth, truth[::-1]).whole()["q2n"] < 0.8


def test_mean_absolute_error_and_bias_are_numpys():
    truth, estimate = pictures()
    found, error = scored(truth, estimate, peak=2.0).bands(), estimate - truth
    assert list(found["mae"].values()) == pytest.approx(np.abs(error).mean((1, 2)))
    assert list(found["bias"].values()) == pytest.approx(error.mean((1, 2)))
    assert list(found["psnr"].values()) == pytest.approx(10 * np.log10(4 / (error**2).mean((1, 2))))


def test_a_scene_has_the_mean_over_bands_and_the_pooled_error():
    scores = scored(*THREE)
    bands, scene = scores.bands(), scores.whole()
    for metric, by in bands.items():
        known = [value for value in by.values() if value is not None]
        assert scene[metric] == pytest.approx(np.mean(known)) if known else scene[metric] is None
    assert scene["rmse_pooled"] == pytest.approx(np.sqrt(np.mean((THREE[1] - THREE[0]) ** 2)))
    assert scene["rmse_pooled"] > scene["rmse"]


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 13, 31, 65, 100, 150])
def test_strips_give_what_the_whole_gives(rows):
    truth, estimate = pictures()
    mask = np.ones(truth.shape, bool)
    mask[0, :2, 60:63] = mask[1, 199, 0] = False
    expected = scored(truth, estimate, mask)
    assert None not in expected.whole().values()
    assert_same(scored(truth, estimate, mask, rows), expected)


def assert_same(one, other):
    for metric, by in other.bands().items():
        assert known(one.bands()[metric]) == pytest.approx(known(by), rel=1e-9, abs=1e-12), metric
    assert known(one.whole()) == pytest.approx(known(other.whole()), rel=1e-9, abs=1e-12)


def known(values):
    return {name: value for name, value in values.items() if value is not None}


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 77), max_size=6),
    cols=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_strips_of_uneven_heights_give_what_the_whole_gives(cuts, cols, seed):
    truth, estimate = pictures(2, 77, cols, seed)
    mask = np.random.default_rng(seed).random(truth.shape) > 0.003
    scores = Scores(["B0", "B1"], peak=1.0)
    for part in np.split(np.arange(77), sorted(cuts)):
        scores.add(truth[:, part], estimate[:, part], mask[:, part])
    assert_same(scores, scored(truth, estimate, mask))


def test_perfect_estimates_are_at_the_optimum():
    truth, _ = pictures()
    scores = scored(truth, truth)
    bands = {metric: set(by.values()) for metric, by in scores.bands().items()}
    for metric in ("rmse", "mae", "bias", "dssim"):
        assert bands[metric] == {0.0}
    for metric in ("sre", "sre_energy", "psnr"):
        assert bands[metric] == {math.inf}
    for metric in ("ssim", "ms_ssim", "uiq", "cc"):
        assert list(bands[metric]) == pytest.approx([1.0] * len(bands[metric]), abs=1e-12)
    assert scores.sam == pytest.approx(0, abs=1e-5)
    scene = scores.whole()
    assert scene["ergas"] == scene["rmse_pooled"] == 0
    assert scene["sre"] == math.inf
    assert scene["q2n"] == pytest.approx(1)


def test_every_error_is_worse_than_none():
    truth, estimate = pictures()
    scene = scored(truth, estimate).whole()
    for metric in ("ssim", "ms_ssim", "uiq", "cc", "q2n"):
        assert scene[metric] < 0.999
    for metric in ("rmse", "mae", "dssim", "sam", "ergas", "rmse_pooled"):
        assert scene[metric] > 1e-4


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_masked_pixels_do_not_count_even_if_they_are_nan(kind):
    truth, estimate = pictures()
    mask = np.ones(truth.shape, bool)
    mask[:, 10:14, 5:9] = mask[1, 150:, 100:] = False
    clean = scored(truth, estimate, mask)
    truth[~mask], estimate[~mask] = np.nan, 1e9
    dirty = scored(truth, estimate, mask.astype(kind))
    assert dirty.bands() == clean.bands()
    assert dirty.whole() == clean.whole()


def test_the_first_pixel_may_be_masked():
    truth, estimate = pictures(1, 30, 30)
    mask = np.ones(truth.shape, bool)
    mask[0, 0, :] = False
    found = scored(truth, estimate, mask).bands()["cc"]["B0"]
    assert found == pytest.approx(np.corrcoef(truth[mask], estimate[mask])[0, 1])


def test_a_nan_that_is_not_masked_is_not_hidden():
    truth, estimate = pictures()
    estimate[0, 30, 30] = np.nan
    scores = scored(truth, estimate)
    for metric, by in scores.bands().items():
        assert math.isnan(by["B0"]), metric
        assert math.isfinite(by["B1"]), metric
    assert all(math.isnan(value) for value in scores.whole().values())


def test_windows_with_a_masked_pixel_are_left_out():
    truth, estimate = pictures(1, 24, 24)
    estimate[0, 12:, :] = 0
    mask = np.ones(truth.shape, bool)
    mask[0, 12:, :] = False
    found, upper = scored(truth, estimate, mask).bands(), scored(truth[:, :12], estimate[:, :12])
    assert found["ssim"] == pytest.approx(upper.bands()["ssim"])
    assert found["uiq"] == pytest.approx(upper.bands()["uiq"])


def test_nothing_valid_is_none_and_not_zero():
    truth, estimate = pictures()
    scores = scored(truth, estimate, np.zeros(truth.shape, bool))
    assert {value for by in scores.bands().values() for value in by.values()} == {None}
    assert set(scores.whole().values()) == {None}
    empty = Scores(["B2"])
    assert set(empty.whole().values()) == {None}


def test_a_band_without_a_valid_pixel_is_none_and_leaves_the_means_to_the_others():
    truth, estimate = pictures()
    mask = np.ones(truth.shape, bool)
    mask[1] = False
    scores = scored(truth, estimate, mask)
    alone = scored(truth[:1], estimate[:1])
    assert {by["B1"] for by in scores.bands().values()} == {None}
    scene, expected = scores.whole(), alone.whole()
    for metric in (*PIXEL, *WINDOW, "rmse_pooled", "ergas"):
        assert scene[metric] == pytest.approx(expected[metric])
    assert scene["sam"] is None and scene["q2n"] is None


@pytest.mark.parametrize(
    ("metric", "least"), [("uiq", 8), ("ssim", 11), ("q2n", 32), ("ms_ssim", 176)]
)
def test_an_image_smaller_than_the_window_has_no_score(metric, least):
    for rows, cols in ((least - 1, 200), (200, least - 1)):
        assert scored(*pictures(1, rows, cols)).whole()[metric] is None
    assert scored(*pictures(1, least, least)).whole()[metric] is not None


def test_flat_images_are_told_by_their_means():
    flat = np.full((1, 200, 200), 2.0)
    found = scored(flat, flat / 2).bands()
    assert found["uiq"]["B0"] == pytest.approx(0.8)  # 2·2·1 / (4 + 1)
    assert found["ssim"]["B0"] == pytest.approx((4 + 1e-4) / (5 + 1e-4))
    assert found["cc"]["B0"] is None
    assert scored(flat, flat / 2).whole()["q2n"] == pytest.approx(0.8)
    same = scored(flat / 3, flat / 3).bands()
    assert same["ssim"]["B0"] == same["ms_ssim"]["B0"] == pytest.approx(1)
    assert same["cc"]["B0"] is None
    assert same["sre"]["B0"] == same["psnr"]["B0"] == math.inf


def test_black_images():
    zeros = np.zeros((2, 40, 40))
    same, off = scored(zeros, zeros), scored(zeros, zeros + 1)
    assert same.uiq["B0"] == same.whole()["q2n"] == 1
    assert same.whole()["ergas"] == 0
    assert same.sam is None
    assert off.uiq["B0"] == 0
    assert off.whole()["q2n"] == pytest.approx(0.8)  # 1 and 2 beside each other
    assert off.sre["B0"] == -math.inf
    assert off.whole()["ergas"] == math.inf
    assert off.sam is None


def test_the_correlation_of_a_nearly_flat_bright_image_keeps_its_digits():
    rng = np.random.default_rng(0)
    x = 1e6 + 1e-3 * rng.random((1, 80, 80))
    y = x + 1e-3 * rng.random((1, 80, 80))
    expected = np.corrcoef((x - 1e6).ravel(), (y - 1e6).ravel())[0, 1]
    assert scored(x, y).bands()["cc"]["B0"] == pytest.approx(expected, abs=1e-9)


def test_counts_may_be_integers():
    truth, estimate = (np.round(10000 * image).astype(np.uint16) for image in pictures())
    found = scored(truth, estimate, peak=10000.0)
    assert_same(found, scored(truth.astype(float), estimate.astype(float), peak=10000.0))


def test_without_extra_the_slow_metrics_are_absent():
    full, quick = scored(*pictures()), scored(*pictures(), extra=False)
    assert set(full.bands()) - set(quick.bands()) == {"ms_ssim"}
    assert set(full.whole()) - set(quick.whole()) == {"ms_ssim", "q2n"}
    for metric, by in quick.bands().items():
        assert by == full.bands()[metric]


def test_every_metric_is_defined_and_every_definition_is_a_metric():
    scores = scored(*THREE)
    without_truth, by_rules = {"d_lambda", "d_rho", "qnr"}, {"cpsnr", "cssim", "score"}
    opensr = {f"opensr_{name}" for name in (*no_reference.WITHOUT_TRUTH, *no_reference.WITH_TRUTH)}
    assert set(DEFINITIONS) == {
        *scores.whole(),
        *without_truth,
        *by_rules,
        *opensr,
        *detail.FIGURES,
        "lpips",
    }
    assert set(scores.bands()) == {*PIXEL, *WINDOW}
    assert all("\n" not in text for text in DEFINITIONS.values())


def test_the_short_properties_are_the_bands_figures():
    scores = scored(*THREE)
    assert (scores.rmse, scores.sre, scores.uiq) == tuple(
        scores.bands()[metric] for metric in ("rmse", "sre", "uiq")
    )
    assert scores.sam == scores.whole()["sam"]


def test_infinite_values_leave_the_mean_to_the_finite_ones():
    assert mean([1.0, None, 3.0, math.inf]) == 2
    assert mean([math.inf, None]) == math.inf
    assert mean([None]) is None and mean([]) is None
    assert math.isnan(mean([1.0, math.nan]))


@pytest.mark.parametrize("side", [1, 2, 3, 8, 11])
def test_a_window_is_whole_where_all_its_pixels_are(side):
    valid = np.random.default_rng(0).random((20, 30)) > 0.02
    views = np.lib.stride_tricks.sliding_window_view(valid, (side, side))
    assert (unmasked(valid, side) == views.all((2, 3))).all()


@pytest.mark.parametrize("rows", [1, 70, 200])
def test_the_peak_may_be_the_largest_valid_truth_of_each_band(rows):
    truth, estimate = (10000 * image for image in pictures())
    truth[1] *= 0.3
    mask = np.ones(truth.shape, bool)
    truth[0, 150, 3], mask[0, 150, 3] = 60000, False
    found = scored(truth, estimate, mask, rows, peak="max", extra=False).bands()
    for i in range(2):
        top, rmse = truth[i][mask[i]].max(), found["rmse"][f"B{i}"]
        assert found["psnr"][f"B{i}"] == pytest.approx(20 * math.log10(top / rmse))
    plain = scored(truth, estimate, mask, rows, peak=10000.0, extra=False).bands()
    assert {**found, "psnr": 0} == {**plain, "psnr": 0}


def test_a_truth_without_a_positive_value_has_no_largest_one():
    dark = np.full((1, 40, 40), -5.0)
    assert scored(dark, dark + 1, peak="max").bands()["psnr"]["B0"] == -math.inf
    assert scored(dark, dark, peak="max").bands()["psnr"]["B0"] == math.inf


def test_definitions_say_the_peak_there_was():
    assert definitions(4000.0)["psnr"].endswith("peak 4000 counts")
    assert "L = 4000 counts" in definitions(4000.0)["ssim"]
    assert "largest valid x of the band" in definitions("max")["psnr"]
    assert definitions("max")["ssim"] == definitions()["ssim"]
    assert {**definitions(), "psnr": "", "ssim": ""} == {**DEFINITIONS, "psnr": "", "ssim": ""}


def test_the_program_scores_by_the_peak_it_is_given(geosr, tmp_path):
    for i in range(2):
        write(tmp_path / f"d/{i}.tif", picture(i, side=32))

    def run(*more):
        done = geosr("eval", "--model", "bicubic", "--scale", 2, "--data", "d", "--json", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    plain, given, top = run(), run("--peak", "5000"), run("--peak", "max")
    assert [d["settings"]["peak"] for d in (plain, given, top)] == [10000, 5000, "max"]
    assert "5000 counts" in given["definitions"]["psnr"]
    assert "largest" in top["definitions"]["psnr"]
    for i, scores in enumerate(zip(plain["scores"], given["scores"], top["scores"], strict=True)):
        usual, half, largest = (score["whole"] for score in scores)
        assert half["psnr"] == pytest.approx(usual["psnr"] - 20 * math.log10(2))
        assert half["ssim"] < usual["ssim"] == largest["ssim"]
        counts = picture(i, side=32).max() / 255 * 10000
        assert largest["psnr"] == pytest.approx(20 * math.log10(counts / usual["rmse"]))


@pytest.mark.parametrize("peak", ["0", "-1", "nan", "inf", "most"])
def test_a_peak_that_is_no_positive_number_is_refused(geosr, tmp_path, peak):
    write(tmp_path / "d/a.tif", picture(0, side=32))
    done = geosr("eval", "--model", "bicubic", "--scale", 2, "--data", "d", "--peak", peak)
    assert done.returncode == 2 and "max" in done.stderr
