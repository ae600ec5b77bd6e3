"""What an estimate is compared with: ways to find inputs and truth in data, one scene at a time.

wald      Sentinel-2 scenes, degraded by the net's factor; their own coarse bands are the truth
folder    images, degraded by an operator; the images are the truth
series    the same, as several simulated frames
pairs     matching coarse and fine files; dual: two coarse ones each
kelvins   imgsets of the Proba-V challenge, with its own rules
twin      Sentinel-2 scenes at true scale, with twins of 10 m bands in place of the coarse bands
full      no truth: the output, degraded by the sensor's point spread, against the input, and its
          local correlation with the native bands
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, SceneError, UsageError
from geosr.evaluation import twin
from geosr.inference import selfcheck
from geosr.inference.engine import Engine
from geosr.inference.plan import Plan, Request, make_plan
from geosr.inference.predict import predict
from geosr.inference.strips import strips
from geosr.inference.superres import superres, with_frames
from geosr.metrics import kelvins, no_reference
from geosr.models.card import ANY, Model, ModelCard
from geosr.raster.files import open_raster, read_window
from geosr.raster.window import Window
from geosr.scene.degraded import WaldReader, truth
from geosr.scene.frames import FrameOptions
from geosr.scene.pixels import Reader
from geosr.scene.pointspread import FINEST
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene, probav
from geosr.training.datasets import kind_of, pairs
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.series import Sensor, SeriesWindows
from geosr.training.datasets.windows import Area, Spot

PROTOCOLS = ("wald", "twin", "folder", "series", "pairs", "dual", "kelvins", "full")
_SERIES_SIDE = 576  # pixels of truth along a simulated window


@dataclass(frozen=True)
class Rows:
    """Finished rows of one scene: (bands, rows, cols), reflectance × 10000; mask True is valid.

    Attributes:
        figures: further ones, to be averaged over rows by their weight: name to (value, weight).
        by_band: the same of single bands: name to band to (value, weight).
    """

    truth: NDArray[np.float32]
    estimate: NDArray[np.float32]
    mask: NDArray[np.bool_]
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    by_band: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One scene that a net can be scored on.

    Attributes:
        group: what scores may be averaged with: "20" (metres) or "x4".
        run: gives the rows of a net, top to bottom.
        low: the net's input of the bands scored, for pictures: (bands, rows, cols).
    """

    name: str
    path: str
    level: str
    group: str
    bands: tuple[str, ...]
    run: Callable[[Model, Engine], Iterator[Rows]]
    low: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class Data:
    """What to score on.

    Attributes:
        protocol: one of PROTOCOLS, or None to tell by what lies there.
        operator: how images are degraded.
        frames: how several images of a place are prepared; of simulated series how many.
    """

    path: Path
    protocol: str | None = None
    pattern: str | None = None
    operator: str | None = None
    options: OpenOptions = OpenOptions()  # noqa: RUF009 - frozen
    tile_size: int | None = None
    frames: FrameOptions = FrameOptions()  # noqa: RUF009 - frozen


def protocol_of(data: Data, task: str) -> str:
    """The protocol of a folder for nets of a task.

    Raises:
        UsageError: no such folder, or a protocol that the task cannot take.
    """
    if data.protocol:
        return data.protocol
    if probav.is_imgsets(data.path):
        return "kelvins"
    kind = kind_of(data.path, task)
    if kind == "npz":
        raise UsageError(f"{data.path}: arrays are for training. Give images to score on.")
    return kind


