"""Faults of weights, numbers and devices that no other file injects."""

import json
import pickle
import re
import socket
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scene_files
import torch
from conftest import ROOT
from faulty import BICUBIC, fails, left
from safetensors.torch import load_file, save_file

from geosr.models import registry, weights
from geosr.models.convert import sandbox


@pytest.fixture
def stack(tmp_path) -> Path:
    """A stack of 12 pixels."""
    return scene_files.write_stack(tmp_path / "in/a.tif", size=12)


def save(path: Path, *, seed: int = 0, **card) -> Path:
    """A weights file of a thin, untrained 20 m net."""
    torch.manual_seed(seed)
    design = registry.design("dsen2-20").card()
    thin = replace(design, options={"features": 8, "blocks": 1}, **card)
    weights.save(path, thin, registry.build(thin).net.state_dict())
    return path


@pytest.fixture
def net(tmp_path) -> Path:
    return save(tmp_path / "net.safetensors")


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Make a folder of bundled weights whose manifest lists the given entries."""

    def make(*entries: dict) -> Path:
        folder = tmp_path / "bundled"
        folder.mkdir(exist_ok=True)
        (folder / "manifest.json").write_text(json.dumps({"weights": entries}))
        monkeypatch.setattr(weights, "folder", lambda: folder)
        weights.manifest.cache_clear()
        return folder

    yield make
    weights.manifest.cache_clear()


# files


class Evil:
    """Touches a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def evil(path: Path, marker: Path, kind: str) -> Path:
    """Weights that run code where they are loaded without care."""
    if kind == "zip":
        torch.save({"conv1.weight": Evil(marker)}, path)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(marker), protocol=2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", pickle.dumps(Evil(marker)))
    return path


@pytest.mark.parametrize("kind", ["zip", "pickle", "bare"])
@pytest.mark.parametrize("name", ["net.pt", "net.pth", "net.safetensors"])
def test_code_in_weights_never_runs(geosr, stack, tmp_path, kind, name):
    marker = tmp_path / "ran"
    evil(tmp_path / name, marker, kind)
    done = fails(geosr("superres", "in", "out", "--model", name), 6, name)
    if name != "net.safetensors":
        assert "pickle" in done.stderr and "safetensors" in done.stderr
    assert not marker.exists() and not (tmp_path / "out").exists()


def test_no_source_reads_pickles_or_unpacks_archives():
    text = "\n".join(path.read_text() for path in (ROOT / "geosr").rglob("*.py"))
    assert not re.findall(
        r"weights_only\s*=\s*False|pickle\.loads?\(|allow_pickle\s*=\s*True", text
    )
    assert not re.findall(
        r"extractall|unpack_archive|archive\.extract|os\.system|[^.\w]eval\(", text
    )
    assert len(re.findall(r"torch\.load\(", text)) == text.count("weights_only=True")


def test_an_old_torch_opens_no_pickle_and_still_safetensors(
    geosr, stack, net, tmp_path, monkeypatch
):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "old.pt")
    monkeypatch.setattr(sandbox.torch, "__version__", torch.torch_version.TorchVersion("2.9.1"))
    done = geosr("weights", "convert", "old.pt", "new.safetensors", "--allow-pickle-format")
    fails(done, 6, "torch 2.9.1", "2.10")
    fails(geosr("superres", "in", "out", "--model", net), 0)


@pytest.mark.parametrize("size", [0, 4, 100, -1000, -1])
def test_cut_bundled_weights_tell_both_sums_in_one_message(geosr, stack, net, listed, size):
    digest = weights.digest(net)
    folder = listed({"name": "dsen2-20", "file": net.name, "sha256": digest})
    (folder / net.name).write_bytes(net.read_bytes()[:size])
    found = weights.digest(folder / net.name)
    done = fails(geosr("superres", "in", "out", "--model", "dsen2-20"), 6, "damaged")
    assert digest[:12] in done.stderr and found[:12] in done.stderr


@pytest.mark.parametrize("file", ["../net.safetensors", "/net.safetensors", "a/b.safetensors"])
def test_manifest_entries_name_files_not_paths(geosr, stack, net, listed, file):
    listed({"name": "dsen2-20", "file": file, "sha256": weights.digest(net)})
    for command in (("superres", "in", "out", "--model", "dsen2-20"), ("weights", "list"),
                    ("weights", "verify")):  # fmt: skip
        fails(geosr(*command), 6, "names a path", "refused")


UNFIT = {
    "bands": {"output": {"gsd": 10, "bands": ["B5", "B6", "B7", "B8A"], "frames": 1}},
    "inputs": {"inputs": []},
    "scale": {"scale": 3},
    "margin": {"margin": -5},
}


