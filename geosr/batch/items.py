"""A STAC Item beside an output: where and when it is of, its bands, and how it was made.

Everything in it is read from the output itself and from its record, so it can be made at any time.
SpatioTemporal Asset Catalog 1.1 with the extensions eo, projection, raster and processing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.warp import transform_geom

from geosr.batch import records
from geosr.errors import SceneError, UsageError
from geosr.raster import marks, publish
from geosr.raster.files import open_raster
from geosr.raster.grid import Grid
from geosr.raster.writer import IMAGERY
from geosr.report import quicklook
from geosr.scene.acquisition import Acquisition

if TYPE_CHECKING:
    import pystac

_PROCESSING = "https://stac-extensions.github.io/processing/v1.1.0/schema.json"
_SIDE = 8  # points along a side of the footprint, which bends in other projections
_COMMON = {  # GDAL's colours that have a common name; of infrared bands the wavelength decides
    "coastal": "coastal", "blue": "blue", "green": "green", "red": "red", "pan": "pan",
}  # fmt: skip
_RANGES = (  # µm, of the extension eo
    (0.69, 0.79, "rededge"), (0.855, 0.88, "nir08"), (0.75, 0.92, "nir"), (0.93, 0.95, "nir09"),
    (1.35, 1.4, "cirrus"), (1.55, 1.75, "swir16"), (2.05, 2.35, "swir22"),
)  # fmt: skip
_UNKNOWN = "unknown"


def item_path(output: Path) -> Path:
    """Where the Item of an output lies."""
    return output.with_name(f"{output.stem}.stac.json")


def require_format(format: str) -> None:
    """Check before any work that outputs of a format can have Items here.

    Raises:
        UsageError: pystac is not installed, or such outputs say no place.
    """
    _pystac()
    if format == "PNG":
        raise UsageError("--stac: a PNG does not say where it lies. Choose --format GTiff or COG.")


def require_time(path: str, acquisition: Acquisition) -> None:
    """Check before any work that it is known when a scene was sensed, which every Item says.

    Raises:
        SceneError: nothing tells it.
    """
    if not acquisition.time:
        raise SceneError(
            f"{path}: --stac needs the time of the acquisition, and neither a tag nor the name "
            "tells it. Name it with the day (…_20170527T102031…), set the tag ACQUISITIONDATETIME "
            "(gdal_edit -mo), or leave out --stac."
        )


def write(output: Path, record: Mapping[str, Any], *, overwrite: bool = False) -> Path:
    """Write the Item of a finished output, whole or not at all.

    Args:
        record: as `geosr.batch.records` keeps it.
        overwrite: replace a file that is no such Item too.

    Raises:
        SceneError: the output cannot be read.
        StoppedError: the disk is full or the folder is not writable.
        UsageError: pystac is not installed, or somebody's file has the Item's name.
    """
    path = item_path(output)
    marks.require_replaceable(path, marks.ITEM, overwrite=overwrite)
    made = _item(output, record).to_dict(include_self_link=False)
    first = ("type", "stac_version", "stac_extensions", "id", "properties")  # the mark near the top
    ordered = {key: made[key] for key in (*first, *(key for key in made if key not in first))}
    publish.write_bytes(path, (json.dumps(ordered, indent=1) + "\n").encode())
    return path


def _pystac() -> Any:
    try:
        import pystac
    except ImportError as error:
        raise UsageError(
            "--stac needs pystac, which is not installed: pip install 'geosr[stac]'"
        ) from error
    return pystac


def _item(output: Path, record: Mapping[str, Any]) -> pystac.Item:
    stac = _pystac()
    with open_raster(output) as dataset:
        grid, tags = Grid.of(dataset), dataset.tags(ns=IMAGERY) | dataset.tags()
        geometry, bbox = _outline(grid)
        item = stac.Item(
            id=output.stem, geometry=geometry, bbox=bbox,
            properties=_provenance(record, tags), **_when(tags.get("ACQUISITIONDATETIME", "")),
        )  # fmt: skip
        item.common_metadata.created = datetime.fromisoformat(record["finished"])
        if platform := tags.get("SATELLITEID"):
            item.common_metadata.platform = platform.lower()
        if grid.crs and grid.crs.is_projected:
            item.common_metadata.gsd = grid.gsd * grid.crs.linear_units_factor[1]
        item.stac_extensions.append(_PROCESSING)
        for key, asset in _assets(output, dataset).items():
            item.add_asset(key, asset)
        _describe(item, dataset, grid)
    item.add_link(stac.Link("derived_from", record["source"]["path"]))
    return item


def _outline(grid: Grid) -> tuple[dict[str, Any] | None, list[float] | None]:
    """The outline in degrees and its bounds; nothing of a raster without a place."""
    if grid.crs is None:
        return None, None
    steps = [i / _SIDE for i in range(_SIDE)]
    around = [
        *((x, 0.0) for x in steps), *((1.0, y) for y in steps),
        *((1 - x, 1.0) for x in steps), *((0.0, 1 - y) for y in steps), (0.0, 0.0),
    ]  # fmt: skip
    ring = [grid.transform @ (x * grid.width, y * grid.height) for x, y in reversed(around)]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    found = transform_geom(grid.crs, "EPSG:4326", polygon, precision=7, antimeridian_cutting=True)
    polygons = found["coordinates"] if found["type"] == "MultiPolygon" else [found["coordinates"]]
    points = [point for polygon in polygons for point in polygon[0]]
    xs, ys = zip(*points, strict=True)
    west, east = min(xs), max(xs)
    if len(polygons) > 1:  # it lies on both sides of 180°: the west bound is east of the east one
        west, east = min(x for x in xs if x > 0), max(x for x in xs if x < 0)
    geometry = {"type": found["type"], "coordinates": _lists(found["coordinates"])}
    return geometry, [west, min(ys), east, max(ys)]


def _lists(nested: Any) -> Any:
    return [_lists(part) for part in nested] if isinstance(nested, list | tuple) else nested


def _when(text: str) -> dict[str, Any]:
    """The moment, or the whole day where only that is known."""
    if len(text) > len("2017-05-27"):
        return {"datetime": datetime.fromisoformat(text).replace(tzinfo=UTC)}
    start = datetime.fromisoformat(text).replace(tzinfo=UTC)
    end = start + timedelta(days=1, seconds=-1)
    return {"datetime": None, "start_datetime": start, "end_datetime": end}


def _provenance(record: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    """How the output was made, by the extension processing and in geosr's own words."""
    models = [{"name": name, "sha256": sha} for name, sha in record["recipe"]["models"]]
    named = ", ".join(model["name"] for model in models)
    level = tags.get("PROCESSING_LEVEL", _UNKNOWN)
    share = record.get("valid_share")
    check = record.get("check") or {}
    rmse = {name: value for name, value in check.get("rmse", {}).items() if _is_number(value)}
    return {
        "geosr:models": models,
        **({"geosr:valid_share": share} if share is not None else {}),
        **({"geosr:self_check_rmse": rmse} if rmse else {}),
        "processing:software": {"geosr": record["geosr"]},
        "processing:lineage": f"geosr superres of {record['scene']} with {named}",
        **({"processing:level": level} if level != _UNKNOWN else {}),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _assets(output: Path, dataset: Any) -> dict[str, pystac.Asset]:
    stac = _pystac()
    cog = dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") == "COG"
    kind = stac.MediaType.COG if cog else stac.MediaType.GEOTIFF
    plain, swir = quicklook.paths(output)
    known = {
        "data": (output, "Super-resolved bands", kind, ["data", "reflectance"]),
        "thumbnail": (plain, "True colour", stac.MediaType.PNG, ["thumbnail"]),
        "swir": (swir, "Short-wave infrared", stac.MediaType.PNG, ["overview"]),
        "record": (records.record_path(output), "How it was made", stac.MediaType.JSON,
                   ["metadata"]),
    }  # fmt: skip
    return {
        key: stac.Asset(href=f"./{path.name}", title=title, media_type=kind, roles=roles)
        for key, (path, title, kind, roles) in known.items()
        if path.exists()
    }


def _describe(item: pystac.Item, dataset: Any, grid: Grid) -> None:
    """Projection, wavelengths, scale and statistics of the raster."""
    from pystac.extensions.eo import EOExtension
    from pystac.extensions.projection import ProjectionExtension
    from pystac.extensions.raster import RasterExtension

    asset = item.assets["data"]
    place = ProjectionExtension.ext(item, add_if_missing=True)
    epsg = grid.crs.to_epsg() if grid.crs else None
    wkt = grid.crs.to_wkt() if grid.crs and not epsg else None
    place.apply(
        epsg=epsg, wkt2=wkt, bbox=list(grid.bounds) if grid.crs else None,
        shape=list(grid.shape), transform=list(grid.transform)[:6],
    )  # fmt: skip
    EOExtension.ext(asset, add_if_missing=True).bands = [
        _eo_band(dataset, index) for index in dataset.indexes
    ]
    RasterExtension.ext(asset, add_if_missing=True).bands = [
        _raster_band(dataset, index) for index in dataset.indexes
    ]


def _eo_band(dataset: Any, index: int) -> Any:
    from pystac.extensions.eo import Band

    tags, colour = dataset.tags(index, ns=IMAGERY), dataset.colorinterp[index - 1].name
    centre, width = (float(tags.get(key, 0)) for key in ("CENTRAL_WAVELENGTH_UM", "FWHM_UM"))
    named = (name for low, high, name in _RANGES if low <= centre <= high)
    common = _COMMON.get(colour) or next(named, None)
    return Band.create(
        name=dataset.descriptions[index - 1] or str(index), common_name=common,
        center_wavelength=centre or None, full_width_half_max=width or None,
    )  # fmt: skip


def _raster_band(dataset: Any, index: int) -> Any:
    from pystac.extensions.raster import DataType, RasterBand, Statistics

    tags = dataset.tags(index)
    names = ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV", "VALID_PERCENT")
    told = {name: float(text) for name in names if (text := tags.get(f"STATISTICS_{name}"))}
    low, high, mean, spread, valid = (told.get(name) for name in names)
    statistics = Statistics.create(
        minimum=low, maximum=high, mean=mean, stddev=spread, valid_percent=valid
    )
    pair = dataset.scales[index - 1], dataset.offsets[index - 1]
    return RasterBand.create(
        data_type=DataType(dataset.dtypes[index - 1]), nodata=_nodata(dataset.nodata),
        statistics=statistics if told else None,
        scale=None if pair == (1, 0) else pair[0], offset=None if pair == (1, 0) else pair[1],
        spatial_resolution=dataset.res[0] if dataset.crs and dataset.crs.is_projected else None,
    )  # fmt: skip


def _nodata(value: float | None) -> Any:
    """As JSON can say it: the extension has words for what is no number."""
    from pystac.extensions.raster import NoDataStrings

    if value is None or math.isfinite(value):
        return value
    return NoDataStrings(str(value))
