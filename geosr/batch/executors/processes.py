"""Scenes on several processes of this machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing import connection, get_context, parent_process
from typing import Any

from geosr.batch import records
from geosr.batch.executors.worker import TRIES, Order, do, failed, uninterrupted
from geosr.batch.job import Job, Outcome, Pair, Progress

log = logging.getLogger("geosr")

_PATIENCE = 8.0  # seconds for workers to drop their tiles and clean up; then they are killed


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
        if self._deaths[pair] < TRIES and not self._stopped:
            log.warning("%s: %s; trying it again", pair[0], how)
            self._waiting.appendleft(pair)
            return None
        return failed(pair, f"{pair[0]}: {how}. Use fewer --jobs or a smaller --tile-size.")

    def terminate(self) -> None:
        """Tell all workers to drop what they do."""
        for worker in self._workers:
            worker.terminate()

    def join(self) -> None:
        """Wait for all workers to end; a run that is told to end does so within ten seconds."""
        end = time.monotonic() + _PATIENCE
        for worker in self._workers:
            worker.hang_up()
        for worker in self._workers:
            worker.join(max(end - time.monotonic(), 0))


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
        with uninterrupted():
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

    def hang_up(self) -> None:
        """Give it nothing more."""
        if self._process is not None:
            self.wire.close()

    def join(self, seconds: float) -> None:
        """Wait for its end, not longer than this."""
        if self._process is None:
            return
        self._process.join(seconds)
        self._process.kill()
        self._process.join()


def _serve(wire: Any, order: Order, index: int) -> None:
    """A worker's life: scenes in, log records and outcomes out, until the run hangs up."""
    signal.signal(signal.SIGTERM, _unwind)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log.handlers[:] = [_Sender(wire)]
    log.propagate = False
    with suppress(EOFError, OSError):  # the run hung up
        while True:
            wire.send(do(wire.recv(), order, index))


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
