"""Published data sets are recognised as they lie on the disk, trained on, scored on, refused."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace

import make_datasets
import numpy as np
import pytest
import rasterio
import torch
from make_datasets import TWELVE, bands, ground, means

from geosr.errors import SceneError, UsageError
from geosr.models.registry import design
from geosr.raster.window import Window
from geosr.scene.radiometry import reflectance
from geosr.sensors import OpenOptions
from geosr.training.datasets import Choice, kind_of, open_sets, pairs, places, revisits, tensors
from geosr.training.datasets.layouts import LAYOUTS, layout_of, worldstrat

IMAGE = OpenOptions(kind="image")
CHOICE = Choice(patch=24)
SETS = {  # maker: name, kind, net, scale, bands
    "oli2msi": ("OLI2MSI", "pairs", "srcnn", 3, 3),
    "sen2venus": ("SEN2VENµS", "pairs", "espcn", 2, 4),
    "worldstrat": ("WorldStrat", "revisits", "worldstrat", 4, 4),
    "sen2naip": ("SEN2NAIP", "pairs", "espcn", 4, 4),
    "opensr_test": ("opensr-test", "pairs", "espcn", 4, 4),
    "l1bsr": ("L1BSR", "folder", "espcn", 2, 4),
}
SCORED = {
    "oli2msi": 1,
    "sen2venus": 8,
    "worldstrat": 1,
    "sen2naip": 3,
    "opensr_test": 3,
    "l1bsr": 6,
}


def made(folder, maker, **more):
    return getattr(make_datasets, maker)(folder / maker, **more)


def card(name="espcn", **more):
    return design(name).card(**more)


def test_every_layout_has_an_imitation():
    assert {layout.name for layout in LAYOUTS} == {name for name, *_ in SETS.values()}


@pytest.mark.parametrize("maker", SETS)
def test_each_trains_and_evaluates_from_the_command_line(geosr, tmp_path, maker):
    name, kind, net, scale, count = SETS[maker]
    data = made(tmp_path, maker)
    assert layout_of(data).name == name and kind_of(data, "sisr") == kind
    small = ("--net-option", "features=8") if net == "worldstrat" else ()
    done = geosr("train", "--model", net, "--bands", count, "--scale", scale, "--data", data,
                 "--out", "run", "--steps", 2, "--patch", 24, "--batch-size", 1,
                 *small)  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = geosr("eval", "--model", "run/best.safetensors", "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["protocol"] == kind
    rows = [s for s in found["scores"] if s["model"] == "bicubic"]
    assert {s["group"] for s in rows} == {f"x{scale}"} and len(rows) == SCORED[maker]
    assert found["means"][f"x{scale}"]["bicubic"]["scenes"] == SCORED[maker]
    assert all(s["whole"]["psnr"] > 40 for s in rows)  # the pairs lie on each other


@pytest.mark.parametrize("maker", SETS)
def test_data_names_what_it_found_and_the_licence(geosr, tmp_path, maker):
    name, kind, *_ = SETS[maker]
    data = made(tmp_path, maker)
    done = geosr("data", data, "--patch", 24)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith(f"{name}, by how it lies on the disk; licence: ")
    assert f"read as '{kind}'" in second
    told = json.loads(geosr("data", data, "--patch", 24, "--json").stdout)
    assert told["data_set"] == name and told["licence"] in first
    assert (maker in ("sen2venus", "worldstrat")) == ("not for commercial use" in first)


def test_a_folder_of_another_layout_has_no_name(geosr, tmp_path):
    from rasters import paired

    paired(tmp_path / "own")
    told = json.loads(geosr("data", "own", "--patch", 24, "--json").stdout)
    assert told["data_set"] is None and told["kind"] == "pairs"


# what is missing


@pytest.mark.parametrize(
    "maker, gone, said",
    [
        ("oli2msi", ["train_hr"], "missing: train_hr/"),
        ("oli2msi", ["train_lr/L8_192020*"], r"missing: train_lr/L8_192020\w+\.TIF"),
        ("sen2venus", ["*/*_10m_*"], r"missing: ALSACE/ALSACE_C_2018-02-14_10m_b2b3b4b8\.pt, "),
        ("worldstrat", ["hr_dataset"], "missing: hr_dataset/"),
        ("worldstrat", ["hr_dataset/Place-A/*"], r"hr_dataset/Place-A/Place-A_ps\.tiff"),
        ("worldstrat", ["lr_dataset/Place-B/L2A/*data*"], "lr_dataset/Place-B/L2A/Place-B-1-L2A"),
        ("sen2naip", ["cross-sensor/ROI_0001/hr.tif"], r"missing: ROI_0001/hr\.tif"),
        ("opensr_test", ["100/naip/L?[AC]"], "missing: naip/L2A/"),
        ("opensr_test", ["100/naip/L2A/*ROI_00001*"], r"naip/L2A/\*ROI_00001\*"),
        ("l1bsr", ["scene_right"], "missing: scene_right/"),
        ("l1bsr", ["scene_left/01.tif"], r"missing: scene_left/01\.tif"),
    ],
)
def test_a_data_set_that_is_half_there_lists_what_is_missing(tmp_path, maker, gone, said):
    name, _, net, scale, count = SETS[maker]
    data = made(tmp_path, maker)
    for pattern in gone:
        for path in data.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UsageError, match=f"holds {name} in part; .*{said}") as found:
        open_sets(data, card(net, scale=scale, bands=count), CHOICE)
    assert ("--pattern" in str(found.value)) == (not said.endswith("/"))  # a folder is all or none


def test_what_is_whole_can_be_chosen_by_a_pattern(tmp_path):
    data = made(tmp_path, "sen2naip")
    (data / "cross-sensor/ROI_0001/hr.tif").unlink()
    found = pairs.areas(data, card(scale=4, bands=4), IMAGE, "ROI_000[02]")
    assert [area.item.name for area in found] == ["ROI_0000", "ROI_0002"]


# what each makes of its files


def test_oli2msi_trains_on_one_part_and_is_scored_on_the_other(tmp_path):
    data = made(tmp_path, "oli2msi")
    net = card("srcnn", scale=3, bands=3)
    train = {area.item.name for area in pairs.areas(data, net, IMAGE)}
    test = {area.item.name for area in pairs.areas(data, net, IMAGE, part="test")}
    assert len(train) == 3 and len(test) == 1 and not train & test


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("scale, names", [(2, "B2 B3 B4 B8"), (4, "B5 B6 B7 B8A")])
def test_sen2venus_is_read_by_its_index_or_its_names(tmp_path, index, scale, names):
    data = made(tmp_path, "sen2venus", index=index)
    found = pairs.areas(data, card(scale=scale, bands=4), IMAGE)
    assert len(found) == 8
    first = found[0].item
    assert " ".join(band.name for band in first.fine.bands) == names
    with first.fine.open() as reader:
        pixels = reader.read(names.split()[:1], 1, Window(-2, -2, 8, 8))
    assert pixels.values.dtype == np.int16 and pixels.usable.all()
    assert pixels.values[0, 2, 2] == -12 == pixels.values[0, 1, 1]  # symmetric beyond the edge
    field = ground(64, 0)
    with first.coarse[0].open() as reader:
        low = reader.read(names.split(), 1, Window(0, 0, 64 // scale, 64 // scale)).values
    wanted = 10000 * bands(means(field, scale), names.split())
    np.testing.assert_allclose(low[:, 1:], wanted[:, 1:], atol=0.5)


def test_sites_of_sen2venus_are_held_out_whole(tmp_path):
    sets = open_sets(made(tmp_path, "sen2venus"), card(scale=2, bands=4), CHOICE)
    sites = [{area.item.name.split("_")[0] for area in part.areas}
             for part in (sets.training, sets.held)]  # fmt: skip
    assert sites[0].isdisjoint(sites[1]) and all(sites)


def test_windows_of_tensors_travel_to_other_processes(tmp_path):
    sets = open_sets(made(tmp_path, "sen2venus"), card(scale=2, bands=4), CHOICE)
    sample = sets.training.sample(0, 0)
    again = pickle.loads(pickle.dumps(sets.training)).sample(0, 0)
    np.testing.assert_array_equal(sample.target, again.target)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("legacy", [True, False])
def test_tensors_with_code_beside_them_are_refused_and_nothing_runs(tmp_path, capsys, legacy):
    file = tmp_path / "a.pt"
    torch.save([torch.zeros(1, 4, 8, 8), Evil()], file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(SceneError, match="holds more than a tensor, which may be code"):
        tensors.count(file)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "content, said",
    [
        (torch.zeros(4, 8, 8), "holds no images"),
        ({"a": torch.zeros(1, 4, 8, 8)}, "holds no images .*dict"),
        (torch.zeros(1, 1, 1, 1).expand(9, 4, 999, 999), "holds no images"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.complex64), "holds no counts"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16), "holds no counts"),
        (b"\x80\x04.", "cannot read|holds more"),
        (b"", "cannot read|holds more"),
    ],
)
def test_files_that_are_no_images_are_refused(tmp_path, content, said):
    file = tmp_path / f"{abs(hash(str(type(content)) + said))}.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(SceneError, match=said):
        tensors.count(file)


def test_files_from_before_zip_archives_are_read_too(tmp_path):
    file = tmp_path / "old.pt"
    torch.save(
        torch.ones(2, 4, 8, 8, dtype=torch.int16), file, _use_new_zipfile_serialization=False
    )
    assert tensors.count(file) == 2
    assert tensors.scene(file, 1, "abcd", IMAGE).quantification == 10000


def test_8_bit_naip_is_brought_to_the_values_of_its_coarse_image(tmp_path):
    for version in (1, 2):
        data = make_datasets.sen2naip(tmp_path / str(version), version=version)
        area = pairs.areas(data, card(scale=4, bands=4), IMAGE)[0]
        fine, names = area.item.fine, [band.name for band in area.item.fine.bands]
        assert len(names) == 4  # also where the file calls the fourth alpha
        with fine.open() as reader:
            pixels = reader.read(names, 1, Window(0, 0, 124, 124))
        assert pixels.usable.all()
        values = reflectance(fine, names, pixels.values.astype(np.float32))
        wanted = 10000 * bands(ground(124, 0))
        np.testing.assert_allclose(values, wanted, rtol=0.12 if version == 1 else 1e-3)
        np.testing.assert_allclose(values.mean((1, 2)), wanted.mean((1, 2)), rtol=2e-3)


@pytest.mark.parametrize("named", [True, False])
def test_opensr_test_takes_the_bands_that_the_fine_images_have(tmp_path, named):
    data = made(tmp_path, "opensr_test", named=named)
    for scale, subset in ((4, "naip"), (2, "venus")):
        found = pairs.areas(data, card(scale=scale, bands=4), IMAGE)
        assert {area.item.name.split("-")[0] for area in found} == {subset}
        item = found[0].item
        assert [band.name for band in item.coarse[0].bands] == ["B4", "B3", "B2", "B8"]
        assert [band.index for band in item.coarse[0].bands] == [4, 3, 2, 8]
    with pytest.raises(UsageError, match="naip × 4, venus × 2, nothing × 3"):
        pairs.areas(data, card(scale=3, bands=4), IMAGE)


def test_opensr_test_without_its_l2a_says_that_it_takes_l1c(tmp_path, caplog):
    data = made(tmp_path, "opensr_test")
    assert pairs.areas(data, card(scale=4, bands=4), IMAGE) and not caplog.messages
    shutil.rmtree(data / "100/naip/L2A")
    assert len(pairs.areas(data, card(scale=4, bands=4), IMAGE)) == 3
    (said,) = caplog.messages
    assert said.startswith("naip/ has no L2A/: its L1C/, the top of the atmosphere, is taken")


def test_worldstrat_says_where_it_takes_l1c(tmp_path, caplog):
    data = made(tmp_path, "worldstrat")
    folder = data / "lr_dataset" / "Place-A" / "L2A"
    for file in folder.glob("*data*"):
        file.rename(file.with_name(file.name.replace("L2A", "L1C")))
    folder.rename(folder.with_name("L1C"))
    assert revisits.areas(data, card("worldstrat", scale=4, bands=4), IMAGE)
    (said,) = caplog.messages
    assert said.startswith("1 of 2 places have no L2A (Place-A …): their L1C")


def test_images_of_other_bands_than_can_be_told_are_refused(tmp_path):
    data = made(tmp_path, "opensr_test")
    for file in (data / "100/naip/L2A").iterdir():
        make_datasets.write(file, np.zeros((5, 24, 24), np.uint16), 10)
    with pytest.raises(UsageError, match="has 5 bands without names"):
        pairs.areas(data, card(scale=4, bands=4), IMAGE)


@pytest.mark.parametrize("crs", [True, False])
def test_worldstrat_revisits_come_clearest_first_under_a_truth_of_2_5_m(tmp_path, crs):
    more = {} if crs else {"crs": None}
    data = made(tmp_path, "worldstrat", **more)
    net = card("worldstrat", scale=4, bands=4)
    found = revisits.areas(data, net, IMAGE)
    assert [area.item.name for area in found] == ["Place-A", "Place-B"]
    place = found[0].item
    assert place.scene.frames == 3 and place.fine.grid.shape == (160, 160)
    assert place.fine.grid == place.scene.grid.finer(4) or not crs
    with place.scene.open() as reader:
        clear = [reader.read(["B4"], 1, Window(0, 0, 40, 40), frame=t).usable for t in range(3)]
    assert [int((~c).sum()) for c in clear] == [0, 40, 80]
    sets = open_sets(data, net, replace(CHOICE, patch=160))
    sample = sets.training.at(sets.training.spots(1)[0])
    field = make_datasets._smooth(int(sets.training.areas[0].item.name == "Place-B"))
    at = (np.arange(160) + 0.5) * 2.5
    wanted = 10000 * bands(field(at[:, None], at[None]))
    inner = (slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(sample.target[inner], wanted[inner], rtol=0.02 if crs else 0.03)
    (stack,) = (values for gsd, values in sample.inputs.items() if gsd > 0)
    assert stack.shape == (8, 5, 40, 40)
    clear = sorted(int(frame.sum()) for frame in stack[:, -1])
    assert clear[-1] == 1600 and stack[:, -1].max() == 1


def test_worldstrat_is_scored_on_the_places_that_its_split_tests(tmp_path):
    data = made(tmp_path, "worldstrat")
    net = card("worldstrat", scale=4, bands=4)
    assert [a.item.name for a in revisits.areas(data, net, IMAGE, part="test")] == ["Place-C"]
    (data / "stratified_train_val_test_split.csv").unlink()
    assert len(revisits.areas(data, net, IMAGE, part="test")) == 3


def test_revisits_on_other_grids_and_masks_of_other_sizes_are_brought_to_the_first(tmp_path):
    data = made(tmp_path, "worldstrat", places=1)
    inside = data / "lr_dataset/Place-A/L2A"
    with rasterio.open(inside / "Place-A-2-L2A_data.tiff") as file:
        values = file.read()[:, :38, :38]
    make_datasets.write(inside / "Place-A-2-L2A_data.tiff", values, 10)
    mask = np.zeros((1, 19, 19), np.uint8)
    mask[:, :2] = 255
    make_datasets.write(inside / "Place-A-2-CLM.tiff", mask, 20)
    place = revisits.areas(data, card("worldstrat", scale=4, bands=4), IMAGE)[0].item
    assert place.scene.grid.shape == (40, 40)
    at = next(band.frame for band in place.scene.bands if "-2-" in band.path)
    with place.scene.open() as reader:
        pixels = reader.read(["B4"], 1, Window(0, 0, 40, 40), frame=at)
    assert not pixels.usable[0, :4].any() and pixels.usable[0, 4:38, :38].all()
    assert not pixels.usable[0, 38:].any()


def test_8_bit_copies_of_the_truth_do(tmp_path):
    data = made(tmp_path, "worldstrat", places=1)
    file = data / "hr_dataset/Place-A/Place-A_ps.tiff"
    with rasterio.open(file) as source:
        values = (source.read() / 40).astype(np.uint8)
    make_datasets.write(data / "hr_dataset/8bit/Place-A/Place-A_ps_8bit.tiff", values, 1.5)
    file.unlink()
    found = worldstrat.pairs(data, "train", 4, None)
    assert [pair.fine.name for pair in found] == ["Place-A_ps_8bit.tiff"]
    fine, _ = worldstrat.opened(found[0], 4, IMAGE)
    assert fine.quantification == 255 and len(fine.bands) == 4


def test_nets_of_one_band_and_of_one_image_take_revisits_too(tmp_path):
    data = made(tmp_path, "worldstrat")
    single = open_sets(data, card(scale=4), CHOICE).training
    sample = single.at(replace(single.spots(1)[0], band=2))
    assert sample.inputs[4].shape == (1, 6, 6) and sample.target.shape == (1, 24, 24)
    series = open_sets(data, card("worldstrat", scale=4), CHOICE).training
    assert series.at(series.spots(1)[0]).inputs[4].shape == (8, 2, 6, 6)
    with pytest.raises(UsageError, match="no data set of revisits"):
        revisits.areas(tmp_path, card(scale=4), IMAGE)


def test_both_detectors_of_a_crop_are_held_out_together(tmp_path):
    data = made(tmp_path, "l1bsr")
    sets = open_sets(data, card(scale=2, bands=4), CHOICE)
    held, training = ({area.item.name for area in part.areas}
                      for part in (sets.held, sets.training))  # fmt: skip
    assert held and training and not held & training
    assert len(sets.held.areas) + len(sets.training.areas) == 6
    assert kind_of(data, "misr") == "series"


def test_names_of_places_do_not_take_patches_for_places():
    site = next(layout for layout in LAYOUTS if layout.name == "SEN2VENµS").place
    assert site("ALSACE_C_2018-02-14-0003") == "ALSACE" == site("ALSACE_C_2019-01-01-0000")
    assert places.of_image("00") == "00" and len(TWELVE) == 12
