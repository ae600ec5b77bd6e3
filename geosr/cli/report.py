"""`geosr report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import Bar, say, set_up_log
from geosr.cli.options import PATH, device_options, log_options, option, overwrite_option

if TYPE_CHECKING:
    from geosr.evaluation.evaluate import Evaluation
    from geosr.inference.engine import Engine
    from geosr.report.snapshots import Crops


@click.command("report")
@click.argument("results", type=PATH, nargs=-1, required=True, metavar="RESULT…")
@option("--output", "-o", type=PATH, required=True, help="The HTML file.")
@overwrite_option("any file at --output, whoever made it")
@option("--title", default="geosr report", help="Its heading.")
@device_options
@log_options
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:
    """Draw results as one static HTML page.

    \b
    geosr eval --model dsen2 --data scenes/ --json > result.json
    geosr report result.json -o report.html
    geosr report out/*.tif -o report.html

    RESULT is what `geosr eval --json` printed, or an output of `geosr superres` with its record.
    Nets run again over the scenes named there. The page has sliders LR | bicubic | model | truth,
    error maps, spectra, scatter, power spectra and the metrics; it needs no server and no network.
    """
    from geosr.cli.gdal import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"])
    prepare_gdal(params["threads"])
    import torch

    from geosr import __version__, report
    from geosr.batch import records
    from geosr.cli.cache import trials_file
    from geosr.cli.scoring import peak_of
    from geosr.inference.predict import engine
    from geosr.metrics.full_reference import definitions
    from geosr.raster import marks
    from geosr.report import pages

    marks.require_place(params["output"], marks.PAGE, overwrite=params["overwrite"])
    if params["threads"]:
        torch.set_num_threads(params["threads"])
    where = engine(params["device"], params["precision"], known=trials_file())
    shown, facts = [], {"geosr": __version__}
    table: dict[str, Any] = {}
    told = definitions()
    for path in params["results"]:
        if path.suffix == ".json":
            found, crops, document = _again(path, where, params)
            shown += pages.of_scores(found, crops)
            table |= pages.table(found)
            facts |= {"protocol": found.protocol, "data": document["data"], **_nets(document)}
            told = definitions(peak_of(document["settings"]))
        else:
            shown.append(pages.of_output(path, records.require(path)))
    html = report.render(params["title"], shown, facts=facts, definitions=told, table=table)
    report.write(params["output"], html, overwrite=params["overwrite"])
    say(f"report: {params['output']} ({len(html) / 1e6:.1f} MB)", quiet=params["quiet"])


def _again(
    path: Path, where: Engine, params: dict[str, Any]
) -> tuple[Evaluation, Crops, dict[str, Any]]:
    """Score once more what a result file tells, keeping crops on the way.

    Raises:
        UsageError: the file is none of `geosr eval --json`.
    """
    from geosr.cli.scoring import data_of, lpips_of, peak_of, placed, require_local
    from geosr.errors import UsageError
    from geosr.evaluation.evaluate import evaluate
    from geosr.report.snapshots import Crops

    try:
        document = json.loads(path.read_text())
        settings = document["settings"]
        require_local(settings, path)
        models, data = placed(settings["models"], settings["scale"], where), data_of(settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not what geosr eval --json prints ({error!r}). Run it again."
        ) from error
    crops = Crops()
    with Bar(quiet=params["quiet"], unit="net", verbose=params["verbose"]) as bar:
        found = evaluate(
            data, models, engine=where, peak=peak_of(settings), perceptual=lpips_of(settings),
            watchers=[crops],
            progress=lambda scene, net: bar.advance(net, 1, 0, note=scene),
        )  # fmt: skip
    return found, crops, document


def _nets(document: dict[str, Any]) -> dict[str, str]:
    """Each net of a result with its weights' sha256."""
    return {f"net {net['net']}": f"{net['parameters']:,} parameters, sha256 {net['sha256'] or '–'}"
            for net in document["nets"]}  # fmt: skip
