"""Unpaired training: it learns, resumes exactly, survives what is no number, says what is wrong."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from test_train import RECIPE, SMALL, broken_off, same_weights, texture, write_image

from geosr.errors import UsageError
from geosr.models import registry, weights
from geosr.models.card import CLEAR
from geosr.models.nets.single.cincgan import Translator, strides
from geosr.scene import degrade
from geosr.training import unpaired
from geosr.training.adversary import Adversarial, Adversary
from geosr.training.config import TrainConfig
from geosr.training.datasets import Batch, Choice, open_sets
from geosr.training.distributed import Ranks
from geosr.training.train import train
from geosr.training.unpaired import KINDS, Cycle, Degradation

JUDGE = Adversarial("lsgan", "unet", {"features": 4})
THIN = {"features": 8, "blocks": 1}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Coarse images of three places with two bands, fine ones of four others."""
    root, rng = tmp_path_factory.mktemp("unpaired"), np.random.default_rng(0)
    for i in range(3):
        sharp = np.concatenate([texture(rng, 80), texture(rng, 80)]).astype(np.float32)
        taps = degrade.taps("sensor", 2)
        pad = degrade.beyond(taps, 2)
        small = degrade.shrink(np.pad(sharp, ((0, 0), (pad, pad), (pad, pad)), "symmetric"), 2,
                               taps, taps, pad=pad)  # fmt: skip
        write_image(root / f"coarse/town{i}_ms.tif", small.round().astype(np.uint8))
    for i in range(4):
        write_image(root / f"fine/field{i}_pan.tif", texture(rng, 64))
    return root / "coarse", root / "fine"


@pytest.fixture(autouse=True)
def thin(monkeypatch):
    """Degradation nets that are quick."""
    monkeypatch.setattr(unpaired, "Translator", partial(Translator, features=8, blocks=1))


def config(folders, kind: str, **more) -> TrainConfig:
    model = {"model": "cincgan", "net_options": {**THIN, "cleaning": 1}}
    some = {"patch": 24} if kind == "cyclecnn" else {"patch": 32, "adversarial": JUDGE, **model}
    both = {"unpaired": kind, "fine": str(folders[1])}
    return replace(SMALL, **{**both, **some, **more})


def test_translators_have_the_published_number_of_weights():
    for scale, count in ((1, 609_731), (4, 667_075)):
        net = Translator(3, strides(scale))
        assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("scale", [2, 3, 4, 6, 8])
def test_the_degradation_net_begins_as_the_operator(scale):
    y = torch.rand(1, 2, 8 * scale, 8 * scale)
    net = Degradation(2, scale, "sensor")
    found = net.known(y) + net.change(y)
    taps = degrade.taps("sensor", scale)
    pad = degrade.beyond(taps, scale)
    padded = np.pad(y[0].numpy(), ((0, 0), (pad, pad), (pad, pad)), "reflect")
    expected = degrade.shrink(padded, scale, taps, taps, pad=pad)
    np.testing.assert_allclose(found[0].detach().numpy(), expected, atol=1e-5)


def test_windows_of_both_are_drawn_independently_and_again_the_same(folders):
    card = registry.design("edsr-baseline").card(scale=2)
    sets = open_sets(folders[0], card, Choice(patch=24, fine=folders[1], jitter=0.1))
    first, again = (sets.training.batch(3, range(4)) for _ in range(2))
    assert first.inputs[2].shape == (4, 1, 12, 12) and first.target.shape == (4, 1, 24, 24)
    assert torch.equal(first.inputs[2], again.inputs[2])
    assert torch.equal(first.target, again.target)
    assert first.inputs[CLEAR].all()
    mean = [x.mean((1, 2, 3)) for x in (first.inputs[2], first.target)]
    assert not torch.allclose(*mean, rtol=0.02)  # no input is of its target
    held = {area.item.name for area in sets.held.areas}
    assert held and not held & {area.item.name for area in sets.training.areas}
    sample = sets.held.at(sets.held.spots(1)[0])
    assert sample.inputs[2].shape[-1] * 2 == sample.target.shape[-1]
    sets.close()


def test_a_place_that_is_held_out_is_not_learnt_from_in_coarse_images(tmp_path):
    rng = np.random.default_rng(1)
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"fine/{name}_pan.tif", texture(rng, 48))
        write_image(tmp_path / f"coarse/{name}_ms.tif", texture(rng, 24))
    card = registry.design("edsr-baseline").card(scale=2)
    sets = open_sets(tmp_path / "coarse", card, Choice(patch=24, fine=tmp_path / "fine"))
    held = {area.item.name[0] for area in sets.held.areas}
    learnt = {area.item.name[0] for area in sets.training.coarse.areas}
    assert len(held) == 1 and learnt == {"a", "b", "c"} - held


def test_gaps_of_a_coarse_image_have_no_say_in_its_cycle():
    card = registry.design("edsr-baseline").card(scale=2)
    cycle = Cycle(
        "cyclecnn", card, torch.nn.Identity(), how=None, weight=0.0, side=24, operator=None,
        recipe=RECIPE, device="cpu", ranks=Ranks(),
    )  # fmt: skip
    x, y = torch.rand(2, 1, 12, 12) * 1e4, torch.rand(2, 1, 24, 24) * 1e4
    clear = torch.ones(2, 1, 12, 12)
    clear[:, :, 4:7] = 0
    made = torch.cat([torch.nn.functional.interpolate(x, scale_factor=2), y])

    def error(values: torch.Tensor) -> float:
        batch = Batch({2: values, CLEAR: clear}, y, torch.ones(2, 1, 24, 24, dtype=torch.bool))
        cycle.inputs(batch)
        output, terms = cycle.terms(made.clone(), batch, 0)
        assert torch.equal(output, y)
        return float(terms[0][1].detach())

    spoilt = torch.where(clear.bool(), x, 1e9)
    assert error(spoilt) == error(x) > 0


