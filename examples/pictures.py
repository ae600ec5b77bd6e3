"""Pictures for the notebooks here, by geosr's own stretch and PNG."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from IPython.display import Image
from numpy.typing import NDArray

from geosr.raster import picture


def read(path: str | Path, bands: Sequence[str]) -> NDArray[np.float32]:
    """Bands of a raster by their names: (bands, rows, columns)."""
    with rasterio.open(path) as file:
        indexes = [file.descriptions.index(name) + 1 for name in bands]
        return file.read(indexes).astype(np.float32)


def beside(*images: NDArray[np.float32], height: int = 320) -> Image:
    """Images of one place side by side, as large as the finest and of one stretch.

    Args:
        images: (bands, rows, columns), three bands as red, green and blue, or one.
        height: rows of the picture at least.
    """
    finest = max(image.shape[1] for image in images)
    rows = finest * -(-height // finest)
    low, high = picture.limits(images[0])
    parts = [picture.visible(picture.enlarge(image, rows // image.shape[1]), low, high)
             for image in images]  # fmt: skip
    return Image(picture.png(np.moveaxis(picture.strip(parts), 0, 2)))
