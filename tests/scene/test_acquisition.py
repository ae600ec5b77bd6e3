"""When and by what a scene was sensed, as tags and names tell it."""

import pytest

from geosr.scene.acquisition import Acquisition, common, time_of, told


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2017-05-27T10:20:31.026Z", "2017-05-27T10:20:31Z"),
        ("20170527T102031", "2017-05-27T10:20:31Z"),
        ("2017-05-27 10:20:31", "2017-05-27T10:20:31Z"),
        ("2017-05-27", "2017-05-27"),
        ("2017-13-27", ""),
        ("2017-02-31", ""),
        ("soon", ""),
        ("", ""),
    ],
)
def test_times_are_read_as_products_write_them(text, time):
    assert time_of(text) == time


@pytest.mark.parametrize(
    ("name", "time", "platform"),
    [
        ("S2A_MSIL1C_20170527T102031_N0205_R065_T33UUB_20170527T102301", "2017-05-27T10:20:31Z",
         "sentinel-2a"),
        ("LC08_L1TP_192026_20200806_20210330_02_T1", "2020-08-06", "landsat-8"),
        ("L1C_20170527_T33UUB", "2017-05-27", ""),
        ("field", "", ""),
        ("tile_99999999", "", ""),
        ("x_20171340_201705271", "", ""),
    ],
)  # fmt: skip
def test_names_of_products_tell_the_acquisition(name, time, platform):
    found = told(name, {})
    assert (found.time, found.platform) == (time, platform)


def test_tags_go_before_names():
    tags = {"SPACECRAFT_NAME": "Sentinel-2B", "PRODUCT_START_TIME": "2018-01-01T00:00:00Z"}
    found = told("S2A_MSIL1C_20170527T102031", tags)
    assert (found.time, found.platform) == ("2018-01-01T00:00:00Z", "sentinel-2b")
    assert told("x", {"SPACECRAFT_ID": "LANDSAT_9"}).platform == "landsat-9"


def test_tags_of_pixels_files_and_programs_are_left_behind():
    tags = {
        "SENSING_ORBIT_NUMBER": "65", "TIFFTAG_COPYRIGHT": "ESA", "TIFFTAG_SOFTWARE": "x",
        "AREA_OR_POINT": "Area", "GEOSR_MODEL": "y", "STATISTICS_MEAN": "3", "NODATA_VALUE": "0",
        "BOA_ADD_OFFSET": "-1000", "RESOLUTION": "20 m", "LONG": "z" * 501,
    }  # fmt: skip
    assert told("x", tags).tags == {"SENSING_ORBIT_NUMBER": "65", "TIFFTAG_COPYRIGHT": "ESA"}


def test_several_acquisitions_keep_what_they_share():
    first = Acquisition("2017-05-27", "sentinel-2a", {"A": "1", "B": "2"})
    second = Acquisition("2017-06-06", "sentinel-2a", {"A": "1", "B": "3"})
    assert common([first, second]) == Acquisition("", "sentinel-2a", {"A": "1"})
    assert common([first]) == first
