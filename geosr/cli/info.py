"""`geosr info`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import set_up_log, tell
from geosr.cli.options import input_options, log_options, open_options, option

if TYPE_CHECKING:
    from geosr.models.card import Model


@click.command("info")
@click.argument("path", type=str)
@option(
    "--model",
    "-m",
    "model_names",
    multiple=True,
    metavar="NAME|FILE",
    help="What superres would run; default as there.",
)
@option(
    "--point-spread",
    is_flag=True,
    help="Estimate from the scene what its coarse bands see of the finer ones: σ and R² by band.",
)
@input_options
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@log_options
@click.pass_context
def command(ctx: click.Context, /, **params: Any) -> None:  # fmt: skip
    """Say what the scene at PATH is, and what `superres` would do with it.

    Sensor, level, bands by GSD, grids, CRS, offset, share of nodata, how coarse bands were
    resampled, the nets that would run, tiles, output size, estimated memory; and time, where
    superres or bench has run on this machine before. No net is run for it.
    """
    from geosr.cli.gdal import prepare_gdal

    set_up_log(quiet=params["quiet"], verbose=params["verbose"])
    prepare_gdal(None, vrt=params["allow_vrt"])
    from geosr.cli.cache import runs_file
    from geosr.errors import GeosrError, UsageError, without_secrets
    from geosr.inference import forecast
    from geosr.inference.inspect import inspect
    from geosr.inference.request import scene_options
    from geosr.models.card import DEFAULT
    from geosr.sensors import find_scenes, is_remote, open_scene, remote_path

    if is_remote(params["path"]) and not params["allow_remote"]:
        raise UsageError(
            f"{without_secrets(params['path'])[:80]}: local files only. "
            "Pass --allow-remote to read it."
        )
    options, nets, failed = open_options(params), list["Model"](), ""
    try:
        nets = forecast.nets(params["model_names"] or DEFAULT)
    except GeosrError as error:
        failed = str(error)
    options = scene_options(nets, options) if nets else options
    paths = find_scenes(remote_path(params["path"]), kind=options.kind)
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths[:6]) or "none"
        raise UsageError(f"{params['path']} holds {len(paths)} scenes ({names}). Name one of them.")
    scene = open_scene(Path(paths[0]), replace(options, max_pixels=None))
    facts = inspect(scene, nets, forecast.read_runs(runs_file()))
    if failed:
        facts["superres"] = {"error": failed}
    if params["point_spread"]:
        from geosr.scene.estimation import of_scene

        facts["point_spread"] = of_scene(scene)
    tell(json.dumps(facts) if params["as_json"] else _text(facts))
    ctx.exit(0)


def _text(facts: dict[str, Any]) -> str:
    sentinel2 = facts["sensor"] == "sentinel2"
    level = facts["level"] or ("level unknown" if sentinel2 else "")
    lines = [f"{facts['name']}: {facts['sensor']} {level}".rstrip()]
    sensed = [facts["acquired"], facts["platform"] and f"by {facts['platform']}"]
    lines += [f"  acquired {' '.join(filter(None, sensed))}"] if any(sensed) else []
    for gsd, part in facts["gsd"].items():
        own = min(facts["gsd"]) == 1  # then pixels are counted, not metres
        named = f"{gsd} m" if not own else "grid" if gsd == 1 else f"{gsd} times coarser"
        lines.append(f"  {named}: {' '.join(part['bands'])}")
        lines.append(f"        {part['grid']}, nodata {part['nodata_share']:.2%}")
    lines.append(f"  type {facts['dtype']}, quantification {facts['quantification']:g}, "
                 f"DN offset {facts['dn_offset']}")  # fmt: skip
    lines += [f"  coarse bands: {facts['resampled']}"] if sentinel2 else []
    lines += _spreads(facts.get("point_spread", {}))
    lines += [f"  {note}" for note in facts["notes"]]
    done = facts["superres"]
    if "error" in done:
        return "\n".join([*lines, f"superres would fail: {done['error']}"])
    lines.append(f"superres would run {' + '.join(done['nets']) or 'no net'}:")
    lines.append(f"  {' '.join(done['bands'])}")
    lines.append(f"  {done['height']} × {done['width']} px in {done['tiles']} tiles, "
                 f"{done['bytes'] / 2**20:.1f} MiB before compression")  # fmt: skip
    lines.append(f"  about {done['memory'] / 2**20:.0f} MiB of memory; {_time(done)}")
    lines += [f"  {note}" for note in done["notes"]]
    return "\n".join(lines)


def _spreads(found: dict[str, dict[str, Any]]) -> list[str]:
    """A line a band: its point spread, or why the scene does not tell."""
    lines = ["  point spread relative to the finest bands, a Gaussian's σ:"] if found else []
    for name, part in found.items():
        told = part["reason"]
        if part["sigma"] is not None:
            told = f"{part['sigma']:.2f} m (R² {part['r2']:.2f})"
        known = "" if part["known"] is None else f"; {part['known']:g} m is taken"
        lines.append(f"    {name}: {told}{known}")
    return lines


def _time(done: dict[str, Any]) -> str:
    """How long it would take, and where that is known from."""
    run = done["measured"]
    if run is None:
        return "time unknown until superres or bench has run these nets here"
    nets = "" if run["nets"] == tuple(done["nets"]) else f" {' + '.join(run['nets'])}"
    return (
        f"about {done['seconds']:.1f} s, as fast as{nets or ' the same nets'} ran here on "
        f"{run['device']} in {run['precision']}"
    )
