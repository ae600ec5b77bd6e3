"""`geosr change`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import set_up_log, tell
from geosr.cli.groups import INPUTS, MAIN, SPEED, GroupedCommand, option_group
from geosr.cli.options import (
    PATH,
    device_options,
    input_options,
    log_options,
    open_options,
    option,
    overwrite_option,
)
from geosr.errors import UsageError

if TYPE_CHECKING:
    from geosr.inference.change import Changes
    from geosr.models.card import Model


@click.command("change", cls=GroupedCommand)
@click.argument("first", metavar="A", type=PATH)
@click.argument("second", metavar="B", type=PATH)
@click.argument("out", type=PATH)
@option_group(
    MAIN,
    option(
        "--model",
        "-m",
        metavar="NAME|FILE",
        help="Net for one image by which the coarser raster is made finer; else it is "
        "interpolated.",
    ),
    option(
        "--net",
        metavar="FILE",
        help="Weights of srcdnet, which tells changes; else pixels are compared.",
    ),
    option(
        "--threshold",
        type=click.FloatRange(0),
        help="Magnitude above which a pixel changed; 0.5 of srcdnet, else Otsu's.",
    ),
    option(
        "--register",
        type=click.Choice(["auto", "none"]),
        default="auto",
        help="Move B to where it shows what A does, by phase correlation.",
    ),
    option(
        "--truth",
        type=PATH,
        metavar="RASTER",
        help="Above 0 where something changed: scores the map.",
    ),
    overwrite_option("rasters at OUT", MAIN),
)
@option_group(INPUTS, input_options)
@option_group(SPEED, device_options)
@option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@log_options
def command(**params: Any) -> None:
    """Tell what changed between the rasters A and B of one place, which may differ in grid.

    \b
    geosr change before.tif after.tif change.tif
    geosr change fine.tif coarse.tif change.tif --model edsr-baseline
    geosr change a.tif b.tif change.tif --net runs/srcdnet/best.safetensors

    OUT is the magnitude on the finer raster's grid (float32), OUT_map.tif is 1 where something
    changed, 0 where nothing did and 255 where either was not sensed. B is registered with A and
    brought to its brightness. Without --net the magnitude is the difference in units of its own
    spread in the scene.
    """
    from geosr.cli.gdal import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"])
    prepare_gdal(params["threads"], vrt=params["allow_vrt"])
    found = _found(params)
    if params["as_json"]:
        tell(json.dumps(_document(found)))
        return
    tell(f"{found.magnitude}: threshold {found.threshold:.3g}, {100 * found.share:.2f} % changed")
    if found.score is not None:
        s = found.score
        tell(f"F1 {s.f1:.4f}, precision {s.precision:.4f}, recall {s.recall:.4f}, IoU {s.iou:.4f}")


def _document(found: Changes) -> dict[str, Any]:
    shown = {**asdict(found), "magnitude": str(found.magnitude), "map": str(found.map)}
    if found.score is not None:
        for name in ("f1", "precision", "recall", "iou"):
            shown["score"][name] = getattr(found.score, name)
    return shown


def _found(params: dict[str, Any]) -> Changes:
    """Check everything that can be checked, then compare.

    Raises:
        UsageError: OUT is there, or a net is not of the kind that is needed.
    """
    from dataclasses import replace

    import torch

    from geosr.cli.cache import trials_file
    from geosr.inference.change import change, check_place
    from geosr.inference.predict import engine, place
    from geosr.sensors import open_scene

    out: Path = params["out"]
    inputs = [params[name] for name in ("first", "second", "truth") if params[name]]
    check_place(out, inputs, overwrite=params["overwrite"])
    if params["threads"]:
        torch.set_num_threads(params["threads"])
    where = engine(params["device"], params["precision"], known=trials_file())
    register, truth, options = params["register"] == "auto", params["truth"], open_options(params)
    options = replace(options, kind="image", max_pixels=None)
    first, second = (open_scene(params[name], options) for name in ("first", "second"))
    scale = round(max(first.grid.gsd, second.grid.gsd) / min(first.grid.gsd, second.grid.gsd))
    finer, net = _net(params["model"], "sisr", scale), _net(params["net"], "change", None)
    return change(
        first, second, out, finer=finer and place(finer, where), net=net and place(net, where),
        threshold=params["threshold"], register=register,
        truth=None if truth is None else open_scene(truth, options), engine=where,
    )  # fmt: skip


def _net(name: str | None, task: str, scale: int | None) -> Model | None:
    """The one net of a name or file, of a task.

    Raises:
        UsageError: it is of another.
    """
    from geosr.models import weights

    if name is None:
        return None
    nets = weights.load(name, scale=scale if scale and scale > 1 else None)
    if len(nets) != 1 or nets[0].card.task != task:
        wanted = "a net for one image (edsr-baseline)" if task == "sisr" else "weights of srcdnet"
        raise UsageError(f"'{name}' is not {wanted}. Choose another.")
    return nets[0]
