"""RFSR: a random forest tells from a pixel's surroundings what bicubic interpolation lacks.

After the notebook of the RFSR repository. Every pixel of the enlarged image is described by its
5 × 5 neighbourhood, less the pixel itself; 100 regression trees of depth 12 give the image's pixel
less the enlarged one.

    image ─ bicubic ×s ─┬─ 24 shifted copies − itself ─ mean of 100 trees ─ + ─
                        └───────────────────────────────────────────────────┘

Theirs works on 8-bit luminance with black edges; here every band is treated by itself, in floats,
and edges are repeated. There are no gradients: `geosr.training.forest` grows the trees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.card import ModelCard
from geosr.models.design import Design, Recipe

_PIXELS = 2**16  # that go through the trees at a time


class RandomForest(nn.Module):
    """Trees as arrays; maps (batch, bands, rows, cols) to (batch, bands, s·rows, s·cols).

    At node n of a tree a pixel whose feature `feature[n]` is at most `threshold[n]` goes to node
    `child[n, 0]`, any other to `child[n, 1]`. A leaf is its own child.

    Args:
        depth: steps from the root to the deepest leaf.
        nodes: of the largest tree; the others are filled up.
        radius: of the neighbourhood in pixels of the enlarged image.
    """

    exportable = False  # every step of every tree would be a part of the graph
    child: Tensor
    feature: Tensor
    threshold: Tensor
    value: Tensor

    def __init__(self, scale: int, *, trees: int, depth: int, nodes: int, radius: int) -> None:
        super().__init__()
        self.scale, self.depth, self.radius = scale, depth, radius
        self.features = (2 * radius + 1) ** 2 - 1
        shapes = {"child": (trees, nodes, 2), "feature": (trees, nodes),
                  "threshold": (trees, nodes), "value": (trees, nodes)}  # fmt: skip
        for name, shape in shapes.items():  # node numbers are exact in fp32 up to 2²⁴
            setattr(self, name, nn.Parameter(torch.zeros(shape), requires_grad=False))

    def forward(self, x: Tensor) -> Tensor:
        enlarged = F.interpolate(x, scale_factor=self.scale, mode="bicubic", align_corners=False)
        around = self.around(enlarged)
        found = enlarged + self.lacking(around)
        if around.requires_grad:  # trees have no slope; what they look at is told nevertheless
            found = found + (around - around.detach()).sum(2)
        return found

    def around(self, enlarged: Tensor) -> Tensor:
        """The features of every pixel, (batch, bands, features, rows, cols)."""
        r, (rows, cols) = self.radius, enlarged.shape[-2:]
        padded = F.pad(enlarged, (r, r, r, r), mode="replicate")
        places = [(i, j) for i in range(2 * r + 1) for j in range(2 * r + 1) if (i, j) != (r, r)]
        copies = [padded[..., i : i + rows, j : j + cols] - enlarged for i, j in places]
        return torch.stack(copies, 2)

    def lacking(self, around: Tensor) -> Tensor:
        """The mean of the trees for features (batch, bands, features, rows, cols)."""
        pixels = around.detach().movedim(2, -1)
        found = [
            self._mean(part) for part in torch.split(pixels.reshape(-1, self.features), _PIXELS)
        ]
        return torch.cat(found).reshape(pixels.shape[:-1])

    def _mean(self, x: Tensor) -> Tensor:
        """The mean of the trees at (pixels, features)."""
        total = x.new_zeros(len(x))
        for child, feature, threshold, value in zip(
            self.child.flatten(1).long(), self.feature.long(), self.threshold, self.value,
            strict=True,
        ):  # fmt: skip
            node = torch.zeros(len(x), dtype=torch.long, device=x.device)
            for _ in range(self.depth):
                seen = x.gather(1, feature[node][:, None])[:, 0]
                node = child[2 * node + (seen > threshold[node])]
            total += value[node]
        return total / len(self.value)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take the arrays of a file.

        Raises:
            ValueError: a tree leads out of itself, or asks for a feature that there is not.
        """
        found = super().load_state_dict(state_dict, strict, assign)
        ends = {"child": self.value.shape[1], "feature": self.features}
        for name, end in ends.items():
            numbers = {"child": self.child, "feature": self.feature}[name]
            if not bool(((numbers >= 0) & (numbers < end) & (numbers == numbers.floor())).all()):
                raise ValueError(f"'{name}' holds numbers that are not from 0 to {end - 1}")
        return found


def build(card: ModelCard) -> RandomForest:
    """The forest of a card, without any trees in it."""
    return RandomForest(card.scale, **card.options)


DESIGNS = (
    Design("rfsr", "sisr", "rfsr", build, {2: 3, 3: 2, 4: 2}, 2,
           "RFSR, a random forest on 5 × 5 surroundings",
           options={"trees": 100, "depth": 12, "nodes": 2**13 - 1, "radius": 2},
           recipe=Recipe("mse", steps=0, jitter=0.0), paper=Recipe("mse", steps=0),
           solved=True),
)  # fmt: skip
