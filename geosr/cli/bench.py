"""`geosr bench`."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import say, set_up_log, tell
from geosr.cli.options import PATH, compile_option, device_options, log_options, option

if TYPE_CHECKING:
    from geosr.bench.bench import Report, Way
    from geosr.inference.engine import Engine
    from geosr.models.card import Model


@click.command("bench")
@option(
    "--model",
    "-m",
    "model_names",
    multiple=True,
    metavar="NAME|FILE",
    help="Nets for one image, as superres takes them, and its default.",
)
@option("--scale", type=click.IntRange(2), help="Of nets that come in several; else their default.")
@device_options
@compile_option
@option("--scene", type=PATH, help="A scene of your own instead of a generated one.")
@option(
    "--size",
    type=click.IntRange(6),
    metavar="PIXELS",
    help="Side of the generated scene at 10 m, rounded to a multiple of 6; default 1098.",
)
@option("--repeat", type=click.IntRange(1), default=1, help="Runs of each way, in turn; medians.")
@option(
    "--dst",
    type=PATH,
    metavar="DIR",
    help="Where temporary files go, or the nearest folder above it; its disk is measured. Default "
    "the folder of such files.",
)
@option(
    "--compare",
    is_flag=True,
    help="Each --model by itself, default dsen2-ps, dsen2 and bicubic, as one table to paste.",
)
@option("--json", "as_json", is_flag=True, help="One JSON document with all numbers on stdout.")
@log_options
def command(**params: Any) -> None:
    """Measure how fast this machine super-resolves.

    \b
    geosr bench
    geosr bench --model dsen2-20 --device cuda:0 --repeat 3 --json
    geosr bench --scene scenes/field --threads 4
    geosr bench --compare

    In one run: what the device does at best (matrix products, copies, the disk), geosr from file
    to file and by stages, and the same nets the reference way, as DSen2 was published: fp32,
    small tiles one at a time, whole arrays in memory. Nothing is left behind.
    """
    from geosr.cli.gdal import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"])
    if params["scene"] and params["size"]:
        raise click.UsageError("--size is of a generated scene. Give --scene or --size.")
    wanted = (params["dst"] or Path(tempfile.gettempdir())).absolute()
    folder = next(path for path in (wanted, *wanted.parents) if path.is_dir())
    if params["compare"]:
        _compare(params)
        return
    prepare_gdal(params["threads"])
    from geosr.bench.bench import bench
    from geosr.bench.landscape import SIZE
    from geosr.cli.cache import runs_file
    from geosr.inference.forecast import Meter

    meter = Meter()
    nets, where = _nets(params)
    report = bench(
        nets, where, folder=folder, path=params["scene"], size=params["size"] or SIZE,
        repeat=params["repeat"], progress=lambda text: say(text, quiet=params["quiet"]),
        on_plan=meter.add,
    )  # fmt: skip
    if path := runs_file():
        meter.save(path, where, report.geosr.seconds)
    tell(json.dumps(asdict(report)) if params["as_json"] else _table(report))


def _compare(params: dict[str, Any]) -> None:
    """One run a model, in processes of their own, with the same options."""
    from geosr.bench import comparison

    names = ("scale", "device", "precision", "threads", "scene", "size", "repeat", "dst")
    options = [part for name in names if params[name] is not None
               for part in (f"--{name}", str(params[name]))]  # fmt: skip
    flags = [f"--{name}" for name in ("compile", "quiet") if params[name]]
    reports = comparison.compare(
        params["model_names"] or comparison.MODELS, [*options, *flags],
        progress=lambda text: say(text, quiet=params["quiet"]),
    )  # fmt: skip
    tell(json.dumps(reports) if params["as_json"] else comparison.table(reports))


def _nets(params: dict[str, Any]) -> tuple[list[Model], Engine]:
    import torch

    from geosr.bench.bench import require_one_image
    from geosr.cli.cache import trials_file
    from geosr.inference.predict import engine
    from geosr.models import registry, weights

    if params["threads"]:
        torch.set_num_threads(params["threads"])
    names, scale = params["model_names"] or registry.DEFAULT, params["scale"]
    for name in filter(registry.known, names):  # before weights are missed that would not help
        require_one_image(registry.cards(name, scale=scale))
    nets = [net for name in names for net in weights.load(name, scale=scale)]
    return nets, engine(
        params["device"], params["precision"], compiled=params["compile"], known=trials_file()
    )


def _table(report: Report) -> str:
    """The report for a person."""
    return "\n".join([*_heading(report), "", *_ways(report), "", *_notes(report)])


def _heading(report: Report) -> list[str]:
    machine, versions, limits = report.machine, report.versions, report.ceilings
    height, width = report.shape
    products = ", ".join(f"{name} {_number(rate)}" for name, rate in limits.tflop_per_s.items())
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return [
        f"geosr {versions['geosr']}, torch {versions['torch']}, GDAL {versions['gdal']}",
        f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores{gpu}",
        f"{report.scene}: {height} × {width} px, {len(report.bands)} bands; "
        f"{' '.join(report.models)} on {machine['device']}",
        f"ceilings: {products} TFLOP/s; copy {_number(limits.copy_gb_per_s)} GB/s; "
        f"disk {_number(limits.disk_mb_per_s)} MB/s",
    ]


def _ways(report: Report) -> list[str]:
    theirs, ours = report.reference, report.geosr
    rows = [
        ("", "reference", "geosr", "reference / geosr"),
        _row("end to end, s", theirs.seconds, ours.seconds),
    ]
    rows.append(("Mpixel/s", _number(theirs.mpixel_per_s), _number(ours.mpixel_per_s), ""))
    rows += [_row(f"  {name}, s", theirs.stages[name], ours.stages[name]) for name in ours.stages]
    rows.append(
        ("net, TFLOP/s", _number(theirs.net_tflop_per_s), _number(ours.net_tflop_per_s), "")
    )
    rows.append(("  of the ceiling", _share(theirs), _share(ours), ""))
    rows.append(("peak memory, MB", f"{theirs.peak_rss_mb:.0f}", f"{ours.peak_rss_mb:.0f}", ""))
    if theirs.peak_device_mb is not None and ours.peak_device_mb is not None:
        peaks = f"{theirs.peak_device_mb:.0f}", f"{ours.peak_device_mb:.0f}"
        rows.append(("peak GPU memory, MB", *peaks, ""))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3))]).rstrip()
        for row in rows
    ]


def _row(name: str, theirs: float, ours: float) -> tuple[str, str, str, str]:
    ratio = f"{theirs / ours:.2f}" if theirs and ours else ""
    return name, _number(theirs), _number(ours), ratio


def _share(way: Way) -> str:
    return f"{100 * way.share:.0f} % {way.ceiling}"


def _number(value: float) -> str:
    """Three figures, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}" if value >= 0.001 else f"{value:.4f}"


def _notes(report: Report) -> list[str]:
    theirs, ours, apart = report.reference, report.geosr, report.agreement
    return [
        f"reference: {theirs.taken}; {theirs.tiles} passes",
        f"geosr: {ours.taken}; {ours.tiles} passes",
        f"The outputs differ by up to {apart.largest:g} counts where the reference tiles hold "
        f"all that a net sees ({100 * apart.share:.0f} % of pixels), by {apart.elsewhere:g} "
        "elsewhere.",
        "A multiply-add counts as two FLOP (torch.utils.flop_counter), margins included. geosr's "
        "stages are of a run of their own; its runs come first, and peak memory is the process's.",
    ]
