"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from make_probav import write_imgset, write_png
from rasters import picture, write

from geosr.scene import degrade

ROOT = Path(__file__).resolve().parents[1]


def run(name: str, *args: object) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, args)],
        capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_sharpening_arrays(tmp_path):
    said = run("sharpen.py", ROOT / "examples/scenes/farmland", tmp_path / "sharp.npy")
    assert "(8, 240, 240) uint16" in said


def test_scoring_the_bundled_scene():
    said = run("evaluate.py", ROOT / "examples/scenes")
    assert "20 m bands, bicubic" in said and "1.000 of bicubic's" in said


def test_training_on_images_and_enlarging_one(tmp_path):
    for i in range(3):
        write(tmp_path / f"images/scene{i}.tif", picture(i, side=64))
    said = run("train.py", tmp_path / "images", tmp_path / "run", 3)
    assert said.startswith("step 3:")
    with rasterio.open(tmp_path / "run/x2/scene0.tif") as file:
        assert file.shape == (128, 128)


def test_another_image_helps(tmp_path):
    write(tmp_path / "images/field.tif", picture(0, side=96))
    lines = run("frames.py", tmp_path / "images").splitlines()
    assert lines[0].split() == ["1", "2", "4", "9", "16"]
    table = {line.split()[0]: [float(v) for v in line.split()[1:]] for line in lines[1:]}
    assert set(table) == {"mean", "median", "shift-and-add", "ibp"}
    assert table["ibp"][0] < table["ibp"][2] < table["ibp"][4]


def test_leaving_one_image_out_scores_methods_without_a_truth(tmp_path):
    ground = picture(0, side=96).astype(np.float64)
    for t, (down, across) in enumerate([(0, 0), (1, 2), (2, 1), (0, 2), (1, 1)]):
        seen = ground[:, down : down + 90, across : across + 90].reshape(1, 30, 3, 30, 3)
        write(tmp_path / f"place/{t}.tif", seen.mean((2, 4)).astype(np.uint16))
    lines = [line.split() for line in run("leftout.py", tmp_path / "place").splitlines()]
    assert [line[0] for line in lines] == ["mean", "ibp", "map", "map-robust"]
    assert all(line[-2:] == ["5", "images"] and len(line) == 5 for line in lines)
    assert all(20 < float(value) < 90 for line in lines for value in line[1:-2])


def test_a_truth_tells_how_its_coarse_images_see(tmp_path):
    rng, folder = np.random.default_rng(0), write_imgset(tmp_path / "imgset0000", size=96)
    taps, soft = degrade.bicubic(3), np.array([1, 4, 6, 4, 1]) / 16
    pad = degrade.beyond(taps, 3)
    ground = rng.normal(0, 1, (1, 288 + 2 * pad, 288 + 2 * pad))
    truth = 9000 + 600 * degrade.shrink(ground, 1, soft, soft, pad=2)
    ground = np.pad(truth, ((0, 0), (2, 2), (2, 2)), mode="edge")
    coarse = degrade.shrink(ground, 3, taps, taps, pad=pad)[0]
    inner = ground[0, pad:-pad, pad:-pad]
    write_png(folder / "HR.png", inner.astype(np.uint16))
    write_png(folder / "LR000.png", coarse.astype(np.uint16))
    lines = [line.split() for line in run("transfer.py", folder, "--image", 0).splitlines()]
    rows = {" ".join(line[:-10]): np.array(line[-10:], float) for line in lines[1:]}
    for name in ("LR000", "LR000 left", "LR000 right"):
        np.testing.assert_allclose(rows[name], rows["cubic"], atol=0.15)
    assert np.abs(rows["LR000"] - rows["cubic"])[:8].max() < 0.05
    assert np.abs(rows["LR000"] - rows["gaussian"])[:8].max() > 0.05


def test_the_frames_around_a_frame_help(tmp_path):
    image = write(tmp_path / "field.tif", picture(0, side=120))
    lines = run("video.py", image, "--scale", 2, "--frames", 3).splitlines()
    assert lines[0].split() == ["model", "window", "dB"]
    table = {tuple(line.split()[:2]): float(line.split()[2]) for line in lines[1:]}
    assert [window for name, window in table if name == "ibp"] == ["1", "3", "5", "7"]
    assert table["ibp", "1"] < table["ibp", "3"]


def test_frames_between_stand_beside_the_mean_of_their_neighbours(tmp_path):
    image = write(tmp_path / "field.tif", picture(0, side=120))
    lines = run("video.py", image, "--scale", 2, "--frames", 3, "--between").splitlines()
    assert lines[0].split() == ["model", "window", "dB", "between"]
    table = {tuple(line.split()[:2]): [float(v) for v in line.split()[2:]] for line in lines[1:]}
    assert {len(row) for row in table.values()} == {2}
    assert table["bicubic", "1"][1] < table["mean", "1"][1] and ("ibp", "5") in table


def test_the_encoder_is_trained_by_its_example(tmp_path):
    from safetensors.torch import load_file

    run("encoder.py", tmp_path / "encoder.safetensors", 0.02, ROOT / "examples/scenes")
    levels = load_file(tmp_path / "encoder.safetensors")
    assert {name: tensor.shape[0] for name, tensor in levels.items()} == {
        "0.0.weight": 24, "1.0.weight": 48, "2.0.weight": 96, "3.0.weight": 192,
    }  # fmt: skip
