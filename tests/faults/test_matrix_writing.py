"""Faults of writing, storage, signals and schedulers that no other file injects."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
from conftest import settings
from faulty import BICUBIC, fails, left, limit, snapshot
from rasterio import Affine
from rasterio._err import CPLE_AppDefinedError

from geosr.batch import batch, records, status
from geosr.inference import superres
from geosr.raster import files, publish, writer
from geosr.raster.grid import Grid

KILLS = 50  # of a batch, at random moments
SCENES = 200  # in it
CRONS = 20  # pairs of runs begun at once


@pytest.fixture
def stacks(tmp_path) -> Path:
    """Three stacks of 12 pixels, a, b and c."""
    for i, name in enumerate("abc"):
        scene_files.write_stack(tmp_path / f"in/{name}.tif", size=12, seed=i)
    return tmp_path / "in"


def start(tmp_path: Path, *args: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "geosr", "superres", *map(str, args)], cwd=tmp_path,
        env=settings({"OMP_NUM_THREADS": "1"}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.tif")}


# writing


def test_a_disk_that_fills_keeps_the_scenes_before_and_begins_none_after(
    program, geosr, stacks, tmp_path
):
    scene_files.write_folder(stacks / "b", size=480)
    (stacks / "b.tif").unlink()
    done = program("superres", "in", "out", *BICUBIC, "--json", preexec_fn=limit(200_000))
    fails(done, 5, "out/b.tif")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["scene"], line["code"]) for line in lines] == [("a", 0), ("b", 5)]
    assert left(tmp_path / "out") == ["a.geosr.json", "a.tif"]
    assert status.standing(tmp_path / "out/a.tif") == "finished"
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.stderr.endswith("2 done, 1 skipped, 0 failed\n")


FULL_IN_COPY = """
import resource
from pathlib import Path
from geosr.models import weights
from geosr.raster import writer
from geosr.batch.batch import run
from geosr.batch.job import Job
from geosr.batch.targets import targets
from geosr.inference.request import Request
copy = writer._copy
def full(*args):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        copy(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
writer._copy = full
(Path("out")).mkdir()
job = Job(weights.load("bicubic"), Request(format="COG"))
for outcome in run(targets(Path("in"), Path("out")), job):
    print(outcome.code, outcome.message)
"""


def test_a_disk_that_is_full_for_the_cog_alone_leaves_no_intermediate(tmp_path):
    scene_files.write_folder(tmp_path / "in/a", size=120)
    scene_files.write_folder(tmp_path / "in/b", size=120)
    done = subprocess.run([sys.executable, "-c", FULL_IN_COPY], cwd=tmp_path, text=True,
                          env=settings(None), capture_output=True)  # fmt: skip
    (said,) = done.stdout.splitlines()
    assert said.startswith("5 ") and "out/a.tif" in said, done.stderr
    assert left(tmp_path / "out") == []


def test_an_error_of_gdals_drivers_makes_one_think_of_the_disk(tmp_path):
    error = CPLE_AppDefinedError(3, 1, "TIFFAppendToStrip:Write error at scanline 0")
    assert "disk full?" in str(publish.not_written(tmp_path / "a.tif", error))


@pytest.mark.parametrize("dst", ["/proc/geosr", "/dev/null/out", "/proc/geosr.tif"])
def test_places_that_take_no_files_are_refused_before_any_work(geosr, stacks, dst, monkeypatch):
    monkeypatch.setattr(batch, "attempt", None)  # never called
    fails(geosr("superres", "in/a.tif", dst, *BICUBIC), 2, "not writable")


def test_a_destination_on_another_disk_gets_its_temporary_files_there(geosr, stacks, tmp_path):
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second disk")
    there = shm / f"geosr-{os.getpid()}"
    there.mkdir()
    (tmp_path / "out").symlink_to(there)
    try:
        assert geosr("superres", "in/a.tif", "out", *BICUBIC,
                     env={"TMPDIR": "/proc/none"}).returncode == 0  # fmt: skip
        assert left(there) == ["a.geosr.json", "a.tif"]
    finally:
        shutil.rmtree(there)


@pytest.mark.parametrize("form", ["GTiff", "COG"])
def test_unfinished_outputs_may_lie_on_another_disk(geosr, stacks, tmp_path, form, monkeypatch):
    other = Path(tempfile.mkdtemp(dir="/dev/shm")) if Path("/dev/shm").is_dir() else tmp_path / "t"
    other.mkdir(exist_ok=True)
    dead = other / f".a.{publish._place()}.999999999.01234567.part.tif"
    dead.touch()
    moved, publishing = [], publish.publish
    monkeypatch.setattr(
        publish, "publish", lambda part, final: (moved.append(part), publishing(part, final))
    )
    plain = ("superres", "in", "plain", *BICUBIC, "--format", form)
    fails(geosr(*plain), 0)
    moved.clear()
    fails(geosr("superres", "in", "out", *plain[3:], "--tmp-dir", str(other)), 0)
    rasters = {part.parent.name for part in moved if part.suffix == ".tif"}  # not how long it took
    assert rasters == {"out"}  # renamed within its disk
    assert outputs(tmp_path / "out") == outputs(tmp_path / "plain")
    assert left(other) == []
    shutil.rmtree(other)


def test_a_damaged_copy_is_not_published(geosr, stacks, tmp_path, monkeypatch):
    def short(source, target):
        target.write_bytes(source.read_bytes()[:-400])

    monkeypatch.setattr(writer.shutil, "copyfile", short)
    (tmp_path / "t").mkdir()
    fails(geosr("superres", "in/a.tif", "out.tif", *BICUBIC, "--tmp-dir", "t"), 5, "verify")
    assert left(tmp_path / "t") == [] and not (tmp_path / "out.tif").exists()


def test_the_place_for_unfinished_outputs_is_looked_at_first(geosr, stacks, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "run", None)  # never called
    run = ("superres", "in", "out", *BICUBIC, "--tmp-dir")
    fails(geosr(*run, "in"), 2, "lies in the input")
    fails(geosr(*run, "nowhere"), 2, "nowhere")
    usage = publish.shutil.disk_usage(tmp_path)
    monkeypatch.undo()
    (tmp_path / "t").mkdir()
    monkeypatch.setattr(
        publish.shutil, "disk_usage",
        lambda path: usage._replace(free=10) if Path(path).name == "t" else usage,
    )  # fmt: skip
    fails(geosr(*run, "t"), 5, "10 free in t")


def test_outputs_beyond_4_gib_are_bigtiffs(tmp_path):
    grid = Grid(None, Affine(10, 0, 0, 0, -10, 0), 70_000, 70_000)
    layout = writer.Layout(grid, ("B2",), np.dtype("uint16"), options={"SPARSE_OK": "TRUE"})
    with rasterio.Env(**files.SETTINGS):
        writer.RasterWriter(tmp_path / "part.tif", tmp_path / "o.tif", layout).close()
    assert (tmp_path / "part.tif").read_bytes()[:4] == b"II+\0"
    with rasterio.open(tmp_path / "part.tif") as dataset:
        assert dataset.shape == (70_000, 70_000)


@pytest.mark.parametrize("verbose", [(), ("-vv",)])
def test_a_bug_among_the_tiles_costs_one_scene(geosr, stacks, tmp_path, monkeypatch, verbose):
    strips = superres.strips

    def breaks(reader, *args, **more):
        for strip in strips(reader, *args, **more):
            if reader.scene.name == "b":
                raise ZeroDivisionError("a bug")
            yield strip

    monkeypatch.setattr(superres, "strips", breaks)
    done = geosr("superres", "in", "out", *BICUBIC, *verbose)
    assert done.returncode == 3
    assert "b: internal error on in/b.tif: ZeroDivisionError: a bug" in done.stderr
    assert ("Traceback" in done.stderr) is bool(verbose)
    assert left(tmp_path / "out") == ["a.geosr.json", "a.tif", "c.geosr.json", "c.tif"]


def test_an_input_folder_may_be_mounted_read_only(stacks, tmp_path):
    scene_files.write_folder(stacks / "d", size=60)
    scene_files.write_safe(stacks, size=60)
    before = snapshot(stacks)
    mount = f"mount --bind {stacks} {stacks} && mount -o remount,bind,ro {stacks}"
    run = f"{sys.executable} -m geosr superres in out --model bicubic --check"
    tried = f"{mount} && ! touch in/probe 2> /dev/null || exit 99; {run}"
    if not shutil.which("unshare"):
        pytest.skip("nothing can be mounted here")
    done = subprocess.run(["unshare", "-m", "sh", "-c", tried], cwd=tmp_path, env=settings({}),
                          capture_output=True, text=True)  # fmt: skip
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert done.returncode == 0, done.stderr
    assert snapshot(stacks) == before


def test_outputs_follow_umask_and_the_folders_group(geosr, stacks, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    if os.getuid() == 0:
        os.chown(folder, 0, 12345)
    folder.chmod(0o2775)
    mask = os.umask(0o027)
    try:
        assert geosr("superres", "in/a.tif", "out", *BICUBIC).returncode == 0
    finally:
        os.umask(mask)
    for path in folder.iterdir():
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.stat().st_gid == folder.stat().st_gid


@pytest.mark.parametrize("when", [-1_000_000_001, 0, 2**33 * 10**9 + 7])
def test_times_before_1970_and_far_ahead_are_compared_not_judged(geosr, stacks, when):
    os.utime(stacks / "a.tif", ns=(when, when))
    assert "1 done" in geosr("superres", "in/a.tif", "out", *BICUBIC).stderr
    assert "1 skipped" in geosr("superres", "in/a.tif", "out", *BICUBIC).stderr
    os.utime(stacks / "a.tif", ns=(when, when + 4096 * 10**9))
    assert "1 done" in geosr("superres", "in/a.tif", "out", *BICUBIC).stderr


def test_full_standard_output_costs_the_lines_and_not_the_rasters(stacks, tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "geosr", "superres", "in", "out", *BICUBIC, "--json"],
            cwd=tmp_path, env=settings({}), stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert not [name for name in left(tmp_path / "out") if name.startswith(".")]


# signals and schedulers


def test_a_closed_pipe_damages_no_output(geosr, stacks, tmp_path):
    command = f"{sys.executable} -m geosr superres in out --model bicubic --json | head -n 1"
    subprocess.run(command, shell=True, cwd=tmp_path, env=settings({}), capture_output=True)
    assert all(status.standing(path) == "finished" for path in (tmp_path / "out").glob("*.tif"))
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.returncode == 0 and ", 0 failed" in done.stderr
    assert len(left(tmp_path / "out")) == 6


def test_after_a_signal_the_same_command_finishes(geosr, stacks, tmp_path):
    scene_files.write_folder(stacks / "big", size=480)
    process = start(tmp_path, "in", "out", *BICUBIC, "--tile-size", "12")
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".big.*.part.tif")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert time.monotonic() - begun < 10
    before = outputs(tmp_path / "out")
    assert set(before) == {"a.tif", "b.tif"}
    done = geosr("superres", "in", "out", *BICUBIC)
    assert "2 done, 2 skipped, 0 failed" in done.stderr
    assert outputs(tmp_path / "out").items() > before.items()


def test_without_a_home_nothing_is_missed(program, stacks, tmp_path):
    env = {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "TORCH_HOME": "/proc/none"}
    done = program("superres", "in/a.tif", "out", *BICUBIC, "-q", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def crons(tmp_path: Path, *more: str) -> list[tuple[int, str]]:
    """Two runs of the same, begun together: their exit codes and what they said."""
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    both = [start(tmp_path, "in", "out", *BICUBIC, *more) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    return sorted(zip((process.returncode for process in both), said, strict=True))


@pytest.mark.parametrize(
    "rounds, more, code",
    [
        (1, (), 11),
        pytest.param(CRONS, (), 11, marks=pytest.mark.slow),
        pytest.param(CRONS, ("--if-locked", "skip"), 0, marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(1800)
def test_of_two_crons_at_the_same_second_one_works(tmp_path, rounds, more, code):
    scene_files.write_folder(tmp_path / "in/a", size=240)
    expected = None
    for _ in range(rounds):
        (first, said), (second, refused) = crons(tmp_path, "--tile-size", "12", *more)
        assert "Traceback" not in said + refused
        assert (said + refused).count("1 done") == 1  # nothing is done twice
        late = "finished already" in said + refused  # it began when the other had ended
        assert (first, second) == (0, 0 if late else code), (said, refused)
        if code and not late:
            assert "another run does these" in refused
        made = outputs(tmp_path / "out")
        expected = expected or made
        assert made == expected and left(tmp_path / "out") == ["a.geosr.json", "a.tif"]


# a night of kills


def computed(folder: Path, *, settled: bool = False) -> dict[str, tuple[int, bytes]]:
    """When each record was written, and what it says; settled ones have no journal any more."""
    found = sorted(folder.glob("*.geosr.json"))
    stems = [path.name.removesuffix(".geosr.json") for path in found]
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes())
        for path, stem in zip(found, stems, strict=True)
        if not (settled and records.journal_path(folder / f"{stem}.tif").exists())
    }


def test_killed_between_record_and_journal_the_next_run_skips(geosr, stacks, tmp_path):
    assert geosr("superres", "in/a.tif", "out", *BICUBIC).returncode == 0
    stat = (tmp_path / "out/a.tif").stat()
    journal = records.journal_path(tmp_path / "out/a.tif")
    journal.write_text(json.dumps([stat.st_size, stat.st_mtime_ns]))
    record = records.record_path(tmp_path / "out/a.tif")
    os.utime(journal, ns=(0, record.stat().st_mtime_ns - 1))
    done = geosr("superres", "in/a.tif", "out", *BICUBIC)
    assert "1 skipped" in done.stderr and not journal.exists()


def torture(tmp_path: Path, kills: int, rng: random.Random) -> int:
    """Kill runs of in to out at random moments of their work; returns the kills that struck."""
    out = tmp_path / "out"
    struck = 0
    for _ in range(kills):
        before, settled = computed(out), computed(out, settled=True)
        process = start(tmp_path, "in", "out", *BICUBIC, "-q")
        deadline = time.monotonic() + 60
        while computed(out) == before and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(rng.random() * 0.2)
        struck += process.poll() is None
        process.kill()
        process.communicate()
        after = computed(out)
        assert settled.items() <= after.items()  # what has a record is not done again
        if len(after) == len(list((tmp_path / "in").iterdir())):
            break
    return struck


@pytest.mark.parametrize(
    "scenes, kills", [(4, 2), pytest.param(SCENES, KILLS, marks=pytest.mark.slow)]
)
@pytest.mark.timeout(1800)
def test_a_batch_killed_again_and_again_ends_as_if_undisturbed(tmp_path, geosr, scenes, kills):
    for i in range(scenes):
        scene_files.write_stack(tmp_path / f"in/{i:03}.tif", size=12, seed=i)
    assert geosr("superres", "in", "whole", *BICUBIC, "-q").returncode == 0
    struck = torture(tmp_path, kills, random.Random(0))
    assert struck >= min(kills, scenes) // 2
    before = computed(tmp_path / "out", settled=True)
    done = geosr("superres", "in", "out", *BICUBIC, "-q")
    assert done.returncode == 0 and before.items() <= computed(tmp_path / "out").items()
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert len(outputs(tmp_path / "out")) == scenes
    assert left(tmp_path / "out") == left(tmp_path / "whole")
