"""Output rasters: written whole and read back, or not at all."""

from __future__ import annotations

import shutil
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.windows import Window as RasterioWindow

from geosr.errors import SceneError
from geosr.raster import flock, publish
from geosr.raster.files import SETTINGS, open_raster, read_mask, read_window
from geosr.raster.grid import Grid
from geosr.raster.statistics import Statistics
from geosr.raster.window import Window

_BLOCK = 256  # pixels along a block
_COPY_CACHE = 2**26  # bytes of blocks that GDAL keeps for a copy, whose blocks are others
IMAGERY = "IMAGERY"  # GDAL's metadata domain for what a sensor was


@dataclass(frozen=True)
class Layout:
    """What an output raster looks like, apart from its pixels.

    Attributes:
        names: band descriptions, in order.
        nodata: value to declare, or None.
        masked: whether an internal mask will be written.
        format: "GTiff", "COG", or "PNG" (one or three bands of 8 or 16 bits, no georeference).
        options: creation options that replace the defaults, NAME to VALUE.
        tags: of the raster.
        scales: GDAL's (scale, offset) of each band; empty for none.
        units: of what these give, "" for none; empty for none of all bands.
        colours: colour interpretation of each band as rasterio writes it, "" for none.
        spectra: of each band, in GDAL's metadata domain IMAGERY.
        imagery: of the raster, in that domain.
        overviews: whether a GeoTIFF gets overviews; a COG's are its driver's affair.
    """

    grid: Grid
    names: tuple[str, ...]
    dtype: np.dtype[Any]
    nodata: float | None = None
    masked: bool = False
    format: str = "GTiff"
    options: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    scales: tuple[tuple[float, float], ...] = ()
    colours: tuple[str, ...] = ()
    spectra: tuple[Mapping[str, str], ...] = ()
    imagery: Mapping[str, str] = field(default_factory=dict)
    overviews: bool = False
    units: tuple[str, ...] = ()

    def check(self, path: Path) -> None:
        """Whether the format can hold such bands.

        Raises:
            SceneError: a PNG cannot; names `path`.
        """
        small = self.dtype in (np.uint8, np.uint16)
        if self.format == "PNG" and not (len(self.names) in (1, 3) and small):
            raise SceneError(
                f"{path}: a PNG holds one or three bands of 8 or 16 bits, not {len(self.names)} of "
                f"{self.dtype}. Choose --bands, or --format GTiff."
            )


@contextmanager
def create(
    path: Path, layout: Layout, before_publish: Callable[[Path], None] = lambda _: None, *,
    tmp_dir: Path | None = None,
) -> Iterator[RasterWriter]:  # fmt: skip
    """An output raster that appears at `path` whole, read back and compared, or not at all.

    Args:
        before_publish: called with the whole temporary file; what it raises keeps `path` as it is.
        tmp_dir: where it is written first; then it is copied beside `path` and compared again.

    Raises:
        SceneError: a PNG cannot hold it.
        StoppedError: the file could not be written, or does not read back as it was written.
    """
    layout.check(path)
    first = tmp_dir / path.name if tmp_dir else path
    parts = [publish.part_path(first)]
    try:
        with rasterio.Env(**SETTINGS), ExitStack() as held:
            writer = RasterWriter(parts[0], first, layout)
            held.enter_context(flock.held(parts[0]))
            try:
                yield writer
            finally:
                writer.close()
            writer.build_overviews(parts[0])
            writer.verify(parts[0], first)
            if layout.format != "GTiff" or tmp_dir:
                parts.append(publish.part_path(path))
                _copy(parts[0], parts[1], path, layout)
                held.enter_context(flock.held(parts[1]))
                writer.verify(parts[1], path)
            before_publish(parts[-1])
            try:
                publish.publish(parts[-1], path)
            except OSError as error:
                raise publish.not_written(path, error) from error
    finally:
        for part in parts:
            publish.discard(part)


