"""Coarse images with a fine image of another date or sensor beside each; fine ones are the truth.

Without coarse images the truths are degraded, by the scale of the trained nets among those scored,
else by four.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.protocols.case import (
    Case,
    Data,
    Rows,
    all_names,
    bound_card,
    compared,
    low_of,
    whole,
)  # fmt: skip
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.statistics import learnt
from geosr.inference.strips import strips
from geosr.models.card import Model, ModelCard
from geosr.models.nets.guided.anypair import is_template
from geosr.scene.degraded import WaldReader
from geosr.scene.pixels import Reader
from geosr.scene.scene import Scene
from geosr.training.datasets import references
from geosr.training.datasets.references import Referred, ReferredReader


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case a truth with its reference."""
    options, known = replace(data.options, kind="image"), card
    if is_template(card):
        known = references.card_of(data.path, card, options, data.pattern, data.scale or None)
    for area in references.areas(data.path, known, options, data.pattern):
        item, scale = area.item, known.scale
        bound_card(card, _scene(item, scale))  # says what it cannot take
        yield Case(
            item.name, item.fine.path, "", f"x{scale}", all_names(item.fine),
            partial(_rows, item, data, scale), partial(_low, item, data, scale),
            scale,
        )  # fmt: skip


def _scene(item: Referred, scale: int) -> Scene:
    """The coarse image and its reference as one scene."""
    low = item.coarse or item.fine
    grid = low.grid if item.coarse else low.grid.coarser(scale)
    gain = low.quantification / item.fine.quantification
    beside = [replace(band, gain=band.gain * gain) for band in item.reference.bands]
    fine = grid.finer(scale)
    return replace(
        low, sensor="pair", bands=(*beside, *(replace(band, gsd=scale) for band in low.bands)),
        grids={1: fine, scale: grid}, window=fine.window,
    )  # fmt: skip


def _low_reader(item: Referred, data: Data, scale: int, truth: Reader, stack: ExitStack) -> Reader:
    if item.coarse is not None:
        return stack.enter_context(item.coarse.open())
    return WaldReader(truth, scale, (item.fine.finest,), data.operator or "bicubic")


def _rows(item: Referred, data: Data, scale: int, model: Model, engine: Engine) -> Iterator[Rows]:
    scene = _scene(item, scale)
    with ExitStack() as stack:
        truth = stack.enter_context(item.fine.open())
        low = _low_reader(item, data, scale, truth, stack)
        beside = stack.enter_context(references.registered(item, scale).open())
        reader = ReferredReader(low, beside, scale, item.corner)
        request = Request(only_sr=True, tile_size=data.tile_size, fit=data.fit, refine=data.refine,
                          panels=False)  # fmt: skip
        plan = learnt(make_plan(scene, [model], request, engine), reader, request, engine)
        with closing(strips(reader, plan, engine)) as finished:
            for strip in finished:
                window = strip.window.shift(*item.corner)
                made = np.stack([strip.predicted[band] for band in plan.names])
                yield compared(item.fine, truth, window, made)


def _low(item: Referred, data: Data, scale: int) -> NDArray[np.float32]:
    if item.coarse is not None:
        return low_of(item.coarse, all_names(item.coarse))
    with item.fine.open() as truth:
        reader = WaldReader(truth, scale, (item.fine.finest,), data.operator or "bicubic")
        return whole(reader, item.fine, all_names(item.fine))
