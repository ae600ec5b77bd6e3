"""Weighted sums of losses, and the text that describes them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from geosr.errors import UsageError
from geosr.training.losses import frequencies, images
from geosr.training.losses.contrastive import contrastive
from geosr.training.losses.masked import coarser
from geosr.training.losses.perceptual import by_encoder, load_perceptual, perceptual

Loss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Term = tuple[float, Tensor, Tensor]  # weight, sum, count


class Uncertain(Protocol):
    """What a net with an uncertainty gives: mean and log of Laplace's scale."""

    @property
    def mean(self) -> Tensor: ...
    @property
    def log_scale(self) -> Tensor: ...


LOSSES: dict[str, Loss] = {
    "l1": images.l1,
    "mse": images.mse,
    "charbonnier": images.charbonnier,
    "psnr": images.psnr,
    "dssim": images.dssim,
    "ms-ssim": images.ms_ssim,
    "gradient": images.gradient,
    "tv": images.tv,
    "spectral-tv": images.spectral_tv,
    "sam": images.sam,
    "frequency": frequencies.frequency,
    "low-l1": frequencies.low_l1,
    "high-frequency": frequencies.high_frequency,
    "perceptual": perceptual,
    "perceptual:encoder": by_encoder,
    "registered": images.registered,
    "contrastive": contrastive,
}
UNCERTAIN = "laplace-nll"  # the one that takes two outputs
ADVERSARIAL = "adversarial"  # the one that a discriminator tells, which the trainer holds
PRESETS = {"dual-edsr": "l1+psnr", "enhanced": "l1+0.1*perceptual"}
_PLUS = re.compile(r"(?<![0-9][eE])\+")  # the + of 1e+3 is no sum


@dataclass(frozen=True)
class Criterion:
    """A weighted sum of losses.

    Attributes:
        parts: weight, name and loss; the one named "laplace-nll" has none.
        adversarial: weight of the term that a discriminator tells; 0 where there is none.
    """

    text: str
    parts: tuple[tuple[float, str, Loss | None], ...]
    adversarial: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """The criterion that a text like "l1+0.1*dssim" or "enhanced" describes.

        `perceptual:encoder` takes the features of the bundled encoder, `perceptual:PATH` VGG19's or
        those of a geosr net, from a file.

        Raises:
            UsageError: a loss that does not exist, a weight that is no number, or nothing beside
                the adversarial term.
        """
        parts = _parts(text)
        others = tuple(part for part in parts if part[1] != ADVERSARIAL)
        if not others:
            raise UsageError(
                f"loss '{text}': a discriminator alone does not say where things are. Add a term, "
                "for example 0.01*l1+0.005*adversarial."
            )
        return cls(text, others, sum(part[0] for part in parts if part[1] == ADVERSARIAL))

    @property
    def names(self) -> list[str]:
        """Of the parts, as they are written."""
        return [name for _, name, _ in self.parts]

    def terms(
        self, output: Tensor | list[Tensor] | Uncertain, target: Tensor, mask: Tensor
    ) -> list[Term]:
        """(weight, sum, count) of every loss; of a pyramid, coarsest level first.

        Every level meets the target averaged down to its size; a pixel of a level is valid where
        all that it covers is.

        Raises:
            UsageError: the patches or the net do not fit a loss.
        """
        with torch.autocast(target.device.type, enabled=False):
            if not isinstance(output, list):
                return self._terms(output, target, mask)
            levels = [(level, *coarser(target, mask, level)) for level in output]
            return [term for level in levels for term in self._terms(*level)]

    def _terms(self, output: Tensor | Uncertain, target: Tensor, mask: Tensor) -> list[Term]:
        image = output if isinstance(output, Tensor) else output.mean
        found = []
        for weight, name, loss in self.parts:
            if loss is not None:
                found.append((weight, *loss(image, target, mask)))
            elif isinstance(output, Tensor):
                raise UsageError(
                    f"loss '{name}' needs a net that gives an uncertainty, and this one gives "
                    "none. Choose such a net, or another loss (l1)."
                )
            else:
                found.append((weight, *images.laplace_nll(image, output.log_scale, target, mask)))
        return found

    def weighted(self, terms: Sequence[Term], totals: Sequence[Tensor] | None = None) -> Tensor:
        """Σ weight · sum / count.

        Args:
            totals: counts over the whole batch, where the terms are those of a part of it.
        """
        counts = totals if totals is not None else [count for _, _, count in terms]
        each = [w * s / n.clamp(min=1e-12) for (w, s, _), n in zip(terms, counts, strict=True)]
        return torch.stack(each).sum()


def _parts(text: str) -> list[tuple[float, str, Loss | None]]:
    found = []
    for part in _PLUS.split(text):
        front, star, back = part.partition("*")
        weight = _weight(front, part) if star else 1.0
        name = (back if star else front).strip()
        if name in PRESETS:
            found += [(weight * own, inner, loss) for own, inner, loss in _parts(PRESETS[name])]
        else:
            found.append((weight, name, _loss(name)))
    return found


def with_features(text: str, path: Path) -> str:
    """A loss whose plain `perceptual` terms take their features from a file.

    Raises:
        UsageError: it has none.
    """
    found = re.sub(r"perceptual(?!:)", f"perceptual:{path}".replace("\\", r"\\"), text)
    if found == text:
        raise UsageError(
            f"loss '{text}' has no perceptual term to take features of {path}. Add +0.1*perceptual."
        )
    return found


def louder(text: str, factor: float) -> str:
    """A loss whose plain `perceptual` terms weigh that many times as much."""

    def weighed(part: str) -> str:
        front, _, back = part.rpartition("*")
        return f"{factor * float(front or 1):g}*{back}" if back == "perceptual" else part

    return "+".join(weighed(part) for part in _PLUS.split(text))


def _weight(text: str, part: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise UsageError(
            f"loss '{part.strip()}': '{text.strip()}' is no weight above 0. "
            "Write for example 0.1*dssim."
        )
    return weight


def _loss(name: str) -> Loss | None:
    if name in (UNCERTAIN, ADVERSARIAL):
        return None
    if name in LOSSES:
        return LOSSES[name]
    if name.startswith("perceptual:"):
        return load_perceptual(Path(name.removeprefix("perceptual:")).expanduser())
    known = [*LOSSES, UNCERTAIN, ADVERSARIAL, "perceptual:PATH", *PRESETS]
    near = get_close_matches(name, known, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"unknown loss '{name}' (known: {', '.join(known)}).{hint}")
