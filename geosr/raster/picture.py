"""Arrays as pictures for people: a stretch that all parts share, and PNG files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geosr.raster.marks import require_replaceable
from geosr.raster.publish import write_bytes

_GAP = 4  # white pixels between parts


def visible(image: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """(bands, rows, cols) as 8-bit RGB (3, rows, cols): the first three bands, or grey."""
    shown = image[:3] if len(image) >= 3 else np.repeat(image[:1], 3, 0)
    scaled = (shown - low) / max(high - low, 1e-9)
    return np.asarray(np.clip(np.nan_to_num(scaled), 0, 1) * 255 + 0.5, np.uint8)


def limits(image: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """The 2nd and 98th percentile of what is valid."""
    values = image[mask] if mask is not None and mask.any() else image
    low, high = np.percentile(values, (2, 98))
    return float(low), float(high)


def enlarge(image: NDArray[Any], k: int) -> NDArray[Any]:
    """Every pixel as `k` × `k`."""
    return image.repeat(k, -2).repeat(k, -1)


def strip(parts: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Pictures of one height side by side."""
    gap = np.full((3, parts[0].shape[1], _GAP), 255, np.uint8)
    row = [piece for part in parts for piece in (part, gap)][:-1]
    return np.concatenate(row, axis=2)


def sheet(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Strips below each other; beside narrower ones there is white."""
    width = max(row.shape[2] for row in rows)
    gap = np.full((3, _GAP, width), 255, np.uint8)
    wide = [np.pad(row, ((0, 0), (0, 0), (0, width - row.shape[2])), constant_values=255)
            for row in rows]  # fmt: skip
    column = [piece for row in wide for piece in (row, gap)][:-1]
    return np.concatenate(column, axis=1)


def write_png(
    path: Path, picture: NDArray[np.uint8], mark: bytes, *, overwrite: bool = False
) -> None:
    """An RGB picture, whole or not at all.

    Args:
        mark: of `geosr.raster.marks`, says what it is for; kept in the file.
        overwrite: replace a file without this mark too.

    Raises:
        UsageError: such a file is there.
    """
    require_replaceable(path, mark, overwrite=overwrite)
    write_bytes(path, png(np.moveaxis(picture, 0, 2), mark=mark))


def png(
    pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None, *, mark: bytes = b""
) -> bytes:
    """A PNG file; the same pixels give the same bytes.

    Args:
        pixels: (rows, cols) grey or indexes of the palette, or (rows, cols, 3) RGB; not empty.
        palette: (colours, 4) RGBA, at most 256.
        mark: kind and content of one chunk more.
    """
    rows, cols = pixels.shape[:2]
    kind = 3 if palette is not None else 2 if pixels.ndim == 3 else 0
    depth = 3 if kind == 2 else 1
    raw = np.ascontiguousarray(pixels).reshape(rows, cols * depth)
    lines = np.pad(raw, ((0, 0), (1, 0))) if kind == 3 else _filtered(raw, depth)
    chunks = [_chunk(b"IHDR", struct.pack(">IIBBBBB", cols, rows, 8, kind, 0, 0, 0))]
    if mark:
        chunks.append(_chunk(mark[:4], mark[4:]))
    if palette is not None:
        chunks.append(_chunk(b"PLTE", palette[:, :3].tobytes()))
        chunks.append(_chunk(b"tRNS", palette[:, 3].tobytes()))
    chunks += [_chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def _filtered(raw: NDArray[np.uint8], depth: int) -> NDArray[np.uint8]:
    """Each row by the filter that leaves the least, as PNG's recommendation has it."""
    wide = np.pad(raw.astype(np.int16), ((1, 0), (depth, 0)))
    here, left = wide[1:, depth:], wide[1:, :-depth]
    up, corner = wide[:-1, depth:], wide[:-1, :-depth]
    guess = left + up - corner
    away = np.stack([np.abs(guess - near) for near in (left, up, corner)])
    paeth = np.choose(away.argmin(0), [left, up, corner])
    guesses = (np.zeros_like(here), left, up, (left + up) // 2, paeth)
    rest = np.stack([(here - g).astype(np.uint8) for g in guesses])  # (filter, rows, bytes)
    best = np.abs(rest.view(np.int8).astype(np.int16)).sum(2, dtype=np.int64).argmin(0)
    lines = rest[best, np.arange(len(raw))]
    return np.concatenate([best[:, None].astype(np.uint8), lines], axis=1)
