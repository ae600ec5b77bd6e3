"""Arrays as pictures for people: a stretch that all parts share, and PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster.picture import png
from geosr.raster.publish import write_bytes

_GAP = 4  # white pixels between parts


def visible(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """(bands, rows, cols) as 8-bit RGB (3, rows, cols): the first three bands, or grey."""
    shown = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, 0)
    scaled = (shown - low) / max(high - low, 1e-9)
    return np.asarray(np.clip(np.nan_to_num(scaled), 0, 1) * 255 + 0.5, np.uint8)


def limits(image: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The 2nd and 98th percentile of what is valid."""
    values = image[mask] if mask is not None and mask.any() else image
    low, high = np.percentile(values, (2, 98))
    return float(low), float(high)


def enlarge(image: NDArray[Any], k: int) -> NDArray[Any]:
    """Every pixel as `k` × `k`."""
    return image.repeat(k, -2).repeat(k, -1)


def strip(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one height side by side."""
    gap = np.full((3, parts[0].shape[1], _GAP), 255, np.uint8)
    row = [piece for part in parts for piece in (part, gap)][:-1]
    return np.concatenate(row, axis=2)


def sheet(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Strips of one width below each other."""
    gap = np.full((3, _GAP, rows[0].shape[2]), 255, np.uint8)
    column = [piece for row in rows for piece in (row, gap)][:-1]
    return np.concatenate(column, axis=1)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """An RGB picture, whole or not at all."""
    write_bytes(path, png(np.moveaxis(picture, 0, 2)))
