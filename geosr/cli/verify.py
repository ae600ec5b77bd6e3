"""`geosr verify`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geosr.cli.console import Bar, plain, tell
from geosr.cli.options import PATH, option

if TYPE_CHECKING:
    from geosr.batch.verify import Verdict


@click.command("verify")
@click.argument("dst", metavar="DST…", type=PATH, nargs=-1, required=True)
@option("--json", "as_json", is_flag=True, help="One JSON line per file on stdout, whole ones too.")
@click.pass_context
def command(ctx: click.Context, /, dst: tuple[Path, ...], as_json: bool) -> None:
    """Compare finished outputs with their records, byte for byte.

    \b
    geosr verify out/
    geosr verify out1/ out2/ one.tif --json

    DST is a folder of outputs, or one output. Each must be there at its recorded size and
    sha256, and every block must decode. One line for each that is damaged, for rasters without
    a record (foreign: a warning, no damage), for files that a killed run left, and a line of
    counts. Nothing is changed.
    Exit codes: 0 all whole, 3 some damaged, 4 all damaged, 2 nothing to verify.
    """
    from geosr.cli.gdal import prepare_gdal

    prepare_gdal(None)
    from geosr.batch.verify import exit_code, verify

    with Bar(unit="output") as bar:

        def report(verdict: Verdict) -> None:
            bar.advance("verify", 1, 0)
            if as_json:
                tell(verdict.to_json())
            elif verdict.status != "whole":
                path = click.format_filename(verdict.output)
                tell(plain(f"{verdict.status}  {path}: {verdict.message}"))

        verdicts = verify(dst, report=report)
    if not as_json:
        counts = Counter(verdict.status for verdict in verdicts)
        always = dict.fromkeys(("whole", "damaged"), 0)
        tell(", ".join(f"{n:,} {status}" for status, n in (always | counts).items()))
    ctx.exit(exit_code(verdicts))
