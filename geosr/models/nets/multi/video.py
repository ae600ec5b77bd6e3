"""What nets for frames of a video share: alignment by deformation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosr.models.nets.deformable import Deformable

_SLOPE = 0.1  # of leaky ReLUs


class Alignment(nn.Module):
    """Features of a frame as those of another lie, both (batch, features, rows, cols).

    The multi-scale deformable alignment of MSDTGP: convolutions 3 × 3 on both, then 3, 5 and 7 wide
    side by side, tell a deformable one where to look.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.both = nn.Conv2d(2 * features, features, 3, padding=1)
        self.scales = nn.ModuleList(
            nn.Conv2d(features, features, side, padding=side // 2) for side in (3, 5, 7)
        )
        self.join = nn.Conv2d(3 * features, features, 3, padding=1)
        self.deformable = Deformable(features)

    def forward(self, x: Tensor, onto: Tensor) -> Tensor:
        near = F.leaky_relu(self.both(torch.cat([x, onto], 1)), _SLOPE)
        wide = torch.cat([F.leaky_relu(conv(near), _SLOPE) for conv in self.scales], 1)
        guide = near + F.leaky_relu(self.join(wide), _SLOPE)
        return F.leaky_relu(self.deformable(x, guide), _SLOPE)
