"""Train a net on scenes degraded by Wald's protocol: one loop that reads top to bottom."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from geosr import losses, models, weights
from geosr.datasets.wald import Sample, WaldWindows, split_by_place
from geosr.errors import GeosrError, UsageError, WeightsError
from geosr.models import Model, ModelCard
from geosr.models.bicubic import Bicubic
from geosr.publish import write_bytes
from geosr.scene import Scene
from geosr.sensors import find_scenes, open_scene

_UNIT = 2000.0  # counts per unit of the loss, as inside DSen2


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the result of a training, apart from its data.

    Attributes:
        patch: side of the truth in its own pixels.
        lr: peak of the learning rate, after `warmup` steps, before a cosine to zero.
        ema: decay of the averaged weights, which are the ones kept.
        clip: largest norm of the gradient.
        jitter: radiometric augmentation, standard deviation of the log-gain.
        val_share: share of the scenes to hold out, whole places at a time.
        precision: "fp32", "bf16" or "fp16" for the residual.
    """

    model: str
    steps: int = 10000
    batch_size: int = 8
    patch: int = 48
    lr: float = 5e-4
    weight_decay: float = 1e-4
    warmup: int = 300
    ema: float = 0.999
    clip: float = 1.0
    jitter: float = 0.1
    seed: int = 0
    val_share: float = 0.1
    val_every: int = 500
    precision: str = "fp32"


@dataclass(frozen=True)
class Progress:
    """What the trainer tells while it works; RMSEs in DN, on held-out scenes."""

    step: int
    steps: int
    loss: float
    rmse: float | None = None
    bicubic: float | None = None


