"""`geosr superres`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from geosr import __version__
from geosr.cli.console import Bar, note, say, set_up_log
from geosr.cli.groups import (
    CHECKS,
    FIT,
    INPUTS,
    MAIN,
    OUTPUT,
    SEVERAL,
    SPEED,
    WHAT,
    GroupedCommand,
    option_group,
)
from geosr.cli.options import (
    PATH,
    REFINE,
    SCALE,
    Auto,
    NameList,
    compile_option,
    creation_options,
    device_options,
    fit_of,
    fit_options,
    frame_options,
    frames_of,
    input_options,
    log_options,
    open_options,
    option,
    overwrite_option,
    sentinel2_bands,
)
from geosr.cli.outcomes import last_line, reporter, summary
from geosr.cli.pace import Pace
from geosr.cli.runs import (
    executor_of,
    input_checks,
    run_options,
    set_threads,
    share,
)
from geosr.errors import LockedError, UsageError, WeightsError, without_secrets

if TYPE_CHECKING:
    from geosr.batch.job import Executor, Job, Outcome
    from geosr.models.card import Model
    from geosr.sensors import OpenOptions


@click.command("superres", cls=GroupedCommand, no_args_is_help=False)
@click.argument("src", type=str, envvar=["GEOSR_SRC", "IMAGES_PATH"], required=False)
@click.argument("dst", type=PATH, envvar=["GEOSR_DST", "SR_IMAGES_PATH"], required=False)
@option_group(
    MAIN,
    option(
        "--model",
        "-m",
        "model_names",
        multiple=True,
        metavar="NAME|FILE",
        help="dsen2, dsen2-ps, bicubic, lapsr, one net (dsen2-ps-20), or a weights file; may be "
        "given twice; default dsen2-ps. geosr models lists them.",
    ),
    option(
        "--scale",
        type=SCALE,
        help="Of nets that come in several, else their default; of nets of any scale (liif, "
        "bicubic) 2.5 for example.",
    ),
    option(
        "--gsd",
        type=click.FloatRange(0, min_open=True),
        metavar="METRES",
        help="Pixel size of the output: 5 for Sentinel-2, any for nets of any scale.",
    ),
    option("--bands", type=NameList(), help="Output bands by name, B5,B11; default all."),
    option(
        "--bounds",
        type=float,
        nargs=4,
        metavar="W S E N",
        help="In the scene's CRS; widened to coarse pixels.",
    ),
    option("--bounds-crs", metavar="CRS", help="CRS of --bounds, EPSG:4326 for example."),
    overwrite_option("outputs made with other settings, and files geosr did not make", MAIN),
    option("--dry-run", "-n", is_flag=True, help="Say what would be done; write nothing."),
    option(
        "--weights-20",
        type=PATH,
        aliases=["SR_20M_PATH"],
        help="Weights of the 20 m net, where --model is not given.",
    ),
    option(
        "--weights-60",
        type=PATH,
        aliases=["SR_60M_PATH"],
        help="Weights of the 60 m net, where --model is not given.",
    ),
)
@option_group(
    WHAT,
    option("--only-sr", is_flag=True, help="Leave out the native 10 m bands."),
    option(
        "--format",
        type=click.Choice(["GTiff", "COG", "PNG"], case_sensitive=False),
        default="GTiff",
        help="Of the outputs; PNG has 8 or 16 bits and no georeference.",
    ),
    option(
        "--co",
        "creation",
        multiple=True,
        metavar="NAME=VALUE",
        callback=creation_options,
        help="GDAL creation option; may be given again.",
    ),
    option(
        "--uncertainty",
        is_flag=True,
        help="Each band's NAME_uncertainty too (piunet).",
    ),
    option(
        "--consistent",
        is_flag=True,
        help="Make the output degrade exactly to the input, by back-projection.",
    ),
    REFINE,
    option("--overviews", is_flag=True, help="Give GeoTIFFs overviews; a COG has them."),
    option("--report", is_flag=True, help="Draw each output as DST/<scene>.html; implies --check."),
    option("--quicklook", is_flag=True, help="A small PNG beside each output."),
    option("--stac", is_flag=True, help="A STAC Item beside each output."),
)
@option_group(
    INPUTS,
    option("--pattern", metavar="GLOB", help="Only scenes (files of a series) whose name matches."),
    input_options,
)
@option_group(
    SEVERAL,
    frame_options,
    option(
        "--window",
        type=click.IntRange(1),
        help="SRC is a video: every frame is made of as many, itself in the middle; odd.",
    ),
    option("--between", is_flag=True, help="A frame in the middle between each two too."),
    option(
        "--ensemble",
        type=click.IntRange(1),
        default=1,
        help="Orders of the frames whose results are averaged (rams, highres-net).",
    ),
)
@option_group(
    FIT,
    fit_options,
    option(
        "--save-fit",
        type=PATH,
        metavar="FOLDER",
        help="Keep what the net learned on each scene, for --model.",
    ),
)
@option_group(
    SPEED,
    device_options,
    option(
        "--tile-size",
        type=Auto(int, 1),
        default="auto",
        help="Side of a tile's finished core, in pixels of the finest input grid; rounded up to "
        "whole coarse pixels. The margin is read on top. auto is what 768 MiB hold, or half of a "
        "GPU's free memory; for nets that blend 480, or 768 / scale where the output grid is "
        "finer.",
    ),
    option(
        "--overlap",
        type=Auto(int, 0),
        default="auto",
        help="Pixels read around a core; auto is the net's margin, less than it is never used.",
    ),
    option("--batch-size", type=click.IntRange(1), default=1, help="Tiles that share a pass."),
    compile_option,
)
@run_options
@option_group(
    CHECKS,
    option("--check", is_flag=True, help="Degrade the output again and compare."),
    option(
        "--check-limit",
        type=float,
        metavar="COUNTS",
        help="Fail a scene where a band departs by more (RMSE, 10000 to 1.0); implies --check.",
    ),
    input_checks,
    option(
        "--max-pixels",
        type=click.IntRange(1),
        default=4_000_000_000,
        help="Of an output's grid; a scene that would have more fails.",
    ),
)
@option_group(
    OUTPUT,
    option("--json", "as_json", is_flag=True, help="One JSON line per scene on stdout."),
    option("--log-file", type=PATH, help="Append all messages, whatever -q says, with UTC times."),
    option("--log-json", is_flag=True, help="One JSON object a line in the log file."),
    log_options,
)
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:  # fmt: skip
    """Super-resolve the scene or folder of scenes SRC into DST.

    \b
    geosr superres scenes/ out/
    geosr superres S2A_MSIL2A_….SAFE.zip out.tif --bands B5,B11
    geosr superres stack.tif out/ --model bicubic --format COG
    geosr superres ms.tif out/ --guide pan.tif --model gsa
    geosr superres scenes/ out/ --jobs 4 --if-locked skip --log-file night.log

    One GeoTIFF per scene at the finest grid of its inputs: Sentinel-2's native 10 m bands
    bit for bit, the others sharpened to 10 m. DST ending in .tif is a file, else a folder.
    Finished outputs are skipped, so the same command again finishes an interrupted run.
    Nets for any raster (lapsr, edsr, …) take every GeoTIFF, PNG or JPEG of SRC, band by band, to
    a grid --scale times finer with the same bounds, those of any scale (liif) to one of --gsd
    metres; multi-image nets take a folder of rasters of one place, or a folder of such folders.
    SRC and DST default to IMAGES_PATH and SR_IMAGES_PATH (environment or .env).
    """
    from geosr.cli.gdal import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"], file=params["log_file"],
               as_json=params["log_json"])  # fmt: skip
    prepare_gdal(share(params), vrt=params["allow_vrt"])
    given = ctx.get_parameter_source("batch_size") is not ParameterSource.DEFAULT
    ctx.exit(_run(params, batch_fixed=given))


def _run(params: dict[str, Any], *, batch_fixed: bool) -> int:
    """Check everything that can be checked, then work; returns the exit code."""
    src, dst = _paths(params)
    from geosr.batch import batch, locks, targets

    quiet = params["quiet"]
    loaded = _models(params)
    if not loaded:
        raise WeightsError("no net was chosen. Give --model.")
    options = _for_nets(open_options(params), loaded, params)
    outputs = targets.targets(src, dst, pattern=params["pattern"], kind=options.kind,
                              suffix=".png" if params["format"] == "PNG" else ".tif",
                              tmp_dir=params["tmp_dir"])  # fmt: skip
    if params["fail_on_empty"] and not outputs:
        raise UsageError(f"no scenes in {src}. Choose another SRC.")
    if params["shard"] and outputs:
        outputs = targets.shard(outputs, *params["shard"])
    if not outputs:
        part = " in shard {}/{}".format(*params["shard"]) if params["shard"] else ""
        say(f"warning: no scenes in {src}{part}", quiet=quiet)
        note(logging.WARNING, f"no scenes in {src}{part}")
        return 0
    params["jobs"] = min(params["jobs"], len(outputs))  # one scene gets all threads
    executor = executor_of(params, len(outputs))
    job = _job(params, loaded, options, src, batch_fixed=batch_fixed)
    report = reporter(as_json=params["as_json"], quiet=quiet)
    if params["dry_run"]:
        return batch.exit_code(batch.plan(outputs, job, report=report))
    folders = {output.parent for output in outputs.values()}
    for folder in filter(None, [*folders, params["tmp_dir"]]):
        targets.check_writable(folder)
    try:
        with locks.run_locked(dst, outputs, timeout=job.lock_timeout):
            return _work(dst, outputs, job, executor, report, params)
    except LockedError as error:
        if params["if_locked"] != "skip":
            raise
        say(f"{error} Skipped.", quiet=quiet)
        note(logging.INFO, f"{error} Skipped.", code=0)
        return 0


def _job(
    params: dict[str, Any],
    nets: list[Model],
    options: OpenOptions,
    source: Path,
    *,
    batch_fixed: bool,
) -> Job:
    """The job with its nets in place; workers place theirs themselves, maybe elsewhere."""
    from geosr.batch.job import Job
    from geosr.cli.cache import trials_file
    from geosr.inference.engine import Engine
    from geosr.inference.predict import engine, place
    from geosr.inference.request import Request
    from geosr.raster.creation import require_options

    require_options(params["format"], params["creation"])
    where = Engine("cpu", "fp32", params["batch_size"], compiled=params["compile"])
    if not (params["scheduler"] or params["scheduler_file"]):
        where = engine(params["device"], params["precision"], params["batch_size"],
                       compiled=params["compile"], known=trials_file())  # fmt: skip
    set_threads(params["threads"])
    here = params["jobs"] == 1 and params["engine"] != "dask"
    fit = fit_of(params)
    fit.require_learner(net.card for net in nets)
    request = Request(
        params["bands"], params["only_sr"], params["bounds"], params["bounds_crs"],
        params["tile_size"], params["overlap"], params["format"], params["creation"],
        frames_of(params), params["ensemble"], params["uncertainty"], params["consistent"],
        params["max_pixels"], params["skip_empty"], params["tmp_dir"], params["gsd"],
        fit, params["overviews"], params["refine"] or "",
    )  # fmt: skip
    return Job(
        tuple(place(net, where) for net in nets) if here else tuple(nets),
        request,
        options,
        where,
        params["precision"],
        params["overwrite"],
        params["check"] or params["report"] or params["check_limit"] is not None,
        params["check_limit"],
        params["report"],
        params["strict_resume"],
        skip_locked=params["if_locked"] == "skip",
        lock_timeout=params["lock_timeout"] if params["if_locked"] == "wait" else 0.0,
        batch_fixed=batch_fixed,
        space_check=not params["no_space_check"],
        check_inputs=params["check_inputs"],
        source=source,
        quicklook=params["quicklook"],
        stac=params["stac"],
    )


def _work(
    dst: Path,
    outputs: Mapping[Path, Path],
    job: Job,
    executor: Executor,
    report: Callable[[Outcome], None],
    params: dict[str, Any],
) -> int:
    from geosr.batch import batch, targets
    from geosr.cli.cache import runs_file
    from geosr.inference import forecast

    meter, alone = forecast.Meter(), params["jobs"] == 1 and params["engine"] != "dask"
    job = replace(job, on_plan=meter.add if alone else None)
    started = time.monotonic()
    note(logging.INFO, f"started: {len(outputs)} scenes into {dst}", geosr=__version__)
    serial = executor is batch.serially
    unit = "tile" if serial else "scene"
    with Bar(quiet=params["quiet"], unit=unit, verbose=params["verbose"]) as bar:
        pace = Pace(
            len(outputs), tiles=serial, show=bar.advance, report=report,
            tell=lambda text: _word(text, params, shown=bar.enabled),
        )  # fmt: skip
        folder = None if targets.is_file_name(dst) else dst
        outcomes = batch.run(
            outputs, job, executor=executor, folder=folder, shard=params["shard"],
            report=pace.end, progress=pace.advance,
        )  # fmt: skip
    code = batch.exit_code(outcomes)
    seconds = time.monotonic() - started
    if not code and (path := runs_file()):
        meter.save(path, job.engine, seconds)
    if text := summary(outcomes, job, seconds, place=dst):
        _word(text, params)
    last_line(outcomes, code, quiet=params["quiet"])
    return code


def _word(text: str, params: dict[str, Any], *, shown: bool = False) -> None:
    """A line for a person and the log; not on a terminal where a bar shows it."""
    say(text, quiet=params["quiet"] or shown)
    note(logging.INFO, text)


def _paths(params: dict[str, Any]) -> tuple[Path, Path]:
    src, dst = params["src"], params["dst"]
    if not src or not dst:
        raise click.UsageError(
            "SRC and DST are missing. Give them, or set IMAGES_PATH and SR_IMAGES_PATH in .env."
        )
    from geosr.sensors import is_remote, remote_path

    if is_remote(src) and not params["allow_remote"]:
        raise click.UsageError(
            f"{without_secrets(src)[:80]}: local files only. Pass --allow-remote to read it."
        )
    return remote_path(src) if is_remote(src) else Path(src), dst


def _models(params: dict[str, Any]) -> list[Model]:
    """--model wins over --weights-20 and --weights-60; without any, the default pair."""
    from geosr.inference.zoom import with_finer
    from geosr.models import weights
    from geosr.models.card import BY_GUIDE, DEFAULT

    if params["gsd"] is not None and params["scale"] is not None:
        raise UsageError("--gsd and --scale both say how fine the output is. Leave one out.")
    files = [str(params[key]) for key in ("weights_20", "weights_60") if params[key]]
    names = params["model_names"] or files or (BY_GUIDE if params["guide"] else DEFAULT)
    nets = [model for name in names for model in weights.load(name, scale=params["scale"])]
    return list(with_finer(nets, params["gsd"]))


def _for_nets(options: OpenOptions, nets: list[Model], params: dict[str, Any]) -> OpenOptions:
    """What counts as a scene depends on the nets; and band names on what is a scene.

    Raises:
        UsageError: nets of several kinds, or a band that no scene of theirs has.
    """
    from geosr.inference.request import scene_options

    options = scene_options(nets, replace(options, pattern=params["pattern"]))
    if options.kind == "sentinel2":
        params["bands"] = sentinel2_bands(params["bands"], "--bands")
    return options
