"""What can go wrong, and what it costs.

    GeosrError           1   a fault of geosr itself
    ├── UsageError       2   the request cannot be run; nothing was written
    ├── SceneError       3   one scene fails, the others go on (4 when none succeeds)
    ├── StoppedError     5   the environment stops the run: disk full, output not writable
    ├── WeightsError     6   weights missing, damaged, or made for something else
    └── LockedError     11   another run holds the lock

Every message says what is wrong and where, what was found, and what to do next.
"""


class GeosrError(Exception):
    """Any failure geosr knows by name; `exit_code` is what the shell sees."""

    exit_code = 1


class UsageError(GeosrError):
    """The request makes no sense as it stands; raised before anything is written."""

    exit_code = 2


class SceneError(GeosrError):
    """One scene cannot be read, computed or written; it costs that scene only."""

    exit_code = 3


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