class RasterWriter:
    """Takes rows from top to bottom and writes whole block rows, each once.

    Of a wide raster they may come in panels from left to right, each of whole blocks.
    """

    def __init__(self, part: Path, final: Path, layout: Layout) -> None:
        self.layout = layout
        self._final = final
        self._done = Window(0, 0, 0, 0)  # of the panel in hand
        self._pending: list[tuple[NDArray[Any], NDArray[np.bool_] | None]] = []
        self._sums: list[tuple[Window, int]] = []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                self._dataset = rasterio.open(part, "w", **profile(layout))
            _describe(self._dataset, layout)
        except (rasterio.errors.RasterioError, OSError) as error:
            raise publish.not_written(final, error) from error
        self._block, self._block_width = self._dataset.block_shapes[0]
        self._statistics = [Statistics(layout.nodata) for _ in layout.names]

    def write(
        self, rows: NDArray[Any], mask: NDArray[np.bool_] | None = None, *, col: int = 0
    ) -> None:
        """Append `rows` (bands, n, cols) of the output's dtype, and their mask (n, cols).

        Args:
            col: where they begin; another one than before begins the next panel.

        Raises:
            ValueError: that is not where the last panel ends, which is to have all its rows and
                whole blocks.
        """
        if col != self._done.col:
            self._begin(col)
        top = 0
        while top < rows.shape[1]:
            waiting = sum(r.shape[1] for r, _ in self._pending)
            cut = slice(top, top + self._block - waiting)
            part = rows[:, cut], None if mask is None else mask[cut]
            self._pending.append(part)
            top, waiting = cut.stop, waiting + part[0].shape[1]
            if waiting in (self._block, self.layout.grid.height - self._done.height):
                self._flush()
        if self._pending:  # as a view it would keep all of `rows`
            last, said = self._pending[-1]
            self._pending[-1] = last.copy(), None if said is None else said.copy()

    def _begin(self, col: int) -> None:
        done = self._done
        ended = done.height == self.layout.grid.height and col == done.col + done.width
        if not ended or col % self._block_width:
            raise ValueError(f"column {col} does not go on after {done}")
        self._done = Window(0, col, 0, 0)

    def _flush(self) -> None:
        """Write the block row that waits."""
        rows = np.concatenate([r for r, _ in self._pending], axis=1)
        mask = None
        if self.layout.masked:
            mask = np.concatenate([m for _, m in self._pending if m is not None], axis=0)
        self._pending.clear()
        done = self._done
        window = Window(done.height, done.col, rows.shape[1], rows.shape[2])
        target = RasterioWindow(window.col, window.row, window.width, window.height)
        try:
            self._dataset.write(rows, window=target)
            if mask is not None:
                self._dataset.write_mask(mask, window=target)
        except Exception as error:  # GDAL's driver errors are not all RasterioErrors
            raise publish.not_written(self._final, error) from error
        for band, statistics in zip(rows, self._statistics, strict=True):
            statistics.add(band, mask)
        self._sums.append((window, _checksum(rows, mask)))
        self._done = Window(0, done.col, done.height + window.height, window.width)

    def close(self) -> None:
        """Close the dataset with its statistics; a full disk may show only here, or not at all."""
        try:
            for index, statistics in enumerate(self._statistics, 1):
                self._dataset.update_tags(index, **statistics.tags())
            self._dataset.close()
        except Exception as error:
            raise publish.not_written(self._final, error) from error

    def build_overviews(self, part: Path) -> None:
        """Give the closed GeoTIFF `part` overviews, each half as fine, where they are asked for."""
        if not self.layout.overviews or self.layout.format != "GTiff":
            return
        largest = max(self.layout.grid.shape)
        factors = [2**i for i in range(1, 32) if largest > self._block * 2 ** (i - 1)]
        try:
            with rasterio.open(part, "r+") as dataset:
                dataset.build_overviews(factors, Resampling.average)
        except Exception as error:
            raise publish.not_written(self._final, error) from error

    def verify(self, part: Path, final: Path) -> None:
        """Force `part` to the disk, read it back block by block, compare with what was written.

        A full disk raises nothing while GDAL's threads write; it shows here at the latest.

        Args:
            final: what to name in messages.

        Raises:
            StoppedError: it is not what was written.
        """
        try:
            publish.flush(part)
            with open_raster(part) as dataset:
                self._compare(dataset, final)
        except (rasterio.errors.RasterioError, OSError, SceneError) as error:
            reason = f"could not verify it (disk full?): {error}"
            raise publish.not_written(final, reason) from error

    @property
    def _whole(self) -> bool:
        """Whether all rows of all panels have come."""
        done, grid = self._done, self.layout.grid
        ended = done.height == grid.height and done.col + done.width == grid.width
        return ended and not self._pending

    def _compare(self, dataset: Any, final: Path) -> None:
        layout = self.layout
        placed = dataset.driver != "PNG"  # a PNG does not say where it lies
        there = Grid.of(dataset) == layout.grid if placed else dataset.shape == layout.grid.shape
        if not there or dataset.count != len(layout.names) or not self._whole:
            raise publish.not_written(final, "could not verify it: its header differs")
        if placed and not self._says_the_same(dataset):
            raise publish.not_written(final, "could not verify it (disk full?): its tags are lost")
        for window, checksum in self._sums:
            rows = read_window(dataset, range(1, dataset.count + 1), window)
            mask = read_mask(dataset, window) if layout.masked else None
            if _checksum(rows, mask) != checksum:
                raise publish.not_written(
                    final, f"could not verify it (disk full?): row {window.row} differs"
                )

    def _says_the_same(self, dataset: Any) -> bool:
        """Whether the tags are there, which GDAL writes behind the pixels and reads past a gap."""
        statistics = (each.tags().items() for each in self._statistics)
        return self.layout.tags.keys() <= dataset.tags().keys() and all(
            told <= dataset.tags(index).items() for index, told in enumerate(statistics, 1)
        )


