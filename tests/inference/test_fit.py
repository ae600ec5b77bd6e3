"""Nets that learn on the scene: what they look at, what they learn, and when they cannot."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasters import GRID, write

from geosr import api
from geosr.errors import SceneError, UsageError
from geosr.inference import excerpts, fit, learning
from geosr.inference.engine import Engine
from geosr.inference.fitoptions import FitOptions
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.models import registry, weights
from geosr.models.card import Model
from geosr.models.nets.fitted import projection
from geosr.raster.window import Window
from geosr.scene.degradation import covariance as covariance_of
from geosr.sensors import OpenOptions, open_scene


def ground(side: int, seed: int = 0) -> np.ndarray:
    """An image whose power falls as that of ground, between 0 and 1."""
    rng = np.random.default_rng(seed)
    at = np.fft.fftfreq(side)
    length = np.hypot(at[:, None], at[None])
    length[0, 0] = 1
    image = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) * length**-1.1).real
    return np.clip(0.5 + 0.15 * image / image.std(), 0, 1)


def seen(fine: np.ndarray, covariance: np.ndarray, factor: int = 2) -> np.ndarray:
    """A fine image as a sensor of that point spread sees it."""
    step = projection.Projection(factor)
    step.tell(projection.gaussian(factor, covariance))
    return step.degrade(torch.from_numpy(fine[None, None])).numpy()[0, 0]


def tilted(large: float, small: float, turn: float) -> np.ndarray:
    """A covariance, its long axis turned from the rows' by so many degrees."""
    turned = np.radians(turn)
    axes = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    return axes @ np.diag([large**2, small**2]) @ axes.T


def image_file(path: Path, values: np.ndarray) -> Path:
    return write(path, np.rint(values * 10000).astype(np.uint16)[None], grid=GRID)


def thin(name: str = "zssr", **options) -> Model:
    """A net that is quick to fit."""
    card = registry.design(name).card(scale=2)
    small = {"features": 8, "depth": 3} | ({"skip": 2} if name == "dip" else {})
    return registry.build(replace(card, options=small | options))


def fitted(path: Path, model: Model, options: FitOptions):
    scene = open_scene(path, OpenOptions(kind="image"))
    plan = make_plan(scene, [model], Request(fit=options))
    with scene.open() as reader:
        return fit.fitted(plan, reader, options, Engine())


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_projected_image_degrades_nearly_to_the_image(factor):
    step = projection.Projection(factor)
    low = torch.from_numpy(ground(48)[None, None]).float()
    fine = torch.nn.functional.interpolate(low, scale_factor=factor, mode="bicubic")
    before, after = ((step.degrade(x) - low)[..., 8:-8, 8:-8].abs().mean()
                     for x in (fine, step(fine, low)))  # fmt: skip
    assert after < 0.1 * before


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_kernels_sum_to_one_and_are_centred(factor):
    at = np.arange(7 * factor) - (7 * factor - 1) / 2
    covariance = tilted(0.8 * factor, 0.4 * factor, 30)
    for kernel in (projection.gaussian(factor, covariance), projection.bicubic(factor)):
        assert kernel.shape == (7 * factor,) * 2 and kernel.sum() == pytest.approx(1)
        assert at @ kernel.sum(1) == pytest.approx(0, abs=1e-9)
    measured = covariance_of(projection.gaussian(factor, covariance))
    np.testing.assert_allclose(measured, covariance, rtol=0.02, atol=0.02 * factor)


def test_a_tilted_point_spread_is_found_from_the_image_alone():
    covariance = tilted(1.6, 0.9, 30)
    low = seen(ground(512), covariance).astype(np.float32)[None]
    seen_ = excerpts.Excerpts([low], [np.ones(low.shape, bool)])
    kernel, said = excerpts.kernel_of(seen_, 2, "auto")
    found = covariance_of(kernel)
    assert np.abs(found - covariance).max() < 0.35, (found, said)
    assert found[0, 1] > 0.3 and "Gaussian" in said
    assert excerpts.kernel_of(seen_, 2, "bicubic")[1] == "cubic convolution"


def test_a_fit_beats_interpolation_where_the_point_spread_is_not_told(tmp_path):
    fine = ground(256)
    path = image_file(tmp_path / "a.tif", seen(fine, tilted(1.5, 0.9, 60)))
    errors = {}
    for model in (thin(), weights.load("bicubic", scale=2)[0]):
        scene, name = open_scene(path, OpenOptions(kind="image")), model.card.name
        request = Request(fit=FitOptions(steps=20))
        superres(scene, tmp_path / f"{name}.tif", [model], request=request)
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            error = (file.read(1) / 10000 - fine)[8:-8, 8:-8]
            errors[name] = float((error**2).mean())
    assert errors["zssr"] < 0.85 * errors["bicubic"]


