"""A coarse raster and a finer one of the same ground, as one scene with two grids.

The finer one, the guide, is brought onto a grid that nests in the coarse one's: as it lies where it
does, by whole pixels where that is enough, resampled where not. What was done is told. The GSDs are
counted in fine pixels (1 and the factor); of Landsat, MODIS and VIIRS they are the nominal metres.

    a product of Landsat, MODIS or VIIRS; one raster and `--guide FINE`; a folder with `X_ms.tif`
    and `X_pan.tif`; a folder of rasters and `--guide FOLDER` with rasters of the same names
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

from affine import Affine
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from geosr.errors import SceneError
from geosr.raster.files import Warp
from geosr.raster.grid import TOLERANCE, Grid
from geosr.raster.window import Window
from geosr.scene.band import Band
from geosr.scene.note import Note
from geosr.scene.pointspread import LANDSAT
from geosr.scene.registration import Displacement, guide_displacement
from geosr.scene.scene import Scene
from geosr.sensors import image, landsat, modis, viirs
from geosr.sensors.options import OpenOptions, may_be

_PRODUCTS = (landsat, modis, viirs)
METRES = {product.SENSOR: product.METRES for product in _PRODUCTS}
_BESIDE = (("_ms", "_pan"), ("_MS", "_PAN"), ("_MUL", "_PAN"))
_SAME = 0.01  # of a ratio of pixel sizes: less is a whole number
_ONE = "guide:"  # before the name of a guide's band that the coarse raster has too


def find_pairs(path: Path, pattern: str | None = None) -> list[Path]:
    """The coarse rasters and products of a folder, sorted; or the one given."""
    if path.is_file() or product_of(path):
        return [path]
    files = image.images(path, None)
    products = [p for p in path.iterdir() if may_be(lambda p: bool(product_of(p)), p)]
    low = [file for file in files if beside(file)]
    guides = {beside(file) for file in low}
    rasters = [] if products else [file for file in files if file not in guides]
    found = sorted([*products, *(low or rasters)])
    return [file for file in found if fnmatch(file.name, pattern or "*")]


def product_of(path: Path) -> str:
    """The sensor whose product a path is, if that has a coarse and a finer grid of bands, or ""."""
    return next((each.NAME for each in _PRODUCTS if each.is_product(path)), "")


def beside(path: Path) -> Path | None:
    """The guide that lies beside a coarse raster by its name."""
    for coarse, fine in _BESIDE:
        if path.stem.endswith(coarse):
            other = path.with_stem(path.stem.removesuffix(coarse) + fine)
            if other.is_file():
                return other
    return None


def open_pair(path: Path, options: OpenOptions) -> Scene:
    """A coarse raster with its guide.

    Raises:
        SceneError: there is no guide, it is no finer, or lies elsewhere or in another CRS.
    """
    product = next((each for each in _PRODUCTS if each.is_product(path)), None)
    if product is None:
        guide = _guide_of(path, options)
        return paired(image.open_image(path, options), _open_guide(guide, options), options)
    low, fine = product.open_bands(path, options)
    if options.guide is not None:
        fine = _open_guide(_guide_of(path, options), options)
    if fine is None:
        raise SceneError(f"{path}: {product.NO_GUIDE}, or a finer raster: --guide FINE.")
    return paired(low, fine, options)


def _open_guide(path: Path, options: OpenOptions) -> Scene:
    """A raster, or Landsat's panchromatic band, whose counts mean what its product says."""
    return landsat.open_pan(path, options) or image.open_image(path, options)


def _guide_of(path: Path, options: OpenOptions) -> Path:
    if options.guide is None:
        found = beside(path)
        if found is None:
            raise SceneError(
                f"{path}: this net needs a finer raster beside it, and no {path.stem}_pan or the "
                "like is there. Give it: --guide FINE."
            )
        return found
    guide = Path(options.guide)
    if not guide.is_dir():
        return guide
    stem = next((path.stem.removesuffix(low) for low, _ in _BESIDE if path.stem.endswith(low)),
                path.stem)  # fmt: skip
    stems = (path.stem, *(stem + fine for _, fine in _BESIDE))
    same = [file for file in image.images(guide) if file.stem in stems and file != path]
    if len(same) != 1:
        names = ", ".join(file.name for file in same) or "none"
        raise SceneError(
            f"{guide} is to hold one raster named as {path.name} (found: {names}). Name them alike."
        )
    return same[0]


