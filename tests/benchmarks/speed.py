"""Run `geosr bench` on this machine, keep what it says, and rewrite the table in docs/ from it.

    python tests/benchmarks/speed.py            # every run below, some minutes each
    python tests/benchmarks/speed.py dsen2-bf16 # that one
    python tests/benchmarks/speed.py --table    # none, only the table

Nothing is asserted on times: the table is of one machine, and the ratios are of single runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RUNS = {
    "default-bf16": "--precision bf16",
    "default-fp32": "--precision fp32",
    "dsen2-bf16": "--model dsen2 --precision bf16",
    "dsen2-fp32": "--model dsen2 --precision fp32",
    "bicubic": "--model bicubic",
}


def run(name: str) -> None:
    """One run, its numbers kept beside this file."""
    command = [sys.executable, "-m", "geosr", "bench", *RUNS[name].split(), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    (HERE / f"{name}.json").write_text(json.dumps(json.loads(done.stdout), indent=1) + "\n")


def table() -> str:
    """All kept runs as Markdown."""
    reports = {name: json.loads(path.read_text()) for name in RUNS
               if (path := HERE / f"{name}.json").exists()}  # fmt: skip
    rows = [
        "| `geosr bench` | reference way | geosr | ratio | Mpixel/s | net, of the ceiling | peak |",
        "|---|---|---|---|---|---|---|",
        *(_row(RUNS[name], report) for name, report in reports.items()),
    ]
    machines = dict.fromkeys(_machine(report) for report in reports.values())
    return "\n".join([*rows, "", *machines])


def _row(options: str, report: dict[str, Any]) -> str:
    theirs, ours = report["reference"], report["geosr"]
    return (
        f"| `{options}` | {theirs['seconds']:.1f} s | {ours['seconds']:.1f} s | "
        f"{report['ratio']:.2f} | {ours['mpixel_per_s']:.3f} | {ours['share']:.0%} of "
        f"{report['ceilings']['tflop_per_s'][ours['ceiling']]:.2f} TFLOP/s {ours['ceiling']} | "
        f"{ours['peak_rss_mb']:.0f} MB |"
    )


def _machine(report: dict[str, Any]) -> str:
    machine, versions = report["machine"], report["versions"]
    height, width = report["shape"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{height} × {width} px, {len(report['bands'])} bands, generated; {machine['cpu']}, "
        f"{machine['threads']} threads{gpu}; torch {versions['torch']}, GDAL {versions['gdal']}."
    )


if __name__ == "__main__":
    for wanted in sys.argv[1:] or RUNS:
        if wanted != "--table":
            run(wanted)
    subprocess.run([sys.executable, HERE.parents[1] / "docs/generate.py"], check=True)
