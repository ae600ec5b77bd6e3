"""Scenes at true scale, with twins of the finest bands in place of the coarse bands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.evaluation.protocols.case import Case, Data, Rows, bound_card, scenes, whole
from geosr.inference.engine import Engine
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.statistics import learnt
from geosr.inference.strips import strips
from geosr.models.card import Model, ModelCard
from geosr.raster.window import Window
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.scene.twin import TwinReader, mixed, single

_CUBIC = 2  # coarse pixels that bicubic interpolation looks at beyond its own

Array = NDArray[np.float32]


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """Two cases a scene: twins of single finest bands, and of mixtures where there are several."""
    if card.task != "guided":
        raise UsageError(
            f"'{card.name}' takes no finer bands beside the ones it sharpens; twins are made of "
            "them. Score it by --protocol folder."
        )
    net = card
    for scene in scenes(data, card.scenes, failed):
        card = bound_card(net, scene)
        guides = tuple(band.name for band in scene.bands if band.gsd == card.output.gsd)
        if not guides:
            raise UsageError(f"{scene.path}: no finer bands to make twins of. Choose other scenes.")
        names = {name for item in card.inputs for name in item.bands}
        if not names <= {band.name for band in scene.bands}:
            continue
        kinds = (("single", single), ("mixed", mixed))
        for said, shares in kinds if len(guides) > 1 else kinds[:1]:  # of one, all alike
            scene.check_nested([card.output.gsd, card.native_gsd])
            drawn = partial(TwinReader, gsd=card.native_gsd, bands=card.bands, guides=guides,
                            shares=shares(card.bands, guides))  # fmt: skip
            yield Case(
                f"{scene.name} {said}", scene.path, scene.level, f"twin {card.native_gsd}",
                card.bands, partial(_rows, scene, drawn, data, card.bands),
                partial(_low, scene, drawn, card.bands),
            )  # fmt: skip


def _rows(
    scene: Scene, drawn: Callable[[Reader], TwinReader], data: Data, bands: Sequence[str],
    model: Model, engine: Engine,
) -> Iterator[Rows]:  # fmt: skip
    with scene.open() as source:
        reader = drawn(source)
        request = Request(only_sr=True, tile_size=data.tile_size, panels=False)
        plan = learnt(make_plan(scene, [model], request, engine), reader, request, engine)
        with closing(strips(reader, plan, engine)) as finished:
            for strip in finished:
                true = reader.truth(bands, strip.window)
                target, blurred = (
                    reflectance(scene, bands, values)
                    for values in (true.values, _bicubic(reader, bands, strip.window))
                )
                estimate = np.stack([strip.predicted[band] for band in bands])
                gain = gains(bands, estimate, target, blurred, true.usable)
                yield Rows(target, estimate, true.usable, by_band={"gain": gain})


def _low(scene: Scene, drawn: Callable[[Reader], TwinReader], bands: Sequence[str]) -> Array:
    with scene.open() as source:
        return whole(drawn(source), scene, bands)


def _bicubic(reader: TwinReader, names: Sequence[str], window: Window) -> Array:
    """The twins, interpolated, in a window of the 10 m grid of whole coarse pixels."""
    coarse = Window(*(n // reader.factor for n in window)).grow(_CUBIC)
    low = torch.from_numpy(reader.read(names, reader.gsd, coarse).values)[None]
    raised = F.interpolate(low, scale_factor=reader.factor, mode="bicubic")[0].numpy()
    pad = _CUBIC * reader.factor
    return np.asarray(raised[:, pad:-pad, pad:-pad])


def gains(
    names: Sequence[str], estimate: Array, truth: Array, blurred: Array, mask: NDArray[np.bool_]
) -> dict[str, tuple[float, float]]:
    """By band, how much of the detail that interpolation lacks an estimate has, with its weight.

    ⟨estimate − blurred, truth − blurred⟩ / ⟨truth − blurred, truth − blurred⟩: 1 is right, 0 is
    none of it, above 1 is over-sharpened.
    """
    found = {}
    for name, made, true, low, valid in zip(names, estimate, truth, blurred, mask, strict=True):
        lacking = (true - low)[valid].astype(np.float64)
        power = float(lacking @ lacking)
        if power:
            found[name] = (float((made - low)[valid].astype(np.float64) @ lacking) / power, power)
    return found
