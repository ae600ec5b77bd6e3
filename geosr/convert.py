"""Weights of other programs as geosr's: Keras HDF5, TorchScript, PyTorch state dicts, safetensors.

What can hold foreign code is opened in a process of its own, which gives back plain tensors.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import signal
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import zip_longest
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from geosr import models, weights
from geosr.errors import UsageError, WeightsError, cause
from geosr.models import ModelCard
from geosr.models.dsen2 import DN

NETS = ("dsen2-20", "dsen2-60", "vdsen2-20", "vdsen2-60", "aesr-20", "aesr-60")
LICENSE = "unknown (converted)"
BANDS10 = ("B4", "B3", "B2", "B8")  # GDAL's order, in which the published nets learned them
_HDF5 = b"\x89HDF\r\n\x1a\n"
_PORT = re.compile(r"(?:.*\.)?(?:(conv1)|layers\.(\d+)|(conv2))\.(?:weight|bias)")
_LARGEST = 2**31  # bytes of a file
_MOST = 2**22  # numbers of one tensor; the widest layer of these nets has 589,824
_PATIENCE = 300.0  # seconds for the other process
_SIDE = 12  # pixels of the test pattern; whole pixels of 20 and 60 m


@dataclass(frozen=True)
class Converted:
    """What was made of what.

    Attributes:
        kind: of the file, and of TorchScript where its long skip is.
        bands10: order of the file's 10 m bands; the card has its own, and the head is turned to it.
    """

    path: Path
    card: ModelCard
    kind: str
    bands10: tuple[str, ...]


@dataclass(frozen=True)
class _Read:
    """Tensors by the file's names, kernels as OIHW.

    Attributes:
        ordered: they come in the order of the layers.
        output: of a program for the test pattern, (1, bands, rows, cols).
    """

    kind: str
    tensors: Mapping[str, Tensor]
    ordered: bool = True
    output: Tensor | None = None


def convert(
    source: Path,
    target: Path,
    *,
    net: str | None = None,
    bands10: Sequence[str] | None = None,
    license: str = LICENSE,
    allow_pickle: bool = False,
    overwrite: bool = False,
) -> Converted:
    """Write the weights in `source` with the card of `net` to `target`, whole or not at all.

    Args:
        target: .safetensors.
        net: one of NETS; None is told by the tensors' shapes.
        bands10: order of the 10 m bands that the weights expect; None is B4 B3 B2 B8, or the
            card's own for tensors with geosr's names.
        allow_pickle: open PyTorch's own formats too, in another process.
        overwrite: replace `target`.

    Raises:
        UsageError: no such net or bands, or `target` is no place for it.
        WeightsError: the file cannot be read, or is not of that net.
        StoppedError: `target` cannot be written.
    """
    _check_target(source, target, overwrite)
    card, data = _card(net) if net else None, _bytes(source)
    order = None if bands10 is None else _order(bands10)
    found = _read(source, data, allow_pickle)
    card = card or _told(source, found.tensors)
    tensors = _fitted(source, found, card)
    if order is None:
        order = card.inputs[0].bands if set(tensors) == set(found.tensors) else BANDS10
    tensors = _turned(tensors, [order.index(band) for band in card.inputs[0].bands])
    kind = found.kind
    if found.output is not None:
        kind += _skip(source, found.output, card, tensors, order)
    said = f"converted from {source.name} (sha256 {hashlib.sha256(data).hexdigest()}), "
    said += f"10 m bands in the order {' '.join(order)}"
    card = replace(card, license=license, source=f"{card.source}; {said}")
    weights.save(target, card, tensors)
    return Converted(target, card, kind, tuple(order))


def _card(net: str) -> ModelCard:
    if net not in NETS:
        raise UsageError(f"'{net}' cannot be converted to; choose one of {', '.join(NETS)}.")
    return models.design(net).card()


def _order(bands10: Sequence[str]) -> tuple[str, ...]:
    """Names as ESA writes them: B04 is B4."""
    order = tuple(re.sub("^B0", "B", name.upper()) for name in bands10)
    if sorted(order) != sorted(BANDS10):
        raise UsageError(
            f"10 m bands {','.join(bands10)}: give B2, B3, B4 and B8 in the order that the "
            "weights expect."
        )
    return order


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if target.suffix != ".safetensors":
        raise UsageError(f"{target}: geosr reads .safetensors. Give it that ending.")
    if not target.parent.is_dir():
        raise UsageError(f"{target.parent}: no such folder. Make it first.")
    if target.exists() and (not overwrite or target.samefile(source)):
        advice = "Choose another name" + ("." if overwrite else ", or pass --overwrite.")
        raise UsageError(f"{target} is there already. {advice}")


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"{path}: larger than 2 GiB, so not of these nets. Check the path.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}. Check the path.") from error


def _read(path: Path, data: bytes, allow_pickle: bool) -> _Read:
    """Told by what the file begins with, whatever its name is."""
    if data.startswith(_HDF5):
        return _keras(path, data)
    if data.startswith((b"PK\x03\x04", b"\x80")):
        if not allow_pickle:
            raise WeightsError(
                f"{path}: PyTorch's own formats can hold code, so pickle is refused. Pass "
                "--allow-pickle-format for a file of people you trust."
            )
        return _foreign(path, data)
    if data[8:9] == b"{":
        return _safetensors(path, data)
    raise WeightsError(
        f"{path}: neither HDF5 nor PyTorch nor safetensors (begins with {data[:8]!r}). "
        "Give the file that the weights came in."
    )


def _keras(path: Path, data: bytes) -> _Read:
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
    return _Read("Keras HDF5", {k: v.permute(3, 2, 0, 1) if v.dim() == 4 else v
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
    if dataset.is_virtual or dataset.external or dataset.size > _MOST or dataset.dtype.kind != "f":
        raise WeightsError(
            f"{path}: {name}, {dataset.shape} of {dataset.dtype}, is no layer's tensor of these "
            "nets, or lies in another file. Give the weights alone."
        )
    return dataset.astype("float32")[()]


def _safetensors(path: Path, data: bytes) -> _Read:
    try:
        tensors = load_tensors(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}). Get it again."
        ) from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    if "card" in header.get("__metadata__", {}):
        raise WeightsError(f"{path} carries a card already. Use it as it is: --model {path}")
    return _Read("safetensors", {k: v.float() for k, v in tensors.items()}, ordered=False)


def _foreign(path: Path, data: bytes) -> _Read:
    if torch.__version__ < "2.10":
        raise WeightsError(
            f"{path}: torch {torch.__version__} does not open such files safely. Install 2.10 or "
            "newer."
        )
    try:
        head, body = _ask(data)
        told = json.loads(head)
        if told["error"]:
            raise WeightsError(
                f"{path}: PyTorch refused it ({told['error'][:200]}). Give a TorchScript program "
                "or a plain state dict: torch.save(net.state_dict(), …)."
            )
        numbered = load_tensors(body)
        tensors = {str(name): numbered[str(i)] for i, name in enumerate(told["names"])}
        return _Read(str(told["kind"]), tensors, output=numbered.get("output"))
    except (OSError, EOFError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: the process that opened it failed ({cause(error) or type(error).__name__}). "
            "The file may be damaged; get it again."
        ) from error


def _ask(data: bytes) -> tuple[bytes, bytes]:
    """`_answer`, in another process."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    with ExitStack() as stack:
        stack.callback(process.join)
        stack.callback(process.kill)
        stack.enter_context(ours)
        ours.send_bytes(data)
        return _received(ours), _received(ours)


