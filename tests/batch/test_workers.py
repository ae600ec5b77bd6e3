"""Scenes on several processes and on dask: the same outputs, and dead workers cost one scene."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import scene_files
import torch
from conftest import settings
from faulty import BICUBIC, left, limit

from geosr.batch import batch, status
from geosr.batch.executors.dask import Dask, _Flight
from geosr.batch.executors.worker import Order, _device, _net, do
from geosr.batch.job import Job
from geosr.batch.targets import targets
from geosr.errors import UsageError
from geosr.inference.request import Request
from geosr.models import registry, weights

SLOW = (*BICUBIC, "--tile-size", "12", "--jobs", "2")


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Three scenes, a, b and c; b is broken."""
    for i, name in enumerate("abc"):
        scene_files.write_folder(tmp_path / "in" / name, size=60, seed=i)
    (tmp_path / "in/b/20m.tif").write_text("<html>")
    return tmp_path / "in"


@pytest.fixture
def slow(tmp_path) -> Path:
    """Two scenes, p and q, that take seconds with tiny tiles."""
    for name in "pq":
        scene_files.write_folder(tmp_path / "slow" / name, size=960)
    return tmp_path / "slow"


def start(tmp_path: Path, *args: object, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "geosr", "superres", *map(str, args)], cwd=tmp_path,
        env=settings({}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def writers(folder: Path, name: str = "*") -> set[int]:
    """The processes that are writing outputs, by the names of their temporary files."""
    return {int(path.name.split(".")[-4]) for path in folder.glob(f".{name}.*.part.tif")}


def wait_for(condition, process: subprocess.Popen):
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.01)
    return found


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"


def same_files(one: Path, other: Path) -> bool:
    rasters = sorted(path.name for path in one.glob("*.tif"))
    return rasters == sorted(path.name for path in other.glob("*.tif")) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in rasters
    )


def told(folder: Path) -> list:
    """What a run's report says, but for times and folders."""
    report = status.load_run(folder)
    scenes = [
        {
            **each,
            "seconds": 0,
            "output": Path(each["output"]).name,
            "message": each["message"][-20:],
        }
        for each in report["scenes"]
    ]
    return [scenes, *(report[key] for key in ("done", "skipped", "failed", "code"))]


# processes


def test_processes_do_what_one_does(geosr, scenes, tmp_path):
    one = geosr("superres", "in", "one", *BICUBIC)
    two = geosr("superres", "in", "two", *BICUBIC, "--jobs", 2)
    assert one.returncode == two.returncode == 3
    assert same_files(tmp_path / "one", tmp_path / "two")
    assert told(tmp_path / "one") == told(tmp_path / "two")
    assert left(tmp_path / "two") == ["a.geosr.json", "a.tif", "c.geosr.json", "c.tif"]
    for done in (one, two):
        assert done.stderr.splitlines()[-1] == "2 done, 0 skipped, 1 failed"
        assert done.stderr.count("no DN offset known") == 1  # said once, by whichever worker
    again = geosr("superres", "in", "two", *BICUBIC, "--jobs", 2)
    assert "0 done, 2 skipped, 1 failed" in again.stderr


@pytest.mark.parametrize("kills, code", [pytest.param(1, 0, marks=pytest.mark.slow), (2, 3)])
def test_a_killed_worker_costs_at_most_its_scene(slow, tmp_path, kills, code):
    process, killed = start(tmp_path, slow, "out", *SLOW), set()
    for _ in range(kills):
        pid = wait_for(lambda: writers(tmp_path / "out", "q") - killed, process).pop()
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert "worker killed (signal 9; out of memory?); trying it again" in said
    scenes = {each["scene"]: each for each in status.load_run(tmp_path / "out")["scenes"]}
    assert scenes["p"]["status"] == "done"
    assert scenes["q"]["status"] == ("done" if code == 0 else "failed")
    assert ("signal 9" in scenes["q"]["message"]) == (code == 3)
    names = "pq" if code == 0 else "p"
    assert left(tmp_path / "out") == sorted(
        f"{n}{s}" for n in names for s in (".tif", ".geosr.json")
    )


