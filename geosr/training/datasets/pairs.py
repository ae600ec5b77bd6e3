"""Matching files: a fine image and the coarse image, or images, of the same ground.

Layouts: those of published data sets (`geosr.training.datasets.layouts`); two folders (`hr` and
`lr`, `high_res` and `low_res`, …) with files of matching names; and the layout of dual-edsr's
repository, `dual_sr_dataset/{train,test}/{low_res,high_res}` with `NAME_LR0.png`, `NAME_LR1.png`,
`NAME_HR.png`.
"""

from __future__ import annotations

import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError, UsageError
from geosr.models.card import ModelCard
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.fill import fill
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.layouts import Pair, layout_of
from geosr.training.datasets.layouts.layout import plain
from geosr.training.datasets.windows import Area, Spot, Windows, check_bands, pick, tell_left_out

FINE = ("hr", "high_res", "high", "highres", "gt")
_COARSE = ("lr", "low_res", "low", "lowres")
_ROLE = re.compile(r"(?:^|[_\-.])(?:LR(\d*)|HR|x\d)(?=[_\-.]|$)", re.IGNORECASE)
_FILL_REACH = 8


@dataclass(frozen=True)
class Matched:
    """A fine image and its coarse ones; `corner` is the fine pixel under coarse pixel (0, 0)."""

    name: str
    fine: Scene
    coarse: tuple[Scene, ...]
    corner: tuple[int, int] = (0, 0)


