"""What nets for several images share: which frames are there, frames
without clouds, their median, their features.

The encoder, the recursive fusion and the decoder are HighRes-net's (Deudon et al., arXiv
2002.06460); MISR-GRU, TR-MISR and others took them over.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from geosr.models.nets.single.edsr import Skip

_ANCHORS = 9  # frames that the median is taken over


def residual(features: int) -> Skip:
    """x + two times convolution and PReLU."""
    return Skip(*layer(features, features), *layer(features, features))


def layer(narrow: int, wide: int) -> tuple[nn.Module, nn.Module]:
    """Convolution and PReLU."""
    return nn.Conv2d(narrow, wide, 3, padding=1), nn.PReLU()


def encoder(narrow: int, features: int, blocks: int) -> nn.Sequential:
    """What makes features of a frame, (…, narrow, rows, cols), alone or beside its anchor."""
    return nn.Sequential(
        *layer(narrow, features),
        *(residual(features) for _ in range(blocks)),
        nn.Conv2d(features, features, 3, padding=1),
    )


def present(clear: Tensor) -> Tensor:
    """Which frames have a clear pixel, (batch, frames); all of them where none has."""
    seen = (clear > 0).flatten(2).any(2)
    return seen | ~seen.any(1, keepdim=True)


def mended(frames: Tensor, clear: Tensor) -> Tensor:
    """Frames whose unclear pixels are those of the first frame that is clear there.

    Where none is, they stay as they are.

    Args:
        frames: (batch, frames, bands, rows, cols), the clearest first, of a video the nearest in
            time.
        clear: (batch, frames, 1, rows, cols).
    """
    nearest = (clear > 0).int().argmax(1, keepdim=True).expand_as(frames[:, :1])
    there = (clear > 0) | ~(clear > 0).any(1, keepdim=True)
    return torch.where(there, frames, frames.gather(1, nearest))


def averaged(frames: Tensor, clear: Tensor) -> Tensor:
    """Frames whose unclear pixels are the mean of the frames that are clear there, in any order.

    Where none is, they stay as they are. Shapes are those of `mended`.
    """
    there = clear > 0
    count = there.sum(1, keepdim=True)
    mean = torch.where(there, frames, 0).sum(1, keepdim=True) / count.clamp(min=1)
    return torch.where(there | (count == 0), frames, mean.to(frames.dtype))


def anchor(frames: Tensor, clear: Tensor) -> Tensor:
    """Each pixel's median over the first nine frames that are clear there, (batch, 1, bands, …).

    Where no frame is clear, the first nine that are present; of an even number the mean of the
    two in the middle.
    """
    usable = clear > 0
    there = present(clear)[:, :, None, None, None]
    usable = torch.where(usable.any(1, keepdim=True), usable, there)
    usable = usable & (usable.cumsum(1) <= _ANCHORS)
    ranked = torch.where(usable, frames, torch.inf).sort(1).values
    n = usable.sum(1, keepdim=True).expand_as(frames[:, :1])
    return (ranked.gather(1, (n - 1) // 2) + ranked.gather(1, n // 2)) / 2


def beside_anchor(frames: Tensor, middle: Tensor) -> Tensor:
    """Every frame with the anchor as further bands, (batch · frames, 2 · bands, rows, cols)."""
    return torch.cat([frames, middle.expand_as(frames)], 2).flatten(0, 1)


def decoder(features: int, bands: int, scale: int) -> nn.Sequential:
    """What makes the finer image of the fused features, (…, bands, s·rows, s·cols)."""
    return nn.Sequential(
        nn.ConvTranspose2d(features, features, scale, stride=scale),
        nn.PReLU(),
        nn.Conv2d(features, bands, 1),
    )


def fused_in_pairs(x: Tensor, there: Tensor, pair: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """(batch, frames, features, rows, cols) to (batch, features, rows, cols), two by two.

    The list counts as filled up with absent frames to a power of two, so that frames at its
    end that are absent change nothing; first meets last, second the last but one.

    Args:
        there: which frames are, (batch, frames).
        pair: what the second of two changes in the first, each (pairs, features, rows, cols).
    """
    x, there = present_first(x, there)
    alpha = there[:, :, None, None, None].to(x.dtype)
    while (count := x.shape[1]) > 1:
        half = 1 << (count - 1).bit_length() - 1
        alone = 2 * half - count  # how many meet a frame that is not there
        near, far = x[:, alone:half], x[:, half:].flip(1)
        change = pair(near.flatten(0, 1), far.flatten(0, 1)).view_as(near)
        x = torch.cat([x[:, :alone], near + alpha[:, half:].flip(1) * change], 1)
        alpha = alpha[:, :half]
    return x[:, 0]


def present_first(x: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    """Frames in their order, those that are absent moved to the end."""
    order = (~there).int().argsort(dim=1, stable=True)
    index = order[:, :, None, None, None].expand_as(x)
    return x.gather(1, index), there.gather(1, order)
