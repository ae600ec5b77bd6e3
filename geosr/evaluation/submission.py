"""A submission to the Proba-V challenge: one zip of 16-bit PNGs, `imgset1160.png` and so on."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from geosr.errors import SceneError, UsageError
from geosr.raster import marks, publish
from geosr.raster.files import open_raster, read_window
from geosr.raster.grid import Grid

SIDE = 384
TEST = tuple(f"imgset{number}" for number in range(1160, 1450))  # of the challenge
_NAME = re.compile(r"imgset\d{4}")
_EPOCH = (1980, 1, 1, 0, 0, 0)  # one folder gives one zip, whenever


@dataclass(frozen=True)
class Submission:
    """What was packed, and which images of the challenge's test set are not in it."""

    path: Path
    images: int
    missing: tuple[str, ...]


def submit(folder: Path, path: Path, *, overwrite: bool = False) -> Submission:
    """Pack the outputs of a folder, whole or not at all.

    Args:
        folder: GeoTIFFs or PNGs named imgsetNNNN, one band of 384 × 384 counts; floats are
            rounded, and clipped to 16 bits.
        overwrite: replace a file at `path` that is no submission too.

    Raises:
        UsageError: there is none, or such a file is there.
        SceneError: one is of another size, or holds no number somewhere.
        StoppedError: the zip cannot be written.
    """
    marks.require_place(path, marks.SUBMISSION, overwrite=overwrite)
    found = images(folder)
    if not found:
        raise UsageError(
            f"{folder} holds no imgsetNNNN.tif or .png. Run geosr superres on the challenge's "
            "test folder first."
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = marks.SUBMISSION
        for image in found:
            archive.writestr(zipfile.ZipInfo(f"{image.stem}.png", _EPOCH), _png(_counts(image)))
    publish.write_bytes(path, packed.getvalue())
    there = {image.stem for image in found}
    return Submission(path, len(found), tuple(name for name in TEST if name not in there))


def images(folder: Path) -> Sequence[Path]:
    """The outputs of a folder that are named after imgsets, by name."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. Check the path.")
    rasters = (p for p in folder.iterdir() if p.suffix.lower() in (".tif", ".tiff", ".png"))
    return sorted(p for p in rasters if _NAME.fullmatch(p.stem))


def _counts(path: Path) -> NDArray[np.uint16]:
    with open_raster(path) as dataset:
        if dataset.shape != (SIDE, SIDE) or dataset.count != 1:
            raise SceneError(
                f"{path} is {dataset.count} × {dataset.height} × {dataset.width}; the challenge "
                f"wants one band of {SIDE} × {SIDE}. Super-resolve the imgset by 3."
            )
        values = read_window(dataset, [1], Grid.of(dataset).window)[0].astype(np.float64)
    if not np.isfinite(values).all():
        raise SceneError(f"{path} holds NaN or infinity. Make it again.")
    return np.clip(np.rint(values), 0, 65535).astype(np.uint16)


def _png(counts: NDArray[np.uint16]) -> bytes:
    profile = {"driver": "PNG", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16"}
    with MemoryFile() as memory, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(**profile) as image:
            image.write(counts, 1)
        return bytes(memory.read())
