"""Scenes on several processes of this machine, or on a dask cluster: executors of `batch.run`.

Workers get a job without its nets and load them once; what comes back is one small Outcome a
scene. A scene whose worker is killed is tried once more. Outputs are whole or absent whatever
happens to a worker, and a scene done twice is done the same way.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from logging.handlers import QueueHandler
from multiprocessing import connection, get_context, parent_process, resource_tracker
from pathlib import Path
from typing import Any

import torch

from geosr import models, records, weights
from geosr.batch import Job, Outcome, Pair, Progress, attempt
from geosr.errors import GeosrError, SceneError, StoppedError, UsageError, cause
from geosr.models import Model, ModelCard
from geosr.predict import engine, place
from geosr.targets import output_name

log = logging.getLogger("geosr")

_TRIES = 2  # of a scene whose worker is killed
_PATIENCE = 60.0  # seconds for a worker to drop its tile and clean up


@dataclass(frozen=True)
class Order:
    """A job as a worker gets it.

    Attributes:
        job: without nets.
        cards: of the nets.
        device: as asked for; of "auto" and "cuda" worker k takes GPU k modulo their number.
        threads: of each worker; None leaves torch's own choice.
        level: of the log.
        key: tells one run from another.
    """

    job: Job
    cards: tuple[ModelCard, ...]
    device: str
    threads: int | None
    level: int
    key: str

    @classmethod
    def of(cls, job: Job, device: str, threads: int | None) -> Order:
        """The order for a job.

        Raises:
            UsageError: a net has no file from which workers could load it.
        """
        for model in job.models:
            if model.parameters and not model.card.file:
                raise UsageError(
                    f"'{model.card.name}' has no weights file for workers to load. "
                    "Save it, or run the scenes serially."
                )
        cards = tuple(_findable(model.card) for model in job.models)
        level = log.getEffectiveLevel()
        return cls(replace(job, models=()), cards, device, threads, level, uuid.uuid4().hex)

    def load(self, index: int) -> Job:
        """The job with its nets on worker `index`'s device.

        Raises:
            WeightsError: a file is not there, or is another one than the card says.
            UsageError: the device is not there.
        """
        if self.threads:
            torch.set_num_threads(self.threads)
        log.setLevel(self.level)
        where = engine(
            _device(self.device, index), self.job.precision, self.job.engine.batch_size,
            compiled=self.job.engine.compiled,
        )  # fmt: skip
        nets = tuple(place(_net(card), where) for card in self.cards)
        return replace(self.job, models=nets, engine=where)


def _findable(card: ModelCard) -> ModelCard:
    return replace(card, file=str(Path(card.file).absolute())) if card.file else card


def _net(card: ModelCard) -> Model:
    """A card's net from this machine's files; bundled ones may lie elsewhere than the run's."""
    if not card.file:
        return Model(card, models.build(card).net.eval())
    path = Path(card.file)
    path = path if path.exists() else weights.folder() / path.name
    return weights.load_file(path, sha256=card.sha256)


def _device(asked: str, index: int) -> str:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{index % count}" if count and asked in ("auto", "cuda") else asked


_jobs: dict[str, Job] = {}
_loading = threading.Lock()


def _job(order: Order, index: int) -> Job:
    """The order's job, loaded once in this process; another run's makes room for it."""
    with _loading:
        if order.key not in _jobs:
            _jobs.clear()
            _jobs[order.key] = order.load(index)
        return _jobs[order.key]


def _do(pair: Pair, order: Order, index: int, progress: Progress = lambda *_: None) -> Outcome:
    """One scene on a worker."""
    try:
        job = _job(order, index)
    except GeosrError as error:
        return _failed(pair, str(error), error.exit_code)
    return attempt(*pair, job, progress)


def _failed(pair: Pair, message: str, code: int = SceneError.exit_code) -> Outcome:
    return Outcome(output_name(pair[0]), "failed", code, message, str(pair[1]))


# processes


@dataclass(frozen=True)
class Processes:
    """Worker processes on this machine, one scene at a time each.

    Attributes:
        jobs: how many.
        device, threads: as of Order.
    """

    jobs: int
    device: str = "auto"
    threads: int | None = None

    def __call__(
        self, pairs: Sequence[Pair], job: Job, progress: Progress
    ) -> Generator[Outcome, None, None]:
        """Outcomes as they come; none is begun after one that stops the run."""
        order = Order.of(job, self.device, self.threads)
        pool = _Pool(pairs, [_Worker(order, i) for i in range(min(self.jobs, len(pairs)))])
        try:
            for outcome in pool.outcomes():
                progress("scenes", 1, len(pairs))
                yield outcome
        except BaseException:
            pool.terminate()
            raise
        finally:
            pool.join()


