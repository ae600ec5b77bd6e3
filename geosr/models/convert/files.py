"""The tensors in files of other programs, told by what a file begins with."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from geosr.errors import WeightsError, cause
from geosr.models.convert.sandbox import foreign
from geosr.models.convert.source import LARGEST, MOST, SourceWeights

_HDF5 = b"\x89HDF\r\n\x1a\n"


def content(path: Path) -> bytes:
    """All of a file.

    Raises:
        WeightsError: it cannot be read, or is too large.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise WeightsError(f"{path}: larger than 2 GiB, so not of these nets. Check the path.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}. Check the path.") from error


def read(path: Path, data: bytes, allow_pickle: bool) -> SourceWeights:
    """What a file holds, told by what it begins with, whatever its name is.

    Args:
        data: the file's content.
        allow_pickle: open PyTorch's own formats too, in another process.

    Raises:
        WeightsError: it is of no known kind, damaged, or PyTorch's and not allowed.
    """
    if data.startswith(_HDF5):
        return _keras(path, data)
    if data.startswith((b"PK\x03\x04", b"\x80")):
        if not allow_pickle:
            raise WeightsError(
                f"{path}: PyTorch's own formats can hold code, so pickle is refused. Pass "
                "--allow-pickle-format for a file of people you trust."
            )
        return foreign(path, data)
    if data[8:9] == b"{":
        return _safetensors(path, data)
    raise WeightsError(
        f"{path}: neither HDF5 nor PyTorch nor safetensors (begins with {data[:8]!r}). "
        "Give the file that the weights came in."
    )


def _keras(path: Path, data: bytes) -> SourceWeights:
    """Kernels of both kinds of convolution turned: HWIO to OIHW, transposed HWOI to IOHW."""
    try:
        h5py = import_module("h5py")
    except ImportError as error:
        raise WeightsError(
            f"{path}: HDF5 weights need h5py. Install it: pip install 'geosr[convert]'"
        ) from error
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            links = {key: file.get(key, getlink=True) for key in ("model_weights", "layers")}
            own = (key for key, link in links.items() if isinstance(link, h5py.HardLink))
            root = file[next(own, "/")]
            arrays = {name: _array(path, name, item) for name, item in _datasets(h5py, root)}
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: not a whole HDF5 file ({cause(error)}). Get it again."
        ) from error
    tensors = {k: torch.from_numpy(v) for k, v in arrays.items()}
    return SourceWeights("Keras HDF5", {k: v.permute(3, 2, 0, 1) if v.dim() == 4 else v
                                for k, v in tensors.items()})  # fmt: skip


def _datasets(h5py: Any, root: Any) -> Iterable[tuple[str, Any]]:
    """Datasets of a file itself, never those behind links, in the order of the layers."""
    found: list[tuple[str, Any]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((name, item))

    root.visititems(visit)
    listed = root.attrs.get("layer_names", ())
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in listed]
    rank = {name: i for i, name in enumerate(names)}

    def place(pair: tuple[str, Any]) -> tuple[int, list[list[str | int]]]:
        parts = pair[0].split("/")
        return rank.get(parts[0], len(rank)), [_natural(part) for part in parts]

    return sorted(found, key=place)


def _natural(name: str) -> list[str | int]:
    """conv2d_9 before conv2d_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _array(path: Path, name: str, dataset: Any) -> Any:
    if dataset.is_virtual or dataset.external or dataset.size > MOST or dataset.dtype.kind != "f":
        raise WeightsError(
            f"{path}: {name}, {dataset.shape} of {dataset.dtype}, is no layer's tensor of these "
            "nets, or lies in another file. Give the weights alone."
        )
    return dataset.astype("float32")[()]


def _safetensors(path: Path, data: bytes) -> SourceWeights:
    try:
        tensors = load_tensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}). Get it again."
        ) from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if "card" in header.get("__metadata__", {}):
        raise WeightsError(f"{path} carries a card already. Use it as it is: --model {path}")
    return SourceWeights("safetensors", {k: v.float() for k, v in tensors.items()}, ordered=False)
