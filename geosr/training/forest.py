"""Random forests: grown on pixels of training windows, by scikit-learn, and kept as arrays.

There are no gradients and no steps: `train` hands over to `grow`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import UsageError
from geosr.models.card import ModelCard
from geosr.models.nets.single.rfsr import RandomForest
from geosr.training.datasets import Sets, Windows
from geosr.training.solved import Solved

_SHARE = 0.1  # of the pixels of an image, as published
_MOST = 300_000  # pixels; a tree of as many takes some seconds
_LEAST = 200  # pixels that a node needs to be split, as published
_CHECKED = 20_000  # pixels that the loss is told of while trees are added

Array = NDArray[np.float32]


def grow(
    sets: Sets, card: ModelCard, *, seed: int, threads: int = 1,
    progress: Callable[[int, float], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Solved:  # fmt: skip
    """A forest for a card, from windows of the training set.

    Args:
        progress: called with the number of trees and the mean error in units of 1.0.
        stop: asked after every tree; True ends the growth with those that there are.

    Raises:
        SceneError: no image can be read.
        UsageError: scikit-learn is not there, or the images have too few pixels.
    """
    net = RandomForest(card.scale, **{**card.options, "nodes": 1})
    x, y = samples(sets.training, net, seed=seed)
    forest = _regressor()(
        n_estimators=1, max_depth=net.depth, min_samples_split=_LEAST, max_features=None,
        warm_start=True, n_jobs=threads, random_state=seed,
    )  # fmt: skip
    few, total = slice(0, _CHECKED), np.zeros(min(len(x), _CHECKED))
    for count in range(1, card.options["trees"] + 1):
        forest.n_estimators = count
        forest.fit(x, y)
        total += forest.estimators_[-1].predict(x[few])
        progress(count, float(np.abs(total / count - y[few]).mean()))
        if stop():
            break
    tensors = arrays([each.tree_ for each in forest.estimators_])
    trees, nodes = tensors["value"].shape
    changed = replace(card, options={**card.options, "trees": trees, "nodes": nodes})
    return Solved(changed, tensors, len(x), trees, dict(sets.training.broken))


def samples(windows: Windows[Any], net: RandomForest, *, seed: int) -> tuple[Array, Array]:
    """Features (pixels, features) and what is lacking (pixels,) of pixels drawn at random.

    A tenth of as many pixels as lie in the images, `_MOST` of them at most, as many from every
    window.

    Raises:
        UsageError: fewer than a node needs.
    """
    count = max(len(windows), 1)
    each = int(min(_SHARE * windows.patch**2, max(_MOST / count, 16)))
    rng, found = np.random.default_rng(seed), []
    for i in range(min(count, _MOST // max(each, 1))):
        sample = windows.sample(0, i)
        with torch.inference_mode():
            low = torch.from_numpy(sample.inputs[net.scale])[None] / 10000
            enlarged = torch.nn.functional.interpolate(
                low, scale_factor=net.scale, mode="bicubic", align_corners=False
            )
            around = net.around(enlarged)[0].movedim(1, -1).numpy()
        lacking = sample.target / np.float32(10000) - enlarged[0].numpy()
        usable = np.flatnonzero(sample.mask.ravel())
        at = rng.choice(usable, min(each, len(usable)), replace=False)
        found.append((around.reshape(-1, net.features)[at], lacking.ravel()[at]))
    x, y = (np.concatenate([part[i] for part in found]) for i in (0, 1))
    if len(x) < _LEAST:
        raise UsageError(
            f"{len(x)} pixels to grow a forest on, {_LEAST} are needed. Give more or larger images."
        )
    return x, y


def arrays(trees: list[Any]) -> dict[str, Tensor]:
    """scikit-learn's trees as the arrays of `RandomForest`.

    A pixel goes left where its float32 feature is at most the threshold, a float64 there; the next
    float32 below decides alike.
    """
    nodes = max(tree.node_count for tree in trees)
    shape = (len(trees), nodes)
    child, feature = np.zeros((*shape, 2), np.int32), np.zeros(shape, np.int32)
    threshold, value = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i, tree in enumerate(trees):
        n, leaf = tree.node_count, tree.children_left < 0
        own = np.arange(n)
        child[i, :n, 0] = np.where(leaf, own, tree.children_left)
        child[i, :n, 1] = np.where(leaf, own, tree.children_right)
        feature[i, :n] = np.where(leaf, 0, tree.feature)
        threshold[i, :n] = _below(np.where(leaf, 0, tree.threshold))
        value[i, :n] = tree.value[:, 0, 0]
    named = {"child": child, "feature": feature, "threshold": threshold, "value": value}
    return {name: torch.from_numpy(array) for name, array in named.items()}


def _below(values: NDArray[np.float64]) -> Array:
    """The largest float32 numbers that are not above."""
    near = values.astype(np.float32)
    return np.where(near > values, np.nextafter(near, np.float32(-np.inf)), near)


def _regressor() -> Any:
    """scikit-learn's random forest.

    Raises:
        UsageError: it is not installed.
    """
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError as error:
        raise UsageError(
            f"growing a random forest needs scikit-learn, which is not there ({error}). "
            "Install it: pip install 'geosr[classic]'. To run one it is not needed."
        ) from error
    return RandomForestRegressor
