"""Outputs finer than the scene's finest bands: the wanted pixel size, and who can make it."""

from __future__ import annotations

from collections.abc import Sequence

from rasterio.errors import CRSError

from geosr.errors import SceneError, UsageError
from geosr.models.card import FINER, Model, ModelCard
from geosr.raster.grid import Grid
from geosr.scene.scene import Scene

_ALIKE = 1e-9  # of a scale; less is noise of floats


def with_finer(models: Sequence[Model], gsd: float | None) -> tuple[Model, ...]:
    """The nets, and beside those that sharpen Sentinel-2 the one that makes pixels of `gsd` metres.

    Raises:
        UsageError: no net makes them.
        WeightsError: its weights are missing or damaged.
    """
    guided = [model.card for model in models if model.card.task in ("guided", "spectral")]
    made = {card.output.gsd for card in guided}
    if gsd is None or not guided or gsd in made:
        return tuple(models)
    from geosr.models import registry, weights  # with PyTorch

    design = registry.design(FINER).card()
    sharpeners = all(card.task == "guided" and card.sensor == "sentinel2" for card in guided)
    if sharpeners and gsd == design.output.gsd:
        return (*models, *weights.load(FINER))
    if sharpeners and gsd < design.output.gsd:
        raise UsageError(
            f"--gsd {gsd:g}: nothing finer than {design.output.gsd} m is made of Sentinel-2, for "
            "what would be there cannot be checked on any of its bands. "
            f"Take --gsd {design.output.gsd}, or a net of any scale (liif)."
        )
    raise UsageError(
        f"--gsd {gsd:g}: {' '.join(card.name for card in guided)} make pixels of "
        f"{' and '.join(f'{n} m' for n in sorted(made))}. Leave it out"
        + f", or take --gsd {design.output.gsd}" * sharpeners
        + ", or a net of any scale (liif, bicubic)."
    )


def at_gsd(scene: Scene, models: Sequence[Model], gsd: float | None) -> Sequence[Model]:
    """The nets at the scale that makes output pixels of `gsd` metres of this scene.

    Where pixels are no squares their sides along rows become `gsd`, the others as many times finer.

    Raises:
        SceneError: the scene's CRS has no metres, or its pixels are not coarser than that.
        UsageError: a net has a scale of its own, which is another.
    """
    if gsd is None:
        return models
    guided = [model.card for model in models if model.card.task in ("guided", "spectral")]
    if guided:
        if gsd not in {card.output.gsd for card in guided}:  # `with_finer` tells what else there is
            raise UsageError(
                f"--gsd {gsd:g}: guided nets make the pixels of the scene's finest bands. Leave it "
                "out, or take a net of any scale (liif, bicubic)."
            )
        return models
    own = scene.grids[scene.finest].gsd * _metres(scene.grids[scene.finest], scene.path)
    scale = round(own / gsd) if abs(own / gsd - round(own / gsd)) < _ALIKE else own / gsd
    if scale <= 1:
        raise SceneError(
            f"{scene.path}: its pixels have {own:g} m, which is not coarser than --gsd {gsd:g}. "
            "Give a smaller --gsd."
        )
    return [_at(model, float(scale), gsd, own) for model in models]


def _at(model: Model, scale: float, gsd: float, own: float) -> Model:
    card = model.card
    if card.continuous or card.factor == scale:
        return model.at(scale)
    raise UsageError(
        f"--gsd {gsd:g}: '{card.name}' makes pixels of {own / card.factor:g} m of {own:g} m. "
        "Leave --gsd out, or take a net of any scale (liif)."
    )


def _metres(grid: Grid, path: str) -> float:
    """Metres in a unit of a grid's CRS.

    Raises:
        SceneError: it has none, or is in degrees.
    """
    what = "no CRS" if grid.crs is None else f"a CRS without metres ({grid.crs.to_string()})"
    try:
        if grid.crs is not None and not grid.crs.is_geographic:
            return float(grid.crs.linear_units_factor[1])
    except CRSError:
        pass
    raise SceneError(f"{path} has {what}, so --gsd says nothing of its pixels. Use --scale.")


def check_zoom(card: ModelCard, option: str) -> None:
    """Whether a net of any scale can do what an option asks, "" being nothing.

    Raises:
        UsageError: it cannot.
    """
    if card.continuous and option:
        raise UsageError(
            f"{option} is for nets of one whole scale; '{card.name}' takes any. Drop it."
        )
