"""Nets in ONNX files: geosr's own exports, which carry their card, and those of others.

A file of others needs a card beside it, `x.yaml` (or `x.yml`) beside `x.onnx`:

    bands: [B2, B3, B4, B8]     Sentinel-2 bands in the net's order, or a number for any raster
    factor: 2                   output pixels along an input pixel
    margin: 32                  how far the net sees, in output pixels
    name, license, source       of the net; optional
    quantification: 10000       value that means reflectance 1.0 inside the file; optional
    gsd: 10                     metres of the input's pixels; optional, kept on the card only

Such a net has one input (batch, bands, rows, cols) and one output, `factor` times finer. It takes
bands of one grid; nothing is brought from 20 m to 10 m for it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from geosr.errors import UsageError, WeightsError, cause
from geosr.models.card import ANY, Input, Model, ModelCard, image

SUFFIX = ".onnx"
ARCH = "onnx"  # of nets that geosr cannot build
CARD, PARAMETERS = "geosr.card", "geosr.parameters"  # keys of a file's metadata
_EXAMPLE = "{bands: [B2, B3, B4, B8], factor: 2, margin: 32}"
_NEEDED = ("bands", "factor", "margin")
_KEYS = (*_NEEDED, "name", "license", "source", "quantification", "gsd")
_BANDS = (*(f"B{number}" for number in range(1, 13)), "B8A")
_UNIT = 10000.0  # reflectance 1.0 in geosr's own files
_LARGEST = 2**31  # bytes of a file; no more fits into one protobuf
_LARGEST_CARD = 2**16
_NO_MEMORY = ("alloc", "out of memory")  # as onnxruntime says it


def roles(card: ModelCard) -> tuple[str, ...]:
    """Names of a net's inputs in geosr's own files, in the order of the net's arguments."""
    if card.task == "guided":
        return tuple(f"gsd{item.gsd}" for item in card.inputs)
    if card.task == "sisr":
        return ("image",)
    return ("frames", "clear", "shifts") if card.shifts else ("frames", "clear")


