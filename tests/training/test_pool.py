"""Windows drawn from degraded regions in memory."""

from pathlib import Path

import numpy as np
import pytest
import scene_files
import torch

from geosr.models import registry
from geosr.models.card import FIXED
from geosr.raster.window import Window
from geosr.sensors import open_scene
from geosr.training.datasets import Choice, open_sets
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.pool import Pool, Region
from geosr.training.datasets.wald import WaldWindows, padded
from geosr.training.datasets.windows import Area, turn


@pytest.fixture
def scene(scene_dir: Path):
    return open_scene(scene_dir)


def windows(scene, card, patch=16, **options):
    area = Area(scene, Window(0, 0, *scene.grids[card.native_gsd].shape))
    return WaldWindows([area], card, patch, small=True, **options)


def region(number: int, generation: int) -> Region:
    return Region({}, torch.full((1, 4, 4), 100.0 * number + generation), torch.ones(1, 4, 4))


def test_which_region_lives_depends_on_the_step_alone():
    whole, late = Pool(region, 5, life=20), Pool(region, 5, life=20)
    seen = {}
    for step in range(90):
        whole.look_ahead(step)
        seen[step] = [whole(i, step).target[0, 0, 0].item() for i in range(5)]
    for step in (57, 58, 89):
        late.look_ahead(step)
        assert [late(i, step).target[0, 0, 0].item() for i in range(5)] == seen[step]
    assert len({tuple(values) for values in seen.values()}) > 10  # they take turns
    whole.close()
    late.close()


def test_a_batch_depends_on_seed_and_step_alone(scene):
    card = registry.design("dsen2-ps-20").card()
    one = windows(scene, card, seed=3, jitter=0.1)
    one.batch(0, range(2))
    first = one.batch(7, range(4))
    other = windows(scene, card, seed=3, jitter=0.1)
    again = other.batch(7, range(4))
    torch.testing.assert_close(first.inputs[10], again.inputs[10])
    torch.testing.assert_close(first.target, again.target)
    assert first.target.shape == (4, 6, 16, 16) and first.inputs[20].shape == (4, 6, 8, 8)
    one.close()
    other.close()


@pytest.mark.parametrize("k", range(8))
def test_crops_turn_as_samples_do(k):
    rng = np.random.default_rng(k)
    sample = Sample({10: rng.random((2, 8, 8)), 20: rng.random((3, 4, 4))}, rng.random((3, 8, 8)),
                    rng.random((3, 8, 8)) > 0.5)  # fmt: skip
    whole = Region({gsd: torch.from_numpy(x) for gsd, x in sample.inputs.items()},
                   torch.from_numpy(sample.target), torch.from_numpy(sample.mask))  # fmt: skip
    expected = turn(sample, k)
    found = whole.turned(k)
    np.testing.assert_array_equal(found.inputs[20].numpy(), expected.inputs[20])
    np.testing.assert_array_equal(found.target.numpy(), expected.target)
    part = whole.crop(2, 4, 4)
    np.testing.assert_array_equal(part.inputs[20].numpy(), sample.inputs[20][:, 1:3, 2:4])
    np.testing.assert_array_equal(part.mask.numpy(), sample.mask[:, 2:6, 4:8])


def test_what_is_kept_beside_a_region_is_what_the_net_finds_itself(scene):
    card = registry.design("dsen2-ps-20").card()
    net = registry.build(card).net.eval()
    drawn = windows(scene, card)
    drawn.place("cpu", net.fixed)
    kept = drawn._region(0, 0)
    inputs = {key: x[None].float() for key, x in kept.inputs.items()}
    kept_as = inputs.pop(FIXED)
    with torch.no_grad():
        own = net.fixed(inputs)
        known, found = net({**inputs, FIXED: kept_as}), net(inputs)
    rounded = own.abs() * 2**-11 + 1e-3  # what half precision takes off, 0.5 count at 1024
    assert ((kept_as - own).abs() <= rounded).all()
    mean = torch.stack(rounded.chunk(len(net.share), 1)).mean(0)  # shares are equal untrained
    assert ((known - found).abs() <= mean + 0.01).all()
    drawn.close()


def test_scenes_smaller_than_a_window_are_learnt_from(tmp_path):
    for name, size in (("oslo", 60), ("rome", 120), ("lima", 120)):
        scene_files.write_folder(tmp_path / name, size=size)
    sets = open_sets(tmp_path, registry.design("dsen2-20").card(), Choice(patch=48, seed=1))
    least = min(min(area.window[2:]) for area in sets.training.areas)
    assert least == 30 < sets.training.patch
    masks = sets.training.batch(0, range(32)).mask
    assert masks.shape[-2:] == (48, 48)
    assert {bool(mask.all()) for mask in masks} == {True, False}  # large and small ones
    sets.training.close()
    sets.held.close()


def test_small_scenes_are_mirrored_and_only_what_was_sensed_counts(scene):
    card = registry.design("dsen2-20").card()
    drawn = windows(scene, card, patch=4096 // card.scale * card.scale // 16)
    sample = drawn._pair(scene, Window(0, 0, 12, 12), "sensor")
    wide = padded(sample, 20)
    assert wide.target.shape == (6, 20, 20) and wide.inputs[20].shape == (6, 10, 10)
    np.testing.assert_array_equal(wide.target[:, 12:], wide.target[:, 11:3:-1])
    assert not wide.mask[:, 12:].any() and not wide.mask[:, :, 12:].any()
    assert drawn.batch(0, range(1)).target.shape[-1] == drawn.patch
    drawn.close()
