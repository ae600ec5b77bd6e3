"""Images with a fine image of another date or sensor beside each: what reference nets learn from.

Folders as RRSSRD has them, with files of one name in all: `HR` the truth, `Ref` (`google_Ref`,
`reference`) the fine image beside it, and `LR`, where there is one, the coarse image. Without it
the truth is degraded. A reference may have other bands than the truth and another grid: it is
resampled onto the truth's. It is moved to where it shows what the truth does: by what both show
at full size where a net learns, by what the coarse image tells where one is scored.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine

from geosr.errors import SceneError, UsageError
from geosr.models.card import ANY, Input, ModelCard
from geosr.models.nets.guided.anypair import of_pair
from geosr.raster.files import Warp
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels, Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.registration import reference_displacement
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene
from geosr.sensors.pair import guide_bands, touches
from geosr.training.datasets import folder, pairs
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.layouts import Pair
from geosr.training.datasets.windows import Area, Spot, Windows, tell_left_out

log = logging.getLogger("geosr")
SCALE = 4  # of RRSSRD, where no coarse images say another
_REFERENCES = ("ref", "google_ref", "reference", "references")
_FILL_REACH = 8


@dataclass(frozen=True)
class Referred:
    """A truth, the reference on its grid, and the coarse image where there is one.

    Attributes:
        corner: the fine pixel under coarse pixel (0, 0).
    """

    name: str
    fine: Scene
    reference: Scene
    coarse: Scene | None = None
    corner: tuple[int, int] = (0, 0)

    @property
    def matched(self) -> pairs.Matched:
        """The truth and the coarse image by themselves."""
        assert self.coarse is not None
        return pairs.Matched(self.name, self.fine, (self.coarse,), self.corner)


@dataclass
class ReferredReader:
    """A coarse image and its reference as one scene: GSD 1 and, the coarse one's, `scale`."""

    low: Reader
    reference: Reader
    scale: int
    corner: tuple[int, int] = (0, 0)
    grids: dict[int, Grid] = field(init=False)

    def __post_init__(self) -> None:
        grid = self.low.grids[min(self.low.grids)]
        self.grids = {1: grid.finer(self.scale), self.scale: grid}

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Bands of either in `window` of its grid."""
        if gsd == 1:
            return self.reference.read(names, 1, window.shift(*self.corner), frame=frame)
        return self.low.read(names, min(self.low.grids), window, frame=frame)

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Whether a file of either has a mask of its own."""
        if gsd == 1:
            return self.reference.has_mask(names, 1)
        return self.low.has_mask(names, min(self.low.grids))


