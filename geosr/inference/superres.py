"""Super-resolve one scene: scene → bands by GSD → tiles → model → blend → write."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr import __version__
from geosr.errors import EmptyError, SceneError
from geosr.inference import selfcheck
from geosr.inference.consistency import Change
from geosr.inference.engine import Engine
from geosr.inference.fit import fitted
from geosr.inference.plan import Plan, make_plan
from geosr.inference.prefetch import write_behind
from geosr.inference.request import Request
from geosr.inference.selfcheck import Check
from geosr.inference.statistics import learnt
from geosr.inference.strips import Strip, strips
from geosr.models.card import BEYOND, ESTIMATED_BANDS, ESTIMATES, Model
from geosr.raster.writer import Layout, create
from geosr.scene.acquisition import Acquisition
from geosr.scene.band import Band
from geosr.scene.frames import SelectedFrame, select_frames
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import to_counts
from geosr.scene.scene import SATURATED, Scene
from geosr.scene.spectrum import Spectrum, spectrum
from geosr.sensors.sentinel2 import ASSUMED, NO_OFFSET

log = logging.getLogger("geosr")
_MANY = 0.01  # of the predicted values; that many clipped ones are worth a warning


@dataclass(frozen=True)
class Result:
    """What was written, and which numbers were touched on the way.

    Attributes:
        clipped: super-resolved values outside the output type's range.
        filled: input pixels without a usable number, filled for the nets.
        shifted: valid values moved by one count because they equalled nodata.
        valid_share: share of super-resolved pixels that hold a value.
        check: how the output, degraded again, compares with the input; None where not asked.
        frames: of several images of the place those that were used.
        changed: by band, what making it consistent changed.
        fit: how a net learned on the scene, where one did.
    """

    output: Path
    tiles: int
    seconds: float
    clipped: int = 0
    filled: int = 0
    shifted: int = 0
    valid_share: float = 1.0
    check: Check | None = None
    frames: tuple[SelectedFrame, ...] = ()
    changed: Mapping[str, Change] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)


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
        SceneError: a needed band is missing or broken, the grids do not nest, a net that is to
            learn on the scene finds too little, or nothing was sensed in a window of a video.
        EmptyError: nothing of it was sensed, and the request leaves such scenes out.
        StoppedError: the output cannot be written.
    """
    started = time.monotonic()
    plan = make_plan(scene, models, request, engine)
    counts, changed = Counts(), dict[str, Change]()
    with scene.open(plan.overlap) as reader:
        plan = with_frames(fitted(plan, reader, request.fit, engine), reader, request)
        plan = learnt(plan, reader, request, engine)
        masked = None if request.format == "PNG" else _mask_gsd(reader, plan)
        layout = _layout(plan, request, masked=masked is not None)
        checked: list[Check] = []

        def before(part: Path) -> None:
            if check or check_limit is not None:
                checked.append(selfcheck.check(part, plan, reader))
                selfcheck.require(checked[0], check_limit, scene.path)
            before_publish(part)

        with create(path, layout, before, tmp_dir=request.tmp_dir) as output:

            def write(strip: Strip) -> None:
                rows = output_rows(strip, plan, layout.dtype, counts)
                mask = None if masked is None else _mask(strip, plan, masked)
                output.write(rows, mask, col=plan.made(strip.window).col)

            # bands by GSD, tiles, model, blend: `strips` does them for a row of tiles at a time
            finished = strips(reader, plan, engine, progress=progress)
            with write_behind(write) as hand_on, closing(finished):
                for strip in finished:
                    counts.filled += strip.filled
                    for name, by in strip.changed.items():
                        changed.setdefault(name, Change()).add(by)
                    hand_on(strip)
                    del strip  # it is large, and the next one is waited for
            if request.skip_empty and not counts.share:
                raise EmptyError(f"{scene.path}: nothing of it was sensed, so nothing is written")
            if scene.video and not counts.share:
                raise SceneError(
                    f"{scene.path}: nothing of it, nor of the {scene.frames - 1} frames around "
                    "it, was sensed. Leave such frames out by --pattern, or pass --skip-empty."
                )
    warn_of(scene, counts)
    return Result(path, len(plan.tiles) * len(plan.nets), time.monotonic() - started,
                  counts.clipped, counts.filled, counts.shifted, counts.share,
                  checked[0] if checked else None,
                  plan.selection.frames if scene.frames > 1 else (), changed,
                  plan.fit)  # fmt: skip


