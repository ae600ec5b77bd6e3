"""Wide scenes in panels: the output is what one panel gives, and every tile is counted."""

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import make_scene
import numpy as np
import pytest
import rasterio
import torch

from geosr.inference import forecast
from geosr.inference import plan as plan_module
from geosr.inference.arrays import reader_of, sharpened
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.models import registry, weights
from geosr.models.card import Model
from geosr.raster import rows
from geosr.raster.files import read_window
from geosr.sensors import open_scene

SIZE = 846  # no multiple of 256; with 60 m bands panels meet at 768
ROWS = 150


@pytest.fixture(scope="module")
def thin():
    """DSen2's nets of few channels, untrained, with a residual of the size of a real one."""
    torch.manual_seed(0)
    nets = []
    for card in registry.cards("dsen2"):
        small = replace(card, options={**card.options, "features": 4, "blocks": 1})
        net = registry.build(small).net.eval()
        net.tail.weight.data *= 0.05
        nets.append(Model(small, net))
    return nets


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A scene with a gap at its right edge, and one where panels meet, in some bands; masked."""
    folder = tmp_path_factory.mktemp("panels") / "s"
    make_scene.write_folder(folder, size=SIZE)
    for name, k in (("10m", 6), ("20m", 3), ("60m", 1)):
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(folder / f"{name}.tif", "r+") as dataset,
        ):
            values = dataset.read()
            values[:, 5 * k :, -4 * k :] = 0
            values[0, 8 * k : 12 * k, 126 * k : 131 * k] = 0
            mask = np.ones(dataset.shape, bool)
            mask[15 * k : 17 * k, 127 * k : 130 * k] = False
            dataset.write(values)
            dataset.write_mask(mask)
    return open_scene(folder)


def upper(scene):
    """Bounds of some rows of the scene, from its third coarse pixel to the right edge."""
    left, _, right, top = scene.grid.bounds
    return left + 120, top - ROWS * 10, right, top


def made(scene, path, nets, **request):
    result = superres(scene, path, nets, request=Request(**request))
    with rasterio.open(path) as dataset:
        tags = [dataset.tags(i) for i in dataset.indexes]
        return dataset.read(), dataset.dataset_mask(), tags, result


def panels(scene, nets, **request):
    return make_plan(scene, nets, Request(**request)).tiles.panels


@pytest.mark.parametrize("which, met", [((0, 1), [768]), ((0,), [256, 512]), ((1,), [768])])
def test_panels_leave_no_trace(scene, thin, tmp_path, monkeypatch, which, met):
    nets, request = [thin[i] for i in which], {"bounds": upper(scene)}
    whole, mask, tags, alone = made(scene, tmp_path / "whole.tif", nets, **request)
    monkeypatch.setattr(plan_module, "_PANEL", 300)
    monkeypatch.setattr(plan_module, "STRIP", 20_000)
    plan = make_plan(scene, nets, Request(**request))
    unit = plan.unit
    assert [p.window.col * unit - plan.window.col for p in plan.tiles.panels] == [0, *met]
    assert len(plan.tiles.rows) > 1
    array, there, told, result = made(scene, tmp_path / "panels.tif", nets, **request)
    assert array.shape[1:] == (ROWS, SIZE - 12)
    assert np.abs(array.astype(int) - whole).max() <= 1
    np.testing.assert_array_equal(there, mask)
    assert (result.filled, result.valid_share) == (alone.filled, alone.valid_share)
    assert result.tiles == len(plan.tiles) * len(nets) > alone.tiles
    for ours, theirs in zip(told, tags, strict=True):
        for key in ("STATISTICS_MEAN", "STATISTICS_STDDEV", "STATISTICS_VALID_PERCENT"):
            assert float(ours[key]) == pytest.approx(float(theirs[key]), abs=0.01)


@pytest.mark.parametrize("phase", [(1, 1), (5, 2)])
def test_panels_of_a_stack_off_the_coarse_lattice_meet_on_whole_blocks(
    tmp_path, monkeypatch, phase
):
    make_scene.write_stack(tmp_path / "s.tif", size=SIZE - 6, phase=phase)
    scene, nets = open_scene(tmp_path / "s.tif"), weights.load("bicubic")
    whole, *_ = made(scene, tmp_path / "whole.tif", nets)
    monkeypatch.setattr(plan_module, "_PANEL", 500)
    plan = make_plan(scene, nets, Request())
    starts = [plan.made(p.window.at(plan.unit)).col for p in plan.tiles.panels]
    assert all(start % 256 == 0 for start in starts)
    assert len(starts) == 2 or phase[1] % 2  # an odd number of pixels is never a whole block
    array, *_ = made(scene, tmp_path / "panels.tif", nets)
    assert np.abs(array.astype(int) - whole).max() <= 1


def test_panels_consistent_with_the_input_leave_no_trace(scene, thin, tmp_path, monkeypatch):
    request = {"bounds": upper(scene), "consistent": True}
    whole, *_ = made(scene, tmp_path / "whole.tif", thin[:1], **request)
    monkeypatch.setattr(plan_module, "_PANEL", 300)
    array, *_ = made(scene, tmp_path / "panels.tif", thin[:1], **request)
    assert np.abs(array.astype(int) - whole).max() <= 1


def test_a_run_that_ends_in_the_second_panel_leaves_nothing_and_the_next_makes_all(
    scene, tmp_path, monkeypatch
):
    nets, path = weights.load("bicubic"), tmp_path / "o.tif"
    whole, *_ = made(scene, path, nets, bounds=upper(scene))
    path.unlink()
    monkeypatch.setattr(plan_module, "_PANEL", 500)
    monkeypatch.setattr(plan_module, "STRIP", 20_000)
    first, *_ = plan_panels = panels(scene, nets, bounds=upper(scene))
    assert len(plan_panels) == 2
    done = []

    def ends(count):
        done.append(count)
        if sum(done) > len(first) * len(nets) + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        superres(scene, path, nets, request=Request(bounds=upper(scene)), progress=ends)
    assert not list(tmp_path.iterdir())
    array, *_ = made(scene, path, nets, bounds=upper(scene))
    assert np.abs(array.astype(int) - whole).max() <= 1


@pytest.mark.parametrize(
    "request_, count",
    [
        ({}, 2),
        ({"format": "COG"}, 2),
        ({"options": {"tiled": "no"}}, 1),
        ({"options": {"BLOCKXSIZE": "512", "BLOCKYSIZE": "512"}}, 1),
        ({"options": {"BLOCKXSIZE": "16", "BLOCKYSIZE": "16"}, "tile_size": 120}, 3),
    ],
)
def test_panels_are_of_whole_blocks_of_the_output(scene, tmp_path, monkeypatch, request_, count):
    nets, request_ = weights.load("bicubic"), {**request_, "bounds": upper(scene)}
    whole, *_ = made(scene, tmp_path / "whole.tif", nets, **request_)
    monkeypatch.setattr(plan_module, "_PANEL", 300)
    assert len(panels(scene, nets, **request_)) == count
    array, *_ = made(scene, tmp_path / "panels.tif", nets, **request_)
    assert np.abs(array.astype(int) - whole).max() <= 1


def test_nets_that_blend_have_one_panel(scene, thin, monkeypatch):
    monkeypatch.setattr(plan_module, "_PANEL", 300)
    blending = [Model(replace(net.card, blend=2), net.net) for net in thin]
    assert len(panels(scene, thin)) > 1
    assert len(panels(scene, blending)) == 1


def test_strips_of_a_wide_scene_are_as_high_as_those_of_a_panel(monkeypatch, scene):
    monkeypatch.setattr(plan_module, "_PANEL", 300)
    monkeypatch.setattr(plan_module, "STRIP", 60_000)
    net = weights.load("bicubic")[:1]
    plan = make_plan(scene, net, Request())
    widest = max(panel.window.width for panel in plan.tiles.panels) * plan.zoom
    high = plan.tiles.size * plan.zoom
    assert 30_000 < high * widest <= 60_000
    expected = sum((n.window.height + 2 * plan.pad) * (n.window.width + 2 * plan.pad)
                   for n in plan.tiles) * plan.zoom**2  # fmt: skip
    assert forecast.work(plan).pixels == expected


def test_arrays_are_sharpened_by_panels(monkeypatch):
    rng = np.random.default_rng(0)
    shapes = {10: (4, 60, SIZE), 20: (6, 30, SIZE // 2)}
    d10, d20 = (rng.integers(1, 5000, shape).astype(np.uint16) for shape in shapes.values())
    reader, nets = reader_of({10: d10, 20: d20}), weights.load("bicubic")[:1]
    names, whole = sharpened(reader, nets, request=Request(), engine=Engine())
    monkeypatch.setattr(plan_module, "_PANEL", 300)
    monkeypatch.setattr(plan_module, "STRIP", 10_000)
    assert len(make_plan(reader.scene, nets, Request()).tiles.panels) == 3
    again, array = sharpened(reader, nets, request=Request(), engine=Engine())
    assert again == names
    assert np.abs(array.astype(int) - whole).max() <= 1


def test_every_row_of_a_file_is_decoded_once_a_panel(scene, thin, tmp_path, monkeypatch):
    whole, *_ = made(scene, tmp_path / "whole.tif", thin, bounds=upper(scene))
    monkeypatch.setattr(plan_module, "_PANEL", 300)
    monkeypatch.setattr(plan_module, "STRIP", 20_000)
    plan = make_plan(scene, thin, Request(bounds=upper(scene)))
    assert len(plan.tiles.panels) == 2 and len(plan.tiles.rows) > 3
    read = defaultdict(list)

    def noted(dataset, indexes, window, shape=None):
        read[dataset.name, window.col].append((window.row, window.row + window.height))
        return read_window(dataset, indexes, window, shape)

    monkeypatch.setattr(rows, "read_window", noted)
    array, *_ = made(scene, tmp_path / "panels.tif", thin, bounds=upper(scene))
    assert np.abs(array.astype(int) - whole).max() <= 1
    assert len(read) == 3 * 2  # files and panels
    for parts in read.values():
        assert all(below == first for (_, below), (first, _) in pairwise(parts))
