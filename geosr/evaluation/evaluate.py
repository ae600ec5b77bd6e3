"""Score nets, interpolation beside them: per scene and band, and compared in pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, UsageError
from geosr.evaluation.figures import Asked, Values, by_rules, challenge, figures
from geosr.evaluation.protocols import CHALLENGE, Case, Data, Rows, cases, protocol_of
from geosr.inference.engine import Engine
from geosr.metrics import kelvins
from geosr.metrics.full_reference import PEAK, Peak
from geosr.metrics.lpips import Lpips
from geosr.models import weights
from geosr.models.card import Model
from geosr.models.nets.guided.anypair import is_template
from geosr.raster import markup
from geosr.sensors import probav

_RESAMPLES = 10000


@dataclass(frozen=True)
class SceneScore:
    """One net on one scene.

    Attributes:
        model: the name it was asked by, a pair or a net.
        group: scores of one group may be averaged: "20" and "60" (metres), "x4", "kelvins".
        bands: metric to band to value; None where it is not defined.
        whole: metric to value of the scene; of metrics by band their mean.
        adversarial: as on the net's card.
    """

    model: str
    net: str
    scene: str
    path: str
    level: str
    group: str
    factor: float
    bands: Mapping[str, Values]
    whole: Values
    adversarial: bool = False


@dataclass(frozen=True)
class Paired:
    """Two models on the same scenes of a group.

    Attributes:
        wins: share of scenes on which the first is strictly better.
        difference: mean of first − second; `low` and `high` bound 95 % of its bootstrap.
    """

    group: str
    metric: str
    first: str
    second: str
    scenes: int
    wins: float
    difference: float
    low: float
    high: float


class Watcher(Protocol):
    """Looks on while scenes are scored."""

    def begin(self, case: Case, name: str, net: Model) -> None:
        """A net starts on a scene."""
        ...

    def rows(self, rows: Rows) -> None:
        """Its next rows, top to bottom."""
        ...

    def end(self) -> None:
        """It is through with the scene."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """All scores, and the scenes that could not be scored with the reason."""

    protocol: str
    scores: tuple[SceneScore, ...]
    failed: Mapping[str, str] = field(default_factory=dict)

    def _repr_html_(self) -> str:
        """Means over scenes, a table a group, as a notebook shows it."""
        return "".join(self._table(group) for group in self.groups)

    def _table(self, group: str) -> str:
        """A row a model: what each metric is on average, and RMSE as a share of bicubic's."""
        at = [score for score in self.scores if score.group == group]
        keys = list(dict.fromkeys(key for score in at for key in score.whole))
        rows = []
        for model in dict.fromkeys(score.model for score in at):
            values = [self.mean(model, group, key) for key in keys]
            values.append(self.ratio(model, group, "bicubic"))
            rows.append([model, *("–" if v is None else f"{v:.4g}" for v in values)])
        title = f"{group} m bands" if group.isdigit() else group
        title += f": means over {self.scenes(group)} scenes ({self.protocol})"
        return markup.table(title, rows, head=["model", *keys, "ratio"])  # fmt: skip

    @property
    def groups(self) -> list[str]:
        """Groups, in the order they came."""
        return list(dict.fromkeys(score.group for score in self.scores))

    @property
    def models(self) -> list[str]:
        """Models, in the order they came."""
        return list(dict.fromkeys(score.model for score in self.scores))

    def scenes(self, group: str, model: str | None = None) -> int:
        """How many scenes of a group have scores; equal names in two folders are two scenes."""
        return len({(score.scene, score.path) for score in self.scores
                    if score.group == group and model in (None, score.model)})  # fmt: skip

    def values(self, model: str, group: str, metric: str, band: str | None = None) -> list[float]:
        """A metric of every scene where it is a finite number."""
        found = [
            score.bands.get(metric, {}).get(band) if band else score.whole.get(metric)
            for score in self.scores
            if score.model == model and score.group == group
        ]
        return [value for value in found if value is not None and math.isfinite(value)]

    def mean(self, model: str, group: str, metric: str, band: str | None = None) -> float | None:
        """Mean over scenes of a metric, of one band or of the scene."""
        known = self.values(model, group, metric, band)
        return sum(known) / len(known) if known else None

    def spread(self, model: str, group: str, metric: str) -> float | None:
        """Standard deviation over scenes."""
        known = self.values(model, group, metric)
        return float(np.std(known, ddof=1)) if len(known) > 1 else None

    def ratio(self, model: str, group: str, base: str) -> float | None:
        """Mean RMSE over scenes as a share of another model's."""
        ours, theirs = self.mean(model, group, "rmse"), self.mean(base, group, "rmse")
        return ours / theirs if ours is not None and theirs else None

    def paired(self, first: str, second: str, *, seed: int = 0) -> list[Paired]:
        """Two models compared scene by scene: by RMSE, on a Kelvins set by cPSNR."""
        found = []
        for group in self.groups:
            metric, sign = ("cpsnr", -1) if group in CHALLENGE else ("rmse", 1)
            pairs = self._matched(first, second, group, metric)
            if not len(pairs):
                continue
            difference = pairs[:, 0] - pairs[:, 1]
            rng = np.random.default_rng(seed)
            drawn = rng.integers(0, len(difference), (_RESAMPLES, len(difference)))
            low, high = np.percentile(difference[drawn].mean(1), (2.5, 97.5))
            found.append(Paired(
                group, metric, first, second, len(difference),
                float((sign * difference < 0).mean()), float(difference.mean()), float(low),
                float(high),
            ))  # fmt: skip
        return found

    def _matched(self, first: str, second: str, group: str, metric: str) -> NDArray[np.float64]:
        """(scenes, 2): the metric of both where both are numbers."""
        by_scene: dict[tuple[str, str], dict[str, float]] = {}
        for score in self.scores:
            value = score.whole.get(metric)
            if score.group == group and value is not None and math.isfinite(value):
                by_scene.setdefault((score.scene, score.path), {})[score.model] = value
        rows = [[v[first], v[second]] for v in by_scene.values() if first in v and second in v]
        return np.array(rows).reshape(-1, 2)


