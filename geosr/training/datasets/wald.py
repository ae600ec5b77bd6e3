"""Wald's protocol: degrade a scene, so that its own coarse bands become the truth.

All bands are blurred and averaged by the factor between the target's GSD and 10 m; the degraded
scene plays the scene, the untouched coarse bands the truth (Wald, Ranchin, Mangolini 1997, with
the degradation of Lanaras et al. 2018, or the sensor's own point spread).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, UsageError
from geosr.models.card import ModelCard
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene import degrade
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels, Reader, fold
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets.windows import Area, Sample, Spot, Windows

MIXED = "mixed"  # for training: some windows by the sensor's own operator
_FILL_REACH = 16
_MTF_SHARE = 0.2  # of the windows, where mixed


@dataclass
class WaldReader:
    """A scene `factor` times coarser than the one that `source` reads.

    GSDs keep their nominal names: the degraded 10 m bands, now on the target's grid, still
    answer to 10. Only the grids of `gsds` are kept, cut to whole coarse pixels; edges are padded
    symmetrically there.
    Masked pixels that hold counts take part as they are; the mask belongs into the score.

    Args:
        operator: "gaussian" (the published one), "mtf", or another of `degrade.OPERATORS`.
        origin: row and column of the target's grid where the first degraded pixel begins.
    """

    source: Reader
    factor: int
    gsds: tuple[int, ...]
    operator: str = "gaussian"
    origin: tuple[int, int] = (0, 0)
    grids: Mapping[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        coarsest = max(self.gsds)
        target, (row, col) = self.source.grids[coarsest], self.origin
        kept = target.crop(Window(row, col, target.height - row, target.width - col))
        whole = kept.coarser(self.factor)
        self.grids = {gsd: whole.finer(coarsest // gsd) for gsd in self.gsds}

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Degraded bands in `window` of the degraded grid of `gsd`; all pixels count as valid."""
        extent, pad = self.grids[gsd].shape, self._pad(names)
        fine = window.at(self.factor).grow(pad)
        folded = fold(fine, extent[0] * self.factor, extent[1] * self.factor)
        row, col = (at * (max(self.gsds) // gsd) for at in self.origin)
        hull = folded.hull.shift(row, col)
        pixels = folded.take(self.source.read(names, gsd, hull, frame=frame))
        usable = pixels.valid & ~pixels.saturated
        values = self._degraded(names, fill(pixels.values, usable, _FILL_REACH), pad)
        true = np.ones(values.shape, bool)
        return Pixels(values, true, true, ~true)

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Degraded scenes carry no mask."""
        return False

    def _taps(self, name: str) -> NDArray[np.float64]:
        if self.operator == "mtf":
            return degrade.mtf(self.factor, degrade.MTF.get(name, degrade.IMAGE_MTF))
        return degrade.taps(self.operator, self.factor)

    def _pad(self, names: Sequence[str]) -> int:
        if self.operator == "gaussian":
            return degrade.reach(self.factor)
        return max(degrade.beyond(self._taps(name), self.factor) for name in names)

    def _degraded(
        self, names: Sequence[str], values: NDArray[np.float32], pad: int
    ) -> NDArray[np.float32]:
        if self.operator == "gaussian":
            return degrade.degrade(values, self.factor)
        bands = [
            degrade.shrink(band, self.factor, self._taps(name), self._taps(name), pad=pad)
            for name, band in zip(names, values, strict=True)
        ]
        return np.stack(bands)


class WaldWindows(Windows[Scene]):
    """Windows of degraded scenes, for guided nets."""

    kind = "wald"
    anywhere = True

    def __init__(
        self, areas: Sequence[Area[Scene]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0, operator: str = "gaussian",
    ) -> None:  # fmt: skip
        if operator not in ("gaussian", "mtf", MIXED):
            raise UsageError(f"Wald's protocol degrades by gaussian, mtf or mixed, not {operator}.")
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self.operator = operator

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The pair in a window of the truth's grid."""
        scene, card, window = self.areas[spot.area].item, self.card, spot.window
        source = self._reader(scene)
        gsds = tuple(item.gsd for item in card.inputs)
        operator = self.operator
        if operator == MIXED:
            operator = "mtf" if rng.random() < _MTF_SHARE else "gaussian"
        origin = (window.row % card.scale, window.col % card.scale)
        degraded = WaldReader(source, card.scale, gsds, operator, origin)
        inputs = {}
        for item in card.inputs:
            ratio = item.gsd // card.output.gsd
            part = Window(*(n // card.scale * card.scale // ratio for n in window))
            values = degraded.read(item.bands, item.gsd, part).values
            inputs[item.gsd] = reflectance(scene, item.bands, values)
        truth = source.read(card.bands, card.native_gsd, window)
        target = reflectance(scene, card.bands, np.where(truth.usable, truth.values, 0))
        return Sample(inputs, target, truth.usable)


def areas(
    data: Path, card: ModelCard, options: OpenOptions | None = None, pattern: str | None = None
) -> list[Area[Scene]]:
    """Every readable scene of a folder that has the net's bands.

    Raises:
        UsageError: none has; the message gives the first reason.
    """
    found, reasons = [], []
    for path in find_scenes(data, pattern=pattern):
        try:
            scene = open_scene(path, options)
            scene.check_nested(list(scene.grids))
            scene.select(names=[name for item in card.inputs for name in item.bands])
            height, width = scene.grids[card.native_gsd].shape
            found.append(Area(scene, Window(0, 0, height, width)))
        except GeosrError as error:
            reasons.append(str(error))
    if not found:
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise UsageError(
            f"{data} holds no scene to train '{card.name}' on.{why} Give a folder of scenes."
        )
    return found
