"""Every frame of a video, finer, on the command line."""

import json
from itertools import pairwise

import numpy as np
import pytest
import rasterio
from nets import checkpoint
from rasters import picture, write

from geosr.scene import degrade

SCALE, SIDE = 2, 40


@pytest.fixture(scope="module")
def ground():
    """A smooth random field, finer than what is seen of it."""
    field = np.random.default_rng(3).normal(size=(SCALE * SIDE + 140, SCALE * SIDE + 140))
    for axis in (0, 1):
        taps = degrade.point_spread(1, 1.2)
        field = np.apply_along_axis(np.convolve, axis, field, taps, "same")
    return 4000 + 4000 * field


def truth(ground, place):
    row, col = place
    return ground[row : row + SCALE * SIDE, col : col + SCALE * SIDE]


def frame(ground, place, seed, gain=1.0):
    """What a camera sees whose first fine pixel is at `place`."""
    taps = degrade.point_spread(SCALE, 0.75)
    row, col = place
    wide = ground[row - 30 : row + SCALE * SIDE + 30, col - 30 : col + SCALE * SIDE + 30]
    seen = degrade.shrink(wide[None], SCALE, taps, taps, pad=30) * gain
    noise = np.random.default_rng(seed).normal(0, 20, seen.shape)
    return np.rint(seen + noise).astype(np.uint16)


PLACES = [(40 + 3 * t + t % 2, 90 - 5 * t) for t in range(7)]  # whole and half coarse pixels


@pytest.fixture
def video(ground, tmp_path):
    for t, place in enumerate(PLACES):
        name = f"lake_2021-03-02T10-15-0{t}.5.tif"
        write(tmp_path / "frames" / name, frame(ground, place, t))
    return sorted((tmp_path / "frames").iterdir())


def read(path):
    with rasterio.open(path) as file:
        return file.read(1).astype(float)


def rmse(folder, frames, ground, edge=8):
    at = (slice(edge, -edge or None),) * 2
    errors = [
        (read(folder / path.name) - truth(ground, place))[at] ** 2
        for path, place in zip(frames, PLACES, strict=True)
    ]
    return float(np.sqrt(np.mean(errors)))


def ibp(geosr, out, window, *more, source="frames"):
    args = ("--model", "ibp", "--scale", SCALE, "--window", window, "--quiet")
    return geosr("superres", source, out, *args, *more)


def test_every_frame_comes_out_and_its_neighbours_help(geosr, video, ground, tmp_path):
    for window in (1, 5):
        done = ibp(geosr, f"out{window}", window)
        assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (tmp_path / "out5").glob("*.tif"))
    assert made == [path.name for path in video]
    alone, together = (rmse(tmp_path / f"out{n}", video, ground) for n in (1, 5))
    assert together < 0.8 * alone
    at_the_edge = [rmse(tmp_path / f"out{n}", video, ground, edge=0) for n in (1, 5)]
    assert at_the_edge[1] < at_the_edge[0]  # what a panning camera leaves behind is no mirror


@pytest.mark.parametrize("model", ["ibp", "ibp-net"])
def test_of_a_pan_over_a_landsat_scene_too(geosr, shared, tmp_path, model):
    import video

    scene = video.read(shared / "landsat7/scene15_pan.tif")[200:440, 300:540]
    known = video.pan(scene, tmp_path / "frames", 3, frames=5, noise=2)

    def score(out, *args):
        done = geosr("superres", "frames", out, "--scale", 3, "--quiet", *args)
        assert done.returncode == 0, done.stderr
        return video.psnr(tmp_path / out, known, 3)

    alone = score("alone", "--model", model, "--window", 1)
    interpolated = score("bicubic", "--model", "bicubic")
    together = score("together", "--model", model, "--window", 5)
    assert together > max(alone, interpolated) + 0.2


def test_names_times_and_grids_follow_the_frames(geosr, video, tmp_path):
    assert ibp(geosr, "out", 3).returncode == 0
    with rasterio.open(tmp_path / "out" / video[2].name) as file:
        assert file.shape == (SCALE * SIDE, SCALE * SIDE)
        assert file.tags()["ACQUISITIONDATETIME"] == "2021-03-02 10:15:02.500000"
        assert file.tags()["GEOSR_SOURCE"] == video[2].stem
    record = json.loads((tmp_path / "out" / f"{video[2].stem}.geosr.json").read_text())
    assert record["acquired"] == "2021-03-02T10:15:02.500000Z"
    assert record["recipe"]["window"] == 3
    assert list(record["inputs"]) == [video[i].name for i in (2, 1, 3)]
    assert [each["frame"] for each in record["frames"]] == [0, 1, 2]


