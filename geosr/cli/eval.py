"""`geosr eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import Bar, say, set_up_log, tell
from geosr.cli.groups import (
    INPUTS,
    MAIN,
    OUTPUT,
    SCORES,
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
    Degradation,
    ParamType,
    device_options,
    fit_options,
    frame_options,
    input_options,
    log_options,
    option,
    overwrite_option,
)
from geosr.cli.scoring import (
    as_csv,
    data_of,
    document,
    finite,
    fit_options_of,
    lpips_of,
    peak_of,
    placed,
    settings_of,
    table,
)
from geosr.errors import UsageError

if TYPE_CHECKING:
    from geosr.evaluation.evaluate import Evaluation, Watcher
    from geosr.metrics.full_reference import Peak
    from geosr.report.snapshots import Crops


class _Peak(ParamType):
    """A number, or "max"."""

    name = "peak"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Peak:
        """As `Scores` takes it."""
        if str(value).strip().lower() == "max":
            return "max"
        try:
            return float(value)
        except ValueError:
            self.fail(f"'{value}' is neither 'max' nor a number.", param, ctx)


_PROTOCOLS = ["auto", "wald", "twin", "folder", "series", "pairs", "dual", "revisits", "kelvins",
              "reference", "references", "full", "spectral"]  # fmt: skip


@click.command("eval", cls=GroupedCommand)
@option_group(
    MAIN,
    option(
        "--model",
        "-m",
        "model_names",
        multiple=True,
        required=True,
        metavar="NAME|FILE",
        help="Pair, net or weights file; may be given again. Bicubic is always scored too.",
    ),
    option("--data", type=PATH, required=True, help="Scene, or folder of scenes, images or pairs."),
    option(
        "--scale", type=SCALE, help="Of nets that come in several; of nets of any scale any, 2.5."
    ),
    option(
        "--protocol",
        type=click.Choice(_PROTOCOLS),
        default="auto",
        help="What is truth; auto tells by nets and data.",
    ),
    option(
        "--degradation",
        type=Degradation(["auto", "gaussian", "sensor", "bicubic", "box", "crap"]),
        default="auto",
        help="How inputs are made of the truth: auto is gaussian, as published, for scenes and "
        "bicubic for images; sensor is the bands' own point spread, consistent with scale; crap "
        "and POOL.json are for images, and hold them in memory.",
    ),
    option(
        "--psf",
        type=click.FloatRange(0),
        multiple=True,
        metavar="SIGMA",
        help="Blur images by a Gaussian of this σ in input pixels, without a block mean; may be "
        "given again: every pair with --noise is scored.",
    ),
    option(
        "--noise",
        type=click.FloatRange(0),
        multiple=True,
        metavar="SIGMA",
        help="Add white noise of this σ, in units of 1.0; may be given again.",
    ),
    REFINE,
)
@option_group(
    SCORES,
    option(
        "--extra",
        is_flag=True,
        help="The slower metrics too: MS-SSIM, Q2n, opensr-test, and whether detail is right.",
    ),
    option(
        "--peak",
        type=_Peak(),
        metavar="NUMBER|max",
        default="10000",
        help="Of PSNR and SSIM, in counts of 10000 to 1.0; max: PSNR's is the truth's largest "
        "value by band and scene, SSIM's stays 10000. That of cPSNR is fixed.",
    ),
    option(
        "--lpips",
        type=PATH,
        metavar="FILE",
        help="Score LPIPS too, by the weights in this .safetensors: AlexNet's features.0 … "
        "features.10 and lin0 … lin4.",
    ),
)
@option_group(
    WHAT,
    option("--report", type=PATH, metavar="HTML", help="One static page with sliders and figures."),
    option("--save-images", type=PATH, metavar="DIR", help="Pictures LR | SR | HR of every scene."),
    overwrite_option("any files at --report and in --save-images, whoever made them", WHAT),
)
@option_group(
    INPUTS,
    option("--pattern", metavar="GLOB", help="Only scenes whose name matches."),
    input_options,
)
@frame_options
@fit_options
@option_group(
    SPEED,
    device_options,
    option("--tile-size", type=Auto(int, 1), default="auto", help="Core of a tile; as superres."),
)
@option_group(
    OUTPUT,
    option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    option("--csv", "as_csv", is_flag=True, help="One line a scene, model and band on stdout."),
    log_options,
)
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:  # fmt: skip
    """Score nets against a truth, bicubic beside them.

    \b
    geosr eval --model dsen2 --data scenes/
    geosr eval --model runs/a/best.safetensors --model runs/b/best.safetensors --data images/

    Wald's protocol for guided nets: every scene is degraded by 2 (20 m bands) and 6 (60 m bands),
    sharpened, and compared with its untouched bands. Images are degraded by the net's scale;
    pairs, dual sets and Kelvins imgsets bring their own truth. Values in counts of 10000 to 1.0;
    masked pixels do not count, no border is left out, nothing is rounded but on a Kelvins set.
    Bicubic is cubic convolution with a = −0.75.
    """
    from geosr.cli.gdal import prepare_gdal

    quiet = params["quiet"]
    set_up_log(quiet=quiet, verbose=params["verbose"])
    prepare_gdal(params["threads"], vrt=params["allow_vrt"])
    import torch

    from geosr.cli.cache import trials_file
    from geosr.evaluation.evaluate import evaluate
    from geosr.inference.predict import engine
    from geosr.raster import marks
    from geosr.report.snapshots import Album, Crops

    if params["threads"]:
        torch.set_num_threads(params["threads"])
    if params["report"]:
        marks.require_place(params["report"], marks.PAGE, overwrite=params["overwrite"])
    if params["as_json"] and params["as_csv"]:
        raise UsageError("--json and --csv both go to stdout. Choose one.")
    settings = settings_of(params)
    where = engine(params["device"], params["precision"], known=trials_file())
    models = placed(settings["models"], settings["scale"], where)
    fit_options_of(settings).require_learner(n.card for nets in models.values() for n in nets)
    overwrite = params["overwrite"]
    album = [Album(params["save_images"], overwrite)] if params["save_images"] else []
    crops = Crops()
    watchers: list[Watcher] = [*album, crops] if params["report"] else [*album]
    with Bar(quiet=quiet, unit="net", verbose=params["verbose"]) as bar:
        found = evaluate(
            data_of(settings), models, engine=where, extra=params["extra"],
            peak=peak_of(settings), perceptual=lpips_of(settings), watchers=watchers,
            progress=lambda scene, net: bar.advance(net, 1, 0, note=scene),
        )  # fmt: skip
    result = document(found, settings, models)
    if params["as_json"]:
        tell(json.dumps(finite(result), allow_nan=False))
    elif params["as_csv"]:
        tell(as_csv(found), nl=False)
    else:
        tell(table(found, peak_of(settings)))
    if params["report"]:
        _write_report(params["report"], found, crops, result, overwrite=overwrite)
    for name, reason in found.failed.items():
        say(f"geosr: {name}: {reason}")
    ctx.exit(3 if found.failed else 0)


def _write_report(
    path: Path, found: Evaluation, crops: Crops, result: dict[str, Any], *, overwrite: bool
) -> None:
    from geosr import __version__, report
    from geosr.report import pages

    facts = {"geosr": __version__, "protocol": found.protocol, "data": result["data"]}
    html = report.render(
        "geosr eval", pages.of_scores(found, crops), facts=facts,
        definitions=result["definitions"], table=pages.table(found),
    )  # fmt: skip
    report.write(path, html, overwrite=overwrite)
    say(f"report: {path} ({len(html) / 1e6:.1f} MB)")
