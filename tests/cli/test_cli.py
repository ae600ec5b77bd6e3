"""The program from outside: options, settings, help, results on stdout."""

import json
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import rasterio
import scene_files

from geosr.batch import records
from geosr.cli.main import cli
from geosr.cli.settings import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
TWELVE = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


@pytest.fixture
def scenes(tmp_path) -> Path:
    """A folder with a scene in three files and a stack."""
    scene_files.write_folder(tmp_path / "in/one", size=120)
    scene_files.write_stack(tmp_path / "in/two.tif", size=60, seed=1)
    return tmp_path / "in"


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


def lines(done) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def ok(done):
    assert done.returncode == 0, done.stderr
    return done


BICUBIC = ("--model", "bicubic")


def test_a_folder_of_scenes_gives_one_raster_each_and_a_second_run_nothing(geosr, scenes, tmp_path):
    done = ok(geosr("superres", "in", "out", *BICUBIC, "--json"))
    assert [line["scene"] for line in lines(done)] == ["one", "two"]
    assert {line["status"] for line in lines(done)} == {"done"}
    assert {"scene", "status", "code", "message", "output", "seconds", "tile", "device"} <= set(
        lines(done)[0]
    )
    assert done.stderr.splitlines()[-1] == "2 done, 0 skipped, 0 failed"
    with (
        rasterio.open(tmp_path / "out/one.tif") as made,
        rasterio.open(scenes / "one/10m.tif") as ten,
    ):
        assert (made.crs, made.transform, made.shape) == (ten.crs, ten.transform, ten.shape)
        assert made.descriptions == TWELVE and made.nodata == 0
        np.testing.assert_array_equal(made.read([2, 3, 4, 8]), ten.read())
        tags = made.tags()
    assert tags["GEOSR_MODEL"] == "bicubic-20 bicubic-60"
    assert tags["GEOSR_WEIGHTS_SHA256"] == "none none"
    assert (tags["GEOSR_SOURCE"], tags["GEOSR_DN_OFFSET"]) == ("one", "0")
    assert {"GEOSR_VERSION", "PROCESSING_LEVEL"} <= set(tags)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("[!g]*")}
    assert len(before) == 4
    done = ok(geosr("superres", "in", "out", *BICUBIC, "--json"))
    assert {line["status"] for line in lines(done)} == {"skipped"}
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("[!g]*")}
    run = json.loads((tmp_path / "out/geosr-run.json").read_text())
    assert (run["skipped"], run["code"]) == (2, 0) and run["scenes"] == lines(done)


@pytest.mark.parametrize("suffix", [".tif", ".TIFF"])
def test_a_destination_that_ends_in_tif_is_a_file(geosr, scenes, tmp_path, suffix):
    ok(geosr("superres", "in/two.tif", f"made{suffix}", *BICUBIC))
    assert (tmp_path / f"made{suffix}").is_file()
    assert records.record_path(tmp_path / f"made{suffix}").is_file()


@pytest.mark.parametrize("text", ["B5,B11", "b11 b05"])
def test_bands_are_chosen_by_name(geosr, scenes, tmp_path, text):
    ok(geosr("superres", "in/one", "o.tif", *BICUBIC, "--bands", text))
    with rasterio.open(tmp_path / "o.tif") as dataset:
        assert dataset.descriptions == ("B5", "B11")


def test_only_sr_leaves_native_bands_out(geosr, scenes, tmp_path):
    ok(geosr("superres", "in/one", "o.tif", *BICUBIC, "--only-sr"))
    with rasterio.open(tmp_path / "o.tif") as dataset:
        assert dataset.descriptions == ("B1", "B5", "B6", "B7", "B8A", "B9", "B11", "B12")


