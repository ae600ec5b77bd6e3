"""Pairs from imgsets of the Proba-V challenge: real frames of 300 m, and the truth of 100 m."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, UsageError
from geosr.models.card import ModelCard
from geosr.raster.window import Window
from geosr.sensors import OpenOptions, open_scene, probav
from geosr.training.datasets.revisits import Place, RevisitWindows
from geosr.training.datasets.windows import Area, tell_left_out

FACTOR = 3
_UNIT = np.float32(10000 / probav.UNIT)


class KelvinsWindows(RevisitWindows):
    """Windows of imgsets, on the grid of the truth."""

    kind = "kelvins"

    def truth(self, place: Place) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """HR.png as reflectance × 10000, and SM.png, (1, rows, cols)."""
        imgset = probav.read_imgset(place.path)
        assert imgset.truth is not None and imgset.clear is not None
        return (imgset.truth * _UNIT)[None], imgset.clear[None]


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
    tell_left_out(reasons, len(found))
    return found
