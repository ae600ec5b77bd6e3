"""Sentinel-2 at 5 m: one pass over nets that sharpen and one that makes their guides finer."""

from dataclasses import replace

import numpy as np
import pytest
import rasterio
import scene_files
import torch
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.strips import strips
from geosr.inference.superres import superres
from geosr.inference.zoom import with_finer
from geosr.models import registry, weights
from geosr.scene import degrade, pointspread
from geosr.sensors import OpenOptions, open_scene

ALL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    scene_files.write_folder(folder / "L1C_scene", size=120)
    return folder / "L1C_scene"


@pytest.fixture(scope="module")
def finer():
    """A thin net whose residual is of the size of a real one."""
    torch.manual_seed(0)
    card = registry.design("dsen2-ps-10").card()
    card = registry.measured(replace(card, options={"features": 8, "blocks": 1}))
    net = registry.build(card)
    torch.nn.init.normal_(net.net.tail.weight, std=0.004)
    net.net.eval()
    return net


def run(scene, path, nets, **request):
    result = superres(open_scene(scene), path, nets, request=Request(**request), check=True)
    dataset = rasterio.open(path)
    return dataset.read(), dataset, result


def test_all_bands_come_out_at_5_m_on_the_ground_of_the_scene(scene, finer, tmp_path):
    ten, before, _ = run(scene, tmp_path / "ten.tif", weights.load("bicubic"))
    five, after, result = run(scene, tmp_path / "five.tif", [*weights.load("bicubic"), finer])
    assert after.descriptions == before.descriptions == ALL
    assert after.bounds == before.bounds and after.crs == before.crs
    assert after.res == (5.0, 5.0) and five.shape[1:] == (2 * ten.shape[1], 2 * ten.shape[2])
    assert after.tags()["GEOSR_MODEL"].split() == ["bicubic-20", "bicubic-60", "dsen2-ps-10"]
    assert "without a truth" in after.tags()["GEOSR_NOTE"]
    assert "GEOSR_NOTE" not in before.tags()
    assert set(result.check.rmse) == set(ALL)


def test_an_untrained_net_gives_the_10_m_bands_interpolated(scene, tmp_path):
    card = registry.design("dsen2-ps-10").card()
    net = registry.build(card)
    with rasterio.open(next(scene.glob("10m.tif"))) as dataset:
        own = torch.from_numpy(dataset.read()[None].astype(np.float32))
    with torch.no_grad():
        made = net.net({10: own})
    torch.testing.assert_close(
        made, F.interpolate(own, scale_factor=2, mode="bicubic", align_corners=False)
    )


def test_tiles_leave_no_trace(scene, finer):
    opened, nets = open_scene(scene), [*weights.load("bicubic"), finer]

    def made(size):
        plan = make_plan(opened, nets, Request(tile_size=size))
        with opened.open() as reader:
            parts = [strip.predicted for strip in strips(reader, plan, Engine())]
        return len(plan.tiles), {n: np.concatenate([p[n] for p in parts]) for n in plan.names}

    (one, whole), (many, tiled) = made(200), made(30)
    assert one == 1 < many
    for name in ALL:
        # a count has 1; rounding in the regressions of flat ground is what is left
        np.testing.assert_allclose(tiled[name], whole[name], atol=0.3, err_msg=name)
        assert np.quantile(np.abs(tiled[name] - whole[name]), 0.99) < 0.02


@pytest.mark.parametrize("bands", [("B11",), ("B4",), ("B4", "B9")])
def test_single_bands_are_as_among_all(scene, finer, tmp_path, bands):
    nets = [*weights.load("bicubic"), finer]
    every, *_ = run(scene, tmp_path / "all.tif", nets)
    some, dataset, _ = run(scene, tmp_path / "some.tif", nets, bands=bands)
    assert dataset.descriptions == bands and dataset.res == (5.0, 5.0)
    kept = every[[ALL.index(name) for name in bands]].astype(int)
    assert np.abs(some.astype(int) - kept).max() <= 1


def test_scenes_without_60_m_bands_come_out_too(scene, finer, tmp_path):
    part = tmp_path / "L1C_part"
    part.mkdir()
    for file in scene.iterdir():
        if not file.name.startswith("60m"):
            (part / file.name).symlink_to(file)
    _, dataset, _ = run(part, tmp_path / "out.tif", [*weights.load("bicubic"), finer])
    assert dataset.descriptions == tuple(name for name in ALL if name not in ("B1", "B9"))