def library(name: str, path: Path, package: str | None = None) -> Any:
    """A module of the extra `onnx`.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{path} needs {package or name}. Install it: pip install 'geosr[onnx]'"
        ) from error


class OnnxNet(nn.Module):
    """A graph that onnxruntime runs, called as the nets of the card's task are.

    It runs in fp32 on the CPU, or by CUDA where its inputs are there and onnxruntime has that,
    with as many threads as torch.

    Args:
        data: the bytes of the file.
        inputs: the graph's own names by role.
        gain: value inside the graph that means 1.0; guided nets take and give counts.
        count: trainable numbers, told as the size of the one parameter.
    """

    place: Tensor

    def __init__(
        self, data: bytes, card: ModelCard, inputs: Mapping[str, str], *, gain: float = _UNIT,
        count: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.data, self.card, self.inputs = data, card, dict(inputs)
        self.gain, self.count = gain, count
        self.single = False
        self._session: Any = None
        self._made_for: tuple[str, int] | None = None
        self.register_buffer("place", torch.zeros(1), persistent=False)

    def forward(self, *given: Any) -> Tensor:
        if isinstance(given[0], Mapping):
            return self._run({f"gsd{gsd}": x for gsd, x in given[0].items()})
        feeds = dict(zip(roles(self.card), given, strict=False))
        first = next(iter(feeds))
        return self._run({**feeds, first: given[0] * self.gain}) / self.gain

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """One stand-in of `count` numbers, which takes no memory: there is nothing to train."""
        yield nn.Parameter(self.place.expand(self.count), requires_grad=False)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Nothing.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"'{self.card.name}' is an ONNX file, which can be run but not trained. "
            "Give a .safetensors file."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None, "_made_for": None}

    def _run(self, feeds: Mapping[str, Tensor]) -> Tensor:
        fed = {name: feeds[role] for role, name in self.inputs.items()}
        first = next(iter(fed.values()))
        if isinstance(first, FakeTensor):
            return self._shape_only(feeds)
        if self.single and len(first) > 1:
            parts = [{role: x[i : i + 1] for role, x in feeds.items()} for i in range(len(first))]
            return torch.cat([self._run(part) for part in parts])
        arrays = {name: x.detach().float().cpu().contiguous().numpy() for name, x in fed.items()}
        try:
            (made,) = self.session(first.device).run(None, arrays)
        except Exception as error:  # onnxruntime's own errors have no common parent
            raise self._failure(error, first) from error
        if made.shape != (expected := self._shape(first)):
            raise WeightsError(
                f"'{self.card.name}' makes {tuple(made.shape)} of {tuple(first.shape)} where its "
                f"card says {expected}. Correct the card, or export the net anew."
            )
        return torch.from_numpy(made).to(first.device)

    def session(self, device: torch.device) -> Any:
        """onnxruntime's session for a device and torch's present number of threads."""
        wanted = (str(device), torch.get_num_threads())
        if self._made_for != wanted:
            ort = library("onnxruntime", Path(self.card.file or self.card.name))
            ort.set_default_logger_severity(4)  # what fails is told by what it raises
            options = ort.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = wanted[1]
            providers: list[Any] = ["CPUExecutionProvider"]
            if device.type == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers():
                cuda = {"device_id": device.index or 0, "use_tf32": 0}
                providers.insert(0, ("CUDAExecutionProvider", cuda))
            self._session = ort.InferenceSession(self.data, options, providers=providers)
            self._made_for = wanted
        return self._session

    def _failure(self, error: Exception, first: Tensor) -> Exception:
        said = cause(error)
        if any(words in said.lower() for words in _NO_MEMORY):
            return MemoryError(f"out of memory: {said[:200]}")
        return WeightsError(
            f"'{self.card.name}' does not run on {tuple(first.shape)} ({said[:200]}). "
            "Export it for batches, rows and columns of any number."
        )

    def _shape(self, first: Tensor) -> tuple[int, ...]:
        """Of the output for a first input."""
        finer = self.card.inputs[0].gsd // self.card.output.gsd
        rows, cols = first.shape[-2:]
        return len(first), len(self.card.bands), finer * rows, finer * cols

    def _shape_only(self, feeds: Mapping[str, Tensor]) -> Tensor:
        """No values, as where FLOP are counted: by geosr's net of the card, if there is one."""
        from geosr import models  # which lists the nets, and this module is none of them

        first = feeds[next(iter(self.inputs))]
        if self.card.arch == ARCH:
            return first.new_empty(self._shape(first))
        with first.device:
            net = models.build(self.card).net.eval()
        if self.card.task == "guided":
            made: Tensor = net({item.gsd: feeds[f"gsd{item.gsd}"] for item in self.card.inputs})
            return made
        return image(net(*feeds.values()))


def load(path: Path, data: bytes) -> Model:
    """The net in the bytes of an ONNX file.

    The card's sha256 is of the file, and where a card beside it says what the net does, of both.

    Raises:
        UsageError: the extra `onnx` is not installed.
        WeightsError: damaged, with data in other files, without a card or not as the card says.
    """
    proto = _parsed(path, data)
    said = {item.key: item.value for item in proto.metadata_props}
    if CARD in said:
        model = _own(path, data, said)
    else:
        model = _foreign(path, data, max(_numbers(proto), 1))
    _check_output(path, model)
    return model


