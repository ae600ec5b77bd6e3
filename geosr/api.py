"""The Python API: the commands as functions, with the same words as the command line.

`superres`, `train` and `evaluate` do what the commands `superres`, `train` and `eval` do; `sharpen`
works on numpy arrays; `open_scene`, `load_model` and `list_models` give the parts. Every error is
one of `geosr.errors`; progress is a function that is called; nothing is printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from numpy.typing import NDArray

from geosr.batch import batch, locks, targets
from geosr.batch.job import Executor, Job, Outcome
from geosr.errors import LockedError, SceneError, StoppedError, UsageError, WeightsError
from geosr.evaluation.evaluate import Evaluation, bicubic_beside
from geosr.evaluation.evaluate import evaluate as _evaluate
from geosr.evaluation.protocols import Data
from geosr.inference import arrays, labelled
from geosr.inference.arguments import require_choice, require_few, require_ranges
from geosr.inference.consistency import REFINEMENTS, TV_TV
from geosr.inference.engine import Engine
from geosr.inference.fitoptions import KERNELS, FitOptions
from geosr.inference.predict import engine, place
from geosr.inference.request import Request, scene_options
from geosr.inference.zoom import with_finer
from geosr.models import registry, weights
from geosr.models.card import Model, ModelCard
from geosr.raster.creation import require_options
from geosr.scene.frames import FrameOptions
from geosr.sensors import OpenOptions, is_remote, remote_path, sentinel2
from geosr.sensors import open_scene as _open_scene
from geosr.training.config import config_of
from geosr.training.datasets import leftout
from geosr.training.train import Progress, Result
from geosr.training.train import train as _train

if TYPE_CHECKING:
    from xarray import DataArray

    from geosr.metrics.full_reference import Peak
    from geosr.scene.scene import Scene

Array = TypeVar("Array", NDArray[Any], "DataArray")
Nets = str | Path | Model | Sequence[str | Path | Model]
_REGISTER = ("auto", "none", "integer", "subpixel")
_GUIDED = "sentinel2"  # the kind of scenes of guided nets


def superres(
    src: str | Path,
    out: str | Path,
    *,
    model: Nets | None = None,
    scale: float | None = None,
    gsd: float | None = None,
    bands: Sequence[str] | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    bounds_crs: str | None = None,
    overwrite: bool = False,
    only_sr: bool = False,
    format: str = "GTiff",
    co: Mapping[str, str] | None = None,
    uncertainty: bool = False,
    consistent: bool = False,
    refine: str | None = None,
    report: bool = False,
    overviews: bool = False,
    quicklook: bool = False,
    stac: bool = False,
    pattern: str | None = None,
    dn_offset: float | None = None,
    quantification: float | None = None,
    bands_in: Sequence[str] | None = None,
    allow_vrt: bool = False,
    allow_remote: bool = False,
    frames: int | None = None,
    clearance: float = 0.85,
    reference: str | None = None,
    register: str = "auto",
    brightness: bool = True,
    align: bool = False,
    guide: str | Path | None = None,
    window: int | None = None,
    between: bool = False,
    ensemble: int = 1,
    fit_steps: int | None = None,
    fit_time: float | None = None,
    fit_seed: int = 0,
    fit_kernel: str = "auto",
    fit_reference: str | Path | None = None,
    save_fit: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    tile_size: int | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
    compile: bool = False,
    jobs: int = 1,
    shard: tuple[int, int] | None = None,
    strict_resume: bool = False,
    skip_empty: bool = False,
    fail_on_empty: bool = False,
    tmp_dir: str | Path | None = None,
    if_locked: str = "fail",
    lock_timeout: float | None = None,
    check: bool = False,
    check_limit: float | None = None,
    check_inputs: bool = False,
    no_space_check: bool = False,
    max_pixels: int = 4_000_000_000,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Super-resolve the scene or folder of scenes `src` into `out`, as `geosr superres` does.

    Keywords mean what the options of their names mean; None is their "auto" or their default.
    Finished outputs are skipped, so the same call again finishes an interrupted one.

    Args:
        out: a name that ends in .tif or .png is a file, anything else a folder.
        model: a name, a weights file, nets of `load_model`, or several of these.
        co: GDAL creation options, NAME to VALUE.
        guide: a finer raster to whose grid `src` is sharpened, or a folder of such.
        frames, tile_size, overlap, dn_offset, quantification: None is "auto".
        window: frames of a video that every frame of `src` is made of; odd, but of nets for 4.
        between: make a frame in the middle between each two of that video too.
        fit_time: seconds.
        save_fit: a folder.
        batch_size: tiles that share a pass; None is 1, and less is never taken where it is given.
        shard: (I, N) does part I of N.
        progress: called with the scene's name, the tiles finished since the last call (negative
            where it is begun anew) and the tiles in all; several workers count scenes.
        on_outcome: called with what became of each scene, as it is known.

    Returns:
        What became of each scene, in the order of the scenes. Of several scenes one that fails
        costs only itself: its `status` is "failed", and `message` says why.

    Raises:
        UsageError: the request cannot be run; nothing was written.
        WeightsError: the weights are missing, damaged, or made for something else.
        SceneError: the only scene failed.
        StoppedError: the disk is full, or `out` cannot be written.
        LockedError: another run does the same scenes into `out`, and `if_locked` is not "skip".
    """
    require_choice("format", format, ("GTiff", "COG", "PNG"))
    require_choice("if_locked", if_locked, ("fail", "skip", "wait"))
    require_choice("register", register, _REGISTER)
    require_choice("refine", refine or TV_TV, REFINEMENTS)
    require_options(format, co or {})
    require_ranges(
        jobs=jobs, threads=threads, tile_size=tile_size, overlap=overlap, batch_size=batch_size,
        frames=frames, clearance=clearance, window=window, ensemble=ensemble, dn_offset=dn_offset,
        quantification=quantification, gsd=gsd, fit_steps=fit_steps, fit_time=fit_time,
        fit_seed=fit_seed, lock_timeout=lock_timeout, max_pixels=max_pixels,
    )  # fmt: skip
    require_few(bounds=(bounds, 4), shard=(shard, 2))
    if isinstance(bands, str):
        raise UsageError(f"bands '{bands}' is one text. Give a list of names.")
    if shard and not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"shard {shard} is not (I, N) with 1 ≤ I ≤ N.")
    source, target = _source(src, remote=allow_remote), Path(out)
    if gsd is not None and scale is not None:
        raise UsageError("gsd and scale both say how fine the output is. Leave one out.")
    nets = with_finer(_nets(registry.BY_GUIDE if guide and model is None else model, scale), gsd)
    fit = _fit(nets, fit_steps, fit_time, fit_seed, fit_kernel, fit_reference, save_fit)
    options = scene_options(nets, OpenOptions(
        dn_offset, _sentinel2_bands(bands_in), quantification, allow_vrt, allow_remote,
        pattern=pattern, align=align, guide=str(guide) if guide else None,
        register=register != "none", window=window or 0,
        kind="between" if between else _GUIDED,
    ))  # fmt: skip
    if options.kind == _GUIDED:
        bands = _sentinel2_bands(bands)
    part = Path(tmp_dir) if tmp_dir else None
    outputs = targets.targets(source, target, pattern=pattern, kind=options.kind,
                              suffix=".png" if format == "PNG" else ".tif",
                              tmp_dir=part)  # fmt: skip
    if fail_on_empty and not outputs:
        raise UsageError(f"no scenes in {source}. Choose another one.")
    if shard and outputs:
        outputs = targets.shard(outputs, *shard)
    if not outputs:
        return []
    jobs = min(jobs, len(outputs))
    where = _engine(device, precision, batch_size or 1, compiled=compile)
    _set_threads(threads)
    request = Request(
        tuple(bands) if bands is not None else None, only_sr, bounds, bounds_crs, tile_size,
        overlap, format, dict(co or {}),
        FrameOptions(frames, clearance, register, brightness, reference=reference),
        ensemble, uncertainty, consistent, max_pixels, skip_empty, part, gsd,
        fit, overviews, refine or "",
    )  # fmt: skip
    job = Job(
        tuple(place(net, where) for net in nets) if jobs == 1 else nets, request, options, where,
        precision, overwrite, check or report or check_limit is not None, check_limit, report,
        strict_resume, skip_locked=if_locked == "skip",
        lock_timeout=lock_timeout if if_locked == "wait" else 0.0,
        batch_fixed=batch_size is not None, space_check=not no_space_check,
        check_inputs=check_inputs, source=source, quicklook=quicklook, stac=stac,
    )  # fmt: skip
    for folder in filter(None, [*{output.parent for output in outputs.values()}, part]):
        targets.check_writable(folder)
    try:
        with locks.run_locked(target, outputs, timeout=job.lock_timeout):
            outcomes = batch.run(
                outputs, job, executor=_executor(jobs, len(outputs), device, threads),
                folder=None if targets.is_file_name(target) else target, shard=shard,
                report=on_outcome, progress=progress,
            )  # fmt: skip
    except LockedError:
        if if_locked != "skip":
            raise
        return []
    _raise_for(outcomes)
    return outcomes


