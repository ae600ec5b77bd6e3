"""`geosr data`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import click

from geosr.cli.console import say, set_up_log, tell
from geosr.cli.options import PATH, Auto, log_options, option, overwrite_option, pair_options


class _Data(click.Command):
    """Takes a path, or the name of a command of its own; a folder of that name is `./NAME`."""

    commands: ClassVar[dict[str, click.Command]] = {}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:  # fmt: skip
        """Of the command that the first word names, with the settings of this one."""
        inner = self.commands.get(args[0]) if args else None
        if inner is None:
            return super().make_context(info_name, args, parent, **extra)
        settings = (parent.default_map or {}).get(info_name or "") if parent else None
        return inner.make_context(f"{info_name} {args[0]}", args[1:], parent,
                                  default_map=settings, **extra)  # fmt: skip


@click.command("data", cls=_Data)
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
    geosr data degradation images/ -o pool.json

    Kind, number of windows, masks, and per band range, mean, deviation and histogram of up to
    96 windows; values are in units of 1.0 (255 for 8 bits, 65535 for PNG of 16 bits, 10000 for
    other integers). `degradation` has a --help of its own.
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


@click.command("degradation")
@click.argument("folder", metavar="DIR", type=PATH)
@option("--output", "-o", type=PATH, required=True, help="The pool's file, *.json.")
@option(
    "--scale",
    type=click.IntRange(2),
    default=2,
    help="How many times finer the images are that it will degrade.",
)
@option(
    "--like",
    type=PATH,
    metavar="FINE",
    help="Folder of images of like ground, that many times finer, to compare spectra with.",
)
@option("--pattern", metavar="GLOB", help="Only files whose name matches.")
@option(
    "--quantification",
    type=Auto(float, 1e-6),
    default="auto",
    help="Value of 1.0 in images; auto goes by their type.",
)
@overwrite_option("any file at --output, whoever made it")
@option("--json", "as_json", is_flag=True, help="What was found as one JSON document on stdout.")
@log_options
def degradation(folder: Path, **params: Any) -> None:
    """Find out how the images in DIR are blurred and how noisy they are.

    \b
    geosr data degradation images/ -o pool.json
    geosr data degradation coarse/ --like fine/ --scale 4 -o pool.json
    geosr train --model srresnet --scale 2 --data fine/ --degradation pool.json --out run

    Coarse bands of Sentinel-2 scenes are compared with the finer bands beside them; of other
    images the spectrum tells the blur, and flat parts the noise. The pool holds a kernel and
    patches of noise for every image and band; train and eval draw from it by --degradation.
    """
    from geosr.cli.gdal import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"])
    prepare_gdal(1)
    from geosr.raster import marks
    from geosr.raster.publish import write_bytes
    from geosr.sensors import OpenOptions
    from geosr.training import degradations

    path: Path = params["output"]
    if path.suffix.lower() != ".json":
        raise click.UsageError(f"--output {path}: a pool is a JSON file. Name it pool.json.")
    marks.require_place(path, marks.POOL, overwrite=params["overwrite"])
    quiet = params["quiet"]
    pool = degradations.collect(
        folder, params["scale"], like=params["like"], pattern=params["pattern"],
        options=OpenOptions(quantification=params["quantification"]),
        progress=lambda name: say(name, quiet=quiet),
    )  # fmt: skip
    write_bytes(path, pool.to_json().encode())
    found = degradations.described(pool)
    tell(json.dumps(found) if params["as_json"] else _pool_text(found))
    say(f"pool: {path}", quiet=quiet)


_Data.commands["degradation"] = degradation


def _pool_text(found: dict[str, Any]) -> str:
    large, small = found["sigma"]
    least, most = found["sigma_range"]
    lines = [
        f"{found['kernels']} kernels for scale {found['scale']}, by {', '.join(found['how'])}: "
        f"σ {large:.2f} and {small:.2f} fine pixels along the axes (median; {least:.2f} to "
        f"{most:.2f})"
    ]
    if found["noise"] is not None:
        least, most = found["noise_range"]
        lines.append(f"noise: σ {found['noise']:.4f} of 1.0 (median; {least:.4f} to {most:.4f})")
    return "\n".join(lines)


def _text(found: dict[str, Any]) -> str:
    inputs = ", ".join(f"{' × '.join(map(str, shape))}" for shape in found["inputs"].values())
    named = [f"{found['data_set']}, by how it lies on the disk; licence: {found['licence']}"]
    lines = [
        *(named if found["data_set"] else []),
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
