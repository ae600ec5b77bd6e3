"""Deep image prior: an untrained net is bent until what it makes, degraded, is the image.

Ulyanov, Vedaldi, Lempitsky, "Deep image prior", CVPR 2018. Reference repository:
DmitryUlyanov/deep-image-prior. Early stopping: Wang et al., "Early stopping for deep image prior",
TMLR 2023.

    noise (32) ─ level 1 ─ 1 × 1 ─ sigmoid ─

    level:  ─┬─ 1 × 1 to 4, BN LReLU ────────────────────────────────┬─ cat ─ BN ─ conv BN LReLU ─
             └─ conv ÷2 BN LReLU ─ conv BN LReLU ─ next level ─ ×2 ──┘        1 × 1 BN LReLU ─

The net holds nothing of the image: calling it *is* the fit, of every tile and every band by itself,
so it has no weights to keep. Convolutions are 3 × 3 with mirrored edges and 128 features, ×2 is
bilinear, and the last of five levels has no next one. The noise is moved a little in every step.

What is given is the running mean of the outputs, as it was when they varied least around it: later
the net begins to fit the noise of the image too. In the end it is made to agree with the image
(`projection`), which the fit alone does only nearly.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe
from geosr.models.nets.fitted.projection import Projection

log = logging.getLogger("geosr")

_NOISE, _JITTER = 0.1, 0.03  # of the input: its range, and the deviation of its moves
INPUTS = 32
_SLACK = 0.1  # of the image's range, that the sigmoid has on either side
_MEAN = 0.98  # what the running mean keeps in a step
_VARIANCE = 0.95  # what their variance around it keeps
_PATIENCE = 0.2  # of all steps, without a smaller variance
_TOLD = 10  # times in a fit


class Prior(nn.Module):
    """The hourglass; maps (1, 32, rows, cols) to (1, bands, rows, cols) between 0 and 1.

    Rows and cols are multiples of 2^depth, and twice that at least.
    """

    def __init__(self, bands: int, *, features: int = 128, depth: int = 5, skip: int = 4) -> None:
        super().__init__()
        inner: nn.Module = nn.Identity()
        for wide in [features] * (depth - 1) + [INPUTS]:
            inner = _Level(wide, features, skip, inner)
        self.levels = inner
        self.tail = nn.Conv2d(features, bands, 1)

    def forward(self, noise: Tensor) -> Tensor:
        return torch.sigmoid(self.tail(self.levels(noise)).float())


class _Level(nn.Module):
    """One level around the next; (1, wide, rows, cols) to (1, features, rows, cols)."""

    def __init__(self, wide: int, features: int, skip: int, inner: nn.Module) -> None:
        super().__init__()
        self.skip = _block(wide, skip, 1)
        self.down = nn.Sequential(_block(wide, features, 3, 2), _block(features, features, 3))
        self.inner = inner
        self.norm = nn.BatchNorm2d(features + skip)
        self.up = nn.Sequential(_block(features + skip, features, 3), _block(features, features, 1))

    def forward(self, x: Tensor) -> Tensor:
        deep = self.inner(self.down(x))
        deep = F.interpolate(deep, scale_factor=2, mode="bilinear", align_corners=False)
        return self.up(self.norm(torch.cat([self.skip(x), deep], 1)))


def _block(wide: int, features: int, size: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(wide, features, size, stride, size // 2, padding_mode="reflect")
    return nn.Sequential(conv, nn.BatchNorm2d(features), nn.LeakyReLU(0.2))


class DIP(nn.Module):
    """The fit; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols), unit values.

    Attributes:
        steps, seconds, seed: of every image in a batch.
        rate: of the optimiser.
        kind: low precision of the convolutions; None is fp32.
        said: what messages begin with.
    """

    def __init__(
        self, bands: int, scale: int, *, features: int = 128, depth: int = 5, skip: int = 4
    ) -> None:
        super().__init__()
        self.scale, self.depth = scale, depth
        self.prior = Prior(bands, features=features, depth=depth, skip=skip)
        self.projection = Projection(scale)
        self.steps, self.seconds, self.seed, self.rate = 2000.0, math.inf, 0, 1e-2
        self.kind: torch.dtype | None = None
        self.said = "dip"

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            return torch.stack([self._solve(image[None].clone())[0] for image in x])

    def _solve(self, low: Tensor) -> Tensor:
        """(1, bands, s·rows, s·cols) of (1, bands, rows, cols)."""
        bottom, top = float(low.min()), float(low.max())
        reach = (top - bottom) or 1.0
        wanted = (low - bottom) / reach * (1 - 2 * _SLACK) + _SLACK
        mean = self._fit(wanted)
        return self.projection((mean - _SLACK) / (1 - 2 * _SLACK) * reach + bottom, low)

    def _fit(self, wanted: Tensor) -> Tensor:
        """The running mean of what the net makes of noise, (1, bands, s·rows, s·cols)."""
        rows, cols = (n * self.scale for n in wanted.shape[2:])
        random = torch.Generator().manual_seed(self.seed)
        self._begin(random)
        sides = (max(-(-n // 2**self.depth), 2) * 2**self.depth for n in (rows, cols))
        source = self.source((next(sides), next(sides)), wanted.device, random)
        optimizer = torch.optim.Adam(self.parameters(), self.rate)
        course = _Running(_PATIENCE * self.steps)
        for step in self._steps():
            with torch.autocast(wanted.device.type, dtype=self.kind, enabled=self.kind is not None):
                made = self.prior(source())[..., :rows, :cols]
            loss = F.mse_loss(self.projection.degrade(made), wanted)
            if not bool(loss.isfinite()):
                log.warning("%s: diverged at step %d: its best state is taken", self.said, step)
                break
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if math.isfinite(self.steps) and step % max(int(self.steps) // _TOLD, 1) == 0:
                log.info("%s: step %d of %d, loss %.7f", self.said, step, self.steps, loss.item())
            if course.ended(step, made.detach()):
                log.info("%s: stopped at step %d: outputs varied least at step %d", self.said,
                         step, course.best)  # fmt: skip
                break
        return course.kept

    def source(
        self, sides: tuple[int, int], device: torch.device, random: torch.Generator
    ) -> Callable[[], Tensor]:
        """What gives the prior's input of every step, (1, 32, rows, cols): noise that moves."""
        noise = torch.rand((1, INPUTS, *sides), generator=random) * _NOISE
        return lambda: (noise + _JITTER * torch.randn(noise.shape, generator=random)).to(device)

    def _steps(self) -> Iterator[int]:
        """Numbers of steps, as long as there are steps and time."""
        started = time.monotonic()
        for step in count(1):
            yield step
            if step >= self.steps or time.monotonic() - started >= self.seconds:
                return

    def _begin(self, random: torch.Generator) -> None:
        """PyTorch's own initialisation, from the generator."""
        self.train()
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.reset_running_stats()
                    nn.init.ones_(layer.weight)
                    nn.init.zeros_(layer.bias)
                if isinstance(layer, nn.Conv2d):
                    bound = layer.weight[0].numel() ** -0.5
                    for values in layer.parameters():
                        drawn = torch.empty(values.shape).uniform_(-bound, bound, generator=random)
                        values.copy_(drawn)


