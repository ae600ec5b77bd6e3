"""A net on tiles: device, precision, batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import UsageError
from geosr.models import Model

log = logging.getLogger("geosr")

_KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NO_MEMORY = (  # what libraries say that have no type for it
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cudnn_status_alloc_failed",
    "unable to find an engine",
)


@dataclass(frozen=True)
class Engine:
    """Where and how nets run.

    Attributes:
        device: "cpu" or "cuda:N".
        precision: of the residual: "fp32", "bf16" or "fp16"; skips are always added in fp32.
        batch_size: tiles that share a pass.
    """

    device: str = "cpu"
    precision: str = "fp32"
    batch_size: int = 1


def engine(
    device: str = "auto", precision: str = "auto", batch_size: int = 1, *, guided: bool = True
) -> Engine:
    """Settle what "auto" means on this machine.

    Precision is fp32 on a CPU, and on a GPU bf16 where it has it, else fp16. Nets that are not
    guided stay in fp32: not all add what they compute to the image they got.

    Raises:
        UsageError: a GPU is asked for that is not there.
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
    if precision == "auto":
        low = "bf16" if kind.type == "cuda" and torch.cuda.is_bf16_supported() else "fp16"
        precision = low if kind.type == "cuda" and guided else "fp32"
    return Engine(device, precision, batch_size)


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
    """The model on the engine's device, laid out for its convolutions."""
    return model.to(engine.device)


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
    for start in range(0, len(tiles), engine.batch_size):
        batch = tiles[start : start + engine.batch_size]
        inputs = {
            gsd: torch.from_numpy(np.stack([tile[gsd] for tile in batch])).to(engine.device)
            for gsd in batch[0]
        }
        made = _run(run, inputs, orders, engine.device, engine.precision)
        if engine.precision in _KINDS and not np.isfinite(made).all():
            log.info("%s gave NaN or Inf in %s: %d tiles again in fp32", model.card.name,
                     engine.precision, len(batch))  # fmt: skip
            made = _run(run, inputs, orders, engine.device, "fp32")
        yield from made


def _run(
    run: Callable[[Mapping[int, Tensor]], Tensor],
    inputs: Mapping[int, Tensor],
    orders: Sequence[NDArray[np.int64]],
    device: str,
    precision: str,
) -> NDArray[np.float32]:
    kind = _KINDS.get(precision)
    with torch.autocast(torch.device(device).type, dtype=kind, enabled=kind is not None):
        output = run(inputs) if not len(orders) else _averaged(run, inputs, orders)
    return np.asarray(output.float().cpu().numpy())


def _averaged(
    run: Callable[[Mapping[int, Tensor]], Tensor],
    inputs: Mapping[int, Tensor],
    orders: Sequence[NDArray[np.int64]],
) -> Tensor:
    """The mean of the results for several orders of the frames."""
    results = [run({gsd: x[:, order] for gsd, x in inputs.items()}).float() for order in orders]
    return torch.stack(results).mean(0)
