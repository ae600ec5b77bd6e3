"""`geosr doctor`."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from geosr.cli.console import tell
from geosr.cli.options import PATH, option
from geosr.errors import StoppedError


@click.command("doctor")
@option(
    "--dst",
    type=PATH,
    metavar="DIR",
    aliases=["SR_IMAGES_PATH"],
    help="Where outputs are to go: its space is told, and a small file written, locked and "
    "removed; default the folder of temporary files.",
)
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.pass_context
def command(ctx: click.Context, /, dst: Path | None, as_json: bool) -> None:
    """Say whether this machine is fit for the work.

    \b
    geosr doctor
    geosr doctor --dst out/ --json

    Versions of torch, GDAL and rasterio, CUDA devices and their memory, what the CPU can do,
    raster drivers, which extras are installed, the sha256 of bundled weights, free space, and
    whether files and locks hold.
    Lines start with ok, warn or FAIL. Exit codes: 0, or 5 where something FAILs.
    """
    from geosr.cli.gdal import prepare_gdal

    prepare_gdal(None)
    from geosr.bench.doctor import FAIL, diagnose

    findings = []
    for finding in diagnose(dst or Path(tempfile.gettempdir())):
        findings.append(finding)
        if not as_json:
            tell(f"{finding.level:4} {finding.name}: {finding.message}")
    failed = any(finding.level == FAIL for finding in findings)
    if as_json:
        tell(json.dumps({"fit": not failed, "findings": [asdict(f) for f in findings]}))
    ctx.exit(StoppedError.exit_code if failed else 0)
