"""Videos: ordered frames of one place, one raster a frame, all in one folder.

Every frame is a scene of its own: the frame itself and those around it in time, reflected at the
video's ends, the nearest first. So is what lies in the middle between two frames, where that is
asked for: its path is that of a file which is not there. Frames are ordered by the times in their
names where every name has another one, else by the times in their tags, else by name, where 10
comes after 9.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from geosr.errors import GeosrError, SceneError
from geosr.raster.files import open_raster
from geosr.scene.acquisition import Acquisition, common
from geosr.scene.note import Note
from geosr.scene.scene import Scene
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


def find_frames(
    path: Path, pattern: str | None = None, *, between: bool = False
) -> list[Path]:  # fmt: skip
    """The frames of the video in a folder, in its order; or the one frame that a file is.

    Args:
        between: those in the middle between each two too, by the paths that they would have.

    Raises:
        SceneError: a frame's tags cannot be read, frames between have no names of their own, or
            there are none because a file is one frame.
    """
    if not between:
        return [path] if path.is_file() else list(_order(path, pattern).frames)
    if path.is_file():
        raise SceneError(f"{path} is one frame, and none lies between it and another. Give the "
                         "folder, or leave out --between.")  # fmt: skip
    frames = _order(path, pattern).frames
    middles = _middles(frames)
    found = [*frames, *middles]
    return sorted(found, key=lambda each: middles[each] + 0.5 if each in middles
                  else frames.index(each))  # fmt: skip


def _middles(frames: Sequence[Path]) -> dict[Path, int]:
    """Paths of what lies in the middle between each two frames, to the first one's number.

    Raises:
        SceneError: such a name is a frame's already.
    """
    named = {file.with_stem(_middle_name(file, after)): i
             for i, (file, after) in enumerate(pairwise(frames))}  # fmt: skip
    taken = {frame.stem for frame in frames} & {path.stem for path in named}
    if taken or len(named) < len(frames) - 1:
        told = sorted(taken)[0] if taken else "the same for two"
        raise SceneError(
            f"{frames[0].parent}: the name of a frame between would be {told}. Rename frames, or "
            "leave some out by --pattern."
        )
    return named


def _middle_name(before: Path, after: Path) -> str:
    """The first one's name at the time in the middle, or with _between behind it."""
    early, late = time_in_name(before), time_in_name(after)
    if early is None or late is None or early >= late:
        return f"{before.stem}_between"
    match = next(match for match in _TIME.finditer(before.stem) if _time(match))
    middle = early + (late - early) / 2
    numbers = (f"{middle:%Y}", f"{middle:%m}", f"{middle:%d}", f"{middle:%H}", f"{middle:%M}",
               f"{middle:%S}", f"{middle:%f}".rstrip("0"))  # fmt: skip
    name, at = before.stem[: match.start()], match.start()
    for group, number in enumerate(numbers, 1):
        if match[group] is not None:
            name += before.stem[at : match.start(group)] + (number or "0")
            at = match.end(group)
    if match[4] is None and (middle.hour or middle.minute or middle.second):
        name += f"T{middle:%H%M%S}"
    if match[7] is None and numbers[6]:
        name += f".{numbers[6]}"
    return name + before.stem[at:]


def open_video(path: Path, options: OpenOptions) -> Scene:
    """A frame with those around it, `options.window` in all; a frame may come more than once.

    Frame 0 is the one at `path`, 1 the one before, 2 the one after, 3 the second before, … Of what
    lies between two frames they are 0 and 1, 2 is the one before them, 3 the one after, …; they are
    even in number.

    Raises:
        SceneError: the frame is alone in its folder, or one of the window differs in bands, type
            or scale, or in grid where `options.align` does not help.
    """
    order = _order(path.parent, options.pattern)
    files, middles = order.frames, dict[Path, int]()
    if path not in files and options.kind == "between":
        middles = _middles(files)
    if path not in files and path not in middles:
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
    if path in middles:
        around = around_middle(middles[path], len(files), options.window)
    else:
        around = around_frame(files.index(path), len(files), options.window)
    each = [files[i] for i in around]
    opened = {file: image.open_frame(file, options) for file in dict.fromkeys(each)}
    first = opened[each[0]]
    frames = [first, *(image.onto(first, opened[file], options) for file in each[1:])]
    bands = tuple(replace(band, frame=i) for i, frame in enumerate(frames) for band in frame.bands)
    notes = (*first.notes, *((order.note,) if order.note else ()))
    taken = [_timed(file, opened[file]) for file in each[: 2 if path in middles else 1]]
    return replace(first, name=path.stem, path=str(path), bands=bands, notes=notes, video=True,
                   between=path in middles, acquisition=_midway(taken))  # fmt: skip


def _timed(path: Path, frame: Scene) -> Acquisition:
    """The acquisition of a frame at the time that orders it."""
    said = time_in_name(path) or _time_in_tags(path)
    time = f"{said.isoformat()}Z" if said else frame.acquisition.time
    return replace(frame.acquisition, time=time)


def _midway(taken: list[Acquisition]) -> Acquisition:
    """Of one frame its own; of two what they share, at the time in the middle."""
    shared = common(taken)
    times = [each.time for each in taken]
    if len(taken) == 1 or not all(times):
        return shared
    early, late = (datetime.fromisoformat(time.removesuffix("Z")) for time in times)
    return replace(shared, time=f"{(early + (late - early) / 2).isoformat()}Z")


def around_frame(at: int, count: int, window: int) -> list[int]:
    """Frame `at` of `count`, then the one before, the one after, …: `window` in all.

    Past the first and the last the video is reflected: −1 is 1, as often as it takes.
    """
    steps = (side * step for step in range(1, window // 2 + 1) for side in (-1, 1))
    found = [at, *(at + step for step in steps)]
    if window % 2 == 0:  # the last one before is left out
        del found[-2]
    return [_reflected(i, count) for i in found]


def around_middle(at: int, count: int, window: int) -> list[int]:
    """Frames `at` and the next of `count`, the one before them, the one after, …: an even number.

    Of an odd `window` one less, of 1 the two; reflected as in `around_frame`.
    """
    pairs = range(max(window // 2, 1))
    found = [at, at + 1, *(i for step in pairs[1:] for i in (at - step, at + 1 + step))]
    return [_reflected(i, count) for i in found]


def _reflected(i: int, count: int) -> int:
    """Which of `count` frames stands for one past the ends."""
    turn = max(2 * (count - 1), 1)
    back = abs(i) % turn
    return min(back, turn - back) if count > 1 else 0


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
