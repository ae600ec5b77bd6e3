"""A net on tiles: device, precision, batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.models import Model

_KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}


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


def place(model: Model, engine: Engine) -> Model:
    """The model on the engine's device, laid out for its convolutions."""
    return model.to(engine.device)


@torch.inference_mode()
def predict(
    model: Model,
    tiles: Sequence[Mapping[int, NDArray[np.float32]]],
    engine: Engine,
) -> Iterator[NDArray[np.float32]]:
    """Run the net on tiles of one shape, `engine.batch_size` at a time.

    Args:
        tiles: {gsd: (bands, rows, cols)}, reflectance × 10000, margin included.

    Yields:
        (bands, rows, cols) on the output grid for each tile, margin included.
    """
    for start in range(0, len(tiles), engine.batch_size):
        batch = tiles[start : start + engine.batch_size]
        inputs = {
            gsd: torch.from_numpy(np.stack([tile[gsd] for tile in batch])).to(engine.device)
            for gsd in batch[0]
        }
        kind = _KINDS.get(engine.precision)
        with torch.autocast(torch.device(engine.device).type, dtype=kind, enabled=kind is not None):
            output = model(inputs)
        yield from output.float().cpu().numpy()
