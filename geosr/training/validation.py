"""How good a net is on windows it never learnt from, with interpolation beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from geosr.errors import SceneError
from geosr.models.card import PLACES, SHIFTS, Model, ModelCard
from geosr.models.nets.bicubic import Bicubic
from geosr.models.nets.continuous.places import Places, bicubic
from geosr.models.nets.multi import fusion
from geosr.models.nets.spectral.spectral import nearest
from geosr.raster import picture
from geosr.training.datasets import Batch, Spot, Windows, change, continuous, stack
from geosr.training.distributed import Ranks

_SHOWN = 4  # windows in the picture
_BY_RMSE = ("guided", "spectral", "change")  # tasks
_PLAIN = {"spectral": ("nearest band",), "change": ("no change",)}  # what stands beside, by task


@dataclass(frozen=True)
class Check:
    """Figures of one validation.

    Attributes:
        rmse: by estimate, mean over bands of the root of the pooled squared error, in counts of
            10000 to 1.0.
        psnr: by estimate, mean over images of the PSNR with peak 1.0, dB.
        picture: LR | SR | HR of some windows, 8-bit RGB.
    """

    rmse: dict[str, float]
    psnr: dict[str, float]
    picture: NDArray[np.uint8] | None = None

    def figure(self, card: ModelCard) -> float:
        """What the best weights have least of: RMSE where bands differ, else minus the PSNR."""
        return self.rmse["model"] if card.task in _BY_RMSE else -self.psnr["model"]

    @property
    def interpolation(self) -> str:
        """The name of the better interpolation: where there are several frames there are two."""
        return max((k for k in self.psnr if k != "model"), key=self.psnr.__getitem__)

    def row(self) -> dict[str, str]:
        """As the log of a training has them."""
        other = self.interpolation
        return {
            "psnr": f"{self.psnr['model']:.4f}", "psnr_bicubic": f"{self.psnr[other]:.4f}",
            "rmse": f"{self.rmse['model']:.3f}", "rmse_bicubic": f"{self.rmse[other]:.3f}",
        }  # fmt: skip


class _Sums:
    """Squared errors by estimate and image, (bands,) each, with the number of valid pixels."""

    def __init__(self, card: ModelCard, images: int) -> None:
        shape = (images, len(card.bands))
        self.count = torch.zeros(shape, dtype=torch.float64)
        several = ("ibp" if card.shifts else "bicubic of frame 1", "bicubic mean")
        beside = several if card.task == "misr" else _PLAIN.get(card.task, ("bicubic",))
        names = ("model", *beside)
        self.squared = {name: torch.zeros(shape, dtype=torch.float64) for name in names}

    def add(self, image: int, batch: Batch, estimates: dict[str, Tensor]) -> None:
        """One window of one image."""
        self.count[image] += batch.mask.sum((0, 2, 3)).cpu()
        for name, estimate in estimates.items():
            error = torch.where(batch.mask, estimate.float() - batch.target, 0.0).double()
            self.squared[name][image] += (error**2).sum((0, 2, 3)).cpu()


@torch.inference_mode()
def validate(
    model: Model, windows: Windows[Any], spots: Sequence[Spot], device: str, ranks: Ranks
) -> Check:
    """Score a net on `spots`; each process takes its share, none is counted twice."""
    sums = _Sums(model.card, len(windows.areas))
    shown: list[NDArray[np.uint8]] = []
    for spot in spots[ranks.rank :: ranks.world]:
        try:
            batch = stack([windows.at(spot)])
        except SceneError:  # the next epoch's windows name it
            continue
        batch = batch.to(device)
        estimates = {"model": model(batch.inputs), **interpolations(model.card, batch)}
        sums.add(spot.area, batch, {k: windows.compared(v, batch) for k, v in estimates.items()})
        if len(shown) < _SHOWN:
            shown.append(_row(model.card, batch, estimates["model"]))
    return _figures(sums, ranks, device, picture.sheet(shown) if shown else None)


def interpolations(card: ModelCard, batch: Batch) -> dict[str, Tensor]:
    """Bicubic estimates (a = −0.75); of several frames the first's and the clear ones' mean.

    Nets that know where frames look stand beside iterated back-projection, which knows it too.
    """
    if card.task == "guided":
        return {"bicubic": Bicubic(card.native_gsd, card.scale)(batch.inputs)}
    x = batch.inputs[card.inputs[0].gsd]
    if card.task == "spectral":
        return {"nearest band": x[:, nearest(card)]}
    if card.task == "change":
        return {"no change": torch.zeros_like(batch.target)}
    if card.continuous:
        return {"bicubic": bicubic(x, Places.of(batch.inputs.get(PLACES), x, card.factor))}
    if card.task == "sisr":
        return {"bicubic": _enlarged(x, card.scale)}
    count, frames = x.shape[:2]
    clear = x[:, :, -1:]
    if card.shifts:
        shifts = batch.inputs[SHIFTS][..., :2]
        blur = card.options.get("blur", fusion.BLUR)
        fused = fusion.back_projected(x[:, :, :-1], clear, shifts, card.scale, blur=blur)
        return {"ibp": fused, "bicubic mean": fusion.mean(x[:, :, :-1], clear, shifts, card.scale)}
    share = clear + 1e-6
    up = _enlarged(torch.cat([x[:, :, :-1] * share, share], 2).flatten(0, 1), card.scale)
    up = up.view(count, frames, *up.shape[1:])
    mean = up[:, :, :-1].sum(1) / up[:, :, -1:].sum(1).clamp(min=1e-6)
    return {"bicubic of frame 1": _enlarged(x[:, 0, :-1], card.scale), "bicubic mean": mean}


def _enlarged(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)


def _figures(sums: _Sums, ranks: Ranks, device: str, shown: NDArray[np.uint8] | None) -> Check:
    count = ranks.total(sums.count.to(device)).cpu()
    if not count.any():
        raise SceneError("no held-out window can be read. Look at the images named above.")
    rmse, psnr = {}, {}
    for name, squared in sums.squared.items():
        total = ranks.total(squared.to(device)).cpu()
        bands = count.sum(0)
        rmse[name] = float((total.sum(0) / bands.clamp(min=1)).sqrt()[bands > 0].mean())
        seen = count.sum(1) > 0
        mse = total.sum(1)[seen] / count.sum(1)[seen] / 10000**2
        psnr[name] = float((-10 * torch.log10(mse.clamp(min=1e-20))).mean())
    if not all(map(math.isfinite, (rmse["model"], psnr["model"]))):
        rmse["model"], psnr["model"] = math.inf, -math.inf
    return Check(rmse, psnr, shown)


def _row(card: ModelCard, batch: Batch, estimate: Tensor) -> NDArray[np.uint8]:
    """LR | SR | HR of one window; LR as pixels, of several frames the first."""
    low = batch.inputs[card.native_gsd][0]
    if card.task == "misr":
        low = low[0, :-1]
    truth, mask = batch.target[0].cpu().numpy(), batch.mask[0].cpu().numpy()
    made = estimate[0].float().cpu().numpy()
    if card.task == "spectral":  # its last bands are furthest from those that come in
        truth, made, mask = (x[[-1, -4, 4]] for x in (truth, made, mask))
    if card.task == "change":
        return change.picture_of(low.cpu().numpy(), made, truth)
    finer = made.shape[-1] // truth.shape[-1]  # than a truth that is one of the frames
    truth, mask = picture.enlarge(truth, finer), picture.enlarge(mask, finer)
    ends = picture.limits(truth, mask)
    given = low.cpu().numpy()
    if PLACES in batch.inputs:
        given = continuous.under(given, batch.inputs[PLACES][0].cpu().numpy())
    else:
        given = picture.enlarge(given, card.scale)
    return picture.strip([picture.visible(part, *ends) for part in (given, made, truth)])
