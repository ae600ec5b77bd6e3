"""Which numbers of a training make sense; others would fail somewhere in its middle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from geosr.errors import UsageError

_SEEDS = 2**40  # times the steps of a training, what PyTorch's generator still takes
_BATCH = 2**16
_PATCH = 2**14
# least and most by name; most of them may be 0, which has a meaning of its own
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "lr": (0, 1e3), "weight_decay": (0, 1e3), "gamma": (0, 1), "clip": (0, 1e9),
    "ema": (0, 0.9999999), "jitter": (0, 10), "batch_size": (1, _BATCH), "patch": (1, _PATCH),
    "period": (1, math.inf), "warmup": (0, math.inf), "steps": (0, math.inf),
    "epochs": (0, 1e9), "seconds": (0, 1e9), "seed": (0, _SEEDS), "val_share": (0.01, 0.9),
    "val_every": (1, math.inf), "val_windows": (1, math.inf), "patience": (0, math.inf),
}  # fmt: skip


def check(config: Any) -> None:
    """Refuse numbers that no training can go by.

    Args:
        config: a `TrainConfig`.

    Raises:
        UsageError: names the first of them, and what it may be.
    """
    own = {name: getattr(config, name) for name in _BOUNDS if hasattr(config, name)}
    recipe = {
        name: getattr(config.recipe, name) for name in _BOUNDS if hasattr(config.recipe, name)
    }
    for name, value in [*recipe.items(), *own.items()]:
        least, most = _BOUNDS[name]
        if name == "patch" and not value:
            continue
        if not least <= value <= most:
            until = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: it must be {until}. Give another, or leave "
                "it out."
            )


def check_options(net: str, own: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Refuse options of a net that are of another kind than its own.

    Raises:
        UsageError: a text where it has a number, or a count below 0.
    """
    for name, value in said.items():
        usual = own[name]
        counts = isinstance(usual, int) and not isinstance(usual, bool)
        numbers = isinstance(usual, int | float) and not isinstance(usual, bool)
        other = numbers and (isinstance(value, bool) or not isinstance(value, int | float))
        if other or (counts and value < 0 <= usual):
            raise UsageError(
                f"--net-option {name}={value}: '{net}' has a {'count' if counts else 'number'} "
                f"there, {usual} by default. Give another."
            )
