"""The stages of geosr's own line, timed as it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import geosr.inference.strips as strips_module
import geosr.inference.superres as superres_module
from geosr.bench.meter import Meter
from geosr.inference.blend import Blender
from geosr.inference.predict import predict
from geosr.inference.prefetch import prefetch, write_behind
from geosr.models.card import Model
from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.raster.writer import create
from geosr.scene.pixels import Pixels, Reader


def by_stages(run: Callable[[], None], meter: Meter) -> None:
    """Run geosr's line, its stages told: the steps that it calls are wrapped while it runs."""

    def timed_strips(reader: Reader, *args: Any, **more: Any) -> Iterator[Any]:
        return meter.each(
            "prepare", strips_module.strips(_TimedReader(reader, meter), *args, **more)
        )

    def timed_predict(model: Model, tiles: Sequence[Any], *args: Any, **more: Any) -> Iterator[Any]:
        if tiles:
            meter.count(model, tiles[0], len(tiles))
        return meter.each("net", predict(model, tiles, *args, **more))

    @contextmanager
    def timed_create(*args: Any, **more: Any) -> Iterator[Any]:
        with meter.stage("write"), create(*args, **more) as output, meter.stage("wait"):
            yield output

    @contextmanager
    def timed_prefetch(items: Iterable[Any]) -> Iterator[Any]:
        with prefetch(meter.each("prepare", items)) as ready:
            yield meter.each("wait", ready)

    def timed_write_behind(
        use: Callable[[Any], None],
    ) -> AbstractContextManager[Callable[[Any], None]]:
        def timed_use(item: Any) -> None:
            with meter.stage("write"):
                use(item)

        return write_behind(timed_use)

    class TimedBlender(Blender):
        def add(self, strip: Any) -> NDArray[np.float32]:
            with meter.stage("blend"):
                return super().add(strip)

    with (
        _instead(
            superres_module, strips=timed_strips, create=timed_create,
            write_behind=timed_write_behind,
        ),
        _instead(
            strips_module, predict=timed_predict, Blender=TimedBlender, prefetch=timed_prefetch
        ),
    ):  # fmt: skip
        run()


@contextmanager
def _instead(module: ModuleType, **others: object) -> Iterator[None]:
    """Other values for names of a module, for a while."""
    own = {name: getattr(module, name) for name in others}
    for name, value in others.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in own.items():
            setattr(module, name, value)


@dataclass(frozen=True)
class _TimedReader:
    reader: Reader
    meter: Meter

    @property
    def grids(self) -> Mapping[int, Grid]:
        return self.reader.grids

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        with self.meter.stage("read"):
            return self.reader.read(names, gsd, window, frame=frame)

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        return self.reader.has_mask(names, gsd)
