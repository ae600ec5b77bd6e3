"""The commands and programs of README and of each page of docs/ run, from top to bottom.

Blocks marked `bash` and `python` are run in a folder of generated data; those marked `sh` are not.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scene_files
from affine import Affine
from click.testing import CliRunner
from make_probav import write_imgset
from rasters import picture, write

import geosr
from geosr.cli.main import cli

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/pages").glob("*.md"))]
LENGTHS = ("--time", "--steps", "--epochs", "--patch", "--batch-size", "--val-windows")
SHORT = ["--patch", "24", "--batch-size", "2", "--val-windows", "2"]
GRID = Affine(10, 0, 5e5, 0, -10, 5e6)


def blocks(path: Path, kind: str) -> list[str]:
    """What the fenced blocks of a kind hold."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", path.read_text(), re.DOTALL | re.MULTILINE)


def lines(path: Path) -> Iterator[str]:
    """Commands that can be run: one a line, without comments, none whose names are elided."""
    for block in blocks(path, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip() and "…" not in line:
                yield line


def shortened(args: list[str], steps: int) -> list[str]:
    """A training of some steps, whatever length it was to have."""
    kept = [arg for i, arg in enumerate(args) if arg not in LENGTHS and args[i - 1] not in LENGTHS]
    return [*kept, "--steps", str(steps), *SHORT]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the pages speak of."""
    folder = tmp_path_factory.mktemp("guides")
    scene_files.write_folder(folder / "scenes/field", size=72)
    scene_files.write_folder(folder / "scenes/town", size=72, seed=1)
    scene_files.write_stack(folder / "stack.tif", size=72)
    for i in range(3):
        write(folder / f"images/scene{i}.tif", picture(i, side=48), grid=GRID)
        write(folder / f"places/harbour/day{i}.tif", picture(i, side=24), grid=GRID)
    write_imgset(folder / "probav/train/RED/imgset0000", size=48)
    for part, number in (("RED", 1160), ("NIR", 1306)):  # as the challenge numbers them
        write_imgset(folder / f"probav/test/{part}/imgset{number}", frames=2, size=128)
    shutil.copytree(ROOT / "examples/scenes", folder / "examples/scenes")
    return folder


@pytest.fixture
def here(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with links to the data, which commands only read."""
    for entry in data.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, steps: int) -> None:
    """One line of a shell: geosr's command, perhaps with its output sent to a file."""
    program, *args = shlex.split(line, comments=True)
    assert program == "geosr", f"mark the block as sh: {line}"
    target = None
    if ">" in args:
        args, target = args[: args.index(">")], args[-1]
    if args[0] == "train":
        args = shortened(args, steps)
    done = CliRunner().invoke(cli, args)
    assert done.exit_code == 0, f"{line}\n{done.output}"
    if target:
        Path(target).write_text(done.stdout)


@pytest.mark.parametrize("path", [p for p in PAGES if list(lines(p))], ids=lambda path: path.stem)
def test_the_commands_of_a_page_run(path, here):
    for number, line in enumerate(lines(path)):
        run(line, 2 + number)  # a later training of the same folder goes on from there


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.stem)
def test_the_programs_of_a_page_run(path, here, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {f"d{gsd}": rng.uniform(0, 4000, (bands, 360 // gsd, 360 // gsd)).astype(np.float32)
              for gsd, bands in ((10, 4), (20, 6), (60, 2))}  # fmt: skip
    train = geosr.train
    quick = {"time": None, "steps": 2, "patch": 24, "batch_size": 2, "val_windows": 2}
    monkeypatch.setattr(geosr, "train", lambda *args, **kwargs: train(*args, **kwargs | quick))
    for block in blocks(path, "python"):
        exec(block, {"__name__": "page", **arrays})


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "docs/mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == [path.name for path in PAGES[1:]]
