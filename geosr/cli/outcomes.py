"""What became of each scene, told on the terminal and in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from geosr.cli.console import note, say, tell
from geosr.cli.pace import duration
from geosr.errors import GeosrError

if TYPE_CHECKING:
    from geosr.batch.job import Job, Outcome


def reporter(*, as_json: bool, quiet: bool) -> Callable[[Outcome], None]:
    """Tells one outcome: a JSON line on stdout where asked, a line on stderr, one in the log."""

    def report(outcome: Outcome) -> None:
        if as_json:
            tell(outcome.to_json())
        failed = outcome.status == "failed"
        line = _line(outcome)
        if failed:
            say(f"geosr: {line}")
        else:
            say(line, quiet=quiet)
        note(logging.ERROR if failed else logging.INFO, line, outcome=asdict(outcome))

    return report


def _line(outcome: Outcome) -> str:
    if outcome.status == "failed":
        return f"{outcome.scene}: {outcome.message}"
    took = f" in {outcome.seconds:.1f} s" if outcome.seconds else ""
    said = f" ({outcome.message})" if outcome.message else ""
    return f"{outcome.scene}: {outcome.status}{took}{said} {outcome.output}{_counts(outcome)}"


def _counts(outcome: Outcome) -> str:
    """The numbers that were touched on the way, where there are any."""
    names = ("clipped", "filled", "shifted")
    said = [f"{getattr(outcome, n):,} {n}" for n in names if getattr(outcome, n)]
    if outcome.frames:
        said.append(f"{len(outcome.frames)} frames")
    if outcome.changed:
        by = max(band["rmse"] for band in outcome.changed.values())
        said.append(f"made consistent by up to {by:.1f} RMSE")
    if outcome.check:
        worst = max((v for v in outcome.check["rmse"].values() if v is not None), default=0.0)
        said.append(f"self-check RMSE up to {worst:.1f}")
    return f" [{', '.join(said)}]" if said else ""


def last_line(outcomes: list[Outcome], code: int, *, quiet: bool) -> None:
    """Tells how many scenes were done, skipped and failed."""
    counts = {
        status: sum(outcome.status == status for outcome in outcomes)
        for status in ("done", "skipped", "failed")
    }
    line = ", ".join(f"{count} {status}" for status, count in counts.items())
    say(line, quiet=quiet and not counts["failed"])
    note(logging.ERROR if code else logging.INFO, line, code=code, **counts)


def summary(outcomes: list[Outcome], job: Job, seconds: float, *, place: Path) -> str:
    """What was made, where, in what time and how sure it is, in one line; "" where nothing was."""
    made = [outcome for outcome in outcomes if outcome.status == "done"]
    if not made:
        return ""
    count = f"{len(made)} rasters" if len(made) > 1 else "1 raster"
    told = "; ".join(filter(None, [_described(made), _sure(made, job)]))
    return f"made {count} in {place} in {duration(seconds)}: {told}"


def _described(made: list[Outcome]) -> str:
    """Bands, pixel size and bytes of the outputs; what differs among them is left out."""
    from geosr.raster.files import open_raster

    size, kinds = 0, set()
    for outcome in made:
        try:
            with open_raster(outcome.output) as dataset:
                metric = dataset.crs is not None and dataset.crs.is_projected
                at = f" at {dataset.res[0]:g} m" if metric else ""
                kinds.add(f"{dataset.count} band{'s' if dataset.count > 1 else ''}{at}")
            size += Path(outcome.output).stat().st_size
        except (GeosrError, OSError):  # replaced or removed meanwhile
            continue
    amount = f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
    return ", ".join([*(kinds if len(kinds) == 1 else ()), amount])


def _sure(made: list[Outcome], job: Job) -> str:
    """How far the outputs can be trusted: by the self-check, else as the nets were measured."""
    worst = [value for outcome in made if outcome.check
             for value in outcome.check["rmse"].values() if value is not None]  # fmt: skip
    if worst:
        return f"degraded again they differ from the input by {max(worst):.1f} RMSE at most"
    from geosr.models import weights

    told = []
    for card in (model.card for model in job.models):
        entry = weights.entry(card) if card.sha256 else None
        facts = (entry or {}).get("measured") or {}
        if entry and entry["sha256"] == card.sha256 and "rmse_dn" in facts:
            net, plain = facts["rmse_dn"], facts["bicubic_rmse_dn"]
            told.append(f"{card.name} {net:.0f}, bicubic {plain:.0f}")
    if not told:
        return "--check says how well they fit the input"
    return f"RMSE on held-out scenes (10000 is 1.0): {'; '.join(told)}"
