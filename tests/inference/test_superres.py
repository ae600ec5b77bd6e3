"""The main job on generated scenes: grids, copies, radiometry, nodata, tiles without a trace."""

import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
import torch
from rasterio.transform import Affine

from geosr.errors import SceneError, UsageError
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.strips import strips
from geosr.inference.superres import superres
from geosr.models import registry, weights
from geosr.models.card import Model
from geosr.sensors import OpenOptions, open_scene

TWELVE = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")


def random_nets(*names, gain=0.05):
    """Untrained nets whose residual is of the size of a real one."""
    torch.manual_seed(0)
    nets = [registry.build(card) for name in names for card in registry.cards(name)]
    for net in nets:
        if net.parameters:
            net.net.tail.weight.data *= gain
        net.net.eval()
    return nets


@pytest.fixture(scope="module")
def bicubic():
    return weights.load("bicubic")


@pytest.fixture(scope="module")
def dsen2():
    return random_nets("dsen2")


def run(scene, path: Path, nets, options=None, **request):
    """Open, super-resolve, re-open; returns the array and the dataset's facts."""
    result = superres(open_scene(scene, options), path, nets, request=Request(**request))
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.profile, dataset.descriptions, dataset.dataset_mask(), result


def tiled(scene, nets, tile_size):
    """All super-resolved bands as float reflectance × 10000, before rounding."""
    plan = make_plan(scene, nets, Request(tile_size=tile_size, only_sr=True))
    with scene.open() as reader:
        made = [strip.predicted for strip in strips(reader, plan, Engine())]
    return np.stack([np.concatenate([rows[n] for rows in made]) for n in plan.names])


def edit(path: Path, change):
    """Change a raster's pixels in place."""
    with rasterio.open(path, "r+") as dataset:
        values = dataset.read()
        change(values)
        dataset.write(values)


def copied(scene_dir: Path, tmp_path: Path) -> Path:
    target = tmp_path / "scene"
    target.mkdir()
    for file in scene_dir.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_the_output_lies_on_the_10_m_grid_with_names_in_esa_order(scene_dir, tmp_path, dsen2):
    array, profile, names, _, _ = run(scene_dir, tmp_path / "o.tif", dsen2)
    with rasterio.open(scene_dir / "10m.tif") as ten:
        assert (profile["crs"], profile["transform"]) == (ten.crs, ten.transform)
        assert array.shape == (12, *ten.shape)
        native = ten.read()
    assert names == TWELVE
    assert (profile["dtype"], profile["nodata"], profile["compress"]) == ("uint16", 0, "deflate")
    assert profile["tiled"] and profile["interleave"] == "band"
    np.testing.assert_array_equal(array[[1, 2, 3, 7]], native)


def test_bicubic_is_torch_bicubic_of_the_symmetrically_padded_band(scene_dir, tmp_path, bicubic):
    array, *_ = run(scene_dir, tmp_path / "o.tif", bicubic)
    with rasterio.open(scene_dir / "20m.tif") as twenty:
        coarse = np.pad(twenty.read().astype(np.float32), ((0, 0), (4, 4), (4, 4)), "symmetric")
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse)[None], scale_factor=2,
                                           mode="bicubic", align_corners=False)  # fmt: skip
    expected = np.clip(np.rint(fine[0, :, 8:-8, 8:-8].numpy()), 1, 65535)
    assert np.abs(array[[4, 5, 6, 8, 10, 11]] - expected).max() <= 1


@pytest.fixture(scope="module")
def untiled(tmp_path_factory, dsen2):
    """A scene, and what the nets make of it in one piece."""
    folder = tmp_path_factory.mktemp("untiled") / "s"
    scene_files.write_folder(folder, size=156)
    scene = open_scene(folder)
    return scene, tiled(scene, dsen2, 10**6)


@pytest.mark.parametrize("size", [60, 132, 600])
def test_tiles_leave_no_trace(untiled, dsen2, size):
    scene, whole = untiled
    assert np.abs(tiled(scene, dsen2, size) - whole).max() < 0.02


