"""No ground on both sides of the held-out split."""

from types import SimpleNamespace

import pytest
from affine import Affine
from rasterio.crs import CRS

from geosr.models.registry import design
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.training.datasets import Choice, open_sets
from geosr.training.datasets.places import of_image, of_scene, places
from geosr.training.datasets.windows import Area, split

PRODUCT = "MSI{}_20170527T102031_N0205_R065_T33UUB_20170527T102030"


def item(name, left=None, top=5_000_000, side=1000, epsg=32633):
    if left is None:
        return SimpleNamespace(name=name)
    transform = Affine(10, 0, left, 0, -10, top)
    return SimpleNamespace(name=name, grid=Grid(CRS.from_epsg(epsg), transform, side, side))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("S2A_" + PRODUCT.format("L1C"), "S2B_MSIL1C_20180711T102029_N0206_R022_T33UUB_2018"),
        ("S2A_" + PRODUCT.format("L1C"), "S2A_" + PRODUCT.format("L2A")),
        ("L1C_terramind_433D_629L_3_1", "L2A_terramind_433D_629L_3_1"),
        ("L1C_ssl4eo_20200604T054639_T43RCP", "L2A_ssl4eo_20200813T054639_T43RCP"),
        ("rome_2018", "rome_2020"),
    ],
)
def test_dates_levels_and_satellites_are_one_place_by_name(one, other):
    assert of_scene(one) == of_scene(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paris_20161130_r0_c0", "paris_20161130_r0_c64"),
        ("paris_20161130", "paris_2017-11-07"),
        ("tile_12_34", "tile_12_35"),
        ("scene01_pan", "scene01_ms"),
    ],
)
def test_chips_and_dates_of_an_image_are_one_place_by_name(one, other):
    assert of_image(one) == of_image(other)


def test_other_tiles_and_images_are_other_places():
    assert of_scene("S2A_T33UUB_2017") != of_scene("S2A_T33UUC_2017")
    assert of_image("scene01_pan") != of_image("scene02_pan")


def test_a_georeference_says_more_than_a_name():
    items = [
        item("a", 300_000), item("b", 305_000), item("c", 314_000), item("a2", 400_000),
        item("d"), item("d"), item("a"),
    ]  # fmt: skip
    found = places(items, of_image)
    assert found[0] == found[1] == found[2], "a and c meet through b"
    assert found[3] != found[0]
    assert found[4] == found[5] != found[6]
    assert found[6] not in found[:4], "a name alone says nothing of ground that is known"


def test_ground_is_the_same_in_another_crs_and_across_the_date_line():
    # 15.000° E, 45.16° N lies on the border of zones 33 and 32 (500 km and 971 km east)
    assert (
        len(set(places([item("a", 500_000), item("b", 971_000, 5_010_000, epsg=32632)], str))) == 1
    )
    east, west = item("e", 830_000, 100_000, 2000, 32660), item("w", 160_000, 100_000, 2000, 32601)
    assert len(set(places([east, west, item("far", 500_000, 100_000, 100, 32660)], str))) == 2


def test_footprints_that_only_touch_are_two_places():
    assert len(set(places([item("a", 300_000), item("b", 320_000)], str))) == 2


def test_the_shared_scenes_of_one_place_are_on_one_side(shared):
    card = design("dsen2-20").card()
    sets = open_sets(shared / "sentinel2/train", card, Choice(patch=48))
    sides = [
        {a.item.name.split("_", 1)[1] for a in part.areas} for part in (sets.training, sets.held)
    ]
    assert all(sides) and not sides[0] & sides[1], "L1C and L2A of one place"
    cities = [
        {name.rsplit("_", 1)[0] for name in side if "2017" in name or "2018" in name}
        for side in sides
    ]
    assert not {c for c in cities[0] & cities[1] if "ben" not in c}


def test_small_images_of_one_place_are_held_out_whole_with_a_warning(caplog):
    areas = [Area(item(name, 300_000, side=30), Window(0, 0, 30, 30)) for name in "abcd"]
    found = split(areas, 0.25, of_image, patch=24)
    assert (len(found.training), len(found.held)) == (3, 1)
    assert "flatters" in caplog.text
    larger = [Area(item(name, 300_000, side=60), Window(0, 0, 60, 60)) for name in "abcd"]
    found = split(larger, 0.25, of_image, patch=24)
    assert [part[0].window.height for part in (found.training, found.held)] == [36, 24]