class _Pool:
    """Gives scenes to workers, and finds out which of them died."""

    def __init__(self, pairs: Sequence[Pair], workers: list[_Worker]) -> None:
        self._workers = workers
        self._waiting = deque(pairs)
        self._deaths = Counter[Pair]()
        self._stopped = False

    def outcomes(self) -> Iterator[Outcome]:
        """One of every scene that is begun."""
        while busy := self._busy():
            for wire in connection.wait(list(busy)):
                outcome = self._heard(busy[wire])
                if outcome is not None:
                    self._stopped |= outcome.stops
                    yield outcome

    def _busy(self) -> dict[Any, _Worker]:
        """The workers at work, by their end of the wire, after all idle ones were given some."""
        for worker in self._workers:
            if worker.pair is None and self._waiting and not self._stopped:
                worker.give(self._waiting.popleft())
        return {worker.wire: worker for worker in self._workers if worker.pair is not None}

    def _heard(self, worker: _Worker) -> Outcome | None:
        """What a worker says; a log record goes to the log."""
        pair, message = worker.pair, worker.take()
        if isinstance(message, logging.LogRecord):
            log.handle(message)
            return None
        if isinstance(message, Outcome):
            return message
        assert pair is not None
        return self._died(pair, message)

    def _died(self, pair: Pair, how: str) -> Outcome | None:
        """A scene whose worker is dead: None where it will be tried again."""
        records.tidy([pair[1]])
        self._deaths[pair] += 1
        if self._deaths[pair] < _TRIES and not self._stopped:
            log.warning("%s: %s; trying it again", pair[0], how)
            self._waiting.appendleft(pair)
            return None
        return _failed(pair, f"{pair[0]}: {how}. Use fewer --jobs or a smaller --tile-size.")

    def terminate(self) -> None:
        """Tell all workers to drop what they do."""
        for worker in self._workers:
            worker.terminate()

    def join(self) -> None:
        """Wait for all workers to end."""
        for worker in self._workers:
            worker.join()


class _Worker:
    """A process that is started when it gets its first scene, and again after it died."""

    def __init__(self, order: Order, index: int) -> None:
        self.pair: Pair | None = None
        self.wire: Any = None
        self._order, self._index = order, index
        self._process: Any = None

    def give(self, pair: Pair) -> None:
        """A scene to do."""
        if self._process is None:
            self._start()
        self.pair = pair
        with suppress(OSError):  # dead already: taking from it tells
            self.wire.send(pair)

    def _start(self) -> None:
        spawn = get_context("spawn")
        self.wire, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=_serve, args=(theirs, self._order, self._index), daemon=True
        )
        with _uninterrupted():
            self._process.start()
        theirs.close()

    def take(self) -> Outcome | logging.LogRecord | str:
        """What it sends; where it died, how."""
        try:
            message: Outcome | logging.LogRecord = self.wire.recv()
        except (EOFError, OSError):
            self.pair = None
            return self._bury()
        if isinstance(message, Outcome):
            self.pair = None
        return message

    def _bury(self) -> str:
        process, self._process = self._process, None
        process.join()
        if process.exitcode >= 0:
            return f"worker ended (code {process.exitcode})"
        return f"worker killed (signal {-process.exitcode}; out of memory?)"

    def terminate(self) -> None:
        """Have it drop what it does."""
        if self._process is not None:
            self._process.terminate()

    def join(self) -> None:
        """Hang up, and wait for its end."""
        if self._process is None:
            return
        self.wire.close()
        self._process.join(_PATIENCE)
        self._process.kill()
        self._process.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What is started herein never sees Ctrl-C or a hang-up: the run ends it by itself."""
    ours = {signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    try:
        resource_tracker.ensure_running()  # it ends the blocking of SIGINT
        signal.pthread_sigmask(signal.SIG_BLOCK, ours)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(wire: Any, order: Order, index: int) -> None:
    """A worker's life: scenes in, log records and outcomes out, until the run hangs up."""
    signal.signal(signal.SIGTERM, _unwind)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log.handlers[:] = [_Sender(wire)]
    log.propagate = False
    with suppress(EOFError, OSError):  # the run hung up
        while True:
            wire.send(_do(wire.recv(), order, index))


def _unwind(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """No worker outlives its run, even where that is killed."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Sender(QueueHandler):
    """Sends log records over the wire."""

    def enqueue(self, record: logging.LogRecord) -> None:
        wire: Any = self.queue
        with suppress(OSError):  # nobody listens any more
            wire.send(record)


# dask


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
        with _uninterrupted():
            return import_module("distributed").LocalCluster(
                n_workers=self.jobs, threads_per_worker=1, memory_limit=None,
                resources={"GPU": 1} if torch.cuda.is_available() else {},
                dashboard_address=None, silence_logs=logging.CRITICAL,
                scheduler_kwargs={"allowed_failures": _TRIES - 1},
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
    return _do(pair, order, index, _unless_cancelled(worker))


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
    return _failed(pair, f"{pair[0]}: worker killed ({error}). Look at the workers' logs.")
