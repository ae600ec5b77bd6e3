"""Reports on the command line: of scores, of result files, of outputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import scene_files
from nets import checkpoint
from rasters import picture, write


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    for name in ("north", "south"):
        scene_files.write_folder(tmp_path / "scenes" / name, size=120)
    return tmp_path / "scenes"


def test_scores_are_drawn_while_they_are_made_and_again_from_their_json(geosr, scenes, tmp_path):
    done = geosr("eval", "--model", "bicubic", "--data", scenes, "--json", "--report", "a.html")
    assert done.returncode == 0, done.stderr
    (tmp_path / "result.json").write_text(done.stdout)
    first = (tmp_path / "a.html").read_text()
    assert "north, 20 m bands" in first and "south, 60 m bands" in first
    assert first.count('role="slider"') == 4
    done = geosr("report", "result.json", "-o", "b.html")
    assert done.returncode == 0, done.stderr
    again = (tmp_path / "b.html").read_text()
    assert "north, 20 m bands" in again and again.count('role="slider"') == 4


def test_nets_for_any_raster_are_drawn_too(geosr, tmp_path):
    for i in range(2):
        write(tmp_path / f"images/scene{i}.tif", picture(i, side=64))
    net = checkpoint(tmp_path / "net.safetensors", "espcn", scale=2)
    done = geosr("eval", "--model", net, "--data", "images", "--report", "r.html")
    assert done.returncode == 0, done.stderr
    assert "scene1, x2" in (tmp_path / "r.html").read_text()


def test_an_output_is_drawn_beside_it_or_from_its_record(geosr, scenes, tmp_path):
    done = geosr("superres", scenes, "out", "--model", "bicubic", "--report", "--json")
    assert done.returncode == 0, done.stderr
    beside = (tmp_path / "out/north.html").read_text()
    assert "north" in beside and "self-check" in beside and '"check": {' in done.stdout
    done = geosr("report", "out/north.tif", "out/south.tif", "-o", "both.html")
    assert done.returncode == 0, done.stderr
    both = (tmp_path / "both.html").read_text()
    assert "north" in both and "south" in both


def test_what_is_no_result_is_refused(geosr, scenes, tmp_path):
    (tmp_path / "no.json").write_text("{}")
    done = geosr("report", "no.json", "-o", "r.html")
    assert done.returncode == 2 and "is not what geosr eval --json prints" in done.stderr
    done = geosr("report", scenes / "north/10m.tif", "-o", "r.html")
    assert done.returncode == 2 and "no record beside it" in done.stderr
    assert not (tmp_path / "r.html").exists()
