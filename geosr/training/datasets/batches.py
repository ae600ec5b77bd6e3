"""Training pairs, and many of them stacked for a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One training pair, in reflectance × 10000 (other values: × 10000 / what counts as 1.0).

    Attributes:
        inputs: by GSD as on the card: (bands, rows, cols), or (frames, bands + 1, rows, cols)
            with the quality mask last; `SHIFTS` to where the frames look, (frames, 2).
        target: (bands, rows, cols).
        mask: True where the target was sensed.
    """

    inputs: Mapping[int, NDArray[np.float32]]
    target: NDArray[np.float32]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Batch:
    """Samples stacked; `broken` names the images found unreadable so far, with the reason."""

    inputs: Mapping[int, Tensor]
    target: Tensor
    mask: Tensor
    broken: Mapping[str, str] = field(default_factory=dict)

    def to(self, device: str) -> Batch:
        """On a device; from pinned memory without waiting."""
        if device == "cpu":
            return self
        inputs = {k: v.to(device, non_blocking=True) for k, v in self.inputs.items()}
        target = self.target.to(device, non_blocking=True)
        return Batch(inputs, target, self.mask.to(device, non_blocking=True), self.broken)

    def pin_memory(self) -> Batch:
        """The same in page-locked memory, where it is in memory at all."""
        if self.target.device.type != "cpu":
            return self
        inputs = {k: v.pin_memory() for k, v in self.inputs.items()}
        return Batch(inputs, self.target.pin_memory(), self.mask.pin_memory(), self.broken)


def stack(samples: Sequence[Sample], broken: Mapping[str, str] | None = None) -> Batch:
    """Samples of one shape as one batch."""

    def one(arrays: Sequence[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    return Batch(
        {gsd: one([s.inputs[gsd] for s in samples]) for gsd in samples[0].inputs},
        one([s.target for s in samples]),
        one([s.mask for s in samples]),
        dict(broken or {}),
    )
