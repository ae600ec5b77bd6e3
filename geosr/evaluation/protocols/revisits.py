"""Real series with a truth of finer pixels; frames are chosen and registered as for any run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from geosr.evaluation.protocols.case import Case, Data, Rows, all_names, low_of, rows_of
from geosr.inference.engine import Engine
from geosr.models.card import Model, ModelCard
from geosr.training.datasets import revisits


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case a place; a net for one image gets its clearest."""
    options = replace(data.options, kind="image")
    for area in revisits.areas(data.path, card, options, data.pattern, "test"):
        place = area.item
        assert place.fine is not None
        names = all_names(place.fine)
        yield Case(
            place.name, str(place.path), "", f"x{card.scale}", names,
            partial(_rows, place, data), partial(low_of, place.scene, names),
        )  # fmt: skip


def _rows(place: revisits.Place, data: Data, model: Model, engine: Engine) -> Iterator[Rows]:
    assert place.fine is not None
    with place.scene.open() as reader, place.fine.open() as truth:
        yield from rows_of(place.scene, reader, place.fine, truth, data, model, engine, (0, 0),
                           prepared=True)  # fmt: skip
