"""What changed between two rasters of one place."""

import json

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from geosr.inference.change import map_of
from geosr.inference.magnitude import Score, otsu
from geosr.models import registry
from geosr.training.losses.contrastive import contrastive

SIDE = 96


def write(path, values, *, size=10.0, left=5e5, crs="EPSG:32633", nodata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[2], height=values.shape[1],
        count=len(values), dtype=values.dtype, crs=crs, nodata=nodata,
        transform=Affine(size, 0, left, 0, -size, 5e6),
    ) as output:  # fmt: skip
        output.write(values)
    return path


def ground(seed=0, side=SIDE):
    """Two bands of waves and grains, around 3000."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:side, :side]
    made = np.full((2, side, side), 3000.0)
    for image in made:
        for _ in range(12):
            down, across, turn = *rng.uniform(-0.5, 0.5, 2), rng.uniform(0, 6)
            image += 120 * np.sin(down * rows + across * cols + turn)
        image += rng.normal(0, 60, image.shape)
    return made


@pytest.fixture
def dates(tmp_path):
    """Before, after with a bright block of 20 × 24, and what changed; brightness differs."""
    rng = np.random.default_rng(1)
    before = ground()
    label = np.zeros((1, SIDE, SIDE), np.uint8)
    label[:, 40:60, 20:44] = 1
    after = 1.2 * before + 150 + rng.normal(0, 10, before.shape)
    after[:, 40:60, 20:44] += 900
    return (
        write(tmp_path / "a.tif", before.astype(np.uint16)),
        write(tmp_path / "b.tif", after.astype(np.uint16)),
        write(tmp_path / "label.tif", label),
    )


def test_a_block_that_was_built_is_found_and_brightness_is_no_change(geosr, tmp_path, dates):
    before, after, label = dates
    done = geosr("change", before, after, "out.tif", "--truth", label, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["score"]["f1"] > 0.98 and found["shift"] is not None
    with (
        rasterio.open(tmp_path / "out.tif") as magnitude,
        rasterio.open(tmp_path / "out_map.tif") as told,
        rasterio.open(before) as own,
    ):
        assert magnitude.transform == told.transform == own.transform and magnitude.crs == own.crs
        assert magnitude.dtypes == ("float32",) and told.dtypes == ("uint8",)
        assert set(np.unique(told.read())) == {0, 1}
        assert np.array_equal(told.read(1) == 1, magnitude.read(1) > found["threshold"])


def test_the_same_image_twice_has_not_changed(geosr, dates):
    done = geosr("change", dates[0], dates[0], "out.tif", "--json", "--threshold", 3)
    assert json.loads(done.stdout)["share"] == 0


def test_a_coarser_date_is_compared_on_the_finer_grid(geosr, tmp_path, dates):
    before, after, label = dates
    with rasterio.open(after) as file:
        values = file.read().astype(float)
    low = values.reshape(2, SIDE // 2, 2, SIDE // 2, 2).mean((2, 4)).astype(np.uint16)
    coarse = write(tmp_path / "coarse.tif", low, size=20.0)
    for more in ((), ("--model", "bicubic")):
        for pair in ((before, coarse), (coarse, before)):
            done = geosr("change", *pair, "out.tif", "--truth", label, "--json", "--overwrite",
                         *more)  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["score"]["f1"] > 0.9
            with rasterio.open(tmp_path / "out.tif") as output:
                assert output.shape == (SIDE, SIDE) and output.res == (10, 10)


def test_a_coarser_date_is_called_by_its_own_name_where_it_does_not_fit(geosr, tmp_path, dates):
    other = np.random.default_rng(5).normal(3000, 300, (2, SIDE // 2, SIDE // 2))
    write(tmp_path / "coarse.tif", other.astype(np.uint16), size=20.0)
    done = geosr("change", dates[0], "coarse.tif", "out.tif", "--model", "bicubic")
    assert "coarse.tif: not registered" in done.stderr


def test_a_shifted_date_is_moved_to_where_it_fits(geosr, tmp_path, dates):
    before, after, label = dates
    with rasterio.open(after) as file:
        moved = write(tmp_path / "moved.tif", np.roll(file.read(), (2, -1), (1, 2)))
    scores = []
    for how in ("none", "auto"):
        done = geosr("change", before, moved, "out.tif", "--truth", label, "--json",
                     "--register", how, "--overwrite")  # fmt: skip
        assert done.returncode == 0, done.stderr
        scores.append(json.loads(done.stdout))
    assert scores[1]["shift"] == pytest.approx([-2, 1], abs=0.1)
    assert scores[1]["score"]["f1"] > max(scores[0]["score"]["f1"], 0.9)


def test_what_was_not_sensed_is_in_neither(geosr, tmp_path, dates):
    with rasterio.open(dates[1]) as file:
        values = file.read()
    values[:, :10] = 0
    gaps = write(tmp_path / "gaps.tif", values, nodata=0)
    assert geosr("change", dates[0], gaps, "out.tif").returncode == 0
    with (
        rasterio.open(tmp_path / "out.tif") as output,
        rasterio.open(tmp_path / "out_map.tif") as told,
    ):
        assert np.isnan(output.read(1)[:10]).all() and np.isfinite(output.read(1)[10:]).all()
        assert (told.read(1)[:10] == 255).all() and told.nodata == 255


def test_rasters_that_cannot_be_compared_are_refused(geosr, tmp_path, dates):
    far = write(tmp_path / "far.tif", ground().astype(np.uint16), left=9e5)
    other = write(tmp_path / "other.tif", ground().astype(np.uint16), crs="EPSG:32634")
    more = write(tmp_path / "more.tif", np.concatenate([ground(), ground()])[:3].astype(np.uint16))
    with rasterio.open(more, "r+") as file:
        file.descriptions = ("x", "y", "z")
    for raster, said in ((far, "no common ground"), (other, "differ in CRS"),
                         (more, "none in common")):  # fmt: skip
        done = geosr("change", dates[0], raster, "out.tif")
        assert done.returncode != 0 and said in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "out.tif").exists()


def test_outputs_and_inputs_are_not_overwritten(geosr, dates):
    assert geosr("change", *dates[:2], "out.tif").returncode == 0
    again = geosr("change", *dates[:2], "out.tif")
    assert again.returncode == 2 and "there already" in again.stderr
    own = geosr("change", *dates[:2], dates[0], "--overwrite")
    assert own.returncode == 2 and "would replace an input" in own.stderr
    wrong = geosr("change", *dates[:2], "new.tif", "--net", "edsr-baseline")
    assert wrong.returncode == 2 and "weights of srcdnet" in wrong.stderr


def test_a_net_learns_what_changes_and_tells_it(geosr, tmp_path, dates):
    for folder, path in zip(("A", "B", "label"), dates, strict=True):
        with rasterio.open(path) as file:
            write(tmp_path / "data" / folder / "one.tif", file.read())
    done = geosr("train", "--model", "srcdnet", "--bands", 2, "--data", "data", "--out", "run",
                 "--steps", 2, "--patch", 32, "--batch-size", 2, "--net-option", "features=8",
                 "--val-windows", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = geosr("change", *dates[:2], "out.tif", "--net", "run/best.safetensors", "--json")
    assert told.returncode == 0, told.stderr
    with rasterio.open(tmp_path / "out.tif") as output:
        assert 0 <= output.read(1).min() <= output.read(1).max() <= 1
    assert json.loads(told.stdout)["threshold"] == 0.5
    refused = geosr("superres", dates[0], "sr.tif", "--model", "run/best.safetensors")
    assert refused.returncode == 2 and "Run geosr change" in refused.stderr


def test_data_that_does_not_fit_is_told(geosr, tmp_path, dates):
    arguments = ("train", "--model", "srcdnet", "--data", "data", "--out", "run", "--steps", 1)
    (tmp_path / "data").mkdir()
    assert "no folders A, B and label" in geosr(*arguments).stderr
    for folder, path in zip(("A", "B", "label"), dates, strict=True):
        with rasterio.open(path) as file:
            write(tmp_path / "data" / folder / "one.tif", file.read())
    assert "Say --bands 2" in geosr(*arguments).stderr
    (tmp_path / "data/label/one.tif").rename(tmp_path / "data/label/two.tif")
    assert "none of its name in label" in geosr(*arguments, "--bands", 2).stderr


def test_srcdnet_has_the_published_parameters_and_no_distance_between_alike_dates():
    assert registry.count(registry.design("srcdnet").card(bands=3, features=64)) == 16_979_994
    net = registry.build(registry.design("srcdnet").card(bands=2, features=8)).net.eval()
    image = torch.rand(1, 2, 37, 50)
    with torch.inference_mode():
        told = net(torch.cat([image, image], 1))
    assert told.shape == (1, 1, 37, 50) and told.max() < 1e-3


def test_the_contrastive_loss_counts_rare_changes_as_much_as_the_rest():
    target = torch.zeros(1, 1, 10, 10)
    target[..., 0, 0] = 1
    mask = torch.ones_like(target, dtype=torch.bool)
    for estimate, wanted in ((target, 0.0), (1 - target, 2.0), (torch.zeros_like(target), 1.0),
                             (torch.ones_like(target), 1.0)):  # fmt: skip
        total, count = contrastive(estimate, target, mask)
        assert float(total / count) == pytest.approx(wanted)


def test_scores_and_thresholds_are_what_their_names_say(tmp_path):
    score = Score(6, 2, 4)
    assert (score.precision, score.recall, score.f1, score.iou) == (0.75, 0.6, 12 / 18, 0.5)
    values = np.concatenate([np.full(900, 1.0), np.full(100, 9.0)]).astype(np.float32)
    assert 1 < otsu(values) < 9
    assert map_of(tmp_path / "x.tif").name == "x_map.tif"
