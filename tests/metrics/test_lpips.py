"""LPIPS against numpy with made-up weights; what files are refused; `geosr eval --lpips`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from rasters import picture, write
from safetensors.numpy import save, save_file

from geosr.cli.scoring import data_of, lpips_of, peak_of
from geosr.errors import WeightsError
from geosr.evaluation.evaluate import evaluate
from geosr.evaluation.protocols import Data
from geosr.metrics import lpips
from geosr.models import weights

LAYERS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {}
    for i, (index, (out, into, side)) in enumerate(LAYERS.items()):
        shape = (out, into, side, side)
        spread = (2 / (into * side * side)) ** 0.5
        found[f"features.{index}.weight"] = rng.normal(0, spread, shape).astype(np.float32)
        found[f"features.{index}.bias"] = rng.normal(0, 0.1, out).astype(np.float32)
        found[f"lin{i}.weight"] = rng.random((1, out, 1, 1)).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "alex.safetensors"
    save_file(random_weights(), path)
    return path


def colours(rows: int, cols: int, seed: int) -> np.ndarray:
    """Some counts lie beyond both ends of the stretch."""
    return np.random.default_rng(seed).uniform(-2000, 12000, (3, rows, cols))


def windows(x: np.ndarray, side: int, stride: int) -> np.ndarray:
    views = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
    return views[:, ::stride, ::stride]


def features(image: np.ndarray, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """AlexNet's five rectified layers, in float64."""
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    x = 2 * np.clip(image / 10000, 0, 1) - 1
    x = (x - shift[:, None, None]) / scale[:, None, None]
    found = []
    for index, (_, _, side) in LAYERS.items():
        if index in (3, 6):
            x = windows(x, 3, 2).max((3, 4))
        border = {11: 2, 5: 2, 3: 1}[side]
        x = np.pad(x, ((0, 0), (border, border), (border, border)))
        weight = tensors[f"features.{index}.weight"].astype(np.float64)
        x = np.tensordot(weight, windows(x, side, 4 if index == 0 else 1), ([1, 2, 3], [0, 3, 4]))
        x = np.maximum(x + tensors[f"features.{index}.bias"][:, None, None], 0)
        found.append(x)
    return found


def expected(truth: np.ndarray, estimate: np.ndarray, tensors: dict[str, np.ndarray]) -> float:
    total, both = 0.0, [features(image, tensors) for image in (truth, estimate)]
    for i, pair in enumerate(zip(*both, strict=True)):
        x, y = (part / (np.sqrt((part**2).sum(0)) + 1e-10) for part in pair)
        total += float((tensors[f"lin{i}.weight"][0] * (x - y) ** 2).sum(0).mean())
    return total


@pytest.mark.parametrize(("rows", "cols"), [(64, 64), (71, 90)])
def test_the_distance_is_that_of_numpy(file, rows, cols):
    truth, estimate = colours(rows, cols, 1), colours(rows, cols, 2)
    found = lpips.load(file)(truth, estimate)
    assert found == pytest.approx(expected(truth, estimate, random_weights()), rel=1e-4)
    assert found > 0.1


def test_equal_images_have_no_distance_and_order_does_not_matter(file):
    distance = lpips.load(file)
    one, other = colours(64, 64, 3), colours(64, 64, 4)
    assert distance(one, one) == 0
    assert distance(one, other) == distance(other, one)


def test_values_beyond_the_stretch_count_as_its_ends(file):
    one, other = colours(64, 64, 5), colours(64, 64, 6)
    distance = lpips.load(file)
    assert distance(one, other) == distance(one.clip(0, 10000), other.clip(0, 10000))


def test_the_references_names_are_read_too(file, tmp_path):
    tensors = {
        key.replace(".weight", ".model.1.weight") if key.startswith("lin") else key: value
        for key, value in random_weights().items()
    }
    save_file(tensors | {"classifier.1.bias": np.zeros(4096, np.float32)}, tmp_path / "x")
    one, other = colours(64, 64, 1), colours(64, 64, 2)
    assert lpips.load(tmp_path / "x")(one, other) == lpips.load(file)(one, other)


def test_red_green_and_blue_are_found_by_name_else_the_first_bands_stand_for_them():
    assert lpips.rgb_bands(("B2", "B3", "B4", "B8")) == (2, 1, 0)
    assert lpips.rgb_bands(("B5", "B6", "B7", "B8A")) == (0, 1, 2)
    assert lpips.rgb_bands(("B2", "B3")) == (0, 1, 0)
    assert lpips.rgb_bands(("1",)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features.6.bias": None, "lin4.weight": None}, "lacks features.6.bias, lin4.weight"),
        ({"lin1.weight": np.zeros((1, 128, 1, 1), np.float32)}, r"lin1.weight is \(1, 128, 1, 1\)"),
    ],
)
def test_tensors_that_lack_or_do_not_fit_are_named(tmp_path, change, said):
    tensors = {key: value for key, value in (random_weights() | change).items()
               if value is not None}  # fmt: skip
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match=said):
        lpips.load(tmp_path / "odd.safetensors")


