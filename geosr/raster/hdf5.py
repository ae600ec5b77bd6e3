"""HDF5 files that take their values from other files, told without the HDF5 library.

An HDF5 file may name any file of the machine as the place of a dataset's values (external raw
data, virtual datasets) or of a whole group (external links), and the library reads it without a
word. The three messages that do so are looked for in the file's own bytes, wherever they lie, and
each find is checked against what it points at, so that pixels are not taken for one (HDF5 File
Format Specification 3.0, IV.A.2: messages 0x0006, 0x0007, 0x0008).
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

from geosr.errors import SceneError

# version 1 and 2 headers differ in a message's type, and agree from its version on
_RAW = re.compile(rb"\x07[\s\S]{3,7}\x01\x00\x00\x00[\s\S]{4}(?P<at>[\s\S]{8})")
_VIRTUAL = re.compile(rb"\x04\x03(?P<at>[\s\S]{8})[\s\S]{4}")
_LINK = re.compile(rb"\x01[\x08-\x1f]\x40")
_LEAST = 48  # bytes of the shortest superblock
_SIZES = {0: 13, 1: 13, 2: 9, 3: 9}  # of addresses, by the superblock's version: where they stand
_BASES = {0: 24, 1: 28, 2: 12, 3: 12}


def require_alone(path: Path) -> None:
    """Refuse an HDF5 file that takes values from another file.

    Raises:
        SceneError: it does, or its addresses are not the usual ones and cannot be followed.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        version = data[8] if len(data) >= _LEAST else None
        if version not in _SIZES or data[_SIZES[version]] != 8 or _address(data, _BASES[version]):
            raise SceneError(
                f"{path}: an HDF5 file of unusual addresses. Write it again (h5repack)."
            )
        for pattern, heap in ((_RAW, b"HEAP"), (_VIRTUAL, b"GCOL")):
            for found in pattern.finditer(data):
                at = int.from_bytes(found["at"], "little")
                if data[at : at + 4] == heap:
                    raise _refused(path, "values")
        for found in _LINK.finditer(data):
            if _is_external(data, found.start()):
                raise _refused(path, "groups")


def _refused(path: Path, what: str) -> SceneError:
    return SceneError(
        f"{path}: takes {what} from other files, which are not read. Write it as one file first "
        "(h5repack), if you trust it."
    )


def _address(data: mmap.mmap, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _is_external(data: mmap.mmap, at: int) -> bool:
    """Whether a link message of type 64 stands here: flags, its name, then a file and a path."""
    flags = data[at + 1]
    at += 3 + 8 * bool(flags & 4) + bool(flags & 16)
    width = 1 << (flags & 3)
    at += width + int.from_bytes(data[at : at + width], "little")
    size = int.from_bytes(data[at : at + 2], "little")
    value = data[at + 2 : at + 2 + size]
    return (
        size > 4
        and len(value) == size
        and not value[0]
        and not value[-1]
        and (value[1:].count(b"\0") == 2)
    )
