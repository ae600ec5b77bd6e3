"""How fast this machine super-resolves: its ceilings, the reference way and geosr's.

The reference way is how DSen2 was published: fp32, tiles with a fixed border, one at a time, cut
from whole arrays in memory and put into whole arrays, which are written uncompressed. Both ways run
the same nets on the same device and make the same bands of the same scene.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from geosr.bench.agreement import Agreement, compare
from geosr.bench.landscape import GROUPS, SIZE, generate
from geosr.bench.limits import Ceilings, ceilings
from geosr.bench.machine import hardware, versions
from geosr.bench.meter import Meter
from geosr.bench.reference import ReferenceTiles, plain_copy, reference_predict, reference_superres
from geosr.bench.stages import by_stages
from geosr.errors import SceneError, UsageError
from geosr.inference.engine import Engine
from geosr.inference.plan import STRIP, Plan, make_plan
from geosr.inference.predict import free_memory, place, predict
from geosr.inference.request import Request
from geosr.inference.superres import superres
from geosr.models.card import ANY, Model, ModelCard
from geosr.raster.publish import not_written, require_space
from geosr.sensors import OpenOptions, open_scene

_OTHERS = {"fits": "learns on each scene", "spectral": "tells new bands", "pair": "takes a guide",
           "series": "takes several"}  # fmt: skip  # what is not timed, by task or scenes
_KINDS = ("sentinel2", "image")  # of scenes that are generated
_BY_STAGES = "geosr by stages"  # beside "geosr" and "reference"
_Shapes = tuple[tuple[int, tuple[int, ...]], ...]  # of a tile's inputs by GSD


@dataclass(frozen=True)
class Way:
    """One way to the output.

    Attributes:
        seconds: end to end, the lower median of `runs`.
        mpixel_per_s: 10⁶ pixels of the output grid a second.
        timed_seconds: end to end of the run whose stages are told.
        stages: its seconds by stage; "net" holds the copies to and from the device, "write" all
            from counts to the finished file, "wait" what the net waited for the others. They add
            up to more than the whole where stages run side by side.
        net_flop: of all tiles, margins included; a multiply-add counts as two.
        ceiling: the precision of the matrix product with which `share` compares.
        share: of that ceiling which the net stage reached.
        peak_rss_mb: the most memory of the process until the end of the first run; geosr's runs
            come first.
        peak_device_mb: the most that PyTorch had in use on the GPU; None on a CPU.
        tiles: passes of one tile through a net.
        taken: tile size, batch and precision, and why.
    """

    seconds: float
    runs: tuple[float, ...]
    mpixel_per_s: float
    timed_seconds: float
    stages: Mapping[str, float]
    net_flop: int
    net_tflop_per_s: float
    ceiling: str
    share: float
    peak_rss_mb: float
    peak_device_mb: float | None
    tiles: int
    taken: str


@dataclass(frozen=True)
class Report:
    """All that was measured.

    Attributes:
        shape: (height, width) of the output.
        ratio: seconds of the reference way by those of geosr, end to end.
        net_ratio: the same of the net stage.
    """

    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    scene: str
    shape: tuple[int, int]
    bands: tuple[str, ...]
    models: tuple[str, ...]
    repeat: int
    ceilings: Ceilings
    reference: Way
    geosr: Way
    ratio: float
    net_ratio: float
    agreement: Agreement


@dataclass(frozen=True)
class _Run:
    seconds: float
    meter: Meter
    peak_rss_mb: float
    peak_device_mb: float | None


def bench(
    nets: Sequence[Model],
    engine: Engine,
    *,
    folder: Path,
    path: Path | None = None,
    size: int = SIZE,
    repeat: int = 1,
    progress: Callable[[str], None] = lambda _: None,
    on_plan: Callable[[Plan], None] = lambda _: None,
) -> Report:
    """Run both ways in turn, `repeat` times, then measure the ceilings.

    Args:
        nets: moved to the engine's device, as `superres` wants them.
        folder: there; a folder in it holds all files, and is removed.
        path: the scene; None generates one of `size` × `size` pixels, rounded to whole 60 m.
        progress: called with what is done next.
        on_plan: called with the plan that was run.

    Raises:
        UsageError: multi-image nets, or a scene that the reference way cannot read.
        SceneError: the scene is broken, or lacks the bands.
        StoppedError: `folder` cannot be written, or has not the space.
    """
    require_one_image([net.card for net in nets])
    with _inside(folder) as work:
        source = path or generate(work / "generated", size, _bands(nets[0].card))
        scene = open_scene(source, _options(nets))
        plan = make_plan(scene, nets, Request(), engine)
        _require_native(plan)
        require_space(work / "geosr.tif", 2 * len(plan.names) * scene.dtype.itemsize * _size(plan))
        apart = {net.card.name: plain_copy(net, engine.device) for net in nets}
        job = _Job(plan, [place(net, engine) for net in nets], apart, engine, work)
        progress("one tile of each kind, to warm up")
        _warm_up(job)
        runs = _runs(job, repeat, progress)
        on_plan(plan)
        agreement = compare(plan, job.theirs, job.ours)
        progress("ceilings")
        free_memory(engine)
        limits = ceilings(engine.device, work)
    way = _way(job, runs["geosr"], runs[_BY_STAGES], limits, _precision(job), _taken(job))
    was = _way(job, runs["reference"], runs["reference"], limits, "fp32", _reference_taken(plan))
    return Report(
        versions(), hardware(engine.device), str(path or "generated"), plan.grid.shape, plan.names,
        tuple(net.card.name for net in plan.models), repeat, limits, was, way,
        was.seconds / way.seconds, was.stages["net"] / way.stages["net"], agreement,
    )  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """What is run: geosr's nets and, by name, copies for the reference way."""

    plan: Plan
    nets: Sequence[Model]
    apart: Mapping[str, Model]
    engine: Engine
    folder: Path

    @property
    def ours(self) -> Path:
        return self.folder / "geosr.tif"

    @property
    def theirs(self) -> Path:
        return self.folder / "reference.tif"


