"""Prefetch and write-behind: a thread makes items before they are needed, or uses them afterwards.

Queues are bounded, so that memory is; a thread ends with the block that started it, also where a
signal ends that. GDAL's settings hold in the threads too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Queue
from threading import Event, Semaphore, Thread
from typing import Any, Generic, TypeVar

import rasterio

from geosr.raster.files import SETTINGS

_T = TypeVar("_T")
_END = object()


@contextmanager
def prefetch(items: Iterable[_T], depth: int = 1) -> Iterator[Iterator[_T]]:
    """The same items, made in a thread while the last ones are used.

    What making them raises is raised where the item would have come.

    Args:
        depth: items that wait or are in the making at most.
    """
    producer = _Producer(items, depth)
    try:
        producer.start()
        yield producer.items()
    finally:
        producer.end()


class _Helper(Thread):
    """A thread whose end is waited for by an event.

    Python 3.11 takes a thread for ended where a signal interrupts its `join`.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._ended = Event()

    def run(self) -> None:
        """Work, and say so when it is over."""
        try:
            self.work()
        finally:
            self._ended.set()

    def work(self) -> None:
        """What the thread is for."""
        raise NotImplementedError

    def wait(self) -> None:
        """Its end, also where a signal comes just now: files are not closed under its hands.

        A thread that a signal kept from starting finds nothing to do.
        """
        if self.ident is None:
            return
        try:
            self._ended.wait()
        except BaseException:
            self._ended.wait()
            raise
        finally:
            self.join()


class _Producer(_Helper, Generic[_T]):
    def __init__(self, items: Iterable[_T], depth: int) -> None:
        super().__init__("geosr-prefetch")
        self._source, self._queue, self._room = iter(items), Queue[Any](), Semaphore(depth)
        self._wanted = True
        self._error: BaseException | None = None

    def work(self) -> None:
        """Put items in as long as they are wanted."""
        try:
            with rasterio.Env(**SETTINGS):
                while self._room.acquire() and self._wanted:
                    self._queue.put(next(self._source))
        except StopIteration:
            pass
        except BaseException as error:
            self._error = error
        self._queue.put(_END)

    def items(self) -> Iterator[_T]:
        """Take them out."""
        while (taken := [self._queue.get()])[0] is not _END:
            self._room.release()
            yield taken.pop()  # it may be large, and is not to be held here too
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Nothing is wanted any more; wait for the item in the making."""
        self._wanted = False
        self._room.release()
        self.wait()


@contextmanager
def write_behind(use: Callable[[_T], None], depth: int = 1) -> Iterator[Callable[[_T], None]]:
    """A function that hands items to `use`, which takes them one by one in a thread.

    What `use` raises is raised at the next item or at the end of the block, which waits for the
    last one.

    Args:
        depth: items that wait or are in use at most.
    """
    consumer = _Consumer(use, depth)
    try:
        consumer.start()
        yield consumer.take
        consumer.finish()
    finally:
        consumer.end()


class _Consumer(_Helper, Generic[_T]):
    def __init__(self, use: Callable[[_T], None], depth: int) -> None:
        super().__init__("geosr-write-behind")
        self._use, self._queue, self._room = use, Queue[Any](), Semaphore(depth)
        self._wanted = True
        self._error: BaseException | None = None

    def work(self) -> None:
        """Use items until one cannot be used; the others are dropped."""
        with rasterio.Env(**SETTINGS):
            while (item := self._queue.get()) is not _END:
                try:
                    if self._wanted:
                        self._use(item)
                except BaseException as error:
                    self._error, self._wanted = error, False
                del item  # it may be large
                self._room.release()

    def take(self, item: _T) -> None:
        """Hand on an item; waits until there is room for it."""
        self._room.acquire()
        self._require()
        self._queue.put(item)

    def finish(self) -> None:
        """Wait until all items are used."""
        self._queue.put(_END)
        self.wait()
        self._require()

    def end(self) -> None:
        """Drop what still waits; wait for the item in use."""
        self._wanted = False
        self._queue.put(_END)
        self.wait()

    def _require(self) -> None:
        if self._error is not None:
            raise self._error
