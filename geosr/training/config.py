"""What decides the result of a training apart from its data, and what numbers make sense there."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from geosr.errors import UsageError, cause
from geosr.inference.engine import Engine
from geosr.models import registry
from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.guided.anypair import is_template
from geosr.sensors import OpenOptions
from geosr.training.adversary import Adversarial
from geosr.training.datasets import Choice, card_of, kind_of
from geosr.training.losses.criterion import ADVERSARIAL, louder, with_features
from geosr.training.presets import PRESETS

_SEEDS = 2**40  # times the steps of a training, what PyTorch's generator still takes
_BATCH = 2**16
_PATCH = 2**14
# least and most by name; most of them may be 0, which has a meaning of its own
_BOUNDS: Mapping[str, tuple[float, float]] = {
    "lr": (0, 1e3), "weight_decay": (0, 1e3), "gamma": (0, 1), "clip": (0, 1e9),
    "ema": (0, 0.9999999), "jitter": (0, 10), "batch_size": (1, _BATCH), "patch": (1, _PATCH),
    "period": (1, math.inf), "warmup": (0, math.inf), "steps": (0, math.inf),
    "epochs": (0, 1e9), "seconds": (0, 1e9), "seed": (0, _SEEDS), "val_share": (0.01, 0.9),
    "val_every": (1, math.inf), "val_windows": (1, math.inf), "patience": (0, math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training, apart from its data.

    Attributes:
        net_options: of the architecture, such as {"fusion": "mean"}.
        steps: 0 where `epochs` or `seconds` end the training.
        epochs: as many windows as lie side by side in the data, that many times.
        patch: side of the truth in its own pixels; 0 is the recipe's.
        recipe: loss, optimiser and their numbers.
        val_share: share of the images to hold out, whole places at a time.
        patience: validations without a gain until the training ends; 0 is never.
        precision: "fp32", "bf16" or "fp16" of the net; losses and skips stay in fp32.
        init: weights of the same net to begin with; None begins with random ones.
        adversarial: of the term of that name in the recipe's loss; None where it has none.
        fine: folder of fine images that show other ground than the coarse ones of the data.
        unpaired: how to learn from such, by `geosr.training.unpaired`.
        bound: of a net for any pair the card for those of the data.
    """

    model: str
    scale: float | None = None
    bands: int = 1
    net_options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Recipe = field(default_factory=Recipe)
    steps: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    patch: int = 0
    seed: int = 0
    val_share: float = 0.1
    val_every: int = 500
    val_windows: int = 32
    patience: int = 0
    precision: str = "fp32"
    workers: int = 0
    compile: bool = False
    data_kind: str | None = None
    pattern: str | None = None
    degradation: str | None = None
    quantification: float | None = None
    init: str | None = None
    adversarial: Adversarial | None = None
    fine: str | None = None
    unpaired: str | None = None
    bound: ModelCard | None = None

    @cached_property
    def card(self) -> ModelCard:
        """The card of the net to train.

        Raises:
            UsageError: no such net, scale, option, or nothing to train in it.
        """
        design = registry.design(self.model)
        card = self.bound or design.card(scale=self.scale, bands=self.bands)
        unknown = [name for name in self.net_options if name not in card.options]
        if unknown:
            raise UsageError(
                f"'{self.model}' has no option {', '.join(unknown)} "
                f"(known: {', '.join(card.options) or 'none'}). Check --net-option."
            )
        if self.net_options:
            _check_options(self.model, card.options, self.net_options)
            changed = replace(card, options={**card.options, **self.net_options})
            try:
                card = registry.measured(changed)  # another depth sees another way
                registry.count(card)  # of nets that blend nothing is measured
            except (TypeError, ValueError, RuntimeError) as error:
                said = ", ".join(f"{key}={value}" for key, value in self.net_options.items())
                raise UsageError(
                    f"'{self.model}' cannot be built with {said} ({cause(error)[:120]}). "
                    "Check --net-option."
                ) from error
        return replace(card, quantification=self.quantification or 0.0)

    def on(self, data: Path) -> TrainConfig:
        """The same training, of a net for any pair bound to the pairs of some data.

        Raises:
            UsageError: there is none.
        """
        free = replace(self, scale=None) if kind_of(data, "guided") == "references" else self
        if not is_template(free.card) or free.card.learns:
            return self
        options = OpenOptions(quantification=self.quantification)
        card = card_of(data, free.card, options, self.pattern, self.scale)
        return replace(self, bound=registry.measured(card))

    @property
    def side(self) -> int:
        """Side of a window of truth in its own pixels."""
        return self.patch or self.recipe.patch * self.card.scale

    def choice(self, card: ModelCard) -> Choice:
        """What of the data is wanted."""
        options = OpenOptions(quantification=self.quantification)
        return Choice(
            self.data_kind, self.pattern, self.degradation, self.val_share, self.side, self.seed,
            self.recipe.jitter, options, Path(self.fine) if self.fine else None,
        )  # fmt: skip


