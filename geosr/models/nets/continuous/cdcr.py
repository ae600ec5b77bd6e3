"""CDCR: LIIF's answers for a neighbourhood, corrected by kernels that the scale chooses.

"Combining discrete and continuous representation: scale-arbitrary super-resolution for satellite
images", Remote Sensing 15 (7), 1827, 2023. Reference repository: Suanmd/CDCR.

    features ─ LIIF's perceptron ─ bands × 3 × 3 ─┬─ Σ w · kernel, 3 × 3 ─ + ─ Σ over the 3 × 3 ─
                                                  └────────────────────────┘        │
    pixel size ─ linear ReLU linear softmax ─ w    offsets to four cells, size ─ perceptron

The perceptron gives each pixel a 3 × 3 patch. A convolution with a mixture of ten kernels, chosen
by the scale, is added to it; nine weights by place take the patch down to the pixel. The mixture is
learnt from the pixel's size, plus a fixed part that prefers the kernel of the nearest scale. The
repository spreads those over 1 to 999, where only the first is ever near; here they are spread
over 1 to 4, as its own remark has it. Its corners lie half a pixel off; here cells are where LIIF
has them. 1,576,264 parameters for three bands, as of the repository.
"""

from __future__ import annotations

import math
from itertools import pairwise, product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design
from geosr.models.nets.continuous.encoder import Continuous
from geosr.models.nets.continuous.liif import PAPER, REACH, RECIPE, Answers, offset
from geosr.models.nets.continuous.places import Places

_SIGMA = 0.5  # of the fixed part, in scales
_LAST = 4.0  # scale of the last kernel


class CDCR(Continuous):
    """The net.

    Args:
        hidden: width of LIIF's perceptron.
        kernels: of the mixture.
    """

    def __init__(
        self, bands: int, *, features: int = 64, blocks: int = 16, hidden: int = 256,
        kernels: int = 10, skip: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(bands, features=features, blocks=blocks, skip=skip)
        self.bands = bands
        self.answers = Answers(features, 9 * bands, hidden=hidden)
        self.kernels = nn.Parameter(torch.empty(kernels, bands, bands, 3, 3))
        for kernel in self.kernels:
            nn.init.kaiming_uniform_(kernel, a=math.sqrt(5))
        self.choice = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, kernels))
        widths = [10, 16, 16, 16, 16]
        layers = [
            layer
            for wide, narrow in pairwise(widths)
            for layer in (nn.Linear(wide, narrow), nn.ReLU())
        ]
        self.weigh = nn.Sequential(*layers, nn.Linear(16, 9))

    def prepare(self, features: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        return (self.answers.local(features),)

    def decode(self, prepared: tuple[Tensor, ...], places: Places) -> Tensor:
        patch = self.answers(prepared[0], places).unflatten(-1, (self.bands, 3, 3))
        patch = patch + self._mixed(patch, places)  # (batch, n, m, bands, 3, 3)
        weights = self.weigh(self._around(places).to(patch.dtype))  # (batch, n, m, 9)
        return (patch.flatten(-2) * weights[..., None, :].float()).sum(-1)

    def _mixed(self, patch: Tensor, places: Places) -> Tensor:
        """Every pixel's patch through the mixture of its image."""
        sizes = places.cells().to(self.kernels.dtype)
        learnt = self.choice(sizes).float().softmax(1).to(sizes.dtype)
        weights = learnt + self._fixed(2 / sizes[:, 1]).to(sizes.dtype)
        kernels = torch.einsum("bk,kcdij->bcdij", weights, self.kernels)
        flat = [
            F.conv2d(each.flatten(0, 1), kernel.to(each.dtype), padding=1)
            for each, kernel in zip(patch, kernels, strict=True)
        ]
        return torch.stack(flat).view_as(patch)

    def _fixed(self, scale: Tensor) -> Tensor:
        """(batch, kernels): a softmax of Gaussians around each kernel's scale."""
        own = torch.linspace(1, _LAST, len(self.kernels), device=scale.device)
        near = torch.exp(-0.5 * ((own - scale[:, None]) / _SIGMA) ** 2)
        return (near / (_SIGMA * math.sqrt(2 * math.pi))).softmax(1)

    def _around(self, places: Places) -> Tensor:
        """(batch, n, m, 10): offsets to the four cells, and the pixel's size."""
        rows, cols = places.rows, places.cols
        shape = (*rows.at.shape, cols.at.shape[1])
        found = [
            value.expand(shape)
            for down, across in product((0, 1), (0, 1))
            for value in (offset(rows, down)[:, :, None], offset(cols, across)[:, None])
        ]
        found += [size[:, None, None].expand(shape) for size in places.cells().T]
        return torch.stack(found, -1)


def build(card: ModelCard) -> CDCR:
    """The untrained net of a card."""
    return CDCR(len(card.bands), **card.options)


DESIGNS = (
    Design("cdcr", "sisr", "cdcr", build, REACH, 4, "repository Suanmd/CDCR",
           options={"features": 64, "blocks": 16, "hidden": 256, "kernels": 10, "skip": True},
           recipe=RECIPE, paper=PAPER),
)  # fmt: skip
