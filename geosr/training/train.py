"""Train a net on pairs of any kind: one loop that reads top to bottom."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from geosr.models import registry
from geosr.models.card import ModelCard
from geosr.raster import marks, markup, picture
from geosr.training import forest, linear, solved
from geosr.training.checkpoint import RunFolder
from geosr.training.config import TrainConfig
from geosr.training.config import check as check_numbers
from geosr.training.datasets import Sets, open_sets
from geosr.training.distributed import Ranks, joined
from geosr.training.loader import Loader, Steps
from geosr.training.run import Run
from geosr.training.unpaired import check as check_unpaired
from geosr.training.validation import Check, validate

log = logging.getLogger("geosr")
_SOLVERS = {"rfsr": forest.grow, "spectral": linear.solve}  # by architecture


@dataclass(frozen=True)
class Progress:
    """What the trainer tells after every step; `check` where it validated."""

    step: int
    steps: int
    loss: float
    images_per_second: float
    waiting: float
    check: Check | None = None


@dataclass(frozen=True)
class Result:
    """How a training ended.

    Attributes:
        best: path of the best weights; it may not exist where `stopped` came early.
        stopped: whether it was asked to stop before its end.
        skipped: steps whose loss was no number.
        broken: images that could not be read, with the reason.
    """

    best: Path
    step: int
    stopped: bool
    skipped: int
    broken: Mapping[str, str]

    def _repr_html_(self) -> str:
        """How it ended, as a notebook shows it."""
        rows = [("best weights", self.best), ("steps", f"{self.step:,}"),
                *([("steps without a number", self.skipped)] if self.skipped else []),
                *(("not read", f"{path}: {why}") for path, why in self.broken.items())]  # fmt: skip
        return markup.table("stopped" if self.stopped else "trained", rows)


def train(
    data: Path,
    out: Path,
    *,
    config: TrainConfig,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    progress: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train `config.model` on the images of `data`.

    `out` gets best.safetensors and last.safetensors (averaged weights with their card),
    state.safetensors (all that `resume` needs), log.csv, config.json, and a picture of held-out
    windows at every validation.

    Args:
        overwrite: begin anew in a folder that holds a training, where it is not resumed.
        stop: asked after every step; True saves and ends the training.

    Raises:
        UsageError: the data does not fit the net, or `out` holds another training.
        WeightsError: the state to resume from is damaged.
        StoppedError: ten losses in a row were no numbers; the last good weights are kept.
        LockedError: another training goes on in `out`.
    """
    check_numbers(config)
    check_unpaired(config.unpaired, config.fine, config.precision)
    config = config.on(data)
    card, design = config.card, registry.design(config.model)
    if design.solved:
        solved.check(asdict(config), design.recipe, resume=resume, ranks=ranks.world)
    ranks.check(config.recipe.batch_size)
    if ranks.first:
        RunFolder(out).check(resume=resume, overwrite=overwrite)
    sets = open_sets(data, card, config.choice(card))
    if design.solved:
        result = _solve(out, config, card, sets, device, overwrite, progress, stop)
        sets.close()
        return result
    with joined(ranks, device):
        run = Run(out, config, card, sets, device, ranks)
        with run.folder.locked() if ranks.first else nullcontext():
            run.prepare(resume=resume, overwrite=overwrite)
            result = _learn(run, progress, stop)
    sets.close()
    return result


def _learn(run: Run, progress: Callable[[Progress], None], stop: Callable[[], bool]) -> Result:
    """Step by step to the end, or until `stop`."""
    config, device, ranks = run.config, run.device, run.ranks
    loader = Loader(
        Steps(run.sets.training, config.recipe.batch_size, ranks),
        workers=config.workers, pinned=device.startswith("cuda"),
    )  # fmt: skip
    stopped = False
    for _, batch in loader(range(run.step, run.steps)):
        loss = run.advance(batch.to(device))
        stopped = ranks.any(stop(), device)
        ending = run.step == run.steps or run.over
        check = None
        if not stopped and (run.step % config.val_every == 0 or ending):
            check = run.check(loss, loader.waiting)
        progress(Progress(run.step, run.steps, loss, run.speed, loader.waiting, check))
        if stopped or ending or run.tired:
            break
    if stopped:
        run.save()
    best = run.folder.path / "best.safetensors"
    return Result(best, run.step, stopped, run.skipped, run.broken)


def _solve(
    out: Path, config: TrainConfig, card: ModelCard, sets: Sets, device: str, overwrite: bool,
    progress: Callable[[Progress], None], stop: Callable[[], bool],
) -> Result:  # fmt: skip
    """What is found without steps: in the same folder, with the same log, weights and picture."""
    folder, began, loss = RunFolder(out), time.monotonic(), math.nan
    parts = card.options.get("trees") or len(sets.training)

    def tell(count: int, error: float) -> None:
        nonlocal loss
        loss = error
        progress(Progress(count, parts, error, count / (time.monotonic() - began), 0.0))

    def ended() -> bool:
        return stop() or bool(config.seconds and time.monotonic() - began >= config.seconds)

    with folder.locked():
        folder.prepare(asdict(config), resume=False, overwrite=overwrite)
        made = _SOLVERS[card.arch](sets, card, seed=config.seed, threads=torch.get_num_threads(),
                            progress=tell, stop=ended)  # fmt: skip
        model = registry.build(made.card)
        model.net.load_state_dict({name: x.float() for name, x in made.tensors.items()})
        found = validate(model.to(device), sets.held, sets.held.spots(config.val_windows), device,
                         Ranks())  # fmt: skip
        kept = replace(made.card, source=f"{card.source}; trained by geosr")
        for name in ("best", "last"):
            folder.keep(name, kept, made.tensors)
        seconds = time.monotonic() - began
        folder.log({"step": str(made.parts), "loss": f"{loss:.6f}", **found.row(),
                    "pixels": str(made.pixels), "seconds": f"{seconds:.0f}"})  # fmt: skip
        if found.picture is not None:
            path = folder.path / f"step{made.parts:07d}.png"
            picture.write_png(path, found.picture, marks.TRAINING)
    speed = made.parts / seconds
    progress(Progress(made.parts, made.parts, loss, speed, 0.0, found))
    return Result(folder.path / "best.safetensors", made.parts, False, 0, made.broken)
