"""The loss of nets that tell changes."""

from __future__ import annotations

from torch import Tensor

from geosr.training.losses.masked import clean, count


def contrastive(prediction: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Balanced contrastive loss of a distance in units of its margin, after Chen and Shi (2020).

    Of each sample the mean over what did not change (target up to 0.5) of max(d - y, 0)², which is
    d² where the target is 0, and over what did of max(y - d, 0)²: both count alike, however rare
    changes are. Counts samples.
    """
    d, y, valid = clean(prediction, target, mask)
    changed = valid & (y > 0.5)
    same = valid & ~changed
    near, far = (
        (x.clamp(min=0).square() * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp(min=1)
        for x, where in ((d - y, same), (y - d, changed))
    )
    return (near + far).sum(), count(valid.sum((1, 2, 3)) > 0, d)
