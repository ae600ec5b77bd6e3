"""The adversarial term of a loss: a discriminator, how it judges, and how it learns.

It judges a made image beside the true one; masked pixels are 0 in both. The net learns from what
the discriminator of the step before says, then the discriminator from the same two images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.errors import UsageError
from geosr.models.card import ModelCard, Uncertain, image
from geosr.training.checkpoint import State, optimizer_tensors, restore_optimizer
from geosr.training.datasets import Batch
from geosr.training.discriminators import kind_of
from geosr.training.distributed import Ranks
from geosr.training.losses.criterion import Term
from geosr.training.losses.frequencies import upper_half
from geosr.training.losses.masked import clean

KINDS = ("gan", "lsgan", "hinge", "relativistic")
_BETAS = (0.9, 0.99)  # XPixelGroup/BasicSR's, of SRGAN and ESRGAN alike
_GAIN = 32.0  # of high frequencies alone, which are some hundredths of a unit
FIGURES = ("loss", "true", "made")  # what is told of the discriminator


@dataclass(frozen=True)
class Adversarial:
    """How a training's adversarial term is made.

    Attributes:
        kind: "gan" (cross-entropy, Goodfellow 2014), "lsgan" (squares, Mao 2017), "hinge" (Lim
            2017) or "relativistic" (average form, as ESRGAN has it).
        discriminator: a name of `geosr.training.discriminators`.
        options: of the discriminator.
        lr: its learning rate, which follows the net's schedule; 0 is the net's own.
        updates: steps of the discriminator in a step of the net, all by the same images.
        after: steps that the net learns by the other terms alone.
        ramp: steps from then until the term has its whole weight.
    """

    kind: str = "gan"
    discriminator: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 0.0
    updates: int = 1
    after: int = 0
    ramp: int = 0

    def share(self, step: int) -> float:
        """The part of its weight that the term has in a step, 0 to 1."""
        if step < self.after:
            return 0.0
        return min((step - self.after + 1) / self.ramp, 1.0) if self.ramp else 1.0


def judged(
    kind: str, true: Tensor, made: Tensor, means: Sequence[Tensor], *, by_net: bool
) -> list[Tensor]:
    """Losses of single scores, whose means are added up.

    Args:
        means: of the scores of true and of made images, over the whole batch; "relativistic"
            takes them.
        by_net: of the net, which wants its images taken for true; else of the discriminator.
    """
    if kind == "gan":
        return [_entropy(made, 1)] if by_net else [_entropy(true, 1), _entropy(made, 0)]
    if kind == "lsgan":
        return [(made - 1).square()] if by_net else [(true - 1).square(), made.square()]
    if kind == "hinge":
        return [-made] if by_net else [F.relu(1 - true), F.relu(1 + made)]
    truth, lie = (0, 1) if by_net else (1, 0)
    mean_true, mean_made = means
    return [_entropy(true - mean_made, truth) / 2, _entropy(made - mean_true, lie) / 2]


def _entropy(score: Tensor, label: int) -> Tensor:
    return F.softplus(-score if label else score)


class Adversary:
    """A discriminator and its optimiser, through a training.

    Args:
        side: of the patches of truth, pixels.
        batch: patches of truth at a time, in all processes.
        lr: peak rate of the net's schedule.
        name: of its figures and of its part of a state, where there are several.

    Raises:
        UsageError: no such kind or discriminator, or it does not fit the patches.
    """

    def __init__(
        self, how: Adversarial, card: ModelCard, *, side: int, batch: int, lr: float, device: str,
        ranks: Ranks, bf16: bool = False, name: str = "discriminator",
    ) -> None:  # fmt: skip
        if how.kind not in KINDS:
            raise UsageError(f"unknown adversarial '{how.kind}' (known: {', '.join(KINDS)}).")
        kind, options = kind_of(how.discriminator, how.options, side, batch // ranks.world)
        self.how, self.card, self.ranks, self.device, self.bf16 = how, card, ranks, device, bf16
        self.name = name
        self.given, self.high = options.pop("given"), options.pop("high")
        self.net = kind.build(_channels(card, given=self.given), **options).to(device)
        self.names = [name for name, _ in self.net.named_parameters()]
        self.ratio = how.lr / lr if how.lr else 1.0
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr, betas=_BETAS)
        self.sums = [0.0] * len(FIGURES)
        self.count = 0
        self._images: tuple[Tensor, Tensor, Tensor | None] | None = None

    def term(
        self, output: Tensor | list[Tensor] | Uncertain, batch: Batch, step: int
    ) -> list[Term]:
        """The net's part: no term before its time, else (share, sum, count) of each of its losses.

        Args:
            output: the net's, in counts; of several levels the finest is judged.
        """
        share, self._images = self.how.share(step), None
        if not share:
            return []
        unit = self.card.unit
        made, true, _ = clean(image(output) / unit, batch.target / unit, batch.mask)
        given = _enlarged(self.card, batch.inputs, true) if self.given else None
        self._images = true, made.detach(), given
        self.net.requires_grad_(False)
        losses = self._losses(true, made, given, by_net=True)
        return [(share, loss.sum(), _count(loss)) for loss in losses]

    def learn(self, rate: float) -> bool:
        """One step's updates of the discriminator by the images last judged.

        Args:
            rate: the net's learning rate.

        Returns: whether all were numbers; where not, it stays as it was.
        """
        if self._images is None:
            return True
        self.net.requires_grad_(True)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * self.ratio
        return all(self._update(*self._images) for _ in range(self.how.updates))

    def _update(self, true: Tensor, made: Tensor, given: Tensor | None) -> bool:
        losses = self._losses(true, made, given, by_net=False)
        parts = [loss.sum() / self.ranks.total(_count(loss)) for loss in losses]
        loss = torch.stack(parts).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.ranks.add_up([p.grad for p in self.net.parameters() if p.grad is not None])
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), math.inf)
        whole = float(self.ranks.total(loss.detach()))
        if not (math.isfinite(whole) and bool(norm.isfinite())):
            return False
        self.optimizer.step()
        self._note(whole, *self._scores)
        return True

    def _losses(
        self, true: Tensor, made: Tensor, given: Tensor | None, *, by_net: bool
    ) -> list[Tensor]:
        needed = not by_net or self.how.kind == "relativistic"
        of_made = self._score(made, given)
        of_true = self._score(true, given) if needed else of_made
        means = [self._mean(of_true), self._mean(of_made)]
        self._scores = [float(mean.detach()) for mean in means]
        return judged(self.how.kind, of_true, of_made, means, by_net=by_net)

    def _score(self, x: Tensor, given: Tensor | None) -> Tensor:
        x = upper_half(x) * _GAIN if self.high else x
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16):
            score: Tensor = self.net(x if given is None else torch.cat([x, given], 1))
        return score.float()

    def _mean(self, scores: Tensor) -> Tensor:
        """Over the whole batch, with its gradient."""
        return self.ranks.sum(scores.sum()) / self.ranks.total(_count(scores))

    def _note(self, *figures: float) -> None:
        self.sums = [total + new for total, new in zip(self.sums, figures, strict=True)]
        self.count += 1

    # files

    def figures(self) -> dict[str, str]:
        """Means since the last time: columns of log.csv. A net that fools it has made ≥ true."""
        means = [total / self.count if self.count else math.nan for total in self.sums]
        self.sums, self.count = [0.0] * len(FIGURES), 0
        return {f"{self.name}_{k}": f"{v:.5f}" for k, v in zip(FIGURES, means, strict=True)}

    def numbers(self) -> list[float]:
        """What a state keeps beside the tensors."""
        return [*self.sums, self.count]

    def tensors(self) -> dict[str, Tensor]:
        """Weights and moments, by name."""
        moments = optimizer_tensors(self.optimizer, self.names)
        found = {f"{self.name}/{k}": v for k, v in self.net.state_dict().items()}
        return found | {f"{self.name}-optimizer/{k}": v for k, v in moments.items()}

    def restore(self, state: State) -> None:
        """Go on where another left off."""
        *self.sums, count = state.numbers[self.name]
        self.count = int(count)
        self.net.load_state_dict(state.part(self.name))
        restore_optimizer(self.optimizer, self.names, state.part(f"{self.name}-optimizer"))


def _count(values: Tensor) -> Tensor:
    return torch.tensor(float(values.numel()), device=values.device)


def _channels(card: ModelCard, *, given: bool) -> int:
    inputs = sum(item.frames * len(item.bands) for item in card.inputs) if given else 0
    return len(card.bands) + inputs


def _enlarged(card: ModelCard, inputs: Mapping[int, Tensor], like: Tensor) -> Tensor:
    """All that the net reads, on the grid of its output by nearest neighbour."""
    parts = [inputs[item.gsd] / card.unit for item in card.inputs]
    if card.task == "misr":  # its quality masks are no images
        parts = [x[:, :, :-1].flatten(1, 2) for x in parts]
    return torch.cat([F.interpolate(x, size=like.shape[-2:]) for x in parts], 1)


def joined_terms(others: Sequence[Term], own: Sequence[Term], weight: float) -> list[Term]:
    """The other terms of the loss, and the adversarial ones by their weight."""
    return [*others, *((weight * share, total, count) for share, total, count in own)]
