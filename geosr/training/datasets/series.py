"""Simulated series: several coarse images of one place, from one fine image as truth.

Each frame sees the place through a Gaussian point spread, or that of the net's card, moved by parts
of a coarse pixel, with its own gain, offset, noise and clouds; a quality mask says where the clouds
are. The truth lies on the grid of frame 0 where a net takes two frames or one, or is told their
shifts; of more frames the shifts sum to zero. Frame 0 of two is never brightened.

Of nets for video a camera pans over the place and trembles: frames lie as far off as it went, less
the whole pixels that a registration takes back. The truth is frame 0, which is never brightened;
of nets that give frames between, every other time one midway between frames 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geosr.models.card import SHIFTS, ModelCard
from geosr.scene import degrade
from geosr.scene.frames import middle_times
from geosr.scene.pointspread import CUBIC
from geosr.scene.scene import Scene
from geosr.training.datasets.batches import Sample
from geosr.training.datasets.folder import FolderWindows
from geosr.training.datasets.windows import Area, Spot

_UNIT = 10000.0


@dataclass(frozen=True)
class Sensor:
    """What is between the truth and a frame; lengths in coarse pixels, values in units of 1.0.

    Attributes:
        shift: largest shift along an axis; two frames differ by up to twice as much.
        blur: σ of the point spread; drawn for every window, up to `vary` of it more or less.
        gain, offset: deviation of a frame's gain from 1, and of its offset from 0 as a share of
            the window's mean.
        noise: largest deviation of white noise as a share of the window's mean; drawn for every
            window, from a quarter of it on.
        clouds: share of frames that have clouds; the first two are the clearest and have none.
        fewest: of nets that take fewer frames, the least that a window has; the others are unclear.
        aim: standard deviation of the error of the shifts told, as a registration errs.
        pan: of a video, the camera's largest way along an axis from a frame to the next.
        tremble: of a video, standard deviation of a frame's place around that way.
    """

    shift: float = 0.5
    blur: float = 0.375
    vary: float = 0.2
    gain: float = 0.02
    offset: float = 0.01
    noise: float = 0.02
    clouds: float = 0.25
    fewest: int = 1
    aim: float = 0.03
    pan: float = 1.5
    tremble: float = 0.2


class SeriesWindows(FolderWindows):
    """Windows of simulated series; a net for one image gets frame 0 alone."""

    kind = "series"

    def __init__(
        self, areas: Sequence[Area[Scene]], card: ModelCard, patch: int, *, seed: int = 0,
        jitter: float = 0.0, sensor: Sensor = Sensor(),
    ) -> None:  # fmt: skip
        super().__init__(areas, card, patch, seed=seed, jitter=jitter)
        self.sensor = sensor

    def cut(self, spot: Spot, rng: np.random.Generator) -> Sample:
        """A window of truth, and the frames that see it."""
        factor, sensor = self.card.scale, self.sensor
        between = self.card.between and bool(rng.random() < 0.5)
        shifts = self._shifts(rng, between=between)
        sigma = sensor.blur * factor * rng.uniform(1 - sensor.vary, 1 + sensor.vary)
        reach = np.ceil(4 * sigma + 2 * sensor.shift * factor) + factor
        pad = int(reach)
        values, usable = self._truth(spot, pad)
        noise = sensor.noise * rng.uniform(0.25, 1)
        count = self.card.frames
        if self.card.fewer:
            count = int(rng.integers(min(sensor.fewest, count), count + 1))
        frames = []
        for number, (down, across) in enumerate(shifts * factor):
            taps = (self._point_spread(sigma, shift=by) for by in (down, across))
            small = degrade.shrink(values, factor, *taps, pad=pad)
            frames.append(self._sensed(small, number, noise, rng, exact=1 + between))
            frames[-1][-1] *= number < count
        inner = (slice(None), *[slice(pad, pad + self.patch)] * 2)
        stack = np.stack(frames)
        gsd = self.card.inputs[0].gsd
        if self.card.task != "misr":
            return Sample({gsd: stack[0, :-1]}, values[inner], usable[inner])
        said, exact = shifts.astype(np.float32), 0 if between else 1
        said[exact:] += rng.normal(0, sensor.aim, said[exact:].shape)
        if self.card.between:
            said = np.column_stack([said, self._times(between=between).astype(np.float32)])
        return Sample({gsd: stack, SHIFTS: said}, values[inner], usable[inner])

    def _point_spread(self, sigma: float, *, shift: float) -> NDArray[np.float64]:
        """Taps of what a net's card says of the sensor, or of a Gaussian; fine pixels."""
        factor = self.card.scale
        if self.card.options.get("blur") == CUBIC:
            return degrade.bicubic(factor, shift=shift)
        return degrade.point_spread(factor, sigma, shift=shift)

    def _shifts(
        self, rng: np.random.Generator, *, between: bool = False
    ) -> NDArray[np.float64]:  # fmt: skip
        """(frames, 2) in coarse pixels."""
        frames = self.card.frames
        if self.card.video:
            return self._panned(rng, between=between)
        shifts = rng.uniform(-1, 1, (max(frames, 2), 2))[:frames] * self.sensor.shift
        on_first = frames <= 2 or self.card.shifts
        return np.asarray(shifts - (shifts[0] if on_first else shifts.mean(0)))

    def _times(self, *, between: bool = False) -> NDArray[np.float64]:
        """When frames were taken, in frames after the truth.

        Frame 0 first, then the one before, the one after, the second before, …; of an even number
        those after, but for one. Of a truth between two frames they come first, and so on outwards.
        """
        count = self.card.frames
        if between:
            return np.array(middle_times(count))
        times = [(t + 1) // 2 * (-1) ** t for t in range(count)]
        return np.array([*times[:-1], count // 2] if count % 2 == 0 else times, float)

    def _panned(
        self, rng: np.random.Generator, *, between: bool = False
    ) -> NDArray[np.float64]:  # fmt: skip
        """(frames, 2): where a panning camera's frames lie once whole pixels are taken back."""
        time = self._times(between=between)
        way = time[:, None] * rng.uniform(-1, 1, 2) * self.sensor.pan
        way[1:] += rng.normal(0, self.sensor.tremble, way[1:].shape)
        found = way + rng.normal(0, self.sensor.aim, way.shape)  # as a registration finds them
        if between:
            middle = way[:2].mean(0)
            way, found = way - middle, found - middle
        else:
            found[0] = 0
        return np.asarray(way - np.rint(found))

    def _sensed(
        self, values: NDArray[np.float32], number: int, noise: float, rng: np.random.Generator,
        *, exact: int = 1,
    ) -> NDArray[np.float32]:  # fmt: skip
        """(bands + 1, rows, cols): the frame, its quality mask last.

        Args:
            exact: frames of a video as bright as the truth.
        """
        sensor, frame = self.sensor, values.astype(np.float64)
        mean = abs(float(frame.mean()))
        gain, offset = rng.normal(1, sensor.gain), rng.normal(0, sensor.offset)
        if number >= exact or (self.card.frames > 2 and not self.card.video):
            frame = frame * gain + offset * mean
        frame += rng.normal(0, noise, frame.shape) * mean
        clear = np.ones(frame.shape[1:])
        if number > 1 and rng.random() < sensor.clouds:
            clear = 1.0 - _cloud(rng, frame.shape[1:])
            frame = np.where(clear > 0, frame, frame * 0.3 + 0.6 * _UNIT)
        return np.concatenate([frame, clear[None]]).astype(np.float32)


def _cloud(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """1 inside an ellipse somewhere in the window."""
    height, width = shape
    row, col = rng.uniform(0, height), rng.uniform(0, width)
    tall, wide = rng.uniform(0.1, 0.5, 2) * (height, width)
    rows, cols = np.ogrid[:height, :width]
    inside = ((rows - row) / tall) ** 2 + ((cols - col) / wide) ** 2 <= 1
    return inside.astype(np.float64)
