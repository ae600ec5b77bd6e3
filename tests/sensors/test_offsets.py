"""Offsets that only a name speaks for, against the pixels."""

import re

import numpy as np
import pytest
import rasterio
import scene_files

from geosr.sensors import OpenOptions, open_scene

WITH_OFFSET = (1050, 4000)  # counts of baseline 04.00 or later, dark water to bright roof
WITHOUT = (50, 3000)
BANDS = {10: ("B2", "B3", "B4", "B8"), 20: ("B5", "B6", "B7", "B8A", "B11", "B12")}


def write(folder, counts):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for gsd, names in BANDS.items():
        side = 600 // gsd
        values = rng.integers(*counts, (len(names), side, side)).astype(np.uint16)
        profile = {"driver": "GTiff", "width": side, "height": side, "count": len(names),
                   "dtype": "uint16", "crs": "EPSG:32633",
                   "transform": rasterio.Affine(gsd, 0, 600000, 0, -gsd, 5400000)}  # fmt: skip
        with rasterio.open(folder / f"{gsd}m.tif", "w", **profile) as output:
            output.write(values)
            output.descriptions = names
    return folder


def offsets(scene):
    return {band.offset for band in scene.bands}


@pytest.mark.parametrize(
    "baseline, counts, offset, warned",
    [
        ("N0500", WITH_OFFSET, -1000, ""),
        ("N0400", WITH_OFFSET, -1000, ""),
        ("N0214", WITHOUT, 0, ""),
        ("N9999", WITHOUT, 0, "no DN offset known"),
        ("N9999", WITH_OFFSET, 0, "no DN offset known"),
        ("N0500", WITHOUT, 0, "so 0 is assumed"),
    ],
)
def test_a_baseline_in_a_name_counts_where_esa_released_it_and_pixels_agree(
    tmp_path, baseline, counts, offset, warned
):
    folder = write(tmp_path / f"S2A_MSIL2A_20220613T101031_{baseline}_R022_T33UUP", counts)
    scene = open_scene(folder)
    assert offsets(scene) == {offset}
    warnings = [str(note) for note in scene.notes if note.warning]
    assert bool(warnings) == bool(warned) and all(warned in text for text in warnings)


def test_an_offset_that_was_asked_for_stands_and_is_warned_about(tmp_path):
    scene = open_scene(write(tmp_path / "s", WITHOUT), OpenOptions(dn_offset=-1000.0))
    assert offsets(scene) == {-1000}
    (warning,) = (str(note) for note in scene.notes if note.warning)
    assert "applied as told" in warning


def test_both_levels_of_one_place_keep_an_offset_of_zero(shared):
    for name in ("L1C_terramind_38D_378R_2_3", "L2A_terramind_38D_378R_2_3"):
        assert offsets(open_scene(shared / "sentinel2/val" / name)) == {0}
    for folder in sorted((shared / "sentinel2/train").glob("*N9999*")):
        assert offsets(open_scene(folder)) == {0}


def test_an_offset_of_the_products_xml_stands_and_is_warned_about(tmp_path):
    path = scene_files.write_safe(tmp_path, size=120, level="L1C", baseline="05.10")
    assert not [note for note in open_scene(path).notes if note.warning]
    (xml,) = path.glob("MTD_MSIL1C.xml")
    text = re.sub(r"(<RADIO_ADD_OFFSET[^>]*>)-1000<", r"\g<1>-9000<", xml.read_text())
    xml.write_text(text)
    scene = open_scene(path)
    assert offsets(scene) == {-9000}
    (warning,) = (str(note) for note in scene.notes if note.warning)
    assert "applied as told" in warning
