"""A net on tiles: device, precision, batches."""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import parent_process
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import UsageError
from geosr.inference.engine import Engine
from geosr.inference.precision import quickest, share
from geosr.models.card import Model
from geosr.models.memory import KINDS
from geosr.models.onnx.net import OnnxNet

log = logging.getLogger("geosr")

_turn = Lock()  # of scenes side by side; each pass has the memory to itself
_NO_MEMORY = (  # what libraries say that have no type for it
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cudnn_status_alloc_failed",
    "unable to find an engine",
)


def engine(
    device: str = "auto", precision: str = "auto", batch_size: int = 1, *,
    compiled: bool = False, known: Path | None = None,
) -> Engine:  # fmt: skip
    """Settle what "auto" means on this machine.

    Precision is bf16 where the device multiplies it (GPUs, CPUs with AVX512-BF16 or AMX on which a
    trial shows a gain), else fp16 on a GPU and fp32 on a CPU. Tiles may take half of a GPU's free
    memory, 768 MiB on a CPU.

    Args:
        known: the file where such trials are kept.

    Raises:
        UsageError: a GPU is asked for that is not there, or there is no compiler.
    """
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    kind = torch.device(device)
    if kind.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (kind.index or 0) >= count:
            raise UsageError(
                f"no device '{device}' ({count} GPUs found). Say --device cpu or auto."
            )
    if compiled:
        _require_compiler(kind)
    asked = precision != "auto"
    if not asked:
        precision = quickest(kind, known)
    elif kind.type == "cpu" and parent_process() is None:  # said once, not by every worker
        _warn_of_slow(precision)
    return Engine(device, precision, batch_size, _budget(kind), asked, compiled)


def _warn_of_slow(precision: str) -> None:
    longer = 1.0 if precision == "fp32" else share(precision)
    if longer > 1:
        log.warning("%s takes %.1f times as long as fp32 on this CPU. Say --precision auto.",
                    precision, longer)  # fmt: skip


def _require_compiler(device: torch.device) -> None:
    """Whether torch.compile finds what it needs beside PyTorch."""
    if device.type == "cuda":
        missing = None if find_spec("triton") else "triton"
    else:
        compilers = ("c++", "g++", "clang++")
        missing = None if any(map(shutil.which, compilers)) else "a C++ compiler"
    if missing:
        raise UsageError(f"--compile needs {missing}, which is not there. Leave it out.")


def _budget(device: torch.device) -> int:
    if device.type != "cuda":
        return Engine.memory
    return int(torch.cuda.mem_get_info(device)[0]) // 2


def out_of_memory(error: BaseException) -> bool:
    """Whether a failure means that less at a time may succeed."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in said for words in _NO_MEMORY)


def device_lost(error: BaseException) -> bool:
    """Whether a failure means that the GPU is of no more use to this process."""
    if out_of_memory(error) or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)


def free_memory(engine: Engine) -> None:
    """Give back what a GPU's allocator keeps for later."""
    if torch.device(engine.device).type == "cuda":
        torch.cuda.empty_cache()


def place(model: Model, engine: Engine) -> Model:
    """The model on the engine's device, laid out for its convolutions, compiled where asked."""
    model = model.to(engine.device)
    if not engine.compiled or not model.parameters or isinstance(model.net, OnnxNet):
        return model
    return Model(model.card, torch.compile(model.net))  # type: ignore[arg-type]


@torch.inference_mode()
def predict(
    model: Model,
    tiles: Sequence[Mapping[int, NDArray[np.float32]]],
    engine: Engine,
    *,
    uncertain: bool = False,
    orders: Sequence[NDArray[np.int64]] = (),
) -> Iterator[NDArray[np.float32]]:
    """Run the net on tiles of one shape, `engine.batch_size` at a time.

    Args:
        tiles: {gsd: (bands, rows, cols)}, reflectance × 10000, margin included.
        uncertain: the bands' uncertainty follows them, as `Model.with_uncertainty` gives it.
        orders: of the frames of multi-image nets, whose results are averaged; none is the given.

    Yields:
        (bands, rows, cols) on the output grid for each tile, margin included. A batch that gives
        NaN or Inf in bf16 or fp16 is run again in fp32.
    """
    run = model.with_uncertainty if uncertain else model
    order = _Order(run, orders, torch.device(engine.device), engine.precision_of(model))
    flight = deque[_Pass]()
    for start in range(0, len(tiles), engine.batch_size):
        flight.append(_Pass(order, tiles[start : start + engine.batch_size]))
        if len(flight) > order.ahead:
            yield from flight.popleft().result(model.card.name)
    for each in flight:
        yield from each.result(model.card.name)


@dataclass(frozen=True)
class _Order:
    """What is done with every batch."""

    run: Callable[[Mapping[int, Tensor]], Tensor]
    orders: Sequence[NDArray[np.int64]]
    device: torch.device
    precision: str

    @property
    def ahead(self) -> int:
        """Batches begun before the last one is fetched: a GPU computes while the host copies."""
        return 1 if self.device.type == "cuda" else 0

    def __call__(self, inputs: Mapping[int, Tensor], precision: str) -> Tensor:
        """The net's result, fp32."""
        kind, run = KINDS.get(precision), self.run
        with torch.autocast(self.device.type, dtype=kind, enabled=kind is not None):
            out = run(inputs) if not len(self.orders) else _averaged(run, inputs, self.orders)
        return out.float()


class _Pass:
    """One batch on its way through the net; on a GPU it is begun, not awaited."""

    def __init__(self, order: _Order, tiles: Sequence[Mapping[int, NDArray[np.float32]]]) -> None:
        self._order = order
        with _turn:
            self._inputs = {
                gsd: self._up(np.stack([tile[gsd] for tile in tiles])) for gsd in tiles[0]
            }
            self._fetch(order.precision)

    def _up(self, stack: NDArray[np.float32]) -> Tensor:
        host = torch.from_numpy(stack)
        if self._order.device.type != "cuda":
            return host.to(self._order.device)
        return host.pin_memory().to(self._order.device, non_blocking=True)

    def _fetch(self, precision: str) -> None:
        """Compute, and begin to copy the result into page-locked memory."""
        output = self._order(self._inputs, precision)
        if output.device.type != "cuda":
            self._made, self._ready = output, None
            return
        self._made = torch.empty(output.shape, pin_memory=True)
        self._made.copy_(output, non_blocking=True)
        self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._ready.record(torch.cuda.current_stream(output.device))

    def _array(self) -> NDArray[np.float32]:
        if self._ready is not None:
            self._ready.synchronize()
        return np.asarray(self._made.cpu().numpy())

    def result(self, name: str) -> NDArray[np.float32]:
        """(tiles, bands, rows, cols); what is NaN or Inf in low precision is run again in fp32."""
        made, precision = self._array(), self._order.precision
        if precision in KINDS and not np.isfinite(made).all():
            log.info("%s gave NaN or Inf in %s: %d tiles again in fp32", name, precision, len(made))
            with _turn:
                self._fetch("fp32")
            made = self._array()
        return made


def _averaged(
    run: Callable[[Mapping[int, Tensor]], Tensor],
    inputs: Mapping[int, Tensor],
    orders: Sequence[NDArray[np.int64]],
) -> Tensor:
    """The mean of the results for several orders of the frames."""
    results = [run({gsd: x[:, order] for gsd, x in inputs.items()}).float() for order in orders]
    return torch.stack(results).mean(0)
