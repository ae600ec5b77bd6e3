"""opensr-test: a benchmark of Sentinel-2 beside finer images of its values (Aybar et al. 2024).

`100/naip/{L1C,L2A,hr,hr_harmonized}` with GeoTIFFs, likewise `spot`, `spain_crops`, `spain_urban`
(2.5 m) and `venus` (5 m); files of one place have its `ROI_00001` in their names. The coarse images
have all bands of Sentinel-2, the fine ones red, green, blue and near infrared. The `.pkl` beside
them are pickles, which can run code, and are not read:
https://huggingface.co/datasets/isp-uv-es/opensr-test
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from geosr.errors import UsageError
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.sensors.bandfile import quantified
from geosr.training.datasets.layouts.layout import Layout, Pair, require_whole, rgbn, wanted

log = logging.getLogger(__name__)
NAME = "opensr-test"
_COARSE, _FINE = ("L2A", "L1C"), ("hr_harmonized", "HRharm")
_PLACE = re.compile(r"ROI_\d+")
_SCALES = {"venus": 2}  # of the others 4


def is_in(data: Path) -> bool:
    """It, or a folder in it, has harmonised fine images beside a level of Sentinel-2."""
    return bool(_subsets(data))


def _subsets(data: Path) -> list[Path]:
    inside = data / "100" if (data / "100").is_dir() else data
    children = (inside, *sorted(p for p in inside.iterdir() if p.is_dir()))
    return [p for p in children if _side(p, _FINE)]


def _side(subset: Path, names: Sequence[str]) -> Path | None:
    return next((subset / name for name in names if (subset / name).is_dir()), None)


def pairs(data: Path, part: str, scale: int, pattern: str | None) -> Sequence[Pair]:
    """Files of one place, in the subsets of a scale; the data set has no parts."""
    subsets = _subsets(data)
    fitting = [p for p in subsets if _SCALES.get(p.name, 4) == scale]
    if not fitting:
        found = ", ".join(f"{p.name} × {_SCALES.get(p.name, 4)}" for p in subsets)
        raise UsageError(f"{data} holds {NAME} with {found}, nothing × {scale}. Change --scale.")
    return [pair for subset in fitting for pair in _pairs(data, subset, pattern)]


def _pairs(data: Path, subset: Path, pattern: str | None) -> list[Pair]:
    coarse, fine = _side(subset, _COARSE), _side(subset, _FINE)
    require_whole(NAME, data, [] if coarse else [f"{subset.name}/L2A/"])
    assert coarse and fine
    if coarse.name != _COARSE[0]:
        log.warning("%s/ has no %s/: its %s/, the top of the atmosphere, is taken instead.",
                    subset.name, _COARSE[0], coarse.name)  # fmt: skip
    low, high = (_by_place(folder, subset, pattern) for folder in (coarse, fine))
    missing = [f"{subset.name}/{coarse.name}/*{place}*" for place in high if place not in low]
    missing += [f"{subset.name}/{fine.name}/*{place}*" for place in low if place not in high]
    require_whole(NAME, data, missing)
    return [Pair(f"{subset.name}-{place}", high[place], (low[place],)) for place in high]


def _by_place(folder: Path, subset: Path, pattern: str | None) -> dict[str, Path]:
    named = ((match[0], path) for path in find_scenes(folder, kind="image")
             if (match := _PLACE.search(path.stem)))  # fmt: skip
    return {place: path for place, path in named if wanted(f"{subset.name}-{place}", pattern)}


def opened(pair: Pair, scale: int, options: OpenOptions) -> tuple[Scene, tuple[Scene, ...]]:
    """Red, green, blue and near infrared of both."""
    return _opened(pair.fine, options), tuple(_opened(path, options) for path in pair.coarse)


def _opened(path: Path, options: OpenOptions) -> Scene:
    scene = open_scene(path, options)
    if scene.dtype.kind == "f":  # counts or reflectance, by their size
        scene = quantified(replace(scene, quantification=10000.0), options)
    return rgbn(scene)


LAYOUT = Layout(NAME, "MIT; spot (SPOT imagery) and venus (Venµs) come from non-commercial sets",
                is_in, pairs, opened, scale=4)  # fmt: skip
