"""Thin, untrained nets for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from geosr.models import registry, weights
from geosr.models.registry import design

THIN = {  # options that make a net quick; only widths where its reach is to stay
    "edsr": {"features": 8},
    "lpan": {"features": 16}, "lpan-reference": {"features": 16},
    "eegan": {"features": 4}, "sg-fbgan": {"features": 4}, "srresnet-series": {"features": 8},
    "rrdb-series": {"features": 8, "blocks": 2},
    "rsi-net": {"features": 16, "growth": 16, "depth": 2},
    "rcan": {"features": 16, "groups": 2, "blocks": 2}, "rrdb": {"features": 8, "blocks": 2},
    "swinir-light": {"features": 12, "blocks": 1, "layers": 2},
    "enhanced": {"features": 8}, "srresnet": {"features": 8}, "edsr-baseline": {"features": 8},
    "carn": {"features": 8}, "vdsr": {"features": 8}, "lapsr": {"features": 8},
    "ms-lapsr": {"features": 4}, "highres-net": {"features": 8},
    "tr-misr": {"features": 16, "hidden": 16, "layers": 2}, "dual-edsr": {"features": 8},
    "piunet": {"features": 4, "blocks": 1}, "rams": {"features": 4, "blocks": 1},
    "swinir": {"features": 12, "blocks": 1, "layers": 2, "wide": 8},
    "hat": {"features": 12, "blocks": 1, "layers": 2, "wide": 8},
    "hat-s": {"features": 12, "blocks": 1, "layers": 2, "wide": 8},
    "han": {"features": 8, "groups": 2, "blocks": 2},
    "srehan": {"features": 8, "groups": 2, "blocks": 2},
    "hsenet": {"features": 8, "blocks": 1}, "dmcn": {"features": 8}, "ddrn": {"features": 8},
    "haunet": {"features": 8, "blocks": 1, "half": 1, "middle": 1, "back": 1},
    "haunet-s": {"features": 8, "blocks": 1, "half": 1},
    "transenet": {"features": 8, "blocks": 1, "layers": 1, "wide": 32, "narrow": 2},
    "cincgan": {"features": 8, "blocks": 2, "cleaning": 1},
    "deepsum": {"features": 8, "blocks": 2}, "3dwdsr": {"features": 5},
    "misr-gru": {"features": 4}, "recursive": {"features": 8}, "worldstrat": {"features": 8},
    "msdtgp": {"features": 8, "narrow": 8, "blocks": 1}, "rrn": {"features": 8},
    "msdtgp-s": {"features": 8, "narrow": 8, "blocks": 1},
    "mstt-stvsr": {"features": 8, "wide": 16, "side": 4, "heads": 2, "front": 1, "blocks": 1},
    "mstt-stvsr-s": {"features": 8, "wide": 16, "side": 4, "heads": 2, "front": 1, "blocks": 1},
    "liif": {"features": 8, "hidden": 16}, "cdcr": {"features": 8, "hidden": 16},
    "funsr": {"features": 8, "width": 16},
    "hsrnet": {"features": 8, "blocks": 2}, "mog-dcn": {"features": 4, "stages": 2},
    "rrsgan": {"features": 8, "blocks": 1},
    "sspsr": {"features": 16, "blocks": 1}, "rfsr-hsi": {"features": 16, "blocks": 1, "wide": 4},
    "gan-hsi": {"features": 4, "blocks": 1},
}  # fmt: skip


def checkpoint(path: Path, name: str, **more) -> Path:
    """Untrained weights of a thin net, as a training would leave them."""
    torch.manual_seed(0)
    card = design(name).card(**more)
    card = replace(card, options={**card.options, **THIN.get(name, {})})
    weights.save(path, card, registry.build(card).net.state_dict())
    return path
