"""Training at any scale: pairs lie right, scales are drawn again on resume, the loss falls."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from test_train import broken_off, same_weights, texture, write_image

from geosr.errors import UsageError
from geosr.models import registry, weights
from geosr.models.card import PLACES
from geosr.models.design import Recipe
from geosr.raster.window import Window
from geosr.training.adversary import Adversarial
from geosr.training.config import TrainConfig
from geosr.training.datasets import Choice, open_sets, stack
from geosr.training.datasets.continuous import under
from geosr.training.datasets.windows import Spot, turn
from geosr.training.train import train

RECIPE = Recipe(batch_size=2, patch=8, warmup=2, lr=2e-3, jitter=0.1)
CONFIG = TrainConfig(
    "liif", net_options={"features": 8, "blocks": 2, "hidden": 16}, recipe=RECIPE, steps=6,
    val_every=3, val_windows=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for i in range(4):
        write_image(folder / f"place{i}.tif", texture(rng, 48))
    return folder


@pytest.fixture(scope="module")
def ramps(tmp_path_factory):
    """Images whose values rise evenly down and across."""
    folder = tmp_path_factory.mktemp("ramps")
    rows, cols = np.mgrid[:128, :128].astype(np.float32)
    for i in range(3):
        write_image(folder / f"place{i}.tif", (0.1 + 0.002 * rows + 0.004 * cols)[None])
    return folder


def windows(data, **choice):
    card = registry.design("liif").card()
    return open_sets(data, card, Choice("folder", patch=32, **choice))


@pytest.mark.parametrize("turned", range(8))
def test_places_say_where_the_truth_lies_in_the_input_at_every_scale_and_turn(ramps, turned):
    training = windows(ramps).training
    spot = Spot(0, Window(40, 48, 32, 32))
    for scale in (1.0, 1.3, 2.5, 3.9):
        for seed in range(3):
            cut = training.cut(replace(spot, scale=scale), np.random.default_rng(seed))
            sample = turn(cut, turned)
            (low,) = sample.inputs[4]
            assert low.shape == sample.target.shape[1:] == (8, 8)
            lines = [first + step * np.arange(int(n)) for first, step, n in sample.inputs[PLACES]]
            slope = [(low[-1, 4] - low[0, 4]) / 7, (low[4, -1] - low[4, 0]) / 7]
            base = low[0, 0]
            expected = base + slope[0] * lines[0][:, None] + slope[1] * lines[1]
            np.testing.assert_allclose(sample.target[0], expected, atol=4)  # of 10000


def test_all_samples_of_a_step_have_one_scale_drawn_from_its_number_alone(images):
    training = windows(images).training
    scales = [training.scale_at(step) for step in range(200)]
    assert 1 <= min(scales) < 1.2 and 3.8 < max(scales) <= 4
    assert scales == [windows(images).training.scale_at(step) for step in range(200)]
    steps = {float(training.sample(7, i).inputs[PLACES][0, 1]) for i in range(5)}
    assert steps == {8 / round(8 * scales[7])}
    assert windows(images, seed=1).training.scale_at(0) != scales[0]


def test_held_out_windows_take_scales_in_turn_and_keep_all_of_the_truth(ramps):
    held = windows(ramps, share=0.6).held
    held.patch = 32
    spots = held.spots(5)
    assert [spot.scale for spot in spots] == [1.5, 2.0, 2.5, 3.0, 4.0]
    sides = [held.at(spot).target.shape[1] for spot in spots]
    assert sides == [12, 16, 20, 24, 32]
    batch = stack([held.at(spots[2])])
    shown = under(batch.inputs[4][0].numpy(), batch.inputs[PLACES][0].numpy())
    assert shown.shape == tuple(batch.target.shape[1:])


@pytest.mark.parametrize("name", ["liif", "cdcr", "funsr"])
def test_the_loss_falls_and_the_file_runs_at_another_scale(images, tmp_path, name):
    width = {"width": 16} if name == "funsr" else {"hidden": 16}
    options = {"features": 8, "blocks": 2, "skip": False, **width}
    config = replace(CONFIG, model=name, net_options=options, steps=60, val_every=60,
                     recipe=replace(RECIPE, lr=4e-3, jitter=0.0))  # fmt: skip
    losses = []
    result = train(
        images, tmp_path / "run", config=config, progress=lambda p: losses.append(p.loss)
    )
    assert np.mean(losses[-15:]) < 0.6 * np.mean(losses[:5])
    (model,) = weights.load(str(result.best), scale=2.5)
    assert model.card.factor == 2.5
    with rasterio.open(tmp_path / "run/step0000060.png") as file:
        assert file.count == 3


def test_a_resumed_training_equals_an_uninterrupted_one(images, tmp_path):
    train(images, tmp_path / "whole", config=CONFIG)
    broken_off(images, tmp_path / "parts", CONFIG, 4)
    train(images, tmp_path / "parts", config=CONFIG, resume=True)
    assert same_weights(tmp_path / "whole/last.safetensors", tmp_path / "parts/last.safetensors")


def test_what_has_one_scale_cannot_teach_several(images, tmp_path):
    (tmp_path / "pairs/hr").mkdir(parents=True)
    (tmp_path / "pairs/lr").mkdir()
    with pytest.raises(UsageError, match="learns several scales at once, and 'pairs'"):
        train(tmp_path / "pairs", tmp_path / "run", config=CONFIG)
    judged = replace(CONFIG, recipe=replace(RECIPE, loss="l1+0.1*adversarial"),
                     adversarial=Adversarial(discriminator="patch"))  # fmt: skip
    with pytest.raises(UsageError, match="which no discriminator"):
        train(images, tmp_path / "run", config=judged)
    with pytest.raises(UsageError, match=r"'gaussian' is defined for whole factors"):
        train(images, tmp_path / "run", config=replace(CONFIG, degradation="gaussian"))


def test_the_command_trains_scores_and_applies_one_net(geosr, images, tmp_path):
    more = ["--net-option", "features=8", "--net-option", "blocks=2", "--net-option", "hidden=16"]
    done = geosr("train", "--model", "liif", "--data", images, "--out", "run", "--steps", 2,
                 "--patch", 32, "--batch-size", 2, *more)  # fmt: skip
    assert done.returncode == 0, done.stderr
    file = "run/best.safetensors"
    done = geosr("eval", "--model", file, "--data", images, "--scale", 2.5, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["means"]) == {"x2.5"} and set(found["means"]["x2.5"]) == {file, "bicubic"}
    assert [net["scale"] for net in found["nets"]] == [2.5, 2.5]
    done = geosr("eval", "--model", file, "--data", images, "--scale", 2.5, "--extra",
                 "--report", "r.html")  # fmt: skip
    assert done.returncode == 2 and "whole numbers alone" in done.stderr
    done = geosr("eval", "--model", file, "--data", images, "--scale", 2.5, "--protocol", "series")
    assert done.returncode == 2 and "whole scales alone" in done.stderr
    picture = images / "place0.tif"
    for _ in range(2):
        done = geosr("superres", picture, "out/", "--model", file, "--scale", 2.5, "--check")
        assert done.returncode == 0, done.stderr
    assert "1 skipped" in done.stderr
    with rasterio.open(tmp_path / "out/place0.tif") as made:
        assert made.shape == (120, 120)
    done = geosr("superres", picture, "out/", "--model", file, "--scale", 2.6)
    assert done.returncode == 4 and "other settings (scale)" in done.stderr
    done = geosr("verify", "out")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "said, problem",
    [(("--scale", "1.0"), "not above 1"), (("--scale", "0.5"), "not above 1"),
     (("--scale", "x"), "no number"), (("--gsd", "0"), "--gsd"),
     (("--gsd", "4", "--scale", "2"), "both say how fine")],
)  # fmt: skip
def test_scales_that_are_none_are_refused(geosr, images, said, problem):
    done = geosr("superres", images, "out/", "--model", "bicubic", *said)
    assert done.returncode == 2 and problem in done.stderr


@pytest.mark.parametrize("format", ["COG", "PNG"])
def test_other_formats_take_any_scale_too(geosr, tmp_path, format):
    values = np.random.default_rng(0).integers(0, 255, (1, 31, 27)).astype(np.uint8)
    write_image(tmp_path / "a.tif", values)
    done = geosr("superres", "a.tif", "out/", "--model", "bicubic", "--scale", 1.7,
                 "--format", format, "--jobs", 1)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / f"out/a.{'png' if format == 'PNG' else 'tif'}") as made:
        assert made.shape == (53, 46)
