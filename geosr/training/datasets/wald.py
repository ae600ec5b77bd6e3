"""Windows of degraded scenes, drawn from memory: what guided nets learn from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import GeosrError, SceneError, UsageError
from geosr.inference.anypair import two_inputs
from geosr.models.card import FIXED, ModelCard
from geosr.models.nets.guided.anypair import of_pair
from geosr.raster.window import Window
from geosr.scene import degrade, pointspread
from geosr.scene.degraded import WaldReader, truth
from geosr.scene.estimation import displaced
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets.batches import Batch, Sample
from geosr.training.datasets.pool import SIDE, Pool, Region, count
from geosr.training.datasets.windows import Area, Spot, Windows

log = logging.getLogger("geosr")
MIXED = "mixed"  # for training: by the sensor's point spread, some regions as published
_PUBLISHED = 0.25  # of the regions, where mixed
_MIXTURES = 0.35  # of the regions by the sensor's point spread
_MIXTURES_OF_ONE = 0.6  # the same of nets with one guide
_OTHER_GUIDES = 0.3  # of the regions by the sensor's point spread of nets with one guide
_SHARPER = 0.8  # of the same
_BOOST = 3.0  # at most, of what a Gaussian of _BLUR pixels takes away
_BLUR = 0.7
_NOISE = 0.02  # of a coarse band's mean, at most; Landsat-7's bands have 1 to 5 %
_SPREAD = 0.1  # by how much sensors and processors differ
_HALF = 60000.0  # within what half precision holds


class WaldWindows(Windows[Scene]):
    """Windows of degraded scenes, for guided nets; those to learn from are drawn from memory.

    Args:
        operator: "gaussian" is as published; "sensor" draws how wide the point spread is, and
            of a third of the regions the bands become mixtures with the finest ones; "mixed" is
            "gaussian" for a quarter of the regions.
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
        first = self._region(0, 0)
        return count(float(pixels), first.nbytes / first.target[0].numel())

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
            if published or not pointspread.known(self.card.bands, self.card.output.gsd):
                return self._placed(padded(sample, self.patch))
            mixtures = _MIXTURES_OF_ONE if one_guide(self.card) else _MIXTURES
            if len(self.card.inputs) > 1 and rng.random() < mixtures:
                sample = with_mixtures(sample, self.card, rng, wider)
            if one_guide(self.card):
                sample = as_of_another_pan(sample, self.card, rng, wider)
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


def with_mixtures(
    sample: Sample, card: ModelCard, rng: np.random.Generator, wider: float = 1.0
) -> Sample:
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
        shares = rng.dirichlet(np.full(len(guides), 0.5)).astype(np.float32)
        mixture = np.einsum("g,grc->rc", shares, guides)
        own = np.float32(rng.choice([0.0, rng.random()]))
        low.append(own * coarse + (1 - own) * _seen(mixture, card, name, wider))
        target.append(own * fine + (1 - own) * mixture)
    inputs = {**sample.inputs, card.native_gsd: np.stack(low)}
    return Sample(inputs, np.stack(target), sample.mask)


def one_guide(card: ModelCard) -> bool:
    """Whether a net has a single finer band beside those it sharpens."""
    return len(card.inputs) == 2 and len(card.inputs[0].bands) == 1


def as_of_another_pan(
    sample: Sample, card: ModelCard, rng: np.random.Generator, wider: float = 1.0
) -> Sample:
    """Of some samples a guide of another spectrum, of some sharper ones; noise in all."""
    if rng.random() < _OTHER_GUIDES:
        sample = with_other_guide(sample, card, rng)
    if rng.random() < _SHARPER:
        sample = sharper(sample, card, rng, wider)
    return noisy(sample, card, rng)


def noisy(sample: Sample, card: ModelCard, rng: np.random.Generator) -> Sample:
    """A sample whose coarse bands have white noise, up to 2 % of their mean.

    Degrading averages a sensor's own noise away: a net that never saw any makes more of it.
    """
    low = sample.inputs[card.native_gsd]
    spread = rng.uniform(0, _NOISE) * np.abs(low).mean((1, 2), keepdims=True)
    noise = rng.standard_normal(low.shape, np.float32) * spread.astype(np.float32)
    return replace(sample, inputs={**sample.inputs, card.native_gsd: low + noise})


