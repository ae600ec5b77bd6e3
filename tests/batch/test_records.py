"""Records read back: resuming strictly, the run's report, verify and status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import scene_files
from conftest import settings

from geosr.batch import batch, locks, records, status
from geosr.batch.job import Job
from geosr.batch.targets import targets
from geosr.batch.verify import exit_code, verify
from geosr.errors import StoppedError, UsageError
from geosr.models import weights
from geosr.raster import publish, writer
from geosr.raster.grid import Grid


@pytest.fixture
def job():
    return Job(weights.load("bicubic"))


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Two scenes, a and b, and an empty folder out."""
    for i, name in enumerate("ab"):
        scene_files.write_folder(tmp_path / "in" / name, size=60, seed=i)
    (tmp_path / "out").mkdir()
    return tmp_path / "in"


@pytest.fixture
def out(scenes, tmp_path, job) -> Path:
    """A folder with the outputs of both."""
    batch.run(targets(scenes, tmp_path / "out"), job, folder=tmp_path / "out")
    return tmp_path / "out"


def statuses(found) -> list[str]:
    return [each.status for each in found]


def flip(path: Path, at: int) -> None:
    """Change a byte; size and modification time stay."""
    data, times = bytearray(path.read_bytes()), path.stat()
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def edit(output: Path, change) -> None:
    """Change an output's record."""
    path = records.record_path(output)
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


# resuming


@pytest.mark.parametrize("strict, expected", [(False, "skipped"), (True, "done")])
def test_a_change_that_keeps_size_and_time_is_seen_by_strict_resume_only(
    scenes, tmp_path, strict, expected
):
    rasterio.shutil.copy(scenes / "a/20m.tif", tmp_path / "raw.tif", compress="none")
    (tmp_path / "raw.tif").replace(scenes / "a/20m.tif")
    job = Job(weights.load("bicubic"), strict_resume=strict)
    outputs = targets(scenes / "a", tmp_path / "out")
    assert statuses(batch.run(outputs, job)) == ["done"]
    assert statuses(batch.run(outputs, job)) == ["skipped"]
    flip(scenes / "a/20m.tif", -1)
    assert statuses(batch.run(outputs, job)) == [expected]


def test_strict_records_hold_the_sha256_of_inputs_and_serve_an_ordinary_run(scenes, tmp_path, job):
    outputs = targets(scenes / "a", tmp_path / "out")
    batch.run(outputs, Job(job.models, strict_resume=True))
    inputs = records.load(tmp_path / "out/a.tif")["inputs"]
    assert set(inputs) == {"10m.tif", "20m.tif", "60m.tif"}
    for name, entry in inputs.items():
        path = scenes / "a" / name
        assert entry["sha256"] == records.sha256(path)
        assert (entry["size"], entry["mtime_ns"]) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert statuses(batch.run(outputs, job)) == ["skipped"]


def test_a_record_without_sha256_is_no_proof_for_a_strict_run(scenes, tmp_path, job):
    outputs = targets(scenes / "a", tmp_path / "out")
    batch.run(outputs, job)
    assert "sha256" not in records.load(tmp_path / "out/a.tif")["inputs"]["10m.tif"]
    strict = Job(job.models, strict_resume=True)
    assert statuses(batch.run(outputs, strict)) == ["done"]
    assert statuses(batch.run(outputs, strict)) == ["skipped"]


def test_a_record_with_inputs_as_pairs_is_read(scenes, out, job):
    def older(record):
        record["inputs"] = {
            name: [entry["size"], entry["mtime_ns"]] for name, entry in record["inputs"].items()
        }

    edit(out / "a.tif", older)
    outputs = targets(scenes / "a", out)
    assert statuses(batch.run(outputs, job)) == ["skipped"]
    (scenes / "a/60m.tif").touch()
    assert statuses(batch.run(outputs, job)) == ["done"]


@pytest.mark.parametrize("entry", [None, [], [1], "x", {"size": 1}, [[], {}]])
def test_inputs_that_make_no_sense_mean_unfinished(scenes, out, job, entry):
    edit(out / "a.tif", lambda record: record["inputs"].update({"10m.tif": entry}))
    assert statuses(batch.run(targets(scenes / "a", out), job)) == ["done"]