def train(
    data: Path,
    out: Path,
    *,
    config: TrainConfig,
    device: str = "cpu",
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Path:
    """Train `config.model` on the scenes of `data`; returns the best weights' path.

    `out` gets best.safetensors and last.safetensors (averaged weights with their card),
    state.safetensors (all that `resume` needs), log.csv and config.json.

    Raises:
        UsageError: no scenes, or `out` holds another training.
        WeightsError: the state to resume from is damaged.
    """
    card = _card(config.model)
    training, held = split_by_place(_scenes(data), config.val_share)
    windows = WaldWindows(training, card, config.patch, config.seed, config.jitter)
    checking = WaldWindows(held or training, card, config.patch, config.seed)
    torch.manual_seed(config.seed)
    run = _Run(out, config, models.build(card), device)
    run.prepare(resume=resume)
    for step, batch in _batches(windows, config, run.step):
        loss = run.advance(batch)
        if (step + 1) % config.val_every == 0 or step + 1 == config.steps:
            rmse, bicubic = _validate(run.averaged(), checking, device)
            run.keep(loss, rmse, bicubic)
            progress(Progress(step + 1, config.steps, loss, rmse, bicubic))
        else:
            progress(Progress(step + 1, config.steps, loss))
    windows.close()
    checking.close()
    return out / "best.safetensors"


def _card(name: str) -> ModelCard:
    found = models.cards(name)
    if len(found) > 1:
        parts = " and ".join(card.name for card in found)
        raise UsageError(f"'{name}' is a pair of nets. Train {parts} one after the other.")
    if not models.build(found[0]).parameters:
        raise UsageError(f"'{name}' has nothing to train. Choose a net.")
    return found[0]


def _scenes(data: Path) -> list[Scene]:
    """Every readable scene of a folder; none at all is an error."""
    scenes, reasons = [], []
    for path in find_scenes(data):
        try:
            scene = open_scene(path)
            scene.check_nested(list(scene.grids))
            scenes.append(scene)
        except GeosrError as error:
            reasons.append(str(error))
    if not scenes:
        why = f" First reason: {reasons[0]}" if reasons else ""
        raise UsageError(f"{data} holds no scene to train on.{why} Give a folder of scenes.")
    return scenes


class _Run:
    """The state of a training, and its files."""

    def __init__(self, out: Path, config: TrainConfig, model: Model, device: str) -> None:
        self.out, self.config, self.model, self.device = out, config, model, device
        self.step, self.best, self.seconds = 0, math.inf, 0.0
        net = model.net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net: nn.Module = net
        self.optimiser = torch.optim.AdamW(
            net.parameters(), config.lr, weight_decay=config.weight_decay
        )
        self.ema = {name: p.detach().clone() for name, p in net.named_parameters()}
        self._since = time.monotonic()

    def prepare(self, *, resume: bool) -> None:
        """Start a fresh folder, or take up the state in it."""
        state = self.out / "state.safetensors"
        if resume and state.exists():
            self._restore(state)
        elif state.exists():
            raise UsageError(
                f"{self.out} holds a training already. Pass --resume, or another --out."
            )
        self.out.mkdir(parents=True, exist_ok=True)
        settings = json.dumps(asdict(self.config), indent=1) + "\n"
        write_bytes(self.out / "config.json", settings.encode())

    def advance(self, batch: Mapping[str, Tensor | Mapping[int, Tensor]]) -> float:
        """One step of the optimiser; returns the loss."""
        inputs, target, mask = batch["inputs"], batch["target"], batch["mask"]
        assert isinstance(inputs, Mapping) and isinstance(target, Tensor)
        assert isinstance(mask, Tensor)
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(self.step, self.config)
        inputs = {gsd: values.to(self.device) for gsd, values in inputs.items()}
        with _autocast(self.device, self.config.precision):
            prediction = self.model(inputs)
        target = target.to(self.device)
        loss = losses.l1(prediction / _UNIT, target / _UNIT, mask.to(self.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), self.config.clip)
        self.optimiser.step()
        self.step += 1
        decay = min(self.config.ema, self.step / (self.step + 10))
        with torch.no_grad():
            for name, p in self.net.named_parameters():
                self.ema[name].lerp_(p, 1 - decay)
        return float(loss.detach())

    def averaged(self) -> Model:
        """The model with its averaged weights."""
        copy = models.build(self.model.card)
        copy.net.load_state_dict(self.ema)
        copy.net.to(self.device).eval()
        return copy

    def keep(self, loss: float, rmse: float, bicubic: float) -> None:
        """Write the checkpoints and a line of the log."""
        self.seconds += time.monotonic() - self._since
        self._since = time.monotonic()
        card = replace(self.model.card, source=f"{self.model.card.source}; trained by geosr")
        weights.save(self.out / "last.safetensors", card, self.ema)
        if rmse < self.best:
            self.best = rmse
            weights.save(self.out / "best.safetensors", card, self.ema)
        self._save_state()
        log = self.out / "log.csv"
        new = not log.exists()
        with log.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "loss", "rate", "rmse", "bicubic", "seconds"])
            rate = _rate(self.step - 1, self.config)
            writer.writerow([self.step, f"{loss:.6f}", f"{rate:.3e}", f"{rmse:.3f}",
                             f"{bicubic:.3f}", f"{self.seconds:.0f}"])  # fmt: skip

    def _save_state(self) -> None:
        tensors = {f"net.{name}": p.detach() for name, p in self.net.named_parameters()}
        tensors |= {f"ema.{name}": p for name, p in self.ema.items()}
        names = [name for name, _ in self.net.named_parameters()]
        for i, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"{key}.{names[i]}": value for key, value in moments.items()}
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        numbers = {"step": self.step, "best": self.best, "seconds": self.seconds,
                   "config": asdict(self.config)}  # fmt: skip
        data = save_tensors(tensors, metadata={"state": json.dumps(numbers)})
        write_bytes(self.out / "state.safetensors", data)

    def _restore(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                numbers = json.loads((file.metadata() or {})["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise WeightsError(
                f"{path}: cannot resume ({error}). Start again in another --out."
            ) from error
        if numbers["config"]["model"] != self.config.model:
            raise UsageError(
                f"{self.out} trains '{numbers['config']['model']}', not '{self.config.model}'. "
                "Choose another --out."
            )
        self.step, self.best = numbers["step"], numbers["best"]
        self.seconds = numbers["seconds"]
        names = [name for name, _ in self.net.named_parameters()]
        self.net.load_state_dict({name: tensors[f"net.{name}"] for name in names})
        for name in names:
            self.ema[name].copy_(tensors[f"ema.{name}"])
        state = self.optimiser.state_dict()
        keys = ("step", "exp_avg", "exp_avg_sq")
        state["state"] = {
            i: {key: tensors[f"{key}.{name}"] for key in keys} for i, name in enumerate(names)
        }
        self.optimiser.load_state_dict(state)


def _rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine from `lr` to zero at the last step."""
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    done = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return config.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def _autocast(device: str, precision: str) -> torch.autocast:
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    return torch.autocast(torch.device(device).type, dtype=kind, enabled=kind is not None)


Batch = dict[str, Tensor | Mapping[int, Tensor]]


def _batches(windows: WaldWindows, config: TrainConfig, start: int) -> Iterator[tuple[int, Batch]]:
    """Batches from step `start` on; the next is read while the last is learnt."""

    def make(step: int) -> Batch:
        return _stack([windows.sample(step, i) for i in range(config.batch_size)])

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, start)
        for step in range(start, config.steps):
            batch = ahead.result()
            if step + 1 < config.steps:
                ahead = pool.submit(make, step + 1)
            yield step, batch


def _stack(samples: Sequence[Sample]) -> Batch:
    def stack(arrays: list[NDArray[Any]]) -> Tensor:
        return torch.from_numpy(np.stack(arrays))

    return {
        "inputs": {gsd: stack([s.inputs[gsd] for s in samples]) for gsd in samples[0].inputs},
        "target": stack([s.target for s in samples]),
        "mask": stack([s.mask for s in samples]),
    }


@torch.inference_mode()
def _validate(model: Model, windows: WaldWindows, device: str) -> tuple[float, float]:
    """Mean over bands of the RMSE on held-out windows, in DN: the model's and bicubic's."""
    card = model.card
    bicubic = Bicubic(card.native_gsd, card.scale)
    squared = torch.zeros(2, len(card.bands), dtype=torch.float64)
    count = torch.zeros(len(card.bands), dtype=torch.float64)
    for which, window in windows.grid_windows(128):
        batch = _stack([windows.at(which, window)])
        inputs, target, mask = batch["inputs"], batch["target"], batch["mask"]
        assert isinstance(inputs, Mapping) and isinstance(target, Tensor)
        assert isinstance(mask, Tensor)
        moved = {gsd: values.to(device) for gsd, values in inputs.items()}
        for i, prediction in enumerate((model(moved).cpu(), bicubic(inputs))):
            squared[i] += (((prediction - target) * mask).double() ** 2).sum((0, 2, 3))
        count += mask.sum((0, 2, 3))
    rmse = (squared / count.clamp(min=1)).sqrt().mean(1)
    return float(rmse[0]), float(rmse[1])
