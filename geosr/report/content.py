"""What a report shows: scenes, and crops of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = Mapping[str, Mapping[str, float | None]]  # model to metric to value
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Crop:
    """One place of a scene, all images on the output grid and of one size.

    Attributes:
        images: "LR" (every pixel repeated), "bicubic", models, and "truth" where there is one, in
            this order; (bands, rows, cols) in counts of 10000 to 1.0. NaN counts as masked.
        mask: (rows, cols), True is valid; None is all valid.
        bands: names; three are shown as `figures.composite` chooses, or the first as grey.
        factor: output pixels along an input pixel.
    """

    title: str
    images: Mapping[str, Image]
    mask: Mask | None
    bands: tuple[str, ...]
    factor: int

    @property
    def valid(self) -> Mask:
        """(rows, cols): neither masked nor NaN in any image."""
        finite = [np.isfinite(image).all(0) for image in self.images.values()]
        found = np.logical_and.reduce(finite)
        return np.asarray(found if self.mask is None else found & self.mask)

    @property
    def estimates(self) -> list[str]:
        """Bicubic and the models."""
        return [name for name in self.images if name not in ("LR", "truth")]

    @property
    def model(self) -> str:
        """The image that the page is about."""
        models = [name for name in self.estimates if name != "bicubic"]
        return [*models[:1], *self.estimates, *self.images][0]


@dataclass(frozen=True)
class ScenePage:
    """What is shown of a scene.

    Attributes:
        overview: (bands, rows, cols) of the LR; shrunk to at most 512 pixels a side.
        marks: of each crop (top, left, height, width) as shares of the overview.
        metrics: model to metric to value; None where it is not defined.
        facts: path, level, group and the like.
    """

    name: str
    overview: Image
    marks: Sequence[tuple[float, float, float, float]]
    crops: Sequence[Crop]
    metrics: Values
    facts: Mapping[str, str]
    warnings: Sequence[str] = ()
