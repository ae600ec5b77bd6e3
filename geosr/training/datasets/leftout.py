"""Learning without a truth: of a series one frame is left out, and the others must tell it.

What a net makes of the others is seen by the sensor's point spread at the place where the frame
that was left out looks, by parts of a pixel, and must give that frame (Nguyen et al., CVPR 2022;
its net is `geosr.models.nets.multi.hdrdsp`). Frames are chosen, registered and brightened as for
inference; pixels under clouds have no say.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geosr.errors import GeosrError, SceneError, UsageError
from geosr.models.card import ANY, LEFT_OUT, SHIFTS, ModelCard
from geosr.models.nets.multi.fusion import BLUR, Sampling, gaussian_mean
from geosr.raster.window import Window
from geosr.scene.frames import FrameOptions
from geosr.scene.scene import Scene
from geosr.sensors import OpenOptions, find_scenes, open_scene
from geosr.training.datasets.batches import Batch, Sample
from geosr.training.datasets.revisits import frames_of
from geosr.training.datasets.windows import Area, Spot, Windows, check_bands, tell_left_out

KIND = "self-supervised"
LEAST = 3  # frames of a series: one is left out, two tell it
_BASE, _TAPS = 1.0, 5  # Gaussian of what is base, not detail: σ, and its reach, coarse pixels
_EDGE = 3  # coarse pixels along a window's edge that are not compared
_KEPT = 64  # series held in memory
_NAMED = 3  # series without enough frames that an error names


def chosen_kind(kind: str | None) -> str:
    """The kind of data of --self-supervised, where nobody said another one.

    Raises:
        UsageError: somebody did.
    """
    if kind not in (None, KIND):
        raise UsageError(f"--self-supervised reads series, not '{kind}'. Leave --data-kind out.")
    return KIND


@dataclass(frozen=True)
class _Held:
    """A series as nets get it: (frames, bands + 1, rows, cols), mask last, and (frames, 2)."""

    stack: NDArray[np.float32]
    shifts: NDArray[np.float32]


class LeftOutWindows(Windows[Scene]):
    """Windows of series, on a grid `scale` times finer than theirs; the target is one frame.

    A window's grid is moved by up to half a fine pixel, so that samples fall at every phase.
    """

    kind = KIND

    def __init__(
        self, areas: Sequence[Area[Scene]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self._held: OrderedDict[str, _Held] = OrderedDict()

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """One frame drawn as the target, some of the others as the input.

        Raises:
            SceneError: fewer than three frames of the series are clear enough.
        """
        scene, scale = self.areas[spot.area].item, self.card.scale
        held = self._of(scene)
        low = Window(*(n // scale for n in spot.window))
        rows, cols = (slice(at, at + n) for at, n in zip(low[:2], low[2:], strict=True))
        stack = held.stack[:, :, rows, cols]
        if self.card.bands == (ANY,):
            stack = stack[:, [spot.band, -1]]
        out, others = self._drawn(len(stack), rng)
        frames = np.zeros((self.card.frames, *stack.shape[1:]), np.float32)
        frames[: len(others)] = stack[others]
        frames[len(others) :, :-1] = stack[others[0], :-1]  # missing, nowhere clear
        moved = held.shifts + rng.uniform(-0.5, 0.5, 2).astype(np.float32) / scale
        shifts = np.zeros((self.card.frames, 2), np.float32)
        shifts[: len(others)] = moved[others]
        inputs = {self.card.inputs[0].gsd: frames, SHIFTS: shifts, LEFT_OUT: moved[[out]]}
        clear = np.zeros(stack.shape[-2:], bool)
        inner = (slice(_EDGE, -_EDGE),) * 2
        clear[inner] = stack[out, -1][inner] > 0
        target = stack[out, :-1]
        return Sample(inputs, target, np.repeat(clear[None], len(target), 0))

    def compared(self, image: Tensor, batch: Batch) -> Tensor:
        """The image's detail as the frame that was left out sees it, on that frame's base.

        It sees through the point spread that the net takes frames to have. Exposure and most that
        changed on the ground or in the air are in the base, as published.
        """
        size = (batch.target.shape[-2], batch.target.shape[-1])
        blur = self.card.options.get("blur", BLUR)
        sampler = Sampling(size, self.card.scale, batch.inputs[LEFT_OUT], blur)
        seen, target = sampler.see(image.float()), batch.target[:, None]
        return (seen + gaussian_mean(target - seen, _BASE, _TAPS))[:, 0]

    def _drawn(self, count: int, rng: np.random.Generator) -> tuple[int, list[int]]:
        """Which frame is left out, and which others are taken: two at least."""
        order = [int(i) for i in rng.permutation(count)]
        most = min(count - 1, self.card.frames)
        return order[0], order[1 : 1 + int(rng.integers(LEAST - 1, most + 1))]

    def _of(self, scene: Scene) -> _Held:
        """A series' pixels; the least used is forgotten where there are too many."""
        if scene.path not in self._held:
            if len(self._held) >= _KEPT:
                self._held.popitem(last=False)
            self._held[scene.path] = _read(scene, self.card)
        self._held.move_to_end(scene.path)
        return self._held[scene.path]

    def __getstate__(self) -> dict[str, Any]:
        """Pixels do not travel to another process."""
        return {**super().__getstate__(), "_held": OrderedDict()}


def _read(scene: Scene, card: ModelCard) -> _Held:
    stack, shifts = frames_of(scene, card, scene.frames, FrameOptions(count=scene.frames))
    clear = stack[:, -1].any((1, 2))
    if clear.sum() < LEAST:
        raise SceneError(
            f"{scene.path}: {clear.sum()} of its {scene.frames} frames are clear enough, one is "
            f"left out and {LEAST - 1} must tell it. Give more frames of the place."
        )
    return _Held(stack[clear], shifts[clear])


def areas(
    data: Any, card: ModelCard, options: OpenOptions, pattern: str | None = None
) -> list[Area[Scene]]:
    """Every series of a folder with three frames or more.

    Raises:
        UsageError: there is none, or the net is not told where frames look.
    """
    if card.task != "misr" or not (card.shifts and card.fewer):
        raise UsageError(
            f"--self-supervised: '{card.name}' is not told where each of any number of frames "
            "looks, so it cannot tell one from the others. Choose map-net, ibp-net or hdr-dsp."
        )
    found, reasons = list[Area[Scene]](), list[str]()
    for path in find_scenes(data, pattern=pattern, kind="series"):
        try:
            scene = open_scene(path, replace(options, kind="series"))
            bands = check_bands(card, scene.name, len(scene.select()))
        except GeosrError as error:
            reasons.append(str(error))
            continue
        if scene.frames < LEAST:
            reasons.append(f"{scene.path} has {scene.frames} frames")
            continue
        window = Window(0, 0, *(card.scale * n for n in scene.grid.shape))
        found.append(Area(scene, window, bands))
    if not found:
        why = f" {'; '.join(each.rstrip('.') for each in reasons[:_NAMED])}." if reasons else ""
        raise UsageError(
            f"{data}: no series of {LEAST} or more rasters of one place to learn from.{why} "
            "Give a folder of rasters of one place, or a folder of such folders."
        )
    tell_left_out(reasons, len(found))
    return found
