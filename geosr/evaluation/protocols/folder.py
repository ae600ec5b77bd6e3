"""Images, degraded by an operator; the images are the truth.

Where a blur and a noise are told apart from the scale, every pair of both is a group by itself:
sampling and blur are two things (as in Planet's study of EDSR on degraded SkySat images).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.evaluation.protocols.case import Case, Data, Rows, all_names, images, rows_of, whole
from geosr.inference.engine import Engine
from geosr.models.card import Model, ModelCard
from geosr.scene.degradation import Named, PsfAndNoise, Way, way_of
from geosr.scene.degraded import SpoiltReader, WaldReader
from geosr.scene.pixels import Reader
from geosr.scene.resample import ResampledReader
from geosr.scene.scene import Scene

_PSF = 0.0  # where only the noise is told


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case an image and way of degrading it."""
    for scene in images(data, card, failed):
        for said, way in ways(data):
            yield Case(
                scene.name, scene.path, "", f"x{card.factor:g}{said}", all_names(scene),
                partial(_rows, scene, data, way), partial(_low, scene, way, card),
            )  # fmt: skip


def ways(data: Data) -> list[tuple[str, Way]]:
    """What is done to the images, and how it is called where there are several."""
    if not data.psf and not data.noise:
        return [("", way_of(data.operator or "bicubic"))]
    return [
        (f" psf {psf:g} noise {noise:g}", PsfAndNoise(psf, noise))
        for psf, noise in product(data.psf or (_PSF,), data.noise or (0.0,))
    ]


def _reader(scene: Scene, source: Reader, way: Way, card: ModelCard) -> Reader:
    """The scene, as many times coarser as the net makes it finer; the same one at every call."""
    factor, named = card.scale, way.name if isinstance(way, Named) else ""
    if card.factor != factor:
        if not named:
            raise UsageError(
                f"a scale of {card.factor:g} is degraded by an operator of one name alone. Drop "
                "--psf, --noise and the pool, or give a whole --scale."
            )
        return ResampledReader(source, card.factor, named)
    if named and named != "blur-noise":
        return WaldReader(source, factor, (1,), named)
    seed = crc32(scene.name.encode())
    drawn = way.draw(factor, np.random.default_rng(seed))
    blurred = WaldReader(source, factor, (1,), drawn.blur)
    if drawn.finish is None:
        return blurred
    return SpoiltReader(blurred, scene, drawn.finish, seed + 1)


def _rows(scene: Scene, data: Data, way: Way, model: Model, engine: Engine) -> Iterator[Rows]:
    with scene.open() as source:
        reader = _reader(scene, source, way, model.card)
        degraded = replace(scene, grids=reader.grids, window=reader.grids[1].window)
        yield from rows_of(degraded, reader, scene, source, data, model, engine, (0, 0))


def _low(scene: Scene, way: Way, card: ModelCard) -> NDArray[np.float32]:
    with scene.open() as source:
        return whole(_reader(scene, source, way, card), scene, all_names(scene))
