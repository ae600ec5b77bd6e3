"""How a run goes about its scenes: which, where, by whom, and what may stop it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geosr.cli.groups import BATCHES, CHECKS, option_group
from geosr.cli.options import PATH, ParamType, option

if TYPE_CHECKING:
    from geosr.batch.job import Executor


class Shard(ParamType):
    """I/N as (I, N)."""

    name = "I/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Split."""
        if isinstance(value, tuple):
            return value
        part, _, parts = str(value).partition("/")
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            self.fail(f"'{value}' is not I/N with 1 ≤ I ≤ N.", param, ctx)
        return int(part), int(parts)


run_options = option_group(  # what is left out or refused, and who does the work
    BATCHES,
    option("--jobs", "-j", type=click.IntRange(1), default=1,
           help="Worker processes, which share the threads; GPU k for worker k."),
    option("--shard", type=Shard(),
           help="Do part I of N only: by a hash of the output's name, so parts never "
           "overlap."),
    option("--strict-resume", is_flag=True,
           help="Tell finished outputs by the sha256 of their inputs, not by size and time "
           "alone."),
    option("--skip-empty", is_flag=True,
           help="No output where nothing was sensed."),
    option("--fail-on-empty", is_flag=True, help="Exit 2 where SRC holds no scene."),
    option("--tmp-dir", type=click.Path(path_type=Path, file_okay=False, exists=True),
           help="Folder for unfinished outputs; each is copied to DST and compared there. "
           "Default: beside the output, where no copy is needed."),
    option("--if-locked", type=click.Choice(["fail", "skip", "wait"]), default="fail",
           help="Where another run does the same scenes into DST: exit 11, exit 0, or wait."),
    option("--lock-timeout", type=click.FloatRange(0), metavar="SECONDS",
           help="Wait at most; default no end."),
    option("--engine", type=click.Choice(["local", "dask"]), default="local",
           help="dask: a cluster's workers; of this machine, or those of --scheduler."),
    option("--scheduler", metavar="ADDRESS",
           help="Of a dask cluster: tcp://host:8786."),
    option("--scheduler-file", type=PATH, help="File in which its scheduler wrote its "
           "address."),
)  # fmt: skip
input_checks = option_group(  # what is looked at before a scene is begun
    CHECKS,
    option("--check-inputs", is_flag=True,
           help="Compare input files with the checksums in manifest.safe, or in FILE.sha256 "
           "and FILE.md5 beside them; a scene with a damaged file fails."),
    option("--no-space-check", is_flag=True,
           help="Begin a scene even where the disk looks too small for its output."),
)  # fmt: skip


def share(params: dict[str, Any]) -> int | None:
    """Threads of each worker; None is all cores, for the only one."""
    threads, jobs = params["threads"], params["jobs"]
    return threads if jobs == 1 else max(1, (threads or os.cpu_count() or 1) // jobs)


def executor_of(params: dict[str, Any], scenes: int) -> Executor:
    """Who does the scenes.

    Raises:
        UsageError: a scheduler without dask, or dask that is not installed.
    """
    from geosr.batch import batch

    if params["engine"] == "dask":
        from geosr.batch.executors.dask import Dask

        cluster = params["scheduler"] or params["scheduler_file"]
        threads = params["threads"] if cluster else share(params)
        return Dask(params["jobs"], params["device"], threads, params["scheduler"],
                    params["scheduler_file"])  # fmt: skip
    if params["scheduler"] or params["scheduler_file"]:
        raise click.UsageError("--scheduler and --scheduler-file need --engine dask.")
    if params["jobs"] > 1:
        from geosr.batch.executors.processes import Processes

        return Processes(params["jobs"], params["device"], share(params))
    if scenes > 1 and _on_gpu(params["device"]):
        from geosr.batch.executors.threads import Threads

        return Threads()
    return batch.serially


def _on_gpu(device: str) -> bool:
    import torch

    return device != "cpu" and torch.cuda.is_available()


def set_threads(threads: int | None) -> None:
    """Of this process; None leaves PyTorch's choice."""
    import torch

    if threads:
        torch.set_num_threads(threads)
