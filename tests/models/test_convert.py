"""Weights of other programs: their layouts made here, the pixels held against plain arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.cli import weights as cli
from geosr.errors import UsageError, WeightsError
from geosr.models import convert, registry, weights
from geosr.models.convert import sandbox

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
CANONICAL = ("B2", "B3", "B4", "B8")
BANDS = {"20": (4, 6), "60": (4, 6, 2)}


class Port(nn.Module):
    """DSen2 as the torch port has it; the 20 m net, given one tensor for each GSD."""

    def __init__(self, inputs: int = 10, outputs: int = 6) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 128, 3, padding="same")
        self.layers = nn.ModuleList(nn.Conv2d(128, 128, 3, padding="same") for _ in range(12))
        self.conv2 = nn.Conv2d(128, outputs, 3, padding="same")

    def residual(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        held = x
        for i, layer in enumerate(self.layers):
            if i % 2 == 0:
                held = F.relu(layer(x))
            else:
                x = x + layer(held) * 0.1
        return self.conv2(x)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.residual(torch.cat((fine, coarse), 1)) + coarse


class Outside(Port):
    """The later vintage: one stack in, the long skip left to whoever runs it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x)


class Listed(Port):
    """A list in."""

    def forward(self, x: list[Tensor]) -> Tensor:
        return self.residual(torch.cat(x, 1)) + x[1]


class Foreign(Port):
    """Another arithmetic with the same tensors."""

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) * 0.9


@pytest.fixture(scope="module")
def port() -> Port:
    torch.manual_seed(3)
    return Port()


def seeded(kind: type[Port], port: Port) -> Port:
    net = kind()
    net.load_state_dict(port.state_dict())
    return net


@pytest.fixture
def here(monkeypatch):
    """Open foreign files in this process: they are ours."""
    monkeypatch.setattr(sandbox, "_ask", sandbox._answer)


