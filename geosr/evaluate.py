"""Score nets by Wald's protocol, bicubic beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from geosr.datasets.wald import WaldReader
from geosr.errors import GeosrError, UsageError
from geosr.metrics import Scores
from geosr.models import Model
from geosr.plan import Request, make_plan
from geosr.predict import Engine
from geosr.radiometry import reflectance
from geosr.scene import Scene
from geosr.strips import strips


@dataclass(frozen=True)
class SceneScore:
    """One net on one scene at one GSD.

    Attributes:
        model: the name it was asked by, a pair or a net.
        gsd: of the bands scored; they were degraded by gsd / 10.
        bands: metric to band to value; None where no pixel is valid.
        mean: metric to its mean over bands; SAM is of all bands together.
    """

    model: str
    net: str
    scene: str
    level: str
    gsd: int
    bands: Mapping[str, Mapping[str, float | None]]
    mean: Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """All scores, and the scenes that could not be scored with the reason."""

    protocol: str
    scores: tuple[SceneScore, ...]
    failed: Mapping[str, str]

    def mean(self, model: str, gsd: int, metric: str, band: str | None = None) -> float | None:
        """Mean over scenes of a metric, of one band or of the mean over bands."""
        values = [
            score.bands[metric][band] if band else score.mean[metric]
            for score in self.scores
            if score.model == model and score.gsd == gsd
        ]
        return _mean(values)


def evaluate(
    scenes: Sequence[Scene],
    models: Mapping[str, Sequence[Model]],
    *,
    engine: Engine = Engine(),  # noqa: B008 - frozen
    tile_size: int | None = None,
    progress: Callable[[str, str], None] = lambda *_: None,
) -> Evaluation:
    """Degrade every scene by the factor of each net, run it, compare with the untouched bands.

    Args:
        models: nets by the name to report them under; add bicubic yourself.
        progress: called with scene and net before each is run.

    Raises:
        UsageError: no scene has the bands of any net.
    """
    scores: list[SceneScore] = []
    failed: dict[str, str] = {}
    for scene in scenes:
        for name, nets in models.items():
            for net in nets:
                if not _has_bands(scene, net):
                    continue
                progress(scene.name, net.card.name)
                try:
                    scores.append(_score(scene, name, net, engine, tile_size))
                except GeosrError as error:
                    failed[scene.name] = str(error)
    if not scores:
        reason = next(iter(failed.values()), "no scene has the bands of any of the models")
        raise UsageError(f"nothing was scored: {reason}")
    return Evaluation("wald", tuple(scores), failed)


def _has_bands(scene: Scene, net: Model) -> bool:
    """Scenes that lack a net's bands are left out of its scores."""
    present = {band.name for band in scene.bands}
    wanted = {name for item in net.card.inputs for name in item.bands}
    return wanted <= present


def _score(
    scene: Scene, name: str, net: Model, engine: Engine, tile_size: int | None
) -> SceneScore:
    card = net.card
    scene.check_nested([item.gsd for item in card.inputs])
    scores = Scores(card.bands)
    with scene.open() as source:
        gsds = tuple({10, *(item.gsd for item in card.inputs)})
        reader = WaldReader(source, card.scale, gsds)
        degraded = replace(scene, grids=reader.grids, window=reader.grids[10].window)
        plan = make_plan(degraded, [net], Request(only_sr=True, tile_size=tile_size))
        for strip in strips(reader, plan, engine):
            truth = source.read(card.bands, card.native_gsd, strip.window)
            target = reflectance(scene, card.bands, truth.values)
            estimate = np.stack([strip.made[band] for band in card.bands])
            scores.add(target, estimate, truth.usable)
    by_band = {"rmse": scores.rmse, "sre": scores.sre, "uiq": scores.uiq}
    mean = {metric: _mean(list(values.values())) for metric, values in by_band.items()}
    return SceneScore(
        name, card.name, scene.name, scene.level, card.native_gsd, by_band,
        {**mean, "sam": scores.sam},
    )  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None
