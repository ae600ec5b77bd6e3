"""The loss of nets that tell changes."""

from __future__ import annotations

import torch
from torch import Tensor

from geosr.training.losses.masked import clean, count


def contrastive(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Batch-balanced contrastive loss of a distance in units of its margin (Chen, Shi 2020).

    The mean over what did not change of d², and over what did (target above 0.5) of
    max(1 - d, 0)²: both count alike, however rare changes are. Counts samples.
    """
    d, y, valid = clean(prediction, target, mask)
    changed = valid & (y > 0.5)
    same = valid & ~changed
    near = (d.square() * same).sum() / count(same, d).clamp(min=1)
    far = ((1 - d).clamp(min=0).square() * changed).sum() / count(changed, d).clamp(min=1)
    samples = torch.tensor(float(len(d)), dtype=d.dtype, device=d.device)
    return (near + far) * samples, samples
