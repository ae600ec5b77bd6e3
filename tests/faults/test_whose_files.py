"""Whose a file is: geosr replaces what it made for the same purpose, and nothing else unasked."""

import json
import zipfile
from pathlib import Path

import pytest
import rasterio
import scene_files
from faulty import BICUBIC, fails, left

from geosr.batch import locks
from geosr.batch.targets import targets
from geosr.raster import marks, publish
from geosr.training.checkpoint import RunFolder

MINE = b"mine, and no other copy of it"


@pytest.fixture
def stack(tmp_path) -> Path:
    """A stack of 12 pixels, in/a.tif."""
    return scene_files.write_stack(tmp_path / "in/a.tif", size=12)


def keep(path: Path) -> Path:
    """Somebody's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MINE)
    return path


@pytest.fixture
def commands(geosr, stack, tmp_path) -> dict[str, tuple]:
    """Each command that writes one file where the user says, but for the name of that file."""
    assert geosr("superres", "in", "made", *BICUBIC).returncode == 0
    scene_files.write_folder(tmp_path / "scenes/s", size=120)
    (tmp_path / "kelvins").mkdir()
    profile = {"width": 384, "height": 384, "count": 1, "dtype": "uint16"}
    with rasterio.open(tmp_path / "kelvins/imgset1160.tif", "w", driver="GTiff", **profile):
        pass
    return {
        "report": ("report", "made/a.tif", "-o"),
        "eval": ("eval", "--model", "bicubic", "--data", "scenes", "--report"),
        "data": ("data", "scenes", "--patch", 24, "--preview"),
        "kelvins": ("kelvins", "submit", "kelvins", "-o"),
    }


@pytest.mark.parametrize("name", ["report", "eval", "data", "kelvins"])
def test_a_file_of_somebody_is_left_alone_until_overwrite(geosr, commands, tmp_path, name):
    path, command = keep(tmp_path / "there"), commands[name]
    fails(geosr(*command, path), 2, "there is there already", "--overwrite")
    assert path.read_bytes() == MINE
    assert geosr(*command, path, "--overwrite").returncode == 0
    assert path.read_bytes() != MINE
    assert geosr(*command, path).returncode == 0  # its own


def test_what_was_made_for_another_purpose_is_somebodys(geosr, commands, tmp_path):
    path = tmp_path / "there"
    assert geosr(*commands["data"], path).returncode == 0
    for name in ("report", "eval", "kelvins"):
        fails(geosr(*commands[name], path), 2, "there is there already")
    fails(geosr(*commands["report"], tmp_path / "made/a.tif"), 2, "left alone")
    fails(geosr(*commands["report"], tmp_path / "made"), 2, "is a folder")


def test_pages_and_run_reports_of_others_stay_and_cost_no_output(geosr, stack, tmp_path):
    page, run = keep(tmp_path / "out/a.html"), keep(tmp_path / "out/geosr-run.json")
    done = geosr("superres", "in", "out", *BICUBIC, "--report")
    assert done.returncode == 0 and "no report of out/a.tif" in done.stderr
    assert "no report of this run" in done.stderr
    assert page.read_bytes() == MINE == run.read_bytes()
    assert geosr("superres", "in", "out", *BICUBIC, "--report", "--overwrite").returncode == 0
    page.unlink()
    assert geosr("superres", "in", "out", *BICUBIC, "--report").returncode == 0  # draws it
    assert marks.PAGE in page.read_bytes()
    assert json.loads(run.read_bytes())["skipped"] == 1


def test_pictures_of_scores_leave_other_files_alone(geosr, commands, tmp_path):
    evaluate = (*commands["eval"][:-1], "--save-images", "album")
    assert geosr(*evaluate).returncode == 0
    picture = keep(next((tmp_path / "album").iterdir()))
    done = geosr(*evaluate)
    assert done.returncode == 0 and f"no picture: album/{picture.name}" in done.stderr
    assert picture.read_bytes() == MINE
    assert geosr(*evaluate, "--overwrite").returncode == 0 and picture.read_bytes() != MINE


def test_a_record_of_somebody_is_left_alone(geosr, stack, tmp_path):
    record = keep(tmp_path / "out/a.geosr.json")
    fails(geosr("superres", "in", "out", *BICUBIC), 4, "a.geosr.json is there already")
    assert record.read_bytes() == MINE
    assert left(tmp_path / "out") == ["a.geosr.json"]
    assert geosr("superres", "in", "out", *BICUBIC, "--overwrite").returncode == 0


def test_a_link_that_leads_nowhere_is_somebodys(geosr, stack, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.tif").symlink_to("/nowhere/a.tif")
    fails(geosr("superres", "in", "out", *BICUBIC), 4, "was not made by geosr")
    assert (tmp_path / "out/a.tif").is_symlink()


def test_a_file_that_has_the_name_of_a_lock_is_left_alone(geosr, stack, tmp_path):
    lock = keep(tmp_path / "out/.a.tif.lock")
    fails(geosr("superres", "in", "out", *BICUBIC), 4, ".a.tif.lock is in the way")
    assert lock.read_bytes() == MINE
    victim = keep(tmp_path / "victim")
    lock.unlink()
    lock.symlink_to(victim)
    fails(geosr("superres", "in", "out", *BICUBIC), 4, ".a.tif.lock")
    assert victim.read_bytes() == MINE


def test_a_lock_of_a_whole_run_may_be_missed(geosr, stack, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lock = locks.run_lock_path(Path("out"), targets(Path("in"), Path("out")))
    keep(lock)
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.returncode == 0 and "the run is not locked" in done.stderr
    assert lock.read_bytes() == MINE


def test_an_output_of_another_scene_of_that_name_is_left_alone(geosr, stack, tmp_path):
    other = scene_files.write_stack(tmp_path / "later/a.tif", size=12, seed=5)
    assert geosr("superres", "in", "out", *BICUBIC).returncode == 0
    made = (tmp_path / "out/a.tif").read_bytes()
    run = ("superres", "later", "out", *BICUBIC)
    fails(geosr(*run), 4, "was made of another scene of this name", str(stack), "--overwrite")
    assert (tmp_path / "out/a.tif").read_bytes() == made
    assert geosr(*run, "--overwrite").returncode == 0
    other.write_bytes(stack.read_bytes())
    assert geosr(*run).stderr.endswith("1 done, 0 skipped, 0 failed\n")  # its own changed


def test_a_scene_that_was_moved_is_still_the_one_that_an_output_is_of(geosr, stack, tmp_path):
    assert geosr("superres", "in", "out", *BICUBIC).returncode == 0
    (tmp_path / "in").rename(tmp_path / "archive")
    assert "1 skipped" in geosr("superres", "archive", "out", *BICUBIC).stderr
    (tmp_path / "in").symlink_to("archive")
    scene_files.write_stack(tmp_path / "archive/a.tif", size=12, seed=5)
    assert "1 done" in geosr("superres", "in", "out", *BICUBIC).stderr


def test_a_log_is_not_appended_to_what_is_no_text(geosr, stack):
    before = stack.read_bytes()
    run = ("superres", "in", "out", *BICUBIC, "--log-file")
    fails(geosr(*run, "in/a.tif"), 2, "in/a.tif holds no text")
    assert stack.read_bytes() == before
    assert [geosr(*run, "night.log").returncode for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("name", ["report", "eval", "data", "kelvins"])
def test_a_place_that_takes_no_file_is_told_before_the_work(geosr, commands, name):
    fails(geosr(*commands[name], "nowhere/there"), 2, "not writable: nowhere")


def test_scores_are_told_even_where_their_page_cannot_be_written(geosr, commands, monkeypatch):
    from geosr import report

    def full(path, *_, **__):
        raise publish.not_written(path, OSError(28, "No space left on device"))

    monkeypatch.setattr(report, "write", full)
    done = fails(geosr(*commands["eval"], "there"), 5, "No space left")
    assert "bicubic" in done.stdout


# trainings


@pytest.fixture
def train(geosr, tmp_path):
    """Train a small net in run/ for so many steps."""
    scene_files.write_stack(tmp_path / "in/a.tif", size=60)

    def run(*more: object, steps: int = 2):
        return geosr(
            "train", "--model", "fsrcnn", "--data", "in", "--out", "run", "--steps", steps,
            "--patch", 24, "--batch-size", 1, "--val-every", 1, "--val-windows", 1, "-q", *more,
        )  # fmt: skip

    return run


def test_a_run_is_neither_replaced_nor_begun_anew_unasked(train, tmp_path):
    assert train().returncode == 0
    made = {path: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.is_file()}
    fails(train(), 2, "run holds a training already", "--resume", "--overwrite")
    for name in ("state.safetensors", "state.previous.safetensors"):  # to save room
        made.pop(tmp_path / "run" / name, None)
        (tmp_path / "run" / name).unlink()
    for more in ((), ("--resume",)):
        fails(train(*more), 2, "no state to resume from", "--overwrite")
    assert all(path.read_bytes() == data for path, data in made.items())
    assert train("--overwrite", steps=1).returncode == 0
    assert len((tmp_path / "run/log.csv").read_text().splitlines()) == 2  # none of the old one


def test_of_two_trainings_in_one_folder_the_second_is_refused(train, tmp_path):
    folder = tmp_path / "run"
    with RunFolder(folder).locked():
        fails(train(), 11, "another training goes on in run")
        assert left(folder) == [".geosr-train.lock"]
    assert train(steps=1).returncode == 0 and not list(folder.glob(".*"))


@pytest.mark.parametrize("name", ["best.safetensors", "config.json", "log.csv"])
def test_a_folder_with_a_file_of_a_trainings_name_is_refused(train, tmp_path, name):
    path = keep(tmp_path / "run" / name)
    for more in ((), ("--resume",)):
        fails(train(*more), 2, "run holds a training already", name)
    assert left(tmp_path / "run") == [name] and path.read_bytes() == MINE


def test_a_training_killed_before_its_first_state_begins_again(train, tmp_path):
    assert train(steps=1).returncode == 0
    for name in ("state.safetensors", "state.json", "last.safetensors"):
        (tmp_path / "run" / name).unlink()
    assert train("--resume", steps=1).returncode == 0
    assert (tmp_path / "run/state.safetensors").exists()


def test_a_submission_says_what_it_is(geosr, commands, tmp_path):
    assert geosr(*commands["kelvins"], "s.zip").returncode == 0
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.comment == marks.SUBMISSION and archive.namelist() == ["imgset1160.png"]