def test_the_same_seed_learns_the_same_and_another_differs(tmp_path):
    path = image_file(tmp_path / "a.tif", ground(80))
    nets = [fitted(path, thin(), FitOptions(steps=3, seed=seed)) for seed in (0, 0, 1)]
    first, again, other = (plan.nets[0].model.net.state_dict() for plan in nets)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_model_that_was_given_is_left_as_it_was(tmp_path):
    path, model = image_file(tmp_path / "a.tif", ground(80)), thin()
    before = {name: x.clone() for name, x in model.net.state_dict().items()}
    plan = fitted(path, model, FitOptions(steps=2))
    assert plan.nets[0].model is not model and plan.nets[0].model.card.task == "sisr"
    assert all(torch.equal(before[name], x) for name, x in model.net.state_dict().items())


def test_of_a_large_scene_windows_spread_over_all_of_it_are_looked_at():
    rng = np.random.default_rng(0)
    windows = excerpts._places(10980, 10980, 1, rng)
    assert len(windows) == 64 and all(window[2:] == (128, 128) for window in windows)
    for axis in (0, 1):
        starts = sorted(window[axis] for window in windows)
        assert starts[0] < 10980 / 8 and starts[-1] >= 10980 * 7 / 8 - 128
        assert all(0 <= window[axis] <= 10980 - 128 for window in windows)
    assert len(excerpts._places(10980, 10980, 13, rng)) < 30
    assert len(excerpts._places(100, 90000, 1, rng)) > 10
    assert excerpts._places(400, 500, 1, rng) == [Window(0, 0, 400, 500)]


def test_a_scene_too_small_to_learn_from_says_what_is_needed(geosr, tmp_path):
    image_file(tmp_path / "in/a.tif", ground(63))
    done = geosr("superres", "in", "out", "--model", "zssr", "--fit-steps", 1)
    assert done.returncode == 4
    assert "63 × 63 px: too small for 'zssr' to learn from, which needs 64 × 64" in done.stderr
    assert "edsr-baseline" in done.stderr and not (tmp_path / "out/a.tif").exists()


def test_a_scene_that_was_hardly_sensed_is_refused(tmp_path):
    values = np.zeros((1, 100, 100), np.uint16)
    values[:, :20, :20] = 5000
    path = write(tmp_path / "a.tif", values, nodata=0, grid=GRID)
    with pytest.raises(SceneError, match="400 pixels were sensed"):
        fitted(path, thin(), FitOptions(steps=1))


def test_a_fit_that_diverges_falls_back_to_its_best_state_and_says_so(
    tmp_path, monkeypatch, caplog
):
    design = registry.DESIGNS["zssr"]
    wild = replace(design, recipe=replace(design.recipe, lr=30.0, warmup=0, clip=1e9))
    monkeypatch.setitem(registry.DESIGNS, "zssr", wild)
    monkeypatch.setattr(logging.getLogger("geosr"), "propagate", True)
    path = image_file(tmp_path / "a.tif", ground(80))
    plan = fitted(path, thin(), FitOptions(steps=40))
    assert plan.fit["diverged"] and plan.fit["best"] < plan.fit["steps"] <= 40
    assert "learning diverged at step" in caplog.text
    made = plan.nets[0].model({2: torch.full((1, 1, 80, 80), 4000.0)})
    assert made.isfinite().all()


def test_time_ends_a_fit(tmp_path):
    path = image_file(tmp_path / "a.tif", ground(80))
    plan = fitted(path, thin(), FitOptions(seconds=0.3))
    assert plan.fit["steps"] > 0 and not plan.fit["diverged"]


def test_tiles_of_a_fitted_net_equal_the_whole(tmp_path):
    path, folder = image_file(tmp_path / "a.tif", ground(90)), tmp_path / "fits"
    fitted(path, thin(), FitOptions(steps=2, save=folder))
    (net,) = weights.load(str(folder / "a-zssr-x2.safetensors"))
    assert net.card.task == "sisr"
    made = []
    for size in (None, 32):
        scene = open_scene(path, OpenOptions(kind="image"))
        superres(scene, tmp_path / "out.tif", [net], request=Request(tile_size=size))
        with rasterio.open(tmp_path / "out.tif") as file:
            made.append(file.read())
    assert np.abs(made[0].astype(int) - made[1]).max() <= 1


def test_saved_weights_make_the_same_pixels_without_learning(geosr, tmp_path):
    image_file(tmp_path / "a.tif", ground(80))
    fit_ = ("--fit-steps", 2, "--save-fit", "fits", "--precision", "fp32")
    done = geosr("superres", "a.tif", "one.tif", "--model", "zssr", *fit_)
    assert done.returncode == 0 and "step 2, 100 %, loss" in done.stderr, done.stderr
    file = tmp_path / "fits/a-zssr-x2.safetensors"
    done = geosr("superres", "a.tif", "two.tif", "--model", file, "--precision", "fp32")
    assert done.returncode == 0 and "learns" not in done.stderr
    with rasterio.open(tmp_path / "one.tif") as one, rasterio.open(tmp_path / "two.tif") as two:
        assert np.array_equal(one.read(), two.read()) and one.shape == (160, 160)
        assert "seed 0; steps 2" in one.tags()["GEOSR_FIT"] and "GEOSR_FIT" not in two.tags()


