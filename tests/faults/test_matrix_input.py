"""Faults of inputs that no other file injects: what is damaged, odd, huge, or changes."""

import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import scene_files
from conftest import settings
from faulty import BICUBIC, fails, left
from rasterio import Affine

from geosr.inference import superres
from geosr.models import registry, weights
from geosr.models.card import Model
from geosr.raster.grid import Grid

CORNER = Affine.translation(399960, 5600040)
HEAD = struct.Struct("<4sIH")  # of a TIFF, with the number of entries
ENTRY = struct.Struct("<HHII")


@pytest.fixture
def stack(tmp_path) -> Path:
    """A stack of 12 pixels."""
    return scene_files.write_stack(tmp_path / "in/a.tif", size=12)


def rewrite(path: Path, target: Path | None = None, change=lambda values: values, **profile):
    """The raster again, with other values or another profile."""
    with rasterio.open(path) as dataset:
        values, names = change(dataset.read()), dataset.descriptions
        found = dataset.profile | {"height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(target or path, "w", **(found | profile)) as dataset:
        dataset.write(values.astype(dataset.dtypes[0]))
        dataset.descriptions = names
    return target or path


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


# damage


def test_half_an_uncompressed_file_fails_with_block_and_cause(geosr, stack, tmp_path):
    rasterio.shutil.copy(stack, tmp_path / "raw.tif", compress="none", tiled="no")
    raw = (tmp_path / "raw.tif").read_bytes()
    stack.write_bytes(raw[: len(raw) // 2])
    done = fails(geosr("superres", "in", "out", *BICUBIC), 4, "in/a.tif at rows 0+12, cols 0+12")
    assert "offset" in done.stderr or "Read error" in done.stderr  # GDAL's own words
    assert left(tmp_path / "out") == []


def test_a_bit_flip_under_deflate_fails_the_scene(geosr, tmp_path):
    scene = scene_files.write_folder(tmp_path / "in/a", size=120)
    path = scene / "20m.tif"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    fails(geosr("superres", "in", "out", *BICUBIC), 4, "cannot decode in/a/20m.tif")
    assert left(tmp_path / "out") == []


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda p: next(p.glob("GRANULE/*/IMG_DATA/*_B8A.jp2")).unlink(), "lacks B8A (found: B1"),
        (lambda p: next(p.glob("GRANULE/*/IMG_DATA/*_B11.jp2")).write_bytes(b""), "_B11.jp2"),
        (lambda p: (p / "MTD_MSIL1C.xml").rename(p / "MTD.xml"), "no SAFE metadata"),
        (lambda p: [file.unlink() for file in p.rglob("*.jp2")], "no band images"),
    ],
    ids=["band", "empty", "metadata", "images"],
)
def test_broken_products_fail_by_themselves(geosr, tmp_path, damage, said):
    damage(scene_files.write_safe(tmp_path / "in", size=12))
    fails(geosr("superres", "in", "out", *BICUBIC), 4, said)
    assert left(tmp_path / "out") == []


def listed(product: Path, algorithm: str) -> None:
    """Give a product its manifest."""
    files = "".join(
        f'<byteStream><fileLocation href="./{file.relative_to(product)}"/>'
        f'<checksum checksumName="{algorithm}">{digest(file, algorithm)}</checksum></byteStream>'
        for file in product.rglob("*.jp2")
    )
    (product / "manifest.safe").write_text(f"<XFDU>{files}</XFDU>")


def digest(file: Path, algorithm: str) -> str:
    return hashlib.new(algorithm.lower().replace("-", "_"), file.read_bytes()).hexdigest().upper()


