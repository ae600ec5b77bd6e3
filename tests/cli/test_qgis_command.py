"""`geosr qgis` puts the plugin where QGIS looks, and nowhere else."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import pytest

NAMES = {"__init__.py", "LICENSE", "algorithm.py", "evaluate.py", "icon.svg", "metadata.txt",
         "plugin.py", "program.py", "sharpen.py", "style.py", "superres.py"}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of profiles with two of them."""
    monkeypatch.setenv("QGIS_CUSTOM_CONFIG_PATH", str(tmp_path / "config"))
    for name in ("default", "work"):
        (tmp_path / "config/profiles" / name).mkdir(parents=True)
    return tmp_path / "config/profiles"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_profile_gets_the_plugin_and_where_this_geosr_is(geosr, home):
    done = geosr("qgis", "install", "--profile", "work")
    assert done.returncode == 0, done.stderr
    place = home / "work/python/plugins/geosr_qgis"
    assert names(place) == NAMES | {"program.json"}
    assert json.loads((place / "program.json").read_text()) == [sys.executable, "-P", "-m", "geosr"]
    assert "plugins enable geosr_qgis" in done.stderr
    assert not (home / "default/python").exists()


def test_an_older_plugin_is_replaced_as_a_whole(geosr, home):
    assert geosr("qgis", "install").returncode == 0
    place = home / "default/python/plugins/geosr_qgis"
    (place / "old.py").touch()
    assert geosr("qgis", "install").returncode == 0
    assert names(place) == NAMES | {"program.json"}
    assert names(place.parent) == {"geosr_qgis"}


def test_what_is_not_geosrs_stays(geosr, tmp_path):
    other = tmp_path / "plugins/geosr_qgis"
    other.mkdir(parents=True)
    (other / "metadata.txt").write_text("[general]\nname=other\n")
    done = geosr("qgis", "install", "--target", "plugins")
    assert done.returncode == 2 and "no plugin of geosr: left alone" in done.stderr
    assert names(other) == {"metadata.txt"}


def test_a_missing_profile_is_answered_by_those_that_are_there(geosr, home):
    done = geosr("qgis", "install", "--profile", "none")
    assert done.returncode == 2 and "profiles there: default, work" in done.stderr


@pytest.mark.parametrize("profile", ["", "..", "default/.."])
def test_a_profile_is_a_name(geosr, home, profile):
    assert geosr("qgis", "install", "--profile", profile).returncode == 2


def test_a_folder_that_takes_no_files_stops_it(geosr, tmp_path):
    (tmp_path / "plugins").write_text("a file")
    done = geosr("qgis", "install", "--target", "plugins")
    assert done.returncode == 5 and "could not write" in done.stderr


def test_the_zip_holds_one_folder_and_is_the_same_each_time(geosr, tmp_path):
    done = geosr("qgis", "zip", "a.zip")
    assert done.returncode == 0 and "Install from ZIP" in done.stderr
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert set(archive.namelist()) == {f"geosr_qgis/{name}" for name in NAMES}
        assert archive.testzip() is None
    first = (tmp_path / "a.zip").read_bytes()
    assert geosr("qgis", "zip", "a.zip").returncode == 0  # its own may be replaced
    assert (tmp_path / "a.zip").read_bytes() == first


def test_a_zip_that_geosr_did_not_make_stays(geosr, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK other")
    assert geosr("qgis", "zip", "a.zip").returncode == 2
    assert (tmp_path / "a.zip").read_bytes() == b"PK other"
    assert geosr("qgis", "zip", "a.zip", "--overwrite").returncode == 0
