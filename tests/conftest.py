"""Fixtures: generated scenes, the command line as a subprocess, the real scenes where present."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each, before PyTorch counts them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import rasterio
from click.testing import CliRunner

from geosr.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import scene_files  # noqa: E402

# all of GDAL's drivers, before a command under test asks for fewer
with rasterio.Env():
    pass

if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)  # under nohup: programs under test heed it still

SHARED = Path(os.environ.get("GEOSR_TEST_DATA", ROOT.parent / "shared")) / "data"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Neighbouring tests in one process, where what they share is made once; the idle take some."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.option.dist == "load" else None


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folders that are not there yet; pytest would look through all that are, each time."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def cache(_caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, so that tests neither see nor touch the user's."""
    folder = next(_caches)
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """The logger as it was, after commands that set it up."""
    logger = logging.getLogger("geosr")
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


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
    scene_files.write_folder(folder, size=120)
    return folder


@dataclass(frozen=True)
class Done:
    """What a run of the program left behind."""

    returncode: int
    stdout: str
    stderr: str


def settings(env: dict[str, str] | None) -> dict[str, str]:
    """This environment without geosr's own settings, and those given."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("GEOSR_")}
    return clean | {"PYTHONPATH": str(ROOT)} | (env or {})


@pytest.fixture
def geosr(tmp_path: Path):
    """Run the command line in this process, in an empty folder, with the given settings only."""

    def run(*args: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(cwd or tmp_path)
            for key in [key for key in os.environ if key.startswith("GEOSR_")]:
                patch.delenv(key)
            for key, value in (env or {}).items():
                patch.setenv(key, value)
            result = CliRunner().invoke(cli, [str(arg) for arg in args])
        return Done(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def program(tmp_path: Path):
    """The same in a process of its own, for signals, limits and bare environments."""

    def run(
        *args: object, env: dict[str, str] | None = None, cwd: Path | None = None, **more: Any
    ) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "geosr", *map(str, args)],
            capture_output=True,
            text=True,
            env=settings(env),
            cwd=cwd or tmp_path,
            timeout=240,
            **more,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
