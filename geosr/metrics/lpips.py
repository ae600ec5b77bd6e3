"""LPIPS: how far apart two images look to a net for photographs, its weights from a local file.

    image ─ AlexNet ─┬─ 64 ─┬─ 192 ─┬─ 384 ─┬─ 256 ─┬─ 256 channels, each after its ReLU
                     at each: unit length along channels, (x − y)², lin, mean ─ summed

Zhang et al. 2018, version 0.1 of github.com/richzhang/PerceptualSimilarity with its "alex" net.
The file is a safetensors of AlexNet's convolutions as torchvision numbers them, features.0, .3,
.6, .8 and .10 with .weight and .bias, and of lin0.weight to lin4.weight (or lin0.model.1.weight
and so on).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor
from torch.nn import functional as F

from geosr.errors import WeightsError

LEAST = 64  # pixels of an image along
_COLOURS = ("B4", "B3", "B2")
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_STRIDES, _PADDINGS, _POOLED = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1), (1, 2)  # by convolution
_SHAPES: dict[str, tuple[int, ...]] = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
}


@dataclass(frozen=True)
class Lpips:
    """The distance by the weights of one file; 0 for equal images.

    Attributes:
        convolutions: weight and bias of each.
        lins: (1, channels, 1, 1) of each.
    """

    path: Path
    sha256: str
    convolutions: tuple[tuple[Tensor, Tensor], ...]
    lins: tuple[Tensor, ...]

    @torch.inference_mode()
    def __call__(self, truth: NDArray[Any], estimate: NDArray[Any]) -> float:
        """Both (3, rows, cols) in counts of 10000, red first, at least 64 px along."""
        layers = zip(self._features(truth), self._features(estimate), self.lins, strict=True)
        return sum(float(F.conv2d((x - y) ** 2, lin).mean()) for x, y, lin in layers)

    def _features(self, image: NDArray[Any]) -> Iterator[Tensor]:
        """What each ReLU gives, of unit length along channels."""
        stretched = np.clip(np.asarray(image, np.float32) / 10000, 0, 1) * 2 - 1
        x = torch.from_numpy(stretched)[None]
        x = (x - torch.tensor(_SHIFT)[:, None, None]) / torch.tensor(_SCALE)[:, None, None]
        for i, (weight, bias) in enumerate(self.convolutions):
            if i in _POOLED:
                x = F.max_pool2d(x, 3, 2)
            x = F.conv2d(x, weight, bias, _STRIDES[i], _PADDINGS[i]).relu()
            yield x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)


def rgb_bands(names: Sequence[str]) -> tuple[int, int, int]:
    """Which bands stand for red, green and blue: B4, B3, B2, or else the first three.

    Of fewer than three the first is repeated.
    """
    if set(_COLOURS) <= set(names):
        red, green, blue = (list(names).index(name) for name in _COLOURS)
        return red, green, blue
    return 0, 1 if len(names) > 1 else 0, 2 if len(names) > 2 else 0


def load(path: Path, *, sha256: str = "") -> Lpips:
    """The distance by the weights in a file.

    Args:
        sha256: what the file must have; "" takes any.

    Raises:
        WeightsError: missing, no safetensors, another sha256, or tensors that lack or do not fit.
    """
    try:
        data = path.read_bytes()
        tensors = load_tensors(data)
    except OSError as error:
        raise WeightsError(
            f"cannot read LPIPS weights {path}: {error.strerror}. Check the path."
        ) from error
    except SafetensorError as error:
        raise WeightsError(
            f"{path}: not a whole safetensors file ({error}). Give LPIPS weights as safetensors."
        ) from error
    actual = hashlib.sha256(data).hexdigest()
    if sha256 and actual != sha256:
        raise WeightsError(
            f"{path}: sha256 is {actual[:12]}…, expected {sha256[:12]}…. Give the same LPIPS file."
        )
    found = _fitting(path, tensors)
    convolutions = tuple((found[f"{name}.weight"], found[f"{name}.bias"]) for name in _SHAPES)
    return Lpips(path, actual, convolutions, tuple(found[f"lin{i}.weight"] for i in range(5)))


def _fitting(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the net needs, by our names, in float32."""
    expected: dict[str, tuple[int, ...]] = {}
    for i, (name, shape) in enumerate(_SHAPES.items()):
        expected[f"{name}.weight"], expected[f"{name}.bias"] = shape, shape[:1]
        expected[f"lin{i}.weight"] = (1, shape[0], 1, 1)
    named = {key.replace(".model.1.", "."): value for key, value in tensors.items()}
    lacking = [name for name in expected if name not in named]
    if lacking:
        raise WeightsError(
            f"{path}: lacks {', '.join(lacking)}. Give a file that holds AlexNet's convolutions "
            "(features.0 … features.10) and LPIPS' lin0 … lin4."
        )
    for name, shape in expected.items():
        if named[name].shape != shape:
            raise WeightsError(
                f"{path}: {name} is {tuple(named[name].shape)}, not {shape}. "
                "Give the weights of LPIPS with AlexNet."
            )
    return {name: named[name].float() for name in expected}
