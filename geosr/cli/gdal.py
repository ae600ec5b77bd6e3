"""Settings of GDAL, made before it is loaded."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_SKIPPED_DRIVERS = "WMS,WCS,WMTS,HTTP,STACTA,STACIT,GTI,OGCAPI,PLMosaic,EEDAI,NGW,DAAS"

_OF_GDAL = ("GDAL_", "GTIFF_", "GEOTIFF_", "OGR_", "OSR_", "CPL_", "PROJ_", "VRT_", "JP2", "JPEG_",
            "HDF5_", "COG_", "CHECK_DISK_FREE_SPACE", "USE_RRD", "ESRI_", "TIFF_")  # fmt: skip
_OF_NETWORKS = ("GDAL_HTTP_", "CPL_VSIL_", "CPL_CURL_", "CPL_AWS_", "CPL_GS_", "CPL_AZURE_",
                "CPL_TMPDIR")  # fmt: skip
_DATA = ("GDAL_DATA", "PROJ_DATA", "PROJ_LIB")  # another GDAL's, such as QGIS's


def prepare_gdal(threads: int | None, *, vrt: bool = False) -> None:
    """Settings that GDAL reads once, when it starts: they must precede the import of rasterio."""
    _forget_others()
    os.environ["GDAL_CONFIG_FILE"] = ""  # neither ~/.gdal/gdalrc nor the system's
    os.environ["GDAL_DRIVER_PATH"] = "disable"
    os.environ["GDAL_SKIP"] = _SKIPPED_DRIVERS if vrt else f"VRT,{_SKIPPED_DRIVERS}"
    os.environ["GDAL_NUM_THREADS"] = str(threads or "ALL_CPUS")
    os.environ["CPL_LOG"] = os.devnull  # libtiff's remarks; our own read-back finds the damage


def _forget_others() -> None:
    """Take what other programs set for GDAL out of the environment: it changes what is read.

    What reaches a network stays, as `--allow-remote` may need it; so do GDAL's and PROJ's data
    where rasterio comes without its own.
    """
    spec = importlib.util.find_spec("rasterio")
    home = Path(spec.origin).parent if spec and spec.origin else None
    kept = () if home and (home / "proj_data").is_dir() else _DATA
    for name in list(os.environ):
        if name.startswith(_OF_GDAL) and not name.startswith(_OF_NETWORKS) and name not in kept:
            del os.environ[name]
