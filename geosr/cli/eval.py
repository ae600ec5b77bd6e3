"""`geosr eval`."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import Bar, say, set_up_log
from geosr.cli.options import (
    PATH,
    Auto,
    device_options,
    input_options,
    log_options,
    open_options,
    option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from geosr.evaluate import Evaluation, Watcher
    from geosr.models import Model
    from geosr.predict import Engine
    from geosr.protocols import Data
    from geosr.shots import Crops

_SHOWN = {  # metric: heading, digits; in the table
    "rmse": ("RMSE", 2), "sre": ("SRE", 2), "sam": ("SAM", 3), "uiq": ("UIQ", 4),
    "ergas": ("ERGAS", 3), "psnr": ("PSNR", 2), "ssim": ("SSIM", 4), "cc": ("CC", 4),
    "d_lambda": ("D_lambda", 4), "d_rho": ("D_rho", 4), "qnr": ("QNR", 4),
    "cpsnr": ("cPSNR", 3), "cssim": ("cSSIM", 5), "score": ("score", 5),
}  # fmt: skip


@click.command("eval")
@option(
    "--model",
    "-m",
    "model_names",
    multiple=True,
    required=True,
    metavar="NAME|FILE",
    help="Pair, net or weights file; may be given again. Bicubic is always scored too.",
)
@option("--data", type=PATH, required=True, help="Scene, or folder of scenes, images or pairs.")
@option("--scale", type=click.IntRange(2), help="Of nets that come in several.")
@option(
    "--protocol",
    type=click.Choice(["auto", "wald", "folder", "series", "pairs", "dual", "kelvins", "full"]),
    default="auto",
    help="What is truth; auto tells by nets and data.",
)
@option(
    "--degradation",
    type=click.Choice(["auto", "gaussian", "mtf", "bicubic", "box"]),
    default="auto",
    help="How inputs are made of the truth: gaussian for scenes, bicubic for images.",
)
@option("--pattern", metavar="GLOB", help="Only scenes whose name matches.")
@option("--extra", is_flag=True, help="The slower metrics too: MS-SSIM and Q2n.")
@option("--tile-size", type=Auto(int, 1), default="auto", help="Core of a tile; as superres.")
@option("--save-images", type=PATH, metavar="DIR", help="Pictures LR | SR | HR of every scene.")
@option("--report", type=PATH, metavar="HTML", help="One static page with sliders and figures.")
@option("--csv", "as_csv", is_flag=True, help="One line a scene, model and band on stdout.")
@device_options
@input_options
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@log_options
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
    from geosr.cli.main import prepare_gdal

    quiet = params["quiet"]
    set_up_log(quiet=quiet, verbose=params["verbose"])
    prepare_gdal(params["threads"], vrt=params["allow_vrt"])
    import torch

    from geosr.evaluate import evaluate
    from geosr.predict import engine
    from geosr.shots import Album, Crops

    if params["threads"]:
        torch.set_num_threads(params["threads"])
    settings = _settings(params)
    where = engine(params["device"], params["precision"])
    models = placed(settings["models"], settings["scale"], where)
    album = [Album(params["save_images"])] if params["save_images"] else []
    crops = Crops()
    watchers: list[Watcher] = [*album, crops] if params["report"] else [*album]
    with Bar(quiet=quiet, unit="net") as bar:
        found = evaluate(
            data_of(settings), models, engine=where, extra=params["extra"], watchers=watchers,
            progress=lambda scene, net: bar.advance(net, 1, 0, note=scene),
        )  # fmt: skip
    result = document(found, settings, models)
    if params["report"]:
        _write_report(params["report"], found, crops, result)
    if params["as_json"]:
        click.echo(json.dumps(_finite(result), allow_nan=False))
    elif params["as_csv"]:
        click.echo(_csv(found), nl=False)
    else:
        click.echo(table(found))
    for name, reason in found.failed.items():
        say(f"geosr: {name}: {reason}")
    ctx.exit(3 if found.failed else 0)


def _settings(params: dict[str, Any]) -> dict[str, Any]:
    """What a second run needs, as plain values."""
    options = open_options(params)
    auto = {key: None if params[key] == "auto" else params[key] for key in
            ("protocol", "degradation")}  # fmt: skip
    return {
        "models": [name for name in params["model_names"] if name != "bicubic"],
        "scale": params["scale"], "data": str(params["data"].absolute()),
        "pattern": params["pattern"], "tile_size": params["tile_size"], **auto,
        "options": asdict(options),
    }  # fmt: skip


def data_of(settings: dict[str, Any]) -> Data:
    """The data of `_settings`."""
    from geosr.protocols import Data
    from geosr.sensors import OpenOptions

    options = dict(settings["options"])
    if options["bands_in"]:
        options["bands_in"] = tuple(options["bands_in"])
    return Data(Path(settings["data"]), settings["protocol"], settings["pattern"],
                settings["degradation"], OpenOptions(**options), settings["tile_size"])  # fmt: skip


def placed(names: Sequence[str], scale: int | None, where: Engine) -> dict[str, list[Model]]:
    """Nets by the name they were asked by, placed; bicubic at every scale among them, last."""
    from geosr import weights
    from geosr.predict import place

    found = {name: list(weights.load(name, scale=scale)) for name in dict.fromkeys(names)}
    nets = [net for parts in found.values() for net in parts]
    generic = sorted({net.card.scale for net in nets if net.card.task != "guided"})
    if not nets and scale:
        generic = [scale]
    if generic:
        found["bicubic"] = [weights.load("bicubic", scale=scale)[0] for scale in generic]
    else:
        found["bicubic"] = list(weights.load("bicubic"))
    return {name: [place(net, where) for net in parts] for name, parts in found.items()}


def _write_report(path: Path, found: Evaluation, crops: Crops, result: dict[str, Any]) -> None:
    from geosr import __version__, pages, report
    from geosr.metrics import DEFINITIONS

    facts = {"geosr": __version__, "protocol": found.protocol, "data": result["data"]}
    html = report.render(
        "geosr eval", pages.of_scores(found, crops), facts=facts, definitions=DEFINITIONS,
        table=pages.table(found),
    )  # fmt: skip
    report.write(path, html)
    say(f"report: {path} ({len(html) / 1e6:.1f} MB)")


def document(
    found: Evaluation, settings: dict[str, Any], models: dict[str, list[Model]]
) -> dict[str, Any]:
    """Means over scenes by group and model, pairs compared, then every score.

    `ratio` is that of the mean RMSEs.
    """
    from geosr import __version__
    from geosr.metrics import DEFINITIONS

    means = {
        group: {
            model: {
                **{key: found.mean(model, group, key) for key in _metrics(found, group)},
                "ratio": found.ratio(model, group, "bicubic"),
                "spread": {key: found.spread(model, group, key) for key in _metrics(found, group)},
                "scenes": len({s.scene for s in found.scores if (s.model, s.group) ==
                               (model, group)}),
            }
            for model in found.models
        }
        for group in found.groups
    }  # fmt: skip
    return {
        "geosr": __version__,
        "protocol": found.protocol,
        "data": settings["data"],
        "settings": settings,
        "nets": [
            {"model": name, "net": net.card.name, "scale": net.card.scale,
             "parameters": net.parameters, "sha256": net.card.sha256}
            for name, parts in models.items() for net in parts
        ],
        "definitions": DEFINITIONS,
        "means": means,
        "paired": [asdict(pair) for pair in _paired(found)],
        "scores": [asdict(score) for score in found.scores],
        "failed": dict(found.failed),
    }  # fmt: skip


def _metrics(found: Evaluation, group: str) -> list[str]:
    """Metrics that any score of a group has."""
    keys = (key for score in found.scores if score.group == group for key in score.whole)
    return list(dict.fromkeys(keys))


def _paired(found: Evaluation) -> list[Any]:
    models = found.models
    return found.paired(models[0], models[1]) if len(models) > 1 else []


def _finite(value: Any) -> Any:
    """JSON has no infinity: the SRE of a perfect estimate is null."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(found: Evaluation) -> str:
    """A block a group, a row a model: RMSE by band, then the other metrics, means over scenes."""
    lines = [f"protocol: {found.protocol}; means over scenes; RMSE in counts of 10000 to 1.0, "
             "SRE and PSNR in dB (peak 10000), SAM in °"]  # fmt: skip
    for group in found.groups:
        lines += ["", *_block(found, group)]
    for pair in _paired(found):
        lines += ["", f"{pair.group}: {pair.first} against {pair.second} on {pair.scenes} scenes: "
                  f"better on {pair.wins:.0%}, {pair.metric} differs by {pair.difference:+.3f} "
                  f"({pair.low:+.3f} … {pair.high:+.3f}, 95 % of the bootstrap)"]  # fmt: skip
    return "\n".join(lines)


