"""What each term of a loss comes to, for log.csv: their weighted sum hides which of them moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from geosr.training.distributed import Ranks
from geosr.training.losses.criterion import Term


class TermMeans:
    """Means of the terms of a loss, without their weights, over the steps since the last row.

    Terms of one name, such as those of a pyramid's levels, are added up as they are in the loss.
    A step counts when it is kept: one that is skipped, since it had no number, never is.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.sums: dict[str, tuple[float, int]] = {}  # with the number of steps
        self._step: tuple[Sequence[str], list[Tensor]] = ((), [])

    def note(self, names: Sequence[str], terms: Sequence[Term], totals: Sequence[Tensor]) -> None:
        """One step's terms, to be kept or forgotten.

        Args:
            names: of the terms, in the same order.
            totals: counts over the whole batch.
        """
        pairs = zip(terms, totals, strict=True)
        self._step = (
            names,
            [total.detach().float() / n.clamp(min=1e-12) for (_, total, _), n in pairs],
        )

    def keep(self) -> None:
        """Count the step that was noted last; a GPU is waited for here, not before its backward."""
        names, parts = self._step
        step = dict.fromkeys(names, 0.0)
        for name, mean in zip(names, self.ranks.total(torch.stack(parts)).tolist(), strict=True):
            step[name] += mean
        for name, mean in step.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = total + mean, count + 1

    def figures(self, names: Sequence[str]) -> dict[str, str]:
        """Columns of log.csv, `loss_NAME` each; nan where no step since the last time had it."""
        found = {}
        for name in names:
            total, count = self.sums.get(name, (math.nan, 1))
            found[f"loss_{name}"] = f"{total / count:.6g}"
        self.sums = {}
        return found

    def restore(self, sums: Mapping[str, Sequence[float]]) -> None:
        """Go on where another left off."""
        self.sums = {name: (total, int(count)) for name, (total, count) in sums.items()}
