"""What stands beside a scene costs one scene at most: names, links, folders, permissions."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scene_files
from conftest import settings
from faulty import BICUBIC, fails, left

from geosr.batch import batch, locks, targets
from geosr.batch.job import Job
from geosr.errors import LockedError, SceneError, StoppedError
from geosr.models import weights
from geosr.raster import flock, publish
from geosr.sensors import OpenOptions, find_scenes

GOOD = ("b", "z")


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Two good scenes in in/, which stand between and after what is in the way of a."""
    for i, name in enumerate(GOOD):
        scene_files.write_stack(tmp_path / f"in/{name}.tif", size=12, seed=i)
    (tmp_path / "out").mkdir()
    return tmp_path / "in"


def twin(scenes: Path, name: str = "a.tif") -> Path:
    return Path(shutil.copy(scenes / "b.tif", scenes / name))


def nested(path: Path) -> None:
    path.write_text("[" * 450_000 + "]" * 450_000)


OBSTACLES = {
    "the output is a folder": lambda out: (out / "a.tif").mkdir(),
    "the output is a link to itself": lambda out: (out / "a.tif").symlink_to("a.tif"),
    "the output is a link to nowhere": lambda out: (out / "a.tif").symlink_to("/nowhere/a.tif"),
    "the lock is a folder": lambda out: (out / ".a.tif.lock").mkdir(),
    "the lock is a link to itself": lambda out: (out / ".a.tif.lock").symlink_to(".a.tif.lock"),
    "the record is a folder": lambda out: (out / "a.geosr.json").mkdir(),
    "the record is a pipe": lambda out: os.mkfifo(out / "a.geosr.json"),
    "the record is nested deep": lambda out: nested(out / "a.geosr.json"),
    "the journal is a folder": lambda out: (out / ".a.geosr.begun").mkdir(),
}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES)
@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_what_is_in_the_way_of_an_output_costs_that_output(geosr, scenes, tmp_path, obstacle, more):
    twin(scenes)
    obstacle(tmp_path / "out")
    done = geosr("superres", "in", "out", *BICUBIC, *more)
    assert done.returncode in ((0, 3) if more else (3,)), done.stderr
    assert "internal error" not in done.stderr
    assert all((tmp_path / f"out/{name}.tif").is_file() for name in GOOD)


def test_a_pipe_among_scenes_fails_alone(geosr, scenes, tmp_path):
    os.mkfifo(scenes / "a.tif")
    fails(geosr("superres", "in", "out", *BICUBIC), 3, "a.tif is neither a file nor a folder")
    assert all((tmp_path / f"out/{name}.tif").exists() for name in GOOD)


@pytest.mark.parametrize("name", ["x" * 246, "山" * 82, "é" * 123])
def test_long_names_are_cut_and_stay_apart(geosr, scenes, tmp_path, name):
    twin(scenes, f"{name}.tif")
    twin(scenes, f"{name[:-1]}y.tif")
    assert geosr("superres", "in", "out", *BICUBIC).returncode == 0
    again = geosr("superres", "in", "out", *BICUBIC)
    assert again.stderr.endswith("0 done, 4 skipped, 0 failed\n")
    made = [path.name for path in (tmp_path / "out").glob("*.tif")]
    assert len(made) == 4 and all(len(os.fsencode(each)) <= 204 for each in made)


def test_a_file_to_write_needs_a_name_with_room(geosr, scenes):
    fails(geosr("superres", "in/b.tif", f"{'x' * 240}.tif", *BICUBIC), 2, "takes 240 bytes")


@pytest.mark.parametrize("names", [("a.tif", "a.tiff"), ("a b.tif", "a_b.tif")])
def test_scenes_of_one_name_fail_and_the_others_do_not(geosr, scenes, tmp_path, names):
    for name in names:
        twin(scenes, name)
    fails(geosr("superres", "in", "out", *BICUBIC), 3, *names, "would both be written")
    assert left(tmp_path / "out") == ["b.geosr.json", "b.tif", "z.geosr.json", "z.tif"]


@pytest.mark.parametrize("blind, made", [(False, 4), (True, 2)])
def test_names_that_are_one_to_the_disk_fail(geosr, scenes, tmp_path, monkeypatch, blind, made):
    twin(scenes, "Scene.tif")
    twin(scenes, "scene.tif")
    if blind:
        monkeypatch.setattr(targets, "_same_file", lambda a, b: str(a).lower() == str(b).lower())
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.returncode == (3 if blind else 0)
    assert len(list((tmp_path / "out").glob("*.tif"))) == made