@pytest.mark.parametrize("kind", [*KINDS])
def test_the_losses_fall(folders, tmp_path, kind):
    losses: list[float] = []
    recipe = replace(RECIPE, lr=3e-3, warmup=3)
    found = train(
        folders[0], tmp_path / "run", config=config(folders, kind, steps=36, val_every=12,
        recipe=recipe), progress=lambda p: losses.append(p.loss),
    )  # fmt: skip
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8]) and not found.skipped
    rows = list(csv.DictReader((tmp_path / "run/log.csv").open()))
    back, change = ([float(row[key]) for row in rows]
                    for key in ("cycle_coarse", "degradation_change"))  # fmt: skip
    assert back[-1] < 0.8 * back[0]
    assert all(x > 0 for x in change) == KINDS[kind].there_and_back
    judged = kind == "cincgan"
    assert weights.card_of(found.best).adversarial == judged
    keys = ("discriminator_loss", "coarse_discriminator_made")
    assert all((key in rows[0]) == judged for key in keys)


@pytest.mark.parametrize("kind, more", [
    ("cyclecnn", {}), ("cincgan", {}),
    ("cincgan", {"model": "lapsr", "net_options": {"features": 8, "depth": 1}, "scale": 4}),
    ("cyclecnn", {"recipe": replace(RECIPE, loss="l1+0.01*adversarial"), "adversarial": JUDGE,
                  "patch": 32}),
])  # fmt: skip
def test_stopped_and_resumed_equals_undisturbed(folders, tmp_path, kind, more):
    one = config(folders, kind, **more)
    train(folders[0], tmp_path / "whole", config=one)
    broken_off(folders[0], tmp_path / "cut", one, 5)
    train(folders[0], tmp_path / "cut", config=one, resume=True)
    for name in ("last", "state"):
        a, b = (tmp_path / run / f"{name}.safetensors" for run in ("whole", "cut"))
        assert same_weights(a, b)
    logs = [figures(tmp_path / run / "log.csv") for run in ("whole", "cut")]
    assert logs[0] == logs[1]


def figures(log: Path) -> list[dict[str, str]]:
    """The lines of a log without what the clock tells."""
    timed = ("images_per_second", "waiting", "seconds")
    return [{k: v for k, v in row.items() if k not in timed}
            for row in csv.DictReader(log.open())]  # fmt: skip


@pytest.mark.parametrize("kind, where", [
    ("cyclecnn", "loss"), ("cyclecnn", "gradient"), ("cincgan", "judge"),
])  # fmt: skip
def test_what_is_no_number_in_any_net_is_skipped_and_counted(
    folders, tmp_path, monkeypatch, kind, where
):
    owner, name = {"loss": (Cycle, "_cycle"), "gradient": (Cycle, "learn"),
                   "judge": (Adversary, "_losses")}[where]  # fmt: skip
    own, calls = getattr(owner, name), []

    def broken(self, *args, **named):
        calls.append(name)
        if where == "gradient" and len(calls) == 3:
            next(self.nets.parameters()).grad.fill_(torch.nan)
        found = own(self, *args, **named)
        if len(calls) != 3 or where == "gradient":
            return found
        if where == "loss":
            return (found[0], found[1] * torch.nan, found[2])
        return [loss * torch.nan for loss in found]

    monkeypatch.setattr(owner, name, broken)
    found = train(folders[0], tmp_path / "run", config=config(folders, kind))
    assert found.skipped == 1 and found.step == 6
    (model,) = weights.load(str(found.best))
    assert all(p.isfinite().all() for p in model.net.parameters())


@pytest.mark.parametrize("kind, change, said", [
    ("cyclecnn", {"fine": None}, "no fine images.*--data-fine"),
    ("cyclecnn", {"unpaired": None}, "Pass --unpaired"),
    ("cyclecnn", {"unpaired": "cyclegan"}, "known: cyclecnn, cincgan"),
    ("cyclecnn", {"fine": "nowhere"}, "nowhere: no such file or folder. Check --data-fine"),
    ("cyclecnn", {"model": "dsen2-20", "scale": None}, "bands of several sizes.*single image"),
    ("cyclecnn", {"model": "srresnet-series", "net_options": THIN}, "several images of a place"),
    ("cyclecnn", {"patch": 66}, "--data-fine.*66 × 66 pixels.*64 along.*--patch 64"),
    ("cyclecnn", {"patch": 84}, "--data .*42 × 42 pixels.*40 along.*--patch 80"),
    ("cyclecnn", {"data_kind": "folder"}, "Leave --data-kind out"),
    ("cyclecnn", {"degradation": "mixed"}, "Say blur-noise"),
    ("cyclecnn", {"precision": "fp16"}, "--precision bf16"),
    ("cincgan", {"adversarial": None, "patch": 32}, "have 16 pixels a side.*--patch 48"),
    ("cincgan", {"patch": 24}, "steps of 8. Pass --patch 32"),
    ("cincgan", {"adversarial": replace(JUDGE, discriminator="conditional")}, "cannot see it"),
    ("cincgan", {"adversarial": replace(JUDGE, discriminator="pitch")}, "Did you mean patch"),
])  # fmt: skip
def test_what_does_not_fit_says_the_fix(folders, tmp_path, kind, change, said):
    with pytest.raises(UsageError, match=said):
        train(folders[0], tmp_path / "run", config=config(folders, kind, **change))
