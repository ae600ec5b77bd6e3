"""Kernels and noise of real images: the pool's file, its use, and what an image tells of itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
import scene_files
from rasters import picture, write
from scipy.signal import correlate2d

from geosr.errors import UsageError
from geosr.scene import blind, crap, degrade
from geosr.scene.degradation import (
    Blur,
    Crap,
    Kernel,
    Named,
    Noise,
    Pool,
    PsfAndNoise,
    covariance,
    gaussian,
    read_pool,
    way_of,
)

SLANTED = np.array([[2.0, 0.7], [0.7, 1.0]])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ground(seed: int, side: int = 512) -> np.ndarray:
    """A field whose power falls as f^-2.2."""
    at = np.fft.fftfreq(side)
    length = np.hypot(at[:, None], at)
    length[0, 0] = 1
    white = np.fft.fft2(rng(seed).normal(size=(side, side)))
    field = np.fft.ifft2(white * length**-1.1).real
    return 0.3 + 0.08 * (field - field.mean()) / field.std()


def pool(scale: int = 2) -> Pool:
    noise = rng().normal(0, 0.01, (5, 8, 8)).astype(np.float32)
    kernel = Kernel("a", "1", "spectrum", (1.5, 0.9), gaussian(scale, SLANTED))
    return Pool(scale, (kernel,), (Noise("a", "1", 0.01, noise),))


# filters


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_slanted_kernel_is_applied_as_a_correlation_about_the_coarse_pixel(factor):
    taps = gaussian(factor, SLANTED)
    blur = Blur.of(taps, factor)
    pad = blur.beyond(factor)
    image = rng().normal(size=(6 * factor + 2 * pad, 5 * factor + 2 * pad)).astype(np.float32)
    found = blur(image[None], factor, pad=pad)[0]
    expected = correlate2d(image, taps, "valid")[::factor, ::factor]
    assert found.shape == (6, 5)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_gaussian_has_the_covariance_it_was_made_of_and_sum_one():
    taps = gaussian(2, SLANTED)
    assert taps.sum() == pytest.approx(1)
    np.testing.assert_allclose(covariance(taps), SLANTED, rtol=0.02)


@pytest.mark.parametrize("way", [*map(Named, degrade.OPERATORS[:4]), pool(), PsfAndNoise(0.4)])
def test_constants_stay_whatever_blurs_them(way):
    drawn = way.draw(2, rng())
    pad = drawn.blur.beyond(2)
    flat = np.full((1, 8 + 2 * pad, 8 + 2 * pad), 0.5, np.float32)
    np.testing.assert_allclose(drawn.blur(flat, 2, pad=pad), 0.5, rtol=1e-5)


def test_the_same_seed_spoils_alike_and_another_differently():
    image = rng().uniform(0.2, 0.6, (2, 21, 30)).astype(np.float32)
    for way in (Crap(), pool(), PsfAndNoise(0.5, 0.01), Named("blur-noise")):
        drawn = way.draw(2, rng(3))
        first, again, other = (drawn.finish(image, rng(seed)) for seed in (1, 1, 2))
        assert first.shape == image.shape and first.dtype == np.float32
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 1e-4


def test_noise_of_a_pool_has_the_deviation_of_its_patches():
    drawn = pool().draw(2, rng())
    noisy = drawn.finish(np.zeros((1, 200, 200), np.float32), rng(4))
    assert noisy.std() == pytest.approx(0.01, rel=0.1)


def test_jpeg_of_the_best_quality_keeps_an_image_and_of_a_poor_one_does_not():
    image = rng().uniform(0.2, 0.8, (1, 45, 37)).astype(np.float32)
    assert np.abs(crap.jpeg(image, 100) - image).max() < 1.5 / 255
    assert np.abs(crap.jpeg(image, 10) - image).max() > 5 / 255


def test_haze_draws_towards_the_air_and_brightens_what_is_dark():
    dark = np.zeros((1, 16, 16), np.float32)
    hazy = crap.haze(dark, rng(5))
    assert hazy.min() >= 0 and 0 < hazy.max() < 0.1


# the pool's file


def test_a_pool_comes_back_from_its_file(tmp_path):
    (tmp_path / "pool.json").write_text(pool().to_json())
    found = read_pool(tmp_path / "pool.json")
    assert (found.scale, found.kernels[0].how, found.noise[0].sigma) == (2, "spectrum", 0.01)
    np.testing.assert_allclose(found.kernels[0].taps, pool().kernels[0].taps, atol=1e-6)
    np.testing.assert_allclose(found.noise[0].patches, pool().noise[0].patches, atol=1e-6)


@pytest.mark.parametrize("change, said", [
    ({"version": 2}, "of version 1 .*version 2"),
    ({"format": "recipe"}, "format 'recipe'"),
    ({"kernels": []}, "without kernels"),
    ({"noise": 3}, "damaged"),
    ({"kernels": [{"image": "a"}]}, "damaged"),
])  # fmt: skip
def test_a_pool_of_another_version_or_damaged_is_refused(tmp_path, change, said):
    (tmp_path / "pool.json").write_text(json.dumps(json.loads(pool().to_json()) | change))
    with pytest.raises(UsageError, match=said):
        read_pool(tmp_path / "pool.json")


def test_a_kernel_that_does_not_sum_to_one_is_refused(tmp_path):
    data = json.loads(pool().to_json())
    data["kernels"][0]["taps"][5][5] += 0.02
    (tmp_path / "pool.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"kernel of a band 1 has the sum 1\.02\d\d, not 1"):
        read_pool(tmp_path / "pool.json")


def test_a_pool_for_another_scale_and_an_unknown_name_are_refused():
    with pytest.raises(UsageError, match="kernels for scale 2, not 3"):
        pool().draw(3, rng())
    with pytest.raises(UsageError, match="no degradation 'fog' .known: gaussian"):
        way_of("fog")


# what an image tells


@pytest.mark.parametrize(
    "sigmas, noise", [((1.0, 1.0), 0.01), ((1.6, 1.0), 0.005), ((0.7, 0.7), 0.005)]
)
def test_blur_and_noise_of_simulated_images_are_found(sigmas, noise):
    taps = [degrade.point_spread(2, sigma) for sigma in sigmas]
    pad = max(degrade.beyond(each, 2) for each in taps)
    found = []
    for seed in range(3):
        fine = np.pad(ground(seed), pad, "wrap").astype(np.float32)
        low = degrade.shrink(fine, 2, *taps, pad=pad) + rng(seed).normal(0, noise, (256, 256))
        found.append(blind.spread(blind.spectrum(low), blind.noise(low)))
    middle = np.median([each.covariance for each in found], 0)
    np.testing.assert_allclose(2 * np.sqrt(np.diag(middle)), sigmas, rtol=0.1)
    assert np.median([each.noise for each in found]) == pytest.approx(noise, rel=0.15)


def panchromatic(shared, start: int, factor: int) -> list[np.ndarray]:
    """Every sixth scene, its pixels averaged; none by which the estimator was made, but by 0."""
    images = []
    for path in sorted((shared / "landsat7").glob("*_pan.tif"))[start::6]:
        with rasterio.open(path) as file:
            image = file.read(1) / np.float32(255)
        rows, cols = (n // factor for n in image.shape)
        image = image[: rows * factor, : cols * factor]
        images.append(image.reshape(rows, factor, cols, factor).mean((1, 3)))
    return images


def found_of(images: list[np.ndarray], sigma: float, noise: float) -> tuple[np.ndarray, float]:
    """The middle σ (rows, cols) in fine pixels and noise of images blurred and halved."""
    taps = degrade.point_spread(2, sigma)
    pad, found = degrade.beyond(taps, 2), []
    for seed, image in enumerate(images):
        low = degrade.shrink(np.pad(image, pad, "symmetric"), 2, taps, taps, pad=pad)
        low = low + rng(seed).normal(0, noise, low.shape)
        found.append(blind.spread(blind.spectrum(low), blind.noise(low)))
    middle = np.median([each.covariance for each in found if each], 0)
    return 2 * np.sqrt(np.diag(middle)), float(np.median([each.noise for each in found if each]))


@pytest.mark.parametrize("sigma, noise", [(0.7, 0.005), (1.2, 0.01)])
def test_blur_and_noise_of_real_images_are_found(shared, sigma, noise):
    """σ within 10 %, noise within 15 %, on scenes whose own noise is averaged away."""
    sigmas, deviation = found_of(panchromatic(shared, 1, 3), sigma, noise)
    own = np.sqrt((1 - 1 / 9) / 12)  # of the mean of 3 pixels, as of a pixel's square
    assert sigmas.mean() == pytest.approx(np.hypot(sigma, own), rel=0.1)
    assert deviation == pytest.approx(noise, rel=0.15)


def test_noise_of_an_image_is_its_own_and_what_was_added(shared):
    """As they are, the images' own noise comes through a weak blur."""
    images = panchromatic(shared, 1, 1)
    own, both = (found_of(images, 0.7, noise)[1] for noise in (0.0, 0.005))
    assert own > 0.003 and both == pytest.approx(np.hypot(own, 0.005), rel=0.1)


