"""Pictures of scored scenes, and the crops of a report, gathered while nets run over them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr import picture
from geosr.models import Model
from geosr.protocols import Case, Rows, window_of
from geosr.tiles import Window

_SHOT = 384  # pixels of truth along a saved picture
_CROP = 256  # and along a crop of a report

Image = NDArray[np.float32]


@dataclass
class Part:
    """One window of a scene on the truth's grid, filled as rows come.

    Attributes:
        window: its corner lies on whole input pixels.
    """

    window: Window
    estimate: Image
    truth: Image
    mask: NDArray[np.bool_]

    @classmethod
    def empty(cls, window: Window, bands: int) -> Part:
        """Nothing seen yet."""
        shape = (bands, window.height, window.width)
        zeros = np.zeros(shape, np.float32)
        return cls(window, zeros, zeros.copy(), np.zeros(shape, bool))

    def take(self, rows: Rows, top: int) -> None:
        """Keep what of `rows`, which begin at row `top`, lies inside."""
        height, width = rows.truth.shape[1:]
        there = Window(top, 0, height, width)
        common = self.window.intersect(there)
        if not common.height or not common.width:
            return
        to = (slice(None), *common.within(self.window))
        at = (slice(None), *common.within(there))
        self.truth[to], self.estimate[to] = rows.truth[at], rows.estimate[at]
        self.mask[to] = rows.mask[at]


def shown(window: Window, scale: int) -> Window:
    """The window moved and cut to whole input pixels."""
    row, col = window.row // scale * scale, window.col // scale * scale
    return Window(row, col, window.height // scale * scale, window.width // scale * scale)


def beneath(low: Image, window: Window, scale: int) -> Image:
    """The input pixels under a window, each as `scale` × `scale`."""
    part = low[:, *Window(*(n // scale for n in window)).within(Window(0, 0, 0, 0))]
    return picture.enlarge(part, scale)


@dataclass
class Album:
    """A watcher that leaves LR | SR | HR of the middle of every scene in a folder."""

    folder: Path
    _part: Part | None = None
    _case: Case | None = None
    _name: str = ""
    _scale: int = 1
    _top: int = 0

    def begin(self, case: Case, name: str, net: Model) -> None:
        """A net starts on a scene."""
        self._case, self._name, self._scale, self._top = case, name, net.card.scale, 0
        low = case.low()
        whole = tuple(n * self._scale for n in low.shape[1:])
        window = shown(window_of((whole[0], whole[1]), _SHOT), self._scale)
        self._part = Part.empty(window, low.shape[0])

    def rows(self, rows: Rows) -> None:
        """Its next rows."""
        if self._part is not None:
            self._part.take(rows, self._top)
        self._top += rows.truth.shape[1]

    def end(self) -> None:
        """Write the picture, stretched by what the LR holds."""
        part, case = self._part, self._case
        if part is None or case is None:
            return
        low = beneath(case.low(), part.window, self._scale)
        ends = picture.limits(low)
        name = re.sub(r"[^\w.@-]", "_", f"{case.name}-{self._name}-{case.group}")
        self.folder.mkdir(parents=True, exist_ok=True)
        images = [picture.visible(image, *ends) for image in (low, part.estimate, part.truth)]
        picture.write_png(self.folder / f"{name}.png", picture.strip(images))


@dataclass
class Crops:
    """A watcher that keeps two crops of every scene: the middle, and the one richest in detail.

    Attributes:
        parts: by (scene, group), then by model, one a crop.
        low: by (scene, group), the whole input.
    """

    parts: dict[tuple[str, str], dict[str, list[Part]]] = field(default_factory=dict)
    low: dict[tuple[str, str], Image] = field(default_factory=dict)
    cases: dict[tuple[str, str], Case] = field(default_factory=dict)
    scale: dict[tuple[str, str], int] = field(default_factory=dict)
    _now: list[Part] = field(default_factory=list)
    _top: int = 0

    def begin(self, case: Case, name: str, net: Model) -> None:
        """A net starts on a scene."""
        key = (case.name, case.group)
        if key not in self.low:
            self.low[key], self.cases[key] = case.low(), case
            self.scale[key] = net.card.scale
        windows = chosen(self.low[key], net.card.scale)
        bands = self.low[key].shape[0]
        self._now = [Part.empty(window, bands) for window in windows]
        self._top = 0
        self.parts.setdefault(key, {})[name] = self._now

    def rows(self, rows: Rows) -> None:
        """Its next rows."""
        for part in self._now:
            part.take(rows, self._top)
        self._top += rows.truth.shape[1]

    def end(self) -> None:
        """Nothing is left to do."""


def chosen(low: Image, scale: int) -> list[Window]:
    """Up to two windows on the output's grid: the middle, and where the first band varies most."""
    height, width = low.shape[1:]
    side = min(_CROP // scale, height, width)
    middle = Window((height - side) // 2, (width - side) // 2, side, side)
    step = max(side // 2, 1)
    candidates = [
        Window(row, col, side, side)
        for row in range(0, height - side + 1, step)
        for col in range(0, width - side + 1, step)
    ]
    far = [w for w in candidates if not w.intersect(middle).height * w.intersect(middle).width]
    found = [middle]
    if far:
        found.append(max(far, key=lambda w: float(np.nanstd(np.diff(low[0, *_at(w)], axis=1)))))
    return [window.at(scale) for window in found]


def _at(window: Window) -> tuple[slice, slice]:
    return window.within(Window(0, 0, 0, 0))
