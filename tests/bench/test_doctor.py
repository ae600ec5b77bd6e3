"""The doctor: what is fine here, and what it says where something is not."""

import json

import pytest
import rasterio

from geosr.batch import locks, records
from geosr.bench import doctor
from geosr.bench.doctor import FAIL, OK, WARN, diagnose
from geosr.models import weights
from geosr.raster import publish


def by_name(folder) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in diagnose(folder)}


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A folder of one bundled weights file."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "net.safetensors").write_bytes(b"weights")
    entry = {"name": "net", "file": "net.safetensors",
             "sha256": records.sha256(folder / "net.safetensors")}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps({"weights": [entry]}))
    monkeypatch.setattr(weights, "folder", lambda: folder)
    weights.manifest.cache_clear()
    yield folder
    weights.manifest.cache_clear()


def test_this_machine_is_fit_and_nothing_is_left(geosr, tmp_path):
    (tmp_path / "out").mkdir()
    done = geosr("doctor", "--dst", "out")
    assert done.returncode == 0, done.stdout
    assert {line.split(" ")[0] for line in done.stdout.splitlines()} <= {"ok", "warn"}
    assert not list((tmp_path / "out").iterdir())
    found = json.loads(geosr("doctor", "--json").stdout)
    assert found["fit"] is True
    names = {finding["name"] for finding in found["findings"]}
    assert {"torch", "cpu", "gdal", "driver GTiff", "driver COG", "driver JP2OpenJPEG",
            "driver PNG", "driver HDF5", "space", "write", "lock"} <= names  # fmt: skip
    assert {f"weights {name}" for name in weights.manifest()} <= names


def test_a_folder_that_is_not_there_yet_is_judged_by_the_one_above(tmp_path):
    found = by_name(tmp_path / "not/yet/there")
    assert str(tmp_path) in found["space"].message and found["write"].level == OK
    assert not list(tmp_path.iterdir())


def test_bundled_weights_are_compared_with_the_manifest(bundle, tmp_path, geosr):
    assert by_name(tmp_path)["weights net"].level == OK
    (bundle / "net.safetensors").write_bytes(b"Weights")
    finding = by_name(tmp_path)["weights net"]
    assert finding.level == FAIL and "sha256" in finding.message
    (bundle / "net.safetensors").unlink()
    done = geosr("doctor", "--dst", tmp_path)
    assert done.returncode == 5
    assert any(line.startswith("FAIL weights net: ") and "is missing" in line
               for line in done.stdout.splitlines())  # fmt: skip
    assert json.loads(geosr("doctor", "--json").stdout)["fit"] is False


@pytest.mark.parametrize("text, level", [("{", FAIL), ('{"weights": [{"name": "x"}]}', FAIL),
                                         ('{"weights": []}', WARN)])  # fmt: skip
def test_a_manifest_that_says_nothing_is_a_finding(bundle, tmp_path, text, level):
    (bundle / "manifest.json").write_text(text)
    levels = {f.level for name, f in by_name(tmp_path).items() if name.startswith("weights")}
    assert levels == {level}


def test_missing_drivers_cost_what_they_are_for(tmp_path, monkeypatch):
    monkeypatch.setattr(rasterio.Env, "drivers", lambda self: {"PNG": "Portable Network Graphics"})
    found = by_name(tmp_path)
    levels = {name: finding.level for name, finding in found.items() if name.startswith("driver")}
    assert levels == {"driver GTiff": FAIL, "driver COG": WARN, "driver JP2OpenJPEG": WARN,
                      "driver PNG": OK, "driver HDF5": WARN}  # fmt: skip
    assert ".SAFE" in found["driver JP2OpenJPEG"].message


def test_a_library_that_does_not_load_is_a_finding_and_the_rest_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    found = by_name(tmp_path)
    assert found["torch"].level == FAIL and found["cpu"].level == FAIL
    assert found["gdal"].level == OK and found["write"].level == OK


def test_a_full_disk_and_locks_that_do_not_hold_are_told(tmp_path, monkeypatch):
    def full(path, data):
        raise publish.not_written(path, OSError(28, "No space left on device"))

    monkeypatch.setattr(publish, "write_bytes", full)
    monkeypatch.setattr(locks, "is_locked", lambda output: False)
    monkeypatch.setattr(doctor, "_SPACE", 2**63)
    found = by_name(tmp_path)
    assert found["write"].level == FAIL and "No space left" in found["write"].message
    assert found["lock"].level == WARN and "do not hold" in found["lock"].message
    assert found["space"].level == WARN and "may not fit" in found["space"].message


@pytest.mark.parametrize(
    "text, said",
    [
        ("processor : 0\nflags\t\t: fpu avx512_bf16 amx_bf16\n", "bf16 by AMX and AVX512-BF16"),
        ("flags : fpu avx2\n", "no bf16 instructions"),
        ("Features : fp asimd bf16\n", "bf16 by ARM BF16"),
        ("", "no bf16 instructions"),
    ],
)
def test_bf16_is_told_by_the_flags_of_the_cpu(tmp_path, monkeypatch, text, said):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(doctor, "_CPU_FACTS", tmp_path / "cpuinfo")
    assert said in by_name(tmp_path)["cpu"].message
    monkeypatch.setattr(doctor, "_CPU_FACTS", tmp_path / "none")
    assert "unknown" in by_name(tmp_path)["cpu"].message