def _received(ours: connection.Connection) -> bytes:
    if not ours.poll(_PATIENCE):
        raise TimeoutError(f"no answer within {_PATIENCE:g} s")
    return ours.recv_bytes(_LARGEST)


def _serve(theirs: connection.Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the asking process ends this one
    for part in _answer(theirs.recv_bytes()):
        theirs.send_bytes(part)


def _answer(data: bytes) -> tuple[bytes, bytes]:
    """A file's tensors as JSON and safetensors by number, and what a program makes of `pattern`."""
    told = {"error": "", "kind": "PyTorch state dict", "names": list[str]()}
    numbered = {}
    try:
        if _is_program(data):
            load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
            program = load(io.BytesIO(data), map_location="cpu").float().eval()
            told["kind"], state = "TorchScript", program.state_dict()
            if net := _fits(state):
                numbered["output"] = _run(program, pattern(_card(net))).float().contiguous()
        else:
            state = _state(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
        if any(value.numel() > _MOST for value in state.values()):
            raise ValueError("a tensor is larger than any of these nets")
        told["names"] = list(state)
        numbered |= {str(i): v.detach().float().clone() for i, v in enumerate(state.values())}
    except Exception as error:  # a foreign file can fail in any way
        told["error"] = f"{type(error).__name__}: {cause(error)}"
    return json.dumps(told).encode(), save_tensors(numbered)


def _is_program(data: bytes) -> bool:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return False
    return any("/code/" in name for name in zipfile.ZipFile(io.BytesIO(data)).namelist())


def _state(loaded: Any) -> dict[str, Tensor]:
    """The tensors of a state dict, which trainings often keep inside another."""
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping):
        raise TypeError(f"it holds a {type(loaded).__name__}, no state dict")
    return {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}


def _run(program: torch.jit.ScriptModule, planes: list[Tensor]) -> Tensor:
    """Given one stack, a tensor for each GSD, a list or a tuple of those."""
    reason = ""
    for given in ((torch.cat(planes, 1),), tuple(planes), (planes,), (tuple(planes),)):
        try:
            with torch.inference_mode():
                output = program(*given)
        except RuntimeError as error:
            reason = cause(error)
            continue
        if isinstance(output, Tensor):
            return output
        reason = f"it gives a {type(output).__name__}"
    raise TypeError(f"it does not run on the net's inputs: {reason[-120:]}")


def pattern(card: ModelCard) -> list[Tensor]:
    """A test image: for each GSD (1, bands, 12, 12) on the 10 m grid, in units of 2000 DN.

    Waves at 10 m; coarser bands are constant, so that however they are upsampled they stay so.
    """
    fine, *coarse = (len(item.bands) for item in card.inputs)
    waves = torch.arange(fine * _SIDE * _SIDE, dtype=torch.float32).mul(0.7).sin()
    planes = [1 + 0.3 * waves.reshape(1, fine, _SIDE, _SIDE)]
    for bands in coarse:
        levels = torch.linspace(0.7, 1.3, bands)[None, :, None, None]
        planes.append(levels.expand(1, bands, _SIDE, _SIDE).clone())
    return planes


def _skip(
    path: Path,
    output: Tensor,
    card: ModelCard,
    tensors: Mapping[str, Tensor],
    order: Sequence[str],
) -> str:
    """Where a program adds the upsampled bands: in itself, or whoever runs it.

    Raises:
        WeightsError: neither is the net's arithmetic.
    """
    expected, target = _expected(card, tensors, order)
    if output.shape != expected.shape:
        raise WeightsError(
            f"{path}: gives {tuple(output.shape[1:])} for a test pattern, {card.name} gives "
            f"{tuple(expected.shape[1:])}. Choose another --net."
        )
    places = {"": output * DN}
    if card.arch == "dsen2":
        places = {", skip inside": output * DN, ", skip outside": output * DN + target}
    off = {place: float((made - expected).abs().max()) for place, made in places.items()}
    nearest = min(off, key=lambda place: off[place])
    if not off[nearest] <= 1e-4 * float(expected.abs().max()):
        raise WeightsError(
            f"{path}: differs from {card.name} with the same tensors by {off[nearest]:.4g} DN on a "
            "test pattern, so it is another net. Choose another --net, or check where it is from."
        )
    return nearest


def _expected(
    card: ModelCard, tensors: Mapping[str, Tensor], order: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """What the converted net makes of the test pattern, and the pattern's own target bands."""
    model = models.build(card)
    model.net.load_state_dict(tensors)
    planes = pattern(card)
    planes[0] = planes[0][:, [order.index(band) for band in card.inputs[0].bands]]
    inputs = {
        item.gsd: DN * plane[..., :: item.gsd // 10, :: item.gsd // 10]
        for item, plane in zip(card.inputs, planes, strict=True)
    }
    with torch.inference_mode():
        return model(inputs), DN * planes[-1]


def _fitted(path: Path, found: _Read, card: ModelCard) -> dict[str, Tensor]:
    """The file's tensors by the net's own names, in its order."""
    shapes = _shapes(card)
    fitted = {}
    for name, wanted in zip_longest(_in_order(path, found, list(shapes)), shapes):
        if name is None:
            problem = f"no tensor for {wanted}, {shapes[wanted]}"
        elif wanted is None:
            problem = f"{name}, {tuple(found.tensors[name].shape)}, is of no layer"
        elif tuple(found.tensors[name].shape) != shapes[wanted]:
            shape = tuple(found.tensors[name].shape)
            problem = f"{name} is {shape}, {wanted} is to be {shapes[wanted]}"
        elif not bool(found.tensors[name].isfinite().all()):
            raise WeightsError(f"{path}: {name} holds NaN or infinity. Get the file again.")
        else:
            fitted[wanted] = found.tensors[name].contiguous()
            continue
        other = _fits(found.tensors)
        fits = other not in (None, card.name)
        advice = f"It fits {other}: pass --net {other}." if fits else "Check where it is from."
        raise WeightsError(f"{path}: not weights of {card.name}: {problem}. {advice}")
    return fitted


def _shapes(card: ModelCard) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        net = models.build(card).net
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def _told(path: Path, tensors: Mapping[str, Tensor]) -> ModelCard:
    """The net whose shapes these are."""
    fits = _fits(tensors)
    if fits is None:
        raise WeightsError(
            f"{path}: its tensors fit none of {', '.join(NETS)}. Pass --net to see what differs."
        )
    return _card(fits)


def _fits(tensors: Mapping[str, Tensor]) -> str | None:
    """The net of these shapes, whatever their order."""
    shapes = sorted(tuple(value.shape) for value in tensors.values())
    return next((net for net in NETS if sorted(_shapes(_card(net)).values()) == shapes), None)


def _in_order(path: Path, found: _Read, expected: list[str]) -> list[str]:
    """The file's names in the order of the net's layers, weight before bias."""
    names = list(found.tensors)
    if set(names) == set(expected):
        return expected
    matches = [_PORT.fullmatch(name) for name in names]
    if names and all(matches):
        layers = {n: _place(m) for n, m in zip(names, matches, strict=True) if m}
    elif found.ordered:
        parents = [re.sub(r"[./][^./]*$", "", name) for name in names]
        layers = {n: (parents.index(p), 0) for n, p in zip(names, parents, strict=True)}
    else:
        odd = next((n for n, m in zip(names, matches, strict=True) if not m), "nothing")
        raise WeightsError(
            f"{path}: '{odd}' tells no layer, and safetensors keep no order. Name the tensors "
            "conv1, layers.0 …, conv2, or as geosr does."
        )
    return sorted(names, key=lambda name: (layers[name], -found.tensors[name].dim()))


def _place(match: re.Match[str]) -> tuple[int, int]:
    first, layer, _ = match.groups()
    if layer is not None:
        return (1, int(layer))
    return (0, 0) if first else (2, 0)


def _turned(tensors: Mapping[str, Tensor], order: list[int]) -> dict[str, Tensor]:
    """With the 10 m bands of the first layer in the card's order: the same net, band by band."""
    head = next(iter(tensors))
    rest = range(len(order), tensors[head].shape[1])
    return {**tensors, head: tensors[head][:, [*order, *rest]].contiguous()}
