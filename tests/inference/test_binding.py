"""Nets bound to a scene: what they are told of its sensor."""

import numpy as np
import pytest
from make_probav import write_imgset
from rasters import write

from geosr.inference.binding import bind
from geosr.inference.request import Request
from geosr.models.registry import build, design
from geosr.sensors import OpenOptions, open_scene

SERIES = OpenOptions(kind="series")


def blur(scene, name):
    (net, *_) = bind(scene, [build(design(name).card(features=8, blocks=1) if "net" in name
                                   else design(name).card())], Request(), [])  # fmt: skip
    return net.model.card.options["blur"]


@pytest.mark.parametrize("name", ["map", "map-reference", "map-robust"])
def test_the_most_probable_image_is_seen_as_proba_v_sees_on_its_imgsets_alone(tmp_path, name):
    imgset = write_imgset(tmp_path / "imgset0000", size=24)
    assert blur(open_scene(imgset, SERIES), name) == "cubic"
    for day in range(2):
        write(tmp_path / f"other/day{day}.tif", np.full((1, 24, 24), 500, np.uint16))
    assert blur(open_scene(tmp_path / "other", SERIES), name) == "sensor"


def test_a_net_keeps_the_point_spread_that_it_learned_with(tmp_path):
    imgset = write_imgset(tmp_path / "imgset0000", size=24)
    for name in ("ibp", "ibp-net"):
        assert blur(open_scene(imgset, SERIES), name) == 0.375