def test_format_and_creation_options_reach_gdal(geosr, scenes, tmp_path):
    ok(geosr("superres", "in/one", "cog.tif", *BICUBIC, "--format", "cog"))
    ok(geosr("superres", "in/one", "lzw.tif", *BICUBIC, "--co", "COMPRESS=LZW"))
    with rasterio.open(tmp_path / "cog.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open(tmp_path / "lzw.tif") as dataset:
        assert dataset.profile["compress"] == "lzw"
    np.testing.assert_array_equal(read(tmp_path / "cog.tif"), read(tmp_path / "lzw.tif"))
    assert geosr("superres", "in/one", "x.tif", *BICUBIC, "--co", "LZW").returncode == 2


def test_creation_options_that_gdal_would_ignore_are_a_usage_error(geosr, scenes, tmp_path):
    for option in ("COMPRESS=NONSENSE", "FOO=BAR", "NODATA=7", "TFW=YES"):
        done = geosr("superres", "in/one", "new/x.tif", *BICUBIC, "--co", option)
        assert done.returncode == 2 and option in done.stderr
    assert not (tmp_path / "new").exists()


def test_the_name_of_a_file_and_its_format_agree(geosr, scenes, tmp_path):
    for name, format in (("x.png", "GTiff"), ("x.PNG", "COG"), ("x.tif", "PNG")):
        done = geosr("superres", "in/one", f"new/{name}", *BICUBIC, "--format", format)
        assert done.returncode == 2 and f"new/{name} would hold" in done.stderr
        assert "--format" in done.stderr
    assert not (tmp_path / "new").exists()
    few = ("--bands", "B4,B3,B2", "--format", "PNG")
    ok(geosr("superres", "in/one", "x.PNG", *BICUBIC, *few))
    assert (tmp_path / "x.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(geosr, scenes, tmp_path):
    done = ok(geosr("superres", "in", "out", *BICUBIC, "--dry-run", "--json"))
    assert {line["status"] for line in lines(done)} == {"planned"}
    assert "120 × 120 px" in lines(done)[0]["message"]
    assert not (tmp_path / "out").exists()


def test_bounds_give_the_crop_of_the_whole_in_any_crs(geosr, scenes, tmp_path):
    ok(geosr("superres", "in/one", "whole.tif", *BICUBIC))
    with rasterio.open(tmp_path / "whole.tif") as dataset:
        left, top = dataset.bounds.left, dataset.bounds.top
        crs = dataset.crs
    box = (left + 301, top - 599, left + 599, top - 301)
    ok(geosr("superres", "in/one", "part.tif", *BICUBIC, "--bounds", *box))
    with rasterio.open(tmp_path / "part.tif") as dataset:
        assert dataset.bounds == (left + 300, top - 600, left + 600, top - 300)
    whole = read(tmp_path / "whole.tif")[:, 30:60, 30:60]
    assert np.abs(read(tmp_path / "part.tif").astype(int) - whole).max() <= 1
    inner = rasterio.warp.transform_bounds(
        crs, "EPSG:4326", *(left + 350, top - 550, left + 550, top - 350)
    )
    ok(
        geosr(
            "superres",
            "in/one",
            "geo.tif",
            *BICUBIC,
            "--bounds",
            *inner,
            "--bounds-crs",
            "EPSG:4326",
        )
    )
    assert np.abs(read(tmp_path / "geo.tif").astype(int) - whole).max() <= 1


def test_the_same_command_gives_the_same_bytes_and_tiles_the_same_pixels(geosr, scenes, tmp_path):
    for name, more in (("a", ()), ("b", ("--threads", "1")), ("c", ("--tile-size", "25"))):
        ok(geosr("superres", "in/one", f"{name}.tif", *BICUBIC, *more))
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()
    difference = read(tmp_path / "a.tif").astype(int) - read(tmp_path / "c.tif")
    assert np.abs(difference).max() <= 1


def test_quiet_success_says_nothing(geosr, scenes):
    done = ok(geosr("superres", "in", "out", *BICUBIC, "-q"))
    assert (done.stdout, done.stderr) == ("", "")


def test_without_a_terminal_nothing_is_drawn(geosr, scenes):
    done = ok(geosr("superres", "in", "out", *BICUBIC))
    assert "\r" not in done.stderr and done.stdout == ""
    assert done.stderr.count("no DN offset known") == 1  # one warning for both scenes


# settings


def test_an_existing_env_file_runs_the_main_job(geosr, scenes, tmp_path):
    (tmp_path / ".env").write_text("IMAGES_PATH=in\nSR_IMAGES_PATH=out\nGEOSR_MODEL=bicubic\n")
    ok(geosr("superres"))
    assert (tmp_path / "out/one.tif").exists()


def test_the_order_is_command_line_environment_file_default(geosr, scenes, tmp_path):
    (tmp_path / ".env").write_text("GEOSR_TILE_SIZE=36\nGEOSR_MODEL=bicubic\nGEOSR_JSON=1\n")
    cases = [((), {}, 36), ((), {"GEOSR_TILE_SIZE": "48"}, 48),
             (("--tile-size", 54), {"GEOSR_TILE_SIZE": "48"}, 54)]  # fmt: skip
    for i, (args, env, tile) in enumerate(cases):
        done = ok(geosr("superres", "in/two.tif", f"out{i}", *args, env=env))
        assert lines(done)[0]["tile"] == tile
    (tmp_path / ".env").unlink()
    done = ok(geosr("superres", "in/two.tif", "out9", *BICUBIC, "--json"))
    assert lines(done)[0]["tile"] == 60  # auto: all of the scene


@pytest.mark.parametrize("source", ["environment", "file"])
@pytest.mark.parametrize("text", ["B5,B11", "B5 B11"])
def test_lists_in_settings_are_split_at_commas_and_spaces(geosr, scenes, tmp_path, source, text):
    env = {"GEOSR_BANDS": text} if source == "environment" else {}
    if source == "file":
        (tmp_path / ".env").write_text(f"GEOSR_BANDS={text}\n")
    ok(geosr("superres", "in/one", "o.tif", *BICUBIC, env=env))
    with rasterio.open(tmp_path / "o.tif") as dataset:
        assert dataset.descriptions == ("B5", "B11")


@pytest.mark.parametrize(
    "text, on", [("1", True), ("true", True), ("0", False), ("false", False), ("", False)]
)
@pytest.mark.parametrize("source", ["environment", "file"])
def test_flags_in_settings_mean_what_they_say(geosr, scenes, tmp_path, source, text, on):
    if source == "file":
        (tmp_path / ".env").write_text(f"GEOSR_DRY_RUN={text}\n")
    env = {"GEOSR_DRY_RUN": text} if source == "environment" else {}
    ok(geosr("superres", "in/two.tif", "out", *BICUBIC, env=env))
    assert (tmp_path / "out").exists() is not on


@pytest.mark.parametrize("source", ["environment", "file"])
def test_bounds_and_several_models_in_settings(geosr, scenes, tmp_path, source):
    with rasterio.open(scenes / "one/10m.tif") as dataset:
        left, top = dataset.bounds.left, dataset.bounds.top
    env = {"GEOSR_MODEL": "bicubic-20,bicubic-60",
           "GEOSR_BOUNDS": f"{left},{top - 120},{left + 180},{top}"}  # fmt: skip
    if source == "file":
        (tmp_path / ".env").write_text("".join(f"{k}={v}\n" for k, v in env.items()))
    ok(geosr("superres", "in/one", "o.tif", env=env if source == "environment" else {}))
    with rasterio.open(tmp_path / "o.tif") as dataset:
        assert dataset.shape == (12, 18) and dataset.count == 12


def test_only_known_keys_of_the_file_are_taken(geosr, scenes, tmp_path):
    (tmp_path / ".env").write_text("GDAL_DRIVER_PATH=/evil\nPATH=/nowhere\nGEOSR_MODEL=bicubic\n")
    ok(geosr("superres", "in/two.tif", "out"))


def test_a_settings_file_elsewhere_and_one_in_a_parent_folder(geosr, scenes, tmp_path):
    (tmp_path / "my.env").write_text("GEOSR_DRY_RUN=1\n")
    ok(geosr("--env-file", "my.env", "superres", "in/two.tif", "out", *BICUBIC))
    assert not (tmp_path / "out").exists()
    (tmp_path / ".env").write_text("GEOSR_DRY_RUN=1\n")
    (tmp_path / "below").mkdir()
    ok(geosr("superres", "../in/two.tif", "out", *BICUBIC, cwd=tmp_path / "below"))
    assert (tmp_path / "below/out").exists()  # parents are never looked at


def test_a_bad_value_in_settings_is_a_usage_error(geosr, scenes, tmp_path):
    (tmp_path / ".env").write_text("GEOSR_TILE_SIZE=many\n")
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.returncode == 2 and "many" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["SR_20M_PATH", "SR_60M_PATH"])
def test_torch_weights_in_the_seeds_settings_name_the_way_to_convert_them(
    geosr, scenes, tmp_path, key
):
    (tmp_path / ".env").write_text(f"IMAGES_PATH=in\nSR_IMAGES_PATH=out\n{key}=net.pt\n")
    (tmp_path / "net.pt").write_bytes(b"PK")
    done = geosr("superres")
    assert done.returncode == 6 and "geosr weights convert net.pt" in done.stderr
    assert ok(geosr("superres", *BICUBIC)).returncode == 0  # --model wins over them


def test_cron_has_no_home_no_terminal_and_runs_in_the_root(program, scenes, tmp_path):
    done = ok(
        program("superres", scenes / "two.tif", tmp_path / "o", *BICUBIC, "-q",
                env={"HOME": "", "PATH": "/usr/bin", "TERM": ""}, cwd=Path("/"))
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "o/two.tif").exists()


# help, info, eval


def test_help_lists_commands_and_exit_codes_and_loads_neither_torch_nor_rasterio():
    code = (
        "import sys; from geosr.cli.main import cli; cli(['--help'], standalone_mode=False); "
        "assert not {'torch', 'rasterio', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for word in (*COMMANDS, "Exit codes", "130"):
        assert word in done.stdout


def test_misspelt_commands_get_a_suggestion(geosr):
    done = geosr("supres")
    assert done.returncode == 2 and "Did you mean 'superres'?" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_geosr_name_in_the_environment(name):
    command = cli.get_command(click.Context(cli), name)
    for param in command.params:
        if isinstance(param, click.Option):
            long = next(opt for opt in param.opts if opt.startswith("--"))
            own = {("train", "--overwrite"): "TRAIN_OVERWRITE"}  # costs more than an output
            word = own.get((name, long), long[2:].upper().replace("-", "_"))
            assert f"GEOSR_{word}" in param.envvar


@pytest.mark.parametrize("replicate, said", [(True, "replicated"), (False, "interpolated")])
def test_info_tells_what_a_stack_is(geosr, tmp_path, replicate, said):
    scene_files.write_stack(tmp_path / "S2A_MSIL1C_x.tif", size=60, replicate=replicate)
    facts = json.loads(ok(geosr("info", "S2A_MSIL1C_x.tif", *BICUBIC, "--json")).stdout)
    assert (facts["resampled"], facts["level"], facts["crs"]) == (said, "L1C", "EPSG:32633")
    assert facts["gsd"]["20"]["bands"] == ["B5", "B6", "B7", "B8A", "B11", "B12"]
    assert facts["superres"]["nets"] == ["bicubic-20", "bicubic-60"]
    assert facts["superres"]["seconds"] is None and facts["superres"]["memory"] > 0


def test_info_tells_level_offset_and_nodata_of_a_product(geosr, tmp_path):
    path = scene_files.write_safe(tmp_path, level="L2A", baseline="05.10", size=60)
    facts = json.loads(ok(geosr("info", path, *BICUBIC, "--json")).stdout)
    assert (facts["level"], facts["dn_offset"]) == ("L2A", -1000)
    assert facts["gsd"]["60"]["nodata_share"] == 0
    assert "DN offset -1000" in ok(geosr("info", path, *BICUBIC)).stdout


def test_info_tells_what_nets_for_any_raster_would_do(geosr, scenes, tmp_path):
    scene_files.write_folder(tmp_path / "scene", size=60)
    image = tmp_path / "scene/20m.tif"
    facts = json.loads(ok(geosr("info", image, "-m", "edsr-baseline", "--json")).stdout)
    assert (facts["sensor"], facts["superres"]["nets"]) == ("image", ["edsr-baseline"])
    assert (facts["superres"]["height"], facts["superres"]["width"]) == (60, 60)
    assert facts["superres"]["bands"] == ["B5", "B6", "B7", "B8A", "B11", "B12"]
    said = ok(geosr("info", image, "-m", "edsr-baseline")).stdout
    assert said.startswith("20m: image\n  grid: B5 ") and "coarse bands" not in said
    mixed = geosr("info", image, "-m", "bicubic-20", "-m", "edsr-baseline")
    assert mixed.returncode == 2 and "do not go together" in mixed.stderr
    assert geosr("info", image).returncode == 3


def test_info_on_many_scenes_asks_for_one(geosr, scenes):
    done = geosr("info", "in")
    assert done.returncode == 2 and "2 scenes (one, two.tif)" in done.stderr


def test_eval_prints_one_json_document_or_a_table(geosr, scenes):
    found = json.loads(ok(geosr("eval", *BICUBIC, "--data", "in", "--json")).stdout)
    assert found["protocol"] == "wald"
    assert found["means"]["20"]["bicubic"]["ratio"] == 1
    assert {score["scene"] for score in found["scores"]} == {"one", "two"}
    table = ok(geosr("eval", *BICUBIC, "--data", "in/one")).stdout
    assert "60 m bands, degraded by 6, 1 scenes" in table


def test_eval_without_scenes_is_a_usage_error(geosr, tmp_path):
    (tmp_path / "none").mkdir()
    assert geosr("eval", *BICUBIC, "--data", "none").returncode == 2
