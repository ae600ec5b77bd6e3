"""Several processes, hosts and containers in one folder, and a DST that changes during a run."""

import errno
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import rasterio
import scene_files
from faulty import left, snapshot

from geosr.batch import batch, locks
from geosr.batch.executors import processes
from geosr.batch.job import Job
from geosr.batch.targets import targets
from geosr.errors import LockedError
from geosr.models import weights
from geosr.raster import flock, lockfile, publish

HERE = ("0a0a0a0a", "7")  # a run of a kernel and a PID namespace in it
GONE = 999_999_999  # no process has this id
OURS = 0  # our own process id, which no test is named by
DAY = 24 * 3600


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Three stacks of 12 pixels, a, b and c; and an empty out/."""
    for i, name in enumerate("abc"):
        scene_files.write_stack(tmp_path / f"in/{name}.tif", size=12, seed=i)
    (tmp_path / "out").mkdir()
    return tmp_path / "in"


@pytest.fixture
def job(scenes) -> Job:
    return Job(weights.load("bicubic"), source=scenes)


# whose temporary files are dead


def part(folder: Path, place: str, pid: int, age: float) -> Path:
    path = folder / f".a.{place}.{pid}.0123abcd.part.tif"
    path.touch()
    then = time.time() - age
    os.utime(path, (then, then))
    return path


@pytest.mark.parametrize("place, pid, age, swept", [
    ("host-0a0a0a0a-7", GONE, 0, True),  # the same process ids: they tell at once
    ("host-0a0a0a0a-7", OURS, 0, False),
    ("host-0a0a0a0a-7", OURS, 120, True),  # an id that was used again
    ("pod-1-0a0a0a0a-7", GONE, 0, True),  # another host name, the same process ids
    ("host-0a0a0a0a-8", GONE, 0, False),  # another container: its ids say nothing here
    ("host-0a0a0a0a-8", OURS, 120, True),  # but its lock does, soon after
    ("host-0b0b0b0b-7", GONE, 120, False),  # another machine, or one that was started again
    ("host-0b0b0b0b-7", GONE, 2 * DAY, True),
    ("host", GONE, 120, False),  # of an earlier version
    ("host", GONE, 2 * DAY, True),
])  # fmt: skip
def test_temporary_files_are_swept_where_their_process_is_surely_gone(
    tmp_path, monkeypatch, place, pid, age, swept
):
    monkeypatch.setattr(publish, "_process_ids", lambda: HERE)
    path = part(tmp_path, place, pid or os.getpid(), age)
    with flock.held(path):
        held = publish.sweep_parts(tmp_path)
    assert held == ([path] if pid == GONE and place.endswith("0a0a0a0a-7") else [])
    publish.sweep_parts(tmp_path)
    assert path.exists() != swept


def test_a_process_that_ended_and_waits_to_be_asked_is_gone(tmp_path, monkeypatch):
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    path = part(tmp_path, publish._place(), child.pid, 0)
    assert publish.sweep_parts(tmp_path) == [path]
    child.wait()


def test_on_a_disk_without_locks_only_ids_tell(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(flock, "flock", refuse)
    part(tmp_path, publish._place(), os.getpid(), 9 * DAY)
    part(tmp_path, "host-0b0b0b0b-7", GONE, 9 * DAY)
    dead = part(tmp_path, publish._place(), GONE, 0)
    assert publish.sweep_parts(tmp_path) == [dead]


def test_an_output_is_held_while_it_is_written(scenes, job, tmp_path, monkeypatch):
    """A run in another container cannot tell our process ids, and sweeps nothing of ours."""
    seen, boot = [], publish._process_ids()[0]

    def look(*_: object) -> None:
        parts = list((tmp_path / "out").glob(".*.part.tif"))
        with monkeypatch.context() as patch:
            patch.setattr(publish, "_process_ids", lambda: (boot, "1"))
            patch.setattr(publish, "_OLD", -1)
            seen.append((len(parts), publish.sweep_parts(tmp_path / "out")))

    batch.run(targets(scenes, tmp_path / "out"), job, progress=look)
    assert len(seen) >= 3 and all(each == (1, []) for each in seen)


def test_names_of_temporary_files_fit_whatever_the_output_is_called(tmp_path):
    name = publish.part_path(tmp_path / ("山" * 82 + ".tif")).name
    assert len(os.fsencode(name)) <= 255 and name.endswith(".part.tif")


# locks


def test_asking_who_writes_never_makes_a_run_fail(tmp_path):
    output, over = tmp_path / "a.tif", threading.Event()

    def ask() -> None:
        while not over.is_set():
            locks.is_locked(output)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for thread in askers:
        thread.start()
    try:
        for _ in range(300):
            with locks.locked(output):
                pass
    finally:
        over.set()
        for thread in askers:
            thread.join()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_handed_on_is_held_by_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(lockfile, "_POLL", 0.001)
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with locks.locked(tmp_path / "a.tif", timeout=None):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 80 and list(tmp_path.iterdir()) == []


def test_locks_tell_at_once_and_after_a_time_that_they_are_held(tmp_path):
    with locks.locked(tmp_path / "a.tif"):
        for timeout in (0.0, 0.3):
            begun = time.monotonic()
            with pytest.raises(LockedError), locks.locked(tmp_path / "a.tif", timeout=timeout):
                pass
            assert timeout <= time.monotonic() - begun < timeout + 0.5


def test_a_scene_that_is_replaced_while_its_lock_is_waited_for_is_read_anew(tmp_path):
    path = scene_files.write_stack(tmp_path / "in/a.tif", size=12)
    other = scene_files.write_stack(tmp_path / "new.tif", size=24, seed=5)
    (tmp_path / "out").mkdir()
    job = Job(weights.load("bicubic"), lock_timeout=None)
    outputs = targets(tmp_path / "in", tmp_path / "out")
    with locks.locked(tmp_path / "out/a.tif"):
        thread = threading.Thread(target=lambda: batch.run(outputs, job))
        thread.start()
        time.sleep(0.5)
        other.replace(path)
    thread.join()
    with rasterio.open(tmp_path / "out/a.tif") as dataset:
        assert dataset.shape == (24, 24)
    assert [outcome.status for outcome in batch.run(outputs, job)] == ["skipped"]


# the machine fails in small things


@pytest.mark.parametrize("name", [".lock", ".begun", ".part"])
def test_what_cannot_be_removed_costs_no_output(scenes, job, tmp_path, monkeypatch, name):
    unlink = Path.unlink

    def fail(path: Path, *args: object, **more: object) -> None:
        if name in path.name and "probe" not in path.name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, *args, **more)

    outputs = targets(scenes, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        statuses = [outcome.status for outcome in batch.run(outputs, job)]
    assert statuses == ["done"] * 3
    assert [outcome.status for outcome in batch.run(outputs, job)] == ["skipped"] * 3
    assert not list((tmp_path / "out").glob(".*"))


def test_a_disk_that_cannot_flush_folders_still_takes_outputs(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").is_dir():
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    publish.write_bytes(tmp_path / "a.json", b"{}")
    assert left(tmp_path) == ["a.json"]


class Stuck:
    """A process that ends only where it is killed."""

    def __init__(self) -> None:
        self.killed = False

    def join(self, seconds: float | None = None) -> None:
        if not self.killed:
            time.sleep(seconds)

    def kill(self) -> None:
        self.killed = True


class Wire:
    def close(self) -> None:
        pass


def test_workers_that_hang_are_killed_after_one_patience_for_all(monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.2)
    workers = [processes._Worker(None, i) for i in range(4)]
    for worker in workers:
        worker._process, worker.wire = Stuck(), Wire()
    begun = time.monotonic()
    processes._Pool([], workers).join()
    assert time.monotonic() - begun < 0.5
    assert all(worker._process.killed for worker in workers)


# DST changes during the run


def changing(change):
    """A progress that does something once, in the middle of the first scene."""
    done = []

    def progress(*_: object) -> None:
        if not done:
            done.append(1)
            change()

    return progress


def test_a_dst_replaced_by_a_link_to_src_is_not_written_to(scenes, job, tmp_path):
    out, before = tmp_path / "out", snapshot(scenes)

    def change() -> None:
        out.rename(tmp_path / "moved")
        out.symlink_to(scenes)

    outcomes = batch.run(targets(scenes, out), job, folder=out, progress=changing(change))
    assert [(outcome.status, outcome.code) for outcome in outcomes] == [("failed", 5)]
    assert snapshot(scenes) == before and len(list(scenes.iterdir())) == 3


def test_a_dst_that_is_removed_stops_the_run(scenes, job, tmp_path):
    change = changing(lambda: shutil.rmtree(tmp_path / "out"))
    outcomes = batch.run(targets(scenes, tmp_path / "out"), job, progress=change)
    assert [(outcome.status, outcome.code) for outcome in outcomes] == [("failed", 5)]
    assert not (tmp_path / "out").exists()
