"""Parameter counts, margins by gradient support, and the parts of the nets that are fixed."""

from dataclasses import replace

import pytest
import torch

from geosr.errors import UsageError
from geosr.models import DESIGNS, PAIRS, build, cards, design

THIN = {  # options that make a net quick; only widths where its reach is to stay
    "edsr": {"features": 8},
    "lpan": {"features": 16}, "lpan-seed": {"features": 16},
    "rcan": {"features": 16, "groups": 2, "blocks": 2}, "rrdb": {"features": 8, "blocks": 2},
    "swinir-light": {"features": 12, "blocks": 1, "layers": 2},
    "enhanced": {"features": 8}, "srresnet": {"features": 8}, "edsr-baseline": {"features": 8},
    "carn": {"features": 8}, "vdsr": {"features": 8},
}  # fmt: skip
COUNTS = {
    "dsen2-20": 1_789_574,
    "dsen2-60": 1_787_266,
    "vdsen2-20": 37_802_246,
    "vdsen2-60": 37_797_634,
}


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts_are_the_published_ones(name):
    assert build(design(name).card()).parameters == COUNTS[name]


def support(card, side):
    """How far the outputs of one coarse pixel see beyond it, in pixels of the output grid."""
    model = build(card)
    torch.manual_seed(0)
    for parameter in model.net.parameters():  # all weights positive: nothing cancels
        parameter.data = torch.rand_like(parameter, dtype=torch.float64) / 10
    coarsest = card.inputs[-1].gsd // 10
    reach = 0
    for shift in {0, coarsest // 2, coarsest - 1}:
        inputs = {
            item.gsd: torch.rand(1, len(item.bands), *[side * 10 // item.gsd] * 2).double()
            for item in card.inputs
        }
        for values in inputs.values():
            values.requires_grad_()
        corner = side // 2 // coarsest * coarsest
        model(inputs)[0, :, corner + shift, corner + shift].sum().backward()
        for gsd, values in inputs.items():
            rows = values.grad.abs().sum((0, 1, 3)).nonzero().flatten()
            k = gsd // 10
            below = (int(rows.max()) + 1) * k - corner - coarsest
            reach = max(reach, corner - int(rows.min()) * k, below)
    return reach


@pytest.mark.parametrize("name", [*COUNTS, "bicubic-20", "bicubic-60"])
def test_the_margin_is_the_gradient_support(name):
    card = design(name).card()
    if card.options:  # the reach hangs on depth alone, so thin nets will do
        card = replace(card, options={**card.options, "features": 4})
    assert support(card, 84 if card.margin < 30 else 180) == card.margin


@pytest.mark.parametrize("name", ["dsen2-20", "dsen2-60"])
def test_without_a_residual_the_skip_is_bilinear_and_keeps_constants(name):
    model = build(design(name).card())
    torch.nn.init.zeros_(model.net.tail.weight)
    inputs = {
        item.gsd: torch.full((1, len(item.bands), 60 * 10 // item.gsd, 60 * 10 // item.gsd), 1234.0)
        for item in model.card.inputs
    }
    torch.testing.assert_close(
        model(inputs), torch.full((1, len(model.card.bands), 60, 60), 1234.0)
    )


def test_the_skip_stays_in_fp32_under_low_precision():
    model = build(design("dsen2-20").card())
    torch.nn.init.zeros_(model.net.tail.weight)
    inputs = {
        10: torch.zeros(1, 4, 12, 12),
        20: torch.full((1, 6, 6, 6), 1234.5678),  # bf16 holds 1232 or 1240
    }
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(inputs)
    torch.testing.assert_close(out, torch.full((1, 6, 12, 12), 1234.5678))


def test_cards_bind_bands_by_name_and_exclude_cirrus():
    assert design("dsen2-20").card().bands == ("B5", "B6", "B7", "B8A", "B11", "B12")
    assert design("dsen2-60").card().bands == ("B1", "B9")
    assert not any("B10" in item.bands for d in DESIGNS.values() for item in d.card().inputs)


def test_pairs_name_both_nets_and_unknown_names_get_a_suggestion():
    assert [card.name for card in cards("dsen2")] == list(PAIRS["dsen2"])
    with pytest.raises(UsageError, match="Did you mean dsen2-20"):
        cards("dsen-20")
