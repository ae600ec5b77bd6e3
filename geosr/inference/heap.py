"""The C library's heap."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGE = 2**30  # bytes; what is larger goes back to the system as before


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
