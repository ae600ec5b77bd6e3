"""STAC Items whose assets lie on this machine, as scenes.

An Item of a product that lies there whole (a .SAFE folder, a Landsat folder) is that product.
Otherwise its assets are files with bands, named by the Item's bands, by common names or by the
assets' keys. A DN offset comes from `earthsearch:boa_offset_applied`, from `raster:bands`, or from
the processing baseline (SpatioTemporal Asset Catalog 1.0 and 1.1; extensions eo, raster, and the
properties `s2:` and `earthsearch:` that catalogues of Sentinel-2 have).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from geosr.errors import SceneError, without_secrets
from geosr.scene.acquisition import told
from geosr.scene.scene import Scene
from geosr.sensors import geotiff, image, landsat, pair, sentinel2
from geosr.sensors.bandfile import BandFile, look
from geosr.sensors.options import OpenOptions

_SUFFIXES = (".json", ".geojson")
_LARGEST = 2**24  # bytes
_RASTERS = (".tif", ".tiff", ".jp2")
_PICTURES = {"thumbnail", "overview", "visual", "metadata"}  # roles of assets that hold no counts


@dataclass(frozen=True, eq=False)  # each is only itself
class _Asset:
    """One file of an Item; `path` is None where it lies on the network, as `href` says."""

    key: str
    href: str
    path: Path | None
    roles: frozenset[str]
    names: tuple[str, ...]
    facts: Mapping[str, Any]

    @property
    def bands(self) -> tuple[str, ...]:
        """Bands of Sentinel-2 that it holds, as far as the Item says."""
        found = (sentinel2.band_name(name) for name in self.names or (self.key,))
        return tuple(name for name in found if name)

    @property
    def is_raster(self) -> bool:
        """Whether it is a raster of counts by its name and roles."""
        plain = self.href.partition("?")[0].lower()
        return plain.endswith(_RASTERS) and not self.roles & _PICTURES


def is_item(path: Path) -> bool:
    """A JSON file that is a STAC Item."""
    return path.suffix.lower() in _SUFFIXES and path.is_file() and _read(path) is not None


def open_item(path: Path, options: OpenOptions) -> Scene:
    """The scene that an Item describes.

    Raises:
        SceneError: assets lie on the network or are missing, or none of them is what the nets take.
    """
    item = _read(path) or {}
    assets = _assets(path, item)
    opened = _OPENERS.get(options.kind)
    if opened is None:
        raise SceneError(
            f"{path}: an Item is one acquisition, this net takes several images of a place. Give "
            "a folder of rasters."
        )
    scene = opened(path, item, assets, options)
    acquired = told(str(item.get("id", "")), _told(item))
    acquisition = replace(
        scene.acquisition,
        time=acquired.time or scene.acquisition.time,
        platform=acquired.platform or scene.acquisition.platform,
    )
    return replace(scene, path=str(path), metadata=(*scene.metadata, str(path)),
                   acquisition=acquisition)  # fmt: skip


def _read(path: Path) -> dict[str, Any] | None:
    """An Item's content; None where the file is none."""
    try:
        if path.stat().st_size > _LARGEST:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    known = isinstance(found, dict) and found.get("type") == "Feature"
    parts = (found.get("properties"), found.get("assets")) if known else ()
    sound = known and "stac_version" in found and all(isinstance(part, dict) for part in parts)
    return found if sound else None


def _assets(path: Path, item: Mapping[str, Any]) -> list[_Asset]:
    found = []
    for key, facts in item["assets"].items():
        if isinstance(facts, dict) and isinstance(facts.get("href"), str):
            href, roles = facts["href"], facts.get("roles")
            roles = roles if isinstance(roles, list) else []
            found.append(_Asset(key, href, _local(path, href), frozenset(map(str, roles)),
                                _names(facts), facts))  # fmt: skip
    return found


def _local(item: Path, href: str) -> Path | None:
    """Where an asset lies on this machine; None where it does not."""
    if href.startswith("file://"):
        return Path(unquote(href.removeprefix("file://").removeprefix("localhost")))
    if "://" in href or href.startswith("/vsi"):
        return None
    return item.parent / href  # an absolute one stays itself


