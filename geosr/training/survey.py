"""What a folder would be read as for training: samples, values, masks, and a picture of pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, UsageError
from geosr.models import registry
from geosr.models.card import PLACES, ModelCard
from geosr.models.nets.guided.anypair import is_template
from geosr.raster import marks, picture
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets import (
    Choice,
    Sample,
    Sets,
    card_of,
    change,
    continuous,
    kind_of,
    open_sets,
    pairs,
    references,
    wald,
)
from geosr.training.datasets.layouts import layout_of

_LOOKED_AT = 96  # windows
_SHOWN = 4
_BINS = 16


@dataclass
class Values:
    """Running figures of one band; 1.0 is what the rule of the data says."""

    pixels: int = 0
    valid: int = 0
    total: float = 0.0
    squares: float = 0.0
    least: float = np.inf
    most: float = -np.inf
    seen: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, values: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
        """More pixels of the band, reflectance × 10000."""
        good = (values[mask] / 10000).astype(np.float64)
        self.pixels += mask.size
        self.valid += good.size
        self.total += float(good.sum())
        self.squares += float((good**2).sum())
        if good.size:
            self.least = min(self.least, float(good.min()))
            self.most = max(self.most, float(good.max()))
            self.seen.append(good[:: max(good.size // 256, 1)].astype(np.float32))

    def figures(self) -> dict[str, Any]:
        """Ready for JSON; the histogram has equal bins from the least to the most value."""
        if not self.valid:
            return {"valid_share": 0.0}
        mean = self.total / self.valid
        variance = max(self.squares / self.valid - mean**2, 0.0)
        counts, _ = np.histogram(np.concatenate(self.seen), _BINS, (self.least, self.most))
        return {
            "valid_share": self.valid / self.pixels,
            "min": self.least,
            "max": self.most,
            "mean": mean,
            "std": variance**0.5,
            "histogram": (counts / counts.sum()).round(4).tolist(),
        }


def survey(data: Path, choice: Choice, card: ModelCard | None = None) -> dict[str, Any]:
    """Facts of a folder as plain values.

    Args:
        card: of the net that would learn from it; None takes one that fits the folder.

    Raises:
        UsageError: nothing there can be learnt from.
    """
    card = _bound(card or fitting(data, choice), data, choice)
    sets = open_sets(data, card, choice)
    values: dict[str, Values] = {}
    for spot, windows in _spots(sets, _LOOKED_AT):
        sample = windows.at(spot)
        names = card.bands if len(card.bands) > 1 else (str(spot.band + 1),)
        for i, name in enumerate(names):
            values.setdefault(name, Values()).add(sample.target[i], sample.mask[i])
    sets.close()
    areas = [*sets.training.areas, *sets.held.areas]
    layout = layout_of(data)
    return {
        "path": str(data),
        "data_set": layout.name if layout else None,
        "licence": layout.licence if layout else None,
        "kind": sets.kind,
        "read_for": card.name,
        "scale": card.scale,
        "images": len({area.item.name for area in areas}),
        "held_out": len({area.item.name for area in sets.held.areas}),
        "patch": sets.training.patch,
        "windows": len(sets.training),
        "inputs": _shapes(sets),
        "bands": {name: values[name].figures() for name in sorted(values, key=_order)},
    }


def preview(
    data: Path, choice: Choice, path: Path, card: ModelCard | None = None, *,
    overwrite: bool = False,
) -> None:  # fmt: skip
    """A picture of pairs, LR | HR, some below each other."""
    card = _bound(card or fitting(data, choice), data, choice)
    sets = open_sets(data, card, choice)
    rows = [_pair(sets.training.at(spot), card) for spot in sets.training.spots(_SHOWN)]
    sets.close()
    picture.write_png(path, picture.sheet(rows), marks.PAIRS, overwrite=overwrite)


def _bound(card: ModelCard, data: Path, choice: Choice) -> ModelCard:
    """The card; of a net for any pair that for the bands and the factor of a folder's."""
    if not is_template(card) or card.learns:
        return card
    return card_of(data, card, choice.options, choice.pattern, None)


def fitting(data: Path, choice: Choice) -> ModelCard:
    """The card of a net that can learn from a folder, by what lies there.

    Raises:
        UsageError: no such folder.
    """
    if choice.kind in (None, "references") and references.references(data):
        return registry.design("rrsgan").card()
    kind = choice.kind or kind_of(data, "sisr")
    if kind in ("folder", "wald") and _holds_scenes(data, choice):
        return registry.design("dsen2-20").card()
    layout = layout_of(data)
    if layout is not None:
        return registry.design("edsr-baseline").card(scale=layout.scale)
    if kind == "dual":
        inside = pairs.dual_folder(data)
        return registry.design("dual-edsr").card(scale=_ratio(inside or data, choice))
    if kind in ("pairs", "npz"):
        return registry.design("edsr-baseline").card(scale=_ratio(data, choice))
    return registry.design("edsr-baseline").card()


def _holds_scenes(data: Path, choice: Choice) -> bool:
    """Whether there is a scene that a guided net can learn from."""
    try:
        return bool(wald.areas(data, registry.design("dsen2-20").card(), choice.options,
                               choice.pattern))  # fmt: skip
    except GeosrError:
        return False


def _ratio(data: Path, choice: Choice) -> int:
    """How many fine pixels lie along a coarse one in the first pair."""
    found = pairs.folders(data)
    if found is None:
        return 4  # of arrays (`hr_lr_images.npz`)
    options = replace(choice.options, kind="image")
    return pairs.factor(*(_first(folder, options) for folder in found))


def _first(folder: Path, options: OpenOptions) -> Any:
    paths = find_scenes(folder, kind="image")
    if not paths:
        raise UsageError(f"{folder} holds no image. Check the path.")
    return open_scene(paths[0], options)


def _spots(sets: Sets, count: int) -> list[tuple[Any, Any]]:
    """Windows of both sets, in proportion."""
    images = len(sets.training.areas) + len(sets.held.areas)
    held = max(round(count * len(sets.held.areas) / images), 1)
    training = [(spot, sets.training) for spot in sets.training.spots(max(count - held, 1))]
    return [*training, *((spot, sets.held) for spot in sets.held.spots(held))][:count]


def _shapes(sets: Sets) -> Mapping[str, list[int]]:
    sample = sets.training.at(sets.training.spots(1)[0])
    shapes = {gsd: list(values.shape) for gsd, values in sample.inputs.items() if gsd != PLACES}
    return {str(gsd): shape for gsd, shape in shapes.items()}


def _order(name: str) -> tuple[int, str]:
    digits = "".join(c for c in name if c.isdigit())
    return int(digits or 0), name


def _pair(sample: Sample, card: ModelCard) -> NDArray[np.uint8]:
    low = sample.inputs[card.native_gsd]
    if card.task == "misr":
        low = low[0, :-1]
    truth, mask = sample.target, sample.mask
    if card.task == "change":
        return change.picture_of(low, truth)
    if card.task == "spectral":
        truth, mask = truth[[-1, -4, 4]], mask[[-1, -4, 4]]
    ends = picture.limits(truth, mask)
    if PLACES in sample.inputs:
        low = continuous.under(low, sample.inputs[PLACES])
    else:
        low = picture.enlarge(low, card.scale)
    parts = (low, truth)
    return picture.strip([picture.visible(part, *ends) for part in parts])
