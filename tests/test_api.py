"""The Python API does what the commands do, and costs nothing until it is used."""

import inspect
import math
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
import rasterio
from rasters import picture, write

import geosr
from geosr import api
from geosr.cli.main import cli
from geosr.errors import SceneError, UsageError, WeightsError

ROOT = Path(__file__).resolve().parents[1]
ONLY_THERE = {  # options that speak of the terminal, of settings files, or of clusters
    "superres": {"dst", "weights_20", "weights_60", "dry_run", "engine", "scheduler",
                 "scheduler_file", "as_json", "log_file", "log_json", "quiet", "verbose"},
    "train": {"quiet", "verbose"},
    "eval": {"save_images", "report", "overwrite", "as_csv", "as_json", "quiet", "verbose"},
}  # fmt: skip
NAMES = {
    "model_names": "model",
    "creation": "co",
    "seconds": "time",
    "net_options": "net_option",
    "discriminator_options": "discriminator_option",
}


@pytest.fixture
def arrays(scene_dir):
    """d10, d20, d60 of the generated scene."""
    found = []
    for gsd in (10, 20, 60):
        with rasterio.open(scene_dir / f"{gsd}m.tif") as file:
            found.append(file.read())
    return found


def bands_of(path: Path, names: tuple[str, ...]) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read([file.descriptions.index(name) + 1 for name in names])


