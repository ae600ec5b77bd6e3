"""When and by what a scene was sensed, as products and files tell it, and their tags that hold on.

A super-resolved raster shows the same ground at the same moment: what its input says of that stays
true, what it says of pixels, files and statistics does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

_TIMES = (
    "ACQUISITIONDATETIME", "DATATAKE_SENSING_START", "DATATAKE_1_DATATAKE_SENSING_START",
    "PRODUCT_START_TIME", "SENSING_TIME", "DATE_ACQUIRED",
)  # fmt: skip
_PLATFORMS = ("SATELLITEID", "SPACECRAFT_NAME", "DATATAKE_1_SPACECRAFT_NAME", "SPACECRAFT_ID")
_TIME = re.compile(
    r"(\d{4})-?([01]\d)-?([0-3]\d)(?:[T ]([0-2]\d):?([0-5]\d):?([0-5]\d)(?:\.\d+)?Z?)?"
)
_DATED = re.compile(r"(?<!\d)((?:19|20)\d\d[01]\d[0-3]\d(?:T[0-2]\d[0-5]\d[0-5]\d)?)(?!\d)")
_NAMED = (
    (re.compile(r"(?<![A-Z0-9])S2([A-D])_", re.IGNORECASE), "sentinel-2{}"),
    (re.compile(r"(?<![A-Z0-9])L[A-Z]0([4-9])_", re.IGNORECASE), "landsat-{}"),
)
_SAID = (
    (re.compile(r"sentinel[-_ ]?2([a-d])$", re.IGNORECASE), "sentinel-2{}"),
    (re.compile(r"landsat[-_ ]?([4-9])$", re.IGNORECASE), "landsat-{}"),
)
# what is said of pixels, counts, the file and whoever made it; not of what was sensed
_STALE = re.compile(
    r"AREA_OR_POINT|GEOSR_|TIFFTAG_(?!COPYRIGHT|ARTIST)|STATISTICS|^OVR|LAYOUT|COMPRESSION|NBITS"
    r"|INTERLEAVE|COLORINTERP|OFFSET|SCALE|QUANTIFICATION|NODATA|RESOLUTION|PIXEL|WIDTH|HEIGHT"
    r"|ROWS|COLS|COLUMNS|LINES|SAMPLES|NCOL|NROW|SIZE|SHAPE|BAND|GSD|TILE|CLOUD|COVER|PERCENT"
    r"|MIN|MAX|MEAN|STD|CHECKSUM|MD5|SHA|ULX|ULY|LRX|LRY|CORNER|BOUND|EXTENT|PATH|URI|URL|FILE"
    r"|HOST|USER|CREAT|MODIF|GENERATION|HISTORY|PROCESSING_LEVEL|SOFTWARE|VERSION|PROJECT|UNIT",
    re.IGNORECASE,
)
_MOST, _LONGEST = 64, 500  # tags, and characters of one


@dataclass(frozen=True)
class Acquisition:
    """When and by what a scene was sensed.

    Attributes:
        time: UTC as ISO 8601, "2017-05-27T10:20:31Z", or a day alone; "" where nothing tells it.
        platform: the satellite as STAC writes it, "sentinel-2a"; "" where nothing tells it.
        tags: of the input, those that hold of every raster of what was sensed.
    """

    time: str = ""
    platform: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def told(name: str, tags: Mapping[str, str]) -> Acquisition:
    """What tags tell of an acquisition; a product's name where they tell nothing.

    Args:
        tags: of the file or product, in whatever order; unknown ones are no harm.
    """
    times = (time_of(tags[key]) for key in _TIMES if key in tags)
    dated = (time_of(match[1]) for match in _DATED.finditer(name))
    platforms = (_platform(tags[key]) for key in _PLATFORMS if key in tags)
    named = (form.format(match[1].lower()) for pattern, form in _NAMED
             if (match := pattern.search(name)))  # fmt: skip
    return Acquisition(
        next(filter(None, (*times, *dated)), ""),
        next(filter(None, (*platforms, *named)), ""),
        _lasting(tags),
    )


def common(parts: list[Acquisition]) -> Acquisition:
    """What several acquisitions share: of several images of one place."""
    first = parts[0]
    tags = {
        key: value
        for key, value in first.tags.items()
        if all(part.tags.get(key) == value for part in parts)
    }
    return Acquisition(
        first.time if {part.time for part in parts} == {first.time} else "",
        first.platform if {part.platform for part in parts} == {first.platform} else "",
        tags,
    )


def time_of(text: str) -> str:
    """A time or a day as ISO 8601 in UTC, however products write it; "" where it is none."""
    match = _TIME.match(text.strip())
    if match is None:
        return ""
    numbers = [int(part) for part in match.groups() if part is not None]
    try:
        when = datetime(*numbers)  # type: ignore[arg-type]
    except ValueError:
        return ""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}" if len(numbers) > 3 else f"{when:%Y-%m-%d}"


def _platform(text: str) -> str:
    """A satellite's name as STAC writes it; others in small letters, with dashes for spaces."""
    text = text.strip()
    for pattern, form in _SAID:
        if match := pattern.match(text):
            return form.format(match[1].lower())
    return re.sub(r"[\s_]+", "-", text.lower())[:40]


def _lasting(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags of an input that still hold of its super-resolved raster."""
    kept = {
        key: value
        for key, value in sorted(tags.items())
        if not _STALE.search(key)
        and key not in ("SATELLITEID", "ACQUISITIONDATETIME")  # those have a place of their own
        and len(key) <= _LONGEST
        and len(value) <= _LONGEST
        and (key + value).isprintable()
    }
    return dict(list(kept.items())[:_MOST])
