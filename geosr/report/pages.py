"""What a report shows, from scored scenes or from an output raster and its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.errors import SceneError
from geosr.evaluation.evaluate import Evaluation, SceneScore
from geosr.evaluation.protocols import whole
from geosr.models.card import ESTIMATES
from geosr.models.weights import load
from geosr.raster import picture
from geosr.raster.files import open_raster, read_window
from geosr.raster.window import Window
from geosr.report import Crop, ScenePage
from geosr.report.snapshots import Crops, crop_windows, share_of
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, open_scene

Image = NDArray[np.float32]


def page_path(output: Path) -> Path:
    """Where the page of an output raster lies."""
    return output.with_suffix(".html")


def of_scores(found: Evaluation, crops: Crops) -> list[ScenePage]:
    """A page a scene and group, with the crops that were gathered while it was scored."""
    pages = []
    for (scene, group), by_model in crops.parts.items():
        key = (scene, group)
        scores = [s for s in found.scores if (s.scene, s.group) == key]
        if not scores:
            continue
        scene_input = crops.inputs[key]
        models = sorted(by_model, key=lambda name: name != "bicubic")  # bicubic first
        first = by_model[models[0]]
        shown = [
            Crop(
                _title(part.window),
                {
                    "LR": scene_input.low[i],
                    **{name: by_model[name][i].estimate for name in models},
                    "truth": part.truth,
                },
                np.asarray(part.mask.all(0)),
                scene_input.bands,
                scene_input.scale,
            )
            for i, part in enumerate(first)
        ]
        facts = {"path": scores[0].path, "level": scores[0].level or "unknown", "group": group}
        title = f"{scene}, {group} m bands" if group.isdigit() else f"{scene}, {group}"
        pages.append(ScenePage(
            title, scene_input.overview, scene_input.shares, shown,
            {score.model: score.whole for score in scores}, facts,
            [*_estimates(scores), *([found.failed[scene]] if scene in found.failed else [])],
        ))  # fmt: skip
    return pages


def _estimates(scores: Sequence[SceneScore]) -> list[str]:
    """A line for every net whose output is no measurement."""
    return [f"{score.model}: {ESTIMATES}" for score in scores if score.adversarial]


def table(found: Evaluation) -> dict[str, dict[str, dict[str, float | None]]]:
    """Means over scenes by group, model and metric."""
    metrics = list(dict.fromkeys(key for score in found.scores for key in score.whole))
    return {
        group: {
            model: {key: found.mean(model, group, key) for key in metrics} for model in found.models
        }
        for group in found.groups
    }


def of_output(output: Path, record: Mapping[str, Any]) -> ScenePage:
    """The page of one output raster: its super-resolved bands beside the input, no truth.

    Args:
        record: what the output was made of, as `geosr.batch.records` keeps it.

    Raises:
        SceneError: its source is gone or has changed its shape.
    """
    recipe = record["recipe"]
    scene = open_scene(record["source"]["path"], _options(record))
    with open_raster(output) as dataset:
        names = [str(name) for name in dataset.descriptions]
        said = dataset.tags().get("GEOSR_NOTE")
        gsd = _gsd_to_show(scene, names)
        bands = tuple(n for n in names if scene.gsd(n) == gsd)
        factor, rest = divmod(dataset.height * gsd, scene.grid.height * scene.finest)
        if rest:
            raise SceneError(f"{output}: only scales of whole numbers can be shown. Run eval.")
        if recipe["bounds"] is not None or factor < 2:
            raise SceneError(f"{output}: only whole scenes made finer can be shown. Run eval.")
        with scene.open() as reader:
            low = whole(reader, scene, bands)
        windows = crop_windows(low, factor)
        crops = [_crop(dataset, scene, names, bands, low, w) for w in windows]
    check = record.get("check") or {}
    facts = {
        "output": str(output),
        "source": record["source"]["path"],
        "models": ", ".join(
            f"{name} ({sha[:12] or 'no weights'})" for name, sha in recipe["models"]
        ),
        "geosr": record["geosr"],
        "clipped, filled, shifted": f"{record['clipped']}, {record['filled']}, {record['shifted']}",
    }
    metrics = {"self-check": check.get("rmse", {})} if check else {}
    return ScenePage(
        record["scene"], low, [share_of(w, low, factor) for w in windows], crops, metrics, facts,
        [*([said] if said else []), *(str(note) for note in scene.notes if note.warning)],
    )  # fmt: skip


def _gsd_to_show(scene: Scene, names: Sequence[str]) -> int:
    """Of the coarse GSDs the one with the most bands; where all bands are alike, theirs."""
    gsds = [scene.gsd(name) for name in names]
    coarse = [gsd for gsd in gsds if gsd > scene.finest] or gsds
    return max(sorted(set(coarse)), key=coarse.count)


def _options(record: Mapping[str, Any]) -> OpenOptions:
    recipe = record["recipe"]
    bands = tuple(recipe["bands_in"]) if recipe["bands_in"] else None
    return OpenOptions(recipe["dn_offset"], bands, recipe["quantification"],
                       kind=record["source"]["kind"], align=recipe.get("align", False),
                       guide=recipe.get("guide"),
                       register=recipe["frames"]["register"] != "none",
                       window=recipe.get("window", 0))  # fmt: skip


def _crop(
    dataset: Any, scene: Scene, names: Sequence[str], bands: tuple[str, ...], low: Image,
    window: Window,
) -> Crop:  # fmt: skip
    factor = dataset.height // low.shape[1]
    indexes = [names.index(name) + 1 for name in bands]
    values = read_window(dataset, indexes, window).astype(np.float32)
    (bicubic,) = load("bicubic", scale=factor)
    coarse = low[:, *Window(*(n // factor for n in window)).within(Window(0, 0, 0, 0))]
    import torch

    with torch.inference_mode():
        key = bicubic.card.inputs[0].gsd
        up = bicubic({key: torch.from_numpy(np.ascontiguousarray(coarse))[None]})[0].numpy()
    images = {
        "LR": picture.enlarge(coarse, factor),
        "bicubic": up,
        "geosr": reflectance(scene, bands, values),
    }
    return Crop(_title(window), images, None, bands, factor)


def _title(window: Window) -> str:
    bottom, right = window.row + window.height, window.col + window.width
    return f"rows {window.row}–{bottom}, columns {window.col}–{right}"
