"""Scores by every protocol, on the command line and from Python."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
import torch
from nets import checkpoint
from rasters import paired, picture, write

from geosr.errors import UsageError
from geosr.evaluation.evaluate import Evaluation, SceneScore, evaluate
from geosr.evaluation.protocols import Data
from geosr.inference import plan
from geosr.metrics import no_reference
from geosr.models import weights


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for i in range(4):
        write(tmp_path / f"images/scene{i}.tif", picture(i, side=64))
    return tmp_path / "images"


def bicubic(scale: int) -> dict:
    return {"bicubic": weights.load("bicubic", scale=scale)}


@pytest.mark.parametrize("operator", ["gaussian", "sensor", "box"])
def test_images_of_any_sensor_are_degraded_by_every_operator(images, operator):
    found = evaluate(Data(images, operator=operator), bicubic(2))
    assert not found.failed and all(score.whole["rmse"] > 0 for score in found.scores)


def test_images_are_degraded_and_scored_against_themselves(images):
    found = evaluate(Data(images), bicubic(2))
    assert found.protocol == "folder" and found.groups == ["x2"]
    score = found.scores[0]
    with rasterio.open(images / "scene0.tif") as file:
        truth = torch.from_numpy(file.read().astype(np.float64))[None] / 255 * 10000
    padded = torch.nn.functional.pad(truth, (16, 16, 16, 16), "replicate")
    low = torch.nn.functional.interpolate(padded, scale_factor=0.5, mode="bicubic", antialias=True)
    up = torch.nn.functional.interpolate(low, scale_factor=2, mode="bicubic")
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    expected = float(((up[..., 16:-16, 16:-16] - truth)[inner] ** 2).mean().sqrt())
    assert score.whole["rmse"] == pytest.approx(expected, rel=0.15)
    assert score.whole["psnr"] == pytest.approx(20 * math.log10(10000 / score.whole["rmse"]))


def test_tiles_do_not_change_the_scores_of_images(images):
    whole, parts = (evaluate(Data(images, tile_size=size), bicubic(2)) for size in (None, 16))
    for a, b in zip(whole.scores, parts.scores, strict=True):
        assert a.whole["rmse"] == pytest.approx(b.whole["rmse"], rel=1e-5)
        assert a.whole["ssim"] == pytest.approx(b.whole["ssim"], rel=1e-5)


def test_pairs_bring_their_own_truth(tmp_path):
    found = evaluate(Data(paired(tmp_path / "d")), bicubic(2))
    assert found.protocol == "pairs" and len(found.scores) == 3
    found = evaluate(Data(paired(tmp_path / "g", grid=True)), bicubic(2))
    assert all(0 < score.whole["rmse"] < 3000 for score in found.scores)


def test_a_net_of_two_frames_is_scored_on_series_and_on_the_dual_layout(images, tmp_path):
    nets = {"net": weights.load(str(checkpoint(tmp_path / "net.safetensors", "dual-edsr")))}
    found = evaluate(Data(images), nets | bicubic(3))
    assert found.protocol == "series" and set(found.models) == {"bicubic", "net"}
    assert len(found.scores) == 8
    for i in range(2):
        fine = picture(i)
        small = fine.reshape(1, 16, 3, 16, 3).mean((2, 4)).astype(np.uint8)
        write(tmp_path / f"dual/test/high_res/imgset{i:04d}_HR.png", fine)
        for frame in range(2):
            write(tmp_path / f"dual/test/low_res/imgset{i:04d}_LR{frame}.png", small)
    found = evaluate(Data(tmp_path / "dual"), nets)
    assert found.protocol == "dual" and len(found.scores) == 2


def test_bicubic_reproduces_the_organisers_baseline(shared, tmp_path):
    found = evaluate(Data(shared / "probav"), bicubic(3))
    assert found.protocol == "kelvins"
    by_model = {score.model: score.whole for score in found.scores}
    baseline = by_model["kelvins-baseline"]
    assert baseline["cpsnr"] == pytest.approx(52.352172662454414, abs=1e-9)
    assert baseline["score"] == pytest.approx(1.0, abs=1e-12)
    assert 45 < by_model["bicubic"]["cpsnr"] < 53


def test_the_program_compares_models_in_one_table(geosr, images, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors", "espcn", scale=2)
    args = ["eval", "--model", net, "--data", images]
    done = geosr(*args)
    assert done.returncode == 0, done.stderr
    assert "protocol: folder" in done.stdout and "bicubic" in done.stdout
    assert "against" in done.stdout and "bootstrap" in done.stdout
    found = json.loads(geosr(*args, "--json", "--extra").stdout)
    assert found["means"]["x2"]["bicubic"]["ratio"] == 1.0
    assert found["means"]["x2"]["bicubic"]["scenes"] == 4
    assert set(found["definitions"]) >= set(found["scores"][0]["whole"]) - {"cpsnr", "cssim"}
    rows = list(csv.DictReader(io.StringIO(geosr(*args, "--csv").stdout)))
    rmse = [float(r["value"]) for r in rows if r["metric"] == "rmse" and r["model"] == "bicubic"
            and not r["band"]]  # fmt: skip
    assert np.mean(rmse) == pytest.approx(found["means"]["x2"]["bicubic"]["rmse"], rel=1e-9)


def test_pictures_lie_side_by_side(geosr, images, tmp_path):
    done = geosr("eval", "--model", "bicubic", "--scale", 4, "--data", images, "--save-images",
                 "shots")  # fmt: skip
    assert done.returncode == 0, done.stderr
    shots = sorted((tmp_path / "shots").iterdir())
    assert len(shots) == 4
    with rasterio.open(shots[0]) as file:
        assert file.shape == (64, 3 * 64 + 8)


def test_models_of_different_kinds_are_not_mixed(geosr, images, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors", "espcn", scale=2)
    done = geosr("eval", "--model", "dsen2", "--model", net, "--data", images)
    assert done.returncode == 2 and "scored in different ways" in done.stderr
    done = geosr("eval", "--model", net, "--data", images, "--protocol", "wald")
    assert done.returncode == 2 and "cannot be scored by 'wald'" in done.stderr


def test_a_broken_image_costs_itself(geosr, images, tmp_path):
    (images / "broken.tif").write_bytes(b"II*\x00nothing")
    done = geosr("eval", "--model", "bicubic", "--scale", 2, "--data", images)
    assert done.returncode == 3 and "broken.tif" in done.stderr and "x2, 4 scenes" in done.stdout


def test_wholly_masked_scenes_have_no_figures(tmp_path):
    write(tmp_path / "d/a.tif", np.zeros((1, 32, 32), np.uint8), nodata=0)
    write(tmp_path / "d/b.tif", picture(1))
    found = evaluate(Data(tmp_path / "d"), bicubic(2))
    by_scene = {score.scene: score.whole for score in found.scores}
    assert by_scene["a"]["rmse"] is None and by_scene["b"]["rmse"] > 0
    assert found.mean("bicubic", "x2", "rmse") == by_scene["b"]["rmse"]


def made_up(values: dict[str, list[float]]) -> Evaluation:
    scores = [
        SceneScore(model, model, f"s{i}", f"s{i}", "", "x2", 2, {}, {"rmse": value})
        for model, rmses in values.items()
        for i, value in enumerate(rmses)
    ]
    return Evaluation("folder", tuple(scores), {})


def test_pairs_of_models_are_compared_scene_by_scene():
    found = made_up({"a": [1.0, 2.0, 3.0, 4.0], "b": [2.0, 3.0, 4.0, 3.0]})
    (pair,) = found.paired("a", "b")
    assert pair.wins == 0.75 and pair.difference == pytest.approx(-0.5)
    assert pair.low < pair.difference < pair.high and pair.scenes == 4
    assert found.paired("a", "b") == found.paired("a", "b")
    assert found.ratio("a", "x2", "b") == pytest.approx(10 / 12)


def test_nothing_to_score_is_a_usage_error(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="nothing was scored: .*none holds nothing for 'folder'"):
        evaluate(Data(tmp_path / "none"), bicubic(2))


def test_two_forms_of_the_result_do_not_both_fit_on_stdout(geosr, tmp_path):
    done = geosr("eval", "--model", "bicubic", "--data", tmp_path, "--json", "--csv")
    assert done.returncode == 2 and "--json and --csv" in done.stderr


def test_a_scene_scored_by_the_program_matches_python(geosr, tmp_path):
    scene_files.write_folder(tmp_path / "s", size=60)
    done = geosr("eval", "--model", "bicubic", "--data", "s", "--json")
    assert done.returncode == 0, done.stderr
    found = evaluate(Data(tmp_path / "s"), {"bicubic": weights.load("bicubic")})
    document = json.loads(done.stdout)
    assert document["means"]["20"]["bicubic"]["rmse"] == found.mean("bicubic", "20", "rmse")


def test_without_a_truth_the_output_is_compared_with_its_input(geosr, tmp_path):
    scene_files.write_folder(tmp_path / "s", size=120)
    done = geosr("eval", "--model", "dsen2-20", "--data", "s", "--protocol", "full", "--json")
    assert done.returncode == 0, done.stderr
    means = json.loads(done.stdout)["means"]["full 20"]
    assert means["dsen2-20"]["rmse"] < means["bicubic"]["rmse"]
    assert means["dsen2-20"]["d_rho"] < means["bicubic"]["d_rho"]
    for model in ("dsen2-20", "bicubic"):
        d_lambda, d_rho, qnr = (means[model][key] for key in ("d_lambda", "d_rho", "qnr"))
        assert qnr == pytest.approx((1 - d_lambda) * (1 - d_rho))


def test_pictures_need_a_truth(geosr, scene_dir):
    done = geosr("eval", "--model", "bicubic", "--data", scene_dir, "--protocol", "full",
                 "--report", "r.html")  # fmt: skip
    assert done.returncode == 2 and "superres --report" in done.stderr


def test_a_broken_imgset_costs_itself(shared, tmp_path):
    for name in ("imgset0000", "imgset0001"):
        shutil.copytree(shared / "probav/train/RED/imgset0000", tmp_path / name)
    broken = tmp_path / "imgset0001/QM003.png"
    broken.chmod(0o644)
    broken.write_bytes(b"nothing")
    found = evaluate(Data(tmp_path), bicubic(3))
    assert list(found.failed) == ["imgset0001"] and len(found.scores) == 2


def moved(truth: np.ndarray) -> np.ndarray:
    return np.roll(truth, 1, 2)


def blurred(truth: np.ndarray) -> np.ndarray:
    return (np.roll(truth, 1, 1) + np.roll(truth, -1, 1) + np.roll(truth, 1, 2)
            + np.roll(truth, -1, 2) + truth) / 5  # fmt: skip


def invented(truth: np.ndarray) -> np.ndarray:
    return truth + 400 * (np.indices(truth.shape[1:]).sum(0) % 4 // 2 * 2 - 1)


def test_shifted_blurred_and_invented_outputs_are_told_apart():
    """By opensr-test: the shift by its spatial figure, the others by omission and hallucination."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(1000, 6000, (3, 24, 24))
    truth = np.kron(coarse, np.ones((1, 8, 8))) + rng.normal(0, 150, (3, 192, 192))
    low = truth.reshape(3, 48, 4, 48, 4).mean((2, 4))
    found = {
        make.__name__: no_reference.opensr(low / 1e4, make(truth) / 1e4, truth / 1e4, scale=4)
        for make in (moved, blurred, invented)
    }
    spatial = {name: figures["spatial"] for name, figures in found.items()}
    assert max(spatial, key=spatial.__getitem__) == "moved" and spatial["moved"] > 0.1
    others = {name: found[name] for name in ("blurred", "invented")}
    assert max(others, key=lambda n: others[n]["omission"]) == "blurred"
    assert max(others, key=lambda n: others[n]["hallucination"]) == "invented"


@pytest.mark.parametrize("protocol", ["folder", "wald", "twin"])
def test_wide_scenes_are_scored_in_whole_rows(tmp_path, monkeypatch, protocol):
    """Scores take rows one after the other, so they get no panels, which lie side by side."""
    if protocol == "folder":
        write(tmp_path / "data/wide.tif", picture(0, side=640))
        models = bicubic(2)
    else:
        scene_files.write_folder(tmp_path / "data/wide", size=720)
        models = {"bicubic": weights.load("bicubic")[0:1]}

    def scored() -> list[dict[str, float]]:
        found = evaluate(Data(tmp_path / "data", protocol=protocol, tile_size=300), models)
        return [score.whole for score in found.scores]

    whole = scored()
    monkeypatch.setattr(plan, "_PANEL", 300)
    assert whole and scored() == whole
