"""Nets in ONNX files: geosr's own exports, which carry their card, and those of others.

A file of others needs a card beside it, as `geosr.models.onnx.card` says. Such a net has one
input (batch, bands, rows, cols) and one output, `factor` times finer. It takes bands of one grid;
nothing is brought from 20 m to 10 m for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from geosr.errors import UsageError, WeightsError, cause
from geosr.models.card import Model, ModelCard, image
from geosr.models.onnx.card import ARCH, EXAMPLE, UNIT, written
from geosr.models.onnx.graph import library, numbers, parsed

CARD, PARAMETERS = "geosr.card", "geosr.parameters"  # keys of a file's metadata
_NO_MEMORY = ("alloc", "out of memory")  # as onnxruntime says it


def roles(card: ModelCard) -> tuple[str, ...]:
    """Names of a net's inputs in geosr's own files, in the order of the net's arguments."""
    if card.task == "guided":
        return tuple(f"gsd{item.gsd}" for item in card.inputs)
    if card.task in ("sisr", "spectral"):
        return ("image",)
    return ("frames", "clear", "shifts") if card.shifts else ("frames", "clear")


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
        self, data: bytes, card: ModelCard, inputs: Mapping[str, str], *, gain: float = UNIT,
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
        from geosr.models import registry  # which lists the nets, and this module is none of them

        first = feeds[next(iter(self.inputs))]
        if self.card.arch == ARCH:
            return first.new_empty(self._shape(first))
        with first.device:
            net = registry.build(self.card).net.eval()
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
    proto = parsed(path, data)
    said = {item.key: item.value for item in proto.metadata_props}
    own = CARD in said
    model = _own(path, data, said) if own else _foreign(path, data, max(numbers(proto), 1))
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
            f"into {path.with_suffix('.yaml').name} beside it, for example: {EXAMPLE}"
        )
    card, text = written(beside, path)
    card = _with_file(card, path, data + text)
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