def test_importing_is_quick_and_loads_no_library():
    code = (
        "import sys, time; t = time.perf_counter(); import geosr; t = time.perf_counter() - t; "
        "print(t, *({'torch', 'rasterio', 'numpy', 'click'} & set(sys.modules))); dir(geosr)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    whole = time.perf_counter() - started
    seconds, *loaded = done.stdout.split()
    assert not loaded
    assert min(float(seconds), whole) < 0.1


def test_every_name_is_there_and_no_other():
    assert set(geosr.__all__) <= set(dir(geosr))
    for name in geosr.__all__:
        assert getattr(geosr, name)
    with pytest.raises(AttributeError, match="no attribute 'superress'"):
        _ = geosr.superress


@pytest.mark.parametrize("name", ONLY_THERE)
def test_the_words_and_their_defaults_are_those_of_the_command(name):
    function = {"superres": api.superres, "train": api.train, "eval": api.evaluate}[name]
    command = cli.get_command(click.Context(cli), name)
    spoken = inspect.signature(function).parameters
    options = {
        NAMES.get(param.name, param.name): param
        for param in command.params
        if param.name not in ONLY_THERE[name] | {"src"}
    }
    own = {"src", "out", "data", "model", "progress", "stop", "on_outcome"}
    assert set(spoken) | own == set(options) | own
    for word in set(options) - own - {"batch_size", "peak"}:
        default = options[word].to_info_dict()["default"]
        plain = None if default in ("auto", (), "Sentinel.UNSET") else default
        assert spoken[word].default in (plain, default), word


def test_every_argument_after_the_second_is_named():
    for function in (api.superres, api.train, api.evaluate, api.open_scene, api.load_model):
        kinds = [p.kind for p in inspect.signature(function).parameters.values()]
        assert all(kind is inspect.Parameter.KEYWORD_ONLY for kind in kinds[2:])
        assert inspect.Parameter.VAR_KEYWORD not in kinds


def test_superres_writes_what_the_command_writes(scene_dir, tmp_path, geosr):
    seen = []
    (outcome,) = api.superres(
        scene_dir, tmp_path / "python", bands=["B05", "B11"], device="cpu",
        progress=lambda name, done, total: seen.append(done / total),
    )  # fmt: skip
    assert outcome.status == "done" and sum(seen) == pytest.approx(1)
    geosr("superres", scene_dir, "shell", "--bands", "B5,B11", "--device", "cpu")
    written = (tmp_path / "python/field.tif").read_bytes()
    assert written == (tmp_path / "shell/field.tif").read_bytes()
    (again,) = api.superres(scene_dir, tmp_path / "python", bands=["B5", "B11"], device="cpu")
    assert again.status == "skipped"


@pytest.mark.parametrize("model", ["dsen2", "dsen2-ps", "bicubic"])
def test_sharpen_equals_superres(scene_dir, arrays, tmp_path, model):
    api.superres(scene_dir, tmp_path / "out.tif", model=model, precision="fp32", device="cpu")
    names = ("B5", "B6", "B7", "B8A", "B11", "B12", "B1", "B9")
    expected = bands_of(tmp_path / "out.tif", names)
    sharp = api.sharpen(*arrays, model=model, precision="fp32", device="cpu")
    assert sharp.dtype == expected.dtype and sharp.shape == (8, 120, 120)
    assert np.abs(sharp.astype(int) - expected).max() <= 1


def test_sharpen_by_tiles_equals_sharpen_at_once(arrays):
    d10, d20 = arrays[0][:, :60, :60], arrays[1][:, :30, :30]
    seen = []
    nets = api.load_model("dsen2-20")
    at_once = api.sharpen(d10, d20, model=nets, precision="fp32", device="cpu")
    by_tiles = api.sharpen(
        d10, d20, model=nets, precision="fp32", device="cpu", tile_size=20,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert at_once.shape == (6, 60, 60)
    assert np.abs(by_tiles.astype(int) - at_once).max() <= 1
    assert sum(done for done, _ in seen) == seen[0][1] == 9


def test_sharpen_leaves_nodata_where_nothing_was_sensed(arrays):
    d10, d20, _ = arrays
    d20 = d20.copy()
    d20[1, 10:20, 10:20] = 0
    sharp = api.sharpen(d10, d20, model="bicubic", device="cpu")
    empty = sharp == 0
    assert empty[1, 20:40, 20:40].all() and empty.sum() == 400
    kept = api.sharpen(d10, d20, model="bicubic", device="cpu", nodata=None)
    assert (kept[1, 24:36, 24:36] == 0).all() and (kept == 0).sum() != 400


def test_sharpen_takes_offsets_and_floats(arrays):
    d10, d20 = arrays[0][:, :60, :60], arrays[1][:, :30, :30]
    plain = api.sharpen(d10, d20, model="dsen2-20", device="cpu", precision="fp32")
    shifted = api.sharpen(d10 + np.uint16(1000), d20 + np.uint16(1000), model="dsen2-20",
                          device="cpu", precision="fp32", offset=-1000.0)  # fmt: skip
    assert np.abs(np.maximum(shifted, 1001).astype(int) - 1000 - plain).max() <= 1
    floats = [(array / 10000).astype(np.float32) for array in (d10, d20)]
    reflectance = api.sharpen(*floats, model="dsen2-20", device="cpu", precision="fp32",
                              quantification=1.0)  # fmt: skip
    assert reflectance.dtype == np.float32
    np.testing.assert_allclose(np.maximum(reflectance * 10000, 1), plain, atol=1)


def test_sharpen_refuses_other_shapes_and_says_what_to_do(arrays):
    d10, d20, d60 = arrays
    with pytest.raises(SceneError, match=r"np\.moveaxis\(d10, -1, 0\)"):
        api.sharpen(np.moveaxis(d10, 0, -1), np.moveaxis(d20, 0, -1))
    with pytest.raises(SceneError, match="crop all arrays"):
        api.sharpen(d10[:, :118], d20[:, :59], d60)
    with pytest.raises(SceneError, match="d20 has shape"):
        api.sharpen(d10, d20[:5])
    with pytest.raises(SceneError, match="hold no counts"):
        api.sharpen(d10 > 0, d20 > 0)
    with pytest.raises(SceneError, match="8-bit"):
        api.sharpen(d10.astype(np.uint8), d20.astype(np.uint8))


def test_errors_are_raised_as_what_they_are(tmp_path, scene_dir):
    with pytest.raises(UsageError, match="no such file"):
        api.superres(tmp_path / "none", tmp_path / "out")
    with pytest.raises(UsageError, match="Did you mean dsen2"):
        api.superres(scene_dir, tmp_path / "out", model="dsen")
    with pytest.raises(WeightsError, match="no weights are bundled"):
        api.load_model("edsr")
    with pytest.raises(UsageError, match="precision 'fp64' is none of"):
        api.sharpen(np.ones((4, 6, 6)), np.ones((6, 3, 3)), precision="fp64")
    with pytest.raises(UsageError, match="local files only"):
        api.open_scene("https://example.com/a.tif")
    with pytest.raises(TypeError, match="tilesize"):
        api.superres(scene_dir, tmp_path / "out", tilesize=64)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/10m.tif").write_bytes(b"II*\0")
    with pytest.raises(SceneError, match=r"10m\.tif"):
        api.superres(tmp_path / "broken", tmp_path / "out")


@pytest.mark.parametrize(
    "given, message",
    [
        ({"tile_size": -5}, "tile_size -5 is not 1 or more"),
        ({"tile_size": 0}, "tile_size 0 is not 1 or more"),
        ({"overlap": -1}, "overlap -1 is not 0 or more"),
        ({"clearance": 5}, "clearance 5 is not 0 to 1"),
        ({"quantification": 0}, "quantification 0 is not"),
        ({"dn_offset": math.nan}, "dn_offset nan is not a finite number"),
        ({"gsd": -3}, "gsd -3 is not"),
        ({"shard": (3, 2)}, r"shard \(3, 2\) is not \(I, N\)"),
        ({"bounds": (1, 2, 3)}, "holds 3 numbers, not 4"),
        ({"bands": "B5,B11"}, "bands 'B5,B11' is one text"),
    ],
)
def test_what_the_command_line_refuses_is_refused_before_any_work(scene_dir, tmp_path, given,
                                                                  message):  # fmt: skip
    with pytest.raises(UsageError, match=message):
        api.superres(scene_dir, tmp_path / "out", model="bicubic", device="cpu", **given)
    assert not (tmp_path / "out").exists()


def test_numbers_and_kinds_that_mean_nothing_are_refused_everywhere(arrays, scene_dir):
    with pytest.raises(UsageError, match="offset inf is not a finite number"):
        api.sharpen(*arrays[:2], offset=math.inf)
    with pytest.raises(UsageError, match="kind 'stack' is none of"):
        api.open_scene(scene_dir, kind="stack")
    with pytest.raises(UsageError, match="frames 0 is not 1 or more"):
        api.evaluate("bicubic", scene_dir, frames=0)


def test_train_evaluate_and_use_a_net(tmp_path):
    for i in range(3):
        write(tmp_path / f"images/scene{i}.tif", picture(i, side=64))
    result = api.train(tmp_path / "images", tmp_path / "run", model="espcn", scale=2, steps=2,
                       val_every=2, batch_size=2, device="cpu")  # fmt: skip
    assert result.step == 2
    found = api.evaluate(result.best, tmp_path / "images", device="cpu")
    assert found.models == [str(result.best), "bicubic"]
    outcomes = api.superres(tmp_path / "images", tmp_path / "out", model=result.best, device="cpu")
    assert [outcome.status for outcome in outcomes] == ["done"] * 3
    with rasterio.open(tmp_path / "out/scene0.tif") as file:
        assert file.shape == (128, 128)


def test_a_scene_is_opened_and_read(scene_dir):
    scene = api.open_scene(scene_dir, bands_in=None)
    with scene.open() as reader:
        assert reader.read(["B5"], 20, scene.grids[20].window).values.shape == (1, 60, 60)