def scene(net: str, seed: int = 0) -> dict[int, Tensor]:
    """Counts of a small scene, bands in the card's order."""
    rng = np.random.default_rng(seed)
    bands = dict(zip((10, 20, 60), BANDS[net[-2:]], strict=False))
    shapes = {gsd: (1, n, 120 // gsd, 180 // gsd) for gsd, n in bands.items()}
    return {g: torch.from_numpy(rng.uniform(200, 5000, s)).float() for g, s in shapes.items()}


def upsampled(inputs: dict[int, Tensor], order) -> list[Tensor]:
    """What the reference nets are given: units of 2000, at 10 m, 10 m bands in their order."""
    fine = inputs[10][:, [CANONICAL.index(band) for band in order]] / 2000
    return [fine] + [
        F.interpolate(inputs[g] / 2000, scale_factor=g // 10, mode="bilinear")
        for g in inputs
        if g > 10
    ]


def made(path: Path, inputs: dict[int, Tensor]) -> Tensor:
    with torch.inference_mode():
        return weights.load_file(path)(inputs)


def close(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert float(expected.std()) > 10  # counts: not all of one value
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-3)


# Keras


def kernels(net: str, seed: int = 1) -> dict[str, list[np.ndarray]]:
    """Layers of a Keras file by name, in the order of the net: kernel as HWIO, and bias."""
    rng = np.random.default_rng(seed)
    inputs, outputs = sum(BANDS[net[-2:]]), BANDS[net[-2:]][-1]
    if net.startswith("aesr"):
        shapes = {
            "conv2d_7": (3, 3, inputs, 64), "conv2d_8": (3, 3, 64, 64),
            "conv2d_transpose_1": (3, 3, 64, 64), "conv2d_transpose_2": (3, 3, 64, 64),
            "conv2d_9": (5, 5, 64, outputs),
        }  # fmt: skip
    else:
        widths = [inputs, *[128] * 13, outputs]
        shapes = {f"conv2d_{i + 1}": (3, 3, widths[i], widths[i + 1]) for i in range(14)}
    deep = {"conv2d_transpose_1": 2, "conv2d_transpose_2": 2}
    return {
        name: [
            rng.normal(0, (2 / np.prod(s[:2]) / s[2]) ** 0.5, s).astype(np.float32),
            rng.normal(0, 0.1, s[deep.get(name, 3)]).astype(np.float32),
        ]
        for name, s in shapes.items()
    }


def write_keras(path: Path, layers: dict[str, list[np.ndarray]], *, whole: bool = False) -> None:
    """As Keras 2 writes weights, or a whole model with its optimiser."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        if whole:
            file["optimizer_weights/Nadam/iterations:0"] = np.int64(7)
            file.attrs["model_config"] = '{"class_name": "Lambda"}'
        names = ["input_1", *layers, "lambda_1"]
        root.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            group = root.create_group(name)
            stored = dict(zip(("kernel:0", "bias:0"), layers.get(name, []), strict=False))
            group.attrs["weight_names"] = [f"{name}/{key}".encode() for key in stored]
            for key, value in stored.items():
                group[f"{name}/{key}"] = value


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A "same" convolution, (rows, cols, bands), tap by tap."""
    reach = kernel.shape[0] // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    height, width = x.shape[:2]
    taps = ((i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1]))
    return bias + sum(padded[i : i + height, j : j + width] @ kernel[i, j] for i, j in taps)


def deconvolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A "same" transposed convolution of stride 1: every pixel spreads its kernel (HW, out, in)."""
    height, width = x.shape[:2]
    spread = np.zeros((height + 2, width + 2, kernel.shape[2]))
    for i in range(3):
        for j in range(3):
            spread[i : i + height, j : j + width] += x @ kernel[i, j].T
    return bias + spread[1:-1, 1:-1]


def reference(net: str, layers: dict[str, list[np.ndarray]], planes: list[Tensor]) -> Tensor:
    """The Keras net's arithmetic on upsampled planes, as counts."""
    x = torch.cat(planes, 1)[0].permute(1, 2, 0).numpy().astype(np.float64)
    stack = [[value.astype(np.float64) for value in pair] for pair in layers.values()]
    if net.startswith("aesr"):
        first = np.maximum(convolved(x, *stack[0]), 0)
        second = np.maximum(convolved(first, *stack[1]), 0)
        y = second + np.maximum(deconvolved(second, *stack[2]), 0)
        y = first + np.maximum(deconvolved(y, *stack[3]), 0)
        out = convolved(y, *stack[4])
    else:
        y = np.maximum(convolved(x, *stack[0]), 0)
        for k in range(1, 13, 2):
            y = y + 0.1 * convolved(np.maximum(convolved(y, *stack[k]), 0), *stack[k + 1])
        out = convolved(y, *stack[-1]) + planes[-1][0].permute(1, 2, 0).numpy()
    return torch.from_numpy(out).permute(2, 0, 1)[None].float() * 2000


@pytest.mark.parametrize("net", ["dsen2-20", "dsen2-60", "aesr-20", "aesr-60"])
def test_keras_nets_give_the_same_pixels(geosr, tmp_path, net):
    layers = kernels(net)
    write_keras(tmp_path / "s2.hdf5", layers, whole=net.endswith("60"))
    done = geosr("weights", "convert", "s2.hdf5", "out.safetensors", "--net", net)
    assert done.returncode == 0, done.stderr
    assert "Keras HDF5" in done.stderr and "B4 B3 B2 B8" in done.stderr
    inputs = scene(net)
    expected = reference(net, layers, upsampled(inputs, ("B4", "B3", "B2", "B8")))
    actual = made(tmp_path / "out.safetensors", inputs)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=0.05)
    swapped = {**inputs, 10: inputs[10][:, [2, 1, 0, 3]]}
    assert float((made(tmp_path / "out.safetensors", swapped) - expected).abs().max()) > 10


def test_keras_files_without_an_order_are_read_by_the_numbers_of_their_layers(tmp_path):
    h5py = pytest.importorskip("h5py")
    layers = kernels("dsen2-20")
    with h5py.File(tmp_path / "new.weights.h5", "w") as file:
        for i, (kernel, bias) in enumerate(layers.values()):
            name = f"layers/conv2d_{i}" if i else "layers/conv2d"
            file[f"{name}/vars/0"], file[f"{name}/vars/1"] = kernel, bias
        file["optimizer/vars/0"] = np.zeros(3, np.float32)
    done = convert.convert(tmp_path / "new.weights.h5", tmp_path / "out.safetensors")
    assert done.card.name == "dsen2-20"
    inputs = scene("dsen2-20")
    expected = reference("dsen2-20", layers, upsampled(inputs, convert.BANDS10))
    torch.testing.assert_close(made(done.path, inputs), expected, rtol=1e-4, atol=0.05)


def test_the_card_tells_where_the_weights_are_from_and_its_bands_are_the_nets_own(geosr, tmp_path):
    write_keras(tmp_path / "s2_032.hdf5", kernels("dsen2-20"))
    before = (tmp_path / "s2_032.hdf5").read_bytes()
    done = geosr("weights", "convert", "s2_032.hdf5", "a.safetensors")
    assert done.returncode == 0, done.stderr
    card = weights.load_file(tmp_path / "a.safetensors").card
    assert card.license == "unknown (converted)"
    assert "s2_032.hdf5" in card.source and weights.digest(tmp_path / "s2_032.hdf5") in card.source
    assert card.inputs == registry.design("dsen2-20").card().inputs
    again = ("weights", "convert", "s2_032.hdf5", "a.safetensors", "--license", "GPL-3.0")
    assert geosr(*again).returncode == 2
    assert geosr(*again, "--overwrite").returncode == 0
    assert weights.load_file(tmp_path / "a.safetensors").card.license == "GPL-3.0"
    assert (tmp_path / "s2_032.hdf5").read_bytes() == before


def test_hdf5_that_points_elsewhere_or_holds_giants_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    np.zeros(1600, np.float32).tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "far.h5", "w") as file:
        file.create_dataset("conv2d/kernel:0", (40, 40), "f4", external=[("secret.bin", 0, 6400)])
    with h5py.File(tmp_path / "giant.h5", "w") as file:
        file.create_dataset("conv2d/kernel:0", (2**20, 2**20), "f4", chunks=(64, 64))
    for name in ("far.h5", "giant.h5"):
        with pytest.raises(WeightsError, match=f"{name}: conv2d/kernel:0"):
            convert.convert(tmp_path / name, tmp_path / "out.safetensors")
    whole = tmp_path / "cut.h5"
    write_keras(whole, kernels("dsen2-20"))
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(WeightsError, match="not a whole HDF5"):
        convert.convert(whole, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


# PyTorch


@pytest.mark.parametrize(
    ("kind", "how", "place"),
    [
        (Port, "script", "inside"),
        (Port, "trace", "inside"),
        (Listed, "script", "inside"),
        (Outside, "script", "outside"),
        (Outside, "trace", "outside"),
    ],
)
def test_both_vintages_of_torchscript_give_the_same_pixels(here, tmp_path, port, kind, how, place):
    net = seeded(kind, port).eval()
    planes = upsampled(scene("dsen2-20"), convert.BANDS10)
    example = (torch.cat(planes, 1),) if kind is Outside else tuple(planes)
    program = torch.jit.script(net) if how == "script" else torch.jit.trace(net, example)
    torch.jit.save(program, tmp_path / "L2A20M.pt")
    done = convert.convert(tmp_path / "L2A20M.pt", tmp_path / "o.safetensors", allow_pickle=True)
    assert (done.card.name, done.kind) == ("dsen2-20", f"TorchScript, skip {place}")
    inputs = scene("dsen2-20")
    with torch.inference_mode():
        expected = port(*upsampled(inputs, convert.BANDS10)) * 2000
    close(made(done.path, inputs), expected)


def test_a_program_is_opened_in_another_process(geosr, tmp_path, port, monkeypatch):
    torch.jit.save(torch.jit.script(seeded(Outside, port)), tmp_path / "net.pt")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("opened here"))
    done = geosr("weights", "convert", "net.pt", "o.safetensors", "--allow-pickle-format",
                 "--bands10", "B02,B03,B04,B08")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "skip outside" in done.stderr and "B2 B3 B4 B8" in done.stderr
    inputs = scene("dsen2-20")
    with torch.inference_mode():
        expected = port(*upsampled(inputs, CANONICAL)) * 2000
    close(made(tmp_path / "o.safetensors", inputs), expected)


