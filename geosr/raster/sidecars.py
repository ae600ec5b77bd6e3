"""Files beside a raster that are read with it."""

from __future__ import annotations

from pathlib import Path


def sidecars(path: Path) -> list[Path]:
    """What GDAL reads with a raster that is there: its mask, and what says where it lies."""
    kind = path.suffix
    plain = (f"{kind[:2]}{kind[-1:]}w", f"{kind}w", ".wld", ".rpb", "_rpc.txt")
    ends = dict.fromkeys(end for each in plain for end in (each.lower(), each.upper()))
    names = [f"{path.name}.msk", *(path.stem + end for end in ends)]
    return [file for name in names if (file := path.with_name(name)).is_file()]
