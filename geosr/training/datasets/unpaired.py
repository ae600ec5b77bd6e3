"""Coarse images and fine images of different ground: windows of both, drawn independently.

No coarse window has its truth beside it. What is held out to check on are fine images, degraded by
an operator that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geosr.errors import UsageError
from geosr.models.card import CLEAR, ModelCard
from geosr.scene.fill import fill
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions
from geosr.training.datasets import folder
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.places import places
from geosr.training.datasets.windows import Area, Spot, Windows, pick

OPERATOR = "sensor"  # what fine images are degraded by where nobody says otherwise
_FILL_REACH = 8
_APART = 1_000_003  # between the seeds of coarse and of fine windows


class Images(Windows[Scene]):
    """Windows of images by themselves, from any pixel on; each is its own input."""

    kind = "images"
    anywhere = True

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The window, its gaps filled, and where it was sensed."""
        scene = self.areas[spot.area].item
        names = pick(self.card, [band.name for band in scene.bands], spot.band)
        pixels = self._reader(scene).read(names, scene.finest, spot.window)
        filled = fill(pixels.values, pixels.usable, _FILL_REACH)
        values = reflectance(scene, names, filled)
        return Sample({self.card.inputs[0].gsd: values}, values, pixels.usable)


class UnpairedWindows(Images):
    """Windows of fine images, each with one of a coarse image that has nothing to do with it.

    Both are turned, flipped and brightened by themselves.

    Args:
        coarse: areas of the coarse images, on their own grids.
        patch: side of the fine windows, pixels.
    """

    kind = "unpaired"

    def __init__(
        self, areas: Sequence[Area[Scene]], card: ModelCard, patch: int, *,
        coarse: Sequence[Area[Scene]], seed: int = 0, jitter: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        alone = replace(card, scale=1)  # its windows are whole pixels of its own
        self.coarse = Images(
            coarse, alone, self.patch // card.scale, seed=seed + _APART, jitter=jitter
        )

    def sample(self, step: int, i: int) -> Sample:
        """Fine window `i` of step `step` as the target, and a coarse one as the input.

        Raises:
            SceneError: of one of the two no image is left that can be read.
        """
        fine, coarse = super().sample(step, i), self.coarse.sample(step, i)
        self.broken.update(self.coarse.broken)
        inputs = {self.card.inputs[0].gsd: coarse.target, CLEAR: coarse.mask.astype(np.float32)}
        return Sample(inputs, fine.target, fine.mask)

    def close(self) -> None:
        """Close all images."""
        super().close()
        self.coarse.close()


def areas(
    data: Path, fine: Path, card: ModelCard, options: OpenOptions, pattern: str | None, patch: int
) -> tuple[list[Area[Scene]], list[Area[Scene]]]:
    """Every readable image among the coarse and among the fine ones.

    Args:
        patch: side of the fine windows, pixels.

    Raises:
        UsageError: the net is not for single images, or one of the two has none that is large
            enough.
    """
    if card.task != "sisr":
        takes = "bands of several sizes" if card.task == "guided" else "several images of a place"
        raise UsageError(
            f"--unpaired: '{card.name}' takes {takes}, and an unpaired image stands alone. Choose "
            "a net for a single image (edsr-baseline, srresnet)."
        )
    coarse = _fitting(data, "--data", card, options, pattern, patch // card.scale)
    return coarse, _fitting(fine, "--data-fine", card, options, pattern, patch)


def _fitting(
    path: Path, named: str, card: ModelCard, options: OpenOptions, pattern: str | None, side: int
) -> list[Area[Scene]]:
    """The images of one of the two folders, of which one at least holds a window."""
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder. Check {named}.")
    found = folder.areas(path, card, options, pattern)
    largest = max(min(area.window[2:]) for area in found)
    if largest < side:
        truth = largest * card.scale if named == "--data" else largest - largest % card.scale
        raise UsageError(
            f"{named} {path}: its windows have {side} × {side} pixels, and the largest image has "
            f"{largest} along its shorter side. Pass --patch {truth}, or give larger images."
        )
    return found


def without(
    areas: Sequence[Area[Scene]], held: Sequence[Area[Scene]], place: Callable[[str], str]
) -> list[Area[Any]]:
    """The coarse areas that show no place which is held out; all, where none would be left."""
    numbers = places([area.item for area in (*held, *areas)], place)
    shown = set(numbers[: len(held)])
    left = [a for a, n in zip(areas, numbers[len(held) :], strict=True) if n not in shown]
    return left or list(areas)
