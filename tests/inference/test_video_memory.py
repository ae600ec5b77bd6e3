"""A video takes the memory of one window, however many frames it has."""

import gc
import tracemalloc
from itertools import count

import numpy as np
import pytest
import torch
from rasters import write

import geosr
from geosr.models.card import Model
from geosr.scene.pixels import Pixels

SIDE, SEVERAL = 128, 8
FRAME = SIDE * SIDE * 2  # bytes of one as it lies on disk: the least that keeping it would take


@pytest.fixture
def video(tmp_path):
    """A camera that pans over fields."""
    ground = np.random.default_rng(0).uniform(2000, 8000, (SIDE // 8 + 5, SIDE // 8 + 5))
    ground = ground.repeat(8, 0).repeat(8, 1).astype(np.uint16)
    for t in range(SEVERAL):
        write(tmp_path / f"frames/f{t}.tif", ground[None, t : t + SIDE, 2 * t : 2 * t + SIDE])
    return tmp_path


def tensors() -> int:
    """Bytes of the tensors that somebody holds."""
    found = [each.untyped_storage() for each in gc.get_objects() if type(each) is torch.Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in found}.values())


@pytest.fixture
def growth(video, monkeypatch):
    """Bytes that one more frame costs: of objects with arrays, of their peak, and of tensors."""
    numbers = count()

    def measured(*, between=False, keep=()):
        rows, held = [], []

        def run(self, inputs, _call=Model.__call__):
            made = _call(self, inputs)
            gc.collect()
            rows.append((*tracemalloc.get_traced_memory(), tensors()))
            tracemalloc.reset_peak()
            if "results" in keep:
                held.append(made)
            return made

        def usable(self, _usable=Pixels.usable.fget):
            if "pixels" in keep:
                held.append(self.values)
            return _usable(self)

        with monkeypatch.context() as patch:
            patch.setattr(Model, "__call__", run)
            patch.setattr(Pixels, "usable", property(usable))
            tracemalloc.start()
            try:
                done = geosr.superres(video / "frames", video / f"out{next(numbers)}", model="ibp",
                                      scale=2, window=5, between=between)  # fmt: skip
            finally:
                tracemalloc.stop()
        scenes = 2 * SEVERAL - 1 if between else SEVERAL
        assert [each.status for each in done] == ["done"] * scenes and len(rows) == scenes
        rows = rows[4:-4:2] if between else rows[2:-2]  # windows that the ends do not reflect
        return np.polyfit(np.arange(len(rows)), np.array(rows, float), 1)[0]

    return measured


@pytest.mark.parametrize("between", [False, True])
def test_one_more_frame_of_a_video_costs_no_memory(growth, between):
    # names and outcomes take some KB
    assert (growth(between=between) < FRAME / 2).all()


def test_frames_and_results_that_are_kept_would_be_seen(growth):
    objects, _, _ = growth(keep={"pixels"})
    assert objects > FRAME
    _, _, held = growth(keep={"results"})
    assert held > 4 * FRAME