def warn_of(scene: Scene, counts: Counts) -> None:
    """Say what a user would want to know of the output's numbers."""
    share = counts.share
    if not share:
        log.warning("%s: 0 %% valid: nothing of it was sensed", scene.path)
    elif scene.frames > 1 and share < 1:
        log.warning("%s: %.1f %% is clear in no image: left empty", scene.path, 100 * (1 - share))
    if counts.clipped > _MANY * counts.valid:
        part = 100 * counts.clipped / max(counts.valid, 1)
        log.warning("%s: %.1f %% of predicted values were out of range: clipped", scene.path, part)


def with_frames(plan: Plan, reader: Reader, request: Request) -> Plan:
    """The plan with frames selected and registered, where there are several."""
    if plan.scene.frames == 1 or not any(net.model.card.task == "misr" for net in plan.nets):
        return plan
    names = plan.scene.order({name for net in plan.nets for name in net.bands})
    selection = select_frames(reader, plan.scene, names, plan.nets[0].model.card, request.frames)
    for frame in selection:
        if frame.note:
            log.warning("%s, frame %d: %s", plan.scene.path, frame.index, frame.note)
    return replace(plan, selection=selection)


def _layout(plan: Plan, request: Request, *, masked: bool) -> Layout:
    scene = plan.scene
    nodata: float | None = _nodata(plan)
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
    if NO_OFFSET[1] in scene.notes:
        tags |= ASSUMED
    if plan.fit:
        tags["GEOSR_FIT"] = "; ".join(
            f"{name} {plan.fit[name]}" for name in ("kernel", "seed", "steps")
        )
    notes = [ESTIMATES] if any(card.adversarial for card in cards) else []
    notes += [f"{' '.join(plan.stands_for)}: {ESTIMATED_BANDS}"] if plan.stands_for else []
    notes += [BEYOND] if plan.finer > 1 and scene.sensor == "sentinel2" else []
    if notes:
        tags["GEOSR_NOTE"] = "; ".join(notes)
    spectra = [_spectrum(name, plan) for name in plan.names]
    imagery = _imagery(scene.acquisition)  # GDAL's COG driver drops the domain: said in both
    return Layout(
        plan.grid, plan.names, scene.dtype, nodata, masked, request.format, request.options,
        {**scene.acquisition.tags, **imagery, **tags}, _scales(plan),
        tuple(each.colour for each in spectra), tuple(each.tags for each in spectra), imagery,
        request.overviews, tuple(_band(name, plan).unit for name in plan.names),
    )  # fmt: skip


def _nodata(plan: Plan) -> float:
    """The output's one nodata value: that of the bands that are copied, else the first band's.

    Raises:
        SceneError: copied bands have several.
    """
    found: dict[str, Band] = {}
    for band in (_band(name, plan) for name in plan.native):
        found.setdefault(f"{band.nodata:g}", band)
    if len(found) > 1:
        said = ", ".join(f"{band.name}: {value}" for value, band in found.items())
        raise SceneError(
            f"{plan.scene.path}: its bands have several nodata values ({said}), of which the "
            "output can declare one. Give all files the same (gdalwarp -dstnodata)."
        )
    return next(iter(found.values()), _band(plan.names[0], plan)).nodata


def _spectrum(name: str, plan: Plan) -> Spectrum:
    """Of an output band; of one that nobody sensed that of its name, of an uncertainty none."""
    if name in plan.uncertain:
        return Spectrum()
    if name in plan.stands_for:
        return spectrum(name, plan.scene.sensor, plan.scene.acquisition.platform)
    return _band(name, plan).spectrum


def _band(name: str, plan: Plan) -> Band:
    """The scene's band that an output band is, speaks of or is told from."""
    return plan.scene.select(names=[plan.band(name)])[0]


def _imagery(acquisition: Acquisition) -> dict[str, str]:
    """GDAL's metadata of a whole raster in its domain IMAGERY."""
    time = acquisition.time.replace("T", " ").removesuffix("Z")
    told = {"ACQUISITIONDATETIME": time, "SATELLITEID": acquisition.platform.upper()}
    return {key: value for key, value in told.items() if value}


