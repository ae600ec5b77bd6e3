"""`geosr data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from geosr.cli.console import say, set_up_log, tell
from geosr.cli.options import PATH, log_options, option, overwrite_option, pair_options


@click.command("data")
@click.argument("path", type=PATH)
@option("--model", "-m", metavar="NAME", help="The net that would learn; auto takes one that fits.")
@pair_options
@option("--patch", type=click.IntRange(1), default=48, help="Side of a window of truth, pixels.")
@option("--preview", type=PATH, metavar="PNG", help="Write a picture of pairs, LR | HR.")
@overwrite_option("any file at --preview, whoever made it")
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@log_options
def command(path: Path, **params: Any) -> None:
    """Say what PATH would be read as for training.

    \b
    geosr data images/ --preview pairs.png
    geosr data scenes/ --model dsen2-60 --json

    Kind, number of windows, masks, and per band range, mean, deviation and histogram of up to
    96 windows; values are in units of 1.0 (255 for 8 bits, 65535 for PNG of 16 bits, 10000 for
    other integers).
    """
    from geosr.cli.gdal import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"])
    prepare_gdal(1)
    from geosr.models import registry
    from geosr.raster import marks
    from geosr.sensors import OpenOptions
    from geosr.training import survey
    from geosr.training.datasets import Choice

    auto = {k: None if params[k] == "auto" else params[k] for k in ("data_kind", "degradation")}
    options = OpenOptions(quantification=params["quantification"])
    choice = Choice(
        auto["data_kind"], params["pattern"], auto["degradation"], patch=params["patch"],
        options=options,
    )  # fmt: skip
    if params["preview"]:
        marks.require_place(params["preview"], marks.PAIRS, overwrite=params["overwrite"])
    card = None
    if params["model"]:
        card = registry.design(params["model"]).card(scale=params["scale"], bands=params["bands"])
    elif params["scale"]:
        card = registry.design("edsr-baseline").card(scale=params["scale"], bands=params["bands"])
    found = survey.survey(path, choice, card)
    if params["preview"]:
        survey.preview(path, choice, params["preview"], card, overwrite=params["overwrite"])
        say(f"pairs drawn in {params['preview']}", quiet=params["quiet"])
    tell(json.dumps(found) if params["as_json"] else _text(found))


def _text(found: dict[str, Any]) -> str:
    inputs = ", ".join(f"{' × '.join(map(str, shape))}" for shape in found["inputs"].values())
    lines = [
        f"{found['path']}: read as '{found['kind']}' for {found['read_for']} at scale "
        f"{found['scale']}",
        f"{found['images']} images, {found['held_out']} of them held out; {found['windows']} "
        f"training windows of {found['patch']} × {found['patch']} pixels of truth; inputs {inputs}",
        "",
        f"{'band':>8}{'valid':>8}{'min':>9}{'max':>9}{'mean':>9}{'std':>9}  histogram",
    ]
    for name, values in found["bands"].items():
        if "mean" not in values:
            lines.append(f"{name:>8}{0:>8.1%}")
            continue
        figures = "".join(f"{values[key]:>9.4f}" for key in ("min", "max", "mean", "std"))
        bars = "".join(_bar(share) for share in values["histogram"])
        lines.append(f"{name:>8}{values['valid_share']:>8.1%}{figures}  {bars}")
    return "\n".join(lines)


def _bar(share: float) -> str:
    return " ▁▂▃▄▅▆▇█"[min(int(share * 32 + (share > 0)), 8)]