def test_a_program_of_another_arithmetic_is_refused(here, tmp_path, port):
    torch.jit.save(torch.jit.script(seeded(Foreign, port)), tmp_path / "net.pt")
    with pytest.raises(WeightsError, match="another net"):
        convert.convert(tmp_path / "net.pt", tmp_path / "o.safetensors", allow_pickle=True)
    wide = torch.jit.script(Outside(12, 2))
    torch.jit.save(wide, tmp_path / "wide.pt")
    with pytest.raises(WeightsError, match=r"conv1.weight is \(128, 12, 3, 3\).*--net dsen2-60"):
        convert.convert(tmp_path / "wide.pt", tmp_path / "o.safetensors", net="dsen2-20",
                        allow_pickle=True)  # fmt: skip
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("kind", ["plain", "nested", "legacy", "parallel", "half"])
def test_state_dicts_give_the_same_pixels(here, tmp_path, port, kind):
    state = port.state_dict()
    if kind == "half":
        state = {name: value.half() for name, value in state.items()}
    if kind == "parallel":
        state = {f"module.{name}": value for name, value in reversed(state.items())}
    saved = {"epoch": 3, "state_dict": state} if kind == "nested" else state
    torch.save(saved, tmp_path / "net.pth", _use_new_zipfile_serialization=kind != "legacy")
    done = convert.convert(tmp_path / "net.pth", tmp_path / "o.safetensors", allow_pickle=True)
    assert done.kind == "PyTorch state dict"
    inputs = scene("dsen2-20")
    reference = port
    if kind == "half":
        reference = Port()
        reference.load_state_dict({name: value.float() for name, value in state.items()})
    with torch.inference_mode():
        expected = reference(*upsampled(inputs, convert.BANDS10)) * 2000
    close(made(done.path, inputs), expected)