def test_a_link_to_a_scene_beside_it_is_that_scene(geosr, scenes, tmp_path):
    (scenes / "latest.tif").symlink_to("z.tif")
    assert geosr("superres", "in", "out", *BICUBIC).returncode == 0
    assert [path.stem for path in sorted((tmp_path / "out").glob("*.tif"))] == ["b", "z"]


# permissions; root passes by them, so they are refused in its stead


@pytest.fixture
def closed(monkeypatch):
    """Folders named `secret` and `lost+found` that nobody may look into."""
    iterdir = Path.iterdir

    def refuse(path: Path):
        if path.name in ("secret", "lost+found"):
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)


def test_a_closed_folder_among_scenes_fails_alone(geosr, scenes, tmp_path, closed):
    for name in ("secret", "lost+found"):
        (scenes / name).mkdir()
    done = fails(geosr("superres", "in", "out", *BICUBIC), 3, "cannot read in/secret", "1 failed")
    assert "internal error" not in done.stderr
    fails(geosr("superres", "in/secret", "out", *BICUBIC), 2, "cannot read in/secret")
    assert geosr("superres", "in", "out", *BICUBIC, "--pattern", "*.tif").returncode == 0
    assert [path.name for path in find_scenes(scenes, kind="series")] == ["in"]
    inner = tmp_path / "places"
    (inner / "secret").mkdir(parents=True)
    assert find_scenes(inner, kind="series") == [inner / "secret"]
    with pytest.raises(SceneError):
        batch.open_scene(inner / "secret", OpenOptions(kind="series"))


def test_another_users_dead_lock_is_taken_without_writing_to_it(tmp_path, monkeypatch):
    output = tmp_path / "a.tif"
    path = locks.lock_path(output)
    path.write_text("pid 1 on x")
    real = os.open

    def refuse(name, flags, *more):
        if Path(name) == path and flags & os.O_ACCMODE != os.O_RDONLY:
            raise PermissionError(13, "Permission denied", str(name))
        return real(name, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    with locks.locked(output):
        assert locks.is_locked(output)
        with pytest.raises(LockedError), locks.locked(output):
            pass
    assert not locks.is_locked(output)


def test_a_file_that_may_not_be_replaced_is_one_scenes_and_a_folder_everyones(
    tmp_path, monkeypatch
):
    error = PermissionError(1, "Operation not permitted")
    assert isinstance(publish.not_written(tmp_path / "a.tif", error), SceneError)
    assert isinstance(publish.not_written(tmp_path / "gone/a.tif", error), StoppedError)
    assert isinstance(publish.not_written(tmp_path / "a.tif", OSError(28, "full")), StoppedError)


def test_on_a_disk_without_locks_runs_go_on(scenes, tmp_path, monkeypatch, caplog):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(flock, "flock", refuse)
    outputs = targets.targets(scenes, tmp_path / "out")
    outcomes = batch.run(outputs, Job(weights.load("bicubic")))
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    assert left(tmp_path / "out") == ["b.geosr.json", "b.tif", "z.geosr.json", "z.tif"]


# what cron does


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_files_change_no_byte(scenes, tmp_path, geosr, closed):
    geosr("superres", "in/b.tif", "there", *BICUBIC)
    command = f"exec {sys.executable} -m geosr superres in/b.tif out --model bicubic --json"
    done = subprocess.run(["sh", "-c", f"{command} {closed}"], cwd=tmp_path, env=settings({}))
    assert done.returncode == 0
    assert (tmp_path / "out/b.tif").read_bytes() == (tmp_path / "there/b.tif").read_bytes()


def test_a_removed_current_folder_harms_no_whole_path(scenes, tmp_path):
    (tmp_path / "gone").mkdir()
    command = f"{sys.executable} -m geosr superres {scenes}/b.tif {{}} --model bicubic"
    for dst, code in ((tmp_path / "out", 0), ("out", 2)):
        done = subprocess.run(
            ["sh", "-c", f"cd gone && rmdir ../gone && exec {command.format(dst)}"],
            cwd=tmp_path, env=settings({}), capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        (tmp_path / "gone").mkdir()
    assert (tmp_path / "out/b.tif").exists() and "not writable: out" in done.stderr


def test_a_failure_of_the_machine_that_nobody_foresaw_ends_with_5(geosr, scenes, monkeypatch):
    def fail(*_, **__):
        raise OSError(24, "Too many open files", "in")

    monkeypatch.setattr(batch, "run", fail)
    fails(geosr("superres", "in", "out", *BICUBIC), 5, "in: Too many open files")