class ReferenceWindows(Windows[Referred]):
    """Windows of truths, with the same ground in the coarse image and in the reference."""

    kind = "references"

    def __init__(
        self, areas: Sequence[Area[Referred]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0, operator: str = "bicubic",
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self._pairs: Windows[Any]
        if self.areas[0].item.coarse is None:
            plain = [Area(area.item.fine, area.window) for area in self.areas]
            self._pairs = folder.FolderWindows(plain, card, patch, seed=seed, operator=operator)
        else:
            matched = [Area(area.item.matched, area.window) for area in self.areas]
            self._pairs = pairs.PairsWindows(matched, card, patch, seed=seed)
        self.anywhere = self._pairs.anywhere
        self._placed: dict[str, Scene] = {}

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """The pair without a reference, and the reference beside it."""
        item = self.areas[spot.area].item
        if item.name not in self._placed:
            self._placed[item.name] = registered(item)
        scene = self._placed[item.name]
        names = [band.name for band in scene.bands]
        pixels = self._reader(scene).read(names, 1, spot.window)
        values = fill(pixels.values, pixels.usable, _FILL_REACH)
        sample = self._pairs.cut(spot, rng)
        return replace(sample, inputs={1: reflectance(scene, names, values), **sample.inputs})

    def close(self) -> None:
        """Close all images."""
        self._pairs.close()
        super().close()


def references(data: Path) -> tuple[Path, Path] | None:
    """The folders of truths and of references in `data`, by their names; None without them."""
    fine, beside = (pairs.folder_named(data, names) for names in (pairs.FINE, _REFERENCES))
    return (fine, beside) if fine and beside else None


def areas(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None
) -> list[Area[Referred]]:
    """Every truth of a folder with its reference.

    Raises:
        UsageError: no such folders, a truth without its reference, or none that fits the net.
    """
    found, reasons = [], list[str]()
    for pair, beside in _named(data, pattern):
        try:
            found.append(_area(pair, *_opened(pair, beside, options), card))
        except SceneError as error:
            reasons.append(str(error))
    if not found:
        raise UsageError(f"{data} holds nothing to train '{card.name}' on. {reasons[0]}")
    tell_left_out(reasons, len(found))
    return found


def card_of(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None,
    scale: float | None = None,
) -> ModelCard:  # fmt: skip
    """A card for any pair with the bands and the factor of the first image and its reference.

    Args:
        scale: by which truths are to be degraded; of coarse images it is their own.

    Raises:
        UsageError: as `areas`; no whole scale, or another one than that of the coarse images.
    """
    reasons = list[str]()
    for pair, beside in _named(data, pattern):
        try:
            truth, reference, coarse = _opened(pair, beside, options)
        except SceneError as error:
            reasons.append(str(error))
            continue
        factor = pairs.factor(truth, coarse) if coarse else int(scale or SCALE)
        if (scale or factor) != factor:
            raise UsageError(
                f"--scale {scale:g}: '{card.name}' is for {factor} on {data}, whole numbers alone. "
                "Leave it out."
            )
        ours, theirs = (tuple(band.name for band in s.bands) for s in (truth, reference))
        return of_pair(card, Input(1, theirs), Input(factor, ours))
    raise UsageError(f"{data} holds nothing to train '{card.name}' on. {reasons[0]}")


def _named(data: Path, pattern: str | None) -> list[tuple[Pair, Path]]:
    """Files of one name in the folders: truth and coarse image, and the reference."""
    found = references(data)
    if found is None:
        raise UsageError(
            f"{data} has no folders HR and Ref of fine images and their references. Name them so, "
            "or choose another --data-kind."
        )
    both = pairs.folders(data)
    coarse = pairs.by_name(both[1], None) if both else {}
    beside = pairs.by_name(found[1], None)
    made = list[tuple[Pair, Path]]()
    for name, files in pairs.by_name(found[0], pattern).items():
        lacking = [str(folder) for folder, names in ((found[1], beside), (both and both[1], coarse))
                   if folder and name not in names]  # fmt: skip
        if lacking:
            raise UsageError(f"{files[0]} has none of its name in {', '.join(lacking)}. Add it.")
        made.append((Pair(name, files[0], tuple(coarse.get(name, ())[:1])), beside[name][0]))
    if not made:
        said = f" named {pattern}" if pattern else ""
        raise UsageError(f"{found[0]} holds no image{said}. Give fine images and references.")
    return made


def _opened(pair: Pair, beside: Path, options: OpenOptions) -> tuple[Scene, Scene, Scene | None]:
    """The truth, its reference on its grid, and the coarse image where there is one."""
    truth = open_scene(pair.fine, options)
    reference = on_grid(truth, open_scene(beside, options))
    return truth, reference, open_scene(pair.coarse[0], options) if pair.coarse else None


def on_grid(truth: Scene, reference: Scene) -> Scene:
    """A reference's bands on the grid of a truth, called as a guide's.

    Raises:
        SceneError: it shows other ground, or nobody can tell.
    """
    bands = guide_bands(truth, reference, 1)
    ours, theirs = truth.grid, reference.grid
    if ours.crs is None or theirs.crs is None:
        if ours.shape != theirs.shape:
            raise SceneError(
                f"{reference.path} ({theirs}) is not of the size of {truth.path} ({ours}), and "
                "without a CRS of both it is not known where it lies. Cut both alike."
            )
    elif ours.ratio(theirs) != 1:
        if not touches(ours, theirs):
            raise SceneError(
                f"{reference.path} ({theirs}) does not touch {truth.path} ({ours}). Give a "
                "reference of the same ground."
            )
        bands = [replace(band, warp=Warp(theirs, ours, "lanczos")) for band in bands]
    return replace(
        truth, path=reference.path, bands=tuple(bands), grids={1: ours}, window=ours.window
    )


def registered(item: Referred, factor: int = 1) -> Scene:
    """The reference where it shows what the truth does, as far as that is told.

    Args:
        factor: by which what is compared is coarser than the truth.

    Raises:
        SceneError: a file cannot be decoded.
    """
    found = reference_displacement(item.fine, item.reference, factor)
    if not found:
        return item.reference
    grid = item.fine.grid
    log.info("%s: the reference is moved %g px down and %g px right to fit (correlation %.2f)",
             item.name, found.down, found.right, found.alike)  # fmt: skip
    move = Affine.translation(found.right, found.down)
    bands = [replace(band, warp=_moved(band.warp or Warp(grid, grid), move, grid))
             for band in item.reference.bands]  # fmt: skip
    return replace(item.reference, bands=tuple(bands))


def _moved(warp: Warp, move: Affine, grid: Grid) -> Warp:
    """A warp onto `grid` of pixels that lie `move` of its pixels further."""
    source = warp.source
    onward = grid.transform @ move @ ~grid.transform  # in the plane of the truth
    if source.crs == grid.crs:
        return Warp(replace(source, transform=onward @ source.transform), grid, "lanczos")
    back = grid.transform @ ~move @ ~grid.transform
    return Warp(source, replace(grid, transform=back @ grid.transform), "lanczos")


def _area(
    pair: Pair, truth: Scene, reference: Scene, coarse: Scene | None, card: ModelCard
) -> Area[Referred]:
    """What of a truth is covered, where its bands are the net's.

    Raises:
        SceneError: they are not.
        UsageError: the coarse image does not go with it.
    """
    for item in card.inputs:
        scene = truth if item.gsd == card.native_gsd else reference
        names = tuple(band.name for band in scene.bands)
        if names != item.bands and ANY not in item.bands:
            raise SceneError(
                f"{scene.path} has the bands {' '.join(names)}, '{card.name}' takes "
                f"{' '.join(item.bands)}. Give images of the same bands."
            )
    if coarse is None:
        return Area(Referred(pair.name, truth, reference), truth.grid.window)
    area = pairs.matched(pair, truth, [coarse], card)
    return Area(Referred(pair.name, truth, reference, coarse, area.item.corner), area.window)
