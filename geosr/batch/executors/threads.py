"""Scenes side by side in one process: while one is read or written the device runs the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event

from geosr.batch.batch import attempt
from geosr.batch.job import Job, Outcome, Pair, Progress


class _DroppedError(BaseException):
    """The run ends; no part of a scene catches this."""


@dataclass(frozen=True)
class Threads:
    """Threads that share the nets and the device, one scene at a time each.

    Attributes:
        count: how many.
    """

    count: int = 2

    def __call__(
        self, pairs: Sequence[Pair], job: Job, progress: Progress
    ) -> Generator[Outcome, None, None]:
        """Outcomes as they come; none is begun after one that stops the run."""
        ended, waiting = Event(), deque(pairs)

        def go_on(*_: object) -> None:
            if ended.is_set():
                raise _DroppedError

        with ThreadPoolExecutor(self.count, "geosr-scene") as pool:
            running = set[Future[Outcome]]()
            try:
                while waiting or running:
                    while waiting and len(running) < self.count:
                        running.add(pool.submit(attempt, *waiting.popleft(), job, go_on))
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for outcome in (future.result() for future in done):
                        if outcome.stops:
                            waiting.clear()
                        progress("scenes", 1, len(pairs))
                        yield outcome
            except BaseException:
                ended.set()
                raise
