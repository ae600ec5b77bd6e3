"""Rasters on disk: opened by an explicit driver, read by windows."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from geosr.errors import SceneError, cause
from geosr.raster.grid import Grid
from geosr.raster.hdf5 import require_alone
from geosr.raster.window import Window

_MAGIC = {
    b"II*\x00": "GTiff",
    b"MM\x00*": "GTiff",
    b"II+\x00": "GTiff",
    b"MM\x00+": "GTiff",
    b"\x00\x00\x00\x0cjP  ": "JP2OpenJPEG",
    b"\xff\x4f\xff\x51": "JP2OpenJPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
_LARGEST_VRT = 2**24  # bytes
_MOST_NESTED = 4
_UNTRUSTED = (
    "VRTRawRasterBand", "PixelFunctionLanguage", "/vsi", "://", "&lt;", "CDATA",
    "<!ENTITY", "GDAL_WMS",
)  # fmt: skip
_LARGEST_BLOCK = 2**28  # bytes of one block, unpacked
_PLANE = 3857  # stands for the CRS of rasters that have none; nothing is projected
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_HDF4_MAGIC = b"\x0e\x03\x13\x01"


SETTINGS: dict[str, str | int] = {
    "GDAL_PAM_ENABLED": "NO",  # .aux.xml beside an input may replace its CRS; never write one
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # external masks are still found, folders not listed
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "GDAL_VRT_ENABLE_RAWRASTERBAND": "NO",
    "GDAL_DRIVER_PATH": "disable",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
    "GTIFF_POINT_GEO_IGNORE": "FALSE",
    "GTIFF_HONOUR_NEGATIVE_SCALEY": "NO",
    "GDAL_CACHEMAX": 256,  # bytes, as rasterio has it: no block is kept, each is written at once
}


def decoding_threads(count: int) -> rasterio.Env:
    """For a `with`: so many threads decode blocks that are read in this one; else all cores do."""
    return rasterio.Env(GDAL_NUM_THREADS=count)


def sniff(head: bytes) -> str | None:
    """The GDAL driver for a file that starts with `head`, None for anything unknown."""
    return next((driver for magic, driver in _MAGIC.items() if head.startswith(magic)), None)


def _check_sidecars(name: str) -> None:
    """Whether what GDAL opens beside a file by itself, by any driver, is TIFF as it should be.

    Raises:
        SceneError: a mask or overviews are something else, which could name other files.
    """
    for ending in (".msk", ".ovr", ".MSK", ".OVR"):
        beside = Path(name + ending)
        if not beside.exists():
            continue
        head = _head(beside)
        if sniff(head) != "GTiff":
            raise SceneError(
                f"{beside}: a mask or overviews beside a raster must be TIFF, this "
                f"{_said(head)}. Take it away."
            )
        _check_sidecars(str(beside))


def open_raster(path: str | Path, *, driver: str | None = None, vrt: bool = False) -> Any:
    """Open a raster for reading with the one driver its first bytes call for.

    Args:
        driver: the driver to insist on, for paths whose bytes cannot be looked at (`/vsizip/`).
        vrt: also accept a VRT, which may read any other file.

    Raises:
        SceneError: no such file, or its content is not a raster geosr opens.
    """
    if driver is None:  # bytes on the network are not looked at, they are a GeoTIFF or refused
        remote = str(path).startswith("/vsi")
        driver = "GTiff" if remote else _driver_of(Path(path), vrt=vrt)
    if not str(path).startswith("/vsi"):
        _check_sidecars(str(path))
    return _open(str(path), driver)


def open_hdf5(path: str | Path, layer: str = "") -> Any:
    """Open a local HDF5 file for reading, for its attributes and the names of its datasets.

    Args:
        layer: the dataset to open instead, "LEVEL3/QUALITY/SM".

    Raises:
        SceneError: no such file or dataset, or its content is not HDF5.
    """
    head = _head(Path(path))
    if not head.startswith(_HDF5_MAGIC):
        raise SceneError(f"{path}: not an HDF5 file ({_said(head)}). Replace the file.")
    if not layer:  # looked through once; its datasets are opened after it
        require_alone(Path(path))
        return _open(str(path), "HDF5")
    if '"' in str(path):
        raise SceneError(f"{path}: a quotation mark in the name of an HDF5 file. Rename it.")
    return _open(f'HDF5:"{path}"://{layer}', "HDF5Image")


def open_hdf4(path: str | Path, layer: str = "") -> Any:
    """Open a local HDF4 file for reading, for the names of its datasets.

    Args:
        layer: the dataset to open instead, as `subdatasets` names it.

    Raises:
        SceneError: no such file or dataset, its content is not HDF4, or GDAL has no driver for it.
    """
    head = _head(Path(path))
    if not head.startswith(_HDF4_MAGIC):
        raise SceneError(f"{path}: not an HDF4 file ({_said(head)}). Replace the file.")
    with rasterio.Env() as env:
        if "HDF4Image" not in env.drivers():
            raise SceneError(
                f"{path}: an HDF4 file, for which this GDAL ({rasterio.__gdal_version__}) has no "
                "driver. Write its layers as GeoTIFFs elsewhere (gdal_translate -sds), or order "
                "GeoTIFFs (AppEEARS), and give their folder."
            )
    return _open(layer or str(path), "HDF4Image" if layer else "HDF4")


def is_hdf4(path: Path) -> bool:
    """Whether a file begins as HDF4 does."""
    return path.is_file() and _head(path).startswith(_HDF4_MAGIC)


def _open(name: str, driver: str) -> Any:
    try:
        with rasterio.Env(**SETTINGS), warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            dataset = rasterio.open(name, driver=driver)
    except UnicodeEncodeError as error:
        raise SceneError(f"{name}: the name is no UTF-8. Rename it.") from error
    except (rasterio.errors.RasterioError, OSError) as error:
        raise SceneError(f"cannot open {name}: {cause(error)}. Replace the file.") from error
    _check_blocks(name, dataset)
    _check_transform(name, dataset)
    return dataset


def _check_transform(name: str, dataset: Any) -> None:
    """Whether pixels lie somewhere and have a size."""
    transform = dataset.transform
    if not all(map(math.isfinite, transform[:6])) or not transform.determinant:
        dataset.close()
        numbers = " ".join(f"{value:g}" for value in transform[:6])
        raise SceneError(f"{name}: a transform ({numbers}) that places no pixel. Mend its tags.")


def _check_blocks(name: str, dataset: Any) -> None:
    """Whether single blocks fit into memory, whatever the file's own size."""
    sizes = zip(dataset.block_shapes, dataset.dtypes, strict=True)
    largest = max(
        (rows * cols * np.dtype(kind).itemsize for (rows, cols), kind in sizes), default=0
    )
    if largest > _LARGEST_BLOCK:
        dataset.close()
        raise SceneError(
            f"{name}: blocks of {largest / 2**20:,.0f} MiB, more than {_LARGEST_BLOCK >> 20} are "
            "not unpacked. Tile the file first (gdal_translate -co TILED=YES)."
        )


