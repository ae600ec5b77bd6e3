"""Sentinel-2 bands as xarray.DataArray: taken apart into numpy arrays, and put together again.

rioxarray tells grids, CRS and nodata. Neither package is imported before an array of theirs comes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geosr.errors import SceneError, UsageError
from geosr.inference.arrays import BANDS
from geosr.scene.band import nodata_value
from geosr.sensors.sentinel2 import band_name

if TYPE_CHECKING:
    from xarray import DataArray

_CLOSE = 1e-3  # pixels by which coordinates may be off their grid
_PASSING = ("STATISTICS_", "long_name", "_FillValue")  # attributes that are not the output's


@dataclass(frozen=True)
class Labelled:
    """Numpy arrays by GSD, and what their labels said.

    Attributes:
        arrays: (bands, rows, cols), bands in the order of DSen2.
        nodata: the count that means "nothing sensed"; None is none.
        like: a band of the 10 m array: its coordinates, attributes and CRS are the output's.
        dim: the name of the dimension of bands.
    """

    arrays: Mapping[int, NDArray[Any]]
    nodata: float | None
    like: DataArray
    dim: str

    def back(self, values: NDArray[Any], names: Sequence[str]) -> DataArray:
        """Sharpened bands (bands, rows, cols) on the 10 m coordinates, with their names."""
        import xarray

        attrs = {k: v for k, v in self.like.attrs.items() if not str(k).startswith(_PASSING)}
        out = xarray.DataArray(
            values,
            dims=(self.dim, *self.like.dims),
            coords={**self.like.coords, self.dim: list(names)},
            attrs={**attrs, "long_name": tuple(names)},
            name=self.like.name,
        )
        if self.like.rio.crs is not None:
            out = out.rio.write_crs(self.like.rio.crs)
        if _has_grid(self.like):
            out = out.rio.write_transform(_transform(self.like))
        nodata = nodata_value(self.nodata, out.dtype)
        return out if np.isnan(nodata) else out.rio.write_nodata(nodata)


def is_labelled(array: object) -> bool:
    """Whether it is an xarray.DataArray; xarray is not imported for that."""
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(array, xarray.DataArray)


def taken(given: Mapping[int, Any], *, nodata: float | None) -> Labelled:
    """DataArrays by GSD as numpy arrays.

    Where a coordinate of bands or `long_name` names them, bands are chosen by name. `nodata` is
    taken where the 10 m array declares none.

    Raises:
        UsageError: some are no DataArrays, or rioxarray is missing.
        SceneError: bands, dimensions, grids or CRS that do not fit.
    """
    _require(given)
    ordered = {gsd: _ordered(array, gsd) for gsd, array in given.items()}
    _check_grids(ordered)
    fine = ordered[10]
    like = fine.isel({fine.dims[0]: 0}, drop=True)
    declared = fine.rio.nodata
    kept = nodata if declared is None or np.isnan(declared) else float(declared)
    arrays = {gsd: array.to_numpy() for gsd, array in ordered.items()}
    return Labelled(arrays, kept, like, str(fine.dims[0]))


def _require(given: Mapping[int, Any]) -> None:
    for gsd, array in given.items():
        if not is_labelled(array):
            raise UsageError(
                f"d{gsd} is a {type(array).__name__}, another one an xarray.DataArray. "
                "Give all of one kind."
            )
    try:
        import rioxarray  # noqa: F401 - it adds `.rio`
    except ImportError as error:
        raise UsageError(
            f"a DataArray needs rioxarray, which is missing ({error}). "
            "Install it: pip install 'geosr[xarray]'; or give .to_numpy()."
        ) from error


def _ordered(array: DataArray, gsd: int) -> DataArray:
    """(bands, rows, cols), the bands in the order of DSen2 where their names are known."""
    from rioxarray.exceptions import RioXarrayError

    try:
        rows, cols = array.rio.y_dim, array.rio.x_dim
    except RioXarrayError as error:
        raise SceneError(
            f"d{gsd} has the dimensions {_said(array.dims)}: {error} Name them band, y and x."
        ) from error
    others = [dim for dim in array.dims if dim not in (rows, cols)]
    if len(others) != 1:
        raise SceneError(
            f"d{gsd} has the dimensions {_said(array.dims)}, not one of bands beside {rows} and "
            f"{cols}. Select one time, or stack the bands (to_dataarray)."
        )
    array = array.transpose(others[0], rows, cols)
    names = _names(array)
    if not names:
        return array
    missing = [name for name in BANDS[gsd] if name not in names]
    if missing:
        raise SceneError(
            f"d{gsd} lacks {' '.join(missing)} (found: {' '.join(names)}). Add them, or drop the "
            "names of bands where these are others for the same."
        )
    return array.isel({others[0]: [names.index(name) for name in BANDS[gsd]]})


def _names(array: DataArray) -> list[str]:
    """The names of bands as ESA writes them, B02 as B2; empty where they have none."""
    dim = array.dims[0]
    told = array.coords[dim].to_numpy() if dim in array.coords else np.arange(array.sizes[dim])
    if told.dtype.kind not in "UOT":
        told = array.attrs.get("long_name", ())
        if isinstance(told, str) or len(told) != array.sizes[dim]:
            return []
    return [band_name(str(name)) or str(name) for name in told]


def _check_grids(arrays: Mapping[int, DataArray]) -> None:
    """Raise SceneError where coarse pixels do not cover whole fine ones of the same CRS."""
    fine = arrays[10]
    for gsd, array in arrays.items():
        if array.rio.crs != fine.rio.crs:
            raise SceneError(
                f"d{gsd} has the CRS {array.rio.crs}, d10 {fine.rio.crs}. Reproject one to the "
                "other (rio.reproject_match)."
            )
        if not (_has_grid(array) and _has_grid(fine)):
            continue
        wanted = _transform(fine) @ Affine.scale(gsd / 10)
        off = ~_transform(fine) @ _transform(array)
        right = Affine.scale(gsd / 10)
        if any(abs(a - b) > _CLOSE for a, b in zip(off, right, strict=True)):
            raise SceneError(
                f"d{gsd} lies on the grid {_grid(_transform(array))}, not {_grid(wanted)} as its "
                "pixels would over those of d10. Crop all to whole coarse pixels (rio.clip_box)."
            )


def _has_grid(array: DataArray) -> bool:
    """Whether coordinates say where its pixels lie."""
    return all(dim in array.coords and array.sizes[dim] > 1 for dim in array.dims[-2:])


def _transform(array: DataArray) -> Affine:
    """By the coordinates themselves: attributes stay as they were where an array was sliced."""
    found: Affine = array.rio.transform(recalc=True)
    return found


def _grid(transform: Affine) -> str:
    return f"{transform.a:g} × {transform.e:g} from {transform.c:g} {transform.f:g}"


def _said(dims: Sequence[Any]) -> str:
    return ", ".join(map(str, dims))
