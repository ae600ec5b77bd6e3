"""What only a GPU can show: precision, streams, memory that ends, scenes in hand, a lost device.

pytest -m gpu tests/gpu                             on a machine with a GPU
GEOSR_TEST_DEVICE=cpu pytest -m gpu tests/gpu       a rehearsal without one
bash tests/gpu/run.sh                               these, then speed on a full product
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import rasterio
import scene_files
import torch

import geosr

DEVICE = os.environ.get("GEOSR_TEST_DEVICE", "cuda:0")
GPU = torch.device(DEVICE).type == "cuda"
needs_gpu = pytest.mark.skipif(not GPU, reason="a rehearsal on a CPU has no memory limit or driver")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(GPU and not torch.cuda.is_available(), reason="no GPU here"),
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Four scenes of 480 × 480 pixels at 10 m."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed in range(4):
        scene_files.write_folder(folder / f"scene{seed}", size=480, seed=seed)
    return folder


@pytest.fixture(scope="module")
def expected(scenes, tmp_path_factory):
    """The first scene by the default nets on a CPU in fp32."""
    out = tmp_path_factory.mktemp("cpu")
    geosr.superres(scenes / "scene0", out, device="cpu", precision="fp32")
    return pixels(out / "scene0.tif")


def pixels(path):
    with rasterio.open(path) as dataset:
        return dataset.read().astype(int)


@pytest.mark.parametrize(
    "options, counts",
    [
        ({"precision": "fp32"}, 1),
        ({"precision": "fp32", "tile_size": 120, "batch_size": 3}, 1),  # copies under way
        ({"precision": "auto"}, 20),
        ({"precision": "fp16"}, 20),
        ({"precision": "fp32", "compile": True}, 1),
    ],
)
def test_a_device_gives_what_a_cpu_gives(scenes, expected, tmp_path, options, counts):
    geosr.superres(scenes / "scene0", tmp_path, device=DEVICE, **options)
    made = pixels(tmp_path / "scene0.tif")
    assert np.abs(made - expected).max() <= counts
    assert np.abs(made - expected).mean() < 0.05 * counts


def test_the_same_run_gives_the_same_bytes(scenes, tmp_path):
    for out in ("a", "b"):
        geosr.superres(scenes / "scene0", tmp_path / out, device=DEVICE)
    assert (tmp_path / "a/scene0.tif").read_bytes() == (tmp_path / "b/scene0.tif").read_bytes()


def test_scenes_in_hand_together_come_out_as_one_by_one(scenes, tmp_path):
    """On a GPU two scenes are in hand at a time; both use its memory and its stream."""
    outcomes = geosr.superres(scenes, tmp_path / "all", device=DEVICE)
    assert [outcome.status for outcome in outcomes] == ["done"] * 4
    for seed in range(4):
        geosr.superres(scenes / f"scene{seed}", tmp_path / "one", device=DEVICE)
        name = f"scene{seed}.tif"
        assert np.array_equal(pixels(tmp_path / "all" / name), pixels(tmp_path / "one" / name))


def test_every_way_of_running_nets_works(scenes, tmp_path):
    for name in ("dsen2", "bicubic"):
        geosr.superres(scenes / "scene1", tmp_path / name, model=name, device=DEVICE)
    stack = tmp_path / "stack.tif"
    scene_files.write_stack(stack, size=120)
    for name, scale in (("lapsr", 4), ("edsr-baseline", 2), ("liif", 2.5)):
        out = tmp_path / f"{name}.tif"
        geosr.superres(stack, out, model=name, scale=scale, device=DEVICE)
        assert pixels(out).any()
    geosr.superres(scenes / "scene1", tmp_path / "five", gsd=5, device=DEVICE, consistent=True)
    assert pixels(tmp_path / "five/scene1.tif").shape[1:] == (960, 960)


@needs_gpu
def test_memory_that_runs_out_costs_only_smaller_tiles(scenes, expected, tmp_path):
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(300e6 / total, 1.0), DEVICE)
    try:
        geosr.superres(scenes / "scene0", tmp_path, device=DEVICE, precision="fp32")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
        torch.cuda.empty_cache()
    assert np.abs(pixels(tmp_path / "scene0.tif") - expected).max() <= 1


@needs_gpu
def test_a_lost_device_is_known_for_one():
    """In a process of its own, for which the device is of no use any more afterwards."""
    code = (
        "import torch\n"
        "from geosr.inference.predict import device_lost, out_of_memory\n"
        f"x = torch.zeros(4, device={DEVICE!r})\n"
        "try:\n"
        f"    x[torch.tensor([9], device={DEVICE!r})].cpu()\n"
        "except Exception as error:\n"
        "    print(device_lost(error), out_of_memory(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_training_gives_the_same_again(scenes, tmp_path):
    for out in ("a", "b"):
        geosr.train(
            scenes, tmp_path / out, model="dsen2-ps-20", steps=20, val_every=10, patch=24,
            batch_size=4, val_windows=4, val_share=0.25, precision="fp32", device=DEVICE,
        )  # fmt: skip
    first, second = (
        [[float(n) for n in line.split(",")[:7]]
         for line in (tmp_path / out / "log.csv").read_text().splitlines()[1:]]
        for out in ("a", "b")
    )  # fmt: skip
    assert len(first) == 2 and np.isfinite(first).all()
    np.testing.assert_allclose(first, second, rtol=1e-3)


def test_bench_measures_the_device(program):
    done = program("bench", "--size", "240", "--device", DEVICE, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["machine"]["device"] == DEVICE
