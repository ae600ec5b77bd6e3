"""Small reports for tests."""

from __future__ import annotations

import numpy as np

from geosr import report
from geosr.raster.picture import enlarge
from geosr.report import Crop, ScenePage

NAMES = ("B5", "B6", "B7", "B8A", "B11", "B12")


def field(seed: int, bands: int, side: int, *, rough: float = 40) -> np.ndarray:
    """Something like ground: random at many scales, and noise that PNG cannot shrink."""
    rng = np.random.default_rng(seed)
    image = np.full((bands, side, side), 1500.0)
    for k in (2, 4, 8, 16):
        coarse = rng.normal(0, 60 * np.sqrt(k), (bands, -(-side // k), -(-side // k)))
        image += enlarge(coarse, k)[:, :side, :side]
    return (image + rng.normal(0, rough, image.shape)).astype(np.float32)


def crop(
    seed: int = 0, *, bands: int = 6, side: int = 64, truth: bool = True, model: str = "dsen2",
    title: str = "crop 1: rows 0–64, cols 0–64", mask: np.ndarray | None = None,
) -> Crop:  # fmt: skip
    high = field(seed, bands, side)
    low = high.reshape(bands, side // 2, 2, side // 2, 2).mean((2, 4))
    up = enlarge(low, 2)
    images = {"LR": up, "bicubic": (up + np.roll(up, 1, 1)) / 2, model: (up + 3 * high) / 4}
    return Crop(title, images | ({"truth": high} if truth else {}), mask, NAMES[:bands], 2)


def page(name: str = "scene", *crops: Crop, **changes: object) -> ScenePage:
    low = field(9, len(crops[0].bands) if crops else 3, 80)
    found = {
        "name": name,
        "overview": low,
        "marks": [(0.1, 0.2, 0.3, 0.4)] * len(crops),
        "crops": crops,
        "metrics": {"bicubic": {"rmse": 184.5, "ssim": None}, "dsen2": {"rmse": 68.68}},
        "facts": {"path": "/data/scene", "level": "L2A"},
    }
    return ScenePage(**(found | changes))


def render(*pages: ScenePage, title: str = "report", **changes: object) -> str:
    found = {
        "facts": {"geosr": "0.1.0"},
        "definitions": {"rmse": "sqrt(mean((y − x)²))", "sam": "an angle"},
        "table": {"20": pages[0].metrics} if pages else {},
    }
    return report.render(title, pages, **(found | changes))