def test_safetensors_with_the_ports_names_give_the_same_pixels(tmp_path, port):
    save_file(port.state_dict(), tmp_path / "bare.safetensors")
    done = convert.convert(tmp_path / "bare.safetensors", tmp_path / "o.safetensors")
    inputs = scene("dsen2-20")
    with torch.inference_mode():
        expected = port(*upsampled(inputs, convert.BANDS10)) * 2000
    close(made(done.path, inputs), expected)


def test_safetensors_with_geosrs_names_keep_every_bit(tmp_path):
    bundled = weights.folder() / "dsen2-60.safetensors"
    save_file(load_file(bundled), tmp_path / "bare.safetensors")
    done = convert.convert(tmp_path / "bare.safetensors", tmp_path / "o.safetensors")
    assert done.bands10 == CANONICAL
    kept, made_ = load_file(bundled), load_file(done.path)
    assert all(torch.equal(kept[name], made_[name]) for name in kept)
    assert made_.keys() == kept.keys()
    with pytest.raises(WeightsError, match="carries a card already"):
        convert.convert(bundled, tmp_path / "p.safetensors")


def test_the_deep_net_is_told_by_its_shapes(tmp_path):
    net = registry.build(registry.design("vdsen2-60").card()).net
    save_file(net.state_dict(), tmp_path / "bare.safetensors")
    done = convert.convert(tmp_path / "bare.safetensors", tmp_path / "o.safetensors")
    assert done.card.name == "vdsen2-60"