def paired(coarse: Scene, fine: Scene, options: OpenOptions) -> Scene:
    """One scene of two: the guide's bands first, then those to sharpen.

    Raises:
        SceneError: as `open_pair`.
    """
    factor = _factor(coarse, fine, options)
    window = _common(coarse, fine)
    coarse_grid = coarse.grid.crop(window)
    fine_grid = coarse_grid.finer(factor)
    guides = _guide_names(fine, [band.name for band in coarse.bands])
    sensor = _sensor(coarse, fine, guides, factor)
    low, high = METRES.get(sensor, (1, factor))
    kept = None if window == coarse.grid.window else Warp(coarse.grid, coarse_grid, "nearest")
    guide = guide_bands(coarse, fine, low)
    bands = [replace(band, gsd=high, warp=kept) for band in coarse.bands]
    scene = replace(
        coarse, sensor=sensor, bands=(*guide, *bands),
        grids={low: fine_grid, high: coarse_grid}, window=fine_grid.window,
        notes=tuple(dict.fromkeys((*coarse.notes, *fine.notes, *_cut_note(coarse, window)))),
    )  # fmt: skip
    return _placed(scene, fine.grid, options)


def guide_bands(coarse: Scene, fine: Scene, gsd: int) -> list[Band]:
    """The bands of a guide, called and scaled as in one scene with those of the coarse raster."""
    gain = coarse.quantification / fine.quantification
    names = _guide_names(fine, [band.name for band in coarse.bands])
    return [replace(band, name=name, gsd=gsd, gain=band.gain * gain)
            for band, name in zip(fine.bands, names, strict=True)]  # fmt: skip


def _sensor(coarse: Scene, fine: Scene, guides: Sequence[str], factor: int) -> str:
    """The sensor whose native grids the two are, "pair" for any others."""
    if guides == [landsat.PAN] and set(LANDSAT) <= {band.name for band in coarse.bands}:
        return "landsat" if factor == 2 else "pair"
    same = coarse.sensor == fine.sensor and coarse.sensor in METRES
    return coarse.sensor if same and factor == 2 else "pair"


def _guide_names(fine: Scene, taken: Sequence[str]) -> list[str]:
    """Names of the guide's bands; one band without a name beside Landsat's is the panchromatic."""
    if [band.name for band in fine.bands] == ["1"] and set(LANDSAT) <= set(taken):
        return [landsat.PAN]
    return [_ONE + band.name if band.name in taken else band.name for band in fine.bands]


def _factor(coarse: Scene, fine: Scene, options: OpenOptions) -> int:
    """How many of the guide's pixels are to lie along a coarse one: the nearest whole number."""
    ours, theirs = coarse.grid.crs, fine.grid.crs
    if (ours is None) != (theirs is None):
        raise SceneError(
            f"of {coarse.path} ({coarse.grid}) and its guide {fine.path} ({fine.grid}) only one "
            "has a CRS, so how they lie is not known. Give both one, or neither (gdal_edit)."
        )
    if ours != theirs and not options.align:
        raise SceneError(
            f"{fine.path} ({fine.grid}) has another CRS than {coarse.path} ({coarse.grid}). Pass "
            "--align to bring it into that one while it is read, or warp it first."
        )
    ratio = _pixel(coarse.grid) / _pixel(_seen_from(fine.grid, coarse.grid))
    if ratio < 1.5:
        raise SceneError(
            f"{fine.path} ({fine.grid}) is no finer than {coarse.path} ({coarse.grid}), so it "
            "cannot guide it. Give the finer raster as --guide, the coarser one as SRC."
        )
    return round(ratio)


def _pixel(grid: Grid) -> float:
    """Side of a square as large as a pixel."""
    return math.sqrt(abs(grid.transform.determinant))


def _seen_from(fine: Grid, coarse: Grid) -> Grid:
    """The place of a guide in the other's CRS, rotation left out: bounds and size of pixels."""
    if fine.crs == coarse.crs:
        return fine
    try:
        left, bottom, right, top = transform_bounds(fine.crs, coarse.crs, *fine.bounds)
    except RasterioError as error:
        raise SceneError(
            f"a guide in {fine.crs} cannot be brought into {coarse.crs} ({error}). Warp it first."
        ) from error
    size = Affine.scale((right - left) / fine.width, (bottom - top) / fine.height)
    return Grid(coarse.crs, Affine.translation(left, top) @ size, fine.width, fine.height)


