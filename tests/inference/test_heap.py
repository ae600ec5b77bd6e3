"""What a process holds on to: strips apart from the heap, predictions only while they are used."""

import ctypes
import math
import weakref

import numpy as np
import pytest

from geosr.inference import heap
from geosr.inference.blend import Blender, _zeros_apart
from geosr.inference.strips import _by_tile
from geosr.inference.tiles import TileGrid
from geosr.raster.window import Window

GB = 10**9


@pytest.fixture
def trims(monkeypatch):
    """A process that keeps 2 GB of free memory; how often it gave it back."""
    done = []

    class Library:
        def mallopt(self, *_):
            return 1

        def malloc_trim(self, _):
            done.append(True)

    monkeypatch.setattr(ctypes, "CDLL", lambda *_: Library())
    monkeypatch.setattr(heap, "_limit", math.inf)
    monkeypatch.setattr(heap, "_resident", lambda: (1 if done else 3) * GB)
    return done


def test_zeros_apart_are_zeros_to_write_to():
    array = _zeros_apart((2, 3, 5))
    assert array.shape == (2, 3, 5) and array.dtype == np.float32 and not array.any()
    array[1, 2] = 7
    assert array.sum() == 35
    assert _zeros_apart((0, 4)).shape == (0, 4)


def test_memory_is_given_back_where_a_program_keeps_it_and_much_is_held(trims):
    heap.keep_freed()
    heap.give_back()
    heap.give_back()
    assert len(trims) == 1


def test_a_library_leaves_the_heap_alone(trims):
    heap.give_back()
    assert not trims


def test_what_is_in_use_is_not_given_back_again_and_again(trims, monkeypatch):
    monkeypatch.setattr(heap, "_resident", lambda: 3 * GB)
    heap.keep_freed()
    for _ in range(5):
        heap.give_back()
    assert len(trims) == 1


def test_the_process_tells_its_memory():
    before, array = heap._resident(), np.ones(2**23)
    assert not before or heap._resident() - before > array.nbytes / 2


def test_no_prediction_is_held_while_the_next_one_is_made():
    grid = TileGrid(Window(0, 0, 8, 24), 8)
    blender, alive = Blender(grid, 1), list[weakref.ref[np.ndarray]]()

    def predictions():
        for i in range(3):
            assert not any(ref() is not None for ref in alive)
            made = np.full((1, 8, 8), i, np.float32)
            alive.append(weakref.ref(made))
            yield made
            del made

    tiles = next(grid.strips())
    assert (blender.add(_by_tile(tiles, predictions())) == np.repeat([0, 1, 2], 8)).all()
    assert len(alive) == 3
