"""Imgsets of Proba-V's challenge, begun with the frame that the truth itself was taken beside.

Nguyen et al., "PROBA-V-REF: repurposing the PROBA-V challenge for reference-aware super
resolution", IGARSS 2021. In the challenge no frame is said to be the reference, so a net is
scored for guesses of the truth's place and brightness too. Here the frame most like the truth comes
first: it gives the grid, and the others are brought to its mean and contrast. The challenge's own
scores stand beside, in a group of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.evaluation.protocols import kelvins
from geosr.evaluation.protocols.case import Case, Data
from geosr.models.card import ModelCard
from geosr.scene.scene import Scene
from geosr.sensors import probav

GROUP = "reference"
_SHIFT = 2  # coarse pixels by which a frame may be off, each way
_LEAST = 0.1  # share of the pixels that both must show, to be compared

Array = NDArray[np.float64]


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """Two cases an imgset: as the challenge has it, then begun with its reference."""
    for imgset, scene in kelvins.imgsets(data, failed):
        case = kelvins.case_of(imgset, scene, data)
        yield case
        try:
            first = best(scene, imgset)
        except SceneError as error:
            failed[case.name] = str(error)
            continue
        ordered = begun_with(scene, first)
        named = replace(data, frames=replace(data.frames, reference=_file(ordered)))
        yield replace(case, group=GROUP, run=partial(kelvins.rows, imgset, ordered, named),
                      low=partial(_low, ordered))  # fmt: skip


def best(scene: Scene, imgset: probav.Imgset) -> int:
    """The frame of an imgset's scene that is most like the truth: by correlation with its block
    means, moved by up to two pixels.

    Raises:
        SceneError: no frame shows enough of what the truth shows.
    """
    assert imgset.truth is not None and imgset.clear is not None
    truth = _coarse(imgset.truth.astype(np.float64))
    known = _coarse(imgset.clear.astype(np.float64)) > 0.99
    name, found = scene.bands[0].name, []
    with scene.open() as reader:
        for frame in range(scene.frames):
            pixels = reader.read([name], scene.finest, scene.grid.window, frame=frame)
            values = pixels.values[0].astype(np.float64)
            found.append(_alike(values, pixels.usable[0], truth, known))
    if max(found) == -math.inf:
        raise SceneError(f"{imgset.path}: no frame shows what the truth shows. Leave it out.")
    return int(np.argmax(found))


def begun_with(scene: Scene, first: int) -> Scene:
    """The scene with that frame before the others, which stay in their order."""
    order = [first, *(frame for frame in range(scene.frames) if frame != first)]
    places = {frame: place for place, frame in enumerate(order)}
    return replace(scene, bands=tuple(replace(b, frame=places[b.frame]) for b in scene.bands))


def _file(scene: Scene) -> str:
    """The name of the first frame's file, as `--reference` takes it."""
    return next(Path(band.path).stem for band in scene.bands if band.frame == 0)


def _low(scene: Scene) -> NDArray[np.float32]:
    with scene.open() as reader:
        pixels = reader.read([scene.bands[0].name], scene.finest, scene.grid.window, frame=0)
    return pixels.values[:1].astype(np.float32) * np.float32(10000 / probav.UNIT)


def _coarse(image: Array) -> Array:
    rows, cols = (n // kelvins.SCALE for n in image.shape)
    return image.reshape(rows, kelvins.SCALE, cols, kelvins.SCALE).mean((1, 3))


def _alike(
    frame: Array, usable: NDArray[np.bool_], truth: Array, known: NDArray[np.bool_]
) -> float:  # fmt: skip
    """The largest correlation of a frame with the truth, over whole shifts."""
    most, side = -math.inf, _SHIFT
    inner = (slice(side, -side), slice(side, -side))
    for down in range(-side, side + 1):
        for across in range(-side, side + 1):
            moved = np.roll(frame, (down, across), (0, 1))[inner]
            both = np.roll(usable, (down, across), (0, 1))[inner] & known[inner]
            if both.mean() >= _LEAST and moved[both].std() and truth[inner][both].std():
                most = max(most, float(np.corrcoef(moved[both], truth[inner][both])[0, 1]))
    return most
