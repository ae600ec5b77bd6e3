"""How nets that learn on the scene do so."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geosr.errors import UsageError
from geosr.models.card import ModelCard

KERNELS = ("auto", "bicubic")


@dataclass(frozen=True)
class FitOptions:
    """What the user wants of nets that learn on the scene; all but `save` change pixels.

    Attributes:
        steps: of the optimiser at most; None is the net's own number, or as many as fit into
            `seconds`.
        seconds: learning ends after them; the steps that fit into them hang on the machine.
        seed: of the places, the weights and the noise that are drawn.
        kernel: the point spread: "auto" is told by the scene, "bicubic" is how image libraries
            shrink pictures.
        reference: a raster on the output's grid, from which the input of `mip` migrates.
        save: folder for what the net has learned, one weights file a scene.
    """

    steps: int | None = None
    seconds: float | None = None
    seed: int = 0
    kernel: str = "auto"
    reference: Path | None = None
    save: Path | None = None

    @property
    def recipe(self) -> dict[str, Any]:
        """What changes pixels."""
        return {
            "steps": self.steps, "seconds": self.seconds, "seed": self.seed, "kernel": self.kernel,
            "reference": _stamped(self.reference),
        }  # fmt: skip

    def require_learner(self, cards: Iterable[ModelCard]) -> None:
        """Refuse what is asked of nets that learn where none of the chosen ones does.

        Raises:
            UsageError: steps, a time, a reference or a folder to save in were given for nothing.
        """
        asked = {"--fit-steps": self.steps, "--fit-time": self.seconds,
                 "--fit-reference": self.reference, "--save-fit": self.save}  # fmt: skip
        said = next((name for name, value in asked.items() if value), None)
        if said and not any(card.learns for card in cards):
            raise UsageError(
                f"{said}: no chosen net learns on the scene. Drop it, or choose --model zssr."
            )


def _stamped(path: Path | None) -> list[Any] | None:
    """A file's place, size and time."""
    if path is None:
        return None
    stat = path.stat() if path.exists() else None
    return [str(path.absolute()), *((stat.st_size, stat.st_mtime_ns) if stat else ())]
