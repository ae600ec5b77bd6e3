"""Videos: the order of frames, what lies around one, and what is no video."""

import numpy as np
import pytest
import rasterio
from rasters import picture, write

from geosr.errors import SceneError
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.sensors.video import around_frame, around_middle, time_in_name


def video(folder, names, **more):
    for i, name in enumerate(names):
        write(folder / name, picture(i, side=16, **more))
    return folder


def names(folder, pattern=None):
    return [path.name for path in find_scenes(folder, kind="video", pattern=pattern)]


def opened(path, window=5, **more):
    options = {"kind": "video", "max_pixels": None, **more}
    return open_scene(path, OpenOptions(window=window, **options))


def test_frames_are_ordered_by_name_and_10_comes_after_9(tmp_path):
    video(tmp_path, ["f10.tif", "f9.tif", "f1.tif", "F2.png"])
    assert names(tmp_path) == ["f1.tif", "F2.png", "f9.tif", "f10.tif"]
    assert names(tmp_path, "*.tif") == ["f1.tif", "f9.tif", "f10.tif"]


def test_times_in_names_go_before_the_names(tmp_path):
    late, early = "a_20210302T101501.tif", "b_20210302T101500.750.tif"
    video(tmp_path, [late, early, "c_20210301T235959.tif"])
    assert names(tmp_path) == ["c_20210301T235959.tif", early, late]


@pytest.mark.parametrize(
    "name, time",
    [
        ("L7_2003-07-01", "2003-07-01T00:00:00"),
        ("20210302_101500250", "2021-03-02T10:15:00.250000"),
        ("2021-03-02T10-15-00.5Z", "2021-03-02T10:15:00.500000"),
        ("x20210302101500_cam", "2021-03-02T10:15:00"),
        ("frame_20211399", None),  # no day
        ("frame_120210302", None),  # nine digits
        ("frame_0007", None),
    ],
)
def test_times_are_told_from_names(tmp_path, name, time):
    found = time_in_name(tmp_path / f"{name}.tif")
    assert (found and found.isoformat()) == time


def test_equal_times_in_names_tell_no_order(tmp_path):
    video(tmp_path, ["20210302_b10.tif", "20210302_b9.tif"])
    assert names(tmp_path) == ["20210302_b9.tif", "20210302_b10.tif"]