def test_what_sampling_folds_back_is_not_taken_for_noise(monkeypatch):
    """Of an image without noise, sampled too coarsely for its blur."""
    fine = np.pad(ground(5), 8, "wrap").astype(np.float32)
    taps = degrade.point_spread(2, 0.7)
    low = degrade.shrink(fine, 2, taps, taps, pad=8)
    told = blind.spectrum(low), blind.noise(low)
    found = blind.spread(*told)
    monkeypatch.setattr(blind, "_FOLDS", 1)
    without = blind.spread(*told)
    assert found is not None and without is not None
    assert found.noise < 0.6 * without.noise and found.noise < 0.35 * told[1]
    assert found.sigma[0] == pytest.approx(0.35, rel=0.1)


def test_a_spectrum_goes_from_flat_to_rough_squares_and_keeps_the_power():
    image = ground(0, 256)
    image[:, :128] = 0.3 + rng().normal(0, 0.01, (256, 128))
    groups = blind.spectrum(image)
    assert groups.shape == (3, 64, 64)
    assert groups[0].mean() == pytest.approx(1e-4, rel=0.1)
    assert groups[0].mean() < groups[1].mean() < groups[2].mean()
    with pytest.raises(ValueError, match="60 × 256 px, 64 are needed"):
        blind.spectrum(image[:60])