def test_a_file_that_is_gone_cut_short_or_another_one_is_refused(file, tmp_path):
    with pytest.raises(WeightsError, match="cannot read LPIPS weights"):
        lpips.load(tmp_path / "none.safetensors")
    (tmp_path / "cut").write_bytes(file.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        lpips.load(tmp_path / "cut")
    with pytest.raises(WeightsError, match="expected 000000000000"):
        lpips.load(file, sha256=64 * "0")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three bands, one band, one that is partly masked, and one below 64 pixels."""
    rng = np.random.default_rng(0)
    write(tmp_path / "images/a.tif", rng.integers(1, 255, (3, 72, 80)).astype(np.uint8))
    write(tmp_path / "images/b.tif", picture(1, side=64))
    masked = rng.integers(1, 255, (1, 64, 64)).astype(np.uint8)
    masked[0, 40, 7] = 0
    write(tmp_path / "images/c.tif", masked, nodata=0)
    write(tmp_path / "images/d.tif", picture(2, side=62))
    return tmp_path / "images"


class Kept:
    """A watcher that keeps what it is shown."""

    def __init__(self):
        self.shown = {}

    def begin(self, case, name, net):
        self.name = case.name
        self.shown[self.name] = []

    def rows(self, rows):
        self.shown[self.name].append(rows)

    def end(self):
        pass

    def of(self, scene):
        return (np.concatenate([getattr(part, key) for part in self.shown[scene]], 1)
                for key in ("truth", "estimate"))  # fmt: skip


def test_scenes_are_told_lpips_of_their_corner_where_all_of_it_is_valid(images, file):
    kept, distance = Kept(), lpips.load(file)
    nets = {"bicubic": weights.load("bicubic", scale=2)}
    data = Data(images, tile_size=16)
    found = evaluate(data, nets, perceptual=distance, watchers=[kept])
    values = {score.scene: score.whole["lpips"] for score in found.scores}
    assert values["c"] is None and values["d"] is None
    for scene, at in (("a", [0, 1, 2]), ("b", [0, 0, 0])):
        truth, estimate = kept.of(scene)
        assert values[scene] == pytest.approx(distance(truth[at], estimate[at]), rel=1e-6)
        assert values[scene] > 0.01
    without = evaluate(data, nets, extra=True)
    assert not any("lpips" in score.whole for score in without.scores)


def test_the_program_tells_lpips_and_the_weights_it_is_by(geosr, images, file):
    args = ("eval", "--model", "bicubic", "--scale", 2, "--data", images)
    done = geosr(*args, "--lpips", file)
    assert done.returncode == 0 and "LPIPS" in done.stdout, done.stderr
    document = json.loads(geosr(*args, "--lpips", file, "--peak", 4000, "--json").stdout)
    named = document["settings"]["lpips"]
    assert named == {"file": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    assert "AlexNet" in document["definitions"]["lpips"]
    settings = document["settings"]
    again = evaluate(
        data_of(settings), {"bicubic": weights.load("bicubic", scale=2)},
        peak=peak_of(settings), perceptual=lpips_of(settings),
    )  # fmt: skip
    for key in ("lpips", "psnr", "ssim"):
        assert document["means"]["x2"]["bicubic"][key] == again.mean("bicubic", "x2", key)
    without = json.loads(geosr(*args, "--json").stdout)
    assert "lpips" not in without["means"]["x2"]["bicubic"]
    assert without["settings"]["lpips"] is None


def test_the_program_refuses_weights_that_are_not_whole(geosr, images, tmp_path):
    args = ("eval", "--model", "bicubic", "--scale", 2, "--data", images, "--lpips")
    done = geosr(*args, "none.safetensors")
    assert done.returncode == 6 and "none.safetensors" in done.stderr
    (tmp_path / "part.safetensors").write_bytes(save({"lin0.weight": np.zeros((1, 64, 1, 1))}))
    done = geosr(*args, "part.safetensors")
    assert done.returncode == 6 and "features.10.bias" in done.stderr


def test_settings_name_weights_that_must_not_change(file, tmp_path):
    copy = tmp_path / "alex.safetensors"
    copy.write_bytes(file.read_bytes())
    settings = {"lpips": {"file": str(copy), "sha256": lpips.load(copy).sha256}}
    assert lpips_of(settings) is not None and lpips_of({}) is None
    save_file(random_weights(1), copy)
    with pytest.raises(WeightsError, match="Give the same LPIPS file"):
        lpips_of(settings)


def test_without_a_truth_there_is_no_lpips(geosr, scene_dir, file):
    done = geosr("eval", "--model", "bicubic", "--data", scene_dir, "--protocol", "full",
                 "--lpips", file)  # fmt: skip
    assert done.returncode == 2 and "protocol 'full'" in done.stderr
