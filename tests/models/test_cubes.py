"""Nets for cubes of many bands: published counts, groups of bands, how they begin."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from nets import THIN
from torch.nn import functional as F

from geosr.models import registry
from geosr.models.card import Input, Model, ModelCard
from geosr.models.nets.guided.anypair import is_template, of_pair
from geosr.models.nets.guided.mogdcn import Sensor
from geosr.models.nets.single.edsr import factors
from geosr.models.nets.single.groups import groups, joined

GUIDED = ("hsrnet", "mog-dcn", "rrsgan")
SINGLE = ("sspsr", "rfsr-hsi", "gan-hsi")
UNUSED = {"hsrnet": 37, "mog-dcn": 12, "rrsgan": 334_083}  # numbers that nothing reads


def card_of(name: str, bands: int, guides: int, factor: int, **options) -> ModelCard:
    fine = Input(1, tuple(f"g{i}" for i in range(guides)))
    coarse = Input(factor, tuple(f"b{i}" for i in range(bands)))
    card = of_pair(registry.design(name).card(), fine, coarse)
    return replace(card, options={**card.options, **options})


def thin(name: str, *sizes: int) -> Model:
    torch.manual_seed(0)
    return registry.build(card_of(name, *sizes, **THIN[name]))


def images(model: Model, rows: int = 7, cols: int = 5) -> dict[int, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    return {
        item.gsd: 3000 * torch.rand(
            1, len(item.bands), rows * model.card.scale // item.gsd,
            cols * model.card.scale // item.gsd, generator=rng,
        )
        for item in model.card.inputs
    }  # fmt: skip


@pytest.mark.parametrize("name, sizes, options, published", [
    ("hsrnet", (31, 3, 4), {}, 633_438), ("hsrnet", (6, 1, 2), {}, 452_360),
    ("mog-dcn", (31, 3, 8), {"features": 64, "stages": 4}, 7_070_836),
    ("rrsgan", (3, 3, 4), {}, 8_318_982),
    ("dsen2-pair", (6, 4, 2), {}, 1_789_574),  # as for Sentinel-2's 20 m bands
])  # fmt: skip
def test_counts_of_nets_with_a_guide_are_the_published_ones(name, sizes, options, published):
    assert registry.count(card_of(name, *sizes, **options)) == published - UNUSED.get(name, 0)


@pytest.mark.parametrize("name, bands, scale, options, published", [
    ("sspsr", 128, 4, {}, 13_564_392), ("sspsr", 128, 8, {}, 15_924_712),
    ("sspsr", 31, 4, {"group": 4, "overlap": 1, "blocks": 8}, 26_077_475),
    ("rfsr-hsi", 128, 4, {}, 986_795),
    ("rfsr-hsi", 31, 4, {"group": 4, "blocks": 16, "wide": 31}, 1_602_944),
    ("rfsr-hsi", 102, 4, {"group": 8, "blocks": 5, "wide": 64}, 826_911),
    ("gan-hsi", 31, 4, {}, 327_277),
])  # fmt: skip
def test_counts_of_nets_without_a_guide_are_the_published_ones(
    name, bands, scale, options, published
):
    card = registry.design(name).card(scale=scale, bands=bands)
    assert registry.count(replace(card, options={**card.options, **options})) == published


@pytest.mark.parametrize("bands", range(1, 20))
@pytest.mark.parametrize("size, overlap", [(1, 0), (4, 1), (8, 2), (5, 4)])
def test_groups_hold_every_band_and_are_of_one_size(bands, size, overlap):
    found = groups(bands, size, overlap)
    assert {band for place in found for band in range(place.start, place.stop)} == {*range(bands)}
    assert {place.stop - place.start for place in found} == {min(size, bands)}
    assert all(b.start - a.stop <= -overlap for a, b in pairwise(found))


def test_groups_that_do_not_get_on_are_refused():
    with pytest.raises(ValueError, match="4 of them in common"):
        groups(12, 4, 4)


@pytest.mark.parametrize("bands, size, overlap", [(7, 3, 1), (9, 4, 0), (2, 8, 2)])
def test_what_was_cut_into_groups_is_joined_again(bands, size, overlap):
    cube, places = torch.rand(2, bands, 4, 5), groups(bands, size, overlap)
    torch.testing.assert_close(joined([cube[:, place] for place in places], places), cube)


@pytest.mark.parametrize("scale, found", [(1, []), (2, [2]), (6, [2, 3]), (8, [2] * 3), (11, [11])])
def test_factors_multiply_to_the_scale(scale, found):
    assert factors(scale) == found


@pytest.mark.parametrize("name", GUIDED)
@pytest.mark.parametrize("sizes", [(1, 1, 2), (5, 2, 3), (3, 4, 8)])
def test_nets_with_a_guide_take_any_bands_and_factors_and_begin_as_interpolation(name, sizes):
    """That of mog-dcn is brought into agreement with its input once, by its point spread."""
    model = thin(name, *sizes)
    given = images(model)
    cube = given[model.card.scale]
    wanted = F.interpolate(cube, scale_factor=model.card.scale, mode="bicubic")
    with torch.inference_mode():
        made = model(given)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert model(given).dtype == torch.float32
        if name == "mog-dcn":
            wanted = wanted + model.net.sensor(wanted, cube)
    torch.testing.assert_close(made, wanted, rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("bands, scale", [(1, 2), (5, 3), (9, 6)])
def test_nets_for_cubes_alone_take_any_bands_and_factors_and_begin_as_interpolation(
    name, bands, scale
):
    card = registry.design(name).card(scale=scale, bands=bands)
    net = registry.build(replace(card, options={**card.options, **THIN[name]})).net
    cube = torch.rand(1, bands, 6, 7)
    with torch.inference_mode():
        torch.testing.assert_close(
            net(cube), F.interpolate(cube, scale_factor=scale, mode="bicubic")
        )


@pytest.mark.parametrize("name, learnt", [("hsrnet", 0.02), ("mog-dcn", 0.02), ("rrsgan", 0.1)])
def test_the_guide_has_a_say_once_something_is_learnt(name, learnt):
    model = thin(name, 3, 2, 2)
    for parameter in model.net.parameters():  # as after some steps
        parameter.data += learnt * torch.randn_like(parameter)
    given = images(model)
    with torch.inference_mode():
        before = model(given)
        given[1] = given[1].flip(-1)
        assert (model(given) - before).abs().max() > 1


@pytest.mark.parametrize("factor", [2, 3, 8])
def test_the_sensor_of_mog_dcn_begins_as_a_point_spread_and_its_transpose(factor):
    sensor = Sensor(3, factor)
    fine = torch.rand(1, 3, 6 * factor, 5 * factor)
    coarse = sensor.down(F.pad(fine, (3, 2, 3, 2), "replicate"))
    assert coarse.shape == (1, 3, 6, 5)
    torch.testing.assert_close(sensor(fine, coarse), torch.zeros_like(fine))
    flat = torch.full_like(fine, 0.7)
    torch.testing.assert_close(sensor(flat, torch.full_like(coarse, 0.7)), 0 * flat)
    missing = torch.zeros_like(coarse)
    missing[0, 1, 3, 2] = 1
    back = sensor(torch.zeros_like(fine), missing)
    at = back[0, 1].flatten().argmax()
    row, col = int(at) // fine.shape[-1], int(at) % fine.shape[-1]
    assert (row // factor, col // factor) == (3, 2) and back[0, [0, 2]].abs().max() < 1e-6


def test_a_template_becomes_the_card_of_a_pair_and_its_margin_grows_with_the_factor():
    template = registry.design("hsrnet").card()
    card = card_of("hsrnet", 4, 2, 6)
    assert is_template(template) and not is_template(card)
    assert card.scale == 6 and card.bands == ("b0", "b1", "b2", "b3")
    assert card.margin == 3 * template.margin and card.blend == template.blend > 0
    assert ModelCard.from_json(card.to_json()) == card