def test_white_noise_has_the_deviation_and_the_patches_that_it_has():
    image = 0.4 + rng().normal(0, 0.02, (300, 300))
    assert blind.noise(image) == pytest.approx(0.02, rel=0.05)
    patches = blind.patches(image, 0.02)
    assert patches.shape == (6, 16, 16) and patches.std() == pytest.approx(0.02, rel=1e-3)
    assert abs(patches.mean()) < 1e-6


# the commands


@pytest.fixture
def blurred(tmp_path):
    for seed in range(3):
        fine = np.pad(ground(seed, 256), 8, "wrap").astype(np.float32)
        taps = degrade.point_spread(2, 1.2)
        low = degrade.shrink(fine, 2, taps, taps, pad=8)
        noisy = low + rng(seed).normal(0, 0.005, low.shape)
        write(tmp_path / f"coarse/c{seed}.tif", (noisy[None] * 10000).astype(np.uint16))
        fine = ground(seed + 10, 128)[None]
        write(tmp_path / f"fine/f{chr(97 + seed)}.tif", (fine * 10000).astype(np.uint16))
    return tmp_path


def test_a_pool_is_found_trained_with_and_scored_by(geosr, blurred):
    done = geosr("data", "degradation", "coarse", "-o", "pool.json", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["kernels"] == 3 and found["how"] == ["spectrum"]
    assert found["sigma"][0] == pytest.approx(1.2, rel=0.3)
    assert len(read_pool(blurred / "pool.json").noise) == 3
    done = geosr("train", "--model", "espcn", "--scale", 2, "--data", "fine", "--degradation",
                 "pool.json", "--out", "run", "--steps", 2, "--patch", 32)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = geosr("eval", "--model", "run/best.safetensors", "--data", "fine", "--degradation",
                 "pool.json", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    spoilt = json.loads(done.stdout)["means"]["x2"]["bicubic"]["psnr"]
    done = geosr("eval", "--model", "bicubic", "--scale", 2, "--data", "fine", "--json")
    assert spoilt < json.loads(done.stdout)["means"]["x2"]["bicubic"]["psnr"] - 1
    done = geosr("train", "--model", "espcn", "--scale", 3, "--data", "fine", "--degradation",
                 "pool.json", "--out", "other", "--steps", 2, "--patch", 33)  # fmt: skip
    assert done.returncode == 2 and "kernels for scale 2, not 3" in done.stderr


def test_coarse_bands_are_compared_with_the_finer_ones(geosr, tmp_path):
    scene_files.write_folder(tmp_path / "scenes/field", size=480)
    done = geosr("data", "degradation", "scenes", "-o", "pool.json", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["how"] == ["finer bands"]


def test_pools_go_where_they_should(geosr, blurred):
    done = geosr("data", "degradation", "coarse", "-o", "pool.txt")
    assert done.returncode == 2 and "pool.json" in done.stderr
    (blurred / "mine.json").write_text("{}")
    done = geosr("data", "degradation", "coarse", "-o", "mine.json")
    assert done.returncode == 2 and "geosr did not make it" in done.stderr
    done = geosr("data", "degradation", "missing", "-o", "pool.json")
    assert done.returncode == 2 and "no such file or folder" in done.stderr
    write(blurred / "tiny/a.tif", picture(0))
    done = geosr("data", "degradation", "tiny", "-o", "pool.json")
    assert done.returncode == 2 and "64 × 64 pixels or more" in done.stderr
    done = geosr("train", "--model", "espcn", "--data", "fine", "--degradation", "no.json", "--out",
                 "run")  # fmt: skip
    assert done.returncode == 2 and "not a readable degradation pool" in done.stderr


def test_crap_can_be_learnt_from_and_scored(geosr, blurred):
    done = geosr("train", "--model", "espcn", "--scale", 2, "--data", "fine", "--degradation",
                 "crap", "--out", "run", "--steps", 2, "--patch", 32)  # fmt: skip
    assert done.returncode == 0, done.stderr
    args = ("eval", "--model", "bicubic", "--scale", 2, "--data", "fine", "--degradation", "crap",
            "--json")  # fmt: skip
    first, again = (json.loads(geosr(*args).stdout)["means"] for _ in range(2))
    assert first == again
    tiles = json.loads(geosr(*args, "--tile-size", 17).stdout)["means"]
    psnr = [found["x2"]["bicubic"]["psnr"] for found in (first, tiles)]
    assert psnr[0] == pytest.approx(psnr[1], abs=1e-3)


def test_blur_and_noise_are_scored_apart(geosr, blurred):
    args = ("eval", "--model", "bicubic", "--scale", 2, "--data", "fine", "--json")
    done = geosr(*args, "--psf", 0.3, "--psf", 0.6, "--noise", 0, "--noise", 0.02)
    assert done.returncode == 0, done.stderr
    means = json.loads(done.stdout)["means"]
    assert list(means) == [f"x2 psf {p} noise {n}" for p in (0.3, 0.6) for n in (0, 0.02)]
    psnr = {group: found["bicubic"]["psnr"] for group, found in means.items()}
    for sigma in (0.3, 0.6):
        assert psnr[f"x2 psf {sigma} noise 0.02"] < psnr[f"x2 psf {sigma} noise 0"]
    assert psnr["x2 psf 0.6 noise 0"] < psnr["x2 psf 0.3 noise 0"]
    done = geosr(*args, "--psf", 0.3, "--degradation", "box")
    assert done.returncode == 2 and "Leave one out" in done.stderr
    done = geosr(*args, "--noise", 0.3, "--protocol", "series")
    assert done.returncode == 2 and "beside --protocol series" in done.stderr
