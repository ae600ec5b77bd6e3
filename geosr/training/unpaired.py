"""Learning from coarse and fine images that show different ground: cycles through two nets.

The net makes fine images of coarse ones; a second one, the degradation net, coarse images of fine
ones. What goes there and back must come back as it was.

cyclecnn   Zhang, Wang, Jiang, "Nonpairwise-trained cycle convolutional neural network for single
           remote sensing image super-resolution", IEEE TGRS 2021; the repository haopzhang/CycleCNN
           names the paper only. Both cycles, ‖F(G(x)) − x‖ + ‖G(F(y)) − y‖, and no discriminator.
cincgan    Yuan et al., CVPR workshops 2018 (see `geosr.models.nets.single.cincgan`). The coarse
           cycle, the net as the inverse of a known operator (its identity term), total variation,
           and a discriminator of the fine images; where the net cleans its input first, the same
           four once more about the clean coarse image.

With --loss …+W*adversarial a discriminator of each kind of images has a say in cyclecnn too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.models.card import CLEAR, Input, ModelCard, Uncertain
from geosr.models.design import Recipe
from geosr.models.nets.single.cincgan import CinCGAN, Translator, strides
from geosr.scene import degrade
from geosr.training.adversary import Adversarial, Adversary, joined_terms
from geosr.training.checkpoint import State, optimizer_tensors, restore_optimizer
from geosr.training.datasets import Batch
from geosr.training.datasets.unpaired import OPERATOR
from geosr.training.discriminators import DISCRIMINATORS
from geosr.training.distributed import Ranks
from geosr.training.losses import images
from geosr.training.losses.criterion import Term
from geosr.training.schedule import optimizer

FIGURES = ("cycle_coarse", "degradation_change")  # columns of log.csv, unit values
_Output = Tensor | list[Tensor] | Uncertain


@dataclass(frozen=True)
class Kind:
    """One way of learning unpaired; every weight is of a mean, that of --loss being 1.

    Attributes:
        there_and_back: whether the degradation net makes what the fine images are made again of,
            else a known operator does.
        cycle: weight of the coarse cycle.
        squared: whether its error is squared.
        adversarial: weight of each discriminator where the loss names none; 0 is none.
        variation: of the total variation of what is made.
        cleaning: the same of the clean coarse image.
        how: of the discriminators, where nobody says otherwise.
    """

    there_and_back: bool
    cycle: float
    squared: bool = False
    adversarial: float = 0.0
    variation: float = 0.0
    cleaning: float = 0.0
    how: Adversarial | None = None


# CinCGAN adds its outer identity up over a patch, 5 · Σ squares beside 10 · mean, 1 · LSGAN and
# 2 · TV, so that it outweighs them a hundred times; so it does here, by means.
KINDS: dict[str, Kind] = {
    "cyclecnn": Kind(True, 1.0),
    "cincgan": Kind(
        False, 1.0, squared=True, adversarial=1e-3, variation=2e-3, cleaning=5e-4,
        how=Adversarial("lsgan", "patch"),
    ),
}  # fmt: skip


def check(name: str | None, fine: str | None, precision: str) -> None:
    """Whether what was said of unpaired training goes together.

    Raises:
        UsageError: one of the two is missing, or no such kind, or fp16.
    """
    if name is None and fine is None:
        return
    if name is None:
        raise UsageError(
            f"--data-fine {fine}: fine images beside coarse ones are for unpaired training. Pass "
            f"--unpaired ({', '.join(KINDS)}), or leave --data-fine out."
        )
    if name not in KINDS:
        raise UsageError(f"unknown unpaired '{name}' (known: {', '.join(KINDS)}).")
    if fine is None:
        raise UsageError(
            f"--unpaired {name}: no fine images were given. Pass --data-fine FOLDER; --data are "
            "the coarse ones."
        )
    if precision == "fp16":
        raise UsageError("--unpaired: two nets share no loss scale. Pass --precision bf16.")


class Degradation(nn.Module):
    """The degradation net: a known operator and what is to be added to what it gives.

    Maps (batch, bands, s·rows, s·cols) to (batch, bands, rows, cols), unit values.
    """

    kernel: Tensor

    def __init__(self, bands: int, scale: int, operator: str) -> None:
        super().__init__()
        taps = degrade.taps(operator, scale)
        self.scale, self.pad = scale, degrade.beyond(taps, scale)
        kernel = torch.from_numpy(np.outer(taps, taps).astype(np.float32))
        self.register_buffer("kernel", kernel.expand(bands, 1, -1, -1).clone(), persistent=False)
        self.change = Translator(bands, strides(scale))

    def known(self, y: Tensor) -> Tensor:
        """What the operator gives; at the window's edges the image is mirrored."""
        padded = F.pad(y.float(), (self.pad,) * 4, mode="reflect")
        return F.conv2d(padded, self.kernel, stride=self.scale, groups=len(self.kernel))


