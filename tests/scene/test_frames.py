"""Frames of a series: chosen, registered, brightened."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from geosr.errors import UsageError
from geosr.models.registry import design
from geosr.scene import degrade
from geosr.scene.correlation import displacement
from geosr.scene.frames import (
    FrameOptions,
    FrameSelection,
    SelectedFrame,
    read_frame,
    select_frames,
    shifted,
)
from geosr.sensors import OpenOptions, open_scene


def texture(rng, size):
    """A smooth random field with detail down to a few pixels."""
    field = rng.normal(size=(size, size))
    for sigma in (1.5, 1.5):
        taps = degrade.point_spread(1, sigma)
        field = np.apply_along_axis(np.convolve, 0, field, taps, "same")
        field = field.T
    return 3000 + 4000 * field


def seen(truth, down, across, size=96, factor=3):
    """What a sensor sees that selection `down` and `across` coarse pixels further."""
    pad = (truth.shape[0] - factor * size) // 2
    taps = [degrade.point_spread(factor, 1.2, shift=factor * by) for by in (down, across)]
    return degrade.shrink(truth[None], factor, *taps, pad=pad)[0].astype(float)


@pytest.fixture(scope="module")
def truth():
    return texture(np.random.default_rng(0), 3 * 96 + 60)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.31, -0.47), (-2.2, 1.7), (4.0, -5.6)])
def test_displacement_is_found_to_a_twentieth_of_a_pixel(truth, shift):
    rng = np.random.default_rng(1)
    other = 1.2 * seen(truth, *shift) - 300 + rng.normal(0, 20, (96, 96))
    down, across, alike = displacement(seen(truth, 0, 0), other)
    assert (down, across) == pytest.approx(shift, abs=0.05)
    assert alike > 0.8


def test_images_of_other_places_are_not_alike(truth):
    other = texture(np.random.default_rng(7), 96)
    assert displacement(seen(truth, 0, 0), other)[2] < 0.3


def test_moved_frames_look_where_the_first_one_does(truth):
    first, other = seen(truth, 0, 0), seen(truth, 0.4, -0.3)
    back = shifted(other.astype(np.float32), (0.4, -0.3))
    inner = first[2:-2, 2:-2]
    before = np.abs(other[2:-2, 2:-2] - inner).mean()
    assert np.abs(back - inner).mean() < 0.5 * before  # what is left is aliased
    np.testing.assert_array_equal(
        shifted(other.astype(np.float32), (0.0, 0.0)), other.astype(np.float32)[2:-2, 2:-2]
    )


def test_a_shift_is_read_away_by_whole_pixels_and_told_for_the_rest():
    selection = FrameSelection((SelectedFrame(0), SelectedFrame(1, shift=(1.3, -0.6))))
    assert selection.whole(selection.frames[1]) == (1, -1)
    np.testing.assert_allclose(selection.shifts, [[0, 0], [0.3, 0.4]], atol=1e-6)
    assert not FrameSelection(selection.frames, resampled=True).shifts.any()


def write(folder, number, image, clear=None):
    folder.mkdir(exist_ok=True)
    profile = {"driver": "GTiff", "width": 96, "height": 96, "count": 1, "dtype": "uint16"}
    with rasterio.open(folder / f"frame{number}.tif", "w", **profile) as output:
        output.write(np.rint(image).astype(np.uint16), 1)
        if clear is not None:
            output.write_mask(clear)


def selected(folder, name, options=FrameOptions()):  # noqa: B008 - frozen
    scene = open_scene(folder, OpenOptions(kind="series"))
    with scene.open() as reader:
        names = [band.name for band in scene.select()]
        return scene, select_frames(reader, scene, names, design(name).card(), options)


@pytest.fixture
def series(tmp_path, truth):
    """Four frames: one cloudy, one brighter, one of another place."""
    folder, cloudy = tmp_path / "place", np.ones((96, 96), bool)
    cloudy[:48] = False
    write(folder, 0, seen(truth, 0, 0))
    write(folder, 1, seen(truth, 0.3, -1.4))
    write(folder, 2, 1.5 * seen(truth, -0.5, 0.2) + 500)
    write(folder, 3, seen(truth, 1.0, 1.0), cloudy)
    return folder


def test_frames_are_registered_to_the_first_and_cloudy_ones_left_out(series):
    scene, selection = selected(series, "ibp")
    assert scene.frames == 4
    assert len(selection) == 3  # half of the fourth is clouded
    found = sorted(frame.shift for frame in selection)
    assert found[1] == (0.0, 0.0)
    np.testing.assert_allclose([found[0], found[2]], [(-0.5, 0.2), (0.3, -1.4)], atol=0.05)


def test_the_reference_can_be_named(series):
    scene, selection = selected(series, "ibp", FrameOptions(reference="frame1"))
    assert selection.frames[0].shift == (0.0, 0.0)
    first = scene.bands[selection.frames[0].index]
    assert first.path.endswith("frame1.tif")
    assert any(np.allclose(f.shift, (-0.3, 1.4), atol=0.05) for f in selection)  # seen from it
    _, cloudy = selected(series, "ibp", FrameOptions(reference="frame3", count=2))
    assert len(cloudy) == 2  # it is taken however clear it is


def test_a_reference_that_is_not_there_is_told(series):
    with pytest.raises(UsageError, match="frame0, frame1, frame2, frame3"):
        selected(series, "ibp", FrameOptions(reference="frame9"))


def test_brightness_is_brought_to_the_median(series):
    _, selection = selected(series, "ibp")
    bright = next(frame for frame in selection if abs(frame.shift[0] + 0.5) < 0.1)
    assert bright.gain[0] == pytest.approx(1 / 1.5, rel=0.05)
    _, plain = selected(series, "ibp", FrameOptions(brightness=False))
    assert all(frame.gain == () for frame in plain)


def test_a_reference_keeps_its_own_brightness_and_the_others_are_brought_to_it(series):
    scene, median = selected(series, "ibp")
    bright = next(frame.index for frame in median if frame.gain[0] < 0.8)
    name = next(Path(band.path).stem for band in scene.bands if band.frame == bright)
    _, selection = selected(series, "ibp", FrameOptions(reference=name))
    assert selection.frames[0].index == bright and selection.frames[0].gain == (1.0,)
    assert all(frame.gain[0] > 1.3 for frame in selection.frames[1:])


def test_what_no_image_shows_beyond_its_edge_is_not_sensed(series):
    scene, selection = selected(series, "ibp")
    moved = next(f for f in selection if max(map(abs, selection.whole(f))) >= 1)
    with scene.open() as reader:
        window = reader.grids[scene.finest].window
        pixels, _ = read_frame(reader, scene, [scene.bands[0].name], window.grow(3), moved,
                               selection, 0)  # fmt: skip
    inner = pixels.crop(window.within(window.grow(3)))
    beyond = pixels.valid.sum() - inner.valid.sum()
    down, across = selection.whole(moved)
    assert not inner.valid.all() and inner.valid.mean() > 0.8
    assert 0 < beyond <= (abs(down) + abs(across)) * 2 * (window.height + 6)


@pytest.mark.parametrize(
    ("register", "name", "resampled", "whole"),
    [("none", "ibp", False, True), ("integer", "ibp", False, True),
     ("auto", "ibp", False, False), ("auto", "highres-net", False, True),
     ("subpixel", "highres-net", True, False)],
)  # fmt: skip
def test_registration_can_be_chosen(series, register, name, resampled, whole):
    _, selection = selected(series, name, FrameOptions(register=register))
    assert selection.resampled == resampled
    parts = [part for frame in selection for part in frame.shift]
    assert all(part == round(part) for part in parts) == whole
    assert any(parts) == (register != "none")


def test_nets_for_a_fixed_number_get_frames_again(series):
    _, selection = selected(series, "rams")
    assert len(selection) == 9
    assert {frame.index for frame in selection} == {frame.index for frame in selection.frames[:3]}
    assert selected(series, "rams")[1] == selection  # the same every time


def test_the_number_of_frames_can_be_less(series):
    _, selection = selected(series, "ibp", FrameOptions(count=2))
    assert [frame.index for frame in selection] == [0, 1]


def test_a_frame_of_another_place_is_told_and_not_moved(tmp_path, truth):
    write(tmp_path / "p", 0, seen(truth, 0, 0))
    write(tmp_path / "p", 1, texture(np.random.default_rng(9), 96))
    _, selection = selected(tmp_path / "p", "ibp")
    odd = [frame for frame in selection if frame.note]
    assert len(odd) == 1
    assert odd[0].shift == (0.0, 0.0)
    assert "not registered" in odd[0].note


@pytest.mark.parametrize("name", ["ibp", "rams"])
def test_a_frame_of_one_value_is_left_out_and_no_reference(tmp_path, truth, name):
    folder = tmp_path / "place"
    write(folder, 0, np.zeros((96, 96)))  # a gap that no file calls one; sorted first
    for number, down in enumerate((0.0, 0.6), 1):
        write(folder, number, seen(truth, down, 0))
    scene, selection = selected(folder, name)
    flat = next(band.frame for band in scene.bands if band.path.endswith("frame0.tif"))
    assert flat == 0 and flat not in {frame.index for frame in selection}
    assert selection.frames[0].index == 1 and selection.frames[0].shift == (0.0, 0.0)
    assert [frame.gain[0] for frame in selection][:2] == pytest.approx([1, 1], rel=0.1)


def test_flat_frames_stay_as_they_are(tmp_path):
    for number in range(2):
        write(tmp_path / "flat", number, np.full((96, 96), 700.0 + number))
    _, selection = selected(tmp_path / "flat", "ibp")
    assert [frame.gain for frame in selection] == [(1.0,), (1.0,)]
    assert displacement(np.ones((8, 8)), np.ones((8, 8)))[2] == 0.0
