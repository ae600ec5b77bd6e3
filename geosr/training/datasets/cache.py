"""Images kept in memory while windows are drawn from them, as far as there is room."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from geosr.raster.grid import Grid
from geosr.raster.window import Window
from geosr.scene.pixels import Pixels, Reader, fold
from geosr.scene.scene import Scene

_FLAGS = 3  # bytes beside a pixel's value: valid, mask, saturated


@dataclass
class Room:
    """Bytes that images may still take: of those to learn from, and of those held out."""

    left: int = 2**29
    lock: Lock = field(default_factory=Lock)  # files are read by one thread at a time

    def __reduce__(self) -> tuple[type[Room], tuple[int]]:
        """A lock does not travel to another process."""
        return Room, (self.left,)

    def take(self, size: int) -> bool:
        """Whether there is room for `size` bytes, which is then taken."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass
class Held:
    """A reader that keeps whole bands once they are asked for; what finds no room is read anew.

    Args:
        source: opens the scene, or gives it where it is open.
    """

    scene: Scene
    source: Callable[[], Reader]
    room: Room
    _kept: dict[tuple[tuple[str, ...], int, int], Pixels | None] = field(default_factory=dict)

    @property
    def grids(self) -> Mapping[int, Grid]:
        """Native grid by GSD."""
        return self.scene.grids

    def has_mask(self, names: Sequence[str], gsd: int) -> bool:
        """Whether a file of these bands has a mask of its own."""
        return self.source().has_mask(names, gsd)

    def read(self, names: Sequence[str], gsd: int, window: Window, *, frame: int = 0) -> Pixels:
        """Bands in a window, which may reach past the edges."""
        key = (tuple(names), gsd, frame)
        with self.room.lock:
            if key not in self._kept:
                self._kept[key] = self._whole(names, gsd, frame)
            kept = self._kept[key]
            if kept is None:
                return self.source().read(names, gsd, window, frame=frame)
        folded = fold(window, *kept.values.shape[1:])
        return folded.take(kept.crop(folded.hull.within(Window(0, 0, 0, 0))))

    def _whole(self, names: Sequence[str], gsd: int, frame: int) -> Pixels | None:
        grid = self.scene.grids[gsd]
        size = grid.height * grid.width * len(names) * (self.scene.dtype.itemsize + _FLAGS)
        if not self.room.take(size):
            return None
        return self.source().read(names, gsd, grid.window, frame=frame)