def _head(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # opening a FIFO would wait for a writer
            raise SceneError(f"{path}: no plain file. Give a file on a disk.")
        with path.open("rb") as file:
            return file.read(512)
    except OSError as error:
        raise SceneError(f"cannot read {path}: {error.strerror}. Check the path.") from error


def _said(head: bytes) -> str:
    start = head[:12].decode("latin-1").encode("unicode_escape").decode()
    return f"starts with '{start}'" if head else "is empty"


def _driver_of(path: Path, *, vrt: bool) -> str:
    head = _head(path)
    if b"<VRTDataset" in head:
        if vrt:
            _check_vrt(path)
            return "VRT"
        raise SceneError(
            f"{path}: content is VRT, not TIFF; a VRT can read any file. "
            "Pass --allow-vrt if you trust it."
        )
    driver = sniff(head)
    if driver is None:
        raise SceneError(f"{path}: not a GeoTIFF, JP2 or PNG ({_said(head)}). Replace the file.")
    return driver


def _check_vrt(path: Path, depth: int = 0) -> None:
    """Whether a VRT reads rasters of this machine and nothing else, by its text and its sources'.

    Raises:
        SceneError: it reads raw bytes or an address, runs code, or is too large or nested.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_VRT).decode("utf-8", "replace")
        whole = path.stat().st_size <= _LARGEST_VRT
    except OSError as error:
        raise SceneError(f"cannot read {path}: {error.strerror}. Check the path.") from error
    odd = next((word for word in _UNTRUSTED if word.lower() in text.lower()), None)
    if odd or not whole or depth > _MOST_NESTED:
        found = f"holds '{odd}'" if odd else "is too large" if not whole else "is nested too deep"
        raise SceneError(
            f"{path}: the VRT {found}; only VRTs of plain rasters on this machine are read. "
            "Write it as a GeoTIFF first (gdal_translate)."
        )
    for name in re.findall(r"<SourceFilename[^>]*>([^<]*)<", text):
        source = path.parent / name.strip()
        if source.is_file() and b"<VRTDataset" in _head(source):
            _check_vrt(source, depth + 1)


def unplaced_by(dataset: Any) -> str:
    """What a dataset says of its place that a grid has no room for: "4 GCPs", "RPCs" or ""."""
    gcps = f"{len(dataset.gcps[0])} GCPs" if dataset.gcps[0] else ""
    return " and ".join(filter(None, (gcps, "RPCs" if dataset.rpcs else "")))


@dataclass(frozen=True)
class Warp:
    """A raster brought onto another grid while it is read.

    Attributes:
        source: where the file's pixels lie.
        target: where pixels are read.
        how: the resampling of values, as GDAL calls it. "lanczos" keeps most of the detail of a
            raster that is moved by a part of a pixel. By whole pixels all of them copy.
    """

    source: Grid
    target: Grid
    how: str = "bilinear"

    def values(self, dataset: Any, nodata: float | None) -> Any:
        """An open dataset on the target grid; `nodata` where it does not reach.

        Raises:
            SceneError: the one CRS cannot be brought to the other.
        """
        return self._open(dataset, Resampling[self.how], nodata=nodata)

    def nearest(self, dataset: Any, *, alpha: bool = False) -> Any:
        """The same with each pixel's nearest; 0 outside.

        Args:
            alpha: add a last band, 0 where the dataset does not reach or its mask says no.
        """
        more = alpha and ColorInterp.alpha not in dataset.colorinterp
        return self._open(dataset, Resampling.nearest, alpha=more)

    def _open(
        self, dataset: Any, how: Resampling, *, nodata: float | None = None, alpha: bool = False
    ) -> Any:
        target, source = self.target, self.source
        plane = source.crs or target.crs or CRS.from_epsg(_PLANE)
        try:
            return WarpedVRT(
                dataset, resampling=how, src_nodata=nodata, nodata=nodata, add_alpha=alpha,
                src_crs=source.crs or plane, src_transform=source.transform,
                crs=target.crs or plane, transform=target.transform,
                width=target.width, height=target.height,
            )  # fmt: skip
        except (rasterio.errors.RasterioError, ValueError) as error:
            raise SceneError(
                f"cannot warp {dataset.name} ({source}) onto {target}: {cause(error)}. "
                "Leave the file out."
            ) from error


def read_window(
    dataset: Any, indexes: Sequence[int], window: Window, shape: tuple[int, int] | None = None
) -> NDArray[Any]:
    """Bands `indexes` (from 1) of an open dataset inside `window`, (bands, rows, cols).

    Args:
        shape: (rows, cols) to decimate to by the nearest pixel; None reads every pixel.

    Raises:
        SceneError: a block cannot be decoded; names the file and the window.
    """
    return _decimated(
        lambda part: _read(dataset, part, lambda w: dataset.read(list(indexes), window=w)),
        window, shape,
    )  # fmt: skip


def sources(path: Path) -> list[Path]:
    """The files that an allowed VRT shows."""
    with open_raster(path, vrt=True) as dataset:
        return [Path(name) for name in dataset.files] if dataset.driver == "VRT" else []


def has_mask(dataset: Any) -> bool:
    """Whether a dataset has a mask of its own, internal or external."""
    return rasterio.enums.MaskFlags.per_dataset in dataset.mask_flag_enums[0]


def read_mask(
    dataset: Any, window: Window, shape: tuple[int, int] | None = None
) -> NDArray[np.bool_] | None:
    """The dataset's own mask (True is valid), internal or external; None where it has none.

    Args:
        shape: as in `read_window`.
    """
    if not has_mask(dataset):
        return None
    return _decimated(
        lambda part: _read(dataset, part, lambda w: dataset.read_masks(1, window=w)) > 0,
        window, shape,
    )  # fmt: skip


def _decimated(
    read: Callable[[Window], NDArray[Any]], window: Window, shape: tuple[int, int] | None
) -> NDArray[Any]:
    """(…, rows, cols) by full resolution: overviews may be stale, or another picture altogether."""
    if shape is None or shape == (window.height, window.width):
        return read(window)
    rows, cols = (
        ((np.arange(n) + 0.5) * extent / n).astype(int)
        for n, extent in zip(shape, (window.height, window.width), strict=True)
    )
    lines = [read(Window(window.row + r, window.col, 1, window.width))[..., cols] for r in rows]
    return np.concatenate(lines, axis=-2)


def _read(dataset: Any, window: Window, call: Any) -> NDArray[Any]:
    try:
        return call(RasterioWindow(window.col, window.row, window.width, window.height))
    except rasterio.errors.RasterioError as error:
        raise SceneError(
            f"cannot decode {dataset.name} at rows {window.row}+{window.height}, "
            f"cols {window.col}+{window.width}: {cause(error)}. Replace the file."
        ) from error
