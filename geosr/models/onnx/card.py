"""Cards that lie beside ONNX files of others, `x.yaml` (or `x.yml`) beside `x.onnx`:

bands: [B2, B3, B4, B8]     Sentinel-2 bands in the net's order, or a number for any raster
factor: 2                   output pixels along an input pixel
margin: 32                  how far the net sees, in output pixels
name, license, source       of the net; optional
quantification: 10000       value that means reflectance 1.0 inside the file; optional
gsd: 10                     metres of the input's pixels; optional, kept on the card only
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from geosr.errors import WeightsError, cause
from geosr.models.card import ANY, Input, ModelCard
from geosr.models.onnx.graph import library

SUFFIX = ".onnx"
ARCH = "onnx"  # of nets that geosr cannot build
EXAMPLE = "{bands: [B2, B3, B4, B8], factor: 2, margin: 32}"
_NEEDED = ("bands", "factor", "margin")
_KEYS = (*_NEEDED, "name", "license", "source", "quantification", "gsd")
_BANDS = (*(f"B{number}" for number in range(1, 13)), "B8A")
UNIT = 10000.0  # reflectance 1.0 in geosr's own files
_LARGEST = 2**16  # bytes


def written(path: Path, net: Path) -> tuple[ModelCard, bytes]:
    """The card of an ONNX file, and its text.

    Args:
        path: of the card.
        net: of the ONNX file.

    Raises:
        UsageError: PyYAML is not installed.
        WeightsError: it cannot be read, or is no such card.
    """
    text = _text(path)
    return _card(path, _mapping(path, text), net), text


def _text(path: Path) -> bytes:
    try:
        if path.stat().st_size > _LARGEST:
            raise WeightsError(f"{path}: larger than 64 KiB, so no card. Check the file.")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}. Check the file.") from error


def _mapping(path: Path, text: bytes) -> dict[str, Any]:
    yaml = library("yaml", path, "PyYAML")
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise WeightsError(
            f"{path}: not YAML ({cause(error)[:200]}). Write, for example: {EXAMPLE}"
        ) from error
    if not isinstance(found, dict):
        raise WeightsError(
            f"{path}: holds a {type(found).__name__}, no card. Write, for example: {EXAMPLE}"
        )
    unknown = [str(key)[:40] for key in found if key not in _KEYS]
    missing = [key for key in _NEEDED if key not in found]
    if unknown or missing:
        problem = f"unknown {', '.join(unknown)}" if unknown else f"no {', '.join(missing)}"
        raise WeightsError(
            f"{path}: {problem} (a card has {', '.join(_KEYS)}; the first three are needed). "
            f"Write, for example: {EXAMPLE}"
        )
    return found


def _card(path: Path, written: Mapping[str, Any], file: Path) -> ModelCard:
    names = _names(path, written["bands"])
    factor, margin = _whole(path, written, "factor", 2), _whole(path, written, "margin", 0)
    options: dict[str, Any] = {"quantification": _number(path, written, "quantification", UNIT)}
    if "gsd" in written:
        options["gsd"] = _number(path, written, "gsd", 0)
    return ModelCard(
        name=_word(path, written, "name", file.stem),
        arch=ARCH,
        sensor="any",
        inputs=(Input(factor, names),),
        output=Input(1, names),
        scale=factor,
        margin=margin,
        options=options,
        license=_word(path, written, "license", "unknown"),
        source=_word(path, written, "source", file.name),
        task="sisr",
    )


def _names(path: Path, found: Any) -> tuple[str, ...]:
    """Of a net's bands: as ESA writes them, by number, or one of any name."""
    if type(found) is int and 1 <= found <= 1000:
        return (ANY,) if found == 1 else tuple(str(i + 1) for i in range(found))
    items = found if isinstance(found, list) else []
    said = [item[:20] if isinstance(item, str) else type(item).__name__ for item in items]
    names = tuple(re.sub("^B0", "B", name.upper()) for name in said)
    if not names or len(set(names)) < len(names) or not set(names) <= set(_BANDS):
        raise WeightsError(
            f"{path}: bands are {', '.join(said) or type(found).__name__}; write Sentinel-2 bands "
            "in the net's order, each once ([B2, B3, B4, B8]), or a number of bands."
        )
    return names


def _whole(path: Path, written: Mapping[str, Any], key: str, least: int) -> int:
    found = written[key]
    if type(found) is not int or not least <= found <= 10000:
        raise _wrong(path, key, found, f"a whole number from {least} to 10000")
    return found


def _number(path: Path, written: Mapping[str, Any], key: str, default: float) -> float:
    found = written.get(key, default)
    if type(found) not in (int, float) or not 0 < found < 1e12:
        raise _wrong(path, key, found, "a number above 0")
    return float(found)


def _word(path: Path, written: Mapping[str, Any], key: str, default: str) -> str:
    found = written.get(key, default)
    if not isinstance(found, str) or not found.strip():
        raise _wrong(path, key, found, "a text")
    return found.strip()


def _wrong(path: Path, key: str, found: Any, wanted: str) -> WeightsError:
    simple = isinstance(found, str | int | float)
    said = str(found)[:40] if simple else type(found).__name__
    return WeightsError(f"{path}: {key} is {said}; write {wanted}.")