@pytest.mark.parametrize("change", UNFIT.values(), ids=UNFIT)
def test_cards_that_are_not_of_their_net_are_refused(geosr, stack, net, change):
    card = json.loads(weights.load_file(net).card.to_json())
    odd = net.with_name("odd.safetensors")
    save_file(load_file(net), odd, metadata={"card": json.dumps(card | change)})
    fails(geosr("superres", "in", "out", "--model", odd), 6, odd.name)


def test_outputs_of_other_weights_are_left_alone(geosr, stack, tmp_path):
    for seed in (0, 1):
        save(tmp_path / f"{seed}.safetensors", seed=seed)
    fails(geosr("superres", "in", "out", "--model", "0.safetensors"), 0)
    before = (tmp_path / "out/a.tif").read_bytes()
    done = geosr("superres", "in", "out", "--model", "1.safetensors")
    fails(done, 4, "other settings (models)", "--overwrite")
    assert (tmp_path / "out/a.tif").read_bytes() == before


# the network


@pytest.fixture
def offline(monkeypatch):
    """Every socket that is opened is an error."""

    def refused(*_, **__):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refused)


def test_weights_at_hand_need_no_network(geosr, stack, net, listed, offline):
    folder = listed({"name": "dsen2-20", "file": net.name, "sha256": weights.digest(net),
                     "url": "https://example.invalid/net"})  # fmt: skip
    (folder / net.name).write_bytes(net.read_bytes())
    fails(geosr("superres", "in", "out", "--model", "dsen2-20", "--check"), 0)
    for command in (("weights", "list"), ("weights", "verify"), ("weights", "fetch", "dsen2-20")):
        fails(geosr(*command), 0)


def test_weights_not_at_hand_are_told_soon_and_by_name(geosr, stack, listed, offline):
    listed({"name": "dsen2-20", "file": "x.safetensors", "sha256": "0" * 64,
            "url": "https://example.invalid/net"})  # fmt: skip
    begun = time.monotonic()
    fails(geosr("superres", "in", "out", "--model", "dsen2-20"), 6, "weights fetch dsen2-20")
    assert time.monotonic() - begun < 5


# numbers


def broken(path: Path, value: float) -> Path:
    """A net whose every weight is `value`."""
    card = replace(registry.design("dsen2-20").card(), options={"features": 8, "blocks": 1})
    state = registry.build(card).net.state_dict()
    weights.save(path, card, {name: torch.full_like(x, value) for name, x in state.items()})
    return path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_nets_that_give_no_numbers_fail_the_scene_and_write_none(
    geosr, stack, tmp_path, value, precision
):
    path = broken(tmp_path / "bad.safetensors", value)
    done = geosr("superres", "in", "out", "--model", path, "--precision", precision)
    fails(done, 4, "NaN or Inf in fp32")
    assert left(tmp_path / "out") == []


def test_values_out_of_range_are_clipped_and_counted(geosr, stack, tmp_path):
    path = broken(tmp_path / "bright.safetensors", 100.0)
    done = fails(geosr("superres", "in", "out", "--model", path, "--json"), 0)
    (line,) = map(json.loads, done.stdout.splitlines())
    record = json.loads((tmp_path / "out/a.geosr.json").read_text())
    assert line["clipped"] == record["clipped"] == 6 * 144
    with rasterio.open(tmp_path / "out/a.tif") as dataset:
        bands = [i + 1 for i, name in enumerate(dataset.descriptions) if name in ("B5", "B12")]
        assert (dataset.read(bands) >= 65534).all()


def test_many_clipped_values_are_a_warning(geosr, stack, tmp_path):
    path = broken(tmp_path / "bright.safetensors", 100.0)
    said = fails(geosr("superres", "in", "out", "--model", path), 0).stderr
    assert [line for line in said.splitlines() if "warning" in line and "clipped" in line]


@pytest.mark.parametrize("more", [("--batch-size", 3), ("--tile-size", 18), ("--threads", 1)])
def test_pixels_do_not_depend_on_how_they_are_computed(geosr, tmp_path, net, more):
    scene_files.write_folder(tmp_path / "in/a", size=60)
    made = []
    for name, args in (("one", ()), ("two", (*more, "--tile-size", 24)[:4])):
        done = geosr("superres", "in", name, "--model", net, "--precision", "fp32", *args)
        fails(done, 0)
        with rasterio.open(tmp_path / name / "a.tif") as dataset:
            made.append(dataset.read().astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_that_is_not_there_is_a_usage_error(geosr, stack, tmp_path, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fails(geosr("superres", "in", "out", *BICUBIC, "--device", device), 2, "0 GPUs found")
    assert not (tmp_path / "out").exists()
    fails(geosr("superres", "in", "out", *BICUBIC, "--device", "auto"), 0)
