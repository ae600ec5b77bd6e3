"""What became of each scene, told on the terminal and in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from geosr.cli.console import note, say, tell

if TYPE_CHECKING:
    from geosr.batch.batch import Outcome


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
