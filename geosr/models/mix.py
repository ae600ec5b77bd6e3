"""A net between two of one kind: every weight on the line from one to the other.

Wang et al., "ESRGAN", ECCV workshops 2018, section 3.4, network interpolation: between a net
trained by an error and the same trained on with a discriminator lie all degrees of sharpness.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from geosr.errors import UsageError
from geosr.models.card import Model, ModelCard
from geosr.models.weights import load_file

if TYPE_CHECKING:
    from torch import Tensor


def mix(first: Path, second: Path, share: float) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and weights of (1 − share) · first + share · second.

    The card says what was mixed, and of an adversarially trained part that the whole is one.

    Raises:
        UsageError: a share outside 0 to 1, or nets that differ in more than their weights.
        WeightsError: a file is missing or damaged.
    """
    if not 0 <= share <= 1:
        raise UsageError(
            f"share {share:g} is not between 0 and 1. Say how much of {second} to take."
        )
    a, b = load_file(first), load_file(second)
    differing = [key for key in ("arch", "inputs", "output", "scale", "options", "quantification")
                 if getattr(a.card, key) != getattr(b.card, key)]  # fmt: skip
    if differing:
        told = ", ".join(
            f"{key} {getattr(a.card, key)} and {getattr(b.card, key)}" for key in differing
        )
        raise UsageError(
            f"{first} and {second} are different nets ({told}). Mix weights of one net, the second "
            "trained on from the first (geosr train --init)."
        )
    theirs = b.net.state_dict()
    tensors = {
        name: tensor.lerp(theirs[name], share) if tensor.is_floating_point() else tensor
        for name, tensor in a.net.state_dict().items()
    }
    source = f"{_part(a, 1 - share)} and {_part(b, share)}, mixed weight by weight"
    taught = (a.card.adversarial and share < 1) or (b.card.adversarial and share > 0)
    return replace(a.card, source=source, adversarial=taught), tensors


def _part(model: Model, share: float) -> str:
    return f"{share:g} of {model.card.name} {model.card.sha256[:12]} ({model.card.source})"
