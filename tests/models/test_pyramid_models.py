"""LapSRN, MS-LapSRN and LPAN: counts, levels, what the blocks of a stage see."""

import pytest
import torch

from geosr.models.registry import build, design

THIN = {
    "lapsr": {"features": 2, "depth": 2},
    "ms-lapsr": {"features": 2, "depth": 2, "recursions": 2},
    "lpan-reference": {"features": 4},
    "lpan": {"features": 4},
}


@pytest.mark.parametrize(
    "name, scale, bands, count",
    [
        ("lapsr", 2, 1, 407_441),
        ("lapsr", 4, 1, 814_242),
        ("lapsr", 8, 1, 1_221_043),
        ("ms-lapsr", 2, 1, 222_801),
        ("ms-lapsr", 8, 1, 222_801),
        ("lpan-reference", 2, 3, 7_956_379),
    ],
)
def test_parameter_counts_are_the_published_ones(name, scale, bands, count):
    assert build(design(name).card(scale=scale, bands=bands)).parameters == count


def test_deeper_and_shared_variants_count_as_published():
    assert build(design("ms-lapsr").card(depth=8, recursions=2)).parameters == 333_585
    assert build(design("lpan").card(bands=3, share=True)).parameters == 7_956_379


@pytest.mark.parametrize("name", ["lapsr", "ms-lapsr"])
def test_a_pyramid_gives_all_levels_in_training_and_the_finest_otherwise(name):
    net = build(design(name).card(scale=8, bands=2, **THIN[name])).net
    image = torch.rand(1, 2, 3, 5)
    levels = net.train()(image)
    assert [tuple(level.shape) for level in levels] == [
        (1, 2, 6, 10), (1, 2, 12, 20), (1, 2, 24, 40)
    ]  # fmt: skip
    torch.testing.assert_close(net.eval()(image), levels[-1])


@pytest.mark.parametrize("name", THIN)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3)])
def test_every_size_comes_out_exactly_scaled(name, size):
    for scale in design(name).reach:
        net = build(design(name).card(scale=scale, bands=2, **THIN[name])).net.eval()
        out = net(torch.rand(2, 2, *size))
        assert out.shape == (2, 2, size[0] * scale, size[1] * scale)


@pytest.mark.parametrize("name", ["lapsr", "ms-lapsr"])
def test_without_residuals_a_pyramid_is_bilinear(name):
    net = build(design(name).card(scale=4, bands=2, **THIN[name])).net.eval()
    for level in net.levels:
        torch.nn.init.zeros_(level.head.weight)
    image = torch.rand(1, 2, 8, 8)
    expected = image
    for _ in range(2):
        expected = torch.nn.functional.interpolate(expected, scale_factor=2, mode="bilinear")
    inner = (..., slice(4, -4), slice(4, -4))  # at the edge zeros come in
    torch.testing.assert_close(net(image)[inner], expected[inner])


def test_the_levels_of_ms_lapsr_are_one():
    model = build(design("ms-lapsr").card(scale=8, **THIN["ms-lapsr"]))
    assert len(model.net.levels) == 1
    assert len(model.net.state_dict()) == len(list(model.net.parameters()))


@pytest.mark.parametrize("name", ["lpan-reference", "lpan"])
def test_the_maps_of_a_stage_differ_but_for_the_seeds_own(name):
    torch.manual_seed(0)
    net = build(design(name).card(bands=3, **THIN[name])).net
    for stage in net.stages:
        maps, _ = stage.maps(torch.rand(1, 4, 5, 5))
        same = [torch.equal(maps[0], other) for other in maps[1:]]
        assert all(same) if name == "lpan-reference" else not any(same)


def test_shared_blocks_still_pass_their_residual_on():
    net = build(design("lpan").card(share=True, **THIN["lpan"])).net
    maps, _ = net.stages[1].maps(torch.rand(1, 4, 5, 5))
    assert not torch.equal(maps[0], maps[1])
