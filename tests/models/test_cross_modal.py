"""mmsr: a band sharpened by a guide of another kind, learned from the one pair."""

import json

import numpy as np
import pytest
import rasterio
import torch

from geosr.errors import SceneError
from geosr.inference.engine import Engine
from geosr.inference.fitoptions import FitOptions
from geosr.inference.learning import learn_pair
from geosr.models import registry
from geosr.models.card import Input
from geosr.models.nets.guided.classical import Sample, for_scene
from geosr.models.nets.guided.mmsr import MMSR, modulated
from geosr.models.nets.guided.regress import sensed


def net(guides=2, bands=1, factor=3):
    design = registry.design("mmsr")
    fine = Input(1, tuple(f"g{i}" for i in range(guides)))
    coarse = Input(factor, tuple(f"b{i}" for i in range(bands)))
    made = registry.build(for_scene(design.card(), design.build, fine, coarse, None)).net
    assert isinstance(made, MMSR)
    return made


def sample(factor=3, side=16):
    """Guides whose edges are those of the bands, in other directions of brightness."""
    at = torch.arange(side * factor)
    blocks = ((at[:, None] // 10 + at // 14) % 2).float()
    fine = torch.stack([1000 + 200 * blocks, 800 - 300 * blocks + 40 * torch.sin(at / 3)])[None]
    truth = (3000 - 700 * blocks)[None, None]
    low = sensed(truth, factor, [0.5 * factor])
    return Sample(fine, low, torch.ones(side, side, dtype=torch.bool))


@pytest.mark.parametrize("guides, parameters", [(3, 248_961), (4, 249_537)])
def test_parameter_counts_are_the_published_ones(guides, parameters):
    assert sum(p.numel() for p in net(guides).parameters()) == parameters


@pytest.mark.parametrize("radius", [2, 5])
def test_modulation_is_the_mean_of_values_by_their_likeness_to_the_query(radius):
    rng = torch.Generator().manual_seed(0)
    query, values = (torch.randn((1, 5, 11, 18), generator=rng) for _ in range(2))
    around = torch.nn.functional.pad(values, (radius,) * 4)
    wanted = torch.zeros_like(values)
    for i in range(11):
        for j in range(18):
            near = around[0, :, i : i + 2 * radius + 1, j : j + 2 * radius + 1].flatten(1)
            wanted[0, :, i, j] = near @ (query[0, :, i, j] @ near).softmax(0)
    torch.testing.assert_close(modulated(query, values, radius), wanted, atol=1e-4, rtol=1e-4)


def test_learning_brings_what_the_sensor_sees_nearer_to_the_bands():
    found = []
    for steps in (1, 30):
        made = net()
        made.learn([sample()])
        found.append(learn_pair(made, [sample()], FitOptions(steps=steps), Engine(), "x"))
    assert found[1]["loss"] < 0.6 * found[0]["loss"]


def test_the_same_seed_learns_the_same():
    made = [net(), net(), net()]
    for each, seed in zip(made, (0, 0, 1), strict=True):
        each.learn([sample()])
        learn_pair(each, [sample()], FitOptions(steps=2, seed=seed), Engine(), "x")
    one, same, other = (torch.cat([p.flatten() for p in each.parameters()]) for each in made)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_pair_of_which_hardly_anything_was_sensed_is_refused():
    made, there = net(), sample()
    made.learn([there])
    with pytest.raises(SceneError, match="too little of the pair was sensed"):
        none = there._replace(clear=torch.zeros_like(there.clear))
        learn_pair(made, [none], FitOptions(steps=1), Engine(), "x")


def write(path, values, size):
    with rasterio.open(
        path, "w", driver="GTiff", width=values.shape[2], height=values.shape[1],
        count=len(values), dtype="uint16", crs="EPSG:32633",
        transform=rasterio.Affine(size, 0, 5e5, 0, -size, 5e6),
    ) as output:  # fmt: skip
        output.write(np.rint(values).astype(np.uint16))


def test_the_command_learns_on_the_pair_and_says_how(geosr, tmp_path):
    there = sample()
    write(tmp_path / "thermal.tif", there.coarse[0].numpy(), 30)
    write(tmp_path / "optical.tif", there.fine[0].numpy(), 10)
    arguments = ("superres", "thermal.tif", "out.tif", "--guide", "optical.tif", "-m", "mmsr")
    done = geosr(*arguments, "--fit-steps", 2, "--json")
    assert done.returncode == 0, done.stderr
    fit = json.loads(done.stdout)["fit"]
    assert fit["steps"] == 2 and "coarse px" in fit["kernel"]
    with (
        rasterio.open(tmp_path / "out.tif") as output,
        rasterio.open(tmp_path / "optical.tif") as guide,
    ):
        assert (output.transform, output.shape, output.count) == (guide.transform, guide.shape, 1)
        assert "steps 2" in output.tags()["GEOSR_FIT"]
    refused = geosr(*arguments, "--overwrite", "--save-fit", "fits")
    assert refused.returncode != 0 and "learns on one pair" in refused.stderr


def test_it_is_not_trained_before(geosr, tmp_path):
    done = geosr("train", "--model", "mmsr", "--data", tmp_path, "--out", "run")
    assert done.returncode != 0 and "learns on each scene itself" in done.stderr
