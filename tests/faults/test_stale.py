"""Outputs are finished only where nothing that they were made of has changed since."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
from faulty import BICUBIC, left
from rasterio.shutil import copy

from geosr.batch import records, status

RUN = ("superres", "in", "out", *BICUBIC)


@pytest.fixture
def stack(tmp_path) -> Path:
    """A stack of 12 pixels, in/a.tif."""
    return scene_files.write_stack(tmp_path / "in/a.tif", size=12)


def again(geosr, *more: str) -> str:
    """What became of the one scene: done or skipped."""
    done = geosr(*RUN, *more, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["status"]


def write_mask(stack: Path, clear: bool) -> None:
    mask = np.full((12, 12), 255, np.uint8)
    mask[:6] = 255 * clear
    profile = {"driver": "GTiff", "width": 12, "height": 12, "count": 1, "dtype": "uint8"}
    with rasterio.open(f"{stack}.msk", "w", **profile) as file:
        file.write(mask, 1)
        file.update_tags(INTERNAL_MASK_FLAGS_1="2")


def valid_share(path: Path) -> float:
    with rasterio.open(path) as dataset:
        return float((dataset.dataset_mask() > 0).mean())


@pytest.mark.parametrize("more", [(), ("--strict-resume",)])
def test_a_mask_beside_a_scene_is_one_of_its_inputs(geosr, stack, tmp_path, more):
    write_mask(stack, clear=True)
    assert again(geosr, *more) == "done" and again(geosr, *more) == "skipped"
    write_mask(stack, clear=False)
    assert again(geosr, *more) == "done"
    assert valid_share(tmp_path / "out/a.tif") == 0.5
    Path(f"{stack}.msk").unlink()
    assert again(geosr, *more) == "done" and again(geosr, *more) == "skipped"


@pytest.mark.parametrize("name", ["a.tfw", "a.TIFW", "a.wld"])
def test_a_world_file_that_comes_later_moves_the_output(geosr, stack, tmp_path, name):
    with rasterio.open(stack) as file:
        values, names, profile = file.read(), file.descriptions, dict(file.profile)
    del profile["transform"], profile["crs"]
    with rasterio.open(stack, "w", **profile) as file:
        file.write(values)
        file.descriptions = names
    assert again(geosr) == "done"
    (stack.parent / name).write_text("10\n0\n0\n-10\n500005\n5999995\n")
    assert again(geosr) == "done" and again(geosr) == "skipped"
    with rasterio.open(tmp_path / "out/a.tif") as file:
        assert file.transform.c == 500000


@pytest.mark.parametrize("more", [(), ("--strict-resume",)])
def test_metadata_of_a_product_are_among_its_inputs(geosr, tmp_path, more):
    product = scene_files.write_safe(tmp_path / "in", size=12, baseline="04.00")
    assert again(geosr, *more) == "done" and again(geosr, *more) == "skipped"
    (metadata,) = product.glob("MTD_MSI*.xml")
    text = metadata.read_text()
    assert "<RADIO_ADD_OFFSET" in text and "-1000" in text
    metadata.write_text(text.replace("-1000", "-1200"))
    assert again(geosr, *more) == "done"
    (output,) = (tmp_path / "out").glob("*.tif")
    with rasterio.open(output) as file:
        assert float(file.tags()["GEOSR_DN_OFFSET"]) == -1200


def test_what_an_allowed_vrt_shows_is_an_input(geosr, stack, tmp_path):
    (tmp_path / "far").mkdir()
    shutil.move(stack, tmp_path / "far/s.tif")
    copy(tmp_path / "far/s.tif", stack, driver="VRT")
    assert again(geosr, "--allow-vrt") == "done" and again(geosr, "--allow-vrt") == "skipped"
    scene_files.write_stack(tmp_path / "far/s.tif", size=12, seed=5)
    assert again(geosr, "--allow-vrt") == "done"


# outputs of one scene in two formats


RGB = ("--bands", "B4,B3,B2")


def test_a_png_and_a_geotiff_of_a_scene_have_a_record_each(geosr, stack, tmp_path):
    for more in ((), ("--format", "PNG")):
        assert again(geosr, *RGB, *more) == "done"
    for more in ((), ("--format", "PNG")):
        assert again(geosr, *RGB, *more) == "skipped"
    done = geosr("verify", "out")
    assert done.returncode == 0 and done.stdout.startswith("2 whole, 0 damaged")
    assert left(tmp_path / "out") == ["a.geosr-png.json", "a.geosr.json", "a.png", "a.tif"]
    (tmp_path / "out/a.png").unlink()
    assert "a.png: it is gone" in geosr("verify", "out").stdout
    assert "1 finished" in geosr("status", "out").stdout


def test_notes_of_what_is_published_are_of_one_output_too():
    names = {records.journal_path(Path(f"a{suffix}")) for suffix in (".tif", ".tiff", ".png")}
    assert len(names) == 3


def test_a_png_recorded_by_an_earlier_version_is_finished(geosr, stack, tmp_path):
    out = tmp_path / "out"
    assert again(geosr, *RGB, "--format", "PNG") == "done"
    record = json.loads((out / "a.geosr-png.json").read_text())
    del record["output"]["name"]
    (out / "a.geosr.json").write_text(json.dumps(record))
    (out / "a.geosr-png.json").unlink()
    assert again(geosr, *RGB, "--format", "PNG") == "skipped"
    assert status.state(out).finished == 1 and not status.state(out).changed
    assert geosr("verify", "out").returncode == 0
    (out / "a.png").write_bytes(b"somebody's")
    assert records.load(out / "a.png") is None


# a page that was not drawn


def test_a_page_that_a_killed_run_did_not_draw_is_drawn(geosr, stack, tmp_path):
    assert geosr(*RUN, "--report").returncode == 0
    page = tmp_path / "out/a.html"
    drawn = page.read_bytes()
    page.unlink()
    assert again(geosr, "--report") == "skipped" and page.read_bytes() == drawn
