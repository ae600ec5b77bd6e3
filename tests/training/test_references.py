"""Fine images of another date as references: folders, windows, scores, the two commands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from nets import THIN
from rasters import picture, write
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.evaluation.evaluate import bicubic_beside, evaluate
from geosr.evaluation.protocols import Data
from geosr.models import registry, weights
from geosr.models.card import Input, Model
from geosr.models.nets.guided.anypair import of_pair
from geosr.raster.window import Window
from geosr.scene.registration import reference_displacement
from geosr.sensors import OpenOptions
from geosr.training.config import TrainConfig
from geosr.training.datasets import Choice, card_of, kind_of, open_sets
from geosr.training.datasets.references import ReferenceWindows, areas, registered
from geosr.training.datasets.windows import Spot
from geosr.training.survey import preview, survey
from geosr.training.train import train

SIDE = 48
PLACES = 3
RRSGAN = registry.design("rrsgan").card()


def place(number: int) -> Affine:
    return Affine(10, 0, 500_000 + 10_000 * number, 0, -10, 4_000_000)


def dates(
    folder: Path, *, coarse: int = 0, crs: bool = True, wider: int = 0, side: int = SIDE
) -> Path:
    """Three places: the truth, the same ground half as bright as reference.

    Args:
        coarse: factor of coarse images; 0 is none.
        wider: pixels that a reference has more than the truth on all sides.
    """
    for i in range(PLACES):
        ground = picture(i, side + 2 * wider, bands=2, dtype=np.uint16) // 16
        inner = ground[:, wider : side + wider, wider : side + wider]
        grid = place(i) if crs else None
        around = place(i) @ Affine.translation(-wider, -wider) if crs else None
        write(folder / "HR" / f"p{i}.tif", inner, grid=grid)
        write(folder / "google_Ref" / f"p{i}.tif", ground // 2, grid=around)
        if coarse:
            small = side // coarse
            means = inner.reshape(2, small, coarse, small, coarse).mean((2, 4)).astype(np.uint16)
            low = place(i) @ Affine.scale(coarse) if crs else None
            write(folder / "LR" / f"p{i}.tif", means, grid=low)
    return folder


def bound(data: Path, scale: float | None = None):
    return card_of(data, RRSGAN, OpenOptions(), None, scale)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return dates(tmp_path / "dates")


def test_folders_of_truths_and_references_are_told_from_pairs(folder, tmp_path):
    assert kind_of(folder, "guided") == "references"
    (folder / "google_Ref").rename(tmp_path / "elsewhere")
    assert kind_of(folder, "guided") == "wald"


@pytest.mark.parametrize("coarse, scale, found", [(0, None, 4), (0, 3, 3), (2, None, 2), (6, 6, 6)])
def test_the_factor_is_that_of_the_coarse_images_or_the_one_asked(tmp_path, coarse, scale, found):
    card = bound(dates(tmp_path / "d", coarse=coarse), scale)
    assert card.scale == found and card.bands == ("1", "2")
    assert card.inputs == (Input(1, ("guide:1", "guide:2")), Input(found, ("1", "2")))


@pytest.mark.parametrize("coarse, scale", [(2, 4), (0, 2.5)])
def test_another_factor_than_the_data_have_is_refused(tmp_path, coarse, scale):
    with pytest.raises(UsageError, match=f"--scale {scale}"):
        bound(dates(tmp_path / "d", coarse=coarse), scale)


@pytest.mark.parametrize("coarse", [0, 2])
@pytest.mark.parametrize("crs", [True, False])
def test_a_window_shows_one_ground_in_truth_coarse_image_and_reference(tmp_path, coarse, crs):
    data = dates(tmp_path / "d", coarse=coarse, crs=crs)
    card = bound(data, None if coarse else 2)
    windows = ReferenceWindows(areas(data, card, OpenOptions(kind="image")), card, 16,
                               operator="box", seed=3)  # fmt: skip
    for i in range(6):
        sample = windows.sample(0, i)
        assert sample.target.shape == sample.inputs[1].shape == (2, 16, 16)
        np.testing.assert_allclose(sample.inputs[1], sample.target / 2, atol=1)
        means = sample.target.reshape(2, 8, 2, 8, 2).mean((2, 4))
        np.testing.assert_allclose(sample.inputs[2], means, atol=1)
    windows.close()


def test_a_reference_on_another_grid_is_brought_onto_that_of_the_truth(tmp_path):
    data = dates(tmp_path / "d", wider=8)
    card = bound(data)
    windows = ReferenceWindows(areas(data, card, OpenOptions(kind="image")), card, 16)
    sample = windows.sample(0, 1)
    np.testing.assert_allclose(sample.inputs[1], sample.target / 2, atol=1)
    windows.close()


@pytest.mark.parametrize("crs", [True, False])
def test_a_reference_that_shows_the_ground_elsewhere_is_moved_to_fit(tmp_path, crs):
    data = dates(tmp_path / "d", crs=crs, side=128)
    for path in (data / "google_Ref").iterdir():
        with rasterio.open(path, "r+") as file:
            file.write(np.roll(file.read(), (2, -1), (1, 2)))
    card = bound(data, 2)
    items = areas(data, card, OpenOptions(kind="image"))
    windows = ReferenceWindows(items, card, 16, operator="box", seed=3)
    sample = windows.cut(Spot(0, Window(8, 8, 16, 16)), np.random.default_rng(0))
    np.testing.assert_allclose(sample.inputs[1], sample.target / 2, atol=1)
    windows.close()
    asked = reference_displacement(items[0].item.fine, items[0].item.reference)
    assert (asked.down, asked.right) == (-2, 1)


def test_references_of_other_ground_stay_where_they_lie(tmp_path):
    data = dates(tmp_path / "d", side=128)
    write(data / "google_Ref/p0.tif", picture(9, 128, bands=2, dtype=np.uint16), grid=place(0))
    item = areas(data, bound(data), OpenOptions(kind="image"))[0].item
    assert not reference_displacement(item.fine, item.reference)
    assert registered(item) is item.reference


def test_places_are_held_out_whole_and_references_with_them(folder):
    sets = open_sets(folder, bound(folder), Choice(patch=16, share=0.3))
    names = [{area.item.name for area in part.areas} for part in (sets.training, sets.held)]
    assert names[0] | names[1] == {"p0", "p1", "p2"} and not names[0] & names[1]
    assert sets.kind == "references"
    sets.close()


def test_a_survey_tells_bands_and_factor_and_shows_pairs(folder, tmp_path):
    found = survey(folder, Choice(patch=16))
    assert (found["kind"], found["read_for"], found["scale"]) == ("references", "rrsgan", 4)
    assert found["inputs"] == {"1": [2, 16, 16], "4": [2, 4, 4]} and set(found["bands"]) == {*"12"}
    preview(folder, Choice(patch=16), tmp_path / "pairs.png")
    with rasterio.open(tmp_path / "pairs.png") as file:
        assert file.width >= 2 * 16 and file.height >= 4 * 16


def test_a_truth_without_its_reference_is_named(folder):
    (folder / "google_Ref/p1.tif").unlink()
    with pytest.raises(UsageError, match="p1.tif has none of its name in .*google_Ref"):
        areas(folder, RRSGAN, OpenOptions(kind="image"))


def test_a_reference_of_other_ground_or_of_another_size_without_a_crs_is_refused(tmp_path):
    apart = dates(tmp_path / "apart")
    for i in range(PLACES):
        other = picture(i, SIDE, bands=2, dtype=np.uint16)
        write(apart / "google_Ref" / f"p{i}.tif", other, grid=place(i + 5))
    with pytest.raises(UsageError, match="does not touch .*same ground"):
        bound(apart)
    loose = dates(tmp_path / "loose", crs=False, wider=8)
    with pytest.raises(UsageError, match="not of the size of"):
        bound(loose)


def test_references_of_other_bands_have_an_entry_of_their_own(tmp_path):
    data = dates(tmp_path / "d")
    for i in range(PLACES):
        one = picture(i, SIDE, dtype=np.uint16)
        write(data / "google_Ref" / f"p{i}.tif", one, grid=place(i))
    card = replace(bound(data), options=THIN["rrsgan"])
    assert [len(item.bands) for item in card.inputs] == [1, 2]
    net = registry.build(card).net
    assert [head.in_channels for head in net.encoder.heads] == [2, 1]
    with torch.inference_mode():
        made = net({1: torch.rand(1, 1, 24, 24), 4: torch.rand(1, 2, 6, 6)})
    assert made.shape == (1, 2, 24, 24)


def test_the_detail_of_a_reference_reaches_the_end_of_a_new_net_undiminished(folder):
    torch.manual_seed(0)
    net = registry.build(replace(bound(folder), options=THIN["rrsgan"])).net
    seen = []
    net.tail[0].register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    noise = torch.randn(1, 2, 24, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        for contrast in (0, 100):
            net({1: 1000 + contrast * noise, 4: torch.full((1, 2, 6, 6), 1000.0)})
    assert (seen[1] - seen[0]).std() > 0.01  # of 0.05 in the net's unit


class Copying(torch.nn.Module):
    """Twice the reference: what the truth is here."""

    def forward(self, inputs):
        return 2 * inputs[1]


def test_where_a_net_is_scored_a_reference_is_moved_by_what_the_coarse_image_tells(tmp_path):
    rng, errors = np.random.default_rng(0), []
    for down in (0, 2):
        data = tmp_path / f"moved{down}"
        for i in range(PLACES):
            ground = np.kron(rng.integers(500, 4000, (2, 100, 100)), np.ones((4, 4)))
            ground = ground.astype(np.uint16)
            write(data / "HR" / f"p{i}.tif", ground, grid=place(i))
            write(data / "Ref" / f"p{i}.tif", np.roll(ground // 2, down, 1), grid=place(i))
        card = replace(bound(data), name="copying")
        found = evaluate(Data(data), {"copying": [Model(card, Copying())]})
        errors.append(found.mean("copying", "x4", "rmse"))
    assert errors[0] < 2 and errors[1] < 250  # 1000 where it lay; two rows are not there


@pytest.mark.parametrize("coarse, wider", [(0, 0), (4, 0), (4, 8)])
def test_scores_are_of_the_truth_and_bicubic_stands_beside(tmp_path, coarse, wider):
    data = dates(tmp_path / "d", coarse=coarse, wider=wider)
    card = replace(bound(data), name="copying")
    nets = bicubic_beside({"copying": [Model(card, Copying())]})
    found = evaluate(Data(data), nets)
    assert found.protocol == "references" and found.groups == ["x4"] and not found.failed
    assert found.mean("copying", "x4", "rmse") < 2 < found.mean("bicubic", "x4", "rmse")
    assert {score.factor for score in found.scores} == {4}  # of the interpolation's template 2


def test_truths_are_degraded_for_bicubic_as_for_the_net_beside_it(tmp_path):
    data = dates(tmp_path / "d")
    card = replace(bound(data, 2), name="copying")
    found = evaluate(Data(data), bicubic_beside({"copying": [Model(card, Copying())]}))
    assert found.groups == ["x2"]


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """Weights of two steps."""
    recipe = replace(registry.design("rrsgan").recipe, batch_size=2)
    config = TrainConfig("rrsgan", scale=2, recipe=recipe, net_options=THIN["rrsgan"], steps=2,
                         patch=16, val_windows=2)  # fmt: skip
    yield train(folder, tmp_path / "run", config=config).best


def test_a_net_that_learnt_by_references_sharpens_a_coarse_raster_by_a_guide(
    run, folder, geosr, tmp_path
):
    assert weights.card_of(run).scale == 2
    truth = folder / "HR/p0.tif"
    with rasterio.open(truth) as file:
        means = file.read().reshape(2, 24, 2, 24, 2).mean((2, 4)).astype(np.uint16)
    low = write(tmp_path / "low.tif", means, grid=place(0) @ Affine.scale(2))
    done = geosr("superres", low, "o.tif", "--guide", folder / "google_Ref/p0.tif", "--model", run)
    assert done.returncode == 0, done.stderr
    with rasterio.open(tmp_path / "o.tif") as made, rasterio.open(truth) as wanted:
        assert made.shape == wanted.shape and made.transform == wanted.transform
        assert np.corrcoef(made.read().ravel(), wanted.read().ravel())[0, 1] > 0.9


def test_the_command_degrades_truths_by_the_scale_asked_and_tells_its_figures(
    folder, geosr, tmp_path
):
    thin = [part for key, value in THIN["rrsgan"].items()
            for part in ("--net-option", f"{key}={value}")]  # fmt: skip
    done = geosr("train", "--model", "rrsgan", "--data", folder, "--out", "run", "--scale", 2,
                 "--steps", 1, "--patch", 16, "--batch-size", 1, *thin)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "RMSE" in done.stderr and weights.card_of(tmp_path / "run/best.safetensors").scale == 2


def test_a_folder_that_is_none_is_refused_with_the_names_of_the_folders(tmp_path):
    with pytest.raises(UsageError, match="no folders HR and Ref"):
        open_sets(tmp_path, bound(dates(tmp_path / "d")), Choice(kind="references"))


@pytest.mark.slow
def test_a_net_learns_what_a_reference_shows_and_a_wrong_one_misleads_it():
    """Ground of which a coarse image tells next to nothing; the reference is half as bright."""
    rng = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    card = of_pair(RRSGAN, Input(1, ("other date",)), Input(2, ("band",)))
    net = registry.build(replace(card, options=THIN["rrsgan"])).net
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)

    def drawn() -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
        truth = 2000 + 600 * torch.randn(4, 1, 24, 24, generator=rng)
        return truth, {1: truth / 2 + 300, 2: F.avg_pool2d(truth, 2)}

    for _ in range(80):
        truth, given = drawn()
        loss = (net(given) - truth).abs().mean() / 2000
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    truth, given = drawn()
    with torch.inference_mode():
        right, wrong = (
            float((net({**given, 1: beside}) - truth).abs().mean())
            for beside in (given[1], given[1].flip(0))
        )
    up = F.interpolate(given[2], scale_factor=2, mode="bicubic")
    bicubic = float((up - truth).abs().mean())
    assert right < 0.6 * bicubic < bicubic < wrong
