"""Super-resolve one scene: scene → bands by GSD → tiles → model → blend → write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr import __version__, selfcheck
from geosr.models import Model
from geosr.plan import Plan, Request, make_plan
from geosr.predict import Engine
from geosr.radiometry import to_counts
from geosr.raster import Layout, create
from geosr.scene import SATURATED, Band, Reader, Scene
from geosr.selfcheck import Check
from geosr.strips import Strip, strips


@dataclass(frozen=True)
class Result:
    """What was written, and which numbers were touched on the way.

    Attributes:
        clipped: super-resolved values outside the output type's range.
        filled: input pixels without a usable number, filled for the nets.
        shifted: valid values moved by one count because they equalled nodata.
        valid_share: share of super-resolved pixels that hold a value.
        check: how the output, degraded again, compares with the input; None where not asked.
    """

    output: Path
    tiles: int
    seconds: float
    clipped: int = 0
    filled: int = 0
    shifted: int = 0
    valid_share: float = 1.0
    check: Check | None = None


def superres(
    scene: Scene,
    path: Path,
    models: Sequence[Model],
    *,
    request: Request = Request(),  # noqa: B008 - frozen
    engine: Engine = Engine(),  # noqa: B008 - frozen
    progress: Callable[[int], None] = lambda _: None,
    before_publish: Callable[[Path], None] = lambda _: None,
    check: bool = False,
    check_limit: float | None = None,
) -> Result:
    """Write `scene` at its finest GSD to `path`, whole or not at all.

    Args:
        models: nets by the bands they make; those whose bands the scene lacks are left out.
        progress: called with the number of tiles finished since the last call.
        before_publish: called with the whole temporary file; what it raises keeps `path` as it is.
        check: degrade the output to the input's resolution and compare.
        check_limit: largest RMSE of that in counts of 10000 to 1.0; more fails the scene.

    Raises:
        SceneError: a needed band is missing or broken, or the grids do not nest.
        StoppedError: the output cannot be written.
    """
    started = time.monotonic()
    plan = make_plan(scene, models, request)
    counts = _Counts()
    with scene.open() as reader:
        masked = _mask_gsd(reader, plan)
        layout = _layout(plan, request, masked=masked is not None)
        checked: list[Check] = []

        def before(part: Path) -> None:
            if check or check_limit is not None:
                checked.append(selfcheck.check(part, plan, reader))
                selfcheck.require(checked[0], check_limit, scene.path)
            before_publish(part)

        with create(path, layout, before) as output:
            for strip in strips(reader, plan, engine, progress=progress):
                counts.filled += strip.filled
                rows = _finish(strip, plan, layout, counts)
                output.write(rows, None if masked is None else _mask(strip, plan, masked))
    share = counts.valid / counts.pixels if counts.pixels else 1.0
    return Result(path, len(plan.tiles) * len(plan.nets), time.monotonic() - started,
                  counts.clipped, counts.filled, counts.shifted, share,
                  checked[0] if checked else None)  # fmt: skip


def _layout(plan: Plan, request: Request, *, masked: bool) -> Layout:
    scene = plan.scene
    nodata: float | None = scene.select(names=plan.names[:1])[0].nodata
    if nodata is not None and math.isnan(nodata) and scene.dtype.kind != "f":
        nodata = None  # every count of an integer type may be sensed
    cards = [model.card for model in plan.models]
    offsets = sorted({band.offset for band in scene.bands})
    tags = {
        "GEOSR_MODEL": " ".join(card.name for card in cards) or "none",
        "GEOSR_WEIGHTS_SHA256": " ".join(card.sha256 or "none" for card in cards) or "none",
        "GEOSR_VERSION": __version__,
        "GEOSR_SOURCE": scene.name,
        "GEOSR_DN_OFFSET": " ".join(f"{offset:g}" for offset in offsets),
        "PROCESSING_LEVEL": scene.level or "unknown",
    }
    return Layout(plan.grid, plan.names, scene.dtype, nodata, masked, request.format,
                  request.options, tags)  # fmt: skip


# finishing


@dataclass
class _Counts:
    clipped: int = 0
    filled: int = 0
    shifted: int = 0
    valid: int = 0
    pixels: int = 0


def _finish(strip: Strip, plan: Plan, layout: Layout, counts: _Counts) -> NDArray[Any]:
    """The strip's rows in the output's type, cut to the output's window."""
    scene, window = plan.scene, strip.window.intersect(plan.window).at(plan.finer)
    at = window.within(strip.window.at(plan.finer))
    rows = np.empty((len(plan.names), window.height, window.width), layout.dtype)
    for i, name in enumerate(plan.names):
        gsd = scene.gsd(name)
        pixels = strip.read[gsd]
        index = plan.reads[gsd].index(name)
        if name not in strip.made:
            rows[i] = pixels.values[index][at]
            continue
        k = plan.per_pixel(name)
        sensed = _repeat(pixels.sensed[index], k)[at]
        band = scene.select(names=[name])[0]
        values, clipped, shifted = to_counts(
            strip.made[name][at], scene, band, layout.dtype, sensed
        )
        if pixels.saturated[index].any():
            values[_repeat(pixels.saturated[index], k)[at] & sensed] = SATURATED
        rows[i] = np.where(sensed, values, _nothing(band, layout.dtype))
        counts.clipped += clipped
        counts.shifted += shifted
        counts.valid += int(sensed.sum())
        counts.pixels += sensed.size
    return rows


def _nothing(band: Band, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The value of pixels that nobody sensed: nodata, or 0 where the mask alone tells."""
    value = 0.0 if dtype.kind != "f" and math.isnan(band.nodata) else band.nodata
    return np.asarray(value).astype(dtype)


def _repeat(array: NDArray[Any], k: int) -> NDArray[Any]:
    return array if k == 1 else array.repeat(k, 0).repeat(k, 1)


def _mask_gsd(reader: Reader, plan: Plan) -> int | None:
    """The finest GSD whose files have a mask of their own: it becomes the output's."""
    masked = (gsd for gsd, names in plan.reads.items() if reader.has_mask(names, gsd))
    return next(masked, None)


def _mask(strip: Strip, plan: Plan, gsd: int) -> NDArray[np.bool_]:
    """The input's mask on the output's grid."""
    at = strip.window.intersect(plan.window).at(plan.finer).within(strip.window.at(plan.finer))
    mask = np.asarray(strip.read[gsd].mask.all(0))
    return _repeat(mask, gsd // plan.scene.finest * plan.finer)[at]
