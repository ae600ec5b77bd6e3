"""Work in a thread of its own beside the one that waits for it: items made ahead, items taken on.

Queues are bounded, so that memory is; a thread ends with the block that started it, also where a
signal ends that. GDAL's settings hold in the threads too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any, Generic, TypeVar

import rasterio

from geosr.raster import SETTINGS

_T = TypeVar("_T")
_END = object()
_BEAT = 0.05  # seconds between looks at a thread that is to end


@contextmanager
def ahead(items: Iterable[_T], depth: int = 1) -> Iterator[Iterator[_T]]:
    """The same items, made in a thread while the last ones are used.

    What making them raises is raised where the item would have come.

    Args:
        depth: items that wait at most; one more is in the making.
    """
    maker = _Maker(items, depth)
    maker.start()
    try:
        yield maker.made()
    finally:
        maker.end()


class _Maker(Thread, Generic[_T]):
    def __init__(self, items: Iterable[_T], depth: int) -> None:
        super().__init__(name="geosr-ahead")
        self._items, self._queue = items, Queue[Any](depth)
        self._wanted = True
        self._error: BaseException | None = None

    def run(self) -> None:
        """Put items in as long as they are wanted."""
        try:
            with rasterio.Env(**SETTINGS):
                for item in self._items:
                    self._queue.put(item)
                    del item  # it may be large, and the next one is made meanwhile
                    if not self._wanted:
                        break
        except BaseException as error:
            self._error = error
        self._queue.put(_END)

    def made(self) -> Iterator[_T]:
        """Take them out."""
        while (item := self._queue.get()) is not _END:
            yield item
            del item
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Nothing is wanted any more: take out what still comes."""
        self._wanted = False
        while self.is_alive():
            with suppress(Empty):
                self._queue.get(timeout=_BEAT)


@contextmanager
def behind(use: Callable[[_T], None], depth: int = 1) -> Iterator[Callable[[_T], None]]:
    """A function that hands items to `use`, which takes them one by one in a thread.

    What `use` raises is raised at the next item or at the end of the block, which waits for the
    last one.

    Args:
        depth: items that wait at most; one more is in use.
    """
    taker = _Taker(use, depth)
    taker.start()
    try:
        yield taker.take
        taker.finish()
    finally:
        taker.end()


class _Taker(Thread, Generic[_T]):
    def __init__(self, use: Callable[[_T], None], depth: int) -> None:
        super().__init__(name="geosr-behind")
        self._use, self._queue = use, Queue[Any](depth)
        self._wanted = True
        self._error: BaseException | None = None

    def run(self) -> None:
        """Use items until one cannot be used; the others are dropped."""
        with rasterio.Env(**SETTINGS):
            while (item := self._queue.get()) is not _END:
                if not self._wanted:
                    continue
                try:
                    self._use(item)
                except BaseException as error:
                    self._error, self._wanted = error, False
                del item

    def take(self, item: _T) -> None:
        """Hand on an item; waits while others wait."""
        self._require()
        self._queue.put(item)

    def finish(self) -> None:
        """Wait until all items are used."""
        self._queue.put(_END)
        self.join()
        self._require()

    def end(self) -> None:
        """Drop what still waits."""
        self._wanted = False
        while self.is_alive():
            with suppress(Full):
                self._queue.put(_END, timeout=_BEAT)
            self.join(_BEAT)

    def _require(self) -> None:
        if self._error is not None:
            raise self._error
