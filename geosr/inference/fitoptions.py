"""How nets that learn on the scene do so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def _stamped(path: Path | None) -> list[Any] | None:
    """A file's place, size and time."""
    if path is None:
        return None
    stat = path.stat() if path.exists() else None
    return [str(path.absolute()), *((stat.st_size, stat.st_mtime_ns) if stat else ())]
