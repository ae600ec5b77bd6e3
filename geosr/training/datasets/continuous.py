"""Pairs for nets of any scale: a scale is drawn for every step, from 1 to the card's.

As LIIF's repository makes them (yinboc/liif): a window of the truth is made as many times coarser
as was drawn, so that inputs of all steps have one size, and of the truth as many pixels as the
input has are learnt from; here they are a window at random and not single pixels, so that losses
which look at neighbours work too. The window is degraded with what lies around it, as a coarser
sensor would have seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.models.card import PLACES, ModelCard
from geosr.models.nets.continuous.places import Places
from geosr.raster.window import Window
from geosr.scene import degrade, resample
from geosr.scene.scene import Scene
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.folder import FolderWindows
from geosr.training.datasets.windows import Area, Spot

CHECKED = (1.5, 2.0, 2.5, 3.0, 4.0)  # scales of held-out windows, in turn
_STREAM = 0x5CA1E  # of scales, apart from what windows are drawn by


class ContinuousWindows(FolderWindows):
    """Windows of images, degraded by any factor.

    Args:
        sampled: of the truth only as many pixels as the input has, drawn at random; else all.
    """

    def __init__(
        self, areas: Sequence[Area[Scene]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0, operator: str = "bicubic", sampled: bool = False,
    ) -> None:  # fmt: skip
        resample.lines(operator, 1.5, 1, pad=0)  # it must be one for any factor
        super().__init__(areas, card, patch, seed=seed, jitter=jitter, operator=operator)
        self.operator, self.sampled = operator, sampled

    def scale_at(self, step: int) -> float:
        """Drawn evenly from 1 to the card's scale; it depends on seed and step alone."""
        drawn = np.random.default_rng([self.seed, step, _STREAM]).random()
        return float(1 + drawn * (self.card.factor - 1))

    def spots(self, limit: int) -> list[Spot]:
        """As of all windows; the scales take turns."""
        scales = [scale for scale in CHECKED if scale <= self.card.factor] or [self.card.factor]
        return [replace(spot, scale=scales[i % len(scales)])
                for i, spot in enumerate(super().spots(limit))]  # fmt: skip

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The middle of the spot's window, degraded so that whole input pixels cover it."""
        side = self.patch // self.card.scale  # of the input
        ground = max(round(side * spot.scale), side)
        factor = ground / side
        beside, pad = (self.patch - ground) // 2, resample.pad(factor)
        row, col = spot.window.row + beside, spot.window.col + beside
        values, usable = self._truth(replace(spot, window=Window(row, col, ground, ground)), pad)
        taps = resample.lines(self.operator, factor, side, pad=pad, rng=rng)
        small = resample.shrink(values, taps, taps)
        if self.operator == "blur-noise":
            small += degrade.noise(rng, small.shape) * np.float32(10000)
        count = side if self.sampled else ground
        first = [int(n) for n in rng.integers(ground - count + 1, size=2)]
        places = [((n + 0.5) / factor - 0.5, 1 / factor, count) for n in first]
        at = (slice(None), *(slice(pad + n, pad + n + count) for n in first))
        inputs = {self.card.inputs[0].gsd: small, PLACES: np.array(places)}
        return Sample(inputs, np.ascontiguousarray(values[at]), usable[at])


def check(card: ModelCard, kind: str) -> None:
    """Whether a net of any scale can learn from pairs of a kind.

    Raises:
        UsageError: it cannot; says from which.
    """
    if card.continuous and kind != "folder":
        raise UsageError(
            f"'{card.name}' learns several scales at once, and '{kind}' has pairs of one. Give a "
            "folder of images (--data-kind folder)."
        )


def under(low: NDArray[np.float32], places: NDArray[Any]) -> NDArray[np.float32]:
    """The input pixels that output pixels lie in: what a picture shows of the input."""
    asked = Places.of(torch.from_numpy(places)[None], torch.from_numpy(low)[None], 1.0)
    rows, cols = (axis.nearest()[0][0].numpy() for axis in (asked.rows, asked.cols))
    return low[..., rows[:, None], cols]
