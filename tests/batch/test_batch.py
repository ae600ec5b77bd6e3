"""Names, records and exit codes of a batch; its faults are in test_faults.py."""

import json
from pathlib import Path

import pytest
import rasterio
import scene_files

from geosr.batch import batch
from geosr.batch.job import Job, Outcome
from geosr.batch.targets import output_name, targets
from geosr.errors import UsageError
from geosr.inference import backoff
from geosr.inference.engine import Engine
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.models import weights


@pytest.fixture
def job():
    return Job(weights.load("bicubic"))


@pytest.fixture
def scenes(tmp_path):
    for i, name in enumerate(("a", "b")):
        scene_files.write_folder(tmp_path / "in" / name, size=60, seed=i)
    return tmp_path / "in"


def statuses(outcomes):
    return [outcome.status for outcome in outcomes]


@pytest.mark.parametrize(
    "outcomes, code",
    [
        ("", 0), ("done", 0), ("skipped done", 0), ("done 3", 3), ("skipped 3", 3), ("3 3", 4),
        ("done 5", 5), ("11", 11), ("11 done", 3), ("11 3", 4), ("1", 4), ("2 done", 3),
    ],
)  # fmt: skip
def test_exit_codes(outcomes, code):
    made = [
        Outcome("s", "failed", int(word)) if word.isdigit() else Outcome("s", word)
        for word in outcomes.split()
    ]
    assert batch.exit_code(made) == code


@pytest.mark.parametrize(
    "name, expected",
    [
        ("S2A_MSIL1C_x.SAFE", "S2A_MSIL1C_x"), ("S2A_x.SAFE.zip", "S2A_x"),
        ("stack.v2.tif", "stack.v2"),
        ("with space;rm", "with_space_rm"), ("..hidden", "hidden"), ("été", "été"),
    ],
)  # fmt: skip
def test_output_names_are_safe_file_names(tmp_path, name, expected):
    path = tmp_path / name
    path.touch() if path.suffix in (".zip", ".tif") else path.mkdir()
    assert output_name(path) == expected


def test_a_second_run_skips_and_touches_nothing(scenes, tmp_path, job):
    outputs = targets(scenes, tmp_path / "out")
    (tmp_path / "out").mkdir()
    assert statuses(batch.run(outputs, job)) == ["done", "done"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert statuses(batch.run(outputs, job)) == ["skipped", "skipped"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert {path.suffix for path in before} == {".tif", ".json"}


def test_tile_batch_and_device_are_not_part_of_the_recipe(scenes, tmp_path, job):
    outputs = targets(scenes / "a", tmp_path / "out")
    (tmp_path / "out").mkdir()
    batch.run(outputs, job)
    other = Job(job.models, Request(tile_size=30), engine=Engine(batch_size=4))
    assert statuses(batch.run(outputs, other)) == ["skipped"]


@pytest.mark.parametrize("change", [{"bands": ("B5",)}, {"only_sr": True}, {"format": "COG"}])
def test_another_recipe_is_refused_and_says_what_differs(scenes, tmp_path, job, change):
    outputs = targets(scenes / "a", tmp_path / "out")
    (tmp_path / "out").mkdir()
    batch.run(outputs, job)
    before = outputs[scenes / "a"].read_bytes()
    (outcome,) = batch.run(outputs, Job(job.models, Request(**change)))
    assert outcome.status == "failed" and outcome.code == 3
    assert next(iter(change)).replace("_", " ") in outcome.message
    assert outputs[scenes / "a"].read_bytes() == before


def test_a_changed_input_is_done_again(scenes, tmp_path, job):
    outputs = targets(scenes / "a", tmp_path / "out")
    (tmp_path / "out").mkdir()
    batch.run(outputs, job)
    with rasterio.open(scenes / "a/20m.tif", "r+") as dataset:
        values = dataset.read()
        dataset.write(values // 2)
    assert statuses(batch.run(outputs, job)) == ["done"]


def test_an_input_that_changes_while_it_is_read_is_not_published(
    scenes, tmp_path, job, monkeypatch
):
    outputs = targets(scenes / "a", tmp_path / "out")
    (tmp_path / "out").mkdir()

    def meddling(scene, path, models, **settings):
        (scenes / "a/60m.tif").touch()
        return superres(scene, path, models, **settings)

    monkeypatch.setattr(backoff, "superres", meddling)
    (outcome,) = batch.run(outputs, job)
    assert outcome.status == "failed" and "changed while" in outcome.message
    assert not list((tmp_path / "out").iterdir())


def test_the_record_tells_inputs_recipe_and_output(scenes, tmp_path, job):
    outputs = targets(scenes / "a", tmp_path / "out")
    (tmp_path / "out").mkdir()
    batch.run(outputs, job)
    record = json.loads((tmp_path / "out/a.geosr.json").read_text())
    assert set(record["inputs"]) == {"10m.tif", "20m.tif", "60m.tif"}
    assert record["recipe"]["models"] == [["bicubic-20", ""], ["bicubic-60", ""]]
    assert record["output"]["size"] == (tmp_path / "out/a.tif").stat().st_size
    assert len(record["output"]["sha256"]) == 64


def test_two_scenes_of_one_name_fail_and_cost_no_other(scenes, tmp_path, job):
    scene_files.write_stack(scenes / "a.tif", size=60)
    (tmp_path / "out").mkdir()
    outcomes = batch.run(targets(scenes, tmp_path / "out"), job)
    assert [outcome.status for outcome in outcomes] == ["failed", "failed", "done"]
    assert all("both be written" in outcome.message for outcome in outcomes[:2])


@pytest.mark.parametrize("dst", ["in", "in/out", "in/a/x.tif"])
def test_outputs_never_go_into_the_input(scenes, tmp_path, dst):
    with pytest.raises(UsageError, match="never written to"):
        source = scenes / "a" if dst.endswith(".tif") else scenes
        targets(source, tmp_path / Path(dst))


def test_one_file_cannot_hold_two_scenes(scenes, tmp_path):
    with pytest.raises(UsageError, match="2 scenes"):
        targets(scenes, tmp_path / "o.tif")