def test_finished_frames_are_skipped_and_a_new_one_remakes_its_neighbours(
    geosr, video, ground, tmp_path
):
    assert ibp(geosr, "out", 3).returncode == 0

    def status(*more):
        done = ibp(geosr, "out", 3, "--json", *more)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        return [row["status"] for row in rows if "status" in row]

    assert status() == ["skipped"] * 7
    write(tmp_path / "frames/lake_2021-03-02T10-15-02.9.tif", frame(ground, PLACES[3], 9))
    assert status() == ["skipped", "skipped", "done", "done", "done", *["skipped"] * 3]
    other = ibp(geosr, "out", 5)
    assert other.returncode == 4 and "other settings (window)" in other.stderr


def test_one_frame_can_be_asked_for(geosr, video, tmp_path):
    assert ibp(geosr, "out", 5).returncode == 0
    assert ibp(geosr, "one.tif", 5, source=video[3]).returncode == 0
    np.testing.assert_array_equal(
        read(tmp_path / "one.tif"), read(tmp_path / "out" / video[3].name)
    )


def test_a_frame_stays_as_bright_as_it_is(geosr, ground, tmp_path):
    for t, place in enumerate(PLACES[:3]):
        write(tmp_path / f"frames/{t}.tif", frame(ground, place, t, gain=1 + 0.2 * t))
    assert ibp(geosr, "out", 3).returncode == 0
    for t, place in enumerate(PLACES[:3]):
        gain = read(tmp_path / f"out/{t}.tif").mean() / truth(ground, place).mean()
        assert gain == pytest.approx(1 + 0.2 * t, abs=0.01)


@pytest.mark.parametrize("name", ["rrn", "msdtgp-s", "highres-net", "ibp-net"])
def test_any_net_for_several_images_makes_frames(geosr, video, tmp_path, name):
    net = "ibp-net" if name == "ibp-net" else checkpoint(tmp_path / "net.safetensors", name)
    done = geosr(
        "superres", "frames", "out", "--model", net, "--window", 5, "--pattern", "*15-0[0-2]*"
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.tif"))) == 3


def test_nets_for_one_image_go_frame_by_frame(geosr, video, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors", "pecnn")
    args = ("superres", "frames", "out", "--model", net, "--pattern", "*15-0[0-2]*")
    assert geosr(*args).returncode == 0
    again = geosr(*args, "--window", 1)
    assert again.returncode == 0 and "3 skipped" in again.stderr
    done = geosr(*args, "--window", 3)
    assert done.returncode == 2 and "takes one image, so a video frame by frame" in done.stderr


@pytest.mark.parametrize(
    "name, args, said",
    [
        ("rrn", (), "takes 5 frames of a video in their order. Say --window 5"),
        ("rrn", ("--window", 7), "takes 5 images, no other number. Say --window 5."),
        ("rrn", ("--window", 5, "--ensemble", 2), "builds on its first frame"),
        ("dual-edsr", ("--window", 3), "takes 2 images, no other number. Choose another net"),
        ("highres-net", ("--window", 4), "Give an odd number."),
        ("highres-net", ("--window", 5, "--frames", 3), "Drop one of them."),
    ],
)
def test_windows_that_a_net_does_not_take_are_refused(geosr, video, tmp_path, name, args, said):
    net = checkpoint(tmp_path / "net.safetensors", name)
    done = geosr("superres", "frames", "out", "--model", net, *args)
    of_scenes = "--ensemble" in args or "--frames" in args
    assert done.returncode == (4 if of_scenes else 2) and said in done.stderr


def test_an_odd_frame_costs_the_windows_it_is_in_and_no_more(geosr, video, tmp_path):
    write(video[0], picture(0, side=24, dtype=np.uint16))
    done = ibp(geosr, "out", 3)
    assert done.returncode == 3 and "is not on the grid of" in done.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("*.tif")) == [p.name for p in video[2:]]


def test_a_single_frame_is_no_video(geosr, ground, tmp_path):
    write(tmp_path / "frames/a.tif", frame(ground, PLACES[0], 0))
    done = ibp(geosr, "out", 5)
    assert done.returncode == 4 and "this is its only frame" in done.stderr
    assert not list((tmp_path / "out").glob("*.tif"))


def test_frames_that_nobody_sees_are_told_and_others_are_made_without_them(geosr, video, tmp_path):
    for path in video[:5]:
        write(path.with_name(f"{path.stem}_QM.tif"), np.zeros((1, SIDE, SIDE), np.uint8))
    done = ibp(geosr, "out", 5, "--pattern", "*.tif")
    assert done.returncode == 3 and "nor of the 4 frames around it, was sensed" in done.stderr
    made = sorted(path.name for path in (tmp_path / "out").glob("*.tif"))
    assert made == [path.name for path in video[3:]]  # of the frames around them
    again = ibp(geosr, "out", 5, "--skip-empty")
    assert again.returncode == 0


def test_a_frame_has_a_page(geosr, video, tmp_path):
    done = ibp(geosr, "out", 3, "--report", source=video[3])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / f"{video[3].stem}.html").exists()


def test_python_takes_a_window_too(video, tmp_path):
    import geosr

    outcomes = geosr.superres(tmp_path / "frames", tmp_path / "out", model="ibp", scale=2, window=3)
    assert [outcome.status for outcome in outcomes] == ["done"] * 7


