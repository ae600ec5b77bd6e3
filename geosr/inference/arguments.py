"""Arguments of the Python API that mean nothing, refused in the words of the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from geosr.errors import UsageError

_LARGEST = sys.float_info.max
_RANGES = {  # what a number may be; of all others from 1 on
    "clearance": (0, 1), "overlap": (0, _LARGEST), "fit_seed": (0, _LARGEST),
    "fit_time": (0, _LARGEST), "lock_timeout": (0, _LARGEST), "gsd": (1e-6, _LARGEST),
    "quantification": (1e-6, _LARGEST), "dn_offset": (-_LARGEST, _LARGEST),
    "offset": (-_LARGEST, _LARGEST),
}  # fmt: skip


def require_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that an option does not know.

    Raises:
        UsageError: names the words that it knows.
    """
    if value not in choices:
        raise UsageError(f"{name} '{value}' is none of {', '.join(choices)}. Choose one.")


def require_ranges(**values: float | None) -> None:
    """Refuse numbers that mean nothing, as the command line does.

    Raises:
        UsageError: names the range.
    """
    for name, value in values.items():
        low, high = _RANGES.get(name, (1, _LARGEST))
        if value is not None and not low <= value <= high:
            most = f"{low:g} to {high:g}" if high < _LARGEST else f"{low:g} or more"
            raise UsageError(f"{name} {value} is not {most if low > -high else 'a finite number'}.")


def require_few(**values: tuple[Sequence[float] | None, int]) -> None:
    """Refuse several numbers that are more or fewer than they should be.

    Raises:
        UsageError: names how many there should be.
    """
    for name, (given, count) in values.items():
        if given is not None and len(given) != count:
            raise UsageError(f"{name} {given} holds {len(given)} numbers, not {count}.")
