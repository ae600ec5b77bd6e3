"""Classical sharpening by a finer raster: exact where its model holds, alike in tiles and whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geosr.models import registry
from geosr.models.card import Input
from geosr.models.nets.guided.classical import (
    Classical,
    Sample,
    each_regression,
    for_scene,
    regression,
)
from geosr.models.nets.guided.regress import sensed

NAMES = ("brovey", "gsa", "mtf-glp", "bdsd", "regress")
SIGMA = 1.1


def field(side: int, seed: int, channels: int = 1) -> torch.Tensor:
    """Waves of all lengths down to three pixels, (1, channels, side, side), around 2000."""
    rng = np.random.default_rng(seed)
    at = np.arange(side)
    made = np.full((channels, side, side), 2000.0)
    for image in made:
        for _ in range(24):
            down, across, turn = *rng.uniform(-1.5, 1.5, 2), rng.uniform(0, 6)
            image += 40 * np.sin(down * at[:, None] + across * at[None] + turn)
    return torch.from_numpy(made.astype(np.float32))[None]


def net(name: str, bands: int, guides: int = 1, factor: int = 2) -> Classical:
    card = registry.design(name).card()
    fine = Input(1, tuple(f"g{i}" for i in range(guides)))
    coarse = Input(factor, tuple(f"b{i}" for i in range(bands)))
    card = for_scene(card, registry.builder(card), fine, coarse, [SIGMA] * bands)
    made = registry.build(card).net
    assert isinstance(made, Classical)
    return made


def sample(guide: torch.Tensor, truth: torch.Tensor, factor: int = 2) -> Sample:
    low = sensed(truth, factor, [SIGMA] * truth.shape[1])
    return Sample(guide, low, torch.ones(low.shape[-2:], dtype=torch.bool))


def error(estimate: torch.Tensor, truth: torch.Tensor) -> float:
    return float((estimate - truth)[..., 16:-16, 16:-16].square().mean().sqrt())


@pytest.mark.parametrize("name", NAMES)
def test_bands_that_are_the_guide_in_other_units_are_found_again(name):
    guide = field(96, 0)
    truth = torch.cat([0.5 * guide, 1.5 * guide], 1)
    told = sample(guide, truth)
    made = net(name, 2)
    made.learn([told])
    with torch.inference_mode():
        estimate = made({1: guide, 2: told.coarse})
    assert error(estimate, truth) < 0.35 * error(made.raised(told.coarse), truth)


@pytest.mark.parametrize("name", ["guided-filter", *(name for name in NAMES if name != "brovey")])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_band_that_the_guide_does_not_show_is_hardly_changed(name, factor):
    guide, truth = field(96, 1), field(96, 2)
    told = sample(guide, truth, factor)
    made = net(name, 1, factor=factor)
    made.learn([told])
    with torch.inference_mode():
        estimate = made({1: guide, factor: told.coarse})
    assert error(estimate, truth) < 1.6 * error(made.raised(told.coarse), truth)


@pytest.mark.parametrize("name", NAMES)
def test_several_guides_stand_for_the_band_that_they_mix(name):
    guides = field(96, 3, 3)
    truth = torch.einsum("bg,ngrc->nbrc", torch.tensor([[0.2, 0.5, 0.3], [0.7, 0.1, 0.2]]), guides)
    told = sample(guides, truth)
    made = net(name, 2, 3)
    made.learn([told])
    with torch.inference_mode():
        estimate = made({1: guides, 2: told.coarse})
    assert error(estimate, truth) < 0.5 * error(made.raised(told.coarse), truth)


@pytest.mark.parametrize("guides", [1, 3])
def test_the_guided_filter_sharpens_edges_that_guides_show(guides):
    blocks = 2000 + 500.0 * ((torch.arange(96)[:, None] // 16 + torch.arange(96) // 24) % 2)
    truth = blocks[None, None]
    fine = torch.cat([truth / 2, field(96, 7, guides)[:, 1:]], 1)
    told = sample(fine, truth, 3)
    made = net("guided-filter", 1, guides, factor=3)
    made.learn([told])
    with torch.inference_mode():
        estimate = made({1: fine, 3: told.coarse})
    assert error(estimate, truth) < 0.9 * error(made.raised(told.coarse), truth)


def test_the_guided_filter_keeps_what_is_flat():
    guide = field(48, 8)
    made = net("guided-filter", 1)
    made.learn([sample(guide, guide)])
    flat = torch.full((1, 1, 24, 24), 700.0)
    torch.testing.assert_close(made({1: guide, 2: flat}), torch.full((1, 1, 48, 48), 700.0))


def test_brovey_keeps_the_ratios_of_bands():
    guide = field(64, 4)
    told = sample(guide, torch.cat([guide, 3 * guide], 1))
    made = net("brovey", 2)
    made.learn([told])
    first, second = made({1: guide, 2: told.coarse})[0]
    torch.testing.assert_close(second, 3 * first, rtol=1e-4, atol=0.1)


def test_low_precision_does_not_touch_what_they_compute():
    guide = field(64, 5)
    told = sample(guide, 2 * guide)
    for name in NAMES:
        made = net(name, 1)
        made.learn([told])
        with torch.inference_mode():
            whole = made({1: guide, 2: told.coarse})
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert torch.equal(made({1: guide, 2: told.coarse}), whole), name


def test_regression_leaves_out_what_is_not_clear():
    rng = torch.Generator().manual_seed(0)
    x, clear = torch.rand((2, 20, 20), generator=rng), torch.ones((20, 20), dtype=torch.bool)
    y = 3 * x[:1] - 2 * x[1:] + 5
    y[:, :4], clear[:4] = 1e6, False
    weights, constant = regression([(x, y, clear)])
    torch.testing.assert_close(weights, torch.tensor([[3.0, -2.0]]).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(constant, torch.tensor([5.0]).double(), rtol=0, atol=1e-4)


def test_alike_bands_leave_the_regression_bounded():
    x = torch.rand((1, 20, 20)).expand(3, -1, -1)
    weights, _ = regression([(x, 6 * x[:1], torch.ones((20, 20), dtype=torch.bool))])
    torch.testing.assert_close(weights, torch.full((1, 3), 2.0).double(), rtol=0, atol=1e-3)


def test_each_regression_takes_every_band_by_itself():
    x = torch.rand((2, 12, 12))
    y = torch.stack([4 * x[0] + 1, -x[1]])
    slopes, levels = each_regression([(x, y, torch.ones((12, 12), dtype=torch.bool))])
    torch.testing.assert_close(slopes, torch.tensor([4.0, -1.0]).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(levels, torch.tensor([1.0, 0.0]).double(), rtol=0, atol=1e-4)