def bicubic_beside(
    models: Mapping[str, Sequence[Model]], scale: float | None = None
) -> dict[str, list[Model]]:
    """The nets to score, and bicubic at every scale among them, last.

    Args:
        scale: of bicubic where there are no other nets.
    """
    found = {name: list(nets) for name, nets in models.items() if name != "bicubic"}
    nets = [net for parts in found.values() for net in parts]
    if nets and all(net.card.task == "spectral" for net in nets):
        return found  # nothing to interpolate
    generic = sorted(
        {net.card.factor for net in nets if net.card.task not in ("guided", "spectral")}
    )
    if not nets and scale:
        generic = [scale]
    if nets and all(net.card.scenes == "pair" for net in nets):
        found["bicubic"] = list(weights.load("bicubic-pair"))
    elif generic:
        found["bicubic"] = [weights.load("bicubic", scale=each)[0] for each in generic]
    else:
        own = {net.card.native_gsd for net in nets}
        names = ["bicubic-10"] * (10 in own) + ["bicubic"] * (own != {10})
        found["bicubic"] = [net for name in names for net in weights.load(name)]
    return found


def evaluate(
    data: Data,
    models: Mapping[str, Sequence[Model]],
    *,
    engine: Engine = Engine(),  # noqa: B008 - frozen
    extra: bool = False,
    peak: Peak = PEAK,
    perceptual: Lpips | None = None,
    watchers: Sequence[Watcher] = (),
    progress: Callable[[str, str], None] = lambda *_: None,
) -> Evaluation:
    """Run every net on every scene that it fits, and compare with the truth.

    Args:
        models: nets by the name to report them under; add bicubic yourself.
        extra: the slower metrics too (MS-SSIM, Q2n).
        peak: of PSNR and SSIM, as `Scores` takes it.
        perceptual: what tells LPIPS.
        watchers: are shown the rows of every scene and net, for pictures and reports.
        progress: called with scene and net before each is run.

    Raises:
        UsageError: no scene fits any net, or nets need different protocols; a peak that is
            neither positive nor "max"; LPIPS where there is no truth, or on a Kelvins set.
    """
    nets = [(name, net) for name, parts in models.items() for net in parts]
    asked = Asked(extra, peak, perceptual)
    protocol = _protocol(data, [net for _, net in nets])
    scales = [n.card.scale for _, n in nets if n.card.task == "guided" and not is_template(n.card)]
    data = replace(data, protocol=protocol, scale=data.scale or max(scales, default=0))
    if protocol == "full" and watchers:
        raise UsageError(
            "without a truth there is nothing to show beside the output here. "
            "Leave pictures out, or draw outputs: geosr superres --report."
        )
    if watchers and any(net.card.factor != net.card.scale for _, net in nets):
        raise UsageError(
            "pictures and reports show scales of whole numbers alone. Leave --report and "
            "--save-images out, or choose such a --scale."
        )
    asked.check(protocol)
    scores: list[SceneScore] = []
    failed: dict[str, str] = {}
    for name, net in nets:
        for case in cases(data, net.card, failed):
            progress(case.name, net.card.name)
            try:
                scores.append(_score(case, name, net, engine, asked, watchers))
            except GeosrError as error:
                failed[case.name] = str(error)
    if protocol in CHALLENGE:
        scores += _organisers(data, failed)
    if not scores:
        none = f"{data.path} holds nothing for '{protocol}' with the bands of any of the models"
        reason = next(iter(failed.values()), f"{none}. Check --data, or choose another --protocol.")
        raise UsageError(f"nothing was scored: {reason}")
    scores.sort(key=lambda score: score.group)
    return Evaluation(protocol, tuple(scores), failed)


