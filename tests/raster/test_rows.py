"""Windows read downwards: the pixels are those of any reading, and blocks are decoded once."""

from itertools import pairwise

import numpy as np
import pytest
import rasterio

from geosr.errors import SceneError
from geosr.raster import rows
from geosr.raster.files import open_raster, read_window
from geosr.raster.rows import RowReader
from geosr.raster.window import Window

HEIGHT, WIDTH, BLOCK = 300, 90, 64
OVERLAP = 20
TOPS = (0, 50, 81, 150, 229, HEIGHT)  # where windows begin, less the overlap


@pytest.fixture(params=["GTiff", "JP2OpenJPEG"])
def image(request, tmp_path):
    """Two bands in blocks of 64 rows."""
    counts = np.random.default_rng(0).integers(0, 9999, (2, HEIGHT, WIDTH)).astype(np.uint16)
    lossless = {"quality": "100", "reversible": "yes"} if request.param != "GTiff" else {}
    path = tmp_path / "a.x"
    with rasterio.open(
        path, "w", driver=request.param, count=2, height=HEIGHT, width=WIDTH, dtype="uint16",
        tiled=True, blockxsize=BLOCK, blockysize=BLOCK, **lossless,
    ) as dataset:  # fmt: skip
        dataset.write(counts)
    with open_raster(path) as dataset:
        assert dataset.block_shapes == [(BLOCK, BLOCK)] * 2
        yield dataset, counts


@pytest.fixture
def decoded(monkeypatch):
    """Rows of blocks that files were asked for, by the first and the last of each reading."""
    asked = []

    def noted(dataset, indexes, window, shape=None):
        asked.append((window.row, window.row + window.height))
        return read_window(dataset, indexes, window, shape)

    monkeypatch.setattr(rows, "read_window", noted)
    return asked


def windows(col=0, width=WIDTH):
    for top, bottom in pairwise(TOPS):
        first = max(top - OVERLAP, 0)
        yield Window(first, col, bottom - first, width)


@pytest.mark.parametrize("col, width", [(0, WIDTH), (30, 41)])
def test_overlapping_windows_are_those_of_the_file(image, col, width):
    dataset, counts = image
    reader = RowReader(dataset, [2, 1], OVERLAP)
    for window in windows(col, width):
        at = window.within(Window(0, 0, 0, 0))
        assert (reader.read(window) == counts[::-1][:, *at]).all()


def test_every_block_is_decoded_once(image, decoded):
    reader = RowReader(image[0], [1], OVERLAP)
    for window in windows():
        reader.read(window)
    assert decoded[0][0] == 0 and decoded[-1][1] == HEIGHT
    assert all(a[1] == b[0] and a[1] % BLOCK == 0 for a, b in pairwise(decoded))


def test_no_more_is_kept_than_the_overlap_and_the_rest_of_a_block(image):
    reader = RowReader(image[0], [1, 2], OVERLAP)
    for window in windows():
        reader.read(window)
        bottom = window.row + window.height
        rest = min(-bottom % BLOCK, HEIGHT - bottom)
        assert reader._kept.shape == (2, OVERLAP + rest, WIDTH)
        assert reader._kept.base is None  # else the whole reading would stay


@pytest.mark.parametrize(
    "then", [Window(0, 0, 30, WIDTH), Window(40, 8, 30, 60), Window(200, 0, 40, WIDTH)]
)
def test_a_window_anywhere_else_is_read_as_it_comes(image, then):
    dataset, counts = image
    reader = RowReader(dataset, [1], OVERLAP)
    reader.read(Window(30, 0, 40, WIDTH))
    assert (reader.read(then) == counts[0][then.within(Window(0, 0, 0, 0))]).all()


def test_blocks_of_which_much_would_be_kept_are_left(image, decoded, monkeypatch):
    monkeypatch.setattr(rows, "_MOST_BEYOND", 10 * WIDTH * 2)
    reader = RowReader(image[0], [1], OVERLAP)
    reader.read(Window(0, 0, BLOCK - 10, WIDTH))
    reader.read(Window(BLOCK - 30, 0, BLOCK, WIDTH))
    assert decoded == [(0, BLOCK), (BLOCK, 2 * BLOCK - 30)]


def test_nothing_of_a_window_that_failed_is_taken_for_the_next_one(image, monkeypatch):
    dataset, counts = image
    reader = RowReader(dataset, [1], OVERLAP)
    reader.read(Window(0, 0, 60, WIDTH))

    def broken(*_):
        raise SceneError("cannot decode")

    with monkeypatch.context() as patch:
        patch.setattr(rows, "read_window", broken)
        with pytest.raises(SceneError):
            reader.read(Window(40, 0, 60, WIDTH))
    assert (reader.read(Window(40, 0, 60, WIDTH)) == counts[:1, 40:100]).all()
