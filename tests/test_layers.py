"""Imports go only downwards, from chapter to chapter, and in no circle inside one."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = [
    {"errors", "qgis"},  # the plugin for QGIS runs there, without the rest of geosr
    {"raster", "metrics"},
    {"scene"},
    {"sensors"},
    {"models"},
    {"inference"},
    {"training"},
    {"evaluation"},
    {"report"},
    {"batch"},
    {"bench", "api"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(CHAPTERS) for name in names}
TORCHLESS = ("raster", "scene", "sensors")
SOURCES = sorted(p for p in (ROOT / "geosr").rglob("*.py") if p.name != "__main__.py")


def named(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {named(path): path for path in SOURCES}


def chapter(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@cache
def imported(path: Path) -> set[str]:
    """What a module imports, anywhere in it: modules of geosr in full, packages of others."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in MODULES else node.module for name in inner}
    return {name if name.startswith("geosr") else name.split(".")[0] for name in found}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_chapter_and_those_below(module):
    here = chapter(module)
    for name in imported(MODULES[module]):
        if here and chapter(name) not in ("", here):
            assert RANK[chapter(name)] < RANK[here], f"{module} imports {name}"


def test_modules_import_each_other_in_no_circle():
    below = {module: imported(path) & set(MODULES) for module, path in MODULES.items()}
    del below["geosr"]  # offers the API, which is imported when a name of it is first used
    while leaves := {module for module in below if not below[module] & set(below) - {module}}:
        below = {module: names for module, names in below.items() if module not in leaves}
    assert not below, f"a circle among {sorted(below)}"


@pytest.mark.parametrize("module", MODULES)
def test_only_the_command_line_touches_click_printing_and_the_environment(module):
    if chapter(module) == "cli":
        return
    assert not imported(MODULES[module]) & {"click", "dotenv", "tqdm"}
    text = MODULES[module].read_text()
    assert "print(" not in text and "os.environ" not in text and "getenv" not in text


@pytest.mark.parametrize("module", MODULES)
def test_rasters_do_not_import_torch_and_models_do_not_import_rasterio(module):
    names = imported(MODULES[module])
    if chapter(module) in TORCHLESS:
        assert "torch" not in names
    if chapter(module) == "models":
        assert "rasterio" not in names


@pytest.mark.parametrize("module, library", [
    ("geosr.sensors", "torch"), ("geosr.scene.frames", "torch"),
    ("geosr.models.registry", "rasterio"), ("geosr.models.weights", "rasterio"),
])  # fmt: skip
def test_nothing_heavy_is_loaded_by_the_way(module, library):
    code = f"import {module}, sys; assert {library!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_every_entry_at_the_top_is_a_chapter():
    top = {chapter(module) for module in MODULES} - {""}
    assert top == set(RANK)
    assert len({path.relative_to(ROOT / "geosr").parts[0] for path in SOURCES} - {"qgis"}) < 16


def test_the_plugin_for_qgis_imports_nothing_of_geosr():
    for module in MODULES:
        if chapter(module) == "qgis":
            assert not {name for name in imported(MODULES[module]) if name.startswith("geosr")}
