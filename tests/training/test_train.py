"""Training: it learns, it resumes to the same weights, its files load by path."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
import torch
from conftest import ROOT, settings
from faulty import limit
from safetensors.torch import load_file

from geosr.errors import StoppedError, UsageError, WeightsError
from geosr.models import registry, weights
from geosr.models.design import Recipe
from geosr.training.config import TrainConfig
from geosr.training.datasets import open_sets
from geosr.training.losses import Criterion
from geosr.training.train import train

RECIPE = Recipe(batch_size=2, patch=6, warmup=2, lr=1e-3, jitter=0.1)
CONFIG = TrainConfig(
    "dsen2-20", net_options={"features": 8, "blocks": 2}, recipe=RECIPE, steps=6, val_every=2,
    val_windows=4,
)  # fmt: skip
SMALL = TrainConfig(
    "edsr-baseline", scale=2, net_options={"features": 8, "blocks": 2}, recipe=RECIPE, steps=6,
    val_every=3, val_windows=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for i, name in enumerate(("east", "west", "north")):
        scene_files.write_folder(folder / name, size=60, seed=i)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for i in range(4):
        write_image(folder / f"place{i}.tif", texture(rng, 48))
    return folder


def texture(rng, side: int) -> np.ndarray:
    """Smooth blobs with sharp borders: something to learn from."""
    rows, cols = np.mgrid[:side, :side]
    image = np.full((side, side), 90.0)
    for _ in range(30):
        row, col, radius = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(3, 9)
        image[(rows - row) ** 2 + (cols - col) ** 2 < radius**2] = rng.uniform(20, 230)
    return image[None].astype(np.uint8)


def write_image(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    with rasterio.open(path, "w", driver="GTiff", width=width, height=height, count=count,
                       dtype=values.dtype) as file:  # fmt: skip
        file.write(values)


def same_weights(a: Path, b: Path) -> bool:
    first, second = load_file(a), load_file(b)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_loss_falls_and_the_files_are_there(data, tmp_path):
    losses = []
    config = replace(CONFIG, steps=60, recipe=replace(RECIPE, lr=3e-3), val_every=30)
    result = train(data, tmp_path / "run", config=config, progress=lambda p: losses.append(p.loss))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    names = {path.name for path in (tmp_path / "run").iterdir()} - {"tensorboard"}
    assert names == {
        "best.safetensors", "last.safetensors", "state.safetensors", "state.json",
        "state.previous.safetensors", "log.csv", "config.json", "step0000030.png",
        "step0000060.png",
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "run/log.csv").open()))
    assert [row["step"] for row in rows] == ["30", "60"]
    assert all(float(row["rmse_bicubic"]) > 0 for row in rows)
    (model,) = weights.load(str(result.best))
    assert model.card.name == "dsen2-20" and model.card.options["features"] == 8


def test_a_picture_of_held_out_windows_is_an_rgb_png(images, tmp_path):
    train(images, tmp_path / "run", config=SMALL)
    with rasterio.open(tmp_path / "run/step0000003.png") as file:
        assert file.driver == "PNG" and file.count == 3
        assert file.width == 3 * 48 + 2 * 4


class Stop(Exception):
    pass


def broken_off(data, out, config, at):
    """A training whose process dies between two steps, nothing saved."""

    def stop(progress):
        if progress.step == at:
            raise Stop

    with pytest.raises(Stop):
        train(data, out, config=config, progress=stop)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "nadam", "muon"])
@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_stopped_and_resumed_equals_undisturbed(images, tmp_path, optimizer, schedule):
    recipe = replace(RECIPE, optimizer=optimizer, schedule=schedule, period=1)
    config = replace(SMALL, recipe=recipe, val_every=2)
    train(images, tmp_path / "a", config=config)
    broken_off(images, tmp_path / "b", config, 3)
    train(images, tmp_path / "b", config=config, resume=True)
    for name in ("last.safetensors", "best.safetensors"):
        assert same_weights(tmp_path / "a" / name, tmp_path / "b" / name)
    logs = [list(csv.DictReader((tmp_path / run / "log.csv").open())) for run in "ab"]
    assert [row["psnr"] for row in logs[0]] == [row["psnr"] for row in logs[1]]


def test_a_net_with_dropout_and_one_with_batch_normalisation_resume_exactly(images, tmp_path):
    thin = {"tr-misr": {"layers": 1}, "piunet": {"features": 8, "blocks": 1}}
    for name, wanted in thin.items():
        options = {k: v for k, v in wanted.items() if k in registry.design(name).options}
        loss = "laplace-nll" if name == "piunet" else "l1"
        config = replace(SMALL, model=name, scale=3, net_options=options, steps=4, val_every=2,
                         recipe=replace(RECIPE, batch_size=1, patch=4, loss=loss))  # fmt: skip
        train(images, tmp_path / f"{name}-a", config=config)
        broken_off(images, tmp_path / f"{name}-b", config, 3)
        train(images, tmp_path / f"{name}-b", config=config, resume=True)
        a, b = (tmp_path / f"{name}-{run}/last.safetensors" for run in "ab")
        assert same_weights(a, b)


def test_asked_to_stop_it_saves_and_goes_on_exactly_there(images, tmp_path):
    train(images, tmp_path / "a", config=SMALL)
    asked = iter([False, False, False, True])
    result = train(images, tmp_path / "b", config=SMALL, stop=lambda: next(asked))
    assert result.stopped and result.step == 4
    result = train(images, tmp_path / "b", config=SMALL, resume=True)
    assert not result.stopped
    assert same_weights(tmp_path / "a/last.safetensors", tmp_path / "b/last.safetensors")


def test_a_net_begins_with_the_weights_of_one_with_fewer_blocks(data, tmp_path):
    """New residual blocks that change nothing at first: the deeper net scores alike."""
    options = {"features": 8, "blocks": 1}
    small = replace(CONFIG, model="dsen2-ps-10", net_options=options, steps=2)
    first = train(data, tmp_path / "a", config=small)
    deeper = replace(small, net_options={**options, "blocks": 3}, init=str(first.best), steps=1)
    still = replace(deeper, recipe=replace(RECIPE, lr=0.0, warmup=0))
    train(data, tmp_path / "b", config=still)
    ours, theirs = (load_file(tmp_path / run / "best.safetensors") for run in "ab")
    assert set(ours) < set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    logs = [list(csv.DictReader((tmp_path / run / "log.csv").open())) for run in "ab"]
    assert logs[1][-1]["psnr"] == logs[0][-1]["psnr"]
    for wrong in ({"features": 4, "blocks": 3}, {"features": 8, "blocks": 0}):
        config = replace(deeper, net_options=wrong)
        with pytest.raises(UsageError, match="--init"):
            train(data, tmp_path / "c", config=config)


def cut_short(data):
    return data[:-100]


def one_bit_flipped(data):
    return data[:-200] + bytes([data[-200] ^ 0x40]) + data[-199:]


def another_step(data):
    assert data.count(b'\\"step\\": 6') == 1
    return data.replace(b'\\"step\\": 6', b'\\"step\\": 5')


@pytest.mark.parametrize("damage", [cut_short, one_bit_flipped, another_step])
def test_a_damaged_state_falls_back_to_the_one_before(images, tmp_path, damage):
    train(images, tmp_path / "a", config=SMALL)
    train(images, tmp_path / "b", config=SMALL)
    state = tmp_path / "b/state.safetensors"
    state.write_bytes(damage(state.read_bytes()))
    train(images, tmp_path / "b", config=SMALL, resume=True)
    assert same_weights(tmp_path / "a/last.safetensors", tmp_path / "b/last.safetensors")
    for path in (state, tmp_path / "b/state.previous.safetensors"):
        path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot resume"):
        train(images, tmp_path / "b", config=SMALL, resume=True)


class NoNumber(Criterion):
    """A loss that is NaN at the steps named."""

    steps: tuple[int, ...] = ()
    count = 0

    def weighted(self, terms, totals=None):
        NoNumber.count += 1
        loss = super().weighted(terms, totals)
        return loss * math.nan if NoNumber.count in NoNumber.steps else loss


@pytest.fixture
def no_number(monkeypatch):
    def at(*steps):
        NoNumber.steps, NoNumber.count = steps, 0
        monkeypatch.setattr("geosr.training.run.Criterion", NoNumber)

    return at


def test_a_loss_that_is_no_number_is_skipped_and_counted(images, tmp_path, no_number):
    no_number(2, 4)
    result = train(images, tmp_path / "run", config=SMALL)
    assert result.skipped == 2 and result.step == 6
    assert all(torch.isfinite(t).all() for t in load_file(result.best).values())
    row = list(csv.DictReader((tmp_path / "run/log.csv").open()))[-1]
    assert row["skipped"] == "2"


def test_ten_in_a_row_stop_the_run_with_the_last_good_weights(images, tmp_path, no_number):
    no_number(*range(5, 99))
    config = replace(SMALL, steps=40, val_every=4)
    with pytest.raises(StoppedError, match="10 losses in a row"):
        train(images, tmp_path / "run", config=config)
    kept = load_file(tmp_path / "run/last.safetensors")
    assert all(torch.isfinite(t).all() for t in kept.values())
    assert json.loads((tmp_path / "run/state.json").read_text())["step"] in (4, 8, 12)
    no_number()
    train(images, tmp_path / "run", config=config, resume=True)


def test_nine_in_a_row_do_not(images, tmp_path, no_number):
    no_number(*range(2, 11), *range(12, 20))
    result = train(images, tmp_path / "run", config=replace(SMALL, steps=20, val_every=20))
    assert result.skipped == 17


def test_a_finished_folder_is_not_trained_over(images, tmp_path):
    train(images, tmp_path / "run", config=SMALL)
    with pytest.raises(UsageError, match="--resume"):
        train(images, tmp_path / "run", config=SMALL)
    with pytest.raises(UsageError, match="trains 'edsr-baseline', not 'srcnn'"):
        other = replace(SMALL, model="srcnn", net_options={})
        train(images, tmp_path / "run", config=other, resume=True)
    with pytest.raises(UsageError, match="other settings"):
        train(images, tmp_path / "run", config=replace(SMALL, seed=9), resume=True)
    result = train(images, tmp_path / "run", config=replace(SMALL, steps=8), resume=True)
    assert result.step == 8


@pytest.mark.parametrize(
    "name, said", [("dsen2", "pair of nets"), ("bicubic-20", "nothing to train")]
)
def test_what_cannot_be_trained_says_why(data, tmp_path, name, said):
    with pytest.raises(UsageError, match=said):
        train(data, tmp_path / "run", config=replace(CONFIG, model=name, net_options={}))


def test_bad_requests_say_what_to_do(images, tmp_path):
    cases = {
        "no option blokcs": replace(SMALL, net_options={"blokcs": 2}),
        "comes in scales": replace(SMALL, scale=5),
        "Did you mean dssim": replace(SMALL, recipe=replace(RECIPE, loss="l1+dsim")),
        r"pixels of truth beside what is held out \(the largest of \d: \d+ × \d+\)": replace(
            SMALL, patch=96
        ),
        "has 1 bands, 'edsr-baseline' is to take 3": replace(SMALL, bands=3),
        "learns from": replace(SMALL, data_kind="wald"),
        "named \\*.jp2": replace(SMALL, pattern="*.jp2"),
    }
    for said, config in cases.items():
        with pytest.raises(UsageError, match=said):
            train(images, tmp_path / "run", config=config)
        assert not (tmp_path / "run/best.safetensors").exists()


def test_an_empty_folder_is_a_usage_error(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="no scene to train"):
        train(tmp_path / "none", tmp_path / "run", config=CONFIG)
    with pytest.raises(UsageError, match="holds no image"):
        train(tmp_path / "none", tmp_path / "run", config=SMALL)


def test_a_file_that_breaks_on_the_way_is_skipped_counted_and_named(images, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = replace(SMALL, steps=60, recipe=replace(RECIPE, batch_size=4), val_every=60)
    card = config.card
    learnt = Path(open_sets(folder, card, config.choice(card)).training.areas[0].item.path)
    learnt.write_bytes(learnt.read_bytes()[: learnt.stat().st_size // 2])
    result = train(folder, tmp_path / "run", config=config)
    assert set(result.broken) == {learnt.stem}
    assert "cannot decode" in next(iter(result.broken.values()))
    assert result.best.exists()


def test_early_stopping_waits_its_patience(images, tmp_path):
    recipe = replace(RECIPE, lr=1e-12, ema=0.0)
    config = replace(SMALL, recipe=recipe, steps=50, val_every=2, patience=3)
    assert train(images, tmp_path / "run", config=config).step <= 12


def test_epochs_and_time_end_a_training(images, tmp_path):
    by_epochs = replace(SMALL, steps=0, epochs=0.5)
    result = train(images, tmp_path / "a", config=by_epochs)
    windows = 3 * (48 // 12) ** 2  # one image of four is held out
    assert result.step == math.ceil(0.5 * windows / 2)
    result = train(images, tmp_path / "b", config=replace(SMALL, steps=0, seconds=1.0))
    assert result.best.exists() and result.step > 1


def test_workers_make_the_same_batches_as_the_thread(images, tmp_path):
    config = replace(SMALL, steps=2, val_every=2)
    train(images, tmp_path / "a", config=config)
    train(images, tmp_path / "b", config=replace(config, workers=1))
    assert same_weights(tmp_path / "a/last.safetensors", tmp_path / "b/last.safetensors")


def test_the_program_trains_and_its_weights_super_resolve(geosr, tmp_path):
    scene_files.write_folder(tmp_path / "data/place", size=60)
    done = geosr("train", "--model", "dsen2-20", "--data", "data", "--out", "run", "--steps", 2,
                 "--batch-size", 1, "--patch", 12, "--val-every", 2)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "held-out RMSE" in done.stderr
    done = geosr("superres", "data/place", "out", "--model", "run/best.safetensors")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/place.tif").exists()


ARGS = ["train", "--model", "edsr-baseline", "--net-option", "features=8", "--net-option",
        "blocks=1", "--steps", 30, "--batch-size", 2, "--patch", 12, "--val-every", 3,
        "--val-windows", 2, "--threads", 1]  # fmt: skip


def started(folder: Path, *args: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "geosr", *map(str, args)], cwd=folder, env=settings(None),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(path: Path, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_killed_with_minus_nine_it_resumes(program, images, tmp_path):
    args = [*ARGS, "--data", images]
    process = started(tmp_path, *args, "--out", "cut")
    wait_for(tmp_path / "cut/state.safetensors")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert program(*args, "--out", "cut", "--resume").returncode == 0
    assert program(*args, "--out", "whole").returncode == 0
    assert same_weights(tmp_path / "cut/last.safetensors", tmp_path / "whole/last.safetensors")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(images, tmp_path, number):
    args = [*ARGS, "--steps", 100_000, "--data", images]
    process = started(tmp_path, *args, "--out", "run")
    wait_for(tmp_path / "run/best.safetensors")
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert "go on with --resume" in said
    state = json.loads((tmp_path / "run/state.json").read_text())
    assert f"stopped at step {state['step']}" in said


def test_a_disk_that_fills_leaves_a_state_to_go_on_from(program, images, tmp_path):
    args = [*ARGS, "--data", images]
    begun = started(tmp_path, *args, "--out", "cut", "--steps", "100000")
    wait_for(tmp_path / "cut/state.previous.safetensors")
    begun.send_signal(signal.SIGTERM)
    begun.communicate(timeout=60)
    size = (tmp_path / "cut/state.safetensors").stat().st_size
    before = json.loads((tmp_path / "cut/state.json").read_text())["step"]
    more = [*args, "--out", "cut", "--resume", "--steps", str(before + 40), "--val-every", "10"]
    done = program(*more, preexec_fn=limit(size // 2))
    assert done.returncode == 5 and "No space left" in done.stderr, done.stderr
    assert not list((tmp_path / "cut").glob(".*.part*"))
    done = program(*more)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "cut/state.json").read_text())["step"] == before + 40


def test_a_signal_to_one_process_stops_them_all_at_one_step(images, tmp_path):
    args = [*ARGS, "--steps", "100000", "--batch-size", "4", "--data", images, "--out", "run"]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29633"}
    both = [
        subprocess.Popen(
            [sys.executable, "-m", "geosr", *map(str, args)], cwd=tmp_path,
            env=settings(None) | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    wait_for(tmp_path / "run/best.safetensors")
    both[1].send_signal(signal.SIGTERM)
    said = [process.communicate(timeout=100)[1] for process in both]
    assert [process.returncode for process in both] == [143, 143], said
    step = json.loads((tmp_path / "run/state.json").read_text())["step"]
    assert f"stopped at step {step}" in said[0]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_random_twenty_times_it_ends_with_the_same_weights(program, images, tmp_path):
    args = [*ARGS, "--steps", 1200, "--data", images]
    rng = np.random.default_rng(0)
    kills = 0
    while kills < 20:
        process = started(tmp_path, *args, "--out", "cut", "--resume")
        time.sleep(2.5 + rng.uniform(0, 2.0))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    assert program(*args, "--out", "cut", "--resume").returncode == 0
    assert program(*args, "--out", "whole").returncode == 0
    assert kills == 20
    for name in ("last.safetensors", "best.safetensors"):
        assert same_weights(tmp_path / "cut" / name, tmp_path / "whole" / name)


def test_two_processes_learn_as_one(images, tmp_path):
    """Same curve at equal global batch, and no window is validated twice."""
    script = tmp_path / "curve.py"
    script.write_text(
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from test_train import SMALL, RECIPE\n"
        "from dataclasses import replace\n"
        "from geosr.training.distributed import Ranks\n"
        "from geosr.training.train import train\n"
        "torch.set_num_threads(1)\n"
        "rank, world = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))\n"
        "config = replace(SMALL, recipe=replace(RECIPE, batch_size=4), steps=12, val_every=6)\n"
        "curve, psnr = [], []\n"
        "def note(p):\n"
        "    curve.append(p.loss)\n"
        "    if p.check: psnr.append([p.check.psnr['model'], p.check.psnr['bicubic']])\n"
        "train(Path(sys.argv[1]), Path(sys.argv[2]), config=config,\n"
        "      ranks=Ranks(rank, world, rank), progress=note)\n"
        "names = [path.read_text() for path in Path('/proc/self/task').glob('*/comm')]\n"
        "assert not [name for name in names if 'gloo' in name], names  # Python may end now\n"
        "if rank == 0:\n"
        "    Path(sys.argv[2], 'curve.json').write_text(json.dumps([curve, psnr]))\n"
    )
    tests = Path(__file__).parent
    curves = []
    for world in (1, 2):
        out = tmp_path / f"world{world}"
        environment = settings(None) | {
            "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29631",
            "PYTHONPATH": f"{ROOT}:{ROOT}/tests:{tests}:{ROOT}/examples",
        }  # fmt: skip
        ranks = [
            subprocess.Popen(
                [sys.executable, script, images, out, tests],
                env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(world)
        ]
        assert [process.wait(timeout=200) for process in ranks] == [0] * world
        curves.append(json.loads((out / "curve.json").read_text()))
    (one, one_psnr), (two, two_psnr) = curves
    np.testing.assert_allclose(two, one, rtol=1e-4)
    np.testing.assert_allclose(two_psnr, one_psnr, rtol=1e-5)


def test_a_batch_that_does_not_divide_among_the_processes_is_refused(images, tmp_path):
    from geosr.training.distributed import Ranks

    with pytest.raises(UsageError, match="does not divide"):
        train(images, tmp_path / "run", config=SMALL, ranks=Ranks(0, 3))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_number_of_scenes(tmp_path):
    """16 scenes against 64: peak memory within 10 %; held whole, 64 would take 860 MB more."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 10000, (1, 3000, 3000)).astype(np.uint16)
    write_image(tmp_path / "all/scene00.tif", values)
    (tmp_path / "few").mkdir()
    for i in range(64):
        path = tmp_path / f"all/scene{i:02d}.tif"
        if i:
            shutil.copyfile(tmp_path / "all/scene00.tif", path)
        if i < 16:
            (tmp_path / f"few/scene{i:02d}.tif").hardlink_to(path)
    peaks = []
    for name in ("few", "all"):
        code = (
            "import resource, sys\n"
            "from geosr.cli.main import cli\n"
            "try:\n"
            "    cli.main(sys.argv[1:], prog_name='geosr')\n"
            "finally:\n"
            "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        args = [*ARGS, "--steps", 200, "--batch-size", 8, "--data", name, "--out", f"run-{name}"]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, args)], cwd=tmp_path, env=settings(None),
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert peaks[1] < 1.1 * peaks[0], peaks
    print(f"peak memory: {peaks[0]:.0f} MB with 16 scenes, {peaks[1]:.0f} MB with 64")
