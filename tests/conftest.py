"""Fixtures: generated scenes, the command line as a subprocess, the real scenes where present."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import make_scene  # noqa: E402

SHARED = Path(os.environ.get("GEOSR_TEST_DATA", ROOT.parent / "shared")) / "data"


@pytest.fixture
def shared() -> Path:
    """Real scenes that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip("the real scenes are not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def scene_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one scene of 120 × 120 pixels at 10 m: 10m.tif, 20m.tif, 60m.tif."""
    folder = tmp_path_factory.mktemp("scenes") / "field"
    make_scene.write_folder(folder, size=120)
    return folder


@pytest.fixture
def geosr(tmp_path: Path):
    """Run `geosr` as a program, in an empty folder, with no settings but those given."""

    def run(*args: object, env: dict[str, str] | None = None, cwd: Path | None = None):
        clean = {k: v for k, v in os.environ.items() if not k.startswith("GEOSR_")}
        return subprocess.run(
            [sys.executable, "-m", "geosr", *map(str, args)],
            capture_output=True,
            text=True,
            env=clean | {"PYTHONPATH": str(ROOT), **(env or {})},
            cwd=cwd or tmp_path,
            timeout=240,
        )

    return run
