"""Are outputs still what was written? Read through, compared with their records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import rasterio

from geosr.batch import records, status
from geosr.errors import SceneError, UsageError
from geosr.raster.files import SETTINGS, has_mask, open_raster, read_mask, read_window
from geosr.raster.window import Window


@dataclass(frozen=True)
class Verdict:
    """What became of one file.

    Attributes:
        status: "whole" or "damaged", of outputs with a record; else "foreign" (no record),
            "interrupted" (killed before the record), "writing" (by a run, now; not looked at) or
            "temporary" (a file of a run that goes on or died).
    """

    output: str
    status: str
    message: str = ""

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(asdict(self))


_ASIDE = {
    "foreign": "there is no record of it; geosr did not make it, or its record was removed",
    "interrupted": "its run was killed before it was recorded. Run the same command again",
    "writing": "a run is writing it now",
}


def verify(
    paths: Sequence[Path], *, report: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """Compare folders of outputs, or single outputs, with their records.

    Every byte is hashed and every block decoded, one at a time.

    Args:
        report: called with every verdict as it is known.

    Raises:
        UsageError: a path is missing, or there is no record anywhere.
    """
    for path in paths:
        if not path.is_dir() and status.standing(path) == "absent":
            raise UsageError(f"{path}: no such folder or output. Check the path.")
    verdicts = []
    for path in paths:
        for verdict in _verdicts(path):
            verdicts.append(verdict)
            report(verdict)
    if not {"whole", "damaged"} & {verdict.status for verdict in verdicts}:
        where = ", ".join(map(str, paths))
        raise UsageError(f"nothing to verify: no records of finished outputs in {where}.")
    return verdicts


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """What the shell sees: 0 all whole, 3 some damaged, 4 all damaged."""
    counts = Counter(verdict.status for verdict in verdicts)
    if not counts["damaged"]:
        return 0
    return 3 if counts["whole"] else 4


def _verdicts(path: Path) -> Iterator[Verdict]:
    for output in status.outputs(path):
        yield _judge(output)
    for part in sorted(path.glob(".*.part*")) if path.is_dir() else ():
        message = "a temporary file; the next run into this folder removes what dead runs left"
        yield Verdict(str(part), "temporary", message)


def _judge(output: Path) -> Verdict:
    standing = status.standing(output)
    if standing in _ASIDE:
        return Verdict(str(output), standing, _ASIDE[standing])
    try:
        _require_whole(output)
    except SceneError as error:
        return Verdict(str(output), "damaged", str(error))
    except OSError as error:
        return Verdict(str(output), "damaged", f"cannot read it ({error.strerror})")
    return Verdict(str(output), "whole")


def _require_whole(output: Path) -> None:
    """Raise where `output` is not, byte for byte and block for block, what its record says.

    Raises:
        SceneError: says what differs.
    """
    record = records.load(output)
    if record is None:
        name = records.record_path(output).name
        raise SceneError(f"its record {name} is damaged. Run again with --overwrite.")
    if not output.exists():
        raise SceneError("it is gone. Run the same command again.")
    made, size = record["output"], output.stat().st_size
    if size != made["size"]:
        raise SceneError(
            f"{size:,} bytes, {made['size']:,} were recorded. Run the same command again."
        )
    actual, expected = records.sha256(output), str(made.get("sha256", "none"))
    if actual != expected:
        raise SceneError(
            f"sha256 is {actual[:12]}…, {expected[:12]}… was recorded. "
            "Remove it and run the same command again."
        )
    _read_through(output)


def _read_through(output: Path) -> None:
    """Decode every block of every band, and of the mask."""
    with rasterio.Env(**SETTINGS), open_raster(output) as dataset:
        bands, masked = range(1, dataset.count + 1), has_mask(dataset)
        for _, block in dataset.block_windows(1):
            window = Window(block.row_off, block.col_off, block.height, block.width)
            read_window(dataset, bands, window)
            if masked:
                read_mask(dataset, window)
