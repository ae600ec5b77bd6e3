"""Cards that lie: what a weights file from elsewhere may say, and what is refused."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from geosr.errors import WeightsError
from geosr.models import weights
from geosr.models.card import ModelCard

FILE = weights.folder() / "edsr-baseline-x2.safetensors"


def lying(path, **changes):
    """The bundled net with another card."""
    card = json.loads(weights.card_of(FILE).to_json()) | changes
    save_file(load_file(FILE), path, metadata={"card": json.dumps(card)})
    return path


@pytest.mark.parametrize("changes", [
    {"margin": 10**9}, {"margin": float("nan")}, {"margin": 3.5}, {"margin": "3"},
    {"blend": 10**9}, {"scale": 2.0}, {"name": 5}, {"quantification": -1},
    {"quantification": float("nan")}, {"shifts": True}, {"options": []},
    {"inputs": [{"gsd": 2, "bands": ["*"], "frames": 10**9}]},
    {"inputs": [{"gsd": 2, "bands": ["*"], "frames": 1}] * 3},
    {"inputs": [{"gsd": 2, "bands": [7], "frames": 1}]},
])  # fmt: skip
def test_a_card_of_other_types_or_beyond_all_bounds_is_refused(changes):
    card = json.loads(weights.card_of(FILE).to_json()) | changes
    with pytest.raises(WeightsError, match="not a model card"):
        ModelCard.from_json(json.dumps(card))


def test_a_card_nested_without_end_is_refused():
    with pytest.raises(WeightsError, match="not a model card"):
        ModelCard.from_json("[" * 100_000 + "]" * 100_000)


@pytest.mark.parametrize("changes, said", [
    ({"margin": 0}, "margin 0, and the net sees"),
    ({"arch": "other"}, "needs architecture 'other'"),
    ({"options": {"features": 64, "blocks": 10**7}}, "blocks 10000000, and nothing in the file"),
])  # fmt: skip
def test_a_card_that_its_net_does_not_keep_is_refused(tmp_path, changes, said):
    with pytest.raises(WeightsError, match=said):
        weights.load_file(lying(tmp_path / "x.safetensors", **changes))


def test_a_card_may_say_a_wider_margin_than_its_net_needs(tmp_path):
    margin = weights.card_of(FILE).margin + 2
    model = weights.load_file(lying(tmp_path / "x.safetensors", margin=margin))
    assert model.card == replace(model.card, margin=margin)


def test_a_device_is_no_weights_file(tmp_path):
    (tmp_path / "x.safetensors").symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="no file but a device"):
        weights.load_file(tmp_path / "x.safetensors")