@pytest.mark.parametrize("size", [60])
def test_tiles_of_the_very_deep_net_leave_no_trace(tmp_path, size):
    """All 32 blocks and the margin of VDSen2 on fewer channels."""
    from dataclasses import replace

    scene_files.write_folder(tmp_path / "s", size=156)
    torch.manual_seed(1)
    nets = []
    for card in registry.cards("vdsen2"):
        thin = replace(card, options={"features": 16, "blocks": 32})
        nets.append(Model(thin, registry.build(thin).net.eval()))
    scene = open_scene(tmp_path / "s")
    assert np.abs(tiled(scene, nets, size) - tiled(scene, nets, 10**6)).max() < 0.02


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", [60, 132, 600])
def test_tiles_of_full_random_vdsen2_leave_no_trace(tmp_path, size):
    scene_files.write_folder(tmp_path / "s", size=156)
    scene = open_scene(tmp_path / "s")
    nets = random_nets("vdsen2")
    assert np.abs(tiled(scene, nets, size) - tiled(scene, nets, 10**6)).max() < 0.02


def test_tiles_leave_no_trace_around_nodata_and_masks(tmp_path, dsen2):
    scene_files.write_folder(tmp_path / "s", size=144)
    edit(tmp_path / "s/20m.tif", lambda v: v.__setitem__((slice(None), slice(20, 50), 37), 0))
    edit(tmp_path / "s/10m.tif", lambda v: v.__setitem__((1, slice(60, 140), slice(33, 90)), 0))
    scene = open_scene(tmp_path / "s")
    whole = tiled(scene, dsen2, 10**6)
    assert np.abs(tiled(scene, dsen2, 48) - whole).max() < 0.02


def test_a_scene_of_one_coarse_pixel_works(tmp_path, dsen2, bicubic):
    scene_files.write_folder(tmp_path / "s", size=6)
    for nets in (dsen2, bicubic):
        array, *_ = run(tmp_path / "s", tmp_path / "o.tif", nets)
        assert array.shape == (12, 6, 6)
        assert (array > 0).all()
        (tmp_path / "o.tif").unlink()