def cases(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """Every scene of the data that a net of that card can be scored on.

    Args:
        failed: gets the scenes that cannot be read, with the reason.
    """
    protocol = protocol_of(data, card.task)
    if protocol == "wald" and card.task == "guided":
        yield from _wald(data, card, failed)
    elif protocol == "twin":
        yield from _twins(data, card, failed)
    elif protocol == "folder" and card.task == "sisr":
        yield from _images(data, card, failed, _folder_case)
    elif protocol == "series" and card.task in ("sisr", "misr"):
        yield from _images(data, _with_frames(card, data), failed, _series_cases)
    elif protocol in ("pairs", "dual") and card.task in ("sisr", "misr"):
        yield from _pairs(data, card, protocol)
    elif protocol == "full" and card.task in ("guided", "sisr"):
        yield from _full(data, card, failed)
    elif protocol == "kelvins" and card.task in ("sisr", "misr") and card.scale == 3:
        yield from _kelvins(data, card, failed)
    else:
        raise UsageError(
            f"'{card.name}' ({card.task}, scale {card.scale}) cannot be scored by '{protocol}' on "
            f"{data.path}. Choose other data, --protocol or net."
        )


# one scene, degraded


def _scenes(data: Data, kind: str, failed: dict[str, str]) -> Iterator[Scene]:
    """Every scene of the data that opens; the others go to `failed` with the reason."""
    options = replace(data.options, kind=kind)
    for path in find_scenes(data.path, pattern=data.pattern, kind=kind):
        try:
            yield open_scene(path, options)
        except GeosrError as error:
            failed[path.name] = str(error)


def whole(reader: Reader, scene: Scene, names: Sequence[str]) -> NDArray[np.float32]:
    """All of some bands of one GSD as `reader` sees them, reflectance × 10000."""
    gsd = scene.gsd(names[0])
    values = reader.read(names, gsd, reader.grids[gsd].window).values
    return reflectance(scene, names, values.astype(np.float32))


def _wald(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    for scene in _scenes(data, "sentinel2", failed):
        names = {name for item in card.inputs for name in item.bands}
        if not names <= {band.name for band in scene.bands}:
            continue  # scenes that lack a net's bands are left out of its scores
        yield Case(
            scene.name, scene.path, scene.level, str(card.native_gsd), card.bands,
            partial(_wald_rows, scene, data), partial(_wald_low, scene, data, card),
        )  # fmt: skip


def _wald_reader(scene: Scene, data: Data, card: ModelCard, source: Reader) -> WaldReader:
    gsds = tuple({10, *(item.gsd for item in card.inputs)})
    return WaldReader(source, card.scale, gsds, data.operator or "gaussian", truths=card.bands)


def _wald_rows(scene: Scene, data: Data, model: Model, engine: Engine) -> Iterator[Rows]:
    card = model.card
    scene.check_nested([item.gsd for item in card.inputs])
    with scene.open() as source:
        reader = _wald_reader(scene, data, card, source)
        degraded = replace(scene, grids=reader.grids, window=reader.grids[10].window)
        plan = make_plan(degraded, [model], Request(only_sr=True, tile_size=data.tile_size), engine)
        for strip in strips(reader, plan, engine):
            true = truth(source, card.bands, card.native_gsd, strip.window, reader.operator)
            target = reflectance(scene, card.bands, true.values)
            estimate = np.stack([strip.predicted[band] for band in card.bands])
            yield Rows(target, estimate, true.usable)


def _wald_low(scene: Scene, data: Data, card: ModelCard) -> NDArray[np.float32]:
    with scene.open() as source:
        return whole(_wald_reader(scene, data, card, source), scene, card.bands)


# one scene, with twins of its own bands


def _twins(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    """Two cases a scene: twins of single 10 m bands, and of mixtures of them."""
    if card.task != "guided":
        raise UsageError(
            f"'{card.name}' takes no finer bands beside the ones it sharpens; twins are made of "
            "them. Score it by --protocol folder."
        )
    for scene in _scenes(data, "sentinel2", failed):
        guides = tuple(band.name for band in scene.bands if band.gsd == FINEST)
        if not guides:
            raise UsageError(f"{scene.path}: no 10 m bands to make twins of. Choose other scenes.")
        names = {name for item in card.inputs for name in item.bands}
        if not names <= {band.name for band in scene.bands}:
            continue
        for said, shares in (("single", twin.single), ("mixed", twin.mixed)):
            scene.check_nested([FINEST, card.native_gsd])
            drawn = partial(twin.TwinReader, gsd=card.native_gsd, bands=card.bands, guides=guides,
                            shares=shares(card.bands, guides))  # fmt: skip
            yield Case(
                f"{scene.name} {said}", scene.path, scene.level, f"twin {card.native_gsd}",
                card.bands, partial(_twin_rows, scene, drawn, data),
                partial(_twin_low, scene, drawn, card.bands),
            )  # fmt: skip


def _twin_rows(
    scene: Scene, drawn: Callable[[Reader], twin.TwinReader], data: Data, model: Model,
    engine: Engine,
) -> Iterator[Rows]:  # fmt: skip
    bands = model.card.bands
    with scene.open() as source:
        reader = drawn(source)
        plan = make_plan(scene, [model], Request(only_sr=True, tile_size=data.tile_size), engine)
        for strip in strips(reader, plan, engine):
            true = reader.truth(bands, strip.window)
            target, blurred = (
                reflectance(scene, bands, values)
                for values in (true.values, reader.interpolated(bands, strip.window))
            )
            estimate = np.stack([strip.predicted[band] for band in bands])
            gain = twin.gains(bands, estimate, target, blurred, true.usable)
            yield Rows(target, estimate, true.usable, by_band={"gain": gain})


def _twin_low(
    scene: Scene, drawn: Callable[[Reader], twin.TwinReader], bands: Sequence[str]
) -> NDArray[np.float32]:
    with scene.open() as source:
        return whole(drawn(source), scene, bands)


# no truth


def _full(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    for scene in _scenes(data, "image" if card.task == "sisr" else "sentinel2", failed):
        names = {name for item in card.inputs for name in item.bands} - {ANY}
        if not names <= {band.name for band in scene.bands}:
            continue
        group = f"full {card.native_gsd}" if card.task == "guided" else f"full x{card.scale}"
        bands = card.bands if card.task == "guided" else _all_names(scene)
        low = partial(_input, scene, bands)
        yield Case(scene.name, scene.path, scene.level, group, bands,
                   partial(_full_rows, scene, data), low)  # fmt: skip


def _full_rows(scene: Scene, data: Data, model: Model, engine: Engine) -> Iterator[Rows]:
    """Input and degraded output on the input's grid; the output is written and read back."""
    request = Request(tile_size=data.tile_size)
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


def _input(scene: Scene, bands: Sequence[str]) -> NDArray[np.float32]:
    with scene.open() as reader:
        return whole(reader, scene, bands)


# one image, degraded


def _images(
    data: Data,
    card: ModelCard,
    failed: dict[str, str],
    make: Callable[[Scene, Data, ModelCard], Iterator[Case]],
) -> Iterator[Case]:
    for scene in _scenes(data, "image", failed):
        if min(scene.grid.shape) < card.scale:
            failed[scene.name] = f"{scene.path} is smaller than {card.scale} pixels. Leave it out."
            continue
        yield from make(scene, data, card)


def _folder_case(scene: Scene, data: Data, card: ModelCard) -> Iterator[Case]:
    names = _all_names(scene)
    yield Case(
        scene.name, scene.path, "", f"x{card.scale}", names, partial(_folder_rows, scene, data),
        partial(_folder_low, scene, data, card),
    )  # fmt: skip


def _folder_rows(scene: Scene, data: Data, model: Model, engine: Engine) -> Iterator[Rows]:
    with scene.open() as source:
        reader = WaldReader(source, model.card.scale, (1,), data.operator or "bicubic")
        degraded = replace(scene, grids=reader.grids, window=reader.grids[1].window)
        yield from _rows(degraded, reader, scene, source, data, model, engine, (0, 0))


def _folder_low(scene: Scene, data: Data, card: ModelCard) -> NDArray[np.float32]:
    with scene.open() as source:
        reader = WaldReader(source, card.scale, (1,), data.operator or "bicubic")
        return whole(reader, scene, _all_names(scene))


def _rows(
    low: Scene,
    reader: Reader,
    fine: Scene,
    truth: Reader,
    data: Data,
    model: Model,
    engine: Engine,
    corner: tuple[int, int],
) -> Iterator[Rows]:
    """Rows of a net for any raster on `low`, whose pixel (0, 0) begins at `corner` of `fine`."""
    names = fine.order({band.name for band in fine.bands})
    plan = make_plan(low, [model], Request(tile_size=data.tile_size), engine)
    for strip in strips(reader, plan, engine):
        window = strip.window.at(model.card.scale).shift(*corner)
        pixels = truth.read(names, fine.finest, window)
        inside = np.zeros(window[2:], bool)
        inside[window.intersect(fine.grid.window).within(window)] = True
        made = [strip.predicted[band] for band in plan.names]
        yield Rows(reflectance(fine, names, pixels.values), np.stack(made), pixels.usable & inside)


# simulated series


def _series_cases(scene: Scene, data: Data, card: ModelCard) -> Iterator[Case]:
    """One case a band and window: a net sees a window untiled."""
    whole = [min(n, _SERIES_SIDE) // card.scale * card.scale for n in scene.grid.shape]
    side = min(whole)
    bands = len(scene.bands) if len(card.bands) == 1 else 1
    windows = SeriesWindows([Area(scene, scene.grid.window, bands)], card, side)
    for spot in windows.spots(len(windows)):
        for band in range(bands):
            there = replace(spot, band=band)
            name = f"{scene.name}@{spot.window.row},{spot.window.col}"
            names = (scene.bands[band].name,) if bands > 1 else _all_names(scene)
            yield Case(
                name if bands == 1 else f"{name}:{names[0]}", scene.path, "", f"x{card.scale}",
                names, partial(_series_rows, scene, there, side, data),
                partial(_series_low, scene, there, side, card),
            )  # fmt: skip


def _all_names(scene: Scene) -> tuple[str, ...]:
    return tuple(band.name for band in scene.bands)


def _with_frames(card: ModelCard, data: Data) -> ModelCard:
    """The card of a net that takes that many frames, where it takes any number."""
    if not card.fewer or not data.frames.count:
        return card
    return replace(card, inputs=(replace(card.inputs[0], frames=data.frames.count),))


def _every_frame(scene: Scene, card: ModelCard, side: int) -> SeriesWindows:
    """Windows of series with as many frames as the net takes, all there."""
    sensor = Sensor(fewest=card.frames)
    return SeriesWindows([Area(scene, scene.grid.window)], card, side, sensor=sensor)


def _series_rows(
    scene: Scene, spot: Spot, side: int, data: Data, model: Model, engine: Engine
) -> Iterator[Rows]:
    windows = _every_frame(scene, _with_frames(model.card, data), side)
    sample = windows.at(spot)
    windows.close()
    (estimate,) = predict(model, [sample.inputs], engine)
    yield Rows(sample.target, estimate, sample.mask, _challenge(sample, estimate))


def _challenge(sample: Sample, estimate: NDArray[np.float32]) -> dict[str, tuple[float, float]]:
    """The challenge's figure of one band, its peak 1.0."""
    if len(estimate) > 1 or not sample.mask.any():
        return {}
    made, truth = (np.clip(x[0].astype(np.float64) / 1e4, 0, 1) for x in (estimate, sample.target))
    value, _ = kelvins.cpsnr(made, truth, sample.mask[0])
    return {"cpsnr": (value, 1.0)}


def _series_low(scene: Scene, spot: Spot, side: int, card: ModelCard) -> NDArray[np.float32]:
    windows = _every_frame(scene, card, side)
    low = windows.at(spot).inputs[card.inputs[0].gsd]
    windows.close()
    return low[0, :-1] if card.task == "misr" else low


# matching files


def _pairs(data: Data, card: ModelCard, protocol: str) -> Iterator[Case]:
    options = replace(data.options, kind="image")
    inside = (pairs.dual_folder(data.path, "test") or pairs.dual_folder(data.path)
              if protocol == "dual" else None)  # fmt: skip
    for area in pairs.areas(inside or data.path, card, options, data.pattern):
        item = area.item
        low = _joined(item.coarse)
        names = _all_names(item.fine)
        yield Case(
            item.name, item.fine.path, "", f"x{card.scale}", names,
            partial(_pair_rows, low, item, data),
            partial(_input, item.coarse[0], _all_names(item.coarse[0])),
        )  # fmt: skip


def _joined(frames: Sequence[Scene]) -> Scene:
    """Images of one place as one scene."""
    bands = (replace(band, frame=i) for i, frame in enumerate(frames) for band in frame.bands)
    return replace(frames[0], bands=tuple(bands))


def _pair_rows(
    low: Scene, item: pairs.Matched, data: Data, model: Model, engine: Engine
) -> Iterator[Rows]:
    with low.open() as reader, item.fine.open() as truth:
        yield from _rows(low, reader, item.fine, truth, data, model, engine, item.corner)


# Proba-V's challenge


def _kelvins(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Case]:
    options = replace(data.options, kind="series")
    for path in probav.find_imgsets(data.path, data.pattern):
        try:
            imgset, scene = probav.read_imgset(path), open_scene(path, options)
        except SceneError as error:
            failed[path.name] = str(error)
            continue
        if imgset.truth is None or imgset.clear is None:
            continue
        yield Case(
            path.name, str(path), path.parent.name, "kelvins", (path.parent.name,),
            partial(_kelvins_rows, imgset, scene, data), partial(_kelvins_low, imgset),
        )  # fmt: skip


def _kelvins_rows(
    imgset: probav.Imgset, scene: Scene, data: Data, model: Model, engine: Engine
) -> Iterator[Rows]:
    """The whole image at once, as the challenge's shifts need it."""
    assert imgset.truth is not None and imgset.clear is not None
    request = Request(tile_size=data.tile_size, frames=data.frames)
    plan = make_plan(scene, [model], request, engine)
    with scene.open() as reader:
        parts = [
            np.stack([strip.predicted[name] for name in plan.names])
            for strip in strips(reader, with_frames(plan, reader, request), engine)
        ]
    made = np.concatenate(parts, 1) * np.float32(scene.quantification / probav.UNIT)
    truth = imgset.truth.astype(np.float32)[None] * np.float32(10000 / probav.UNIT)
    yield Rows(truth, made, imgset.clear[None])


def _kelvins_low(imgset: probav.Imgset) -> NDArray[np.float32]:
    first = imgset.clearest()[0]
    return imgset.frames[first].astype(np.float32)[None] * np.float32(10000 / probav.UNIT)


def window_of(shape: tuple[int, int], side: int) -> Window:
    """The middle of an image, at most `side` pixels along."""
    height, width = (min(n, side) for n in shape)
    return Window((shape[0] - height) // 2, (shape[1] - width) // 2, height, width)