def _own(path: Path, data: bytes, said: Mapping[str, str]) -> Model:
    try:
        card, count = ModelCard.from_json(said[CARD]), int(said.get(PARAMETERS, 1))
    except (WeightsError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error
    card = _with_file(card, path, data)
    net = OnnxNet(data, card, {}, count=max(count, 0))
    found = [item.name for item in _opened(path, net).get_inputs()]
    wanted = roles(card)
    missing = [role for role in wanted if role not in found and role != "clear"]
    if missing or not set(found) <= set(wanted):
        raise WeightsError(
            f"{path}: has the inputs {', '.join(found)} where its card says {', '.join(wanted)}. "
            "Export it again."
        )
    net.inputs = {role: role for role in wanted if role in found}
    return Model(card, net.eval())


def _foreign(path: Path, data: bytes, count: int) -> Model:
    beside = next((p for p in map(path.with_suffix, (".yaml", ".yml")) if p.is_file()), None)
    if beside is None:
        raise WeightsError(
            f"{path}: carries no card, so its bands are unknown. Write what it takes and makes "
            f"into {path.with_suffix('.yaml').name} beside it, for example: {_EXAMPLE}"
        )
    text = _text(beside)
    written = _mapping(beside, text)
    card = _with_file(_card(beside, written, path), path, data + text)
    gain = float(card.options["quantification"])
    net = OnnxNet(data, card, {}, gain=gain, count=count)
    inputs = _opened(path, net).get_inputs()
    if len(inputs) != 1:
        raise WeightsError(f"{path}: has {len(inputs)} inputs; a net with a card beside it has "
                           "one, (batch, bands, rows, cols).")  # fmt: skip
    net.inputs = {"image": inputs[0].name}
    net.single = _check_image(path, inputs[0], len(card.bands))
    return Model(card, net.eval())


def _with_file(card: ModelCard, path: Path, data: bytes) -> ModelCard:
    return replace(card, file=str(path), sha256=hashlib.sha256(data).hexdigest())


# the graph


def _parsed(path: Path, data: bytes) -> Any:
    """The file as protobuf, refused where it points to other files."""
    onnx = library("onnx", path)
    if len(data) >= _LARGEST:
        raise WeightsError(f"{path}: larger than 2 GiB, which no ONNX file is. Check the path.")
    try:
        proto = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors differ between its implementations
        raise WeightsError(f"{path}: not a whole ONNX file ({cause(error)}). Get it again."
                           ) from error  # fmt: skip
    if not proto.graph.node:
        raise WeightsError(f"{path}: holds no net (empty, or not ONNX). Get it again.")
    outside = next((t.name for t in _tensors(proto) if t.data_location or t.external_data), None)
    if outside is not None:
        raise WeightsError(
            f"{path}: tensor '{outside}' lies in another file, and other files are never opened. "
            "Save the net as one file: onnx.save(onnx.load(…), …, save_as_external_data=False)."
        )
    return proto


def _tensors(proto: Any) -> Iterator[Any]:
    """All tensors of a file, those of its functions too."""
    yield from _of_graph(proto.graph)
    for training in proto.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)
    for function in proto.functions:
        for node in function.node:
            yield from _of_attributes(node.attribute)
        yield from _of_attributes(function.attribute_proto)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _of_sparse(graph.sparse_initializer)
    for node in graph.node:
        yield from _of_attributes(node.attribute)


def _of_attributes(attributes: Any) -> Iterator[Any]:
    for item in attributes:
        yield from (item.t, *item.tensors)
        yield from _of_sparse((item.sparse_tensor, *item.sparse_tensors))
        for graph in (item.g, *item.graphs):
            yield from _of_graph(graph)


def _of_sparse(tensors: Any) -> Iterator[Any]:
    for item in tensors:
        yield from (item.values, item.indices)


def _numbers(proto: Any) -> int:
    """Of the graph's floating-point tensors."""
    floating = (1, 10, 11, 16)  # float, float16, double, bfloat16
    return sum(math.prod(t.dims) for t in proto.graph.initializer if t.data_type in floating)


def _opened(path: Path, net: OnnxNet) -> Any:
    library("onnxruntime", path)
    try:
        return net.session(torch.device("cpu"))
    except Exception as error:  # onnxruntime's own errors have no common parent
        raise WeightsError(
            f"{path}: onnxruntime does not take it ({cause(error)[:200]}). "
            "Get it again, or export it for a version that it takes."
        ) from error


def _check_image(path: Path, item: Any, bands: int) -> bool:
    """Whether the input of a foreign net takes one image at a time."""
    if item.type != "tensor(float)" or len(item.shape) != 4:
        raise WeightsError(
            f"{path}: its input is {item.type} of {len(item.shape)} dimensions; geosr gives "
            "tensor(float), (batch, bands, rows, cols). Export it so."
        )
    batch, channels, rows, cols = (d if isinstance(d, int) else None for d in item.shape)
    if rows is not None or cols is not None or batch not in (None, 1):
        raise WeightsError(
            f"{path}: takes {' × '.join(map(str, item.shape))} only; tiles differ in size. "
            "Export it with free rows and columns."
        )
    if channels not in (None, bands):
        raise WeightsError(
            f"{path}: takes {channels} bands, its card names {bands}. Correct the card."
        )
    return batch == 1