def test_made_consistent_it_degrades_to_the_scene(scene, finer):
    opened = open_scene(scene)
    plan = make_plan(opened, [*weights.load("bicubic"), finer], Request(consistent=True), Engine())
    with opened.open() as reader:
        made = [strip.predicted for strip in strips(reader, plan, Engine())]
        for name in ("B2", "B8A", "B11", "B9"):
            factor = opened.gsd(name) // 5
            taps = plan.taps(name)
            pad = degrade.beyond(taps, factor)
            fine = np.pad(np.concatenate([rows[name] for rows in made]), pad, mode="symmetric")
            seen = degrade.shrink(fine, factor, taps, taps, pad=pad)
            own = reader.read([name], opened.gsd(name), opened.grids[opened.gsd(name)].window)
            inner = (slice(2, -2),) * 2  # beyond the edge tiles saw more than is written
            np.testing.assert_allclose(seen[inner], own.values[0][inner], atol=0.5, err_msg=name)


def test_the_net_is_chosen_by_the_pixel_size():
    sharpeners = weights.load("dsen2-ps")
    assert with_finer(sharpeners, None) == with_finer(sharpeners, 10) == tuple(sharpeners)
    with pytest.raises(UsageError, match="nothing finer than 5 m.*cannot be checked.*--gsd 5"):
        with_finer(sharpeners, 2.5)
    with pytest.raises(UsageError, match="make pixels of 10 m.*--gsd 5"):
        with_finer(sharpeners, 7)
    with pytest.raises(UsageError, match="landsat-ps make pixels of 15 m"):
        with_finer(weights.load("landsat-ps"), 5)


def test_the_5_m_net_comes_with_geosr():
    names = [model.card.name for model in with_finer(weights.load("dsen2-ps"), 5)]
    assert names == ["dsen2-ps-20", "dsen2-ps-60", "dsen2-ps-10"]


def test_what_a_band_sees_at_5_m_adds_up_to_what_it_sees_at_10_m():
    # a 10 m band from 5 m pixels, then a coarse band from those, is the coarse band from 5 m
    for name in ("B4", "B8A", "B11", "B1"):
        own = pointspread.at("B4", 5)
        assert pointspread.at(name, 10) == pytest.approx(pointspread.relative(name))
        assert pointspread.at(name, 5) ** 2 == pytest.approx(
            pointspread.relative(name) ** 2 + own**2
        )


def test_only_bands_of_sentinel_2_see_as_its_sensor_does(scene, finer, tmp_path):
    plan = make_plan(open_scene(scene), [*weights.load("bicubic"), finer], Request())
    assert len(plan.taps("B4")) < len(plan.taps("B11"))
    np.testing.assert_array_equal(
        plan.taps("B4"), degrade.point_spread(2, pointspread.at("B4", 5) / 5)
    )
    with rasterio.open(
        tmp_path / "photo.tif", "w", driver="GTiff", height=40, width=40, count=2, dtype="uint16",
        crs="EPSG:32632", transform=rasterio.Affine(3, 0, 500000, 0, -3, 5000000),
    ) as file:  # fmt: skip
        file.write(np.arange(3200, dtype=np.uint16).reshape(2, 40, 40))
        file.descriptions = ("B4", "Band 1")
    photo = open_scene(tmp_path / "photo.tif", OpenOptions(kind="image"))
    plan = make_plan(photo, weights.load("bicubic", scale=2), Request())
    assert plan.names == ("B4", "Band 1")
    for name in plan.names:
        np.testing.assert_array_equal(plan.taps(name), degrade.of_image(2))


def test_training_one_scale_down_blurs_as_the_sensor_does_here():
    # between 10 and 20 m the 10 m bands lose what they lost between 5 and 10 m, in pixels
    ten = pointspread.blur("B4", ("B2", "B3", "B4", "B8"), 2) / 10
    assert ten == pytest.approx(pointspread.at("B4", 5) / 5)
    assert pointspread.blur("B8A", ("B8A", "B11"), 2) == pytest.approx(
        (10.5**2 + (4 - 0.75**2) * 8.7**2) ** 0.5
    )
