"""Both ways make the same pixels; every number is there and finite; nothing is left behind."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import rasterio
import torch

from geosr.bench import comparison
from geosr.bench.bench import bench, compare, flops
from geosr.bench.landscape import generate
from geosr.bench.limits import Ceilings, ceilings, matrix_product
from geosr.bench.meter import STAGES, Meter
from geosr.bench.reference import ReferenceTiles, reference_predict, reference_superres
from geosr.errors import SceneError, UsageError
from geosr.inference import strips, superres
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.models import registry, weights
from geosr.models.card import Model
from geosr.sensors import OpenOptions, open_scene


def thin(name: str) -> Model:
    """A net of the registry with few features; every pixel within its reach adds to its output."""
    torch.manual_seed(0)
    card = replace(registry.design(name).card(), options={"features": 4, "blocks": 6})
    made = registry.build(card)
    for p in made.net.parameters():
        p.data = p.data.abs()
    tile = {item.gsd: torch.full((1, len(item.bands), 720 // item.gsd, 720 // item.gsd), 2000.0)
            for item in card.inputs}  # fmt: skip
    with torch.no_grad():
        made.net.tail.weight *= 2000 / made(tile).mean()
    made.net.eval()
    return made


@pytest.fixture
def known_ceilings(monkeypatch):
    """Ceilings that take no time to measure."""
    known = Ceilings({"fp32": 1.0, "bf16": 1.0, "fp16": 1.0}, 1.0, 1.0)
    monkeypatch.setattr("geosr.bench.bench.ceilings", lambda *_: known)


def finite(value) -> bool:
    """Whether every number in a document is one."""
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def test_one_run_tells_everything_and_leaves_nothing(program, tmp_path):
    (tmp_path / "work").mkdir()
    done = program("bench", "--model", "bicubic", "--size", 122, "--threads", 1, "--dst", "work",
                   "--repeat", 2, "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert not list((tmp_path / "work").iterdir())
    assert set(told) == {
        "versions", "machine", "scene", "shape", "bands", "models", "repeat", "ceilings",
        "reference", "geosr", "ratio", "net_ratio", "agreement",
    }  # fmt: skip
    assert {"geosr", "torch", "gdal"} <= set(told["versions"])
    assert told["machine"]["threads"] == 1 and told["machine"]["cpu"]
    assert told["shape"] == [120, 120] and len(told["bands"]) == 12
    assert told["models"] == ["bicubic-20", "bicubic-60"]
    assert set(told["ceilings"]["tflop_per_s"]) == {"fp32", "bf16", "fp16"}
    assert finite(told) and min(told["ceilings"]["tflop_per_s"].values()) > 0
    assert told["ceilings"]["copy_gb_per_s"] > 0 and told["ceilings"]["disk_mb_per_s"] > 0
    for way in (told["reference"], told["geosr"]):
        assert tuple(way["stages"]) == STAGES and min(way["stages"].values()) >= 0
        assert all(way["stages"][name] > 0 for name in STAGES if name != "wait")
        assert len(way["runs"]) == 2 and way["seconds"] == min(way["runs"])
        assert way["mpixel_per_s"] == pytest.approx(0.0144 / way["seconds"])
        assert 0 <= way["share"] < 10 and way["ceiling"] in ("fp32", "bf16")
        assert way["peak_rss_mb"] > 50 and way["peak_device_mb"] is None
    assert (told["reference"]["tiles"], told["geosr"]["tiles"]) == (4 + 1, 2)
    assert told["ratio"] == pytest.approx(told["reference"]["seconds"] / told["geosr"]["seconds"])
    assert told["agreement"] == {"share": 1.0, "largest": 0.0, "elsewhere": 0.0}


def test_a_table_names_both_ways_and_the_ceilings(geosr, tmp_path, known_ceilings):
    done = geosr("bench", "--model", "bicubic", "--scale", 2, "--size", 60, "--dst", tmp_path, "-q")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    text = done.stdout
    for said in ("ceilings: fp32 ", "reference / geosr", "end to end, s", "Mpixel/s", "  blend, s",
                 "120 × 120 px, 1 bands; bicubic", "batches of 1; fp32, as auto takes here",
                 "tiles of 128 px, border 8"):  # fmt: skip
        assert said in text, text


@pytest.mark.parametrize(
    "name, tiles, share, least", [("dsen2-20", 9, 25 / 36, 2), ("dsen2-60", 4, 0.855625, 0)]
)
def test_pixels_are_the_same_where_the_reference_reads_all_that_a_net_sees(
    tmp_path, name, tiles, share, least
):
    net = thin(name)
    scene = open_scene(generate(tmp_path / "scene", 240))
    plan = make_plan(scene, [net], Request())
    meter = Meter()
    reference_superres(plan, tmp_path / "reference.tif", {net.card.name: net}, "cpu", meter)
    superres.superres(scene, tmp_path / "geosr.tif", [net])
    apart = compare(plan, tmp_path / "reference.tif", tmp_path / "geosr.tif")
    assert apart.share == pytest.approx(share)
    assert apart.largest <= 1 and apart.elsewhere >= least
    assert sum(meter.tiles.values()) == tiles
    with (
        rasterio.open(tmp_path / "reference.tif") as theirs,
        rasterio.open(tmp_path / "geosr.tif") as ours,
    ):
        assert theirs.descriptions == ours.descriptions and theirs.dtypes == ours.dtypes
        assert theirs.transform == ours.transform and theirs.crs == ours.crs
        for index in (theirs.descriptions.index(band) + 1 for band in ("B2", "B3", "B4", "B8")):
            assert np.array_equal(theirs.read(index), ours.read(index))


def test_the_reference_takes_the_published_tiles():
    twenty, sixty = (ReferenceTiles.of(registry.design(f"dsen2-{gsd}").card()) for gsd in (20, 60))
    assert len(twenty.starts(300)) ** 2 == 36 and len(sixty.starts(100)) ** 2 == 16
    assert twenty.starts(300)[-2:] == [224, 244]
    assert twenty.starts(56) == [0] and twenty.starts(5) == [0]


def test_where_the_border_is_short_pixels_near_seams_are_not_sure():
    card = registry.design("dsen2-20").card()
    sure = ReferenceTiles.of(card).sure(300, card)
    # the last tile, from 488 on, covers a part of the one before that is far from its end
    unsure = [(0, 8), (104, 120), (216, 232), (328, 344), (440, 456), (488, 496), (592, 600)]
    assert card.margin == 16
    expected = np.ones(600, bool)
    for first, last in unsure:
        expected[first:last] = False
    assert np.array_equal(sure, expected)
    bicubic = registry.design("bicubic-20").card()
    assert ReferenceTiles.of(bicubic).sure(300, bicubic).all()


def test_the_reference_covers_scenes_smaller_than_a_tile():
    net = registry.build(registry.design("bicubic-20").card())
    made = reference_predict(net, {20: np.full((6, 3, 70), 1500, np.float32)})
    assert made.shape == (6, 6, 140)
    np.testing.assert_allclose(made, 1500, rtol=1e-6)


def test_flops_are_twice_the_multiply_adds_of_every_convolution():
    net = registry.build(registry.design("dsen2-20").card())
    shapes = ((10, (4, 64, 48)), (20, (6, 32, 24)))
    weights_ = sum(p.numel() for p in net.net.parameters() if p.dim() == 4)
    assert flops(net, shapes) == 2 * weights_ * 64 * 48


def test_a_meter_gives_nested_time_to_the_inner_stage_and_none_twice():
    meter = Meter()
    with meter.stage("blend"):
        for _ in meter.each("net", (sum(range(20000)) for _ in range(20))):
            pass
    total = meter.book()
    assert sum(meter.seconds.values()) == pytest.approx(total, rel=1e-9)
    assert meter.seconds["net"] > meter.seconds["blend"] > 0 == meter.seconds["write"]


def test_the_pipeline_is_as_it_was_after_a_run(tmp_path, known_ceilings):
    before = strips.predict, strips.Blender, superres.strips, superres.create
    (net,) = weights.load("bicubic-20")
    report = bench([net], Engine(), folder=tmp_path, size=60)
    assert (strips.predict, strips.Blender, superres.strips, superres.create) == before
    assert report.models == ("bicubic-20",) and not list(tmp_path.iterdir())


def test_a_scene_of_ones_own_is_measured_and_left_alone(scene_dir, tmp_path, known_ceilings):
    before = {path: path.read_bytes() for path in scene_dir.iterdir()}
    report = bench([thin("dsen2-20")], Engine(precision="bf16"), folder=tmp_path, path=scene_dir)
    assert report.scene == str(scene_dir) and report.geosr.ceiling == "bf16"
    assert report.reference.ceiling == "fp32" and 0 < report.geosr.share < 10
    assert report.geosr.taken.endswith("bf16, as asked")
    assert {path: path.read_bytes() for path in scene_dir.iterdir()} == before


def test_a_generated_scene_is_the_same_every_time_and_repeats_mirrored(tmp_path):
    generate(tmp_path / "one", 60)
    generate(tmp_path / "two", 60)
    generate(tmp_path / "large", 1200)
    for name, side in (("10m.tif", 60), ("20m.tif", 30), ("60m.tif", 10)):
        with rasterio.open(tmp_path / "one" / name) as one, rasterio.open(
            tmp_path / "two" / name
        ) as two, rasterio.open(tmp_path / "large" / name) as large:  # fmt: skip
            pixels = one.read()
            assert pixels.shape[1:] == (side, side) and pixels.std() > 50
            assert np.array_equal(pixels, two.read())
            more = large.read()
            assert more.shape[1] == 20 * side
            end = 1098 * side // 60
            assert np.array_equal(more[:, end], more[:, end - 1])
    assert generate(tmp_path / "any", 12, {10: ("1",)}).name == "10m.tif"


def test_what_cannot_be_measured_is_said(geosr, scene_dir, tmp_path):
    several = registry.build(registry.design("rams").card())
    with pytest.raises(UsageError, match="'rams' takes several"):
        bench([several], Engine(), folder=tmp_path)
    done = geosr("bench", "--model", "rams")
    assert done.returncode == 2 and "'rams' takes several" in done.stderr
    done = geosr("bench", "--scene", scene_dir, "--size", 60)
    assert done.returncode == 2 and "Give --scene or --size" in done.stderr
    missing = tmp_path / "none"
    done = geosr("bench", "--scene", missing, "--model", "bicubic", "--dst", missing)
    assert done.returncode == 3 and "no such file" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_scene_without_pixels_and_one_kept_on_another_grid_are_refused(tmp_path):
    (net,) = weights.load("bicubic-20")
    folder = generate(tmp_path / "empty", 60)
    for path in folder.iterdir():
        with rasterio.open(path, "r+") as file:
            file.write(np.zeros((file.count, *file.shape), np.uint16))
    with pytest.raises(SceneError, match="holds no pixels"):
        bench([net], Engine(), folder=tmp_path, path=folder)
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
    stack = generate(tmp_path / "stack", 60, {10: names})
    with pytest.raises(UsageError, match="on their own grid"):
        bench([net], Engine(), folder=tmp_path, path=stack)


def test_a_net_for_any_raster_takes_128_pixels_of_the_image_at_a_time(tmp_path):
    net = registry.build(registry.design("bicubic").card(scale=3))
    path = generate(tmp_path / "image", 240, {10: ("1", "2")})
    scene = open_scene(path, OpenOptions(kind="image"))
    plan, meter = make_plan(scene, [net], Request()), Meter()
    reference_superres(plan, tmp_path / "reference.tif", {net.card.name: net}, "cpu", meter)
    superres.superres(scene, tmp_path / "geosr.tif", [net])
    assert meter.tiles == {("bicubic", ((3, (1, 128, 128)),)): 2 * 9}
    apart = compare(plan, tmp_path / "reference.tif", tmp_path / "geosr.tif")
    assert apart.share == 1 and apart.largest <= 1


def test_ceilings_stay_within_their_time_and_remove_their_file(tmp_path, monkeypatch):
    assert matrix_product("cpu", torch.float32, budget=0.05) > 0
    monkeypatch.setattr("geosr.bench.limits.matrix_product", lambda *_: 2e12)
    limits = ceilings("cpu", tmp_path)
    assert limits.tflop_per_s == {"fp32": 2.0, "bf16": 2.0, "fp16": 2.0}
    assert not list(tmp_path.iterdir())


def test_models_are_compared_in_one_table(program, tmp_path):
    models = "--model", "bicubic", "--model", "bicubic-20"
    done = program("bench", "--compare", *models, "--size", 60, "--threads", 1, "--dst", ".")
    assert done.returncode == 0, done.stderr
    heads, rule, *rows = done.stdout.split("\n\n")[0].splitlines()
    assert [row.split("|")[1].strip() for row in rows] == [
        "`--model bicubic`", "`--model bicubic-20`"
    ]  # fmt: skip
    assert len({line.count("|") for line in (heads, rule, *rows)}) == 1
    assert "60 × 60 px, 12 bands, generated" in done.stdout
    assert not [path for path in tmp_path.iterdir() if "bench" in path.name]


def test_a_run_that_fails_among_several_is_named(program):
    done = program("bench", "--compare", "--model", "ibp-net", "--size", 60, "--dst", ".")
    assert done.returncode not in (0, 1)
    assert "takes several" in done.stderr and "--model ibp-net" in done.stderr


def test_the_ratio_to_the_published_way_is_that_of_dsen2():
    def report(models, reference, own):
        way = {"seconds": own, "mpixel_per_s": 1.2 / own, "share": 0.5, "ceiling": "fp32",
               "peak_rss_mb": 1500.0, "peak_device_mb": None}  # fmt: skip
        return {
            "models": models, "reference": {"seconds": reference}, "geosr": way, "ratio": 1.0,
            "ceilings": {"tflop_per_s": {"fp32": 0.2}}, "scene": "generated", "bands": ["B1"],
            "machine": {"cpu": "a", "threads": 2, "gpu": None}, "shape": [1098, 1098],
            "versions": {"torch": "2", "gdal": "3"},
        }  # fmt: skip

    said = comparison.table({
        "--model a": report(["dsen2-ps-20", "dsen2-ps-60"], 14.0, 6.0),
        "--model dsen2": report(["dsen2-20", "dsen2-60"], 60.0, 30.0),
    })  # fmt: skip
    first, second = said.splitlines()[2:4]
    assert [cell.strip() for cell in first.split("|")[3:8]] == ["6.0 s", "1.00", "10.0", "5.00",
                                                                "603"]  # fmt: skip
    assert second.split("|")[5].strip() == "2.0" and "1.50 GB" in second
