"""What was sensed: bands by ground sampling distance, and a reader of their native pixels.

A scene's grids share one upper-left corner and nest: a 60 m pixel covers exactly 3 × 3 pixels
of 20 m and 6 × 6 of 10 m. `gsd` is the band's nominal distance in metres and names the grid;
arrays are (bands, rows, cols).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geosr.errors import SceneError
from geosr.raster import markup
from geosr.raster.files import (
    Warp,
    decoding_threads,
    has_mask,
    open_hdf4,
    open_hdf5,
    open_raster,
    read_mask,
    read_window,
)
from geosr.raster.grid import Grid
from geosr.raster.rows import RowReader
from geosr.raster.window import Window
from geosr.scene.acquisition import Acquisition
from geosr.scene.band import Band
from geosr.scene.note import Note
from geosr.scene.pixels import Pixels, fold
from geosr.scene.quality import Quality

_CPUS = os.cpu_count() or 1
_READERS = min(_CPUS, 8)  # files of a scene read at a time
_DECODERS = max(_CPUS // 4, 1)  # threads of each, of Sentinel-2's four bands of 10 m
_MOVED = 4  # rows by which windows of a frame that is moved by parts of a pixel are larger
SATURATED = 65535  # the special value of Sentinel-2 products, both levels


@dataclass(frozen=True)
class Scene:
    """Bands of one place, by GSD.

    Attributes:
        sensor: "sentinel2", "landsat", "modis", "viirs", "probav", "pair" for a raster with its
            guide, or "image" for any other raster.
        level: processing level, "L1C", "L2A", "LEVEL3 TOC" or "" where unknown.
        grids: native grid by GSD; where a file does not start or end on whole coarse pixels
            they are grown outward until it does.
        window: the part of the finest grid that the files really cover.
        dtype: type of the counts.
        quantification: count that means reflectance 1.0.
        notes: what a user should know about how the scene was read, for the log.
        resampled: how coarse bands were brought to the finest grid: "", "replicated" or
            "interpolated".
        metadata: files besides the rasters from which it is known what counts mean.
        acquisition: when and by what it was sensed.
        video: frame 0 is one of a video; the others are those around it, the nearest in time first.
        between: of a video, what is wanted lies in the middle between frames 0 and 1.
    """

    name: str
    path: str
    sensor: str
    level: str
    bands: tuple[Band, ...]
    grids: Mapping[int, Grid]
    window: Window
    dtype: np.dtype[Any]
    quantification: float = 10000.0
    notes: tuple[Note, ...] = ()
    resampled: str = ""
    vrt: bool = False
    metadata: tuple[str, ...] = ()
    acquisition: Acquisition = Acquisition()  # noqa: RUF009 - frozen
    video: bool = False
    between: bool = False

    def _repr_html_(self) -> str:
        """Bands and grid of each GSD, and what a user should know, as a notebook shows it."""
        rows = [(f"{gsd} m" if self.sensor == "sentinel2" else f"grid {gsd}",
                 " ".join(band.name for band in self.select(gsd=gsd)),
                 f"{grid.height} × {grid.width} px of {grid.gsd:g}, {grid.crs or 'no CRS'}")
                for gsd, grid in sorted(self.grids.items())]  # fmt: skip
        facts = [("type", f"{self.dtype}, 1.0 is {self.quantification:g}", "")]
        notes = [("note", note, "") for note in self.notes]
        frames = f", {self.frames} images" if self.frames > 1 else ""
        title = f"{self.name}: {self.sensor} {self.level}".rstrip() + frames
        return markup.table(title, [*rows, *facts, *notes])

    @property
    def finest(self) -> int:
        """GSD of the finest grid."""
        return min(self.grids)

    @property
    def grid(self) -> Grid:
        """The finest grid, cut to what the files cover."""
        return self.grids[self.finest].crop(self.window)

    @property
    def frames(self) -> int:
        """How many images of the place there are."""
        return 1 + max(band.frame for band in self.bands)

    @property
    def files(self) -> tuple[str, ...]:
        """Every file the bands and their quality come from, each once."""
        bands = [band.path for band in self.bands]
        written = [band.quality.path for band in self.bands if band.quality]
        return tuple(dict.fromkeys(bands + written))

    def select(
        self, *, names: Sequence[str] | None = None, gsd: int | None = None, frame: int = 0
    ) -> tuple[Band, ...]:
        """Bands by name, in the order asked, or all of one GSD.

        Raises:
            SceneError: a name the scene lacks.
        """
        bands = {b.name: b for b in self.bands if b.frame == frame and gsd in (None, b.gsd)}
        missing = [name for name in names or () if name not in bands]
        if missing:
            raise SceneError(
                f"{self.path} lacks {' '.join(missing)} (found: {' '.join(bands) or 'no bands'}). "
                "Add the band's file, or choose a model that does without it."
            )
        return tuple(bands[name] for name in names) if names is not None else tuple(bands.values())

    def order(self, names: Collection[str]) -> tuple[str, ...]:
        """Those of `names` that the scene has, in its own order."""
        return tuple(band.name for band in self.bands if band.frame == 0 and band.name in names)

    def gsd(self, name: str) -> int:
        """GSD of a band."""
        return self.select(names=[name])[0].gsd

    def check_nested(self, gsds: Sequence[int]) -> None:
        """Every one of `gsds` must share the corner and the ground of the finest grid.

        Raises:
            SceneError: names both grids.
        """
        fine = self.grids[self.finest]
        for gsd in gsds:
            coarse = self.grids[gsd]
            if fine.ratio(coarse) != gsd // self.finest:
                raise SceneError(
                    f"{self.path}: the {gsd} m grid ({coarse}) does not nest in the "
                    f"{self.finest} m grid ({fine}): {gsd // self.finest} × {gsd // self.finest} "
                    "pixels of one must make a pixel of the other, from one corner. "
                    "Crop both to whole coarse pixels, or leave those bands out with --model."
                )

    def open(self, overlap: int | None = None) -> SceneReader:
        """A reader of this scene's pixels; use it in a `with`.

        Args:
            overlap: rows of the finest grid that a window has in common with the next one, where
                it is read downwards: each block of a file is then decoded once. None is anyhow.
        """
        return SceneReader(self, overlap)


@dataclass
class SceneReader:
    """Reads windows of native pixels; windows past the edges are padded symmetrically.

    Threads may share it: they read in turn, since GDAL's datasets take one at a time.
    """

    scene: Scene
    overlap: int | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _open: dict[Hashable, Any] = field(default_factory=dict)
    _rows: dict[Hashable, RowReader] = field(default_factory=dict)
    _pool: ThreadPoolExecutor | None = None
    _turn: RLock = field(default_factory=RLock)

    def __enter__(self) -> SceneReader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.clear()
        self._rows.clear()
        self._stack.close()

    @property
    def grids(self) -> Mapping[int, Grid]:
        """The scene's grids by GSD."""
        return self.scene.grids

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Bands `names` in `window` of the grid of `gsd`.

        Raises:
            SceneError: a band is missing or its file cannot be decoded.
        """
        bands = self.scene.select(names=names, gsd=gsd, frame=frame)
        groups = _by_file(bands)
        with self._turn:
            parts = self._read_files(groups, gsd, window)
        order = [band.name for group in groups for band in group]
        pick = [order.index(name) for name in names]
        return _joined(parts).map(lambda array: array[pick])

    def clearance(self, name: str, side: int, *, frame: int = 0) -> float:
        """Share of a band's pixels that are usable, by a look of at most `side` × `side` of them.

        Raises:
            SceneError: as `read`.
        """
        bands = self.scene.select(names=[name], frame=frame)
        height, width = self.scene.window.height, self.scene.window.width
        shape = min(height, side), min(width, side)
        with self._turn:
            pixels = self._file_pixels(bands, Window(0, 0, height, width), shape)
        return float(pixels.usable.mean())

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Whether a file of these bands has a mask of its own, internal or external."""
        bands = [b for b in self.scene.bands if b.gsd == gsd and b.name in names]
        with self._turn:
            return any(has_mask(self._raw(group[0])) for group in _by_file(bands))

    def _read_files(
        self, groups: Sequence[Sequence[Band]], gsd: int, window: Window
    ) -> list[Pixels]:
        """One file a thread: a SAFE product has one a band, and JP2 decodes slowly."""
        plain = not any(band.quality or band.warp for group in groups for band in group)
        if len(groups) == 1 or not plain:  # those may share a file, and no two threads can
            return [self._read_file(group, gsd, window) for group in groups]
        if self._pool is None:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(_READERS, "geosr-read"))
        reads = [self._pool.submit(self._read_beside, group, gsd, window) for group in groups]
        wait(reads)  # all, also where one fails: files are not closed while they are read
        return [read.result() for read in reads]

    def _read_beside(self, bands: Sequence[Band], gsd: int, window: Window) -> Pixels:
        """As `_read_file`, in a thread beside others."""
        with decoding_threads(_DECODERS):
            return self._read_file(bands, gsd, window)

    def _read_file(self, bands: Sequence[Band], gsd: int, window: Window) -> Pixels:
        """All of `bands` lie in one file."""
        folded = fold(window, *self.scene.grids[gsd].shape)
        native = self._coarse if bands[0].factor > 1 else self._native
        return folded.take(native(bands, gsd, folded.hull))

    def _native(self, bands: Sequence[Band], gsd: int, window: Window) -> Pixels:
        """File pixels are native ones; a grid grown past the file is padded symmetrically."""
        grid = self.scene.grids[gsd]
        cover = self.scene.window if gsd == self.scene.finest else grid.window
        folded = fold(window.shift(-cover.row, -cover.col), cover.height, cover.width)
        return folded.take(self._file_pixels(bands, folded.hull))

    def _coarse(self, bands: Sequence[Band], gsd: int, window: Window) -> Pixels:
        """Native pixels of bands that somebody brought to a finer grid."""
        cover, factor = self.scene.window, bands[0].factor
        fine = window.at(factor).shift(-cover.row, -cover.col)
        inside = fine.intersect(Window(0, 0, cover.height, cover.width))
        return _block_means(self._file_pixels(bands, inside), fine, inside, factor)

    def _file_pixels(
        self, bands: Sequence[Band], window: Window, shape: tuple[int, int] | None = None
    ) -> Pixels:
        values = self._counts(bands, window, shape)
        cover = self._mask(bands[0], window, shape)
        mask = np.broadcast_to(cover, values.shape)
        if any(band.quality for band in bands):
            mask = mask & np.stack([self._clear(b, window, values.shape[1:]) for b in bands])
        pixels = as_pixels(self.scene, bands, values, mask)
        if bands[0].warp is None:
            return pixels
        return replace(pixels, valid=pixels.valid & cover)  # beyond the file is no count

    def _counts(
        self, bands: Sequence[Band], window: Window, shape: tuple[int, int] | None
    ) -> NDArray[Any]:
        dataset, indexes = self._values(bands[0]), [band.index for band in bands]
        if self.overlap is None or shape is not None:
            return read_window(dataset, indexes, window, shape)
        key = (*_file(bands[0]), *indexes)
        if key not in self._rows:
            pixel = bands[0].gsd // bands[0].factor // self.scene.finest
            overlap = -(-self.overlap // max(pixel, 1)) + _MOVED
            self._rows[key] = RowReader(dataset, indexes, overlap)
        return self._rows[key].read(window)

    def _mask(self, band: Band, window: Window, shape: tuple[int, int] | None) -> NDArray[np.bool_]:
        """Where the file's own mask allows it, and the file reaches; broadcasts to (rows, cols)."""
        if band.warp is None:
            mask = read_mask(self._raw(band), window, shape)
            return np.ones((1, 1), bool) if mask is None else mask
        warp, raw = band.warp, self._raw(band)
        cover = self._kept(("cover", *_file(band), warp), lambda: warp.nearest(raw, alpha=True))
        alpha = cover.colorinterp.index(ColorInterp.alpha) + 1
        return read_window(cover, [alpha], window, shape)[0] > 0

    def _clear(self, band: Band, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Where the band's quality is good, (rows, cols)."""
        if band.quality is None:
            return np.ones(shape, bool)
        quality, warp = band.quality, band.warp
        if quality.grid is not None:
            warp = Warp(quality.grid, warp.target if warp else self.scene.grids[band.gsd])
        dataset = self._kept(_file(quality), lambda: self._checked(quality, band))
        if warp is not None:
            raw = dataset
            dataset = self._kept(("nearest", *_file(quality), warp), lambda: warp.nearest(raw))
        return quality.clear(read_window(dataset, [quality.index], window, shape)[0])

    def _checked(self, quality: Quality, band: Band) -> Any:
        """The file of a band's quality, which must lie as the band's does."""
        dataset, raw = self._opened(quality), self._raw(band)
        if quality.grid is not None:
            return dataset
        image, mask = Grid.of(raw), Grid.of(dataset)
        placed = image.crs is not None and mask.crs is not None
        if image.shape != mask.shape or (placed and image.ratio(mask) != 1):
            raise SceneError(
                f"{dataset.name} ({mask}) says which pixels of {raw.name} ({image}) are clear, "
                "but has another size or lies elsewhere. Cut both alike, or take it away."
            )
        return dataset

    def _values(self, band: Band) -> Any:
        """The band's file on the scene's grid."""
        raw, warp = self._raw(band), band.warp
        if warp is None:
            return raw
        none = math.isnan(band.nodata) and self.scene.dtype.kind != "f"
        nodata = None if none else band.nodata
        return self._kept(("values", *_file(band), warp), lambda: warp.values(raw, nodata))

    def _raw(self, band: Band) -> Any:
        """The band's file as it is, or its dataset in it."""
        return self._kept(_file(band), lambda: self._opened(band))

    def _opened(self, source: Band | Quality) -> Any:
        if source.layer:
            opened = open_hdf4 if source.driver == "HDF4Image" else open_hdf5
            return opened(source.path, source.layer)
        return open_raster(source.path, driver=source.driver, vrt=self.scene.vrt)

    def _kept(self, key: Hashable, opened: Callable[[], Any]) -> Any:
        """A dataset that stays open until the reader is closed."""
        if key not in self._open:
            dataset = opened()
            # not enter_context: that would tie the dataset to the thread that opened it
            self._stack.callback(dataset.close)
            self._open[key] = dataset
        return self._open[key]


def as_pixels(
    scene: Scene, bands: Sequence[Band], values: NDArray[Any], mask: NDArray[np.bool_]
) -> Pixels:
    """Counts of `bands`, (bands, rows, cols), with what their numbers mean in this scene."""
    nodata = np.array([band.nodata for band in bands])[:, None, None]
    valid = values != nodata
    saturated = np.zeros(values.shape, bool)
    if values.dtype.kind == "f":
        valid &= np.isfinite(values)
    elif values.dtype == np.uint16 and scene.sensor == "sentinel2":
        saturated = values == SATURATED
    return Pixels(values, valid, mask, saturated)


def _file(source: Band | Quality) -> tuple[str, str]:
    return source.path, source.layer


def _by_file(bands: Sequence[Band]) -> list[list[Band]]:
    groups: dict[tuple[str, str], list[Band]] = {}
    for band in bands:
        groups.setdefault(_file(band), []).append(band)
    return list(groups.values())


def _joined(parts: Sequence[Pixels]) -> Pixels:
    if len(parts) == 1:
        return parts[0]
    return Pixels(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.valid for part in parts]),
        np.concatenate([part.mask for part in parts]),
        np.concatenate([part.saturated for part in parts]),
    )


def _block_means(pixels: Pixels, fine: Window, inside: Window, factor: int) -> Pixels:
    """Native coarse pixels from `factor` × `factor` copies: the mean of those that were sensed.

    For exact copies the mean is the native count itself. Pixels of `fine` outside the file
    (`inside`) do not count, so a block cut by the file's edge keeps its value.
    """
    count, blocks = len(pixels.values), (fine.height // factor, fine.width // factor)
    at = (slice(None), *inside.within(fine))

    def sums(values: NDArray[Any]) -> NDArray[np.float64]:
        whole = np.zeros((count, fine.height, fine.width))
        whole[at] = values
        return whole.reshape(count, blocks[0], factor, blocks[1], factor).sum((2, 4))

    good = pixels.sensed
    n_good = sums(good)
    mean = sums(np.where(good, pixels.values, 0)) / np.maximum(n_good, 1)
    valid, mask = sums(pixels.valid) > 0, sums(pixels.mask) > 0
    return Pixels(
        mean.astype(np.float32), valid & (n_good > 0), mask, sums(pixels.saturated & good) > 0
    )
