"""Training: it learns, it resumes to the same weights, its files load by path."""

import csv
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import make_scene
import pytest
import torch
from safetensors.torch import load_file

from geosr import models, weights
from geosr.errors import UsageError
from geosr.train import TrainConfig, train

CONFIG = TrainConfig("dsen2-20", steps=6, batch_size=2, patch=12, val_every=2, warmup=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for i, name in enumerate(("east", "west", "north")):
        make_scene.write_folder(folder / name, size=60, seed=i)
    return folder


@pytest.fixture(autouse=True, scope="module")
def thin():
    """The real architecture on few channels, so that steps take milliseconds."""
    before = models.MODELS["dsen2-20"]
    models.MODELS["dsen2-20"] = replace(before, options={"features": 8, "blocks": 2})
    yield
    models.MODELS["dsen2-20"] = before


def test_the_loss_falls_and_the_files_are_there(data, tmp_path):
    losses = []
    config = replace(CONFIG, steps=60, lr=3e-3, val_every=30)
    best = train(data, tmp_path / "run", config=config, progress=lambda p: losses.append(p.loss))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "best.safetensors", "last.safetensors", "state.safetensors", "log.csv", "config.json",
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run/log.csv").open()))
    assert [row["step"] for row in rows] == ["30", "60"]
    assert all(float(row["bicubic"]) > 0 for row in rows)
    (model,) = weights.load(str(best))
    assert model.card.name == "dsen2-20" and model.card.options["features"] == 8


def test_stopped_and_resumed_equals_undisturbed(data, tmp_path):
    train(data, tmp_path / "a", config=CONFIG)

    class Stop(Exception):
        pass

    def stop_at_three(progress):
        if progress.step == 3:
            raise Stop

    with pytest.raises(Stop):
        train(data, tmp_path / "b", config=CONFIG, progress=stop_at_three)
    train(data, tmp_path / "b", config=CONFIG, resume=True)
    for name in ("last.safetensors", "best.safetensors"):
        a, b = load_file(tmp_path / "a" / name), load_file(tmp_path / "b" / name)
        assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_finished_folder_is_not_trained_over(data, tmp_path):
    train(data, tmp_path / "run", config=CONFIG)
    with pytest.raises(UsageError, match="--resume"):
        train(data, tmp_path / "run", config=CONFIG)
    with pytest.raises(UsageError, match="trains 'dsen2-20', not 'dsen2-60'"):
        train(
            data, tmp_path / "run", config=replace(CONFIG, model="dsen2-60", patch=6), resume=True
        )


@pytest.mark.parametrize(
    "name, said", [("dsen2", "pair of nets"), ("bicubic-20", "nothing to train")]
)
def test_what_cannot_be_trained_says_why(data, tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        train(data, tmp_path / "run", config=replace(CONFIG, model=name))


def test_an_empty_folder_is_a_usage_error(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="no scene to train on"):
        train(tmp_path / "none", tmp_path / "run", config=CONFIG)


def test_the_program_trains_and_its_weights_super_resolve(geosr, tmp_path):
    make_scene.write_folder(tmp_path / "data/place", size=60)
    done = geosr("train", "--model", "dsen2-20", "--data", "data", "--out", "run", "--steps", 2,
                 "--batch-size", 1, "--patch", 12, "--val-every", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "held-out RMSE" in done.stderr
    done = geosr("superres", "data/place", "out", "--model", "run/best.safetensors")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/place.tif").exists()


def test_killed_with_minus_nine_it_resumes(program, tmp_path):
    make_scene.write_folder(tmp_path / "data/place", size=60)
    args = ["train", "--model", "dsen2-20", "--data", "data", "--steps", 6, "--batch-size", 1,
            "--patch", 12, "--val-every", 1, "--threads", 1]  # fmt: skip
    root = Path(__file__).resolve().parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "geosr", *map(str, args), "--out", "cut"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "cut/state.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert program(*args, "--out", "cut", "--resume").returncode == 0
    assert program(*args, "--out", "whole").returncode == 0
    a, b = (load_file(tmp_path / run / "last.safetensors") for run in ("cut", "whole"))
    assert all(torch.equal(a[key], b[key]) for key in a)
