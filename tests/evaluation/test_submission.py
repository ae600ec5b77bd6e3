"""Submissions to the Proba-V challenge."""

import warnings
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile


def write(path, image):
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", width=image.shape[1], height=image.shape[0],
                       count=1, dtype=image.dtype) as output:  # fmt: skip
        output.write(image, 1)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "out" / "imgset1160.tif", rng.integers(1, 9000, (384, 384), np.uint16))
    floats = rng.uniform(-5, 70000, (384, 384)).astype(np.float32)
    write(tmp_path / "out" / "imgset1161.tif", floats)
    (tmp_path / "out" / "imgset1160.geosr.json").write_text("{}")
    write(tmp_path / "out" / "other.tif", floats)
    return tmp_path / "out"


def read(archive, name):
    with MemoryFile(archive.read(name)) as memory, memory.open() as image:
        assert image.driver == "PNG"
        return image.read(1)


def test_outputs_are_packed_as_16_bit_pngs_by_name(geosr, folder, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a PNG has no place on Earth is no news
        done = geosr("kelvins", "submit", folder, "-o", tmp_path / "s.zip")
    assert done.returncode == 0, done.stderr
    assert "288 of the challenge's 290" in done.stderr
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.namelist() == ["imgset1160.png", "imgset1161.png"]
        first, second = (read(archive, name) for name in archive.namelist())
    with rasterio.open(folder / "imgset1160.tif") as source:
        np.testing.assert_array_equal(first, source.read(1))
    with rasterio.open(folder / "imgset1161.tif") as source:
        rounded = np.clip(np.rint(source.read(1).astype(float)), 0, 65535)
    np.testing.assert_array_equal(second, rounded)


def test_the_same_folder_gives_the_same_zip(geosr, folder, tmp_path):
    for name in ("a.zip", "b.zip"):
        geosr("kelvins", "submit", folder, "-o", tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.parametrize(
    ("image", "said"),
    [(np.ones((128, 128), np.uint16), "384 × 384"),
     (np.full((384, 384), np.nan, np.float32), "NaN")],
)  # fmt: skip
def test_an_image_that_does_not_fit_costs_the_submission(geosr, folder, tmp_path, image, said):
    write(folder / "imgset1162.tif", image)
    done = geosr("kelvins", "submit", folder, "-o", tmp_path / "s.zip")
    assert done.returncode == 3
    assert said in done.stderr
    assert not (tmp_path / "s.zip").exists()


def test_nothing_to_submit_is_said(geosr, tmp_path):
    (tmp_path / "empty").mkdir()
    done = geosr("kelvins", "submit", tmp_path / "empty", "-o", tmp_path / "s.zip")
    assert done.returncode == 2
    assert "imgsetNNNN" in done.stderr
