"""Time and arithmetic of a run, booked by stage."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock, local
from typing import Any, TypeVar

from geosr.models.card import Model

STAGES = ("read", "prepare", "net", "blend", "write", "wait", "other")
_T = TypeVar("_T")
_Shapes = tuple[tuple[int, tuple[int, ...]], ...]  # of a tile's inputs by GSD


class Meter:
    """Seconds by stage, and tiles by net and shape; of nested stages the inner one gets the time.

    What lies in no stage is "other". Stages may run in several threads; then they can add up to
    more than the whole.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.tiles: Counter[tuple[str, _Shapes]] = Counter()
        self._lock, self._here = Lock(), local()
        self.started = self._here.since = time.perf_counter()
        self._here.stage = "other"

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The time inside is the stage's."""
        outer = getattr(self._here, "stage", "")
        self.book()
        self._here.stage = name
        try:
            yield
        finally:
            self.book()
            self._here.stage = outer

    def each(self, name: str, items: Iterable[_T]) -> Generator[_T, None, None]:
        """The same items; the time to make them is the stage's."""
        iterator, end = iter(items), object()
        while True:
            with self.stage(name):
                item: Any = next(iterator, end)
            if item is end:
                return
            yield item

    def book(self) -> float:
        """Give the time since the last call to the present stage; return that since the start."""
        now, stage = time.perf_counter(), getattr(self._here, "stage", "")
        if stage:
            with self._lock:
                self.seconds[stage] += now - self._here.since
        self._here.since = now
        return now - self.started

    def count(self, model: Model, tile: Mapping[int, Any], number: int = 1) -> None:
        """Note tiles of one shape, {gsd: (bands, rows, cols)}."""
        shapes = tuple((gsd, tuple(array.shape)) for gsd, array in tile.items())
        self.tiles[model.card.name, shapes] += number
