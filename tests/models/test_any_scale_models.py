"""Nets of any scale: the published numbers, the published formula, one net at every scale."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import checkpoint
from torch.nn import functional as F

from geosr.errors import UsageError, WeightsError
from geosr.models import registry, weights
from geosr.models.card import PLACES, ModelCard
from geosr.models.nets.continuous.places import Places, bicubic
from geosr.models.onnx.export import export

NAMES = ("liif", "cdcr", "funsr")


def thin(name, bands=1, **options):
    torch.manual_seed(0)
    card = registry.design(name).card(bands=bands)
    small = {"features": 8, "blocks": 2} | ({"width": 16} if name == "funsr" else {"hidden": 16})
    model = registry.build(replace(card, options={**card.options, **small, **options}))
    model.net.eval()
    return model


def unit(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("scale", [1.3, 2, 2.5, 3.7])
@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_one_net_makes_the_size_of_every_scale(name, scale):
    model = thin(name, bands=3).at(scale)
    out = model({model.card.scale: unit(2, 3, 13, 17) * 1e4})
    assert out.shape == (2, 3, int(np.ceil(13 * scale - 1e-6)), int(np.ceil(17 * scale - 1e-6)))
    assert out.isfinite().all()


@torch.inference_mode()
def test_liif_is_the_published_formula():
    """Unfolded features, offsets and size through one perceptron, answers weighed by areas."""
    model = thin("liif", bands=2, skip=False)
    net, x, scale = model.net, unit(1, 2, 9, 11), 2.5
    rows, cols = 23, 28
    features = F.unfold(net.encoder(2 * x - 1), 3, padding=1).view(1, 72, 9, 11)
    answers = net.answers
    first = torch.cat([answers.local.weight.flatten(1), answers.where.weight], 1)
    out = torch.zeros(2, rows, cols)
    for r in range(rows):
        for c in range(cols):
            at = ((r + 0.5) / scale - 0.5, (c + 0.5) / scale - 0.5)
            low = [int(np.floor(p)) for p in at]
            parts = []
            for i in (0, 1):
                for j in (0, 1):
                    cell = [min(max(low[0] + i, 0), 8), min(max(low[1] + j, 0), 10)]
                    where = [2 * (at[0] - cell[0]), 2 * (at[1] - cell[1]), 2 / scale, 2 / scale]
                    given = torch.cat([features[0, :, cell[0], cell[1]], torch.tensor(where)])
                    hidden = F.relu(first @ given + answers.local.bias)
                    for layer in answers.rest:
                        hidden = F.relu(layer(hidden))
                    away = abs(at[0] - low[0] - i) * abs(at[1] - low[1] - j)
                    parts.append((away, answers.last(hidden)))
            # each answer weighs as the rectangle to the opposite cell
            out[:, r, c] = sum(a * p[1] for a, p in zip([p[0] for p in parts[::-1]], parts,
                                                        strict=True))  # fmt: skip
    made = net(x, Places.of(None, x, scale))[0]
    torch.testing.assert_close(made, out / 2 + 0.5, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_cubic_convolution_at_places_is_torchs_over_whole_inputs(factor):
    x = unit(2, 3, 8, 10)
    expected = F.interpolate(x, scale_factor=factor, mode="bicubic")
    torch.testing.assert_close(bicubic(x, Places.of(None, x, factor)), expected)


@torch.inference_mode()
def test_bicubic_comes_in_every_scale_and_stays_as_it_was_in_whole_ones():
    (even,), (uneven,) = (weights.load("bicubic", scale=scale) for scale in (2, 2.5))
    assert not even.card.continuous and uneven.card.continuous == 2.5
    x = unit(1, 1, 16, 20) * 1e4
    expected = F.interpolate(x, scale_factor=2.5, mode="bicubic", recompute_scale_factor=False)
    torch.testing.assert_close(uneven({3: x}), expected, atol=0.05, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_decoding_in_blocks_changes_nothing(name, monkeypatch):
    model, x = thin(name).at(3.3), {4: unit(2, 1, 9, 12) * 1e4}
    whole = model(x)
    monkeypatch.setattr("geosr.models.nets.continuous.encoder._BLOCK", 100)
    torch.testing.assert_close(model(x), whole, atol=0.02, rtol=1e-5)


@pytest.mark.parametrize("name", ["liif", "cdcr"])
@torch.inference_mode()
def test_places_ask_for_a_part_of_the_whole(name):
    model = thin(name).at(2.5)
    x = unit(1, 1, 14, 15) * 1e4
    whole = model({3: x})
    told = torch.tensor([[[(6 + 0.5) / 2.5 - 0.5, 0.4, 9], [(4 + 0.5) / 2.5 - 0.5, 0.4, 12]]],
                        dtype=torch.float64)  # fmt: skip
    part = model({3: x, PLACES: told})
    torch.testing.assert_close(part, whole[:, :, 6:15, 4:16], atol=0.02, rtol=1e-5)


@torch.inference_mode()
def test_without_what_is_learnt_the_skip_is_bicubic_in_fp32():
    model = thin("liif")
    torch.nn.init.zeros_(model.net.answers.last.weight)
    torch.nn.init.zeros_(model.net.answers.last.bias)
    x = torch.full((1, 1, 9, 9), 1234.5678)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model.at(2.5)({3: x})
    torch.testing.assert_close(out, torch.full((1, 1, 23, 23), 1234.5678))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_loaded_at_any_scale_above_one(name, tmp_path):
    path = checkpoint(tmp_path / "net.safetensors", name)
    (model,) = weights.load(str(path))
    assert model.card.factor == 4
    (model,) = weights.load(str(path), scale=2.5)
    assert (model.card.factor, model.card.scale, model.card.inputs[0].gsd) == (2.5, 3, 3)
    for scale in (1.0, 0.5, 65):
        with pytest.raises(UsageError, match="scales above 1"):
            weights.load(str(path), scale=scale)
    again = ModelCard.from_json(model.card.to_json())
    assert again.factor == 2.5


def test_a_net_of_one_scale_stays_at_it(tmp_path):
    path = checkpoint(tmp_path / "net.safetensors", "edsr-baseline", scale=2)
    with pytest.raises(UsageError, match=r"at scale 2, not 2\.5"):
        weights.load(str(path), scale=2.5)
    with pytest.raises(UsageError, match=r"comes in scales 2, 3, 4, 8, not 2\.5"):
        registry.design("edsr-baseline").card(scale=2.5)


def test_a_card_whose_scales_contradict_each_other_is_refused():
    text = registry.design("liif").card(scale=2.5).to_json()
    with pytest.raises(WeightsError, match="any scale"):
        ModelCard.from_json(text.replace('"continuous": 2.5', '"continuous": 3.5'))


def test_a_net_of_any_scale_is_no_onnx_file(tmp_path):
    pytest.importorskip("onnxscript")
    with pytest.raises(UsageError, match="takes any scale"):
        export(thin("liif"), tmp_path / "net.onnx")
