"""A name of the registry: what makes its cards and its nets, and how these are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geosr.errors import UsageError
from geosr.models.card import ANY, ANY_SCALE, Input, ModelCard

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Recipe:
    """How a net is trained where the user says nothing else.

    Attributes:
        patch: side of a window in pixels of the coarsest input.
        schedule: "cosine" to zero, "step" (× `gamma` every `period` steps) or "plateau"
            (× `gamma` after `period` validations without a gain); "constant".
        clip: largest norm of the gradient; 0 is no limit.
        ema: decay of the averaged weights, which are the ones kept; 0 keeps the last.
        jitter: radiometric augmentation, standard deviation of the log-gain.
    """

    loss: str = "l1"
    patch: int = 24
    batch_size: int = 8
    steps: int = 10000
    optimizer: str = "adamw"
    lr: float = 5e-4
    weight_decay: float = 0.0
    schedule: str = "cosine"
    period: int = 5
    gamma: float = 0.5
    warmup: int = 100
    clip: float = 1.0
    ema: float = 0.999
    jitter: float = 0.0


@dataclass(frozen=True)
class Design:
    """One name of the registry: an architecture, the scales it comes in, how it is trained.

    Attributes:
        reach: receptive radius in input pixels by scale; its keys are the scales on offer, of
            which `ANY_SCALE` stands for all others above 1.
        scale: the default one.
        blend, shifts, fewer, tile, video, between: as on the card; where it blends the reach is
            only what tiles read.
        card_: the one card of a guided net; None makes cards for any band count.
        paper: the published training, `--preset paper`.
        solved: found at once from samples, without steps of an optimiser.
    """

    name: str
    task: str
    arch: str
    build: Callable[[ModelCard], nn.Module]
    reach: Mapping[int, int]
    scale: int
    source: str
    frames: int = 1
    blend: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    paper: Recipe = field(default_factory=Recipe)
    card_: ModelCard | None = None
    aliases: tuple[str, ...] = ()
    shifts: bool = False
    fewer: bool = False
    tile: int = 0
    solved: bool = False
    video: bool = False
    between: bool = False

    def card(self, *, scale: float | None = None, bands: int = 1, **options: Any) -> ModelCard:
        """The card at a scale, for `bands` bands at once (1: each band by itself).

        Raises:
            UsageError: the net does not come in that scale, or has its bands fixed.
        """
        if self.card_ is not None:
            return self._fixed(self.card_, scale, bands)
        scale = scale or self.scale
        if scale not in self.reach and ANY_SCALE in self.reach:
            return self._made(self.reach[ANY_SCALE], self.scale, bands, options, any_scale=True).at(
                scale
            )
        if scale not in self.reach:
            offered = ", ".join(map(str, self.reach))
            raise UsageError(f"'{self.name}' comes in scales {offered}, not {scale:g}. Choose one.")
        return self._made(self.reach[int(scale)], int(scale), bands, options)

    def _made(
        self, reach: int, scale: int, bands: int, options: Mapping[str, Any], *,
        any_scale: bool = False,
    ) -> ModelCard:  # fmt: skip
        names = (ANY,) if bands == 1 else tuple(str(i + 1) for i in range(bands))
        return ModelCard(
            name=self.name,
            arch=self.arch,
            sensor="any",
            inputs=(Input(scale, names, self.frames),),
            output=Input(1, names),
            scale=scale,
            margin=reach * scale,
            options={**self.options, **options},
            source=self.source,
            task=self.task,
            blend=self.blend,
            shifts=self.shifts,
            fewer=self.fewer,
            tile=self.tile,
            continuous=float(scale) if any_scale else 0.0,
            video=self.video,
            between=self.between,
        )

    def _fixed(self, card: ModelCard, scale: float | None, bands: int) -> ModelCard:
        if scale not in (None, card.scale) or bands not in (1, len(card.bands)):
            made = f"makes {' '.join(card.bands)} at scale {card.scale}, nothing else"
            if ANY in card.bands:
                made = "takes bands and scale from the pair of rasters"
            raise UsageError(f"'{self.name}' {made}. Leave --scale and --bands out.")
        return card


def guided(
    card: ModelCard,
    build: Callable[[ModelCard], nn.Module],
    *,
    recipe: Recipe = Recipe(),
    paper: Recipe = Recipe(),
) -> Design:
    """The design of a net with one card of its own."""
    reach = {card.scale: -(-card.margin // card.scale)}
    return Design(
        card.name, card.task, card.arch, build, reach, card.scale, card.source,
        blend=card.blend, recipe=recipe, paper=paper, card_=card,
    )  # fmt: skip
