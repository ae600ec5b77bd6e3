"""What a user should know of how a scene was read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    """Something a user should know; a warning where it was assumed, not read.

    Attributes:
        guess: it tells a DN offset that only a name speaks for.
    """

    text: str
    warning: bool = False
    guess: bool = False

    def __str__(self) -> str:
        return f"warning: {self.text}" if self.warning else self.text


def lost(what: str, path: str) -> tuple[Note, ...]:
    """The warning about a place that is not carried to the output; none for ""."""
    said = f"{path}: the output does not get its {what}; warp it by them first (gdalwarp)"
    return (Note(said, warning=True),) if what else ()
