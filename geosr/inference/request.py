"""What a user wants of every scene, and how scenes are read for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from geosr.errors import UsageError
from geosr.inference.fitoptions import FitOptions
from geosr.inference.video import of_video
from geosr.models.card import Model
from geosr.scene.frames import FrameOptions
from geosr.sensors import OpenOptions


@dataclass(frozen=True)
class Request:
    """What the user wants of every scene.

    Attributes:
        bands: output bands by name; None is all there are.
        only_sr: leave native bands out.
        bounds: (left, bottom, right, top) in the scene's CRS, or in `bounds_crs`.
        tile_size: side of a tile's finished core in pixels of the finest input grid; None is what
            fits into the engine's memory, and a fixed size for nets that blend.
        overlap: pixels of the finest grid to read around a core; None is the net's margin.
        options: creation options of the output, NAME to VALUE.
        max_pixels: of an output's grid at most.
        frames: how several images of a place are prepared.
        ensemble: orders of the frames whose results are averaged.
        uncertainty: give every band's, `NAME_uncertainty`, where the net tells it.
        consistent: make the output degrade exactly to the input.
        refine: what else is done to that end, one of `consistency.REFINEMENTS`; "" is nothing.
        skip_empty: write nothing where nothing was sensed.
        tmp_dir: where the output lies until it is whole; None is beside it.
        gsd: metres of an output pixel, for nets of any scale; None is what the nets make.
        fit: how nets that learn on the scene do so.
        overviews: give a GeoTIFF overviews; a COG has them anyway.
        panels: a wide scene may be worked through in panels; what takes rows of the whole width
            one after the other, as scores do, says no.
    """

    bands: tuple[str, ...] | None = None
    only_sr: bool = False
    bounds: tuple[float, float, float, float] | None = None
    bounds_crs: str | None = None
    tile_size: int | None = None
    overlap: int | None = None
    format: str = "GTiff"
    options: Mapping[str, str] = field(default_factory=dict)
    frames: FrameOptions = FrameOptions()  # noqa: RUF009 - frozen
    ensemble: int = 1
    uncertainty: bool = False
    consistent: bool = False
    max_pixels: int = 4_000_000_000
    skip_empty: bool = False
    tmp_dir: Path | None = None
    gsd: float | None = None
    fit: FitOptions = FitOptions()  # noqa: RUF009 - frozen
    overviews: bool = False
    refine: str = ""
    panels: bool = True

    @property
    def agrees(self) -> bool:
        """Whether the output is to degrade exactly to the input, one way or another."""
        return self.consistent or bool(self.refine)


def scene_options(models: Sequence[Model], options: OpenOptions) -> OpenOptions:
    """How scenes are read for these nets: what counts as a scene, and as reflectance 1.0.

    Args:
        options: a `window` of 0 is that of no video; of kinds only "between" is looked at.

    Raises:
        UsageError: nets of several kinds, or ones that do not take a window of that many frames.
    """
    told = [model.card.name for model in models if model.card.task == "change"]
    if told:
        raise UsageError(f"'{told[0]}' tells what changed. Run geosr change A B OUT --net FILE.")
    kinds = {model.card.scenes for model in models}
    if len(kinds) > 1:
        raise UsageError("guided nets and nets for any raster do not go together. Run them apart.")
    if options.guide and kinds != {"pair"}:
        named = ", ".join(model.card.name for model in models)
        raise UsageError(
            f"{named} takes no --guide. Leave it out, or choose --model gsa, mtf-glp, landsat-ps …"
        )
    quantification = options.quantification or models[0].card.quantification or None
    kind, window = of_video([model.card for model in models], kinds.pop(), options.window,
                            between=options.kind == "between")  # fmt: skip
    return replace(options, kind=kind, quantification=quantification, max_pixels=None,
                   window=window)  # fmt: skip
