"""The state of a training, and what one step does to it."""

from __future__ import annotations

import logging
import math
import time
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geosr.errors import StoppedError, UsageError
from geosr.models import registry
from geosr.models.card import Model, ModelCard, Uncertain
from geosr.models.weights import load_file
from geosr.raster import marks, picture
from geosr.training.adversary import Adversary, joined_terms
from geosr.training.checkpoint import RunFolder, State, optimizer_tensors, restore_optimizer
from geosr.training.config import TrainConfig
from geosr.training.datasets import Batch, Sets
from geosr.training.discriminators import DISCRIMINATORS
from geosr.training.distributed import Ranks
from geosr.training.losses import Criterion
from geosr.training.losses.criterion import ADVERSARIAL, Term
from geosr.training.schedule import Schedule, optimizer
from geosr.training.terms import TermMeans
from geosr.training.unpaired import Cycle
from geosr.training.validation import Check, validate

log = logging.getLogger("geosr")
_NAN_LIMIT = 10  # steps in a row
_ENDLESS = 10**9


class Run:
    """The state of a training, and what one step does to it."""

    def __init__(
        self, out: Path, config: TrainConfig, card: ModelCard, sets: Sets, device: str, ranks: Ranks
    ) -> None:
        self.folder, self.config, self.sets = RunFolder(out), config, sets
        self.device, self.ranks, self.recipe = device, ranks, config.recipe
        torch.manual_seed(config.seed)
        self.model = registry.build(card).to(device)
        if not self.model.parameters:
            raise UsageError(f"'{card.name}' has nothing to train. Choose a net.")
        if config.init:
            _begin_with(self.model, Path(config.init))
        net = self.model.net
        sets.training.place(device, getattr(net, "fixed", None))
        shared = ranks.share(net, device)
        compiled: nn.Module = torch.compile(shared) if config.compile else shared  # type: ignore[assignment]
        self.learning = Model(card, compiled)
        self.criterion = Criterion.parse(self.recipe.loss)
        self.means = TermMeans(ranks)
        self.adversary = None if config.unpaired else self._adversary()
        self.cycle = self._cycle(config.unpaired) if config.unpaired else None
        self.optimizer = optimizer(
            self.recipe.optimizer, net, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay
        )
        self.schedule = Schedule(
            self.recipe.schedule, self.recipe.lr, self.recipe.warmup, self.recipe.period,
            self.recipe.gamma,
        )  # fmt: skip
        self.scaler = torch.amp.GradScaler(enabled=config.precision == "fp16")
        self.ema = {name: p.detach().clone() for name, p in net.named_parameters()}
        self.names = list(self.ema)
        self.spots = sets.held.spots(config.val_windows)
        self.steps = _steps(config, sets)
        self.step, self.best, self.skipped, self.in_a_row = 0, math.inf, 0, 0
        self.rate = 0.0  # of the last step
        self.broken: dict[str, str] = {}
        self.seconds, self._since, self._first = 0.0, time.monotonic(), 0

    def _adversary(self) -> Adversary | None:
        """The discriminator, where the loss asks for one.

        Raises:
            UsageError: one without the other, or it does not fit.
        """
        how = self.config.adversarial
        if not self.criterion.adversarial and not (how and how.discriminator):
            return None
        if self.model.card.continuous:
            raise UsageError(
                f"'{self.model.card.name}' learns several scales at once, which no discriminator "
                "here compares. Leave the adversarial term out."
            )
        if how is None or not how.discriminator:
            raise UsageError(
                f"loss '{self.recipe.loss}' has an adversarial term and no discriminator. "
                f"Pass --discriminator ({', '.join(DISCRIMINATORS)}), or leave the term out."
            )
        if not self.criterion.adversarial:
            raise UsageError(
                f"discriminator '{how.discriminator}' has no say in loss '{self.recipe.loss}'. "
                "Add a term, for example +0.005*adversarial, or leave --discriminator out."
            )
        return Adversary(
            how, self.model.card, side=self.config.side, batch=self.recipe.batch_size,
            lr=self.recipe.lr, device=self.device, ranks=self.ranks,
            bf16=self.config.precision == "bf16",
        )  # fmt: skip

    def _cycle(self, kind: str) -> Cycle:
        """The degradation net and the discriminators of an unpaired training."""
        return Cycle(
            kind, self.model.card, self.model.net, how=self.config.adversarial,
            weight=self.criterion.adversarial, side=self.sets.training.patch,
            operator=self.config.degradation, recipe=self.recipe, device=self.device,
            ranks=self.ranks, bf16=self.config.precision == "bf16",
        )  # fmt: skip

    @property
    def _judged(self) -> bool:
        """Whether a discriminator has a say."""
        return self.adversary is not None or bool(self.cycle and self.cycle.judges)

    # one step

    def advance(self, batch: Batch) -> float:
        """Learn from one batch; returns the loss, NaN where it was skipped.

        Raises:
            StoppedError: the tenth in a row.
        """
        self.broken.update(batch.broken)
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # of dropout, alike on resume
        self.rate = self.schedule.rate(self.step, self._done())
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.model.net.train()
        loss = self._loss(batch)
        self.step += 1
        if self.ranks.any(not math.isfinite(float(loss.detach())), self.device):
            return self._skip()
        self.optimizer.zero_grad(set_to_none=True)
        if self.cycle is not None:
            self.cycle.begin(self.rate)
        self.scaler.scale(loss * self.ranks.world).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        limit = self.recipe.clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.model.net.parameters(), limit)
        if not self.scaler.is_enabled() and not bool(norm.isfinite()):
            return self._skip()
        if self.cycle is not None and not self.cycle.learn(self.rate):
            return self._skip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._average()
        if self.adversary is not None and not self.adversary.learn(self.rate):
            return self._skip()
        self.in_a_row = 0
        self.means.keep()
        return float(self.ranks.total(loss.detach()))

    def _loss(self, batch: Batch) -> Tensor:
        """This process's part of the loss of the whole batch: sums over all-reduced counts."""
        with _autocast(self.device, self.config.precision):
            inputs = batch.inputs if self.cycle is None else self.cycle.inputs(batch)
            output = self.learning.outputs(inputs)
        unit, more = self.model.card.unit, list[Term]()
        if self.cycle is not None:
            output, more = self.cycle.terms(output, batch, self.step)
        if isinstance(output, Tensor):
            output = self.sets.training.compared(output, batch)
        terms = self.criterion.terms(_in_units(output, unit), batch.target / unit, batch.mask)
        names = self.criterion.names * (len(terms) // len(self.criterion.parts))  # of every level
        if self.adversary is not None:
            own = self.adversary.term(output, batch, self.step)
            terms = joined_terms(terms, own, self.criterion.adversarial)
            names += [ADVERSARIAL] * len(own)
        terms += more
        totals = [self.ranks.total(count) for _, _, count in terms]
        self.means.note(names, terms[: len(names)], totals[: len(names)])
        return self.criterion.weighted(terms, totals)

    def _skip(self) -> float:
        self.skipped += 1
        self.in_a_row += 1
        log.warning("step %d: the loss is no number, skipped", self.step)
        if self.in_a_row >= _NAN_LIMIT:
            raise StoppedError(
                f"{self.folder.path}: {_NAN_LIMIT} losses in a row were no numbers (step "
                f"{self.step}); the last good weights are kept. Lower --lr, raise --warmup, or "
                "say --precision fp32."
            )
        return math.nan

    def _average(self) -> None:
        decay = min(self.recipe.ema, self.step / (self.step + 10)) if self.recipe.ema else 0.0
        with torch.no_grad():
            for name, p in self.model.net.named_parameters():
                self.ema[name].lerp_(p, 1 - decay)

    # how far

    def _done(self) -> float:
        """Share of the training that lies behind: by steps, or by the clock."""
        if self.steps < _ENDLESS:
            warmup = min(self.recipe.warmup, self.steps - 1)
            return (self.step - warmup) / (self.steps - warmup)
        return self.ranks.mean(self._clock(), self.device) / self.config.seconds

    def _clock(self) -> float:
        return self.seconds + time.monotonic() - self._since

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        up = bool(self.config.seconds) and self._clock() >= self.config.seconds
        return self.ranks.any(up, self.device) if self.config.seconds else up

    @property
    def tired(self) -> bool:
        """Whether validations have gained nothing for long."""
        return bool(self.config.patience) and self.schedule.waited >= self.config.patience

    @property
    def speed(self) -> float:
        """Images a second since this process started."""
        learnt = (self.step - self._first) * self.recipe.batch_size
        return learnt / max(time.monotonic() - self._since, 1e-9)

    # files

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """A fresh folder, or the state in it."""
        config = asdict(self.config)
        if self.ranks.first:
            state = self.folder.prepare(config, resume=resume, overwrite=overwrite)
        if self.ranks.world > 1:
            torch.distributed.barrier()
            state = state if self.ranks.first else self.folder.prepare(config, resume=True)
        if state is not None:
            self._restore(state)
        self._first = self.step

    def check(self, loss: float, waiting: float) -> Check:
        """Validate, write the checkpoints, the log and the picture."""
        found = validate(self.averaged(), self.sets.held, self.spots, self.device, self.ranks)
        figure = found.figure(self.model.card)
        self.schedule.checked(figure)
        if self._judged:  # what it gains no error shows: the newest weights are best
            figure = -float(self.step)
        better, self.best = figure < self.best, min(figure, self.best)
        if self.ranks.first:
            if better or not (self.folder.path / "best.safetensors").exists():
                self.folder.keep("best", self._card(), self._kept())
            self.folder.log(self._row(loss, waiting, found))
            self._show(found)
        self.save()
        return found

    def save(self) -> None:
        """Write the last weights and the state to resume from."""
        if not self.ranks.first:
            return
        self.folder.keep("last", self._card(), self._kept())
        numbers = {
            "config": asdict(self.config), "step": self.step, "best": self.best,
            "skipped": self.skipped, "in_a_row": self.in_a_row, "seconds": self._clock(),
            "schedule": self.schedule.state(), "scaler": self.scaler.state_dict(),
            "broken": self.broken, "terms": self.means.sums,
        }  # fmt: skip
        tensors = {f"net/{k}": v for k, v in self.model.net.state_dict().items()}
        tensors |= {f"ema/{k}": v for k, v in self.ema.items()}
        moments = optimizer_tensors(self.optimizer, self.names)
        tensors |= {f"optimizer/{k}": v for k, v in moments.items()}
        if self.adversary is not None:
            numbers["discriminator"] = self.adversary.numbers()
            tensors |= self.adversary.tensors()
        if self.cycle is not None:
            numbers |= self.cycle.numbers()
            tensors |= self.cycle.tensors()
        self.folder.save(State(numbers, tensors))

    def averaged(self) -> Model:
        """The model with its averaged weights, for scoring."""
        copy = registry.build(self.model.card)
        copy.net.load_state_dict(self._kept())
        copy.net.eval()
        return copy.to(self.device)

    def _kept(self) -> dict[str, Tensor]:
        """Averaged parameters, and the buffers as they are."""
        return {**self.model.net.state_dict(), **self.ema}

    def _card(self) -> ModelCard:
        card = self.model.card
        taught = card.adversarial or self._judged
        return replace(card, source=f"{card.source}; trained by geosr", adversarial=taught)

    def _restore(self, state: State) -> None:
        numbers = state.numbers
        self.step, self.best, self.seconds = numbers["step"], numbers["best"], numbers["seconds"]
        self.skipped, self.in_a_row = numbers["skipped"], numbers["in_a_row"]
        self.broken.update(numbers["broken"])
        self.means.restore(numbers.get("terms", {}))  # none in states of earlier versions
        self.schedule.restore(numbers["schedule"])
        self.scaler.load_state_dict(numbers["scaler"])
        self.model.net.load_state_dict(state.part("net"))
        for name, tensor in state.part("ema").items():
            self.ema[name].copy_(tensor)
        restore_optimizer(self.optimizer, self.names, state.part("optimizer"))
        if self.adversary is not None:
            self.adversary.restore(state)
        if self.cycle is not None:
            self.cycle.restore(state)

    def _row(self, loss: float, waiting: float, found: Check) -> dict[str, str]:
        names = [*self.criterion.names, *([ADVERSARIAL] if self.adversary else [])]
        return {
            "step": str(self.step), "loss": f"{loss:.6f}", "rate": f"{self.rate:.3e}",
            **found.row(),
            "images_per_second": f"{self.speed:.2f}", "waiting": f"{waiting:.3f}",
            "skipped": str(self.skipped), "seconds": f"{self._clock():.0f}",
            **self.means.figures(names),
            **(self.adversary.figures() if self.adversary else {}),
            **(self.cycle.figures() if self.cycle else {}),
        }  # fmt: skip

    def _show(self, found: Check) -> None:
        if found.picture is not None:
            path = self.folder.path / f"step{self.step:07d}.png"
            picture.write_png(path, found.picture, marks.TRAINING)
        board = _tensorboard(self.folder.path)
        if board is not None:
            for name, value in found.psnr.items():
                board.add_scalar(f"psnr/{name}", value, self.step)
            for name, value in found.rmse.items():
                board.add_scalar(f"rmse/{name}", value, self.step)
            board.close()


def _begin_with(model: Model, path: Path) -> None:
    """Give a net the weights of a file, which may have fewer blocks: the others begin as new.

    What a discriminator once taught stays in them, and on the card.

    Raises:
        UsageError: they are of another net.
        WeightsError: missing or damaged.
    """
    other = load_file(path)
    theirs, ours = dict(other.card.options), dict(model.card.options)
    fewer = theirs.pop("blocks", 0) <= ours.pop("blocks", 0)
    if (other.card.arch, theirs) != (model.card.arch, ours) or not fewer:
        raise UsageError(
            f"--init {path}: weights of '{other.card.name}' {dict(other.card.options)}, not of "
            f"'{model.card.name}' {dict(model.card.options)}. Choose the file of that net."
        )
    try:
        found = model.net.load_state_dict(other.net.state_dict(), strict=False)
    except RuntimeError as error:  # another scale or number of bands
        raise UsageError(f"--init {path}: made for another scale or other bands.") from error
    if found.unexpected_keys:
        raise UsageError(f"--init {path}: its layers are not the first of these. Leave it out.")
    model.card = replace(model.card, adversarial=other.card.adversarial)
    if found.missing_keys:
        log.info("%s has fewer blocks; %d weights begin as new", path, len(found.missing_keys))


def _steps(config: TrainConfig, sets: Sets) -> int:
    """When the training ends, by the first of what was asked."""
    asked = [config.steps] if config.steps else []
    if config.epochs:
        asked.append(math.ceil(config.epochs * len(sets.training) / config.recipe.batch_size))
    if not asked and not config.seconds:
        asked.append(config.recipe.steps)
    return max(min(asked), 1) if asked else _ENDLESS


def _in_units(
    output: Tensor | list[Tensor] | Uncertain, unit: float
) -> Tensor | list[Tensor] | Uncertain:
    if isinstance(output, Uncertain):
        return Uncertain(output.mean.float() / unit, output.log_scale.float())
    if isinstance(output, list):
        return [level.float() / unit for level in output]
    return output.float() / unit


def _autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(torch.device(device).type, dtype=kind, enabled=kind is not None)


def _tensorboard(folder: Path) -> Any:
    """A writer where TensorBoard is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