def _runs(job: _Job, repeat: int, progress: Callable[[str], None]) -> dict[str, list[_Run]]:
    """Every way in turn; geosr's first, so that the other's arrays are not in its peak."""
    ways: dict[str, Callable[[Meter], None]] = {
        "geosr": lambda _: _superres(job),
        "reference": lambda meter: reference_superres(
            job.plan, job.theirs, job.apart, job.engine.device, meter
        ),
        _BY_STAGES: lambda meter: by_stages(lambda: _superres(job), meter),
    }
    runs: dict[str, list[_Run]] = {name: [] for name in ways}
    for i in range(repeat):
        for name, work in ways.items():
            progress(f"{name}, {i + 1} of {repeat}")
            runs[name].append(_run(work, job.engine.device))
            if name == _BY_STAGES and not runs[name][0].meter.tiles:
                raise SceneError(f"{job.plan.scene.path}: holds no pixels. Choose another --scene.")
    return runs


def require_one_image(cards: Sequence[ModelCard]) -> None:
    """Refuse nets that take several images.

    Raises:
        UsageError: names the first of them.
    """
    others = [card for card in cards if card.scenes not in _KINDS or card.task in _OTHERS]
    if others:
        why = _OTHERS.get(others[0].task, _OTHERS.get(others[0].scenes))
        raise UsageError(
            f"bench takes nets for one image, '{others[0].name}' {why}. Give another --model."
        )


def _options(nets: Sequence[Model]) -> OpenOptions:
    card = nets[0].card
    return OpenOptions(kind=card.scenes, quantification=card.quantification or None)


def _bands(card: ModelCard) -> Mapping[int, tuple[str, ...]]:
    """Bands of a generated scene for a net, by GSD."""
    if card.task == "guided":
        return GROUPS
    return {10: ("1",) if card.bands == (ANY,) else card.bands}


def _require_native(plan: Plan) -> None:
    names = [name for names in plan.reads.values() for name in names]
    for band in plan.scene.select(names=names):
        if band.factor > 1 or band.layer or band.warp:
            raise UsageError(
                f"{plan.scene.path}: the reference way reads bands on their own grid, and "
                f"{band.name} is kept otherwise. "
                "Give a SAFE product, or a folder of 10m.tif, 20m.tif, 60m.tif."
            )


def _size(plan: Plan) -> int:
    return plan.grid.height * plan.grid.width


@contextmanager
def _inside(folder: Path) -> Iterator[Path]:
    try:
        temporary = TemporaryDirectory(prefix=".geosr-bench-", dir=folder)
    except OSError as error:
        raise not_written(folder / "bench", error) from error
    with temporary as name:
        yield Path(name)


def _run(work: Callable[[Meter], None], device: str) -> _Run:
    gpu = torch.device(device).type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    meter = Meter()
    work(meter)
    seconds = meter.book()
    held = torch.cuda.max_memory_allocated(device) / 1e6 if gpu else None
    unit = 1 if sys.platform == "darwin" else 1024
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return _Run(seconds, meter, rss, held)


