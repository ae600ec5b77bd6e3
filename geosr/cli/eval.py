"""`geosr eval`."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
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
    from geosr.evaluate import Evaluation


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
@option("--data", type=PATH, required=True, help="Scene or folder of scenes.")
@option("--pattern", metavar="GLOB", help="Only scenes whose name matches.")
@option(
    "--tile-size", type=Auto(int, 1), default="auto", help="Core of a tile, pixels; auto is 480."
)
@device_options
@input_options
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@log_options
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:  # fmt: skip
    """Score nets by Wald's protocol, bicubic beside them.

    \b
    geosr eval --model dsen2 --data scenes/

    Every scene is degraded by 2 (20 m bands) and by 6 (60 m bands), sharpened, and compared with
    its untouched bands. RMSE in DN (10000 = reflectance 1), SRE in dB with the squared mean, SAM
    in degrees over the bands of the net, UIQ in windows of 8; masked pixels do not count, no
    border is left out. Bicubic is cubic convolution with a = −0.75.
    """
    from geosr.cli.main import prepare_gdal

    quiet = params["quiet"]
    set_up_log(quiet=quiet, verbose=params["verbose"])
    prepare_gdal(params["threads"], vrt=params["allow_vrt"])
    import torch

    from geosr import weights
    from geosr.errors import GeosrError, UsageError
    from geosr.evaluate import evaluate
    from geosr.predict import engine, place
    from geosr.sensors import find_scenes, open_scene

    if params["threads"]:
        torch.set_num_threads(params["threads"])
    options = open_options(params)
    where = engine(params["device"], params["precision"])
    names = dict.fromkeys((*params["model_names"], "bicubic"))
    models = {name: [place(m, where) for m in weights.load(name)] for name in names}
    scenes, failed = [], {}
    for path in find_scenes(params["data"], pattern=params["pattern"]):
        try:
            scenes.append(open_scene(path, options))
        except GeosrError as error:
            failed[path.name] = str(error)
    if not scenes:
        raise UsageError(
            next(iter(failed.values()), f"no scenes in {params['data']}. Check --data.")
        )
    with Bar(quiet=quiet, unit="net") as bar:
        total = len(scenes) * sum(len(nets) for nets in models.values())
        found = evaluate(
            scenes, models, engine=where, tile_size=params["tile_size"],
            progress=lambda scene, net: bar.advance("eval", 1, total),
        )  # fmt: skip
    failed |= found.failed
    if params["as_json"]:
        click.echo(json.dumps(_finite(_document(found, list(models), failed)), allow_nan=False))
    else:
        click.echo(table(found, list(models)))
    for name, reason in failed.items():
        say(f"geosr: {name}: {reason}")
    ctx.exit(3 if failed else 0)


def _document(found: Evaluation, models: list[str], failed: dict[str, str]) -> dict[str, Any]:
    """Means over scenes by GSD and model, then every score; `ratio` is that of the mean RMSEs."""
    means: dict[int, dict[str, dict[str, float | None]]] = {}
    for gsd in sorted({score.gsd for score in found.scores}):
        base = found.mean("bicubic", gsd, "rmse")
        for model in models:
            row = {key: found.mean(model, gsd, key) for key in ("rmse", "sre", "sam", "uiq")}
            row["ratio"] = row["rmse"] / base if base and row["rmse"] is not None else None
            means.setdefault(gsd, {})[model] = row
    return {
        "protocol": found.protocol,
        "means": means,
        "scores": [asdict(score) for score in found.scores],
        "failed": failed,
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity: the SRE of a perfect estimate is null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(found: Evaluation, models: list[str]) -> str:
    """Means over scenes: a block per GSD, a row per model, RMSE by band and the other metrics."""
    lines = [f"protocol: {found.protocol}; means over scenes; RMSE in DN, SRE in dB, SAM in °"]
    for gsd in sorted({score.gsd for score in found.scores}):
        at = [score for score in found.scores if score.gsd == gsd]
        bands = list(at[0].bands["rmse"])
        count = len({score.scene for score in at})
        lines += ["", f"{gsd} m bands, degraded by {gsd // 10}, {count} scenes"]
        heads = [*bands, "RMSE", "ratio", "SRE", "SAM", "UIQ"]
        lines.append(f"{'':24}" + "".join(f"{head:>9}" for head in heads))
        base = found.mean("bicubic", gsd, "rmse")
        for model in models:
            mean = found.mean(model, gsd, "rmse")
            if mean is None:
                continue
            cells = [found.mean(model, gsd, "rmse", band) for band in bands]
            cells += [mean, mean / base if base else None]
            cells += [found.mean(model, gsd, metric) for metric in ("sre", "sam", "uiq")]
            digits = [2] * (len(bands) + 1) + [4, 2, 3, 4]
            row = "".join(
                f"{'–' if cell is None else format(cell, f'.{n}f'):>9}"
                for cell, n in zip(cells, digits, strict=True)
            )
            lines.append(f"{model[-24:]:24}{row}")
    return "\n".join(lines)