def _common(coarse: Scene, fine: Scene) -> Window:
    """The coarse pixels that the guide reaches, in a window of the coarse grid."""
    seen = _seen_from(fine.grid, coarse.grid)
    covered = _covered(coarse.grid, fine.grid)
    if not covered.height or not covered.width:
        raise SceneError(
            f"{fine.path} (bounds {_said(seen)}) does not touch {coarse.path} (bounds "
            f"{_said(coarse.grid)}). Give a guide of the same ground."
        )
    return covered


def _covered(grid: Grid, other: Grid) -> Window:
    """The pixels of a grid that another reaches."""
    return grid.covering(_seen_from(other, grid).bounds).intersect(grid.window)


def touches(grid: Grid, other: Grid) -> bool:
    """Whether two grids have ground in common."""
    covered = _covered(grid, other)
    return bool(covered.height and covered.width)


def _said(grid: Grid) -> str:
    return " ".join(f"{value:.10g}" for value in grid.bounds)


def _cut_note(coarse: Scene, window: Window) -> tuple[Note, ...]:
    if window == coarse.grid.window:
        return ()
    height, width = coarse.grid.shape
    said = f"{window.height} × {window.width} of {height} × {width} pixels"
    return (Note(f"the guide covers {said}; the others are left out", warning=True),)


def _placed(scene: Scene, guide: Grid, options: OpenOptions) -> Scene:
    """The scene with its guide where it belongs: by its own grid, and by what it shows."""
    low, high = sorted(scene.grids)
    target = scene.grids[low]
    where = _by_grid(guide, target)
    lying = _warped(scene, guide, target)
    found = guide_displacement(lying, high) if options.register else Displacement()
    notes = [*where, *_by_content(found)]
    if found:
        moved = guide.transform @ _in_pixels_of(guide, target, found)
        lying = _warped(scene, replace(guide, transform=moved), target)
    return replace(lying, notes=(*scene.notes, *notes))


def _in_pixels_of(guide: Grid, target: Grid, found: Displacement) -> Affine:
    """A displacement in pixels of the target as one in those of the guide."""
    by = _pixel(target) / _pixel(_seen_from(guide, target))
    return Affine.translation(found.right * by, found.down * by)


def _warped(scene: Scene, guide: Grid, target: Grid) -> Scene:
    """The scene with its guide's pixels, which lie at `guide`, on the grid `target`."""
    if guide.ratio(target) == 1:
        return scene
    warp = Warp(guide, target, "lanczos")
    finest = scene.finest
    bands = (replace(b, warp=warp) if b.gsd == finest else b for b in scene.bands)
    return replace(scene, bands=tuple(bands))


def _by_grid(guide: Grid, target: Grid) -> list[Note]:
    """What is told of a guide whose lattice does not nest in the coarse one."""
    if guide.crs != target.crs:
        return [
            Note(f"the guide is brought from {guide.crs} into {target.crs} by Lanczos's kernel")
        ]
    offset = ~target.transform @ guide.transform
    size = _pixel(guide) / _pixel(target)
    if abs(size - 1) > _SAME or abs(offset.b) + abs(offset.d) > _SAME:
        return [Note(f"the guide's pixels ({guide.gsd:g}) do not nest in the coarse ones; it is "
                     f"resampled to {target.gsd:.10g} by Lanczos's kernel")]  # fmt: skip
    across, down = offset.c % 1, offset.f % 1
    if max(min(across, 1 - across), min(down, 1 - down)) <= 100 * TOLERANCE:
        return []
    said = f"{_near(down):+.2f} down and {_near(across):+.2f} right"
    return [Note(f"the guide's grid lies {said} of a pixel off one that nests in the coarse one; "
                 "it is resampled onto that by Lanczos's kernel")]  # fmt: skip


def _near(part: float) -> float:
    return part if part <= 0.5 else part - 1


def _by_content(found: Displacement) -> list[Note]:
    if found.note:
        return [Note(f"the guide is not registered ({found.note})", warning=True)]
    if not found:
        return []
    whole = found.down == round(found.down) and found.right == round(found.right)
    how = "" if whole else ", resampled by Lanczos's kernel"
    said = f"{found.down:g} px down and {found.right:g} px right to fit"
    return [Note(f"the guide shows the ground elsewhere: it is moved {said} (correlation "
                 f"{found.alike:.2f}){how}; --register none leaves it", warning=True)]  # fmt: skip
