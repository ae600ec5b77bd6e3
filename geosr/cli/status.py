"""`geosr status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.console import tell
from geosr.cli.options import PATH, option

if TYPE_CHECKING:
    from geosr.batch.status import State

_SAID = {
    "writing": "being written now",
    "interrupted": "published by a run that was killed; run the same command again",
    "changed": "gone or not as recorded, geosr verify says more; run the same command again",
    "foreign": "without a record",
}


@click.command("status")
@click.argument("dst", type=PATH, envvar=["GEOSR_DST", "SR_IMAGES_PATH"])
@option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def command(dst: Path, as_json: bool) -> None:
    """Say how far the outputs in DST are.

    \b
    geosr status out/
    geosr status out/ --json

    How many are finished and when the last one was, which are being written now, and what
    failed in the last run and why. Tells by records, locks and DST/geosr-run.json; no raster is
    read (that is geosr verify). DST defaults to SR_IMAGES_PATH (environment or .env).
    """
    from geosr.batch import status
    from geosr.errors import UsageError

    if not dst.exists():
        raise UsageError(f"{dst}: no such folder or output. Check the path.")
    state = status.state(dst)
    tell(json.dumps(asdict(state)) if as_json else _text(state))


def _text(state: State) -> str:
    last = f", the last at {state.last}" if state.last else ""
    lines = [f"{state.finished:,} finished{last}"]
    for kind, said in _SAID.items():
        names = getattr(state, kind)
        if names:
            lines.append(f"{len(names):,} {said}: {', '.join(map(click.format_filename, names))}")
    lines += _last_run(state.run) if state.run else []
    lines += [f"  {fail['scene']}: {fail['message']}" for fail in state.failed]
    return "\n".join(lines)


def _last_run(run: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{run.get(key)} {key}" for key in ("done", "skipped", "failed"))
    return [f"last run, {run.get('started')} to {run.get('finished')}: {counts}, "
            f"exit code {run.get('code')}"]  # fmt: skip