MIDDLES = [(40 + 4 * t, 80 - 6 * t) for t in range(4)]


@pytest.fixture
def even(ground, tmp_path):
    """A camera that goes on evenly; what it sees in the middle between frames is known."""
    for t, place in enumerate(MIDDLES):
        write(tmp_path / f"frames/f{t}.tif", frame(ground, place, t))
    return tmp_path


def test_frames_between_show_what_the_camera_saw_midway(geosr, even, ground):
    done = ibp(geosr, "out", 5, "--between")
    assert done.returncode == 0, done.stderr
    made = sorted(path.name for path in (even / "out").glob("*.tif"))
    assert made == ["f0.tif", "f0_between.tif", "f1.tif", "f1_between.tif", "f2.tif",
                    "f2_between.tif", "f3.tif"]  # fmt: skip
    at = (slice(12, -12),) * 2
    for t, (one, other) in enumerate(pairwise(MIDDLES)):
        midway = tuple((a + b) // 2 for a, b in zip(one, other, strict=True))
        known = truth(ground, midway)[at]
        neighbours = [read(even / f"out/f{i}.tif")[at] for i in (t, t + 1)]
        error = np.std(read(even / f"out/f{t}_between.tif")[at] - known)
        assert error < 0.5 * np.std(np.mean(neighbours, 0) - known)
        assert error < 1.3 * np.std(neighbours[0] - truth(ground, one)[at])


@pytest.mark.parametrize("lost", [1, 3])  # the last: the camera goes on as it did
def test_a_frame_that_shows_nothing_lies_where_the_camera_was_then(geosr, even, ground, lost):
    path = even / f"frames/f{lost}.tif"
    write(path.with_name(f"f{lost}_QM.tif"), np.zeros((1, SIDE, SIDE), np.uint8))
    done = ibp(geosr, "out", 5)
    assert done.returncode == 0 and "not registered" not in done.stderr, done.stderr
    made = read(even / f"out/f{lost}.tif")
    assert (made > 0).mean() > 0.7
    known = truth(ground, MIDDLES[lost])
    seen = made > 0
    seen[:, :8] = seen[:, -8:] = seen[:8] = seen[-8:] = False
    assert np.std((made - known)[seen]) < 0.3 * np.std(known[seen])


def test_a_frame_between_is_as_bright_as_its_neighbours_are_together(geosr, ground, tmp_path):
    for t, place in enumerate(MIDDLES[:2]):
        write(tmp_path / f"frames/{t}.tif", frame(ground, place, t, gain=1 + 0.4 * t))
    assert ibp(geosr, "out", 3, "--between").returncode == 0
    first, middle, second = (read(tmp_path / f"out/{name}.tif").mean()
                             for name in ("0", "0_between", "1"))  # fmt: skip
    assert middle == pytest.approx((first + second) / 2, rel=0.02)


def test_a_net_made_for_it_gives_frames_between_by_their_times(geosr, video, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors", "mstt-stvsr", scale=SCALE)
    args = ("superres", "frames", "out", "--model", net, "--window", 4, "--json")
    assert geosr(*args).returncode == 0
    done = geosr(*args, "--between")
    assert done.returncode == 0, done.stderr
    status = [row["status"] for row in map(json.loads, done.stdout.splitlines()) if "status" in row]
    assert status.count("skipped") == 7 and status.count("done") == 6
    between = tmp_path / "out/lake_2021-03-02T10-15-03.0.tif"
    with rasterio.open(between) as file:
        assert file.tags()["ACQUISITIONDATETIME"] == "2021-03-02 10:15:03"
        assert file.tags()["GEOSR_SOURCE"] == between.stem
    record = json.loads(between.with_suffix(".geosr.json").read_text())
    assert list(record["inputs"]) == [video[i].name for i in (2, 3, 1, 4)]
    assert record["acquired"] == "2021-03-02T10:15:03Z"
    itself = read(tmp_path / "out" / video[2].name)
    assert not np.array_equal(itself, read(between))


@pytest.mark.parametrize(
    "name, args, said",
    [
        ("rrn", ("--window", 5), "'rrn' gives the frames themselves alone"),
        ("mstt-stvsr", (), "takes 4 frames of a video in their order. Say --window 4"),
        ("mstt-stvsr", ("--window", 5), "takes 4 images, no other number. Say --window 4."),
        ("ibp", (), "of how many frames? Say --window 5 too"),
        ("ibp", ("--window", 4), "Give an odd number."),
        ("pecnn", ("--window", 1), "'pecnn' gives the frames themselves alone"),
    ],
)
def test_frames_between_that_a_net_does_not_give_are_refused(geosr, even, name, args, said):
    net = name if name == "ibp" else checkpoint(even / "net.safetensors", name)
    done = geosr("superres", "frames", "out", "--model", net, "--between", *args)
    assert done.returncode == 2 and said in done.stderr, done.stderr
