"""What super-resolving will take: told without PyTorch, by arithmetic and by earlier runs."""

import json
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scene_files
from rasters import write_on_grid

from geosr.inference import forecast
from geosr.inference.engine import Engine
from geosr.inference.forecast import Meter, Run, Sizes, Work, read_runs
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.models import registry, weights
from geosr.models.cost import Outline, measured
from geosr.models.registry import design
from geosr.sensors import OpenOptions, open_scene

ROOT = Path(__file__).resolve().parents[2]
LISTED = [entry for entry in weights.manifest().values() if "flop_per_pixel" in entry]


def run(**changed):
    known = Run(platform.node(), "cpu", "fp32", ("a",), 1000.0, 5e9, 2.0)
    return replace(known, **changed)


@pytest.fixture
def plan(scene_dir):
    return make_plan(open_scene(scene_dir), forecast.nets(["dsen2"]), Request(), Sizes())


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry["name"])
def test_the_manifest_lists_what_a_pass_really_costs(entry):
    cost = measured(weights.load_file(weights.folder() / entry["file"]))
    assert entry["flop_per_pixel"] == pytest.approx(cost.flop, rel=1e-3)
    assert entry["bytes_per_pixel"] == pytest.approx(cost.bytes, rel=1e-2)


def test_every_net_of_a_shipped_pair_is_listed():
    shipped = {name for pair in ("dsen2", "dsen2-ps") for name in registry.PAIRS[pair]}
    assert shipped <= {entry["name"] for entry in LISTED}


def test_an_outline_plans_as_the_net_does(scene_dir):
    scene = open_scene(scene_dir)
    outlines, nets = forecast.nets(["dsen2"]), weights.load("dsen2-20") + weights.load("dsen2-60")
    assert all(isinstance(each, Outline) for each in outlines)
    assert [each.card for each in outlines] == [net.card for net in nets]
    assert [each.parameters for each in outlines] == [net.parameters for net in nets]
    by_outlines = make_plan(scene, outlines, Request(), Sizes())
    by_nets = make_plan(scene, nets, Request(), Engine())
    assert by_outlines.tiles == by_nets.tiles
    assert forecast.work(by_outlines) == forecast.work(by_nets)


@pytest.mark.parametrize("name", ["bicubic", "ibp-net"])
def test_nets_without_a_listed_cost_get_a_forecast_of_memory_too(scene_dir, name):
    plan = make_plan(open_scene(scene_dir), forecast.nets([name]), Request(), Sizes())
    assert forecast.work(plan).flop == 0
    assert forecast.memory(plan) > 0


def test_work_counts_tiles_with_their_margins(plan):
    by_tiles = make_plan(plan.scene, forecast.nets(["dsen2"]), Request(tile_size=60), Sizes())
    assert len(by_tiles.tiles) == 4
    assert forecast.work(by_tiles).flop > forecast.work(plan).flop > 0
    assert forecast.work(by_tiles).pixels == 4 * (60 + 2 * by_tiles.pad * 6) ** 2


def test_time_is_that_of_the_same_nets_else_by_arithmetic():
    runs = [run(seconds=9.0), run(nets=("b",), seconds=8.0), run(), run(host="elsewhere")]
    assert forecast.seconds(Work(("a",), 500, 1e9), runs) == (1.0, runs[2])
    assert forecast.seconds(Work(("c",), 500, 1e10), runs) == (4.0, runs[2])
    assert forecast.seconds(Work(("c",), 500, 0.0), runs) is None
    assert forecast.seconds(Work(("a",), 500, 1e9), runs[3:]) is None


def test_the_newest_run_of_a_kind_is_kept(plan, tmp_path):
    meter, path = Meter(), tmp_path / "deep/runs.json"
    net = weights.load("dsen2-20")[0]
    real = make_plan(plan.scene, [net], Request(), Engine())
    meter.add(real)
    meter.add(real)
    meter.save(path, Engine(), 3.0)
    meter.save(path, Engine(precision="bf16"), 2.0)
    meter.save(path, Engine(), 4.0)
    meter.save(path, Engine(), 0.1)
    runs = read_runs(path)
    assert [(each.precision, each.seconds) for each in runs] == [("bf16", 2.0), ("fp32", 4.0)]
    assert runs[0].flop == 2 * forecast.work(real).flop and runs[0].nets == ("dsen2-20",)


@pytest.mark.parametrize("text", ["", "[]", '{"runs": [{}]}', '{"runs": 3}', "\0", '{"runs": ['])
def test_damaged_runs_are_as_none(tmp_path, text):
    (tmp_path / "runs.json").write_text(text)
    assert read_runs(tmp_path / "runs.json") == []
    assert read_runs(None) == read_runs(tmp_path / "none.json") == []


def test_superres_keeps_its_speed_and_info_tells_it(geosr, scene_dir, cache, monkeypatch):
    monkeypatch.setattr(forecast, "_SHORTEST", 0.0)
    assert "time unknown until" in geosr("info", scene_dir).stdout
    assert geosr("superres", scene_dir, "out", "--device", "cpu").returncode == 0
    (kept,) = read_runs(cache / "geosr/runs.json")
    assert kept.nets == registry.DEFAULT and kept.flop > 0 and kept.device == "cpu"
    assert "as fast as the same nets ran here on cpu" in geosr("info", scene_dir).stdout
    told = json.loads(geosr("info", scene_dir, "--json").stdout)["superres"]
    assert told["seconds"] == pytest.approx(kept.seconds)
    assert told["measured"]["precision"] == kept.precision
    assert "as fast as dsen2-ps-20" in geosr("info", scene_dir, "-m", "dsen2").stdout


def test_a_cache_that_cannot_be_written_fails_nothing(geosr, scene_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(forecast, "_SHORTEST", 0.0)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    done = geosr("superres", scene_dir, "out", "--model", "bicubic")
    assert done.returncode == 0 and "speed" not in done.stderr


def test_bench_keeps_its_speed(geosr, cache, monkeypatch):
    monkeypatch.setattr(forecast, "_SHORTEST", 0.0)
    assert geosr("bench", "--model", "bicubic", "--size", "60", "--device", "cpu").returncode == 0
    assert read_runs(cache / "geosr/runs.json")[0].nets == registry.PAIRS["bicubic"]


@pytest.mark.parametrize("write", [scene_files.write_folder, scene_files.write_stack])
def test_info_does_without_torch(tmp_path, write):
    write(tmp_path / "S2A_MSIL1C_x.tif", size=60)
    code = (
        "import sys; from geosr.cli.main import cli; "
        "cli(['info', sys.argv[1]], standalone_mode=False); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "S2A_MSIL1C_x.tif"],
                          capture_output=True, text=True, cwd=ROOT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "superres would run dsen2-ps-20 + dsen2-ps-60" in done.stdout


@pytest.mark.parametrize("scale", [2, 4])
def test_nets_whose_work_grows_faster_than_a_tile_get_small_ones(tmp_path, scale):
    path = write_on_grid(tmp_path / "a.tif", np.zeros((1, 300, 290), np.uint8))
    card = replace(design("hsenet").card(scale=scale), options={"features": 4, "blocks": 1})
    scene = open_scene(path, OpenOptions(kind="image"))
    plan = make_plan(scene, [registry.build(card)], Request(), Engine())
    assert plan.tiles.size == card.tile == 64 and max(plan.tile_shape) <= 64 * scale
    told = make_plan(scene, [registry.build(card)], Request(tile_size=100), Engine())
    assert told.tiles.size == 100
