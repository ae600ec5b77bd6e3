"""Proba-V in the layout of the Kelvins challenge: imgsets of PNG frames with quality masks.

`LR000.png …` and `QM000.png …` (128 × 128), `SM.png` and, for training, `HR.png` (384 × 384); 16
bits, masks 255 where clear. Products have a status map of bits instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.raster.files import open_raster, read_window
from geosr.raster.grid import Grid

UNIT = 32000.0  # of an imgset's counts is reflectance 1.0: 16 times a product's, whose 2000 it is
_LARGEST = 2**24  # pixels; a truth has 384 × 384
_UNCLEAR = 0b111  # 0 clear, 1 shadow, 2 undefined, 3 cloud, 4 ice; bit 3 is land
_GOOD = {"SWIR": 1 << 4, "NIR": 1 << 5, "RED": 1 << 6, "BLUE": 1 << 7}


def status_bits(name: str) -> tuple[int, int]:
    """Which bits of a status map count for a band, and what they are where it is clear.

    The band's own pixel must be good where its name (BLUE, RED, NIR, SWIR) tells its bit.
    """
    good = _GOOD.get(name.upper(), 0)
    return _UNCLEAR | good, good


@dataclass(frozen=True)
class Imgset:
    """One place.

    Attributes:
        frames: (frames, rows, cols) counts.
        masks: the same shape, True where clear.
        truth: (3 · rows, 3 · cols) counts, None where there is none.
        clear: True where truth counts.
    """

    path: Path
    frames: NDArray[np.uint16]
    masks: NDArray[np.bool_]
    truth: NDArray[np.uint16] | None
    clear: NDArray[np.bool_] | None

    def clearest(self) -> NDArray[np.int64]:
        """Frame numbers, the clearest first; ties in order of number."""
        return np.argsort(-self.masks.mean((1, 2)), kind="stable")


def is_imgset(path: Path) -> bool:
    """A folder with LR*.png and QM*.png."""
    return path.is_dir() and any(path.glob("LR*.png")) and any(path.glob("QM*.png"))


def find_imgsets(path: Path, pattern: str | None = None) -> list[Path]:
    """An imgset, the imgsets of a folder, or of its RED and NIR, or of its `train` tree."""
    if is_imgset(path):
        return [path]
    for inside in ("*", "*/*", "train/*/*"):
        found = [p for p in sorted(path.glob(inside)) if is_imgset(p)]
        if found:
            return [p for p in found if fnmatch(p.name, pattern or "*")]
    return []


def is_imgsets(path: Path) -> bool:
    """Whether a folder is or holds imgsets."""
    return path.is_dir() and bool(find_imgsets(path))


def norm_file(path: Path) -> Path | None:
    """`norm.csv` in a folder or the two above it."""
    here = path.resolve()
    folders = [here, *list(here.parents)[:3]] if is_imgset(path) else [here, *here.parents][:3]
    return next((folder / "norm.csv" for folder in folders if (folder / "norm.csv").exists()), None)


def read_imgset(path: Path) -> Imgset:
    """All of an imgset.

    Raises:
        SceneError: frames and masks do not match, or a file cannot be read.
    """
    low = sorted(path.glob("LR*.png"))
    masks = check_masks(path, low)
    frames = [_read(file) for file in low]
    clear = [_read(file) > 0 for file in masks]
    shapes = {image.shape for image in [*frames, *clear]}
    if len(shapes) > 1:
        raise SceneError(f"{path}: frames and masks differ in size ({shapes}). Replace them.")
    truth, counted = path / "HR.png", path / "SM.png"
    return Imgset(
        path, np.stack(frames), np.stack(clear), _read(truth) if truth.exists() else None,
        _read(counted) > 0 if counted.exists() else None,
    )  # fmt: skip


def check_masks(path: Path, frames: Sequence[Path]) -> list[Path]:
    """The masks of an imgset's frames.

    Raises:
        SceneError: a frame has none.
    """
    masks = [path / file.name.replace("LR", "QM") for file in frames]
    missing = [mask.name for mask in masks if not mask.exists()]
    if missing:
        raise SceneError(f"{path}: no mask {missing[0]} for its frame. Complete the imgset.")
    return masks


def _read(path: Path) -> NDArray[Any]:
    with open_raster(path) as dataset:
        if dataset.width * dataset.height > _LARGEST:
            raise SceneError(
                f"{path}: {dataset.height} × {dataset.width} px, an imgset's images have at most "
                f"{_LARGEST:,}. Replace the file, or give it as one raster."
            )
        return np.asarray(read_window(dataset, [1], Grid.of(dataset).window)[0])