def _scales(plan: Plan) -> tuple[tuple[float, float], ...]:
    """GDAL's scale and offset of each band: its counts mean what the input's do.

    An uncertainty is a difference, which no offset moves.
    """
    pairs = [_band(name, plan).tagged for name in plan.names]
    return tuple(
        (scale, 0.0 if name in plan.uncertain else offset)
        for name, (scale, offset) in zip(plan.names, pairs, strict=True)
    )


# finishing


@dataclass
class Counts:
    """How many super-resolved values were touched, and how many hold something."""

    clipped: int = 0
    filled: int = 0
    shifted: int = 0
    valid: int = 0
    pixels: int = 0

    @property
    def share(self) -> float:
        """Of the predicted values, those that were sensed."""
        return self.valid / self.pixels if self.pixels else 1.0


def output_rows(strip: Strip, plan: Plan, dtype: np.dtype[Any], counts: Counts) -> NDArray[Any]:
    """The strip's rows in the output's type, cut to the output's window: (bands, rows, cols)."""
    scene, window = plan.scene, plan.made(strip.window)
    at = _wanted(strip, plan)
    rows = np.empty((len(plan.names), window.height, window.width), dtype)
    nodata = _nodata(plan)
    for i, name in enumerate(plan.names):
        own = plan.band(name)
        gsd = scene.gsd(own)
        pixels = strip.read[gsd]
        index = plan.reads[gsd].index(own)
        if name in plan.native:
            rows[i] = pixels.values[index][at]
            continue
        k = plan.per_pixel(name)
        sensed = _spread(pixels.sensed[index], k, strip, plan)[at]
        band = replace(scene.select(names=[own])[0], nodata=nodata)
        if name in plan.uncertain:
            band = replace(band, offset=0.0)
        values, clipped, shifted = to_counts(strip.predicted[name][at], scene, band, dtype, sensed)
        if pixels.saturated[index].any():
            values[_spread(pixels.saturated[index], k, strip, plan)[at] & sensed] = SATURATED
        rows[i] = np.where(sensed, values, _nothing(band, dtype))
        counts.clipped += clipped
        counts.shifted += shifted
        counts.valid += int(sensed.sum())
        counts.pixels += sensed.size
    return rows


def _nothing(band: Band, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The value of pixels that nobody sensed: nodata, or 0 where the mask alone tells."""
    value = 0.0 if dtype.kind != "f" and math.isnan(band.nodata) else band.nodata
    return np.asarray(value).astype(dtype)


def _wanted(strip: Strip, plan: Plan) -> tuple[slice, slice]:
    """Rows and columns of a strip's predictions that are written: tiles may reach further."""
    if plan.continuous:  # then they do not
        return slice(None), slice(None)
    kept = strip.window.intersect(plan.window).at(plan.finer)
    return kept.within(strip.window.at(plan.finer))


def _spread(array: NDArray[Any], k: int, strip: Strip, plan: Plan) -> NDArray[Any]:
    """Native pixels of a strip on the output's: each as `k` × `k`, or as its centres lie."""
    if not plan.continuous:
        return array if k == 1 else array.repeat(k, 0).repeat(k, 1)
    made, top = plan.made(strip.window), strip.window.row - plan.window.row
    down, across = plan.lattices
    rows = down.under(made.row, made.row + made.height) - top
    return array[rows[:, None], across.under(0, made.width)]


def _mask_gsd(reader: Reader, plan: Plan) -> int | None:
    """The finest GSD whose files have a mask of their own: it becomes the output's.

    Of several images the output's says where any is clear, by whatever told it.
    """
    if plan.scene.frames > 1 and any(band.quality for band in plan.scene.bands):
        return plan.scene.finest
    masked = (gsd for gsd, names in plan.reads.items() if reader.has_mask(names, gsd))
    return next(masked, None)


def _mask(strip: Strip, plan: Plan, gsd: int) -> NDArray[np.bool_]:
    """The input's mask on the output's grid."""
    mask = np.asarray(strip.read[gsd].mask.all(0))
    k = gsd // plan.scene.finest * plan.finer
    return _spread(mask, k, strip, plan)[_wanted(strip, plan)]
