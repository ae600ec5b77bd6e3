"""Local regression of coarse bands on fine ones, against least squares one pixel at a time."""

import numpy as np
import pytest
import torch

from geosr.models import registry
from geosr.models.nets.guided import regress

SPREADS = [[0.87] * 4] * 4 + [[1.05] * 4] * 2


def picture(channels: int, size: int, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand((1, channels, size, size), generator=rng, dtype=torch.float64) + 0.5


def sensed(x: torch.Tensor, factor: int, sigma: float, reach: float = 12.0) -> torch.Tensor:
    """`x` through a Gaussian at the coarse centres, cut at `reach` σ and whole coarse pixels."""
    pad = int(np.ceil((reach * sigma - factor / 2) / factor)) * factor
    at = torch.arange(-pad, factor + pad, dtype=torch.float64) - (factor - 1) / 2
    taps = torch.exp(-0.5 * (at / sigma) ** 2)
    taps = (taps / taps.sum()).to(x)
    wide = torch.nn.functional.pad(x, (pad,) * 4, mode="replicate")
    rows = wide.unfold(-2, len(taps), factor) @ taps
    return rows.unfold(-1, len(taps), factor) @ taps


def detail(fine: torch.Tensor, coarse: torch.Tensor, radii, *, factor: int, **more) -> torch.Tensor:
    """The detail on the fine grid."""
    found = regress.detail(fine, coarse, radii, factor=factor, **more)
    return torch.nn.functional.pixel_shuffle(found, factor)


def mean_of_nine(x: torch.Tensor) -> torch.Tensor:
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 3, 1)


@pytest.mark.parametrize("radius, ridge, above", [(2, 0.02, 0), (1, 0.5, 0), (2, 0.01, 1)])
def test_coefficients_are_those_of_ridge_regression_around_the_pixel(radius, ridge, above):
    fine, coarse = picture(3, 24, 0), picture(2, 12, 1)
    found = detail(
        fine, coarse, [radius], factor=2, ridges={above: ridge}, spreads=[[0.87] * 3] * 2
    )
    means = sensed(fine, 2, 0.87, reach=3)
    smooth = torch.nn.functional.interpolate(means, scale_factor=2, mode="bicubic")
    if above:
        means, coarse = (x - mean_of_nine(x) for x in (means, coarse))
    for row, col in ((5, 6), (radius, 8)):
        around = (0, slice(None), *(slice(at - radius, at + radius + 1) for at in (row, col)))
        x, y = (a[around].flatten(1).numpy() for a in (means, coarse))
        x, y = (a - a.mean(1, keepdims=True) for a in (x, y))
        slopes = np.linalg.solve(x @ x.T / x.shape[1] + ridge * np.eye(3), x @ y.T / x.shape[1])
        ground = (0, slice(None), slice(2 * row, 2 * row + 2), slice(2 * col, 2 * col + 2))
        lacking = (fine - smooth)[ground].numpy()
        expected = np.einsum("gb,grc->brc", slopes, lacking)
        np.testing.assert_allclose(found[ground].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_bands_that_are_mixtures_of_the_guides_are_found_exactly():
    fine = picture(4, 40, 2)
    mixture = torch.rand((6, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    truth = torch.einsum("bg,ngrc->nbrc", mixture, fine) + 0.1
    spreads = [0.87] * 4 + [1.05] * 2
    coarse = torch.cat([sensed(truth[:, i : i + 1], 2, s) for i, s in enumerate(spreads)], 1)
    raised = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="bicubic")
    found = detail(
        fine, coarse, [2, 6], factor=2, ridges={0: 1e-8}, spreads=[[s] * 4 for s in spreads]
    )
    near, far = (raised + d for d in found.chunk(2, 1))
    # but for what lies beyond three σ, where the net cuts the point spread
    torch.testing.assert_close(near, truth, rtol=0, atol=0.01)
    torch.testing.assert_close(far, truth, rtol=0, atol=0.01)


@pytest.mark.parametrize("name, scale, times", [("dsen2-ps-20", 2, 4), ("dsen2-ps-60", 6, 3)])
def test_untrained_nets_know_mixtures_of_the_finest_bands(name, scale, times):
    """Their regressions alone come much nearer to the truth than bicubic."""
    card = registry.design(name).card()
    inputs = {item.gsd: 1000 + 2000 * picture(len(item.bands), 3600 // item.gsd, item.gsd).float()
              for item in card.inputs}  # fmt: skip
    shares = torch.rand((len(card.bands), 4), generator=torch.Generator().manual_seed(3))
    truth = torch.einsum("bg,ngrc->nbrc", shares, inputs[10])
    spreads = [row[0] for row in card.options["spreads"]]
    coarse = torch.cat(
        [sensed(truth[:, i : i + 1], scale, sigma) for i, sigma in enumerate(spreads)], 1
    )
    inputs[10 * scale] = coarse
    raised = torch.nn.functional.interpolate(coarse, scale_factor=scale, mode="bicubic")
    with torch.inference_mode():
        found = registry.build(card)(inputs)
    assert (raised - truth).std() > times * (found - truth).std()


def test_flat_ground_lacks_nothing():
    fine, coarse = torch.full((2, 4, 8, 8), 3.0), torch.full((2, 6, 4, 4), 2.0)
    found = detail(fine, coarse, [2, 6], factor=2, ridges={0: 1e-4}, spreads=[[0.87] * 4] * 6)
    assert found.shape == (2, 12, 8, 8)
    assert found.abs().max() < 1e-4


def test_bright_ground_with_alike_bands_stays_in_bounds():
    """Variances that drown in the rounding of squares: no slope beyond what the data can carry."""
    fine = 32.0 + 0.01 * picture(1, 80, 4).float().expand(1, 4, 80, 80)
    coarse = torch.nn.functional.avg_pool2d(fine[:, :1], 2).expand(1, 6, 40, 40)
    found = detail(fine, coarse, [2, 6], factor=2, ridges={0: 2.5e-4}, spreads=[[0.87] * 4] * 6)
    assert found.isfinite().all()
    assert found.abs().max() < 0.05


def test_parts_of_an_image_give_the_same_as_the_whole(monkeypatch):
    fine, coarse = picture(4, 84, 5).float(), picture(6, 42, 6).float()
    whole = detail(fine, coarse, [2, 6], factor=2, ridges={0: 1e-3, 1: 1e-3}, spreads=SPREADS)
    monkeypatch.setattr(regress, "_ROWS", 16)
    with torch.inference_mode():
        parts = detail(fine, coarse, [2, 6], factor=2, ridges={0: 1e-3, 1: 1e-3}, spreads=SPREADS)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