def _block(found: Evaluation, group: str) -> list[str]:
    at = [score for score in found.scores if score.group == group]
    bands = list(dict.fromkeys(band for score in at for band in score.bands.get("rmse", {})))
    bands = bands if 1 < len(bands) <= 13 else []
    keys = [key for key in _SHOWN if key in _metrics(found, group)]
    if not bands and "sam" in keys:  # one band has no angle
        keys.remove("sam")
    count = len({score.scene for score in at})
    heads = [*bands, *(_SHOWN[key][0] for key in keys), "ratio"]
    title = f"{group} m bands, degraded by {at[0].factor}" if group.isdigit() else group
    lines = [f"{title}, {count} scenes", f"{'':32}" + "".join(f"{head:>9}" for head in heads)]
    for model in found.models:
        if not any(score.model == model for score in at):
            continue
        cells = [(found.mean(model, group, "rmse", band), 2) for band in bands]
        cells += [(found.mean(model, group, key), _SHOWN[key][1]) for key in keys]
        cells.append((found.ratio(model, group, "bicubic"), 4))
        row = "".join(f"{'–' if v is None else format(v, f'.{n}f'):>9}" for v, n in cells)
        lines.append(f"{model[-32:]:32}{row}")
    return lines


def _csv(found: Evaluation) -> str:
    """scene, group, model, net, band ("" is the whole scene), metric, value."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["scene", "path", "group", "model", "net", "band", "metric", "value"])
    for score in found.scores:
        head = [score.scene, score.path, score.group, score.model, score.net]
        for metric, value in score.whole.items():
            writer.writerow([*head, "", metric, "" if value is None else repr(value)])
        for metric, values in score.bands.items():
            for band, value in values.items():
                writer.writerow([*head, band, metric, "" if value is None else repr(value)])
    return text.getvalue()
