"""What super-resolving a scene will take: by its plan's arithmetic and by earlier runs' speed.

Nothing here needs PyTorch where the nets are known by their files.
"""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from geosr.errors import GeosrError
from geosr.inference.binding import Bound
from geosr.inference.engine import Engine
from geosr.inference.plan import Plan
from geosr.models import weights
from geosr.models.card import PAIRS, Model
from geosr.models.cost import Cost, Outline, measured
from geosr.raster.publish import write_bytes

log = logging.getLogger("geosr")

_SHORTEST = 0.5  # seconds; a shorter run tells how long starting takes, not how fast nets are
_MOST = 32  # runs that are kept
_PROCESS = 400 * 2**20  # bytes of Python, PyTorch and GDAL before any pixel is read


@dataclass(frozen=True)
class Work:
    """What nets compute of one scene or several.

    Attributes:
        nets: names.
        pixels: of the output grid, margins included.
        flop: of all passes; 0 where a net does not say.
    """

    nets: tuple[str, ...]
    pixels: float
    flop: float


@dataclass(frozen=True)
class Run:
    """How long some work took on a machine, from opening the scenes to finished files."""

    host: str
    device: str
    precision: str
    nets: tuple[str, ...]
    pixels: float
    flop: float
    seconds: float


@dataclass(frozen=True)
class Sizes(Engine):
    """An engine that lays tiles by what files say of their nets."""

    def area(self, model: Model) -> int:
        """How many pixels of a net's coarsest input a tile may have, margin included."""
        return int(self.memory / self.batch_size / max(known_cost(model).bytes, 1))


def nets(names: Sequence[str]) -> list[Model]:
    """The nets that names stand for, by their files alone where those tell enough.

    Raises:
        UsageError: no such net.
        WeightsError: its weights are missing or damaged.
    """
    return [net for name in names for net in _outlines(name) or weights.load(name)]


def _outlines(name: str) -> list[Model]:
    """Bundled nets by their manifest entries; nothing where one is to be built to be known."""
    found: list[Model] = []
    for part in PAIRS.get(name, (name,)):
        entry = weights.manifest().get(part)
        cost = Cost.of(entry)
        if entry is None or cost is None or "scale" in entry:
            return []
        path = weights.folder() / weights.file_name(entry)
        if not path.is_file() or weights.digest(path) != entry["sha256"]:
            return []  # loading it says what is wrong
        card = replace(weights.card_of(path), file=str(path), sha256=entry["sha256"])
        found.append(Outline(card, int(entry["parameters"]), cost))
    return found


def known_cost(model: Model) -> Cost:
    """The cost of a net's pass: from its file's entry, else counted."""
    return _listed(model) or measured(model)


def _listed(model: Model) -> Cost | None:
    """The cost of a net that the manifest lists; None where these are other weights."""
    if isinstance(model, Outline):
        return model.cost
    other = not model.card.sha256 or model.card.continuous  # of any scale, what one costs
    entry = None if other else weights.entry(model.card)
    return Cost.of(entry) if entry and entry["sha256"] == model.card.sha256 else None


def work(plan: Plan, *, counted: bool = False) -> Work:
    """What a plan computes.

    Args:
        counted: the arithmetic of nets that are not listed is counted, which takes PyTorch.
    """
    names = tuple(model.card.name for model in plan.models)
    tiles = plan.tile_shapes.items()
    around = 2 * plan.pad * plan.zoom
    pixels = sum(count * math.prod(n + around for n in shape) for shape, count in tiles)
    costs = [known_cost(net.model) if counted else _listed(net.model) for net in plan.nets]
    flops = [
        cost.flop * sum(count * _area(plan, net, shape) for shape, count in tiles) if cost else 0.0
        for net, cost in zip(plan.nets, costs, strict=True)
    ]
    return Work(names, pixels, sum(flops) if all(flops) else 0.0)


def _area(plan: Plan, net: Bound, shape: tuple[int, int]) -> float:
    """Pixels of a net's coarsest input in a tile of so many output pixels, its margin included."""
    zoom = plan.finer * net.coarsest / plan.scene.finest  # output pixels along one
    return math.prod((n + 2 * net.pad * plan.zoom) / zoom for n in shape)


def memory(plan: Plan) -> int:
    """Bytes of memory at most, roughly: a tile's tensors and two rows of tiles."""
    high, wide = plan.tile_shape[0], max(panel.window.width for panel in plan.tiles.panels)
    strip = high * wide * plan.zoom * (len(plan.names) + 12) * 4
    passes = [known_cost(net.model).bytes * _area(plan, net, plan.tile_shape) for net in plan.nets]
    return int(_PROCESS + 2 * strip + max(passes, default=0))


def seconds(planned: Work, runs: Sequence[Run]) -> tuple[float, Run] | None:
    """How long the work will take, and the earlier run on this machine that tells so.

    The newest run of the same nets tells best; else the newest of others, by their arithmetic.
    """
    here = [run for run in runs if run.host == platform.node()]
    same = [run for run in here if run.nets == planned.nets]
    if same:
        return planned.pixels / same[-1].pixels * same[-1].seconds, same[-1]
    others = [run for run in here if run.flop]
    if others and planned.flop:
        return planned.flop / others[-1].flop * others[-1].seconds, others[-1]
    return None


class Meter:
    """Adds up the work of a run's scenes, which threads may report."""

    def __init__(self) -> None:
        self._works: list[Work] = []
        self._model: Model | None = None

    def add(self, plan: Plan) -> None:
        """Note that a scene was done as planned."""
        with suppress(GeosrError):  # a damaged manifest
            self._works.append(work(plan))
            self._model = next(iter(plan.models), None)

    def save(self, path: Path, engine: Engine, seconds: float) -> None:
        """Keep how long all of it took, for `geosr info`; what goes wrong costs nothing.

        Runs of less than half a second, and of no nets, tell nothing and are not kept.
        """
        try:
            if seconds >= _SHORTEST and self._model:
                _keep(path, self._run(engine.device, engine.precision_of(self._model), seconds))
        except (GeosrError, OSError, ValueError) as error:
            log.debug("speed not kept in %s: %s", path, error)

    def _run(self, device: str, precision: str, seconds: float) -> Run:
        flops = [each.flop for each in self._works]
        return Run(
            platform.node(), device, precision, self._works[-1].nets,
            sum(each.pixels for each in self._works), sum(flops) if all(flops) else 0.0, seconds,
        )  # fmt: skip


def read_runs(path: Path | None) -> list[Run]:
    """The runs kept in a file, newest last; none where there is no such file or it is damaged."""
    try:
        rows = json.loads(path.read_text())["runs"] if path else []
        return [_run_of(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _run_of(row: dict[str, Any]) -> Run:
    run = Run(**{**row, "nets": tuple(row["nets"])})
    if not (run.pixels > 0 and run.seconds > 0 and run.flop >= 0):
        raise ValueError("no such run")
    return run


def _keep(path: Path, run: Run) -> None:
    """Write the run behind the others, in place of an older one of its kind."""

    def kind(each: Run) -> tuple[Any, ...]:
        return each.host, each.device, each.precision, each.nets

    others = [each for each in read_runs(path) if kind(each) != kind(run)]
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(each) for each in [*others, run][-_MOST:]]
    write_bytes(path, json.dumps({"format": 1, "runs": rows}, indent=1).encode())
