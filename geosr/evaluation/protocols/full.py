"""No truth: the output, degraded by the sensor's point spread, against the input.

And its local correlation with the native bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.evaluation.protocols.case import Case, Data, Rows, all_names, bound_card, low_of, scenes
from geosr.inference import selfcheck
from geosr.inference.engine import Engine
from geosr.inference.plan import Plan, make_plan
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.metrics import no_reference
from geosr.models.card import ANY, Model, ModelCard
from geosr.raster.files import open_raster, read_window
from geosr.raster.window import Window
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """One case a scene."""
    net = card
    for scene in scenes(data, card.scenes, failed):
        card = bound_card(net, scene)
        names = {name for item in card.inputs for name in item.bands} - {ANY}
        if not names <= {band.name for band in scene.bands}:
            continue
        group = f"full {card.native_gsd}" if card.task == "guided" else f"full x{card.scale}"
        bands = card.bands if card.task == "guided" else all_names(scene)
        low = partial(low_of, scene, bands)
        yield Case(scene.name, scene.path, scene.level, group, bands,
                   partial(_rows, scene, data), low)  # fmt: skip


def _rows(scene: Scene, data: Data, model: Model, engine: Engine) -> Iterator[Rows]:
    """Input and degraded output on the input's grid; the output is written and read back."""
    request = Request(tile_size=data.tile_size, fit=data.fit)
    plan = make_plan(scene, [model], request, engine)
    with TemporaryDirectory() as folder, scene.open() as reader:
        output = Path(folder) / "out.tif"
        superres(scene, output, [model], request=request, engine=engine)
        with open_raster(output, driver="GTiff") as dataset:
            for gsd, names in selfcheck.predicted_of(plan).items():
                agreement = _agreement(dataset, plan, reader, names)
                for window in selfcheck.windows(plan, gsd):
                    truth, low, mask = selfcheck.compare(dataset, plan, reader, names, window)
                    figures = _likeness(dataset, plan, names, window, mask) | agreement
                    yield Rows(truth, low, mask, figures)


def _agreement(
    dataset: Any, plan: Plan, reader: Reader, names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """opensr-test's figures without a truth, of the upper left corner; one weight for all."""
    gsd, factor = plan.scene.gsd(names[0]), plan.per_pixel(names[0])
    first = next(iter(selfcheck.windows(plan, gsd)))
    side = no_reference.SIDE // factor
    corner = Window(*first[:2], *(min(n, side) for n in first[2:]))
    truth, _, mask = selfcheck.compare(dataset, plan, reader, names, corner)
    indexes = [plan.names.index(name) + 1 for name in names]
    own = corner.at(factor).shift(*(-n * plan.finer for n in plan.window[:2]))
    output = reflectance(plan.scene, names, read_window(dataset, indexes, own))
    found = no_reference.opensr_or_none(truth, output, None, scale=factor, valid=bool(mask.all()))
    return {name: (value, 1.0) for name, value in found.items() if value is not None}


def _likeness(
    dataset: Any, plan: Plan, names: Sequence[str], window: Window, mask: NDArray[np.bool_]
) -> dict[str, tuple[float, float]]:
    """D_ρ of some rows of the output against its native bands; the weight is the valid pixels."""
    if not plan.native:
        return {}
    factor = plan.per_pixel(names[0])
    fine = window.at(factor)
    both = [plan.names.index(name) + 1 for name in (*names, *plan.native)]
    values = read_window(dataset, both, fine.shift(-plan.window.row, -plan.window.col))
    valid = mask.all(0).repeat(factor, 0).repeat(factor, 1)[None]
    image, guide = values[: len(names)].astype(np.float64), values[len(names) :].astype(np.float64)
    value = no_reference.d_rho(image, guide, mask=valid)["d_rho"]
    return {} if value is None else {"d_rho": (value, float(valid.sum()))}
