"""Several images of one place: which ones a net gets, how they are registered, how bright they are.

All three are decided in one window, at most 512 pixels along, where the first frame is clearest.
The frames' pixels are then shifted and scaled as they are read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from geosr.errors import UsageError
from geosr.raster.window import Window
from geosr.scene import degrade
from geosr.scene.correlation import displacement
from geosr.scene.fill import fill
from geosr.scene.pixels import Pixels, Reader
from geosr.scene.radiometry import reflectance
from geosr.scene.scene import Scene
from geosr.scene.sharpness import SHARPEST, sharpest

REGISTRATIONS = ("auto", "none", "integer", "subpixel")
_SIDE = 512  # of the window, pixels
_FILL_REACH = 16
_LARGEST = 8.0  # pixels; a larger shift is taken for a mistake
_PAN = 0.25  # the same of a video, whose camera may pan, as a share of the window's side
_ALIKE = 0.3  # correlation below which two images do not show the same

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FrameOptions:
    """How frames are chosen and prepared.

    Attributes:
        count: frames to take at most; None is what the net was made for.
        clearance: share of clear pixels that a frame needs; the clearest stays in any case.
        register: "none"; "integer" moves frames by whole pixels; "subpixel" by parts of one too,
            which nets that know where frames frame are told, and others get by cubic convolution;
            "auto" is "subpixel" for the former and "integer" for the latter.
        brightness: bring every frame to the median mean and contrast, or to the reference's where
            one is named.
        seed: of which frames are given again where there are too few.
        reference: name of the file of the frame that the others are moved onto, without its
            suffix, or "sharpest"; None is the clearest.
    """

    count: int | None = None
    clearance: float = 0.85
    register: str = "auto"
    brightness: bool = True
    seed: int = 0
    reference: str | None = None


class FramesOfNet(Protocol):
    """What a net takes, as its card says."""

    @property
    def frames(self) -> int:
        """Images of one place that it was made for."""
        ...

    @property
    def shifts(self) -> bool:
        """It must be told their shifts."""
        ...

    @property
    def fewer(self) -> bool:
        """It takes fewer of them too."""
        ...

    @property
    def between(self) -> bool:
        """It is told when those of a video were taken."""
        ...


@dataclass(frozen=True)
class SelectedFrame:
    """One frame as a net gets it: registered, and as bright as the others.

    Attributes:
        index: its number in the scene.
        clear: share of its pixels that are clear, in the window that was compared.
        shift: (down, across): pixel (r, c) sees the ground at (r + down, c + across) of the
            first frame's grid; pixels.
        gain, offset: by band; what is read times the one plus the other is used.
        note: why it was not registered, or "".
    """

    index: int
    clear: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    gain: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class FrameSelection:
    """The frames of a scene that a net gets, in its order; a frame may come more than once.

    Attributes:
        resampled: fractions of a pixel are shifted by cubic convolution; otherwise the net is told
            of them.
        times: when they were taken, in frames after what is wanted, where a net is told it.
    """

    frames: tuple[SelectedFrame, ...]
    resampled: bool = False
    times: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[SelectedFrame]:
        return iter(self.frames)

    def whole(self, frame: SelectedFrame) -> tuple[int, int]:
        """The whole pixels of a shift: the frame is read from that far away."""
        return round(frame.shift[0]), round(frame.shift[1])

    def rest(self, frame: SelectedFrame) -> tuple[float, float]:
        """The fraction of a pixel that is left of it."""
        down, across = self.whole(frame)
        return frame.shift[0] - down, frame.shift[1] - across

    @property
    def shifts(self) -> NDArray[np.float32]:
        """(frames, 2): the shifts that nets are told; times as a third number."""
        if self.resampled:
            return np.zeros((len(self.frames), 2), np.float32)
        shifts = np.array([self.rest(frame) for frame in self.frames], np.float32)
        return np.column_stack([shifts, np.array(self.times, np.float32)]) if self.times else shifts


def first_frames(count: int) -> FrameSelection:
    """The first frames of a scene, neither shifted nor scaled."""
    return FrameSelection(tuple(SelectedFrame(frame) for frame in range(count)))


def select_frames(
    reader: Reader, scene: Scene, names: Sequence[str], net: FramesOfNet, options: FrameOptions
) -> FrameSelection:
    """Choose the frames for a net, register them, and bring them to one brightness.

    Args:
        names: bands that the net reads; they are registered by their mean.
        net: what its card says of frames.

    Raises:
        UsageError: no frame has the name of the reference.
    """
    window = _window(reader, scene, names)
    images = [reader.read(names, scene.finest, window, frame=t) for t in range(scene.frames)]
    clear = _clear(images)
    if scene.video:
        chosen = _around(scene, clear) if net.fewer else list(range(scene.frames))
    else:
        wanted = options.count or net.frames
        if not net.fewer:
            wanted = min(wanted, net.frames)
        first = _reference(scene, options, images, clear)
        order = sorted(range(scene.frames), key=lambda t: t != first)
        usable = (t for t in order if clear[t] >= options.clearance or t == first)
        chosen = list(usable)[:wanted]
    known = net.shifts if options.register == "auto" else options.register == "subpixel"
    register = options.register != "none"
    largest = max(_LARGEST, _PAN * min(images[0].values.shape[1:])) if scene.video else _LARGEST
    frames = _registered([images[t] for t in chosen], chosen, clear, register, known, largest)
    if scene.video:
        frames = _placed(frames, between=scene.between)
    if options.brightness:
        model = 1 + scene.between if scene.video else 1 if options.reference else len(frames)
        frames = _brightened(frames, images, as_first=model)
    if not net.fewer:
        frames = _filled(frames, net.frames, options.seed)
    times = middle_times(len(frames)) if scene.between and net.between else ()
    return FrameSelection(tuple(frames), resampled=known and not net.shifts, times=times)


def middle_times(count: int) -> tuple[float, ...]:
    """When frames around what is wanted were taken, the nearest first: −½, ½, −1½, 1½, …"""
    return tuple((0.5 + i // 2) * (-1) ** (i + 1) for i in range(count))


def _placed(frames: Sequence[SelectedFrame], *, between: bool) -> list[SelectedFrame]:
    """Frames as they lie in what is wanted, where the nearest two that are known tell its place."""
    known = [each for each in frames if each.clear and not each.note]
    if len(known) < 2:
        return list(frames)
    near, other = (((-1) ** each.index * ((each.index + 1) // 2)) for each in known[:2])
    if between:
        near, other = (middle_times(each.index + 1)[-1] for each in known[:2])
    place = np.array(known[1].shift) * near / (near - other)
    moved = (np.array(each.shift) - place for each in frames)
    return [replace(each, shift=(float(down), float(across)))
            for each, (down, across) in zip(frames, moved, strict=True)]  # fmt: skip


def _around(scene: Scene, clear: Sequence[float]) -> list[int]:
    """The frames of a video's window, each once though it is reflected, and none without a pixel.

    Frame 0 alone where none has any.
    """
    files = dict[str, int]()
    for band in scene.bands:
        if clear[band.frame] or (band.frame == 0 and not any(clear)):
            files.setdefault(band.path, band.frame)
    return sorted(files.values())


def _clear(images: Sequence[Pixels]) -> list[float]:
    """Each one's share of clear pixels; 0 where each band has one value, and others have more."""
    varied = [any(np.ptp(v[good]) for v, good in zip(each.values, each.usable, strict=True)
                  if good.any()) for each in images]  # fmt: skip
    return [float(each.usable.all(0).mean()) if shows or not any(varied) else 0.0
            for each, shows in zip(images, varied, strict=True)]  # fmt: skip


