"""Matching coarse and fine files; of dual ones two coarse files each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from geosr.evaluation.protocols.case import Case, Data, Rows, all_names, low_of, rows_of
from geosr.inference.engine import Engine
from geosr.models.card import Model, ModelCard
from geosr.scene.scene import Scene
from geosr.training.datasets import pairs
from geosr.training.datasets.revisits import joined


def cases(
    data: Data, card: ModelCard, failed: dict[str, str], *, dual: bool = False
) -> Iterator[Case]:
    """One case a fine file."""
    options = replace(data.options, kind="image")
    inside = (pairs.dual_folder(data.path, "test") or pairs.dual_folder(data.path)
              if dual else None)  # fmt: skip
    where = inside or data.path
    for area in pairs.areas(where, card, options, data.pattern, "test", fewer=True):
        item = area.item
        low = joined(item.coarse)
        names = all_names(item.fine)
        yield Case(
            item.name, item.fine.path, "", f"x{card.scale}", names,
            partial(_rows, low, item, data),
            partial(low_of, item.coarse[0], all_names(item.coarse[0])),
        )  # fmt: skip


def _rows(
    low: Scene, item: pairs.Matched, data: Data, model: Model, engine: Engine
) -> Iterator[Rows]:
    with low.open() as reader, item.fine.open() as truth:
        yield from rows_of(low, reader, item.fine, truth, data, model, engine, item.corner)
