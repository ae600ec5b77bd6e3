"""Faults, injected for real: a clear message, the exit code, and nothing under a final name."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import scene_files
from conftest import settings
from faulty import BICUBIC, fails, left, limit, snapshot

from geosr.models import registry, weights


@pytest.fixture
def scenes(tmp_path) -> Path:
    """Three good scenes, a, b and c."""
    for i, name in enumerate("abc"):
        scene_files.write_folder(tmp_path / "in" / name, size=60, seed=i)
    return tmp_path / "in"


@pytest.fixture
def net(tmp_path) -> Path:
    """A weights file of a thin, untrained 20 m net."""
    card = replace(registry.design("dsen2-20").card(), options={"features": 8, "blocks": 1})
    path = tmp_path / "net.safetensors"
    weights.save(path, card, registry.build(card).net.state_dict())
    return path


# one bad scene costs one scene


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shift(path: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = dataset.transform @ rasterio.Affine.translation(0.4, 0)


def forget_b5(path: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = ("quality", *dataset.descriptions[1:])


def move_crs(path: Path) -> None:
    with rasterio.open(path, "r+") as dataset:
        dataset.crs = "EPSG:32632"


@pytest.mark.parametrize(
    "damage, said",
    [
        (forget_b5, "lacks B5 (found: B1 B2 B3"),
        (lambda p: p.write_text("<html>"), "not a GeoTIFF, JP2 or PNG (starts with '<html>"),
        (lambda p: p.write_bytes(b""), "is empty"),
        (truncate, "20m.tif"),
        (shift, "does not nest"),
        (move_crs, "EPSG:32632"),
    ],
    ids=["missing", "html", "empty", "truncated", "shifted", "crs"],
)  # fmt: skip
def test_a_broken_scene_fails_alone_and_the_others_finish(geosr, scenes, tmp_path, damage, said):
    damage(scenes / "b/20m.tif")
    before = snapshot(scenes)
    done = fails(geosr("superres", "in", "out", *BICUBIC, "--json"), 3, said, "b")
    status = {line["scene"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert [status[name]["status"] for name in "abc"] == ["done", "failed", "done"]
    assert status["b"]["code"] == 3 and said in status["b"]["message"]
    assert left(tmp_path / "out") == ["a.geosr.json", "a.tif", "c.geosr.json", "c.tif"]
    assert done.stderr.splitlines()[-1] == "2 done, 0 skipped, 1 failed"
    assert snapshot(scenes) == before
    fails(geosr("superres", "in/b", "alone", *BICUBIC), 4, said)
    assert left(tmp_path / "alone") == []


def test_a_broken_jp2_is_named(geosr, tmp_path):
    product = scene_files.write_safe(tmp_path / "in", size=60)
    (band,) = product.glob("GRANULE/*/IMG_DATA/*_B11.jp2")
    truncate(band)
    fails(geosr("superres", product, "out", *BICUBIC), 4, band.name)
    assert left(tmp_path / "out") == []


def test_the_real_zip_fails_at_60_m_and_succeeds_at_20_m(geosr, shared, tmp_path):
    source = next((shared / "safe").glob("*.zip"))
    fails(geosr("superres", source, "out", *BICUBIC), 4, "29 × 29 px", "172 × 172 px")
    assert left(tmp_path / "out") == []
    done = geosr("superres", source, "o.tif", "--model", "bicubic-20")
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "o.tif") as dataset:
        assert dataset.count == 10 and dataset.shape == (172, 172)


def test_pictures_are_refused_by_nets_and_fine_for_bicubic(geosr, scenes, tmp_path, net):
    for path in (scenes / "a").iterdir():
        with rasterio.open(path) as dataset:
            values, profile, names = dataset.read(), dataset.profile, dataset.descriptions
        with rasterio.open(path, "w", **(profile | {"dtype": "uint8"})) as dataset:
            dataset.write((values // 60).clip(1, 255).astype(np.uint8))
            dataset.descriptions = names
    fails(geosr("superres", "in/a", "out", "--model", net), 4, "8-bit values are not")
    assert geosr("superres", "in/a", "out", *BICUBIC).returncode == 0


# requests that cannot be run


def test_an_empty_folder_is_a_warning(geosr, tmp_path):
    (tmp_path / "in").mkdir()
    fails(geosr("superres", "in", "out", *BICUBIC), 0, "no scenes in in")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "args, words",
    [
        (("nowhere", "out", *BICUBIC), ("nowhere", "Check the path")),
        (("in", "in", *BICUBIC), ("never written to",)),
        (("in", "in/out", *BICUBIC), ("never written to",)),
        (("in/a", "in/a/x.tif", *BICUBIC), ("never written to",)),
        (("in", "one.tif", *BICUBIC), ("3 scenes", "Give a folder")),
        (("in", "in/a/10m.tif", *BICUBIC), ("in/a/10m.tif",)),
        (("in", "file/out", *BICUBIC), ("not writable", "file/out")),
        (("in/a", "folder.tif", *BICUBIC, "--overwrite"), ("folder.tif is a folder",)),
        (("in", "out", "--model", "dsen3"), ("unknown model 'dsen3'", "Did you mean dsen2")),
        (("in", "out", "--model", "in"), ("not a weights file",)),
        (("in", "out", *BICUBIC, "--device", "cuda:7"), ("cuda:7", "GPUs found")),
        (("in", "out", *BICUBIC, "--device", "tpu"), ("tpu",)),
        (("in", "out", *BICUBIC, "--bands", "B5,B99"), ("B99",)),
        (("in", "out", *BICUBIC, "--tile-size", "0"), ("tile-size",)),
        (("in", "out", *BICUBIC, "--overlap", "lots"), ("lots",)),
        (("in",), ("IMAGES_PATH",)),
        (("http://127.0.0.1:9/x.tif", "out", *BICUBIC), ("local files only", "--allow-remote")),
        (("s3://bucket/x.tif", "out", *BICUBIC), ("local files only",)),
        (("/vsicurl/http://127.0.0.1:9/x.tif", "out", *BICUBIC), ("local files only",)),
        (("vrt://in/a/10m.tif", "out", *BICUBIC), ("local files only",)),
        (("<VRTDataset/>", "out", *BICUBIC), ("local files only",)),
    ],
)  # fmt: skip
def test_requests_that_cannot_be_run_write_nothing(geosr, scenes, tmp_path, args, words):
    (tmp_path / "file").touch()
    (tmp_path / "folder.tif").mkdir()
    fails(geosr("superres", *args), 2, *words)
    assert left(tmp_path) == ["file", "folder.tif", "in"]
    assert left(scenes) == ["a", "b", "c"]


def test_two_scenes_of_one_name_fail_alone(geosr, scenes, tmp_path):
    scene_files.write_stack(scenes / "a.tif", size=60)
    for more in (("--dry-run",), ()):
        fails(geosr("superres", "in", "out", *BICUBIC, *more), 3, "in/a ", "in/a.tif")
    assert left(tmp_path / "out") == ["b.geosr.json", "b.tif", "c.geosr.json", "c.tif"]


def test_a_vrt_in_disguise_is_refused_and_its_bytes_go_nowhere(geosr, tmp_path):
    scene_files.write_stack(tmp_path / "s.tif", size=60)
    (tmp_path / "in").mkdir()
    rasterio.shutil.copy(tmp_path / "s.tif", tmp_path / "in/innocent.tif", driver="VRT")
    fails(geosr("superres", "in", "out", *BICUBIC), 4, "content is VRT, not TIFF", "--allow-vrt")
    assert left(tmp_path / "out") == []
    assert geosr("superres", "in/innocent.tif", "out", *BICUBIC, "--allow-vrt").returncode == 0


# weights


@pytest.mark.parametrize("size", [0, 4, 100, -1000, -1])
def test_truncated_weights_are_refused(geosr, scenes, tmp_path, net, size):
    net.write_bytes(net.read_bytes()[:size])
    fails(geosr("superres", "in", "out", "--model", net), 6, net.name)
    assert not (tmp_path / "out").exists()


def test_weights_without_a_card_or_of_another_net_are_refused(geosr, scenes, tmp_path, net):
    from safetensors.torch import load_file, save_file

    tensors = load_file(net)
    save_file(tensors, tmp_path / "bare.safetensors")
    fails(geosr("superres", "in", "out", "--model", "bare.safetensors"), 6, "carries no model card")
    card = registry.design("dsen2-60").card()
    weights.save(tmp_path / "wrong.safetensors", card, tensors)
    fails(
        geosr("superres", "in", "out", "--model", "wrong.safetensors"), 6, "not those of 'dsen2-60'"
    )
    for options in ({"evil": 1}, {"features": -1, "blocks": 1}, {"features": "x", "blocks": 1}):
        weights.save(tmp_path / "odd.safetensors", replace(card, options=options), tensors)
        fails(geosr("superres", "in", "out", "--model", "odd.safetensors"), 6, "odd.safetensors")
    weights.save(tmp_path / "new.safetensors", replace(card, arch="dsen9"), tensors)
    fails(geosr("superres", "in", "out", "--model", "new.safetensors"), 6, "architecture 'dsen9'")


def test_a_bit_flip_in_bundled_weights_is_found_by_its_sha256(
    geosr, scenes, tmp_path, net, monkeypatch
):
    data = bytearray(net.read_bytes())
    entry = {"name": "dsen2-20", "file": net.name, "sha256": weights.load_file(net).card.sha256}
    (tmp_path / "manifest.json").write_text(json.dumps({"weights": [entry]}))
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    weights.manifest.cache_clear()
    try:
        assert geosr("superres", "in/a", "good", "--model", "dsen2-20").returncode == 0
        data[-5] ^= 64
        net.write_bytes(data)
        fails(geosr("superres", "in/a", "out", "--model", "dsen2-20"), 6, "damaged", "sha256")
    finally:
        weights.manifest.cache_clear()


def test_vdsen2_ships_no_weights_and_says_how_to_train_it(geosr, scenes):
    done = geosr("superres", "in", "out", "--model", "vdsen2")
    fails(done, 6, "no weights are bundled for 'vdsen2-20'", "geosr train --model vdsen2-20")


# outputs of others, and of other runs


def test_foreign_files_are_left_alone_until_overwrite(geosr, scenes, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/b.tif").write_bytes(b"mine")
    done = fails(geosr("superres", "in", "out", *BICUBIC), 3, "not made by geosr", "--overwrite")
    assert "2 done, 0 skipped, 1 failed" in done.stderr
    assert (tmp_path / "out/b.tif").read_bytes() == b"mine"
    done = geosr("superres", "in", "out", *BICUBIC, "--overwrite")
    assert done.returncode == 0 and "1 done, 2 skipped, 0 failed" in done.stderr


def test_outputs_made_otherwise_are_left_alone(geosr, scenes, tmp_path):
    geosr("superres", "in/a", "out", *BICUBIC)
    before = (tmp_path / "out/a.tif").read_bytes()
    fails(geosr("superres", "in/a", "out", *BICUBIC, "--only-sr"), 4, "other settings (only sr)")
    assert (tmp_path / "out/a.tif").read_bytes() == before


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_damaged_outputs_of_ours_heal(geosr, scenes, tmp_path, damage):
    geosr("superres", "in/a", "out", *BICUBIC)
    output = tmp_path / "out/a.tif"
    before = output.read_bytes()
    output.write_bytes(before[:1000]) if damage == "truncate" else output.unlink()
    assert geosr("superres", "in/a", "out", *BICUBIC).returncode == 0
    assert output.read_bytes() == before


@pytest.mark.parametrize(
    "record", ["", "[]", "{}", '{"geosr_record": 2}', "[" * 5000, "x" * 2_000_000]
)
def test_a_record_that_is_none_makes_the_file_foreign(geosr, scenes, tmp_path, record):
    geosr("superres", "in/a", "out", *BICUBIC)
    (tmp_path / "out/a.geosr.json").write_text(record)
    fails(geosr("superres", "in/a", "out", *BICUBIC), 4, "no record beside it")


# the machine fails


def start(tmp_path: Path, *args: object, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "geosr", "superres", *map(str, args)], cwd=tmp_path,
        env=settings({}), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


@pytest.fixture
def slow_scene(tmp_path) -> Path:
    scene_files.write_folder(tmp_path / "slow", size=420)
    return tmp_path / "slow"


SLOW = (*BICUBIC, "--tile-size", "12", "--threads", "1")


def test_killed_between_renaming_and_record_the_next_run_makes_it_again(
    geosr, scenes, tmp_path, monkeypatch
):
    from geosr.batch import batch

    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_record", kill)
        with pytest.raises(Killed):
            geosr("superres", "in/a", "out", *BICUBIC)
    expected = (tmp_path / "out/a.tif").read_bytes()
    assert geosr("superres", "in/a", "out", *BICUBIC).returncode == 0
    assert (tmp_path / "out/a.tif").read_bytes() == expected
    assert left(tmp_path / "out") == ["a.geosr.json", "a.tif"]


@pytest.mark.parametrize("noted", ["null", "[4, 12345]", "{", ""])
def test_a_journal_left_by_a_killed_run_does_not_make_a_foreign_file_ours(
    geosr, scenes, tmp_path, noted
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.a.geosr.begun").write_text(noted)
    (tmp_path / "out/a.tif").write_bytes(b"mine")
    fails(geosr("superres", "in/a", "out", *BICUBIC), 4, "not made by geosr")
    assert (tmp_path / "out/a.tif").read_bytes() == b"mine"


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_output_is_absent_or_whole(program, tmp_path, slow_scene, rounds):
    assert program("superres", slow_scene, "whole", *SLOW).returncode == 0
    expected = (tmp_path / "whole/slow.tif").read_bytes()
    output, rng = tmp_path / "out/slow.tif", random.Random(0)
    for _ in range(rounds):
        process = start(tmp_path, slow_scene, "out", *SLOW)
        deadline = time.monotonic() + 60
        while not list((tmp_path / "out").glob(".*.part*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(rng.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not output.exists() or output.read_bytes() == expected
        output.unlink(missing_ok=True)
        (tmp_path / "out/slow.geosr.json").unlink(missing_ok=True)
    assert program("superres", slow_scene, "out", *SLOW).returncode == 0
    assert output.read_bytes() == expected
    assert left(tmp_path / "out") == ["slow.geosr.json", "slow.tif"]


@pytest.mark.parametrize("number, code", [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_signals_end_with_their_codes_after_clean_up(tmp_path, slow_scene, number, code):
    process = start(tmp_path, slow_scene, "out", *SLOW)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".*.part*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(getattr(signal, number))
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize("more", [(), ("--threads", "1"), ("--format", "COG")])
def test_a_full_disk_stops_the_batch_and_keeps_what_was_there(program, tmp_path, more):
    scene_files.write_folder(tmp_path / "two/a", size=300)
    shutil.copytree(tmp_path / "two/a", tmp_path / "two/b")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.tif").write_bytes(b"the old one")
    done = program(
        "superres", "two", "out", *BICUBIC, "--overwrite", "--json", *more,
        env={"GDAL_NUM_THREADS": "ALL_CPUS"}, preexec_fn=limit(400_000),
    )  # fmt: skip
    fails(done, 5, "out/a.tif", "bytes free")
    assert "No space left" in done.stderr or "(disk full?)" in done.stderr
    assert len(done.stdout.splitlines()) == 1  # the batch stops
    assert left(tmp_path / "out") == ["a.tif"]
    assert (tmp_path / "out/a.tif").read_bytes() == b"the old one"


def test_a_record_that_does_not_fit_stops_the_run_and_the_next_one_heals(
    geosr, scenes, tmp_path, monkeypatch
):
    from geosr.raster import publish

    write = publish.write_bytes

    def full(path, data):
        if path.suffix != ".json":
            return write(path, data)
        raise publish.not_written(path, OSError(28, "No space left on device"))

    with monkeypatch.context() as patch:
        patch.setattr(publish, "write_bytes", full)
        fails(geosr("superres", "in", "out", *BICUBIC), 5, "No space left", "a.geosr.json")
    assert geosr("superres", "in", "out", *BICUBIC).returncode == 0
    assert len(left(tmp_path / "out")) == 6


def test_a_hostile_gdal_environment_is_harmless(program, scenes, tmp_path):
    (tmp_path / "drivers").mkdir()
    (tmp_path / "drivers/gdal_evil.so").write_bytes(b"\x7fELF")
    env = {"GDAL_DRIVER_PATH": str(tmp_path / "drivers"), "GDAL_VRT_ENABLE_PYTHON": "YES",
           "GDAL_PAM_ENABLED": "YES", "GDAL_NUM_THREADS": "0"}  # fmt: skip
    done = program("superres", "in/a", "out", *BICUBIC, env=env)
    assert done.returncode == 0 and "gdal_evil" not in done.stderr
    assert left(tmp_path / "out") == ["a.geosr.json", "a.tif"]


def test_an_output_being_written_by_another_run_is_locked(geosr, scenes, tmp_path):
    from geosr.batch import locks

    (tmp_path / "out").mkdir()
    with locks.locked(tmp_path / "out/a.tif"):
        fails(geosr("superres", "in/a", "out", *BICUBIC), 11, "being written by another run")
    assert geosr("superres", "in/a", "out", *BICUBIC).returncode == 0
    assert left(tmp_path / "out") == ["a.geosr.json", "a.tif"]


def test_a_closed_pipe_is_no_error(tmp_path, scenes):
    command = f"{sys.executable} -m geosr superres in out --model bicubic --json | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=settings({}),
                          capture_output=True, text=True)  # fmt: skip
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert len(done.stdout.splitlines()) == 1


def test_outputs_have_the_permissions_of_ordinary_files(geosr, scenes, tmp_path):
    mask = os.umask(0o022)
    try:
        assert geosr("superres", "in/a", "out", *BICUBIC).returncode == 0
    finally:
        os.umask(mask)
    for path in (tmp_path / "out").iterdir():
        assert path.stat().st_mode & 0o777 == 0o644