def config_of(
    model: str,
    engine: Engine,
    *,
    preset: str = "default",
    recipe: Mapping[str, Any] | None = None,
    adversarial: Mapping[str, Any] | None = None,
    perceptual_net: Path | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    seconds: float | None = None,
    workers: int | None = None,
) -> TrainConfig:
    """A config with what a preset and the machine decide where the user does not.

    Args:
        engine: on a CPU a net is trained in fp32 where nobody asks for another precision.
        preset: "default", "paper" for the published training, or a name of
            `geosr.training.presets`.
        recipe: numbers to take instead of the preset's; None in it leaves that one.
        adversarial: likewise, by the fields of `Adversarial`.
        perceptual_net: whose features the loss's perceptual terms compare.
        workers: None is none on a CPU, up to 8 for a GPU.

    Raises:
        UsageError: no such net or preset.
    """
    design = registry.design(model)
    base, judge = _preset(design, preset, random=perceptual_net is None)
    said, how = (
        {key: value for key, value in (asked or {}).items() if value not in (None, {})}
        for asked in (recipe, adversarial)
    )
    if perceptual_net is not None:
        said["loss"] = with_features(said.get("loss", base.loss), perceptual_net)
    if preset != "default" and not (steps or epochs or seconds):
        steps = base.steps
    gpu = engine.device.startswith("cuda")
    if workers is None:
        workers = min(8, (os.cpu_count() or 2) - 1) if gpu else 0
    return TrainConfig(
        model, recipe=replace(base, **said), steps=steps or 0, epochs=epochs or 0.0,
        seconds=seconds or 0.0, workers=workers,
        precision=engine.precision if gpu or engine.asked else "fp32",
        adversarial=_adversarial(replace(base, **said).loss, _judge(judge, how)),
    )  # fmt: skip


def _preset(design: Design, name: str, *, random: bool) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a preset and what it says of the adversarial term.

    Args:
        random: whether its perceptual terms have features that nobody trained.
    """
    own = {"default": design.recipe, "paper": design.paper}
    if name in own:
        return own[name], {}
    if name not in PRESETS:
        known = ", ".join([*own, *PRESETS])
        raise UsageError(f"no preset '{name}' (known: {known}). Choose one.")
    found = PRESETS[name]
    base = replace(design.recipe, **found.recipe)
    if random:
        base = replace(base, loss=louder(base.loss, found.louder))
    return base, dict(found.adversarial)


def _judge(preset: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said before the preset's; its options of the discriminator stay beside others."""
    named = preset.get("discriminator")
    kept = preset.get("options", {}) if said.get("discriminator", named) == named else {}
    return {**preset, **said, "options": {**kept, **said.get("options", {})}}


def _adversarial(loss: str, how: Mapping[str, Any]) -> Adversarial | None:
    """What was said of the term; a preset's is left out where another loss does without it."""
    return Adversarial(**how) if how.get("discriminator") or ADVERSARIAL in loss else None


def check(config: TrainConfig) -> None:
    """Refuse numbers that no training can go by.

    Raises:
        UsageError: names the first of them, and what it may be.
    """
    own = {name: getattr(config, name) for name in _BOUNDS if hasattr(config, name)}
    recipe = {
        name: getattr(config.recipe, name) for name in _BOUNDS if hasattr(config.recipe, name)
    }
    for name, value in [*recipe.items(), *own.items()]:
        least, most = _BOUNDS[name]
        if name == "patch" and not value:
            continue
        if not least <= value <= most:
            until = f"from {least:g} to {most:g}" if most < math.inf else f"{least:g} or more"
            raise UsageError(
                f"--{name.replace('_', '-')} {value}: it must be {until}. Give another, or leave "
                "it out."
            )


def _check_options(net: str, own: Mapping[str, Any], said: Mapping[str, Any]) -> None:
    """Refuse options of a net that are of another kind than its own.

    Raises:
        UsageError: a text where it has a number, or a count below 0.
    """
    for name, value in said.items():
        usual = own[name]
        counts = isinstance(usual, int) and not isinstance(usual, bool)
        numbers = isinstance(usual, int | float) and not isinstance(usual, bool)
        other = numbers and (isinstance(value, bool) or not isinstance(value, int | float))
        if other or (counts and value < 0 <= usual):
            raise UsageError(
                f"--net-option {name}={value}: '{net}' has a {'count' if counts else 'number'} "
                f"there, {usual} by default. Give another."
            )