def sharpen(
    d10: Array,
    d20: Array,
    d60: Array | None = None,
    *,
    model: Nets | None = None,
    nodata: float | None = 0,
    offset: float = 0.0,
    quantification: float = 10000.0,
    consistent: bool = False,
    device: str = "auto",
    precision: str = "auto",
    tile_size: int | None = None,
    overlap: int | None = None,
    batch_size: int = 1,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Array:
    """Sentinel-2's coarse bands at 10 m, from arrays to an array of numpy or xarray.

    `sharpen(d10, d20)` stands for `DSen2_20(d10, d20)`, and `sharpen(d10, d20, d60)` for
    `DSen2_60(d10, d20, d60)` with the 20 m bands beside the 60 m ones. Arrays are
    (bands, rows, cols), where DSen2 had (rows, cols, bands): `np.moveaxis(array, -1, 0)` turns one
    into the other. The result equals the bands that `superres` writes of the same counts. It is
    computed by tiles, but the arrays lie in memory as a whole.

    xarray.DataArrays (with `geosr[xarray]`) give one: on the coordinates of `d10`, with its CRS and
    the names of the bands. Where theirs are known, bands are taken by name. Grids are compared.

    Args:
        d10: B2 B3 B4 B8 in counts, (4, rows, cols); rows and cols are multiples of 2, with `d60`
            of 6.
        d20: B5 B6 B7 B8A B11 B12, (6, rows / 2, cols / 2).
        d60: B1 B9, (2, rows / 6, cols / 6).
        model: as of `superres`; nets whose bands are not there are left out.
        nodata: the count that means "nothing sensed", in and out; None is none. NaN always is one.
            What a DataArray declares comes first.
        offset: added to counts for reflectance: −1000 from processing baseline 04.00 on.
        quantification: count of reflectance 1.0.
        consistent, tile_size, overlap, batch_size, device, precision: as of `superres`.
        progress: called with the tiles finished since the last call, and the number in all.

    Returns:
        The sharpened bands in the arrays' type, rounded and clipped to it: (6, rows, cols), B5 B6
        B7 B8A B11 B12; with `d60` (8, rows, cols), then B1 B9.

    Raises:
        SceneError: arrays of other shapes or grids, or nets that do not fit the bands.
        UsageError: no such net or device; arrays of both kinds; no rioxarray for a DataArray.
        WeightsError: its weights are missing or damaged.
    """
    require_ranges(offset=offset, quantification=quantification, tile_size=tile_size,
                   overlap=overlap, batch_size=batch_size)  # fmt: skip
    given: Mapping[int, Any] = {10: d10, 20: d20} | ({} if d60 is None else {60: d60})
    labels = None
    if any(map(labelled.is_labelled, given.values())):
        labels = labelled.taken(given, nodata=nodata)
        given, nodata = labels.arrays, labels.nodata
    reader = arrays.reader_of(given, nodata=nodata, offset=offset, quantification=quantification)
    where = _engine(device, precision, batch_size)
    nets = [place(net, where) for net in _nets(model, None)]
    request = Request(only_sr=True, tile_size=tile_size, overlap=overlap, consistent=consistent)
    names, sharp = arrays.sharpened(reader, nets, request=request, engine=where, progress=progress)
    return cast(Array, labels.back(sharp, names) if labels else sharp)


def open_scene(
    path: str | Path,
    *,
    kind: str = _GUIDED,
    dn_offset: float | None = None,
    quantification: float | None = None,
    bands_in: Sequence[str] | None = None,
    pattern: str | None = None,
    align: bool = False,
    allow_vrt: bool = False,
    allow_remote: bool = False,
) -> Scene:
    """The scene at `path`: its bands, grids and what else its files say.

    `with scene.open() as reader` reads its pixels by windows.

    Args:
        kind: "sentinel2", "image" (any raster) or "series" (a folder of rasters of one place).

    Raises:
        SceneError: no scene of that kind; the message says what was looked for and what is there.
        UsageError: no such kind, or a number that means nothing.
    """
    require_choice("kind", kind, (_GUIDED, "image", "series", "pair"))
    require_ranges(dn_offset=dn_offset, quantification=quantification)
    options = OpenOptions(dn_offset, _sentinel2_bands(bands_in), quantification, allow_vrt,
                          allow_remote, kind, pattern, align, max_pixels=None)  # fmt: skip
    return _open_scene(_source(path, remote=allow_remote), options)


def load_model(
    name: str | Path, *, scale: float | None = None, device: str = "cpu"
) -> tuple[Model, ...]:
    """The nets that a name or a weights file stands for: two of a pair such as "dsen2", else one.

    Args:
        scale: of nets that come in several; None is their default.
        device: where they are moved to: "auto", "cpu" or "cuda:N".

    Raises:
        UsageError: no such name, scale or device.
        WeightsError: no weights come with geosr for the name, or the file is refused.
    """
    where = _engine(device, "auto")
    return tuple(place(net, where) for net in weights.load(str(name), scale=scale))


def list_models() -> tuple[ModelCard, ...]:
    """The card of every net that geosr knows, at its default scale."""
    return tuple(design.card() for design in registry.DESIGNS.values())


def train(
    data: str | Path,
    out: str | Path,
    *,
    model: str,
    scale: float | None = None,
    bands: int = 1,
    preset: str = "default",
    steps: int | None = None,
    epochs: float | None = None,
    time: float | None = None,
    resume: bool = False,
    overwrite: bool = False,
    init: str | Path | None = None,
    net_option: Mapping[str, Any] | None = None,
    data_kind: str | None = None,
    pattern: str | None = None,
    degradation: str | None = None,
    quantification: float | None = None,
    data_fine: str | Path | None = None,
    unpaired: str | None = None,
    self_supervised: bool = False,
    patch: int | None = None,
    jitter: float | None = None,
    loss: str | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    period: int | None = None,
    gamma: float | None = None,
    warmup: int | None = None,
    clip: float | None = None,
    ema: float | None = None,
    perceptual_net: str | Path | None = None,
    adversarial: str | None = None,
    discriminator: str | None = None,
    discriminator_option: Mapping[str, Any] | None = None,
    discriminator_lr: float | None = None,
    discriminator_updates: int | None = None,
    adversarial_after: int | None = None,
    adversarial_ramp: int | None = None,
    seed: int = 0,
    val_share: float = 0.1,
    val_every: int = 500,
    val_windows: int = 32,
    patience: int = 0,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    compile: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train a net on pairs made of the scenes or images of `data`, as `geosr train` does.

    Keywords mean what the options of their names mean; None is their "auto", or what the net's
    recipe says. `out` gets best.safetensors, which `superres` takes as its `model`.

    Args:
        time: seconds after which it ends, with a validation.
        net_option: options of the architecture, such as {"blocks": 8}.
        discriminator_option: of the discriminator, such as {"features": 32}.
        progress: called after every step.
        stop: asked after every step; True saves and ends the training.

    Raises:
        UsageError: the data does not fit the net, or `out` holds another training.
        WeightsError: the state to resume from is damaged.
        StoppedError: ten losses in a row were no numbers; the last good weights are kept.
    """
    _set_threads(threads)
    where = _engine(device, precision)
    config = config_of(
        model, where, preset=preset, steps=steps, epochs=epochs, seconds=time, workers=workers,
        recipe={
            "loss": loss, "batch_size": batch_size, "optimizer": optimizer, "lr": lr,
            "weight_decay": weight_decay, "schedule": schedule, "period": period, "gamma": gamma,
            "warmup": warmup, "clip": clip, "ema": ema, "jitter": jitter,
        },
        perceptual_net=Path(perceptual_net) if perceptual_net else None,
        adversarial={
            "kind": adversarial, "discriminator": discriminator,
            "options": dict(discriminator_option or {}), "lr": discriminator_lr,
            "updates": discriminator_updates, "after": adversarial_after,
            "ramp": adversarial_ramp,
        },
    )  # fmt: skip
    config = replace(
        config, scale=scale, bands=bands, net_options=dict(net_option or {}), patch=patch or 0,
        seed=seed, val_share=val_share, val_every=val_every, val_windows=val_windows,
        patience=patience, compile=compile,
        data_kind=leftout.chosen_kind(data_kind) if self_supervised else data_kind, pattern=pattern,
        degradation=degradation, quantification=quantification, init=str(init) if init else None,
        fine=str(data_fine) if data_fine else None, unpaired=unpaired,
    )  # fmt: skip
    return _train(Path(data), Path(out), config=config, device=where.device, resume=resume,
                  overwrite=overwrite, progress=progress, stop=stop)  # fmt: skip


def evaluate(
    model: Nets,
    data: str | Path,
    *,
    scale: float | None = None,
    protocol: str | None = None,
    degradation: str | None = None,
    psf: Sequence[float] | None = None,
    noise: Sequence[float] | None = None,
    refine: str | None = None,
    extra: bool = False,
    peak: Peak = 10000.0,
    lpips: str | Path | None = None,
    pattern: str | None = None,
    dn_offset: float | None = None,
    quantification: float | None = None,
    bands_in: Sequence[str] | None = None,
    allow_vrt: bool = False,
    allow_remote: bool = False,
    frames: int | None = None,
    clearance: float = 0.85,
    reference: str | None = None,
    register: str = "auto",
    brightness: bool = True,
    align: bool = False,
    fit_steps: int | None = None,
    fit_time: float | None = None,
    fit_seed: int = 0,
    fit_kernel: str = "auto",
    fit_reference: str | Path | None = None,
    guide: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    tile_size: int | None = None,
    progress: Callable[[str, str], None] = lambda *_: None,
) -> Evaluation:
    """Score nets against a truth, bicubic beside them, as `geosr eval` does.

    Keywords mean what the options of their names mean; None is their "auto" or their default.

    Args:
        fit_time: seconds.
        progress: called with scene and net before each is run.

    Raises:
        UsageError: the data does not fit the nets or the protocol.
        WeightsError: the weights are missing, damaged, or made for something else.
    """
    from geosr.metrics.lpips import load

    require_choice("register", register, _REGISTER)
    require_choice("refine", refine or TV_TV, REFINEMENTS)
    require_ranges(
        threads=threads, tile_size=tile_size, frames=frames, clearance=clearance,
        dn_offset=dn_offset, quantification=quantification, fit_steps=fit_steps,
        fit_time=fit_time, fit_seed=fit_seed,
    )  # fmt: skip
    _set_threads(threads)
    where = _engine(device, precision)
    options = OpenOptions(dn_offset, _sentinel2_bands(bands_in), quantification, allow_vrt,
                          allow_remote, align=align, guide=str(guide) if guide else None,
                          register=register != "none")  # fmt: skip
    named = _by_name(model, scale)
    nets = [net for parts in named.values() for net in parts]
    fit = _fit(nets, fit_steps, fit_time, fit_seed, fit_kernel, fit_reference)
    source = Data(Path(data), protocol, pattern, degradation, options, tile_size,
                  FrameOptions(frames, clearance, register, brightness, reference=reference),
                  tuple(psf or ()), tuple(noise or ()), fit, refine or "")  # fmt: skip
    placed = {
        name: [place(net, where) for net in nets]
        for name, nets in bicubic_beside(named, scale).items()
    }
    return _evaluate(source, placed, engine=where, extra=extra, peak=peak, progress=progress,
                     perceptual=load(Path(lpips)) if lpips else None)  # fmt: skip


def _source(path: str | Path, *, remote: bool) -> Path:
    """A path, or a URL as GDAL reads it.

    Raises:
        UsageError: a URL, where those are not allowed.
    """
    text = str(path)
    if not is_remote(text):
        return Path(path)
    if not remote:
        raise UsageError(f"{text[:80]}: local files only. Pass allow_remote=True to read it.")
    return remote_path(text)


def _sentinel2_bands(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Names as ESA writes them: B05 and red are B5 and B4.

    Raises:
        UsageError: no such band.
    """
    if names is None:
        return None
    bands = {name: sentinel2.band_name(name) for name in names}
    for name, band in bands.items():
        if band is None:
            raise UsageError(f"'{name}' is no Sentinel-2 band; B1 … B12 and B8A are.")
    return tuple(band for band in bands.values() if band)


def _by_name(model: Nets, scale: float | None) -> dict[str, tuple[Model, ...]]:
    """Nets by the name they were asked by."""
    found: dict[str, tuple[Model, ...]] = {}
    for each in [model] if isinstance(model, str | Path | Model) else model:
        if isinstance(each, Model):
            found[each.card.name] = (each,)
        else:
            found[str(each)] = weights.load(str(each), scale=scale)
    return found


def _nets(model: Nets | None, scale: float | None) -> tuple[Model, ...]:
    """The nets asked for; where none are, those that sharpen Sentinel-2.

    Raises:
        WeightsError: an empty list of them.
    """
    named = _by_name(registry.DEFAULT if model is None else model, scale)
    if not named:
        raise WeightsError("no net was chosen. Give a model.")
    return tuple(net for nets in named.values() for net in nets)


def _engine(device: str, precision: str, batch_size: int = 1, *, compiled: bool = False) -> Engine:
    """Where and how nets run.

    Raises:
        UsageError: no such device or precision.
    """
    require_choice("precision", precision, ("auto", "fp32", "bf16", "fp16"))
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise UsageError(f"device '{device}' is none of auto, cpu, cuda, cuda:N. Choose one.")
    return engine(device, precision, batch_size, compiled=compiled)


def _fit(
    nets: Iterable[Model], steps: int | None, seconds: float | None, seed: int, kernel: str,
    reference: str | Path | None, save: str | Path | None = None,
) -> FitOptions:  # fmt: skip
    """How nets that learn on a scene do so.

    Raises:
        UsageError: no such kernel, or none of the nets learns and something is asked of it.
    """
    require_choice("fit_kernel", kernel, KERNELS)
    fit = FitOptions(steps, seconds, seed, kernel, Path(reference) if reference else None,
                     Path(save) if save else None)  # fmt: skip
    fit.require_learner(net.card for net in nets)
    return fit


def _set_threads(threads: int | None) -> None:
    """Of this process; None leaves PyTorch's choice."""
    if threads:
        torch.set_num_threads(threads)


def _executor(jobs: int, scenes: int, device: str, threads: int | None) -> Executor:
    """Who does the scenes: worker processes, two threads on a GPU, else one after the other."""
    if jobs > 1:
        from geosr.batch.executors.processes import Processes

        return Processes(jobs, device, max(1, (threads or os.cpu_count() or 1) // jobs))
    if scenes > 1 and device != "cpu" and torch.cuda.is_available():
        from geosr.batch.executors.threads import Threads

        return Threads()
    return batch.serially


def _raise_for(outcomes: Sequence[Outcome]) -> None:
    """Raise what made the only scene fail, or what stopped the run."""
    errors: dict[int, type[SceneError | StoppedError | LockedError]] = {
        error.exit_code: error for error in (SceneError, StoppedError, LockedError)
    }
    for outcome in outcomes:
        if outcome.status == "failed" and (len(outcomes) == 1 or outcome.stops):
            raise errors.get(outcome.code, SceneError)(outcome.message)
