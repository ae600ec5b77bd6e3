"""The notebooks of examples/ run from top to bottom, and their pictures show something."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from rasterio.io import MemoryFile

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def shown(notebook: Any, kind: str) -> list[str]:
    """What the cells show of a kind of data."""
    return [output.data[kind] for cell in notebook.cells if cell.cell_type == "code"
            for output in cell.outputs if kind in output.get("data", {})]  # fmt: skip


def contrast(picture: str) -> float:
    """How much the pixels of a PNG in base64 differ."""
    with MemoryFile(base64.b64decode(picture)) as memory, memory.open() as file:
        return float(file.read().std())


def test_there_is_one_for_each_daily_use():
    assert [path.stem for path in NOTEBOOKS] == ["any_raster", "scores", "sharpen", "train"]


@pytest.mark.parametrize("path", [
    path if path.stem == "sharpen" else pytest.param(path, marks=pytest.mark.slow)
    for path in NOTEBOOKS
], ids=lambda path: path.stem)  # fmt: skip
def test_a_notebook_runs(path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    kept = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(EXAMPLES)}}
    nbclient.NotebookClient(
        fresh, timeout=240, kernel_name="python3", resources=resources
    ).execute()
    pictures = shown(fresh, "image/png")
    assert pictures and all(contrast(picture) > 10 for picture in pictures)
    assert any("<table" in html for html in shown(fresh, "text/html"))
    for kind in ("image/png", "text/html"):  # as committed, for those who only read it
        assert len(shown(kept, kind)) == len(shown(fresh, kind))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_and_names_no_machine(path):
    text = path.read_text()
    assert len(text) < 300_000
    assert "/tmp/" not in text and "/home/" not in text and str(EXAMPLES.parent) not in text
