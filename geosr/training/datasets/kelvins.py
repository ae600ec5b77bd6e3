"""Pairs from imgsets of the Proba-V challenge: real frames of 300 m, and the truth of 100 m.

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

from geosr.errors import GeosrError, UsageError
from geosr.models.card import SHIFTS, ModelCard
from geosr.raster.window import Window
from geosr.scene import frames
from geosr.scene.frames import FrameOptions
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene, probav
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.windows import Area, Spot, Windows

FACTOR = 3
_KEPT = 64  # imgsets held in memory
_FILL_REACH = 8
_UNIT = np.float32(10000 / probav.UNIT)


@dataclass(frozen=True)
class Place:
    """One imgset with a truth."""

    name: str
    path: Path
    scene: Scene


@dataclass(frozen=True)
class _Held:
    """All of an imgset as nets get it: (frames, 2, rows, cols), (frames, 2), truth and mask."""

    stack: NDArray[np.float32]
    shifts: NDArray[np.float32]
    truth: NDArray[np.float32]
    clear: NDArray[np.bool_]


class KelvinsWindows(Windows[Place]):
    """Windows of imgsets, on the grid of the truth."""

    kind = "kelvins"

    def __init__(
        self, areas: Sequence[Area[Place]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self._held: OrderedDict[Path, _Held] = OrderedDict()

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The truth, and the same ground in every frame."""
        held = self._of(self.areas[spot.area].item)
        row, col, height, width = spot.window
        fine = (slice(None), slice(row, row + height), slice(col, col + width))
        low = Window(*(n // FACTOR for n in spot.window))
        stack = held.stack[..., low.row : low.row + low.height, low.col : low.col + low.width]
        gsd = self.card.inputs[0].gsd
        inputs = {gsd: stack, SHIFTS: held.shifts}
        if self.card.task != "misr":
            inputs = {gsd: stack[0, :-1]}
        return Sample(inputs, held.truth[None][fine], held.clear[None][fine])

    def _of(self, place: Place) -> _Held:
        """An imgset's pixels; the least used is forgotten where there are too many."""
        if place.path not in self._held:
            if len(self._held) >= _KEPT:
                self._held.popitem(last=False)
            self._held[place.path] = self._read(place)
        self._held.move_to_end(place.path)
        return self._held[place.path]

    def _read(self, place: Place) -> _Held:
        count = self.card.frames if self.card.task == "misr" else 1
        stack, shifts = frames_of(place.scene, self.card, count)
        imgset = probav.read_imgset(place.path)
        assert imgset.truth is not None and imgset.clear is not None
        return _Held(stack, shifts, imgset.truth * _UNIT, imgset.clear)


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


def areas(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None
) -> list[Area[Place]]:
    """Every imgset of a folder that has a truth.

    Raises:
        UsageError: there is none, or the net is for another scale.
    """
    if card.scale != FACTOR:
        raise UsageError(f"imgsets are for scale 3, '{card.name}' is for {card.scale}. Say 3.")
    found, reasons = [], []
    for path in probav.find_imgsets(data, pattern):
        try:
            scene = open_scene(path, replace(options, kind="series"))
        except GeosrError as error:
            reasons.append(str(error))
            continue
        if (path / "HR.png").exists() and (path / "SM.png").exists():
            window = Window(0, 0, *(FACTOR * n for n in scene.grid.shape))
            found.append(Area(Place(path.name, path, scene), window))
    if not found:
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise UsageError(
            f"{data} holds no imgset with HR.png and SM.png to train '{card.name}' on.{why} "
            "Give the challenge's train folder, or one band of it."
        )
    return found
