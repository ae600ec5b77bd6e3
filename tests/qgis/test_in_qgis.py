"""The plugin in a real QGIS, where there is one: `qgis_process` and QGIS's own Python."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner

import geosr
from geosr.cli.main import cli

ROOT = Path(geosr.__file__).parents[1]
EXAMPLE = ROOT / "examples/scenes/farmland"
# Debian 12 starts qgis_process by a script with an option that it does not know
PROCESS = shutil.which("qgis_process.bin") or shutil.which("qgis_process") or ""
PYTHON = "/usr/bin/python3"  # of the system, which has QGIS's modules
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROCESS, reason="QGIS is not installed"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """QGIS's folder of profiles, with the plugin in the default one."""
    folder = tmp_path / "config"
    (folder / "profiles/default").mkdir(parents=True)
    target = str(folder / "profiles/default/python/plugins")
    done = CliRunner().invoke(cli, ["qgis", "install", "--target", target])
    assert done.exit_code == 0, done.output
    assert run(folder, PROCESS, "plugins", "enable", "geosr_qgis").returncode == 0
    return folder


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A copy of the example: QGIS puts statistics beside the rasters that it opens."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "scenes/farmland"))


def run(config: Path, *args: object, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {"HOME": str(config), "QGIS_CUSTOM_CONFIG_PATH": str(config), "PATH": path,
           "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": "", "LC_ALL": "C.UTF-8",
           "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}  # fmt: skip
    return subprocess.run([str(arg) for arg in args], env=env, capture_output=True, text=True,
                          timeout=280)  # fmt: skip


def process(config: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return run(config, PROCESS, "run", *args)


def test_qgis_process_super_resolves_a_product(config, scene, tmp_path):
    done = process(config, "geosr:superres", "--", f"PRODUCT={scene}", f"OUTPUT={tmp_path}/a.tif")
    assert done.returncode == 0, done.stdout + done.stderr
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.shape == (240, 240) and file.transform.a == 10 and file.count == 12
        assert file.tags()["GEOSR_MODEL"] == "dsen2-ps-20 dsen2-ps-60"


def test_an_extent_is_taken_in_its_own_crs_and_refused_outside(config, scene, tmp_path):
    args = ("geosr:superres", "--", f"PRODUCT={scene}", "MODEL=bicubic", f"OUTPUT={tmp_path}/a.tif")
    done = process(config, *args, "EXTENT=13.59,13.60,50.53,50.54 [EPSG:4326]")
    assert done.returncode == 0, done.stdout + done.stderr
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.crs.to_epsg() == 32633 and file.shape == (120, 78)
    done = process(config, *args, "EXTENT=0,10,0,10 [EPSG:32633]")
    assert done.returncode != 0 and "does not touch the scene" in done.stdout + done.stderr


def test_qgis_process_sharpens_by_a_guide_and_scores(config, scene, tmp_path):
    done = process(config, "geosr:sharpen", "--", f"INPUT={scene}/20m.tif",
                   f"GUIDE={scene}/10m.tif", f"OUTPUT={tmp_path}/a.tif")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.shape == (240, 240) and file.count == 6
    done = process(config, "geosr:evaluate", "--", f"FOLDER={scene.parent}", "MODEL=bicubic",
                   "PROTOCOL=wald", f"OUTPUT={tmp_path}/a.html")  # fmt: skip
    assert done.returncode == 0 and "20 m bands, degraded by 2" in done.stdout
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")


def test_one_input_is_asked_for(config, scene, tmp_path):
    both = (f"INPUT={scene}/10m.tif", f"PRODUCT={scene}")
    for inputs, found in ((both, "both were given"), ((), "neither was given")):
        done = process(config, "geosr:superres", "--", *inputs, f"OUTPUT={tmp_path}/a.tif")
        assert done.returncode != 0 and found in done.stdout + done.stderr


def test_a_qgis_without_geosr_says_what_to_do(config, scene, tmp_path):
    (config / "profiles/default/python/plugins/geosr_qgis/program.json").unlink()
    done = process(config, "geosr:superres", "--", f"PRODUCT={scene}", f"OUTPUT={tmp_path}/a.tif")
    assert done.returncode != 0 and "pipx install geosr" in done.stdout + done.stderr


def test_progress_cancel_and_colours_in_qgis(config, scene, tmp_path):
    if run(config, PYTHON, "-c", "import qgis.core").returncode:
        pytest.skip("QGIS's modules for Python are not installed")
    script = Path(__file__).with_name("in_qgis.py")
    plugins = config / "profiles/default/python/plugins"
    done = run(config, PYTHON, script, plugins, scene, tmp_path)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["can"] and seen["whole"]["succeeded"]
    assert seen["whole"]["progress"][-1] == 100 and len(seen["whole"]["progress"]) == 32
    assert any("done" in line for line in seen["whole"]["said"])
    assert seen["cancelled"]["canceled"] and "OUTPUT" not in seen["cancelled"]["results"]
    assert seen["cancelled"]["said"][-1] == "Cancelled: geosr has ended."
    assert not list(tmp_path.glob("*cancelled*")) and not list(tmp_path.glob(".*"))
    assert seen["drawn"] == [4, 3, 2] and 500 < seen["stretch"] < 10000
    assert seen["colours"] == [None, [3, 2, 1], None, [1, 2, 3]]
    assert not seen["cannot"][0] and "was not found" in seen["cannot"][1]
