"""Nets that are found at once from samples, without steps of an optimiser: what they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.models.design import Recipe

_MEANT = {"seed", "scale", "bands", "model", "net_options", "seconds", "val_share", "val_windows",
          "val_every", "workers", "precision", "data_kind", "pattern", "degradation",
          "quantification", "patch", "recipe"}  # fmt: skip  # settings that mean something here


@dataclass(frozen=True)
class Solved:
    """What was found, and on how much.

    Attributes:
        card: with the sizes that the net really has.
        tensors: of its state.
        pixels: that it was found on.
        parts: trees or windows that it took.
        broken: images that could not be read, with the reason.
    """

    card: ModelCard
    tensors: Mapping[str, Tensor]
    pixels: int
    parts: int
    broken: Mapping[str, str] = field(default_factory=dict)


def check(settings: Mapping[str, Any], recipe: Recipe, *, resume: bool, ranks: int) -> None:
    """Raise where something is asked for that needs steps of an optimiser.

    Args:
        settings: of the training, by name.
        recipe: the design's own.
        ranks: processes that train together.

    Raises:
        UsageError: names the first such setting.
    """
    name, own = settings["model"], asdict(recipe)
    strange = ["resume"] if resume else []
    strange += [key for key, value in settings["recipe"].items()
                if key not in ("patch", "jitter", "steps") and value != own[key]]  # fmt: skip
    strange += [key for key, value in settings.items() if value and key not in _MEANT]
    if strange:
        raise UsageError(
            f"--{strange[0].replace('_', '-')} has no meaning for '{name}', which is found at once "
            "and not by steps of an optimiser. Leave it out."
        )
    if ranks > 1:
        raise UsageError(f"'{name}' is found by one process ({ranks} started). Say --threads N.")
