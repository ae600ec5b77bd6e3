"""Pairs from real series: several coarse images of one place, and a truth of finer pixels.

Frames are chosen, registered and brightened as for inference. The truth lies where it lies: train
with a registered loss.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError, UsageError
from geosr.models.card import ANY, SHIFTS, ModelCard
from geosr.raster.window import Window
from geosr.scene import frames
from geosr.scene.frames import FrameOptions
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.layouts import layout_of
from geosr.training.datasets.windows import Area, Spot, Windows, check_bands, tell_left_out

_ROOM = 2**29  # bytes of places held in memory
_FILL_REACH = 8


@dataclass(frozen=True)
class Place:
    """A series with a truth.

    Attributes:
        scene: the coarse images as its frames.
        fine: the truth on a grid that nests in theirs; None where it is no scene by itself.
    """

    name: str
    path: Path
    scene: Scene
    fine: Scene | None = None


@dataclass(frozen=True)
class _Held:
    """All of a place as nets get it.

    (frames, bands + 1, rows, cols), (frames, 2), truth and mask (bands, rows, cols).
    """

    stack: NDArray[np.float32]
    shifts: NDArray[np.float32]
    truth: NDArray[np.float32]
    clear: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stack.nbytes + self.truth.nbytes + self.clear.nbytes


class RevisitWindows(Windows[Place]):
    """Windows of series, on the grid of the truth; a net for one image gets the clearest frame."""

    kind = "revisits"

    def __init__(
        self, areas: Sequence[Area[Place]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self._held: OrderedDict[Path, _Held] = OrderedDict()

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The truth, and the same ground in every frame."""
        held, scale = self._of(self.areas[spot.area].item), self.card.scale
        own = slice(spot.band, spot.band + 1) if self.card.bands == (ANY,) else slice(None)
        row, col, height, width = (n // scale for n in spot.window)
        low = held.stack[..., row : row + height, col : col + width]
        stack = np.concatenate([low[:, :-1][:, own], low[:, -1:]], 1)
        fine = (own, *spot.window.within(Window(0, 0, 0, 0)))
        gsd = self.card.inputs[0].gsd
        inputs = {gsd: stack, SHIFTS: held.shifts}
        if self.card.task != "misr":
            inputs = {gsd: stack[0, :-1]}
        return Sample(inputs, held.truth[fine], held.clear[fine])

    def truth(self, place: Place) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The whole truth of a place, reflectance × 10000, and where it was sensed."""
        assert place.fine is not None
        fine = place.fine
        names = [band.name for band in fine.bands]
        with fine.open() as reader:
            pixels = reader.read(names, fine.finest, fine.grid.window)
        values = np.where(pixels.usable, pixels.values, 0).astype(np.float32)
        return reflectance(fine, names, values), pixels.usable

    def _of(self, place: Place) -> _Held:
        """A place's pixels; the least used are forgotten where there are too many."""
        if place.path not in self._held:
            read = self._read(place)
            while self._held and read.size + sum(h.size for h in self._held.values()) > _ROOM:
                self._held.popitem(last=False)
            self._held[place.path] = read
        self._held.move_to_end(place.path)
        return self._held[place.path]

    def _read(self, place: Place) -> _Held:
        count = self.card.frames if self.card.task == "misr" else 1
        stack, shifts = frames_of(place.scene, self.card, count)
        return _Held(stack, shifts, *self.truth(place))


def frames_of(
    scene: Scene, card: ModelCard, count: int, options: FrameOptions = FrameOptions()  # noqa: B008
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # fmt: skip
    """A scene's frames as a net gets them: chosen, registered, brightened, whole.

    Returns:
        `count` frames, (count, bands + 1, rows, cols), the quality mask last, and their shifts,
        (count, 2). Frames that are missing are the first one, and nowhere clear.

    Raises:
        SceneError: a file cannot be read.
    """
    names = [band.name for band in scene.select()]
    with scene.open() as reader:
        selection = frames.select_frames(reader, scene, names, card, options)
        whole = scene.grids[scene.finest].window
        images = [
            frames.read_frame(reader, scene, names, whole, frame, selection, _FILL_REACH)
            for frame in selection
        ][:count]
    stack = np.zeros((count, len(names) + 1, *whole[2:]), np.float32)
    for i, (pixels, values) in enumerate(images):
        stack[i, :-1], stack[i, -1] = values, pixels.usable.all(0)
    stack[len(images) :, :-1] = stack[0, :-1]
    shifts = np.zeros((count, 2), np.float32)
    shifts[: len(images)] = selection.shifts[:count]
    return stack, shifts


def joined(images: Sequence[Scene]) -> Scene:
    """Images of one place as the frames of one scene."""
    bands = (replace(band, frame=i) for i, image in enumerate(images) for band in image.bands)
    return replace(images[0], bands=tuple(bands))


def areas(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None,
    part: str = "train",
) -> list[Area[Place]]:  # fmt: skip
    """Every series of a published data set that has a truth.

    Raises:
        UsageError: `data` is none, something of it is missing, or it has other bands than the net.
    """
    layout = layout_of(data)
    if layout is None or layout.kind != RevisitWindows.kind:
        raise UsageError(
            f"{data} is no data set of revisits with a truth (looked for WorldStrat's lr_dataset "
            "and hr_dataset). Choose another --data-kind."
        )
    found, reasons = [], []
    for pair in layout.pairs(data, part, card.scale, pattern):
        try:
            fine, coarse = layout.opened(pair, card.scale, options)
        except SceneError as error:
            reasons.append(str(error))
            continue
        bands = check_bands(card, pair.name, len(fine.bands))
        place = Place(pair.name, pair.fine.parent, joined(coarse), fine)
        found.append(Area(place, fine.grid.window, bands))
    if not found:
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise UsageError(f"{data} holds nothing to train '{card.name}' on.{why}")
    tell_left_out(reasons, len(found))
    return found
