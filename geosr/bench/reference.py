"""The reference way to super-resolve, as DSen2 was published: fp32, small tiles, one at a time.

Whole arrays in memory are cut into tiles with a fixed border, and put together in whole arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from geosr.bench.meter import Meter
from geosr.inference.plan import Plan
from geosr.models.card import Model, ModelCard
from geosr.raster.files import open_raster
from geosr.raster.grid import Grid
from geosr.raster.publish import not_written
from geosr.raster.window import Window
from geosr.scene.band import Band
from geosr.scene.radiometry import NET_QUANTIFICATION, reflectance
from geosr.scene.scene import Scene


@dataclass(frozen=True)
class ReferenceTiles:
    """The published tiles in pixels of the coarsest input: 128 px of 10 m, 8 around their core.

    For 60 m bands 192 px of 10 m with 12; of nets for any raster 128 px of the image with 8.

    Attributes:
        size: side of a tile, border included.
        border: what is cut off its prediction on every side.
    """

    size: int
    border: int

    @classmethod
    def of(cls, card: ModelCard) -> ReferenceTiles:
        """The tiles for a net."""
        if card.task != "guided":
            return cls(128, 8)
        return cls(32, 2) if card.native_gsd == 60 else cls(64, 4)

    @property
    def step(self) -> int:
        """Side of a core."""
        return self.size - 2 * self.border

    def starts(self, extent: int) -> list[int]:
        """Where cores start along an axis; the last ends at the edge."""
        last = max(extent - self.step, 0)
        return [*range(0, last, self.step), last]

    def sure(self, extent: int, card: ModelCard) -> NDArray[np.bool_]:
        """Which output pixels along an axis see no further than their tile's border."""
        lack = max(card.margin - self.border * card.scale, 0)
        result = np.zeros(extent * card.scale, bool)
        for start in self.starts(extent):
            first, last = start * card.scale, min(start + self.step, extent) * card.scale
            result[first:last] = False
            result[first + lack : max(last - lack, first)] = True
        return result


def plain_copy(model: Model, device: str) -> Model:
    """A copy of a net in PyTorch's own memory layout."""
    net = copy.deepcopy(model.net)
    net.to(device, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Model(model.card, net)


def reference_superres(
    plan: Plan, path: Path, nets: Mapping[str, Model], device: str, meter: Meter | None = None
) -> None:
    """Super-resolve a scene the reference way, and write the bands of the plan.

    Args:
        nets: by name, on `device`.
        meter: gets the time of every stage.

    Raises:
        StoppedError: `path` cannot be written.
    """
    meter, scene = meter or Meter(), plan.scene
    with meter.stage("read"):
        counts = _whole(plan)
    with meter.stage("prepare"):
        values = {
            name: reflectance(scene, [name], array[None].astype(np.float32))[0]
            for name, array in counts.items()
        }
    predicted: dict[str, NDArray[np.float32]] = {}
    for net in plan.nets:
        with meter.stage("prepare"):
            inputs = {key: np.stack([values[n] for n in names]) for key, _, names in net.inputs}
        finished = reference_predict(nets[net.model.card.name], inputs, device, meter)
        predicted |= dict(zip(net.bands, finished, strict=True))
    with meter.stage("write"):
        bands = scene.select(names=plan.names)
        rows = [
            _counts(predicted[band.name], scene, band)
            if band.name in predicted
            else counts[band.name]
            for band in bands
        ]
        write_whole(path, np.stack(rows), plan.grid, plan.names)


@torch.inference_mode()
def reference_predict(
    model: Model,
    inputs: Mapping[int, NDArray[np.float32]],
    device: str = "cpu",
    meter: Meter | None = None,
) -> NDArray[np.float32]:
    """A net on whole arrays, {gsd: (bands, rows, cols)}, tile after tile.

    Returns:
        (bands, rows, cols) of the output grid. Beyond the edges inputs are symmetric, as far as
        the border.
    """
    meter, card, tiles = meter or Meter(), model.card, ReferenceTiles.of(model.card)
    coarse, k, border = card.native_gsd, card.scale, tiles.border
    rows, cols = inputs[coarse].shape[1:]
    with meter.stage("prepare"):
        padded = {gsd: _padded(array, border * coarse // gsd) for gsd, array in inputs.items()}
    output = np.empty((len(card.bands), rows * k, cols * k), np.float32)
    for row, col in product(tiles.starts(rows), tiles.starts(cols)):
        with meter.stage("prepare"):
            tile = _tile(padded, Window(row, col, tiles.size, tiles.size), coarse)
        meter.count(model, tile)
        with meter.stage("net"):
            batch = {gsd: torch.from_numpy(x[None]).to(device) for gsd, x in tile.items()}
            part = model(batch)[0].cpu().numpy()
        with meter.stage("blend"):
            core = part[:, border * k : -border * k, border * k : -border * k]
            output[:, row * k :, col * k :][:, : core.shape[1], : core.shape[2]] = core
    return output


def _tile(
    padded: Mapping[int, NDArray[np.float32]], window: Window, coarse: int
) -> dict[int, NDArray[np.float32]]:
    at = {gsd: window.at(coarse // gsd) for gsd in padded}
    return {
        gsd: array[:, at[gsd].row :, at[gsd].col :][:, : at[gsd].height, : at[gsd].width].copy()
        for gsd, array in padded.items()
    }


def _padded(array: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    return np.pad(array, ((0, 0), (n, n), (n, n)), mode="symmetric")


def _whole(plan: Plan) -> dict[str, NDArray[Any]]:
    """All pixels of the plan's bands, by name, as the files have them."""
    names = [name for names in plan.reads.values() for name in names]
    files: dict[tuple[str, str | None], list[Band]] = {}
    for band in plan.scene.select(names=names):
        files.setdefault((band.path, band.driver), []).append(band)
    arrays: dict[str, NDArray[Any]] = {}
    for (path, driver), bands in files.items():
        with open_raster(path, driver=driver, vrt=plan.scene.vrt) as dataset:
            values = dataset.read([band.index for band in bands])
        arrays |= zip((band.name for band in bands), values, strict=True)
    return arrays


def _counts(values: NDArray[np.float32], scene: Scene, band: Band) -> NDArray[Any]:
    counts = values * np.float32(scene.quantification / NET_QUANTIFICATION) - np.float32(
        band.offset
    )
    if scene.dtype.kind == "f":
        return counts.astype(scene.dtype)
    info = np.iinfo(scene.dtype)
    return np.clip(np.rint(counts), info.min, info.max).astype(scene.dtype)


def write_whole(path: Path, rows: NDArray[Any], grid: Grid, names: Sequence[str]) -> None:
    """Write (bands, rows, cols) at once, as rasterio does by itself.

    Raises:
        StoppedError: `path` cannot be written.
    """
    try:
        with rasterio.open(
            path, "w", driver="GTiff", width=grid.width, height=grid.height, count=len(rows),
            dtype=rows.dtype, crs=grid.crs, transform=grid.transform, bigtiff="if_safer",
        ) as file:  # fmt: skip
            file.write(rows)
            file.descriptions = tuple(names)
    except (RasterioError, OSError) as error:
        raise not_written(path, error) from error