def test_times_in_tags_go_before_names_without_any_and_the_log_says_so(tmp_path):
    video(tmp_path, ["a.tif", "b.tif", "c.tif"])
    for name, second in (("a", 3), ("b", 1), ("c", 2)):
        with rasterio.open(tmp_path / f"{name}.tif", "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=f"2021:03:02 10:00:0{second}")
    assert names(tmp_path) == ["b.tif", "c.tif", "a.tif"]
    scene = opened(tmp_path / "b.tif", window=3)
    assert scene.acquisition.time == "2021-03-02T10:00:01Z"
    assert any(note.warning and "by the times in their tags" in note.text for note in scene.notes)


@pytest.mark.parametrize("count", [2, 3, 4, 9])
@pytest.mark.parametrize("window", [1, 3, 5, 11])
def test_a_window_is_the_frame_and_its_neighbours_reflected_at_the_ends(count, window):
    """What numpy's "reflect" gives, nearest first."""
    half = window // 2
    padded = np.pad(np.arange(count), half, "reflect")
    for at in range(count):
        found = around_frame(at, count, window)
        before, after = found[1::2], found[2::2]
        assert [*before[::-1], found[0], *after] == padded[at : at + window].tolist()
        assert found[0] == at


def test_a_frame_is_a_scene_with_those_around_it_the_nearest_first(tmp_path):
    video(tmp_path, [f"f{i}.tif" for i in range(40)])
    scene = opened(tmp_path / "f20.tif")
    assert (scene.name, scene.frames, scene.video) == ("f20", 5, True)
    assert [band.path.rsplit("/", 1)[1] for band in scene.bands] == [
        "f20.tif", "f19.tif", "f21.tif", "f18.tif", "f22.tif",
    ]  # fmt: skip
    first = opened(tmp_path / "f0.tif")
    assert [band.path.rsplit("/", 1)[1] for band in first.bands] == [
        "f0.tif", "f1.tif", "f1.tif", "f2.tif", "f2.tif",
    ]  # fmt: skip
    assert len(first.files) == 3  # however long the video is


def test_masks_beside_frames_are_no_frames_and_go_along(tmp_path):
    video(tmp_path, ["f1.tif", "f2.tif"])
    write(tmp_path / "f2_QM.tif", np.zeros((1, 16, 16), np.uint8))
    assert names(tmp_path) == ["f1.tif", "f2.tif"]
    scene = opened(tmp_path / "f1.tif", window=3)
    assert [band.quality is not None for band in scene.bands] == [False, True, True]


def test_a_frame_that_comes_later_is_seen(tmp_path):
    video(tmp_path, ["f1.tif", "f3.tif"])
    assert [band.path[-6:] for band in opened(tmp_path / "f1.tif", 3).bands][1] == "f3.tif"
    video(tmp_path, ["f2.tif"])
    assert [band.path[-6:] for band in opened(tmp_path / "f1.tif", 3).bands][1] == "f2.tif"


def test_one_frame_is_no_video(tmp_path):
    video(tmp_path, ["f1.tif"])
    with pytest.raises(SceneError, match=r"--window 5 needs a video, and this is its only frame"):
        opened(tmp_path / "f1.tif")
    assert opened(tmp_path / "f1.tif", window=1).frames == 1


@pytest.mark.parametrize(
    "other, said",
    [
        (picture(0, side=24), "is not on the grid of"),
        (picture(0, side=16, bands=2), "is of another kind than"),
        (picture(0, side=16, dtype=np.uint16), "is of another kind than"),
    ],
)
def test_a_frame_of_another_size_or_other_bands_fails_the_windows_it_is_in(tmp_path, other, said):
    video(tmp_path, [f"f{i}.tif" for i in range(9)])
    write(tmp_path / "f4.tif", other)
    with pytest.raises(SceneError, match=said) as failed:
        opened(tmp_path / "f6.tif")
    assert "f4.tif" in str(failed.value) and "f6.tif" in str(failed.value)
    assert opened(tmp_path / "f1.tif").frames == 5


def between(folder, pattern=None):
    return [path.name for path in find_scenes(folder, kind="between", pattern=pattern)]


def test_even_windows_hold_one_more_frame_after_than_before():
    assert around_frame(5, 9, 4) == [5, 4, 6, 7] and around_frame(8, 9, 4) == [8, 7, 7, 6]
    assert around_frame(0, 9, 2) == [0, 1]


@pytest.mark.parametrize("window, found", [(1, [3, 4]), (2, [3, 4]), (4, [3, 4, 2, 5]),
                                           (5, [3, 4, 2, 5]), (6, [3, 4, 2, 5, 1, 6])])  # fmt: skip
def test_around_a_middle_lie_as_many_before_as_after(window, found):
    assert around_middle(3, 9, window) == found


def test_around_a_middle_at_the_ends_the_video_is_reflected():
    assert around_middle(0, 3, 4) == [0, 1, 1, 2] and around_middle(1, 3, 4) == [1, 2, 0, 1]


@pytest.mark.parametrize(
    "before, after, middle",
    [
        ("f1", "f2", "f1_between"),
        ("a_20210302T101500", "b_20210302T101600", "a_20210302T101530"),
        ("a_20210302T101500_x", "a_20210302T101501_x", "a_20210302T101500.5_x"),
        ("2021-03-02T10-15-00.50Z", "2021-03-02T10-15-01.00Z", "2021-03-02T10-15-00.75Z"),
        ("lake_2021-03-02", "lake_2021-03-04", "lake_2021-03-03"),
        ("lake_2021-03-02", "lake_2021-03-05", "lake_2021-03-03T120000"),
        ("lake_20201231", "lake_20210102", "lake_20210101"),
    ],
)
def test_a_frame_between_is_named_as_the_middle_and_comes_between(tmp_path, before, after, middle):
    video(tmp_path, [f"{before}.tif", f"{after}.tif"])
    assert between(tmp_path) == [f"{before}.tif", f"{middle}.tif", f"{after}.tif"]


def test_a_frame_between_is_timed_as_the_middle(tmp_path):
    video(tmp_path, ["a.tif", "b.tif", "c.tif"])
    for name, second in (("a", 0), ("b", 1), ("c", 4)):
        with rasterio.open(tmp_path / f"{name}.tif", "r+") as file:
            file.update_tags(TIFFTAG_DATETIME=f"2021:03:02 10:00:0{second}", MISSION="X",
                             ORBIT=name)  # fmt: skip
    scene = opened(tmp_path / "b_between.tif", window=4, kind="between")
    assert scene.name == "b_between" and scene.between and scene.video
    assert scene.acquisition.time == "2021-03-02T10:00:02.500000Z"
    assert scene.acquisition.tags["MISSION"] == "X" and "ORBIT" not in scene.acquisition.tags
    assert [band.path[-5:] for band in scene.bands] == ["b.tif", "c.tif", "a.tif", "b.tif"]
    frame = opened(tmp_path / "b.tif", window=4, kind="between")
    assert not frame.between and frame.acquisition.time == "2021-03-02T10:00:01Z"


def test_what_lies_between_needs_a_folder_and_a_name_of_its_own(tmp_path):
    video(tmp_path, ["a.tif", "b.tif"])
    with pytest.raises(SceneError, match=r"a\.tif is one frame.*leave out --between"):
        find_scenes(tmp_path / "a.tif", kind="between")
    with pytest.raises(SceneError, match="no such file|no frame of a video"):
        opened(tmp_path / "c_between.tif", kind="between")
    video(tmp_path, ["a_between.tif"])
    with pytest.raises(SceneError, match="would be a_between. Rename"):
        between(tmp_path)


def test_one_frame_has_none_between(tmp_path):
    video(tmp_path, ["a.tif"])
    assert between(tmp_path) == ["a.tif"]
