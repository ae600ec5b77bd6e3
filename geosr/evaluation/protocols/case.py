"""One scene that a net can be scored on, and what the protocols share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geosr.errors import GeosrError, UsageError
from geosr.inference.anypair import bound
from geosr.inference.engine import Engine
from geosr.inference.fit import fitted
from geosr.inference.fitoptions import FitOptions
from geosr.inference.plan import make_plan
from geosr.inference.request import Request
from geosr.inference.strips import strips
from geosr.inference.superres import with_frames
from geosr.models import registry
from geosr.models.card import Model, ModelCard
from geosr.models.nets.guided.anypair import is_template
from geosr.raster.window import Window
from geosr.scene.frames import FrameOptions
from geosr.scene.pixels import Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets import folder


@dataclass(frozen=True)
class Rows:
    """Finished rows of one scene: (bands, rows, cols), reflectance × 10000; mask True is valid.

    Attributes:
        figures: further ones, to be averaged over rows by their weight: name to (value, weight).
        by_band: the same of single bands: name to band to (value, weight).
    """

    truth: NDArray[np.float32]
    estimate: NDArray[np.float32]
    mask: NDArray[np.bool_]
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    by_band: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One scene that a net can be scored on.

    Attributes:
        group: what scores may be averaged with: "20" (metres) or "x4".
        run: gives the rows of a net, top to bottom.
        low: the net's input of the bands scored, for pictures: (bands, rows, cols).
        scale: of nets that get theirs from the data; 0 is the net's own.
    """

    name: str
    path: str
    level: str
    group: str
    bands: tuple[str, ...]
    run: Callable[[Model, Engine], Iterator[Rows]]
    low: Callable[[], NDArray[np.float32]]
    scale: int = 0


@dataclass(frozen=True)
class Data:
    """What to score on.

    Attributes:
        protocol: one of `geosr.evaluation.protocols.PROTOCOLS`, or None to tell by what lies there.
        operator: how images are degraded.
        psf, noise: σ of Gaussians in input pixels and of white noise in units of 1.0, every pair
            of which is scored; images alone, and instead of an operator.
        frames: how several images of a place are prepared; of simulated series how many.
        fit: how nets that learn on a scene do so.
        refine: how results are refined, as `Request.refine` says.
        scale: by which truths are degraded where neither data nor net say it; 0 is the usual one.
    """

    path: Path
    protocol: str | None = None
    pattern: str | None = None
    operator: str | None = None
    options: OpenOptions = OpenOptions()  # noqa: RUF009 - frozen
    tile_size: int | None = None
    frames: FrameOptions = FrameOptions()  # noqa: RUF009 - frozen
    psf: tuple[float, ...] = ()
    noise: tuple[float, ...] = ()
    fit: FitOptions = FitOptions()  # noqa: RUF009 - frozen
    refine: str = ""
    scale: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot go together.

        Raises:
            UsageError: a blur or noise beside an operator or another protocol, or below 0.
        """
        if min([*self.psf, *self.noise], default=0.0) < 0:
            raise UsageError(f"psf {self.psf}, noise {self.noise}: no σ is below 0. Give others.")
        if not self.psf and not self.noise:
            return
        beside = f"degradation {self.operator}" if self.operator else ""
        if self.protocol not in (None, "folder"):
            beside = f"protocol {self.protocol}"
        if beside:
            raise UsageError(
                f"psf and noise degrade images by themselves, beside --{beside}. Leave one out."
            )


def scenes(data: Data, kind: str, failed: dict[str, str]) -> Iterator[Scene]:
    """Every scene of the data that opens; the others go to `failed` with the reason."""
    options = replace(data.options, kind=kind)
    paths = (folder.images(data.path, data.pattern) if kind == "image"
             else find_scenes(data.path, pattern=data.pattern, kind=kind))  # fmt: skip
    for path in paths:
        try:
            yield open_scene(path, options)
        except GeosrError as error:
            failed[path.name] = str(error)


def bound_card(card: ModelCard, scene: Scene) -> ModelCard:
    """The card that a net has for a scene: those for any pair have none of their own."""
    if not is_template(card):
        return card
    return bound(registry.build(card), scene).card


def images(data: Data, card: ModelCard, failed: dict[str, str]) -> Iterator[Scene]:
    """Every image of the data that is large enough for a net's scale."""
    for scene in scenes(data, "image", failed):
        if min(scene.grid.shape) < card.scale:
            failed[scene.name] = f"{scene.path} is smaller than {card.scale} pixels. Leave it out."
        else:
            yield scene


def whole(reader: Reader, scene: Scene, names: Sequence[str]) -> NDArray[np.float32]:
    """All of some bands of one GSD as `reader` sees them, reflectance × 10000."""
    gsd = scene.gsd(names[0])
    values = reader.read(names, gsd, reader.grids[gsd].window).values
    return reflectance(scene, names, values.astype(np.float32))


def all_names(scene: Scene) -> tuple[str, ...]:
    """The names of a scene's bands, in its order."""
    return tuple(band.name for band in scene.bands)


def low_of(scene: Scene, bands: Sequence[str]) -> NDArray[np.float32]:
    """All of some bands of a scene as it lies there."""
    with scene.open() as reader:
        return whole(reader, scene, bands)


def compared(fine: Scene, truth: Reader, window: Window, made: NDArray[np.float32]) -> Rows:
    """What was made of a window of `fine`, which may reach beyond it, with all bands of that."""
    names = fine.order(all_names(fine))
    pixels = truth.read(names, fine.finest, window)
    inside = np.zeros(window[2:], bool)
    inside[window.intersect(fine.grid.window).within(window)] = True
    return Rows(reflectance(fine, names, pixels.values), made, pixels.usable & inside)


def rows_of(
    low: Scene,
    reader: Reader,
    fine: Scene,
    truth: Reader,
    data: Data,
    model: Model,
    engine: Engine,
    corner: tuple[int, int],
    *,
    prepared: bool = False,
) -> Iterator[Rows]:
    """Rows of a net for any raster on `low`, whose pixel (0, 0) begins at `corner` of `fine`.

    Args:
        prepared: frames are chosen, registered and brightened first, as `data.frames` has it.
    """
    request = Request(tile_size=data.tile_size, fit=data.fit, frames=data.frames,
                      refine=data.refine, panels=False)  # fmt: skip
    plan = fitted(make_plan(low, [model], request, engine), reader, data.fit, engine)
    if prepared:
        plan = with_frames(plan, reader, request)
    with closing(strips(reader, plan, engine)) as finished:
        for strip in finished:
            window = strip.window.at(model.card.scale).shift(*corner)
            if plan.continuous:
                window = plan.made(strip.window).shift(*corner)
            made = np.stack([strip.predicted[band] for band in plan.names])
            yield compared(fine, truth, window, made)
