"""The C library's heap."""

from __future__ import annotations

import ctypes
import math
import mmap
from contextlib import suppress
from pathlib import Path

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGE = 2**30  # bytes; what is larger goes back to the system as before
_MOST = 2_100_000_000  # bytes of a process, between passes, from which on it gives freed ones back
_PASS = 1_200_000_000  # bytes that the largest pass leaves for the next one, and some more
_PAGE = mmap.PAGESIZE

_limit = math.inf


def keep_freed() -> None:
    """Keep what large arrays leave for the next ones, where the C library is GNU's.

    Else it gives every freed tensor back to the system, which clears its pages before the next one
    gets them: a sixth of the time that the default nets take on a CPU. For programs, not libraries:
    it holds for the whole process.
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        tune = ctypes.CDLL(None).mallopt
        tune(_MMAP, _LARGE)
        tune(_TRIM, 2**31 - 1)
        global _limit
        _limit = _MOST


def give_back() -> None:
    """Give the system what is kept, between passes of a net and where that has become much.

    Arrays that live on lie amid what was freed, and the next tensors take other memory: it would
    grow with every size of tile. To clear pages anew costs as much as half a second a GB.
    """
    global _limit
    if _limit < math.inf and _resident() > _limit:
        ctypes.CDLL(None).malloc_trim(0)
        _limit = max(_MOST, _resident() + _PASS)


def _resident() -> int:
    """Bytes of memory that the process has, where the system tells as Linux does; else 0."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    return 0
