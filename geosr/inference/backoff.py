"""`superres` with less at a time, as long as memory runs out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from geosr.errors import SceneError, cause
from geosr.inference.engine import Engine
from geosr.inference.plan import Plan, make_plan
from geosr.inference.predict import free_memory, out_of_memory
from geosr.inference.request import Request
from geosr.inference.superres import Result, superres
from geosr.models.card import Model
from geosr.scene.scene import Scene

log = logging.getLogger("geosr")

SMALLEST_TILE = 64  # pixels of the finest grid; of less, most would be margin


def superres_in_memory(
    scene: Scene,
    path: Path,
    models: Sequence[Model],
    *,
    request: Request,
    engine: Engine,
    batch_fixed: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
    before_publish: Callable[[Path], None] = lambda _: None,
    check: bool = False,
    check_limit: float | None = None,
) -> tuple[Result, int]:
    """As `superres`; where memory runs out again with half the batch, in the end half the tile.

    The scene is begun anew; its pixels are the same, whatever the tile, but for nets that blend.

    Args:
        request: a tile size in it is fixed.
        batch_fixed: the engine's batch size is.
        progress: called with the tiles finished since the last call, negative where all begins
            anew, and the number of tiles in all.

    Returns:
        What was written, and the tile size it took.

    Raises:
        SceneError: as `superres`; or memory runs out, and there is nothing left to take back.
    """
    fixed = _Fixed(batch_fixed, request.tile_size)
    while True:
        plan = make_plan(scene, models, request, engine)
        tiles = _Tiles(len(plan.tiles) * len(plan.nets), progress)
        try:
            result = superres(
                scene, path, models, request=request, engine=engine, progress=tiles.advance,
                before_publish=before_publish, check=check, check_limit=check_limit,
            )  # fmt: skip
            return result, plan.tile_size
        except Exception as error:
            if not out_of_memory(error):
                raise
            said = cause(error)[:200]
        # only here has the exception let go of the tensors that filled the memory
        tiles.advance(-tiles.done)
        free_memory(engine)
        engine, request = _less(plan, engine, request, fixed, said)


@dataclass
class _Tiles:
    """How many tiles of a scene are finished."""

    total: int
    progress: Callable[[int, int], None]
    done: int = 0

    def advance(self, count: int) -> None:
        self.done += count
        self.progress(count, self.total)


@dataclass(frozen=True)
class _Fixed:
    """What the user said, which is never changed."""

    batch: bool
    tile_size: int | None

    def advice(self, batch_size: int) -> str:
        """What to do where nothing is left to take back."""
        said = [f"--batch-size {batch_size}"] if self.batch and batch_size > 1 else []
        said += [f"--tile-size {self.tile_size}"] if self.tile_size else []
        if said:
            return f"{' and '.join(said)} is never changed: give less, or leave it out."
        return f"Tiles of {SMALLEST_TILE} px are the least. Use fewer --jobs or a larger machine."


def _less(
    plan: Plan, engine: Engine, request: Request, fixed: _Fixed, said: str
) -> tuple[Engine, Request]:
    """Half the batch, then half the tile."""
    path = plan.scene.path
    size = request.tile_size or math.isqrt(math.prod(plan.tile_shape)) // plan.finer
    if engine.batch_size > 1 and not fixed.batch:
        engine = replace(engine, batch_size=engine.batch_size // 2)
        log.warning("%s: out of memory, again with batches of %d", path, engine.batch_size)
    elif fixed.tile_size is None and size > SMALLEST_TILE:
        request = replace(request, tile_size=max(size // 2, SMALLEST_TILE))
        log.warning("%s: out of memory, again with tiles of %d px", path, request.tile_size)
    else:
        raise SceneError(f"{path}: out of memory ({said}). {fixed.advice(engine.batch_size)}")
    return engine, request
