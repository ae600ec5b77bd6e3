"""`rio superres`, the plugin of rasterio's own program."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import rasterio
from conftest import ROOT, settings

RIO = "from rasterio.rio.main import main_group; main_group(prog_name='rio')"


@pytest.fixture
def rio(tmp_path: Path):
    """Run `rio` in a folder of its own, with geosr's plugins as its package declares them."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = told["entry-points"]["rasterio.rio_plugins"]
    package = tmp_path / "packages" / "geosr_declared-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: geosr-declared\nVersion: 1\n")
    lines = [f"{name} = {target}" for name, target in named.items()]
    text = "\n".join(["[rasterio.rio_plugins]", *lines])
    (package / "entry_points.txt").write_text(text + "\n")
    (tmp_path / "work").mkdir()

    def run(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        path = {"PYTHONPATH": f"{package.parent}:{ROOT}"}
        return subprocess.run(
            [sys.executable, "-c", RIO, *map(str, args)], capture_output=True, text=True,
            env=settings(env) | path, cwd=tmp_path / "work", timeout=240,
        )  # fmt: skip

    return run


def test_rio_sharpens_a_scene_as_geosr_does(rio, geosr, scene_dir, tmp_path):
    done = rio("superres", scene_dir, "out", "--model", "bicubic")
    assert done.returncode == 0, done.stderr
    assert "1 done, 0 skipped, 0 failed" in done.stderr
    geosr("superres", scene_dir, tmp_path / "ours", "--model", "bicubic")
    theirs = tmp_path / "work" / "out" / "field.tif"
    assert theirs.read_bytes() == (tmp_path / "ours" / "field.tif").read_bytes()
    with rasterio.open(theirs) as dataset:
        assert dataset.count == 12


def test_rio_says_nothing_on_stderr_where_it_is_to_be_quiet(rio, scene_dir):
    done = rio("superres", scene_dir, "out", "--model", "bicubic", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_rio_lists_the_command_and_explains_it_under_its_own_name(rio):
    assert "superres" in rio("--help").stdout
    said = rio("superres", "--help").stdout
    assert "Usage: rio superres" in said and "rio superres scenes/ out/" in said
    assert "geosr superres" not in said


def test_errors_under_rio_are_a_line_and_the_same_exit_code(rio):
    done = rio("superres", "nowhere", "out")
    assert done.returncode == 2
    assert "no such file or folder" in done.stderr and "Traceback" not in done.stderr


def test_settings_are_read_under_rio_too(rio, scene_dir, tmp_path):
    (tmp_path / "work" / ".env").write_text(f"GEOSR_MODEL=bicubic\nGEOSR_SRC={scene_dir}\n")
    done = rio("superres", "--dry-run", env={"GEOSR_DST": "out"})
    assert done.returncode == 0, done.stderr
    assert "bicubic-20" in done.stderr
