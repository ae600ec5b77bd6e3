"""Videos: ordered frames of one place, one raster a frame, all in one folder.

Every frame is a scene of its own: the frame itself and those around it in time, reflected at the
video's ends, the nearest first. Frames are ordered by the times in their names where every name
has another one, else by the times in their tags, else by name, where 10 comes after 9.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from geosr.errors import GeosrError, SceneError
from geosr.raster.files import open_raster
from geosr.scene.scene import Note, Scene
from geosr.sensors import image, probav_hdf5
from geosr.sensors.options import OpenOptions

_TIME = re.compile(
    r"(?<!\d)((?:19|20)\d\d)[-_:]?(\d\d)[-_:]?(\d\d)"  # a day,
    r"(?:[T_ -]?(\d\d)[-_:]?(\d\d)[-_:]?(\d\d)(?:[._]?(\d{1,6}))?)?(?!\d)"  # and a time of it
)
_TAGS = (  # (domain, tag, tag of the fraction of a second), the surest first
    ("IMAGERY", "ACQUISITIONDATETIME", None),
    (None, "EXIF_DateTimeOriginal", "EXIF_SubSecTimeOriginal"),
    (None, "TIFFTAG_DATETIME", None),
)


def find_frames(path: Path, pattern: str | None = None) -> list[Path]:
    """The frames of the video in a folder, in its order; or the one frame that a file is.

    Raises:
        SceneError: a frame's tags cannot be read.
    """
    return [path] if path.is_file() else list(_order(path, pattern).frames)


def open_video(path: Path, options: OpenOptions) -> Scene:
    """A frame with those around it, `options.window` in all; a frame may come more than once.

    Frame 0 is the one at `path`, 1 the one before, 2 the one after, 3 the second before, …

    Raises:
        SceneError: the frame is alone in its folder, or one of the window differs in bands, type
            or scale, or in grid where `options.align` does not help.
    """
    order = _order(path.parent, options.pattern)
    files = order.frames
    if path not in files:
        raise SceneError(
            f"{path} is no frame of a video: {len(files)} rasters beside it are. "
            "Give one of those, or the folder."
        )
    if options.window > 1 and len(files) < 2:
        raise SceneError(
            f"{path}: --window {options.window} needs a video, and this is its only frame "
            "(pages of one TIFF are not taken apart). Give a folder with one raster a frame, or "
            "choose a single-image net without --window."
        )
    at = files.index(path)
    around = [files[i] for i in around_frame(at, len(files), options.window)]
    opened = {file: image.open_frame(file, options) for file in dict.fromkeys(around)}
    first = opened[path]
    frames = [first, *(image.onto(first, opened[file], options) for file in around[1:])]
    bands = tuple(replace(band, frame=i) for i, frame in enumerate(frames) for band in frame.bands)
    said = time_in_name(path) or _time_in_tags(path)
    notes = (*first.notes, *((order.note,) if order.note else ()))
    time = f"{said.isoformat()}Z" if said else first.acquisition.time
    return replace(first, name=path.stem, path=str(path), bands=bands, notes=notes, video=True,
                   acquisition=replace(first.acquisition, time=time))  # fmt: skip


def around_frame(at: int, count: int, window: int) -> list[int]:
    """Frame `at` of `count`, then the one before, the one after, …: `window` in all.

    Past the first and the last the video is reflected: −1 is 1, as often as it takes.
    """
    found, turn = [at], max(2 * (count - 1), 1)
    for step in range(1, window // 2 + 1):
        for i in (at - step, at + step):
            back = abs(i) % turn
            found.append(min(back, turn - back) if count > 1 else 0)
    return found


class Order:
    """The frames of a folder in their order, and what a user should know of it."""

    def __init__(self, frames: Sequence[Path], note: Note | None = None) -> None:
        self.frames, self.note = tuple(frames), note


def _order(folder: Path, pattern: str | None) -> Order:
    """The order of a folder, remembered as long as nothing comes or goes in it."""
    return _ordered(folder, pattern, folder.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _ordered(folder: Path, pattern: str | None, _changed: int) -> Order:
    files = sorted(image.frames_in(folder, pattern), key=_natural)
    by_name = _by_time(files, time_in_name)
    if by_name:
        return Order(by_name)
    by_tags = _by_time(files, _time_in_tags)
    if not by_tags or by_tags == files:
        return Order(files)
    said = f"{folder}: frames are ordered by the times in their tags, not by name"
    return Order(by_tags, Note(said, warning=True))


def _natural(path: Path) -> tuple[list[str | int], str]:
    """Key of an order of names in which 10 comes after 9; texts and numbers take turns."""
    parts = re.split(r"(\d+)", path.stem)
    return [int(part) if part.isdecimal() else part.casefold() for part in parts], path.name


def _by_time(
    files: Sequence[Path], time_of: Callable[[Path], datetime | None]
) -> list[Path] | None:
    """Files ordered by time; None where one has none, or two have the same."""
    times: dict[datetime, Path] = {}
    for file in files:
        time = time_of(file)
        if time is None or time in times:
            return None
        times[time] = file
    return [times[time] for time in sorted(times)]


def time_in_name(path: Path) -> datetime | None:
    """The first day, or day and time, in a file's name; without a time zone."""
    return next(filter(None, map(_time, _TIME.finditer(path.stem))), None)


def _time(match: re.Match[str]) -> datetime | None:
    *numbers, fraction = (match[i] or "0" for i in range(1, 8))
    year, month, day, hour, minute, second = map(int, numbers)
    try:
        return datetime(year, month, day, hour, minute, second, int(fraction.ljust(6, "0")))
    except ValueError:  # eight digits that are no day
        return None


def _time_in_tags(path: Path) -> datetime | None:
    """When a raster was taken, as its tags say it."""
    if probav_hdf5.is_product(path):
        return None
    try:
        with open_raster(path) as dataset:
            for domain, tag, fraction in _TAGS:
                tags = dataset.tags(ns=domain)
                match = _TIME.search(tags.get(tag, ""))
                time = _time(match) if match else None
                if time:
                    after = str(tags.get(fraction, "")).strip()
                    known = after.isdecimal() and not time.microsecond
                    return time.replace(microsecond=int(after[:6].ljust(6, "0"))) if known else time
    except GeosrError:
        return None  # opening the frame itself will tell
    return None
