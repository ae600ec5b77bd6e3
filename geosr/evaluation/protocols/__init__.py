"""What an estimate is compared with: ways to find inputs and truth in data, one scene at a time.

wald      Sentinel-2 scenes, degraded by the net's factor; their own coarse bands are the truth
twin      Sentinel-2 scenes at true scale, with twins of 10 m bands in place of the coarse bands
folder    images, degraded by an operator; the images are the truth
series    the same, as several simulated frames
pairs     matching coarse and fine files; dual: two coarse ones each
revisits  real series with a truth of finer pixels (WorldStrat)
kelvins   imgsets of the Proba-V challenge, with its own rules
reference the same, and begun with the frame most like the truth beside it
references  coarse images and references, fine ones of another date or sensor
spectral  Sentinel-2 scenes on one grid, some bands given, all of them the truth
full      no truth: the output, degraded by the sensor's point spread, against the input, and its
          local correlation with the native bands

Each is a module whose `cases` finds every scene that a net can be scored on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from geosr.errors import UsageError
from geosr.evaluation.protocols import (
    folder,
    full,
    kelvins,
    pairs,
    reference,
    references,
    revisits,
    series,
    spectral,
    twin,
    wald,
)
from geosr.evaluation.protocols.case import Case, Data, Rows, whole
from geosr.models.card import ModelCard
from geosr.sensors import probav
from geosr.training.datasets import kind_of

__all__ = ["CHALLENGE", "PROTOCOLS", "Case", "Data", "Rows", "cases", "protocol_of", "whole"]

_Cases = Callable[[Data, ModelCard, dict[str, str]], Iterator[Case]]
_EVERY = ("guided", "sisr", "misr")
_SCORED: dict[str, tuple[_Cases, tuple[str, ...]]] = {
    "wald": (wald.cases, ("guided",)),
    "twin": (twin.cases, _EVERY),  # it says itself why not
    "folder": (folder.cases, ("sisr", "fits")),
    "series": (series.cases, ("sisr", "misr")),
    "pairs": (pairs.cases, ("sisr", "misr", "fits")),
    "dual": (partial(pairs.cases, dual=True), ("sisr", "misr")),
    "revisits": (revisits.cases, ("sisr", "misr")),
    "kelvins": (kelvins.cases, ("sisr", "misr")),
    "reference": (reference.cases, ("sisr", "misr")),
    "references": (references.cases, ("guided",)),
    "full": (full.cases, ("guided", "sisr", "fits")),
    "spectral": (spectral.cases, ("spectral",)),
}  # by what, and nets of which tasks
PROTOCOLS = tuple(_SCORED)
CHALLENGE = ("kelvins", reference.GROUP)  # those with the rules of the Proba-V challenge


def protocol_of(data: Data, task: str) -> str:
    """The protocol of a folder for nets of a task.

    Raises:
        UsageError: no such folder, or a protocol that the task cannot take.
    """
    if data.protocol:
        return data.protocol
    if data.psf or data.noise:
        return "folder"
    if probav.is_imgsets(data.path):
        return "kelvins"
    kind = kind_of(data.path, task)
    if kind == "npz":
        raise UsageError(f"{data.path}: arrays are for training. Give images to score on.")
    return kind


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """Every scene of the data that a net of that card can be scored on.

    Args:
        failed: gets the scenes that cannot be read, with the reason.
    """
    protocol = protocol_of(data, card.task)
    found, tasks = _SCORED[protocol]
    if card.task not in tasks or (protocol in CHALLENGE and card.scale != kelvins.SCALE):
        raise UsageError(
            f"'{card.name}' ({card.task}, scale {card.scale}) cannot be scored by '{protocol}' on "
            f"{data.path}. Choose other data, --protocol or net."
        )
    if card.factor != card.scale and protocol != "folder":
        raise UsageError(
            f"'{card.name}' at scale {card.factor:g}: '{protocol}' compares whole scales alone. "
            "Choose one, or score it on a folder of images (--protocol folder)."
        )
    yield from found(data, card, failed)
