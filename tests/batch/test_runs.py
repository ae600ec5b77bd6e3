"""A run as a whole: locks, shards, space, memory, signals, its log, and a night under cron."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
import torch
from conftest import ROOT, settings
from faulty import BICUBIC, left

from geosr.batch import batch, locks, status
from geosr.batch.job import Job
from geosr.batch.targets import shard, targets
from geosr.errors import LockedError
from geosr.inference import backoff, predict
from geosr.inference.engine import Engine
from geosr.inference.request import Request
from geosr.models import weights
from geosr.models.card import Model
from geosr.models.memory import per_pixel
from geosr.raster import lockfile, publish


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Two scenes, a and b, and an empty folder out."""
    for i, name in enumerate("ab"):
        scene_files.write_folder(tmp_path / "in" / name, size=60, seed=i)
    (tmp_path / "out").mkdir()
    return tmp_path / "in"


def statuses(outcomes) -> list[str]:
    return [outcome.status for outcome in outcomes]


def test_strict_resume_sees_what_size_and_time_do_not_tell(geosr, scenes, tmp_path):
    rasterio.shutil.copy(scenes / "a/20m.tif", tmp_path / "raw.tif", compress="none")
    path = (tmp_path / "raw.tif").replace(scenes / "a/20m.tif")
    strict = ("superres", "in/a", "out", *BICUBIC, "--strict-resume")
    assert "1 done" in geosr(*strict).stderr
    data, times = bytearray(path.read_bytes()), path.stat()
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "1 skipped" in geosr("superres", "in/a", "out", *BICUBIC).stderr
    assert "1 done" in geosr(*strict).stderr


# locks

HOLD = """
import sys
from pathlib import Path
from geosr.batch import locks
from geosr.batch.targets import targets
src, dst = Path("in"), Path("out")
with locks.run_locked(dst, targets(src, dst)):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_run(scenes, tmp_path):
    """Another process that holds the lock of a run of all scenes into out."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=tmp_path, env=settings({}), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_of_the_same_scenes_fails_skips_or_waits(geosr, other_run, tmp_path):
    (lock,) = (tmp_path / "out").glob(".geosr-*.lock")
    assert re.fullmatch(r"\.geosr-[0-9a-f]{12}\.lock", lock.name)
    run = ("superres", "in", "out", *BICUBIC)
    done = geosr(*run)
    assert done.returncode == 11
    assert f"(pid {other_run.pid} on " in done.stderr and "Wait for it to end" in done.stderr
    done = geosr(*run, "--if-locked", "skip")
    assert done.returncode == 0 and "another run does these 2 scenes" in done.stderr
    assert geosr(*run, "--if-locked", "skip", "-q").stderr == ""
    begun = time.monotonic()
    done = geosr(*run, "--if-locked", "wait", "--lock-timeout", "0.5")
    assert done.returncode == 11 and time.monotonic() - begun >= 0.5
    assert left(tmp_path / "out") == [lock.name]
    threading.Timer(0.5, other_run.kill).start()
    done = geosr(*run, "--if-locked", "wait")
    assert done.returncode == 0 and "2 done" in done.stderr
    assert "waiting: another run" in done.stderr
    assert not list((tmp_path / "out").glob(".*"))


def test_a_killed_holder_leaves_nothing_to_unlock(geosr, other_run, tmp_path):
    other_run.kill()
    other_run.communicate()
    assert list((tmp_path / "out").glob(".geosr-*.lock"))
    assert geosr("superres", "in", "out", *BICUBIC).returncode == 0
    assert not list((tmp_path / "out").glob(".*"))


def test_other_scenes_and_other_shards_share_a_folder(geosr, other_run, tmp_path):
    assert geosr("superres", "in/a", "out", *BICUBIC).returncode == 0
    for part in ("1/3", "2/3", "3/3"):
        assert geosr("superres", "in", "out", *BICUBIC, "--shard", part).returncode == 0
    assert len(list((tmp_path / "out").glob("*.tif"))) == 2


def test_the_lock_of_a_run_is_no_output(geosr, other_run):
    assert json.loads(geosr("status", "out", "--json").stdout)["writing"] == []


