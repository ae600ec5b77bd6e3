"""Pictures of scored scenes, and the crops of a report, gathered while nets run over them."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.evaluation.protocols import Case, Rows
from geosr.models.card import Model
from geosr.raster import marks, picture
from geosr.raster.window import Window

log = logging.getLogger("geosr")

_PICTURE = 384  # pixels of truth along a saved picture
_CROP = 256  # and along a crop of a report
_OVERVIEW = 512  # pixels along an overview, at most

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
        """Nothing of it filled yet."""
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


def on_input_grid(window: Window, scale: int) -> Window:
    """The window shifted and cut so that it covers whole input pixels."""
    row, col = window.row // scale * scale, window.col // scale * scale
    return Window(row, col, window.height // scale * scale, window.width // scale * scale)


def input_under(low: Image, window: Window, scale: int) -> Image:
    """The input pixels under a window, each as `scale` × `scale`."""
    part = low[:, *Window(*(n // scale for n in window)).within(Window(0, 0, 0, 0))]
    return picture.enlarge(part, scale)


@dataclass
class Album:
    """A watcher that leaves LR | SR | HR of the middle of every scene in a folder.

    Attributes:
        overwrite: replace files that are no such pictures too, else they are left alone.
    """

    folder: Path
    overwrite: bool = False
    _part: Part | None = None
    _low: Image | None = None
    _name: str = ""
    _top: int = 0

    def begin(self, case: Case, name: str, net: Model) -> None:
        """A net starts on a scene."""
        self._top, scale, low = 0, net.card.scale, case.low()
        whole = tuple(n * scale for n in low.shape[1:])
        window = on_input_grid(_middle((whole[0], whole[1]), _PICTURE), scale)
        self._part, self._low = Part.empty(window, low.shape[0]), input_under(low, window, scale)
        self._name = re.sub(r"[^\w.@-]", "_", f"{case.name}-{name}-{case.group}")
        try:
            marks.require_replaceable(self._path, marks.SCORES, overwrite=self.overwrite)
        except UsageError as error:  # the scores are worth more
            log.warning("no picture: %s", error)
            self._part = None

    @property
    def _path(self) -> Path:
        return self.folder / f"{self._name}.png"

    def rows(self, rows: Rows) -> None:
        """Its next rows."""
        if self._part is not None:
            self._part.take(rows, self._top)
        self._top += rows.truth.shape[1]

    def end(self) -> None:
        """Write the picture, stretched by what the LR holds."""
        part, low = self._part, self._low
        if part is None or low is None:
            return
        ends = picture.limits(low)
        self.folder.mkdir(parents=True, exist_ok=True)
        images = [picture.visible(image, *ends) for image in (low, part.estimate, part.truth)]
        strip = picture.strip(images)
        picture.write_png(self._path, strip, marks.SCORES, overwrite=self.overwrite)


@dataclass(frozen=True)
class SceneInput:
    """What a report shows of a scene's input.

    Attributes:
        overview: the input, every n-th pixel of it.
        windows: the crops, on the output's grid.
        shares: the same as shares of the scene: top, left, height, width.
        low: the input under each, on the output's grid.
    """

    bands: tuple[str, ...]
    scale: int
    overview: Image
    windows: list[Window]
    shares: list[tuple[float, float, float, float]]
    low: list[Image]

    @classmethod
    def of(cls, case: Case, scale: int) -> SceneInput:
        """Read a scene's input once, and keep little of it."""
        whole = case.low()
        every = -(-max(whole.shape[1:]) // _OVERVIEW)
        windows = crop_windows(whole, scale)
        return cls(
            case.bands, scale, whole[:, ::every, ::every].copy(), windows,
            [share_of(window, whole, scale) for window in windows],
            [input_under(whole, window, scale) for window in windows],
        )  # fmt: skip


@dataclass
class Crops:
    """A watcher that keeps two crops of every scene: the middle, and the one richest in detail.

    Attributes:
        parts: by (scene, group), then by model, one a crop.
        inputs: by (scene, group), what is kept of the input; never all of it.
    """

    parts: dict[tuple[str, str], dict[str, list[Part]]] = field(default_factory=dict)
    inputs: dict[tuple[str, str], SceneInput] = field(default_factory=dict)
    _now: list[Part] = field(default_factory=list)
    _top: int = 0

    def begin(self, case: Case, name: str, net: Model) -> None:
        """A net starts on a scene."""
        key = (case.name, case.group)
        if key not in self.inputs:
            self.inputs[key] = SceneInput.of(case, net.card.scale)
        windows = self.inputs[key].windows
        self._now = [Part.empty(window, len(case.bands)) for window in windows]
        self._top = 0
        self.parts.setdefault(key, {})[name] = self._now

    def rows(self, rows: Rows) -> None:
        """Its next rows."""
        for part in self._now:
            part.take(rows, self._top)
        self._top += rows.truth.shape[1]

    def end(self) -> None:
        """Nothing is left to do."""


def share_of(window: Window, low: Image, scale: int) -> tuple[float, float, float, float]:
    """A window on the output's grid as shares of the input: top, left, height, width."""
    height, width = (n * scale for n in low.shape[1:])
    return (window.row / height, window.col / width, window.height / height, window.width / width)


def crop_windows(low: Image, scale: int) -> list[Window]:
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


def _middle(shape: tuple[int, int], side: int) -> Window:
    """The middle of an image, at most `side` pixels along."""
    height, width = (min(n, side) for n in shape)
    return Window((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)