@pytest.mark.parametrize("shape", [(66, 126), (114, 6), (18, 90)])
def test_sizes_that_no_tile_divides_keep_every_edge(tmp_path, bicubic, shape):
    scene_files.write_folder(tmp_path / "s", size=126)
    for name, gsd in (("10m", 10), ("20m", 20), ("60m", 60)):
        path = tmp_path / f"s/{name}.tif"
        with rasterio.open(path) as d:
            profile = d.profile | {"height": shape[0] * 10 // gsd, "width": shape[1] * 10 // gsd}
            values, names = d.read(), d.descriptions
        profile |= {"tiled": False}
        profile.pop("blockxsize", None)
        profile.pop("blockysize", None)
        with rasterio.open(path, "w", **profile) as d:
            d.write(values[:, : profile["height"], : profile["width"]])
            d.descriptions = names
    array, *_ = run(tmp_path / "s", tmp_path / "o.tif", bicubic, tile_size=25)
    whole, *_ = run(tmp_path / "s", tmp_path / "w.tif", bicubic, tile_size=10**6)
    assert array.shape == (12, *shape)
    assert np.abs(array.astype(int) - whole).max() <= 1


def test_layouts_and_levels_of_one_scene_give_the_same_reflectance(tmp_path, dsen2):
    """SAFE L1C without offset, SAFE L2A with −1000, folder, replicated stack."""
    scene_files.write_folder(tmp_path / "folder", size=120)
    scene_files.write_stack(tmp_path / "stack.tif", size=120)
    old = scene_files.write_safe(tmp_path, level="L1C", baseline="02.06", size=120)
    new = scene_files.write_safe(tmp_path, level="L2A", baseline="05.10", size=120, zipped=True)
    expected, *_ = run(tmp_path / "folder", tmp_path / "o0.tif", dsen2)
    for i, (scene, offset) in enumerate(((tmp_path / "stack.tif", 0), (old, 0), (new, -1000))):
        array, _, names, _, _ = run(scene, tmp_path / f"o{i + 1}.tif", dsen2)
        assert names == TWELVE
        assert np.abs(array.astype(int) + offset - expected).max() <= 1


def test_the_offset_that_was_applied_is_in_the_tags_and_read_again(tmp_path, bicubic):
    product = scene_files.write_safe(tmp_path, level="L2A", baseline="04.00", size=60)
    path = tmp_path / "o.tif"
    run(product, path, bicubic)
    with rasterio.open(path) as dataset:
        assert dataset.tags()["GEOSR_DN_OFFSET"] == "-1000"
        assert dataset.tags()["PROCESSING_LEVEL"] == "L2A"
    assert open_scene(path).bands[0].offset == -1000


@pytest.mark.parametrize("phase", [(0, 0), (1, 1), (3, 4), (5, 2)])
def test_a_stack_off_the_coarse_lattice_keeps_its_own_bounds(tmp_path, bicubic, phase):
    scene_files.write_folder(tmp_path / "folder", size=120)
    scene_files.write_stack(tmp_path / "s.tif", size=120, phase=phase)
    array, profile, *_ = run(tmp_path / "s.tif", tmp_path / "o.tif", bicubic)
    with rasterio.open(tmp_path / "s.tif") as stack:
        assert profile["transform"] == stack.transform
        assert array.shape[1:] == stack.shape
    whole, *_ = run(tmp_path / "folder", tmp_path / "w.tif", bicubic)
    inner = (slice(None), slice(18, -18), slice(18, -18))
    there = whole[:, phase[0] : phase[0] + array.shape[1], phase[1] : phase[1] + array.shape[2]]
    assert np.abs(array[inner].astype(int) - there[inner]).max() <= 1


def test_nodata_is_per_band_and_spreads_no_farther_than_the_margin(scene_dir, tmp_path, dsen2):
    clean, *_ = run(scene_dir, tmp_path / "clean.tif", dsen2)
    scene = copied(scene_dir, tmp_path)
    edit(scene / "20m.tif", lambda v: v.__setitem__((0, slice(28, 32), slice(28, 32)), 0))  # B5
    array, _, names, _, result = run(scene, tmp_path / "o.tif", dsen2)
    hole = np.zeros(array.shape[1:], bool)
    hole[56:64, 56:64] = True
    b5 = names.index("B5")
    assert (array[b5][hole] == 0).all()
    assert (array[b5][~hole] != 0).all()
    others = [i for i in range(12) if i != b5]
    assert (array[others] != 0).all()
    changed = np.argwhere((array != clean).any(0))
    assert changed.min() >= 56 - 18 and changed.max() < 64 + 18
    assert result.filled == 16


def test_an_input_mask_comes_out_as_an_internal_mask_over_untouched_native_bands(
    scene_dir, tmp_path, dsen2
):
    scene = copied(scene_dir, tmp_path)
    for name, k in (("10m", 6), ("20m", 3), ("60m", 1)):
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(scene / f"{name}.tif", "r+") as d,
        ):
            mask = np.ones(d.shape, bool)
            mask[4 * k : 7 * k, 2 * k : 3 * k] = False
            d.write_mask(mask)
    array, _, names, mask, _ = run(scene, tmp_path / "o.tif", dsen2)
    expected = np.ones(mask.shape, bool)
    expected[24:42, 12:18] = False
    np.testing.assert_array_equal(mask > 0, expected)
    assert not list(tmp_path.glob("*.msk"))
    with rasterio.open(scene / "10m.tif") as ten:
        np.testing.assert_array_equal(array[[1, 2, 3, 7]], ten.read())
    made = [i for i, name in enumerate(names) if name not in ("B2", "B3", "B4", "B8")]
    assert (array[made][:, ~expected] == 0).all()
    assert (array[made][:, expected] != 0).all()


