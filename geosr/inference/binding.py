"""Nets bound to the bands of a scene: which of them run, on what, and whether they can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geosr.errors import SceneError, UsageError
from geosr.inference.request import Request
from geosr.inference.zoom import at_gsd, check_zoom
from geosr.models.card import ANY, Model, ModelCard
from geosr.models.nets.guided.anypair import is_template
from geosr.scene import pointspread
from geosr.scene.pointspread import FINEST
from geosr.scene.scene import Scene

UNCERTAINTY = "_uncertainty"  # behind the name of a band
_BLUR = "blur"  # the option of nets that are told how images were sensed


@dataclass(frozen=True)
class Bound:
    """A net bound to bands of a scene: band by band it comes once for every band.

    Attributes:
        inputs: GSD on the card, GSD and names in the scene; in the card's order.
        bands: names of what comes out.
        uncertain: the uncertainty of each follows it out.
        pad: pixels of the plan's coarsest input that it is given around a tile.
    """

    model: Model
    inputs: tuple[tuple[int, int, tuple[str, ...]], ...]
    bands: tuple[str, ...]
    uncertain: bool = False
    pad: int = 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all that comes out, in the net's order."""
        return (*self.bands, *(f"{name}{UNCERTAINTY}" for name in self.bands if self.uncertain))

    @property
    def target(self) -> int:
        """GSD in the scene on which the bands were sensed."""
        return self.inputs[-1][1]

    @property
    def coarsest(self) -> int:
        """The largest GSD in the scene that it reads."""
        return max(gsd for _, gsd, _ in self.inputs)


def bind(
    scene: Scene, models: Sequence[Model], request: Request, notes: list[str]
) -> tuple[Bound, ...]:
    """The nets that run, bound to what they read and make of the scene.

    Args:
        notes: gets what is left out and why.

    Raises:
        SceneError: the scene lacks what the nets need.
        UsageError: the nets do not go together, or cannot do what is asked.
    """
    models = [_bound(model, scene) for model in at_gsd(scene, models, request.gsd)]
    if for_any_raster(models):
        chosen = _any_raster(scene, models, request)
    else:
        chosen = _guided(scene, models, request, notes)
    nets = tuple(replace(net, uncertain=request.uncertainty) for net in chosen)
    _check_nets(nets, request)
    if scene.video and request.frames.count:
        raise UsageError("--frames: --window says how many frames of a video. Drop one of them.")
    return nets


def for_any_raster(models: Sequence[Model]) -> bool:
    """Whether nets make the bands of one grid finer, whatever they are."""
    return any(model.card.task not in ("guided", "spectral") for model in models)


def output_scale(scene: Scene, models: Sequence[Model], nets: Sequence[Bound]) -> tuple[int, float]:
    """Output pixels along a pixel of the scene's finest grid, and what that is rounded up from.

    The latter of nets of any scale; of others 0.
    """
    if for_any_raster(models):
        card = nets[0].model.card if nets else models[0].card
        return card.scale, card.continuous
    return _finer(scene, nets), 0.0


def _bound(model: Model, scene: Scene) -> Model:
    """A net for the bands of any pair gets those of the scene, one that asks for it the sensor's
    point spread; others have theirs.
    """
    if is_template(model.card):
        from geosr.inference.anypair import bound  # with PyTorch

        return bound(model, scene)
    asks = model.card.options.get(_BLUR) == pointspread.SENSOR
    if asks and scene.sensor in pointspread.RESAMPLED:
        from geosr.models import registry  # with PyTorch

        options = {**model.card.options, _BLUR: pointspread.CUBIC}
        return registry.build(replace(model.card, options=options))
    return model


def _check_nets(nets: Sequence[Bound], request: Request) -> None:
    """Whether the nets can do what is asked beyond the bands.

    Raises:
        UsageError: they cannot; says which can.
    """
    for card in (net.model.card for net in nets):
        several = card.task == "misr"
        option = "--refine" if request.refine else "--consistent" if request.consistent else ""
        if option and card.task == "spectral":
            raise UsageError(f"{option}: '{card.name}' tells new bands. Drop it.")
        check_zoom(card, option)
        if option and several:
            raise UsageError(f"{option}: '{card.name}' takes several images. Drop it.")
        on_first = card.frames == 2 or card.video
        if request.ensemble > 1 and (not several or on_first):
            raise UsageError(
                f"--ensemble averages over orders of frames; '{card.name}' "
                f"{'builds on its first frame' if several else 'takes one image'}. Drop it."
            )
    if request.uncertainty and not all(net.model.tells_uncertainty for net in nets):
        raise UsageError("--uncertainty: of the nets only piunet tells it. Drop it.")


