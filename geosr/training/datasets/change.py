"""Two dates of one place and a map of what changed between them, in three folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.raster import picture
from geosr.raster.window import Window
from geosr.scene.fill import fill
from geosr.scene.radiometry import NET_QUANTIFICATION, reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.windows import Area, Spot, Windows

_FOLDERS = (("a", "time1", "before"), ("b", "time2", "after"), ("label", "labels", "gt"))
_FILL_REACH = 8


@dataclass(frozen=True)
class Dates:
    """Both images and the map, on one grid."""

    name: str
    scenes: tuple[Scene, Scene]
    label: Scene


class ChangeWindows(Windows[Dates]):
    """Windows of two dates; what changed counts as 1.0."""

    kind = "change"

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """Both dates, (2 · bands, rows, cols), and where something changed."""
        item = self.areas[spot.area].item
        parts = [self._read(scene, spot.window) for scene in item.scenes]
        names = [band.name for band in item.label.bands]
        label = self._reader(item.label).read(names, item.label.finest, spot.window)
        mask = np.logical_and.reduce([usable for _, usable in parts])[None] & label.mask[:1]
        target = np.where(label.values[:1] > 0, np.float32(NET_QUANTIFICATION), np.float32(0))
        return Sample({1: np.concatenate([values for values, _ in parts])}, target * mask, mask)

    def _read(
        self, scene: Scene, window: Window
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
        names = [band.name for band in scene.bands]
        pixels = self._reader(scene).read(names, scene.finest, window)
        filled = fill(pixels.values, pixels.usable, _FILL_REACH)
        return reflectance(scene, names, filled), np.asarray(pixels.usable.all(0))

    def _gains(self, rng: np.random.Generator) -> dict[str, float]:
        """One gain for each date: brightness is no change."""
        gains = super()._gains(rng)
        return {**gains, **dict.fromkeys(self.card.bands, 1.0)}


def folders(data: Path) -> tuple[Path, Path, Path] | None:
    """The folders of both dates and of the maps in `data`, by their names; None without them."""
    children = {p.name.lower(): p for p in data.iterdir() if p.is_dir()} if data.is_dir() else {}
    found = [next((children[n] for n in names if n in children), None) for names in _FOLDERS]
    first, second, label = found
    return (first, second, label) if first and second and label else None


def areas(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None = None
) -> list[Area[Dates]]:
    """Every pair of images with its map, matched by name.

    Raises:
        UsageError: no three folders, an image without its like, or other sizes or bands.
    """
    found = folders(data)
    if found is None:
        raise UsageError(
            f"{data} has no folders A, B and label (or time1, time2, label) of two dates and what "
            "changed. Name them so."
        )
    by_stem = [{p.stem: p for p in find_scenes(folder, kind="image")} for folder in found]
    made = []
    for path in find_scenes(found[0], pattern=pattern, kind="image"):
        missing = [
            f.name for f, stems in zip(found, by_stem, strict=True) if path.stem not in stems
        ]
        if missing:
            raise UsageError(f"{path} has none of its name in {', '.join(missing)}. Add it.")
        first, second, label = (open_scene(stems[path.stem], options) for stems in by_stem)
        made.append(Area(Dates(path.stem, (first, second), label), first.grid.window))
        _check(first, second, label, card)
    if not made:
        raise UsageError(f"{found[0]} holds no image. Give pairs of images with their maps.")
    return made


def _check(first: Scene, second: Scene, label: Scene, card: ModelCard) -> None:
    """Whether all have the first one's size, and both dates the net's bands.

    Raises:
        UsageError: they have not.
    """
    for other in (second, label):
        if other.grid.shape != first.grid.shape:
            raise UsageError(
                f"{other.path} ({other.grid}) is not of the size of {first.path} ({first.grid}). "
                "Bring the coarser date to the finer grid: geosr superres."
            )
    for scene in (first, second):
        if 2 * len(scene.bands) != len(card.inputs[0].bands):
            raise UsageError(
                f"{scene.path} has {len(scene.bands)} bands, '{card.name}' takes "
                f"{len(card.inputs[0].bands) // 2}. Say --bands {len(scene.bands)}."
            )


def picture_of(dates: NDArray[np.float32], *maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Before | after | maps, of one window as a net gets it, (2 · bands, rows, cols)."""
    shown = [date[[0]] for date in np.split(dates, 2)]
    ends = picture.limits(shown[0])
    dates_shown = [picture.visible(date, *ends) for date in shown]
    return picture.strip([*dates_shown, *(picture.visible(m, 0, NET_QUANTIFICATION) for m in maps)])
