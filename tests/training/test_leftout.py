"""Learning from series without a truth: what is left out is not seen, and training runs whole."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from make_probav import write_imgset, write_png
from test_train import RECIPE, SMALL, broken_off, same_weights

from geosr import api
from geosr.errors import UsageError
from geosr.models import registry, weights
from geosr.models.card import LEFT_OUT, SHIFTS
from geosr.models.nets.multi.fusion import BLUR, Sampling
from geosr.scene.pointspread import CUBIC
from geosr.training.config import TrainConfig
from geosr.training.datasets import Choice, leftout, open_sets, stack
from geosr.training.train import train

CONFIG = replace(
    SMALL, model="ibp-net", scale=3, net_options={"features": 8, "blocks": 1}, patch=36,
    data_kind=leftout.KIND,
)  # fmt: skip
UNIT = 32000.0
SIDE = 40


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """A smooth fine image with detail near its limit, unit values."""
    noise = torch.randn(1, 1, 3 * SIDE, 3 * SIDE, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        noise = torch.nn.functional.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)
    return (0.3 + 0.4 * noise)[0, 0].numpy()


@pytest.fixture(scope="module")
def series(tmp_path_factory, truth) -> Path:
    """An imgset of seven frames of the truth without HR, one of them with a masked cloud."""
    folder = tmp_path_factory.mktemp("series") / "imgset0000"
    shifts = torch.rand(1, 7, 2, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    shifts[:, 0] = 0
    frames = Sampling((SIDE, SIDE), 3, shifts).see(torch.from_numpy(truth)[None, None])[0, :, 0]
    for i, frame in enumerate(frames.numpy()):
        clear, counts = np.full((SIDE, SIDE), 255, np.uint8), frame * (1 + 0.02 * i) * UNIT
        if i == 6:
            clear[10:16, 2:34] = 0
            counts[10:16, 2:34] = 60000
        write_png(folder / f"LR{i:03}.png", counts.round().clip(0, 65535).astype(np.uint16))
        write_png(folder / f"QM{i:03}.png", clear)
    return folder


def windows(folder: Path, model: str = "ibp-net", **more):
    card = registry.design(model).card(scale=3, **more)
    return open_sets(folder, card, Choice(leftout.KIND, patch=36)).training


def test_what_is_left_out_is_not_among_what_is_given(series):
    found = windows(series)
    for i in range(6):
        sample = found.sample(0, i)
        frames, shifts = sample.inputs[3], sample.inputs[SHIFTS]
        given = frames[:, -1].any((1, 2))
        assert 2 <= given.sum() <= 6
        target = sample.target[0]
        assert target.shape == (12, 12) and sample.mask.shape == (1, 12, 12)
        assert all(np.abs(frame[0] - target).max() > 1 for frame in frames[given])
        assert np.abs(shifts[given] - sample.inputs[LEFT_OUT]).max(1).min() > 0.05
        assert not sample.mask[:, :3].any() and not sample.mask[..., -3:].any()


def test_a_sample_is_the_same_at_every_call(series):
    one, other = windows(series).sample(3, 1), windows(series).sample(3, 1)
    np.testing.assert_array_equal(one.inputs[3], other.inputs[3])
    np.testing.assert_array_equal(one.target, other.target)


def test_the_frame_left_out_is_the_truth_seen_at_its_place(series, truth):
    found = windows(series)
    held = found._of(found.areas[0].item)
    image = torch.from_numpy(truth)[None, None] * 10000
    sampler = Sampling((SIDE, SIDE), 3, torch.from_numpy(held.shifts)[None], BLUR)
    inner = (slice(None), slice(10, -6), slice(6, -6))
    seen = sampler.see(image)[0, :, 0].numpy()[inner]
    sensed = held.stack[:, 0][inner]
    contrast = seen.std()
    clear = held.stack[:, -1][inner] > 0
    for a, b, there in zip(seen, sensed, clear, strict=True):
        line = np.polyfit(a[there], b[there], 1)
        assert np.abs(b - np.polyval(line, a))[there].mean() < 0.15 * contrast
        assert line[0] == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize(("model", "blur"), [("ibp-net", BLUR), ("map-net", CUBIC)])
def test_the_frame_left_out_is_seen_through_the_point_spread_of_the_net(series, model, blur):
    found = windows(series, model)
    batch = stack([found.sample(0, 0)])
    rows, cols = (3 * n for n in batch.target.shape[-2:])
    image = torch.rand(1, 1, rows, cols, generator=torch.Generator().manual_seed(2)) * 10000
    shifts = batch.inputs[LEFT_OUT]
    seen = Sampling((rows // 3, cols // 3), 3, shifts, blur).see(image)
    on_itself = replace(batch, target=seen[:, 0])
    torch.testing.assert_close(found.compared(image, on_itself), seen[:, 0])


def test_clouds_of_the_frame_left_out_have_no_say(series):
    found = windows(series)
    held = found._of(found.areas[0].item)
    assert held.stack[:, -1].min() == 0
    samples = [found.sample(step, 0) for step in range(60)]
    assert any(not s.mask[0, 3:-3, 3:-3].all() for s in samples)
    assert all(s.target[s.mask].max() < 9000 for s in samples)


@pytest.mark.parametrize("model", ["ibp-net", "map-net", "hdr-dsp"])
def test_training_learns_and_its_file_super_resolves(series, tmp_path, model):
    small = {"ibp-net": {"features": 8, "blocks": 1},
             "map-net": {"features": 8, "blocks": 1},
             "hdr-dsp": {"features": 16, "encoded": 1, "decoded": 2}}  # fmt: skip
    config = replace(
        CONFIG, model=model, net_options=small[model], steps=40, val_every=20, patch=48,
        recipe=replace(RECIPE, lr=5e-3, jitter=0.0),
    )  # fmt: skip
    losses: list[float] = []
    train(series, tmp_path / "run", config=config, progress=lambda p: losses.append(p.loss))
    assert np.isfinite(losses).all()
    if model == "hdr-dsp":  # the others begin as what they refine, near the end
        assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    rows = list(csv.DictReader((tmp_path / "run/log.csv").open()))
    assert [row["step"] for row in rows] == ["20", "40"]
    (net,) = weights.load(str(tmp_path / "run/best.safetensors"))
    assert net.card.scale == 3 and net.card.name == model


def test_a_resumed_training_ends_with_the_same_weights(series, tmp_path):
    broken_off(series, tmp_path / "parts", CONFIG, 4)
    train(series, tmp_path / "whole", config=CONFIG)
    train(series, tmp_path / "parts", config=CONFIG, resume=True)
    name = "last.safetensors"
    assert same_weights(tmp_path / "whole" / name, tmp_path / "parts" / name)


def test_no_truth_is_read_where_there_is_one(tmp_path):
    folder = write_imgset(tmp_path / "imgset0001", frames=4, size=32)
    card = registry.design("ibp-net").card(scale=3)
    first = open_sets(folder, card, Choice(leftout.KIND, patch=36)).training.sample(0, 0)
    (folder / "HR.png").unlink()
    (folder / "SM.png").unlink()
    again = open_sets(folder, card, Choice(leftout.KIND, patch=36)).training.sample(0, 0)
    np.testing.assert_array_equal(first.target, again.target)


@pytest.mark.parametrize("model", ["highres-net", "edsr-baseline"])
def test_nets_that_are_not_told_where_frames_look_are_refused(series, model):
    config = TrainConfig(model, scale=3, data_kind=leftout.KIND)
    with pytest.raises(UsageError, match="ibp-net|learns from"):
        open_sets(series, config.card, config.choice(config.card))


def test_a_series_of_two_frames_is_refused(tmp_path):
    folder = write_imgset(tmp_path / "imgset0002", frames=2, size=32)
    with pytest.raises(UsageError, match="has 2 frames"):
        open_sets(folder, registry.design("ibp-net").card(), Choice(leftout.KIND))


def test_frames_that_are_all_masked_are_named(tmp_path):
    folder = write_imgset(tmp_path / "imgset0003", frames=4, size=32)
    for path in folder.glob("QM*.png"):
        write_png(path, np.zeros((32, 32), np.uint8))
    found = open_sets(folder, registry.design("ibp-net").card(), Choice(leftout.KIND, patch=36))
    with pytest.raises(Exception, match="clear enough"):
        found.training.sample(0, 0)


def test_samples_of_several_frames_stack(series):
    found = windows(series)
    batch = found.batch(0, range(3))
    assert batch.inputs[LEFT_OUT].shape == (3, 1, 2)
    image = torch.nn.functional.interpolate(batch.target, scale_factor=3.0)
    assert found.compared(image, batch).shape == batch.target.shape
    assert stack([found.sample(0, 0)]).target.shape == (1, 1, 12, 12)


@pytest.mark.parametrize("kind", ["images", "kelvins"])
def test_another_kind_of_data_is_refused_from_python_too(tmp_path, kind):
    with pytest.raises(UsageError, match=f"reads series, not '{kind}'"):
        api.train(tmp_path, tmp_path / "run", model="ibp-net", self_supervised=True, data_kind=kind)
    assert leftout.chosen_kind(None) == leftout.chosen_kind(leftout.KIND) == leftout.KIND