def _reference(
    scene: Scene, options: FrameOptions, images: Sequence[Pixels], clear: Sequence[float]
) -> int:
    """The number of the frame of that name, or of the sharpest that is clear enough.

    Of none the first that shows anything: frames come with the clearest first.
    """
    if (name := options.reference) is None:
        return next((t for t, share in enumerate(clear) if share), 0)
    names = {Path(band.path).stem: band.frame for band in reversed(scene.bands)}
    if name == SHARPEST and name not in names:
        return sharpest(images, options.clearance)
    if name not in names:
        near = ", ".join(sorted(names)[:20])
        raise UsageError(
            f"--reference {name}: {scene.path} has no image of that name (it has {near}). "
            f"Give one of these, {SHARPEST}, or leave it out to take the clearest."
        )
    return names[name]


def _window(reader: Reader, scene: Scene, names: Sequence[str]) -> Window:
    """Of nine windows the one where the first frame is clearest; the middle one where they tie."""
    height, width = scene.grids[scene.finest].shape
    tall, wide = min(height, _SIDE), min(width, _SIDE)
    rows = dict.fromkeys(((height - tall) // 2, 0, height - tall))
    cols = dict.fromkeys(((width - wide) // 2, 0, width - wide))
    windows = [Window(row, col, tall, wide) for row in rows for col in cols]
    if len(windows) == 1:
        return windows[0]

    def share(window: Window) -> float:
        return float(reader.read(names, scene.finest, window).usable.mean())

    return max(windows, key=share)


def _registered(
    pixels: Sequence[Pixels],
    chosen: Sequence[int],
    clear: Sequence[float],
    register: bool,
    subpixel: bool,
    largest: float,
) -> list[SelectedFrame]:
    frames = []
    images = [_image(each) for each in pixels] if register else []
    first = next((i for i, frame in enumerate(chosen) if clear[frame]), 0)
    for i, frame in enumerate(chosen):
        down, across, note = 0.0, 0.0, ""
        if register and i != first and clear[frame]:
            down, across, alike = displacement(images[first], images[i])
            if max(abs(down), abs(across)) > largest or alike < _ALIKE:
                note = f"not registered (correlation {alike:.2f} at {down:.2f}, {across:.2f} px)"
                down = across = 0.0
            if not subpixel:
                down, across = round(down), round(across)
        frames.append(SelectedFrame(frame, clear[frame], (down, across), note=note))
    return frames


def _image(pixels: Pixels) -> Array:
    """The bands' mean, gaps filled from around them."""
    filled = fill(pixels.values, pixels.usable, _FILL_REACH)
    return np.asarray(filled.mean(0, dtype=np.float64))


def _brightened(
    frames: Sequence[SelectedFrame], images: Sequence[Pixels], *, as_first: int
) -> list[SelectedFrame]:
    """Frames with the gain and offset to the median mean and deviation of the first, by band."""
    means, spreads = [], []
    for frame in frames:
        pixels = images[frame.index]
        bands = list(zip(pixels.values, pixels.usable, strict=True))
        means.append([float(v[good].mean()) if good.any() else math.nan for v, good in bands])
        spreads.append([float(v[good].std()) if good.any() else math.nan for v, good in bands])
    mean, spread = (_nanmedian(np.array(each)[:as_first]) for each in (means, spreads))
    result = []
    for frame, own_mean, own_spread in zip(frames, np.array(means), np.array(spreads), strict=True):
        safe = (own_spread > 0) & np.isfinite(own_spread) & np.isfinite(spread)
        gain = np.where(safe, spread / np.where(safe, own_spread, 1), 1.0)
        offset = np.where(safe, mean - gain * own_mean, 0.0)
        result.append(replace(frame, gain=tuple(gain), offset=tuple(offset)))
    return result


def _nanmedian(values: Array) -> Array:
    """By column; NaN where a column holds nothing else."""
    known = np.isfinite(values).any(0)
    return np.asarray(np.where(known, np.nanmedian(np.where(known, values, 0), 0), np.nan))


def _filled(frames: Sequence[SelectedFrame], wanted: int, seed: int) -> list[SelectedFrame]:
    """As many as wanted: where there are too few, some again at random."""
    missing = wanted - len(frames)
    again = np.random.default_rng(seed).integers(len(frames), size=max(missing, 0))
    return [*frames, *(frames[int(i)] for i in again)]


def read_frame(
    reader: Reader,
    scene: Scene,
    names: Sequence[str],
    window: Window,
    frame: SelectedFrame,
    selection: FrameSelection,
    reach: int,
) -> tuple[Pixels, NDArray[np.float32]]:
    """One frame's bands in a window of the first one's grid.

    Args:
        names: bands of one GSD.
        reach: pixels from which gaps are filled at most.

    Returns:
        What was sensed, moved by whole pixels; and what nets get: gaps filled, brightened,
        reflectance × 10000.
    """
    down, across = selection.whole(frame)
    wide = window.grow(2 if selection.resampled else 0)
    at = wide.shift(-down, -across)
    pixels = reader.read(names, scene.gsd(names[0]), at, frame=frame.index)
    filled = fill(pixels.values, pixels.usable, reach)
    if len(selection) > 1:
        pixels = _inside(pixels, at, reader.grids[scene.gsd(names[0])].window)
    if frame.gain:
        gain, offset = np.array([frame.gain, frame.offset], np.float32)[..., None, None]
        filled = filled * gain + offset
    values = reflectance(scene, names, filled)
    if selection.resampled:
        values = shifted(values, selection.rest(frame))
        pixels = pixels.crop(window.within(wide))
    return pixels, values


def _inside(pixels: Pixels, at: Window, image: Window) -> Pixels:
    """Pixels of a window of which none beyond the image counts as sensed.

    Images that lie elsewhere see other ground there, not the image mirrored.
    """
    there = np.zeros((at.height, at.width), bool)
    there[at.intersect(image).within(at)] = True
    return replace(pixels, valid=pixels.valid & there)


def shifted(pixels: NDArray[np.float32], rest: tuple[float, float]) -> NDArray[np.float32]:
    """(…, rows, cols) shifted by a fraction of a pixel; two pixels less on every side.

    Cubic convolution (Keys 1981, a = −0.5).
    """
    result: NDArray[np.float32] = pixels
    for axis, fraction in zip((-2, -1), rest, strict=True):
        taps = _cubic_taps(-fraction)
        length = result.shape[axis] - 4
        total = np.zeros_like(result.take(range(length), axis))
        for i, tap in enumerate(taps):
            if tap:
                total += np.float32(tap) * result.take(range(i, i + length), axis)
        result = total
    return result


def _cubic_taps(at: float) -> list[float]:
    """Weights of pixels −2 … 2 for the value at `at`, −0.5 to 0.5."""
    return [float(weight) for weight in degrade.cubic(np.abs(at - np.arange(-2, 3)))]