class PairsWindows(Windows[Matched]):
    """Windows of matched files, on the grid of the fine image as far as the coarse cover it."""

    kind = "pairs"

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The fine window, and the same ground in every coarse image."""
        item, scale = self.areas[spot.area].item, self.card.scale
        window = spot.window.shift(-item.corner[0], -item.corner[1])
        part = Window(*(n // scale for n in window))
        names = pick(self.card, [band.name for band in item.fine.bands], spot.band)
        target, mask = self._read(item.fine, names, spot.window)
        stack = np.stack([self._frame(item, scene, part, spot.band) for scene in item.coarse])
        inputs = stack if self.card.task == "misr" else stack[0, :-1]
        return Sample({self.card.native_gsd: inputs}, np.where(mask, target, 0), mask)

    def _frame(self, item: Matched, scene: Scene, part: Window, band: int) -> NDArray[np.float32]:
        """(bands + 1, rows, cols), the quality mask last."""
        names = pick(self.card, [b.name for b in scene.bands], band)
        values, usable = self._read(scene, names, part)
        return np.concatenate([values, usable.all(0, keepdims=True)]).astype(np.float32)

    def _read(
        self, scene: Scene, names: Sequence[str], window: Window
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        reader = self._reader(scene)
        pixels = reader.read(names, scene.finest, window)
        filled = fill(pixels.values, pixels.usable, _FILL_REACH)
        return reflectance(scene, names, filled), pixels.usable


def folders(data: Path) -> tuple[Path, Path] | None:
    """The folders of fine and coarse files in `data`, by their names; None if it has none."""
    fine, coarse = folder_named(data, FINE), folder_named(data, _COARSE)
    return (fine, coarse) if fine and coarse else None


def folder_named(data: Path, names: Sequence[str]) -> Path | None:
    """The folder in `data` that has one of some names, in their order; None without."""
    children = {p.name.lower(): p for p in data.iterdir() if p.is_dir()} if data.is_dir() else {}
    return next((children[name] for name in names if name in children), None)


def areas(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None,
    part: str = "train", *, fewer: bool = False,
) -> list[Area[Matched]]:  # fmt: skip
    """Every pair of `data`, matched by name, or as the published data set has them that it is.

    Args:
        part: of a published data set that has several, "train" or "test".
        fewer: nets that take any number of images get as many as there are.

    Raises:
        UsageError: a fine image without its coarse ones, or none at all, or sizes that are not
            `card.scale` to one.
    """
    layout = layout_of(data)
    if layout is not None and layout.kind == PairsWindows.kind:
        named, opened = layout.pairs(data, part, card.scale, pattern), layout.opened
    else:
        named, opened = _in_folders(data, pattern), plain
    found, reasons = [], []
    for pair in named:
        _check_frames(pair, card, 1 if fewer and card.fewer else card.frames)
        try:
            found.append(matched(pair, *opened(pair, card.scale, options), card))
        except SceneError as error:
            reasons.append(str(error))
    if not found:
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise UsageError(f"{data} holds no image to train '{card.name}' on.{why}")
    tell_left_out(reasons, len(found))
    return found


def _in_folders(data: Path, pattern: str | None) -> list[Pair]:
    """Files of matching names in the folders of fine and coarse ones."""
    found = folders(data)
    if found is None:
        raise UsageError(
            f"{data} has no two folders of pairs (looked for {', '.join(FINE)} beside "
            f"{', '.join(_COARSE)}). Name them so, or choose another --data-kind."
        )
    coarse = by_name(found[1], None)
    return [Pair(name, files[0], tuple(coarse.get(name, ())))
            for name, files in by_name(found[0], pattern).items()]  # fmt: skip


def by_name(folder: Path, pattern: str | None) -> dict[str, list[Path]]:
    """Files by their name without its role (`_LR0`, `_HR`, `_x4`), each in order of number."""
    groups: dict[str, list[Path]] = {}
    for path in find_scenes(folder, pattern=pattern, kind="image"):
        groups.setdefault(_ROLE.sub("", path.stem), []).append(path)
    return groups


def _check_frames(pair: Pair, card: ModelCard, needed: int) -> None:
    if len(pair.coarse) < needed:
        raise UsageError(
            f"{pair.fine} has {len(pair.coarse)} coarse images, '{card.name}' needs {needed} "
            f"(looked for the name '{pair.name}'). Add them, or choose another net."
        )


def matched(pair: Pair, truth: Scene, coarse: Sequence[Scene], card: ModelCard) -> Area[Matched]:
    """The coarse images of a pair, with the fine pixels that they cover.

    Raises:
        SceneError, UsageError: bands, grids or ground do not go together.
    """
    frames = tuple(coarse[: card.frames])
    bands = check_bands(card, pair.fine.name, len(truth.bands))
    for frame in frames:
        check_bands(card, Path(frame.path).name, len(frame.bands))
        if len(frame.bands) != len(truth.bands):
            raise UsageError(
                f"{frame.path} has {len(frame.bands)} bands, {pair.fine} has {len(truth.bands)}. "
                "Give pairs with the same bands."
            )
    corner, window = _common(truth, frames[0], card.scale)
    for frame in frames[1:]:
        if frame.grid.ratio(frames[0].grid) != 1:
            raise UsageError(f"{frame.path} and {frames[0].path} differ in grid. Warp them first.")
    return Area(Matched(pair.name, truth, frames, corner), window, bands)


def _common(fine: Scene, coarse: Scene, scale: int) -> tuple[tuple[int, int], Window]:
    """The fine pixel at the coarse corner, and the fine pixels that both cover."""
    ours, theirs = fine.grid, coarse.grid
    if ours.crs is None or theirs.crs is None:
        if ours.shape != (theirs.height * scale, theirs.width * scale):
            raise UsageError(_mismatch(fine, coarse, scale))
        return (0, 0), ours.window
    row, col = _corner(ours, theirs, scale) or (None, None)
    if row is None or col is None:
        raise UsageError(_mismatch(fine, coarse, scale))
    covered = theirs.window.at(scale).shift(row, col).intersect(ours.window)
    if not covered.height or not covered.width:
        raise SceneError(f"{fine.path} and {coarse.path} show no common ground. Pair others.")
    return (row, col), _whole(covered, (row, col), scale)


def _corner(fine: Grid, coarse: Grid, scale: int) -> tuple[int, int] | None:
    """Where the coarse corner lies in fine pixels; None where the grids do not nest."""
    if fine.crs != coarse.crs or round(coarse.gsd / fine.gsd, 4) != scale:
        return None
    col, row = ~fine.transform @ (coarse.transform.c, coarse.transform.f)
    if abs(row - round(row)) > 0.05 or abs(col - round(col)) > 0.05:
        return None
    return round(row), round(col)


def _whole(window: Window, corner: tuple[int, int], scale: int) -> Window:
    """The whole coarse pixels inside a fine window."""
    top, left = (
        -(-(at - c) // scale) * scale + c for at, c in zip(window[:2], corner, strict=True)
    )
    bottom, right = (
        (at + size - c) // scale * scale + c
        for at, size, c in zip(window[:2], window[2:], corner, strict=True)
    )
    return Window(top, left, max(bottom - top, 0), max(right - left, 0))


def factor(fine: Scene, coarse: Scene) -> int:
    """How many fine pixels lie along one of a coarse image."""
    ours, theirs = fine.grid, coarse.grid
    if ours.crs is None or theirs.crs is None:
        return max(ours.height // theirs.height, 1)
    return max(round(theirs.gsd / ours.gsd), 1)


def _mismatch(fine: Scene, coarse: Scene, scale: int) -> str:
    return (
        f"{fine.path} ({fine.grid}) and {coarse.path} ({coarse.grid}) are not {scale} to 1 on one "
        "lattice. Give matching pairs, or another --scale."
    )


# the layout of dual-edsr's repository


def dual_folder(data: Path, part: str = "train") -> Path | None:
    """`data` itself or its part with low_res and high_res; None where it is no such layout."""
    for folder in (data / part, data):
        if (folder / "low_res").is_dir() and (folder / "high_res").is_dir():
            return folder
    return None


# arrays


@dataclass(frozen=True)
class ArrayPair:
    """One pair of images in two arrays (n, bands, rows, cols)."""

    name: str
    index: int


class ArrayWindows(Windows[ArrayPair]):
    """Windows of `hr_images.npz` and `hr_lr_images.npz`; plainly stored arrays stay on disk."""

    kind = "npz"

    def __init__(
        self, areas: Sequence[Area[ArrayPair]], card: ModelCard, patch: int, *,
        data: Path, unit: float, seed: int = 0, jitter: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self.data, self.unit = data, unit

    def __getstate__(self) -> dict[str, Any]:
        """Arrays do not travel to another process; it opens them itself."""
        return {k: v for k, v in super().__getstate__().items() if k != "arrays"}

    @cached_property
    def arrays(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Fine and coarse images, (n, bands, rows, cols)."""
        return _both(self.data)

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The fine window and the coarse one under it."""
        item, scale = self.areas[spot.area].item, self.card.scale
        part = Window(*(n // scale for n in spot.window))
        fine, coarse = self.arrays
        target = self._part(fine[item.index], spot.window, spot.band)
        inputs = self._part(coarse[item.index], part, spot.band)
        return Sample({self.card.inputs[0].gsd: inputs}, target, np.isfinite(target))

    def _part(self, image: NDArray[Any], window: Window, band: int) -> NDArray[np.float32]:
        bands = slice(band, band + 1) if len(self.card.bands) == 1 else slice(None)
        values = image[(bands, *window.within(Window(0, 0, 0, 0)))]
        return np.asarray(values, np.float32) * np.float32(10000 / self.unit)


def npz_files(data: Path) -> tuple[Path, Path | None] | None:
    """`hr_images.npz` and `hr_lr_images.npz` in a folder, as far as they are there."""
    if not data.is_dir():
        return None
    pairs, fine = data / "hr_lr_images.npz", data / "hr_images.npz"
    if pairs.exists():
        return pairs, fine if fine.exists() else None
    return None


def array_areas(data: Path, card: ModelCard) -> tuple[list[Area[ArrayPair]], float]:
    """Areas, and what counts as 1.0, of a folder with `hr_images.npz`, `hr_lr_images.npz`.

    Raises:
        UsageError: arrays are missing, ambiguous, or not `card.scale` to one.
    """
    fine, coarse = _both(data)
    expected = (len(coarse), coarse.shape[1], *(n * card.scale for n in coarse.shape[2:]))
    if fine.shape != expected:
        raise UsageError(
            f"{data}: HR {fine.shape} and LR {coarse.shape} are not {card.scale} to 1. "
            "Give matching arrays, or another --scale."
        )
    bands = check_bands(card, f"{data}'s arrays", fine.shape[1])
    window = Window(0, 0, *fine.shape[2:])
    areas = [Area(ArrayPair(f"{i:06d}", i), window, bands) for i in range(len(fine))]
    return areas, 255.0 if fine.dtype == np.uint8 else 1.0


def _both(data: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Fine and coarse images of a folder, (n, bands, rows, cols)."""
    files = npz_files(data)
    if files is None:
        raise UsageError(f"{data} holds no hr_lr_images.npz. Check --data.")
    arrays = _arrays(files[0])
    coarse = _keyed(arrays, "lr", files[0])
    fine = _keyed(arrays, "hr", files[0], instead=files[1])
    return _channels_first(fine), _channels_first(coarse)