def test_saturated_coarse_pixels_come_back_as_65535_and_poison_nothing(scene_dir, tmp_path, dsen2):
    clean, _, names, *_ = run(scene_dir, tmp_path / "clean.tif", dsen2)
    scene = copied(scene_dir, tmp_path)
    edit(scene / "20m.tif", lambda v: v.__setitem__((4, 30, 30), 65535))  # B11
    array, *_ = run(scene, tmp_path / "o.tif", dsen2)
    b11 = names.index("B11")
    full = np.argwhere(array[b11] == 65535)
    np.testing.assert_array_equal(full, np.argwhere(np.pad(np.ones((2, 2)), ((60, 58), (60, 58)))))
    far = np.ones(array.shape[1:], bool)
    far[60 - 18 : 62 + 18, 60 - 18 : 62 + 18] = False
    np.testing.assert_array_equal(array[:, far], clean[:, far])


def test_negative_and_bright_values_survive_in_a_signed_type(tmp_path, bicubic):
    scene_files.write_folder(tmp_path / "s", size=60)
    for name in ("10m", "20m", "60m"):
        path = tmp_path / f"s/{name}.tif"
        with rasterio.open(path) as d:
            values, profile, names = d.read().astype(np.int16), d.profile, d.descriptions
        values[:, :5] = -300
        values[:, 5:] = 15000
        with rasterio.open(path, "w", **(profile | {"dtype": "int16"})) as d:
            d.write(values)
            d.descriptions = names
    array, profile, *_ = run(tmp_path / "s", tmp_path / "o.tif", bicubic)
    assert profile["dtype"] == "int16"
    assert array[4].min() < -300 and array[4].max() > 15000  # bicubic overshoots at the step
    assert array[4, 0, 0] == -300 and array[4, -1, -1] == 15000


def test_out_of_type_values_are_clipped_never_wrapped_and_counted(tmp_path, bicubic):
    scene_files.write_folder(tmp_path / "s", size=60)

    def step(values):
        values[:, :, :10] = 1
        values[:, :, 10:] = 65534

    edit(tmp_path / "s/20m.tif", step)
    array, *_, result = run(tmp_path / "s", tmp_path / "o.tif", bicubic)
    assert result.clipped > 0 and result.shifted > 0
    assert array[4, :, :14].max() == 1  # undershoot: clipped to 0, moved off nodata
    assert array[4, :, 26:].min() >= 65534


def test_float_reflectance_goes_out_as_float_reflectance(scene_dir, tmp_path, dsen2):
    expected, *_ = run(scene_dir, tmp_path / "dn.tif", dsen2)
    scene = copied(scene_dir, tmp_path)
    for path in scene.iterdir():
        with rasterio.open(path) as d:
            values, profile, names = d.read() / np.float32(1e4), d.profile, d.descriptions
        with rasterio.open(path, "w", **(profile | {"dtype": "float32", "predictor": 3})) as d:
            d.write(values.astype(np.float32))
            d.descriptions = names
    array, profile, *_ = run(scene, tmp_path / "o.tif", dsen2)
    assert profile["dtype"] == "float32"
    np.testing.assert_allclose(array * 1e4, expected, atol=0.6)


def test_nan_is_nodata_in_float_files(scene_dir, tmp_path, bicubic):
    scene = copied(scene_dir, tmp_path)
    for path in scene.iterdir():
        with rasterio.open(path) as d:
            values, profile, names = d.read().astype(np.float32), d.profile, d.descriptions
        if path.name == "20m.tif":
            values[2, 10, 10] = np.nan
        profile |= {"dtype": "float32", "predictor": 3, "nodata": np.nan}
        with rasterio.open(path, "w", **profile) as d:
            d.write(values)
            d.descriptions = names
    array, profile, *_ = run(scene, tmp_path / "o.tif", bicubic)
    assert np.isnan(profile["nodata"])
    np.testing.assert_array_equal(
        np.argwhere(np.isnan(array)), [[6, r, c] for r in (20, 21) for c in (20, 21)]
    )


