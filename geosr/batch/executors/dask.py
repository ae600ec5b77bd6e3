"""Scenes on the workers of a dask cluster."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from geosr.batch.executors.worker import TRIES, Order, do, failed, uninterrupted
from geosr.batch.job import Job, Outcome, Pair, Progress
from geosr.errors import StoppedError, UsageError, cause


@dataclass(frozen=True)
class Dask:
    """Workers of a dask cluster, which see the same folders and have the same geosr.

    Attributes:
        jobs: workers of a cluster of this machine, where no scheduler is given; else how many
            scenes are in flight at least, the cluster's threads if those are more.
        device, threads: as of Order.
        scheduler: address of a running one.
        scheduler_file: file in which a running one wrote its address.

    Raises:
        UsageError: dask.distributed is not installed.
    """

    jobs: int = 1
    device: str = "auto"
    threads: int | None = None
    scheduler: str | None = None
    scheduler_file: Path | None = None

    def __post_init__(self) -> None:
        if find_spec("distributed") is None:
            raise UsageError(
                "--engine dask needs dask.distributed. Install it: pip install 'geosr[dask]'"
            )

    @property
    def remote(self) -> bool:
        """Whether the cluster is another's."""
        return bool(self.scheduler or self.scheduler_file)

    def __call__(
        self, pairs: Sequence[Pair], job: Job, progress: Progress
    ) -> Generator[Outcome, None, None]:
        """Outcomes as they come; none is begun after one that stops the run."""
        order = Order.of(job, self.device, self.threads)
        with ExitStack() as stack:
            client = self._client(stack)
            client.forward_logging("geosr", order.level)
            flight = _Flight(client, order, self.jobs)
            stack.callback(flight.abandon)
            for outcome in flight.outcomes(pairs):
                progress("scenes", 1, len(pairs))
                yield outcome

    def _client(self, stack: ExitStack) -> Any:
        distributed = import_module("distributed")
        if not self.remote:
            return stack.enter_context(distributed.Client(stack.enter_context(self._cluster())))
        address = str(self.scheduler or self.scheduler_file)
        given = {"address": address} if self.scheduler else {"scheduler_file": address}
        try:
            return stack.enter_context(distributed.Client(**given))
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no dask scheduler at {address} ({cause(error)[:200]}). "
                "Start one, or check --scheduler."
            ) from error

    def _cluster(self) -> Any:
        with uninterrupted():
            return import_module("distributed").LocalCluster(
                n_workers=self.jobs, threads_per_worker=1, memory_limit=None,
                resources={"GPU": 1} if torch.cuda.is_available() else {},
                dashboard_address=None, silence_logs=logging.CRITICAL,
                scheduler_kwargs={"allowed_failures": TRIES - 1},
            )  # fmt: skip


class _Flight:
    """The scenes that a cluster has in hand: no more than it can begin at once."""

    def __init__(self, client: Any, order: Order, least: int) -> None:
        self._client, self._order, self._least = client, order, least
        self._running: dict[Any, Pair] = {}  # by future

    def outcomes(self, pairs: Sequence[Pair]) -> Iterator[Outcome]:
        """One of every scene that is begun."""
        waiting, completed = deque(pairs), import_module("distributed").as_completed()
        while waiting or self._running:
            for _ in range(min(self._room(), len(waiting))):
                completed.add(self._submit(waiting.popleft()))
            future = next(completed)
            outcome = _outcome(future, self._running.pop(future))
            if outcome.stops:
                waiting.clear()
            yield outcome

    def _room(self) -> int:
        threads = sum(self._client.ncores().values())
        return max(self._least, threads) - len(self._running)

    def _submit(self, pair: Pair) -> Any:
        scene, output = (path.absolute() for path in pair)
        future = self._client.submit(
            _task, (scene, output), self._order, pure=False, retries=1, resources=self._resources
        )
        self._running[future] = pair
        return future

    @cached_property
    def _resources(self) -> dict[str, int] | None:
        """Where workers declare GPUs, a scene takes one."""
        workers = self._client.scheduler_info()["workers"].values()
        gpus = any("GPU" in worker["resources"] for worker in workers)
        return {"GPU": 1} if gpus and self._order.device != "cpu" else None

    def abandon(self) -> None:
        """Have workers drop what is still running."""
        if self._running:
            self._client.cancel(list(self._running))


def _task(pair: Pair, order: Order) -> Outcome:
    """One scene on a dask worker."""
    worker = import_module("distributed").get_worker()
    index = worker.name if isinstance(worker.name, int) else 0
    return do(pair, order, index, _unless_cancelled(worker))


def _unless_cancelled(worker: Any) -> Callable[[str, int, int], None]:
    """A progress that raises where the run gave the scene up."""
    key = worker.get_current_task()

    def check(*_: object) -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled" or worker.status.name != "running":
            raise StoppedError("the run was given up")

    return check


def _outcome(future: Any, pair: Pair) -> Outcome:
    """What became of a scene, its output named as this run names it."""
    if future.status == "finished":
        return replace(future.result(), output=str(pair[1]))
    error = "lost" if future.status == "cancelled" else future.exception()
    return failed(pair, f"{pair[0]}: worker killed ({error}). Look at the workers' logs.")
