"""Ways of making training pairs: one module each, and how to tell which one a folder is for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.sensors import OpenOptions, probav
from geosr.training.datasets import (
    change,
    continuous,
    folder,
    kelvins,
    leftout,
    pairs,
    places,
    references,
    revisits,
    series,
    spectral,
    unpaired,
    wald,
)
from geosr.training.datasets.batches import Batch, Sample, stack
from geosr.training.datasets.layouts import layout_of
from geosr.training.datasets.windows import (
    Area,
    Split,
    Spot,
    Windows,
    split,
)

__all__ = [
    "KINDS", "Batch", "Choice", "Sample", "Sets", "Spot", "Windows", "card_of", "kind_of",
    "open_sets", "stack",
]  # fmt: skip

_CHECKED = 192  # pixels of truth along a held-out window, where the images have them
_NOT_MIXED = "--degradation mixed is for Sentinel-2 scenes. Say blur-noise for images."
KINDS = ("wald", "folder", "pairs", "npz", "dual", "series", "kelvins", "revisits",
         "spectral", leftout.KIND, "change", "references")  # fmt: skip


@dataclass(frozen=True)
class Sets:
    """What to learn from and what to check on; no pixel is in both."""

    kind: str
    training: Windows[Any]
    held: Windows[Any]

    def close(self) -> None:
        """Close all images."""
        self.training.close()
        self.held.close()


@dataclass(frozen=True)
class Choice:
    """What a user may say of the data.

    Attributes:
        kind: one of KINDS; None tells by looking.
        pattern: names of the files that count.
        operator: one of `degrade.OPERATORS`; None is what the kind is used to.
        share: of the images to hold out.
        fine: fine images that show other ground than those of `data`, for unpaired training.
    """

    kind: str | None = None
    pattern: str | None = None
    operator: str | None = None
    share: float = 0.1
    patch: int = 48
    seed: int = 0
    jitter: float = 0.0
    options: OpenOptions = OpenOptions()  # noqa: RUF009 - frozen
    fine: Path | None = None


def kind_of(data: Path, task: str) -> str:
    """Which way of making pairs a folder is for, by the net's task and by what lies there.

    Raises:
        UsageError: no such folder.
    """
    if not data.exists():
        raise UsageError(f"{data}: no such file or folder. Check --data.")
    if task == "guided":
        return "references" if references.references(data) else "wald"
    if task in ("spectral", "change"):
        return task
    if probav.is_imgsets(data):
        return "kelvins"
    layout = layout_of(data)
    if layout is not None:
        return "series" if layout.kind == "folder" and task == "misr" else layout.kind
    if pairs.dual_folder(data) or pairs.dual_folder(data, "test"):
        return "dual"
    if pairs.npz_files(data):
        return "npz"
    if pairs.folders(data):
        return "pairs"
    return "series" if task == "misr" else "folder"


def card_of(
    data: Path, card: ModelCard, options: OpenOptions, pattern: str | None, scale: float | None
) -> ModelCard:
    """A card for any pair with the bands and the factor of some data.

    Args:
        scale: by which truths are to be degraded, where the data leaves that open.

    Raises:
        UsageError: nothing there opens, or its factor is its own.
    """
    if kind_of(data, card.task) == "references":
        images = replace(options, kind="image")
        return references.card_of(data, card, images, pattern, scale)
    return wald.card_of(data, card, options, pattern)


def open_sets(data: Path, card: ModelCard, choice: Choice) -> Sets:
    """Training and held-out windows of `data` for a net.

    Raises:
        UsageError: nothing there fits the net.
    """
    if card.learns:
        raise UsageError(
            f"'{card.name}' learns on each scene itself and cannot be trained before. "
            f"Run it: geosr superres SCENE OUT --model {card.name}"
        )
    if choice.fine is not None:
        return _unpaired(data, choice.fine, card, choice)
    kind = choice.kind or kind_of(data, card.task)
    _check(kind, card)
    images = replace(choice.options, kind="image")
    place: Callable[[str], str] = places.of_image
    found: Sequence[Area[Any]]
    make: Callable[..., Any]
    if kind == "wald":
        found = wald.areas(data, card, choice.options, choice.pattern)
        place = places.of_scene
        make = partial(wald.WaldWindows, operator=choice.operator or "sensor")
    elif kind == "spectral":
        found = spectral.areas(data, card, choice.options, choice.pattern)
        place, make = places.of_scene, spectral.SpectralWindows
    elif kind == "change":
        found = change.areas(data, card, images, choice.pattern)
        make = change.ChangeWindows
    elif kind == "references":
        found = references.areas(data, card, images, choice.pattern)
        make = partial(references.ReferenceWindows, operator=choice.operator or "bicubic")
    elif kind == "npz":
        found, unit = pairs.array_areas(data, card)
        make = partial(pairs.ArrayWindows, data=data, unit=unit)
    elif kind in ("pairs", "dual"):
        inside = pairs.dual_folder(data) if kind == "dual" else None
        found = pairs.areas(inside or data, card, images, choice.pattern)
        make = pairs.PairsWindows
    elif kind == "revisits":
        found = revisits.areas(data, card, images, choice.pattern)
        make = revisits.RevisitWindows
    elif kind == "kelvins":
        found = kelvins.areas(data, card, choice.options, choice.pattern)
        make = kelvins.KelvinsWindows
    elif kind == leftout.KIND:
        found = leftout.areas(data, card, choice.options, choice.pattern)
        make = leftout.LeftOutWindows
    elif choice.operator == wald.MIXED:
        raise UsageError(_NOT_MIXED)
    else:
        found = folder.areas(data, card, images, choice.pattern)
        make = series.SeriesWindows
        if kind == "folder":
            kept = continuous.ContinuousWindows if card.continuous else folder.FolderWindows
            make = partial(kept, operator=choice.operator or "bicubic")
    layout = layout_of(data)
    if layout is not None and kind in (layout.kind, "series"):
        place = layout.place
    parts: Split[Any] = split(found, choice.share, place, patch=choice.patch, scale=card.scale)
    more: dict[str, Any] = {"small": True} if kind == "wald" else {}
    more |= {"sampled": True} if card.continuous else {}
    training = make(
        parts.training, card, choice.patch, seed=choice.seed, jitter=choice.jitter, **more
    )
    held = make(parts.held, card, _checked(parts.held, choice.patch), seed=choice.seed)
    return Sets(kind, training, held)


def _unpaired(data: Path, fine: Path, card: ModelCard, choice: Choice) -> Sets:
    """Coarse windows of `data`, fine ones of `fine`; held out are fine ones, degraded."""
    if choice.kind is not None:
        raise UsageError(f"--unpaired reads images, not '{choice.kind}'. Leave --data-kind out.")
    continuous.check(card, unpaired.UnpairedWindows.kind)
    if choice.operator == wald.MIXED:
        raise UsageError(_NOT_MIXED)
    images = replace(choice.options, kind="image")
    coarse, found = unpaired.areas(data, fine, card, images, choice.pattern, choice.patch)
    parts = split(found, choice.share, places.of_image, patch=choice.patch, scale=card.scale)
    training = unpaired.UnpairedWindows(
        parts.training, card, choice.patch, seed=choice.seed, jitter=choice.jitter,
        coarse=unpaired.without(coarse, parts.held, places.of_image),
    )  # fmt: skip
    held = folder.FolderWindows(
        parts.held, card, _checked(parts.held, choice.patch), seed=choice.seed,
        operator=choice.operator or unpaired.OPERATOR,
    )  # fmt: skip
    return Sets(unpaired.UnpairedWindows.kind, training, held)


def _checked(areas: Sequence[Area[Any]], patch: int) -> int:
    """Side of a held-out window: larger than one to learn from, or as large as there is any."""
    sides = [min(area.window[2:]) for area in areas]
    fitting = [side for side in sides if side >= patch]
    return min([_CHECKED, *fitting]) if fitting else max(sides)


def _check(kind: str, card: ModelCard) -> None:
    """Whether a net can learn from pairs of that kind."""
    if kind not in KINDS:
        raise UsageError(f"unknown kind of data '{kind}' (known: {', '.join(KINDS)}).")
    fits = {
        "guided": ("wald", "references"),
        "sisr": ("folder", "pairs", "npz", "dual", "series", "kelvins", "revisits"),
        "spectral": ("spectral",),
        "change": ("change",),
        "misr": ("series", "pairs", "dual", "kelvins", "revisits", leftout.KIND),
    }[card.task]
    if kind not in fits:
        raise UsageError(
            f"'{card.name}' ({card.task}) learns from {', '.join(fits)}, not from '{kind}'. "
            "Choose another --data-kind or net."
        )
    if card.shifts and kind in ("pairs", "dual"):
        raise UsageError(
            f"'{card.name}' is to be told where each image looks, and '{kind}' do not say it. "
            "Train it on images or real series, or choose another net (highres-net, rams)."
        )
    continuous.check(card, kind)
