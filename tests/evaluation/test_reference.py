"""Imgsets begun with the frame that is most like the truth."""

import json

import numpy as np
import pytest
from make_probav import write_imgset, write_png

from geosr.evaluation.protocols import reference
from geosr.sensors import OpenOptions, open_scene, probav


@pytest.fixture
def imgset(tmp_path):
    """Three frames of a field of squares: two are darker and lie two pixels off."""
    folder = write_imgset(tmp_path / "train/RED/imgset0000", size=40)
    rng = np.random.default_rng(0)
    truth = 8000 + np.kron(rng.normal(0, 900, (24, 24)), np.ones((5, 5)))
    coarse = truth.reshape(40, 3, 40, 3).mean((1, 3))
    for i in range(2):
        other = 0.8 * np.roll(coarse, (2, i), (0, 1)) - 300 + rng.normal(0, 150, coarse.shape)
        write_png(folder / f"LR{i:03}.png", other.astype(np.uint16))
    write_png(folder / "LR002.png", coarse.astype(np.uint16))
    write_png(folder / "QM002.png", np.full((40, 40), 255, np.uint8))
    write_png(folder / "HR.png", truth.astype(np.uint16))
    return folder


def test_the_frame_most_like_the_truth_comes_first_and_the_others_keep_their_order(imgset):
    scene = open_scene(imgset, OpenOptions(kind="series"))
    assert [band.path[-9:] for band in scene.bands] == ["LR000.png", "LR002.png", "LR001.png"]
    first = reference.best(scene, probav.read_imgset(imgset))
    assert first == 1
    ordered = reference.begun_with(scene, first)
    names = {band.frame: band.path[-9:] for band in ordered.bands}
    assert [names[i] for i in range(3)] == ["LR002.png", "LR000.png", "LR001.png"]


def test_both_scores_are_told_and_the_reference_helps(geosr, imgset):
    done = geosr("eval", "-m", "mean", "--data", imgset.parents[2], "--protocol", "reference",
                 "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    scores = {(score["group"], score["model"]): score["whole"]["cpsnr"]
              for score in json.loads(done.stdout)["scores"]}  # fmt: skip
    assert {group for group, _ in scores} == {"kelvins", "reference"}
    assert scores["reference", "bicubic"] > scores["kelvins", "bicubic"] + 1
    assert scores["reference", "mean"] > scores["kelvins", "mean"] + 1
    assert ("kelvins", "kelvins-baseline") in scores


def test_an_imgset_of_which_nothing_can_be_compared_is_named(geosr, imgset):
    write_png(imgset / "SM.png", np.zeros((120, 120), np.uint8))
    scene = open_scene(imgset, OpenOptions(kind="series"))
    with pytest.raises(Exception, match="no frame shows what the truth shows"):
        reference.best(scene, probav.read_imgset(imgset))


def test_the_real_imgset_is_scored_higher_when_begun_with_its_reference(shared):
    folder = shared / "probav/train/RED/imgset0000"
    scene = open_scene(folder, OpenOptions(kind="series"))
    first = reference.best(scene, probav.read_imgset(folder))
    paths = {band.frame: band.path for band in scene.bands}
    assert paths[first].endswith("LR004.png")
