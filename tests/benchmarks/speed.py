"""Run `geosr bench` on this machine, keep what it says, and rewrite the table in docs/ from it.

    python tests/benchmarks/speed.py            # every run below, some minutes each
    python tests/benchmarks/speed.py dsen2      # that one
    python tests/benchmarks/speed.py --table    # none, only the table

Nothing is asserted on times: the table is of one machine, and the ratios are of single runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from geosr.bench import comparison

HERE = Path(__file__).resolve().parent
RUNS = {
    "default": "--model dsen2-ps",
    "dsen2": "--model dsen2",
    "bicubic": "--model bicubic",
}


def table() -> str:
    """All kept runs as Markdown."""
    return comparison.table({
        RUNS[name]: json.loads(path.read_text())
        for name in RUNS
        if (path := HERE / f"{name}.json").exists()
    })  # fmt: skip


if __name__ == "__main__":
    for wanted in sys.argv[1:] or RUNS:
        if wanted != "--table":
            told = json.dumps(comparison.run(RUNS[wanted].split()), indent=1)
            (HERE / f"{wanted}.json").write_text(told + "\n")
    subprocess.run([sys.executable, HERE.parents[1] / "docs/generate.py"], check=True)