def test_no_60_m_bands_means_only_the_20_m_net_and_a_note(tmp_path, dsen2):
    scene_files.write_folder(tmp_path / "s", size=60)
    (tmp_path / "s/60m.tif").unlink()
    scene = open_scene(tmp_path / "s")
    plan = make_plan(scene, dsen2, Request())
    assert [model.card.name for model in plan.models] == ["dsen2-20"]
    assert any("dsen2-60 is not run" in note for note in plan.notes)
    assert plan.names == tuple(n for n in TWELVE if n not in ("B1", "B9"))


def test_every_net_is_given_as_much_around_a_tile_as_it_looks(scene_dir):
    nets = [net for name in ("dsen2-ps-20", "dsen2-ps-60") for net in weights.load(name)]
    plan = make_plan(open_scene(scene_dir), nets, Request())
    for net in plan.nets:  # in coarsest pixels, six of 10 m
        assert net.pad == math.ceil(net.model.card.margin / 6)
    assert plan.pad == max(net.pad for net in plan.nets)
    plan = make_plan(open_scene(scene_dir), nets, Request(overlap=100))
    assert {net.pad for net in plan.nets} == {plan.pad} == {17}


def test_one_net_makes_only_its_bands(scene_dir, dsen2):
    plan = make_plan(open_scene(scene_dir), dsen2[1:], Request())
    assert plan.names == ("B1", "B2", "B3", "B4", "B8", "B9")
    assert any("no chosen net makes B5" in note for note in plan.notes)


def test_b10_is_left_out_and_said_so(tmp_path, bicubic):
    product = scene_files.write_safe(tmp_path, level="L1C", size=60)
    plan = make_plan(open_scene(product), bicubic, Request())
    assert "B10" not in plan.names
    assert any("B10" in note for note in plan.notes)


def test_bands_that_cannot_be_given_are_an_error_that_says_what_can(scene_dir, dsen2):
    with pytest.raises(SceneError, match="cannot give B5 .*can give: B1 B2"):
        make_plan(open_scene(scene_dir), dsen2[1:], Request(bands=("B5", "B1")))


def test_a_blank_tile_costs_no_pass_through_the_net(tmp_path, dsen2):
    scene_files.write_folder(tmp_path / "s", size=120)
    edit(tmp_path / "s/20m.tif", lambda v: v.__setitem__((slice(None), slice(0, 30)), 0))
    scene = open_scene(tmp_path / "s")
    calls = []
    hook = dsen2[0].net.register_forward_hook(lambda *_: calls.append(1))
    try:
        array = tiled(scene, dsen2[:1], 60)
    finally:
        hook.remove()
    assert len(calls) == 2  # of four tiles
    assert not array[:, :60].any() and array[:, 60:].any()


def test_bands_that_cannot_be_given_name_all_that_can(scene_dir, bicubic):
    scene = open_scene(scene_dir)
    asked = ({"bands": ("B10",)}, {"bands": ("B10", "B2")}, {"bands": ("B2",), "only_sr": True})
    for request, first in zip(asked, ("B1 B2 B3", "B1 B2 B3", "B1 B5 B6"), strict=True):
        with pytest.raises(SceneError, match=f"can give: {first} .* B11 B12"):
            make_plan(scene, bicubic, Request(**request))


def declare(path: Path, nodata, change=lambda values: None):
    """Declare a raster's nodata value, and change its pixels in place."""
    edit(path, change)
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = nodata


def test_files_with_other_nodata_values_give_an_output_with_one(scene_dir, tmp_path, bicubic):
    source = copied(scene_dir, tmp_path)

    def hole(values):
        values[0, 5:8, 5:8] = 65535

    declare(source / "10m.tif", 7)
    declare(source / "20m.tif", 65535, hole)
    array, profile, names, *_ = run(source, tmp_path / "o.tif", bicubic)
    assert profile["nodata"] == 7
    empty = array[names.index("B5")] == 7
    assert empty[10:16, 10:16].all() and empty.sum() == 36
    assert not (array == 65535).any() and not (array[names.index("B6")] == 7).any()


