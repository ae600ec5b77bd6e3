"""The card of a model: all that a reader, a tiler and a blender must know about a net."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from geosr.errors import WeightsError


@dataclass(frozen=True)
class Input:
    """Bands of one GSD that a net reads (or writes), bound by name and order."""

    gsd: int
    bands: tuple[str, ...]
    frames: int = 1


@dataclass(frozen=True)
class ModelCard:
    """What a net reads, what it gives, and where its weights come from.

    Attributes:
        arch: key of the architecture that builds the net.
        inputs: one per GSD, finest first.
        output: the super-resolved bands and their new GSD.
        scale: how many times finer the output is than those bands' own grid.
        margin: receptive radius in pixels of the output grid: how far the outputs of one whole
            coarse pixel see beyond it, measured by gradient support on the native inputs,
            upsampling included; tiles read it around their core.
        options: keyword arguments of the architecture.
        file: weights file, or "" for nets without any.
    """

    name: str
    arch: str
    sensor: str
    inputs: tuple[Input, ...]
    output: Input
    scale: int
    margin: int
    options: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""
    license: str = "Apache-2.0"
    source: str = ""

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that come out super-resolved."""
        return self.output.bands

    @property
    def native_gsd(self) -> int:
        """GSD on which those bands were sensed."""
        return self.output.gsd * self.scale

    def to_json(self) -> str:
        """The card as one JSON object, as a checkpoint carries it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card that `to_json` wrote.

        Raises:
            WeightsError: the text is no card.
        """
        try:
            data = json.loads(text)
            data["inputs"] = tuple(_input(item) for item in data["inputs"])
            data["output"] = _input(data["output"])
            return cls(**data)
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"not a model card ({error}). Train or convert the file again."
            ) from error


def _input(data: Mapping[str, Any]) -> Input:
    return Input(int(data["gsd"]), tuple(data["bands"]), int(data["frames"]))


@dataclass
class Model:
    """A card and its net. Calling it maps {gsd: counts} to the output bands' counts.

    Inputs are float32 tensors (batch, bands, rows, cols) of reflectance × 10000, one per GSD;
    normalisation and upsampling happen inside the net.
    """

    card: ModelCard
    net: nn.Module

    def __call__(self, inputs: Mapping[int, Tensor]) -> Tensor:
        return self.net(inputs)

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.net.parameters())
