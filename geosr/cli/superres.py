"""`geosr superres`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import Bar, say, set_up_log
from geosr.cli.options import (
    PATH,
    Auto,
    NameList,
    creation_options,
    device_options,
    input_options,
    log_options,
    open_options,
    option,
    sentinel2_bands,
)

if TYPE_CHECKING:
    from geosr.batch import Outcome
    from geosr.models import Model
    from geosr.sensors import OpenOptions

GUIDED = "sentinel2"
_KINDS = {"guided": GUIDED, "sisr": "image", "misr": "series"}  # of scenes, by task of nets


@click.command("superres", no_args_is_help=False)
@click.argument("src", type=str, envvar=["GEOSR_SRC", "IMAGES_PATH"], required=False)
@click.argument("dst", type=PATH, envvar=["GEOSR_DST", "SR_IMAGES_PATH"], required=False)
@option(
    "--model",
    "-m",
    "model_names",
    multiple=True,
    metavar="NAME|FILE",
    help="dsen2 (default), vdsen2, bicubic, one net (dsen2-20), or a weights file; may be "
    "given twice. geosr models lists them.",
)
@option("--scale", type=click.IntRange(2), help="Of nets that come in several; else their default.")
@option(
    "--weights-20",
    type=PATH,
    aliases=["SR_20M_PATH"],
    help="Weights of the 20 m net, where --model is not given.",
)
@option(
    "--weights-60",
    type=PATH,
    aliases=["SR_60M_PATH"],
    help="Weights of the 60 m net, where --model is not given.",
)
@option("--bands", type=NameList(), help="Output bands by name, B5,B11; default all.")
@option("--only-sr", is_flag=True, help="Leave out the native 10 m bands.")
@option(
    "--bounds",
    type=float,
    nargs=4,
    metavar="W S E N",
    help="Part of the scene, in its CRS; snapped outward to whole coarse pixels.",
)
@option("--bounds-crs", metavar="CRS", help="CRS of --bounds, EPSG:4326 for example.")
@option(
    "--format",
    type=click.Choice(["GTiff", "COG"], case_sensitive=False),
    default="GTiff",
    help="Of the outputs.",
)
@option(
    "--co",
    "creation",
    multiple=True,
    metavar="NAME=VALUE",
    callback=creation_options,
    help="GDAL creation option; may be given again.",
)
@option(
    "--tile-size",
    type=Auto(int, 1),
    default="auto",
    help="Finished core of a tile, in pixels of the finest input grid; rounded up to "
    "whole coarse pixels. The margin is read on top. auto is 480, or 768 / scale for nets whose "
    "output grid is finer.",
)
@option(
    "--overlap",
    type=Auto(int, 0),
    default="auto",
    help="Pixels read around a core; auto is the net's margin, less than it is never used.",
)
@option("--batch-size", type=click.IntRange(1), default=1, help="Tiles that share a pass.")
@device_options
@input_options
@option("--pattern", metavar="GLOB", help="Only scenes (files of a series) whose name matches.")
@option(
    "--overwrite",
    is_flag=True,
    help="Replace outputs made with other settings, and files geosr did not make.",
)
@option("--check", is_flag=True, help="Degrade the output to the input's resolution and compare.")
@option(
    "--check-limit",
    type=float,
    metavar="COUNTS",
    help="Fail a scene where a band departs by more (RMSE, 10000 to 1.0); implies --check.",
)
@option("--report", is_flag=True, help="Draw each output as DST/<scene>.html; implies --check.")
@option("--dry-run", "-n", is_flag=True, help="Say what would be done; write nothing.")
@option("--json", "as_json", is_flag=True, help="One JSON line per scene on stdout.")
@log_options
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:  # fmt: skip
    """Super-resolve the scene or folder of scenes SRC into DST.

    \b
    geosr superres scenes/ out/
    geosr superres S2A_MSIL2A_….SAFE.zip out.tif --bands B5,B11
    geosr superres stack.tif out/ --model bicubic --format COG

    One GeoTIFF per scene at the finest grid of its inputs: Sentinel-2's native 10 m bands
    bit for bit, the others sharpened to 10 m. DST ending in .tif is a file, else a folder.
    Finished outputs are skipped, so the same command again finishes an interrupted run.
    Nets for any raster (lapsr, edsr, …) take every GeoTIFF, PNG or JPEG of SRC, band by band, to
    a grid --scale times finer with the same bounds; multi-image nets take a folder of rasters of
    one place, or a folder of such folders.
    SRC and DST default to IMAGES_PATH and SR_IMAGES_PATH (environment or .env).
    """
    from geosr.cli.main import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"])
    prepare_gdal(params["threads"], vrt=params["allow_vrt"])
    ctx.exit(_run(params))


def _run(params: dict[str, Any]) -> int:
    """Check everything that can be checked, then work; returns the exit code."""
    src, dst = _paths(params)
    from geosr import batch
    from geosr.errors import WeightsError
    from geosr.plan import Request
    from geosr.predict import engine, place

    quiet, precision = params["quiet"], params["precision"]
    loaded = _models(params)
    if not loaded:
        raise WeightsError("no net was chosen. Give --model.")
    options = _for_nets(open_options(params), loaded, params)
    outputs = batch.targets(src, dst, pattern=params["pattern"], kind=options.kind)
    if not outputs:
        say(f"warning: no scenes in {src}", quiet=quiet)
        return 0
    where = engine(params["device"], precision, params["batch_size"], guided=options.kind == GUIDED)
    _set_threads(params["threads"])
    nets = tuple(place(model, where) for model in loaded)
    request = Request(
        params["bands"], params["only_sr"], params["bounds"], params["bounds_crs"],
        params["tile_size"], params["overlap"], params["format"], params["creation"],
    )  # fmt: skip
    job = batch.Job(
        nets,
        request,
        options,
        where,
        precision,
        params["overwrite"],
        params["check"] or params["report"] or params["check_limit"] is not None,
        params["check_limit"],
        params["report"],
    )
    report = _reporter(as_json=params["as_json"], quiet=quiet)
    if params["dry_run"]:
        return batch.exit_code(batch.plan(outputs, job, report=report))
    for folder in {output.parent for output in outputs.values()}:
        batch.check_writable(folder)
    with Bar(quiet=quiet) as bar:

        def progress(name: str, done: int, total: int) -> None:
            bar.advance(name, done, total)

        outcomes = batch.run(outputs, job, report=report, progress=progress)
    _last_line(outcomes, quiet=quiet)
    return batch.exit_code(outcomes)


def _paths(params: dict[str, Any]) -> tuple[Path, Path]:
    src, dst = params["src"], params["dst"]
    if not src or not dst:
        raise click.UsageError(
            "SRC and DST are missing. Give them, or set IMAGES_PATH and SR_IMAGES_PATH in .env."
        )
    from geosr.sensors import is_remote, remote_path

    if is_remote(src) and not params["allow_remote"]:
        raise click.UsageError(f"{src[:80]}: local files only. Pass --allow-remote to read it.")
    return remote_path(src) if is_remote(src) else Path(src), dst


def _models(params: dict[str, Any]) -> list[Model]:
    """--model wins over --weights-20 and --weights-60; without any, the default pair."""
    from geosr import weights

    files = [params[key] for key in ("weights_20", "weights_60") if params[key]]
    names = params["model_names"] or tuple(str(path) for path in files) or ("dsen2",)
    return [model for name in names for model in weights.load(name, scale=params["scale"])]


def _for_nets(options: OpenOptions, nets: list[Model], params: dict[str, Any]) -> OpenOptions:
    """What counts as a scene depends on the nets; and band names on what is a scene.

    Raises:
        UsageError: nets of several kinds, or a band that no scene of theirs has.
    """
    from geosr.errors import UsageError

    kinds = {_KINDS[model.card.task] for model in nets}
    if len(kinds) > 1:
        raise UsageError("guided nets and nets for any raster do not go together. Run them apart.")
    (kind,) = kinds
    if kind == GUIDED:
        params["bands"] = sentinel2_bands(params["bands"], "--bands")
    told = options.quantification or nets[0].card.quantification or None
    return replace(options, kind=kind, pattern=params["pattern"], quantification=told)


def _set_threads(threads: int | None) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)


def _reporter(*, as_json: bool, quiet: bool) -> Any:
    def report(outcome: Outcome) -> None:
        if as_json:
            click.echo(outcome.to_json())
        if outcome.status == "failed":
            click.echo(f"geosr: {outcome.scene}: {outcome.message}", err=True)
        elif not quiet:
            took = f" in {outcome.seconds:.1f} s" if outcome.seconds else ""
            said = f" ({outcome.message})" if outcome.message else ""
            say(f"{outcome.scene}: {outcome.status}{took}{said} {outcome.output}{_counts(outcome)}")

    return report


def _counts(outcome: Outcome) -> str:
    """The numbers that were touched on the way, where there are any."""
    names = ("clipped", "filled", "shifted")
    said = [f"{getattr(outcome, n):,} {n}" for n in names if getattr(outcome, n)]
    if outcome.check:
        worst = max((v for v in outcome.check["rmse"].values() if v is not None), default=0.0)
        said.append(f"self-check RMSE up to {worst:.1f}")
    return f" [{', '.join(said)}]" if said else ""


def _last_line(outcomes: list[Outcome], *, quiet: bool) -> None:
    counts = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("done", "skipped", "failed")
    }
    line = ", ".join(f"{count} {status}" for status, count in counts.items())
    if counts["failed"] or not quiet:
        print(line, file=sys.stderr)
