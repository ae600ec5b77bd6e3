"""Bands told from others: measured ones are copied, new ones come from the net, and are scored."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from rasters import picture, write

from geosr.models import registry, weights
from geosr.models.nets.spectral.spectral import TWELVE, nearest
from geosr.models.registry import design
from geosr.raster.window import Window
from geosr.scene.onegrid import OneGridReader, on_one_grid
from geosr.sensors import open_scene


def checkpoint(path: Path, name: str = "spectral-rgb", **options) -> Path:
    torch.manual_seed(0)
    card = design(name).card()
    card = registry.measured(
        replace(card, options={**card.options, "features": 8, "blocks": 2, **options})
    )
    weights.save(path, card, registry.build(card).net.state_dict())
    return path


def bands_of(path: Path) -> dict[str, np.ndarray]:
    with rasterio.open(path) as file:
        return dict(zip(file.descriptions, file.read(), strict=True))


def test_bands_that_come_in_go_out_as_they_are_and_the_others_are_as_many_as_asked():
    for name in ("spectral-rgb", "spectral-rgbn", "linear-rgb"):
        model = registry.build(design(name).card())
        given = model.card.inputs[0].bands
        x = torch.rand(2, len(given), 9, 7) * 10000
        out = model({1: x})
        assert model.card.bands == TWELVE and out.shape == (2, 12, 9, 7)
        for i, band in enumerate(given):
            torch.testing.assert_close(out[:, TWELVE.index(band)], x[:, i])


def test_the_nearest_band_is_the_nearest_in_wavelength():
    near = nearest(design("spectral-rgb").card())  # of B4, B3, B2
    named = dict(zip(TWELVE, near, strict=True))
    assert (named["B1"], named["B3"], named["B5"], named["B12"]) == (2, 1, 0, 0)


def test_a_scene_gets_all_twelve_bands_and_keeps_those_that_it_has(geosr, scene_dir, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors")
    for size in ("40", "auto"):
        done = geosr("superres", scene_dir, f"out{size}.tif", "--model", net, "--tile-size", size)
        assert done.returncode == 0, done.stderr
    tiled, whole = (bands_of(tmp_path / f"out{size}.tif") for size in ("40", "auto"))
    native = bands_of(scene_dir / "10m.tif")
    assert tuple(whole) == TWELVE
    for name, values in native.items():
        np.testing.assert_array_equal(whole[name], values)
    for name in TWELVE:
        assert np.abs(tiled[name].astype(int) - whole[name]).max() <= 1
    with rasterio.open(tmp_path / "outauto.tif") as out, rasterio.open(scene_dir / "10m.tif") as a:
        assert (out.crs, out.transform, out.shape) == (a.crs, a.transform, a.shape)
        note = out.tags()["GEOSR_NOTE"]
    assert note.startswith("B1 B5 B6 B7 B8A B9 B11 B12: estimates, not measurements")


def test_three_named_bands_of_a_stack_are_enough(geosr, scene_dir, tmp_path):
    fine = bands_of(scene_dir / "10m.tif")
    write(tmp_path / "rgb.tif", np.stack([fine[name] for name in ("B4", "B3", "B2")]))
    net = checkpoint(tmp_path / "net.safetensors")
    args = ("superres", "rgb.tif", "out.tif", "--model", net)
    done = geosr(*args, "--bands-in", "B4,B3,B2")
    assert done.returncode == 0, done.stderr
    made = bands_of(tmp_path / "out.tif")
    assert tuple(made) == TWELVE
    np.testing.assert_array_equal(made["B3"], fine["B3"])
    done = geosr(*args, "--bands-in", "B4,B3,B8", "--overwrite")
    assert done.returncode in (3, 4) and "lacks B2" in done.stderr
    done = geosr("superres", "rgb.tif", "two.tif", "--model", net, "--bands-in", "B4,B3,B2",
                 "--only-sr", "--bands", "B11,B8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(bands_of(tmp_path / "two.tif")) == ["B8", "B11"]


def test_what_a_net_of_new_bands_cannot_do_is_refused(geosr, scene_dir, tmp_path):
    net = checkpoint(tmp_path / "net.safetensors")
    done = geosr("superres", scene_dir, "out.tif", "--model", net, "--consistent")
    assert done.returncode == 4 and "tells new bands" in done.stderr
    done = geosr("superres", scene_dir, "out.tif", "--model", net, "--model", "dsen2")
    assert done.returncode in (2, 4) and "runs alone" in done.stderr
    write(tmp_path / "photo.tif", picture(0, bands=3))
    done = geosr("superres", "photo.tif", "out.tif", "--model", net, "--bands-in", "B4,B3,B2")
    assert done.returncode in (3, 4) and "8-bit values" in done.stderr


def test_on_one_grid_all_bands_are_means_of_what_was_sensed(scene_dir):
    scene = open_scene(scene_dir)
    fine, coarse = bands_of(scene_dir / "10m.tif"), bands_of(scene_dir / "60m.tif")
    assert {band.gsd for band in on_one_grid(scene, 20).bands} == {20}
    assert "B1" not in [band.name for band in on_one_grid(scene, 20).bands]
    with scene.open() as reader:
        found = OneGridReader(reader, scene, 60).read(("B1", "B2"), 60, Window(1, 2, 3, 4)).values
    blocks = fine["B2"].reshape(20, 6, 20, 6).mean((1, 3))
    np.testing.assert_allclose(found[0], coarse["B1"][1:4, 2:6])
    np.testing.assert_allclose(found[1], blocks[1:4, 2:6], rtol=1e-6)


def test_a_net_of_new_bands_trains_and_is_scored_on_grids_where_all_are_measured(geosr, scene_dir):
    done = geosr("train", "--model", "spectral", "--data", scene_dir.parent, "--out", "run",
                 "--steps", 2, "--patch", 8, "--batch-size", 2, "--jitter", 0.1,
                 "--net-option", "blocks=1", "--net-option", "features=8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = geosr("eval", "--model", "run/best.safetensors", "--data", scene_dir, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["protocol"] == "spectral"
    assert list(found["means"]) == ["spectral 20 m", "spectral 60 m"]
    bands = found["scores"][-1]["bands"]["rmse"]
    assert set(bands) == set(TWELVE) - {"B2", "B3", "B4"}
    assert found["means"]["spectral 60 m"]["run/best.safetensors"]["sam"] > 0


def test_a_net_of_new_bands_learns_from_a_discriminator_that_sees_the_bands_it_is_given(
    geosr, scene_dir, tmp_path
):
    done = geosr("train", "--model", "spectral", "--data", scene_dir.parent, "--out", "run",
                 "--loss", "200*l1+200*sam+adversarial", "--discriminator", "conditional",
                 "--discriminator-option", "features=4", "--steps", 2, "--patch", 24,
                 "--batch-size", 1, "--val-every", 2, "--val-windows", 1,
                 "--net-option", "blocks=1", "--net-option", "features=8")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = csv.DictReader((tmp_path / "run/log.csv").read_text().splitlines())
    assert float(row["discriminator_loss"]) > 0 and row["discriminator_true"] != "nan"
    done = geosr("superres", scene_dir, "out", "--model", "run/best.safetensors")
    assert done.returncode == 0, done.stderr
    with rasterio.open(next((tmp_path / "out").glob("*.tif"))) as file:
        assert file.descriptions == TWELVE
        assert "made by a net that a discriminator taught" in file.tags()["GEOSR_NOTE"]


@pytest.mark.parametrize("data", ["images", "nothing"])
def test_other_data_is_refused(geosr, tmp_path, data):
    write(tmp_path / "images/a.tif", picture(0))
    (tmp_path / "nothing").mkdir()
    done = geosr("train", "--model", "spectral", "--data", data, "--out", "run")
    assert done.returncode == 2 and "holds no scene to train 'spectral-rgb' on" in done.stderr
