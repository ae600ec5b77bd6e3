"""Mixing: on the line between two nets of one kind."""

from dataclasses import replace

import pytest
import torch
from nets import checkpoint
from safetensors.torch import load_file

from geosr.errors import UsageError, WeightsError
from geosr.models import weights
from geosr.models.mix import mix


@pytest.fixture
def pair(tmp_path):
    """A net, and one like it that a discriminator taught."""
    first = checkpoint(tmp_path / "a.safetensors", "espcn")
    model = weights.load_file(first)
    moved = {name: tensor + 1 for name, tensor in model.net.state_dict().items()}
    weights.save(tmp_path / "b.safetensors", replace(model.card, adversarial=True), moved)
    return first, tmp_path / "b.safetensors"


def test_every_weight_lies_where_the_share_says_and_the_card_tells(pair):
    card, tensors = mix(*pair, 0.3)
    for name, tensor in load_file(pair[0]).items():
        torch.testing.assert_close(tensors[name], tensor + 0.3)
    assert card.adversarial and "0.7 of espcn" in card.source and "0.3 of espcn" in card.source
    assert weights.digest(pair[1])[:12] in card.source
    assert not mix(*pair, 0.0)[0].adversarial


def test_the_command_writes_a_net_that_loads(geosr, pair, tmp_path):
    out = tmp_path / "m.safetensors"
    done = geosr("weights", "mix", *pair, out, "--share", "0.5")
    assert done.returncode == 0, done.stderr
    assert weights.load_file(out).card.adversarial
    again = geosr("weights", "mix", *pair, out)
    assert again.returncode == 2 and "--overwrite" in again.stderr


def test_other_nets_and_shares_are_refused(pair, tmp_path):
    other = checkpoint(tmp_path / "c.safetensors", "espcn", scale=2)
    with pytest.raises(UsageError, match="different nets.*scale"):
        mix(pair[0], other, 0.5)
    with pytest.raises(WeightsError, match="cannot read weights .*nowhere: No such file"):
        mix(pair[0], tmp_path / "nowhere", 0.5)
    with pytest.raises(UsageError, match="between 0 and 1"):
        mix(*pair, 1.5)


def test_outputs_of_a_net_that_was_taught_adversarially_say_so(geosr, pair, tmp_path):
    import numpy as np
    import rasterio
    from rasters import write

    from geosr.models.card import ESTIMATES

    image = np.random.default_rng(0).integers(0, 255, (1, 24, 24)).astype(np.uint8)
    write(tmp_path / "in.tif", image)
    for path, said in zip(pair, (None, ESTIMATES), strict=True):
        out = tmp_path / path.stem
        report = ("--report",)
        done = geosr("superres", tmp_path / "in.tif", out, "--model", path, *report)
        assert done.returncode == 0, done.stderr
        (made,) = out.rglob("*.tif")
        with rasterio.open(made) as file:
            assert file.tags().get("GEOSR_NOTE") == said
        (page,) = out.rglob("*.html")
        assert (ESTIMATES in page.read_text()) == bool(said)
