"""What a pass of a net costs: its arithmetic and its memory, by pixel of its coarsest input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geosr.models.card import Model, ModelCard

_SIDE = 48  # coarsest pixels of the tile that is counted


@dataclass(frozen=True)
class Cost:
    """What one pass takes by pixel of the coarsest input, margin included.

    Attributes:
        flop: floating-point operations by PyTorch's counter, where a multiply-add is two; sums
            and solutions of small systems do not count.
        bytes: of the tensors that live at once in fp32.
    """

    flop: float
    bytes: float

    @classmethod
    def of(cls, entry: Mapping[str, Any] | None) -> Cost | None:
        """What a manifest entry says; None where it says nothing."""
        if entry is None or "flop_per_pixel" not in entry or "bytes_per_pixel" not in entry:
            return None
        return cls(float(entry["flop_per_pixel"]), float(entry["bytes_per_pixel"]))


class Outline(Model):
    """A net known by its file alone, to plan with: it cannot run, and needs no PyTorch.

    Attributes:
        cost: of a pass.
    """

    def __init__(self, card: ModelCard, parameters: int, cost: Cost) -> None:
        self.card, self.cost, self._parameters = card, cost, parameters

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return self._parameters


def measured(model: Model) -> Cost:
    """The cost of a net that is there; its arithmetic is counted, not done.

    Of nets for several images nothing is counted, and memory is a guess.
    """
    from geosr.models.memory import UNKNOWN, per_pixel

    if model.card.task == "misr":
        return Cost(0.0, UNKNOWN * model.card.frames)
    return Cost(_flop(model) / _SIDE**2, per_pixel(model))


def _flop(model: Model) -> int:
    """FLOP of one tile; 0 where the counter cannot tell."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    card = model.card
    shapes = {item.gsd: (len(item.bands), *[_SIDE * card.inputs[-1].gsd // item.gsd] * 2)
              for item in card.inputs}  # fmt: skip
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with mode, torch.no_grad(), FlopCounterMode(display=False) as counter:
            model({gsd: torch.empty(1, *shape) for gsd, shape in shapes.items()})
    except (RuntimeError, LookupError, TypeError, ValueError):
        return 0
    return int(counter.get_total_flops())