@pytest.mark.parametrize("algorithm", ["MD5", "SHA3-256"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_products_own_checksums_find_what_reading_does_not(geosr, tmp_path, algorithm, packed):
    for folder in ("good", "bad"):
        product = scene_files.write_safe(tmp_path / folder, size=12)
        listed(product, algorithm)
        if folder == "bad":  # a whole image, but another
            b3, b2 = (next(product.glob(f"GRANULE/*/IMG_DATA/*_{n}.jp2")) for n in ("B03", "B02"))
            shutil.copy(b3, b2)
        if packed:
            shutil.make_archive(str(product), "zip", product.parent, product.name)
            shutil.rmtree(product)
    fails(geosr("superres", "good", "out", *BICUBIC, "--check-inputs"), 0)
    said = f"_B02.jp2 is damaged: its {algorithm.lower().replace('-', '_')} is"
    done = fails(geosr("superres", "bad", "bad.tif", *BICUBIC, "--check-inputs"), 4, said)
    assert "manifest.safe says" in done.stderr and not (tmp_path / "bad.tif").exists()
    fails(geosr("superres", "bad", "bad.tif", *BICUBIC), 0)  # nobody else can know


def test_a_listed_image_that_is_gone_is_named(geosr, tmp_path):
    product = scene_files.write_safe(tmp_path / "in", size=12)
    listed(product, "MD5")
    text = (product / "manifest.safe").read_text()
    lost = text.replace("IMG_DATA/", "IMG_DATA/lost/", 1)
    (product / "manifest.safe").write_text(lost)
    fails(geosr("superres", "in", "out", *BICUBIC, "--check-inputs"), 4, "cannot read", "lost/")


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_checksums_beside_files_are_compared(geosr, stack, tmp_path, algorithm):
    check = ("superres", "in", "out", *BICUBIC, "--check-inputs")
    beside = stack.with_name(f"a.tif.{algorithm}")
    beside.write_text(f"{digest(stack, algorithm)}  a.tif\n")
    fails(geosr(*check), 0)
    for text in ("0" * 64, ""):
        beside.write_text(text)
        fails(geosr(*check, "--overwrite", "--dn-offset", "1"), 4, "is damaged", beside.name)


def test_inputs_without_checksums_are_told(geosr, stack, tmp_path):
    done = fails(geosr("superres", "in", "out", *BICUBIC, "--check-inputs"), 0)
    assert "no checksums came with it" in done.stderr and "1 done" in done.stderr


def test_a_product_does_without_its_masks(geosr, tmp_path):
    product = scene_files.write_safe(tmp_path / "in", size=12, baseline="05.10")
    for folder in product.glob("GRANULE/*/QI_DATA"):
        shutil.rmtree(folder)
    fails(geosr("superres", "in", "out", *BICUBIC), 0)


def test_products_of_both_baselines_give_the_same_reflectance(geosr, tmp_path):
    for folder, baseline in (("old", "03.01"), ("new", "04.00")):
        scene_files.write_safe(tmp_path / folder, size=60, baseline=baseline)
        fails(geosr("superres", folder, f"{folder}.tif", *BICUBIC), 0)
    old, new = (read(tmp_path / f"{name}.tif").astype(int) for name in ("old", "new"))
    assert np.abs(new - 1000 - old).max() <= 1
    with rasterio.open(tmp_path / "new.tif") as dataset:
        assert dataset.tags()["GEOSR_DN_OFFSET"] == "-1000"


@pytest.mark.parametrize(
    "right, wrong, said",
    [(">10000<", ">0<", "QUANTIFICATION_VALUE"), (">10000<", ">-1<", "QUANTIFICATION_VALUE"),
     (">10000<", ">inf<", "QUANTIFICATION_VALUE"), ('"4">-1000<', '"4">nan<', "ADD_OFFSET")],
)  # fmt: skip
def test_calibrations_that_cannot_be_fail_by_name(geosr, tmp_path, right, wrong, said):
    product = scene_files.write_safe(tmp_path / "in", size=12, baseline="04.00")
    text = (product / "MTD_MSIL1C.xml").read_text()
    (product / "MTD_MSIL1C.xml").write_text(text.replace(right, wrong))
    fails(geosr("superres", "in", "out", *BICUBIC), 4, said)


@pytest.mark.parametrize("option", ["--quantification", "--dn-offset"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_calibrations_that_cannot_be_asked_for(geosr, stack, option, value):
    fails(geosr("superres", "in", "out", *BICUBIC, f"{option}={value}"), 2, value)


# where pixels lie


@pytest.mark.parametrize(
    "transform",
    [
        CORNER @ Affine.rotation(30) @ Affine.scale(10, -10),
        CORNER @ Affine(10, 2, 0, 1, -10, 0),
        CORNER @ Affine.scale(10, 10),
    ],
    ids=["rotated", "sheared", "south up"],
)
def test_turned_scenes_keep_their_corners(geosr, tmp_path, transform):
    stack = scene_files.write_stack(tmp_path / "in/a.tif", size=12)
    rewrite(stack, transform=transform)
    fails(geosr("superres", "in", "out", *BICUBIC), 0)
    with rasterio.open(tmp_path / "out/a.tif") as made, rasterio.open(stack) as sensed:
        assert Grid.of(made).bounds == pytest.approx(Grid.of(sensed).bounds)
        assert (made.crs, made.shape) == (sensed.crs, sensed.shape)
        assert made.transform.almost_equals(transform)


@pytest.fixture
def nowhere(stack) -> Path:
    """A stack without a CRS or a place."""
    return rewrite(stack, crs=None, transform=Affine.identity())


def test_a_scene_without_a_place_gives_one_without(geosr, nowhere, tmp_path):
    fails(geosr("superres", "in", "out", *BICUBIC), 0)
    with rasterio.open(tmp_path / "out/a.tif") as dataset:
        assert dataset.crs is None and dataset.transform.is_identity


def test_a_scene_without_a_place_is_no_noise_under_cron(program, nowhere):
    done = program("superres", "in", "out", *BICUBIC, "-q")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_missing_crs_is_said(geosr, nowhere):
    assert "no CRS" in geosr("superres", "in", "out", *BICUBIC).stderr


def test_a_60_m_grid_of_another_ratio_is_refused_with_both(geosr, tmp_path):
    scene = scene_files.write_folder(tmp_path / "in/a", size=60)
    with rasterio.open(scene / "20m.tif", "r+") as dataset:
        dataset.transform = dataset.transform @ Affine.scale(1.025)
    done = fails(geosr("superres", "in", "out", *BICUBIC), 4, "does not nest", "px of 20.5 from")
    assert "px of 10 from" in done.stderr


@pytest.mark.parametrize("height, width", [(1, 1), (1, 7), (13, 1), (7, 11)])
def test_stacks_of_any_size_keep_it(geosr, stack, tmp_path, height, width):
    values = np.pad(read(stack), ((0, 0), (0, 6), (0, 6)), "symmetric")
    rewrite(stack, change=lambda _: values[:, :height, :width])
    fails(geosr("superres", "in", "out", *BICUBIC), 0)
    made = read(tmp_path / "out/a.tif")
    assert made.shape == (12, height, width)
    np.testing.assert_array_equal(made[[1, 2, 3, 7]], values[[1, 2, 3, 7], :height, :width])


# pixels without a number


@pytest.fixture
def counted(tmp_path, monkeypatch) -> list[int]:
    """Of a thin net in net.safetensors, a number for every pass."""
    card = replace(registry.design("dsen2-20").card(), options={"features": 8, "blocks": 1})
    weights.save(tmp_path / "net.safetensors", card, registry.build(card).net.state_dict())
    passes, forward = [], Model.__call__
    monkeypatch.setattr(
        "geosr.models.memory.per_pixel", lambda *_: 4096.0
    )  # which takes a trial pass
    monkeypatch.setattr(
        Model, "__call__", lambda self, inputs: (passes.append(1), forward(self, inputs))[1]
    )
    return passes


def test_a_scene_that_nobody_sensed_costs_no_pass(geosr, stack, tmp_path, counted):
    net = ("--model", "net.safetensors")
    fails(geosr("superres", "in", "full", *net), 0)
    assert counted
    counted.clear()
    rewrite(stack, change=np.zeros_like)
    fails(geosr("superres", "in", "out", *net), 0)
    assert not counted and not read(tmp_path / "out/a.tif").any()


def test_a_scene_that_nobody_sensed_is_said_to_be_so(geosr, stack):
    rewrite(stack, change=np.zeros_like)
    assert "0 % valid" in geosr("superres", "in", "out", *BICUBIC).stderr


def test_a_scene_that_nobody_sensed_may_be_left_out(geosr, stack, tmp_path):
    scene_files.write_stack(stack.with_name("b.tif"), size=12)
    rewrite(stack, change=np.zeros_like)
    for _ in range(2):
        done = fails(geosr("superres", "in", "out", *BICUBIC, "--skip-empty", "--json"), 0)
        assert "nothing of it was sensed" in done.stderr
        assert json.loads(done.stdout.splitlines()[0])["status"] == "skipped"
        assert left(tmp_path / "out") == ["b.geosr.json", "b.tif"]
    assert "2 skipped" in done.stderr


def test_one_pixel_without_a_number_leaves_the_rest_alone(geosr, tmp_path):
    stack = scene_files.write_stack(tmp_path / "in/a.tif", size=60)
    rewrite(stack, dtype="float32", predictor=3, nodata=float("nan"),
            change=lambda values: values.astype("float32"))  # fmt: skip
    fails(geosr("superres", "in", "whole", *BICUBIC), 0)

    def hole(values):
        values[:, 24:30, 24:30] = np.nan
        return values

    rewrite(stack, change=hole)
    fails(geosr("superres", "in", "out", *BICUBIC), 0)
    whole, made = read(tmp_path / "whole/a.tif"), read(tmp_path / "out/a.tif")
    assert np.isnan(made[:, 24:30, 24:30]).all() and np.isnan(made).sum() == 12 * 36
    far = np.ones((60, 60), bool)
    far[6:48, 6:48] = False
    np.testing.assert_allclose(made[:, far], whole[:, far], atol=1)


# too much


def huge(path: Path) -> None:
    """Half a megabyte that says it is 3.5 TB."""
    with rasterio.open(
        path, "w", driver="GTiff", width=400_000, height=400_000, count=12, dtype="uint16",
        tiled=True, blockxsize=2048, blockysize=2048, compress="deflate", sparse_ok=True,
        bigtiff="yes", crs="EPSG:32633", transform=CORNER @ Affine.scale(10, -10),
    ):  # fmt: skip
        pass


def one_block(path: Path, height: int = 60_000, width: int = 100_000) -> None:
    """122 bytes that say they are one strip of 12 GB a band."""
    facts = {256: width, 257: height, 258: 16, 259: 1, 262: 1, 273: 8, 277: 12, 278: height,
             279: 4}  # fmt: skip
    entries = b"".join(ENTRY.pack(tag, 4, 1, value) for tag, value in facts.items())
    path.write_bytes(HEAD.pack(b"II*\0", 8, len(facts)) + entries + bytes(4))


def bomb(path: Path, side: int = 12_288) -> None:
    """A few hundred kilobytes that are one tile of 300 MB."""
    with rasterio.open(
        path, "w", driver="GTiff", width=side, height=side, count=12, dtype="uint16", tiled=True,
        blockxsize=side, blockysize=side, compress="deflate", interleave="band", sparse_ok=True,
        crs="EPSG:32633", transform=CORNER @ Affine.scale(10, -10),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((side, side), "uint16"), 1)


LOOK = """
import resource, sys, time
from pathlib import Path
from geosr.batch import batch
from geosr.batch.job import Job
from geosr.models import weights
job, begun = Job(weights.load("bicubic")), time.monotonic()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
outcome = batch.attempt(Path("in/a.tif"), Path("out/a.tif"), job)
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(outcome.status, outcome.code, grown // 1024, int(time.process_time()))
print(outcome.message)
"""


def little() -> None:
    """At most 6 GB and 20 seconds."""
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def looked_at(tmp_path: Path) -> tuple[str, int, int, int, str]:
    """Status, code, MB that it took, seconds and message of in/a.tif, made with little."""
    (tmp_path / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LOOK], cwd=tmp_path, env=settings({"OMP_NUM_THREADS": "1"}),
        capture_output=True, text=True, preexec_fn=little,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told, message = done.stdout.split("\n", 1)
    status, *numbers = told.split()
    return status, *map(int, numbers), message


def test_a_header_that_lies_about_its_size_fails_fast_and_small(tmp_path):
    (tmp_path / "in").mkdir()
    one_block(tmp_path / "in/a.tif")
    status, code, grown, seconds, message = looked_at(tmp_path)
    assert (status, code) == ("failed", 3) and "in/a.tif" in message
    assert grown < 500 and seconds < 10


def test_a_scene_of_terabytes_costs_itself_alone(tmp_path):
    (tmp_path / "in").mkdir()
    huge(tmp_path / "in/a.tif")
    status, code, grown, seconds, message = looked_at(tmp_path)
    assert grown < 500 and seconds < 10
    assert (status, code) == ("failed", 3) and "--max-pixels" in message


@pytest.mark.slow
def test_a_tile_that_unpacks_to_hundreds_of_megabytes_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    bomb(tmp_path / "in/a.tif")
    status, code, grown, _, message = looked_at(tmp_path)
    assert (status, code) == ("failed", 3), message
    assert grown < 500


# names and folders


@pytest.mark.parametrize(
    "name, made",
    [("- x", "_x"), ("--help", "help"), ("sp ace", "sp_ace"), ("new\nline", "new_line"),
     ("\x1b[31mred", "__31mred"), ("$(id);`id`'\"", "__id___id___")],
)  # fmt: skip
def test_odd_names_become_plain_ones(geosr, stack, tmp_path, name, made):
    stack.rename(stack.with_name(f"{name}.tif"))
    fails(geosr("superres", "in", "out", *BICUBIC), 0)
    assert left(tmp_path / "out") == [f"{made}.geosr.json", f"{made}.tif"]


def test_a_name_that_is_no_utf_8_costs_one_scene_at_most(geosr, stack, tmp_path):
    shutil.copy(stack, os.fsdecode(os.fsencode(stack.parent) + b"/\xff\xfe.tif"))
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr
    assert (tmp_path / "out/a.tif").exists()


def test_loops_are_not_followed_and_links_to_nowhere_fail_alone(geosr, stack, tmp_path):
    (tmp_path / "in/loop").symlink_to(".")
    (tmp_path / "in/gone.tif").symlink_to("nowhere.tif")
    (tmp_path / "in/z.tif").symlink_to(scene_files.write_stack(tmp_path / "far.tif", size=12))
    done = fails(geosr("superres", "in", "out", *BICUBIC), 3, "in/gone.tif: no such file")
    assert "2 done, 0 skipped, 1 failed" in done.stderr
    assert left(tmp_path / "out") == ["a.geosr.json", "a.tif", "far.geosr.json", "far.tif"]


def test_a_link_to_itself_costs_one_scene_at_most(geosr, stack, tmp_path):
    (tmp_path / "in/self.tif").symlink_to("self.tif")
    done = geosr("superres", "in", "out", *BICUBIC)
    assert done.returncode in (0, 3) and "Traceback" not in done.stderr
    assert (tmp_path / "out/a.tif").exists()


def test_a_scene_that_vanishes_fails_alone(geosr, stack, tmp_path, monkeypatch):
    from geosr.batch import batch

    scene_files.write_stack(tmp_path / "in/b.tif", size=12)
    attempt = batch.attempt

    def meanwhile(path, *more):
        path.unlink() if path.stem == "a" else None
        return attempt(path, *more)

    monkeypatch.setattr(batch, "attempt", meanwhile)
    done = fails(geosr("superres", "in", "out", *BICUBIC), 3, "in/a.tif: no such file")
    assert "1 done, 0 skipped, 1 failed" in done.stderr


@pytest.mark.slow
def test_ten_thousand_files_are_ten_thousand_scenes(geosr, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(10_000):
        (tmp_path / f"in/{i}.tif").touch()
    done = geosr("superres", "in", "out", *BICUBIC, "-q")
    assert done.returncode == 4
    assert done.stderr.endswith("0 done, 0 skipped, 10000 failed\n")


def test_nothing_that_matches_is_a_warning(geosr, stack, tmp_path):
    done = fails(geosr("superres", "in", "out", *BICUBIC, "--pattern", "*.none"), 0)
    assert "warning: no scenes in in" in done.stderr and not (tmp_path / "out").exists()
    strict = (*BICUBIC, "--fail-on-empty")
    fails(geosr("superres", "in", "out", *strict, "--pattern", "*.none"), 2, "no scenes in in")
    parts = [geosr("superres", "in", "out", *strict, "--shard", f"{i}/2") for i in (1, 2)]
    assert [part.returncode for part in parts] == [0, 0]  # one of them has nothing to do


def test_full_counts_are_counted_where_they_are_cut(geosr, stack, tmp_path, monkeypatch):
    finish = superres.to_counts

    def brighter(values, *more):
        return finish(values + 70_000, *more)

    monkeypatch.setattr(superres, "to_counts", brighter)
    done = fails(geosr("superres", "in", "out", *BICUBIC), 0)
    assert f"{8 * 144:,} clipped" in done.stderr
    made = read(tmp_path / "out/a.tif")
    assert (made[[0, 4, 5, 6, 8, 9, 10, 11]] >= 65534).all()
