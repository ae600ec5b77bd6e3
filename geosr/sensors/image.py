"""Any raster as a scene: GeoTIFF, PNG, JPEG or JP2 with bands of one grid, and series of them.

Proba-V products in HDF5 go along. In a series, which pixels are clear is told by a file's own
mask, by a mask beside it (`X.tif` and `X_QM.tif`, `LR000.png` and `QM000.png`; not 0 is clear), or
by a band described as QM (the same) or as SM, STATUS, STATUS_MAP (bits of Proba-V).

The one GSD is called 1: a pixel of the image, whatever its size on the ground. What makes 1.0 for
a net follows a rule, never a guess: 8 bits 255, PNG of 16 bits 65535, Kelvins imgsets 32000, other
integers 10000 (as reflectance is scaled), floats 1; `--quantification` says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp

from geosr.errors import SceneError
from geosr.raster.files import Warp, open_raster, unplaced_by
from geosr.raster.grid import Grid
from geosr.scene.acquisition import common, told
from geosr.scene.band import Band, nodata_value
from geosr.scene.note import Note, lost
from geosr.scene.quality import Quality
from geosr.scene.scene import Scene
from geosr.scene.spectrum import of_tags
from geosr.sensors import probav, probav_hdf5
from geosr.sensors.options import OpenOptions, may_be

SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jp2", *probav_hdf5.SUFFIXES)
GSD = 1
_FRAME = re.compile(r"(.+)_LR\d+$")
_LOW = re.compile(r"(^|_)LR(\d+)$")
_MASK = re.compile(r"(^|_)QM\d*$")  # LR003 and its QM003, X and its X_QM
_WRITTEN = ("QM", "SM", "STATUS", "STATUS_MAP")  # bands that say what is clear, the best first
_SAMPLE = 256  # side of the decimated look that tells how clear a frame is


def images(path: Path, pattern: str | None = None) -> list[Path]:
    """The rasters directly in a folder whose names match, sorted; or the one file."""
    if path.is_file():
        return [path]
    found = (p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    rasters = [p for p in found if p.suffix.lower() in SUFFIXES]
    return sorted(p for p in rasters if fnmatch(p.name, pattern or "*"))


def open_image(path: Path, options: OpenOptions) -> Scene:
    """One raster; every band by its description, or by its number where it has none.

    Raises:
        SceneError: no raster geosr opens, or one that holds no measured values.
    """
    if probav_hdf5.is_product(path):
        return probav_hdf5.open_product(path, options)
    return _opened(path, options)


def _opened(path: Path, options: OpenOptions, *, frame: bool = False) -> Scene:
    """A raster; as a frame of a series without the band that says which pixels are clear."""
    with open_raster(path, vrt=options.vrt) as dataset:
        _check(path, dataset)
        indexes = [i for i in dataset.indexes if not _is_alpha(dataset, i)]
        alpha = next((i for i in dataset.indexes if i not in indexes), None)
        written = _written(dataset, indexes) if frame else None
        indexes = [i for i in indexes if i != written]
        names = _names([dataset.descriptions[i - 1] for i in indexes])
        said = dataset.descriptions[written - 1].strip().upper() if written else ""
        dtype, driver = np.dtype(dataset.dtypes[0]), dataset.driver
        unplaced = lost(unplaced_by(dataset), path.name)
        tagged = tuple(zip(dataset.scales, dataset.offsets, strict=True))
        units = dataset.units
        spectra = [of_tags(dataset.tags(i, ns="IMAGERY"), kind.name)
                   for i, kind in enumerate(dataset.colorinterp, 1)]  # fmt: skip
        tags = dataset.tags(ns="IMAGERY") | dataset.tags()
        nodata, grid = nodata_value(dataset.nodata, dtype), Grid.of(dataset)
    covered = Quality(str(path), alpha) if alpha else None
    bands = tuple(
        Band(
            name, GSD, str(path), index, nodata=nodata,
            quality=_in_file(path, written, said, name) if written else covered,
            tagged=tagged[index - 1], unit=units[index - 1] or "", spectrum=spectra[index - 1],
        )
        for name, index in zip(names, indexes, strict=True)
    )  # fmt: skip
    unit = options.quantification or _unit(dtype, driver)
    how = "as asked" if options.quantification else f"by the rule for {dtype} {driver}"
    note = Note(f"value {unit:g} counts as 1.0, {how}")
    return Scene(
        path.stem, str(path), "image", "", bands, {GSD: grid}, grid.window, dtype, unit,
        (note, *unplaced),
        vrt=options.vrt, acquisition=told(path.stem, tags),
    )  # fmt: skip


def _check(path: Path, dataset: Any) -> None:
    kinds = set(dataset.dtypes)
    palette = ColorInterp.palette in dataset.colorinterp
    if palette or len(kinds) > 1 or any(kind.startswith("complex") for kind in kinds):
        found = "palette" if palette else " ".join(sorted(kinds))
        raise SceneError(
            f"{path}: bands of one real type are needed ({found}). Convert the file first."
        )


def _is_alpha(dataset: Any, index: int) -> bool:
    return bool(dataset.colorinterp[index - 1] == ColorInterp.alpha)


def _names(descriptions: list[str | None]) -> tuple[str, ...]:
    whole = [text.strip() for text in descriptions if text and text.strip()]
    if len(set(whole)) == len(descriptions):
        return tuple(whole)
    return tuple(str(i + 1) for i in range(len(descriptions)))


def _unit(dtype: np.dtype[Any], driver: str) -> float:
    if dtype.kind == "f":
        return 1.0
    if dtype.itemsize == 1:
        return 255.0
    return 65535.0 if driver == "PNG" else 10000.0


# several images of one place


def find_series(path: Path, pattern: str | None = None) -> list[Path]:
    """A folder of rasters is one series, a folder of such folders many, as is a tree of imgsets.

    A folder of `NAME_LR0.png`, `NAME_LR1.png` holds a series a name, given as `NAME_LR*.png`. A
    raster alone in its folder is listed: opening it says that a series has two or more.
    """
    if path.is_file():
        return [path]
    files = frames_in(path, pattern)
    named = [(file, match) for file in files if (match := _FRAME.match(file.stem))]
    if named and len(named) == len(files):
        return list(dict.fromkeys(file.with_stem(f"{match[1]}_LR*") for file, match in named))
    if len(files) > 1 or probav.is_imgset(path):
        return [path]
    imgsets = {imgset for imgset in probav.find_imgsets(path) if frames_in(imgset, pattern)}
    folders = (p for p in path.iterdir() if p.is_dir())
    found = imgsets | {p for p in folders if may_be(lambda p: bool(frames_in(p, pattern)), p)}
    return sorted(found) or [path] * len(files)


def frames_in(path: Path, pattern: str | None = None) -> list[Path]:
    """The rasters of a folder that are images: no masks, of an imgset the LR alone."""
    files = [file for file in images(path, pattern) if not _MASK.search(file.stem)]
    if probav.is_imgset(path):
        return [file for file in files if file.match("LR*.png")]
    return files


def open_series(path: Path, options: OpenOptions) -> Scene:
    """All rasters of a folder as frames of one scene, the clearest first.

    Raises:
        SceneError: fewer than two; they differ in bands, type or scale, or in grid where
            `options.align` does not help; a mask has another size, or an imgset lacks one.
    """
    alone = "*" in path.name
    files = sorted(path.parent.glob(path.name)) if alone else []
    if not alone and path.is_dir():
        files = frames_in(path, options.pattern)
    if len(files) < 2:
        raise SceneError(
            f"{path}: a multi-image net needs a folder with two or more rasters of one place, "
            f"found {len(files) or int(path.is_file())}. Give such a folder, or choose a "
            "single-image net."
        )
    imgset = not alone and probav.is_imgset(path)
    if imgset:
        probav.check_masks(path, files)
    frames = [open_frame(file, options) for file in files]
    frames = [frames[0], *(onto(frames[0], frame, options) for frame in frames[1:])]
    notes = _notes(path, frames)
    frames.sort(key=_unclear)
    if imgset and frames[0].dtype == np.uint16:  # as the challenge has them
        frames[0] = replace(frames[0], sensor="probav")
        if not options.quantification:
            said = f"value {probav.UNIT:g} counts as 1.0, as the challenge stores reflectance"
            frames[0] = replace(frames[0], quantification=probav.UNIT, notes=(Note(said),))
    bands = tuple(replace(band, frame=i) for i, frame in enumerate(frames) for band in frame.bands)
    name = path.name.split("_LR*")[0] if alone else path.resolve().name
    return replace(
        frames[0], name=name, path=str(path), bands=bands, notes=(*frames[0].notes, *notes),
        acquisition=common([frame.acquisition for frame in frames]),
    )  # fmt: skip


def open_frame(path: Path, options: OpenOptions) -> Scene:
    if probav_hdf5.is_product(path):
        return probav_hdf5.open_product(path, options)
    scene, mask = _opened(path, options, frame=True), _beside(path)
    if mask is None:
        return scene
    bands = tuple(replace(band, quality=Quality(str(mask))) for band in scene.bands)
    return replace(scene, bands=bands)


def _beside(path: Path) -> Path | None:
    """The mask of a frame in a file of its own."""
    stems = dict.fromkeys((_LOW.sub(r"\1QM\2", path.stem), f"{path.stem}_QM"))
    suffixes = dict.fromkeys((path.suffix, ".tif", ".tiff", ".png"))
    files = (path.with_name(stem + suffix) for stem in stems for suffix in suffixes)
    return next((file for file in files if file != path and file.is_file()), None)


def _written(dataset: Any, indexes: Sequence[int]) -> int | None:
    """The band that says which pixels are clear, if it is not the only one."""
    by_name = {(dataset.descriptions[i - 1] or "").strip().upper(): i for i in indexes}
    found = [by_name[name] for name in _WRITTEN if name in by_name]
    return found[0] if found and len(indexes) > 1 else None


def _in_file(path: Path, index: int, said: str, name: str) -> Quality:
    if said == "QM":
        return Quality(str(path), index)
    bits, equals = probav.status_bits(name)
    return Quality(str(path), index, bits=bits, equals=equals)


def onto(first: Scene, other: Scene, options: OpenOptions) -> Scene:
    """The other frame on the grid of the first, warped where asked."""
    if _kind(first) != _kind(other):
        raise SceneError(
            f"{other.path} ({_described(other)}) is of another kind than {first.path} "
            f"({_described(first)}). Give frames that are alike, or choose them with --pattern."
        )
    if first.grid.ratio(other.grid) == 1:
        return other
    off = f"{other.path} ({other.grid}) is not on the grid of {first.path} ({first.grid})"
    if first.grid.crs is None or other.grid.crs is None:
        raise SceneError(f"{off}, and without a CRS in both it cannot be warped. Cut them alike.")
    if not options.align:
        raise SceneError(f"{off}. Pass --align to warp it, or warp all frames onto one grid first.")
    warp = Warp(other.grid, first.grid)
    bands = tuple(replace(band, warp=warp) for band in other.bands)
    return replace(other, bands=bands, grids=first.grids, window=first.window)


def _kind(scene: Scene) -> tuple[Any, ...]:
    """What the frames of a series share, apart from the grid."""
    bands = tuple((band.name, band.offset) for band in scene.bands)
    return bands, scene.dtype, scene.quantification


def _described(scene: Scene) -> str:
    names = " ".join(band.name for band in scene.bands)
    offsets = sorted({band.offset for band in scene.bands} - {0.0})
    offset = f", offset {' '.join(f'{value:g}' for value in offsets)}" if offsets else ""
    return f"bands {names} of {scene.dtype}, {scene.quantification:g} is 1.0{offset}"


def _notes(path: Path, frames: Sequence[Scene]) -> list[Note]:
    """What a user should know of how the frames go together."""
    notes = []
    if probav.is_imgset(path) and frames[0].dtype == np.uint8:
        notes.append(Note("8-bit copies of 16-bit data? Proba-V has 16 bits", warning=True))
    warped = [Path(frame.path).name for frame in frames if frame.bands[0].warp]
    if warped:
        onto = Path(frames[0].path).name
        notes.append(Note(f"{', '.join(warped)} warped onto the grid of {onto}"))
    without = [Path(frame.path).name for frame in frames if not frame.bands[0].quality]
    if 0 < len(without) < len(frames):
        names = ", ".join(without)
        notes.append(Note(f"{names} without a quality mask, taken for clear", warning=True))
    return notes


def _unclear(frame: Scene) -> float:
    """Share of pixels that are not clear, by a decimated look at the first band."""
    with frame.open() as reader:
        return 1 - reader.clearance(frame.bands[0].name, _SAMPLE)
