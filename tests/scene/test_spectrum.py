"""Where in the spectrum bands lie."""

import pytest

from geosr.scene.pointspread import LANDSAT
from geosr.scene.spectrum import Spectrum, of_tags, spectrum
from geosr.sensors.sentinel2 import ESA_ORDER


@pytest.mark.parametrize("platform", ["", "sentinel-2a", "sentinel-2b", "sentinel-2c"])
def test_every_band_of_sentinel_2_lies_where_its_name_says(platform):
    found = [spectrum(name, "sentinel2", platform) for name in ESA_ORDER]
    centres = [each.centre for each in found]
    assert centres == sorted(centres)  # ESA's order is that of the wavelengths
    assert all(0.01 < each.width < 0.2 and each.colour for each in found)
    nominal = [spectrum(name, "sentinel2").centre for name in ESA_ORDER]
    assert centres == pytest.approx(nominal, abs=0.02)


@pytest.mark.parametrize("platform", ["landsat-7", "landsat-8", "landsat-9"])
def test_bands_of_landsat_follow_their_colours(platform):
    centres = [spectrum(name, "landsat", platform).centre for name in LANDSAT]
    assert centres == sorted(centres) and centres[0] > 0.44


def test_without_a_satellite_landsat_has_colours_alone():
    assert spectrum("swir1", "landsat") == Spectrum(colour="swir")


def test_of_other_sensors_and_names_nothing_is_known():
    assert spectrum("B4", "image") == Spectrum() == spectrum("B99", "sentinel2")


def test_what_a_file_says_is_taken_where_it_is_a_wavelength():
    tags = {"CENTRAL_WAVELENGTH_UM": "0.81", "FWHM_UM": "wide"}
    assert of_tags(tags, "nir") == Spectrum(0.81, 0.0, "nir")
    assert of_tags({"CENTRAL_WAVELENGTH_UM": "nan"}, "gray") == Spectrum()
    assert Spectrum(0.81).tags == {"CENTRAL_WAVELENGTH_UM": "0.81"}
