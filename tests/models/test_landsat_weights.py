"""The bundled landsat-ps at true scale, where no truth tells."""

import pytest
import torch

from geosr.evaluation.evaluate import evaluate
from geosr.evaluation.protocols import Data
from geosr.models import weights

GROUND = torch.tensor([3000.0, 2300.0, 2400.0, 2700.0, 3000.0, 2500.0])[None, :, None, None]
NOISE = 0.02  # of the mean: Landsat-7's bands have 1 to 5 % of it


@pytest.fixture(scope="module")
def net():
    return weights.load("landsat-ps")[0].net


def test_noise_of_even_ground_is_not_made_more_of(net):
    rng = torch.Generator().manual_seed(0)
    coarse = GROUND * (1 + NOISE * torch.randn((1, 6, 100, 100), generator=rng))
    with torch.inference_mode():
        made = net({15: torch.full((1, 1, 200, 200), 2500.0), 30: coarse})[..., 50:-50, 50:-50]
    assert ((made.std((2, 3)) / GROUND[..., 0, 0]) < NOISE).all()


def test_the_guide_seen_coarse_is_found_again(shared, tmp_path):
    for part in ("ms", "pan"):
        name = f"scene15_{part}.tif"
        (tmp_path / name).symlink_to(shared / "landsat7" / name)
    data = Data(tmp_path, protocol="twin")
    (score,) = evaluate(data, {"landsat-ps": weights.load("landsat-ps")}).scores
    assert score.whole["gain"] == pytest.approx(1, abs=0.03)
