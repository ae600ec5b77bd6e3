"""Scenes side by side in threads: the same outputs, bad scenes cost themselves, no thread stays."""

import threading
from contextlib import closing
from dataclasses import replace

import pytest
import scene_files

from geosr.batch import batch
from geosr.batch.executors import threads
from geosr.batch.executors.threads import Threads
from geosr.batch.job import Job, Outcome
from geosr.batch.targets import check_writable, targets
from geosr.models import weights


@pytest.fixture
def job():
    return Job(weights.load("bicubic"))


@pytest.fixture
def outputs(tmp_path):
    for i, name in enumerate("abcde"):
        scene_files.write_folder(tmp_path / "in" / name, size=60, seed=i)
    return targets(tmp_path / "in", tmp_path / "out")


def test_the_same_bytes_as_one_after_the_other(tmp_path, outputs, job):
    again = {scene: tmp_path / "again" / output.name for scene, output in outputs.items()}
    for folder in ("out", "again"):
        check_writable(tmp_path / folder)
    assert {o.status for o in batch.run(outputs, job, executor=Threads(3))} == {"done"}
    batch.run(again, job)
    for scene in outputs:
        assert outputs[scene].read_bytes() == again[scene].read_bytes()


def test_a_broken_scene_costs_itself(tmp_path, outputs, job):
    (tmp_path / "in/b/20m.tif").write_text("<html>")
    check_writable(tmp_path / "out")
    outcomes = batch.run(outputs, job, executor=Threads(2))
    assert [o.status for o in outcomes] == ["done", "failed", "done", "done", "done"]


def test_two_are_at_work_at_once_and_no_more(monkeypatch, outputs, job):
    both, most = threading.Barrier(2, timeout=10), []

    def attempt(path, output, job, progress):
        most.append(threading.active_count())
        if path.name in "ab":
            both.wait()
        return Outcome(path.name, "done")

    monkeypatch.setattr(threads, "attempt", attempt)
    before = threading.active_count()
    names = [o.scene for o in Threads(2)(list(outputs.items()), job, lambda *_: None)]
    assert sorted(names) == list("abcde")
    assert max(most) <= before + 2 and threading.active_count() == before


def test_none_is_begun_after_one_that_stops_the_run(monkeypatch, outputs, job):
    def attempt(path, output, job, progress):
        return Outcome(path.name, "failed", 5 if path.name == "a" else 0)

    monkeypatch.setattr(threads, "attempt", attempt)
    begun = {o.scene for o in Threads(2)(list(outputs.items()), job, lambda *_: None)}
    assert "a" in begun and begun <= {"a", "b", "c"}


def test_a_run_that_ends_drops_its_scenes_and_leaves_nothing(tmp_path, outputs, job):
    check_writable(tmp_path / "out")
    slow = replace(job, request=replace(job.request, tile_size=6))
    with closing(Threads(2)(list(outputs.items()), slow, lambda *_: None)) as made:
        first = next(made)
    assert first.status == "done"
    assert not [t for t in threading.enumerate() if t.name.startswith("geosr-")]
    assert not list((tmp_path / "out").glob(".*.part*"))
    assert len(list((tmp_path / "out").glob("*.tif"))) < len(outputs)
