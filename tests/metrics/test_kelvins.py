"""Kelvins' rules: the organisers' own number, a worked example, and what must not matter."""

import math

import numpy as np
import pytest

from geosr.errors import UsageError
from geosr.metrics.kelvins import baseline, cpsnr, cssim, read_norm, score


def example(noise=True):
    """Truth, an estimate one row down, two columns left and brighter, and a small cloud."""
    i, j = np.mgrid[0:48, 0:48]
    hr = np.round(3000 + 1500 * np.sin(i / 5) + 1200 * np.cos(j / 7) + 40 * ((3 * i + 5 * j) % 11))
    sr = np.roll(hr, (1, -2), (0, 1)) + 37 + noise * 10 * (((2 * i + j) % 5) - 2)
    clear = np.ones(hr.shape, bool)
    clear[10:14, 20:26] = False
    return (np.clip(np.round(image), 0, 65535).astype(np.uint16) for image in (sr, hr)), clear


def test_the_worked_example():
    (sr, hr), clear = example()
    value, shift = cpsnr(sr, hr, clear)
    assert value == pytest.approx(73.31916612, abs=5e-9)
    assert shift == (2, 5)
    assert score(value, 46) == pytest.approx(0.6273939, abs=5e-8)


def test_a_shift_and_a_brightness_cost_nothing():
    (sr, hr), clear = example(noise=False)
    value, shift = cpsnr(sr, hr, clear)
    assert value >= 300
    assert shift == (2, 5)
    assert cssim(sr, hr, clear) == pytest.approx(1, abs=1e-9)


def test_floats_and_uint16_are_the_same_image():
    (sr, hr), clear = example()
    counts, floats = cpsnr(sr, hr, clear), cpsnr(sr / 65535, hr / 65535, clear.astype(np.uint8))
    assert counts == floats
    assert cssim(sr, hr, clear) == cssim(sr / 65535, hr / 65535, clear)


def test_what_lies_under_a_cloud_does_not_count():
    (sr, hr), clear = example()
    spoilt = np.where(clear, hr / 65535, np.nan)
    assert cpsnr(sr / 65535, spoilt, clear) == cpsnr(sr, hr, clear)
    assert cssim(sr / 65535, spoilt, clear) == cssim(sr, hr, clear)


def test_the_plain_cssim_is_that_of_masked_images_at_the_best_shift():
    metrics = pytest.importorskip("skimage.metrics")
    (sr, hr), clear = example()
    values = []
    for u in range(7):
        for v in range(7):
            x, y = sr[3:-3, 3:-3].astype(float), hr[u : u + 42, v : v + 42].astype(float)
            seen = clear[u : u + 42, v : v + 42]
            x = (x + (y - x)[seen].mean()) * seen
            values.append(
                metrics.structural_similarity(
                    x, y * seen, data_range=65535, gaussian_weights=True, sigma=1.5,
                    use_sample_covariance=False,
                )
            )  # fmt: skip
    assert cssim(sr, hr, clear) == pytest.approx(max(values), abs=1e-10)


def test_a_perfect_estimate_scores_zero():
    hr = np.random.default_rng(0).random((20, 22))
    assert cpsnr(hr, hr, np.ones(hr.shape, bool)) == (math.inf, (3, 3))
    assert cssim(hr, hr, np.ones(hr.shape, bool)) == 1
    assert score(math.inf, 46) == 0


@pytest.mark.parametrize(
    ("sr", "hr", "clear", "message"),
    [
        (np.zeros((9, 9)), np.zeros((9, 8)), np.ones((9, 9)), "one size"),
        (np.zeros((6, 6)), np.zeros((6, 6)), np.ones((6, 6)), "7 × 7"),
        (np.zeros((9, 9)), np.zeros((9, 9)), np.zeros((9, 9)), "no clear pixel"),
        (np.full((9, 9), 300.0), np.zeros((9, 9)), np.ones((9, 9)), "counts / 65535"),
        (np.zeros((9, 9), np.int16), np.zeros((9, 9)), np.ones((9, 9)), "int16"),
        (np.full((9, 9), np.nan), np.zeros((9, 9)), np.ones((9, 9)), "NaN"),
    ],
)
def test_what_cannot_be_scored_says_why(sr, hr, clear, message):
    with pytest.raises(UsageError, match=message):
        cpsnr(sr, hr, clear)


def test_cssim_needs_room_for_a_window():
    with pytest.raises(UsageError, match="17 × 17"):
        cssim(np.zeros((16, 40)), np.zeros((16, 40)), np.ones((16, 40)))


def test_the_baseline_is_the_organisers_to_the_last_digits(shared):
    rasterio = pytest.importorskip("rasterio")
    folder = shared / "probav" / "train" / "RED" / "imgset0000"

    def read(pattern):
        images = []
        for path in sorted(folder.glob(pattern)):
            with rasterio.open(path) as source:
                images.append(source.read(1))
        return np.stack(images)

    image = baseline(read("LR*.png"), read("QM*.png") > 0)
    value, _ = cpsnr(image, read("HR.png")[0], read("SM.png")[0] > 0)
    norm = read_norm(shared / "probav" / "norm.csv")["imgset0000"]
    assert value == pytest.approx(52.352172662454414, abs=1e-9)
    assert score(value, norm) == pytest.approx(1, abs=1e-10)


def test_only_the_clearest_frames_make_the_baseline():
    frames = np.stack([np.full((5, 6), value) for value in (0.1, 0.2, 0.4)])
    clear = np.ones(frames.shape, bool)
    clear[0, 0, 0] = False
    assert baseline(frames, clear) == pytest.approx(np.full((15, 18), 0.3))


def test_the_baseline_keeps_a_frames_range_and_a_line_straight():
    rng = np.random.default_rng(0)
    frame = rng.random((1, 8, 9))
    image = baseline(frame, np.ones(frame.shape, bool))
    assert frame.min() <= image.min() and image.max() <= frame.max()
    line = np.arange(8.0)[None, :, None] / 10 + np.zeros((1, 1, 8))
    middle = baseline(line, np.ones(line.shape, bool))[6:18, 0]
    assert middle == pytest.approx(((np.arange(6, 18) + 0.5) / 3 - 0.5) / 10)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 4)])
def test_a_baseline_needs_frames(shape):
    with pytest.raises(UsageError, match="frames, rows, cols"):
        baseline(np.zeros(shape), np.ones(shape))


def test_norms_are_read_by_image_set(tmp_path):
    path = tmp_path / "norm.csv"
    path.write_text("imgset0000 52.5\nimgset0001 46.25\n\n")
    assert read_norm(path) == {"imgset0000": 52.5, "imgset0001": 46.25}
    path.write_text("imgset0000 52.5\nimgset0001,46\n")
    with pytest.raises(UsageError, match="line 2"):
        read_norm(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_norm(tmp_path / "none.csv")