def _keyed(
    arrays: Mapping[str, NDArray[Any]], role: str, path: Path, *, instead: Path | None = None
) -> NDArray[Any]:
    """The array whose key says its role, else the only one of the other file."""
    other = {"hr": "lr", "lr": "hr"}[role]
    keys = [key for key in arrays if role in key.lower() and other not in key.lower()]
    if len(keys) == 1:
        return arrays[keys[0]]
    if instead is not None:
        alone = _arrays(instead)
        if len(alone) == 1:
            return next(iter(alone.values()))
    if role == "lr" and len(arrays) == 1:
        return next(iter(arrays.values()))
    raise UsageError(
        f"{path}: which array is {role.upper()}? (found: {', '.join(arrays) or 'none'}). "
        "Name them hr and lr."
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        return {Path(member.filename).stem: _member(path, member) for member in members}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not a readable npz of arrays ({error}). Replace it.") from error


def _member(path: Path, member: zipfile.ZipInfo) -> NDArray[Any]:
    """One array of an npz; where it is stored uncompressed it stays on the disk."""
    if member.compress_type != zipfile.ZIP_STORED:
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive[Path(member.filename).stem])
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(name + extra, 1)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read = np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject:
            raise ValueError("it holds objects, not numbers")
        order = "F" if fortran else "C"
        return np.memmap(path, dtype, "r", file.tell(), shape, order)  # type: ignore[call-overload]


def _channels_first(array: NDArray[Any]) -> NDArray[Any]:
    """(n, bands, rows, cols) from NHWC, NCHW or NHW."""
    if array.ndim == 3:
        return array[:, None]
    if array.ndim != 4:
        raise UsageError(f"arrays of {array.ndim} dimensions are no images. Give NHWC or NCHW.")
    return array.transpose(0, 3, 1, 2) if array.shape[3] < array.shape[1] else array