def _any_raster(scene: Scene, models: Sequence[Model], request: Request) -> tuple[Bound, ...]:
    """One net for any raster, bound to each band, or to all at once as its card says."""
    if len(models) > 1:
        said = ", ".join(model.card.name for model in models)
        raise UsageError(f"{said} make the same bands. Choose one --model.")
    model, names = models[0], scene.order({band.name for band in scene.bands})
    wanted = names if request.bands is None else tuple(n for n in names if n in request.bands)
    card = model.card
    if card.bands == (ANY,):
        return tuple(Bound(model, ((card.native_gsd, scene.finest, (n,)),), (n,)) for n in wanted)
    if set(card.bands) <= set(names):  # by name, where bands have the names that the net knows
        return (Bound(model, ((card.native_gsd, scene.finest, card.bands),), card.bands),)
    if len(names) != len(card.bands):
        raise SceneError(
            f"{scene.path} has {len(names)} bands, {card.name} takes {len(card.bands)} at once. "
            "Use weights trained band by band, or a raster with those bands."
        )
    return (Bound(model, ((card.native_gsd, scene.finest, names),), names),)


def _guided(
    scene: Scene, models: Sequence[Model], request: Request, notes: list[str]
) -> tuple[Bound, ...]:
    """The models whose bands are wanted and, of several models, not all absent.

    Raises:
        UsageError: two of them make one band.
    """
    if any(model.card.task == "spectral" for model in models):
        return _spectral(scene, models)
    present = {band.name for band in scene.bands}
    wanted = set(request.bands) if request.bands is not None else None
    asked = [m for m in models if wanted is None or wanted & set(m.card.bands) or _is_finer(m)]
    chosen: list[Bound] = []
    for model in asked:
        if len(asked) > 1 and not present & set(model.card.bands):
            notes.append(f"no {' '.join(model.card.bands)}: {model.card.name} is not run")
            continue
        names = [name for item in model.card.inputs for name in item.bands]
        scene.select(names=names)  # says what is missing
        _require_factor(scene, model.card)
        inputs = tuple((item.gsd, item.gsd, item.bands) for item in model.card.inputs)
        _require_other_bands(chosen, model)
        chosen.append(Bound(model, inputs, model.card.bands))
    if asked and not chosen:
        scene.select(names=asked[0].card.bands)
    _require_counts(scene, chosen)
    if any(net.model.card.output.gsd != scene.finest for net in chosen if not _is_finer(net.model)):
        raise SceneError(
            f"{scene.path} has no 10 m bands, whose grid the output takes (found: "
            f"{' '.join(band.name for band in scene.bands)}). Add B2, B3, B4 and B8."
        )
    return _cascaded(chosen)


def _require_other_bands(nets: Sequence[Bound], model: Model) -> None:
    for net in nets:
        if both := [name for name in model.card.bands if name in net.bands]:
            raise UsageError(
                f"{net.model.card.name}, {model.card.name} make the same bands "
                f"({' '.join(both)}). Choose one --model for them."
            )


def _is_finer(model: Model) -> bool:
    """Whether a net makes the finest bands of Sentinel-2 finer."""
    card = model.card
    return card.task == "guided" and card.sensor == "sentinel2" and card.output.gsd < FINEST


def _finer(scene: Scene, nets: Sequence[Bound]) -> int:
    """Output pixels along a pixel of the scene's finest grid."""
    return max((scene.finest // net.model.card.output.gsd for net in nets if _is_finer(net.model)),
               default=1)  # fmt: skip


def _cascaded(nets: Sequence[Bound]) -> tuple[Bound, ...]:
    """The nets; where one makes the finest bands finer it takes those that the others sharpen."""
    finer, others = (
        [net for net in nets if _is_finer(net.model) == kind] for kind in (True, False)
    )
    if not finer or not others:
        return tuple(nets)
    from geosr.models.nets.guided.cascade import cascade  # with PyTorch

    model = cascade([net.model for net in others], finer[0].model)
    inputs = tuple((item.gsd, item.gsd, item.bands) for item in model.card.inputs)
    return (Bound(model, inputs, model.card.bands),)


def _require_factor(scene: Scene, card: ModelCard) -> None:
    """Whether a net for pairs was made for the factor between this one's grids."""
    if scene.sensor != "pair" or all(item.gsd in scene.grids for item in card.inputs):
        return
    raise SceneError(
        f"{scene.path}: its guide is {max(scene.grids)} times finer, '{card.name}' was trained for "
        f"{card.scale}. Take weights trained on such pairs, or --model regress, gsa, mtf-glp."
    )


def _spectral(scene: Scene, models: Sequence[Model]) -> tuple[Bound, ...]:
    """The one net that tells new bands of a scene's finest ones."""
    if len(models) > 1:
        said = ", ".join(model.card.name for model in models)
        raise UsageError(f"{said}: a net that tells new bands runs alone. Choose one --model.")
    card = models[0].card
    scene.select(names=card.inputs[0].bands, gsd=scene.finest)  # says what is missing
    nets = (Bound(models[0], ((1, scene.finest, card.inputs[0].bands),), card.bands),)
    _require_counts(scene, nets)
    return nets


def _require_counts(scene: Scene, nets: Sequence[Bound]) -> None:
    eight = scene.dtype == np.uint8 and scene.sensor == "sentinel2"
    if eight and any(net.model.parameters for net in nets):
        raise SceneError(
            f"{scene.path}: 8-bit values are not Sentinel-2 counts (a picture?). "
            "Give the 16-bit product; only --model bicubic takes 8 bits."
        )
