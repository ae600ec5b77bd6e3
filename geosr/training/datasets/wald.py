"""Wald's protocol: degrade a scene, so that its own coarse bands become the truth.

All bands are blurred and averaged by the factor between the target's GSD and 10 m; the degraded
scene plays the scene, the untouched coarse bands the truth (Wald, Ranchin, Mangolini 1997, with
the degradation of Lanaras et al. 2018, or the sensor's own, `geosr.scene.pointspread`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import GeosrError, SceneError, UsageError
from geosr.models.card import FIXED, ModelCard
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene import degrade, pointspread
from geosr.scene.estimation import displaced
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels, Reader, fold
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets.batches import Batch, Sample
from geosr.training.datasets.pool import SIDE, Pool, Region, count
from geosr.training.datasets.windows import Area, Spot, Windows

log = logging.getLogger("geosr")
MIXED = "mixed"  # for training: by the sensor's point spread, some regions as published
_FILL_REACH = 16
_PUBLISHED = 0.25  # of the regions, where mixed
_MIXTURES = 0.35  # of the regions by the sensor's point spread
_SPREAD = 0.1  # by how much sensors and processors differ
_HALF = 60000.0  # within what half precision holds


@dataclass
class WaldReader:
    """A scene `factor` times coarser than the one that `source` reads.

    GSDs keep their nominal names: the degraded 10 m bands, now on the target's grid, still
    answer to 10. Only the grids of `gsds` are kept, cut to whole coarse pixels; edges are padded
    symmetrically there.
    Masked pixels that hold counts take part as they are; the mask belongs into the score.

    Args:
        operator: "sensor" (each band's own point spread, consistent with scale), "gaussian" (the
            published one), or another of `degrade.OPERATORS`.
        origin: row and column of the target's grid where the first degraded pixel begins.
        truths: the bands whose own resolution is the truth; "sensor" asks for them.
        wider: for "sensor", σ relative to the finest bands as a share of the scene's own.
    """

    source: Reader
    factor: int
    gsds: tuple[int, ...]
    operator: str = "gaussian"
    origin: tuple[int, int] = (0, 0)
    truths: tuple[str, ...] = ()
    wider: float = 1.0
    grids: Mapping[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        coarsest = max(self.gsds)
        target, (row, col) = self.source.grids[coarsest], self.origin
        kept = target.crop(Window(row, col, target.height - row, target.width - col))
        whole = kept.coarser(self.factor)
        self.grids = {gsd: whole.finer(coarsest // gsd) for gsd in self.gsds}

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Degraded bands in `window` of the degraded grid of `gsd`; all pixels count as valid."""
        extent, pad = self.grids[gsd].shape, self._pad(names, gsd)
        fine = window.at(self.factor).grow(pad)
        folded = fold(fine, extent[0] * self.factor, extent[1] * self.factor)
        row, col = (at * (max(self.gsds) // gsd) for at in self.origin)
        hull = folded.hull.shift(row, col)
        pixels = folded.take(self.source.read(names, gsd, hull, frame=frame))
        usable = pixels.valid & ~pixels.saturated
        values = self._degraded(names, gsd, fill(pixels.values, usable, _FILL_REACH), pad)
        true = np.ones(values.shape, bool)
        return Pixels(values, true, true, ~true)

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Degraded scenes carry no mask."""
        return False

    def _taps(self, name: str, gsd: int) -> NDArray[np.float64]:
        if self.operator == "sensor":
            sigma = pointspread.blur(name, self.truths, self.factor, wider=self.wider)
            return degrade.point_spread(self.factor, sigma / gsd)
        return degrade.taps(self.operator, self.factor)

    def _degraded(
        self, names: Sequence[str], gsd: int, values: NDArray[np.float32], pad: int
    ) -> NDArray[np.float32]:
        if self.operator == "gaussian":
            return degrade.degrade(values, self.factor)
        bands = []
        for name, band in zip(names, values, strict=True):
            taps = self._taps(name, gsd)
            bands.append(degrade.shrink(band, self.factor, taps, taps, pad=pad))
        return np.stack(bands)

    def _pad(self, names: Sequence[str], gsd: int) -> int:
        if self.operator == "gaussian":
            return degrade.reach(self.factor)
        return max(degrade.beyond(self._taps(name, gsd), self.factor) for name in names)


def truth(source: Reader, names: Sequence[str], gsd: int, window: Window, operator: str) -> Pixels:
    """The bands of `gsd` that a degraded scene is compared with; gaps hold 0 and do not count.

    With "sensor" all are brought to the sharpness of the softest, which the guides have there.
    """
    if operator != "sensor":
        return source.read(names, gsd, window)
    taps = [degrade.softening(pointspread.soften(name, names) / gsd) for name in names]
    pad = max(len(weights) // 2 for weights in taps)
    grid = source.grids[gsd]
    folded = fold(window.grow(pad), grid.height, grid.width)
    pixels = folded.take(source.read(names, gsd, folded.hull))
    filled = fill(pixels.values, pixels.usable, _FILL_REACH)
    values = [
        degrade.shrink(band, 1, weights, weights, pad=pad)
        for band, weights in zip(filled, taps, strict=True)
    ]
    inner = pixels.crop((slice(pad, pad + window.height), slice(pad, pad + window.width)))
    return replace(inner, values=np.stack(values))


class WaldWindows(Windows[Scene]):
    """Windows of degraded scenes, for guided nets; those to learn from are drawn from memory.

    Args:
        operator: of `degrade.OPERATORS`; "sensor" draws how wide the point spread is, "mixed"
            degrades a share of the regions as published.
        small: whether areas smaller than a window count too, mirrored at their edges.
    """

    kind = "wald"
    pooled = True
    anywhere = True

    def __init__(
        self, areas: Sequence[Area[Scene]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0, operator: str = "sensor", small: bool = False,
    ) -> None:  # fmt: skip
        if operator not in ("gaussian", "sensor", MIXED):
            raise UsageError(
                f"Wald's protocol degrades by gaussian, sensor or mixed, not {operator}."
            )
        self._small = small
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self.operator = operator
        self._device = "cpu"
        self._fixed: Callable[[Mapping[int, Tensor]], Tensor] | None = None
        self._pool: Pool | None = None

    def __getstate__(self) -> dict[str, Any]:
        """A pool does not travel to another process."""
        return {**super().__getstate__(), "_pool": None}

    @property
    def least(self) -> int:
        """Two coarse pixels where small areas count."""
        return 2 * self.card.scale if self._small else self.patch

    def place(self, device: str, fixed: Callable[[Mapping[int, Tensor]], Tensor] | None) -> None:
        """Where regions are kept, and what is found beside them once and for all."""
        self._device, self._fixed = device, fixed

    def batch(self, step: int, numbers: Sequence[int]) -> Batch:
        """Windows of regions, turned, flipped and brightened at random."""
        self._pool = self._pool or Pool(self._region, self._count())
        self._pool.look_ahead(step)
        drawn, gains = [], []
        for i in numbers:
            rng = np.random.default_rng([self.seed, step, i])
            region = self._pool(int(rng.integers(self._pool.count)), step)
            scale = self.card.scale
            row, col = (
                int(rng.integers((extent - self.patch) // scale + 1)) * scale
                for extent in region.target.shape[-2:]
            )
            drawn.append(region.crop(row, col, self.patch).turned(int(rng.integers(8))))
            gains.append(self._gains(rng))
        return self._stacked(drawn, gains)

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The pair in a window of the truth's grid; mixed ones are checked by the sensor's way."""
        operator = "sensor" if self.operator == MIXED else self.operator
        return self._pair(self.areas[spot.area].item, spot.window, operator)

    def close(self) -> None:
        """Let regions and images go."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        super().close()

    def _pair(self, scene: Scene, window: Window, operator: str, wider: float = 1.0) -> Sample:
        card, source = self.card, self._reader(scene)
        gsds = tuple(item.gsd for item in card.inputs)
        origin = (window.row % card.scale, window.col % card.scale)
        degraded = WaldReader(source, card.scale, gsds, operator, origin, card.bands, wider)
        inputs = {}
        for item in card.inputs:
            ratio = item.gsd // card.output.gsd
            part = Window(*(n // card.scale * card.scale // ratio for n in window))
            values = degraded.read(item.bands, item.gsd, part).values
            inputs[item.gsd] = reflectance(scene, item.bands, values)
        true = truth(source, card.bands, card.native_gsd, window, operator)
        target = reflectance(scene, card.bands, np.where(true.usable, true.values, 0))
        return Sample(inputs, target, true.usable)

    # regions

    def _count(self) -> int:
        """How many regions find room."""
        sides = (min(n, SIDE) for area in self.areas for n in area.window[2:])
        pixels = np.mean(np.prod(np.reshape([*sides], (-1, 2)), axis=1))
        return count(
            float(pixels), self._region(0, 0).nbytes / self._region(0, 0).target[0].numel()
        )

    def _region(self, number: int, generation: int) -> Region:
        """Generation `generation` of region `number`, on the device."""
        rng = np.random.default_rng([self.seed, number, generation, len(self.areas)])
        while len(self.broken) < len({area.item.name for area in self.areas}):
            area = self.areas[int(np.searchsorted(self._share, rng.random()))]
            window = self._place(area.window, rng)
            published = self.operator == "gaussian" or (
                self.operator == MIXED and rng.random() < _PUBLISHED
            )
            wider = 1.0 if published else rng.uniform(1 - _SPREAD, 1 + _SPREAD)
            if area.item.name in self.broken:
                continue
            try:
                operator = "gaussian" if published else "sensor"
                sample = self._pair(area.item, window, operator, wider)
            except SceneError as error:
                self._leave_out(area.item.name, error)
                continue
            if not published and rng.random() < _MIXTURES:
                sample = mixed(sample, self.card, rng, wider)
            return self._placed(padded(sample, self.patch))
        raise SceneError(f"no image can be read any more: {next(iter(self.broken.values()))}")

    def _place(self, area: Window, rng: np.random.Generator) -> Window:
        """Whole coarse pixels of an area that begin at any pixel of the truth."""
        scale = self.card.scale
        starts, sides = [], []
        for start, extent in zip(area[:2], area[2:], strict=True):
            side = min(extent - scale + 1, max(SIDE, self.patch)) // scale * scale
            starts.append(start + int(rng.integers(extent - side + 1)))
            sides.append(side)
        return Window(*starts, *sides)

    @torch.no_grad()
    def _placed(self, sample: Sample) -> Region:
        inputs = {
            gsd: torch.from_numpy(values).to(self._device) for gsd, values in sample.inputs.items()
        }
        if self._fixed is not None:
            found = self._fixed({gsd: x[None] for gsd, x in inputs.items()})[0]
            inputs[FIXED] = found.clamp(-_HALF, _HALF).half()
        target, mask = (torch.from_numpy(x).to(self._device) for x in (sample.target, sample.mask))
        return Region(inputs, target, mask)

    def _stacked(self, drawn: Sequence[Region], gains: Sequence[Mapping[str, float]]) -> Batch:
        """One batch; what was found without weights goes with the bands that it is of."""

        def brightened(x: Tensor, names: Sequence[str]) -> Tensor:
            by = [[gain[name] for name in names] * (x.shape[1] // len(names)) for gain in gains]
            return x.float() * torch.tensor(by, device=x.device)[..., None, None]

        names = {item.gsd: item.bands for item in self.card.inputs}
        inputs = {
            key: brightened(
                torch.stack([r.inputs[key] for r in drawn]), names.get(key, self.card.bands)
            )
            for key in drawn[0].inputs
        }
        target = brightened(torch.stack([r.target for r in drawn]), self.card.bands)
        return Batch(inputs, target, torch.stack([r.mask for r in drawn]), dict(self.broken))


def mixed(sample: Sample, card: ModelCard, rng: np.random.Generator, wider: float = 1.0) -> Sample:
    """A sample whose bands are mixtures of themselves and the finest bands, drawn anew for each.

    Which bands go together, and how, differs from ground to ground and from sensor to sensor: a net
    is to read it off the scene, not to know it by heart.

    Args:
        wider: the point spread as a share of the sensor's own.
    """
    guides = sample.inputs[card.inputs[0].gsd]
    low, target = [], []
    for name, coarse, fine in zip(
        card.bands, sample.inputs[card.native_gsd], sample.target, strict=True
    ):
        sigma = pointspread.relative(name) * wider / pointspread.FINEST
        taps = degrade.point_spread(card.scale, sigma)
        pad = degrade.beyond(taps, card.scale)
        shares = rng.dirichlet(np.full(len(guides), 0.5)).astype(np.float32)
        mixture = np.einsum("g,grc->rc", shares, guides)
        around = np.pad(mixture, pad, "symmetric")
        own = np.float32(rng.choice([0.0, rng.random()]))
        seen = degrade.shrink(around, card.scale, taps, taps, pad=pad)
        low.append(own * coarse + (1 - own) * seen)
        target.append(own * fine + (1 - own) * mixture)
    inputs = {**sample.inputs, card.native_gsd: np.stack(low)}
    return Sample(inputs, np.stack(target), sample.mask)


def padded(sample: Sample, side: int) -> Sample:
    """A sample with at least `side` pixels of truth both ways, mirrored; the mask knows."""
    lack = [max(side - n, 0) for n in sample.target.shape[1:]]
    if not any(lack):
        return sample

    def one(x: NDArray[Any], mode: Any) -> NDArray[Any]:
        by = [n * x.shape[-1] // sample.target.shape[-1] for n in lack]
        return np.pad(x, ((0, 0), (0, by[0]), (0, by[1])), mode)

    inputs = {gsd: one(x, "symmetric") for gsd, x in sample.inputs.items()}
    return Sample(inputs, one(sample.target, "symmetric"), one(sample.mask, "constant"))


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
            _require_in_place(scene, card)
            height, width = scene.grids[card.native_gsd].shape
            found.append(Area(scene, Window(0, 0, height, width)))
        except MisplacedError as error:
            log.warning("left out: %s", error)
            reasons.append(str(error))
        except GeosrError as error:
            reasons.append(str(error))
    if not found:
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise UsageError(
            f"{data} holds no scene to train '{card.name}' on.{why} Give a folder of scenes."
        )
    return found


class MisplacedError(SceneError):
    """Grids of a scene do not lie on each other as its file says."""


def _require_in_place(scene: Scene, card: ModelCard) -> None:
    """Raise where a coarse band lies off the finest ones: a net would learn the shift.

    Raises:
        MisplacedError: names the band and how far.
    """
    limit = scene.finest / 2
    with scene.open() as reader:
        for gsd in sorted({item.gsd for item in card.inputs} - {scene.finest}):
            for name, shift in displaced(scene, reader, gsd).items():
                if max(map(abs, shift)) > limit:
                    down, right = shift
                    raise MisplacedError(
                        f"{scene.path}: {name} lies {down:+.0f} m down and {right:+.0f} m right of "
                        f"where its grid says, measured against the {scene.finest} m bands; at "
                        f"most {limit:g} m will do to learn from. Register it, or take it away."
                    )