def test_a_file_of_somebody_else_is_not_replaced_by_a_fit(tmp_path):
    path = image_file(tmp_path / "a.tif", ground(80))
    (tmp_path / "a-zssr-x2.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError, match="left alone"):
        fitted(path, thin(), FitOptions(steps=1, save=tmp_path))


def test_a_batch_resumes_by_scene_and_the_fit_is_part_of_what_decides_a_redo(geosr, tmp_path):
    for name in "ab":
        image_file(tmp_path / f"in/{name}.tif", ground(70, seed=ord(name)))
    run = ("superres", "in", "out", "--model", "zssr", "--fit-steps")
    assert geosr(*run, 1).returncode == 0
    record = json.loads((tmp_path / "out/a.geosr.json").read_text())
    wanted = {"steps": 1, "seconds": None, "seed": 0, "kernel": "auto", "reference": None}
    assert record["recipe"]["fit"] == wanted
    assert record["fit"]["steps"] == 1 and record["fit"]["seed"] == 0 and record["fit"]["kernel"]
    before = (tmp_path / "out/a.tif").read_bytes()
    (tmp_path / "out/b.geosr.json").unlink()
    (tmp_path / "out/b.tif").unlink()
    done = geosr(*run, 1, "--json")
    found = {row["scene"]: row["status"] for row in map(json.loads, done.stdout.splitlines())}
    assert found == {"a": "skipped", "b": "done"}
    done = geosr(*run, 2)
    assert done.returncode == 4 and "made with other settings (fit)" in done.stderr
    assert geosr(*run, 1, "--overwrite", "--fit-seed", 1).returncode == 0
    assert (tmp_path / "out/a.tif").read_bytes() != before
    assert geosr("superres", "in", "plain", "--model", "bicubic", "--scale", 2).returncode == 0
    assert "fit" not in json.loads((tmp_path / "plain/a.geosr.json").read_text())["recipe"]


@pytest.mark.slow
def test_workers_learn_on_scenes_too(geosr, tmp_path):
    for name in "ab":
        image_file(tmp_path / f"in/{name}.tif", ground(70, seed=ord(name)))
    run = ("superres", "in", "--model", "zssr", "--fit-steps", 2)
    assert geosr(*run[:2], "one", *run[2:], "--threads", 1).returncode == 0
    done = geosr(*run[:2], "two", *run[2:], "--jobs", 2, "--threads", 2)
    assert done.returncode == 0, done.stderr
    for name in "ab":
        made = [(tmp_path / f"{folder}/{name}.tif").read_bytes() for folder in ("one", "two")]
        assert made[0] == made[1]


def test_options_of_a_fit_are_refused_where_no_net_learns(geosr, tmp_path):
    image_file(tmp_path / "a.tif", ground(70))
    done = geosr("superres", "a.tif", "out", "--model", "bicubic", "--scale", 2, "--fit-steps", 3)
    assert done.returncode == 2 and "no chosen net learns on the scene" in done.stderr
    done = geosr("eval", "--model", "bicubic", "--scale", 2, "--data", ".", "--fit-time", "3")
    assert done.returncode == 2 and "--fit-time: no chosen net learns" in done.stderr
    with pytest.raises(UsageError, match="--fit-steps: no chosen net learns"):
        api.evaluate("bicubic", tmp_path, scale=2, fit_steps=3)
    with pytest.raises(UsageError, match="--fit-reference: no chosen net learns"):
        api.superres(tmp_path / "a.tif", tmp_path / "out", model="bicubic", scale=2,
                     fit_reference=tmp_path / "b.tif")  # fmt: skip
    with pytest.raises(UsageError, match="fit_kernel 'box' is none of auto, bicubic"):
        api.evaluate("bicubic", tmp_path, scale=2, fit_kernel="box")


def test_nets_that_learn_on_scenes_are_scored_but_not_trained(geosr, tmp_path):
    image_file(tmp_path / "in/a.tif", ground(140))
    done = geosr("eval", "--model", "zssr", "--data", "in", "--fit-steps", 1, "--json")
    assert done.returncode == 0, done.stderr
    done = geosr("train", "--model", "zssr", "--data", "in", "--out", "run", "--steps", 1)
    assert done.returncode == 2 and "learns on each scene itself" in done.stderr
    done = geosr("export", "zssr", "-o", "zssr.onnx")
    assert done.returncode == 2 and "has nothing to export before" in done.stderr


def test_a_prior_is_bent_towards_the_image_and_is_reproducible(tmp_path):
    path = image_file(tmp_path / "a.tif", ground(64))
    plan = fitted(path, thin("dip"), FitOptions(steps=30))
    model = plan.nets[0].model
    low = torch.from_numpy(ground(64)[None, None] * 10000).float()
    with torch.inference_mode():
        made, again = model({2: low}), model({2: low})
    assert made.shape == (1, 1, 128, 128) and torch.equal(made, again)
    missed = model.net.projection.degrade(made)[..., 8:-8, 8:-8] - low[..., 8:-8, 8:-8]
    assert missed.abs().mean() < 0.2 * low.std()


def test_a_prior_stops_when_its_outputs_vary_no_less():
    from geosr.models.nets.fitted.dip import _Running

    rng, course = np.random.default_rng(0), _Running(patience=10)
    for step in range(1, 200):
        noise = 0.1 / step if step < 50 else 0.01 * (step - 48)
        made = torch.from_numpy(rng.normal(0.5, noise, (1, 1, 8, 8))).float()
        if course.ended(step, made):
            break
    assert step < 80 and 40 <= course.best < 60
    assert course.kept.mean() == pytest.approx(0.5, abs=0.05)


def test_what_a_prior_learns_cannot_be_saved(tmp_path):
    path = image_file(tmp_path / "a.tif", ground(64))
    with pytest.raises(UsageError, match="fitted to every tile anew"):
        fitted(path, thin("dip"), FitOptions(steps=1, save=tmp_path))


@pytest.mark.parametrize("number", [15, 17, 19])
def test_kernels_of_held_out_landsat_scenes_are_found(shared, number):
    with rasterio.open(shared / f"landsat7/scene{number}_pan.tif") as file:
        fine = file.read(1).astype(np.float64) / 255
    covariance = tilted(1.7, 0.9, 25 * number)
    low = seen(fine, covariance).astype(np.float32)[None]
    seen_ = excerpts.Excerpts([low], [np.ones(low.shape, bool)])
    found = covariance_of(excerpts.kernel_of(seen_, 2, "auto")[0])
    axes = [np.sqrt(np.linalg.eigvalsh(each)) for each in (found, covariance)]
    np.testing.assert_allclose(*axes, rtol=0.3)


def test_a_prior_migrates_from_a_reference(geosr, tmp_path):
    image_file(tmp_path / "a.tif", ground(64))
    finer = rasterio.Affine(15, 0, 500010, 0, -15, 4100040)
    values = np.rint(ground(128) * 255).astype(np.uint8)[None]
    write(tmp_path / "fine.tif", values.repeat(2, 0), grid=finer)
    run = ("superres", "a.tif", "out.tif", "--model", "mip", "--fit-steps", 2)
    done = geosr(*run)
    assert done.returncode == 4 and "Add --fit-reference FILE" in done.stderr
    done = geosr(*run, "--fit-reference", "a.tif")
    assert done.returncode == 4 and "has 64 × 64 px over" in done.stderr
    done = geosr(*run, "--fit-reference", "fine.tif")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.shape == (128, 128) and file.transform == finer
    record = json.loads((tmp_path / "out.geosr.json").read_text())
    assert record["recipe"]["fit"]["reference"][0].endswith("fine.tif")
    assert geosr(*run, "--fit-reference", "fine.tif").stderr.count("skipped") == 2


def test_the_input_of_a_migrating_prior_hangs_on_its_reference():
    small = {"features": 8, "depth": 2, "skip": 2, "migration": 4, "reference_bands": 1}
    net = registry.build(replace(registry.design("mip").card(scale=2), options=small)).net
    made = []
    for reference in (torch.zeros(1, 1, 32, 32), torch.randn(1, 1, 32, 32)):
        net.reference = reference
        source = net.source((32, 32), torch.device("cpu"), torch.Generator().manual_seed(0))
        source()
        made.append(source())
    assert made[0].shape == (1, 32, 32, 32) and not torch.allclose(*made)
    assert made[0].requires_grad and made[0].min() > 0 and made[0].max() < 1


def test_a_net_learns_from_kernels_like_the_scenes_own_unless_that_is_known():
    step, rng = projection.Projection(2), np.random.default_rng(0)
    step.tell(projection.gaussian(2, tilted(1.6, 0.9, 30)))
    kernels = learning._like(step, rng)
    assert len(kernels) == 16 and all(abs(float(k.sum()) - 1) < 1e-5 for k in kernels)
    middle = np.mean([covariance_of(k.numpy()) for k in kernels], 0)
    np.testing.assert_allclose(middle, tilted(1.6, 0.9, 30), atol=0.5)
    step.tell(projection.bicubic(2))
    assert len(learning._like(step, rng)) == 1
