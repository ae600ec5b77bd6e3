"""Whose a file is: geosr replaces what it made for the same purpose, and nothing else unasked.

Outputs of `geosr superres` are told by their records (`geosr.batch.records`), all other files by
a mark inside them.
"""

from __future__ import annotations

import os
from pathlib import Path

from geosr.errors import UsageError
from geosr.raster import publish

PAGE = b'<meta name="generator" content="geosr">'  # of HTML reports
PAIRS = b"tEXtSoftware\x00geosr pairs"  # of pictures of pairs, in a chunk of the PNG
SCORES = b"tEXtSoftware\x00geosr eval"  # of pictures of scored scenes
TRAINING = b"tEXtSoftware\x00geosr train"  # of pictures in the folder of a training
QUICKLOOK = b"tEXtSoftware\x00geosr quicklook"  # of pictures of outputs
ITEM = b'"geosr:models"'  # of STAC Items of outputs
SUBMISSION = b"geosr kelvins submission"  # of zips, their comment
PLUGIN = b"geosr plugin for QGIS"  # of zips, their comment
POOL = b'"format": "geosr degradation pool"'  # of pools of degradations
RUN = b'"geosr_run"'  # of a run's report
RECORD = b'"geosr_record"'  # of an output's record
_HEAD, _TAIL = 1024, 256  # bytes in which marks lie


def require_place(path: Path, mark: bytes = b"", *, overwrite: bool = False) -> None:
    """Check before any work that a file can be written at `path`, by `require_replaceable` too.

    Raises:
        UsageError: as there, or the folder takes no files.
    """
    require_replaceable(path, mark, overwrite=overwrite)
    try:
        publish.probe_folder(path.parent)
    except OSError as error:
        raise UsageError(
            f"{path}: not writable: {path.parent} ({error.strerror}). Choose another place."
        ) from error


def require_replaceable(path: Path, mark: bytes = b"", *, overwrite: bool = False) -> None:
    """Check that a file may be written at `path`: nothing is there, or one with this mark.

    Args:
        mark: one of this module; with none, no file is replaced unasked.
        overwrite: any file may be replaced.

    Raises:
        UsageError: a file that geosr did not make lies there, or a folder.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder where a file must go. Choose another name.")
    if overwrite or not os.path.lexists(path) or (mark and carries(path, mark)):
        return
    why = ", and geosr did not make it for this" if mark else ""
    raise UsageError(
        f"{path} is there already{why}: left alone. Choose another name, or pass --overwrite."
    )


def carries(path: Path, mark: bytes) -> bool:
    """Whether a file is one that geosr made for the purpose that a mark stands for."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(max(size - _TAIL, 0))
            return mark in head or mark in file.read(_TAIL)
    except OSError:
        return False
