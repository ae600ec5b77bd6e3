"""Products on disk: one module per sensor, each tells by looking whether a path is its own."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import quote

from geosr.errors import SceneError, UsageError, cause
from geosr.scene.scene import Scene
from geosr.sensors import geotiff, image, landsat, offsets, pair, sentinel2, stac, stack, video
from geosr.sensors.meaning import with_meaning
from geosr.sensors.options import OpenOptions, may_be

__all__ = ["OpenOptions", "find_scenes", "is_remote", "open_scene", "remote_path"]

_Opener = Callable[[Path, OpenOptions], Scene]
_KINDS: tuple[tuple[Callable[[Path], bool], _Opener], ...] = (
    (sentinel2.is_safe, sentinel2.open_safe),
    (sentinel2.is_flat, sentinel2.open_flat),
    (geotiff.is_folder_scene, geotiff.open_folder),
    (stack.is_raster, stack.open_stack),
)
_LOOKED_FOR = (
    "looked for a SAFE product (MTD_MSIL1C.xml or MTD_MSIL2A.xml, folder or zip), "
    "B02.jp2 … B12.jp2, GeoTIFFs named by GSD or band (10m.tif, 20m.tif, 60m.tif, …_B05.tif) "
    "or with band names as descriptions, one stacked GeoTIFF of 10 to 13 bands, or a STAC Item"
)


def open_scene(path: str | Path, options: OpenOptions | None = None) -> Scene:
    """The scene at `path`, whatever its kind.

    Raises:
        SceneError: no known kind; the message says what was looked for and what is there. Or it
            is larger than `options.max_pixels`.
    """
    options = options or OpenOptions()
    try:
        scene = with_meaning(_opened(_told_by(Path(path)), options))
    except OSError as error:
        raise SceneError(f"cannot read {path}: {cause(error)}. Check its permissions.") from error
    rows, cols = scene.grid.shape
    if options.max_pixels and rows * cols > options.max_pixels:
        raise SceneError(
            f"{path}: {rows} × {cols} px, more than {options.max_pixels:,} (a damaged header?). "
            "Cut it first."
        )
    return scene


def _opened(path: Path, options: OpenOptions) -> Scene:
    if is_remote(str(path)) and not options.remote:
        raise SceneError(f"{path}: local files only. Pass --allow-remote to read it.")
    if not path.exists() and not options.remote and options.kind not in ("series", "between"):
        raise SceneError(f"{path}: no such file or folder. Check the path.")
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise SceneError(f"{path} is neither a file nor a folder. Leave it out.")
    if stac.is_item(path):
        return stac.open_item(path, options)
    if options.kind == "series":
        return image.open_series(path, options)
    if options.kind in ("video", "between"):
        return video.open_video(path, options)
    if options.kind == "image":
        return image.open_image(path, options)
    if options.kind == "pair":
        return pair.open_pair(path, options)
    product = pair.product_of(path)
    if product:
        raise SceneError(
            f"{path}: a {product} product. Choose a net that sharpens it: --model regress (or gsa, "
            "mtf-glp, bdsd, brovey; landsat-ps for Landsat)."
        )
    for is_kind, opener in _KINDS:
        if is_kind(path):
            return offsets.checked(opener(path, options))
    inside = find_scenes(path)
    if len(inside) == 1 and inside[0].is_file():  # one stack alone in its folder
        return open_scene(inside[0], options)
    raise SceneError(
        f"{path} holds no Sentinel-2 scene: {_LOOKED_FOR}; found {_listing(path)}. "
        "Give the folder or file of one scene, or a folder of scenes."
    )


def _told_by(path: Path) -> Path:
    """The product whose metadata a path is; else the path."""
    return landsat.told_by(sentinel2.told_by(path))


def is_remote(path: str) -> bool:
    """Whether a path would make GDAL look beyond the local files."""
    return "://" in path or path.startswith(("/vsi", "<"))


def remote_path(path: str) -> Path:
    """A URL as a path GDAL reads in place: https://… through /vsicurl, s3://… through /vsis3."""
    scheme, found, rest = path.partition("://")
    if not found:
        return Path(path)
    if scheme in ("http", "https", "ftp"):
        return Path(f"/vsicurl?url={quote(path, safe='')}")
    return Path(f"/vsi{scheme}") / rest


def find_scenes(
    path: str | Path, *, pattern: str | None = None, kind: str = "sentinel2"
) -> list[Path]:
    """The scene at `path`, or the scenes directly in it, sorted by name.

    A metadata file of a SAFE or Landsat product stands for the product. A child that looks like a
    scene is listed even if it turns out broken: it fails by itself.

    Args:
        pattern: names of scenes; of the rasters in a series.
        kind: as in OpenOptions.

    Raises:
        UsageError: `path` does not exist.
    """
    path = _told_by(Path(path))
    if is_remote(str(path)):
        return [path]
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder. Check the path.")
    try:
        return _found(path, pattern, kind)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {cause(error)}. Check its permissions.") from error


def _found(path: Path, pattern: str | None, kind: str) -> list[Path]:
    if kind == "image":
        return image.images(path, pattern)
    if kind == "series":
        return image.find_series(path, pattern)
    if kind in ("video", "between"):
        return video.find_frames(path, pattern, between=kind == "between")
    if kind == "pair":
        return pair.find_pairs(path, pattern)
    if path.is_file() or _is_scene(path):
        return [path]
    children = sorted(p for p in path.iterdir() if not p.name.startswith("."))
    named = [p for p in children if fnmatch(p.name, pattern or "*")]
    scenes = [p for p in named if may_be(_may_be_scene, p)]
    return scenes or [p for p in named if may_be(stac.is_item, p)]


def _is_scene(path: Path) -> bool:
    """Whether a path is a scene of Sentinel-2, or a product that says which nets are for it."""
    return bool(pair.product_of(path)) or any(is_kind(path) for is_kind, _ in _KINDS)


def _may_be_scene(path: Path) -> bool:
    if path.is_dir():
        return path.suffix.upper() == ".SAFE" or _is_scene(path)
    if pair.product_of(path):
        return True
    return path.suffix.lower() in geotiff.SUFFIXES or path.suffix.lower() == ".zip"


def _listing(path: Path) -> str:
    if path.is_file():
        return f"a file of {path.stat().st_size} bytes"
    names = sorted(p.name for p in path.iterdir())
    if not names:
        return "an empty folder"
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
