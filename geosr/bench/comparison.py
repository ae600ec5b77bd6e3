"""Several runs of `geosr bench` side by side, as one Markdown table.

Every run is a process of its own: a process's peak of memory only rises.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from geosr.errors import GeosrError

MODELS = ("dsen2-ps", "dsen2", "bicubic")  # compared where nobody says others
PRODUCT = 10980**2 / 1e6  # 10⁶ pixels of a Sentinel-2 product at 10 m
_PUBLISHED = ("dsen2-20", "dsen2-60")  # the nets of the published way


class BenchError(GeosrError):
    """A run of `geosr bench` failed, with this exit code; its own message went to stderr."""

    def __init__(self, options: Sequence[str], code: int) -> None:
        super().__init__(
            f"geosr bench {' '.join(options)} failed with {code}: its message stands above. "
            "Leave that model out, or mend what it says."
        )
        self.exit_code = code


def run(options: Sequence[str]) -> dict[str, Any]:
    """What `geosr bench --json` tells with these options.

    Raises:
        BenchError: it failed.
    """
    command = [sys.executable, "-m", "geosr", "bench", *options, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchError(options, done.returncode)
    return dict(json.loads(done.stdout))


def compare(
    models: Sequence[str], options: Sequence[str], progress: Callable[[str], None] = lambda _: None
) -> dict[str, dict[str, Any]]:
    """One run a model, by the options that set it apart.

    Args:
        options: of all runs.

    Raises:
        BenchError: one failed.
    """
    reports = {}
    for model in models:
        progress(f"--model {model}")
        reports[f"--model {model}"] = run(["--model", model, *options])
    return reports


def table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The runs, by their options, as Markdown; below it what they were measured on.

    Seconds per product are those of a megapixel times 120.6: without what a process takes to begin.
    """
    published = _published(reports)
    rows = [
        "| `geosr bench` | reference way | geosr | ratio | to DSen2's | s/Mpixel | s/product "
        "| net, of the ceiling | peak |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(options, report, published) for options, report in reports.items()),
    ]
    machines = dict.fromkeys(_machine(report) for report in reports.values())
    return "\n".join([*rows, "", *machines])


def _published(reports: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Seconds of the published way with DSen2: fp32, whatever geosr itself was asked for."""
    found = [report["reference"]["seconds"] for report in reports.values()
             if tuple(report["models"]) == _PUBLISHED]  # fmt: skip
    return min(found, default=None)


def _row(options: str, report: Mapping[str, Any], published: float | None) -> str:
    theirs, ours = report["reference"], report["geosr"]
    each = 1 / ours["mpixel_per_s"]
    cells = [
        f"`{options}`",
        f"{theirs['seconds']:.1f} s",
        f"{ours['seconds']:.1f} s",
        f"{report['ratio']:.2f}",
        f"{published / ours['seconds']:.1f}" if published else "–",
        f"{each:.2f}",
        f"{each * PRODUCT:.0f}",
        f"{ours['share']:.0%} of {report['ceilings']['tflop_per_s'][ours['ceiling']]:.2f} TFLOP/s "
        f"{ours['ceiling']}",
        _peak(ours),
    ]
    return f"| {' | '.join(cells)} |"


def _peak(way: Mapping[str, Any]) -> str:
    device = way["peak_device_mb"]
    return f"{way['peak_rss_mb'] / 1000:.2f} GB" + (
        f", GPU {device / 1000:.2f} GB" if device is not None else ""
    )


def _machine(report: Mapping[str, Any]) -> str:
    machine, versions = report["machine"], report["versions"]
    height, width = report["shape"]
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    return (
        f"{height} × {width} px, {len(report['bands'])} bands, {report['scene']}; "
        f"{machine['cpu']}, {machine['threads']} threads{gpu}; "
        f"torch {versions['torch']}, GDAL {versions['gdal']}."
    )