@pytest.mark.parametrize(
    "text", ["", "[]", "[1]", "null", '"x"', "{}", "7", '{"geosr_record": 1, "recipe": []}',
             '{"geosr_record": 2}', "[" * 5000, "x" * 2_000_000, "\xff"],
)  # fmt: skip
def test_what_is_no_record_is_none_to_every_reader(out, text):
    records.record_path(out / "a.tif").write_bytes(text.encode("latin-1"))
    assert records.load(out / "a.tif") is None
    assert status.standing(out / "a.tif") == "changed"
    assert statuses(verify([out])) == ["damaged", "whole"]
    status.run_path(out).write_bytes(text.encode("latin-1"))
    assert status.load_run(out) is None


# the run's report


def test_the_report_of_a_run_tells_every_scene_and_the_exit_code(scenes, tmp_path, job):
    out = tmp_path / "out"
    (scenes / "b/20m.tif").write_text("<html>")
    outputs = targets(scenes, out)
    outcomes = batch.run(outputs, job, folder=out)
    report = json.loads((out / "geosr-run.json").read_text())
    assert (report["done"], report["skipped"], report["failed"], report["code"]) == (1, 0, 1, 3)
    assert [json.dumps(scene, sort_keys=True) for scene in report["scenes"]] == [
        json.dumps(json.loads(outcome.to_json()), sort_keys=True) for outcome in outcomes
    ]
    assert report["geosr_run"] == 1 and report["started"] <= report["finished"]
    batch.run(outputs, job, folder=out)
    report = status.load_run(out)
    assert (report["done"], report["skipped"], report["failed"]) == (0, 1, 1)


@pytest.mark.parametrize(
    "error, code", [(KeyboardInterrupt(), 130), (SystemExit(143), 143), (SystemExit("x"), 1)]
)
def test_an_interrupted_run_reports_as_far_as_it_came(scenes, tmp_path, job, error, code):
    def stop(outcome):
        raise error

    with pytest.raises(type(error)):
        batch.run(targets(scenes, tmp_path / "out"), job, folder=tmp_path / "out", report=stop)
    report = status.load_run(tmp_path / "out")
    assert [scene["scene"] for scene in report["scenes"]] == ["a"]
    assert (report["done"], report["code"]) == (1, code)


def test_a_report_that_does_not_fit_is_a_warning(scenes, tmp_path, job, monkeypatch, caplog):
    write = publish.write_bytes

    def full(path, data):
        if path.name == "geosr-run.json":
            raise publish.not_written(path, OSError(28, "No space left on device"))
        write(path, data)

    monkeypatch.setattr(publish, "write_bytes", full)
    outcomes = batch.run(targets(scenes, tmp_path / "out"), job, folder=tmp_path / "out")
    assert statuses(outcomes) == ["done", "done"]
    assert "no report of this run" in caplog.text and "No space left" in caplog.text


def test_a_single_file_gets_a_record_and_no_report(scenes, tmp_path, job):
    batch.run(targets(scenes / "a", tmp_path / "out/one.tif"), job)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"one.tif", "one.geosr.json"}


# verify