# what is refused


class Code:
    """What a hostile pickle would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_pickle_is_refused_unless_allowed_and_its_code_never_runs(geosr, tmp_path):
    torch.save({"conv1.weight": Code(tmp_path / "ran")}, tmp_path / "evil.pt")
    done = geosr("weights", "convert", "evil.pt", "o.safetensors")
    assert done.returncode == 6 and "--allow-pickle-format" in done.stderr
    done = geosr("weights", "convert", "evil.pt", "o.safetensors", "--allow-pickle-format")
    assert done.returncode == 6 and "PyTorch refused it" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists() and not (tmp_path / "o.safetensors").exists()


def test_no_source_loads_pickles_without_care():
    for path in (ROOT / "geosr").rglob("*.py"):
        text = path.read_text()
        assert "weights_only=False" not in text and "pickle.load" not in text, path


def test_a_process_that_dies_is_told(tmp_path, monkeypatch):
    def dies(data):
        raise EOFError

    (tmp_path / "net.pt").write_bytes(b"PK\x03\x04 and nothing")
    monkeypatch.setattr(sandbox, "_ask", dies)
    with pytest.raises(WeightsError, match="process that opened it failed"):
        convert.convert(tmp_path / "net.pt", tmp_path / "o.safetensors", allow_pickle=True)
    monkeypatch.setattr(sandbox, "_ask", sandbox._answer)
    with pytest.raises(WeightsError, match="PyTorch refused it"):
        convert.convert(tmp_path / "net.pt", tmp_path / "o.safetensors", allow_pickle=True)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    with pytest.raises(WeightsError, match=r"torch 2\.9\.1"):
        convert.convert(tmp_path / "net.pt", tmp_path / "o.safetensors", allow_pickle=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("conv2.bias"), r"no tensor for tail.bias, \(6,\)"),
        (lambda s: s.update(extra=torch.zeros(3)), "'extra' tells no layer"),
        (lambda s: s.update({"layers.12.weight": torch.zeros(2)}), "layers.12.weight is"),
        (lambda s: s.update({"layers.3.bias": torch.zeros(2)}),
         r"layers.3.bias is \(2,\), body.1.second.bias is to be \(128,\)"),
        (lambda s: s.update({"layers.3.bias": torch.full((128,), torch.nan)}), "NaN"),
    ],
)  # fmt: skip
def test_a_tensor_that_does_not_fit_is_named(tmp_path, port, change, said):
    state = dict(port.state_dict())
    change(state)
    save_file(state, tmp_path / "bare.safetensors")
    with pytest.raises(WeightsError, match=said):
        convert.convert(tmp_path / "bare.safetensors", tmp_path / "o.safetensors", net="dsen2-20")
    assert not (tmp_path / "o.safetensors").exists()


def test_requests_that_make_no_sense_are_refused(tmp_path, port):
    bare = tmp_path / "bare.safetensors"
    save_file(port.state_dict(), bare)
    for target, more, said in (
        ("o.pt", {}, "Give it that ending"),
        ("no/o.safetensors", {}, "no such folder"),
        ("bare.safetensors", {"overwrite": True}, "is what is to be converted"),
        ("o.safetensors", {"net": "rcan"}, "cannot be converted to"),
        ("o.safetensors", {"bands10": ("B4", "B3", "B2")}, "give B2, B3, B4 and B8"),
    ):
        with pytest.raises(UsageError, match=said):
            convert.convert(bare, tmp_path / target, **more)
    (tmp_path / "text.h5").write_text("this is no weights file")
    with pytest.raises(WeightsError, match="neither HDF5 nor PyTorch nor safetensors"):
        convert.convert(tmp_path / "text.h5", tmp_path / "o.safetensors")
    with pytest.raises(WeightsError, match="cannot read"):
        convert.convert(tmp_path / "none.h5", tmp_path / "o.safetensors")
    save_file({"a": torch.zeros(3)}, tmp_path / "odd.safetensors")
    with pytest.raises(WeightsError, match="fit none of dsen2-20"):
        convert.convert(tmp_path / "odd.safetensors", tmp_path / "o.safetensors")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("net.pt", "geosr weights convert net.pt OUT.safetensors --allow-pickle-format"),
        ("net.hdf5", "geosr weights convert net.hdf5 OUT.safetensors\n"),
    ],
)
def test_the_seeds_setting_of_a_foreign_file_tells_a_command_that_works(
    geosr, tmp_path, port, scene_dir, name, command
):
    if name == "net.pt":
        torch.save(port.state_dict(), tmp_path / name)
    else:
        write_keras(tmp_path / name, kernels("dsen2-20"))
    env = {"SR_20M_PATH": name}
    done = geosr("superres", scene_dir, "out", env=env)
    assert done.returncode == 6 and command in done.stderr
    told = command.split()[1:]
    assert geosr(*told).returncode == 0
    env = {"SR_20M_PATH": "OUT.safetensors"}
    done = geosr("superres", scene_dir, "out.tif", "--bands", "B5", env=env)
    assert done.returncode == 0, done.stderr


# list, verify


def test_the_list_is_the_manifest_and_the_state_of_each_file(geosr):
    rows = json.loads(geosr("weights", "list", "--json").stdout)
    assert [row["name"] for row in rows] == list(weights.manifest())
    assert {row["state"] for row in rows} == {"intact"}
    first = weights.manifest()["dsen2-20"]
    assert {k: rows[0][k] for k in ("sha256", "parameters", "bytes", "license")} == {
        k: first[k] for k in ("sha256", "parameters", "bytes", "license")
    }
    text = geosr("weights", "list").stdout
    assert "dsen2-20" in text and "1,789,574" in text and "intact" in text
    assert geosr("weights", "verify").returncode == 0


def test_verify_finds_what_is_damaged_and_what_is_missing(geosr, tmp_path, bundled):
    done = geosr("weights", "verify", "--json")
    assert done.returncode == 6
    assert "damaged or missing: two, three" in done.stderr
    states = {row["name"]: row["state"] for row in json.loads(done.stdout)}
    assert states == {
        "one": "intact", "two": "damaged", "three": "missing", "dsen2-20": "not fetched",
    }  # fmt: skip
    done = geosr("superres", tmp_path, "out", "--model", "dsen2-20")
    assert done.returncode == 6 and "geosr weights fetch dsen2-20" in done.stderr


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    """A folder of weights in every state."""
    entries = []
    for name, written in (("one", b"1"), ("two", b"2"), ("three", None), ("dsen2-20", None)):
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(name.encode() if written is None else written)
        entries.append({"name": name, "file": path.name, "sha256": weights.digest(path)})
    entries[3]["url"] = "https://example.org/far.safetensors"
    (tmp_path / "two.safetensors").write_bytes(b"!")
    (tmp_path / "three.safetensors").unlink()
    (tmp_path / "dsen2-20.safetensors").unlink()
    (tmp_path / "manifest.json").write_text(json.dumps({"weights": entries}))
    monkeypatch.setattr(weights, "folder", lambda: tmp_path)
    weights.manifest.cache_clear()
    yield tmp_path
    weights.manifest.cache_clear()


def test_help_lists_the_nets_without_loading_torch():
    assert cli.NETS == convert.NETS
    code = (
        "from click.testing import CliRunner; from geosr.cli.main import cli; import sys;"
        "assert CliRunner().invoke(cli, ['weights', 'convert', '--help']).exit_code == 0;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
