"""Images in tensors on the disk: `.pt` files with (patches, bands, rows, cols), read as scenes.

They are pickles, which can hold code: only tensors are unpickled, and a file with anything else is
refused. Files that torch saves as zip archives stay on the disk, and windows are read from there.
"""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from affine import Affine
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import SceneError
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.band import Band
from geosr.scene.note import Note
from geosr.scene.pixels import Pixels
from geosr.scene.scene import Scene, SceneReader, as_pixels
from geosr.sensors import OpenOptions

_OPEN = 16  # files kept open
_GSD = 1  # names the one grid, as for any image


def count(path: Path) -> int:
    """How many images a file holds.

    Raises:
        SceneError: it is no file of one tensor (images, bands, rows, cols).
    """
    return len(_tensor(str(path)))


def scene(path: Path, index: int, names: Sequence[str], options: OpenOptions) -> Scene:
    """One image of a file. Integers are reflectance × 10000, floats reflectance.

    Args:
        names: of its bands.

    Raises:
        SceneError: it is no file of one tensor (images, bands, rows, cols), or of other bands.
    """
    first = _first(path, tuple(names), options.quantification)
    return replace(first, name=f"{path.stem}-{index:04}", path=f"{path}#{index}", index=index)


@lru_cache(_OPEN)
def _first(path: Path, names: tuple[str, ...], quantification: float | None) -> TensorScene:
    """The first image of a file; what all of them have in common is held once."""
    tensor = _tensor(str(path))
    _, count, height, width = tensor.shape
    if count != len(names):
        raise SceneError(
            f"{path} has {count} bands, {len(names)} are needed ({' '.join(names)}). Leave it out."
        )
    dtype = _type(tensor)
    unit = quantification or (1.0 if dtype.kind == "f" else 10000.0)
    bands = tuple(Band(name, _GSD, str(path), i, nodata=math.nan)
                  for i, name in enumerate(names, 1))  # fmt: skip
    grid = Grid(None, Affine.identity(), width, height)
    return TensorScene(
        path.stem, str(path), "image", "", bands, {_GSD: grid}, grid.window, dtype, unit,
        (Note(f"value {unit:g} counts as 1.0"),),
    )  # fmt: skip


@dataclass(frozen=True)
class TensorScene(Scene):
    """One image of a file of tensors.

    Attributes:
        index: of the image.
    """

    index: int = 0

    def open(self, overlap: int | None = None) -> SceneReader:
        """A reader of the image, all of which is in memory."""
        return TensorReader(self, overlap)


@dataclass
class TensorReader(SceneReader):
    """Reads windows of one image of a file of tensors."""

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Never: a tensor has none."""
        return False

    def _file_pixels(
        self, bands: Sequence[Band], window: Window, shape: tuple[int, int] | None = None
    ) -> Pixels:
        assert isinstance(self.scene, TensorScene)
        image = _tensor(bands[0].path)[self.scene.index]
        rows, cols = window.within(Window(0, 0, 0, 0))
        values: NDArray[Any] = image[[band.index - 1 for band in bands], rows, cols].numpy()
        if shape is not None:
            r, c = (((np.arange(n) + 0.5) * extent / n).astype(int)
                    for n, extent in zip(shape, values.shape[1:], strict=True))  # fmt: skip
            values = values[:, r[:, None], c]
        return as_pixels(self.scene, bands, values, np.ones(values.shape, bool))


@lru_cache(_OPEN)
def _tensor(path: str) -> Tensor:
    """The one tensor of a file."""
    found = _loaded(path)
    fits = isinstance(found, Tensor) and found.layout == torch.strided and found.ndim == 4
    if not fits or not found.is_contiguous() or not found.numel():
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SceneError(
            f"{path} holds no images (images, bands, rows, cols): {shape}. Leave it out."
        )
    _type(found)
    return found


def _loaded(path: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError:  # saved before torch wrote zip archives
                return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SceneError(
            f"{path} holds more than a tensor, which may be code, and is not read. Save the tensor "
            "alone (torch.save) if you trust the file."
        ) from error
    except Exception as error:  # whatever a broken pickle leads the unpickler to
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise SceneError(f"cannot read {path}: {said[:200]}. Replace the file.") from error


def _type(tensor: Tensor) -> np.dtype[Any]:
    """Numpy's type of a tensor's values.

    Raises:
        SceneError: they are no counts, or numpy has no such type.
    """
    try:
        dtype = np.dtype(torch.empty(0, dtype=tensor.dtype).numpy().dtype)
    except TypeError:
        dtype = np.dtype(object)
    if dtype.kind not in "iuf":
        raise SceneError(f"a tensor of {tensor.dtype} holds no counts. Give integers or floats.")
    return dtype
