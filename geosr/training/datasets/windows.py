"""Training pairs cut from images by windows: what every way of making them shares."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import GeosrError, SceneError, UsageError
from geosr.models.card import ANY, LEFT_OUT, PLACES, SHIFTS, ModelCard
from geosr.raster.window import Window
from geosr.scene.pixels import Reader
from geosr.scene.scene import Scene
from geosr.training.datasets.batches import Batch, Sample, stack
from geosr.training.datasets.cache import Held, Room
from geosr.training.datasets.places import places

log = logging.getLogger("geosr")
_OPEN = 64  # images held open at a time


class Item(Protocol):
    """An image, a scene or a group of files that windows are cut from."""

    @property
    def name(self) -> str:
        """For messages, and for the choice of what is held out."""
        ...


I = TypeVar("I", bound=Item)  # noqa: E741


@dataclass(frozen=True)
class Area(Generic[I]):
    """The part of an item to cut windows from, on the grid of its truth.

    Attributes:
        bands: how many bands may be drawn where the net takes one at a time.
    """

    item: I
    window: Window
    bands: int = 1


@dataclass(frozen=True)
class Spot:
    """One window of one area; `band` is the one to take where the net takes one at a time.

    Attributes:
        scale: of the pair, for nets that take any; 0 is the net's own.
    """

    area: int
    window: Window
    band: int = 0
    scale: float = 0.0


class Windows(ABC, Generic[I]):
    """Random windows of areas; sample i of step t depends on (seed, t, i) alone.

    Args:
        patch: side of the truth in its own pixels; rounded down to whole input pixels.
        jitter: standard deviation of the log-gain that every sample gets.

    Attributes:
        pooled: whether windows are drawn from memory.
        anywhere: whether windows may begin at any pixel of the truth, else where an input pixel
            does; inputs that are made of the truth can be made anywhere.
    """

    kind = ""
    pooled = False
    anywhere = False

    def __init__(
        self, areas: Sequence[Area[I]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0,
    ) -> None:  # fmt: skip
        self.card, self.seed, self.jitter = card, seed, jitter
        self.patch = max(patch - patch % card.scale, card.scale)
        self.areas = [area for area in areas if min(area.window[2:]) >= self.least]
        if not self.areas:
            raise UsageError(
                f"nothing for '{card.name}' has {self.patch} × {self.patch} pixels of truth beside "
                f"what is held out (the largest of {len(areas)}: {_largest(areas)}). Give larger "
                "or more images, or a smaller --patch."
            )
        sizes = [area.window.height * area.window.width for area in self.areas]
        often = np.cumsum(np.sqrt(sizes))  # large images do not crowd small ones out
        self._share = often / often[-1]
        self.broken: dict[str, str] = {}
        self._readers: OrderedDict[str, AbstractContextManager[Any]] = OrderedDict()
        self._sources: dict[str, Held] = {}
        self._room = Room()

    def __getstate__(self) -> dict[str, Any]:
        """Open files and their pixels do not travel to another process."""
        return {**self.__dict__, "_readers": OrderedDict(), "_sources": {}, "_room": Room()}

    def __len__(self) -> int:
        """Windows side by side: what one epoch is counted as."""
        sizes = (area.window[2:] for area in self.areas)
        return sum((height // self.patch) * (width // self.patch) for height, width in sizes)

    @property
    def least(self) -> int:
        """Pixels of truth that an area must have along both sides."""
        return self.patch

    def place(self, device: str, fixed: Callable[[Mapping[int, Tensor]], Tensor] | None) -> None:
        """Say where batches are wanted, and what of a net's inputs it finds without its weights.

        For those who draw windows from memory; others bring batches from the CPU.
        """

    def scale_at(self, step: int) -> float:
        """The scale of a step's pairs, for nets that take any; 0 is the net's own."""
        return 0.0

    def batch(self, step: int, numbers: Sequence[int]) -> Batch:
        """The samples of those numbers of a step.

        Raises:
            SceneError: no item is left that can be read.
        """
        return stack([self.sample(step, i) for i in numbers], self.broken)

    def compared(self, image: Tensor, batch: Batch) -> Tensor:
        """What of a net's image meets the batch's target; both in counts."""
        return image

    @abstractmethod
    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The pair at a spot; `rng` is for what the way of making it draws."""

    def sample(self, step: int, i: int) -> Sample:
        """Pair `i` of step `step`: a random window, turned, flipped and brightened at random.

        Raises:
            SceneError: no item is left that can be read.
        """
        rng = np.random.default_rng([self.seed, step, i])
        while len(self.broken) < len({area.item.name for area in self.areas}):
            spot, turned = self._draw(rng), int(rng.integers(8))
            spot = replace(spot, scale=self.scale_at(step))
            name = self.areas[spot.area].item.name
            if name in self.broken:
                continue
            try:
                sample = self.cut(spot, rng)
            except SceneError as error:
                self._leave_out(name, error)
                continue
            return self._brighten(turn(sample, turned), rng)
        raise SceneError(f"no image can be read any more: {next(iter(self.broken.values()))}")

    def at(self, spot: Spot) -> Sample:
        """The pair at a spot as it is, the same at every call."""
        row, col = spot.window[:2]
        return self.cut(spot, np.random.default_rng([self.seed, spot.area, row, col, spot.band]))

    def spots(self, limit: int) -> list[Spot]:
        """Up to `limit` spots spread evenly over all areas, for validation."""
        found = [
            Spot(which, Window(top + row, left + col, self.patch, self.patch))
            for which, (top, left, height, width) in enumerate(a.window for a in self.areas)
            for row in range(0, height - self.patch + 1, self.patch)
            for col in range(0, width - self.patch + 1, self.patch)
        ]
        chosen = [found[int(at)] for at in np.linspace(0, len(found) - 1, min(limit, len(found)))]
        return [replace(s, band=i % self.areas[s.area].bands) for i, s in enumerate(chosen)]

    def close(self) -> None:
        """Close all images."""
        self._sources.clear()
        self._room = Room()
        while self._readers:
            self._readers.popitem()[1].__exit__(None, None, None)

    def _reader(self, scene: Scene) -> Reader:
        """A scene's pixels, from memory where there is room for them."""
        if scene.path not in self._sources:
            source = partial(self._open, scene.path, scene.open)
            self._sources[scene.path] = Held(scene, source, self._room)
        return self._sources[scene.path]

    def _open(self, key: str, opened: Callable[[], AbstractContextManager[Any]]) -> Any:
        """An open image; the least used is closed where there are too many."""
        if key not in self._readers:
            if len(self._readers) >= _OPEN:
                self._readers.popitem(last=False)[1].__exit__(None, None, None)
            self._readers[key] = opened().__enter__()
        self._readers.move_to_end(key)
        return self._readers[key]

    def _draw(self, rng: np.random.Generator) -> Spot:
        which = int(np.searchsorted(self._share, rng.random()))
        area, pace = self.areas[which], 1 if self.anywhere else self.card.scale
        row, col = (
            start + int(rng.integers((extent - self.patch) // pace + 1)) * pace
            for start, extent in zip(area.window[:2], area.window[2:], strict=True)
        )
        band = int(rng.integers(area.bands))
        return Spot(which, Window(row, col, self.patch, self.patch), band)

    def _leave_out(self, name: str, error: GeosrError) -> None:
        self.broken[name] = str(error)
        log.warning("%s is left out: %s", name, error)

    def _brighten(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample, every band times its gain."""
        if not self.jitter:
            return sample
        gains = self._gains(rng)
        brightened = {
            item.gsd: _times(sample.inputs[item.gsd], gains, item.bands)
            for item in self.card.inputs
        }
        inputs = {**sample.inputs, **brightened}
        return Sample(inputs, _times(sample.target, gains, self.card.bands), sample.mask)

    def _gains(self, rng: np.random.Generator) -> dict[str, float]:
        """One gain for a sample, times half as much for each band."""
        common = rng.normal(0, self.jitter)
        names = dict.fromkeys(name for item in self.card.inputs for name in item.bands)
        return {name: float(np.exp(common + rng.normal(0, self.jitter / 2))) for name in names}


def tell_left_out(reasons: Sequence[str], taken: int) -> None:
    """Warn of items that cannot be used, where others can."""
    if reasons:
        log.warning("%d of %d left out, the first: %s", len(reasons), len(reasons) + taken,
                    reasons[0])  # fmt: skip


def _largest(areas: Sequence[Area[Any]]) -> str:
    height, width = max((area.window[2:] for area in areas), key=min, default=(0, 0))
    return f"{height} × {width}"


def _times(
    values: NDArray[np.float32], gains: Mapping[str, float], names: Sequence[str]
) -> NDArray[np.float32]:
    """Bands times their gains; a quality mask behind them stays."""
    factors = np.ones(values.shape[-3], np.float32)
    factors[: len(names)] = [gains[name] for name in names]
    return np.asarray(values * factors[:, None, None])


def turn(sample: Sample, k: int) -> Sample:
    """One of the eight flips and rotations of rows and columns."""

    def one(array: NDArray[Any]) -> NDArray[Any]:
        turned = np.rot90(array, k % 4, (-2, -1))
        return np.ascontiguousarray(turned[..., ::-1] if k >= 4 else turned)

    inputs = {gsd: one(values) for gsd, values in sample.inputs.items() if gsd > 0}
    for key in (SHIFTS, LEFT_OUT):
        if key in sample.inputs:
            inputs[key] = turned_shifts(sample.inputs[key], k)
    if PLACES in sample.inputs:
        side = next(iter(inputs.values())).shape[-1]
        inputs[PLACES] = turned_places(sample.inputs[PLACES], k, side)
    return Sample(inputs, one(sample.target), one(sample.mask))


def turned_places(places: NDArray[Any], k: int, side: int) -> NDArray[Any]:
    """Where the output's pixels lie, (2, 3), in an input of `side` pixels turned as `turn` does."""

    def reversed_(axis: NDArray[Any]) -> NDArray[Any]:
        first, step, count = axis
        return np.array([side - 1 - (first + (count - 1) * step), step, count])

    down, across = places
    for _ in range(k % 4):  # a quarter turn to the left: the last column becomes the first row
        down, across = reversed_(across), down
    return np.stack([down, reversed_(across) if k >= 4 else across])


def turned_shifts(shifts: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """(frames, 2), down and across, of frames turned as `turn` does; what follows them stays."""
    down, across, *rest = shifts.T
    for _ in range(k % 4):  # a quarter turn to the left: right becomes up
        down, across = -across, down
    return np.stack([down, -across if k >= 4 else across, *rest], 1)


def pick(card: ModelCard, names: Sequence[str], band: int) -> tuple[str, ...]:
    """The bands of an image that a net for any raster takes: the drawn one, or all."""
    return (names[band],) if card.bands == (ANY,) else tuple(names)


def check_bands(card: ModelCard, name: str, count: int) -> int:
    """How many bands may be drawn from an image with `count` of them.

    Raises:
        UsageError: the net is made for another number.
    """
    if card.bands == (ANY,):
        return count
    if count != len(card.bands):
        raise UsageError(
            f"{name} has {count} bands, '{card.name}' is to take {len(card.bands)} at once. "
            "Change --bands, or leave it out to train band by band."
        )
    return 1


# what is held out


@dataclass(frozen=True)
class Split(Generic[I]):
    """Areas to learn from and areas to check on; no pixel is in both."""

    training: list[Area[I]] = field(default_factory=list)
    held: list[Area[I]] = field(default_factory=list)


def split(
    areas: Sequence[Area[I]],
    share: float,
    place: Callable[[str], str],
    *,
    patch: int = 1,
    scale: int = 1,
) -> Split[I]:
    """Hold out at least `share` of the items, whole places at a time.

    The choice depends on the places and their names alone. Where there is one place only, the
    lower part of every image is held out, at least `patch` pixels of it.

    Args:
        place: by an item's name, where it has no georeference.
        scale: areas begin at multiples of it.
    """
    groups: dict[int, list[Area[I]]] = {}
    for area, number in zip(areas, places([area.item for area in areas], place), strict=True):
        groups.setdefault(number, []).append(area)
    if len(groups) == 1:
        if len(areas) == 1 or any(area.window.height >= 2 * patch for area in areas):
            return _cut_across(areas, share, patch, scale)
        log.warning("All images show one place and are too small to cut: whole ones are held out. "
                    "What is measured on them flatters.")  # fmt: skip
        groups = {number: [area] for number, area in enumerate(areas)}
    held: list[Area[I]] = []
    for number in sorted(groups, key=lambda number: _drawn(groups[number]))[:-1]:
        if len(held) >= share * len(areas):
            break
        held += groups.pop(number)
    return Split([area for group in groups.values() for area in group], held)


def _drawn(group: Sequence[Area[Any]]) -> str:
    """What places are put in order by: as good as chance, and the same every time."""
    return hashlib.sha256(min(area.item.name for area in group).encode()).hexdigest()


def _cut_across(areas: Sequence[Area[I]], share: float, patch: int, scale: int) -> Split[I]:
    found: Split[I] = Split()
    for area in areas:
        row, col, height, width = area.window
        upper = max(min(int(height * (1 - share)), height - patch), 0) // scale * scale
        found.training.append(replace(area, window=Window(row, col, upper, width)))
        found.held.append(replace(area, window=Window(row + upper, col, height - upper, width)))
    return found