@pytest.mark.parametrize("how, code", [((), 3), (("--if-locked", "skip"), 0)])
def test_an_output_that_another_run_writes_is_left_to_it(geosr, scenes, tmp_path, how, code):
    with locks.locked(tmp_path / "out/a.tif"):
        done = geosr("superres", "in", "out", *BICUBIC, "--json", *how)
    lines = {line["scene"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == code and lines["b"]["status"] == "done"
    assert "being written by another run (pid" in lines["a"]["message"]
    assert lines["a"]["status"] == ("failed" if code else "skipped")


def test_waiting_for_an_output_goes_on_when_it_is_free(scenes, tmp_path):
    outputs = targets(scenes / "a", tmp_path / "out")
    job = Job(weights.load("bicubic"), lock_timeout=30)
    held, release = threading.Event(), threading.Event()

    def hold():
        with locks.locked(tmp_path / "out/a.tif"):
            held.set()
            release.wait(30)

    threading.Thread(target=hold).start()
    held.wait(30)
    threading.Timer(0.3, release.set).start()
    assert statuses(batch.run(outputs, job)) == ["done"]


def test_without_locks_two_runs_still_leave_whole_outputs(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(lockfile, "locked", lambda *_: nullcontext())
    outputs, job = targets(scenes, tmp_path / "out"), Job(weights.load("bicubic"))
    threads = [threading.Thread(target=batch.run, args=(outputs, job)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses(batch.run(outputs, job)) == ["skipped", "skipped"]
    assert {status.standing(output) for output in outputs.values()} == {"finished"}
    assert not list((tmp_path / "out").glob(".*"))


def test_locks_tell_their_holder_in_one_harmless_line(tmp_path):
    output = tmp_path / "a.tif"
    with locks.locked(output):
        locks.lock_path(output).write_bytes(b"\x1b[31mpid 7\nforged\xff" + b"x" * 10000)
        with pytest.raises(LockedError) as caught, locks.locked(output):
            pass
    said = str(caught.value)
    assert "pid 7forged" in said and "\n" not in said and "\x1b" not in said and len(said) < 500


# shards


def test_shards_are_all_scenes_and_none_twice_whatever_else_is_there():
    outputs = {Path(f"in/{i}"): Path(f"out/scene{i}.tif") for i in range(100)}
    parts = [shard(outputs, part, 7) for part in range(1, 8)]
    assert sum(map(len, parts)) == 100 and set().union(*parts) == set(outputs)
    assert all(5 <= len(part) <= 25 for part in parts)
    fewer = dict(list(outputs.items())[::-3])
    assert all(
        set(shard(fewer, i + 1, 7)) == set(part) & set(fewer) for i, part in enumerate(parts)
    )
    assert shard(outputs, 1, 1) == outputs


def test_shards_run_one_by_one_do_the_whole_folder(geosr, scenes, tmp_path):
    scene_files.write_folder(scenes / "c", size=60)
    for part in (1, 2, 3):
        done = geosr("superres", "in", "out", *BICUBIC, "--shard", f"{part}/3")
        assert done.returncode == 0
        assert "done" in done.stderr or f"no scenes in in in shard {part}/3" in done.stderr
    assert {path.name for path in (tmp_path / "out").glob("*.tif")} == {"a.tif", "b.tif", "c.tif"}
    reports = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("geosr-run-*of3.json")]
    assert sum(report["done"] for report in reports) == 3
    assert "3 skipped" in geosr("superres", "in", "out", *BICUBIC).stderr


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3"])
def test_shards_that_make_no_sense_are_refused(geosr, scenes, tmp_path, shard):
    done = geosr("superres", "in", "out", *BICUBIC, "--shard", shard)
    assert done.returncode == 2 and "I/N" in done.stderr and left(tmp_path / "out") == []


# space and devices


def test_too_little_space_stops_the_run_before_any_work(geosr, scenes, tmp_path, monkeypatch):
    full = publish.shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(publish.shutil, "disk_usage", lambda path: full)
    monkeypatch.setattr(backoff, "superres", None)  # never called
    done = geosr("superres", "in", "out", *BICUBIC, "--json")
    assert done.returncode == 5
    assert f"{60 * 60 * 12 * 2 * 12 // 10:,} bytes needed" in done.stderr
    assert "100,000 free" in done.stderr
    assert len(done.stdout.splitlines()) == 1 and left(tmp_path / "out") == []


def test_who_knows_better_goes_on_all_the_same(geosr, scenes, tmp_path, monkeypatch):
    full = publish.shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(publish.shutil, "disk_usage", lambda path: full)
    done = geosr("superres", "in", "out", *BICUBIC, "--no-space-check")
    assert done.returncode == 0 and "2 done" in done.stderr


def test_finished_scenes_need_no_space(geosr, scenes, monkeypatch):
    geosr("superres", "in", "out", *BICUBIC)
    monkeypatch.setattr(publish, "require_space", None)
    assert "2 skipped" in geosr("superres", "in", "out", *BICUBIC).stderr


@pytest.mark.parametrize("error", [torch.AcceleratorError, RuntimeError])
def test_a_lost_gpu_stops_the_run(scenes, tmp_path, monkeypatch, error):
    def lost(*_, **__):
        raise error("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(backoff, "superres", lost)
    job = Job(weights.load("bicubic"), engine=Engine("cuda:1"))
    outcomes = batch.run(targets(scenes, tmp_path / "out"), job)
    assert [(outcome.status, outcome.code) for outcome in outcomes] == [("failed", 5)]
    assert batch.exit_code(outcomes) == 5
    assert "cuda:1 is lost (CUDA error: unspecified launch failure" in outcomes[0].message


# memory and numbers


class Faulty(torch.nn.Module):
    """A net that fails as told, else works as the one inside."""

    def __init__(self, net, fails):
        super().__init__()
        self.net, self.fails = net, fails

    def forward(self, inputs):
        out = self.net(inputs)
        return self.fails(inputs[20], out)


def plain() -> tuple[Model, ...]:
    return weights.load("bicubic-20")


def faulty(fails) -> tuple[Model, ...]:
    nets = tuple(Model(model.card, Faulty(model.net, lambda x, out: out)) for model in plain())
    for net in nets:
        per_pixel(net)  # what it needs is told before it fails
        net.net.fails = fails
    return nets


def out_of(error, *, above: int, of=lambda x: x.shape[-1]):
    """Fails for inputs of more pixels along than so many, of 20 m."""

    def fails(x, out):
        if of(x) > above:
            raise error
        return out

    return fails


def done_by(nets, tmp_path, *, request=Request(), engine=Engine(), batch_fixed=False):  # noqa: B008
    """The outcome of a scene of 240 pixels, and its pixels."""
    if not (tmp_path / "large").exists():
        scene_files.write_folder(tmp_path / "large", size=240)
    out = tmp_path / "by"
    out.mkdir(exist_ok=True)
    job = Job(nets, request, engine=engine, batch_fixed=batch_fixed, overwrite=True)
    (outcome,) = batch.run(targets(tmp_path / "large", out), job)
    pixels = None
    if outcome.status == "done":
        with rasterio.open(out / "large.tif") as dataset:
            pixels = dataset.read()
        for path in out.iterdir():
            path.unlink()
    return outcome, pixels


OOM = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("error", [
    MemoryError("Unable to allocate 9 GiB"),
    OOM,
    RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried 1 bytes"),
])  # fmt: skip
def test_where_memory_runs_out_tiles_are_halved_and_pixels_stay(tmp_path, caplog, error):
    _, expected = done_by(plain(), tmp_path)
    outcome, pixels = done_by(faulty(out_of(error, above=80)), tmp_path)
    assert (outcome.status, outcome.tile) == ("done", 120)
    np.testing.assert_array_equal(pixels, expected)
    assert [r.getMessage().split(": ", 1)[1] for r in caplog.records if "memory" in r.msg] == [
        "out of memory, again with tiles of 120 px"
    ]


def test_batches_are_halved_first(tmp_path, caplog):
    request = Request(tile_size=60)
    _, expected = done_by(plain(), tmp_path, request=request)
    nets = faulty(out_of(OOM, above=1, of=len))
    outcome, pixels = done_by(nets, tmp_path, request=request, engine=Engine(batch_size=4))
    assert (outcome.status, outcome.tile) == ("done", 60)
    np.testing.assert_array_equal(pixels, expected)
    assert re.findall(r"batches of (\d)", caplog.text) == ["2", "1"]


@pytest.mark.parametrize("given, said", [
    ({"request": Request(tile_size=240)}, "--tile-size 240 is never changed"),
    ({"engine": Engine(batch_size=2), "batch_fixed": True, "request": Request(tile_size=120)},
     "--batch-size 2 and --tile-size 120 is never changed"),
    ({}, "Tiles of 64 px are the least"),
])  # fmt: skip
def test_what_is_given_is_never_changed_and_64_px_are_the_least(tmp_path, given, said):
    sizes = set()

    def fails(x, out):
        sizes.add(x.shape[-1])
        raise OOM

    outcome, _ = done_by(faulty(fails), tmp_path, **given)
    assert (outcome.status, outcome.code) == ("failed", 3)
    assert "out of memory (CUDA out of memory. Tried to" in outcome.message
    assert said in outcome.message
    assert len(sizes) == (1 if given else 3)
    assert not list((tmp_path / "by").iterdir())


def test_a_given_batch_size_leaves_the_tile_to_be_halved(tmp_path):
    nets = faulty(out_of(OOM, above=80))
    outcome, _ = done_by(nets, tmp_path, engine=Engine(batch_size=2), batch_fixed=True)
    assert (outcome.status, outcome.tile) == ("done", 120)


def test_a_second_attempt_does_not_hold_what_the_first_one_made(tmp_path):
    dead = []

    def fails(x, out):
        dead.append(dead[0]() is None if dead else weakref.ref(x))
        if len(dead) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return out

    outcome, _ = done_by(faulty(fails), tmp_path)
    assert outcome.status == "done" and dead[1] is True


def test_progress_begins_again_with_the_scene(tmp_path):
    scene_files.write_folder(tmp_path / "large", size=240)
    job, seen = Job(faulty(out_of(OOM, above=80))), []
    (tmp_path / "by").mkdir()
    outputs = targets(tmp_path / "large", tmp_path / "by")
    batch.run(outputs, job, progress=lambda name, n, total: seen.append((n, total)))
    assert [total for _, total in seen] == [1, 1, *[4] * 4]
    assert [n for n, _ in seen] == [1, -1, 1, 1, 1, 1]


def numpys_own():
    with pytest.raises(MemoryError) as found:
        np.empty(1 << 60, np.uint8)
    return found.value


@pytest.mark.parametrize("error, memory, lost", [
    (MemoryError(), True, False),
    (numpys_own(), True, False),
    (torch.OutOfMemoryError("CUDA out of memory."), True, False),
    (torch.AcceleratorError("CUDA error: out of memory"), True, False),
    (RuntimeError("MPS backend out of memory"), True, False),
    (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True, False),
    (RuntimeError("GET was unable to find an engine to execute this computation"), True, False),
    (RuntimeError("not enough memory: you tried to allocate 8 bytes"), True, False),
    (torch.AcceleratorError("CUDA error: device-side assert triggered"), False, True),
    (RuntimeError("CUDA error: unspecified launch failure"), False, True),
    (RuntimeError("size mismatch"), False, False),
    (ValueError("out of memory"), False, False),
    (OSError("CUDA error"), False, False),
])  # fmt: skip
def test_failures_are_told_apart(error, memory, lost):
    assert predict.out_of_memory(error) is memory
    assert predict.device_lost(error) is lost


def test_nan_in_half_precision_is_computed_again_in_fp32(tmp_path, caplog):
    def fails(x, out):
        return out * torch.nan if torch.is_autocast_enabled("cpu") else out

    caplog.set_level(logging.INFO, "geosr")
    _, expected = done_by(plain(), tmp_path)
    outcome, pixels = done_by(faulty(fails), tmp_path, engine=Engine(precision="bf16"))
    assert outcome.status == "done", outcome.message
    np.testing.assert_array_equal(pixels, expected)
    assert "gave NaN or Inf in bf16: 1 tiles again in fp32" in caplog.text


def test_nan_in_fp32_too_fails_the_scene(tmp_path):
    nets = faulty(lambda x, out: out * torch.nan)
    outcome, _ = done_by(nets, tmp_path, engine=Engine(precision="bf16"))
    assert (outcome.status, outcome.code) == ("failed", 3)
    assert "gave NaN or Inf in fp32" in outcome.message


# the log file


LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (INFO|WARNING|ERROR) \S.*")


def test_the_log_file_gets_everything_though_the_run_is_quiet(geosr, scenes, tmp_path):
    (scenes / "b/20m.tif").write_text("<html>")
    run = ("superres", "in", "out", *BICUBIC, "--log-file", "night.log")
    done = geosr(*run, "-q")
    assert done.returncode == 3 and [line[:8] for line in done.stderr.splitlines()] == [
        "geosr: b", "1 done, ",
    ]  # fmt: skip
    lines = (tmp_path / "night.log").read_text().splitlines()
    assert all(LINE.fullmatch(line) for line in lines)
    text = "\n".join(lines)
    for said in ("INFO started: 2 scenes", "WARNING no DN offset", "INFO a: done in ",
                 "ERROR b: in/b/20m.tif", "ERROR 1 done, 0 skipped, 1 failed"):  # fmt: skip
        assert said in text
    geosr(*run)
    again = (tmp_path / "night.log").read_text()
    assert again.startswith(text) and "INFO a: skipped" in again


def test_json_lines_tell_outcomes_codes_and_how_the_run_ended(geosr, scenes, tmp_path):
    (scenes / "b/20m.tif").write_text("<html>")
    geosr("superres", "in", "out", *BICUBIC, "--log-file", "log.jsonl", "--log-json", "-q")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    outcomes = {line["outcome"]["scene"]: line["outcome"] for line in lines if "outcome" in line}
    assert (outcomes["a"]["status"], outcomes["b"]["code"]) == ("done", 3)
    assert (lines[-1]["code"], lines[-1]["failed"]) == (3, 1)
    geosr("superres", "in", "in/x", *BICUBIC, "--log-file", "log.jsonl", "--log-json")
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert (last["level"], last["code"]) == ("ERROR", 2) and "never written to" in last["message"]
    geosr("superres", "http://x.tif", "out", "--log-file", "log.jsonl", "--log-json")
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["code"] == 2 and "local files only" in last["message"]


def test_a_log_file_that_cannot_be_written_is_a_usage_error(geosr, scenes, tmp_path):
    done = geosr("superres", "in", "out", *BICUBIC, "--log-file", "nowhere/night.log")
    assert done.returncode == 2 and "nowhere/night.log: not writable" in done.stderr
    assert left(tmp_path / "out") == []


def test_a_path_cannot_forge_a_line(geosr, scenes, tmp_path):
    evil = scenes / "x\n2000-01-01T00:00:00Z INFO all is well"
    evil.mkdir()
    (evil / "10m.tif").write_text("<html>")
    geosr("superres", "in", "out", *BICUBIC, "--log-file", "night.log", "-q")
    text = (tmp_path / "night.log").read_text()
    assert "\\n2000-01-01" in text and "\n2000-01-01" not in text


# signals


def test_a_second_interrupt_leaves_at_once(tmp_path):
    code = (
        "import os, signal\n"
        "from geosr.cli import main\n"
        "main.handle_signals()\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"  # disturbs no clean-up
        "    print('cleaning', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('never')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=settings({}), capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"cleaning\n", b"")


def test_a_signal_ends_with_a_report_and_a_line_in_the_log(tmp_path):
    scene_files.write_folder(tmp_path / "slow", size=960)
    process = subprocess.Popen(
        [sys.executable, "-m", "geosr", "superres", "slow", "out", *BICUBIC, "--tile-size", "12",
         "--log-file", "log"], cwd=tmp_path, env=settings({}), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".*.part*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)  # under nohup: ignored
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and said.endswith("geosr: ended by SIGTERM\n")
    assert left(tmp_path / "out") == []
    report = status.load_run(tmp_path / "out")
    assert (report["code"], report["scenes"]) == (143, [])
    assert (tmp_path / "log").read_text().endswith("Z ERROR ended by SIGTERM\n")


# cron


def in_place(text: str, tmp_path: Path) -> str:
    return text.replace("/data/", f"{tmp_path}/")


@pytest.fixture
def installed(scenes, tmp_path) -> Path:
    """A program, settings and scenes where the examples say they are."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    program = tmp_path / "venv/bin/geosr"
    program.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={ROOT}\nexec {sys.executable} -m geosr "$@"\n'
    )
    program.chmod(0o755)
    text = (ROOT / "examples/cron/geosr.env").read_text().replace("dsen2", "bicubic")
    (tmp_path / "geosr.env").write_text(in_place(text, tmp_path))
    return tmp_path


def as_cron(line: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["/bin/sh", "-c", line], env={}, cwd="/", stdin=subprocess.DEVNULL, capture_output=True,
        text=True,
    )  # fmt: skip


def commands() -> list[str]:
    """What the examples for cron and systemd start."""
    readme = (ROOT / "examples/cron/README.md").read_text()
    (crontab,) = re.findall(r"<!-- crontab -->\n```\n[\d* ]+ (/.*)\n```", readme)
    service = (ROOT / "examples/cron/geosr.service").read_text()
    return [crontab, *re.findall("^ExecStart=(.*)$", service, re.MULTILINE)]


def test_cron_and_systemd_start_the_same():
    assert len(commands()) == 2 and len(set(commands())) == 1


def test_a_night_under_cron_works_without_home_terminal_or_environment(installed):
    line = in_place(commands()[0], installed)
    done = as_cron(line)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in (installed / "out").glob("*.tif")} == {"a.tif", "b.tif"}
    log = (installed / "geosr.log").read_text()
    assert "2 done, 0 skipped, 0 failed" in log and "\r" not in log
    outputs = targets(installed / "in", installed / "out")
    with locks.run_locked(installed / "out", outputs):
        done = as_cron(line)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "Skipped." in (installed / "geosr.log").read_text()
