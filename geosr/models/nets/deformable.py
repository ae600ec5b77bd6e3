"""Deformable convolution, for nets that align images of other moments with each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Deformable(nn.Module):
    """A 3 × 3 convolution that looks aside: modulated deformable convolution.

    Zhu, Hu, Lin, Dai, "Deformable ConvNets v2", CVPR 2019. Maps features (batch, features, rows,
    cols), and guides of the same shape, which tell the offsets and weights of the nine samples of
    every group of features, to features. Samples between pixels are bilinear, those beyond the
    edge are zero. At first it looks straight ahead, at half weight.

    Args:
        groups: of features that look the same way; it divides their number.

    Raises:
        ValueError: it does not.
    """

    def __init__(self, features: int, groups: int = 8) -> None:
        super().__init__()
        if features % groups:
            raise ValueError(f"{features} features do not make {groups} groups")
        self.groups = groups
        self.conv = nn.Conv2d(features, features, 3, padding=1)
        self.aside = nn.Conv2d(features, 3 * 9 * groups, 3, padding=1)
        nn.init.zeros_(self.aside.weight)
        nn.init.zeros_(self.aside.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        batch, features, rows, cols = x.shape
        aside = self.aside(guide).float().view(batch, 3, self.groups, 9, rows, cols)
        down, across, weight = aside[:, 0], aside[:, 1], torch.sigmoid(aside[:, 2])
        grouped = x.float().reshape(batch * self.groups, -1, rows, cols)
        row = torch.arange(rows, device=x.device, dtype=torch.float32)[:, None]
        col = torch.arange(cols, device=x.device, dtype=torch.float32)
        total = self.conv.bias[:, None, None]  # type: ignore[index]
        for tap in range(9):
            at_row = row + tap // 3 - 1 + down[:, :, tap]  # (batch, groups, rows, cols)
            at_col = col + tap % 3 - 1 + across[:, :, tap]
            grid = torch.stack([(2 * at_col + 1) / cols - 1, (2 * at_row + 1) / rows - 1], -1)
            seen = F.grid_sample(grouped, grid.flatten(0, 1), align_corners=False)
            seen = seen.view(batch, self.groups, -1, rows, cols) * weight[:, :, tap, None]
            kernel = self.conv.weight[:, :, tap // 3, tap % 3, None, None]
            total = total + F.conv2d(seen.reshape(batch, features, rows, cols).to(x.dtype), kernel)
        return total