def test_copied_bands_with_several_nodata_values_are_refused(tmp_path, bicubic):
    source = scene_files.write_folder(tmp_path / "in", size=12, per_band=True)
    declare(next(source.glob("*_B03.tif")), 9)
    with pytest.raises(SceneError, match=r"several nodata values \(B2: 0, B3: 9\)"):
        run(source, tmp_path / "o.tif", bicubic)
    array, *_ = run(source, tmp_path / "p.tif", bicubic, only_sr=True)
    assert len(array) == 8


def test_bounds_are_snapped_outward_and_see_beyond_themselves(scene_dir, tmp_path, dsen2):
    whole, profile, *_ = run(scene_dir, tmp_path / "w.tif", dsen2)
    left, top = profile["transform"].c, profile["transform"].f
    bounds = (left + 305, top - 700, left + 410, top - 245)
    array, part, *_ = run(scene_dir, tmp_path / "o.tif", dsen2, bounds=bounds)
    assert part["transform"] == Affine(10, 0, left + 300, 0, -10, top - 240)
    assert array.shape[1:] == (48, 12)
    assert np.abs(array.astype(int) - whole[:, 24:72, 30:42]).max() <= 1


def test_bounds_elsewhere_are_refused(scene_dir, bicubic):
    with pytest.raises(SceneError, match="does not touch"):
        make_plan(open_scene(scene_dir), bicubic, Request(bounds=(0, 0, 10, 10)))


@pytest.mark.parametrize("crs", [None, "EPSG:4326"])
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_bounds_that_are_no_numbers_are_refused(scene_dir, bicubic, crs, odd):
    request = Request(bounds=(odd, 0, 10, 10), bounds_crs=crs)
    with pytest.raises(UsageError, match=f"--bounds {odd} 0 10 10: four finite numbers"):
        make_plan(open_scene(scene_dir), bicubic, request)


def test_two_nets_for_one_band_are_refused_where_it_is_wanted(scene_dir, bicubic, dsen2):
    scene = open_scene(scene_dir)
    with pytest.raises(UsageError, match=r"bicubic-20, dsen2-20 make the same bands \(B5 B6"):
        make_plan(scene, [*bicubic, *dsen2], Request())
    with pytest.raises(UsageError, match=r"bicubic-60, dsen2-60 make the same bands \(B1 B9\)"):
        make_plan(scene, [*bicubic, *dsen2], Request(bands=("B1",)))
    assert make_plan(scene, [bicubic[0], dsen2[1]], Request()).names == TWELVE


def test_low_precision_stays_close(scene_dir, tmp_path, dsen2):
    scene = open_scene(scene_dir)
    plan = make_plan(scene, dsen2, Request(only_sr=True))
    made = {}
    for precision in ("fp32", "bf16"):
        with scene.open() as reader:
            parts = list(strips(reader, plan, Engine(precision=precision)))
        made[precision] = np.stack([parts[0].predicted[name] for name in plan.names])
    residual = made["fp32"] - tiled(scene, weights.load("bicubic"), 10**6)
    difference = np.abs(made["bf16"] - made["fp32"])
    assert 0 < difference.mean() < 0.01 * np.abs(residual).mean() + 0.5


def test_dn_offset_as_asked_reaches_the_net(scene_dir, tmp_path, dsen2):
    plain, *_ = run(scene_dir, tmp_path / "a.tif", dsen2)
    moved, *_ = run(scene_dir, tmp_path / "b.tif", dsen2, OpenOptions(dn_offset=-1000))
    assert (plain != moved).any()
    np.testing.assert_array_equal(plain[[1, 2, 3, 7]], moved[[1, 2, 3, 7]])


def test_a_net_that_gives_no_numbers_fails_the_scene_and_writes_nothing(scene_dir, tmp_path):
    nets = random_nets("dsen2-20")
    nets[0].net.tail.bias.data[2] = float("nan")
    with pytest.raises(SceneError, match="dsen2-20 gave NaN or Inf"):
        run(scene_dir, tmp_path / "o.tif", nets)
    assert not list(tmp_path.iterdir())