def _median(runs: Sequence[_Run]) -> _Run:
    return sorted(runs, key=lambda run: run.seconds)[(len(runs) - 1) // 2]


def _way(
    job: _Job,
    runs: Sequence[_Run],
    timed: Sequence[_Run],
    limits: Ceilings,
    precision: str,
    taken: str,
) -> Way:
    run, told = _median(runs), _median(timed)
    tiles = told.meter.tiles
    flop = sum(flops(job.apart[name], shapes) * n for (name, shapes), n in tiles.items())
    rate = flop / told.meter.seconds["net"] / 1e12
    ceiling = _ceiling(precision, limits)
    return Way(
        run.seconds, tuple(each.seconds for each in runs), _size(job.plan) / 1e6 / run.seconds,
        told.seconds, told.meter.seconds, flop, rate, ceiling, rate / limits.tflop_per_s[ceiling],
        runs[0].peak_rss_mb, runs[0].peak_device_mb, sum(tiles.values()), taken,
    )  # fmt: skip


def _ceiling(precision: str, limits: Ceilings) -> str:
    """The precision in which a GPU really convolves: PyTorch lets cuDNN take TF32 for fp32."""
    cudnn: Any = torch.backends.cudnn
    rounded = "tf32" in limits.tflop_per_s and cudnn.conv.fp32_precision == "tf32"
    return "tf32" if precision == "fp32" and rounded else precision


def flops(model: Model, shapes: _Shapes) -> int:
    """FLOP of one tile by PyTorch's counter, where a multiply-add is two; nothing is computed.

    Args:
        shapes: (GSD, (bands, rows, cols)) of each input.
    """
    device = next((p.device for p in model.net.parameters()), torch.device("cpu"))
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.no_grad(),
        FlopCounterMode(display=False) as counter,
    ):
        model({gsd: torch.empty(1, *shape, device=device) for gsd, shape in shapes})
    return int(counter.get_total_flops())


def _superres(job: _Job) -> None:
    """The real line, from opening the scene to the published file."""
    scene = open_scene(job.plan.scene.path, _options(job.nets))
    superres(scene, job.ours, job.nets, engine=job.engine)


def _taken(job: _Job) -> str:
    plan, engine = job.plan, job.engine
    height, width = plan.tile_shape
    blends = any(net.model.card.blend for net in plan.nets)
    why = "to blend" if blends else "the margin: they join exactly"
    return (
        f"tiles of {height} × {width} px, {_sized(plan, engine)}, and "
        f"{plan.pad * plan.zoom} around them ({why}); batches of {engine.batch_size}; "
        f"{_precision(job)}, {'as asked' if engine.asked else 'as auto takes here'}"
    )


def _precision(job: _Job) -> str:
    """The precision of the nets; bench runs nets of one kind."""
    return job.engine.precision_of(job.nets[0])


def _sized(plan: Plan, engine: Engine) -> str:
    if any(net.model.card.blend for net in plan.nets):
        return "a fixed size spread evenly"
    tensors, strip = f"{engine.memory / 2**20:.0f} MiB", f"{STRIP / 1e6:g} Mpixel"
    return f"what {tensors} and strips of {strip} hold, spread evenly"


def _warm_up(job: _Job) -> None:
    """A small tile through every net, so that no run pays for what happens once."""
    by_name = {net.card.name: net for net in job.nets}
    for name, net in {bound.model.card.name: bound for bound in job.plan.nets}.items():
        card = net.model.card
        sides = {
            key: ReferenceTiles.of(card).step * card.native_gsd // key for key, _, _ in net.inputs
        }
        tile = {
            key: np.zeros((len(names), sides[key], sides[key]), np.float32)
            for key, _, names in net.inputs
        }
        reference_predict(job.apart[name], tile, job.engine.device)
        list(predict(by_name[name], [tile] * job.engine.batch_size, job.engine))


def _reference_taken(plan: Plan) -> str:
    nets = {net.model.card.name: net.model.card for net in plan.nets}.values()
    each = dict.fromkeys(_reference_tile(card) for card in nets)
    return f"{' and '.join(each)}; one at a time; fp32; default layout: as DSen2 was published"


def _reference_tile(card: ModelCard) -> str:
    tiles, k = ReferenceTiles.of(card), card.scale if card.task == "guided" else 1
    return f"tiles of {tiles.size * k} px, border {tiles.border * k} of them ({card.name})"
