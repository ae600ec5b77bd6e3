"""What nets for frames of a video share: frames without clouds, alignment by deformation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SLOPE = 0.1  # of leaky ReLUs


def mended(frames: Tensor, clear: Tensor) -> Tensor:
    """Frames whose unclear pixels are those of the nearest frame in time that is clear there.

    Where none is, they stay as they are.

    Args:
        frames: (batch, frames, bands, rows, cols), the nearest in time to the first one first.
        clear: (batch, frames, 1, rows, cols).
    """
    nearest = (clear > 0).int().argmax(1, keepdim=True).expand_as(frames[:, :1])
    there = (clear > 0) | ~(clear > 0).any(1, keepdim=True)
    return torch.where(there, frames, frames.gather(1, nearest))


class Deformable(nn.Module):
    """A 3 × 3 convolution that looks aside: modulated deformable convolution.

    Zhu, Hu, Lin, Dai, "Deformable ConvNets v2", CVPR 2019. Maps features (batch, features, rows,
    cols), and guides of the same shape, which tell the offsets and weights of the nine samples of
    every group of features, to features. Samples between pixels are bilinear, those beyond the
    edge are zero. At first it looks straight ahead, at half weight.
    """

    def __init__(self, features: int, groups: int = 8) -> None:
        super().__init__()
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
