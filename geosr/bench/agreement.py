"""How far the outputs of both ways are apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.bench.reference import ReferenceTiles
from geosr.inference.binding import Bound
from geosr.inference.plan import Plan
from geosr.raster.files import open_raster
from geosr.scene.scene import Scene


@dataclass(frozen=True)
class Agreement:
    """How far the two outputs are apart, in counts.

    Attributes:
        share: of super-resolved pixels whose whole receptive field lies inside the reference tile.
        largest: difference among those.
        elsewhere: largest difference among the others.
    """

    share: float
    largest: float
    elsewhere: float


def compare(plan: Plan, one: Path, other: Path) -> Agreement:
    """The two outputs of a plan, super-resolved bands where both hold numbers."""
    seen = largest = elsewhere = 0.0
    total = 0
    with open_raster(one) as first, open_raster(other) as second:
        for net in plan.nets:
            sure = _sure(net, plan.scene)
            for name in net.bands:
                index = plan.names.index(name) + 1
                a, b = (file.read(index).astype(np.float64) for file in (first, second))
                apart = np.where((b == second.nodata) | ~np.isfinite(a - b), 0, np.abs(a - b))
                largest = max(largest, float(apart[sure].max(initial=0)))
                elsewhere = max(elsewhere, float(apart[~sure].max(initial=0)))
                seen, total = seen + float(sure.sum()), total + sure.size
    return Agreement(seen / total, largest, elsewhere)


def _sure(net: Bound, scene: Scene) -> NDArray[np.bool_]:
    """Output pixels whose receptive field their reference tile holds, (rows, cols)."""
    card, (height, width) = net.model.card, scene.grids[net.target].shape
    tiles = ReferenceTiles.of(card)
    return np.logical_and.outer(tiles.sure(height, card), tiles.sure(width, card))