def test_whole_outputs_are_whole(out, geosr):
    before = {path: path.read_bytes() for path in out.iterdir()}
    done = geosr("verify", "out")
    assert (done.returncode, done.stdout) == (0, "2 whole, 0 damaged\n")
    lines = [json.loads(line) for line in geosr("verify", "out", "--json").stdout.splitlines()]
    assert [(Path(line["output"]).name, line["status"]) for line in lines] == [
        ("a.tif", "whole"), ("b.tif", "whole"),
    ]  # fmt: skip
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_verify_opens_cogs_floats_and_masks(scenes, tmp_path, job):
    layout = writer.Layout(
        Grid(None, rasterio.Affine.identity(), 300, 280), ("a", "b"), np.dtype("float32"),
        masked=True, format="COG",
    )  # fmt: skip
    output = tmp_path / "out/c.tif"
    with writer.create(output, layout) as made:
        made.write(np.ones((2, 280, 300), "float32"), np.ones((280, 300), bool))
    records.write(output, {"inputs": {}, "recipe": {}})
    assert statuses(verify([tmp_path / "out"])) == ["whole"]


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda p: p.write_bytes(p.read_bytes()[:1000]), "1,000 bytes"),
        (lambda p: flip(p, 3000), "sha256 is"),
        (lambda p: p.unlink(), "it is gone"),
        (lambda p: records.record_path(p).write_text("{}"), "record a.geosr.json is damaged"),
        (lambda p: edit(p, lambda r: r["output"].pop("sha256")), "none"),
    ],
    ids=["truncated", "flipped", "gone", "record", "no sha256"],
)
def test_damage_is_named_and_costs_3_or_4(out, geosr, damage, said):
    damage(out / "a.tif")
    done = geosr("verify", "out")
    assert done.returncode == 3
    assert done.stdout.splitlines()[0].startswith("damaged  out/a.tif: ")
    assert said in done.stdout and done.stdout.endswith("1 whole, 1 damaged\n")
    done = geosr("verify", "out/a.tif", "--json")
    assert done.returncode == 4 and json.loads(done.stdout)["status"] == "damaged"