def _describe(dataset: Any, layout: Layout) -> None:
    """What a new raster says of itself."""
    dataset.descriptions = layout.names
    dataset.update_tags(**layout.tags)
    if layout.imagery:
        dataset.update_tags(ns=IMAGERY, **layout.imagery)
    for index, tags in enumerate(layout.spectra, 1):
        if tags:
            dataset.update_tags(index, ns=IMAGERY, **tags)
    if any(layout.colours):
        dataset.colorinterp = [ColorInterp[name or "undefined"] for name in layout.colours]
    if any(pair != (1, 0) for pair in layout.scales):
        dataset.scales, dataset.offsets = zip(*layout.scales, strict=True)
    if any(layout.units):
        dataset.units = layout.units


def _checksum(rows: NDArray[Any], mask: NDArray[np.bool_] | None) -> int:
    value = zlib.crc32(np.ascontiguousarray(rows).data)
    return value if mask is None else zlib.crc32(np.packbits(mask).data, value)


def profile(layout: Layout) -> dict[str, Any]:
    """Creation options of the streamed GeoTIFF; a COG is copied from a fast one."""
    grid = layout.grid
    streamed: dict[str, Any] = {
        "driver": "GTiff",
        "width": grid.width,
        "height": grid.height,
        "count": len(layout.names),
        "dtype": layout.dtype,
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": layout.nodata,
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "interleave": "band",
        "compress": "deflate",
        "predictor": 3 if layout.dtype.kind == "f" else 2,
        "bigtiff": "if_safer",
        "zlevel": 1,  # with the predictor others save nothing and take three times as long
    }
    if layout.format != "GTiff":
        return streamed
    return streamed | {name.lower(): value for name, value in layout.options.items()}


def block_width(format: str, options: Mapping[str, str]) -> int | None:
    """Columns of the blocks in which an output is streamed; None where they are whole rows.

    Args:
        options: creation options as `Layout` has them.
    """
    given = {name.upper(): value for name, value in options.items()} if format == "GTiff" else {}
    if given.get("TILED", "YES").upper() not in ("YES", "TRUE", "ON", "1"):
        return None
    width = str(given.get("BLOCKXSIZE", _BLOCK))
    return int(width) if width.isdecimal() and int(width) else None  # GDAL says what is wrong


_COPIES = {
    "COG": {
        "COMPRESS": "DEFLATE", "PREDICTOR": "YES", "BLOCKSIZE": "512", "BIGTIFF": "IF_SAFER",
        "OVERVIEW_RESAMPLING": "AVERAGE",
    },
    "PNG": {},
}  # fmt: skip


def _copy(part: Path, copy: Path, final: Path, layout: Layout) -> None:
    """The finished GeoTIFF beside its final name, in a format that cannot be written in pieces."""
    if layout.format == "GTiff":
        try:
            shutil.copyfile(part, copy)
        except OSError as error:
            raise publish.not_written(final, error) from error
        return
    try:
        copied(part, copy, layout)
    except Exception as error:  # CPLE_AppDefinedError on a full disk is no RasterioError
        raise publish.not_written(final, error) from error
    finally:
        with suppress(OSError):  # GDAL leaves its own temporary overviews on failure
            for left in copy.parent.glob(f"{copy.name}.*"):
                left.unlink()


def copied(part: Path, copy: Path, layout: Layout) -> None:
    """Copy a GeoTIFF by GDAL into the layout's format, with its creation options."""
    given = {name.upper(): value for name, value in layout.options.items()}
    options, placed = _COPIES[layout.format] | given, layout.format != "PNG"
    with rasterio.Env(GDAL_CACHEMAX=_COPY_CACHE):
        rasterio.shutil.copy(part, copy, driver=layout.format, strict=placed, **options)