def _protocol(data: Data, nets: Sequence[Model]) -> str:
    tasks = {net.card.task for net in nets}
    if "misr" in tasks:  # nets for one image get the first frame
        tasks.discard("sisr")
    found = {protocol_of(data, task) for task in tasks}
    if len(found) > 1:
        raise UsageError(
            f"these models are scored in different ways ({', '.join(sorted(found))}). "
            "Say --protocol, or score them apart."
        )
    return found.pop()


def _score(
    case: Case, name: str, net: Model, engine: Engine, asked: Asked, watchers: Sequence[Watcher]
) -> SceneScore:
    for watcher in watchers:
        watcher.begin(case, name, net)
    scale = case.scale or net.card.factor
    with closing(_watched(case.run(net, engine), watchers)) as rows:
        if case.group in CHALLENGE:
            bands, whole = challenge(rows, case)
        else:
            bands, whole = figures(rows, case, scale, asked)
    for watcher in watchers:
        watcher.end()
    return SceneScore(
        name, net.card.name, case.name, case.path, case.level, case.group, scale, bands, whole,
        net.card.adversarial,
    )  # fmt: skip


def _watched(rows: Iterator[Rows], watchers: Sequence[Watcher]) -> Generator[Rows, None, None]:
    for part in rows:
        for watcher in watchers:
            watcher.rows(part)
        yield part


def _organisers(data: Data, failed: dict[str, str]) -> list[SceneScore]:
    """The challenge's baseline on every imgset, not rounded, as norm.csv has it."""
    found = []
    for path in probav.find_imgsets(data.path, data.pattern):
        try:
            imgset = probav.read_imgset(path)
            if imgset.truth is None or imgset.clear is None:
                continue
            image = kelvins.baseline(imgset.frames, imgset.masks)
            whole = by_rules(image, imgset.truth / 65535, imgset.clear, str(path))
        except GeosrError as error:
            failed[path.name] = str(error)
            continue
        found.append(SceneScore(
            "kelvins-baseline", "kelvins-baseline", path.name, str(path), path.parent.name,
            "kelvins", 3, {}, whole,
        ))  # fmt: skip
    return found