def _names(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Of an asset's bands, as far as it tells them; the common name where another says nothing."""
    rows = facts.get("bands") or facts.get("eo:bands")
    names = []
    for row in rows if isinstance(rows, list) else ():
        told = [str(row[key]) for key in ("name", "common_name", "eo:common_name") if key in row] \
            if isinstance(row, dict) else []  # fmt: skip
        known = [text for text in told if sentinel2.band_name(text)]
        names.append((known or told or [""])[0])
    return tuple(names) if any(names) else ()


def _told(item: Mapping[str, Any]) -> dict[str, str]:
    """When and by what it was sensed, under the names that files use."""
    properties = item["properties"]
    time = properties.get("datetime") or properties.get("start_datetime") or ""
    return {"ACQUISITIONDATETIME": str(time), "SATELLITEID": str(properties.get("platform") or "")}


# Sentinel-2


def _open_sentinel2(
    path: Path, item: Mapping[str, Any], assets: list[_Asset], options: OpenOptions
) -> Scene:
    rasters = [asset for asset in assets if asset.is_raster and asset.bands]
    if not rasters:
        keys = ", ".join(asset.key for asset in assets) or "none"
        raise SceneError(
            f"{path}: no asset holds a band of Sentinel-2 (assets: {keys}). Choose --model for "
            "any raster (lapsr, liif), or give another Item."
        )
    files = _present(path, rasters)
    product = _folder_of(files, lambda folder: folder.suffix.upper() == ".SAFE")
    if product:
        return sentinel2.open_safe(product, options)
    looked = [_looked(file, asset, options) for asset, file in files.items()]
    identity = str(item.get("id") or path.stem)
    tags = {**_offset(path, item, list(files)), **_told(item)}
    return geotiff.assembled(path, looked, options, tags, identity)


def _present(path: Path, assets: list[_Asset]) -> dict[_Asset, Path]:
    """The files of the assets that are there; every band must be in one of them.

    Raises:
        SceneError: a band's assets are all remote or missing; says which and what to do.
    """
    there = {asset: asset.path for asset in assets if asset.path and asset.path.is_file()}
    held = {band for asset in there for band in asset.bands}
    lost = [asset for asset in assets if not held.issuperset(asset.bands)]
    remote = [asset for asset in lost if asset.path is None]
    if remote:
        where = without_secrets(remote[0].href)[:120]
        raise SceneError(
            f"{path}: {_listed(remote)} on the network ({where}). geosr reads Items whose assets "
            "are local files: download them (stac-client, stac-asset) and give the Item that "
            "names the copies."
        )
    if lost:
        raise SceneError(
            f"{path}: {_listed(lost)} missing (no file {lost[0].path}). Mend the href, or "
            "download the asset again."
        )
    return there


def _listed(assets: list[_Asset]) -> str:
    keys = [f"'{asset.key}'" for asset in assets]
    shown = ", ".join(keys[:4]) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
    return f"asset {shown} is" if len(keys) == 1 else f"assets {shown} are"


def _looked(file: Path, asset: _Asset, options: OpenOptions) -> BandFile:
    """A file whose bands are called as the Item calls them, where it tells of each."""
    found = look(file, vrt=options.vrt)
    names = tuple(sentinel2.band_name(name) for name in asset.names or (asset.key,))
    return replace(found, names=names) if len(names) == len(found.names) else found


def _offset(path: Path, item: Mapping[str, Any], assets: list[_Asset]) -> dict[str, str]:
    """The DN offset that an Item tells, as a file's tag would."""
    properties = item["properties"]
    if properties.get("earthsearch:boa_offset_applied") is True:
        return {"BOA_ADD_OFFSET": "0"}
    told = {round(offset / scale, 3) for asset in assets for scale, offset in _scales(asset)}
    if len(told) > 1:
        raise SceneError(
            f"{path}: its raster:bands tell several DN offsets "
            f"({' '.join(f'{value:g}' for value in sorted(told))}). Say which holds: --dn-offset N"
        )
    if told:
        return {"BOA_ADD_OFFSET": f"{told.pop():g}"}
    baseline = str(properties.get("s2:processing_baseline") or "")
    if baseline.replace(".", "", 1).isdigit():
        return {"BOA_ADD_OFFSET": "-1000" if float(baseline) >= 4 else "0"}
    return {}


def _scales(asset: _Asset) -> list[tuple[float, float]]:
    """Scale and offset of an asset's bands, where it tells them."""
    rows = asset.facts.get("raster:bands") or asset.facts.get("bands")
    found = []
    for row in rows if isinstance(rows, list) else ():
        told = {key.removeprefix("raster:"): value for key, value in row.items()} \
            if isinstance(row, dict) else {}  # fmt: skip
        scale, offset = told.get("scale"), told.get("offset", 0)
        if isinstance(scale, int | float) and isinstance(offset, int | float) and scale > 0:
            found.append((float(scale), float(offset)))
    return found


# other kinds


def _open_image(
    path: Path, item: Mapping[str, Any], assets: list[_Asset], options: OpenOptions
) -> Scene:
    return replace(image.open_image(_only(path, assets), options), name=str(item.get("id")))


def _open_pair(
    path: Path, item: Mapping[str, Any], assets: list[_Asset], options: OpenOptions
) -> Scene:
    local = {asset: asset.path for asset in assets if asset.path and asset.path.is_file()}
    product = _folder_of(local, landsat.is_product)
    return pair.open_pair(product or _only(path, assets), options)


def _only(path: Path, assets: list[_Asset]) -> Path:
    """The one raster of an Item.

    Raises:
        SceneError: it has several or none, or that one is remote or missing.
    """
    rasters = [asset for asset in assets if asset.is_raster]
    if len(rasters) != 1:
        keys = ", ".join(asset.key for asset in rasters) or "none"
        raise SceneError(
            f"{path}: this net takes one raster, the Item has {len(rasters)} ({keys}). Give the "
            "file of one asset."
        )
    return next(iter(_present(path, rasters).values()))


def _folder_of(files: Mapping[_Asset, Path], is_one: Callable[[Path], bool]) -> Path | None:
    """The product's folder in which all of an Item's files lie."""
    if not files:
        return None
    first, *others = (Path(file).resolve() for file in files.values())
    return next(
        (folder for folder in first.parents
         if all(folder in other.parents for other in others) and is_one(folder)), None
    )  # fmt: skip


_Opener = Callable[[Path, Mapping[str, Any], list[_Asset], OpenOptions], Scene]
_OPENERS: dict[str, _Opener] = {
    "sentinel2": _open_sentinel2, "image": _open_image, "pair": _open_pair,
}  # fmt: skip