@dataclass
class _Running:
    """The running mean of outputs, and as it was when they varied least around it."""

    patience: float
    best: int = 0
    least: float = math.inf
    variance: float | None = None
    mean: Tensor | None = None
    _kept: Tensor | None = None

    @property
    def kept(self) -> Tensor:
        """The mean where the outputs varied least."""
        assert self._kept is not None
        return self._kept

    def ended(self, step: int, made: Tensor) -> bool:
        """Take an output; True where the variance has not fallen for so long."""
        if self.mean is None:
            self.mean, self._kept = made.clone(), made.clone()
            return False
        apart = float(((made - self.mean) ** 2).mean())
        before = apart if self.variance is None else self.variance
        self.variance = _VARIANCE * before + (1 - _VARIANCE) * apart
        self.mean = _MEAN * self.mean + (1 - _MEAN) * made
        if self.variance < self.least:
            self.least, self.best, self._kept = self.variance, step, self.mean
        return step - self.best > self.patience


def build(card: ModelCard) -> DIP:
    """The net of a card."""
    return DIP(len(card.bands), card.scale, **card.options)


DESIGNS = (
    Design("dip", "fits", "dip", build, {2: 8, 3: 8, 4: 8}, 2, "Ulyanov et al., CVPR 2018",
           blend=8, tile=128, options={"features": 128, "depth": 5, "skip": 4},
           recipe=Recipe("mse", steps=2000, optimizer="adam", lr=1e-2, warmup=0, ema=0.0)),
)  # fmt: skip