def _check_output(path: Path, model: Model) -> None:
    net = model.net
    assert isinstance(net, OnnxNet)
    outputs = net.session(torch.device("cpu")).get_outputs()
    kinds = ", ".join(item.type for item in outputs)
    if kinds != "tensor(float)":
        raise WeightsError(
            f"{path}: its output is {kinds or 'nothing'}; one tensor(float), the finer image, is "
            "needed. Export it so."
        )


# the card beside a foreign file


def _text(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST_CARD:
            raise WeightsError(f"{path}: larger than 64 KiB, so no card. Check the file.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}. Check the file.") from error


def _mapping(path: Path, text: bytes) -> dict[str, Any]:
    yaml = library("yaml", path, "PyYAML")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise WeightsError(
            f"{path}: not YAML ({cause(error)[:200]}). Write, for example: {_EXAMPLE}"
        ) from error
    if not isinstance(found, dict):
        raise WeightsError(
            f"{path}: holds a {type(found).__name__}, no card. Write, for example: {_EXAMPLE}"
        )
    unknown = [str(key)[:40] for key in found if key not in _KEYS]
    missing = [key for key in _NEEDED if key not in found]
    if unknown or missing:
        problem = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        raise WeightsError(
            f"{path}: {problem} (a card has {', '.join(_KEYS)}; the first three are needed). "
            f"Write, for example: {_EXAMPLE}"
        )
    return found


def _card(path: Path, written: Mapping[str, Any], file: Path) -> ModelCard:
    names = _names(path, written["bands"])
    factor, margin = _whole(path, written, "factor", 2), _whole(path, written, "margin", 0)
    options: dict[str, Any] = {"quantification": _number(path, written, "quantification", _UNIT)}
    if "gsd" in written:
        options["gsd"] = _number(path, written, "gsd", 0)
    return ModelCard(
        name=_word(path, written, "name", file.stem),
        arch=ARCH,
        sensor="any",
        inputs=(Input(factor, names),),
        output=Input(1, names),
        scale=factor,
        margin=margin,
        options=options,
        license=_word(path, written, "license", "unknown"),
        source=_word(path, written, "source", file.name),
        task="sisr",
    )


def _names(path: Path, found: Any) -> tuple[str, ...]:
    """Of a net's bands: as ESA writes them, by number, or one of any name."""
    if type(found) is int and 1 <= found <= 1000:
        return (ANY,) if found == 1 else tuple(str(i + 1) for i in range(found))
    items = found if isinstance(found, list) else []
    said = [item[:20] if isinstance(item, str) else type(item).__name__ for item in items]
    names = tuple(re.sub("^B0", "B", name.upper()) for name in said)
    if not names or len(set(names)) < len(names) or not set(names) <= set(_BANDS):
        raise WeightsError(
            f"{path}: bands are {', '.join(said) or type(found).__name__}; write Sentinel-2 bands "
            "in the net's order, each once ([B2, B3, B4, B8]), or a number of bands."
        )
    return names


def _whole(path: Path, written: Mapping[str, Any], key: str, least: int) -> int:
    found = written[key]
    if type(found) is not int or not least <= found <= 10000:
        raise _wrong(path, key, found, f"a whole number from {least} to 10000")
    return found


def _number(path: Path, written: Mapping[str, Any], key: str, default: float) -> float:
    found = written.get(key, default)
    if type(found) not in (int, float) or not 0 < found < 1e12:
        raise _wrong(path, key, found, "a number above 0")
    return float(found)


def _word(path: Path, written: Mapping[str, Any], key: str, default: str) -> str:
    found = written.get(key, default)
    if not isinstance(found, str) or not found.strip():
        raise _wrong(path, key, found, "a text")
    return found.strip()


def _wrong(path: Path, key: str, found: Any, wanted: str) -> WeightsError:
    simple = isinstance(found, str | int | float)
    said = str(found)[:40] if simple else type(found).__name__
    return WeightsError(f"{path}: {key} is {said}; write {wanted}.")
