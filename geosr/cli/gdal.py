"""Settings of GDAL, made before it is loaded."""

from __future__ import annotations

import os

_SKIPPED_DRIVERS = "WMS,WCS,WMTS,HTTP,STACTA,STACIT,GTI,OGCAPI,PLMosaic,EEDAI,NGW,DAAS"


def prepare_gdal(threads: int | None, *, vrt: bool = False) -> None:
    """Settings that GDAL reads once, when it starts: they must precede the import of rasterio."""
    os.environ["GDAL_DRIVER_PATH"] = "disable"
    os.environ["GDAL_SKIP"] = _SKIPPED_DRIVERS if vrt else f"VRT,{_SKIPPED_DRIVERS}"
    os.environ["GDAL_NUM_THREADS"] = str(threads or "ALL_CPUS")
    os.environ["CPL_LOG"] = os.devnull  # libtiff's remarks; our own read-back finds the damage
