"""The files of a training: weights that load by path, the state to resume from, the log.

No pickle: tensors are safetensors, numbers JSON. Every file appears whole or not at all, and the
state before the last is kept.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from geosr.errors import UsageError, WeightsError
from geosr.models import weights
from geosr.models.card import ModelCard
from geosr.raster import lockfile, publish
from geosr.raster.publish import write_bytes

log = logging.getLogger("geosr")

FREE = ("steps", "epochs", "seconds", "val_every", "val_windows", "patience", "workers", "compile")


@dataclass(frozen=True)
class State:
    """All that a training is between two steps.

    Attributes:
        numbers: plain values, ready for JSON.
        tensors: by name.
    """

    numbers: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under a prefix, without it."""
        start = f"{prefix}/"
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training."""

    path: Path

    @property
    def state(self) -> Path:
        """What `--resume` reads."""
        return self.path / "state.safetensors"

    @property
    def _before(self) -> Path:
        return self.path / "state.previous.safetensors"

    def check(self, *, resume: bool, overwrite: bool = False) -> bool:
        """Whether there is a state to go on from; looks at names alone, so it can be asked early.

        Raises:
            UsageError: files of a training lie there that are neither resumed nor overwritten.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is no folder. Choose another --out.")
        held = any(path.exists() for path in (self.state, self._before))
        fresh = overwrite or (resume and (held or self._barely_begun()))
        lost = [] if fresh else self._replaced()
        if lost:
            names = ", ".join(path.name for path in lost)
            advice = "Pass --resume" if held else "There is no state to resume from: pass"
            advice += ", --overwrite" if held else " --overwrite"
            raise UsageError(
                f"{self.path} holds a training already ({names}). {advice} or another --out."
            )
        return held and resume

    def _replaced(self) -> list[Path]:
        """What a training from the beginning would replace."""
        names = ("best.safetensors", "last.safetensors", "state.json", "log.csv", "config.json")
        paths = [self.state, self._before, *(self.path / name for name in names)]
        return [path for path in paths if os.path.lexists(path)]

    def _barely_begun(self) -> bool:
        """Whether a training was killed here before its first state: that is no loss."""
        try:
            settings = json.loads((self.path / "config.json").read_bytes())
            return "recipe" in settings and len(_rows(self.path / "log.csv")) <= 1
        except (OSError, ValueError, TypeError):
            return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder.

        Raises:
            LockedError: one goes on there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = self.path / ".geosr-train.lock"
        with lockfile.locked(lock, 0.0, f"another training goes on in {self.path}"):
            yield

    def prepare(
        self, config: Mapping[str, Any], *, resume: bool, overwrite: bool = False
    ) -> State | None:
        """Start a fresh folder, or find the state in it.

        Args:
            overwrite: what an earlier training left there is removed, where it is not resumed.

        Raises:
            UsageError: another training lies there.
            WeightsError: it lies there damaged.
        """
        state = self._load() if self.check(resume=resume, overwrite=overwrite) else None
        if state is not None:
            self._check(state.numbers["config"], config)
        elif overwrite:
            for path in self._replaced():
                path.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        settings = json.dumps(config, indent=1) + "\n"
        write_bytes(self.path / "config.json", settings.encode())
        return state

    def save(self, state: State) -> None:
        """Write a state; the one before stays beside it."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}
        text = json.dumps(state.numbers)
        data = save_tensors(tensors, metadata={"state": text, "sha256": _digest(text, tensors)})
        self._keep_last()
        write_bytes(self.state, data)
        write_bytes(self.path / "state.json", (json.dumps(state.numbers, indent=1) + "\n").encode())

    def _keep_last(self) -> None:
        """The state as it is under its second name; where links do not work, moved there."""
        if not self.state.exists():
            return
        link = publish.part_path(self._before)
        try:
            link.hardlink_to(self.state)
            link.replace(self._before)
        except OSError:
            self.state.replace(self._before)

    def keep(self, name: str, card: ModelCard, tensors: Mapping[str, Tensor]) -> None:
        """Write weights: `name` is "best" or "last"."""
        weights.save(self.path / f"{name}.safetensors", card, tensors)

    def log(self, row: Mapping[str, str]) -> None:
        """Append a line to log.csv, after those of earlier steps only."""
        path = self.path / "log.csv"
        rows = [old for old in _rows(path) if int(old["step"]) < int(row["step"])]
        text = io.StringIO()
        writer = csv.DictWriter(text, list(row), extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows([*rows, row])
        write_bytes(path, text.getvalue().encode())

    def _load(self) -> State:
        """The last whole state."""
        reason: Exception | None = None
        for path in (self.state, self._before):
            try:
                with safe_open(path, framework="pt") as file:
                    metadata = file.metadata() or {}
                    tensors = {name: file.get_tensor(name) for name in list(file.keys())}
                if metadata["sha256"] != _digest(metadata["state"], tensors):
                    raise ValueError(f"{path.name} differs from what was written")
                if reason is not None:
                    log.warning("%s: %s; going on from the state before it", self.state, reason)
                return State(json.loads(metadata["state"]), tensors)
            except (SafetensorError, OSError, KeyError, ValueError) as error:
                reason = reason or error
        raise WeightsError(
            f"{self.state}: cannot resume ({reason}). Start again in another --out."
        ) from reason

    def _check(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """A resumed training must be the same one."""
        plain = json.loads(json.dumps(new))
        differing = [k for k in plain if k not in FREE and old.get(k) != plain[k]]
        if "model" in differing:
            raise UsageError(
                f"{self.path} trains '{old.get('model')}', not '{plain['model']}'. "
                "Choose another --out."
            )
        if differing:
            said = ", ".join(f"{k} {old.get(k)} → {plain[k]}" for k in differing)
            raise UsageError(
                f"{self.path} was begun with other settings ({said}). "
                "Give the same ones, or choose another --out."
            )


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state: its numbers as text, its tensors by name."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # a spreadsheet's mark is none
            rows = list(csv.DictReader(file))
            [int(row["step"]) for row in rows]
            return rows
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise UsageError(
            f"{path} is no log of a training (no step in some line). Move it away, or mend it."
        ) from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """The state of an optimiser by parameter name."""
    return {
        f"{names[i]}/{key}": torch.as_tensor(value)
        for i, moments in optimizer.state_dict()["state"].items()
        for key, value in moments.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, names: list[str], tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave."""
    state = optimizer.state_dict()
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition("/")
        found.setdefault(names.index(parameter), {})[key] = tensor
    state["state"] = found
    optimizer.load_state_dict(state)
