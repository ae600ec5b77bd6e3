"""Imports go only downwards."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {"errors", "tiles", "metrics", "fill", "degrade", "muon"},
    {"publish", "figures", "kelvins", "fullres", "lpips", "losses", "ranks", "schedule"},
    {"raster"},
    {"pixels"},
    {"writer", "ahead", "locks"},
    {"scene"},
    {"sensors", "models"},
    {"radiometry", "weights", "picture", "records", "consistent", "submission", "checksums"},
    {"frames", "status", "engine"},
    {"predict", "blend"},
    {"plan"},
    {"strips", "datasets", "checkpoint", "selfcheck", "forecast"},
    {"feed"},
    {"superres"},
    {"backoff", "bench", "arrays"},
    {"validation", "protocols"},
    {"shots"},
    {"survey", "train", "evaluate", "inspect", "report", "verify", "doctor", "fetch"},
    {"convert", "export"},
    {"pages"},
    {"targets"},
    {"batch"},
    {"workers", "lanes"},
    {"api"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TORCHLESS = ("raster", "pixels", "scene", "sensors", "publish", "tiles", "radiometry", "fill",
             "locks", "records", "status")  # fmt: skip
MODULES = sorted(p for p in (ROOT / "geosr").rglob("*.py") if p.name != "__main__.py")


def room(path: Path) -> str:
    first = path.relative_to(ROOT / "geosr").parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Top-level packages and geosr rooms that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_its_own_room_and_those_below(path):
    here = room(path)
    if here == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "geosr" and len(parts) > 1 and parts[1] in RANK and parts[1] != here:
            assert RANK[parts[1]] < RANK[here], f"{here} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_command_line_touches_click_printing_and_the_environment(path):
    if room(path) == "cli":
        return
    names = {name.split(".")[0] for name in imported(path)}
    assert not names & {"click", "dotenv", "tqdm"}
    text = path.read_text()
    assert "print(" not in text and "os.environ" not in text and "getenv" not in text


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rasters_do_not_import_torch_and_models_do_not_import_rasterio(path):
    names = {name.split(".")[0] for name in imported(path)}
    if room(path) in TORCHLESS:
        assert "torch" not in names
    if room(path) == "models":
        assert "rasterio" not in names


def test_reading_a_scene_does_not_load_torch():
    code = "import geosr.sensors, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_room_has_a_layer():
    assert {room(path) for path in MODULES} - {"__init__"} == set(RANK)
