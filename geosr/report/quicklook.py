"""Pictures of an output for the eye: true colour, and short-wave infrared where it has that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster import marks
from geosr.raster.files import open_raster
from geosr.raster.picture import limits, visible, write_png
from geosr.raster.thumbnail import thumbnail

_LONGEST = 1000  # pixels along a side
_TRUE = ("red", "green", "blue")
_SWIR = ("swir", "nir", "red")  # as red, green and blue: vegetation green, bare soil magenta


def paths(output: Path) -> tuple[Path, Path]:
    """Where the picture in true colour and the one in short-wave infrared lie."""
    return (
        output.with_name(f"{output.stem}.quicklook.png"),
        output.with_name(f"{output.stem}.quicklook-swir.png"),
    )


def draw(output: Path, *, overwrite: bool = False) -> list[Path]:
    """Draw an output raster, each picture whole or not at all; return what was written.

    Each band is stretched between its 2nd and 98th percentile; where nothing was sensed it is
    black. Without red, green and blue the first band is drawn in grey.

    Args:
        overwrite: replace files that are no such pictures too.

    Raises:
        SceneError: the raster cannot be read.
        UsageError: somebody's file has the name of a picture.
    """
    plain, swir = paths(output)
    written = []
    with open_raster(output) as dataset:
        chosen = {plain: _indexes(dataset, _TRUE) or [1], swir: _indexes(dataset, _SWIR)}
        for path, indexes in chosen.items():
            if indexes:
                picture = _stretched(*thumbnail(dataset, indexes, _LONGEST))
                write_png(path, picture, marks.QUICKLOOK, overwrite=overwrite)
                written.append(path)
    return written


def _indexes(dataset: Any, colours: tuple[str, ...]) -> list[int]:
    """Bands of these colours, none where one is missing; of several the last, of Sentinel-2 B8A."""
    kinds = [kind.name for kind in dataset.colorinterp]
    if not set(colours) <= set(kinds):
        return []
    found = {kind: index for index, kind in enumerate(kinds, 1)}
    if "B8A" in dataset.descriptions:
        found["nir"] = dataset.descriptions.index("B8A") + 1
    return [found[colour] for colour in colours]


def _stretched(image: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(3, rows, cols) for the eye, band by band."""
    bands = [visible(band[None], *limits(band, valid))[0] for band in image]
    shown = np.stack(bands if len(bands) == 3 else bands * 3)
    shown[:, ~valid] = 0
    return shown