def test_a_full_disk_begins_no_further_scene(program, tmp_path):
    for i in range(5):
        scene_files.write_folder(tmp_path / f"many/{i}", size=480)
    done = program("superres", "many", "out", *BICUBIC, "--jobs", 2, "--json",
                   preexec_fn=limit(200_000))  # fmt: skip
    assert done.returncode == 5, done.stderr
    assert 1 <= len(done.stdout.splitlines()) <= 2
    assert all(json.loads(line)["code"] == 5 for line in done.stdout.splitlines())
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize(
    "send, number, code",
    [(os.kill, "SIGTERM", 143), (os.killpg, "SIGINT", 130), (os.killpg, "SIGHUP", 129)],
)
def test_signals_end_the_workers_too(slow, tmp_path, send, number, code):
    process = start(tmp_path, slow, "out", *SLOW, start_new_session=True)
    pids = wait_for(lambda: len(found := writers(tmp_path / "out")) == 2 and found, process)
    send(process.pid, getattr(signal, number))
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert not any(alive(pid) for pid in pids)
    assert left(tmp_path / "out") == []
    assert status.load_run(tmp_path / "out")["code"] == code


def test_workers_do_not_outlive_a_run_that_is_killed(slow, tmp_path):
    process = start(tmp_path, slow, "out", *SLOW)
    pids = wait_for(lambda: len(found := writers(tmp_path / "out")) == 2 and found, process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not list((tmp_path / "out").glob("*.tif"))
    assert not list((tmp_path / "out").glob(".*.part.tif"))


# what workers get


@pytest.fixture
def net(tmp_path) -> Path:
    """A weights file of a thin, untrained 20 m net."""
    card = replace(registry.design("dsen2-20").card(), options={"features": 8, "blocks": 1})
    path = tmp_path / "net.safetensors"
    weights.save(path, card, registry.build(card).net.state_dict())
    return path


@pytest.mark.parametrize("asked, taken", [
    ("auto", ["cuda:0", "cuda:1", "cuda:0"]), ("cuda", ["cuda:0", "cuda:1", "cuda:0"]),
    ("cuda:1", ["cuda:1"] * 3), ("cpu", ["cpu"] * 3),
])  # fmt: skip
def test_workers_take_gpus_in_turn(monkeypatch, asked, taken):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [_device(asked, index) for index in range(3)] == taken


def test_without_gpus_workers_take_what_is_asked():
    assert _device("auto", 3) == "auto"


def test_workers_load_the_very_net_of_the_run(net):
    job = Job((weights.load_file(net),), precision="fp32")
    order = Order.of(job, "cpu", None)
    assert order.job.models == ()
    loaded = order.load(0)
    assert loaded.recipe == job.recipe
    for ours, theirs in zip(
        job.models[0].net.parameters(), loaded.models[0].net.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_another_file_under_the_same_name_fails_the_scene(net, tmp_path):
    order = Order.of(Job((weights.load_file(net),)), "cpu", None)
    net.write_bytes(b"other")
    outcome = do((tmp_path / "a", tmp_path / "a.tif"), order, 0)
    assert (outcome.status, outcome.code) == ("failed", 6)
    assert "sha256" in outcome.message


def test_bundled_weights_are_found_wherever_geosr_is_installed():
    (model,) = weights.load("dsen2-60")
    card = replace(model.card, file=f"/elsewhere/{Path(model.card.file).name}")
    assert _net(card).card.sha256 == model.card.sha256


def test_a_net_that_no_worker_could_load_is_refused():
    model = registry.build(registry.design("dsen2-20").card())
    with pytest.raises(UsageError, match="no weights file"):
        Order.of(Job((model,)), "cpu", None)


@pytest.mark.parametrize("jobs, threads, share", [(1, None, None), (1, 3, 3), (2, 5, 2), (4, 2, 1)])
def test_workers_share_the_threads(jobs, threads, share):
    from geosr.cli.runs import share as share_of

    assert share_of({"jobs": jobs, "threads": threads}) == share


# dask


@pytest.fixture
def distributed():
    return pytest.importorskip("distributed")


def test_without_dask_the_message_names_the_extra(geosr, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("geosr.batch.executors.dask.find_spec", lambda name: None)
    done = geosr("superres", "in", "out", *BICUBIC, "--engine", "dask")
    assert done.returncode == 2 and "pip install 'geosr[dask]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_scheduler_needs_dask(geosr, scenes):
    done = geosr("superres", "in", "out", *BICUBIC, "--scheduler", "tcp://127.0.0.1:1")
    assert done.returncode == 2 and "--engine dask" in done.stderr


def test_a_scheduler_that_is_not_there_is_a_usage_error(program, distributed, scenes, tmp_path):
    nowhere = ("--engine", "dask", "--scheduler", "tcp://127.0.0.1:1")
    done = program("superres", "in", "out", *BICUBIC, *nowhere,
                   env={"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"})  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "no dask scheduler at tcp://127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr and left(tmp_path / "out") == []


def test_dask_does_what_one_process_does(geosr, program, distributed, scenes, tmp_path):
    geosr("superres", "in", "one", *BICUBIC)
    done = program("superres", "in", "two", *BICUBIC, "--engine", "dask", "--jobs", 2)
    assert done.returncode == 3, done.stderr
    assert same_files(tmp_path / "one", tmp_path / "two")
    assert told(tmp_path / "one") == told(tmp_path / "two")
    assert done.stderr.count("no DN offset known") == 1
    assert done.stderr.splitlines()[-1] == "2 done, 0 skipped, 1 failed"


@pytest.mark.parametrize("kills, code", [(1, 0), pytest.param(2, 3, marks=pytest.mark.slow)])
def test_a_killed_dask_worker_costs_at_most_its_scene(distributed, slow, tmp_path, kills, code):
    process, killed = start(tmp_path, slow, "out", *SLOW, "--engine", "dask"), set()
    for _ in range(kills):
        pid = wait_for(lambda: writers(tmp_path / "out", "q") - killed, process).pop()
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    scenes = {each["scene"]: each for each in status.load_run(tmp_path / "out")["scenes"]}
    assert scenes["p"]["status"] == "done"
    assert ("worker killed" in scenes["q"]["message"]) == (code == 3)


def test_a_signal_ends_dasks_workers_and_leaves_nothing(distributed, slow, tmp_path):
    process = start(tmp_path, slow, "out", *SLOW, "--engine", "dask", start_new_session=True)
    pids = wait_for(lambda: len(found := writers(tmp_path / "out")) == 2 and found, process)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert not any(alive(pid) for pid in pids)
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize("declared, device, taken", [
    ({"GPU": 1}, "auto", {"GPU": 1}), ({"GPU": 1}, "cpu", None), ({}, "cuda", None),
])  # fmt: skip
def test_scenes_take_gpus_that_workers_declare(declared, device, taken):
    class Client:
        def scheduler_info(self):
            return {"workers": {"a": {"resources": {}}, "b": {"resources": declared}}}

    order = Order.of(Job(weights.load("bicubic")), device, None)
    assert _Flight(Client(), order, 1)._resources == taken


def test_a_run_that_is_given_up_is_dropped_by_the_workers_of_a_cluster(
    distributed, slow, scenes, tmp_path
):
    (tmp_path / "out").mkdir()
    outputs = targets(scenes / "a", tmp_path / "out") | targets(slow, tmp_path / "out")
    job = Job(weights.load("bicubic"), Request(tile_size=12))

    def give_up(outcome):
        assert outcome.scene == "a" and writers(tmp_path / "out")
        raise KeyboardInterrupt

    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=3, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster:
        dask = Dask(device="cpu", scheduler=cluster.scheduler_address)
        with pytest.raises(KeyboardInterrupt):
            batch.run(outputs, job, executor=dask, report=give_up)
        deadline = time.monotonic() + 20
        while left(tmp_path / "out") != ["a.geosr.json", "a.tif"]:
            assert time.monotonic() < deadline, left(tmp_path / "out")
            time.sleep(0.05)


def test_a_running_cluster_is_joined_by_its_file_and_left_alone(
    distributed, scenes, tmp_path, net, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    outputs = targets(Path("in"), Path("out"))
    Path("out").mkdir()
    job = Job((weights.load_file(Path("net.safetensors")),))
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address=None, silence_logs=logging.CRITICAL
    ) as cluster, distributed.Client(cluster) as client:  # fmt: skip
        client.write_scheduler_file(str(tmp_path / "where.json"))
        dask = Dask(device="cpu", scheduler_file=tmp_path / "where.json")
        outcomes = batch.run(outputs, job, executor=dask)
        assert client.submit(abs, -1).result() == 1
    assert [outcome.status for outcome in outcomes] == ["done", "failed", "done"]
    assert [outcome.output for outcome in outcomes] == ["out/a.tif", "out/b.tif", "out/c.tif"]