def test_a_file_that_is_as_recorded_but_does_not_decode_is_damaged(out):
    output = out / "a.tif"
    data = output.read_bytes()
    output.write_bytes(data[: len(data) // 2])
    records.write(output, records.load(output))
    (verdict,) = verify([output])
    assert verdict.status == "damaged" and "a.tif" in verdict.message


def test_foreign_interrupted_and_temporary_files_are_named_and_no_damage(out, geosr):
    (out / "mine.tif").write_bytes(b"mine")
    (out / ".b.host.7.01234567.part.tif").touch()
    records.record_path(out / "b.tif").unlink()
    stat = (out / "b.tif").stat()
    records.journal_path(out / "b.tif").write_text(json.dumps([stat.st_size, stat.st_mtime_ns]))
    done = geosr("verify", "out")
    assert done.returncode == 0
    assert [line.split(" ")[0] for line in done.stdout.splitlines()[:-1]] == [
        "interrupted", "foreign", "temporary",
    ]  # fmt: skip
    assert done.stdout.splitlines()[-1] == (
        "1 whole, 0 damaged, 1 interrupted, 1 foreign, 1 temporary"
    )


def test_an_output_being_written_is_not_judged(out):
    flip(out / "a.tif", 3000)
    with locks.locked(out / "a.tif"):
        assert statuses(verify([out])) == ["writing", "whole"]
    assert statuses(verify([out])) == ["damaged", "whole"]


def test_nothing_to_verify_is_a_usage_error(geosr, tmp_path):
    (tmp_path / "empty").mkdir()
    done = geosr("verify", "empty")
    assert done.returncode == 2 and "nothing to verify" in done.stderr
    done = geosr("verify", "empty", "nowhere")
    assert done.returncode == 2 and "nowhere: no such folder" in done.stderr
    (tmp_path / "empty/mine.tif").touch()
    assert geosr("verify", "empty/mine.tif").returncode == 2
    with pytest.raises(UsageError):
        verify([tmp_path / "empty"])


def test_several_folders_are_counted_together(scenes, tmp_path, job):
    for name in "ab":
        (tmp_path / "out" / name).mkdir()
        batch.run(targets(scenes / name, tmp_path / "out" / name), job)
    (tmp_path / "out/a/a.tif").unlink()
    seen = []
    verdicts = verify([tmp_path / "out/a", tmp_path / "out/b/b.tif"], report=seen.append)
    assert statuses(verdicts) == ["damaged", "whole"] and seen == verdicts
    assert exit_code(verdicts) == 3


# status


HOLD = """
import sys
from pathlib import Path
from geosr.batch import locks
with locks.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_status_tells_what_is_finished_failed_and_being_written(scenes, tmp_path, job, geosr):
    (scenes / "b/20m.tif").write_text("<html>")
    out = tmp_path / "out"
    batch.run(targets(scenes, out), job, folder=out)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, out / "c.tif"], env=settings({}), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    found = json.loads(geosr("status", "out", "--json").stdout)
    process.communicate("", timeout=60)
    assert (found["finished"], found["writing"]) == (1, ["c.tif"])
    assert found["last"] == records.load(out / "a.tif")["finished"]
    assert [(fail["scene"], fail["code"]) for fail in found["failed"]] == [("b", 3)]
    assert "not a GeoTIFF" in found["failed"][0]["message"]
    assert (found["run"]["code"], found["run"]["done"]) == (3, 1) and "scenes" not in found["run"]
    done = geosr("status", "out")
    assert done.returncode == 0 and done.stdout.startswith("1 finished, the last at ")
    assert "being written" not in done.stdout and "  b: " in done.stdout
    assert "1 done, 0 skipped, 1 failed, exit code 3" in done.stdout


def test_status_names_what_changed_and_what_was_interrupted(out, geosr):
    (out / "a.tif").unlink()
    os.utime(out / "b.tif")  # as if made anew, and killed before the record
    stat = (out / "b.tif").stat()
    records.journal_path(out / "b.tif").write_text(json.dumps([stat.st_size, stat.st_mtime_ns]))
    (out / "mine.tif").touch()
    found = json.loads(geosr("status", "out", "--json").stdout)
    assert (found["finished"], found["last"]) == (0, None)
    assert (found["changed"], found["interrupted"]) == (["a.tif"], ["b.tif"])
    assert found["foreign"] == ["mine.tif"]


def test_a_lock_that_a_killed_run_left_is_not_held(out, geosr):
    locks.lock_path(out / "c.tif").touch()
    found = json.loads(geosr("status", "out", "--json").stdout)
    assert (found["finished"], found["writing"]) == (2, [])
    assert geosr("verify", "out").returncode == 0


def test_status_takes_its_folder_from_settings_and_a_single_output(out, geosr, tmp_path):
    (tmp_path / ".env").write_text("SR_IMAGES_PATH=out\n")
    assert geosr("status").stdout.startswith("2 finished")
    assert geosr("status", "out/a.tif").stdout.startswith("1 finished")
    done = geosr("status", "nowhere")
    assert done.returncode == 2 and "no such folder" in done.stderr


def test_asking_for_a_lock_does_not_keep_or_make_one(tmp_path):
    output = tmp_path / "a.tif"
    assert not locks.is_locked(output) and not list(tmp_path.iterdir())
    with locks.locked(output):
        assert locks.is_locked(output)
    assert not locks.is_locked(output) and not list(tmp_path.iterdir())


def test_a_record_that_cannot_be_written_stops(out, monkeypatch):
    def full(path, data):
        raise publish.not_written(path, OSError(28, "No space left on device"))

    monkeypatch.setattr(publish, "write_bytes", full)
    with pytest.raises(StoppedError, match="No space left"):
        records.write(out / "a.tif", {"inputs": {}, "recipe": {}})


RECIPE = {  # as it stands beside outputs of the first version
    "models": [["bicubic-20", ""], ["bicubic-60", ""]],
    "bands": None,
    "only_sr": False,
    "bounds": None,
    "bounds_crs": None,
    "format": "GTiff",
    "align": False,
    "frames": {"count": None, "clearance": 0.85, "register": "auto", "brightness": True, "seed": 0},
    "ensemble": 1,
    "uncertainty": False,
    "consistent": False,
    "dn_offset": None,
    "bands_in": None,
    "quantification": None,
    "precision": "auto",
}


def test_a_folder_finished_by_the_first_version_is_skipped(out, scenes, job):
    record = json.loads((out / "a.geosr.json").read_text())
    assert set(record) == {
        "geosr_record", "inputs", "recipe", "output", "finished", "scene", "source", "geosr",
        "seconds", "clipped", "filled", "shifted", "valid_share", "check", "frames", "changed",
        "fit",
    }  # fmt: skip
    for name in "ab":
        path = out / f"{name}.geosr.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"recipe": RECIPE}))
    assert statuses(batch.run(targets(scenes, out), job)) == ["skipped", "skipped"]


def test_a_folder_has_no_record_and_its_outputs_are_asked_for(tmp_path):
    with pytest.raises(UsageError, match=r"is a folder\. Name the outputs in it: .*/\*\.tif"):
        records.require(tmp_path)