def sharper(
    sample: Sample, card: ModelCard, rng: np.random.Generator, wider: float = 1.0
) -> Sample:
    """A sample whose guide and truths have more of their finest structure; seen anew by the sensor.

    Guides were made soft for it, while those that users give have detail and noise up to their
    pixels: a net that never saw that would hold it back.
    """
    fine, coarse = (item.gsd for item in card.inputs)
    taps = degrade.softening(_BLUR)
    boost = np.float32(rng.uniform(0, _BOOST))

    def boosted(x: NDArray[np.float32]) -> NDArray[np.float32]:
        pad = len(taps) // 2
        around = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), "symmetric")
        return x + boost * (x - degrade.shrink(around, 1, taps, taps, pad=pad))

    target = boosted(sample.target)
    low = np.stack([_seen(band, card, name, wider)
                    for band, name in zip(target, card.bands, strict=True)])  # fmt: skip
    inputs = {**sample.inputs, fine: boosted(sample.inputs[fine]), coarse: low}
    return replace(sample, inputs=inputs, target=target)


def _seen(
    image: NDArray[np.float32], card: ModelCard, name: str, wider: float
) -> NDArray[np.float32]:
    """An image on the finest grid as a coarse band sees it."""
    sigma = pointspread.relative(name) * wider / card.output.gsd
    taps = degrade.point_spread(card.scale, sigma)
    pad = degrade.beyond(taps, card.scale)
    return degrade.shrink(np.pad(image, pad, "symmetric"), card.scale, taps, taps, pad=pad)


def with_other_guide(sample: Sample, card: ModelCard, rng: np.random.Generator) -> Sample:
    """A sample whose one guide is mixed with the truths, which are as sharp as it is there.

    A panchromatic band sees other parts of the spectrum from sensor to sensor (Landsat 7's the near
    infrared too, Landsat 8's green and red alone): a net is to read from the scene which.
    """
    gsd = card.inputs[0].gsd
    shares = rng.dirichlet(np.full(len(sample.target), 0.5)).astype(np.float32)
    own = np.float32(rng.choice([0.0, rng.random()]))
    mixture = np.einsum("b,brc->rc", shares, sample.target)
    guide = own * sample.inputs[gsd] + (1 - own) * mixture
    return replace(sample, inputs={**sample.inputs, gsd: guide})


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


class MisplacedError(SceneError):
    """Grids of a scene do not lie on each other as its file says."""


def areas(
    data: Path, card: ModelCard, options: OpenOptions | None = None, pattern: str | None = None
) -> list[Area[Scene]]:
    """Every readable scene of a folder that has the net's bands.

    Raises:
        UsageError: none has; the message gives the first reason.
    """
    found, reasons = [], []
    options = replace(options or OpenOptions(), kind=card.scenes)
    for path in find_scenes(data, pattern=pattern, kind=card.scenes):
        try:
            scene = open_scene(path, options)
            scene.check_nested(list(scene.grids))
            scene.select(names=[name for item in card.inputs for name in item.bands])
            _require_grids(scene, card)
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


def card_of(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None
) -> ModelCard:
    """A card for any pair with the bands and the factor of the first pair of a folder.

    Raises:
        UsageError: none opens; the message gives the first reason.
    """
    if not data.exists():
        raise UsageError(f"{data}: no such file or folder. Check --data.")
    options, reasons = replace(options, kind=card.scenes), list[str]()
    for path in find_scenes(data, pattern=pattern, kind=card.scenes):
        try:
            scene = open_scene(path, options)
            return of_pair(card, *two_inputs(scene, card.name), scene.sensor)
        except GeosrError as error:
            reasons.append(str(error))
    why = f" First reason: {reasons[0]}" if reasons else ""
    raise UsageError(
        f"{data} holds no pair to train '{card.name}' on.{why} Give a folder with X_ms.tif and "
        "X_pan.tif."
    )


def _require_grids(scene: Scene, card: ModelCard) -> None:
    """Raise where a pair has another factor than the net.

    Raises:
        SceneError: names both.
    """
    if not {item.gsd for item in card.inputs} <= set(scene.grids):
        raise SceneError(
            f"{scene.path} has pixels of {' and '.join(map(str, sorted(scene.grids)))}, "
            f"'{card.name}' takes {' and '.join(str(item.gsd) for item in card.inputs)}. Train on "
            "pairs of one factor."
        )


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