class Cycle:
    """The degradation net and what else learns beside the net, through a training.

    Args:
        net: the one that is trained; how it is built decides whether coarse images are cleaned.
        weight: of the discriminators, as the loss has it; 0 is the kind's.
        side: of the fine patches, pixels.
        operator: what the degradation net begins with; None is the usual one.

    Raises:
        UsageError: a discriminator that does not fit the patches, or sees the input.
    """

    def __init__(
        self, name: str, card: ModelCard, net: nn.Module, *, how: Adversarial | None, weight: float,
        side: int, operator: str | None, recipe: Recipe, device: str, ranks: Ranks,
        bf16: bool = False,
    ) -> None:  # fmt: skip
        self.kind, self.card, self.recipe, self.ranks = KINDS[name], card, recipe, ranks
        self.device, self.bf16, self.gsd = device, bf16, card.inputs[0].gsd
        self.cleans = isinstance(net, CinCGAN)
        bands = len(card.bands)
        self.down = Degradation(bands, card.scale, operator or OPERATOR)
        parts: dict[str, nn.Module] = {"down": self.down}
        if self.cleans:
            parts["back"] = Translator(bands)
        self.nets = nn.ModuleDict(parts).to(device)
        self.names = [name for name, _ in self.nets.named_parameters()]
        self.optimizer = optimizer(
            recipe.optimizer, self.nets, lr=recipe.lr, weight_decay=recipe.weight_decay
        )
        self.weight = weight or self.kind.adversarial
        self.judges = self._judges(how, side) if self.weight else {}
        self.sums, self.count = [0.0] * len(FIGURES), 0

    def _judges(self, how: Adversarial | None, side: int) -> dict[str, Adversary]:
        """A discriminator of fine images, and one of coarse ones where some are made."""
        usual = self.kind.how or Adversarial(discriminator="patch")
        how = how or usual
        if not how.discriminator:
            how = replace(how, discriminator=usual.discriminator)
        if how.discriminator == "conditional" or how.options.get("given"):
            raise UsageError(
                "--unpaired: no true image belongs to an input, so a discriminator cannot see it. "
                "Choose --discriminator vgg, unet or patch."
            )
        judged = {"discriminator": (self.card, side)}
        if self.kind.there_and_back or self.cleans:
            small = side // self.card.scale
            _require(how.discriminator, small, self.card.scale)
            judged["coarse_discriminator"] = (_coarse(self.card), small)
        return {
            name: Adversary(how, card, side=size, batch=self.recipe.batch_size,
                            lr=self.recipe.lr, device=self.device, ranks=self.ranks,
                            bf16=self.bf16, name=name)
            for name, (card, size) in judged.items()
        }  # fmt: skip

    # one step

    def inputs(self, batch: Batch) -> dict[int, Tensor]:
        """What the net is to enlarge: coarse images, then what was made of the fine ones."""
        y = batch.target / self.card.unit
        self._known = self.down.known(y)
        self._small = self._degraded(y, self._known) if self.kind.there_and_back else self._known
        return {self.gsd: torch.cat([batch.inputs[self.gsd], self._small * self.card.unit])}

    def terms(self, output: _Output, batch: Batch, step: int) -> tuple[_Output, list[Term]]:
        """The net's output for the fine images, which the loss judges, and the other terms.

        Args:
            output: the net's for `inputs`, in counts.

        Raises:
            UsageError: a net that tells an uncertainty.
        """
        if isinstance(output, Uncertain):
            raise UsageError("--unpaired takes nets without an uncertainty. Choose another.")
        levels = output if isinstance(output, list) else [output]
        x, unit = batch.inputs[self.gsd], self.card.unit
        count, clear = len(x), batch.inputs[CLEAR].bool()
        cleaned = levels.pop(0) if self.cleans else None
        made = levels[-1][:count]
        back = self._degraded(made / unit, self.down.known(made / unit))
        found = [self._cycle(back, x / unit, clear)]
        found += self._variation(made / unit, batch.mask, self.kind.variation)
        found += self._judged("discriminator", made, batch.target, batch.mask, step)
        if cleaned is not None:
            found += self._inner(cleaned, x, clear, step)
        elif "coarse_discriminator" in self.judges:
            found += self._judged("coarse_discriminator", self._small * unit, x, clear, step)
        self._note(found[0], self._small)
        kept = [level[count:] for level in levels]
        return (kept if isinstance(output, list) and len(kept) > 1 else kept[-1]), found

    def _inner(self, cleaned: Tensor, x: Tensor, clear: Tensor, step: int) -> list[Term]:
        """The cycle about the clean coarse image: a clean one stays, a made one is taken for it."""
        unit, count = self.card.unit, len(x)
        made, kept = cleaned[:count] / unit, cleaned[count:] / unit
        with self._cast():
            change = self.nets["back"](made)
        everywhere = torch.ones_like(kept, dtype=torch.bool)
        return [
            self._cycle(made + change.float(), x / unit, clear),
            (1.0, *images.l1(kept, self._known, everywhere)),
            *self._variation(made, clear, self.kind.cleaning),
            *self._judged("coarse_discriminator", made * unit, self._known * unit, clear, step),
        ]

    def _cycle(self, back: Tensor, x: Tensor, clear: Tensor) -> Term:
        error = images.mse if self.kind.squared else images.l1
        return (self.kind.cycle, *error(back, x, clear))

    def _variation(self, made: Tensor, mask: Tensor, weight: float) -> list[Term]:
        return [(weight, *images.tv(made, made, mask))] if weight else []

    def _judged(self, name: str, made: Tensor, true: Tensor, mask: Tensor, step: int) -> list[Term]:
        if name not in self.judges:
            return []
        own = self.judges[name].term(made, Batch({}, true, mask), step)
        return joined_terms([], own, self.weight)

    def _degraded(self, y: Tensor, known: Tensor) -> Tensor:
        with self._cast():
            change = self.down.change(y)
        return known + change.float()

    def _cast(self) -> Any:
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.bf16)

    def begin(self, rate: float) -> None:
        """Before the gradients of a step are computed."""
        self.optimizer.zero_grad(set_to_none=True)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def learn(self, rate: float) -> bool:
        """One step of the degradation net, by the gradients that are there, and of the others.

        Returns: whether all were numbers; where not, that one stays as it was.
        """
        gradients = [p.grad for p in self.nets.parameters() if p.grad is not None]
        self.ranks.add_up(gradients)
        for gradient in gradients:
            gradient /= self.ranks.world
        norm = nn.utils.clip_grad_norm_(self.nets.parameters(), self.recipe.clip or math.inf)
        if not bool(norm.isfinite()):
            return False
        self.optimizer.step()
        return all(judge.learn(rate) for judge in self.judges.values())

    def _note(self, cycle: Term, small: Tensor) -> None:
        _, total, count = (float(torch.as_tensor(part).detach()) for part in cycle)
        change = float((small - self._known).detach().abs().mean())
        self.sums = [a + b for a, b in zip(self.sums, (total / max(count, 1), change), strict=True)]
        self.count += 1

    # files

    def figures(self) -> dict[str, str]:
        """Means since the last time: columns of log.csv."""
        means = [total / self.count if self.count else math.nan for total in self.sums]
        self.sums, self.count = [0.0] * len(FIGURES), 0
        found = {name: f"{value:.6f}" for name, value in zip(FIGURES, means, strict=True)}
        for judge in self.judges.values():
            found |= judge.figures()
        return found

    def numbers(self) -> dict[str, Any]:
        """What a state keeps beside the tensors."""
        return {"cycle": [*self.sums, self.count]} | {
            name: judge.numbers() for name, judge in self.judges.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments, by name."""
        moments = optimizer_tensors(self.optimizer, self.names)
        found = {f"cycle/{k}": v for k, v in self.nets.state_dict().items()}
        found |= {f"cycle-optimizer/{k}": v for k, v in moments.items()}
        for judge in self.judges.values():
            found |= judge.tensors()
        return found

    def restore(self, state: State) -> None:
        """Go on where another left off."""
        *self.sums, count = state.numbers["cycle"]
        self.count = int(count)
        self.nets.load_state_dict(state.part("cycle"))
        restore_optimizer(self.optimizer, self.names, state.part("cycle-optimizer"))
        for judge in self.judges.values():
            judge.restore(state)


def _require(discriminator: str, side: int, scale: int) -> None:
    """Coarse patches that a discriminator can judge; unknown ones are told of elsewhere."""
    kind = DISCRIMINATORS.get(discriminator)
    if kind is None or (side >= kind.least and side % kind.multiple == 0):
        return
    fitting = max(-(-side // kind.multiple) * kind.multiple, kind.least)
    raise UsageError(
        f"discriminator '{discriminator}' judges coarse patches too, which have {side} pixels a "
        f"side, and takes {kind.least} or more, in steps of {kind.multiple}. Pass --patch "
        f"{fitting * scale}, or another --discriminator."
    )


def _coarse(card: ModelCard) -> ModelCard:
    """A card of the coarse images, as a discriminator reads it: their own size."""
    names = card.bands
    return replace(card, scale=1, inputs=(Input(1, names),), output=Input(1, names))
