"""What can go wrong, and what it costs.

    GeosrError           1   a fault of geosr itself
    ├── UsageError       2   the request cannot be run; nothing was written
    ├── SceneError       3   one scene fails, the others go on (4 when none succeeds)
    │   └── EmptyError       nothing of it was sensed; it fails nothing where such are left out
    ├── StoppedError     5   the environment stops the run: disk full, output not writable
    ├── WeightsError     6   weights missing, damaged, or made for something else
    └── LockedError     11   another run holds the lock

Every message says what is wrong and where, what was found, and what to do next.
No message holds the user, the password or the query of a URL.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_END = r"(?=['\":.,;)]*(?:\s|$))"  # of a URL in a sentence
_VSI = re.compile(rf"/vsi\w+\?(?P<options>\S+?){_END}")
_LOGIN = re.compile(  # the second kind has a / in its password
    r"(?<=[a-z0-9]{2}:/)(/?)(?:[^/\s?]*@|[^/:@\s?]+:(?!\d+/)[^\s?]*@)", re.IGNORECASE
)
_LONG = re.compile(r"\S{4097,}")  # no path or URL; the patterns above take its square in time
_QUERY = re.compile(rf"([a-z0-9]{{2}}:/[^\s?]*)\?\S+?{_END}", re.IGNORECASE)


class GeosrError(Exception):
    """Any failure geosr knows by name; `exit_code` is what the shell sees."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class UsageError(GeosrError):
    """The request makes no sense as it stands; raised before anything is written."""

    exit_code = 2


class SceneError(GeosrError):
    """One scene cannot be read, computed or written; it costs that scene only."""

    exit_code = 3


class EmptyError(SceneError):
    """Nothing of a scene was sensed, and such scenes are to be left out."""


class StoppedError(GeosrError):
    """Nothing more can succeed here: the disk is full or the output is not writable."""

    exit_code = 5


class WeightsError(GeosrError):
    """Weights are missing, fail their sha256, or belong to another net."""

    exit_code = 6


class LockedError(GeosrError):
    """Another run is writing the same output."""

    exit_code = 11


def cause(error: BaseException) -> str:
    """The first error of a chain in one line; rasterio hides GDAL's own words at its end."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".")


def without_secrets(text: object) -> str:
    """A path, or a text that names some, as it may be told: URLs without what opens them.

    User, password and query become `***`, GDAL's `/vsicurl?url=…` the URL it stands for; bytes of
    a file name that are no UTF-8 are spelt out. Of a word longer than any path its length is told.
    """
    said = str(text).encode("utf-8", "backslashreplace").decode()
    said = _LONG.sub(lambda word: f"… ({len(word[0])} characters)", said)
    said = _VSI.sub(_url, said)
    return _QUERY.sub(r"\1?***", _LOGIN.sub(r"\1***@", said))


def _url(match: re.Match[str]) -> str:
    """The URL among the options of a GDAL path; the others may hold keys too."""
    url = next((o[4:] for o in match["options"].split("&") if o.startswith("url=")), "***")
    head, _, query = unquote(url).partition("?")
    scheme, found, rest = head.partition("://")
    host, slash, path = rest.partition("/")
    host = f"***@{host.rpartition('@')[2]}" if "@" in host else host
    return f"{scheme}{found}{host}{slash}{path}" + "?***" * bool(query)
