"""Outputs of any scale: tiles without a trace, grids as the rule says, masks where centres lie."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from rasterio.crs import CRS
from rasters import write_on_grid

from geosr.errors import SceneError, UsageError
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.models import registry, weights
from geosr.sensors import OpenOptions, open_scene

ODD = (47, 61)  # pixels of 30 m


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Path:
    values = np.random.default_rng(0).uniform(0.01, 0.4, (1, *ODD)).astype(np.float32)
    return write_on_grid(tmp_path_factory.mktemp("image") / "a.tif", values)


def net(name="liif"):
    torch.manual_seed(0)
    card = registry.design(name).card()
    small = {"features": 8, "blocks": 2} | ({"width": 16} if name == "funsr" else {"hidden": 16})
    card = replace(card, margin=8 * card.scale, options={**card.options, **small})
    model = registry.build(card)
    model.net.eval()
    return model


def scene_of(path):
    return open_scene(path, OpenOptions(kind="image"))


def run(path, out, model, **request):
    superres(scene_of(path), out, [model], request=Request(**request))
    with rasterio.open(out) as dataset:
        return dataset.read(), dataset.profile, dataset.bounds, dataset.dataset_mask()


def test_the_margin_of_thin_nets_is_what_they_see():
    assert registry.measured(net().card) == net().card


@pytest.mark.parametrize(
    "name, scale",
    [("liif", 1.3), ("liif", 1.7), ("liif", 2), ("liif", 2.5), ("liif", 10 / 3), ("cdcr", 2.5)],
)
def test_tiles_leave_no_trace_at_any_scale(image, tmp_path, name, scale):
    model = net(name).at(scale)
    whole, *_ = run(image, tmp_path / "whole.tif", model, tile_size=64)
    for size in (13, 5):
        tiles, *_ = run(image, tmp_path / "tiles.tif", model, tile_size=size)
        np.testing.assert_allclose(tiles, whole, atol=5e-6)
    with torch.inference_mode(), rasterio.open(image) as dataset:
        counts = torch.from_numpy(dataset.read())[None] * 10000
        alone = model({model.card.scale: counts})[0].numpy() / 10000
    inner = (slice(None), *[slice(int(9 * scale), -int(9 * scale) - 1)] * 2)
    assert whole[inner].size
    np.testing.assert_allclose(whole[inner], alone[inner], atol=5e-6)


def test_nets_that_see_the_whole_tile_blend_without_seams(image, tmp_path):
    made, profile, *_ = run(image, tmp_path / "o.tif", net("funsr").at(2.5), tile_size=20)
    assert made.shape == (1, 118, 153) and np.isfinite(made).all()
    assert profile["transform"].a == 12


@pytest.mark.parametrize("scale", [1.7, 2.5, 3.7])
def test_the_grid_keeps_the_corner_and_covers_the_bounds(image, tmp_path, scale):
    made, profile, bounds, _ = run(image, tmp_path / "o.tif", net().at(scale))
    assert made.shape[1:] == tuple(int(np.ceil(n * scale - 1e-6)) for n in ODD)
    with rasterio.open(image) as source:
        ours, theirs = profile["transform"], source.transform
        assert (ours.c, ours.f) == (theirs.c, theirs.f) and profile["crs"] == source.crs
        assert (ours.a, ours.e) == (30 / scale, -30 / scale)
        assert 0 <= bounds.right - source.bounds.right < 30 / scale
        assert 0 <= source.bounds.bottom - bounds.bottom < 30 / scale


@pytest.mark.parametrize("gsd, shape", [(4, (353, 458)), (12, (118, 153)), (20, (71, 92))])
def test_a_pixel_size_in_metres_is_the_outputs(image, tmp_path, gsd, shape):
    made, profile, bounds, _ = run(image, tmp_path / "o.tif", net(), gsd=gsd)
    assert made.shape[1:] == shape
    assert profile["transform"][:6] == pytest.approx((gsd, 0, 500010, 0, -gsd, 4100040), abs=1e-9)
    assert bounds.right >= 500010 + 61 * 30 - 1e-6 and bounds.bottom <= 4100040 - 47 * 30 + 1e-6


def test_bounds_get_a_grid_of_their_own_corner(image, tmp_path):
    window = (500010 + 300, 4100040 - 900, 500010 + 900, 4100040 - 150)  # 20 × 25 px
    made, profile, bounds, _ = run(image, tmp_path / "o.tif", net().at(2.3), bounds=window)
    assert made.shape[1:] == (58, 46)
    assert (bounds.left, bounds.top) == (500310, 4099890)
    tiles, *_ = run(image, tmp_path / "p.tif", net().at(2.3), bounds=window, tile_size=7)
    np.testing.assert_allclose(tiles, made, atol=5e-6)
    assert profile["transform"].a == 30 / 2.3


def test_an_output_pixel_is_masked_as_the_pixel_under_its_centre(tmp_path):
    values = np.full((1, 9, 11), 500, np.uint16)
    values[0, 4, 6] = 0
    mask = np.ones((9, 11), bool)
    mask[2, 3] = False
    path = write_on_grid(tmp_path / "a.tif", values, mask=mask, nodata=None)
    _, _, _, made = run(path, tmp_path / "o.tif", weights.load("bicubic", scale=2.5)[0])
    expected = mask[(np.arange(23) / 2.5 + 0.2).astype(int).clip(max=8)[:, None],
                    (np.arange(28) / 2.5 + 0.2).astype(int).clip(max=10)]  # fmt: skip
    np.testing.assert_array_equal(made > 0, expected)


def test_nodata_stays_where_nothing_was_sensed_and_constants_stay_constant(tmp_path):
    values = np.full((1, 9, 11), 500, np.uint16)
    values[0, 4, 6] = 0
    path = write_on_grid(tmp_path / "a.tif", values, nodata=0)
    made, *_ = run(path, tmp_path / "o.tif", weights.load("bicubic", scale=2.5)[0])
    assert set(np.unique(made)) == {0, 500}
    rows, cols = np.nonzero(made[0] == 0)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (10, 11, 15, 16)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
def test_a_scene_of_single_pixels_is_made_finer_too(tmp_path, shape):
    path = write_on_grid(tmp_path / "a.tif", np.full((1, *shape), 700, np.uint16))
    made, *_ = run(path, tmp_path / "o.tif", weights.load("bicubic", scale=1.4)[0])
    assert made.shape[1:] == tuple(int(np.ceil(1.4 * n - 1e-6)) for n in shape)
    assert (made == 700).all()


def placed(tmp_path, crs, grid=None):
    grid = grid or Affine(0.001, 0, 10, 0, -0.001, 45)
    path = tmp_path / "a.tif"
    with rasterio.open(path, "w", driver="GTiff", width=9, height=9, count=1, dtype="uint8",
                       crs=crs, transform=grid) as file:  # fmt: skip
        file.write(np.full((1, 9, 9), 100, np.uint8))
    return scene_of(path)


@pytest.mark.parametrize("crs", [None, CRS.from_epsg(4326)])
def test_without_metres_a_pixel_size_is_refused(tmp_path, crs):
    with pytest.raises(SceneError, match="Use --scale"):
        make_plan(placed(tmp_path, crs), [net()], Request(gsd=4))


def test_a_crs_in_feet_gets_the_metres_asked_for(tmp_path):
    feet = Affine(10, 0, 1e6, 0, -10, 1e6)
    plan = make_plan(placed(tmp_path, CRS.from_epsg(2263), feet), [net()], Request(gsd=1.524003))
    assert plan.grid.gsd == pytest.approx(5, abs=1e-4)


def test_what_cannot_be_made_is_refused(image):
    scene = scene_of(image)
    with pytest.raises(SceneError, match=r"30 m, which is not coarser than --gsd 30\."):
        make_plan(scene, [net()], Request(gsd=30))
    edsr = registry.build(registry.design("edsr-baseline").card(scale=2))
    with pytest.raises(UsageError, match="makes pixels of 15 m of 30 m"):
        make_plan(scene, [edsr], Request(gsd=10))
    assert make_plan(scene, [edsr], Request(gsd=15)).grid.gsd == 15
    with pytest.raises(UsageError, match="--consistent is for nets of one whole scale"):
        make_plan(scene, [net()], Request(consistent=True))
    with pytest.raises(SceneError, match="more than 1,000"):
        make_plan(scene, [net().at(60)], Request(max_pixels=1000))
    dsen2 = registry.build(registry.design("dsen2-20").card())
    with pytest.raises(UsageError, match="guided nets"):
        make_plan(scene, [dsen2], Request(gsd=7))
