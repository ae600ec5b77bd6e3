"""Which of several images of one place is the sharpest."""

import numpy as np
import pytest
from test_frames import seen, selected, texture, write

from geosr.scene import degrade
from geosr.scene.frames import FrameOptions
from geosr.scene.pixels import Pixels
from geosr.scene.sharpness import fine_share, sharpest


def pixels(image, clear=None):
    good = np.ones((1, *image.shape), bool) if clear is None else clear[None]
    return Pixels(image[None].astype(np.float32), np.ones_like(good), good, np.zeros_like(good))


def blurred(image, sigma):
    taps = degrade.point_spread(1, sigma)
    for _ in range(2):
        image = np.apply_along_axis(np.convolve, 0, image, taps, "same").T
    return image


@pytest.fixture(scope="module")
def ground():
    return 3000 + 400 * blurred(np.random.default_rng(4).normal(size=(96, 96)), 0.6)


@pytest.fixture
def images(ground):
    """Three cameras, the second one the sharpest."""
    return [blurred(ground, 0.7), blurred(ground, 0.4), blurred(ground, 0.8)]


def test_the_narrowest_point_spread_is_found(images):
    assert sharpest([pixels(image) for image in images]) == 1


def test_gain_and_haze_do_not_tell(images):
    hazy = [3 * images[0] + 100, 0.2 * images[1] + 4000, images[2]]
    assert sharpest([pixels(image) for image in hazy]) == 1


def test_clouds_that_masks_tell_are_no_detail(images):
    clear = np.ones((96, 96), bool)
    clear[20:45, 30:60] = False
    images[2][23:42, 33:57] = np.random.default_rng(1).normal(2000, 2000, (19, 24))
    assert sharpest([pixels(image) for image in images]) == 2
    masked = [pixels(images[0]), pixels(images[1]), pixels(images[2], clear)]
    assert sharpest(masked) == 1


def test_gaps_without_a_number_are_no_detail(images):
    clear = np.ones((96, 96), bool)
    clear[:10] = False
    images[0][:10] = np.nan
    assert sharpest([pixels(images[0], clear), *map(pixels, images[1:])]) == 1


def test_images_without_enough_in_common_are_not_compared(images):
    left = np.zeros((96, 96), bool)
    left[:, :60] = True
    assert sharpest([pixels(images[0], left), pixels(images[1], ~left)]) == 0
    none = np.zeros((96, 96), bool)
    assert sharpest([pixels(images[0], none), pixels(images[1], none)]) == 0


def test_too_cloudy_an_image_is_not_the_sharpest(images):
    clear = np.ones((96, 96), bool)
    clear[:24] = False
    shown = [pixels(images[0]), pixels(images[1], clear), pixels(images[2])]
    assert sharpest(shown, 0.7) == 1
    assert sharpest(shown, 0.85) == 0


def test_a_flat_image_has_no_detail():
    assert fine_share(np.full((32, 32), 7.0), np.ones((32, 32))) == 0.0


def test_the_sharpest_can_be_the_reference(tmp_path):
    truth = texture(np.random.default_rng(0), 3 * 96 + 60)
    for number, sigma in enumerate((1.5, 2.0, 0.0)):
        write(tmp_path / "place", number, blurred(seen(truth, 0.1 * number, 0), sigma or 0.05))
    _, selection = selected(tmp_path / "place", "ibp", FrameOptions(reference="sharpest"))
    assert selection.frames[0].index == 2
    assert selected(tmp_path / "place", "ibp")[1].frames[0].index == 0


def test_an_image_of_that_name_goes_before(tmp_path):
    truth = texture(np.random.default_rng(0), 3 * 96 + 60)
    write(tmp_path / "place", 0, seen(truth, 0, 0))
    write(tmp_path / "place", 1, blurred(seen(truth, 0, 0), 1.0))
    (tmp_path / "place/frame1.tif").rename(tmp_path / "place/sharpest.tif")
    scene, selection = selected(tmp_path / "place", "ibp", FrameOptions(reference="sharpest"))
    assert scene.bands[selection.frames[0].index].path.endswith("sharpest.tif")
